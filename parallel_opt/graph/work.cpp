#include "parallel_opt/graph/work.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string>

#include "parallel_opt/graph/alias.h"
#include "parallel_opt/graph/einsum.h"
#include "parallel_opt/graph/matrix_backward.h"
#include "parallel_opt/graph/matrix_chain.h"
#include "parallel_opt/graph/recurrent.h"
#include "parallel_opt/graph/space_impl.h"
#include "parallel_opt/graph/symbol.h"

namespace parallel_opt {
namespace {

double product(const IterationSpace& space) {
  double points = 1;
  for (const IterationDim& dim : space.dims) points *= static_cast<double>(dim.size);
  return points;
}

double count(const Graph& graph, TensorId id) {
  return id.valid() ? static_cast<double>(elements(graph.tensor(id))) : 0;
}

TensorId first_result(const Op& op) { return op.outputs.empty() ? TensorId() : op.outputs.front(); }

TensorId first_operand(const Op& op) {
  return op.inputs.empty() ? TensorId() : op.inputs.front().tensor;
}

/// 2 * batch * positions * weight elements; a transposed convolution visits input positions.
/// Right for groups too: the weight has c_in / groups channels.
double convolution_flops(const Graph& graph, const Op& op) {
  const TensorId in = operand(op, "input").valid() ? operand(op, "input") : first_operand(op);
  const TensorId weight = operand(op, "weight");
  if (!in.valid() || !weight.valid() || op.outputs.empty()) return 0;
  const bool transposed =
      op.target.find("transpose") != std::string::npos || attribute(op, "transposed", 0) != 0;
  const TensorId gradient = operand(op, "grad_output");
  const TensorId result = gradient.valid() ? gradient : first_result(op);
  const Tensor& visited = graph.tensor(transposed ? in : result);
  const Tensor& w = graph.tensor(weight);
  if (op.target.starts_with("aten.conv_tbc")) {  // time, batch, channels
    const Tensor& y = graph.tensor(op.target.starts_with("aten.conv_tbc_") ? in : result);
    if (y.shape.size() != 3) return 0;
    return 2 * static_cast<double>(y.shape[0].size) * static_cast<double>(y.shape[1].size) *
           static_cast<double>(elements(w));
  }
  if (w.shape.size() < 2 || visited.shape.size() + 1 < w.shape.size()) return 0;
  const std::size_t channel = visited.shape.size() - (w.shape.size() - 1);
  double points = 1;
  for (std::size_t i = 0; i < visited.shape.size(); ++i) {
    if (i != channel) points *= static_cast<double>(visited.shape[i].size);
  }
  return 2 * points * static_cast<double>(elements(w));
}

struct AttentionSize {
  double scores = 0;  ///< b h q k
  double depth = 0;   ///< d + e
};

/// Scores outside of a block mask are not computed; `arg6` are the options of an exported kernel.
AttentionSize attention_size(const Op& op, const IterationSpace& space) {
  AttentionSize size{
      attribute_real(op, "block_density", attribute_real(op, "arg6.block_density", 1)), 0};
  for (const IterationDim& dim : space.dims) {
    const bool mask_only = dim.name[0] == 'm';
    if (dim.name == "d" || dim.name == "e") {
      size.depth += static_cast<double>(dim.size);
    } else if (!mask_only) {
      size.scores *= static_cast<double>(dim.size);
    }
  }
  return size;
}

/// Gradients that a backward operator of a trace makes: of the operand, of the weight.
double wanted_gradients(const Op& op) {
  const auto mask = op.attributes.find("output_mask");
  const auto* flags =
      mask == op.attributes.end() ? nullptr : std::get_if<std::vector<bool>>(&mask->second);
  if (flags == nullptr) return 2;
  double wanted = 0;
  for (std::size_t i = 0; i < flags->size() && i < 2; ++i) wanted += (*flags)[i] ? 1 : 0;
  return wanted;
}

/// The fused encoder layer: projections by every weight, then scores and values.
double multi_head_flops(const Graph& graph, const Op& op) {
  if (!first_operand(op).valid()) return 0;
  const Tensor& x = graph.tensor(first_operand(op));
  if (x.shape.size() != 3) return 0;
  double weights = 0;
  for (const Operand& input : op.inputs) {
    if (!input.tensor.valid() || input.argument.find("weight") == std::string::npos) continue;
    if (graph.tensor(input.tensor).shape.size() == 2) weights += count(graph, input.tensor);
  }
  const double tokens = static_cast<double>(x.shape[0].size) * static_cast<double>(x.shape[1].size);
  const double mixing = static_cast<double>(x.shape[1].size) * static_cast<double>(x.shape[2].size);
  return 2 * tokens * weights + 4 * tokens * mixing;
}

/// Every row meets one group's matrix, so groups are not a factor unless both operands have them.
double grouped_flops(const IterationSpace& space) {
  double points = 1;
  for (const IterationDim& dim : space.dims) {
    if (dim.role != DimRole::selected) points *= static_cast<double>(dim.size);
  }
  return 2 * points;
}

/// Each tensor of the first list times its own of the second.
double list_product_flops(const Graph& graph, const Op& op) {
  double points = 0;
  std::size_t at = 0;
  for (const Operand& input : op.inputs) {
    if (input.argument != "self" || !input.tensor.valid()) continue;
    const TensorId out = at < op.outputs.size() ? op.outputs[at] : TensorId();
    ++at;
    const Tensor& left = graph.tensor(input.tensor);
    if (!left.shape.empty())
      points += count(graph, out) * static_cast<double>(left.shape.back().size);
  }
  return 2 * points;
}

/// Products of square matrices.
double power_flops(const Graph& graph, const Op& op) {
  const TensorId id = first_operand(op);
  if (!id.valid() || graph.tensor(id).shape.empty()) return 0;
  const auto side = static_cast<double>(graph.tensor(id).shape.back().size);
  return 2 * count(graph, id) * side *
         static_cast<double>(matrix_power(attribute(op, "n", 1)).products);
}

bool is_matrix_power(const Op& op) { return op.target.find("matrix_power") != std::string::npos; }

/// Elements of the tensors of an operator's first list: parameters of an optimizer.
double list_elements(const Graph& graph, const Op& op) {
  double sum = 0;
  for (const Operand& input : op.inputs) {
    if (input.argument == op.inputs.front().argument) sum += count(graph, input.tensor);
  }
  return sum;
}

/// What an optimizer over lists writes beside its parameters; gradients only read.
bool is_written(const Op& op, const Operand& input) {
  constexpr std::array<std::string_view, 6> kStates = {"exp_avgs",        "exp_avg_sqs",
                                                       "max_exp_avg_sqs", "momentum_buffer_list",
                                                       "state_sums",      "state_steps"};
  return input.argument == op.inputs.front().argument ||
         std::ranges::find(kStates, input.argument) != kStates.end();
}

}  // namespace

double formula(const Graph& graph, const Op& op, const std::string& text) {
  std::map<std::string, double> values;
  const IterationSpace space = iteration_space(graph, op);
  for (const IterationDim& dim : space.dims) {
    const auto size = static_cast<double>(dim.size);
    const std::string star = dim.name.substr(0, dim.name.find_last_not_of("0123456789") + 1);
    values[dim.name] = size;
    if (star != dim.name) values.try_emplace(star, 1).first->second *= size;
  }
  return evaluate_real(parse_expression(text, op.name), values);
}

namespace {

double contraction_flops(const Graph& graph, const Op& op, const OpRow& row) {
  if (row.custom != nullptr) {
    if (!row.custom->flops.empty()) return formula(graph, op, row.custom->flops);
    if (row.op_class > OpClass::recurrent) return 0;
  }
  const bool backward = row.target.find("_backward") != std::string_view::npos;
  if (row.op_class == OpClass::convolution) {
    return convolution_flops(graph, op) * (backward ? wanted_gradients(op) : 1);
  }
  if (row.op_class == OpClass::recurrent) {
    return recurrent_forward_flops(graph, op) * (backward ? 2 : 1);
  }
  if (is_matrix_power(op)) return power_flops(graph, op);
  if (row.space == "@multi_head") return multi_head_flops(graph, op);
  if (row.space == "@list") {
    const bool pairs = row.target.find("_foreach_") != std::string_view::npos;
    return pairs ? list_product_flops(graph, op) : product_chain(graph, op).flops;
  }
  const IterationSpace space = iteration_space(graph, op);
  if (space.dims.empty()) return 0;
  if (row.space == "@einsum") {
    return einsum_work(graph, op, std::vector<bool>(graph.tensors.size())).forward.value;
  }
  if (row.space == "@grouped") return grouped_flops(space);
  if (row.op_class == OpClass::attention) {
    const AttentionSize size = attention_size(op, space);
    return 2 * size.scores * size.depth * (backward ? 2 : 1);
  }
  const bool masked = op.attributes.contains("output_mask");
  return 2 * product(space) * (masked ? wanted_gradients(op) : 1);
}

/// Elements that the per-element cost of a row is counted over.
double cost_elements(const Graph& graph, const Op& op) {
  return std::max(count(graph, first_operand(op)), count(graph, first_result(op)));
}

double log2_of(double n) { return n > 1 ? std::log2(n) : 0; }

bool is_complex_number(DType dtype) { return dtype >= DType::complex32; }

/// Along each transformed axis of N elements 5 N log2 N [cooley1965]; half when one side is real.
double transform_flops(const Graph& graph, const Op& op) {
  if (!first_operand(op).valid() || !first_result(op).valid()) return 0;
  const Tensor& x = graph.tensor(first_operand(op));
  const Tensor& y = graph.tensor(first_result(op));
  double points = 1;
  for (const std::size_t axis : space_detail::transformed_axes(op, x.shape.size())) {
    const std::int64_t other = axis < y.shape.size() ? y.shape[axis].size : 0;
    points *= static_cast<double>(std::max(x.shape[axis].size, other));
  }
  const bool real = !is_complex_number(x.dtype) || !is_complex_number(y.dtype);
  return (real ? 2.5 : 5) * log2_of(points) *
         std::max(count(graph, first_operand(op)), count(graph, first_result(op)));
}

/// Short-time transforms: one real transform of n_fft points and a window per frame.
double frames_flops(const Graph& graph, const Op& op) {
  const bool inverse = op.target.starts_with("aten.istft");
  const TensorId id = inverse ? first_operand(op) : first_result(op);
  if (!id.valid()) return 0;
  const Tensor& spectrum = graph.tensor(id);
  const double n = static_cast<double>(attribute(op, "n_fft", 1));
  const bool pairs = !is_complex_number(spectrum.dtype);  // real and imaginary part side by side
  const bool one_sided = attribute(op, "onesided", 1) != 0;
  const double bins = one_sided ? std::floor(n / 2) + 1 : n;
  const double frames = count(graph, id) / (pairs ? 2 : 1) / std::max(bins, 1.0);
  return frames * (2.5 * n * log2_of(n) + n);
}

/// Comparisons of a sort: n log2 n along its axis.
double sort_flops(const Graph& graph, const Op& op) {
  double along = 1;
  for (const IterationDim& dim : iteration_space(graph, op).dims) {
    if (dim.role == DimRole::mixed) along *= static_cast<double>(dim.size);
  }
  return count(graph, first_operand(op)) * log2_of(along);
}

/// Factorisations: each element takes part in as many steps as the smaller side is long.
double matrix_flops(const Graph& graph, const Op& op, double cost) {
  if (!first_operand(op).valid()) return 0;
  const Tensor& x = graph.tensor(first_operand(op));
  if (x.shape.size() < 2) return 0;
  const std::int64_t side = std::min(x.shape.back().size, x.shape[x.shape.size() - 2].size);
  return cost * count(graph, first_operand(op)) * static_cast<double>(side);
}

double other_flops(const Graph& graph, const Op& op, const OpRow& row) {
  const double bias = count(graph, operand(op, "bias")) > 0 ? count(graph, first_result(op)) : 0;
  if (row.custom != nullptr && !row.custom->other_flops.empty()) {
    return formula(graph, op, row.custom->other_flops);
  }
  if (row.space == "@transform") return transform_flops(graph, op);
  if (row.space == "@frames") return frames_flops(graph, op);
  if (row.space == "@sort") return sort_flops(graph, op);
  if (row.space == "@matrix") return matrix_flops(graph, op, row.cost);
  if (row.space == "@list") return row.cost * list_elements(graph, op);
  switch (row.op_class) {
    case OpClass::view:
      return 0;
    case OpClass::contraction:
      return bias + (operand(op, "mat1").valid() || operand(op, "batch1").valid()
                         ? count(graph, first_result(op))
                         : 0);
    case OpClass::convolution:
      return bias;
    case OpClass::attention: {  // the softmax over the scores
      const IterationSpace space = iteration_space(graph, op);
      return space.dims.empty() ? 0 : 15 * attention_size(op, space).scores;
    }
    case OpClass::recurrent:
      return recurrent_other_flops(graph, op);
    default:
      return row.cost * cost_elements(graph, op);
  }
}

/// Gathered rows only: an embedding does not read its whole table.
bool reads_selected(const OpRow& row, const Operand& input) {
  const bool table =
      input.argument == "weight" || input.argument == "self" || input.argument == "input";
  return table &&
         (row.op_class == OpClass::embedding ||
          (row.op_class == OpClass::gather && row.space != "@place" && row.space != "... -> ..."));
}

/// Operands by storage: two views of one storage read at most all of it.
Bytes read_bytes(const Graph& graph, const Op& op, const OpRow* row) {
  struct Part {
    TensorId owner;
    std::int64_t bytes;
  };
  std::vector<Part> parts;
  std::vector<TensorId> seen;
  std::int64_t selected = 0;
  for (const Operand& input : op.inputs) {
    if (!input.tensor.valid()) continue;
    if (std::find(seen.begin(), seen.end(), input.tensor) != seen.end()) continue;
    seen.push_back(input.tensor);
    if (row != nullptr && reads_selected(*row, input)) {
      if (first_result(op).valid()) {
        selected += std::min(bytes(graph.tensor(first_result(op))).value,
                             bytes(graph.tensor(input.tensor)).value);
      }
      continue;
    }
    const TensorId owner = storage_owner(graph, input.tensor);
    const auto part =
        std::find_if(parts.begin(), parts.end(), [&](const Part& p) { return p.owner == owner; });
    const std::int64_t more = bytes(graph.tensor(input.tensor)).value;
    if (part == parts.end()) {
      parts.push_back({owner, more});
    } else {
      part->bytes += more;
    }
  }
  std::int64_t total = selected;
  for (const Part& p : parts) total += std::min(p.bytes, bytes(graph.tensor(p.owner)).value);
  return Bytes(total);
}

/// Operators that write into lists return nothing.
Bytes result_bytes(const Graph& graph, const Op& op, const OpRow* row) {
  Bytes total;
  if (row != nullptr && row->space == "@list" && op.outputs.empty()) {
    for (const Operand& input : op.inputs) {
      if (input.tensor.valid() && is_written(op, input)) total += bytes(graph.tensor(input.tensor));
    }
    return total;
  }
  for (const TensorId id : op.outputs) {
    if (id.valid()) total += bytes(graph.tensor(id));
  }
  return total;
}

/// A view, or a copy that PyTorch does not make because its operand would do.
bool is_free(const Graph& graph, const Op& op, const OpRow* row) {
  if (row == nullptr || is_in_place(op)) return false;
  if (row->space == "=size" || !first_result(op).valid()) return row->op_class == OpClass::view;
  const bool may_share = row->op_class == OpClass::view || row->op_class == OpClass::copy ||
                         row->op_class == OpClass::random;
  return may_share && graph.tensor(first_result(op)).alias_of.valid();
}

bool passes_gradient(const OpRow& row, std::string_view argument) {
  std::size_t at = 0;
  while (at < row.passes.size()) {
    const std::size_t end = std::min(row.passes.find(' ', at), row.passes.size());
    if (row.passes.substr(at, end - at) == argument) return true;
    at = end + 1;
  }
  return false;
}

struct Needing {
  int operands = 0;        ///< that need a gradient
  int computed = 0;        ///< of these, whose gradient is not just passed on
  int big = 0;             ///< of these, contracted operands (no bias)
  std::int64_t bytes = 0;  ///< of computed gradients
  double elements = 0;     ///< of computed gradients
};

Needing needing(const Graph& graph, const Op& op, const OpRow* row,
                const std::vector<bool>& needs_grad) {
  Needing n;
  const double result = count(graph, first_result(op));
  for (const Operand& input : op.inputs) {
    if (!input.tensor.valid() || !needs_grad[input.tensor.index()]) continue;
    ++n.operands;
    const Tensor& t = graph.tensor(input.tensor);
    const bool contracted = row != nullptr && row->op_class == OpClass::contraction;
    const bool addend =
        input.argument == "bias" || (contracted && input.argument == "self" &&
                                     (operand(op, "mat1").valid() ||
                                      operand(op, "batch1").valid() || operand(op, "mat").valid()));
    if (!addend) ++n.big;
    const bool passed = row != nullptr && passes_gradient(*row, input.argument) &&
                        (static_cast<double>(elements(t)) == result || row->space == "@cat" ||
                         row->space == "@stack" || row->space == "@reduce");
    if (passed) continue;
    ++n.computed;
    n.bytes += bytes(t).value;
    n.elements += static_cast<double>(elements(t));
  }
  return n;
}

}  // namespace

OpWork& OpWork::operator+=(const OpWork& o) {
  contraction += o.contraction;
  other += o.other;
  recomputed += o.recomputed;
  read += o.read;
  written += o.written;
  kernels += o.kernels;
  return *this;
}

OpWork forward_work(const Graph& graph, const Op& op) {
  const std::optional<OpRow> found = find_row(graph, op);
  const OpRow* row = found ? &*found : nullptr;
  OpWork work;
  work.op_class = row == nullptr ? OpClass::opaque : row->op_class;
  if (is_free(graph, op, row)) return work;
  work.read = read_bytes(graph, op, row);
  work.written = result_bytes(graph, op, row);
  if (row == nullptr) {  // bounded from below: one FLOP for each element written
    for (const TensorId id : op.outputs) work.other += Flops(count(graph, id));
    // An importer that looked into the operator (a branch, a loop) knows better.
    work.contraction = Flops(attribute_real(op, "bound_flops", 0));
    work.other = std::max(work.other, Flops(attribute_real(op, "bound_other_flops", 0)));
    work.kernels = 1;
    return work;
  }
  if (row->op_class == OpClass::view) {  // a reshape that has to copy
    work.op_class = OpClass::copy;
    work.kernels = 1;
    return work;
  }
  if (row->op_class <= OpClass::recurrent || row->custom != nullptr) {
    work.contraction = Flops(contraction_flops(graph, op, *row));
  }
  work.other = Flops(other_flops(graph, op, *row));
  if (row->op_class == OpClass::attention && row->target.find("_backward") != row->target.npos) {
    work.recomputed = work.contraction * 0.25;  // the scores, from query and key
  }
  work.kernels = row->op_class == OpClass::recurrent ? recurrent_kernels(graph, op) : row->kernels;
  return work;
}

namespace {

/// Euclidean distances of more than 25 points go through a product, whose gradients are products.
bool distances_by_product(const Graph& graph, const Op& op) {
  if (!op.target.starts_with("aten.cdist") || !first_result(op).valid()) return false;
  const Tensor& out = graph.tensor(first_result(op));
  const std::int64_t mode = attribute(op, "compute_mode", 0);
  constexpr std::int64_t kFew = 25;
  if (attribute_real(op, "p", 2) != 2 || mode == 2 || out.shape.size() < 2) return false;
  const std::int64_t rows = out.shape[out.shape.size() - 2].size, columns = out.shape.back().size;
  return mode == 1 || rows > kFew || columns > kFew;
}

/// Operators without products: as much arithmetic per gradient element as the forward has.
void light_backward(const Graph& graph, const Op& op, const OpRow* row, const Needing& need,
                    const std::vector<bool>& needs_grad, OpWork& work) {
  if (need.computed == 0) return;
  const bool light =
      row != nullptr && (row->op_class == OpClass::view || row->op_class == OpClass::copy ||
                         row->op_class == OpClass::gather);
  Bytes saved;
  const Saved kept = saved_for_backward(graph, op, needs_grad);
  for (const TensorId id : kept.tensors) saved += bytes(graph.tensor(id));
  work.read = bytes(graph.tensor(first_result(op))) + saved + kept.extra;
  const double factor = row == nullptr || light ? 1 : std::max(row->cost, 1.0);
  const bool norm = row != nullptr && row->op_class == OpClass::normalization;
  work.other =
      Flops(norm ? 1.5 * factor * count(graph, first_operand(op)) : factor * need.elements);
  if (norm) work.kernels = std::min(work.kernels, 1);
  if (distances_by_product(graph, op)) {  // two products with the weighted gradient
    const double depth = static_cast<double>(graph.tensor(first_operand(op)).shape.back().size);
    work.contraction = Flops(2 * need.computed * count(graph, first_result(op)) * depth);
  }
  work.contraction += matrix_backward_flops(graph, op, needs_grad);
  // Of an operator whose inside was seen: two contractions for each of the forward.
  if (row == nullptr) work.contraction = Flops(2 * attribute_real(op, "bound_flops", 0));
}

/// Four products of the scores' size, the scores themselves computed again.
void attention_backward(const Graph& graph, const Op& op, const OpRow& row, Bytes gradient,
                        OpWork& work) {
  const IterationSpace space = iteration_space(graph, op);
  if (space.dims.empty()) return;
  double d = 0;
  for (const IterationDim& dim : space.dims) {
    if (dim.name == "d") d = static_cast<double>(dim.size);
  }
  const AttentionSize size = attention_size(op, space);
  work.contraction = Flops(4 * size.scores * size.depth);
  work.other = Flops(15 * size.scores);
  work.recomputed = Flops(2 * size.scores * d);
  work.read = gradient + read_bytes(graph, op, &row) + result_bytes(graph, op, &row);
  work.kernels = 1;
}

OpWork derived_backward(const Graph& graph, const Op& op, const std::vector<bool>& needs_grad) {
  const std::optional<OpRow> found = find_row(graph, op);
  const OpRow* row = found ? &*found : nullptr;
  OpWork work;
  work.op_class = row == nullptr ? OpClass::opaque : row->op_class;
  if (is_free(graph, op, row) && (row->passes == "self" || row->op_class != OpClass::view)) {
    return work;
  }
  const bool receives = std::ranges::any_of(
      op.outputs, [&](TensorId id) { return id.valid() && needs_grad[id.index()]; });
  if (!first_result(op).valid() || !receives) return work;
  const Needing need = needing(graph, op, row, needs_grad);
  if (need.operands == 0) return work;
  const Bytes gradient = bytes(graph.tensor(first_result(op)));
  work.kernels = need.computed;
  work.written = Bytes(need.bytes);
  const bool contracts =
      row != nullptr && (row->op_class <= OpClass::recurrent ||
                         (row->custom != nullptr && !row->custom->flops.empty()));
  if (row != nullptr && row->custom != nullptr && !row->custom->backward_flops.empty()) {
    work.contraction = Flops(formula(graph, op, row->custom->backward_flops));
    work.read = gradient + read_bytes(graph, op, row);
    return work;
  }
  if (!contracts) {
    light_backward(graph, op, row, need, needs_grad, work);
    return work;
  }
  // Each gradient is one contraction of the output gradient with the other operands: as many
  // points as the forward, whichever operand it is for.
  const Flops forward(contraction_flops(graph, op, *row));
  const bool bias = need.operands > need.big;
  work.other = Flops(bias ? count(graph, first_result(op)) : 0);
  work.read = (gradient + read_bytes(graph, op, row)) * std::max(need.big, 1);
  const bool formula_given = row->custom != nullptr && !row->custom->flops.empty();
  if (formula_given) {
    work.contraction = forward * need.big;
  } else if (row->op_class == OpClass::attention) {
    attention_backward(graph, op, *row, gradient, work);
  } else if (row->op_class == OpClass::recurrent) {
    work.contraction = Flops(recurrent_backward_flops(graph, op, needs_grad));
    work.other = Flops(2 * recurrent_other_flops(graph, op));
    work.kernels = 2 * recurrent_kernels(graph, op);
  } else if (row->space == "@einsum") {
    work.contraction = einsum_work(graph, op, needs_grad).backward;
  } else if (is_matrix_power(op)) {
    work.contraction = forward * 2;
  } else if (row->space == "@list" && row->target.find("_foreach_") == std::string_view::npos) {
    work.contraction = Flops(product_chain(graph, op, needs_grad).backward_flops);
  } else {
    work.contraction = forward * need.big;
  }
  return work;
}

}  // namespace

OpWork backward_work(const Graph& graph, const Op& op, const std::vector<bool>& needs_grad) {
  OpWork work = derived_backward(graph, op, needs_grad);
  if (!is_recomputed(op)) return work;
  const OpWork again = forward_work(graph, op);
  work.contraction += again.contraction;
  work.other += again.other;
  work.read += again.read;
  work.written += again.written;
  work.kernels += again.kernels;
  return work;
}

}  // namespace parallel_opt
