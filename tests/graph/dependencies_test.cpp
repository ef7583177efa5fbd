#include "parallel_opt/graph/dependencies.h"

#include <gtest/gtest.h>

#include <functional>

#include "parallel_opt/base/random.h"
#include "tests/graph/random_graph.h"

namespace parallel_opt {
namespace {

using testing::GraphBuilder;
using testing::random_graph;
using testing::waits_for;

std::vector<int> numbers(std::span<const OpId> ops) {
  std::vector<int> result;
  for (const OpId op : ops) result.push_back(op.value);
  return result;
}

TEST(Dependencies, ADiamondIsJoinedOncePerPair) {
  GraphBuilder b;
  const TensorId x = b.input("x", {2});
  const TensorId a = b.op("aten.neg.default", {{"self", x}}, {2});
  const TensorId l = b.op("aten.exp.default", {{"self", a}}, {2});
  const TensorId r = b.op("aten.sin.default", {{"self", a}}, {2});
  b.op("aten.add.Tensor", {{"self", l}, {"other", r}}, {2});
  b.op("aten.mul.Tensor", {{"self", r}, {"other", r}}, {2});  // twice the same: one edge
  const Dependencies d(b.build());
  EXPECT_EQ(numbers(d.after(OpId(0))), (std::vector<int>{1, 2}));
  EXPECT_EQ(numbers(d.before(OpId(3))), (std::vector<int>{1, 2}));
  EXPECT_EQ(numbers(d.before(OpId(4))), (std::vector<int>{2}));
  EXPECT_TRUE(d.before(OpId(0)).empty());
  EXPECT_EQ(d.edges(), 5u);
}

TEST(Dependencies, AWriteInPlaceWaitsForReadersAndReadersWaitForIt) {
  GraphBuilder b;
  const TensorId x = b.input("x", {2});
  const TensorId a = b.op("aten.neg.default", {{"self", x}}, {2});  // 0
  b.op("aten.exp.default", {{"self", a}}, {2});                     // 1 reads before
  b.op("aten.add_.Tensor", {{"self", a}, {"other", x}}, {2});       // 2 writes
  b.op("aten.sin.default", {{"self", a}}, {2});                     // 3 reads after
  const Dependencies d(b.build());
  EXPECT_EQ(numbers(d.before(OpId(2))), (std::vector<int>{0, 1}));
  EXPECT_EQ(numbers(d.before(OpId(3))), (std::vector<int>{0, 2}));
}

/// c = sum(x) > 0; one of two ways by c: relu(x) then exp, or tanh(x).
Graph branch_by_data() {
  GraphBuilder b;
  const TensorId x = b.input("x", {4, 8});
  const TensorId s = b.op("aten.sum.default", {{"self", x}}, {});                    // 0
  const TensorId c = b.op("aten.gt.Scalar", {{"self", s}}, {}, {}, DType::boolean);  // 1
  const RegionId yes = b.add_region("if.true", RegionKind::branch, "if", 0.5);
  const RegionId no = b.add_region("if.false", RegionKind::branch, "if", 0.5);
  b.raw().regions[0].predicate = b.raw().regions[1].predicate = c;
  b.enter(yes);
  const TensorId r = b.op("aten.relu.default", {{"self", x}}, {4, 8});  // 2
  const TensorId e = b.op("aten.exp.default", {{"self", r}}, {4, 8});   // 3
  b.enter(no);
  const TensorId t = b.op("aten.tanh.default", {{"self", x}}, {4, 8});  // 4
  b.enter(RegionId());
  b.output(b.op(std::string(kJoin), {{"inputs", e}, {"inputs", t}}, {4, 8}));  // 5
  return b.build();
}

TEST(Dependencies, AWayOfABranchWaitsForWhatChoosesIt) {
  const Dependencies d(branch_by_data());
  EXPECT_EQ(numbers(d.before(OpId(2))), (std::vector<int>{1}));
  EXPECT_EQ(numbers(d.before(OpId(3))), (std::vector<int>{2}));  // through the relu
  EXPECT_EQ(numbers(d.before(OpId(4))), (std::vector<int>{1}));
  // sum, gt, relu, exp, join: five in a chain; without the condition it were three.
  EXPECT_EQ(heaviest_chain(d, std::vector<double>{1, 1, 1, 1, 1, 1}).weight, 5);
}

TEST(Dependencies, TheBodyOfALoopWaitsForItsCondition) {
  GraphBuilder b;
  const TensorId x = b.input("x", {4});
  b.enter(b.add_region("while.body", RegionKind::loop, "while", 3));
  const TensorId h = b.op(std::string(kJoin), {{"inputs", x}}, {4});                  // 0
  const TensorId c = b.op("aten.gt.Scalar", {{"self", h}}, {4}, {}, DType::boolean);  // 1
  b.raw().regions[0].predicate = c;
  const TensorId y = b.op("aten.tanh.default", {{"self", h}}, {4});  // 2
  b.enter(RegionId());
  b.output(b.op(std::string(kJoin), {{"inputs", y}}, {4}));
  const Dependencies d(b.build());
  EXPECT_EQ(numbers(d.before(OpId(1))), (std::vector<int>{0}));
  EXPECT_EQ(numbers(d.before(OpId(2))), (std::vector<int>{0, 1}));
}

/// Every chain, one by one.
double heaviest_by_trying(const Graph& graph, const std::vector<double>& weights) {
  const Dependencies d(graph);
  std::function<double(std::size_t)> from = [&](std::size_t i) {
    double most = 0;
    for (const OpId next : d.after(OpId(i))) most = std::max(most, from(next.index()));
    return weights[i] + most;
  };
  double most = 0;
  for (std::size_t i = 0; i < graph.ops.size(); ++i) most = std::max(most, from(i));
  return most;
}

TEST(HeaviestChain, IsTheBestOfAllChains) {
  Random rng(20261125);
  for (int round = 0; round < 200; ++round) {
    const Graph graph = random_graph(rng, 1 + static_cast<int>(rng.next() % 12));
    std::vector<double> weights;
    for (std::size_t i = 0; i < graph.ops.size(); ++i) {
      weights.push_back(static_cast<double>(rng.next() % 5));
    }
    const Chain chain = heaviest_chain(Dependencies(graph), weights);
    ASSERT_EQ(chain.weight, heaviest_by_trying(graph, weights)) << "round " << round;
    // The operators named are a chain, and weigh that much.
    const auto waits = waits_for(graph);
    double sum = 0;
    for (std::size_t i = 0; i < chain.ops.size(); ++i) {
      sum += weights[chain.ops[i].index()];
      if (i > 0) {
        ASSERT_TRUE(waits[chain.ops[i].index()][chain.ops[i - 1].index()]);
      }
    }
    ASSERT_EQ(sum, chain.weight);
  }
}

TEST(HeaviestChain, OfNothingIsEmpty) {
  EXPECT_EQ(heaviest_chain(Dependencies(Graph{}), {}), Chain{});
}

TEST(EarliestLevels, AreLongestChainsAndEachLevelMayRunAtOnce) {
  Random rng(7);
  for (int round = 0; round < 200; ++round) {
    const Graph graph = random_graph(rng, 1 + static_cast<int>(rng.next() % 14));
    std::vector<bool> counts;
    std::vector<double> ones;
    for (std::size_t i = 0; i < graph.ops.size(); ++i) {
      counts.push_back(rng.next() % 4 != 0);
      ones.push_back(counts.back() ? 1 : 0);
    }
    const std::vector<std::int32_t> levels = earliest_levels(Dependencies(graph), counts);
    const auto waits = waits_for(graph);
    std::int32_t depth = 0;
    for (std::size_t i = 0; i < levels.size(); ++i) {
      if (counts[i]) depth = std::max(depth, levels[i] + 1);
      for (std::size_t j = 0; j < i; ++j) {
        if (waits[i][j]) {
          ASSERT_GE(levels[i], levels[j] + (counts[j] ? 1 : 0));
        }
        if (counts[i] && counts[j] && levels[i] == levels[j]) {
          ASSERT_FALSE(waits[i][j]);
        }
      }
    }
    // As many levels as the longest chain has operators: no level is later than it must be.
    ASSERT_EQ(depth, heaviest_by_trying(graph, ones)) << "round " << round;
  }
}

}  // namespace
}  // namespace parallel_opt
