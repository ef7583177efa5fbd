#include <algorithm>
#include <array>

#include "parallel_opt/importers/onnx_ops.h"

namespace parallel_opt::onnx {
namespace {

void batch_norm_shape(Call& call) {
  same_shape(call);
  for (std::size_t i = 1; i < call.out.size(); ++i) {
    const std::size_t from = std::min<std::size_t>(i == 1 || i == 3 ? 3 : 4, call.in.size());
    if (call.has(from)) call.set(i, call.element(from), call.input(from)->shape);
  }
}

/// Running statistics are state, no parameters.
void as_buffer(Call& call, std::size_t i) {
  if (!call.has(i)) return;
  Value& value = call.importer.value(call.in[i]);
  if (value.weight && value.role.empty()) value.role = "BUFFER";
}

void batch_norm(Call& call) {
  as_buffer(call, 3);
  as_buffer(call, 4);
  const bool training = call.whole("training_mode", 0) != 0;
  call.emit("aten.batch_norm.default", call.operands("input weight bias running_mean running_var"),
            {{"training", training}, {"eps", call.real("epsilon", 1e-5)}});
}

/// Shape of the statistics: the normalised axes are 1.
std::optional<Shape> statistics(Call& call, std::size_t axis) {
  Shape shape = *call.shape(0);
  for (std::size_t i = axis; i < shape.size(); ++i) shape[i] = fixed(1);
  return shape;
}

void layer_norm_shape(Call& call) {
  same_shape(call);
  const auto axis = call.axis("axis", -1);
  for (std::size_t i = 1; axis && i < 3; ++i) {
    call.set(i, call.whole("stash_type", kFloat), statistics(call, *axis));
  }
}

std::vector<std::int64_t> normalized(Call& call) {
  const auto axis = call.axis("axis", -1);
  if (!axis) return {1};
  const Shape& shape = *call.shape(0);
  return sizes_of(Shape(shape.begin() + static_cast<std::ptrdiff_t>(*axis), shape.end()));
}

void layer_norm(Call& call) {
  const bool statistics = call.wants(1) || call.wants(2);
  call.emit(statistics ? "aten.native_layer_norm.default" : "aten.layer_norm.default",
            call.operands("input weight bias"),
            {{"normalized_shape", normalized(call)}, {"eps", call.real("epsilon", 1e-5)}});
}

void rms_norm(Call& call) {
  call.emit("aten.rms_norm.default", call.operands("input weight"),
            {{"normalized_shape", normalized(call)}, {"eps", call.real("epsilon", 1e-5)}});
}

/// x / |x|, one norm per row.
void lp_norm(Call& call) {
  const auto axis = call.axis("axis", -1);
  if (!axis) return call.emit("onnx.LpNormalization", call.operands("input"));
  Shape rows = *call.shape(0);
  rows[*axis] = fixed(1);
  const TensorId norm =
      call.step("aten.linalg_vector_norm.default", {{"self", call.tensor(0)}},
                {{"ord", static_cast<double>(call.whole("p", 2))},
                 {"dim", std::vector<std::int64_t>{static_cast<std::int64_t>(*axis)}},
                 {"keepdim", true}},
                call.element(0), rows);
  call.emit("aten.div.Tensor", {{"self", call.tensor(0)}, {"other", norm}});
}

/// (x - mean) / deviation over some axes.
void mean_variance(Call& call) {
  std::vector<std::int64_t> axes = call.wholes("axes");
  if (axes.empty()) axes = {0, 2, 3};
  if (call.shape(0) == nullptr)
    return call.emit("onnx.MeanVarianceNormalization", call.operands("input"));
  Shape rows = *call.shape(0);
  for (std::int64_t axis : axes) {
    if (axis < 0) axis += static_cast<std::int64_t>(rows.size());
    if (axis >= 0 && axis < static_cast<std::int64_t>(rows.size()))
      rows[static_cast<std::size_t>(axis)] = fixed(1);
  }
  const std::int64_t element = call.element(0);
  const Attributes over{{"dim", axes}, {"keepdim", true}};
  const TensorId mean = call.step("aten.mean.dim", {{"self", call.tensor(0)}}, over, element, rows);
  const TensorId deviation =
      call.step("aten.std.dim", {{"self", call.tensor(0)}}, over, element, rows);
  const TensorId centred = call.step("aten.sub.Tensor", {{"self", call.tensor(0)}, {"other", mean}},
                                     {}, element, call.shape_out());
  call.emit("aten.div.Tensor", {{"self", centred}, {"other", deviation}});
}

constexpr auto kNormalizationRules = std::to_array<OpRule>({
    {"BatchNormalization", batch_norm_shape, {}, {}, batch_norm},
    {"LayerNormalization", layer_norm_shape, {}, {}, layer_norm},
    {"RMSNormalization", same_shape, {}, {}, rms_norm},
    {"InstanceNormalization",
     same_shape,
     {},
     {},
     [](Call& c) {
       c.emit("aten.instance_norm.default", c.operands("input weight bias"),
              {{"use_input_stats", true}, {"eps", c.real("epsilon", 1e-5)}});
     }},
    {"GroupNormalization",
     same_shape,
     {},
     {},
     [](Call& c) {
       c.emit("aten.group_norm.default", c.operands("input weight bias"),
              {{"num_groups", c.whole("num_groups", 1)}, {"eps", c.real("epsilon", 1e-5)}});
     }},
    {"LRN", same_shape, "aten.local_response_norm.default", "self"},
    {"LpNormalization", same_shape, {}, {}, lp_norm},
    {"MeanVarianceNormalization", same_shape, {}, {}, mean_variance},
});

}  // namespace

std::span<const OpRule> normalization_rules() { return kNormalizationRules; }

}  // namespace parallel_opt::onnx
