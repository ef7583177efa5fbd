#include "parallel_opt/cli/commands.h"

namespace parallel_opt {

const std::vector<Command>& commands() {
  static const std::vector<Command> kAll = {
      hardware_command(), probe_command(),    graph_command(),    plan_command(),
      estimate_command(), simulate_command(), accuracy_command(), explain_command(),
      run_command(),      demo_command(),     report_command(),   energy_command(),
      doctor_command(),   schema_command(),   version_command(),
  };
  return kAll;
}

}  // namespace parallel_opt
