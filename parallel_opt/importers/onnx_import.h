#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "parallel_opt/importers/onnx_external.h"
#include "parallel_opt/importers/onnx_proto.h"
#include "parallel_opt/importers/onnx_size.h"

/// From ONNX messages to a Graph: values, scopes, nodes. Private to importers/.
namespace parallel_opt::onnx {

/// What a name of the file stands for.
struct Value {
  enum class Kind { tensor, sequence, optional, other };
  std::string name;
  Kind kind = Kind::tensor;
  std::int64_t element = 0;               ///< TensorProto.DataType; of a sequence's tensors too
  std::optional<Shape> shape;             ///< empty: the number of axes is unknown
  std::optional<Data> data;               ///< elements, where they are known and few
  const ProtoTensor* stored = nullptr;    ///< payload in the file
  bool weight = false;                    ///< an initializer
  bool in_node = false;                   ///< of a Constant node
  std::string_view role;                  ///< what the exporter says an initializer is
  std::optional<std::vector<int>> items;  ///< values in a sequence or optional, where known
  TensorId tensor;                        ///< in the graph; invalid until an operator needs it
};

using Operands = std::vector<Operand>;
using Attributes = std::map<std::string, Attribute>;

/// Names of one graph or function body.
struct Scope {
  const Scope* outer = nullptr;  ///< whose names are seen too; null in functions
  std::string prefix;            ///< of names in our graph
  std::unordered_map<std::string_view, int> values;                        // never iterated
  std::unordered_map<std::string_view, const ProtoValueInfo*> declared;    // never iterated
  std::unordered_map<std::string_view, const ProtoAttribute*> attributes;  // of the call
  std::unordered_set<std::string_view> missed;  ///< read before any node makes them; never iterated
  const std::vector<ProtoOpset>* opsets = nullptr;
  std::string module, module_type;  ///< of the node that calls the function
};

class Importer;

/// One node at hand: what shape rules and conversions see of the import.
class Call {
 public:
  Call(Importer& importer_, Scope& scope_, const ProtoNode& node_, const Place& place_)
      : importer(importer_), scope(scope_), node(node_), place(place_) {}

  // --- operands; all of these take absent and unknown ones
  bool has(std::size_t i) const { return i < in.size() && in[i] >= 0; }
  const Value* input(std::size_t i) const;
  std::int64_t element(std::size_t i = 0) const;  ///< 0: unknown
  /// Null: absent, or its number of axes is unknown.
  const Shape* shape(std::size_t i = 0) const;
  const Data* data(std::size_t i);  ///< null: not known before the model runs
  /// Known numbers of an attribute, or of operand `i` where a newer opset moved them.
  std::optional<std::vector<std::int64_t>> numbers(std::string_view attribute, std::size_t i);
  std::optional<std::int64_t> number(std::size_t i);

  // --- attributes; those of an enclosing function resolved
  const ProtoAttribute* attribute(std::string_view name) const;
  std::int64_t whole(std::string_view name, std::int64_t fallback) const;
  double real(std::string_view name, double fallback) const;
  std::string_view text(std::string_view name, std::string_view fallback = {}) const;
  std::vector<std::int64_t> wholes(std::string_view name) const;
  /// Attribute `name` as an axis of operand `i`, from the front; empty: out of range, or rank
  /// unknown.
  std::optional<std::size_t> axis(std::string_view name, std::int64_t fallback, std::size_t i = 0);

  // --- results
  bool wants(std::size_t i) const { return i < out.size() && out[i] >= 0; }
  Value& result(std::size_t i = 0);
  void set(std::size_t i, std::int64_t element, std::optional<Shape> shape);
  const Shape& shape_out(std::size_t i = 0) const;
  /// Null: the number of axes is unknown.
  const Shape* result_shape(std::size_t i = 0) const;
  void fault(std::string what, std::string hint = "") const;

  // --- operators of our graph
  /// Tensor of operand `i`; invalid when absent.
  TensorId tensor(std::size_t i) const;
  /// Operands by names in order: "self other"; the last name with '*' repeats; '-': left out.
  Operands operands(std::string_view names) const;
  /// One operator with all results of the node.
  void emit(std::string target, Operands operands, Attributes attributes = {});
  /// One operator with result `i` of the node.
  void emit_one(std::size_t i, std::string target, Operands operands, Attributes attributes = {});
  /// An operator in between, with a result of its own.
  TensorId step(std::string target, Operands operands, Attributes attributes, std::int64_t element,
                Shape shape);

  Importer& importer;
  Scope& scope;
  const ProtoNode& node;
  const Place& place;
  std::int64_t opset = 0;
  std::vector<int> in, out;  ///< values; -1: absent
};

/// Elements of every stored or computed constant that is looked at.
inline constexpr std::size_t kMostFolded = 1024;
inline constexpr std::size_t kMostFoldedInAll = 2'000'000;

class Importer {
 public:
  Importer(const ProtoModel& model, ExternalFiles& files, Graph& graph, Findings& findings)
      : model_(model), files_(files), graph_(graph), findings_(findings) {}
  void run();

