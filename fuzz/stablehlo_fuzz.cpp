// StableHLO texts. Every input is read or refused with an InputError; nothing else may happen.
#include <cstdint>
#include <string_view>

#include "parallel_opt/base/error.h"
#include "parallel_opt/graph/work.h"
#include "parallel_opt/importers/stablehlo.h"

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer names it
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  try {
    const parallel_opt::Graph graph = parallel_opt::read_stablehlo(input, "fuzz.mlir");
    for (const parallel_opt::Op& op : graph.ops) parallel_opt::forward_work(graph, op);
  } catch (const parallel_opt::InputError&) {  // NOLINT(bugprone-empty-catch): a right answer
  }
  return 0;
}
