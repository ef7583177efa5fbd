#pragma once

#include <optional>
#include <string>

#include "parallel_opt/cost/offload.h"
#include "parallel_opt/cost/training_row.h"

namespace parallel_opt {

/// "optimizer", "optimizer, parameters", "activations", "full", "none"; empty for other words.
std::optional<Offload> offload_in_words(const std::string& text);

/// What a row puts in the host's memory, or why it is not modelled (words that are not understood,
/// disks): of its column, else of its framework's name ("Zero 3 + Full Offload"), its sharding
/// ("ZeRO-2 cpu offload": the optimizer; FSDP and ZeRO-3: the weights too), its recomputation and
/// its notes ("CPU offloading" means what it does in the sharding's column), where switches count
/// for more than names ("Opt Offl=N").
struct RowOffload {
  Offload offload;
  std::string wrong;
};
RowOffload offload_of(const TrainingRow& row);

}  // namespace parallel_opt
