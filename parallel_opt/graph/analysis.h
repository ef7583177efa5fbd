#pragma once

#include <array>
#include <string>
#include <vector>

#include "parallel_opt/base/json.h"
#include "parallel_opt/graph/graph.h"
#include "parallel_opt/graph/operator_facts.h"

namespace parallel_opt {

/// The heaviest chain of dependent operators.
struct PathSummary {
  double total = 0;        ///< FLOPs, or bytes moved, of the chain
  double share = 0;        ///< of all operators
  double parallelism = 1;  ///< all over chain: no number of devices is faster by more than this
  std::vector<std::string> operators;  ///< in order; those without work are left out
  bool operator==(const PathSummary&) const = default;
};

/// Operators that may run at the same time because equally many must run before each of them.
struct WidthLevel {
  std::int64_t level = 0;
  std::int64_t operators = 0;
  Flops flops;
  double bytes = 0;
  bool operator==(const WidthLevel&) const = default;
};

struct WidthSummary {
  std::int64_t depth = 0;  ///< levels: operators on the longest chain
  std::int64_t most = 0;   ///< operators of the widest level
  double average = 0;      ///< operators per level
  std::vector<WidthLevel> levels;
  bool operator==(const WidthSummary&) const = default;
};

struct BranchSummary {
  std::string modules;  ///< what its operators have in common: "blocks.*.q_proj"
  std::int64_t operators = 0;
  Flops flops;
  double bytes = 0;
  bool operator==(const BranchSummary&) const = default;
};

/// Branches of one fork, or of all forks that are alike.
struct BranchesSummary {
  std::string after;  ///< operator whose results they read; empty: inputs
  std::string until;  ///< operator that needs two of them; empty: they never meet
  std::int64_t repeats = 1;
  double share = 0;  ///< of all FLOPs, all repeats
  double gain = 0;   ///< share of all FLOPs that need not be waited for when they run at once
  std::vector<BranchSummary> branches;
  bool operator==(const BranchesSummary&) const = default;
};

struct ClassSummary {
  OpClass op_class = OpClass::opaque;
  std::int64_t operators = 0;
  Flops flops;
  double flops_share = 0;
  double bytes = 0;
  double bytes_share = 0;
  double intensity = 0;  ///< FLOPs per byte
  bool operator==(const ClassSummary&) const = default;
};

struct BlockSummary {
  std::string name;
  std::string inside;  ///< name of the enclosing block; empty: none
  std::int64_t repeats = 1;
  std::int64_t operators = 0;       ///< of one occurrence
  double flops_share = 0;           ///< of all FLOPs, all occurrences
  std::vector<std::string> varies;  ///< attributes in which occurrences differ
  bool operator==(const BlockSummary&) const = default;
};

struct CutSummary {
  std::string after;         ///< last operator of the first part
  std::string module;        ///< that ran it
  double share = 0;          ///< of the FLOPs that lie before the cut
  std::int64_t tensors = 0;  ///< that cross
  double bytes_per_sample = 0;
  double activation_bytes = 0;        ///< per sample: of the newest tensor
  double skip_bytes = 0;              ///< per sample: of older ones, still needed
  double fixed_bytes = 0;             ///< per micro-batch: masks, tables
  std::vector<std::string> crossing;  ///< names, oldest first
  bool operator==(const CutSummary&) const = default;
};

/// How much of a model may run at once, where it may be cut, and what it is made of. Bytes are
/// those that operators read and write. Control flow counts by expected runs.
struct GraphAnalysis {
  std::string name;
  std::string source;
  std::int64_t operators = 0;
  Flops flops;  ///< of all operators as written, whole batch
  double bytes = 0;
  PathSummary critical_flops;
  PathSummary critical_bytes;
  WidthSummary width;
  std::vector<BranchesSummary> branches;
  std::vector<ClassSummary> classes;
  std::vector<BlockSummary> blocks;
  std::vector<CutSummary> cuts;
  std::vector<OperatorFacts> operator_list;
  std::vector<std::string> notes;
  bool operator==(const GraphAnalysis&) const = default;
};

struct AnalysisOptions {
  bool operators = false;  ///< fill `operator_list`
};

/// Linear in operators and operands. Pre: `check(graph)` is empty, aliases are filled.
GraphAnalysis analyze(const Graph& graph, const AnalysisOptions& options = {});

/// "blocks.3.attn.q" -> "blocks.*.attn.q": numbers between dots become stars.
std::string without_numbers(std::string_view module);

}  // namespace parallel_opt
