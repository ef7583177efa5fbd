#include "parallel_opt/graph/einsum.h"

#include <algorithm>
#include <numeric>

#include "parallel_opt/graph/alias.h"

namespace parallel_opt {
namespace {

struct Axis {
  std::int64_t size = 1;
  std::int64_t stride = 0;
};

/// An operand, or a result in between, with one axis for every dimension of the equation.
struct Factor {
  std::vector<Axis> axes;
  TensorId tensor;  ///< invalid: a result in between
  bool needs = false;
  bool made = false;  ///< a storage of its own that nothing else keeps
};

double points(const std::vector<Axis>& axes, const std::vector<std::size_t>& dims) {
  double product = 1;
  for (const std::size_t d : dims) product *= static_cast<double>(axes[d].size);
  return product;
}

/// Can these axes, outermost first, be viewed as one?
bool merge(const std::vector<Axis>& axes, const std::vector<std::size_t>& dims) {
  std::int64_t step = -1;
  for (std::size_t i = dims.size(); i-- > 0;) {
    const Axis& axis = axes[dims[i]];
    if (axis.size == 1) continue;
    if (step >= 0 && axis.stride != step) return false;
    step = axis.stride * axis.size;
  }
  return true;
}

/// Contiguous strides for axes in this order, outermost first.
void lay_out(std::vector<Axis>& axes, const std::vector<std::size_t>& order) {
  std::int64_t step = 1;
  for (std::size_t i = order.size(); i-- > 0;) {
    axes[order[i]].stride = step;
    step *= axes[order[i]].size;
  }
}

class Contraction {
 public:
  Contraction(const Graph& graph, const Op& op, const std::vector<bool>& needs_grad)
      : space_(iteration_space(graph, op)), path_(attribute_list(op, "path")) {
    order_dims();
    for (std::size_t k = 0; k < space_.operands.size(); ++k) {
      const TensorId id = op.inputs[k].tensor;
      if (!id.valid()) continue;
      factors_.push_back(factor(graph, id, space_.operands[k], needs_grad));
      element_ = size_of(graph.tensor(id).dtype);
    }
    left_in_.assign(space_.dims.size(), 0);
    for (const Factor& f : factors_) {
      for (std::size_t d = 0; d < f.axes.size(); ++d) left_in_[d] += f.axes[d].size != 1 ? 1 : 0;
    }
  }

  EinsumWork run() {
    if (factors_.size() < 2 || space_.dims.empty()) return {};
    const bool given = path_.size() == 2 * (factors_.size() - 1);
    for (std::size_t k = 0; factors_.size() > 1; ++k) {
      std::size_t i = given ? place(path_[2 * k]) : 0, j = given ? place(path_[2 * k + 1]) : 1;
      if (i == j) i = 0, j = 1;
      Factor result = step(factors_[i], factors_[j]);
      factors_.erase(factors_.begin() + static_cast<std::ptrdiff_t>(std::max(i, j)));
      factors_.erase(factors_.begin() + static_cast<std::ptrdiff_t>(std::min(i, j)));
      // Without a path the result is the left operand of the next step.
      factors_.insert(given ? factors_.end() : factors_.begin(), std::move(result));
    }
    return std::move(work_);
  }

 private:
  std::size_t place(std::int64_t index) const {
    const auto last = static_cast<std::int64_t>(factors_.size()) - 1;
    return static_cast<std::size_t>(std::clamp<std::int64_t>(index, 0, last));
  }

  /// Dimensions of the result in its order, then those summed over, by letter.
  void order_dims() {
    in_result_.assign(space_.dims.size(), false);
    for (const int d : space_.results.empty() ? std::vector<int>() : space_.results[0]) {
      if (d < 0) continue;
      order_.push_back(static_cast<std::size_t>(d));
      in_result_[static_cast<std::size_t>(d)] = true;
    }
    std::vector<std::size_t> summed;
    for (std::size_t d = 0; d < space_.dims.size(); ++d) {
      if (!in_result_[d]) summed.push_back(d);
    }
    std::ranges::sort(summed, {}, [&](std::size_t d) { return space_.dims[d].name; });
    order_.insert(order_.end(), summed.begin(), summed.end());
  }

