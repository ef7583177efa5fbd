#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/base/random.h"
#include "parallel_opt/importers/stablehlo.h"
#include "tests/importers/archive.h"
#include "tests/importers/graph_views.h"

// Random operators of StableHLO: a text whose result has the size that a naive count gives is read
// and has the FLOPs of that count; with any other size it contradicts itself and is refused.
namespace parallel_opt {
namespace {

using testing::error_of;
using testing::forward_flops;

using Sizes = std::vector<std::int64_t>;

std::string joined(const Sizes& list, const std::string& between = ", ") {
  std::string text;
  for (std::size_t i = 0; i < list.size(); ++i) {
    text += (i > 0 ? between : "") + std::to_string(list[i]);
  }
  return text;
}

std::string type(const Sizes& sizes) {
  return "tensor<" + joined(sizes, "x") + (sizes.empty() ? "f32>" : "xf32>");
}

class StableHloRandom : public ::testing::Test {
 protected:
  Random random{20261128};

  std::int64_t some(std::int64_t low, std::int64_t high) {
    return low +
           static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(high - low + 1)));
  }
  Sizes shape(std::int64_t least, std::int64_t most) {
    Sizes sizes;
    for (std::int64_t n = some(least, most); n > 0; --n) sizes.push_back(some(2, 6));
    return sizes;
  }
  Sizes shuffled(std::size_t count) {
    Sizes order(count);
    std::iota(order.begin(), order.end(), std::int64_t{0});
    for (std::size_t i = count; i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
    return order;
  }

  /// A function of `operands` that returns what `line` (up to the types) makes of them.
  static Graph read(const std::string& line, const std::vector<Sizes>& operands,
                    const Sizes& result) {
    std::string arguments, types;
    for (std::size_t i = 0; i < operands.size(); ++i) {
      arguments += (i > 0 ? ", %x" : "%x") + std::to_string(i) + ": " + type(operands[i]);
      types += (i > 0 ? ", " : "") + type(operands[i]);
    }
    const bool zero = line.find("%zero") != std::string::npos;
    return read_stablehlo(
        "module @m {\nfunc.func public @main(" + arguments + ") -> " + type(result) + " {\n" +
            (zero ? "%zero = stablehlo.constant dense<0.0> : tensor<f32>\n" : "") + "%0 = " + line +
            " : (" + types + (zero ? ", tensor<f32>" : "") + ") -> " + type(result) +
            "\nreturn %0 : " + type(result) + "\n}\n}\n",
        "m.mlir");
  }

  /// Reads with the size that follows and not with one that does not; FLOPs of the first.
  double flops(const std::string& line, const std::vector<Sizes>& operands, const Sizes& result) {
    const Graph graph = read(line, operands, result);
    EXPECT_EQ(testing::sizes_of(graph.tensor(graph.outputs.at(0))), result) << line;
    if (!result.empty()) {
      Sizes wrong = result;
      wrong[random.below(wrong.size())] += some(1, 2);
      EXPECT_NE(error_of([&] { read(line, operands, wrong); }), "no error")
          << line << " as " << type(wrong);
    }
    return forward_flops(graph);
  }
};

TEST_F(StableHloRandom, ProductsContractWhatTheyName) {
  for (int round = 0; round < 300; ++round) {
    // Letters of one size each, placed at random among the axes of each side.
    const Sizes batch = shape(0, 2), summed = shape(1, 2), left = shape(0, 2), right = shape(0, 2);
    const auto side = [&](const Sizes& own, Sizes& batch_at, Sizes& summed_at, Sizes& own_at) {
      const std::size_t count = batch.size() + summed.size() + own.size();
      const Sizes place = shuffled(count);
      Sizes sizes(count);
      for (std::size_t i = 0; i < count; ++i) {
        const auto at = place[i];
        const bool in_batch = i < batch.size();
        const bool in_sum = !in_batch && i < batch.size() + summed.size();
        (in_batch ? batch_at : in_sum ? summed_at : own_at).push_back(at);
        sizes[static_cast<std::size_t>(at)] =
            in_batch ? batch[i]
                     : (in_sum ? summed[i - batch.size()] : own[i - batch.size() - summed.size()]);
      }
      return sizes;
    };
    Sizes lb, ls, lo, rb, rs, ro;
    const Sizes a = side(left, lb, ls, lo), b = side(right, rb, rs, ro);
    Sizes result = batch;  // then what is left of each side, in its order
    std::ranges::sort(lo);
    std::ranges::sort(ro);
    for (const std::int64_t at : lo) result.push_back(a[static_cast<std::size_t>(at)]);
    for (const std::int64_t at : ro) result.push_back(b[static_cast<std::size_t>(at)]);
    double expected = 2;
    for (const std::int64_t size : result) expected *= static_cast<double>(size);
    for (const std::int64_t size : summed) expected *= static_cast<double>(size);
    const std::string batched =
        batch.empty() ? "" : "batching_dims = [" + joined(lb) + "] x [" + joined(rb) + "], ";
    const std::string line = "stablehlo.dot_general %x0, %x1, " + batched + "contracting_dims = [" +
                             joined(ls) + "] x [" + joined(rs) + "]";
    ASSERT_EQ(flops(line, {a, b}, result), expected) << line << type(a) << type(b);
  }
}

/// Windows that fit into a line of `size` with elements `spread` apart, one by one.
std::int64_t windows(std::int64_t size, std::int64_t spread, std::int64_t before,
                     std::int64_t behind, std::int64_t kernel, std::int64_t dilation,
                     std::int64_t stride) {
  const std::int64_t line = (size - 1) * spread + 1 + before + behind;
  std::int64_t count = 0;
  for (std::int64_t at = 0; at + (kernel - 1) * dilation + 1 <= line; at += stride) ++count;
  return count;
}

TEST_F(StableHloRandom, ConvolutionsCountTheirWindows) {
  int seen = 0;
  for (int round = 0; round < 300; ++round) {
    const std::size_t rank = 1 + random.below(2);
    const std::int64_t groups = some(1, 2), inputs = some(1, 3), in = groups * inputs;
    const std::int64_t samples = some(1, 3), out = groups * some(1, 3);
    Sizes image, kernel, strides, dilations, counts;
    std::string pads;
    for (std::size_t i = 0; i < rank; ++i) {
      image.push_back(some(4, 9));
      kernel.push_back(some(1, 3));
      strides.push_back(some(1, 3));
      dilations.push_back(some(1, 2));
      const std::int64_t before = some(0, 2), behind = some(0, 2);
      pads += (i > 0 ? ", [" : "[") + joined({before, behind}) + "]";
      counts.push_back(windows(image[i], 1, before, behind, kernel[i], dilations[i], strides[i]));
    }
    if (std::ranges::min(counts) < 1) continue;
    ++seen;
    // Any order of the axes on each of the three.
    const auto placed = [&](const std::vector<std::string>& names, const Sizes& sizes,
                            std::string& text) {
      const Sizes order = shuffled(names.size());
      Sizes turned;
      for (std::size_t i = 0; i < order.size(); ++i) {
        const auto at = static_cast<std::size_t>(order[i]);
        text += (i > 0 ? ", " : "") + names[at];
        turned.push_back(sizes[at]);
      }
      return turned;
    };
    const auto names = [&](const char* first, const char* second) {
      std::vector<std::string> list = {first, second};
      for (std::size_t i = 0; i < rank; ++i) list.push_back(std::to_string(i));
      return list;
    };
    const auto with = [](std::int64_t a, std::int64_t b, Sizes rest) {
      rest.insert(rest.begin(), {a, b});
      return rest;
    };
    std::string x, w, y;
    const Sizes lhs = placed(names("b", "f"), with(samples, in, image), x);
    const Sizes rhs = placed(names("i", "o"), with(inputs, out, kernel), w);
    const Sizes result = placed(names("b", "f"), with(samples, out, counts), y);
    const std::string line =
        "stablehlo.convolution(%x0, %x1) dim_numbers = [" + x + "]x[" + w + "]->[" + y +
        "], window = {stride = [" + joined(strides) + "], pad = [" + pads + "], rhs_dilate = [" +
        joined(dilations) +
        "]} {batch_group_count = 1 : i64, feature_group_count = " + std::to_string(groups) +
        " : i64}";
    double expected = 2.0 * static_cast<double>(samples * out * inputs);
    for (std::size_t i = 0; i < rank; ++i) {
      expected *= static_cast<double>(counts[i] * kernel[i]);
    }
    ASSERT_EQ(flops(line, {lhs, rhs}, result), expected) << line << type(lhs) << type(rhs);
  }
  EXPECT_GT(seen, 200);
}

TEST_F(StableHloRandom, SlicesTakeWhatACountTakes) {
  for (int round = 0; round < 200; ++round) {
    const Sizes from = shape(1, 3);
    Sizes result;
    std::string parts;
    for (std::size_t i = 0; i < from.size(); ++i) {
      const std::int64_t start = some(0, from[i] - 1), end = some(start + 1, from[i]);
      const std::int64_t step = some(1, 3);
      std::int64_t count = 0;
      for (std::int64_t at = start; at < end; at += step) ++count;
      result.push_back(count);
      parts += (i > 0 ? ", " : "") + joined({start, end, step}, ":");
    }
    EXPECT_EQ(flops("stablehlo.slice %x0 [" + parts + "]", {from}, result), 0);
  }
}

TEST_F(StableHloRandom, PaddingGrowsInFrontBehindAndBetween) {
  for (int round = 0; round < 200; ++round) {
    const Sizes from = shape(1, 3);
    Sizes low, high, between, result;
    for (const std::int64_t size : from) {
      low.push_back(some(-1, 3));
      high.push_back(some(-1, 3));
      between.push_back(some(0, 2));
      // Element by element: each but the last is followed by what is put between.
      std::int64_t line = low.back() + high.back();
      for (std::int64_t i = 0; i < size; ++i) line += 1 + (i + 1 < size ? between.back() : 0);
      result.push_back(line);
    }
    if (std::ranges::min(result) < 1) continue;
    EXPECT_EQ(flops("stablehlo.pad %x0, %zero, low = [" + joined(low) + "], high = [" +
                        joined(high) + "], interior = [" + joined(between) + "]",
                    {from}, result),
              0);
  }
}

TEST_F(StableHloRandom, AxesAreTurnedJoinedSummedAndRepeated) {
  for (int round = 0; round < 200; ++round) {
    const Sizes from = shape(1, 4);
    const Sizes order = shuffled(from.size());
    Sizes turned, kept, summed, wide, places;
    for (std::size_t i = 0; i < from.size(); ++i) {
      turned.push_back(from[static_cast<std::size_t>(order[i])]);
      if (random.below(2) == 0) {
        summed.push_back(static_cast<std::int64_t>(i));
      } else {
        kept.push_back(from[i]);
      }
      while (random.below(3) == 0) wide.push_back(some(2, 5));
      places.push_back(static_cast<std::int64_t>(wide.size()));
      wide.push_back(from[i]);
    }
    if (turned != from || !std::ranges::is_sorted(order)) {
      flops("stablehlo.transpose %x0, dims = [" + joined(order) + "]", {from}, turned);
    }
    const std::string line = "stablehlo.broadcast_in_dim %x0, dims = [" + joined(places) + "]";
    const Graph repeated = read(line, {from}, wide);  // by any number along an axis that is new
    EXPECT_EQ(testing::sizes_of(repeated.tensor(repeated.outputs.at(0))), wide) << line;
    wide[static_cast<std::size_t>(places[random.below(places.size())])] += 1;
    EXPECT_NE(error_of([&] { read(line, {from}, wide); }), "no error") << line;
    if (!summed.empty()) {
      flops("stablehlo.reduce(%x0 init: %zero) applies stablehlo.add across dimensions = [" +
                joined(summed) + "]",
            {from}, kept);
    }
    const std::size_t axis = random.below(from.size());
    Sizes other = from, whole = from;
    other[axis] = some(2, 6);
    whole[axis] += other[axis];
    flops("stablehlo.concatenate %x0, %x1, dim = " + std::to_string(axis), {from, other}, whole);
  }
}

TEST_F(StableHloRandom, LoopsRunAsOftenAsTheirCounterIsRight) {
  struct Compare {
    const char* name;
    std::function<bool(std::int64_t, std::int64_t)> holds;
  };
  const Compare compares[] = {{"LT", std::less<>()},
                              {"LE", std::less_equal<>()},
                              {"GT", std::greater<>()},
                              {"GE", std::greater_equal<>()},
                              {"NE", std::not_equal_to<>()}};
  const auto constant = [](const std::string& name, std::int64_t value) {
    return name + " = stablehlo.constant dense<" + std::to_string(value) + "> : tensor<i32>\n";
  };
  int finite = 0;
  for (int round = 0; round < 300; ++round) {
    const Compare& compare = compares[random.below(5)];
    const std::int64_t start = some(-9, 9), limit = some(-9, 9), step = some(1, 4);
    const bool down = random.below(2) == 0, turned = random.below(2) == 0;
    std::int64_t runs = 0, counter = start;
    while (runs < 100 && compare.holds(turned ? limit : counter, turned ? counter : limit)) {
      counter += down ? -step : step;
      ++runs;
    }
    const Graph graph = read_stablehlo(
        "module @m {\nfunc.func public @main(%x: tensor<4x8xf32>, %w: tensor<8x8xf32>) -> "
        "tensor<4x8xf32> {\n" +
            constant("%c", start) +
            "%0:3 = stablehlo.while(%a = %w, %i = %c, %y = %x) : tensor<8x8xf32>, tensor<i32>, "
            "tensor<4x8xf32>\ncond {\n" +
            constant("%l", limit) + "%t = stablehlo.compare " + compare.name +
            (turned ? ", %l, %i" : ", %i, %l") +
            ", SIGNED : (tensor<i32>, tensor<i32>) -> tensor<i1>\nstablehlo.return %t : "
            "tensor<i1>\n} do {\n" +
            constant("%s", step) + "%n = stablehlo." + (down ? "subtract" : "add") +
            " %i, %s : tensor<i32>\n%p = stablehlo.dot_general %y, %a, contracting_dims = [1] x "
            "[0] : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>\nstablehlo.return %a, %n, "
            "%p : tensor<8x8xf32>, tensor<i32>, tensor<4x8xf32>\n}\nreturn %0#2 : "
            "tensor<4x8xf32>\n}\n}\n",
        "m.mlir");
    if (runs == 100) continue;  // it never ends, or by overflow: one run and a note
    ++finite;
    EXPECT_EQ(forward_flops(graph), static_cast<double>(runs) * 2 * 4 * 8 * 8)
        << compare.name << (turned ? " turned " : " ") << start << " " << limit << " "
        << (down ? -step : step);
  }
  EXPECT_GT(finite, 150);
}

}  // namespace
}  // namespace parallel_opt
