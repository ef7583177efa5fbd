#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "parallel_opt/base/random.h"
#include "tests/graph/builder.h"

namespace parallel_opt::testing {

/// Whole numbers in [low, high].
inline std::int64_t within(Random& rng, std::int64_t low, std::int64_t high) {
  return low + static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(high - low + 1)));
}

template <class T>
const T& pick(Random& rng, const std::vector<T>& list) {
  return list[rng.below(list.size())];
}

struct ModelOptions {
  bool views = true;     ///< some results look into their operand's storage
  bool in_place = true;  ///< some operators change their operand
  bool frozen = true;    ///< some parameters and all inputs need no gradient
};

/// A random model over matrices: linear layers with weights of their own, activations, norms, sums
/// of branches, views. Its last values are its outputs.
class RandomModel {
 public:
  RandomModel(Random& rng, int operators, ModelOptions options = {})
      : rng_(rng), options_(options) {
    for (int i = 0; i < 2; ++i) {
      const Ints sizes = {within(rng_, 2, 6), within(rng_, 1, 8)};
      values_.push_back({b_.input("x" + std::to_string(i), sizes), sizes});
    }
    for (int i = 1; i < operators; ++i) step(values_[source()]);
    options_.frozen = false;
    linear(values_.back());  // so that some output has a gradient
    for (std::size_t i = values_.size() - 2; i < values_.size(); ++i) b_.output(values_[i].id);
  }

  Graph build() { return b_.build(); }

 private:
  struct Value {
    TensorId id;
    Ints sizes;
  };

  std::size_t source() {
    return rng_.below(3) != 0 ? values_.size() - 1 : rng_.below(values_.size());
  }

  void push(TensorId id, Ints sizes) { values_.push_back({id, std::move(sizes)}); }

  void step(const Value& from) {
    b_.module(pick(rng_, std::vector<std::string>{"", "a", "a.b", "c.0", "c.1"}));
    switch (rng_.below(8)) {
      case 0:
      case 1:
        return linear(from);
      case 2:
        return norm(from);
      case 3:
        return pair(from);
      case 4:
        return view(from);
      case 5:
        return in_place(from);
      default:
        return pointwise(from);
    }
  }

  void linear(const Value& from) {
    const std::int64_t out = within(rng_, 1, 8);
    const TensorId w = parameter({out, from.sizes[1]});
    push(b_.op("aten.linear.default", {{"input", from.id}, {"weight", w}}, {from.sizes[0], out}),
         {from.sizes[0], out});
  }

  void norm(const Value& from) {
    const TensorId w = parameter({from.sizes[1]});
    push(b_.op("aten.layer_norm.default", {{"input", from.id}, {"weight", w}}, from.sizes,
               {{"normalized_shape", Ints{from.sizes[1]}}}),
         from.sizes);
  }

  void pair(const Value& from) {
    std::vector<std::size_t> same;
    for (std::size_t i = 0; i < values_.size(); ++i) {
      if (values_[i].sizes == from.sizes) same.push_back(i);
    }
    const std::string target = rng_.below(2) == 0 ? "aten.add.Tensor" : "aten.mul.Tensor";
    const TensorId other = values_[pick(rng_, same)].id;
    push(b_.op(target, {{"self", from.id}, {"other", other}}, from.sizes), from.sizes);
  }

  void view(const Value& from) {
    if (!options_.views) return pointwise(from);
    const std::int64_t all = from.sizes[0] * from.sizes[1];
    std::int64_t rows = within(rng_, 1, all);
    while (all % rows != 0) --rows;
    const Ints sizes = {rows, all / rows};
    push(b_.op("aten.view.default", {{"self", from.id}}, sizes, {{"size", sizes}}), sizes);
  }

  void in_place(const Value& from) {
    if (!options_.in_place || from.id.index() < 2) return pointwise(from);
    push(b_.op("aten.relu_.default", {{"self", from.id}}, from.sizes), from.sizes);
  }

  void pointwise(const Value& from) {
    static const std::vector<std::string> kTargets = {"aten.relu.default", "aten.gelu.default",
                                                      "aten.tanh.default", "aten.neg.default",
                                                      "aten.exp.default",  "aten.silu.default"};
    push(b_.op(pick(rng_, kTargets), {{"self", from.id}}, from.sizes), from.sizes);
  }

  TensorId parameter(const Ints& sizes) {
    const TensorId id = b_.parameter("w" + std::to_string(parameters_++), sizes);
    if (options_.frozen && rng_.below(4) == 0) b_.raw().tensors[id.index()].requires_grad = false;
    return id;
  }

  Random& rng_;
  ModelOptions options_;
  GraphBuilder b_;
  std::deque<Value> values_;  // a step reads one while it appends others
  int parameters_ = 0;
};

inline Graph random_model(Random& rng, int operators, ModelOptions options = {}) {
  return RandomModel(rng, operators, options).build();
}

}  // namespace parallel_opt::testing
