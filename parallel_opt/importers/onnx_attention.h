#pragma once

#include "parallel_opt/importers/onnx_import.h"

/// Attention from its parts, for ONNX's own operator and those of ONNX Runtime. Private to
/// importers/.
namespace parallel_opt::onnx {

/// A tensor [batch, heads, length, depth].
struct Heads {
  TensorId tensor;
  Shape shape;
};

/// [batch, length, heads * depth] as heads; four axes stay as they are.
Heads split_heads(Call& call, TensorId tensor, const Shape& shape, std::int64_t heads,
                  std::int64_t element);

/// Attention of heads; result `i` of the node is [batch, length, heads * depth] when `merge`, else
/// heads.
void attend(Call& call, std::size_t i, const Heads& query, const Heads& key, const Heads& value,
            TensorId mask, bool causal, bool merge);

/// `past` and `now` one behind the other along the length; `present`: the result it is, -1: none.
Heads append_past(Call& call, std::size_t past, const Heads& now, int present);

/// Sizes of a 3-axis operand split in heads.
Shape heads_shape(const Shape& shape, std::int64_t heads);

}  // namespace parallel_opt::onnx
