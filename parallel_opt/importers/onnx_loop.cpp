#include <algorithm>
#include <limits>

#include "parallel_opt/importers/onnx_import.h"

/// How often a loop runs whose condition compares a counter with a limit.
namespace parallel_opt::onnx {
namespace {

/// A scalar as a line over the runs of a loop: `first` after none of them, `step` more after each.
struct Line {
  Dim first;
  std::int64_t step = 0;
};

class LoopCounter {
 public:
  LoopCounter(Call& call, const ProtoGraph& body) : call_(call), body_(body) {}

  /// Runs until the condition that the body leaves is false; it was true at first.
  std::optional<Dim> trips() {
    const ProtoNode* test = body_.outputs.empty() ? nullptr : origin(body_.outputs[0].name);
    if (test == nullptr || test->inputs.size() != 2) return std::nullopt;
    const bool more = test->type.starts_with("Greater"), equal = test->type.ends_with("OrEqual");
    if (!more && !test->type.starts_with("Less")) return std::nullopt;
    std::optional<Line> low = line(test->inputs[0]), high = line(test->inputs[1]);
    if (more) std::swap(low, high);
    if (!low || !high) return std::nullopt;
    // After run k the loop goes on while first + step * k < gap: 1 + ceil(gap / step) runs.
    Dim gap = subtract(high->first, low->first);
    if (equal) gap = add(gap, fixed(1));
    if (low->step <= high->step) {  // once true, true for ever
      const bool ends = is_fixed(gap) && gap.size <= 0;
      return ends ? std::optional<Dim>(fixed(1)) : std::nullopt;
    }
    const Dim further = ceil_divide(gap, fixed(low->step - high->step));
    return add(maximum(further, fixed(0)), fixed(1));
  }

 private:
  const ProtoNode* maker(std::string_view name) const {
    for (const ProtoNode& node : body_.nodes) {
      if (std::ranges::find(node.outputs, name) != node.outputs.end()) return &node;
    }
    return nullptr;
  }

  /// The node that computes a scalar, behind what only passes it on.
  const ProtoNode* origin(std::string_view name) const {
    constexpr std::string_view kPass[] = {"Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape"};
    const ProtoNode* node = maker(name);
    for (int i = 0; node != nullptr && i < kMostSteps; ++i) {
      if (std::ranges::find(kPass, node->type) == std::end(kPass) || node->inputs.empty()) break;
      passed_ = node->inputs[0];
      node = maker(passed_);
    }
    return node;
  }

  std::optional<Line> constant(const Data* data) const {
    if (data == nullptr || data->real || data->whole.size() != 1 || is_unknown(data->whole[0])) {
      return std::nullopt;
    }
    return Line{data->whole[0], 0};
  }

  std::optional<Line> stored(const ProtoTensor& tensor) {
    Importer& importer = call_.importer;
    Value& value = importer.value(importer.add_value(""));
    importer.stored_constant(value, tensor, call_.place);
    return constant(importer.data(value));
  }

  /// A value from outside of the body, or one of its own constants.
  std::optional<Line> given(std::string_view name) {
    for (const ProtoTensor& tensor : body_.initializers) {
      if (tensor.name == name) return stored(tensor);
    }
    const auto id = call_.importer.find(call_.scope, name);
    if (!id || *id < 0) return std::nullopt;
    return constant(call_.importer.data(call_.importer.value(*id)));
  }

  /// Input `i` of the body, the iteration or a value that each run adds a constant to.
  std::optional<Line> carried(std::size_t i) {
    if (i == 0) return Line{fixed(0), 1};
    if (i < 2 || i >= call_.in.size() || !call_.has(i) || i - 1 >= body_.outputs.size()) {
      return std::nullopt;
    }
    std::optional<Line> start = constant(call_.data(i));
    const std::string_view own = body_.inputs[i].name;
    passed_ = body_.outputs[i - 1].name;
    const ProtoNode* next = origin(passed_);
    if (start && next == nullptr && passed_ == own) return start;
    if (!start || next == nullptr || next->inputs.size() != 2) return std::nullopt;
    const bool minus = next->type == "Sub";
    if (!minus && next->type != "Add") return std::nullopt;
    const bool right = !minus && next->inputs[1] == own;
    if (!right && next->inputs[0] != own) return std::nullopt;
    const std::optional<Line> by = line(next->inputs[right ? 0 : 1]);
    if (!by || by->step != 0 || !is_fixed(by->first) || !small(by->first.size)) {
      return std::nullopt;
    }
    start->step = minus ? -by->first.size : by->first.size;
    return start;
  }

  std::optional<Line> line(std::string_view name) {
    if (++steps_ > kMostSteps) return std::nullopt;
    passed_ = name;
    const ProtoNode* node = origin(name);
    if (node == nullptr) {
      const std::string_view source = passed_;
      for (std::size_t i = 0; i < body_.inputs.size(); ++i) {
        if (body_.inputs[i].name == source) return carried(i);
      }
      return given(source);
    }
    if (node->type == "Constant") return in_node(*node);
    if ((node->type != "Add" && node->type != "Sub") || node->inputs.size() != 2) {
      return std::nullopt;
    }
    const std::optional<Line> a = line(node->inputs[0]), b = line(node->inputs[1]);
    if (!a || !b) return std::nullopt;
    if (node->type == "Add") return Line{add(a->first, b->first), a->step + b->step};
    return Line{subtract(a->first, b->first), a->step - b->step};
  }

  std::optional<Line> in_node(const ProtoNode& node) {
    for (const ProtoAttribute& attribute : node.attributes) {
      if (attribute.name == "value_int") return Line{fixed(attribute.i), 0};
      if (attribute.name == "value" && !attribute.tensors.empty()) {
        return stored(attribute.tensors.front());
      }
    }
    return std::nullopt;
  }

  static bool small(std::int64_t step) { return step >= -kMostStep && step <= kMostStep; }

  static constexpr int kMostSteps = 32;
  static constexpr std::int64_t kMostStep = std::numeric_limits<std::int32_t>::max();

  Call& call_;
  const ProtoGraph& body_;
  int steps_ = 0;
  mutable std::string_view passed_;  ///< what `origin` saw last
};

}  // namespace

std::optional<Dim> trips_by_counter(Call& call, const ProtoGraph& body) {
  std::optional<Dim> trips = LoopCounter(call, body).trips();
  if (trips && is_unknown(*trips)) trips.reset();
  return trips;
}

}  // namespace parallel_opt::onnx
