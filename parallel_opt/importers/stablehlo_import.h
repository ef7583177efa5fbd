#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "parallel_opt/importers/mlir_text.h"
#include "parallel_opt/importers/op_writer.h"

/// How StableHLO becomes our operators: functions are inlined, loops and branches become regions,
/// each operator is left to its handler. Private to the importer.
namespace parallel_opt::stablehlo {

using sizes::Shape;
using ValueId = std::size_t;
using Values = std::vector<ValueId>;

struct Value {
  TensorId tensor;  ///< invalid: a constant not yet used, or a write not yet made
  ResultType type;
  std::optional<std::int64_t> known;  ///< a scalar whole number
  RegionId region;                    ///< where the tensor is made
  int entry = -1;                     ///< the k-th value that a loop carries, as its body begins
  /// A write of `update` into `base` that no one has read: of a loop's outputs, run by run.
  ValueId base = SIZE_MAX;
  ValueId update = SIZE_MAX;
  bool tensor_type = true;  ///< false: a token
};

/// Names of one function or region; inner regions see the outer ones.
struct Scope {
  const Scope* outer = nullptr;
  std::unordered_map<std::string_view, Values> values;
};

class Importer {
 public:
  Importer(OpWriter& writer, const mlir::Module& module, std::string_view text)
      : out(writer), module_(module), text_(text) {
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\n') lines_.push_back(i);
    }
    budget_ = 20'000 + 16 * lines_.size();
  }

  OpWriter& out;

  void run_main();

  // What handlers use.
  Value& at(ValueId id) { return values_[id]; }
  const Value& at(ValueId id) const { return values_[id]; }
  const Shape& shape(ValueId id) const { return values_[id].type.shape; }
  const ResultType& type(ValueId id) const { return values_[id].type; }
  ValueId add(Value value);
  TensorId tensor(ValueId id);
  ValueId value_of(TensorId id);
  using Arguments = std::vector<std::pair<std::string_view, ValueId>>;
  ValueId emit(std::string target, const Arguments& arguments, const ResultType& type,
               Attributes attributes = {});
  Values emit_all(std::string target, const Arguments& arguments,
                  const std::vector<ResultType>& types, Attributes attributes = {});
  ValueId permute(ValueId id, const std::vector<std::int64_t>& order);
  ValueId reshape(ValueId id, const Shape& shape);
  /// An operator that no row describes.
  Values opaque(const mlir::Op& op, const Values& in, Attributes attributes = {});
  /// The stated type of a result; sizes that the text leaves open follow `like`, else the module's
  /// symbol.
  ResultType result(const mlir::Op& op, std::size_t i, const Values& in = {});
  /// The name of the single operator of a reducer, "stablehlo.add"; empty when there are more.
  std::string_view reducer(const mlir::Op& op) const;
  /// A fault of two types that ought to be one.
  [[noreturn]] void differ(const mlir::Op& op, const std::string& what, const ResultType& a,
                           const ResultType& b);

 private:
  void run_ops(const mlir::RegionBody& body, Scope& scope, Values& left);
  void visit(const mlir::Op& op, Scope& scope, Values& left);
  Values dispatch(const mlir::Op& op, const Values& in, Scope& scope);
  void place(const mlir::Op& op, const Values& in);
  ValueId find(const mlir::Op& op, const Scope& scope, std::string_view name) const;
  ResultType convert(const mlir::Type& type);
  // Faults where the stated types contradict what the operator gives.
  void check_operands(const mlir::Op& op, const Values& in);
  void check_results(const mlir::Op& op, const Values& in, const Values& results);
  void check_parts(const mlir::Op& op, const Values& in, const ResultType& made);
  void check_broadcast(const mlir::Op& op, const Values& in, const ResultType& made);
  void check_slice(const mlir::Op& op, const Values& in, const ResultType& made);
  void check_padding(const mlir::Op& op, const Values& in, const ResultType& made);
  void check_concatenation(const mlir::Op& op, const Values& in, const ResultType& made);
  void check_constant(const mlir::Op& op, const ResultType& made);
  void define(Scope& scope, std::string_view name, Values values);
  Dim open_size();

  Values constant(const mlir::Op& op);
  Values call(const mlir::Op& op, std::string_view name, const Values& in);
  Values custom_call(const mlir::Op& op, const Values& in);
  Values branch(const mlir::Op& op, const Values& in, Scope& scope);
  Values loop(const mlir::Op& op, const Values& in, Scope& scope);
  Values per_device(const mlir::Op& op, const Values& in, Scope& scope);
  double parts_of_computation(const mlir::Op& op) const;
  Values resized(const mlir::Op& op, const Values& in);
  void run_condition(const mlir::Op& op, const Values& entered, Scope& scope);
  RegionId open_loop(std::optional<std::int64_t> runs);
  ValueId leave_loop(ValueId last, std::size_t k, std::optional<std::int64_t> runs, RegionId inside,
                     RegionId outside);
  const mlir::Function* function(std::string_view name) const;
  void add_arguments(const mlir::Function& main, Values& arguments);
  std::vector<bool> guess_parameters(const mlir::Function& main) const;
  std::string location_name(std::string_view location) const;
  std::string placed_in(std::string_view path) const;
  /// The line of a part of the text, from 1.
  std::string line_of(std::string_view part) const;

  const mlir::Module& module_;
  std::string_view text_;
  std::deque<Value> values_;
  std::vector<std::size_t> lines_;  ///< places of line ends
  std::size_t budget_ = 0;          ///< operators that may still be visited
  std::vector<std::string_view> calls_;
  std::string call_module_;  ///< where the function was called that is being run
  std::map<std::string_view, const mlir::Function*> functions_;
};

/// Does the function hold its own backward? By its name, by what differentiation leaves in debug
/// info, or because it returns every weight anew.
bool is_training_step(const mlir::Module& module, const Graph& graph);

/// One element type and one shape, where open sizes agree with any.
bool agree(const ResultType& a, const ResultType& b);

/// "dense<7>" of a constant, in either form.
std::string_view constant_text(const mlir::Op& op);

using Handler = Values (*)(Importer&, const mlir::Op&, const Values&);
struct HandlerRow {
  std::string_view op;  ///< without its dialect
  Handler run;
};
std::span<const HandlerRow> math_handlers();
std::span<const HandlerRow> shape_handlers();
std::span<const HandlerRow> linear_handlers();
/// Nullptr for an operator that is not known.
Handler find_handler(std::string_view name);

}  // namespace parallel_opt::stablehlo
