#include "parallel_opt/graph/cuts.h"

#include <gtest/gtest.h>

#include <limits>
#include <queue>

#include "parallel_opt/base/random.h"
#include "tests/graph/random_graph.h"

namespace parallel_opt {
namespace {

using testing::GraphBuilder;
using testing::random_graph;

std::vector<double> ones(const Graph& graph) { return std::vector<double>(graph.ops.size(), 1.0); }

/// Maximum flow by augmenting paths, which is the minimum cut.
class Flow {
 public:
  explicit Flow(std::size_t nodes) : capacity_(nodes, std::vector<double>(nodes, 0)) {}
  void edge(std::size_t from, std::size_t to, double capacity) { capacity_[from][to] += capacity; }
  double run(std::size_t source, std::size_t sink) {
    double total = 0;
    for (;;) {
      std::vector<int> previous(capacity_.size(), -1);
      std::queue<std::size_t> waiting;
      waiting.push(source);
      previous[source] = static_cast<int>(source);
      while (!waiting.empty() && previous[sink] < 0) {
        const std::size_t at = waiting.front();
        waiting.pop();
        for (std::size_t next = 0; next < capacity_.size(); ++next) {
          if (previous[next] >= 0 || capacity_[at][next] <= 0) continue;
          previous[next] = static_cast<int>(at);
          waiting.push(next);
        }
      }
      if (previous[sink] < 0) return total;
      double least = std::numeric_limits<double>::max();
      for (std::size_t at = sink; at != source; at = static_cast<std::size_t>(previous[at])) {
        least = std::min(least, capacity_[static_cast<std::size_t>(previous[at])][at]);
      }
      for (std::size_t at = sink; at != source; at = static_cast<std::size_t>(previous[at])) {
        capacity_[static_cast<std::size_t>(previous[at])][at] -= least;
        capacity_[at][static_cast<std::size_t>(previous[at])] += least;
      }
      total += least;
    }
  }

