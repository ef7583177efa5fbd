#pragma once

#include <span>

#include "parallel_opt/importers/onnx_import.h"

/// The operator table in parts, and what several parts share. Private to importers/.
namespace parallel_opt::onnx {

std::span<const OpRule> pointwise_rules();
std::span<const OpRule> reduction_rules();
std::span<const OpRule> normalization_rules();
std::span<const OpRule> contraction_rules();
std::span<const OpRule> quantized_rules();
std::span<const OpRule> attention_rules();
std::span<const OpRule> layout_rules();
std::span<const OpRule> index_rules();
std::span<const OpRule> spatial_rules();
std::span<const OpRule> recurrent_rules();
std::span<const OpRule> sequence_rules();
std::span<const OpRule> other_rules();
std::span<const OpRule> microsoft_rules();
std::span<const OpRule> ml_rules();       ///< ai.onnx.ml
std::span<const OpRule> preview_rules();  ///< ai.onnx.preview and ai.onnx.preview.training

/// TensorProto.DataType codes that shapes and conditions are made of.
inline constexpr std::int64_t kFloat = 1, kInt8 = 3, kUint8 = 2, kInt32 = 6, kInt64 = 7,
                              kString = 8, kBool = 9;

/// Result 0 is as operand 0.
void same_shape(Call& call);
/// Every result is as the operand in its place.
void same_shapes(Call& call);
/// Result 0 has the element type of operand 0 and the shape that all operands broadcast to.
void broadcast_shape(Call& call);
void broadcast_to_bool(Call& call);
/// The shape operands broadcast to; a fault when they do not.
std::optional<Shape> broadcast_of(Call& call, std::size_t first, std::size_t last);

/// Numpy's matrix product of operands `a` and `b`; a fault when they do not fit.
std::optional<Shape> matmul_of(Call& call, const Shape& a, const Shape& b);

/// ONNX Runtime's mixture of experts, weights as they are or in few bits.
void mixture_of_experts(Call& call);

/// Sizes as attribute values: what a symbol is at its hint.
std::vector<std::int64_t> sizes_of(const Shape& shape);
/// [0, 1, ..., n - 1].
std::vector<std::int64_t> axes_up_to(std::size_t n);
std::string_view dtype_name(std::int64_t element);

/// Views and other operators in between, one line each.
TensorId permuted(Call& call, TensorId from, const std::vector<std::int64_t>& order,
                  std::int64_t element);
TensorId reshaped(Call& call, TensorId from, Shape shape, std::int64_t element);

}  // namespace parallel_opt::onnx
