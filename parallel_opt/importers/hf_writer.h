#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "parallel_opt/graph/graph.h"

namespace parallel_opt::hf {

using Shape = std::vector<Dim>;

/// A constant size.
inline Dim fixed(std::int64_t size) { return {size, ""}; }
/// Product and sum of sizes; symbolic when one of them is.
Dim times(const Dim& a, const Dim& b);
Dim plus(const Dim& a, std::int64_t more);
/// How many parts of `size` cover `a`.
Dim divided_up(const Dim& a, std::int64_t size);

/// Writes the operators of a model in execution order, as PyTorch's own modules would run them.
/// Modules are entered by name, so that operators and parameters get the model's own names.
class GraphWriter {
 public:
  /// `dtype` is that of parameters and of activations.
  GraphWriter(std::string name, std::string source, DType dtype);

  /// While it lives, operators belong to the submodule `name` ("self_attn", "layers.3").
  class Scope {
   public:
    Scope(GraphWriter& writer, std::string_view name);
    ~Scope() { writer_.path_.resize(length_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    GraphWriter& writer_;
    std::size_t length_;
  };

  /// From here on the n-th run of modules that ran before: their parameters are used again.
  void rerun(int call);

  /// A symbolic size of the inputs; `max` 0: no limit.
  Dim symbol(const std::string& name, std::int64_t hint, std::int64_t max = 0);
  TensorId input(const std::string& name, DType dtype, Shape shape);
  /// A parameter of the current module; `name` may lead into submodules ("q_proj.weight").
  TensorId parameter(std::string_view name, Shape shape);
  TensorId parameter(std::string_view name, std::initializer_list<std::int64_t> sizes);
  /// The same in a type of its own; one that does not train has no gradient.
  TensorId parameter_of(DType dtype, std::string_view name,
                        std::initializer_list<std::int64_t> sizes, bool trains = true);
  TensorId buffer(std::string_view name, DType dtype, std::initializer_list<std::int64_t> sizes);
  /// Another name for `first` under the current module.
  void tie(std::string_view name, TensorId first);

  struct Argument {
    const char* name;
    TensorId tensor;
  };
  using Constant = std::pair<const char*, Attribute>;
  /// Appends an operator with one result of the writer's dtype, or of `dtype`'s first operand.
  TensorId op(const char* target, std::initializer_list<Argument> inputs, Shape shape,
              std::initializer_list<Constant> constants = {});
  TensorId op(const char* target, DType dtype, std::initializer_list<Argument> inputs, Shape shape,
              std::initializer_list<Constant> constants = {});
  /// Adds a further result to the last operator.
  TensorId also(DType dtype, Shape shape);
  /// A result that shares its first operand's storage.
  TensorId view_op(const char* target, TensorId x, Shape shape,
                   std::initializer_list<Constant> constants = {});

  // --- views
  TensorId view(TensorId x, Shape shape);
  TensorId transpose(TensorId x, std::size_t a, std::size_t b);
  TensorId slice(TensorId x, std::size_t axis, std::int64_t start, const Dim& size);
  TensorId unsqueeze(TensorId x, std::size_t axis);
  TensorId expand(TensorId x, Shape shape);
  TensorId select(TensorId x, std::size_t axis, std::int64_t index);

  // --- elementwise and reductions
  TensorId add(TensorId a, TensorId b);
  TensorId mul(TensorId a, TensorId b);
  TensorId add(TensorId a, double number);
  TensorId mul(TensorId a, double number);
  TensorId div(TensorId a, double number);
  TensorId unary(const char* target, TensorId x);
  TensorId power(TensorId x, double exponent);
  TensorId mean_last(TensorId x);
  TensorId cat(const std::vector<TensorId>& parts, std::size_t axis);
  TensorId softmax(TensorId x);
  /// A copy in another type; the same tensor where it has it already.
  TensorId to(TensorId x, DType dtype);
  /// Nothing when `rate` is 0.
  TensorId dropout(TensorId x, double rate);

  // --- layers: submodule `name` of the current module
  TensorId linear(TensorId x, std::string_view name, std::int64_t out, bool bias);
  /// x times an existing weight [out, in].
  TensorId linear_with(TensorId x, std::string_view name, TensorId weight, TensorId bias);
  TensorId embedding(TensorId indices, TensorId weight, std::string_view name);
  TensorId layer_norm(TensorId x, std::string_view name, double eps, bool bias = true);
  TensorId matmul(TensorId a, TensorId b, Shape shape);
  /// [1, 1, n, n], 0 where a position may look, else very negative; made once, at the root.
  TensorId causal_mask(const Dim& length);
  /// [1, 1, n, n], true within `window` positions, to the left or on both sides; at the root.
  TensorId window_mask(const Dim& length, std::int64_t window, bool causal);
  /// Product of all sizes of `x` but the last: its rows.
  Dim tokens(TensorId x);

  const Tensor& tensor(TensorId id) const { return graph_.tensor(id); }
  const Dim& dim(TensorId id, std::size_t axis) const { return tensor(id).shape[axis]; }
  const Dim& last(TensorId id) const { return tensor(id).shape.back(); }
  /// The shape with another last size.
  Shape with_last(TensorId id, const Dim& size) const;
  DType dtype() const { return dtype_; }
  std::string_view path() const { return path_; }
  void note(std::string text) { graph_.notes.push_back(std::move(text)); }
  /// Room for `repeats` more of what was written since `begin` (operators, tensors).
  struct Mark {
    std::size_t ops, tensors;
  };
  Mark mark() const { return {graph_.ops.size(), graph_.tensors.size()}; }
  void reserve_repeats(const Mark& begin, std::int64_t repeats);
  /// The graph, finished. Pre: no scope is open.
  Graph finish(std::initializer_list<TensorId> outputs);

 private:
  TensorId add_tensor(Tensor tensor);
  TensorId result(DType dtype, Shape shape);
  std::string joined(std::string_view name) const;

  Graph graph_;
  DType dtype_;
  std::string path_;
  int call_ = 0;
  std::unordered_map<std::string, TensorId> shared_;  // parameters by name, while modules run again
  std::vector<std::pair<Dim, TensorId>> masks_;       // by length
  std::vector<std::pair<Shape, Dim>> products_;       // of leading sizes; models have few
};

}  // namespace parallel_opt::hf
