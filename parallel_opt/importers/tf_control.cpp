#include <algorithm>

#include "parallel_opt/importers/tf_import.h"

// Control flow as regions: If, Case and While of TensorFlow 2 by their functions, Switch and Merge,
// Enter to Exit of TensorFlow 1 by the shape of the graph.
namespace parallel_opt::tf {
namespace {

bool is_op(const Node& node, std::string_view op) {
  return node.op == op || (node.op.starts_with("Ref") && node.op.substr(3) == op);
}

bool plain_tensor(const Value& value) { return value.kind == Value::Kind::tensor; }

/// Through identities.
Source trace(const Body& body, Source source) {
  for (int steps = 0; steps < 64 && !source.argument; ++steps) {
    const Node& node = body.node(source.index);
    const Wires& wires = body.wires[static_cast<std::size_t>(source.index)];
    if (!is_op(node, "Identity") || wires.inputs.empty()) break;
    source = wires.inputs[0];
  }
  return source;
}

std::optional<std::int64_t> constant_of(const Body& body, Source source) {
  if (source.argument || body.node(source.index).op != "Const") return std::nullopt;
  const Attr* attr = body.node(source.index).find("value");
  if (attr == nullptr || attr->kind != Attr::Kind::tensor) return std::nullopt;
  const TensorValue value = read_tensor(attr->text, "constant", 1);
  if (!value.known || value.values.size() != 1) return std::nullopt;
  return value.values.front();
}

bool invariant(const Body& body, std::size_t argument) {
  if (argument >= body.results.size()) return false;
  const Source source = trace(body, body.results[argument]);
  return source.argument && source.index == static_cast<int>(argument);
}

constexpr std::int64_t kLongestStep = std::int64_t{1} << 40;

/// Runs of `counter < limit` (or another comparison), counter += step.
std::optional<Dim> runs_of(std::string_view op, Dim start, Dim limit, std::int64_t step) {
  if (step == 0) return std::nullopt;
  if (step < 0) {
    std::swap(start, limit);
    if (op == "Greater")
      op = "Less";
    else if (op == "GreaterEqual")
      op = "LessEqual";
    else
      return std::nullopt;
  }
  if (op == "LessEqual") {
    limit = sizes::add(limit, sizes::fixed(1));
  } else if (op != "Less" && op != "NotEqual") {
    return std::nullopt;
  }
  Dim runs = sizes::ceil_divide(
      sizes::subtract(limit, start),
      sizes::fixed(step < 0 ? -std::max<std::int64_t>(step, -kLongestStep) : step));
  if (runs.size < 0) runs = sizes::fixed(0);
  return runs;
}

bool is_sum(std::string_view op) { return op == "AddV2" || op == "Add"; }

/// What a counter moves by; 0: not known.
std::int64_t whole_step(const Dim& by, bool added) {
  if (by.symbolic() || by.size == INT64_MIN) return 0;
  return added ? by.size : -by.size;
}

bool is_comparison(std::string_view op) {
  return op == "Less" || op == "LessEqual" || op == "Greater" || op == "GreaterEqual" ||
         op == "NotEqual";
}

std::string_view mirrored(std::string_view op) {
  if (op == "Less") return "Greater";
  if (op == "LessEqual") return "GreaterEqual";
  if (op == "Greater") return "Less";
  if (op == "GreaterEqual") return "LessEqual";
  return op;
}

std::optional<Trips> fewer(const std::optional<Trips>& a, const std::optional<Trips>& b) {
  if (!a && !b) return std::nullopt;
  if (!a || !b) return Trips{(a ? a : b).value().count, false};
  return Trips{a->count.size <= b->count.size ? a->count : b->count, a->exact && b->exact};
}

/// Counts the runs of a loop given by its condition and its body.
struct TripFinder {
  const Context& c;
  const Body& condition;
  const Body& body;
  const Values& in;

