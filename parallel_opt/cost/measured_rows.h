#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "parallel_opt/base/csv.h"
#include "parallel_opt/cost/training_row.h"

/// Tables of published measurements (docs/accuracy.md) as rows that a cost model can be asked for.
namespace parallel_opt {

/// Whether a configuration fits into the memory of its devices.
enum class RowTruth {
  ran,            ///< it was measured
  out_of_memory,  ///< the source says so, or what it must hold is clearly more than the device has
  unclear,        ///< it failed, and nobody says of what
};

struct MeasuredRow {
  TrainingRow row;
  std::string release;  ///< of the software, where the notes name one ("container 26.02 ...")
  RowTruth truth = RowTruth::ran;
  bool source_says_so = true;       ///< the truth is stated, not worked out
  std::string doubt;                ///< why the truth is unclear
  std::string unusable;             ///< why no model can be asked; empty: it can
  std::vector<std::string> filled;  ///< what other cells determine of blank ones, in words
  bool says_it_ran = false;         ///< its status: a truth without any figure
  std::string untimed;  ///< why a stated rate gives no time of an iteration; empty: it does
};

struct MeasuredRows {
  std::vector<MeasuredRow> rows;
  std::vector<std::string> notes;  ///< columns passed over, cells filled in
};

/// Puts tables together. Each is known by its columns: `status` makes it one of configurations that
/// failed, `training_id` one of peak memories, which join the row of that id or stand for
/// themselves; any other needs a measured figure. Every table needs `id`. The time of an iteration
/// is the stated one, else
///
///   global_batch x seq_len / (tokens/s/GPU x gpus),   else   global_batch / (samples/s)
///
/// Rows that state FLOP/s or a share of the peak alone get theirs where the model is known
/// (`score_rows`).
/// What a row leaves blank and other cells of it determine is filled in, with a note; a row without
/// an id is named after its place, one with another's id is numbered. Throws InputError with every
/// missing column; a row with a cell that is no number is unusable, one that says "OOM" for a
/// figure is a failure.
MeasuredRows read_measured_rows(const std::vector<CsvTable>& tables);

/// A column of the tables and the member that it fills: one of the two is set.
struct RowColumn {
  std::string_view name;
  std::string TrainingRow::* text = nullptr;
  std::optional<double> TrainingRow::* number = nullptr;
};

/// The columns that describe a configuration, `source` first; no measured ones.
std::span<const RowColumn> row_columns();
/// A cell as text: "8", "H100-80GB"; empty when blank.
std::string cell_text(const TrainingRow& row, const RowColumn& column);

/// A lower bound of the memory that the fullest device needs, independent of the cost model:
/// weights in 2 bytes, gradients in 4 when not sharded, Adam and master weights in 12, kept
/// activations [korthikanti2022] of one micro-batch per stage in flight, logits. Empty when the row
/// does not state the model.
std::optional<double> least_memory_bytes(const TrainingRow& row);
/// What the name of a device says: "H100-80GB" has 80 GiB.
std::optional<double> nominal_memory_bytes(std::string_view gpu);

}  // namespace parallel_opt
