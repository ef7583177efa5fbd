#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "parallel_opt/graph/graph.h"
#include "parallel_opt/importers/findings.h"
#include "parallel_opt/importers/json_tree.h"
#include "parallel_opt/importers/srepr.h"

/// The vocabulary of torch.export's JSON (torch/_export/serde/schema.py): enumerations, unions,
/// sizes. The words of `pt2.cpp` and `pt2_graph.cpp`, not for others.
namespace parallel_opt::pt2 {

/// The single member of a union object: {"as_tensor": {...}}.
struct Variant {
  std::string_view key;  ///< empty when the value is no such object
  JsonTree::Node value;
};
Variant variant_of(JsonTree::Node node);

/// Schema enumerators; the dtype codes are not c10's. Empty: unknown.
std::optional<DType> dtype_of(std::int64_t code);
std::string layout_name(std::int64_t code);
std::string memory_format_name(std::int64_t code);
/// A number, or one of the strings "Infinity", "-Infinity", "NaN".
std::optional<double> number_of(JsonTree::Node node);
/// "cpu", "cuda:0".
std::string device_name(JsonTree::Node device);

/// The symbols of a model: their ranges from `range_constraints`, their values at capture from the
/// hints that stand beside expressions.
class Symbols {
 public:
  /// `renames`: other names for symbols of the file. `seen`: sizes that depend on data, as they
  /// were in the batch that was captured.
  Symbols(Findings& findings, const std::map<std::string, std::string>& renames,
          const std::map<std::string, std::int64_t>& seen)
      : findings_(findings), renames_(renames), seen_(seen) {}
  void read_ranges(JsonTree::Node constraints);
  /// A size: {"as_int": 4} or {"as_expr": {"expr_str", "hint"}}. Faults are recorded; then 0. A
  /// symbol that no hint told about so far takes its smallest size, and a note says so: read inputs
  /// first.
  Dim read(JsonTree::Node node, const Place& place);
  /// Every symbol, in order of first appearance.
  std::vector<Symbol> all() const;

 private:
  struct Known {
    Symbol symbol;
    bool hinted = false;
  };
  Dim expression(JsonTree::Node expr, const Place& place);
  std::int64_t without_hint(const SizeExpression& expression, const Place& place);
  Known& known(const std::string& name);
  Findings& findings_;
  const std::map<std::string, std::string>& renames_;
  const std::map<std::string, std::int64_t>& seen_;
  std::vector<Known> symbols_;
  std::unordered_map<std::string, std::size_t> index_;                     // never iterated
  std::unordered_map<std::string, std::optional<SizeExpression>> parsed_;  // never iterated
};

/// Tensors without which an ATen operator ("aten.linear.default") does not run, in any of its
/// overloads: data/operators/required_tensors.json, from PyTorch's schemas. Empty when not known.
std::span<const std::string> required_tensors(std::string_view target);

}  // namespace parallel_opt::pt2