  /// A scalar of one of the functions that is the same in all runs.
  std::optional<Dim> known(const Body& where, Source source) const {
    source = trace(where, source);
    if (const auto number = constant_of(where, source)) return sizes::fixed(*number);
    if (!source.argument) return std::nullopt;
    const auto index = static_cast<std::size_t>(source.index);
    if (index >= in.size() || !invariant(body, index)) return std::nullopt;
    const auto& given = c.elements(in[index]);
    return given && given->size() == 1 ? std::optional<Dim>(given->front()) : std::nullopt;
  }

  /// What one run adds to a counter; 0: it is no counter.
  std::int64_t step(std::size_t argument) const {
    if (argument >= body.results.size()) return 0;
    const Source source = trace(body, body.results[argument]);
    if (source.argument) return 0;
    const Node& node = body.node(source.index);
    const std::vector<Source>& inputs = body.wires[static_cast<std::size_t>(source.index)].inputs;
    const bool sum = is_sum(node.op);
    if ((!sum && node.op != "Sub") || inputs.size() != 2) return 0;
    for (std::size_t k = 0; k < (sum ? 2U : 1U); ++k) {
      const Source counter = trace(body, inputs[k]);
      const auto by = known(body, inputs[1 - k]);  // a constant, or what tf.range was given
      const bool own = counter.argument && counter.index == static_cast<int>(argument);
      if (own && by) return whole_step(*by, sum);
    }
    return 0;
  }

