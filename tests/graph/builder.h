#pragma once

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "parallel_opt/graph/alias.h"
#include "parallel_opt/graph/graph.h"

namespace parallel_opt::testing {

/// Writes small graphs as a test reads them: tensors by name, operators in order.
class GraphBuilder {
 public:
  using Sizes = std::vector<std::int64_t>;

  GraphBuilder() {
    graph_.name = "test";
    graph_.source = "test";
  }
  TensorId input(const std::string& name, const Sizes& sizes, DType dtype = DType::fp32) {
    const TensorId id = tensor(name, TensorRole::input, sizes, dtype);
    graph_.inputs.push_back(id);
    return id;
  }
  TensorId parameter(const std::string& name, const Sizes& sizes) {
    const TensorId id = tensor(name, TensorRole::parameter, sizes, DType::fp32);
    graph_.tensors[id.index()].requires_grad = true;
    graph_.tensors[id.index()].fqn = name;
    return id;
  }
  TensorId buffer(const std::string& name, const Sizes& sizes) {
    return tensor(name, TensorRole::buffer, sizes, DType::fp32);
  }
  /// An operator with one result of `sizes`; inputs are (argument, tensor).
  TensorId op(const std::string& target, std::vector<std::pair<std::string, TensorId>> inputs,
              const Sizes& sizes, std::map<std::string, Attribute> attributes = {},
              DType dtype = DType::fp32) {
    Op node;
    node.target = target;
    node.name = "op" + std::to_string(graph_.ops.size());
    node.module = module_;
    node.region = region_;
    for (auto& [argument, id] : inputs) node.inputs.push_back({argument, id});
    node.attributes = std::move(attributes);
    node.outputs.push_back(
        tensor("t" + std::to_string(graph_.ops.size()), TensorRole::activation, sizes, dtype));
    graph_.ops.push_back(std::move(node));
    return graph_.ops.back().outputs.front();
  }
  /// A second result of the last operator.
  TensorId result(const Sizes& sizes, DType dtype = DType::fp32) {
    const TensorId id =
        tensor("r" + std::to_string(graph_.tensors.size()), TensorRole::activation, sizes, dtype);
    graph_.ops.back().outputs.push_back(id);
    return id;
  }
  void strides(TensorId id, const Sizes& strides) { graph_.tensors[id.index()].strides = strides; }
  void module(const std::string& fqn) { module_ = fqn; }
  /// A region inside the current one.
  RegionId add_region(const std::string& name, RegionKind kind, const std::string& group,
                      double runs) {
    graph_.regions.push_back({name, kind, group, runs, "", false, region_, TensorId()});
    return RegionId(graph_.regions.size() - 1);
  }
  /// The region of the operators that follow.
  void enter(RegionId region) { region_ = region; }
  void output(TensorId id) { graph_.outputs.push_back(id); }
  Graph& raw() { return graph_; }
  Graph build() {
    fill_aliases(graph_);
    return graph_;
  }

 private:
  TensorId tensor(const std::string& name, TensorRole role, const Sizes& sizes, DType dtype) {
    Tensor t;
    t.name = name;
    t.role = role;
    t.dtype = dtype;
    for (const std::int64_t size : sizes) t.shape.push_back({size, ""});
    graph_.tensors.push_back(std::move(t));
    return TensorId(graph_.tensors.size() - 1);
  }
  Graph graph_;
  std::string module_;
  RegionId region_;
};

using Ints = std::vector<std::int64_t>;

}  // namespace parallel_opt::testing
