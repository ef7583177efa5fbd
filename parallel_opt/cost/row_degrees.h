#pragma once

#include <optional>
#include <string>

#include "parallel_opt/cost/row_model.h"
#include "parallel_opt/cost/training_row.h"

namespace parallel_opt {

/// A degree of parallelism as a table states it; 1 where it is blank.
int degree(const std::optional<double>& value);

/// Tensor, pipeline, context, expert and data parallelism of a row, and a note on each degree that
/// follows from the others. Says what is missing, or nothing. Pre: the number of devices is stated.
std::string fill_degrees(const TrainingRow& row, RowCase& out);

}  // namespace parallel_opt
