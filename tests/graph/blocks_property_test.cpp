#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "parallel_opt/graph/blocks.h"
#include "parallel_opt/graph/summary.h"
#include "parallel_opt/graph/work.h"
#include "tests/graph/random_graph.h"
#include "tests/graph/random_model.h"

// Repeated blocks of towers whose layers the test knows, and what holds for the blocks of any
// graph; loops against the same loops written out.
namespace parallel_opt {
namespace {

using testing::GraphBuilder;
using testing::Ints;
using testing::pick;
using testing::random_graph;
using testing::random_model;
using testing::within;

/// What a layer does: operators that each read the one before, the layer's input, or both.
struct Layer {
  struct Step {
    std::string target;
    bool weight = false;
    bool skip = false;  ///< reads the layer's input too
  };
  std::vector<Step> steps;
};

Layer random_layer(Random& rng) {
  static const std::vector<std::string> kTargets = {"aten.relu.default", "aten.gelu.default",
                                                    "aten.tanh.default", "aten.neg.default"};
  Layer layer;
  for (std::int64_t i = within(rng, 2, 7); i > 0; --i) {
    switch (rng.below(3)) {
      case 0:
        layer.steps.push_back({"aten.linear.default", true, false});
        break;
      case 1:
        layer.steps.push_back({"aten.add.Tensor", false, true});
        break;
      default:
        layer.steps.push_back({pick(rng, kTargets), false, false});
    }
  }
  layer.steps.insert(layer.steps.begin(), {"aten.linear.default", true, false});
  return layer;
}

class Tower {
 public:
  explicit Tower(bool named) : named_(named) { x_ = b_.input("x", {4, 8}); }

  void outside(const std::string& target) { x_ = b_.op(target, {{"self", x_}}, {4, 8}); }

  void add(const Layer& layer) {
    const std::string name = "layers." + std::to_string(count_++);
    const TensorId from = x_;
    for (std::size_t i = 0; i < layer.steps.size(); ++i) {
      const Layer::Step& step = layer.steps[i];
      const std::string part = name + ".part" + std::to_string(i);
      if (named_) b_.module(part);
      std::vector<std::pair<std::string, TensorId>> inputs = {{step.weight ? "input" : "self", x_}};
      if (step.weight) inputs.emplace_back("weight", b_.parameter(part + ".weight", {8, 8}));
      if (step.skip) inputs.emplace_back("other", from);
      x_ = b_.op(step.target, inputs, {4, 8});
    }
    b_.module("");
  }

  Graph build() {
    b_.output(x_);
    return b_.build();
  }

