#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "parallel_opt/base/random.h"
#include "parallel_opt/importers/tensorflow.h"
#include "tests/importers/graph_views.h"
#include "tests/importers/tf_builder.h"

// Random operands of TensorFlow's operators: sizes and FLOPs against a naive count in the test.
namespace parallel_opt {
namespace {

using testing::forward_flops;
using testing::sizes_of;
namespace tf = testing::tf;

using Sizes = std::vector<std::int64_t>;
using Numbers32 = std::vector<std::int32_t>;

class TfRandom : public ::testing::Test {
 protected:
  Random random{20261128};

  std::int64_t some(std::int64_t low, std::int64_t high) {
    return low +
           static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(high - low + 1)));
  }
  bool maybe() { return random.below(2) == 0; }
  Sizes shape(std::int64_t least, std::int64_t most) {
    Sizes sizes;
    for (std::int64_t n = some(least, most); n > 0; --n) sizes.push_back(some(1, 6));
    return sizes;
  }
  Sizes order(std::size_t count) {
    Sizes list(count);
    std::iota(list.begin(), list.end(), std::int64_t{0});
    for (std::size_t i = count; i > 1; --i) std::swap(list[i - 1], list[random.below(i)]);
    return list;
  }
  /// From the end at times, as -1.
  std::int32_t signed_axis(std::size_t axis, std::size_t rank) {
    return static_cast<std::int32_t>(axis) - (maybe() ? static_cast<std::int32_t>(rank) : 0);
  }

  /// y = op(inputs..., lists...); a list of no elements and `scalars` are numbers.
  struct List {
    Numbers32 values;
    bool scalar = false;
  };
  static Graph read(const std::string& op, const std::vector<Sizes>& inputs,
                    const std::vector<List>& lists = {}, const tf::Attributes& attributes = {}) {
    std::vector<tf::Bytes> nodes;
    std::vector<std::string> names;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      names.push_back("x" + std::to_string(i));
      nodes.push_back(tf::placeholder(names.back(), inputs[i]));
    }
    for (std::size_t i = 0; i < lists.size(); ++i) {
      names.push_back("c" + std::to_string(i));
      const Sizes dims =
          lists[i].scalar ? Sizes{} : Sizes{static_cast<std::int64_t>(lists[i].values.size())};
      nodes.push_back(tf::numbers(names.back(), lists[i].values, dims));
    }
    nodes.push_back(tf::node("y", op, names, attributes));
    return read_graph_def(tf::graph(nodes), "m.pb");
  }
  static Sizes result(const Graph& graph) { return sizes_of(graph.tensor(graph.outputs.at(0))); }
};

/// Positions of a window on a line: with SAME as many as steps begin inside of it.
std::int64_t positions(std::int64_t size, std::int64_t reach, std::int64_t stride, bool same) {
  std::int64_t count = 0;
  for (std::int64_t at = 0; same ? at < size : at + reach <= size; at += stride) ++count;
  return count;
}

TEST_F(TfRandom, ConvolutionsCountTheirPositions) {
  int seen = 0;
  for (int round = 0; round < 300; ++round) {
    const bool same = maybe(), first = maybe();
    const std::int64_t samples = some(1, 3), groups = some(1, 2), inputs = some(1, 3),
                       in = groups * inputs, out = groups * some(1, 4), height = some(3, 12),
                       width = some(3, 12), tall = some(1, 4), wide = some(1, 4),
                       stride = some(1, 3), dilation = stride == 1 ? some(1, 2) : 1;
    const std::int64_t rows = positions(height, (tall - 1) * dilation + 1, stride, same);
    const std::int64_t columns = positions(width, (wide - 1) * dilation + 1, stride, same);
    if (rows == 0 || columns == 0) continue;
    ++seen;
    const auto placed = [&](std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
      return first ? Sizes{n, c, h, w} : Sizes{n, h, w, c};
    };
    const tf::Attributes attributes = {{"strides", tf::wholes(placed(1, 1, stride, stride))},
                                       {"dilations", tf::wholes(placed(1, 1, dilation, dilation))},
                                       {"padding", tf::text(same ? "SAME" : "VALID")},
                                       {"data_format", tf::text(first ? "NCHW" : "NHWC")}};
    const Sizes image = placed(samples, in, height, width);
    const Graph graph = read("Conv2D", {image, {tall, wide, inputs, out}}, {}, attributes);
    const std::string what = ::testing::PrintToString(image) + " " + std::to_string(tall) + " " +
                             std::to_string(wide) + " by " + std::to_string(stride) + ", " +
                             std::to_string(dilation) + (same ? " SAME" : " VALID");
    ASSERT_EQ(result(graph), placed(samples, out, rows, columns)) << what;
    ASSERT_EQ(forward_flops(graph),
              2.0 * static_cast<double>(samples * rows * columns * out * inputs * tall * wide))
        << what;
    if (dilation > 1) continue;
    tf::Attributes pool = attributes;
    pool.erase(pool.begin() + 1);
    pool.emplace_back("ksize", tf::wholes(placed(1, 1, tall, wide)));
    ASSERT_EQ(result(read(maybe() ? "MaxPool" : "AvgPool", {image}, {}, pool)),
              placed(samples, in, rows, columns))
        << what;
    if (first) continue;
    const Graph depthwise =
        read("DepthwiseConv2dNative", {image, {tall, wide, in, 3}}, {}, attributes);
    ASSERT_EQ(result(depthwise), (Sizes{samples, rows, columns, 3 * in})) << what;
    ASSERT_EQ(forward_flops(depthwise),
              2.0 * static_cast<double>(samples * rows * columns * 3 * in * tall * wide))
        << what;
  }
  EXPECT_GT(seen, 200);
}

