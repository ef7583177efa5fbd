#include <algorithm>

#include "parallel_opt/importers/stablehlo_import.h"

// Loops and branches as regions.
namespace parallel_opt::stablehlo {
namespace {

using mlir::Op;
using Names = std::vector<std::string_view>;

/// Names of a loop's values in one of its regions: bindings of the pretty form, block arguments of
/// the generic one.
Names names_in(const Op& op, const mlir::RegionBody& region) {
  Names names;
  for (const mlir::Argument& one : op.bindings.empty() ? region.arguments : op.bindings) {
    names.push_back(one.name);
  }
  return names;
}

std::size_t index_of(const Names& names, std::string_view name) {
  return static_cast<std::size_t>(std::ranges::find(names, name) - names.begin());
}

const Op* maker(const mlir::RegionBody& region, std::string_view name) {
  for (const Op& candidate : region.ops) {
    if (candidate.results.size() == 1 && candidate.results[0] == name) return &candidate;
  }
  return nullptr;
}

std::string direction_of(const Op& compare) {
  std::string direction(compare.find("comparison_direction"));
  if (direction.empty() && !compare.words.empty()) direction = compare.words.front();
  return direction;
}

enum class Relation { less, less_equal, greater, greater_equal, other };

/// Of the first operand to the second, or the other way round.
Relation relation_of(const Op& compare, bool turned) {
  const std::string direction = direction_of(compare);
  const auto is = [&](std::string_view word) { return direction.find(word) != std::string::npos; };
  if (is("LT")) return turned ? Relation::greater : Relation::less;
  if (is("LE")) return turned ? Relation::greater_equal : Relation::less_equal;
  if (is("GT")) return turned ? Relation::less : Relation::greater;
  if (is("GE")) return turned ? Relation::less_equal : Relation::greater_equal;
  return is("NE") ? Relation::other : Relation::less;
}

/// Runs of a counter from `start` in steps of `step` while it stands so to `limit`; empty: without
/// end, or beyond what is counted.
std::optional<std::int64_t> runs_of(std::int64_t start, std::int64_t step, std::int64_t limit,
                                    Relation relation) {
  const bool up = relation == Relation::less || relation == Relation::less_equal ||
                  (relation == Relation::other && step > 0);
  std::int64_t distance = 0, pace = step;
  const bool far = up ? __builtin_sub_overflow(limit, start, &distance)
                      : __builtin_sub_overflow(start, limit, &distance);
  if (far || (!up && __builtin_sub_overflow(std::int64_t(0), step, &pace))) return std::nullopt;
  const bool equal = relation == Relation::less_equal || relation == Relation::greater_equal;
  if (relation == Relation::other) {
    return distance >= 0 && pace > 0 && distance % pace == 0 ? std::optional(distance / pace)
                                                             : std::nullopt;
  }
  if (distance < 0 || (distance == 0 && !equal)) return 0;
  if (pace <= 0) return std::nullopt;
  return equal ? distance / pace + 1 : (distance - 1) / pace + 1;
}

/// Counts the runs of a loop whose condition compares a counter with a limit and whose body adds a
/// constant to the counter or takes it away.
class TripFinder {
 public:
  TripFinder(const Importer& importer, const Op& op, const Values& in, const Scope& scope)
      : m_(importer),
        in_(in),
        scope_(scope),
        condition_(op.regions[0]),
        body_(op.regions[1]),
        outer_(names_in(op, condition_)),
        inner_(names_in(op, body_)) {}

  std::optional<std::int64_t> find() const {
    if (condition_.ops.empty() || body_.ops.empty()) return std::nullopt;
    if (condition_.ops.back().operands.size() != 1) return std::nullopt;
    const Op* compare = maker(condition_, condition_.ops.back().operands[0]);
    const bool compares = compare != nullptr && compare->operands.size() == 2 &&
                          compare->name.ends_with("compare") &&
                          direction_of(*compare).find("EQ") == std::string::npos;
    if (!compares) return std::nullopt;
    for (const bool turned : {false, true}) {
      const std::size_t counter = index_of(outer_, compare->operands[turned ? 1 : 0]);
      if (!carried(counter)) continue;
      const auto start = m_.at(in_[counter]).known;
      const auto most = limit(compare->operands[turned ? 0 : 1]);
      const auto step = step_of(counter);
      if (start && most && step) {
        return runs_of(*start, *step, *most, relation_of(*compare, turned));
      }
    }
    return std::nullopt;
  }

