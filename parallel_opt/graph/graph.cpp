#include "parallel_opt/graph/graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "parallel_opt/base/hash.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/graph/operator_file.h"
#include "parallel_opt/graph/symbol.h"

namespace parallel_opt {
namespace {

constexpr double kRounding = 1e-6;  // frequencies are quotients of counts

/// Collects the faults of one graph; `where` is "NAME:ops[3]".
class Checker {
 public:
  explicit Checker(const Graph& graph) : graph_(graph) {}

  std::vector<Fault> run() {
    check_tensors();
    check_regions();
    check_ops();
    check_scopes();
    check_operators();
    check_uses(graph_.inputs, "inputs");
    check_uses(graph_.outputs, "outputs");
    check_produced();
    return std::move(faults_);
  }

 private:
  bool in_range(TensorId id) const { return id.valid() && id.index() < graph_.tensors.size(); }

  std::string where(const std::string& list, std::size_t i) const {
    return graph_.name + ":" + list + "[" + std::to_string(i) + "]";
  }

  void add(std::string where, std::string what, std::string hint = {}) {
    faults_.push_back({std::move(where), std::move(what), std::move(hint)});
  }

  void check_reference(TensorId id, const std::string& at, const char* what) {
    if (id.valid() && !in_range(id)) {
      add(at, std::string(what) + " names tensor " + std::to_string(id.value) + " of " +
                  std::to_string(graph_.tensors.size()));
    }
  }

  /// An alias chain longer than there are tensors never ends.
  bool circular(TensorId id, TensorId Tensor::* next) const {
    std::size_t steps = 0;
    while (in_range(id) && steps++ <= graph_.tensors.size()) id = graph_.tensor(id).*next;
    return steps > graph_.tensors.size();
  }

  void check_tensors() {
    std::unordered_set<std::string_view> names;
    names.reserve(graph_.tensors.size());
    for (std::size_t i = 0; i < graph_.tensors.size(); ++i) {
      const Tensor& t = graph_.tensors[i];
      if (!names.insert(t.name).second) {
        add(where("tensors", i), "a second tensor named '" + t.name + "'");
      }
      for (const Dim& dim : t.shape) {
        if (dim.size < 0) {
          add(where("tensors", i), "size " + std::to_string(dim.size) + " of '" + t.name + "'");
        }
      }
      if (!t.strides.empty() && t.strides.size() != t.shape.size()) {
        add(where("tensors", i), std::to_string(t.strides.size()) + " strides for " +
                                     std::to_string(t.shape.size()) + " dimensions of '" + t.name +
                                     "'");
      }
      check_reference(t.alias_of, where("tensors", i), "alias_of");
      check_reference(t.tied_to, where("tensors", i), "tied_to");
      // Chains are short; only a tensor that aliases can be in a circle.
      if (t.alias_of.valid() && circular(t.alias_of, &Tensor::alias_of)) {
        add(where("tensors", i), "the storage of '" + t.name + "' is an alias of itself");
      }
      if (t.tied_to.valid() && circular(t.tied_to, &Tensor::tied_to)) {
        add(where("tensors", i), "'" + t.name + "' is tied to itself");
      }
    }
  }

  void check_regions() {
    std::unordered_set<std::string_view> names;
    std::map<std::string_view, const Region*> branches;
    std::map<std::string_view, double> sums;
    for (std::size_t i = 0; i < graph_.regions.size(); ++i) {
      const Region& region = graph_.regions[i];
      const std::string at = where("regions", i);
      if (!names.insert(region.name).second) add(at, "a second region named '" + region.name + "'");
      if (region.parent.valid() && region.parent.index() >= i) {
        add(at, "the parent of '" + region.name + "' is no earlier region");
        nested_ = false;
      }
      check_reference(region.predicate, at, "the predicate");
      const bool alternative = region.kind == RegionKind::branch;
      if (!std::isfinite(region.runs) || region.runs < 0 || (alternative && region.runs > 1)) {
        add(at, fmt::format("'{}' runs {} times", region.name, region.runs),
            alternative ? "the frequency of an alternative is from 0 to 1" : "0 or more");
      }
      if (!alternative || !(region.runs >= 0 && region.runs <= 1)) continue;
      const auto [first, fresh] = branches.try_emplace(region.group, &region);
      if (!fresh && first->second->parent != region.parent) {
        add(at, "alternatives of '" + region.group + "' have different parents");
      }
      double& sum = sums[region.group];
      sum += region.runs;
      if (sum > 1 + kRounding && sum - region.runs <= 1 + kRounding) {
        add(at, "the frequencies of '" + region.group + "' sum to more than 1");
      }
    }
  }

