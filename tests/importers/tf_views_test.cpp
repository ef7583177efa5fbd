#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <optional>

#include "parallel_opt/base/error.h"
#include "parallel_opt/base/random.h"
#include "parallel_opt/graph/summary.h"
#include "parallel_opt/importers/tensorflow.h"
#include "tests/importers/graph_views.h"
#include "tests/importers/tf_builder.h"

// Views, gathers and new tensors of TensorFlow: sizes against what the definitions say.
namespace parallel_opt {
namespace {

using testing::sizes_of;
using testing::targets;
namespace tf = testing::tf;

using Axes = std::vector<std::int64_t>;
using Names = std::vector<std::string>;
using Numbers32 = std::vector<std::int32_t>;

/// Constants of one operator: a list, or a number where it has no size.
struct Constant {
  Numbers32 values;
  bool scalar = false;
};
Constant one(std::int32_t value) { return {{value}, true}; }

/// y = op(x..., constants...): graph inputs (TensorFlow calls them placeholders) come first unless
/// `last`.
Graph view(const std::string& op, const std::vector<Axes>& shapes,
           const std::vector<Constant>& constants = {}, const tf::Attributes& attributes = {},
           bool last = false) {
  std::vector<tf::Bytes> nodes;
  Names inputs, known;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    inputs.push_back("x" + std::to_string(i));
    nodes.push_back(tf::placeholder(inputs.back(), shapes[i]));
  }
  for (std::size_t i = 0; i < constants.size(); ++i) {
    known.push_back("c" + std::to_string(i));
    const Axes dims =
        constants[i].scalar ? Axes{} : Axes{static_cast<std::int64_t>(constants[i].values.size())};
    nodes.push_back(tf::numbers(known.back(), constants[i].values, dims));
  }
  if (last) std::swap(inputs, known);
  inputs.insert(inputs.end(), known.begin(), known.end());
  nodes.push_back(tf::node("y", op, inputs, attributes));
  return read_graph_def(tf::graph(nodes, {}), "m.pb");
}

Axes sizes(const Graph& graph, std::size_t result = 0) {
  return sizes_of(graph.tensor(graph.outputs.at(result)));
}

std::string view_fault(const std::function<Graph()>& make) {
  try {
    make();
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

/// Elements that begin:end:step takes of `size`, counted one by one as Python does.
std::int64_t naive_slice(std::int64_t size, std::optional<std::int64_t> begin,
                         std::optional<std::int64_t> end, std::int64_t step) {
  const auto clamp = [&](std::int64_t at, std::int64_t low, std::int64_t high) {
    return std::clamp(at < 0 ? at + size : at, low, high);
  };
  std::int64_t count = 0;
  if (step > 0) {
    const std::int64_t stop = end ? clamp(*end, 0, size) : size;
    for (std::int64_t at = begin ? clamp(*begin, 0, size) : 0; at < stop; at += step) ++count;
  } else {
    const std::int64_t stop = end ? clamp(*end, -1, size - 1) : -1;
    for (std::int64_t at = begin ? clamp(*begin, -1, size - 1) : size - 1; at > stop; at += step) {
      ++count;
    }
  }
  return count;
}

TEST(TfViews, StridedSlicesTakeWhatPythonTakes) {
  Random random(41);
  for (int round = 0; round < 400; ++round) {
    Axes shape, expected;
    Numbers32 begins, ends, steps;
    std::int64_t begin_mask = 0, end_mask = 0, shrink_mask = 0;
    for (std::uint64_t axis = 0, axes = 1 + random.below(3); axis < axes; ++axis) {
      const auto size = 1 + std::int64_t(random.below(8));
      shape.push_back(size);
      const auto number = [&] { return std::int32_t(random.below(25)) - 12; };
      begins.push_back(number());
      ends.push_back(number());
      steps.push_back(std::int32_t(1 + random.below(3)) * (random.below(2) == 0 ? 1 : -1));
      if (random.below(5) == 0) {  // one element: the axis goes
        begins.back() = std::int32_t(random.below(std::uint64_t(size)));
        shrink_mask |= 1LL << axis;
        continue;
      }
      const bool from_start = random.below(3) == 0, to_end = random.below(3) == 0;
      if (from_start) begin_mask |= 1LL << axis;
      if (to_end) end_mask |= 1LL << axis;
      expected.push_back(naive_slice(
          size, from_start ? std::nullopt : std::optional<std::int64_t>(begins.back()),
          to_end ? std::nullopt : std::optional<std::int64_t>(ends.back()), steps.back()));
    }
    const Graph graph = view("StridedSlice", {shape}, {{begins}, {ends}, {steps}},
                             {{"begin_mask", tf::whole(begin_mask)},
                              {"end_mask", tf::whole(end_mask)},
                              {"shrink_axis_mask", tf::whole(shrink_mask)}});
    ASSERT_EQ(sizes(graph), expected)
        << ::testing::PrintToString(shape) << " begins " << ::testing::PrintToString(begins)
        << " ends " << ::testing::PrintToString(ends) << " steps "
        << ::testing::PrintToString(steps) << " masks " << begin_mask << " " << end_mask;
  }
}

TEST(TfViews, DotsAndNewAxesOfASlice) {
  // x[..., new, 1:3] of [2, 3, 4, 5]
  const Graph graph = view("StridedSlice", {{2, 3, 4, 5}}, {{{0, 0, 1}}, {{0, 0, 3}}, {{1, 1, 1}}},
                           {{"ellipsis_mask", tf::whole(1)}, {"new_axis_mask", tf::whole(2)}});
  EXPECT_EQ(sizes(graph), (Axes{2, 3, 4, 1, 2}));
  EXPECT_EQ(sizes(view("StridedSlice", {{2, 3}}, {{{0}}, {{0}}, {{1}}},
                       {{"new_axis_mask", tf::whole(1)}})),
            (Axes{1, 2, 3}));
  EXPECT_NE(view_fault([] {
              return view("StridedSlice", {{2}}, {{{0, 0}}, {{1, 1}}, {{1, 1}}});
            }).find("more slices than axes"),
            std::string::npos);
}

TEST(TfViews, SizesOfViewsFollowTheirDefinitions) {
  EXPECT_EQ(sizes(view("Reshape", {{4, 6}}, {{{2, -1, 3}}})), (Axes{2, 4, 3}));
  EXPECT_EQ(sizes(view("Transpose", {{2, 3, 4}}, {{{2, 0, 1}}})), (Axes{4, 2, 3}));
  EXPECT_EQ(sizes(view("ExpandDims", {{2, 3}}, {one(-1)})), (Axes{2, 3, 1}));
  EXPECT_EQ(sizes(view("ExpandDims", {{2, 3}}, {one(0)})), (Axes{1, 2, 3}));
  EXPECT_EQ(sizes(view("Squeeze", {{1, 3, 1}})), (Axes{3}));
  EXPECT_EQ(sizes(view("Squeeze", {{1, 3, 1}}, {}, {{"squeeze_dims", tf::wholes({-1})}})),
            (Axes{1, 3}));
  EXPECT_EQ(sizes(view("ConcatV2", {{2, 3}, {2, 5}}, {one(1)})), (Axes{2, 8}));
  EXPECT_EQ(sizes(view("Concat", {{2, 3}, {4, 3}}, {one(0)}, {}, true)), (Axes{6, 3}));
  EXPECT_EQ(sizes(view("Pack", {{2, 3}, {2, 3}}, {}, {{"axis", tf::whole(-1)}})), (Axes{2, 3, 2}));
  EXPECT_EQ(sizes(view("Slice", {{5, 6}}, {{{1, 2}}, {{3, -1}}})), (Axes{3, 4}));
  EXPECT_EQ(sizes(view("Tile", {{2, 3}}, {{{1, 4}}})), (Axes{2, 12}));
  EXPECT_EQ(sizes(view("Pad", {{2, 3}}, {{{1, 1, 0, 2}}})), (Axes{4, 5}));
  EXPECT_EQ(sizes(view("BroadcastTo", {{1, 3}}, {{{4, 3}}})), (Axes{4, 3}));
  EXPECT_EQ(sizes(view("Roll", {{4, 3}}, {one(1), one(0)})), (Axes{4, 3}));
  EXPECT_EQ(sizes(view("MatrixBandPart", {{4, 4}}, {one(-1), one(0)})), (Axes{4, 4}));
  EXPECT_EQ(sizes(view("MatrixDiag", {{2, 5}})), (Axes{2, 5, 5}));
  EXPECT_EQ(sizes(view("MatrixDiagPart", {{2, 5, 3}})), (Axes{2, 3}));
  EXPECT_EQ(sizes(view("SpaceToDepth", {{1, 8, 6, 3}}, {}, {{"block_size", tf::whole(2)}})),
            (Axes{1, 4, 3, 12}));
  EXPECT_EQ(sizes(view("DepthToSpace", {{1, 4, 3, 12}}, {}, {{"block_size", tf::whole(2)}})),
            (Axes{1, 8, 6, 3}));
}

TEST(TfViews, PartsAreAllThere) {
  const Graph even = view("Split", {{2, 6}}, {one(1)}, {{"num_split", tf::whole(3)}}, true);
  EXPECT_EQ(targets(even), Names{"aten.split_with_sizes.default"});
  ASSERT_EQ(even.ops[0].outputs.size(), 3u);
  for (const TensorId id : even.ops[0].outputs) EXPECT_EQ(sizes_of(even.tensor(id)), (Axes{2, 2}));
  const Graph listed =
      view("SplitV", {{2, 9}}, {{{2, -1, 3}}, one(1)}, {{"num_split", tf::whole(3)}});
  ASSERT_EQ(listed.ops[0].outputs.size(), 3u);
  const std::int64_t wanted[] = {2, 4, 3};  // 9 - 2 - 3
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(sizes_of(listed.tensor(listed.ops[0].outputs[i])), (Axes{2, wanted[i]}));
  }
  const Graph rows =
      view("Unpack", {{4, 2, 3}}, {}, {{"num", tf::whole(2)}, {"axis", tf::whole(1)}});
  EXPECT_EQ(targets(rows), Names{"aten.unbind.int"});
  ASSERT_EQ(rows.ops[0].outputs.size(), 2u);
  EXPECT_EQ(sizes(rows), (Axes{4, 3}));
}

TEST(TfViews, GathersPutTheIndicesSizesInPlaceOfTheAxis) {
  EXPECT_EQ(sizes(view("GatherV2", {{7, 3}}, {{{0, 2, 4, 6}}, one(0)})), (Axes{4, 3}));
  EXPECT_EQ(sizes(view("GatherV2", {{7, 3}}, {{{0, 2}}, one(1)})), (Axes{7, 2}));
  EXPECT_EQ(sizes(view("GatherV2", {{7, 3}}, {one(2), one(1)})), (Axes{7}));  // one column
  EXPECT_EQ(sizes(view("GatherNd", {{7, 3, 5}, {4, 2}})), (Axes{4, 5}));
  EXPECT_EQ(sizes(view("GatherNd", {{7, 3}, {4, 6, 2}})), (Axes{4, 6}));
  EXPECT_EQ(sizes(view("TensorScatterAdd", {{7, 3}, {4, 1}, {4, 3}})), (Axes{7, 3}));
  EXPECT_EQ(sizes(view("ScatterNd", {{4, 1}, {4, 3}}, {{{9, 3}}})), (Axes{9, 3}));
  EXPECT_EQ(sizes(view("UnsortedSegmentSum", {{10, 4}, {10}}, {one(6)})), (Axes{6, 4}));
  EXPECT_EQ(sizes(view("TopKV2", {{3, 9}}, {one(4)})), (Axes{3, 4}));
  EXPECT_EQ(sizes(view("OneHot", {{3, 2}}, {one(10), one(1), one(0)})), (Axes{3, 2, 10}));
  EXPECT_EQ(sizes(view("OneHot", {{3, 2}}, {one(10), one(1), one(0)}, {{"axis", tf::whole(0)}})),
            (Axes{10, 3, 2}));
}

TEST(TfViews, NewTensorsAreAsLargeAsTheyAreAskedToBe) {
  EXPECT_EQ(sizes(view("Fill", {}, {{{3, 4}}, one(1)})), (Axes{3, 4}));
  EXPECT_EQ(sizes(view("RandomUniform", {}, {{{3, 4}}}, {{"dtype", tf::type(tf::kFloat)}})),
            (Axes{3, 4}));
  EXPECT_EQ(targets(view("TruncatedNormal", {}, {{{2}}}, {{"dtype", tf::type(tf::kFloat)}})),
            Names{"aten.randn.default"});
  for (const auto& [start, limit, step, count] : {std::array{0, 10, 1, 10},
                                                  {0, 10, 3, 4},
                                                  {5, 5, 1, 0},
                                                  {7, 2, 1, 0},
                                                  {10, 0, -1, 10},
                                                  {10, 0, -4, 3},
                                                  {0, 10, -1, 0}}) {
    EXPECT_EQ(sizes(view("Range", {}, {one(start), one(limit), one(step)})), (Axes{count}))
        << start << " " << limit << " " << step;
  }
}

TEST(TfViews, WhatDataDecidesIsASymbol) {
  const Graph found = view("Where", {{3, 4}});
  EXPECT_EQ(targets(found), Names{"aten.nonzero.default"});
  const Tensor& places = found.tensor(found.outputs[0]);
  EXPECT_TRUE(places.shape[0].symbolic());
  EXPECT_EQ(places.shape[0].size, 12);  // at most all of them
  EXPECT_EQ(places.shape[1].size, 2);
  const Graph unique = view("UniqueWithCounts", {{6}});
  ASSERT_EQ(unique.ops.at(0).outputs.size(), 3u);
  EXPECT_TRUE(unique.tensor(unique.ops[0].outputs[0]).shape[0].symbolic());
  EXPECT_EQ(sizes_of(unique.tensor(unique.ops[0].outputs[1])), (Axes{6}));
}

TEST(TfViews, ContradictionsAreFaults) {
  const auto says = [](const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos ? "" : text;
  };
  EXPECT_EQ(says(view_fault([] { return view("Reshape", {{4, 6}}, {{{5, 5}}}); }),
                 "sizes [4, 6] cannot become [5, 5]"),
            "");
  EXPECT_EQ(says(view_fault([] { return view("Transpose", {{2, 3}}, {{{0, 0}}}); }),
                 "the permutation does not name every axis once"),
            "");
  EXPECT_EQ(
      says(view_fault([] { return view("ExpandDims", {{2, 3}}, {one(7)}); }), "axis 7 of 3 axes"),
      "");
  EXPECT_EQ(says(view_fault([] { return view("ConcatV2", {{2, 3}, {2}}, {one(0)}); }),
                 "operands differ in rank"),
            "");
}

TEST(TfViews, AViewOfEverythingIsNoOperator) {
  EXPECT_TRUE(view("Transpose", {{2, 3}}, {{{0, 1}}}).ops.empty());
  EXPECT_TRUE(view("StridedSlice", {{2, 3}}, {{{0}}, {{2}}, {{1}}}).ops.empty());
  EXPECT_TRUE(view("ConcatV2", {{2, 3}}, {one(0)}).ops.empty());
}

TEST(TfViews, WhatIsNotUnderstoodStaysOpaqueNeverDropped) {
  for (const auto& [op, shapes] :
       std::vector<std::pair<std::string, std::vector<Axes>>>{{"Reshape", {{4, 6}}},
                                                              {"Tile", {{2, 3}, {2}}},
                                                              {"DepthToSpace", {{2, 3}}},
                                                              {"MatrixDiagPart", {{3}}},
                                                              {"TopK", {{}}}}) {
    EXPECT_EQ(targets(view(op, shapes)), Names{"tensorflow." + op}) << op;
  }
}

}  // namespace
}  // namespace parallel_opt
