#pragma once

#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/cost/measured_rows.h"
#include "parallel_opt/cost/token_batch.h"

namespace parallel_opt {

enum class TableKind { training, memory, failures };

/// A row as the tables print it.
struct RawRow {
  TableKind kind = TableKind::training;
  std::string where;  ///< "training.csv:17"
  TrainingRow row;    ///< without source and what was measured
  std::string provenance, training_id, status, memory_unit;
  std::optional<double> peak_memory_gb, iteration_s, tokens_per_s_per_gpu, samples_per_s;
  std::optional<double> tflops_per_gpu, mfu_pct, hfu_pct;
  std::string tflops_kind;
  std::vector<std::string> of_chips;  ///< columns that count chips: "64 chips", "900 tokens/s/chip"
  bool samples_of_device = false;     ///< samples_per_s is one device's: "12.5 samples/s/GPU"
  bool says_it_ran = false;           ///< its status
  std::optional<TokenBatch> token_batch;  ///< global_batch where tokens are stated
  bool batch_noted = false;               ///< by the notes
  bool replicas_noted = false;            ///< dp is from the notes
  std::vector<std::string> filled;        ///< what was filled in, in words
  std::string unreadable;                 ///< which cell is no number; empty: none
};

/// Fills in what other cells determine, gives figures their units and says what is known of rows
/// that failed.
void complete_rows(std::vector<RawRow>& rows, MeasuredRows& result);

/// Whether a status is blank or says that a run ended well.
bool ran(const std::string& status);

}  // namespace parallel_opt