  /// A result of a region is read inside of it; a join carries it out.
  void check_scopes() {
    if (!nested_) return;
    std::vector<RegionId> made(graph_.tensors.size());
    const auto known = [&](RegionId id) {
      return !id.valid() || id.index() < graph_.regions.size();
    };
    const auto visible = [&](TensorId id, RegionId from) {
      return !in_range(id) || !known(made[id.index()]) || !known(from) ||
             encloses(graph_, made[id.index()], from);
    };
    for (std::size_t i = 0; i < graph_.ops.size(); ++i) {
      const Op& op = graph_.ops[i];
      if (!known(op.region)) {
        add(where("ops", i), fmt::format("'{}' is in region {} of {}", op.name, op.region.value,
                                         graph_.regions.size()));
      }
      for (const Operand& operand : op.inputs) {
        if (op.target == kJoin || visible(operand.tensor, op.region)) continue;
        add(where("ops", i),
            fmt::format("'{}' reads '{}' of the region '{}' from outside", op.name,
                        graph_.tensor(operand.tensor).name,
                        graph_.region(made[operand.tensor.index()]).name),
            fmt::format("let {} carry it out", kJoin));
      }
      for (const TensorId id : op.outputs) {
        if (in_range(id)) made[id.index()] = op.region;
      }
    }
    for (std::size_t i = 0; i < graph_.regions.size(); ++i) {
      const Region& region = graph_.regions[i];
      const RegionId from = region.kind == RegionKind::branch ? region.parent : RegionId(i);
      if (visible(region.predicate, from)) continue;
      add(where("regions", i),
          fmt::format("the predicate '{}' of '{}' is made in the region '{}'",
                      graph_.tensor(region.predicate).name, region.name,
                      graph_.region(made[region.predicate.index()]).name),
          fmt::format("let {} carry it out", kJoin));
    }
    for (std::size_t i = 0; i < graph_.outputs.size(); ++i) {
      if (visible(graph_.outputs[i], RegionId())) continue;
      add(where("outputs", i),
          fmt::format("'{}' is made in the region '{}'", graph_.tensor(graph_.outputs[i]).name,
                      graph_.region(made[graph_.outputs[i].index()]).name),
          fmt::format("let {} carry it out", kJoin));
    }
  }

  void check_operators() {
    for (std::size_t i = 0; i < graph_.operators.size(); ++i) {
      std::vector<Fault> found = parallel_opt::check(graph_.operators[i], where("operators", i));
      faults_.insert(faults_.end(), found.begin(), found.end());
    }
  }

  void check_ops() {
    std::unordered_set<std::string_view> names;
    names.reserve(graph_.ops.size());
    std::vector<bool> ready(graph_.tensors.size());
    for (std::size_t i = 0; i < graph_.tensors.size(); ++i) {
      ready[i] = graph_.tensors[i].role != TensorRole::activation;
    }
    for (std::size_t i = 0; i < graph_.ops.size(); ++i) {
      const Op& op = graph_.ops[i];
      if (!names.insert(op.name).second) {
        add(where("ops", i), "a second operator named '" + op.name + "'");
      }
      for (const Operand& operand : op.inputs) {
        check_reference(operand.tensor, where("ops", i), "an operand");
        if (in_range(operand.tensor) && !ready[operand.tensor.index()]) {
          add(where("ops", i), "'" + op.name + "' uses '" + graph_.tensor(operand.tensor).name +
                                   "' before it is produced");
        }
      }
      for (const TensorId id : op.outputs) {
        check_reference(id, where("ops", i), "a result");
        if (!in_range(id)) continue;
        if (ready[id.index()]) {
          add(where("ops", i), "'" + graph_.tensor(id).name + "' is produced a second time");
        }
        ready[id.index()] = true;
      }
    }
    ready_ = std::move(ready);
  }

  void check_uses(const std::vector<TensorId>& ids, const std::string& list) {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (!in_range(ids[i])) add(where(list, i), "no such tensor: " + std::to_string(ids[i].value));
    }
  }

  void check_produced() {
    for (std::size_t i = 0; i < ready_.size(); ++i) {
      if (!ready_[i]) {
        add(where("tensors", i), "'" + graph_.tensors[i].name + "' is never produced");
      }
    }
  }