 private:
  bool carried(std::size_t k) const {
    return k < in_.size() && k < inner_.size() && k < body_.ops.back().operands.size();
  }

  std::optional<std::int64_t> limit(std::string_view name) const {
    const std::size_t k = index_of(outer_, name);
    if (!carried(k)) return number(condition_, name);
    const bool same = body_.ops.back().operands[k] == inner_[k];
    return same ? m_.at(in_[k]).known : std::nullopt;
  }

  std::optional<std::int64_t> step_of(std::size_t counter) const {
    const Op* sum = maker(body_, body_.ops.back().operands[counter]);
    const bool minus = sum != nullptr && sum->name.ends_with(".subtract");
    if (sum == nullptr || (!minus && !sum->name.ends_with(".add")) || sum->operands.size() != 2) {
      return std::nullopt;
    }
    const bool first = sum->operands[0] == inner_[counter];
    if (!first && (minus || sum->operands[1] != inner_[counter])) return std::nullopt;
    const auto step = number(body_, sum->operands[first ? 1 : 0]);
    std::int64_t signed_step = 0;
    if (!step || *step == 0 || (minus && __builtin_sub_overflow(0, *step, &signed_step))) {
      return std::nullopt;
    }
    return minus ? signed_step : *step;
  }

  /// A constant of the region, or what is known of a value around the loop.
  std::optional<std::int64_t> number(const mlir::RegionBody& region, std::string_view name) const {
    if (const Op* made = maker(region, name); made != nullptr) {
      if (made->name != "stablehlo.constant") return std::nullopt;
      const auto one = mlir::dense_integers(constant_text(*made), 1);
      return one ? std::optional(one->front()) : std::nullopt;
    }
    for (const Scope* at = &scope_; at != nullptr; at = at->outer) {
      const auto found = at->values.find(name);
      if (found != at->values.end() && found->second.size() == 1) {
        return m_.at(found->second[0]).known;
      }
    }
    return std::nullopt;
  }

