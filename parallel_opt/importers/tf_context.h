#pragma once

#include <algorithm>
#include <deque>
#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "parallel_opt/importers/op_writer.h"
#include "parallel_opt/importers/tf_proto.h"
#include "parallel_opt/importers/tf_variables.h"

/// How one TensorFlow graph becomes ours: nodes are read in execution order, each with the values
/// of its operands. Whole numbers that follow from shapes are carried as sizes and make no
/// operator. Private to the importer.
namespace parallel_opt::tf {

using sizes::Shape;
using ValueId = std::size_t;
using Values = std::vector<ValueId>;

struct Value {
  /// `dead`: of the alternative that a constant condition does not take.
  enum class Kind { tensor, variable, resource, list, text, nothing, dead };
  Kind kind = Kind::tensor;
  DType dtype = DType::fp32;
  bool ranked = true;
  Shape shape;                 ///< of a list: of one element
  std::optional<Shape> known;  ///< elements in row-major order, of few whole numbers and flags
  TensorId tensor;             ///< invalid: a constant not yet used, or no tensor
  std::string name;            ///< of a constant not yet used
  bool weight = false;         ///< a constant that was a variable before freezing
  int variable = -1;
  RegionId region;  ///< where the tensor is made
  /// A list of tensors: all of them (`tensor`), or the one that was written last.
  ValueId element = SIZE_MAX;
  Dim length;
};

struct Variable {
  std::string name;
  DType dtype = DType::fp32;
  Shape shape;
  bool trainable = true;
  TensorId tensor;  ///< valid once it was read
};

class Context {
 public:
  explicit Context(OpWriter& writer) : out(writer) {}

  OpWriter& out;
  bool frozen = false;  ///< weights are constants
  std::vector<Variable> variables;

  Value& at(ValueId id) { return values_[id]; }
  const Value& at(ValueId id) const { return values_[id]; }
  ValueId add(Value value);
  ValueId nothing(Value::Kind kind = Value::Kind::nothing);
  ValueId known(Shape elements, Shape shape, DType dtype = DType::i32);

  const Shape& shape(ValueId id) const { return values_[id].shape; }
  ResultType type(ValueId id) const { return {values_[id].dtype, values_[id].shape}; }
  bool ranked(ValueId id) const { return values_[id].ranked; }
  bool any_unranked(const Values& in) const {
    return std::ranges::any_of(in, [this](ValueId id) { return !ranked(id); });
  }
  /// Elements when they are known; a variable or tensor never is.
  const std::optional<Shape>& elements(ValueId id) const { return values_[id].known; }
  /// Known and free of symbols.
  std::optional<std::vector<std::int64_t>> integers(ValueId id) const;
  std::optional<std::int64_t> integer(ValueId id) const;

  /// The value as a tensor that the operator about to be made may use.
  TensorId tensor(ValueId id);
  /// A value of the tensor just made, in the present region.
  ValueId value_of(TensorId id);

  using Arguments = std::vector<std::pair<std::string_view, ValueId>>;
  ValueId emit(std::string target, const Arguments& arguments, const ResultType& type,
               Attributes attributes = {});
  Values emit_all(std::string target, const Arguments& arguments,
                  const std::vector<ResultType>& types, Attributes attributes = {});
  /// An operator that no row describes: its results as the file states them.
  Values opaque(const Node& node, const Values& in, Attributes attributes = {});

  /// What is known of a result after all.
  void set_shape(ValueId id, const Shape& shape);
  ValueId permute(ValueId id, const std::vector<std::int64_t>& order);
  ValueId reshape(ValueId id, const Shape& shape);
  /// A size that data decides, at most `most`.
  Dim new_size(const Dim& most);
  /// Sizes of a message with a fresh size for each unknown one; empty when the rank is unknown.
  std::optional<Shape> stated(const ShapeProto& shape);
  Symbol& symbol(const std::string& name, std::int64_t hint);
  /// Number of outputs and their element types, from the definition or the attributes.
  std::vector<int> output_types(const Node& node) const;

  std::map<std::string_view, const OpDef*> definitions;

 private:
  std::deque<Value> values_;
  int data_sizes_ = 0;
};

using Handler = Values (*)(Context&, const Node&, const Values&);
struct HandlerRow {
  std::string_view op;
  Handler run;
};

/// The operators that make our operators, by theme.
std::span<const HandlerRow> math_handlers();
std::span<const HandlerRow> layer_handlers();
std::span<const HandlerRow> shape_handlers();
std::span<const HandlerRow> list_handlers();
std::span<const HandlerRow> linear_algebra_handlers();
/// Nullptr for an operator that is not known.
Handler find_handler(std::string_view op);

/// Arithmetic on sizes: the results when every operand it needs is known. tf_fold.cpp
std::optional<Values> fold(Context& context, const Node& node, const Values& in);

/// "node:output:1" -> the place among all outputs of a node; -1 when there is no such output.
int output_place(const Node& node, std::string_view output, int index, const OpDef* definition);

}  // namespace parallel_opt::tf
