#include "parallel_opt/graph/graph.h"

#include <gtest/gtest.h>

#include "tests/graph/builder.h"

namespace parallel_opt {
namespace {

template <class F>
std::string error_text(F&& run) {
  try {
    run();
  } catch (const InputError& e) {
    return e.what();
  }
  return "accepted";
}

using testing::GraphBuilder;

Graph two_linears() {
  GraphBuilder b;
  const TensorId x = b.input("x", {4, 8});
  const TensorId w = b.parameter("fc.weight", {16, 8});
  const TensorId v = b.parameter("out.weight", {2, 16});
  const TensorId h = b.op("aten.linear.default", {{"input", x}, {"weight", w}}, {4, 16});
  b.output(b.op("aten.linear.default", {{"input", h}, {"weight", v}}, {4, 2}));
  return b.build();
}

TEST(Graph, BytesAreElementsTimesSize) {
  Tensor t;
  t.dtype = DType::bf16;
  t.shape = {{3, ""}, {5, ""}};
  EXPECT_EQ(elements(t), 15);
  EXPECT_EQ(bytes(t), Bytes(30));  // 15 x 2
  t.shape.clear();
  EXPECT_EQ(elements(t), 1);  // a scalar
}

TEST(Graph, WellFormedGraphHasNoFault) { EXPECT_TRUE(check(two_linears()).empty()); }

TEST(Graph, CheckNamesEveryBrokenRule) {
  Graph g = two_linears();
  g.tensors[1].name = "x";                   // second name
  g.tensors[2].shape[0].size = -1;           // negative size
  g.ops[1].inputs[1].tensor = TensorId(99);  // out of range
  std::swap(g.ops[0], g.ops[1]);             // used before produced
  g.outputs.push_back(TensorId(77));
  std::vector<std::string> texts;
  for (const Fault& f : check(g)) texts.push_back(to_string(f));
  EXPECT_EQ(texts, (std::vector<std::string>{"test:tensors[1]: a second tensor named 'x'",
                                             "test:tensors[2]: size -1 of 'out.weight'",
                                             "test:ops[0]: 'op1' uses 't0' before it is produced",
                                             "test:ops[0]: an operand names tensor 99 of 5",
                                             "test:outputs[1]: no such tensor: 77"}));
}

TEST(Graph, CheckFindsCirclesAndOrphans) {
  Graph g = two_linears();
  g.tensors[3].alias_of = TensorId(4);
  g.tensors[4].alias_of = TensorId(3);
  g.ops.pop_back();
  std::vector<std::string> texts;
  for (const Fault& f : check(g)) texts.push_back(f.what);
  EXPECT_EQ(texts, (std::vector<std::string>{"the storage of 't0' is an alias of itself",
                                             "the storage of 't1' is an alias of itself",
                                             "'t1' is never produced"}));
}

std::vector<std::string> faults_of(const Graph& graph) {
  std::vector<std::string> texts;
  for (const Fault& f : check(graph)) texts.push_back(to_string(f));
  return texts;
}

/// x -> relu or tanh by data, then a loop of 3 runs of a branch whose one way is taken half the
/// time.
Graph with_regions() {
  GraphBuilder b;
  const TensorId x = b.input("x", {4});
  const RegionId yes = b.add_region("cond.true", RegionKind::branch, "cond", 0.25);
  const RegionId no = b.add_region("cond.false", RegionKind::branch, "cond", 0.75);
  b.enter(yes);
  const TensorId t = b.op("aten.relu.default", {{"self", x}}, {4});
  b.enter(no);
  const TensorId f = b.op("aten.tanh.default", {{"self", x}}, {4});
  b.enter(RegionId());
  const TensorId y = b.op(std::string(kJoin), {{"inputs", t}, {"inputs", f}}, {4});
  const RegionId body = b.add_region("loop.body", RegionKind::loop, "loop", 3);
  b.enter(body);
  const RegionId way = b.add_region("inner.true", RegionKind::branch, "inner", 0.5);
  b.enter(way);
  const TensorId z = b.op("aten.exp.default", {{"self", y}}, {4});
  b.enter(RegionId());
  b.output(b.op(std::string(kJoin), {{"inputs", z}}, {4}));
  return b.build();
}

TEST(Regions, RunsAreProductsOverWhatEncloses) {
  const Graph g = with_regions();
  EXPECT_TRUE(check(g).empty());
  EXPECT_EQ(expected_runs(g, g.ops[0]), 0.25);
  EXPECT_EQ(expected_runs(g, g.ops[2]), 1);    // the join is in the main body
  EXPECT_EQ(expected_runs(g, g.ops[3]), 1.5);  // 3 runs x 0.5
  EXPECT_EQ(most_runs(g, g.ops[3].region), 3);
  EXPECT_TRUE(encloses(g, RegionId(2), RegionId(3)));
  EXPECT_FALSE(encloses(g, RegionId(3), RegionId(2)));
  EXPECT_TRUE(encloses(g, RegionId(), RegionId(0)));
}

TEST(Regions, CheckNamesEveryBrokenRule) {
  Graph g = with_regions();
  g.regions[0].name = "cond.false";
  g.regions[1].runs = 0.8;  // 0.25 + 0.8
  g.regions[2].runs = -1;
  EXPECT_EQ(faults_of(g), (std::vector<std::string>{
                              "test:regions[1]: a second region named 'cond.false'",
                              "test:regions[1]: the frequencies of 'cond' sum to more than 1",
                              "test:regions[2]: 'loop.body' runs -1 times (0 or more)"}));
  g = with_regions();
  g.regions[3].parent = RegionId(3);
  g.regions[3].runs = 2;
  g.regions[1].parent = RegionId(0);
  EXPECT_EQ(faults_of(g),
            (std::vector<std::string>{
                "test:regions[1]: alternatives of 'cond' have different parents",
                "test:regions[3]: the parent of 'inner.true' is no earlier region",
                "test:regions[3]: 'inner.true' runs 2 times (the frequency of an alternative is "
                "from 0 to 1)"}));
}

TEST(Regions, ResultsLeaveThroughAJoinOnly) {
  Graph g = with_regions();
  g.ops[2].target = "aten.add.Tensor";  // reads both alternatives
  g.outputs = {TensorId(4)};            // exp's result
  g.ops[4].region = RegionId(9);
  EXPECT_EQ(faults_of(g),
            (std::vector<std::string>{
                "test:ops[2]: 'op2' reads 't0' of the region 'cond.true' from outside (let "
                "parallel_opt.join carry it out)",
                "test:ops[2]: 'op2' reads 't1' of the region 'cond.false' from outside (let "
                "parallel_opt.join carry it out)",
                "test:ops[4]: 'op4' is in region 9 of 4",
                "test:outputs[0]: 't3' is made in the region 'inner.true' (let parallel_opt.join "
                "carry it out)"}));
}

TEST(Regions, BindEvaluatesTripCounts) {
  Graph g = with_regions();
  g.symbols = {{"steps", 0, 100, 3}};
  g.regions[2].expression = "steps";
  EXPECT_EQ(bind(g, {{"steps", 7}}).regions[2].runs, 7);
  EXPECT_EQ(bind(g, {}), g);
  g.regions[2].expression = "steps - 5";
  EXPECT_EQ(error_text([&] { bind(g, {{"steps", 1}}); }),
            "test:loop.body: trip count steps - 5 is -4");
}

TEST(Regions, AreHashedByWhatTheyMeanNotByName) {
  const Graph g = with_regions();
  Graph other = g;
  other.regions[0].name = "else";
  other.regions[0].group = other.regions[1].group = "if";
  EXPECT_EQ(graph_hash(other), graph_hash(g));
  other.regions[0].runs = 0.125;
  EXPECT_NE(graph_hash(other), graph_hash(g));
  other = g;
  other.ops[0].region = RegionId();
  EXPECT_NE(graph_hash(other), graph_hash(g));
}

Graph symbolic() {
  Graph g = two_linears();
  g.symbols = {{"s0", 2, 64, 4}};
  g.tensors[0].shape[0] = {4, "s0"};
  g.tensors[3].shape[0] = {4, "s0"};
  g.tensors[4].shape[0] = {4, "2*s0 - 4"};
  return g;
}

TEST(Graph, BindEvaluatesEverySize) {
  const Graph g = bind(symbolic(), {{"s0", 10}});
  EXPECT_EQ(g.tensors[0].shape[0].size, 10);
  EXPECT_EQ(g.tensors[4].shape[0].size, 16);  // 2*10 - 4
  EXPECT_EQ(g.tensors[0].shape[0].expression, "s0");
  EXPECT_EQ(g.symbols[0].hint, 10);
  EXPECT_EQ(bind(g, {}), g);  // values stay
}

TEST(Graph, BindToOtherSizesForgetsWhatWasObserved) {
  Graph g = symbolic();
  g.observed_saved_bytes = Bytes(100);
  EXPECT_EQ(bind(g, {}).observed_saved_bytes, Bytes(100));
  EXPECT_EQ(bind(g, {{"s0", 10}}).observed_saved_bytes, std::nullopt);
}

TEST(Graph, BindKeepsTheOrderOfAxesInMemory) {
  Graph g = symbolic();
  g.tensors[3].strides = {1, 4};  // a transposed tensor of 4 x 16
  const Graph bound = bind(g, {{"s0", 10}});
  EXPECT_EQ(bound.tensors[3].strides, (std::vector<std::int64_t>{1, 10}));
}

TEST(Graph, BindKeepsTheGapsOfAView) {
  Graph g = symbolic();
  // Every other element of rows of 31: the batch is outside of the gap, which stays.
  g.tensors[3].strides = {31, 2};
  EXPECT_EQ(bind(g, {{"s0", 10}}).tensors[3].strides, (std::vector<std::int64_t>{31, 2}));
}

TEST(Graph, BindRefusesUnknownSymbolsAndBadValuesTogether) {
  try {
    bind(symbolic(), {{"s1", 3}, {"s0", 1}});
    FAIL() << "accepted";
  } catch (const InputError& e) {
    ASSERT_EQ(e.faults().size(), 2u);
    EXPECT_EQ(to_string(e.faults()[0]),
              "test: symbol 's0' cannot be 1 (at least 2 and at most 64)");
    EXPECT_EQ(to_string(e.faults()[1]), "test: unknown symbol 's1' (did you mean 's0'?)");
  }
  try {
    bind(two_linears(), {{"s0", 3}});
    FAIL() << "accepted";
  } catch (const InputError& e) {
    EXPECT_STREQ(e.what(), "test: unknown symbol 's0' (this model was captured with fixed sizes)");
  }
}

TEST(Graph, TiedParametersCountOnce) {
  GraphBuilder b;
  b.parameter("emb.weight", {100, 8});
  b.parameter("head.weight", {100, 8});
  b.parameter("frozen", {3});
  b.buffer("mask", {5});
  b.raw().tensors[1].tied_to = TensorId(0);
  b.raw().tensors[2].requires_grad = false;
  const ParameterCount count = count_parameters(b.build());
  EXPECT_EQ(count.parameters, 803);  // 100*8 + 3
  EXPECT_EQ(count.trainable, 800);
  EXPECT_EQ(count.parameter_bytes, Bytes(803 * 4));
  EXPECT_EQ(count.buffer_bytes, Bytes(20));
}

TEST(Graph, HashIsOfTheComputationNotOfNames) {
  Graph g = two_linears();
  const std::string hash = graph_hash(g);
  EXPECT_EQ(hash.size(), 16u);
  g.name = "other";
  g.tensors[3].name = "hidden";
  g.ops[0].module = "fc";
  EXPECT_EQ(graph_hash(g), hash);
  Graph wider = g;
  wider.tensors[0].shape[0].size = 5;
  EXPECT_NE(graph_hash(wider), hash);
  Graph other = g;
  other.ops[0].attributes["alpha"] = 2.0;
  EXPECT_NE(graph_hash(other), hash);
}

TEST(Check, APredicateIsMadeWhereItsWaysCanSeeIt) {
  testing::GraphBuilder b;
  const TensorId x = b.input("x", {2});
  const RegionId yes = b.add_region("if.true", RegionKind::branch, "if", 1);
  b.enter(yes);
  const TensorId inside = b.op("aten.sum.default", {{"self", x}}, {});
  b.enter(RegionId());
  b.output(b.op(std::string(kJoin), {{"inputs", inside}}, {}));
  b.raw().regions[0].predicate = inside;
  const std::vector<Fault> faults = check(b.build());
  ASSERT_EQ(faults.size(), 1u);
  EXPECT_EQ(faults[0].what, "the predicate 't0' of 'if.true' is made in the region 'if.true'");
  b.raw().regions[0].predicate = x;
  EXPECT_TRUE(check(b.build()).empty());
  const std::string chosen = graph_hash(b.build());
  b.raw().regions[0].predicate = TensorId();
  EXPECT_NE(graph_hash(b.build()), chosen);
}

}  // namespace
}  // namespace parallel_opt