  std::optional<Trips> find(Source source, int depth) const {
    source = trace(condition, source);
    if (source.argument || depth > 8) return std::nullopt;
    const Node& node = condition.node(source.index);
    const std::vector<Source>& sides =
        condition.wires[static_cast<std::size_t>(source.index)].inputs;
    if (sides.size() != 2) return std::nullopt;
    if (node.op == "LogicalAnd") return fewer(find(sides[0], depth + 1), find(sides[1], depth + 1));
    if (!is_comparison(node.op)) return std::nullopt;
    for (std::size_t k = 0; k < 2; ++k) {
      const Source counter = trace(condition, sides[k]);
      if (!counter.argument || static_cast<std::size_t>(counter.index) >= in.size()) continue;
      const auto index = static_cast<std::size_t>(counter.index);
      const auto& start = c.elements(in[index]);
      const auto most = known(condition, sides[1 - k]);
      if (!start || start->size() != 1 || !most) continue;
      const auto runs =
          runs_of(k == 0 ? node.op : mirrored(node.op), start->front(), *most, step(index));
      if (runs) return Trips{*runs, true};
    }
    return std::nullopt;
  }
};

/// Sizes that hold for either; where they differ the larger one.
ResultType covering(const ResultType& a, const ResultType& b) {
  ResultType type = a;
  if (a.shape.size() != b.shape.size())
    return sizes::product(a.shape).size >= sizes::product(b.shape).size ? a : b;
  for (std::size_t i = 0; i < type.shape.size(); ++i) {
    if (b.shape[i].size > type.shape[i].size) type.shape[i] = b.shape[i];
  }
  return type;
}

}  // namespace

void Importer::set_trips(RegionId region, const std::optional<Trips>& trips) {
  Region& made = c_.out.graph().regions[region.index()];
  if (trips) {
    made.runs = static_cast<double>(trips->count.size);
    made.expression = trips->count.expression;
    made.observed = trips->exact;
    if (!trips->exact) {
      c_.out.note("loop '" + made.group + "' runs at most " + std::to_string(trips->count.size) +
                  " times, which is what is counted");
    }
  } else {
    c_.out.note("loop '" + made.group + "' runs as often as data decide: one run is counted");
  }
}

ValueId Importer::joined(const Values& alternatives, const std::vector<RegionId>& regions) {
  const bool same =
      std::ranges::all_of(alternatives, [&](ValueId id) { return id == alternatives[0]; });
  if (same) return alternatives[0];
  for (const ValueId id : alternatives) {
    if (!plain_tensor(c_.at(id)) && c_.at(id).kind != Value::Kind::variable) return id;
  }
  const RegionId outside = c_.out.region;
  std::vector<TensorId> tensors;
  ResultType type = c_.type(alternatives[0]);
  bool ranked = true;
  for (std::size_t k = 0; k < alternatives.size(); ++k) {
    c_.out.region = regions[k];
    tensors.push_back(c_.tensor(alternatives[k]));
    type = covering(type, c_.type(alternatives[k]));
    ranked = ranked && c_.ranked(alternatives[k]);
  }
  c_.out.region = outside;
  const ValueId value = c_.value_of(c_.out.join(tensors, type));
  c_.at(value).ranked = ranked;
  return value;
}

Values Importer::join_alternatives(const std::vector<Values>& results,
                                   const std::vector<RegionId>& regions) {
  Values values;
  for (std::size_t i = 0; i < results[0].size(); ++i) {
    Values alternatives;
    for (const Values& one : results) {
      if (i >= one.size()) c_.out.fail("the alternatives differ in the number of their results");
      alternatives.push_back(one[i]);
    }
    values.push_back(joined(alternatives, regions));
  }
  return values;
}

Values Importer::branch(const Node& node, const Values& in, const std::string& scope) {
  std::vector<std::string_view> names;
  if (node.op.ends_with("Case")) {
    if (const Attr* attr = node.find("branches")) names = attr->texts;
  } else {
    names = {node.text("else_branch"), node.text("then_branch")};
  }
  constexpr std::size_t kMostBranches = 1024;
  if (names.empty() || names.size() > kMostBranches || in.empty()) {
    c_.out.fail("a branch has no alternatives");
  }
  const Values arguments(in.begin() + 1, in.end());
  if (const auto choice = c_.integer(in[0])) {
    const bool flag = !node.op.ends_with("Case");
    const auto last = static_cast<std::int64_t>(names.size()) - 1;
    const std::int64_t taken =
        flag ? (*choice != 0 ? 1 : 0) : (*choice < 0 || *choice > last ? last : *choice);
    return call(names[static_cast<std::size_t>(taken)], arguments, scope);
  }
  const TensorId by = plain_tensor(c_.at(in[0])) ? c_.tensor(in[0]) : TensorId();
  const RegionId outside = c_.out.region;
  const std::string name = c_.out.name;
  const std::string group = name + "#" + std::to_string(c_.out.graph().regions.size());
  std::vector<Values> results;
  std::vector<RegionId> regions;
  for (std::size_t k = 0; k < names.size(); ++k) {
    Region region;
    region.name =
        name + (names.size() == 2 ? (k == 1 ? ".true" : ".false") : "." + std::to_string(k));
    region.kind = RegionKind::branch;
    region.group = group;
    region.runs = 1.0 / static_cast<double>(names.size());
    region.parent = outside;
    region.predicate = by;
    regions.push_back(c_.out.add_region(region));
    c_.out.region = regions.back();
    results.push_back(call(names[k], arguments, scope));
    c_.out.region = outside;
  }
  c_.out.note("branch '" + name + "' takes one of " + std::to_string(names.size()) +
              " ways by data: each is counted in equal parts");
  return join_alternatives(results, regions);
}

std::optional<Trips> Importer::trips(const Body& condition, const Body& body,
                                     const Values& in) const {
  if (condition.results.empty()) return std::nullopt;
  return TripFinder{c_, condition, body, in}.find(condition.results[0], 0);
}

Values Importer::loop(const Node& node, const Values& in, const std::string& scope) {
  const std::string_view condition = node.text("cond");
  const std::string_view name = node.text("body");
  const Body& body = function(name);
  const std::optional<Trips> count = trips(function(condition), body, in);
  if (body.results.size() != in.size())
    c_.out.fail("a loop's body leaves other values than it takes");
  const RegionId outside = c_.out.region;
  Region region;
  region.name = c_.out.name + ".body";
  region.kind = RegionKind::loop;
  region.group = c_.out.name;
  region.parent = outside;
  const RegionId inside = c_.out.add_region(region);
  set_trips(inside, count);
  c_.out.region = inside;
  Values arguments = in;
  std::vector<TensorId> entered(in.size());
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (!plain_tensor(c_.at(in[i])) || invariant(body, i)) continue;
    entered[i] = c_.out.join({c_.tensor(in[i])}, c_.type(in[i]));
    arguments[i] = c_.value_of(entered[i]);
    c_.at(arguments[i]).ranked = c_.ranked(in[i]);
  }
  if (!count) {  // then the condition is more than a counter
    for (const ValueId id : call(condition, arguments, scope)) {
      if (!plain_tensor(c_.at(id)) || !c_.at(id).tensor.valid()) continue;
      c_.out.keep(c_.at(id).tensor);
      c_.out.decide(inside, c_.at(id).tensor);
    }
  }
  const Values left = call(name, arguments, scope);
  Values results;
  for (std::size_t i = 0; i < in.size(); ++i) {
    c_.out.region = inside;
    const bool moves = entered[i].valid() && plain_tensor(c_.at(left[i]));
    const TensorId last = moves ? c_.tensor(left[i]) : TensorId();
    if (moves) c_.out.carry(entered[i], last);
    c_.out.region = outside;
    results.push_back(moves ? c_.value_of(c_.out.join({last}, c_.type(left[i]))) : left[i]);
    if (moves) c_.at(results.back()).ranked = c_.ranked(left[i]);
  }
  return results;
}

