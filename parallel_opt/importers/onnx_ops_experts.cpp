#include "parallel_opt/importers/onnx_ops.h"

/// com.microsoft.MoE and QMoE: each token meets `k` experts, written as products by group.
namespace parallel_opt::onnx {
namespace {

struct ExpertSizes {
  Dim experts, tokens, hidden, wide, inner, chosen;  ///< chosen: tokens times k
};

/// Where the weights of the three layers are: QMoE has scales and a bias behind each.
struct ExpertPlaces {
  std::size_t up = 2, down = 4, gate = 6;
  std::int64_t packed = 1;  ///< numbers per stored element
};

ExpertPlaces expert_places(const Call& call) {
  if (call.node.type != "QMoE") return {};
  const std::int64_t bits = call.whole("expert_weight_bits", 4);
  return {2, 5, 8, bits == 2 ? 4 : bits == 4 ? 2 : 1};
}

/// The size of a layer's weight [experts, out, in] that is not `hidden`; either order is in use.
std::optional<Dim> other_size(const Shape& weight, const Dim& hidden, std::int64_t packed,
                              bool hidden_in) {
  Dim in = multiply(weight[2], fixed(packed));
  if (hidden_in) {
    if (in == hidden) return weight[1];
    if (weight[1] == hidden) return in;
  } else {
    if (weight[1] == hidden) return in;
    if (in == hidden) return weight[1];
  }
  return std::nullopt;
}

std::optional<ExpertSizes> expert_sizes(Call& call, const ExpertPlaces& at) {
  const Shape *x = call.shape(0), *up = call.shape(at.up), *down = call.shape(at.down);
  if (x == nullptr || x->size() < 2 || up == nullptr || up->size() != 3 || down == nullptr ||
      down->size() != 3) {
    return std::nullopt;
  }
  ExpertSizes s;
  s.hidden = x->back();
  const auto wide = other_size(*up, s.hidden, at.packed, true);
  const auto inner = other_size(*down, s.hidden, at.packed, false);
  if (!wide || !inner) return std::nullopt;
  s.experts = (*up)[0];
  s.wide = *wide;
  s.inner = *inner;
  s.tokens = fixed(1);
  for (std::size_t i = 0; i + 1 < x->size(); ++i) s.tokens = multiply(s.tokens, (*x)[i]);
  s.chosen = multiply(s.tokens, fixed(std::max<std::int64_t>(call.whole("k", 1), 1)));
  return s;
}

/// rows times the matrix [in, out] of each row's expert.
TensorId by_expert(Call& call, TensorId rows, std::size_t weight, const ExpertSizes& s,
                   const Dim& in, const Dim& out) {
  const std::int64_t element = call.element(0);
  const TensorId matrices = call.step("aten._to_copy.default", {{"self", call.tensor(weight)}}, {},
                                      element, Shape{s.experts, in, out});
  return call.step("aten._grouped_mm.default",
                   {{"self", rows}, {"mat2", matrices}, {"offs", call.tensor(1)}}, {}, element,
                   Shape{s.chosen, out});
}

}  // namespace

void mixture_of_experts(Call& call) {
  const ExpertPlaces at = expert_places(call);
  const std::optional<ExpertSizes> sizes = expert_sizes(call, at);
  if (!sizes) {
    return call.emit("com.microsoft." + std::string(call.node.type), call.operands("inputs*"));
  }
  const ExpertSizes& s = *sizes;
  const std::int64_t element = call.element(0);
  const TensorId rows = reshaped(call, call.tensor(0), {s.tokens, s.hidden}, element);
  const TensorId chosen =
      call.step("aten.index.Tensor", {{"self", rows}, {"indices", call.tensor(1)}}, {}, element,
                Shape{s.chosen, s.hidden});
  TensorId inner = by_expert(call, chosen, at.up, s, s.hidden, s.wide);
  const bool relu = call.text("activation_type", "relu") == "relu";
  inner = call.step(relu ? "aten.relu.default" : "aten.silu.default", {{"self", inner}}, {},
                    element, Shape{s.chosen, s.wide});
  if (s.wide != s.inner) {  // gate and value in one
    const std::int64_t last = 1;
    inner = call.step("aten.slice.Tensor", {{"self", inner}}, {{"dim", last}}, element,
                      Shape{s.chosen, s.inner});
  }
  if (call.has(at.gate)) {
    const TensorId value = by_expert(call, chosen, at.gate, s, s.hidden, s.inner);
    inner = call.step("aten.mul.Tensor", {{"self", inner}, {"other", value}}, {}, element,
                      Shape{s.chosen, s.inner});
  }
  const TensorId made = by_expert(call, inner, at.down, s, s.inner, s.hidden);
  const std::int64_t k = std::max<std::int64_t>(call.whole("k", 1), 1);
  Shape apart = *call.shape(0);
  apart.insert(apart.end() - 1, fixed(k));
  const auto axis = static_cast<std::int64_t>(apart.size()) - 2;
  call.emit("aten.sum.dim_IntList", {{"self", reshaped(call, made, std::move(apart), element)}},
            {{"dim", std::vector<std::int64_t>{axis}}});
}

}  // namespace parallel_opt::onnx
