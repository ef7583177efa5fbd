#include <algorithm>
#include <array>

#include "parallel_opt/importers/onnx_ops.h"

/// LSTM, GRU and RNN: X [length, batch, input], or batch first; W [directions, gates * hidden,
/// input], R [directions, gates * hidden, hidden], B [directions, 2 * gates * hidden].
namespace parallel_opt::onnx {
namespace {

struct Sizes {
  Dim length, batch, directions, hidden;
  bool batch_first = false;
};

std::optional<Sizes> sizes_of_layer(Call& call) {
  const Shape *x = call.shape(0), *w = call.shape(1), *r = call.shape(2);
  if (x == nullptr || w == nullptr || r == nullptr) return std::nullopt;
  if (x->size() != 3 || w->size() != 3 || r->size() != 3) {
    call.fault("takes three axes each, not " + show(*x) + ", " + show(*w) + ", " + show(*r));
    return std::nullopt;
  }
  const bool first = call.whole("layout", 0) != 0;
  return Sizes{(*x)[first ? 1 : 0], (*x)[first ? 0 : 1], (*w)[0], (*r)[2], first};
}

std::int64_t gates_of(std::string_view type) { return type == "LSTM" ? 4 : type == "GRU" ? 3 : 1; }

/// The stored sizes against each other and against `hidden_size` and `direction`.
bool check_weights(Call& call, const Sizes& s) {
  const std::int64_t hidden = call.whole("hidden_size", 0);
  const std::int64_t ways = call.text("direction", "forward") == "bidirectional" ? 2 : 1;
  const std::int64_t gates = gates_of(call.node.type);
  if (!is_fixed(s.hidden) || !is_fixed(s.directions)) return true;
  if (hidden > 0 && s.hidden.size != hidden) {
    call.fault("hidden_size is " + std::to_string(hidden) + " and R is " + show(*call.shape(2)));
    return false;
  }
  const Dim h = s.hidden, d = fixed(ways), wide = fixed(gates * h.size);
  const struct {
    std::size_t operand;
    const char* name;
    Shape shape;
  } expected[] = {{1, "W", {d, wide, call.shape(0)->back()}},
                  {2, "R", {d, wide, h}},
                  {3, "B", {d, fixed(2 * gates * h.size)}},
                  {7, "P", {d, fixed(3 * h.size)}}};
  for (const auto& [operand, name, wanted] : expected) {
    const Shape* given = call.shape(operand);
    if (given == nullptr || !call.has(operand)) continue;
    const bool same = std::ranges::equal(*given, wanted, [](const Dim& a, const Dim& b) {
      return !is_fixed(a) || !is_fixed(b) || a.size == b.size;
    });
    if (same) continue;
    call.fault(std::string(name) + " is " + show(*given) + " where " + show(wanted) + " fits");
    return false;
  }
  return true;
}

void recurrent_shape(Call& call) {
  const auto sizes = sizes_of_layer(call);
  if (!sizes || !check_weights(call, *sizes)) return;
  const auto& [t, n, d, h, first] = *sizes;
  const std::int64_t element = call.element(0);
  call.set(0, element, first ? Shape{n, t, d, h} : Shape{t, d, n, h});
  for (std::size_t i = 1; i < 3; ++i) call.set(i, element, first ? Shape{n, d, h} : Shape{d, n, h});
}

/// Matrices of one direction, and its biases.
void add_weights(Call& call, Operands& operands, std::int64_t direction) {
  for (std::size_t i = 1; i < 4; ++i) {
    if (!call.has(i) || call.shape(i) == nullptr || call.shape(i)->empty()) continue;
    const Shape rest(call.shape(i)->begin() + 1, call.shape(i)->end());
    operands.push_back({"params", call.step("aten.select.int", {{"self", call.tensor(i)}},
                                            {{"dim", std::int64_t(0)}, {"index", direction}},
                                            call.element(i), rest)});
  }
}

void recurrent(Call& call) {
  const auto sizes = sizes_of_layer(call);
  const std::string_view type = call.node.type;
  if (!sizes) return call.emit("onnx." + std::string(type), call.operands("inputs*"));
  const auto& [t, n, d, h, first] = *sizes;
  const std::int64_t element = call.element(0);
  Operands operands{{"input", call.tensor(0)}};
  for (const std::size_t i : {5, 6}) {
    if (!call.has(i) || (i == 6 && type != "LSTM")) continue;
    Value& state = call.importer.value(call.in[i]);
    if (state.weight && state.role.empty()) state.role = "CONSTANT";  // zeros to start with
    operands.push_back({"hx", call.tensor(i)});
  }
  const std::int64_t directions = is_fixed(d) ? std::clamp<std::int64_t>(d.size, 1, 2) : 1;
  for (std::int64_t k = 0; k < directions; ++k) add_weights(call, operands, k);
  const char* target = type == "LSTM"  ? "aten.lstm.input"
                       : type == "GRU" ? "aten.gru.input"
                                       : "aten.rnn_tanh.input";
  const Attributes attributes{{"num_layers", std::int64_t(1)},
                              {"bidirectional", directions == 2},
                              {"batch_first", first},
                              {"has_biases", call.has(3)}};
  // PyTorch's result [length, batch, directions * hidden] and the last states.
  Shape rows = first ? Shape{n, t, multiply(d, h)} : Shape{t, n, multiply(d, h)};
  Value& sequence =
      call.importer.value(call.importer.add_value(std::string(call.node.name) + ".sequence"));
  sequence.element = element;
  sequence.shape = rows;
  call.importer.name_unknown(sequence);
  const TensorId all =
      call.importer.add_tensor(sequence.name, TensorRole::activation, element, *sequence.shape);
  std::vector<TensorId> results{all};
  for (std::size_t i = 1; i < 3; ++i) {
    if (call.wants(i)) results.push_back(call.importer.result_tensor(call.out[i]));
  }
  call.importer.add_op(call, target, std::move(operands), std::move(results), attributes);
  if (!call.wants(0)) return;
  if (first) {
    return call.emit_one(0, "aten.reshape.default", {{"self", all}},
                         {{"shape", sizes_of(call.shape_out(0))}});
  }
  const TensorId split = reshaped(call, all, {t, n, d, h}, element);
  call.emit_one(0, "aten.permute.default", {{"self", split}},
                {{"dims", std::vector<std::int64_t>{0, 2, 1, 3}}});
}

constexpr auto kRecurrentRules = std::to_array<OpRule>({
    {"LSTM", recurrent_shape, {}, {}, recurrent},
    {"GRU", recurrent_shape, {}, {}, recurrent},
    {"RNN", recurrent_shape, {}, {}, recurrent},
});

}  // namespace

std::span<const OpRule> recurrent_rules() { return kRecurrentRules; }

}  // namespace parallel_opt::onnx
