#include <algorithm>
#include <array>

#include "parallel_opt/base/text.h"
#include "parallel_opt/graph/space_impl.h"

// Rules of the operator table: iteration spaces that depend on attributes, and views.
namespace parallel_opt::space_detail {

/// Element by element but for one axis, which is mixed.
void SpaceBuilder::along() {
  pointwise();
  const std::size_t axes = space_.operands.empty() ? 0 : space_.operands[0].size();
  if (axes == 0) return;
  std::vector<std::int64_t> chosen = attribute_list(op_, "dim");
  if (chosen.empty()) chosen = attribute_list(op_, "dims");
  if (chosen.empty()) chosen = {op_.target.starts_with("aten.msort") ? 0 : -1};
  for (std::int64_t a : chosen) {
    if (a < 0) a += static_cast<std::int64_t>(axes);
    if (a < 0 || a >= static_cast<std::int64_t>(axes)) continue;
    const int d = space_.operands[0][static_cast<std::size_t>(a)];
    if (d >= 0) dim(d).role = DimRole::mixed;
  }
  // topk keeps fewer: its axis in the results is one of its own.
}

void SpaceBuilder::trailing() {
  pointwise();
  const std::size_t axes = space_.operands.empty() ? 0 : space_.operands[0].size();
  const std::size_t normalized =
      std::max<std::size_t>(attribute_list(op_, "normalized_shape").size(), 1);
  for (std::size_t i = axes - std::min(axes, normalized); i < axes; ++i) {
    const int d = space_.operands[0][i];
    if (d >= 0) dim(d).role = DimRole::mixed;
  }
}

void SpaceBuilder::reduce() { reduce_over("dim", false); }

void SpaceBuilder::pair_reduce() { reduce_over("dim", true); }

void SpaceBuilder::reduce_over(const char* attribute_name, bool pair) {
  if (operands_.empty() || operands_[0] == nullptr) return;
  const std::size_t axes = rank(operands_[0]);
  std::vector<bool> reduced(axes, false);
  std::vector<std::int64_t> chosen = attribute_list(op_, attribute_name);
  if (chosen.empty() && pair) chosen = {attribute(op_, attribute_name, 1)};
  for (std::int64_t a : chosen) {
    if (a < 0) a += static_cast<std::int64_t>(axes);
    if (a >= 0 && a < static_cast<std::int64_t>(axes)) reduced[static_cast<std::size_t>(a)] = true;
  }
  if (chosen.empty()) reduced.assign(axes, true);
  // max(self, other) is elementwise under the same name.
  if (!pair && operands_.size() > 1 && operands_[1] != nullptr) return pointwise();
  for (std::size_t i = 0; i < axes; ++i) {
    const int d = add("e" + std::to_string(axes - 1 - i), size(operands_[0], i),
                      reduced[i] ? DimRole::reduced : DimRole::free);
    for (std::size_t k = 0; k < (pair ? operands_.size() : 1); ++k) {
      if (operands_[k] != nullptr && rank(operands_[k]) == axes &&
          size(operands_[k], i) == dim(d).size) {
        space_.operands[k][i] = d;
      }
    }
  }
  for (std::size_t r = 0; r < results_.size(); ++r) {
    const bool kept = rank(results_[r]) == axes;
    std::size_t at = 0;
    for (std::size_t i = 0; i < axes && at < rank(results_[r]); ++i) {
      if (!reduced[i]) space_.results[r][at] = space_.operands[0][i];
      if (!reduced[i] || kept) ++at;
    }
  }
}

void SpaceBuilder::matmul() {
  if (operands_.size() < 2 || operands_[0] == nullptr || operands_[1] == nullptr) return;
  const std::size_t left = rank(operands_[0]);
  const std::size_t right = rank(operands_[1]);
  const auto pattern = [](bool vector, bool first) {
    OperandPattern p;
    if (!vector) p.axes.push_back({"b", true});
    if (!vector && first) p.axes.push_back({"m", false});
    p.axes.push_back({"k", false});
    if (!vector && !first) p.axes.push_back({"n", false});
    return p;
  };
  match(pattern(left == 1, true), operands_[0], space_.operands[0]);
  match(pattern(right == 1, false), operands_[1], space_.operands[1]);
  OperandPattern result;
  result.axes.push_back({"b", true});
  if (left > 1) result.axes.push_back({"m", false});
  if (right > 1) result.axes.push_back({"n", false});
  for (std::size_t i = 0; i < results_.size(); ++i) {
    match(result, results_[i], space_.results[i]);
  }
  settle({});
}

void SpaceBuilder::einsum() {
  const auto found = op_.attributes.find("equation");
  if (found == op_.attributes.end()) return;
  const auto* equation = std::get_if<std::string>(&found->second);
  if (equation == nullptr) return;
  std::string text;
  for (const char c : *equation) {
    if (c != ' ') text += c;
  }
  const std::size_t arrow = text.find("->");
  const std::vector<std::string> terms = split(text.substr(0, arrow), ',');
  const auto pattern = [](const std::string& letters) {
    OperandPattern p;
    for (std::size_t i = 0; i < letters.size(); ++i) {
      if (letters[i] == '.') {
        if (i == 0 || letters[i - 1] != '.') p.axes.push_back({"b", true});
      } else {
        p.axes.push_back({std::string(1, letters[i]), false});
      }
    }
    return p;
  };
  for (std::size_t i = 0; i < operands_.size() && i < terms.size(); ++i) {
    match(pattern(terms[i]), operands_[i], space_.operands[i]);
  }
  std::string out;
  if (arrow != std::string::npos) {
    out = text.substr(arrow + 2);
  } else {  // implicit form: letters that occur once, sorted
    for (char c = 'A'; c <= 'z'; ++c) {
      if (std::count(text.begin(), text.end(), c) == 1) out += c;
    }
  }
  for (std::size_t i = 0; i < results_.size(); ++i) {
    match(pattern(out), results_[i], space_.results[i]);
  }
  settle({});
}

void SpaceBuilder::tensordot() {
  if (operands_.size() < 2 || operands_[0] == nullptr || operands_[1] == nullptr) return;
  std::vector<std::int64_t> left = attribute_list(op_, "dims_self");
  std::vector<std::int64_t> right = attribute_list(op_, "dims_other");
  if (op_.target.starts_with("aten.inner")) left = right = {-1};
  std::vector<int>& a = space_.operands[0];
  std::vector<int>& b = space_.operands[1];
  for (std::size_t i = 0; i < left.size() && i < right.size(); ++i) {
    const auto at = [](std::int64_t axis, std::size_t axes) {
      return static_cast<std::size_t>(axis < 0 ? axis + static_cast<std::int64_t>(axes) : axis);
    };
    const std::size_t la = at(left[i], a.size());
    const std::size_t rb = at(right[i], b.size());
    if (la >= a.size() || rb >= b.size()) continue;
    a[la] = b[rb] = add("k" + std::to_string(i), size(operands_[0], la), DimRole::reduced);
  }
  std::size_t at = 0;
  for (std::size_t k = 0; k < 2; ++k) {
    for (std::size_t i = 0; i < space_.operands[k].size(); ++i) {
      int& d = space_.operands[k][i];
      if (d >= 0) continue;
      d = add((k == 0 ? "m" : "n") + std::to_string(i), size(operands_[k], i));
      if (!results_.empty() && at < space_.results[0].size()) space_.results[0][at++] = d;
    }
  }
}

/// Classes are mixed by the softmax or picked by the target; samples are summed unless the
/// reduction is none.
void SpaceBuilder::class_loss() {
  if (operands_.empty() || operands_[0] == nullptr) return;
  const Tensor* x = operands_[0];
  const std::size_t channel = rank(x) > 1 ? 1 : 0;
  for (std::size_t i = 0; i < rank(x); ++i) {
    const bool is_class = i == channel;
    const int d = add(is_class ? "c" : (i == 0 ? "n" : "s" + std::to_string(i - 2)), size(x, i),
                      is_class ? DimRole::mixed : DimRole::reduced);
    space_.operands[0][i] = d;
  }
  const int target = operand_index("target");
  if (target >= 0) {
    const Tensor* t = operands_[static_cast<std::size_t>(target)];
    std::vector<int>& axes = space_.operands[static_cast<std::size_t>(target)];
    for (std::size_t i = 0, from = 0; i < axes.size() && from < rank(x); ++i, ++from) {
      if (rank(t) + 1 == rank(x) && from == channel) ++from;
      if (from < rank(x) && size(x, from) == t->shape[i].size) axes[i] = space_.operands[0][from];
    }
  }
  if (const int weight = operand_index("weight");
      weight >= 0 && space_.operands[static_cast<std::size_t>(weight)].size() == 1) {
    space_.operands[static_cast<std::size_t>(weight)][0] = space_.operands[0][channel];
  }
  for (std::size_t r = 0; r < results_.size(); ++r) {
    if (rank(results_[r]) + 1 != rank(x) || rank(results_[r]) == 0) continue;
    for (std::size_t i = 0, from = 0; i < space_.results[r].size(); ++i, ++from) {
      if (from == channel) ++from;
      space_.results[r][i] = space_.operands[0][from];
      dim(space_.operands[0][from]).role = DimRole::free;
    }
  }
}

/// Axes of equal rank and size correspond; an axis whose size changes is the operator's own and
/// mixed (padding, pooling, slicing, topk).
void SpaceBuilder::keep_equal_axes() {
  if (operands_.empty() || operands_[0] == nullptr) return;
  for (std::size_t i = 0; i < rank(operands_[0]); ++i) {
    bool kept = !results_.empty();
    for (const Tensor* r : results_) {
      kept = kept && rank(r) == rank(operands_[0]) && size(r, i) == size(operands_[0], i);
    }
    const int d = add("e" + std::to_string(rank(operands_[0]) - 1 - i), size(operands_[0], i),
                      kept ? DimRole::free : DimRole::mixed);
    space_.operands[0][i] = d;
    if (!kept) continue;
    for (std::vector<int>& axes : space_.results) axes[i] = d;
    for (std::size_t k = 1; k < operands_.size(); ++k) {  // the index of a gather, a source
      if (rank(operands_[k]) == rank(operands_[0]) && size(operands_[k], i) == dim(d).size) {
        space_.operands[k][i] = d;
      }
    }
  }
}

void SpaceBuilder::concatenate() {
  if (results_.empty() || results_[0] == nullptr) return;
  const std::size_t joined = axis("dim", rank(results_[0]), 0);
  for (std::size_t i = 0; i < rank(results_[0]); ++i) {
    if (i == joined) continue;
    const int d = add("e" + std::to_string(rank(results_[0]) - 1 - i), size(results_[0], i));
    space_.results[0][i] = d;
    for (std::size_t k = 0; k < operands_.size(); ++k) {
      if (rank(operands_[k]) == rank(results_[0])) space_.operands[k][i] = d;
    }
  }
}

void SpaceBuilder::stack() {
  if (results_.empty() || results_[0] == nullptr) return;
  const std::size_t joined = axis("dim", rank(results_[0]), 0);
  for (std::size_t i = 0; i < rank(results_[0]); ++i) {
    if (i == joined) continue;
    const int d = add("e" + std::to_string(rank(results_[0]) - 1 - i), size(results_[0], i));
    space_.results[0][i] = d;
    const std::size_t from = i < joined ? i : i - 1;
    for (std::size_t k = 0; k < operands_.size(); ++k) {
      if (from < space_.operands[k].size()) space_.operands[k][from] = d;
    }
  }
}

void SpaceBuilder::index() { index_rows(false); }

void SpaceBuilder::index_put() { index_rows(true); }

/// self[indices]: leading axes are selected, the axes of the index tensors and those that no index
/// touches pass on. Only the usual form, indices on the leading axes, is expressed.
void SpaceBuilder::index_rows(bool put) {
  const int self = operand_index("self");
  if (self < 0 || results_.empty() || results_[0] == nullptr) return;
  const Tensor* x = operands_[static_cast<std::size_t>(self)];
  std::vector<int>& xs = space_.operands[static_cast<std::size_t>(self)];
  std::size_t indexed = 0;
  std::size_t wide = 0;  // index tensor of the highest rank
  bool gap = false;      // self[:, index]: an absent index first
  for (std::size_t i = 0; i < op_.inputs.size(); ++i) {
    if (op_.inputs[i].argument != "indices") continue;
    if (operands_[i] == nullptr || operands_[i]->dtype == DType::boolean) gap = true;
    ++indexed;
    if (operands_[i] != nullptr && (wide == 0 || rank(operands_[i]) > rank(operands_[wide]))) {
      wide = i;
    }
  }
  if (gap || wide == 0 || indexed > xs.size()) return;
  for (std::size_t i = 0; i < xs.size(); ++i) {
    xs[i] = add((i < indexed ? "v" : "c") + std::to_string(i), size(x, i),
                i < indexed ? DimRole::selected : DimRole::free);
  }
  if (put) {
    space_.results[0] = xs;
    return;
  }
  std::size_t at = 0;
  for (std::size_t i = 0; i < rank(operands_[wide]) && at < space_.results[0].size(); ++i) {
    const int d = add("i" + std::to_string(i), size(results_[0], at));
    space_.results[0][at++] = d;
    if (size(operands_[wide], i) == dim(d).size) space_.operands[wide][i] = d;
  }
  for (std::size_t i = indexed; i < xs.size() && at < space_.results[0].size(); ++i) {
    space_.results[0][at++] = xs[i];
  }
}

/// input [t n c] or, batch first, [n t c]: steps are mixed, samples free.
void SpaceBuilder::recurrent() {
  const int in = operand_index("input");
  if (in < 0 || results_.empty() || results_[0] == nullptr) return;
  const Tensor* x = operands_[static_cast<std::size_t>(in)];
  std::vector<int>& xs = space_.operands[static_cast<std::size_t>(in)];
  if (rank(x) != 3 || rank(results_[0]) != 3) return;
  const bool batch_first = attribute(op_, "batch_first", 0) != 0;
  const int t = add("t", size(x, batch_first ? 1 : 0), DimRole::mixed);
  const int n = add("n", size(x, batch_first ? 0 : 1));
  const int c = add("ci", size(x, 2), DimRole::mixed);
  const int h = add("co", size(results_[0], 2), DimRole::mixed);
  xs = batch_first ? std::vector<int>{n, t, c} : std::vector<int>{t, n, c};
  space_.results[0] = batch_first ? std::vector<int>{n, t, h} : std::vector<int>{t, n, h};
  for (std::size_t r = 1; r < results_.size(); ++r) {
    if (rank(results_[r]) == 3) space_.results[r][1] = n;
  }
  for (std::size_t k = 0; k < operands_.size(); ++k) {
    if (op_.inputs[k].argument == "hx" && rank(operands_[k]) == 3) space_.operands[k][1] = n;
  }
}

/// Bags of a two-dimensional index are its rows; with offsets, bags are ranges and mix the index.
void SpaceBuilder::bag() {
  const int weight = operand_index("weight");
  const int indices = operand_index("indices");
  if (weight < 0 || indices < 0 || results_.empty() || results_[0] == nullptr) return;
  if (rank(operands_[static_cast<std::size_t>(weight)]) != 2 || rank(results_[0]) != 2) return;
  const int v = add("v", size(operands_[static_cast<std::size_t>(weight)], 0), DimRole::selected);
  const int c = add("c", size(operands_[static_cast<std::size_t>(weight)], 1));
  const int b = add("b", size(results_[0], 0));
  space_.operands[static_cast<std::size_t>(weight)] = {v, c};
  std::vector<int>& axes = space_.operands[static_cast<std::size_t>(indices)];
  const Tensor* index_tensor = operands_[static_cast<std::size_t>(indices)];
  for (std::size_t i = 0; i < axes.size(); ++i) {
    axes[i] = axes.size() == 2 && i == 0
                  ? b
                  : add("i" + std::to_string(i), size(index_tensor, i), DimRole::mixed);
  }
  space_.results[0] = {b, c};
}

/// Factors the axes of both shapes into common dimensions. A merged axis is indexed by its major
/// factor: the only one that a contiguous split of the axis follows.
void SpaceBuilder::reshape() {
  if (operands_.empty() || operands_[0] == nullptr || results_.empty() || results_[0] == nullptr) {
    return;
  }
  const Tensor* a = operands_[0];
  const Tensor* b = results_[0];
  std::size_t i = 0;
  std::size_t k = 0;
  while (i < rank(a) && k < rank(b)) {
    const std::size_t first_a = i;
    const std::size_t first_b = k;
    std::int64_t left = size(a, i++);
    std::int64_t right = size(b, k++);
    while (left != right) {  // extend the shorter side until the group is whole
      if (left < right && i < rank(a)) {
        left *= size(a, i++);
      } else if (right < left && k < rank(b)) {
        right *= size(b, k++);
      } else {
        return;
      }
    }
    const auto major = [&](const Tensor* t, std::size_t from, std::size_t to) {
      while (from + 1 < to && size(t, from) == 1) ++from;
      return from;
    };
    const std::size_t ma = major(a, first_a, i);
    const std::size_t mb = major(b, first_b, k);
    const std::int64_t smaller = std::min(size(a, ma), size(b, mb));
    const std::int64_t larger = std::max(size(a, ma), size(b, mb));
    if (smaller > 0 && larger % smaller == 0) {
      const int d = add("f" + std::to_string(space_.dims.size()), smaller);
      space_.operands[0][ma] = space_.results[0][mb] = d;
    }
    const auto minors = [&](const Tensor* t, std::vector<int>& axes, std::size_t from,
                            std::size_t to) {
      for (std::size_t at = from; at < to; ++at) {
        if (axes[at] < 0 && size(t, at) > 1) {
          axes[at] = add("f" + std::to_string(space_.dims.size()), size(t, at), DimRole::mixed);
        }
      }
    };
    minors(a, space_.operands[0], first_a, i);
    minors(b, space_.results[0], first_b, k);
  }
}

void SpaceBuilder::permute(const std::vector<std::size_t>& order) {
  if (operands_.empty() || results_.empty() || rank(results_[0]) != order.size()) return;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const int d = add("e" + std::to_string(order.size() - 1 - i), size(results_[0], i));
    space_.results[0][i] = d;
    // A trace sees the operand of an in-place `transpose_` as it is afterwards.
    if (size(operands_[0], order[i]) == dim(d).size) space_.operands[0][order[i]] = d;
  }
}

