#include <algorithm>

#include "parallel_opt/graph/space_impl.h"

// Rules of the operator table for convolutions, attention, grouped and quantised products, windows,
// transforms and linear algebra.
namespace parallel_opt::space_detail {

/// Dimensions n, c_out (or groups), c_in, kernel k*, output positions o* (mixed: neighbours of a
/// split need a halo).
void SpaceBuilder::convolve(const Tensor* result, std::vector<int>& ys) {
  int in = operand_index("input");
  if (in < 0 && !operands_.empty() && operands_[0] != nullptr)
    in = 0;  // "self" of oneDNN and cuDNN
  const int weight = operand_index("weight");
  if (in < 0 || weight < 0 || result == nullptr) return;
  const Tensor* x = operands_[static_cast<std::size_t>(in)];
  const Tensor* w = operands_[static_cast<std::size_t>(weight)];
  if (rank(w) < 3 || rank(result) + 1 < rank(w) || rank(x) + 1 < rank(w)) return;
  const std::size_t spatial = rank(w) - 2;
  const std::size_t batch = rank(x) - spatial - 1;  // 0 when unbatched
  const std::int64_t groups = attribute(op_, "groups", 1);
  const bool transposed =
      op_.target.find("transpose") != std::string::npos || attribute(op_, "transposed", 0) != 0;
  std::vector<int>& xs = space_.operands[static_cast<std::size_t>(in)];
  std::vector<int>& ws = space_.operands[static_cast<std::size_t>(weight)];
  if (batch > 0) xs[0] = ys[0] = add("n", size(x, 0));
  const std::size_t weight_out = transposed ? 1 : 0;
  if (groups == 1) {
    ys[batch] = ws[weight_out] = add("co", size(result, batch));
    xs[batch] = ws[1 - weight_out] = add("ci", size(x, batch), DimRole::reduced);
  } else {  // channels of input, weight and result are split by group, their major factor
    const int g = add("g", groups);
    xs[batch] = ys[batch] = ws[0] = g;
    add("co", size(result, batch) / groups);
    ws[1] =
        add(transposed ? "co_w" : "ci", size(w, 1), transposed ? DimRole::free : DimRole::reduced);
    if (transposed) add("ci", size(x, batch) / groups, DimRole::reduced);
  }
  for (std::size_t i = 0; i < spatial; ++i) {
    ws[2 + i] = add("k" + std::to_string(i), size(w, 2 + i), DimRole::reduced);
  }
  for (std::size_t i = 0; i < spatial; ++i) {
    // A transposed convolution visits each input position; its result overlaps in the same way.
    const int o =
        add("o" + std::to_string(i), size(transposed ? x : result, batch + 1 + i), DimRole::mixed);
    (transposed ? xs : ys)[batch + 1 + i] = o;
  }
  const int bias = operand_index("bias");
  if (bias >= 0 && rank(operands_[static_cast<std::size_t>(bias)]) == 1) {
    space_.operands[static_cast<std::size_t>(bias)][0] = ys[batch];
  }
}

void SpaceBuilder::convolution() {
  if (!results_.empty()) convolve(results_[0], space_.results[0]);
}

/// The space of the forward, whose result is here the first operand.
void SpaceBuilder::convolution_backward() {
  const int gradient = operand_index("grad_output");
  const int in = operand_index("input");
  const int weight = operand_index("weight");
  if (gradient < 0 || in < 0 || weight < 0) return;
  std::vector<int>& ys = space_.operands[static_cast<std::size_t>(gradient)];
  convolve(operands_[static_cast<std::size_t>(gradient)], ys);
  const auto same = [&](std::size_t result, const std::vector<int>& axes) {
    if (result < results_.size() && results_[result] != nullptr &&
        rank(results_[result]) == axes.size()) {
      space_.results[result] = axes;
    }
  };
  same(0, space_.operands[static_cast<std::size_t>(in)]);
  same(1, space_.operands[static_cast<std::size_t>(weight)]);
  const std::size_t spatial = rank(operands_[static_cast<std::size_t>(weight)]) - 2;
  if (ys.size() > spatial) same(2, {ys[ys.size() - spatial - 1]});
}

/// Rows belong to groups by their offsets: each row meets one group's matrix.
void SpaceBuilder::grouped() {
  const bool plain = operand_index("self") >= 0;
  const int left = operand_index(plain ? "self" : "input");
  const int right = operand_index(plain ? "mat2" : "weight");
  if (left < 0 || right < 0 || results_.empty()) return;
  const Tensor* a = operands_[static_cast<std::size_t>(left)];
  const Tensor* b = operands_[static_cast<std::size_t>(right)];
  const auto pattern = [](bool groups, const char* row, const char* column) {
    OperandPattern p;
    if (groups) p.axes.push_back({"g", false});
    p.axes.push_back({row, false});
    p.axes.push_back({column, false});
    return p;
  };
  match(pattern(rank(a) == 3, "m", "k"), a, space_.operands[static_cast<std::size_t>(left)]);
  match(pattern(rank(b) == 3, "k", "n"), b, space_.operands[static_cast<std::size_t>(right)]);
  match(pattern(rank(results_[0]) == 3, "m", "n"), results_[0], space_.results[0]);
  if (const int offsets = operand_index("offs"); offsets >= 0) {
    match({{}, {{"g", false}}}, operands_[static_cast<std::size_t>(offsets)],
          space_.operands[static_cast<std::size_t>(offsets)]);
  }
  settle({});
  if (rank(a) == 3 && rank(b) == 3) return;
  for (IterationDim& d : space_.dims) {
    if (d.name == "g") d.role = DimRole::selected;
  }
}

/// Fewer key heads than query heads: the query's head axis is split by key head, its major factor;
/// the heads that share one are a dimension of their own.
void SpaceBuilder::grouped_heads(int query, int key, int value) {
  const auto head = std::find_if(space_.dims.begin(), space_.dims.end(),
                                 [](const IterationDim& d) { return d.name == "h"; });
  if (head == space_.dims.end() || query < 0 || key < 0) return;
  const int h = static_cast<int>(head - space_.dims.begin());
  const std::vector<int>& qs = space_.operands[static_cast<std::size_t>(query)];
  const auto at = std::find(qs.begin(), qs.end(), h);
  if (at == qs.end()) return;
  const std::size_t axis = static_cast<std::size_t>(at - qs.begin());
  const Tensor* k = operands_[static_cast<std::size_t>(key)];
  if (k == nullptr || rank(k) <= axis) return;
  const std::int64_t heads = size(k, axis);
  if (heads <= 1 || heads >= head->size || head->size % heads != 0) return;
  const std::int64_t shared = head->size / heads;
  head->size = heads;
  add("r", shared);
  for (const int operand : {key, value}) {
    if (operand < 0 || rank(operands_[static_cast<std::size_t>(operand)]) <= axis) continue;
    if (size(operands_[static_cast<std::size_t>(operand)], axis) == heads) {
      space_.operands[static_cast<std::size_t>(operand)][axis] = h;
    }
  }
}

/// Three tensors, each with axes of size 1 put in where attributes say, multiplied and summed.
void SpaceBuilder::trilinear() {
  if (operands_.size() < 3 || operands_[0] == nullptr) return;
  const std::size_t axes = rank(operands_[0]) + attribute_list(op_, "expand1").size();
  for (std::size_t d = 0; d < axes; ++d) add("d" + std::to_string(d), 1);
  const auto listed = [&](const std::string& name, std::size_t axis) {
    const std::vector<std::int64_t> list = attribute_list(op_, name);
    return std::find(list.begin(), list.end(), static_cast<std::int64_t>(axis)) != list.end();
  };
  for (std::size_t k = 0; k < 3; ++k) {
    std::vector<int>& own = space_.operands[k];
    for (std::size_t d = 0, at = 0; d < axes && at < own.size(); ++d) {
      if (listed("expand" + std::to_string(k + 1), d)) continue;
      dim(static_cast<int>(d)).size =
          std::max(dim(static_cast<int>(d)).size, size(operands_[k], at));
      own[at++] = static_cast<int>(d);
    }
  }
  for (std::size_t d = 0, at = 0; d < axes && !results_.empty(); ++d) {
    if (listed("sumdim", d) || at >= space_.results[0].size()) continue;
    space_.results[0][at++] = static_cast<int>(d);
  }
  settle({});
}

/// Element by element; a scale per channel follows the axis that attributes name.
void SpaceBuilder::scaled() {
  if (operands_.empty() || operands_[0] == nullptr) return;
  const OperandPattern all{{}, {{"e", true}}};
  match(all, operands_[0], space_.operands[0]);
  for (std::size_t i = 0; i < results_.size(); ++i) match(all, results_[i], space_.results[i]);
  const std::size_t axes = rank(operands_[0]);
  const std::int64_t named = attribute(op_, "axis", attribute(op_, "ch_axis", -1));
  const std::size_t channel = axes == 0
                                  ? 0
                                  : static_cast<std::size_t>(std::clamp<std::int64_t>(
                                        named < 0 ? named + static_cast<std::int64_t>(axes) : named,
                                        0, static_cast<std::int64_t>(axes) - 1));
  for (std::size_t k = 1; k < operands_.size(); ++k) {
    if (operands_[k] == nullptr) continue;
    if (rank(operands_[k]) == axes) {
      match(all, operands_[k], space_.operands[k]);
    } else if (rank(operands_[k]) == 1 && axes > 0 &&
               size(operands_[k], 0) == size(operands_[0], channel)) {
      space_.operands[k][0] = space_.operands[0][channel];
    }
  }
  settle({});
}

/// A batch of matrices: their own two axes are mixed.
void SpaceBuilder::matrix() {
  if (operands_.empty() || rank(operands_[0]) < 2) return;
  const std::size_t batch = rank(operands_[0]) - 2;
  for (std::size_t i = 0; i < rank(operands_[0]); ++i) {
    const bool own = i >= batch;
    const std::string name = own ? (i == batch ? "m" : "n") : "b" + std::to_string(batch - 1 - i);
    space_.operands[0][i] = add(name, size(operands_[0], i), own ? DimRole::mixed : DimRole::free);
  }
  for (std::size_t r = 0; r < results_.size(); ++r) {
    for (std::size_t i = 0; i < batch && i < space_.results[r].size(); ++i) {
      if (size(results_[r], i) == size(operands_[0], i)) {
        space_.results[r][i] = space_.operands[0][i];
      }
    }
  }
}

std::vector<std::size_t> transformed_axes(const Op& op, std::size_t axes) {
  std::vector<std::int64_t> chosen = attribute_list(op, "dim");
  const std::string_view name = std::string_view(op.target).substr(0, op.target.rfind('.'));
  if (chosen.empty() && name.ends_with('2')) chosen = {-2, -1};
  if (chosen.empty() && name.ends_with('n')) {
    const std::size_t sizes = attribute_list(op, "s").size();
    const std::size_t count = sizes == 0 ? axes : std::min(sizes, axes);
    for (std::size_t i = 0; i < count; ++i) chosen.push_back(-1 - static_cast<std::int64_t>(i));
  }
  if (chosen.empty()) chosen = {-1};
  std::vector<std::size_t> result;
  for (std::int64_t a : chosen) {
    if (a < 0) a += static_cast<std::int64_t>(axes);
    if (a >= 0 && a < static_cast<std::int64_t>(axes)) {
      result.push_back(static_cast<std::size_t>(a));
    }
  }
  return result;
}

void SpaceBuilder::transform() {
  keep_equal_axes();
  if (operands_.empty()) return;
  for (const std::size_t a : transformed_axes(op_, rank(operands_[0]))) {
    if (space_.operands[0][a] >= 0) dim(space_.operands[0][a]).role = DimRole::mixed;
  }
}

/// Overlapping frames of a signal: only leading axes are free.
void SpaceBuilder::frames() {
  if (operands_.empty() || operands_[0] == nullptr || results_.empty()) return;
  const bool inverse = op_.target.starts_with("aten.istft");
  const std::size_t own = inverse ? 2 : 1;
  for (std::size_t i = 0; i < rank(operands_[0]); ++i) {
    const bool leading = i + own < rank(operands_[0]) && i == 0;
    const int d = add((leading ? "b" : "t") + std::to_string(i), size(operands_[0], i),
                      leading ? DimRole::free : DimRole::mixed);
    space_.operands[0][i] = d;
    if (leading && rank(results_[0]) > 0 && size(results_[0], 0) == dim(d).size) {
      space_.results[0][0] = d;
    }
  }
}

/// Pooling, padding and resampling: the last axes, as many as the name says ("pool2d"), have
/// windows that overlap, whether or not their size changes.
void SpaceBuilder::windows() {
  keep_equal_axes();
  if (operands_.empty() || op_class(graph_, op_) != OpClass::pooling) return;
  const std::size_t digit = op_.target.find_first_of("123");
  if (digit == std::string::npos) return;
  const std::size_t spatial = static_cast<std::size_t>(op_.target[digit] - '0');
  std::vector<int>& xs = space_.operands[0];
  for (std::size_t i = xs.size() - std::min(spatial, xs.size()); i < xs.size(); ++i) {
    if (xs[i] >= 0) dim(xs[i]).role = DimRole::mixed;
  }
}

/// The fused encoder layer: samples are free, positions and columns mixed.
void SpaceBuilder::multi_head() {
  if (operands_.empty() || results_.empty() || rank(operands_[0]) != 3) return;
  const char* const names[] = {"b", "t", "c"};
  for (std::size_t i = 0; i < 3; ++i) {
    const int d = add(names[i], size(operands_[0], i), i == 0 ? DimRole::free : DimRole::mixed);
    space_.operands[0][i] = d;
    if (rank(results_[0]) == 3 && size(results_[0], i) == dim(d).size) space_.results[0][i] = d;
  }
}

}  // namespace parallel_opt::space_detail
