// Hugging Face config.json, and inline specs when the input starts with "transformer:". Every input
// becomes a well-formed graph or an InputError; nothing else may happen.
#include <cstdint>
#include <string>
#include <string_view>

#include "parallel_opt/base/error.h"
#include "parallel_opt/graph/work.h"
#include "parallel_opt/importers/hf_config.h"
#include "parallel_opt/importers/inline_spec.h"

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer names it
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  try {
    const bool spec = input.starts_with("transformer:");
    const parallel_opt::Graph graph = spec ? parallel_opt::read_inline_spec(std::string(input))
                                           : parallel_opt::read_hf_config(input, "config.json");
    if (!parallel_opt::check(graph).empty()) __builtin_trap();
    for (const parallel_opt::Op& op : graph.ops) parallel_opt::forward_work(graph, op);
  } catch (const parallel_opt::InputError&) {  // NOLINT(bugprone-empty-catch): a right answer
  }
  return 0;
}
