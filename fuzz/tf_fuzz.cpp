// TensorFlow's files: 'S' and a SavedModel, 'V' and a table of variables, else a GraphDef. Every
// input is read or refused with an InputError; nothing else may happen.
#include <cstdint>
#include <string_view>

#include "parallel_opt/base/error.h"
#include "parallel_opt/graph/work.h"
#include "parallel_opt/importers/tensorflow.h"
#include "parallel_opt/importers/tf_variables.h"

namespace {

void read(std::string_view input) {
  if (input.starts_with('V')) {
    parallel_opt::tf::read_variable_index(input.substr(1), "fuzz.index");
    return;
  }
  const parallel_opt::Graph graph =
      input.starts_with('S') ? parallel_opt::read_saved_model(input.substr(1), {}, "", "fuzz")
                             : parallel_opt::read_graph_def(input, "fuzz.pb");
  for (const parallel_opt::Op& op : graph.ops) parallel_opt::forward_work(graph, op);
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer names it
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    read({reinterpret_cast<const char*>(data), size});
  } catch (const parallel_opt::InputError&) {  // NOLINT(bugprone-empty-catch): a right answer
  }
  return 0;
}
