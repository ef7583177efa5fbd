#pragma once

#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/cost/token_batch.h"
#include "parallel_opt/cost/training_row.h"

namespace parallel_opt {

/// Columns that the notes filled ("tp"), and what they say twice and differently.
struct NotesFilled {
  std::vector<std::string> columns;
  std::optional<TokenBatch> batch;  ///< where global_batch is blank and they state its tokens
  std::string unclear;  ///< why the row cannot be used: "pp is blank, and the notes say 2 and 4"
};

/// Fills blank cells with what the notes say of them, "TP=4, micro-batch size 2, ZeRO stage 3,
/// gradient accumulation 8, sequence length 4096". What they deny, hold against this run, leave
/// open ("2 or 4") or say of attempts, plans and other runs fills nothing.
NotesFilled fill_from_notes(TrainingRow& row);

/// Sequences of each replica: "local batch size 8", "batch size 16 per GPU", "2 sequences per
/// device"; empty: notes say none.
std::optional<double> local_batch_in_notes(const std::string& notes);

}  // namespace parallel_opt