  // --- for Call and the conversions
  Value& value(int id) { return values_[static_cast<std::size_t>(id)]; }
  const Value& value(int id) const { return values_[static_cast<std::size_t>(id)]; }
  int add_value(std::string name);
  const Data* data(Value& value);
  /// A tensor that a node holds itself.
  void stored_constant(Value& value, const ProtoTensor& tensor, const Place& place);
  TensorId tensor(int id);
  TensorId add_tensor(std::string name, TensorRole role, std::int64_t element, const Shape& shape);
  /// Appends an operator of the node at hand.
  void add_op(const Call& call, std::string target, Operands operands,
              std::vector<TensorId> results, Attributes attributes);
  /// Makes every unknown size of a result a symbol, and gives it a tensor.
  TensorId result_tensor(int id);
  void name_unknown(Value& value);
  void type_of(Value& value, const ProtoType& type, const Place& place, bool inputs);
  void read_nodes(Scope& scope, const std::vector<ProtoNode>& nodes, const Place& place);
  /// Names, constants and declared types of a graph; its inputs are the caller's business.
  void open(Scope& scope, const ProtoGraph& graph, const Place& place);
  std::optional<int> find(const Scope& scope, std::string_view name) const;
  std::string unique_op_name(std::string name);
  Findings& findings() { return findings_; }
  Graph& graph() { return graph_; }
  const ProtoModel& model() const { return model_; }
  bool may_fold() const { return folded_ < kMostFoldedInAll; }
  void count_folded(const Data& data);
  bool spend(const Place& place);  ///< one node of the budget; false: it is used up

  RegionId region;                  ///< of the operators that are added
  std::string module, module_type;  ///< of the node at hand

  /// State to return to when a loop's body has to be read again.
  struct Mark {
    std::size_t tensors, ops, regions;
  };
  Mark mark() const { return {graph_.tensors.size(), graph_.ops.size(), graph_.regions.size()}; }
  void roll_back(const Mark& mark);

 private:
  void read_inputs(Scope& scope);
  /// Faults where an input and the initializer that is its default contradict each other.
  void compare_default(const ProtoValueInfo& info, const Value& stored, const Place& place);
  void read_outputs(const Scope& scope);
  void read_node(Scope& scope, const ProtoNode& node, const Place& place);
  void finish_node(Call& call);
  void declared_types(Call& call);
  void set_module(const Scope& scope, const ProtoNode& node);
  const ProtoFunction* function_of(const ProtoNode& node) const;
  void inline_function(Call& call, const ProtoFunction& function);
  std::int64_t opset_of(const Scope& scope, std::string_view domain) const;
  Dim dim_of(const ProtoDim& dim, const Value& value, std::size_t axis, std::size_t rank,
             bool input);
  Dim symbol(const std::string& name, std::int64_t hint, std::int64_t least);
  void settle_strides(const Op& op);
  TensorId constant_tensor(Value& value);
  bool is_made_up(Value& value);
  /// Of a file that says which initializers are weights, those that the exporter computed and that
  /// are multiplied or chosen from element by element: rotary positions, masks.
  void find_tables();
  bool is_table(const Value& value) const {
    return value.stored != nullptr && tables_.contains(value.stored->name);
  }
  void index_functions();

  const ProtoModel& model_;
  ExternalFiles& files_;
  Graph& graph_;
  Findings& findings_;
  std::deque<Value> values_;
  std::unordered_set<std::string> op_names_, tensor_names_;          // never iterated
  std::unordered_map<std::string, std::size_t> symbols_;             // never iterated
  std::unordered_map<std::string, const ProtoFunction*> functions_;  // never iterated
  std::vector<const ProtoFunction*> stack_;                          ///< functions being inlined
  std::unordered_set<std::string_view> tables_;                      // never iterated
  std::size_t folded_ = 0;                                           ///< elements of constants kept
  std::size_t nodes_ = 0;                          ///< nodes read, inlined ones each time
  std::size_t most_nodes_ = 0;                     ///< that may be read
  int nested_ = 0;                                 ///< subgraphs and functions
  int unknown_ = 0;                                ///< sizes that depend on data
  std::vector<std::pair<int, std::size_t>> made_;  ///< value, index of its tensor, in order
};

/// Puts operators whose result all layers read into the module around the layers.
void move_shared_operators(Graph& graph);

/// If, Loop, Scan, SequenceMap: true when the node is one of them and was read.
bool read_control_flow(Call& call);
/// Runs of a loop that goes on while a counter is below a limit; empty: only data tells.
std::optional<Dim> trips_by_counter(Call& call, const ProtoGraph& body);

/// Faults where a node of ONNX's own has too few or too many operands, misses an attribute or has
/// one of another type; false: there are any.
bool check_signature(Call& call);

/// Fills `data` of the results where all that they depend on is known.
void fold(Call& call);

/// A row of the operator table. Shapes first; then either one operator by name, or a conversion.
struct OpRule {
  std::string_view type;
  void (*shape)(Call&) = nullptr;
  std::string_view target = {};      ///< "aten.relu.default"; empty: opaque, "onnx.TYPE"
  std::string_view operands = {};    ///< names, as Call::operands takes them
  void (*convert)(Call&) = nullptr;  ///< emits the operators itself
};

/// Null: the operator is not known.
const OpRule* find_rule(std::string_view domain, std::string_view type);

/// A name of the file for JSON and tables, which take valid UTF-8 only and no control characters.
std::string printable(std::string_view text);

/// Metadata by which PyTorch's exporter says what an initializer is.
inline constexpr std::string_view kRoleKey = "pkg.torch.export.graph_signature.InputSpec.kind";

/// "" and "ai.onnx" are one domain.
bool is_main_domain(std::string_view domain);

}  // namespace parallel_opt::onnx
