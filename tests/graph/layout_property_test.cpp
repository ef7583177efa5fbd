#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "parallel_opt/graph/alias.h"
#include "tests/graph/random_model.h"

// Layouts in memory against lists of every element's address.
namespace parallel_opt {
namespace {

using testing::GraphBuilder;
using testing::Ints;
using testing::within;

/// A view of a dense tensor, as views are made: by turning, cutting, selecting, repeating.
struct View {
  Ints sizes, strides;
  std::int64_t offset = 0;
};

View random_view(Random& rng) {
  View v;
  for (std::int64_t rank = within(rng, 1, 4); rank > 0; --rank)
    v.sizes.push_back(within(rng, 1, 5));
  v.strides.assign(v.sizes.size(), 1);
  for (std::size_t i = v.sizes.size() - 1; i > 0; --i) {
    v.strides[i - 1] = v.strides[i] * v.sizes[i];
  }
  for (std::int64_t step = within(rng, 0, 4); step > 0; --step) {
    const std::size_t a = rng.below(v.sizes.size()), b = rng.below(v.sizes.size());
    switch (rng.below(5)) {
      case 0:
        std::swap(v.sizes[a], v.sizes[b]);
        std::swap(v.strides[a], v.strides[b]);
        break;
      case 1: {  // start : end : every
        const std::int64_t start = within(rng, 0, v.sizes[a] - 1), every = within(rng, 1, 2);
        v.offset += start * v.strides[a];
        v.sizes[a] = (v.sizes[a] - start + every - 1) / every;
        v.strides[a] *= every;
        break;
      }
      case 2:
        v.sizes.insert(v.sizes.begin() + static_cast<std::ptrdiff_t>(a), 1);
        v.strides.insert(v.strides.begin() + static_cast<std::ptrdiff_t>(a), within(rng, 1, 9));
        break;
      case 3:
        if (v.sizes[a] == 1) {
          v.sizes[a] = within(rng, 1, 3);
          v.strides[a] = 0;
        }
        break;
      default:
        if (v.sizes.size() > 1) {
          v.sizes.erase(v.sizes.begin() + static_cast<std::ptrdiff_t>(a));
          v.strides.erase(v.strides.begin() + static_cast<std::ptrdiff_t>(a));
        }
    }
  }
  return v;
}

/// Of every element, the last axis fastest.
Ints addresses(const View& v) {
  Ints list = {v.offset};
  for (std::size_t axis = 0; axis < v.sizes.size(); ++axis) {
    Ints next;
    for (const std::int64_t at : list) {
      for (std::int64_t i = 0; i < v.sizes[axis]; ++i) next.push_back(at + i * v.strides[axis]);
    }
    list = std::move(next);
  }
  return list;
}

/// Is there a view of these sizes whose elements have these addresses? Tries the only strides that
/// it could have.
bool viewable(const Ints& list, const Ints& sizes) {
  View v{sizes, Ints(sizes.size(), 0), list[0]};
  std::int64_t step = 1;
  for (std::size_t axis = sizes.size(); axis-- > 0;) {
    if (sizes[axis] > 1) v.strides[axis] = list[static_cast<std::size_t>(step)] - list[0];
    step *= sizes[axis];
  }
  return addresses(v) == list;
}

Tensor tensor_of(const View& v) {
  Tensor t;
  for (const std::int64_t size : v.sizes) t.shape.push_back({size, ""});
  t.strides = v.strides;
  return t;
}

TEST(LayoutProperty, ContiguousIsEveryElementBehindTheOneBefore) {
  Random rng(1);
  int dense = 0;
  for (int round = 0; round < 2000; ++round) {
    const View v = random_view(rng);
    Ints list = addresses(v);
    bool expected = true;
    for (std::size_t i = 0; i < list.size(); ++i) {
      expected = expected && list[i] == list[0] + static_cast<std::int64_t>(i);
    }
    ASSERT_EQ(is_contiguous(tensor_of(v)), expected)
        << ::testing::PrintToString(v.sizes) << ::testing::PrintToString(v.strides);
    dense += expected ? 1 : 0;
  }
  EXPECT_GT(dense, 300);
  EXPECT_LT(dense, 1700);
}

TEST(LayoutProperty, AxesMergeWhenOneStrideReachesAllOfTheirElements) {
  Random rng(2);
  for (int round = 0; round < 2000; ++round) {
    const View v = random_view(rng);
    const std::size_t first = rng.below(v.sizes.size());
    const std::size_t last = first + rng.below(v.sizes.size() - first);
    View part;
    for (std::size_t i = first; i <= last; ++i) {
      part.sizes.push_back(v.sizes[i]);
      part.strides.push_back(v.strides[i]);
    }
    const Ints list = addresses(part);
    ASSERT_EQ(axes_merge(tensor_of(v), first, last),
              viewable(list, {static_cast<std::int64_t>(list.size())}))
        << ::testing::PrintToString(v.sizes) << ::testing::PrintToString(v.strides) << first
        << last;
  }
}

/// The same number of elements by other axes.
Ints other_sizes(Random& rng, std::int64_t count) {
  Ints sizes;
  while (count > 1) {
    std::int64_t size = within(rng, 1, count);
    while (count % size != 0) --size;
    if (size > 1 || rng.below(4) == 0) sizes.push_back(size);
    count /= size;
  }
  if (sizes.empty()) sizes = {1};
  for (std::size_t i = sizes.size(); i > 1; --i) std::swap(sizes[i - 1], sizes[rng.below(i)]);
  return sizes;
}

TEST(LayoutProperty, AReshapeSharesStorageExactlyWhenAViewCanBeTaken) {
  Random rng(3);
  int views = 0;
  for (int round = 0; round < 3000; ++round) {
    const View v = random_view(rng);
    const Ints list = addresses(v);
    const Ints sizes = other_sizes(rng, static_cast<std::int64_t>(list.size()));
    GraphBuilder b;
    const TensorId x = b.input("x", v.sizes);
    b.strides(x, v.strides);
    const TensorId y = b.op("aten.reshape.default", {{"self", x}}, sizes, {{"shape", sizes}});
    const Graph g = b.build();
    const bool expected = viewable(list, sizes);
    ASSERT_EQ(g.tensor(y).alias_of.valid(), expected)
        << ::testing::PrintToString(v.sizes) << ::testing::PrintToString(v.strides) << " as "
        << ::testing::PrintToString(sizes);
    views += expected ? 1 : 0;
  }
  EXPECT_GT(views, 500);
  EXPECT_LT(views, 2700);
}

TEST(LayoutProperty, BindingOneAxisKeepsTheViewsOfADenseTensor) {
  Random rng(4);
  for (int round = 0; round < 1000; ++round) {
    // Axes in some order in memory, the first cut out of a longer one; one size is open.
    const std::size_t rank = 1 + rng.below(4), open = rng.below(rank);
    std::vector<std::size_t> order(rank);
    std::iota(order.begin(), order.end(), std::size_t{0});
    for (std::size_t i = rank; i > 1; --i) std::swap(order[i - 1], order[rng.below(i)]);
    Ints sizes(rank);
    for (std::int64_t& size : sizes) size = within(rng, 2, 5);
    const std::size_t cut = order.back();  // the innermost: others step over what is cut off
    const std::int64_t gap = cut == open ? 0 : within(rng, 0, 3);
    const auto strides = [&](std::int64_t size) {
      Ints list(rank);
      std::int64_t step = 1;
      for (auto axis = order.rbegin(); axis != order.rend(); ++axis) {
        list[*axis] = step;
        step *= (*axis == open ? size : sizes[*axis]) + (*axis == cut ? gap : 0);
      }
      return list;
    };
    GraphBuilder b;
    const TensorId x = b.input("x", sizes);
    b.strides(x, strides(sizes[open]));
    b.raw().symbols = {{"n", 2, 99, sizes[open]}};
    b.raw().tensors[x.index()].shape[open].expression = "n";
    const std::int64_t other = within(rng, 2, 9);
    ASSERT_EQ(bind(b.build(), {{"n", other}}).tensor(x).strides, strides(other))
        << ::testing::PrintToString(sizes) << ::testing::PrintToString(strides(sizes[open]));
  }
}

}  // namespace
}  // namespace parallel_opt
