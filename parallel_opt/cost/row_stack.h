#pragma once

#include <string>
#include <vector>

#include "parallel_opt/cost/software_stack.h"
#include "parallel_opt/cost/training_row.h"

namespace parallel_opt {

/// The stack that the framework's name means, with the switches that the row states. `arch`: of the
/// device's record; `spec`: the model's. Notes which was taken where none is named or known.
SoftwareStack stack_of(const TrainingRow& row, const std::string& arch, const std::string& spec,
                       std::vector<std::string>& notes);

}  // namespace parallel_opt