void SpaceBuilder::transpose() {
  const std::size_t axes = operands_.empty() ? 0 : rank(operands_[0]);
  std::vector<std::size_t> order(axes);
  for (std::size_t i = 0; i < axes; ++i) order[i] = i;
  if (axes >= 2) {
    const bool named_dims = op_.attributes.contains("dim0") || op_.attributes.contains("axis0");
    const std::size_t first = !named_dims                       ? axes - 2
                              : op_.attributes.contains("dim0") ? axis("dim0", axes, 0)
                                                                : axis("axis0", axes, 0);
    const std::size_t second = !named_dims                       ? axes - 1
                               : op_.attributes.contains("dim0") ? axis("dim1", axes, 1)
                                                                 : axis("axis1", axes, 1);
    std::swap(order[first], order[second]);
  }
  permute(order);
}

void SpaceBuilder::select() {
  if (operands_.empty() || operands_[0] == nullptr) return;
  const std::size_t axes = rank(operands_[0]);
  const std::size_t removed = axis("dim", axes, 0);
  for (std::size_t i = 0; i < axes; ++i) {
    const int d = add("e" + std::to_string(axes - 1 - i), size(operands_[0], i),
                      i == removed ? DimRole::selected : DimRole::free);
    space_.operands[0][i] = d;
    if (i == removed) continue;
    for (std::vector<int>& result : space_.results) {
      const std::size_t at = i < removed ? i : i - 1;
      if (at < result.size()) result[at] = d;
    }
  }
}

