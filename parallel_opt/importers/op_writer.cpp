#include "parallel_opt/importers/op_writer.h"

#include <utility>

#include "parallel_opt/base/error.h"
#include "parallel_opt/graph/alias.h"

namespace parallel_opt {

OpWriter::OpWriter(std::string file, std::size_t most_operators)
    : file_(std::move(file)), most_operators_(most_operators) {}

void OpWriter::fail(const std::string& what, const std::string& hint) const {
  throw InputError(where.empty() ? file_ : file_ + ":" + where, what, hint);
}

void OpWriter::check_shape(const sizes::Shape& shape) const {
  if (!sizes::valid(shape)) fail("sizes " + sizes::text(shape) + " are out of range");
}

void OpWriter::note(const std::string& text) {
  if (notes_.insert(text).second) graph_.notes.push_back(text);
}

std::string OpWriter::unique(std::unordered_map<std::string, int>& used, std::string wanted) {
  if (used.try_emplace(wanted, 0).second) return wanted;
  for (;;) {
    std::string other = wanted + "_" + std::to_string(++used[wanted]);
    if (used.try_emplace(other, 0).second) return other;
  }
}

TensorId OpWriter::add_tensor(std::string wanted, TensorRole role, const ResultType& type) {
  check_shape(type.shape);
  Tensor tensor;
  tensor.name = unique(tensor_names_, std::move(wanted));
  tensor.role = role;
  tensor.dtype = type.dtype;
  tensor.shape = type.shape;
  graph_.tensors.push_back(std::move(tensor));
  return TensorId(graph_.tensors.size() - 1);
}

std::vector<TensorId> OpWriter::add_all(std::string target, std::vector<Operand> inputs,
                                        const std::vector<ResultType>& types,
                                        Attributes attributes) {
  constexpr std::size_t kTensorsPerOperator = 16;
  if (graph_.ops.size() >= most_operators_ ||
      graph_.tensors.size() + types.size() > kTensorsPerOperator * (most_operators_ + 1)) {
    fail("the model unfolds to more than " + std::to_string(most_operators_) + " operators",
         "functions that call functions multiply: import a part of the model");
  }
  Op op;
  op.target = std::move(target);
  op.name = unique(op_names_, name.empty() ? op.target : name);
  op.inputs = std::move(inputs);
  op.attributes = std::move(attributes);
  op.module = module;
  op.region = region;
  for (const ResultType& type : types) {
    op.outputs.push_back(add_tensor(op.name, TensorRole::activation, type));
  }
  std::vector<TensorId> outputs = op.outputs;
  graph_.ops.push_back(std::move(op));
  return outputs;
}

TensorId OpWriter::add(std::string target, std::vector<Operand> inputs, const ResultType& type,
                       Attributes attributes) {
  return add_all(std::move(target), std::move(inputs), {type}, std::move(attributes)).front();
}

RegionId OpWriter::add_region(Region region_to_add) {
  constexpr std::size_t kDeepest = 64;
  std::size_t depth = 0;
  for (RegionId at = region_to_add.parent; at.valid(); at = graph_.region(at).parent) ++depth;
  if (depth > kDeepest) fail("control flow is nested more than 64 deep");
  region_to_add.name += "#" + std::to_string(graph_.regions.size());
  graph_.regions.push_back(std::move(region_to_add));
  return RegionId(graph_.regions.size() - 1);
}

TensorId OpWriter::join(const std::vector<TensorId>& values, const ResultType& type) {
  std::vector<Operand> inputs;
  inputs.reserve(values.size());
  for (const TensorId value : values) inputs.push_back({"inputs", value});
  return add(std::string(kJoin), std::move(inputs), type);
}

void OpWriter::carry(TensorId joined, TensorId left) { carried_[joined.value] = left; }

void OpWriter::decide(RegionId loop, TensorId predicate) {
  graph_.regions[loop.index()].predicate = predicate;
}

std::vector<bool> OpWriter::needed_ops() const {
  std::vector<std::int64_t> producer(graph_.tensors.size(), -1);
  for (std::size_t i = 0; i < graph_.ops.size(); ++i) {
    for (const TensorId id : graph_.ops[i].outputs) {
      producer[id.index()] = static_cast<std::int64_t>(i);
    }
  }
  std::vector<bool> needed(graph_.ops.size());
  std::vector<std::size_t> todo;
  const auto need = [&](std::size_t op) {
    if (needed[op]) return;
    needed[op] = true;
    todo.push_back(op);
  };
  const auto need_tensor = [&](TensorId id) {
    if (id.valid() && producer[id.index()] >= 0) {
      need(static_cast<std::size_t>(producer[id.index()]));
    }
  };
  for (const TensorId id : graph_.outputs) need_tensor(id);
  for (const TensorId id : kept_) need_tensor(id);
  while (!todo.empty()) {
    const Op& op = graph_.ops[todo.back()];
    todo.pop_back();
    for (const Operand& input : op.inputs) need_tensor(input.tensor);
    for (RegionId at = op.region; at.valid(); at = graph_.region(at).parent) {
      need_tensor(graph_.region(at).predicate);
    }
    for (const TensorId id : op.outputs) {
      if (const auto left = carried_.find(id.value); left != carried_.end()) {
        need_tensor(left->second);
      }
    }
  }
  return needed;
}

void OpWriter::drop_unneeded() {
  const std::vector<bool> needed = needed_ops();
  std::vector<bool> used(graph_.tensors.size());
  const auto use = [&](TensorId id) {
    if (id.valid()) used[id.index()] = true;
  };
  for (const TensorId id : graph_.inputs) use(id);
  for (const TensorId id : graph_.outputs) use(id);
  std::vector<Op> ops;
  for (std::size_t i = 0; i < graph_.ops.size(); ++i) {
    if (!needed[i]) continue;
    for (const Operand& input : graph_.ops[i].inputs) use(input.tensor);
    for (RegionId at = graph_.ops[i].region; at.valid(); at = graph_.region(at).parent) {
      use(graph_.region(at).predicate);
    }
    for (const TensorId id : graph_.ops[i].outputs) use(id);
    ops.push_back(std::move(graph_.ops[i]));
  }
  graph_.ops = std::move(ops);
  std::vector<TensorId> place(graph_.tensors.size());
  std::vector<Tensor> tensors;
  for (std::size_t i = 0; i < graph_.tensors.size(); ++i) {
    if (!used[i] && graph_.tensors[i].role != TensorRole::parameter) continue;
    place[i] = TensorId(tensors.size());
    tensors.push_back(std::move(graph_.tensors[i]));
  }
  graph_.tensors = std::move(tensors);
  const auto move = [&](TensorId& id) {
    if (id.valid()) id = place[id.index()];
  };
  for (Op& op : graph_.ops) {
    for (TensorId& id : op.outputs) {
      const auto left = carried_.find(id.value);
      move(id);
      if (left == carried_.end() || !place[left->second.index()].valid()) continue;
      op.attributes["carried"] = graph_.tensor(place[left->second.index()]).name;
    }
    for (Operand& input : op.inputs) move(input.tensor);
  }
  for (TensorId& id : graph_.inputs) move(id);
  for (TensorId& id : graph_.outputs) move(id);
  // Of a region that nothing is left of, what decided may be gone.
  for (Region& one : graph_.regions) move(one.predicate);
  for (Tensor& t : graph_.tensors) {
    move(t.alias_of);
    move(t.tied_to);
  }
}

Graph OpWriter::finish() {
  drop_unneeded();
  fill_aliases(graph_);
  std::vector<Fault> faults = check(graph_);
  if (faults.size() > 5) faults.resize(5);
  for (Fault& fault : faults) fault.where = file_;
  throw_if_any(std::move(faults));
  return std::move(graph_);
}

}  // namespace parallel_opt
