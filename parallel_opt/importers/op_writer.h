#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "parallel_opt/graph/graph.h"
#include "parallel_opt/importers/sizes.h"

namespace parallel_opt {

using Attributes = std::map<std::string, Attribute>;

/// Type and sizes of a result that is about to be made.
struct ResultType {
  DType dtype = DType::fp32;
  sizes::Shape shape;
};

/// Builds a Graph operator by operator, for importers of formats that are not PyTorch's: unique
/// names, regions, notes said once, and at the end no operator that nothing needs.
class OpWriter {
 public:
  /// `file` starts the place of every fault. More operators than `most_operators` are refused with
  /// an InputError: functions that call functions may multiply without end.
  OpWriter(std::string file, std::size_t most_operators);

  /// Where the next operators stand; set by the caller for every node that it reads.
  std::string where;  ///< "node 'model/dense/MatMul'": of faults
  std::string name;   ///< wanted name of the operator and of its results
  std::string module;
  RegionId region;

  TensorId add_tensor(std::string name, TensorRole role, const ResultType& type);
  /// One result.
  TensorId add(std::string target, std::vector<Operand> inputs, const ResultType& type,
               Attributes attributes = {});
  std::vector<TensorId> add_all(std::string target, std::vector<Operand> inputs,
                                const std::vector<ResultType>& types, Attributes attributes = {});
  /// What makes this tensor stays even when nothing uses it.
  void keep(TensorId id) { kept_.push_back(id); }

  RegionId add_region(Region region);
  /// A value that enters or leaves a region (graph.h); stands in `region`.
  TensorId join(const std::vector<TensorId>& values, const ResultType& type);
  /// What one run of a loop leaves to the next for a value that `join` brought in.
  void carry(TensorId joined, TensorId left);
  /// What says whether a run of a loop goes on.
  void decide(RegionId loop, TensorId predicate);

  void note(const std::string& text);
  [[noreturn]] void fail(const std::string& what, const std::string& hint = "") const;
  /// Throws InputError for sizes that are negative or beyond sizes::kMost.
  void check_shape(const sizes::Shape& shape) const;

  const Tensor& tensor(TensorId id) const { return graph_.tensor(id); }
  Graph& graph() { return graph_; }
  const Graph& graph() const { return graph_; }
  const std::string& file() const { return file_; }
  std::size_t most_operators() const { return most_operators_; }

  /// Drops what nothing needs, settles aliases, and checks the whole. Call once.
  Graph finish();

 private:
  std::string unique(std::unordered_map<std::string, int>& used, std::string wanted);
  void drop_unneeded();
  std::vector<bool> needed_ops() const;

  std::string file_;
  std::size_t most_operators_;
  Graph graph_;
  std::vector<TensorId> kept_;
  std::unordered_map<std::int32_t, TensorId> carried_;  // of a join's result; never iterated
  std::unordered_map<std::string, int> op_names_, tensor_names_;  // never iterated
  std::unordered_set<std::string> notes_;                         // never iterated
};

}  // namespace parallel_opt
