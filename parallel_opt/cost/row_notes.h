#pragma once

#include <string>
#include <vector>

#include "parallel_opt/cost/training_row.h"

namespace parallel_opt {

/// Fills blank cells with what the notes say of them, "TP=4, micro-batch size 2, ZeRO stage 3,
/// gradient accumulation 8, sequence length 4096", and names those filled ("tp"). What notes deny,
/// or say twice and differently, fills nothing.
std::vector<std::string> fill_from_notes(TrainingRow& row);

}  // namespace parallel_opt