  const Importer& m_;
  const Values& in_;
  const Scope& scope_;
  const mlir::RegionBody& condition_;
  const mlir::RegionBody& body_;
  Names outer_, inner_;
};

}  // namespace

Values Importer::branch(const Op& op, const Values& in, Scope& scope) {
  if (op.regions.empty() || in.empty()) out.fail("a branch has no alternatives");
  if (const auto choice = at(in[0]).known) {
    const auto last = static_cast<std::int64_t>(op.regions.size()) - 1;
    // `if` has its true alternative first; `case` takes the last one for an index out of range.
    std::int64_t taken = op.name.ends_with(".if") ? (*choice != 0 ? 0 : 1) : *choice;
    if (taken < 0 || taken > last) taken = last;
    Scope inner{&scope, {}};
    Values left;
    run_ops(op.regions[static_cast<std::size_t>(taken)], inner, left);
    return left;
  }
  const TensorId by = tensor(in[0]);
  const RegionId outside = out.region;
  const std::string name = out.name;
  const std::string group = name + "#" + std::to_string(out.graph().regions.size());
  std::vector<Values> results;
  std::vector<RegionId> regions;
  for (std::size_t k = 0; k < op.regions.size(); ++k) {
    Region region;
    region.name = name + "." + std::to_string(k);
    region.kind = RegionKind::branch;
    region.group = group;
    region.runs = 1.0 / static_cast<double>(op.regions.size());
    region.parent = outside;
    region.predicate = by;
    regions.push_back(out.add_region(region));
    out.region = regions.back();
    Scope inner{&scope, {}};
    Values left;
    run_ops(op.regions[k], inner, left);
    if (left.size() < op.result_count()) out.fail("an alternative leaves too few values");
    results.push_back(left);
  }
  out.region = outside;
  out.note("branch '" + name + "' takes one of " + std::to_string(op.regions.size()) +
           " ways by data: each is counted in equal parts");
  Values joined;
  for (std::size_t i = 0; i < op.result_count(); ++i) {
    std::vector<TensorId> alternatives;
    for (std::size_t k = 0; k < results.size(); ++k) {
      out.region = regions[k];
      alternatives.push_back(tensor(results[k][i]));
    }
    out.region = outside;
    joined.push_back(value_of(out.join(alternatives, type(results[0][i]))));
  }
  return joined;
}

ValueId Importer::leave_loop(ValueId last, std::size_t k, std::optional<std::int64_t> runs,
                             RegionId inside, RegionId outside) {
  const Value write = at(last);
  const bool stacks = write.base != SIZE_MAX && !write.tensor.valid() &&
                      at(write.base).entry == static_cast<int>(k);
  if (stacks && runs &&
      *runs > 0) {  // a write per run: the results of all runs, one behind another
    out.region = inside;
    const TensorId one = tensor(write.update);
    out.region = outside;
    Shape stacked = shape(write.update);
    stacked.insert(stacked.begin(), sizes::fixed(*runs));
    const ValueId all = value_of(out.join({one}, {write.type.dtype, stacked}));
    if (sizes::product(stacked).size == sizes::product(write.type.shape).size) {
      return reshape(all, write.type.shape);
    }
    return emit("aten.slice_scatter.default", {{"self", write.base}, {"src", all}}, write.type);
  }
  out.region = inside;
  const TensorId id = tensor(last);
  out.region = outside;
  return value_of(out.join({id}, type(last)));
}

/// The condition of a loop that is more than a counter is work of every run.
void Importer::run_condition(const Op& op, const Values& entered, Scope& scope) {
  const Names names = names_in(op, op.regions[0]);
  if (names.size() != entered.size()) out.fail("a condition takes another number of values");
  Scope condition{&scope, {}};
  for (std::size_t k = 0; k < entered.size(); ++k) condition.values[names[k]] = {entered[k]};
  Values left;
  run_ops(op.regions[0], condition, left);
  for (const ValueId id : left) {
    if (!at(id).tensor.valid()) continue;
    out.keep(at(id).tensor);
    out.decide(out.region, at(id).tensor);
  }
}

RegionId Importer::open_loop(std::optional<std::int64_t> runs) {
  Region region;
  region.name = out.name + ".body";
  region.group = out.name;
  region.kind = RegionKind::loop;
  region.runs = static_cast<double>(runs.value_or(1));
  region.observed = runs.has_value();
  region.parent = out.region;
  if (!runs) {
    out.note("loop '" + out.name + "' runs as often as data decide: one run is counted");
  }
  return out.add_region(region);
}

Values Importer::loop(const Op& op, const Values& in, Scope& scope) {
  if (op.regions.size() != 2) out.fail("a loop needs a condition and a body");
  const mlir::RegionBody& body = op.regions[1];
  const Names names = names_in(op, body);
  if (names.size() != in.size() || body.ops.empty() ||
      body.ops.back().operands.size() != in.size()) {
    out.fail("a loop's body takes or leaves another number of values than the loop has");
  }
  const std::optional<std::int64_t> runs = TripFinder(*this, op, in, scope).find();
  const RegionId outside = out.region;
  const RegionId inside = open_loop(runs);
  Scope inner{&scope, {}};
  Values entered = in;
  std::vector<TensorId> joins(in.size());
  out.region = inside;
  for (std::size_t k = 0; k < in.size(); ++k) {
    if (body.ops.back().operands[k] != names[k]) {  // else it goes round unchanged
      joins[k] = out.join({tensor(in[k])}, type(in[k]));
      entered[k] = value_of(joins[k]);
      at(entered[k]).entry = static_cast<int>(k);
    }
    inner.values[names[k]] = {entered[k]};
  }
  if (!runs) run_condition(op, entered, scope);
  Values left;
  run_ops(body, inner, left);
  if (left.size() != in.size()) out.fail("a loop's body leaves too few values");
  Values results;
  for (std::size_t k = 0; k < in.size(); ++k) {
    results.push_back(joins[k].valid() ? leave_loop(left[k], k, runs, inside, outside) : in[k]);
    if (!joins[k].valid() || !at(left[k]).tensor.valid()) continue;
    out.region = inside;
    out.carry(joins[k], tensor(left[k]));
    out.region = outside;
  }
  return results;
}

}  // namespace parallel_opt::stablehlo
