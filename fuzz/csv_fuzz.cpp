// Tables of measurements. Every input becomes rows that are all used or skipped, or an InputError;
// nothing else may happen.
#include <cstdint>
#include <string>
#include <string_view>

#include "parallel_opt/base/error.h"
#include "parallel_opt/cost/accuracy.h"

namespace {

using namespace parallel_opt;

RowAnswer answer(const TrainingRow& row) {
  if (row.layers.value_or(0) > 200) return "too deep for a fuzzer";
  return predict(row);
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer names it
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const MeasuredRows rows = read_measured_rows({read_csv(text, "rows.csv")});
    const Accuracy accuracy = score_rows(rows, answer, {.rows = true, .by = {"dp"}});
    const auto skipped = static_cast<std::int64_t>(accuracy.skipped.size());
    if (accuracy.used + skipped != accuracy.rows || to_json(accuracy).empty()) __builtin_trap();
  } catch (const parallel_opt::InputError&) {  // NOLINT(bugprone-empty-catch): a right answer
  }
  return 0;
}
