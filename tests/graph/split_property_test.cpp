#include <gtest/gtest.h>

#include "parallel_opt/graph/op_table.h"
#include "parallel_opt/graph/work.h"
#include "tests/graph/random_model.h"

// An operator split in two along a dimension of its iteration space is half of the work, whichever
// operator and dimension: what every layout's cost relies on.
namespace parallel_opt {
namespace {

using testing::GraphBuilder;
using testing::Ints;
using testing::within;

struct NamedSizes {
  std::string argument;
  Ints sizes;
};

struct Call {
  std::string target;
  std::vector<NamedSizes> operands;
  Ints result;
  std::map<std::string, Attribute> attributes = {};
};

Graph graph_of(const Call& call) {
  GraphBuilder b;
  std::vector<std::pair<std::string, TensorId>> inputs;
  for (std::size_t i = 0; i < call.operands.size(); ++i) {
    const bool index = call.operands[i].argument == "indices";
    const std::string name = "p" + std::to_string(i);
    inputs.emplace_back(call.operands[i].argument,
                        index ? b.input(name, call.operands[i].sizes, DType::i64)
                              : b.parameter(name, call.operands[i].sizes));
  }
  b.output(b.op(call.target, inputs, call.result, call.attributes));
  return b.build();
}

/// Even sizes, so that each can be halved; more than one is left.
class Sizes {
 public:
  explicit Sizes(Random& rng) : rng_(rng) {}
  std::int64_t operator()() { return 2 * within(rng_, 2, 5); }