std::optional<Values> Importer::control(Run& run, int index, const Values& in) {
  const Node& node = run.body.node(index);
  if (is_op(node, "Enter")) return enter(run, index, in);
  if (is_op(node, "Merge")) return merge(run, index, in);
  if (is_op(node, "Switch") || node.op == "_SwitchN") return switch_on(run, index, in);
  if (is_op(node, "Exit")) return exit(run, index, in);
  if (node.op == "LoopCond") {
    count_frame(run, index);
    return in;
  }
  if (!is_op(node, "NextIteration")) return std::nullopt;
  if (in.empty()) c_.out.fail("has no operand");
  const auto carried = run.carried.find(index);
  if (carried != run.carried.end() && plain_tensor(c_.at(in[0]))) {
    c_.out.carry(carried->second, c_.tensor(in[0]));
  }
  return Values{in[0]};
}

Values Importer::enter(Run& run, int index, const Values& in) {
  if (in.empty()) c_.out.fail("has no operand");
  const int frame = run.body.frame_of[static_cast<std::size_t>(index)];
  RegionId& region = run.frames[static_cast<std::size_t>(frame)];
  if (!region.valid()) {
    Region made;
    made.group = std::string(run.body.frames[static_cast<std::size_t>(frame)].name);
    made.name = made.group + ".body";
    made.kind = RegionKind::loop;
    made.parent = c_.out.region;
    region = c_.out.add_region(made);
  }
  run.regions[static_cast<std::size_t>(index)] = region;
  return {in[0]};
}

Values Importer::merge(Run& run, int index, const Values& in) {
  const Wires& wires = run.body.wires[static_cast<std::size_t>(index)];
  if (in.empty()) c_.out.fail("has no operand");
  int back = -1;
  for (const Source& source : wires.inputs) {
    if (!source.argument && is_op(run.body.node(source.index), "NextIteration"))
      back = source.index;
  }
  if (back < 0) {
    Values alive;
    std::vector<RegionId> regions;
    for (const ValueId id : in) {
      if (c_.at(id).kind == Value::Kind::dead) continue;
      alive.push_back(id);
      regions.push_back(c_.at(id).region);
    }
    if (alive.empty()) return {c_.nothing(Value::Kind::dead)};
    if (alive.size() == 1) return {alive[0], c_.nothing()};
    // Out of the alternatives, into what encloses them all.
    RegionId outside = regions[0];
    while (outside.valid() && !std::ranges::all_of(regions, [&](RegionId r) {
             return r != outside && encloses(c_.out.graph(), outside, r);
           })) {
      outside = c_.out.graph().region(outside).parent;
    }
    c_.out.region = outside;
    run.regions[static_cast<std::size_t>(index)] = outside;
    return {joined(alive, regions), c_.nothing()};
  }
  if (!plain_tensor(c_.at(in[0]))) return {in[0], c_.nothing()};
  // What goes round unchanged needs no join.
  Source source{false, back, 0};
  for (int steps = 0; steps < 64 && !source.argument; ++steps) {
    const Node& node = run.body.node(source.index);
    const bool passes =
        is_op(node, "NextIteration") || is_op(node, "Identity") || is_op(node, "Switch");
    const std::vector<Source>& operands =
        run.body.wires[static_cast<std::size_t>(source.index)].inputs;
    if (!passes || operands.empty()) break;
    source = operands[0];
  }
  if (!source.argument && source.index == index) return {in[0], c_.nothing()};
  const TensorId joined = c_.out.join({c_.tensor(in[0])}, c_.type(in[0]));
  run.carried[back] = joined;
  const ValueId value = c_.value_of(joined);
  c_.at(value).ranked = c_.ranked(in[0]);
  return {value, c_.nothing()};
}

