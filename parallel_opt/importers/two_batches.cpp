#include "parallel_opt/importers/two_batches.h"

#include <string>

namespace parallel_opt {
namespace {

bool same_wiring(const Op& a, const Op& b) {
  return a.target == b.target && a.inputs == b.inputs && a.outputs == b.outputs &&
         a.module == b.module && a.call == b.call && a.phase == b.phase;
}

bool same_kind(const Tensor& a, const Tensor& b) {
  return a.role == b.role && a.dtype == b.dtype && a.fqn == b.fqn && a.alias_of == b.alias_of &&
         a.tied_to == b.tied_to && a.shape.size() == b.shape.size();
}

bool same_structure(const Graph& a, const Graph& b) {
  if (a.ops.size() != b.ops.size() || a.tensors.size() != b.tensors.size() ||
      a.inputs != b.inputs || a.outputs != b.outputs || !a.symbols.empty() || !b.symbols.empty()) {
    return false;
  }
  for (std::size_t i = 0; i < a.ops.size(); ++i) {
    if (!same_wiring(a.ops[i], b.ops[i])) return false;
  }
  for (std::size_t i = 0; i < a.tensors.size(); ++i) {
    if (!same_kind(a.tensors[i], b.tensors[i])) return false;
  }
  return true;
}

/// "5*batch + 2"; empty when the line through both points has no whole numbers.
std::optional<std::string> line(std::int64_t x1, std::int64_t y1, std::int64_t x2,
                                std::int64_t y2) {
  if (y2 < y1 || (y2 - y1) % (x2 - x1) != 0) return std::nullopt;
  const std::int64_t scale = (y2 - y1) / (x2 - x1), offset = y1 - scale * x1;
  std::string text = scale == 1 ? "batch" : std::to_string(scale) + "*batch";
  if (offset > 0) text += " + " + std::to_string(offset);
  if (offset < 0) text += " - " + std::to_string(-offset);
  return text;
}

}  // namespace

std::optional<Graph> join_batches(const Graph& small, std::int64_t small_batch, const Graph& large,
                                  std::int64_t large_batch) {
  PO_CHECK(0 < small_batch && small_batch < large_batch, "two batches in order");
  if (!same_structure(small, large)) return std::nullopt;
  Graph joined = small;
  bool any = false;
  for (std::size_t i = 0; i < joined.tensors.size(); ++i) {
    Tensor& tensor = joined.tensors[i];
    for (std::size_t axis = 0; axis < tensor.shape.size(); ++axis) {
      Dim& dim = tensor.shape[axis];
      const Dim& other = large.tensors[i].shape[axis];
      if (dim == other) continue;
      if (dim.symbolic() || other.symbolic()) return std::nullopt;
      const auto text = line(small_batch, dim.size, large_batch, other.size);
      if (!text) return std::nullopt;
      dim.expression = *text;
      any = true;
    }
  }
  if (!any) return std::nullopt;
  joined.symbols = {Symbol{"batch", 1, INT64_MAX, small_batch}};
  return joined;
}

}  // namespace parallel_opt
