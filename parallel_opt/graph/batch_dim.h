#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "parallel_opt/graph/graph.h"

namespace parallel_opt {

/// How an operator treats the samples of a batch.
enum class BatchUse {
  none,      ///< no operand has samples
  separate,  ///< each sample by itself: the batch may be cut
  summed,    ///< samples are summed or averaged (a mean loss): cut and weighted
  mixed,     ///< statistics over samples (batch norm, softmax over them): a cut changes results
  unknown,   ///< the table does not say
};
constexpr auto enum_names(BatchUse) {
  return std::to_array<std::string_view>({"none", "separate", "summed", "mixed", "unknown"});
}

/// Where the samples are, followed through the iteration spaces.
struct BatchDims {
  std::int64_t size = 0;  ///< samples at the bound sizes; 0: no input has a batch axis
  std::string symbol;     ///< of the size, when it is symbolic
  std::vector<int> axis;  ///< per tensor: axis indexed by samples, -1: none
  /// Per tensor: size of the factors below the samples inside that axis: 1 for "b", t for a merged
  /// axis "b t", 1 for "t b".
  std::vector<std::int64_t> inner;
  std::vector<BatchUse> use;  ///< per operator
  std::vector<OpId> mixing;   ///< operators with use mixed
  std::vector<OpId> unknown;  ///< operators with use unknown that read samples
  bool can_cut() const { return size > 1 && mixing.empty() && unknown.empty(); }
};

/// The batch is axis 0 of the inputs whose first size equals that of the first input (or its
/// symbol); recurrent layers, transposes and reshapes move it as their iteration spaces say.
BatchDims find_batch(const Graph& graph);

}  // namespace parallel_opt
