#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace parallel_opt {

/// A cell that is a number, as people write one.
struct Figure {
  double value = 0;        ///< in the column's unit; of peak_memory_gb in `unit`
  std::string unit;        ///< of memory, as written; empty: none
  bool of_device = false;  ///< samples of one: "12.5 samples/s/GPU"
};

/// "18.13 s", "1420 ms", "46.2%", "175B", "74.5 GiB", "2200 tokens/s/chip": a figure may have its
/// column's own unit; "1,024", "16 384" and "16'384" are thousands. Empty when the cell is no
/// number of at least 0, or has another unit: "2k" is 1000 or 1024, but for lengths ("4k": 4096).
/// Rates may be in thousands ("14k"), times "1m 23s".
/// What was measured may be "~60", "10 (avg)" or "10 +- 0.2".
std::optional<Figure> figure_in(const std::string& stated, std::string_view column);

/// Whether FLOPs of that kind count what is computed again: "hardware", "HFU", "incl. recompute".
bool counts_recompute_in_words(const std::string& kind);

/// Likewise of rates that notes speak of: "hardware FLOPs", "TFLOP/s count the recomputation",
/// "HFU 48 %".
bool counts_recompute_in_notes(const std::string& notes);

}  // namespace parallel_opt