 private:
  GraphBuilder b_;
  TensorId x_;
  bool named_;
  int count_ = 0;
};

TEST(BlocksProperty, LayersOfATowerAreItsBlocksHoweverTheyLook) {
  Random rng(1);
  for (int round = 0; round < 150; ++round) {
    const Layer layer = random_layer(rng);
    const std::int64_t repeats = within(rng, 2, 9);
    Tower tower(true);
    for (std::int64_t i = within(rng, 0, 2); i > 0; --i) tower.outside("aten.sin.default");
    for (std::int64_t i = 0; i < repeats; ++i) tower.add(layer);
    for (std::int64_t i = within(rng, 0, 2); i > 0; --i) tower.outside("aten.cos.default");
    const std::vector<Block> blocks = find_blocks(tower.build());
    ASSERT_EQ(blocks.size(), 1u) << round;
    EXPECT_EQ(blocks[0].name, "layers.*");
    EXPECT_EQ(blocks[0].repeats, repeats);
    EXPECT_EQ(blocks[0].operators, static_cast<std::int64_t>(layer.steps.size()));
  }
}

TEST(BlocksProperty, WithoutNamesAsMuchIsCovered) {
  Random rng(2);
  for (int round = 0; round < 150; ++round) {
    const Layer layer = random_layer(rng);
    const std::int64_t repeats = within(rng, 3, 9);
    Tower tower(false);
    for (std::int64_t i = 0; i < repeats; ++i) tower.add(layer);
    // A period may begin anywhere in a layer, so that all but two halves are covered.
    const Graph g = tower.build();
    std::int64_t covered = 0;
    for (const Block& block : find_blocks(g)) covered += block.repeats * block.operators;
    const auto operators = static_cast<std::int64_t>(layer.steps.size());
    EXPECT_GE(covered, (repeats - 1) * operators) << round;
  }
}

TEST(BlocksProperty, LayersOfTwoKindsAreTwoBlocks) {
  Random rng(3);
  for (int round = 0; round < 150; ++round) {
    const Layer one = random_layer(rng);
    Layer other = one;
    other.steps.push_back({"aten.sigmoid.default", false, false});
    Tower tower(true);
    std::int64_t ones = 0, others = 0;
    for (std::int64_t i = within(rng, 4, 12); i > 0; --i) {
      const bool first = rng.below(2) == 0;
      tower.add(first ? one : other);
      ++(first ? ones : others);
    }
    std::multiset<std::int64_t> found, expected;
    for (const Block& block : find_blocks(tower.build())) found.insert(block.repeats);
    for (const std::int64_t count : {ones, others}) {
      if (count > 1) expected.insert(count);
    }
    EXPECT_EQ(found, expected) << round;
  }
}

/// Blocks do not overlap, lie in order, and each occurrence does what the first does.
void expect_sound(const Graph& g, const std::vector<Block>& blocks) {
  std::set<OpId> taken;
  for (const Block& block : blocks) {
    EXPECT_EQ(block.repeats, static_cast<std::int64_t>(block.instances.size()));
    EXPECT_GT(block.repeats, 1);
    for (const BlockInstance& instance : block.instances) {
      ASSERT_EQ(instance.ops.size(), static_cast<std::size_t>(block.operators));
      EXPECT_TRUE(std::ranges::is_sorted(instance.ops));
      for (std::size_t i = 0; i < instance.ops.size(); ++i) {
        EXPECT_TRUE(taken.insert(instance.ops[i]).second) << "in two blocks";
        const Op &op = g.op(instance.ops[i]), &first = g.op(block.instances[0].ops[i]);
        EXPECT_EQ(op.target, first.target);
        EXPECT_EQ(op.inputs.size(), first.inputs.size());
        EXPECT_EQ(g.tensor(op.outputs[0]).shape, g.tensor(first.outputs[0]).shape);
        EXPECT_EQ(forward_work(g, op).contraction, forward_work(g, first).contraction);
      }
    }
  }
  const std::vector<int> of = block_of_op(g, blocks);
  for (std::size_t i = 0; i < of.size(); ++i) EXPECT_EQ(of[i] >= 0, taken.contains(OpId(i)));
}

/// Layers of three kinds in any order, with names or without, and operators between them.
Graph mixed_tower(Random& rng) {
  const std::vector<Layer> kinds = {random_layer(rng), random_layer(rng), random_layer(rng)};
  Tower tower(rng.below(2) == 0);
  for (std::int64_t i = within(rng, 3, 12); i > 0; --i) {
    if (rng.below(4) == 0) tower.outside("aten.sin.default");
    tower.add(pick(rng, kinds));
  }
  return tower.build();
}

TEST(BlocksProperty, OfAnyGraphAreDisjointAndAlike) {
  Random rng(4);
  int found = 0;
  for (int round = 0; round < 150; ++round) {
    const Graph g = round % 3 == 0   ? random_model(rng, 40)
                    : round % 3 == 1 ? random_graph(rng, 40)
                                     : mixed_tower(rng);
    const std::vector<Block> blocks = find_blocks(g);
    expect_sound(g, blocks);
    found += blocks.empty() ? 0 : 1;
  }
  EXPECT_GT(found, 20);
}

TEST(BlocksProperty, OtherNumbersOfOperatorsOutsideChangeNoBlock) {
  Random rng(5);
  for (int round = 0; round < 100; ++round) {
    const Layer layer = random_layer(rng);
    const auto blocks = [&](int before) {
      Tower tower(true);
      for (int i = 0; i < before; ++i) tower.outside("aten.sin.default");
      for (int i = 0; i < 5; ++i) tower.add(layer);
      return find_blocks(tower.build());
    };
    const std::vector<Block> plain = blocks(0), moved = blocks(3);
    ASSERT_EQ(plain.size(), moved.size());
    for (std::size_t k = 0; k < plain[0].instances.size(); ++k) {
      for (std::size_t i = 0; i < plain[0].instances[k].ops.size(); ++i) {
        EXPECT_EQ(plain[0].instances[k].ops[i].index() + 3, moved[0].instances[k].ops[i].index());
      }
    }
  }
}

/// Loops in loops, `depth` deep, each with some linear layers; written out when `unrolled`.
class Loops {
 public:
  Loops(std::uint64_t seed, bool unrolled) : rng_(seed), unrolled_(unrolled) {}