TEST_F(TfRandom, ProductsTurnAndBroadcastTheirOperands) {
  for (int round = 0; round < 300; ++round) {
    const std::int64_t n = some(1, 6), k = some(1, 6), m = some(1, 6);
    const bool a = maybe(), b = maybe();
    const auto matrix = [](bool turned, std::int64_t rows, std::int64_t columns) {
      return turned ? Sizes{columns, rows} : Sizes{rows, columns};
    };
    const Graph flat = read("MatMul", {matrix(a, n, k), matrix(b, k, m)}, {},
                            {{"transpose_a", tf::flag(a)}, {"transpose_b", tf::flag(b)}});
    ASSERT_EQ(result(flat), (Sizes{n, m}));
    ASSERT_EQ(forward_flops(flat), 2.0 * static_cast<double>(n * k * m));
    // Samples of one side or the other, or both.
    Sizes left, right, both;
    for (std::int64_t rank = some(1, 2); rank > 0; --rank) {
      const std::int64_t size = some(2, 4), kind = some(0, 2);
      left.push_back(kind == 0 ? 1 : size);
      right.push_back(kind == 1 ? 1 : size);
      both.push_back(size);
    }
    const auto append = [](Sizes list, const Sizes& more) {
      list.insert(list.end(), more.begin(), more.end());
      return list;
    };
    const Graph batched =
        read("BatchMatMulV2", {append(left, matrix(a, n, k)), append(right, matrix(b, k, m))}, {},
             {{"adj_x", tf::flag(a)}, {"adj_y", tf::flag(b)}});
    ASSERT_EQ(result(batched), append(both, {n, m}));
    double samples = 1;
    for (const std::int64_t size : both) samples *= static_cast<double>(size);
    ASSERT_EQ(forward_flops(batched), 2 * samples * static_cast<double>(n * k * m));
  }
}

TEST_F(TfRandom, ReductionsDropOrKeepTheirAxes) {
  const char* const ops[] = {"Sum", "Mean", "Max", "Min", "Prod"};
  for (int round = 0; round < 300; ++round) {
    const Sizes from = shape(1, 4);
    const bool keep = maybe();
    Numbers32 axes;
    Sizes expected;
    for (std::size_t i = 0; i < from.size(); ++i) {
      const bool reduced = maybe();
      if (reduced) axes.push_back(signed_axis(i, from.size()));
      if (!reduced || keep) expected.push_back(reduced ? 1 : from[i]);
    }
    if (axes.empty()) continue;
    const tf::Attributes attributes = {{"keep_dims", tf::flag(keep)}};
    ASSERT_EQ(result(read(ops[random.below(5)], {from}, {{axes}}, attributes)), expected)
        << ::testing::PrintToString(from) << ::testing::PrintToString(axes);
    const std::size_t axis = random.below(from.size());
    Sizes without = from;
    without.erase(without.begin() + static_cast<std::ptrdiff_t>(axis));
    const List at = {{signed_axis(axis, from.size())}, true};
    ASSERT_EQ(result(read(maybe() ? "ArgMax" : "ArgMin", {from}, {at})), without);
    ASSERT_EQ(result(read("Cumsum", {from}, {at})), from);
  }
}

TEST_F(TfRandom, BroadcastsOfAnyRank) {
  const char* const ops[] = {"AddV2", "Mul", "Sub", "RealDiv", "Maximum", "SquaredDifference"};
  for (int round = 0; round < 300; ++round) {
    const Sizes whole = shape(0, 4);
    const auto part = [&] {
      Sizes sizes(whole.begin() + some(0, static_cast<std::int64_t>(whole.size())), whole.end());
      for (std::int64_t& size : sizes) size = random.below(3) == 0 ? 1 : size;
      return sizes;
    };
    const Sizes a = part(), b = part();
    Sizes expected;
    for (std::size_t i = std::max(a.size(), b.size()); i > 0; --i) {
      const std::int64_t x = i <= a.size() ? a[a.size() - i] : 1;
      const std::int64_t y = i <= b.size() ? b[b.size() - i] : 1;
      expected.push_back(std::max(x, y));
    }
    ASSERT_EQ(result(read(ops[random.below(6)], {a, b})), expected)
        << ::testing::PrintToString(a) << ::testing::PrintToString(b);
  }
}