 private:
  Random& rng_;
};

std::vector<Call> calls(Random& rng) {
  Sizes size(rng);
  const std::int64_t b = size(), h = size(), n = size(), m = size(), k = size(), c = size();
  std::vector<Call> list = {
      {"aten.linear.default", {{"input", {b, n, k}}, {"weight", {m, k}}, {"bias", {m}}}, {b, n, m}},
      {"aten.linear.default", {{"input", {n, k}}, {"weight", {m, k}}}, {n, m}},
      {"aten.mm.default", {{"self", {n, k}}, {"mat2", {k, m}}}, {n, m}},
      {"aten.bmm.default", {{"self", {b, n, k}}, {"mat2", {b, k, m}}}, {b, n, m}},
      {"aten.matmul.default", {{"self", {b, h, n, k}}, {"other", {b, h, k, m}}}, {b, h, n, m}},
      {"aten.matmul.default", {{"self", {b, n, k}}, {"other", {k, m}}}, {b, n, m}},
      {"aten.addmm.default", {{"self", {m}}, {"mat1", {n, k}}, {"mat2", {k, m}}}, {n, m}},
      {"aten.baddbmm.default",
       {{"self", {b, n, m}}, {"batch1", {b, n, k}}, {"batch2", {b, k, m}}},
       {b, n, m}},
      {"aten.scaled_dot_product_attention.default",
       {{"query", {b, h, n, k}}, {"key", {b, h, m, k}}, {"value", {b, h, m, c}}},
       {b, h, n, c}},
      {"aten.embedding.default", {{"weight", {m, k}}, {"indices", {b, n}}}, {b, n, k}},
      {"aten.layer_norm.default",
       {{"input", {b, n, k}}, {"weight", {k}}, {"bias", {k}}},
       {b, n, k},
       {{"normalized_shape", Ints{k}}}},
      {"aten.softmax.int", {{"self", {b, n, k}}}, {b, n, k}, {{"dim", std::int64_t{-1}}}},
      {"aten.gelu.default", {{"self", {b, n, k}}}, {b, n, k}},
      {"aten.add.Tensor", {{"self", {b, n, k}}, {"other", {n, k}}}, {b, n, k}},
      {"aten.mul.Tensor", {{"self", {b, 1, k}}, {"other", {n, 1}}}, {b, n, k}},
      {"aten.sum.dim_IntList", {{"self", {b, n, k}}}, {b, k}, {{"dim", Ints{1}}}},
      {"aten.einsum.default",
       {{"tensors", {b, n, k}}, {"tensors", {b, k, m}}},
       {b, m, n},
       {{"equation", std::string("bnk,bkm->bmn")}}},
      {"aten.conv1d.default", {{"input", {b, c, n + 2}}, {"weight", {m, c, 3}}}, {b, m, n}},
  };
  return list;
}

/// The same call where dimension `split` of its space has half of its size.
Call halved(const Call& call, const IterationSpace& space, int split) {
  Call half = call;
  for (std::size_t i = 0; i < half.operands.size(); ++i) {
    for (std::size_t axis = 0; axis < half.operands[i].sizes.size(); ++axis) {
      if (space.operands[i][axis] == split) half.operands[i].sizes[axis] /= 2;
    }
  }
  for (std::size_t axis = 0; axis < half.result.size(); ++axis) {
    if (space.results[0][axis] == split) half.result[axis] /= 2;
  }
  return half;
}

/// Convolutions slide along their positions: halves overlap.
bool slides(const Call& call, const std::string& dim) {
  return call.target.starts_with("aten.conv") && dim != "n" && dim != "o" && dim != "i" &&
         dim != "c" && dim != "k" && dim != "g";
}

/// A head's width counts in one of attention's two products: in scores or in values.
bool in_one_product(const Call& call, const std::string& dim) {
  return call.target.starts_with("aten.scaled_dot") && (dim == "d" || dim == "e");
}

TEST(SplitProperty, HalvesAreHalfOfTheWork) {
  Random rng(1);
  int split = 0;
  for (int round = 0; round < 30; ++round) {
    for (const Call& call : calls(rng)) {
      const Graph whole = graph_of(call);
      const IterationSpace space = iteration_space(whole, whole.ops[0]);
      ASSERT_FALSE(space.dims.empty()) << call.target;
      const OpWork forward = forward_work(whole, whole.ops[0]);
      const OpWork backward = backward_work(whole, whole.ops[0], needs_grad(whole));
      for (std::size_t d = 0; d < space.dims.size(); ++d) {
        const IterationDim& dim = space.dims[d];
        if (dim.role == DimRole::mixed || dim.size % 2 != 0 || slides(call, dim.name) ||
            in_one_product(call, dim.name))
          continue;
        const Graph half = graph_of(halved(call, space, static_cast<int>(d)));
        const std::string what = call.target + " by " + dim.name;
        const IterationSpace inner = iteration_space(half, half.ops[0]);
        ASSERT_EQ(inner.dims.size(), space.dims.size()) << what;
        EXPECT_EQ(inner.dims[d].size * 2, dim.size) << what;
        const double of_one = forward_work(half, half.ops[0]).contraction.value;
        EXPECT_EQ(2 * of_one, forward.contraction.value) << what;
        EXPECT_EQ(2 * backward_work(half, half.ops[0], needs_grad(half)).contraction.value,
                  backward.contraction.value)
            << what;
        ++split;
      }
    }
  }
  EXPECT_GT(split, 1500);
}

TEST(SplitProperty, ASpaceIndexesEveryAxisByADimensionOfItsSize) {
  Random rng(2);
  for (int round = 0; round < 30; ++round) {
    for (const Call& call : calls(rng)) {
      const Graph g = graph_of(call);
      const IterationSpace space = iteration_space(g, g.ops[0]);
      std::vector<bool> in_result(space.dims.size()), used(space.dims.size());
      const auto visit = [&](const Ints& sizes, const std::vector<int>& axes, bool result) {
        ASSERT_EQ(sizes.size(), axes.size()) << call.target;
        for (std::size_t axis = 0; axis < axes.size(); ++axis) {
          if (axes[axis] < 0) continue;
          const auto d = static_cast<std::size_t>(axes[axis]);
          used[d] = true;
          in_result[d] = in_result[d] || result;
          if (!slides(call, space.dims[d].name)) {
            EXPECT_EQ(space.dims[d].size, sizes[axis]) << call.target << " " << space.dims[d].name;
          }
        }
      };
      for (std::size_t i = 0; i < call.operands.size(); ++i) {
        visit(call.operands[i].sizes, space.operands[i], false);
      }
      visit(call.result, space.results[0], true);
      for (std::size_t d = 0; d < space.dims.size(); ++d) {
        EXPECT_TRUE(used[d] || space.dims[d].size == 1 || slides(call, space.dims[d].name))
            << call.target << " " << space.dims[d].name;
        const DimRole role = space.dims[d].role;
        EXPECT_TRUE(role != DimRole::free || in_result[d]) << call.target;
        EXPECT_FALSE(role == DimRole::reduced && in_result[d]) << call.target;
      }
    }
  }
}

}  // namespace
}  // namespace parallel_opt
