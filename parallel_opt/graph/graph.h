#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "parallel_opt/base/dtype.h"
#include "parallel_opt/base/error.h"
#include "parallel_opt/base/ids.h"
#include "parallel_opt/base/units.h"
#include "parallel_opt/graph/custom_operator.h"

namespace parallel_opt {

/// One dimension of a tensor. Symbolic sizes (batch, sequence) keep their expression; `size` is
/// then the value at capture (or the one given to `bind`).
struct Dim {
  std::int64_t size = 0;
  std::string
      expression;  ///< empty: constant; else infix over symbols, "4*s0 + 1" (graph/symbol.h)
  bool symbolic() const { return !expression.empty(); }
  bool operator==(const Dim&) const = default;
};

/// What a tensor is to a training step.
enum class TensorRole { input, parameter, buffer, constant, activation };

constexpr auto enum_names(TensorRole) {
  return std::to_array<std::string_view>(
      {"input", "parameter", "buffer", "constant", "activation"});
}

struct Tensor {
  std::string name;  ///< unique in its graph
  TensorRole role = TensorRole::activation;
  DType dtype = DType::fp32;
  std::vector<Dim> shape;
  std::vector<std::int64_t> strides;  ///< elements at capture; empty: contiguous
  std::string fqn;  ///< parameter and buffer: the module's own name, "blocks.0.fc.weight"
  bool requires_grad = false;
  /// Tensor whose storage this one shares (a view, or the result of an in-place operator); invalid:
  /// own storage.
  TensorId alias_of;
  /// Parameter or buffer that is the same tensor under another name (tied weights); invalid: not
  /// tied.
  TensorId tied_to;
  bool operator==(const Tensor&) const = default;
};

/// A constant argument of an operator. monostate: the schema default or None.
using Attribute = std::variant<std::monostate, bool, std::int64_t, double, std::string,
                               std::vector<std::int64_t>, std::vector<double>, std::vector<bool>>;

/// Which part of the step an operator belongs to.
enum class Phase { forward, backward, optimizer };

constexpr auto enum_names(Phase) {
  return std::to_array<std::string_view>({"forward", "backward", "optimizer"});
}

/// One tensor argument: the name of the schema argument it fills, and the tensor. Lists repeat the
/// name. An absent optional tensor has an invalid id.
struct Operand {
  std::string argument;
  TensorId tensor;
  bool operator==(const Operand&) const = default;
};

using RegionId = Id<struct RegionTag>;  ///< region in a Graph

/// Operators that do not run exactly once per run of what encloses them: an alternative of a
/// branch, or the body of a loop.
enum class RegionKind { branch, loop };

constexpr auto enum_names(RegionKind) {
  return std::to_array<std::string_view>({"branch", "loop"});
}

/// Operators of a region stand in `Graph::ops` in execution order, alternatives one after the
/// other. Their results leave it through a `parallel_opt.join`: of a branch, one operand per
/// alternative; of a loop, its last value or, with one axis more, those of all runs. What a loop
/// carries from run to run enters by a join too, whose operand is the first value and whose
/// attribute `carried` names the tensor that one run leaves to the next.
struct Region {
  std::string name;  ///< "cond_3.true", "scan_1.body"; unique
  RegionKind kind = RegionKind::branch;
  std::string group;  ///< alternatives of one branch share it; a loop's own name
  double runs =
      1;  ///< expected runs per run of the parent: frequency of an alternative, trip count
  std::string expression;  ///< trip count over symbols (graph/symbol.h); empty: `runs` is fixed
  bool observed = false;   ///< runs was seen (or is fixed by the model); else assumed
  RegionId parent;         ///< enclosing region, an earlier one; invalid: the main body
  /// Of an alternative: the tensor outside of it that chooses. Of a loop: the tensor made inside
  /// that says whether a run goes on. Invalid: nobody knows, or a counter decides.
  TensorId predicate;
  bool operator==(const Region&) const = default;
};

/// Target of the operator through which values enter and leave regions. A view: no cost.
inline constexpr std::string_view kJoin = "parallel_opt.join";

struct Op {
  std::string target;  ///< "aten.linear.default", "higher_order.cond", "mylib.my_op.default"
  std::string name;    ///< unique in its graph
  std::vector<Operand> inputs;
  std::vector<TensorId> outputs;
  std::map<std::string, Attribute> attributes;  ///< by schema argument name
  std::string module;       ///< FQN of the nn.Module that ran it, "" for the root
  std::string module_type;  ///< "torch.nn.modules.linear.Linear"
  int call = 0;             ///< the module's n-th call in one forward, from 0
  Phase phase = Phase::forward;
  RegionId region;  ///< invalid: the main body, which runs once
  bool operator==(const Op&) const = default;
};

/// A named whole-number size with its range.
struct Symbol {
  std::string name;
  std::int64_t min = 1;
  std::int64_t max = INT64_MAX;
  std::int64_t hint = 1;
  bool operator==(const Symbol&) const = default;
};

/// What is computed: operators in execution order over tensors. Plain data, never changed after
/// `check`.
struct Graph {
  std::string name;
  std::string source;  ///< "model.pt2", "torch.export", "trace"
  std::vector<Tensor> tensors;
  std::vector<Op> ops;
  std::vector<TensorId> inputs;   ///< user inputs only, in call order
  std::vector<TensorId> outputs;  ///< user outputs, in order
  std::vector<Symbol> symbols;
  std::vector<Region> regions;  ///< control flow; an enclosing region before the inner ones
  std::vector<CustomOperator> operators;  ///< rows that its user adds to the operator table
  std::vector<std::string> notes;         ///< what an importer could not express, for the user
  /// What autograd was seen to keep of a forward at these sizes, as `saved_bytes` (graph/work.h)
  /// counts it; empty: nobody looked.
  std::optional<Bytes> observed_saved_bytes;
  bool operator==(const Graph&) const = default;

