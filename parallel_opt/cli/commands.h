#pragma once

#include "parallel_opt/cli/command.h"

/// One function per command, each in its file cmd_<name>.cpp.
namespace parallel_opt {

Command accuracy_command();
Command demo_command();
Command doctor_command();
Command energy_command();
Command estimate_command();
Command explain_command();
Command graph_command();
Command hardware_command();
Command plan_command();
Command probe_command();
Command report_command();
Command run_command();
Command schema_command();
Command simulate_command();
Command version_command();

}  // namespace parallel_opt
