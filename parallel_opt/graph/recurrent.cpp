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
  DType dtype = DType::fp32;
  std::int64_t state_elements = 0;            ///< of one initial state
  std::vector<TensorId> states;               ///< initial states
  std::vector<const Tensor*> input_weights;   ///< per layer and direction
  std::vector<const Tensor*> hidden_weights;  ///< the recurrent ones
  TensorId input;
};

/// Two-dimensional parameters come in pairs, input weight then hidden weight; a third of other
/// columns is an LSTM's projection, counted with the hidden weights.
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
  const bool projected = attribute(op, "has_projections", 0) != 0 ||
                         (s.lstm && weights.size() % 3 == 0 && weights.size() % 2 != 0);
  const std::size_t group = projected ? 3 : 2;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    (i % group == 0 ? s.input_weights : s.hidden_weights).push_back(weights[i]);
  }
  if (!s.input.valid() || s.input_weights.empty() || s.hidden_weights.empty()) return s;
  const Tensor& x = graph.tensor(s.input);
  const std::int64_t columns = std::max<std::int64_t>(s.input_weights[0]->shape[1].size, 1);
  s.tokens = elements(x) / columns;
  const bool packed = operand(op, "batch_sizes").valid();
  if (x.shape.size() == 3) {
    s.steps = x.shape[attribute(op, "batch_first", 0) != 0 ? 1 : 0].size;
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
  return 2 * static_cast<double>(s.tokens) * (sum(s.input_weights) + sum(s.hidden_weights));
}

double recurrent_backward_flops(const Graph& graph, const Op& op,
                                const std::vector<bool>& needs_grad) {
  const RecurrentShape s = shape_of(graph, op);
  const auto needs = [&](TensorId id) { return id.valid() && needs_grad[id.index()]; };
  const double tokens = static_cast<double>(s.tokens);
  double flops = 2 * tokens * (sum(s.input_weights) + sum(s.hidden_weights));
  double input = sum(s.input_weights);
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
  const bool fused = s.lstm && !s.cell && size_of(s.dtype) <= 4;
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
  std::int64_t extra = 0;
  const bool fused = s.lstm && !s.cell && size_of(s.dtype) <= 4;
  const bool turned = !fused && !s.cell && attribute(op, "batch_first", 0) != 0;
  if (turned && s.input.valid()) {  // each direction makes rows of it
    extra += s.directions * bytes(graph.tensor(s.input)).value;
  } else if (s.input.valid()) {
    saved.tensors.push_back(s.input);
  }
  if (fused) {
    const bool whole = s.directions == 1 && !op.outputs.empty();  // the last layer's is the result
    if (whole) saved.tensors.push_back(op.outputs.front());
    extra += sequence * (runs - (whole ? 1 : 0)) + 2 * state * runs;
    for (const Tensor* weight : s.input_weights) {
      extra += recurrent_workspace(s.steps, s.samples, weight->shape[1].size, s.hidden, element);
    }
    if (s.directions == 2) extra += 2 * sequence * (s.layers - 1);
  } else if (s.lstm || s.gru) {
    // Per step: gates (4 or 3 and the product), states before and inside: 7 in all. The initial
    // state is among the operands above.
    extra += 7 * sequence * runs - state * runs;
    extra += sequence * s.directions * (s.layers - 1);
    if (s.cell) extra = (s.lstm ? 5 : 6) * state;  // gates, hidden product or tanh of the state
  } else {
    extra += sequence * runs + sequence * s.directions * (s.layers - 1);
  }
  saved.extra = Bytes(extra);
  return saved;
}

}  // namespace parallel_opt
