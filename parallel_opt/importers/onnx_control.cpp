#include <algorithm>
#include <limits>

#include "parallel_opt/importers/onnx_import.h"

/// Control flow: branches, loops and scans become regions of the graph.
namespace parallel_opt::onnx {
namespace {

/// A body with the place that faults in it are named by.
struct Body {
  const ProtoGraph* graph = nullptr;
  std::size_t attribute = 0;
};

std::optional<Body> body_of(const Call& call, std::string_view name) {
  for (std::size_t i = 0; i < call.node.attributes.size(); ++i) {
    const ProtoAttribute& attribute = call.node.attributes[i];
    if (attribute.name == name && !attribute.graphs.empty()) {
      return Body{&attribute.graphs.front(), i};
    }
  }
  call.fault("has no graph \"" + std::string(name) + "\"");
  return std::nullopt;
}

/// Faults unless a body takes and leaves as many values as its operator gives and makes.
bool fits(Call& call, const char* name, const ProtoGraph& body, std::size_t takes,
          std::size_t leaves) {
  const auto values = [](std::size_t n) {
    return std::to_string(n) + (n == 1 ? " value" : " values");
  };
  if (body.inputs.size() != takes) {
    call.fault("\"" + std::string(name) + "\" takes " + values(body.inputs.size()) +
               ", it is given " + std::to_string(takes));
    return false;
  }
  if (body.outputs.size() != leaves) {
    call.fault("\"" + std::string(name) + "\" leaves " + values(body.outputs.size()) +
               ", the operator makes " + std::to_string(leaves));
    return false;
  }
  return true;
}

std::string region_base(const Call& call) {
  const std::string_view name = !call.node.name.empty()      ? call.node.name
                                : !call.node.outputs.empty() ? call.node.outputs[0]
                                                             : call.node.type;
  std::string base = call.scope.prefix + std::string(name);
  for (char& c : base) {
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
  }
  return base + "." + std::to_string(call.importer.graph().ops.size());
}

/// Reads a body whose inputs stand for `inputs`; its outputs, -1 for one that nothing makes.
std::vector<int> read_body(Call& call, const Body& body, const std::vector<int>& inputs,
                           const std::string& prefix) {
  const Place attributes{&call.place, "attribute", SIZE_MAX};
  const Place attribute{&attributes, "", body.attribute}, place{&attribute, "g", SIZE_MAX};
  Scope scope;
  scope.outer = &call.scope;
  scope.opsets = call.scope.opsets;
  scope.prefix = prefix + ".";
  scope.module = call.importer.module;
  scope.module_type = call.importer.module_type;
  call.importer.open(scope, *body.graph, place);
  for (std::size_t i = 0; i < body.graph->inputs.size() && i < inputs.size(); ++i) {
    scope.values.try_emplace(body.graph->inputs[i].name, inputs[i]);
  }
  call.importer.read_nodes(scope, body.graph->nodes, place);
  std::vector<int> results;
  for (std::size_t i = 0; i < body.graph->outputs.size(); ++i) {
    const auto id = call.importer.find(scope, body.graph->outputs[i].name);
    if (!id && !call.importer.findings().any()) {
      const Place outputs{&place, "output", SIZE_MAX};
      call.importer.findings().fault(
          {&outputs, "", i},
          "\"" + std::string(body.graph->outputs[i].name) + "\" is made by no node of the body");
    }
    results.push_back(id.value_or(-1));
  }
  return results;
}

/// What both shapes allow: sizes that differ are unknown.
std::optional<Shape> widened(const std::optional<Shape>& a, const std::optional<Shape>& b) {
  if (!a || !b || a->size() != b->size()) return std::nullopt;
  Shape result = *a;
  for (std::size_t i = 0; i < result.size(); ++i) {
    if (result[i] != (*b)[i]) result[i] = unknown_size(std::max(result[i].size, (*b)[i].size));
  }
  return result;
}

void add_region(Call& call, Region region) {
  Graph& graph = call.importer.graph();
  region.parent = call.importer.region;
  call.importer.region = RegionId(graph.regions.size());
  graph.regions.push_back(std::move(region));
}

/// Result `i` of the node as a join of tensors that leave regions.
void join_leaving(Call& call, std::size_t i, const std::vector<int>& leaving) {
  if (!call.wants(i)) return;
  Operands operands;
  for (const int id : leaving) operands.push_back({"inputs", call.importer.tensor(id)});
  call.importer.name_unknown(call.result(i));
  call.emit_one(i, std::string(kJoin), std::move(operands));
}

void choose(Call& call, const std::vector<int>& results) {
  for (std::size_t i = 0; i < call.out.size(); ++i) {
    if (call.out[i] >= 0 && i < results.size() && results[i] >= 0) call.out[i] = results[i];
  }
}

Region alternative(const std::string& base, const char* which, TensorId predicate) {
  Region region;
  region.predicate = predicate;
  region.name = base + which;
  region.kind = RegionKind::branch;
  region.group = base;
  region.runs = 0.5;
  return region;
}

void read_if(Call& call) {
  const auto yes = body_of(call, "then_branch"), no = body_of(call, "else_branch");
  if (!yes || !no) return;
  if (yes->graph->outputs.size() != no->graph->outputs.size()) {
    return call.fault("its branches leave " + std::to_string(yes->graph->outputs.size()) + " and " +
                      std::to_string(no->graph->outputs.size()) + " values");
  }
  if (!fits(call, "then_branch", *yes->graph, 0, call.out.size())) return;
  const std::string base = region_base(call);
  if (const auto condition = call.number(0)) {
    return choose(call, read_body(call, *condition != 0 ? *yes : *no, {}, base));
  }
  const RegionId outside = call.importer.region;
  const TensorId by = call.has(0) ? call.importer.tensor(call.in[0]) : TensorId();
  add_region(call, alternative(base, ".true", by));
  const std::vector<int> first = read_body(call, *yes, {}, base + ".true");
  call.importer.region = outside;
  add_region(call, alternative(base, ".false", by));
  const std::vector<int> second = read_body(call, *no, {}, base + ".false");
  call.importer.region = outside;
  call.importer.findings().note("operator \"" + base +
                                "\" takes one of 2 ways by data: each is taken half of the time");
  if (call.importer.findings().any()) return;
  for (std::size_t i = 0; i < call.out.size() && i < first.size() && i < second.size(); ++i) {
    if (!call.wants(i)) continue;
    const Value& a = call.importer.value(first[i]);
    const Value& b = call.importer.value(second[i]);
    const std::int64_t element = a.element != 0 ? a.element : b.element;
    call.result(i).kind = a.kind;
    call.set(i, element, widened(a.shape, b.shape));
    join_leaving(call, i, {first[i], second[i]});
  }
}

struct Loop {
  Body body;
  std::vector<int> carried;       ///< first values
  std::vector<int> given;         ///< body inputs before the carried values
  std::vector<int> sliced;        ///< values that a run gets a slice of
  std::vector<std::size_t> axes;  ///< of the slices
  std::size_t skipped = 0;        ///< results of the body before the carried ones
  Dim trips;
  bool observed = false;
};

/// One slice of each scanned value, made inside the body.
void slice_inputs(Call& call, const Loop& loop, std::vector<int>& inputs) {
  for (std::size_t i = 0; i < loop.sliced.size(); ++i) {
    const Value& whole = call.importer.value(loop.sliced[i]);
    const int id = call.importer.add_value(whole.name + ".slice");
    Value& slice = call.importer.value(id);
    slice.element = whole.element;
    if (whole.shape) {
      slice.shape = *whole.shape;
      slice.shape->erase(slice.shape->begin() + static_cast<std::ptrdiff_t>(loop.axes[i]));
    }
    const std::int64_t axis = static_cast<std::int64_t>(loop.axes[i]);
    call.importer.add_op(call, "aten.select.int", {{"self", call.importer.tensor(loop.sliced[i])}},
                         {call.importer.result_tensor(id)},
                         {{"dim", axis}, {"index", std::int64_t(0)}});
    inputs.push_back(id);
  }
}

/// One reading of the body; false: a carried value changes its shape, which is now in `shapes`.
bool read_loop_once(Call& call, const Loop& loop, std::vector<std::optional<Shape>>& shapes,
                    const std::string& base, bool last, std::vector<int>& results) {
  Importer& importer = call.importer;
  const Importer::Mark mark = importer.mark();
  const RegionId outside = importer.region;
  for (const int id : loop.carried) importer.tensor(id);
  Region region;
  region.name = base + ".body";
  region.kind = RegionKind::loop;
  region.group = base;
  region.runs = static_cast<double>(loop.trips.size);
  region.expression = loop.trips.expression;
  region.observed = loop.observed;
  add_region(call, std::move(region));
  std::vector<int> inputs = loop.given;
  std::vector<std::size_t> entries;
  for (std::size_t i = 0; i < loop.carried.size(); ++i) {
    const int id = importer.add_value(base + ".carried" + std::to_string(i));
    importer.value(id).kind = importer.value(loop.carried[i]).kind;
    importer.value(id).element = importer.value(loop.carried[i]).element;
    importer.value(id).shape = shapes[i];
    importer.name_unknown(importer.value(id));
    shapes[i] = importer.value(id).shape;
    entries.push_back(importer.graph().ops.size());
    importer.add_op(call, std::string(kJoin), {{"inputs", importer.tensor(loop.carried[i])}},
                    {importer.result_tensor(id)}, {});
    inputs.push_back(id);
  }
  slice_inputs(call, loop, inputs);
  results = read_body(call, loop.body, inputs, base);
  bool stable = true;
  for (std::size_t i = 0; i < loop.carried.size() && !importer.findings().any(); ++i) {
    if (loop.skipped + i >= results.size()) {
      call.fault("its body has fewer results than values are carried");
      break;
    }
    const int id = results[loop.skipped + i];
    const std::optional<Shape> wide = widened(shapes[i], importer.value(id).shape);
    if (wide != shapes[i] && shapes[i]) {
      shapes[i] = wide;
      stable = false;
    }
    importer.graph().ops[entries[i]].attributes["carried"] =
        importer.graph().tensor(importer.tensor(id)).name;
  }
  importer.region = outside;
  if (stable || last || importer.findings().any()) return true;
  importer.roll_back(mark);
  return false;
}

void read_loop_body(Call& call, const Loop& loop, const std::vector<std::int64_t>& output_axes) {
  const std::string base = region_base(call);
  std::vector<std::optional<Shape>> shapes;
  for (const int id : loop.carried) shapes.push_back(call.importer.value(id).shape);
  std::vector<int> results;
  if (!read_loop_once(call, loop, shapes, base, false, results)) {
    read_loop_once(call, loop, shapes, base, true, results);
  }
  if (call.importer.findings().any()) return;
  for (std::size_t i = 0; i < call.out.size() && loop.skipped + i < results.size(); ++i) {
    if (!call.wants(i)) continue;
    const Value& leaving = call.importer.value(results[loop.skipped + i]);
    call.result(i).kind = leaving.kind;
    std::optional<Shape> shape = leaving.shape;
    if (i < loop.carried.size()) {
      if (shapes[i]) shape = shapes[i];
    } else if (shape) {
      std::int64_t axis =
          i - loop.carried.size() < output_axes.size() ? output_axes[i - loop.carried.size()] : 0;
      if (axis < 0) axis += static_cast<std::int64_t>(shape->size()) + 1;
      axis = std::clamp<std::int64_t>(axis, 0, static_cast<std::int64_t>(shape->size()));
      shape->insert(shape->begin() + static_cast<std::ptrdiff_t>(axis), loop.trips);
    }
    call.set(i, leaving.element, std::move(shape));
    join_leaving(call, i, {results[loop.skipped + i]});
  }
}

/// A scalar that each run has another value of.
int counter(Call& call, const char* name, std::int64_t element) {
  const int id = call.importer.add_value(region_base(call) + "." + name);
  Value& value = call.importer.value(id);
  value.element = element;
  value.shape = Shape();
  value.tensor = call.importer.add_tensor(value.name, TensorRole::constant, element, {});
  return id;
}

void read_loop(Call& call) {
  const auto body = body_of(call, "body");
  if (!body) return;
  Loop loop;
  loop.body = *body;
  loop.skipped = 1;  // the condition to go on
  for (std::size_t i = 2; i < call.in.size(); ++i) {
    if (!call.has(i)) return call.fault("operand " + std::to_string(i) + " is missing");
    loop.carried.push_back(call.in[i]);
  }
  if (!fits(call, "body", *body->graph, 2 + loop.carried.size(), 1 + call.out.size())) return;
  const Data* most = call.data(0);
  const auto go_on = call.number(1);
  const bool always = !call.has(1) || (go_on && *go_on != 0);
  loop.trips = unknown_size();
  if (most != nullptr && !most->real && most->whole.size() == 1) loop.trips = most->whole[0];
  // Exporters write "no limit" as the largest number there is.
  constexpr std::int64_t kNoLimit = std::numeric_limits<std::int32_t>::max();
  const bool endless = !call.has(0) || (is_fixed(loop.trips) && loop.trips.size >= kNoLimit);
  if (endless) loop.trips = unknown_size();
  if (is_fixed(loop.trips)) loop.trips.size = std::max<std::int64_t>(loop.trips.size, 0);
  loop.observed = always && is_fixed(loop.trips) && body->graph->nodes.size() > 0;
  if (go_on && *go_on == 0) {
    loop.trips = fixed(0);
    loop.observed = true;
  } else if (const auto counted = trips_by_counter(call, *body->graph)) {
    loop.trips = endless ? *counted : minimum(*counted, loop.trips);
    loop.observed = always && is_fixed(loop.trips);
  }
  Value count;
  count.name = region_base(call) + ".trips";
  count.shape = Shape{loop.trips};
  if (is_unknown(loop.trips)) {
    call.importer.name_unknown(count);
    loop.trips = count.shape->front();
  }
  loop.given = {counter(call, "iteration", 7), counter(call, "condition", 9)};
  read_loop_body(call, loop, {});
}

void read_scan(Call& call) {
  const auto body = body_of(call, "body");
  if (!body) return;
  const std::int64_t scanned = call.whole("num_scan_inputs", 0);
  if (scanned < 1 || scanned > static_cast<std::int64_t>(call.in.size())) {
    return call.fault("scans " + std::to_string(scanned) + " of " + std::to_string(call.in.size()) +
                      " operands");
  }
  Loop loop;
  loop.body = *body;
  loop.observed = true;
  loop.trips = unknown_size();
  const std::size_t states = call.in.size() - static_cast<std::size_t>(scanned);
  const std::vector<std::int64_t> axes = call.wholes("scan_input_axes");
  for (std::size_t i = 0; i < call.in.size(); ++i) {
    if (!call.has(i)) return call.fault("operand " + std::to_string(i) + " is missing");
    if (i < states) {
      loop.carried.push_back(call.in[i]);
      continue;
    }
    const Shape* shape = call.shape(i);
    std::int64_t axis = i - states < axes.size() ? axes[i - states] : 0;
    const std::int64_t rank =
        shape == nullptr ? axis + 1 : static_cast<std::int64_t>(shape->size());
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank) return call.fault("scans along an axis that is not there");
    loop.sliced.push_back(call.in[i]);
    loop.axes.push_back(static_cast<std::size_t>(axis));
    if (shape == nullptr) continue;
    const Dim& runs = (*shape)[static_cast<std::size_t>(axis)];
    if (is_fixed(runs) && is_fixed(loop.trips) && runs != loop.trips) {
      return call.fault("scans operands of " + std::to_string(loop.trips.size) + " and " +
                        std::to_string(runs.size) + " slices");
    }
    if (i == states || is_fixed(runs)) loop.trips = runs;
  }
  if (!fits(call, "body", *body->graph, call.in.size(), call.out.size())) return;
  if (is_unknown(loop.trips)) {
    Value count;
    count.name = region_base(call) + ".trips";
    count.shape = Shape{loop.trips};
    call.importer.name_unknown(count);
    loop.trips = count.shape->front();
  }
  read_loop_body(call, loop, call.wholes("scan_output_axes"));
}

/// A body for each element of a sequence.
bool read_sequence_map(Call& call) {
  const Value* sequence = call.input(0);
  const auto body = body_of(call, "body");
  if (!body || sequence == nullptr || !sequence->items) return false;
  std::vector<std::vector<int>> items(call.out.size());
  const std::vector<int> elements = *sequence->items;
  for (std::size_t k = 0; k < elements.size(); ++k) {
    std::vector<int> inputs{elements[k]};
    for (std::size_t i = 1; i < call.in.size(); ++i) {
      const Value* other = call.input(i);
      const bool list = other != nullptr && other->items && k < other->items->size();
      inputs.push_back(list ? (*other->items)[k] : call.in[i]);
    }
    const std::vector<int> results =
        read_body(call, *body, inputs, region_base(call) + "." + std::to_string(k));
    for (std::size_t i = 0; i < items.size() && i < results.size(); ++i) {
      if (results[i] >= 0) items[i].push_back(results[i]);
    }
  }
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (!call.wants(i)) continue;
    call.result(i).kind = Value::Kind::sequence;
    call.result(i).items = items[i];
    if (!items[i].empty()) call.result(i).element = call.importer.value(items[i][0]).element;
  }
  return true;
}

}  // namespace

bool read_control_flow(Call& call) {
  if (call.node.type == "If") return read_if(call), true;
  if (call.node.type == "Loop") return read_loop(call), true;
  if (call.node.type == "Scan" && call.opset >= 9) return read_scan(call), true;
  return call.node.type == "SequenceMap" && read_sequence_map(call);
}

}  // namespace parallel_opt::onnx
