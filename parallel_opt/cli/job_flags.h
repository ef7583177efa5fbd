#pragma once

#include <vector>

#include "parallel_opt/cli/command.h"
#include "parallel_opt/plan/job.h"

namespace parallel_opt {

/// What is wanted: --global-batch, --precision, ...
std::vector<Flag> job_flags();
/// Pins: --data, --tensor, --threads, ...
std::vector<Flag> layout_flags();

/// The job that the flags describe. Throws UsageError for a value that no job can have, and for one
/// that this version cannot bring about: it is never ignored.
enum class Layouts {
  runnable,  ///< what this version's engine can run
  all,       ///< everything that can be named
};
Job job_from(const Args& args, Layouts layouts = Layouts::runnable);

}  // namespace parallel_opt
