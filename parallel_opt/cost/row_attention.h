#pragma once

#include <string>
#include <vector>

#include "parallel_opt/cost/row_claims.h"
#include "parallel_opt/cost/software_stack.h"
#include "parallel_opt/cost/training_row.h"

namespace parallel_opt {

/// How attention's inner part runs: as the notes say, else as the stack of that time does, on
/// devices that have its kernel (`arch`: the record's own, "Turing"). Megatron's products overlap
/// their collectives since the same time. `said`: the row's notes; `spec`: the model's.
void set_attention(const TrainingRow& row, const Claims& said, const std::string& arch,
                   const std::string& spec, SoftwareStack& stack, std::vector<std::string>& notes);

}  // namespace parallel_opt
