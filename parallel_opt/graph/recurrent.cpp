#include "parallel_opt/graph/recurrent.h"

#include <algorithm>

namespace parallel_opt {
namespace {

struct RecurrentShape {
  bool lstm = false;
  bool gru = false;
  bool cell = false;
  std::int64_t layers = 1;
  std::int64_t directions = 1;
  std::int64_t steps = 1;
  std::int64_t tokens = 0;  ///< steps x samples
  std::int64_t samples = 0;
  std::int64_t hidden = 0;
  std::int64_t projected = 0;  ///< columns of what an LSTM's projection leaves of `hidden`; 0: none
  bool batch_first = false;
  DType dtype = DType::fp32;
  std::int64_t state_elements = 0;            ///< of one initial state
  std::vector<TensorId> states;               ///< initial states
  std::vector<const Tensor*> input_weights;   ///< per layer and direction
  std::vector<const Tensor*> hidden_weights;  ///< the recurrent ones
  std::vector<const Tensor*> projections;     ///< from the hidden state to what leaves the layer
  TensorId input;
};

/// Two-dimensional parameters come in pairs, input weight then hidden weight; with a projection, in
/// threes.
void sort_weights(const std::vector<const Tensor*>& weights, RecurrentShape& s) {
  // A third that leaves as many rows as the hidden weight takes columns is no next layer's weight.
  const bool projected = s.lstm && weights.size() % 3 == 0 && weights.size() > 2 &&
                         weights[2]->shape[0].size == weights[1]->shape[1].size;
  const std::size_t group = projected ? 3 : 2;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    auto& list = i % group == 0   ? s.input_weights
                 : i % group == 1 ? s.hidden_weights
                                  : s.projections;
    list.push_back(weights[i]);
  }
  if (projected) s.projected = weights[2]->shape[0].size;
}

RecurrentShape shape_of(const Graph& graph, const Op& op) {
  RecurrentShape s;
  const std::int64_t mode = attribute(op, "mode", -1);  // of oneDNN's and cuDNN's layers
  s.lstm = op.target.find("lstm") != std::string::npos || mode == 2;
  s.gru = op.target.find("gru") != std::string::npos || mode == 3;
  s.cell = op.target.find("_cell") != std::string::npos;
  s.layers = attribute(op, "num_layers", 1);
  s.directions = attribute(op, "bidirectional", 0) != 0 ? 2 : 1;
  std::vector<const Tensor*> weights;
  for (const Operand& input : op.inputs) {
    if (!input.tensor.valid()) continue;
    const Tensor& t = graph.tensor(input.tensor);
    const bool is_weight = input.argument == "params" || input.argument.starts_with("w_") ||
                           input.argument.starts_with("weight");
    if (input.argument == "input" || input.argument == "data") {
      s.input = input.tensor;
      s.dtype = t.dtype;
    } else if (input.argument == "hx") {
      s.states.push_back(input.tensor);
      s.state_elements = elements(t);
    } else if (input.argument == "batch_sizes") {
      s.steps = elements(t);
    } else if (is_weight && t.shape.size() == 2) {
      weights.push_back(&t);
    }
  }
  sort_weights(weights, s);
  // What oneDNN's layer is given stands step by step, whatever its flag says of the model.
  s.batch_first = attribute(op, "batch_first", 0) != 0 && !op.target.starts_with("aten.mkldnn");
  if (!s.input.valid() || s.input_weights.empty() || s.hidden_weights.empty()) return s;
  const Tensor& x = graph.tensor(s.input);
  const std::int64_t columns = std::max<std::int64_t>(s.input_weights[0]->shape[1].size, 1);
  s.tokens = elements(x) / columns;
  const bool packed = operand(op, "batch_sizes").valid();
  if (x.shape.size() == 3) {
    s.steps = x.shape[s.batch_first ? 1 : 0].size;
  } else if (!packed && !s.cell) {
    s.steps = x.shape[0].size;  // one unbatched sequence
  }
  s.samples = s.steps > 0 ? s.tokens / s.steps : 0;
  const std::int64_t gates = s.lstm ? 4 : (s.gru ? 3 : 1);
  s.hidden = s.hidden_weights[0]->shape[0].size / gates;
  return s;
}

double sum(const std::vector<const Tensor*>& weights) {
  double total = 0;
  for (const Tensor* w : weights) total += static_cast<double>(elements(*w));
  return total;
}

}  // namespace

double recurrent_forward_flops(const Graph& graph, const Op& op) {
  const RecurrentShape s = shape_of(graph, op);
  return 2 * static_cast<double>(s.tokens) *
         (sum(s.input_weights) + sum(s.hidden_weights) + sum(s.projections));
}

