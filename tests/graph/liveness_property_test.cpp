#include <gtest/gtest.h>

#include <map>
#include <set>

#include "parallel_opt/graph/alias.h"
#include "parallel_opt/graph/liveness.h"
#include "tests/graph/random_model.h"

// Live bytes against simulations that hold and drop one reference after the other.
namespace parallel_opt {
namespace {

using testing::GraphBuilder;
using testing::Ints;
using testing::pick;
using testing::random_model;
using testing::within;

StepOptions plain(bool training) {
  StepOptions o;
  o.training = training;
  o.optimizer_states = 0;
  o.optimizer_temporaries = 0;
  return o;
}

/// What a run on storages with counted references holds during each operator: a result is held
/// until the last operator that reads it, or a view of it, has run; outputs are held to the end.
std::vector<Bytes> held_in_a_run(const Graph& g) {
  std::map<TensorId, std::int64_t> readers;  // by owner of the storage
  std::int64_t now = 0;
  for (std::size_t i = 0; i < g.tensors.size(); ++i) {
    const Tensor& t = g.tensors[i];
    if (t.role != TensorRole::activation) now += bytes(t).value;
  }
  for (const Op& op : g.ops) {
    for (const Operand& input : op.inputs) ++readers[storage_owner(g, input.tensor)];
  }
  for (const TensorId id : g.outputs) ++readers[storage_owner(g, id)];
  std::vector<Bytes> curve;
  std::set<TensorId> made;
  const auto drop = [&](TensorId owner) {
    if (readers[owner] == 0 && made.erase(owner) != 0) now -= bytes(g.tensor(owner)).value;
  };
  for (const Op& op : g.ops) {
    for (const TensorId id : op.outputs) {
      if (storage_owner(g, id) != id) continue;
      made.insert(id);
      now += bytes(g.tensor(id)).value;
    }
    curve.push_back(Bytes(now));
    for (const Operand& input : op.inputs) --readers[storage_owner(g, input.tensor)];
    for (const Operand& input : op.inputs) drop(storage_owner(g, input.tensor));
    for (const TensorId id : op.outputs) drop(storage_owner(g, id));
  }
  return curve;
}

TEST(LivenessProperty, AForwardHoldsWhatCountedReferencesHold) {
  Random rng(1);
  for (int round = 0; round < 150; ++round) {
    const Graph g = random_model(rng, 25);
    const Liveness live = live_bytes(g, plain(false));
    const std::vector<Bytes> expected = held_in_a_run(g);
    ASSERT_EQ(live.curve, expected) << round;
    EXPECT_EQ(live.peak, *std::max_element(expected.begin(), expected.end()));
  }
}

/// One operator of a chain: what autograd keeps of it and whether it has a weight.
struct Link {
  const char* target;
  bool keeps_operand;
  bool keeps_result;
  bool weight;
};

const std::vector<Link> kLinks = {
    {"aten.linear.default", true, false, true}, {"aten.relu.default", false, true, false},
    {"aten.gelu.default", true, false, false},  {"aten.tanh.default", false, true, false},
    {"aten.silu.default", true, false, false},  {"aten.exp.default", false, true, false},
};

struct Chain {
  Graph graph;
  std::vector<const Link*> links;
  std::vector<std::int64_t> sizes;    ///< bytes of the input, then of each result
  std::vector<std::int64_t> weights;  ///< bytes, 0 without one
};

Chain random_chain(Random& rng) {
  GraphBuilder b;
  Chain chain;
  const std::int64_t rows = within(rng, 1, 9);
  std::int64_t width = within(rng, 1, 9);
  TensorId x = b.input("x", {rows, width});
  chain.sizes.push_back(rows * width * 4);
  for (std::int64_t i = within(rng, 1, 12); i > 0; --i) {
    const Link& link = chain.links.empty() ? kLinks[0] : pick(rng, kLinks);
    std::vector<std::pair<std::string, TensorId>> inputs = {{"self", x}};
    chain.weights.push_back(0);
    if (link.weight) {
      const std::int64_t out = within(rng, 1, 9);
      inputs = {{"input", x}, {"weight", b.parameter("w" + std::to_string(i), {out, width})}};
      chain.weights.back() = out * width * 4;
      width = out;
    }
    x = b.op(link.target, inputs, {rows, width});
    chain.links.push_back(&link);
    chain.sizes.push_back(rows * width * 4);
  }
  b.output(x);
  chain.graph = b.build();
  return chain;
}

/// The step as an engine runs it: a node's operand, result and gradients are references that are
/// taken and dropped. Values 0..n are the input and the results.
std::vector<Bytes> held_in_a_step(const Chain& chain) {
  const std::size_t n = chain.links.size();
  std::int64_t now = chain.sizes[0];
  for (const std::int64_t weight : chain.weights) now += weight;
  std::vector<int> references(n + 1, 0);
  references[0] = 1;  // whoever called the model has the input
  const auto take = [&](std::size_t value) {
    if (references[value]++ == 0) now += chain.sizes[value];
  };
  const auto drop = [&](std::size_t value) {
    if (--references[value] == 0) now -= chain.sizes[value];
  };
  std::vector<Bytes> curve;
  for (std::size_t i = 0; i < n; ++i) {
    take(i + 1);  // the model's own variable
    if (chain.links[i]->keeps_operand) take(i);
    if (chain.links[i]->keeps_result) take(i + 1);
    curve.push_back(Bytes(now));
    if (i > 0) drop(i);
  }
  std::int64_t gradient = chain.sizes[n];
  now += gradient;
  for (std::size_t i = n; i-- > 0;) {
    const std::int64_t next = i > 0 ? chain.sizes[i] : 0;  // the input needs no gradient
    now += next + chain.weights[i];
    curve.push_back(Bytes(now));
    now -= gradient;
    gradient = next;
    if (chain.links[i]->keeps_operand) drop(i);
    if (chain.links[i]->keeps_result) drop(i + 1);
  }
  for (const std::int64_t weight : chain.weights) {
    if (weight > 0) curve.push_back(Bytes(now));  // its update
  }
  return curve;
}

TEST(LivenessProperty, AStepOfAChainHoldsWhatCountedReferencesHold) {
  Random rng(2);
  for (int round = 0; round < 200; ++round) {
    const Chain chain = random_chain(rng);
    const Liveness live = live_bytes(chain.graph, plain(true));
    ASSERT_EQ(live.curve, held_in_a_step(chain)) << round;
  }
}

std::int64_t kept_of(const Liveness& live) { return live.curve[live.forward_operations - 1].value; }

TEST(LivenessProperty, KindsAndTheLargestAddUpAndOptionsMoveOneWay) {
  Random rng(3);
  for (int round = 0; round < 100; ++round) {
    const Graph g = random_model(rng, 20);
    const Liveness plain_step = live_bytes(g, plain(true));
    Bytes kinds, listed;
    for (const Bytes one : plain_step.at_peak) kinds += one;
    for (const LiveTensor& one : plain_step.largest) listed += one.bytes;
    EXPECT_EQ(kinds, plain_step.peak);
    EXPECT_LE(listed, plain_step.peak);
    EXPECT_EQ(
        plain_step.curve.size() - plain_step.forward_operations - plain_step.backward_operations,
        static_cast<std::size_t>(
            std::ranges::count_if(g.tensors, [](const Tensor& t) { return t.requires_grad; })));
    EXPECT_LE(live_bytes(g, plain(false)).peak, plain_step.peak);

    const std::int64_t trained = count_parameters(g).trainable * 4;
    StepOptions adam = plain(true);
    adam.optimizer_states = 2;
    EXPECT_EQ(kept_of(live_bytes(g, adam)), kept_of(plain_step) + 2 * trained);
    StepOptions accumulating = plain(true);
    accumulating.gradients_before = true;
    EXPECT_EQ(kept_of(live_bytes(g, accumulating)), kept_of(plain_step) + trained);
    StepOptions recomputed = plain(true);
    recomputed.recompute = {"c"};
    EXPECT_LE(kept_of(live_bytes(g, recomputed)), kept_of(plain_step)) << round;
  }
}

/// A recorded step by the sets of who reads what, operator by operator.
std::vector<Bytes> replayed(const Graph& g) {
  const std::size_t end = g.ops.size();
  std::vector<Bytes> curve;
  for (std::size_t now = 0; now < end; ++now) {
    std::int64_t held = 0;
    for (std::size_t i = 0; i < g.tensors.size(); ++i) {
      if (storage_owner(g, TensorId(i)) != TensorId(i)) continue;
      bool exists = g.tensors[i].role != TensorRole::activation, wanted = exists;
      bool in_backward = false;
      for (std::size_t k = 0; k < end; ++k) {
        const Op& op = g.ops[k];
        const bool makes = op.outputs.front() == TensorId(i);
        if (makes) in_backward = op.phase == Phase::backward;
        exists = exists || (makes && k <= now);
        bool touches = makes || storage_owner(g, op.outputs.front()) == TensorId(i);
        bool reads = false;
        for (const Operand& input : op.inputs) {
          reads = reads || storage_owner(g, input.tensor) == TensorId(i);
        }
        wanted = wanted || ((touches || reads) && k >= now);
        wanted = wanted || (reads && op.phase == Phase::optimizer && in_backward);
      }
      for (const TensorId id : g.outputs) wanted = wanted || storage_owner(g, id) == TensorId(i);
      if (exists && wanted) held += bytes(g.tensors[i]).value;
    }
    curve.push_back(Bytes(held));
  }
  return curve;
}

TEST(LivenessProperty, ARecordedStepHoldsWhatIsReadLater) {
  Random rng(4);
  for (int round = 0; round < 60; ++round) {
    Graph g = random_model(rng, 24);
    for (std::size_t i = 0; i < g.ops.size(); ++i) {
      g.ops[i].phase = i < 10 ? Phase::forward : i < 18 ? Phase::backward : Phase::optimizer;
    }
    ASSERT_EQ(replay_live_bytes(g).curve, replayed(g)) << round;
  }
}

}  // namespace
}  // namespace parallel_opt