/// "=permute" and "=movedim": the order is written out in `dims`, or every axis is reversed.
void SpaceBuilder::permute_by_attribute() {
  std::vector<std::size_t> order;
  const std::size_t axes = operands_.empty() ? 0 : rank(operands_[0]);
  for (const std::int64_t a : attribute_list(op_, "dims")) {
    order.push_back(static_cast<std::size_t>(a < 0 ? a + static_cast<std::int64_t>(axes) : a));
  }
  for (const std::size_t a : order) {
    if (a >= axes) return;
  }
  permute(order);
}

struct SpaceBuilder::Rule {
  std::string_view name;
  void (SpaceBuilder::*apply)();
};

std::span<const SpaceBuilder::Rule> SpaceBuilder::rules() {
  using B = SpaceBuilder;
  static constexpr std::array kTable = {Rule{"@along", &B::along},
                                        Rule{"@trailing", &B::trailing},
                                        Rule{"@reduce", &B::reduce},
                                        Rule{"@pair_reduce", &B::pair_reduce},
                                        Rule{"@matmul", &B::matmul},
                                        Rule{"@einsum", &B::einsum},
                                        Rule{"@tensordot", &B::tensordot},
                                        Rule{"@convolution", &B::convolution},
                                        Rule{"@class_loss", &B::class_loss},
                                        Rule{"@loss", &B::pointwise},
                                        Rule{"@cat", &B::concatenate},
                                        Rule{"@stack", &B::stack},
                                        Rule{"@index", &B::index},
                                        Rule{"@index_put", &B::index_put},
                                        Rule{"@recurrent", &B::recurrent},
                                        Rule{"@bag", &B::bag},
                                        Rule{"@pool", &B::windows},
                                        Rule{"@pick", &B::keep_equal_axes},
                                        Rule{"@place", &B::keep_equal_axes},
                                        Rule{"@transform", &B::transform},
                                        Rule{"@frames", &B::frames},
                                        Rule{"@sort", &B::along},
                                        Rule{"@matrix", &B::matrix},
                                        Rule{"@grouped", &B::grouped},
                                        Rule{"@scaled", &B::scaled},
                                        Rule{"@trilinear", &B::trilinear},
                                        Rule{"@multi_head", &B::multi_head},
                                        Rule{"@convolution_backward", &B::convolution_backward},
                                        Rule{"@half", &B::keep_equal_axes},
                                        Rule{"@keep", &B::keep_equal_axes},
                                        Rule{"@scatter_view", &B::pointwise},
                                        Rule{"=reshape", &B::reshape},
                                        Rule{"=transpose", &B::transpose},
                                        Rule{"=permute", &B::permute_by_attribute},
                                        Rule{"=movedim", &B::permute_by_attribute},
                                        Rule{"=expand", &B::pointwise},
                                        Rule{"=same", &B::pointwise},
                                        Rule{"=select", &B::select},
                                        Rule{"=slice", &B::keep_equal_axes}};
  return kTable;
}

bool is_rule(std::string_view space) {
  return space == "@own" || space == "=own" || space == "@list" || SpaceBuilder::has_rule(space);
}

bool SpaceBuilder::has_rule(std::string_view name) {
  return std::ranges::any_of(rules(), [&](const Rule& rule) { return rule.name == name; });
}

IterationSpace SpaceBuilder::build(const OpRow& row, const SpacePattern* pattern) {
  if (pattern != nullptr) {
    named(*pattern);
  } else {
    // "@own", "=own", "=size", "@cell", "@list": axes of their own, nothing in common.
    for (const Rule& rule : rules()) {
      if (rule.name == row.space) (this->*rule.apply)();
    }
  }
  return std::move(space_);
}

}  // namespace parallel_opt::space_detail
