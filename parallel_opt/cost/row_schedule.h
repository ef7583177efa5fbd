#pragma once

#include <optional>
#include <string>

#include "parallel_opt/cost/row_model.h"
#include "parallel_opt/cost/training_row.h"

namespace parallel_opt {

/// Stages that a rank has as a schedule's words count them: "interleaved with v=4", "VPP 8",
/// "4 chunks per rank"; empty: they count none. Of longer texts the clause that names them.
std::optional<int> stages_of_rank_in_words(const std::string& text);

/// Schedule and virtual stages of a row: of the column, else of the notes or the framework's name.
/// Returns what is wrong with it, or nothing. Pre: the layout's pipeline is set.
std::string fill_schedule(const TrainingRow& row, RowCase& out);

/// Of an interleaved schedule whose stages nobody counts: those of two blocks, as published runs of
/// such schedules cut them (two for every rank in torchtitan, as by its default). Pre: the model's
/// facts are known.
void fill_stages(const TrainingRow& row, RowCase& out);

}  // namespace parallel_opt
