#include "parallel_opt/graph/einsum.h"

#include <gtest/gtest.h>

#include "tests/graph/builder.h"

namespace parallel_opt {
namespace {

using namespace testing;

EinsumWork work_of(const char* equation, const std::vector<std::vector<std::int64_t>>& shapes,
                   const std::vector<std::int64_t>& result, bool first_needs = true,
                   const Ints& path = {}) {
  GraphBuilder b;
  std::vector<std::pair<std::string, TensorId>> operands;
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const std::string name = "x" + std::to_string(i);
    const TensorId id =
        i == 0 && !first_needs ? b.input(name, shapes[i]) : b.parameter(name, shapes[i]);
    operands.push_back({"tensors", id});
  }
  b.op("aten.einsum.default", operands, result,
       path.empty()
           ? std::map<std::string, Attribute>{{"equation", std::string(equation)}}
           : std::map<std::string, Attribute>{{"equation", std::string(equation)}, {"path", path}});
  const Graph g = b.build();
  return einsum_work(g, g.ops[0], needs_grad(g));
}

TEST(Einsum, OneProductAndItsTwoGradients) {
  const EinsumWork work = work_of("bik,bkj->bij", {{2, 3, 5}, {2, 5, 7}}, {2, 3, 7});
  EXPECT_EQ(work.forward, Flops(2.0 * 2 * 3 * 5 * 7));
  EXPECT_EQ(work.backward, Flops(2 * 2.0 * 2 * 3 * 5 * 7));
  EXPECT_EQ(work.saved.tensors.size(), 2u);
  EXPECT_EQ(work.saved.extra, Bytes(0));
}

TEST(Einsum, AnOperandWithoutGradientHasNone) {
  const EinsumWork work = work_of("ik,kj->ij", {{3, 5}, {5, 7}}, {3, 7}, false);
  EXPECT_EQ(work.backward, work.forward);
  EXPECT_EQ(work.saved.tensors, std::vector<TensorId>{TensorId(0)});  // for the weight's
}

TEST(Einsum, WithoutASumItIsAnElementwiseProduct) {
  const EinsumWork work = work_of("i,j->ij", {{3}, {5}}, {3, 5});
  EXPECT_EQ(work.forward, Flops(0));
  EXPECT_EQ(work.backward, Flops(0));
  EXPECT_EQ(work.saved.tensors.size(), 2u);
}

TEST(Einsum, ADimensionOfOneOperandIsSummedFirst) {
  // k of x alone: x becomes [3 5] first, a new tensor that the product keeps.
  const EinsumWork work = work_of("ijk,jl->il", {{3, 5, 11}, {5, 7}}, {3, 7});
  EXPECT_EQ(work.forward, Flops(2.0 * 3 * 5 * 7));
  EXPECT_EQ(work.saved.tensors, std::vector<TensorId>{TensorId(1)});
  EXPECT_EQ(work.saved.extra, Bytes(3 * 5 * 4));
}

TEST(Einsum, APathChoosesThePairs) {
  // bc first, [3 4] by [4 5]; then a.
  const EinsumWork work =
      work_of("ab,bc,cd->ad", {{2, 3}, {3, 4}, {4, 5}}, {2, 5}, true, {1, 2, 0, 1});
  EXPECT_EQ(work.forward, Flops(2.0 * 3 * 4 * 5 + 2.0 * 2 * 3 * 5));
  EXPECT_EQ(work.backward, work.forward * 2);
  EXPECT_EQ(work.saved.extra, Bytes(3 * 5 * 4));
}

TEST(Einsum, APathThatLeadsNowhereIsNotFollowed) {
  for (const Ints& path : {Ints{9, 9, -4, 7}, Ints{0, 1}, Ints{0, 0, 0, 0}}) {
    EXPECT_GT(work_of("ab,bc,cd->ad", {{2, 3}, {3, 4}, {4, 5}}, {2, 5}, true, path).forward,
              Flops(0));
  }
}

TEST(Einsum, ThreeOperandsKeepTheResultInBetween) {
  const EinsumWork work = work_of("ab,bc,cd->ad", {{2, 3}, {3, 4}, {4, 5}}, {2, 5});
  EXPECT_EQ(work.forward, Flops(2.0 * 2 * 3 * 4 + 2.0 * 2 * 4 * 5));
  EXPECT_EQ(work.backward, work.forward * 2);
  EXPECT_EQ(work.saved.tensors.size(), 3u);
  EXPECT_EQ(work.saved.extra, Bytes(2 * 4 * 4));
}

TEST(Einsum, OperandsWhoseAxesDoNotMergeAreCopied) {
  // Summed over d and n, in the order of their letters: both operands have n before d in memory.
  const EinsumWork work = work_of("ibnd,hnd->ibh", {{2, 3, 4, 5}, {6, 4, 5}}, {2, 3, 6});
  EXPECT_EQ(work.forward, Flops(2.0 * 2 * 3 * 4 * 5 * 6));
  EXPECT_TRUE(work.saved.tensors.empty());
  EXPECT_EQ(work.saved.extra, Bytes((2 * 3 * 4 * 5 + 6 * 4 * 5) * 4));
}

TEST(Einsum, OneOperandIsAViewOrASum) {
  const EinsumWork work = work_of("ij->ji", {{3, 5}}, {5, 3});
  EXPECT_EQ(work.forward, Flops(0));
  EXPECT_TRUE(work.saved.tensors.empty());
}

}  // namespace
}  // namespace parallel_opt
