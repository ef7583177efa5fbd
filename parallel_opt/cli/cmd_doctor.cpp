#include <algorithm>
#include <ostream>

#include "parallel_opt/cli/checks.h"
#include "parallel_opt/cli/commands.h"

namespace parallel_opt {
namespace {

void print_check(const Check& check, const Console& console) {
  constexpr std::array<std::string_view, 3> kColors = {"32", "33", "31"};  // green, yellow, red
  std::string status(name_of(check.status));
  status.resize(8, ' ');
  if (console.color) {
    status = "\033[" + std::string(kColors[static_cast<std::size_t>(check.status)]) + "m" + status +
             "\033[0m";
  }
  std::string name = check.name;
  name.resize(std::max<std::size_t>(name.size(), 14), ' ');
  console.out << status << name << check.found << '\n';
  const std::string indent(22, ' ');
  if (!check.costs.empty()) console.out << indent << check.costs << '\n';
  if (!check.remedy.empty()) console.out << indent << "-> " << check.remedy << '\n';
}

ExitCode run_doctor(const Args&, const Console& console) {
  const DoctorDocument document{all_checks(console.processes)};
  if (console.json) {
    print_json(console, document);
  } else {
    for (const Check& check : document.checks) print_check(check, console);
  }
  const bool fault = std::ranges::any_of(
      document.checks, [](const Check& check) { return check.status == CheckStatus::fault; });
  return fault ? ExitCode::missing : ExitCode::ok;
}

}  // namespace

/// parallel-opt doctor
Command doctor_command() {
  return {
      .name = "doctor",
      .summary = "Check what works here, what it costs when it does not, and what to do.",
      .description = "Exit code 5 when something that training needs is missing.",
      .run = run_doctor,
  };
}

}  // namespace parallel_opt