Values Importer::exit(Run& run, int index, const Values& in) {
  if (in.empty()) c_.out.fail("has no operand");
  // Exit <- Switch <- Merge: the value that the last run left to the next.
  Source source = run.body.wires[static_cast<std::size_t>(index)].inputs[0];
  for (int steps = 0; steps < 64 && !source.argument; ++steps) {
    const Node& node = run.body.node(source.index);
    const std::vector<Source>& operands =
        run.body.wires[static_cast<std::size_t>(source.index)].inputs;
    if (is_op(node, "Merge") || operands.empty()) break;
    source = operands[0];
  }
  ValueId last = in[0];
  if (!source.argument) {
    for (const Source& from : run.body.wires[static_cast<std::size_t>(source.index)].inputs) {
      if (from.argument || !is_op(run.body.node(from.index), "NextIteration")) continue;
      const Values& outputs = run.outputs[static_cast<std::size_t>(from.index)];
      if (run.carried.contains(from.index) || c_.at(in[0]).kind == Value::Kind::list) {
        if (!outputs.empty()) last = outputs[0];
      }
    }
  }
  const int frame =
      run.body.frame_of.empty() ? -1 : run.body.frame_of[static_cast<std::size_t>(index)];
  c_.out.region = frame >= 0 ? run.frames[static_cast<std::size_t>(frame)] : run.base;
  const RegionId made = c_.at(last).region;
  if (made.valid() && !encloses(c_.out.graph(), made, c_.out.region)) {
    c_.out.region = c_.out.graph().region(made).parent;
    while (!encloses(c_.out.graph(), run.base, c_.out.region)) c_.out.region = run.base;
  }
  run.regions[static_cast<std::size_t>(index)] = c_.out.region;
  if (!plain_tensor(c_.at(last)) || !c_.at(last).tensor.valid()) return {last};
  const TensorId id = c_.tensor(last);
  if (id == c_.at(last).tensor) return {last};
  const ValueId value = c_.value_of(id);
  c_.at(value).ranked = c_.ranked(last);
  return {value};
}

Values Importer::switch_on(Run& run, int index, const Values& in) {
  if (in.size() != 2) c_.out.fail("a switch takes data and a condition");
  Source condition = trace(run.body, run.body.wires[static_cast<std::size_t>(index)].inputs[1]);
  if (!condition.argument && run.body.node(condition.index).op == "LoopCond") return {in[0], in[0]};
  if (const auto choice = c_.integer(in[1])) {
    const ValueId dead = c_.nothing(Value::Kind::dead);
    return *choice != 0 ? Values{dead, in[0]} : Values{in[0], dead};
  }
  const TensorId by = plain_tensor(c_.at(in[1])) ? c_.tensor(in[1]) : TensorId();
  const RegionId outside = c_.out.region;
  Values results;
  for (int k = 0; k < 2; ++k) {
    RegionId& region = alternatives_[{in[1], k, outside.value}];
    if (!region.valid()) {
      Region made;
      made.group = "condition " + std::to_string(in[1]) + " in " + std::to_string(outside.value);
      made.name = c_.out.name + (k == 1 ? ".true" : ".false");
      made.kind = RegionKind::branch;
      made.runs = 0.5;
      made.parent = outside;
      made.predicate = by;
      region = c_.out.add_region(made);
      c_.out.note("branch '" + c_.out.name +
                  "' takes one of 2 ways by data: each is counted in equal parts");
    }
    Value copy = c_.at(in[0]);
    if (plain_tensor(copy) && !copy.tensor.valid()) copy.tensor = c_.tensor(in[0]);
    copy.region = region;
    results.push_back(c_.add(std::move(copy)));
  }
  return results;
}