  const Tensor& tensor(TensorId id) const { return tensors[id.index()]; }
  const Op& op(OpId id) const { return ops[id.index()]; }
  const Region& region(RegionId id) const { return regions[id.index()]; }
};

/// Runs of a region per run of the model: the product over it and what encloses it; 1 for an
/// invalid id. Totals over operators multiply by it.
double expected_runs(const Graph& graph, RegionId region);
double expected_runs(const Graph& graph, const Op& op);
/// The same where every alternative is taken: what memory must be ready for.
double most_runs(const Graph& graph, RegionId region);
/// Is `inner` the region `outer` or inside of it? Everything is inside an invalid `outer`.
bool encloses(const Graph& graph, RegionId outer, RegionId inner);

/// Elements at the bound sizes; 1 for a scalar.
std::int64_t elements(const Tensor& tensor);
/// Bytes of the elements (no padding, no aliasing).
Bytes bytes(const Tensor& tensor);

/// Every broken rule: names unique, ids in range, each activation produced once and before use,
/// aliases not circular, sizes not negative, regions nested, their results read outside by joins
/// only. Empty: the graph is well formed.
std::vector<Fault> check(const Graph& graph);

/// The same graph with symbols at other values, all symbolic sizes evaluated anew. Throws
/// InputError for an unknown symbol (with the nearest name) or a value outside its range.
Graph bind(const Graph& graph, const std::map<std::string, std::int64_t>& values);

/// Parameters and buffers counted once when tied.
struct ParameterCount {
  std::int64_t parameters = 0;
  std::int64_t trainable = 0;
  Bytes parameter_bytes;
  Bytes buffer_bytes;
};
ParameterCount count_parameters(const Graph& graph);

/// Identity of the computation (targets, shapes, dtypes, attributes, wiring; not names): 16 hex
/// digits.
std::string graph_hash(const Graph& graph);

}  // namespace parallel_opt
