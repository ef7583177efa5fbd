#include "parallel_opt/graph/matrix_chain.h"

#include <bit>
#include <functional>

namespace parallel_opt {
namespace {

constexpr std::size_t kMost = 64;  ///< matrices in a chain

/// Matrix i is sizes[i] x sizes[i + 1]; a vector at an end is a matrix of one row or column. Empty:
/// no chain of matrices.
std::vector<double> chain_sizes(const Graph& graph, const Op& op) {
  std::vector<double> sizes;
  for (const Operand& input : op.inputs) {
    if (!input.tensor.valid()) continue;
    const Tensor& t = graph.tensor(input.tensor);
    if (t.shape.empty() || t.shape.size() > 2) return {};
    const bool row = t.shape.size() == 1 && sizes.empty();
    if (sizes.empty()) sizes.push_back(row ? 1 : static_cast<double>(t.shape.front().size));
    const bool column = t.shape.size() == 1 && !row;
    sizes.push_back(column ? 1 : static_cast<double>(t.shape.back().size));
  }
  return sizes.size() > kMost + 1 ? std::vector<double>() : sizes;
}

}  // namespace

/// Dynamic programming over where the last product splits the chain.
ProductChain product_chain(const Graph& graph, const Op& op, const std::vector<bool>& needs_grad) {
  const std::vector<double> sizes = chain_sizes(graph, op);
  const std::size_t matrices = sizes.empty() ? 0 : sizes.size() - 1;
  if (matrices == 0) return {};
  std::vector<std::vector<double>> best(matrices, std::vector<double>(matrices, 0));
  std::vector<std::vector<std::size_t>> split(matrices, std::vector<std::size_t>(matrices, 0));
  for (std::size_t length = 1; length < matrices; ++length) {
    for (std::size_t i = 0; i + length < matrices; ++i) {
      const std::size_t j = i + length;
      best[i][j] = -1;
      for (std::size_t k = i; k < j; ++k) {
        const double cost =
            best[i][k] + best[k + 1][j] + 2 * sizes[i] * sizes[k + 1] * sizes[j + 1];
        if (best[i][j] >= 0 && best[i][j] <= cost) continue;
        best[i][j] = cost;
        split[i][j] = k;
      }
    }
  }
  std::vector<bool> needs;  // of the matrices that are there
  for (const Operand& input : op.inputs) {
    if (!input.tensor.valid()) continue;
    needs.push_back(!needs_grad.empty() && needs_grad[input.tensor.index()]);
  }
  ProductChain chain{best[0][matrices - 1], 0, 0};
  const std::function<bool(std::size_t, std::size_t)> walk = [&](std::size_t i, std::size_t j) {
    if (i == j) return static_cast<bool>(needs[i]);
    if (j - i + 1 < matrices) chain.kept_elements += sizes[i] * sizes[j + 1];
    const std::size_t k = split[i][j];
    const bool left = walk(i, k), right = walk(k + 1, j);
    const double once = 2 * sizes[i] * sizes[k + 1] * sizes[j + 1];
    chain.backward_flops += once * ((left ? 1 : 0) + (right ? 1 : 0));
    return left || right;
  };
  walk(0, matrices - 1);
  return chain;
}

MatrixPower matrix_power(std::int64_t n) {
  const auto times = static_cast<std::uint64_t>(n < 0 ? -n : n);
  if (times < 2) return {};
  // Squares up to the highest bit, and a product for each further bit. Every square but the last is
  // squared again, and every factor of a product is kept; the result is not.
  const int squares = std::bit_width(times) - 1, products = std::popcount(times) - 1;
  const std::int64_t all = squares + products;
  return {all, all - 1};
}

}  // namespace parallel_opt