void Importer::count_frame(Run& run, int index) {
  const int frame =
      run.body.frame_of.empty() ? -1 : run.body.frame_of[static_cast<std::size_t>(index)];
  if (frame < 0 || !run.frames[static_cast<std::size_t>(frame)].valid()) return;
  const std::vector<Source>& operands = run.body.wires[static_cast<std::size_t>(index)].inputs;
  if (operands.empty()) c_.out.fail("has no operand");
  set_trips(run.frames[static_cast<std::size_t>(frame)], frame_trips(run, operands[0], 0));
}

/// As TripFinder, in a graph whose loop is wired by Enter, Merge, Switch and NextIteration.
std::optional<Trips> Importer::frame_trips(const Run& run, Source condition, int depth) const {
  const Body& body = run.body;
  const auto wires = [&](Source s) -> const std::vector<Source>& {
    return body.wires[static_cast<std::size_t>(s.index)].inputs;
  };
  condition = trace(body, condition);
  if (condition.argument || depth > 8 || wires(condition).size() != 2) return std::nullopt;
  const std::string_view op = body.node(condition.index).op;
  if (op == "LogicalAnd") {
    return fewer(frame_trips(run, wires(condition)[0], depth + 1),
                 frame_trips(run, wires(condition)[1], depth + 1));
  }
  if (!is_comparison(op)) return std::nullopt;
  // Through everything that passes a value on, up to a Merge or what is no loop's.
  const auto origin = [&](Source s) {
    for (int steps = 0; steps < 64 && !s.argument; ++steps) {
      const Node& node = body.node(s.index);
      const bool passes = is_op(node, "Identity") || is_op(node, "Switch") ||
                          is_op(node, "NextIteration") || is_op(node, "Enter");
      if (!passes || wires(s).empty()) break;
      s = wires(s)[0];
    }
    return s;
  };
  const auto known = [&](Source s) -> std::optional<Dim> {
    if (!s.argument && run.outputs[static_cast<std::size_t>(s.index)].empty()) return std::nullopt;
    const auto& elements = c_.elements(value(run, s));
    return elements && elements->size() == 1 ? std::optional<Dim>(elements->front()) : std::nullopt;
  };
  for (std::size_t k = 0; k < 2; ++k) {
    const Source counter = origin(wires(condition)[k]);
    const auto limit = known(origin(wires(condition)[1 - k]));
    if (counter.argument || !limit || !is_op(body.node(counter.index), "Merge")) continue;
    std::optional<Dim> start;
    std::int64_t step = 0;
    for (const Source& from : wires(counter)) {
      if (from.argument || !is_op(body.node(from.index), "NextIteration")) {
        start = known(from);
        continue;
      }
      const Source sum = origin(from);
      if (sum.argument || wires(sum).size() != 2) continue;
      const bool added = is_sum(body.node(sum.index).op);
      if (!added && body.node(sum.index).op != "Sub") continue;
      for (std::size_t j = 0; j < (added ? 2U : 1U); ++j) {
        const Source own = origin(wires(sum)[j]);
        // A constant of the loop may come later in the graph than its condition.
        const auto number = constant_of(body, trace(body, wires(sum)[1 - j]));
        const auto by =
            number ? std::optional<Dim>(sizes::fixed(*number)) : known(origin(wires(sum)[1 - j]));
        if (!own.argument && own.index == counter.index && by) step = whole_step(*by, added);
      }
    }
    if (!start) continue;
    if (const auto runs = runs_of(k == 0 ? op : mirrored(op), *start, *limit, step)) {
      return Trips{*runs, true};
    }
  }
  return std::nullopt;
}

}  // namespace parallel_opt::tf