 private:
  std::vector<std::vector<double>> capacity_;
};

constexpr double kForever = 1e15;

/// The least bytes that separate the first `before` operators from the last `after` ones, over all
/// ways to split the rest so that nothing flows backward. A tensor is paid once: it flows from its
/// operator into a node of its own, and from there to its readers.
double least_bytes(const Graph& graph, std::size_t before, std::size_t after) {
  const std::size_t n = graph.ops.size();
  Flow flow(2 * n + 2);
  const std::size_t source = 2 * n, sink = 2 * n + 1;
  std::vector<int> producer(graph.tensors.size(), -1);
  for (std::size_t i = 0; i < n; ++i) {
    if (i < before) flow.edge(source, i, kForever);
    if (i >= n - after) flow.edge(i, sink, kForever);
    for (const Operand& input : graph.ops[i].inputs) {
      const int from = producer[input.tensor.index()];
      if (from < 0) continue;
      flow.edge(n + static_cast<std::size_t>(from), i, kForever);
      flow.edge(i, static_cast<std::size_t>(from), kForever);  // nothing flows backward
    }
    producer[graph.ops[i].outputs[0].index()] = static_cast<int>(i);
    flow.edge(i, n + i, static_cast<double>(bytes(graph.tensor(graph.ops[i].outputs[0])).value));
  }
  return flow.run(source, sink);
}

TEST(Crossings, EqualTheMinimumCutBetweenBothParts) {
  Random rng(11);
  for (int round = 0; round < 60; ++round) {
    const Graph graph = random_graph(rng, 2 + static_cast<int>(rng.next() % 9));
    const std::vector<Crossing> all = crossings(graph);
    for (std::size_t i = 0; i + 1 < graph.ops.size(); ++i) {
      // All operators are fixed on their side: the flow is what crosses. 4 samples.
      ASSERT_DOUBLE_EQ(all[i].per_sample() * 4, least_bytes(graph, i + 1, graph.ops.size() - i - 1))
          << "round " << round << ", cut " << i;
    }
  }
}

/// A chain with random skips: its only orders are prefixes.
Graph chain_with_skips(Random& rng, int operators) {
  GraphBuilder b;
  std::vector<TensorId> results = {b.input("x", {4, 3})};
  for (int i = 0; i < operators; ++i) {
    std::vector<std::pair<std::string, TensorId>> inputs = {{"x", results.back()}};
    if (rng.next() % 3 == 0) inputs.emplace_back("skip", results[rng.next() % results.size()]);
    results.push_back(b.op("test.f.default", std::move(inputs),
                           {4, static_cast<std::int64_t>(1 + rng.next() % 9)}));
  }
  return b.build();
}

TEST(Cuts, TheNarrowestOfAChainWithSkipsIsTheMinimumCut) {
  Random rng(12);
  for (int round = 0; round < 60; ++round) {
    const Graph graph = chain_with_skips(rng, 3 + static_cast<int>(rng.next() % 9));
    const std::vector<Cut> cuts = find_cuts(graph, ones(graph));
    ASSERT_FALSE(cuts.empty());
    double least = std::numeric_limits<double>::max();
    for (const Cut& cut : cuts) least = std::min(least, cut.crossing.per_sample());
    ASSERT_DOUBLE_EQ(least * 4, least_bytes(graph, 1, 1)) << "round " << round;
  }
}

TEST(Cuts, NoneIsNarrowerThanTheMinimumCut) {
  Random rng(13);
  for (int round = 0; round < 60; ++round) {
    const Graph graph = random_graph(rng, 3 + static_cast<int>(rng.next() % 9));
    for (const Cut& cut : find_cuts(graph, ones(graph))) {
      ASSERT_GE(cut.crossing.per_sample() * 4 + 1e-9, least_bytes(graph, 1, 1));
    }
  }
}

TEST(Cuts, SkipsOfAUNetAreToldFromItsActivation) {
  GraphBuilder b;
  const TensorId x = b.input("x", {2, 16});
  const TensorId d1 = b.op("test.down.default", {{"x", x}}, {2, 16});   // 64 bytes a sample
  const TensorId d2 = b.op("test.down.default", {{"x", d1}}, {2, 8});   // 32
  const TensorId m = b.op("test.middle.default", {{"x", d2}}, {2, 2});  // 8
  const TensorId u2 = b.op("test.up.default", {{"x", m}, {"skip", d2}}, {2, 8});
  b.output(b.op("test.up.default", {{"x", u2}, {"skip", d1}}, {2, 16}));
  const std::vector<Crossing> all = crossings(b.build());
  EXPECT_EQ(all[0], (Crossing{64, 0, 0, 1}));
  EXPECT_EQ(all[1], (Crossing{32, 64, 0, 2}));  // d2, and d1 for the last operator
  EXPECT_EQ(all[2], (Crossing{8, 96, 0, 3}));   // m; d1 and d2
  EXPECT_EQ(all[3], (Crossing{32, 64, 0, 2}));  // u2; d1
  EXPECT_EQ(all[4], (Crossing{}));
}

TEST(Cuts, ViewsOfOneStorageCrossOnce) {
  GraphBuilder b;
  const TensorId x = b.input("x", {2, 8});
  const TensorId h = b.op("aten.neg.default", {{"self", x}}, {2, 8});
  const TensorId v = b.op("aten.view.default", {{"self", h}}, {2, 2, 4});
  const TensorId u = b.op("aten.exp.default", {{"self", v}}, {2, 2, 4});
  b.op("test.f.default", {{"a", h}, {"b", u}}, {2, 8});
  // h and its view: 8 floats a sample, not 16.
  EXPECT_EQ(crossings(b.build())[1], (Crossing{32, 0, 0, 1}));
}

TEST(Cuts, TablesWithoutSamplesCrossOncePerMicroBatch) {
  GraphBuilder b;
  const TensorId x = b.input("x", {4, 8});
  const TensorId p = b.buffer("positions", {8});
  const TensorId table = b.op("aten.sin.default", {{"self", p}}, {8});
  const TensorId h = b.op("aten.neg.default", {{"self", x}}, {4, 8});
  b.op("aten.add.Tensor", {{"self", h}, {"other", table}}, {4, 8});
  EXPECT_EQ(crossings(b.build())[1], (Crossing{32, 0, 32, 2}));
}

TEST(Cuts, LieBetweenBlocksWhereFewestBytesCross) {
  GraphBuilder b;
  TensorId x = b.input("x", {2, 4});
  for (int i = 0; i < 3; ++i) {
    b.module("blocks." + std::to_string(i));
    const TensorId wide = b.op("test.f.default", {{"x", x}}, {2, 64});
    x = b.op("test.f.default", {{"x", wide}}, {2, 4});
  }
  const Graph graph = b.build();
  const std::vector<Cut> cuts = find_cuts(graph, {{9, 1, 9, 1, 9, 1}});
  // Wide places are left out only within a hundredth of the work; here every place is far away.
  ASSERT_EQ(cuts.size(), 5u);
  const std::vector<Cut> close = find_cuts(graph, {{900, 1, 900, 1, 900, 1}});
  ASSERT_EQ(close.size(), 3u);  // the last: nothing narrower is near the end
  EXPECT_EQ(close[0].after, OpId(1));
  EXPECT_EQ(close[1].after, OpId(3));
  EXPECT_NEAR(close[0].share, 1.0 / 3, 1e-12);
  EXPECT_EQ(close[0].tensors, (std::vector<TensorId>{graph.ops[1].outputs[0]}));
}

TEST(Cuts, NoneIsInsideOfALoopOrABranch) {
  GraphBuilder b;
  TensorId x = b.op("aten.neg.default", {{"self", b.input("x", {2, 4})}}, {2, 4});  // 0
  b.enter(b.add_region("scan.body", RegionKind::loop, "scan", 7));
  const TensorId h = b.op(std::string(kJoin), {{"inputs", x}}, {2, 4});   // 1
  const TensorId narrow = b.op("test.f.default", {{"x", h}}, {2, 1});     // 2
  const TensorId wide = b.op("test.f.default", {{"x", narrow}}, {2, 4});  // 3
  b.enter(RegionId());
  x = b.op(std::string(kJoin), {{"inputs", wide}}, {2, 4});   // 4
  b.output(b.op("aten.exp.default", {{"self", x}}, {2, 4}));  // 5
  const Graph graph = b.build();
  std::vector<OpId> after;
  for (const Cut& cut : find_cuts(graph, {{1, 0, 1, 1, 0, 1}})) after.push_back(cut.after);
  EXPECT_EQ(after, (std::vector<OpId>{OpId(0), OpId(3)}));
}

TEST(Cuts, AnEmptyGraphHasNone) {
  EXPECT_TRUE(find_cuts(Graph{}, {}).empty());
  EXPECT_TRUE(crossings(Graph{}).empty());
}

}  // namespace
}  // namespace parallel_opt
