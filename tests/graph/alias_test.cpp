#include "parallel_opt/graph/alias.h"

#include <gtest/gtest.h>

#include "tests/graph/builder.h"

namespace parallel_opt {
namespace {

using testing::GraphBuilder;
using testing::Ints;

TEST(Alias, ViewsShareTheStorageOfTheirOperand) {
  GraphBuilder b;
  const TensorId x = b.input("x", {2, 6});
  const TensorId v = b.op("aten.view.default", {{"self", x}}, {2, 2, 3});
  const TensorId t = b.op("aten.transpose.int", {{"self", v}}, {2, 3, 2},
                          {{"dim0", std::int64_t{1}}, {"dim1", std::int64_t{2}}});
  b.strides(t, {6, 1, 3});
  const TensorId y = b.op("aten.relu.default", {{"self", t}}, {2, 3, 2});
  const Graph g = b.build();
  EXPECT_EQ(storage_owner(g, v), x);
  EXPECT_EQ(storage_owner(g, t), x);
  EXPECT_EQ(storage_owner(g, y), y);
  EXPECT_EQ(storage_owners(g), (std::vector<TensorId>{x, x, x, y}));
}

TEST(Alias, ReshapeCopiesWhenStridesForbidAView) {
  GraphBuilder b;
  const TensorId x = b.input("x", {4, 6});
  const TensorId t = b.op("aten.t.default", {{"self", x}}, {6, 4});
  b.strides(t, {1, 6});
  const TensorId flat = b.op("aten.reshape.default", {{"self", t}}, {24});
  const TensorId split = b.op("aten.reshape.default", {{"self", t}}, {2, 3, 4});
  const Graph g = b.build();
  EXPECT_EQ(storage_owner(g, flat), flat);  // 6 x 4 with strides 1, 6 is no row of 24
  EXPECT_EQ(storage_owner(g, split), x);    // axis 6 alone is factored: still a view
}

TEST(Alias, ContiguousCopiesOnlyWhatIsNot) {
  GraphBuilder b;
  const TensorId x = b.input("x", {4, 6});
  const TensorId same = b.op("aten.contiguous.default", {{"self", x}}, {4, 6});
  const TensorId t = b.op("aten.t.default", {{"self", x}}, {6, 4});
  b.strides(t, {1, 6});
  const TensorId copy = b.op("aten.contiguous.default", {{"self", t}}, {6, 4});
  const Graph g = b.build();
  EXPECT_EQ(storage_owner(g, same), x);
  EXPECT_EQ(storage_owner(g, copy), copy);
}

TEST(Alias, PaddingAlwaysCopies) {
  GraphBuilder b;
  const TensorId x = b.input("x", {4, 6});
  const TensorId none = b.op("aten.pad.default", {{"self", x}}, {4, 6}, {{"pad", Ints{0, 0}}});
  const TensorId shifted =
      b.op("aten.pad.default", {{"self", x}}, {4, 6}, {{"pad", Ints{0, 0, 1, -1}}});
  const Graph g = b.build();
  EXPECT_EQ(storage_owner(g, none), none);
  EXPECT_EQ(storage_owner(g, shifted), shifted);
}

TEST(Alias, InPlaceOperatorsShareWhatTheyChange) {
  GraphBuilder b;
  const TensorId x = b.input("x", {4});
  const TensorId y = b.op("aten.add.Tensor", {{"self", x}, {"other", x}}, {4});
  const TensorId z = b.op("aten.relu_.default", {{"self", y}}, {4});
  const TensorId w = b.op("aten.__and__.Tensor", {{"self", x}, {"other", x}}, {4});
  const Graph g = b.build();
  EXPECT_EQ(storage_owner(g, z), y);
  EXPECT_EQ(storage_owner(g, w), w);
  EXPECT_TRUE(is_in_place(g.ops[1]));
  EXPECT_FALSE(is_in_place(g.ops[2]));
}

TEST(Alias, DropoutThatDropsNothingAndCastsToTheSameTypeAreFree) {
  GraphBuilder b;
  const TensorId x = b.input("x", {4});
  const TensorId off =
      b.op("aten.dropout.default", {{"input", x}}, {4}, {{"p", 0.1}, {"train", false}});
  const TensorId on =
      b.op("aten.dropout.default", {{"input", x}}, {4}, {{"p", 0.1}, {"train", true}});
  const TensorId same = b.op("aten.to.dtype", {{"self", x}}, {4});
  const TensorId cast = b.op("aten.to.dtype", {{"self", x}}, {4}, {}, DType::bf16);
  const Graph g = b.build();
  EXPECT_EQ(storage_owner(g, off), x);
  EXPECT_EQ(storage_owner(g, on), on);
  EXPECT_EQ(storage_owner(g, same), x);
  EXPECT_EQ(storage_owner(g, cast), cast);
}

TEST(Alias, MergingAxesNeedsThemOneBehindTheOther) {
  Tensor t;
  t.shape = {{2, ""}, {3, ""}, {4, ""}};
  EXPECT_TRUE(axes_merge(t, 0, 2));  // no strides: contiguous
  t.strides = {12, 4, 1};
  EXPECT_TRUE(axes_merge(t, 0, 2));
  t.strides = {4, 8, 1};  // the first two swapped in memory
  EXPECT_FALSE(axes_merge(t, 0, 1));
  EXPECT_FALSE(axes_merge(t, 1, 2));
  EXPECT_EQ(strides_of(t), (std::vector<std::int64_t>{4, 8, 1}));
}

}  // namespace
}  // namespace parallel_opt