  Factor factor(const Graph& graph, TensorId id, const std::vector<int>& axes,
                const std::vector<bool>& needs_grad) const {
    const Tensor& tensor = graph.tensor(id);
    const std::vector<std::int64_t> strides = strides_of(tensor);
    Factor f;
    f.axes.resize(space_.dims.size());
    f.tensor = id;
    f.needs = needs_grad[id.index()];
    for (std::size_t i = 0; i < axes.size(); ++i) {
      if (axes[i] < 0) continue;
      Axis& axis = f.axes[static_cast<std::size_t>(axes[i])];
      axis.size = tensor.shape[i].size;
      axis.stride += strides[i];  // a letter twice in one operand is its diagonal
    }
    return f;
  }

  /// Sums a dimension that only this operand still has.
  void sum_alone(Factor& f, const Factor& other) {
    bool any = false;
    for (std::size_t d = 0; d < f.axes.size(); ++d) {
      if (in_result_[d] || f.axes[d].size == 1 || other.axes[d].size != 1 || left_in_[d] != 1) {
        continue;
      }
      f.axes[d].size = 1;
      left_in_[d] = 0;
      any = true;
    }
    if (!any) return;
    lay_out(f.axes, order_);
    f.tensor = TensorId();
    f.made = true;
  }

  void keep(const Factor& f, double elements, bool copied) {
    if (f.tensor.valid() && !copied) {
      work_.saved.tensors.push_back(f.tensor);
    } else {
      work_.saved.extra += Bytes(static_cast<std::int64_t>(elements) * element_);
    }
  }

  Factor step(Factor left, Factor right) {
    sum_alone(left, right);
    sum_alone(right, left);
    std::vector<std::size_t> batch;
    std::vector<std::size_t> lefts;
    std::vector<std::size_t> sums;
    std::vector<std::size_t> rights;
    for (const std::size_t d : order_) {
      const bool in_left = left.axes[d].size != 1;
      const bool in_right = right.axes[d].size != 1;
      if (in_left && in_right) {
        const bool last = !in_result_[d] && --left_in_[d] == 1;
        (last ? sums : batch).push_back(d);
      } else {
        (in_left || !in_right ? lefts : rights).push_back(d);
      }
    }
    Factor result;
    result.axes.resize(left.axes.size());
    for (std::size_t d = 0; d < result.axes.size(); ++d) {
      result.axes[d].size = std::max(left.axes[d].size, right.axes[d].size);
    }
    for (const std::size_t d : sums) result.axes[d].size = 1;
    result.needs = left.needs || right.needs;
    result.made = true;
    const double left_elements = points(left.axes, order_);
    const double right_elements = points(right.axes, order_);
    if (sums.empty()) {  // a plain product
      if (right.needs) keep(left, left_elements, false);
      if (left.needs) keep(right, right_elements, false);
      lay_out(result.axes, order_);
      return result;
    }
    const double flops = 2 * points(left.axes, batch) * points(left.axes, lefts) *
                         points(left.axes, sums) * points(right.axes, rights);
    work_.forward += Flops(flops);
    work_.backward += Flops(flops * ((left.needs ? 1 : 0) + (right.needs ? 1 : 0)));
    const auto copied = [&](const Factor& f, const std::vector<std::size_t>& own) {
      return !merge(f.axes, batch) || !merge(f.axes, own) || !merge(f.axes, sums);
    };
    if (right.needs) keep(left, left_elements, copied(left, lefts));
    if (left.needs) keep(right, right_elements, copied(right, rights));
    std::vector<std::size_t> layout = batch;
    layout.insert(layout.end(), lefts.begin(), lefts.end());
    layout.insert(layout.end(), rights.begin(), rights.end());
    lay_out(result.axes, layout);
    return result;
  }

  IterationSpace space_;
  std::vector<std::int64_t> path_;
  std::vector<std::size_t> order_;
  std::vector<bool> in_result_;
  std::vector<Factor> factors_;
  std::vector<int> left_in_;  ///< per dimension: factors not yet contracted that have it
  std::int64_t element_ = 4;
  EinsumWork work_;
};

}  // namespace

EinsumWork einsum_work(const Graph& graph, const Op& op, const std::vector<bool>& needs_grad) {
  return Contraction(graph, op, needs_grad).run();
}

}  // namespace parallel_opt
