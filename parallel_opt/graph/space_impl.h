#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "parallel_opt/graph/op_table.h"

/// How graph/space.cpp (named rows) and graph/space_rules.cpp (rules) build an iteration space.
/// Private to graph/.
namespace parallel_opt::space_detail {

struct AxisName {
  std::string name;
  bool star = false;
};

struct OperandPattern {
  std::string argument;  ///< empty: by position
  std::vector<AxisName> axes;
};

struct SpacePattern {
  std::vector<OperandPattern> operands;
  std::vector<OperandPattern> results;
  std::vector<std::string> mixed;
  std::vector<std::string> selected;
};

/// Reads "x=b* k, w=n k -> b* n". Pre: it has an arrow.
SpacePattern parse_pattern(std::string_view space);
/// "@reduce", "=reshape", "@own": a rule that builds a space.
bool is_rule(std::string_view space);

/// Axes along which a Fourier transform runs: attribute `dim`, else as the name says ("fft_fft2").
std::vector<std::size_t> transformed_axes(const Op& op, std::size_t axes);

/// The space of one operator at hand; used once.
class SpaceBuilder {
 public:
  SpaceBuilder(const Graph& graph, const Op& op) : graph_(graph), op_(op) {
    for (const Operand& input : op.inputs) operands_.push_back(tensor_or_null(input.tensor));
    for (const TensorId id : op.outputs) results_.push_back(tensor_or_null(id));
    space_.operands.resize(operands_.size());
    space_.results.resize(results_.size());
    for (std::size_t i = 0; i < operands_.size(); ++i) own(space_.operands[i], operands_[i]);
    for (std::size_t i = 0; i < results_.size(); ++i) own(space_.results[i], results_[i]);
  }

  IterationSpace build(const OpRow& row, const SpacePattern* pattern);
  static bool has_rule(std::string_view name);

 private:
  struct Rule;
  static std::span<const Rule> rules();

  const Tensor* tensor_or_null(TensorId id) const {
    return id.valid() ? &graph_.tensor(id) : nullptr;
  }

  static void own(std::vector<int>& axes, const Tensor* tensor) {
    if (tensor != nullptr) axes.assign(tensor->shape.size(), -1);
  }

  int add(std::string name, std::int64_t size, DimRole role = DimRole::free) {
    space_.dims.push_back({std::move(name), size, role});
    return static_cast<int>(space_.dims.size()) - 1;
  }

  int find_or_add(const std::string& name, std::int64_t size) {
    for (std::size_t i = 0; i < space_.dims.size(); ++i) {
      if (space_.dims[i].name != name) continue;
      space_.dims[i].size = std::max(space_.dims[i].size, size);
      return static_cast<int>(i);
    }
    return add(name, size);
  }

  /// A dimension indexes an axis when their sizes agree; size 1 against more is a broadcast.
  void drop_broadcasts(std::vector<int>& axes, const Tensor* tensor) {
    for (std::size_t i = 0; i < axes.size(); ++i) {
      if (axes[i] >= 0 && tensor->shape[i].size != dim(axes[i]).size) axes[i] = -1;
    }
  }

  IterationDim& dim(int i) { return space_.dims[static_cast<std::size_t>(i)]; }

  std::size_t rank(const Tensor* tensor) const {
    return tensor == nullptr ? 0 : tensor->shape.size();
  }

  std::int64_t size(const Tensor* tensor, std::size_t axis) const {
    return tensor->shape[axis].size;
  }

  /// "self" -> its index among the operands; -1 when absent.
  int operand_index(std::string_view argument) const {
    for (std::size_t i = 0; i < op_.inputs.size(); ++i) {
      if (op_.inputs[i].argument == argument && operands_[i] != nullptr) return static_cast<int>(i);
    }
    return -1;
  }

  /// Attribute `name` as an axis of a tensor of `axes` dimensions, counted from the front.
  std::size_t axis(const std::string& name, std::size_t axes, std::int64_t fallback) const {
    std::int64_t value = attribute(op_, name, fallback);
    if (value < 0) value += static_cast<std::int64_t>(axes);
    return axes == 0 ? 0
                     : static_cast<std::size_t>(
                           std::clamp<std::int64_t>(value, 0, static_cast<std::int64_t>(axes) - 1));
  }

  void named(const SpacePattern& pattern);
  void match(const OperandPattern& pattern, const Tensor* tensor, std::vector<int>& axes);
  void settle(const SpacePattern& pattern);
  void pointwise();
  void along();
  void trailing();
  void reduce();
  void pair_reduce();
  void reduce_over(const char* attribute_name, bool pair);
  void matmul();
  void einsum();
  void tensordot();
  void convolution();
  void convolution_backward();
  void convolve(const Tensor* result, std::vector<int>& ys);
  void grouped();
  void grouped_heads(int query, int key, int value);
  void scaled();
  void trilinear();
  void matrix();
  void transform();
  void frames();
  void windows();
  void multi_head();
  void class_loss();
  void keep_equal_axes();
  void concatenate();
  void stack();
  void index();
  void index_put();
  void index_rows(bool put);
  void recurrent();
  void bag();
  void reshape();
  void permute(const std::vector<std::size_t>& order);
  void permute_by_attribute();
  void transpose();
  void select();
  void mark_reduced();

  const Graph& graph_;
  const Op& op_;
  std::vector<const Tensor*> operands_;
  std::vector<const Tensor*> results_;
  IterationSpace space_;
};

}  // namespace parallel_opt::space_detail