double recurrent_backward_flops(const Graph& graph, const Op& op,
                                const std::vector<bool>& needs_grad) {
  const RecurrentShape s = shape_of(graph, op);
  const auto needs = [&](TensorId id) { return id.valid() && needs_grad[id.index()]; };
  const double tokens = static_cast<double>(s.tokens);
  const double always = sum(s.input_weights) + sum(s.projections);
  double flops = 2 * tokens * (always + sum(s.hidden_weights));
  double input = always;
  if (!needs(s.input)) {
    for (std::size_t i = 0;
         i < static_cast<std::size_t>(s.directions) && i < s.input_weights.size(); ++i) {
      input -= static_cast<double>(elements(*s.input_weights[i]));
    }
  }
  const bool state = !s.states.empty() && needs(s.states.front());
  const double moved = state ? tokens : tokens - static_cast<double>(s.samples);
  flops += 2 * tokens * input + 2 * moved * sum(s.hidden_weights);
  return flops;
}

namespace {

/// One fused kernel per layer and direction on CPU, which knows no projection.
bool is_fused(const RecurrentShape& s) {
  return s.lstm && !s.cell && s.projected == 0 && size_of(s.dtype) <= 4;
}

}  // namespace

double recurrent_other_flops(const Graph& graph, const Op& op) {
  const RecurrentShape s = shape_of(graph, op);
  const double gates = s.lstm ? 4 : (s.gru ? 3 : 1);
  // Per gate: two biases, one transcendental; then the state update.
  return static_cast<double>(s.tokens * s.hidden * s.layers * s.directions) * (gates * 12 + 5);
}

int recurrent_kernels(const Graph& graph, const Op& op) {
  const RecurrentShape s = shape_of(graph, op);
  const std::int64_t runs = s.layers * s.directions;
  // One fused kernel per layer and direction; step by step otherwise (linear, gates, state).
  const bool fused = is_fused(s);
  return static_cast<int>(fused ? runs : runs * (1 + s.steps * (s.gru ? 9 : 4)));
}

std::int64_t recurrent_workspace(std::int64_t steps, std::int64_t samples, std::int64_t columns,
                                 std::int64_t hidden, std::int64_t element) {
  const auto padded = [](std::int64_t width) {
    const std::int64_t rounded = (width + 15) / 16 * 16;
    return rounded % 256 == 0 ? rounded + 16 : rounded;  // rows of 1 KiB would share cache sets
  };
  constexpr std::int64_t kPage = 4096;
  const auto part = [&](std::int64_t rows, std::int64_t width) {  // each starts on a page
    return (samples * rows * width * element + kPage - 1) / kPage * kPage;
  };
  const std::int64_t ends = 2 * (steps + 1);  // before the first step and after each; two layers
  return part(steps, padded(4 * hidden)) + 3 * part(ends, padded(std::max(columns, hidden))) +
         2 * part(ends, hidden) + part(steps, hidden);
}

Saved recurrent_saved(const Graph& graph, const Op& op) {
  const RecurrentShape s = shape_of(graph, op);
  Saved saved;
  saved.tensors = s.states;
  const std::int64_t element = size_of(s.dtype);
  const std::int64_t runs = s.layers * s.directions;
  const std::int64_t sequence = s.tokens * s.hidden * element;  // one layer's result, one direction
  const std::int64_t state = s.samples * s.hidden * element;
  const std::int64_t leaves =  // of a layer, to the next one
      s.tokens * (s.projected > 0 ? s.projected : s.hidden) * s.directions * element;
  const std::int64_t between = leaves * (s.layers - 1);
  const bool dropped = attribute_real(op, "dropout", 0) > 0 && attribute(op, "train", 0) != 0;
  std::int64_t extra = 0;
  const bool fused = is_fused(s);
  // Sample by sample it is turned into steps; without the fused kernel each direction makes rows.
  if (s.batch_first && !s.cell && s.input.valid()) {
    extra += (fused ? 1 : s.directions) * bytes(graph.tensor(s.input)).value;
  } else if (s.input.valid()) {
    saved.tensors.push_back(s.input);
  }
  if (fused) {
    const bool whole = s.directions == 1 && !op.outputs.empty();  // the last layer's is the result
    if (whole) saved.tensors.push_back(op.outputs.front());
    extra += sequence * (runs - (whole ? 1 : 0)) + 2 * state * runs;
    for (const Tensor* weight : s.input_weights) {
      extra += recurrent_workspace(s.steps, s.samples, weight->shape[1].size, s.hidden, element);
      if (attribute(op, "has_biases", 1) == 0) {  // both weights are copied
        extra += weight->shape[0].size * (weight->shape[1].size + s.hidden) * element;
      }
    }
    if (s.directions == 2) extra += between;
    if (dropped) extra += 2 * between;  // the mask and the product
  } else if (s.lstm || s.gru) {
    // Per step: gates (4 or 3 and the product), states before and inside: 7 in all. The initial
    // state is among the operands above.
    extra += 7 * sequence * runs - state * runs + between;
    if (s.projected > 0) {  // what is projected in each step, and the projections but the last
      extra += (s.tokens - s.samples) * s.projected * element * runs;
    }
    if (dropped) extra += between;
    if (s.cell) extra = (s.lstm ? 5 : 6) * state;  // gates, hidden product or tanh of the state
  } else {
    extra += sequence * runs + between * (dropped ? 2 : 1);
  }
  saved.extra = Bytes(extra);
  return saved;
}

}  // namespace parallel_opt
