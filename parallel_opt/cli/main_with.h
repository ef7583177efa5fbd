#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "parallel_opt/cli/process.h"

namespace parallel_opt {

/// The program `parallel-opt`: `args` without the program's name; the result goes to `out`,
/// messages to `err`. Returns the exit code and never throws.
int main_with(const std::vector<std::string>& args, std::ostream& out, std::ostream& err,
              const Processes& processes = system_processes());

}  // namespace parallel_opt