  const Graph& graph_;
  bool nested_ = true;  ///< every region's parent comes before it
  std::vector<bool> ready_;
  std::vector<Fault> faults_;
};

/// Strides at new sizes: the axes keep their order in memory and broadcast axes stay at 0. A gap
/// behind an axis whose size is the same stays as it is; behind another it is kept in proportion.
std::vector<std::int64_t> rescaled_strides(const Tensor& before, const std::vector<Dim>& shape) {
  if (before.strides.empty()) return {};
  std::vector<std::size_t> order(shape.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return before.strides[a] > before.strides[b];
  });
  std::vector<std::int64_t> strides(shape.size(), 0);
  std::optional<std::size_t> inner;  // the axis before this one in memory, of more than one element
  std::int64_t old_step = 1;
  std::int64_t step = 1;
  for (auto axis = order.rbegin(); axis != order.rend(); ++axis) {
    const std::int64_t old_stride = before.strides[*axis];
    const std::int64_t old_size = before.shape[*axis].size;
    if (old_stride == 0) continue;
    const bool same = inner && old_size != 1 && shape[*inner].size == before.shape[*inner].size;
    const std::int64_t divisor = same ? std::gcd(old_stride, before.strides[*inner]) : 1;
    const std::int64_t whole = same ? before.strides[*inner] / divisor : 1;
    if (same && strides[*inner] % whole == 0) {
      strides[*axis] = strides[*inner] / whole * (old_stride / divisor);
    } else {
      const std::int64_t gap = old_size == 1 ? 1 : old_stride / old_step;
      strides[*axis] = step * std::max<std::int64_t>(gap, 1);
    }
    if (old_size != 1 || shape[*axis].size != 1) inner = *axis;
    old_step = old_stride * std::max<std::int64_t>(old_size, 1);
    step = strides[*axis] * std::max<std::int64_t>(shape[*axis].size, 1);
  }
  return strides;
}

std::map<std::string, std::int64_t> bound_values(const Graph& graph,
                                                 const std::map<std::string, std::int64_t>& given) {
  std::map<std::string, std::int64_t> values;
  std::vector<std::string> known;
  for (const Symbol& symbol : graph.symbols) {
    values[symbol.name] = symbol.hint;
    known.push_back(symbol.name);
  }
  std::vector<Fault> faults;
  for (const auto& [name, value] : given) {
    const auto symbol = std::find_if(graph.symbols.begin(), graph.symbols.end(),
                                     [&](const Symbol& s) { return s.name == name; });
    if (symbol == graph.symbols.end()) {
      const std::string nearest = nearest_match(name, known);
      std::string hint = known.empty()      ? "this model was captured with fixed sizes"
                         : !nearest.empty() ? "did you mean '" + nearest + "'?"
                                            : "symbols: " + join(known, ", ");
      faults.push_back({graph.name, "unknown symbol '" + name + "'", std::move(hint)});
    } else if (value < symbol->min || value > symbol->max) {
      const std::string upper =
          symbol->max == INT64_MAX ? "" : " and at most " + std::to_string(symbol->max);
      faults.push_back({graph.name, "symbol '" + name + "' cannot be " + std::to_string(value),
                        "at least " + std::to_string(symbol->min) + upper});
    } else {
      values[name] = value;
    }
  }
  throw_if_any(std::move(faults));
  return values;
}

void add_double(Hasher& hasher, double value) {
  std::int64_t bits = 0;
  static_assert(sizeof bits == sizeof value);
  __builtin_memcpy(&bits, &value, sizeof value);
  hasher.add(bits);
}

void hash_attribute(Hasher& hasher, const Attribute& attribute) {
  hasher.add(static_cast<std::int64_t>(attribute.index()));
  std::visit(
      [&](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, std::int64_t>) {
          hasher.add(static_cast<std::int64_t>(value));
        } else if constexpr (std::is_same_v<T, double>) {
          add_double(hasher, value);
        } else if constexpr (std::is_same_v<T, std::string>) {
          hasher.add(std::string_view(value));
        } else if constexpr (!std::is_same_v<T, std::monostate>) {
          hasher.add(static_cast<std::int64_t>(value.size()));
          for (const auto element : value) {
            if constexpr (std::is_same_v<T, std::vector<double>>) {
              add_double(hasher, element);
            } else {
              hasher.add(static_cast<std::int64_t>(element));
            }
          }
        }
      },
      attribute);
}

}  // namespace

std::int64_t elements(const Tensor& tensor) {
  std::int64_t count = 1;
  for (const Dim& dim : tensor.shape) count *= dim.size;
  return count;
}

Bytes bytes(const Tensor& tensor) { return Bytes(elements(tensor) * size_of(tensor.dtype)); }

double expected_runs(const Graph& graph, RegionId region) {
  double runs = 1;
  for (; region.valid(); region = graph.region(region).parent) runs *= graph.region(region).runs;
  return runs;
}

double expected_runs(const Graph& graph, const Op& op) { return expected_runs(graph, op.region); }

double most_runs(const Graph& graph, RegionId region) {
  double runs = 1;
  for (; region.valid(); region = graph.region(region).parent) {
    const Region& r = graph.region(region);
    runs *= r.kind == RegionKind::loop ? r.runs : (r.runs > 0 ? 1 : 0);
  }
  return runs;
}

bool encloses(const Graph& graph, RegionId outer, RegionId inner) {
  if (!outer.valid()) return true;
  while (inner.valid() && inner != outer) inner = graph.region(inner).parent;
  return inner == outer;
}

