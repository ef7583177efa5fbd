#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "parallel_opt/base/random.h"
#include "tests/importers/graph_views.h"
#include "tests/importers/onnx_writer.h"

// Random operands of ONNX operators: sizes against a naive count in the test.
namespace parallel_opt {
namespace {

using testing::Names;
using testing::Numbers;
using testing::one_node;
using testing::sizes_of;

class OnnxRandom : public ::testing::Test {
 protected:
  Random random{20261127};

  std::int64_t some(std::int64_t low, std::int64_t high) {
    return low + std::int64_t(random.below(std::uint64_t(high - low + 1)));
  }
  Numbers shape(int least, int most, std::int64_t largest = 6) {
    Numbers sizes;
    for (std::int64_t n = some(least, most); n > 0; --n) sizes.push_back(some(1, largest));
    return sizes;
  }
  static Names names(const Numbers& sizes) {
    Names list;
    for (const std::int64_t size : sizes) list.push_back(std::to_string(size));
    return list;
  }
  /// Sizes of the first result.
  static Numbers result(const std::string& type, const std::vector<Numbers>& shapes,
                        const Names& attributes = {}, const Names& constants = {}) {
    std::vector<Names> inputs;
    for (const Numbers& sizes : shapes) inputs.push_back(names(sizes));
    const Graph graph = testing::read(one_node(type, inputs, attributes, constants), 18);
    return sizes_of(graph.tensor(graph.outputs.at(0)));
  }
};

TEST_F(OnnxRandom, SlicesTakeWhatPythonTakes) {
  for (int round = 0; round < 300; ++round) {
    const Numbers from = shape(1, 3, 8);
    Numbers starts, ends, axes, steps, expected = from;
    for (std::size_t axis = 0; axis < from.size(); ++axis) {
      if (random.below(3) == 0) continue;
      const std::int64_t size = from[axis], step = some(1, 3) * (random.below(2) == 0 ? 1 : -1);
      starts.push_back(some(-12, 12));
      ends.push_back(some(-12, 12));
      steps.push_back(step);
      axes.push_back(random.below(2) == 0 ? std::int64_t(axis)
                                          : std::int64_t(axis) - std::int64_t(from.size()));
      const auto clamp = [&](std::int64_t at, std::int64_t low, std::int64_t high) {
        return std::clamp(at < 0 ? at + size : at, low, high);
      };
      std::int64_t count = 0;
      const bool up = step > 0;
      const std::int64_t stop = up ? clamp(ends.back(), 0, size) : clamp(ends.back(), -1, size - 1);
      std::int64_t at = up ? clamp(starts.back(), 0, size) : clamp(starts.back(), 0, size - 1);
      for (; up ? at < stop : at > stop; at += step) ++count;
      expected[axis] = count;
    }
    if (axes.empty()) continue;
    ASSERT_EQ(result("Slice", {from}, {},
                     {testing::list("c0", starts), testing::list("c1", ends),
                      testing::list("c2", axes), testing::list("c3", steps)}),
              expected)
        << ::testing::PrintToString(from) << ::testing::PrintToString(starts)
        << ::testing::PrintToString(ends) << ::testing::PrintToString(axes)
        << ::testing::PrintToString(steps);
  }
}

TEST_F(OnnxRandom, WindowsSlideAsOftenAsTheyFit) {
  int seen = 0;
  for (int round = 0; round < 400; ++round) {
    const std::int64_t size = some(3, 20), kernel = some(1, 4), stride = some(1, 3),
                       dilation = some(1, 2), begin = some(0, 2), end = some(0, 2);
    const bool ceil = random.below(2) == 0;
    if (begin >= kernel || end >= kernel) continue;
    const std::int64_t reach = dilation * (kernel - 1) + 1;
    if (size + begin + end < reach) continue;
    // Window by window: one more with ceil if it begins inside of image or first padding.
    std::int64_t count = 0;
    for (std::int64_t at = 0; at + reach <= size + begin + end; at += stride) ++count;
    const std::int64_t next = count * stride;
    const bool uneven = (size + begin + end - reach) % stride != 0;
    const std::int64_t with_ceil = ceil && uneven && next < size + begin ? count + 1 : count;
    const Names window = {
        testing::wholes("kernel_shape", {kernel}), testing::wholes("strides", {stride}),
        testing::wholes("dilations", {dilation}), testing::wholes("pads", {begin, end})};
    Names pool = window;
    pool.push_back(testing::whole("ceil_mode", ceil ? 1 : 0));
    ASSERT_EQ(result("MaxPool", {{2, 3, size}}, pool), (Numbers{2, 3, with_ceil}))
        << size << " " << kernel << " " << stride << " " << dilation << " " << begin << " " << end;
    ASSERT_EQ(result("Conv", {{2, 3, size}, {5, 3, kernel}}, window), (Numbers{2, 5, count}));
    ++seen;
  }
  EXPECT_GT(seen, 100);
}

TEST_F(OnnxRandom, ATransposedConvolutionUndoesOneInSize) {
  for (int round = 0; round < 200; ++round) {
    const std::int64_t kernel = some(1, 5), stride = some(1, 3), dilation = some(1, 2),
                       pad = some(0, kernel - 1), size = some(3, 12);
    const Names window = {
        testing::wholes("kernel_shape", {kernel}), testing::wholes("strides", {stride}),
        testing::wholes("dilations", {dilation}), testing::wholes("pads", {pad, pad})};
    const std::int64_t wide = stride * (size - 1) + dilation * (kernel - 1) + 1 - 2 * pad;
    if (wide < 1) continue;
    ASSERT_EQ(result("ConvTranspose", {{1, 4, size}, {4, 6, kernel}}, window),
              (Numbers{1, 6, wide}));
    // And a convolution brings it back.
    ASSERT_EQ(result("Conv", {{1, 6, wide}, {4, 6, kernel}}, window), (Numbers{1, 4, size}));
  }
}

TEST_F(OnnxRandom, ReductionsDropWhatTheyName) {
  const char* const types[] = {"ReduceSum",       "ReduceMean",     "ReduceMax", "ReduceMin",
                               "ReduceProd",      "ReduceL1",       "ReduceL2",  "ReduceLogSum",
                               "ReduceLogSumExp", "ReduceSumSquare"};
  for (int round = 0; round < 200; ++round) {
    const Numbers from = shape(1, 4);
    const bool keep = random.below(2) == 0;
    Numbers axes, expected;
    for (std::size_t axis = 0; axis < from.size(); ++axis) {
      const bool reduced = random.below(2) == 0;
      if (reduced) {
        axes.push_back(random.below(2) == 0 ? std::int64_t(axis)
                                            : std::int64_t(axis) - std::int64_t(from.size()));
      }
      if (!reduced || keep) expected.push_back(reduced ? 1 : from[axis]);
    }
    if (axes.empty()) expected = keep ? Numbers(from.size(), 1) : Numbers{};  // all of them
    const std::string type = types[random.below(std::size(types))];
    const std::string flag = testing::whole("keepdims", keep ? 1 : 0);
    const Names constants = axes.empty() ? Names{} : Names{testing::list("c0", axes)};
    // Until opset 18 all but sums had the axes as an attribute: 18 takes an operand.
    ASSERT_EQ(result(type, {from}, {flag}, constants), expected) << type;
    const std::int64_t axis = some(-std::int64_t(from.size()), std::int64_t(from.size()) - 1);
    Numbers without = from;
    const auto at = without.begin() + (axis < 0 ? axis + std::int64_t(from.size()) : axis);
    keep ? void(*at = 1) : void(without.erase(at));
    ASSERT_EQ(result(random.below(2) == 0 ? "ArgMax" : "ArgMin", {from},
                     {testing::whole("axis", axis), flag}),
              without);
  }
}

TEST_F(OnnxRandom, BroadcastsOfAnyRank) {
  for (int round = 0; round < 300; ++round) {
    const Numbers whole = shape(0, 4);
    const auto part = [&] {
      Numbers sizes(whole.begin() + some(0, std::int64_t(whole.size())), whole.end());
      for (std::int64_t& size : sizes) size = random.below(3) == 0 ? 1 : size;
      return sizes;
    };
    const Numbers a = part(), b = part();
    Numbers expected;
    for (std::size_t i = std::max(a.size(), b.size()); i > 0; --i) {
      const std::int64_t x = i <= a.size() ? a[a.size() - i] : 1;
      const std::int64_t y = i <= b.size() ? b[b.size() - i] : 1;
      expected.push_back(std::max(x, y));
    }
    const char* const types[] = {"Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean"};
    ASSERT_EQ(result(types[random.below(std::size(types))], {a, b}), expected);
    ASSERT_EQ(result("Expand", {a}, {}, {testing::list("c0", b)}), expected);
  }
}

TEST_F(OnnxRandom, LayoutsFollowTheirNumbers) {
  for (int round = 0; round < 200; ++round) {
    const Numbers from = shape(1, 4);
    const auto rank = std::int64_t(from.size());
    Numbers order;
    for (std::int64_t i = 0; i < rank; ++i) order.insert(order.begin() + some(0, i), i);
    Numbers turned, tiled, padded, repeats, pads(std::size_t(2 * rank));
    for (std::int64_t i = 0; i < rank; ++i) {
      turned.push_back(from[std::size_t(order[std::size_t(i)])]);
      repeats.push_back(some(1, 3));
      tiled.push_back(from[std::size_t(i)] * repeats.back());
      pads[std::size_t(i)] = some(0, 2);
      pads[std::size_t(rank + i)] = some(0, 2);
      padded.push_back(from[std::size_t(i)] + pads[std::size_t(i)] + pads[std::size_t(rank + i)]);
    }
    ASSERT_EQ(result("Transpose", {from}, {testing::wholes("perm", order)}), turned);
    ASSERT_EQ(result("Tile", {from}, {}, {testing::list("c0", repeats)}), tiled);
    ASSERT_EQ(result("Pad", {from}, {}, {testing::list("c0", pads)}), padded);
    const std::int64_t axis = some(-rank, rank - 1), at = axis < 0 ? axis + rank : axis;
    std::int64_t before = 1, behind = 1;
    for (std::int64_t i = 0; i < rank; ++i) (i < at ? before : behind) *= from[std::size_t(i)];
    ASSERT_EQ(result("Flatten", {from}, {testing::whole("axis", axis)}), (Numbers{before, behind}));
    Numbers joined = from;
    joined[std::size_t(at)] *= 3;
    ASSERT_EQ(result("Concat", {from, from, from}, {testing::whole("axis", axis)}), joined);
    Numbers gathered(from.begin(), from.begin() + at);
    const Numbers indices = shape(0, 2);
    gathered.insert(gathered.end(), indices.begin(), indices.end());
    gathered.insert(gathered.end(), from.begin() + at + 1, from.end());
    ASSERT_EQ(result("Gather", {from, indices}, {testing::whole("axis", axis)}), gathered);
    Numbers kept = from;
    kept[std::size_t(at)] = some(0, from[std::size_t(at)]);
    ASSERT_EQ(result("TopK", {from}, {testing::whole("axis", axis)},
                     {testing::list("c0", {kept[std::size_t(at)]})}),
              kept);
    Numbers wide = from;
    wide.insert(wide.begin() + some(0, rank), 1);
    const auto inserted = std::int64_t(
        std::mismatch(wide.begin(), wide.end(), from.begin(), from.end()).first - wide.begin());
    ASSERT_EQ(result("Unsqueeze", {from}, {}, {testing::list("c0", {inserted})}), wide);
  }
}

TEST_F(OnnxRandom, RangesCountTheirSteps) {
  for (int round = 0; round < 300; ++round) {
    const std::int64_t start = some(-20, 20), limit = some(-20, 20);
    const std::int64_t step = some(1, 5) * (random.below(2) == 0 ? 1 : -1);
    std::int64_t count = 0;
    for (std::int64_t at = start; step > 0 ? at < limit : at > limit; at += step) ++count;
    ASSERT_EQ(result("Range", {}, {},
                     {testing::number("c0", start), testing::number("c1", limit),
                      testing::number("c2", step)}),
              Numbers{count})
        << start << " " << limit << " " << step;
  }
}

TEST_F(OnnxRandom, ReshapesKeepEveryElement) {
  for (int round = 0; round < 200; ++round) {
    const Numbers from = shape(1, 4);
    // Merge neighbours at random, then leave one size open or take one over.
    Numbers to;
    for (const std::int64_t size : from) {
      if (!to.empty() && random.below(2) == 0) {
        to.back() *= size;
      } else {
        to.push_back(size);
      }
    }
    Numbers asked = to;
    const std::size_t open = random.below(asked.size());
    asked[open] = open < from.size() && from[open] == to[open] ? 0 : -1;
    ASSERT_EQ(result("Reshape", {from}, {}, {testing::list("c0", asked)}), to)
        << ::testing::PrintToString(from) << ::testing::PrintToString(asked);
  }
}

}  // namespace
}  // namespace parallel_opt
