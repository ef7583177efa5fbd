#include "parallel_opt/cli/commands.h"

namespace parallel_opt {

const std::vector<Command>& commands() {
  static const std::vector<Command> all = {
      report_command(),
      schema_command(),
      version_command(),
  };
  return all;
}

}  // namespace parallel_opt