TEST_F(TfRandom, LayoutsFollowTheirNumbers) {
  for (int round = 0; round < 200; ++round) {
    const Sizes from = shape(1, 4);
    const std::size_t rank = from.size(), axis = random.below(rank);
    const Sizes turned_order = order(rank);
    Sizes turned, tiled, padded, begun;
    Numbers32 permutation, multiples, pads, begin, size;
    for (std::size_t i = 0; i < rank; ++i) {
      permutation.push_back(static_cast<std::int32_t>(turned_order[i]));
      turned.push_back(from[static_cast<std::size_t>(turned_order[i])]);
      multiples.push_back(static_cast<std::int32_t>(some(1, 3)));
      tiled.push_back(from[i] * multiples.back());
      for (int side = 0; side < 2; ++side) pads.push_back(static_cast<std::int32_t>(some(0, 2)));
      padded.push_back(from[i] + pads[2 * i] + pads[2 * i + 1]);
      begin.push_back(static_cast<std::int32_t>(some(0, from[i] - 1)));
      const std::int64_t left = from[i] - begin.back();
      const bool rest = maybe();
      begun.push_back(rest ? left : some(1, left));
      size.push_back(rest ? -1 : static_cast<std::int32_t>(begun.back()));
    }
    ASSERT_EQ(result(read("Transpose", {from}, {{permutation}})), turned);
    ASSERT_EQ(result(read("Tile", {from}, {{multiples}})), tiled);
    ASSERT_EQ(result(read("Pad", {from}, {{pads}})), padded);
    ASSERT_EQ(result(read("Slice", {from}, {{begin}, {size}})), begun);
    Sizes other = from, whole = from, stacked = from, wide = from;
    other[axis] = some(1, 5);
    whole[axis] = 2 * from[axis] + other[axis];
    const List at = {{signed_axis(axis, rank)}, true};
    ASSERT_EQ(result(read("ConcatV2", {from, other, from}, {at})), whole);
    const std::size_t place = random.below(rank + 1);
    const std::int32_t between = signed_axis(place, rank + 1);
    stacked.insert(stacked.begin() + static_cast<std::ptrdiff_t>(place), 3);
    ASSERT_EQ(result(read("Pack", {from, from, from}, {}, {{"axis", tf::whole(between)}})),
              stacked);
    wide.insert(wide.begin() + static_cast<std::ptrdiff_t>(place), 1);
    ASSERT_EQ(result(read("ExpandDims", {from}, {{{between}, true}})), wide);
    ASSERT_EQ(result(read("Squeeze", {wide}, {}, {{"squeeze_dims", tf::wholes({between})}})), from);
    Numbers32 index(static_cast<std::size_t>(some(1, 4)), 0);
    Sizes gathered = from;
    gathered[axis] = static_cast<std::int64_t>(index.size());
    ASSERT_EQ(result(read("GatherV2", {from}, {{index}, at})), gathered);
  }
}

TEST_F(TfRandom, ReshapesTakeWhatIsLeft) {
  for (int round = 0; round < 200; ++round) {
    const Sizes from = shape(1, 4);
    Sizes to;  // neighbours merged at random
    for (const std::int64_t size : from) {
      if (!to.empty() && maybe()) {
        to.back() *= size;
      } else {
        to.push_back(size);
      }
    }
    Numbers32 asked(to.begin(), to.end());
    if (maybe()) asked[random.below(asked.size())] = -1;
    ASSERT_EQ(result(read("Reshape", {from}, {{asked}})), to) << ::testing::PrintToString(asked);
  }
}

TEST_F(TfRandom, EinsumsCountEveryCombinationOfTheirLetters) {
  for (int round = 0; round < 200; ++round) {
    // a: only left, b: only right, s: summed, n: of both and kept
    const Sizes of = {some(1, 5), some(1, 5), some(2, 5), some(1, 5)};
    const std::string letters = "absn";
    const auto side = [&](const std::string& names) {
      std::string text;
      for (const std::int64_t at : order(names.size())) {
        text += names[static_cast<std::size_t>(at)];
      }
      return text;
    };
    const auto sized = [&](const std::string& names) {
      Sizes sizes;
      for (const char name : names) sizes.push_back(of[letters.find(name)]);
      return sizes;
    };
    const std::string x = side("asn"), y = side("bsn"), z = side("abn");
    const Graph graph =
        read("Einsum", {sized(x), sized(y)}, {}, {{"equation", tf::text(x + "," + y + "->" + z)}});
    ASSERT_EQ(result(graph), sized(z)) << x << y << z;
    ASSERT_EQ(forward_flops(graph), 2.0 * static_cast<double>(of[0] * of[1] * of[2] * of[3]))
        << x << "," << y << "->" << z;
  }
}

}  // namespace
}  // namespace parallel_opt
