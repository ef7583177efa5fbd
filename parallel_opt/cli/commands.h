#pragma once

#include "parallel_opt/cli/command.h"

/// One function per command, each in its file cmd_<name>.cpp.
namespace parallel_opt {

Command report_command();
Command schema_command();
Command version_command();

}  // namespace parallel_opt
