#pragma once

#include <string>
#include <vector>

#include "parallel_opt/cli/command.h"

namespace parallel_opt {

/// Switches that every command has: json, quiet, verbose, no-color, help.
const std::vector<Flag>& common_flags();

/// Reads the words after the command's name. Throws UsageError: unknown flag (with the nearest
/// one), flag given twice, missing value, missing or superfluous argument. With --help nothing is
/// missing.
Args parse_args(const Command& command, const std::vector<std::string>& words);

/// The command of that name; throws UsageError naming the nearest one.
const Command& find_command(const std::string& name);

/// "parallel-opt --help"
std::string help_text();
/// "parallel-opt plan --help"
std::string help_text(const Command& command);

}  // namespace parallel_opt