std::vector<Fault> check(const Graph& graph) { return Checker(graph).run(); }

Graph bind(const Graph& graph, const std::map<std::string, std::int64_t>& values) {
  const std::map<std::string, std::int64_t> all = bound_values(graph, values);
  Graph bound = graph;
  for (Symbol& symbol : bound.symbols) symbol.hint = all.at(symbol.name);
  std::unordered_map<std::string, std::int64_t> known;  // most dimensions repeat few expressions
  const auto value_of = [&](const std::string& expression, const std::string& where) {
    const auto found = known.find(expression);
    if (found != known.end()) return found->second;
    const std::int64_t value = evaluate(parse_expression(expression, where), all, where);
    known.emplace(expression, value);
    return value;
  };
  std::vector<Fault> faults;
  bool any_changed = false;
  for (std::size_t i = 0; i < bound.tensors.size(); ++i) {
    Tensor& tensor = bound.tensors[i];
    bool changed = false;
    for (Dim& dim : tensor.shape) {
      if (!dim.symbolic()) continue;
      const std::int64_t size = value_of(dim.expression, graph.name + ":" + tensor.name);
      if (size < 0) {
        faults.push_back({graph.name + ":" + tensor.name,
                          "size " + dim.expression + " becomes " + std::to_string(size), ""});
      }
      changed = changed || size != dim.size;
      dim.size = size;
    }
    if (changed) tensor.strides = rescaled_strides(graph.tensors[i], tensor.shape);
    any_changed = any_changed || changed;
  }
  for (Region& region : bound.regions) {
    if (region.expression.empty()) continue;
    const std::int64_t runs = value_of(region.expression, graph.name + ":" + region.name);
    if (runs < 0) {
      faults.push_back({graph.name + ":" + region.name,
                        "trip count " + region.expression + " is " + std::to_string(runs),
                        {}});
    }
    region.runs = static_cast<double>(runs);
  }
  throw_if_any(std::move(faults));
  throw_if_any(check_custom_spaces(bound));
  if (any_changed) bound.observed_saved_bytes.reset();  // seen at other sizes
  return bound;
}

ParameterCount count_parameters(const Graph& graph) {
  ParameterCount count;
  for (const Tensor& tensor : graph.tensors) {
    if (tensor.tied_to.valid()) continue;
    if (tensor.role == TensorRole::parameter) {
      count.parameters += elements(tensor);
      if (tensor.requires_grad) count.trainable += elements(tensor);
      count.parameter_bytes += bytes(tensor);
    } else if (tensor.role == TensorRole::buffer) {
      count.buffer_bytes += bytes(tensor);
    }
  }
  return count;
}

std::string graph_hash(const Graph& graph) {
  Hasher hasher;
  const auto add_ids = [&](const std::vector<TensorId>& ids) {
    hasher.add(static_cast<std::int64_t>(ids.size()));
    for (const TensorId id : ids) hasher.add(static_cast<std::int64_t>(id.value));
  };
  hasher.add(static_cast<std::int64_t>(graph.tensors.size()));
  for (const Tensor& tensor : graph.tensors) {
    hasher.add(static_cast<std::int64_t>(tensor.role));
    hasher.add(static_cast<std::int64_t>(tensor.dtype));
    hasher.add(static_cast<std::int64_t>(tensor.requires_grad));
    hasher.add(static_cast<std::int64_t>(tensor.tied_to.value));
    hasher.add(static_cast<std::int64_t>(tensor.shape.size()));
    for (const Dim& dim : tensor.shape) hasher.add(dim.size);
  }
  for (const Region& region : graph.regions) {
    hasher.add(static_cast<std::int64_t>(region.kind));
    hasher.add(static_cast<std::int64_t>(region.parent.value));
    const auto same_group = [&](const Region& other) { return other.group == region.group; };
    hasher.add(std::ranges::find_if(graph.regions, same_group) - graph.regions.begin());
    add_double(hasher, region.runs);
    if (region.predicate.valid()) hasher.add(static_cast<std::int64_t>(region.predicate.value));
  }
  for (const Op& op : graph.ops) {
    hasher.add(std::string_view(op.target));
    for (const Operand& operand : op.inputs) {
      hasher.add(std::string_view(operand.argument));
      hasher.add(static_cast<std::int64_t>(operand.tensor.value));
    }
    add_ids(op.outputs);
    if (op.region.valid()) hasher.add(static_cast<std::int64_t>(op.region.value));
    for (const auto& [name, attribute] : op.attributes) {
      hasher.add(std::string_view(name));
      hash_attribute(hasher, attribute);
    }
  }
  add_ids(graph.inputs);
  add_ids(graph.outputs);
  return hasher.hex();
}

}  // namespace parallel_opt
