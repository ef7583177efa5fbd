#include <algorithm>
#include <array>

#include "parallel_opt/importers/onnx_ops.h"

/// Reductions, softmax, sorting, and losses.
namespace parallel_opt::onnx {
namespace {

/// The reduced axes; empty: depends on data, or a fault.
std::optional<std::vector<std::int64_t>> reduced_axes(Call& call) {
  const Shape* shape = call.shape(0);
  if (shape == nullptr) return std::nullopt;
  const std::int64_t rank = static_cast<std::int64_t>(shape->size());
  std::vector<std::int64_t> axes;
  if (call.attribute("axes") != nullptr || call.has(1)) {
    const auto given = call.numbers("axes", 1);
    if (!given) return std::nullopt;
    axes = *given;
  }
  if (axes.empty()) {
    return call.whole("noop_with_empty_axes", 0) != 0 ? axes : axes_up_to(shape->size());
  }
  for (std::int64_t& axis : axes) {
    if (axis < -rank || axis >= rank) {
      call.fault("axis " + std::to_string(axis) + " of a tensor with " + std::to_string(rank) +
                 " axes");
      return std::nullopt;
    }
    if (axis < 0) axis += rank;
  }
  std::ranges::sort(axes);
  axes.erase(std::unique(axes.begin(), axes.end()), axes.end());
  return axes;
}

Shape without(const Shape& shape, const std::vector<std::int64_t>& axes, bool keep) {
  Shape result;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const bool reduced = std::ranges::find(axes, static_cast<std::int64_t>(i)) != axes.end();
    if (!reduced) result.push_back(shape[i]);
    if (reduced && keep) result.push_back(fixed(1));
  }
  return result;
}

void reduce_shape(Call& call) {
  const Shape* shape = call.shape(0);
  const bool keep = call.whole("keepdims", 1) != 0;
  const auto axes = reduced_axes(call);
  if (shape != nullptr && axes) return call.set(0, call.element(0), without(*shape, *axes, keep));
  if (shape == nullptr || !keep) return call.set(0, call.element(0), std::nullopt);
  Shape unknown;
  for (const Dim& dim : *shape) unknown.push_back(unknown_size(dim.size));
  call.set(0, call.element(0), std::move(unknown));
}

struct Reduction {
  std::string_view type;
  const char* before;  ///< elementwise operator in front; null: none
  const char* target;
  const char* after;
  double order;  ///< of a norm; 0: none
};
constexpr auto kReductions = std::to_array<Reduction>({
    {"ReduceSum", nullptr, "aten.sum.dim_IntList", nullptr, 0},
    {"ReduceMean", nullptr, "aten.mean.dim", nullptr, 0},
    {"ReduceMax", nullptr, "aten.amax.default", nullptr, 0},
    {"ReduceMin", nullptr, "aten.amin.default", nullptr, 0},
    {"ReduceProd", nullptr, "aten.prod.dim_int", nullptr, 0},
    {"ReduceL1", nullptr, "aten.linalg_vector_norm.default", nullptr, 1},
    {"ReduceL2", nullptr, "aten.linalg_vector_norm.default", nullptr, 2},
    {"ReduceLogSum", nullptr, "aten.sum.dim_IntList", "aten.log.default", 0},
    {"ReduceLogSumExp", nullptr, "aten.logsumexp.default", nullptr, 0},
    {"ReduceSumSquare", "aten.square.default", "aten.sum.dim_IntList", nullptr, 0},
});

void reduce(Call& call) {
  const auto* row = std::ranges::find(kReductions, call.node.type, &Reduction::type);
  const std::int64_t element = call.element(0);
  TensorId from = call.tensor(0);
  if (row->before != nullptr) {
    from = call.step(row->before, {{"self", from}}, {}, element,
                     call.shape(0) == nullptr ? Shape() : *call.shape(0));
  }
  Attributes attributes{{"keepdim", call.whole("keepdims", 1) != 0}};
  if (const auto axes = reduced_axes(call)) attributes["dim"] = *axes;
  if (row->order != 0) attributes["ord"] = row->order;
  if (row->after == nullptr) return call.emit(row->target, {{"self", from}}, std::move(attributes));
  const TensorId sum =
      call.step(row->target, {{"self", from}}, std::move(attributes), element, call.shape_out());
  call.emit(row->after, {{"self", sum}});
}

void arg_shape(Call& call) {
  const auto axis = call.axis("axis", 0);
  if (!axis) return call.set(0, kInt64, std::nullopt);
  call.set(
      0, kInt64,
      without(*call.shape(0), {static_cast<std::int64_t>(*axis)}, call.whole("keepdims", 1) != 0));
}

void arg(Call& call) {
  const auto axis = call.axis("axis", 0);
  call.emit(call.node.type == "ArgMax" ? "aten.argmax.default" : "aten.argmin.default",
            {{"self", call.tensor(0)}},
            {{"dim", static_cast<std::int64_t>(axis.value_or(0))},
             {"keepdim", call.whole("keepdims", 1) != 0}});
}

void along(Call& call, const char* target, const char* operand) {
  const std::int64_t fallback = call.opset < 13 ? 1 : -1;
  const auto axis = call.axis("axis", fallback);
  call.emit(target, {{operand, call.tensor(0)}},
            {{"dim", static_cast<std::int64_t>(axis.value_or(0))}});
}

void cumulative(Call& call, const char* target) {
  const auto axis = call.number(1);
  call.emit(target, {{"self", call.tensor(0)}}, {{"dim", axis.value_or(0)}});
}

void top_k_shape(Call& call) {
  const auto axis = call.axis("axis", -1);
  std::optional<Shape> shape;
  if (axis) {
    shape = *call.shape(0);
    Dim kept = unknown_size((*shape)[*axis].size);
    const Data* k = call.data(1);
    if (k != nullptr && !k->real && k->whole.size() == 1) kept = k->whole[0];
    if (call.attribute("k") != nullptr) kept = fixed(call.whole("k", 1));
    if (is_fixed(kept) && kept.size < 0)
      call.fault("keeps " + std::to_string(kept.size) + " elements");
    (*shape)[*axis] = kept;
  }
  call.set(0, call.element(0), shape);
  call.set(1, kInt64, std::move(shape));
}

void top_k(Call& call) {
  const auto axis = call.axis("axis", -1);
  const std::size_t at = axis.value_or(0);
  const Shape& shape = call.shape_out(call.wants(0) ? 0 : 1);
  call.emit("aten.topk.default", {{"self", call.tensor(0)}},
            {{"k", at < shape.size() ? shape[at].size : 1},
             {"dim", static_cast<std::int64_t>(at)},
             {"largest", call.whole("largest", 1) != 0}});
}

/// A loss per sample, or one number.
void loss_shape(Call& call) {
  const bool each = call.text("reduction", "mean") == "none";
  const Shape* scores = call.shape(0);
  std::optional<Shape> shape;
  if (!each) shape = Shape();
  if (each && scores != nullptr && scores->size() >= 2) {
    shape = *scores;
    shape->erase(shape->begin() + 1);
  }
  call.set(0, call.element(0), std::move(shape));
  if (scores != nullptr) call.set(1, call.element(0), *scores);
}

std::int64_t reduction(Call& call) {
  const std::string_view name = call.text("reduction", "mean");
  return name == "none" ? 0 : name == "mean" ? 1 : 2;
}

void cross_entropy(Call& call) {
  if (!call.wants(1)) {
    return call.emit("aten.cross_entropy_loss.default", call.operands("self target weight"),
                     {{"reduction", reduction(call)}});
  }
  call.emit_one(1, "aten.log_softmax.int", {{"self", call.tensor(0)}}, {{"dim", std::int64_t(1)}});
  Operands operands = call.operands("self target weight");
  operands[0].tensor = call.importer.tensor(call.out[1]);
  call.emit_one(0, "aten.nll_loss.default", std::move(operands), {{"reduction", reduction(call)}});
}

void unique_shape(Call& call) {
  const Shape* shape = call.shape(0);
  std::int64_t count = shape == nullptr ? 1 : element_count(*shape).value_or(1);
  const bool along_axis = call.attribute("axis") != nullptr;
  std::optional<Dim> along;
  std::optional<Shape> first = Shape{unknown_size(count)};
  if (along_axis) {
    first.reset();
    if (const auto axis = call.axis("axis", 0)) {
      first = *shape;
      along = (*shape)[*axis];
      count = along->size;
      (*first)[*axis] = unknown_size(count);
    }
  }
  call.set(0, call.element(0), std::move(first));
  const bool fixed_count = shape != nullptr && !along_axis;
  const Dim whole = fixed_count ? product(*shape, 0, shape->size())
                    : along     ? *along
                                : unknown_size(count);
  for (std::size_t i = 1; i < 4; ++i) {
    call.set(i, kInt64, Shape{i == 2 ? whole : unknown_size(count)});
  }
}

constexpr auto kReductionRules = std::to_array<OpRule>({
    {"ReduceSum", reduce_shape, {}, {}, reduce},
    {"ReduceMean", reduce_shape, {}, {}, reduce},
    {"ReduceMax", reduce_shape, {}, {}, reduce},
    {"ReduceMin", reduce_shape, {}, {}, reduce},
    {"ReduceProd", reduce_shape, {}, {}, reduce},
    {"ReduceL1", reduce_shape, {}, {}, reduce},
    {"ReduceL2", reduce_shape, {}, {}, reduce},
    {"ReduceLogSum", reduce_shape, {}, {}, reduce},
    {"ReduceLogSumExp", reduce_shape, {}, {}, reduce},
    {"ReduceSumSquare", reduce_shape, {}, {}, reduce},
    {"ArgMax", arg_shape, {}, {}, arg},
    {"ArgMin", arg_shape, {}, {}, arg},
    {"Softmax", same_shape, {}, {}, [](Call& c) { along(c, "aten.softmax.int", "self"); }},
    {"LogSoftmax", same_shape, {}, {}, [](Call& c) { along(c, "aten.log_softmax.int", "self"); }},
    {"Hardmax", same_shape},
    {"CumSum", same_shape, {}, {}, [](Call& c) { cumulative(c, "aten.cumsum.default"); }},
    {"CumProd", same_shape, {}, {}, [](Call& c) { cumulative(c, "aten.cumprod.default"); }},
    {"TopK", top_k_shape, {}, {}, top_k},
    {"Unique", unique_shape, "aten.unique.default", "self"},
    {"SoftmaxCrossEntropyLoss", loss_shape, {}, {}, cross_entropy},
    {"NegativeLogLikelihoodLoss",
     loss_shape,
     {},
     {},
     [](Call& c) {
       c.emit("aten.nll_loss.default", c.operands("self target weight"),
              {{"reduction", reduction(c)}});
     }},
});

}  // namespace

std::span<const OpRule> reduction_rules() { return kReductionRules; }

}  // namespace parallel_opt::onnx