  Graph build() {
    x_ = b_.input("x", {4, 8});
    weight_ = b_.parameter("w", {8, 8});
    body(RegionId(), 3, 1);
    b_.output(x_);
    return b_.build();
  }
  double flops() const { return flops_; }

 private:
  void linear() { x_ = b_.op("aten.linear.default", {{"input", x_}, {"weight", weight_}}, {4, 8}); }

  void body(RegionId region, int depth, double runs) {
    for (std::int64_t part = within(rng_, 1, 3); part > 0; --part) {
      const std::int64_t layers = within(rng_, 1, 2), steps = within(rng_, 1, 4);
      const std::uint64_t inner = rng_.next();
      for (std::int64_t i = 0; i < layers; ++i) linear();
      flops_ += runs * static_cast<double>(layers) * 2 * 4 * 8 * 8;
      if (depth == 0) continue;
      const Random after = rng_;
      const RegionId loop = loop_of(region, steps);
      for (std::int64_t run = 0; run < (unrolled_ ? steps : 1); ++run) {
        rng_ = Random(inner);  // every run does the same
        body(loop, depth - 1, runs * static_cast<double>(unrolled_ ? 1 : steps));
      }
      leave(region);
      rng_ = after;
    }
  }

  RegionId loop_of(RegionId outer, std::int64_t steps) {
    if (unrolled_) return outer;
    b_.enter(outer);
    const std::string name = "loop" + std::to_string(loops_++);
    const RegionId loop = b_.add_region(name, RegionKind::loop, name, static_cast<double>(steps));
    b_.enter(loop);
    x_ = b_.op(std::string(kJoin), {{"inputs", x_}}, {4, 8});
    return loop;
  }

  void leave(RegionId outer) {
    if (unrolled_) return;
    b_.enter(outer);
    x_ = b_.op(std::string(kJoin), {{"inputs", x_}}, {4, 8});
  }

  Random rng_;
  bool unrolled_;
  GraphBuilder b_;
  TensorId x_, weight_;
  int loops_ = 0;
  double flops_ = 0;
};

TEST(BlocksProperty, LoopsCountAsWhatTheyAreWrittenOut) {
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    Loops loops(seed, false), written(seed, true);
    const Graph folded = loops.build(), unrolled = written.build();
    EXPECT_EQ(loops.flops(), written.flops()) << seed;
    EXPECT_EQ(summarize(folded).flops.forward.value, loops.flops()) << seed;
    EXPECT_EQ(summarize(folded).flops.forward, summarize(unrolled).flops.forward) << seed;
    EXPECT_EQ(summarize(folded).flops.backward, summarize(unrolled).flops.backward) << seed;
  }
}

}  // namespace
}  // namespace parallel_opt
