#include <fmt/format.h>

#include <algorithm>
#include <ostream>
#include <random>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/base/output_file.h"
#include "parallel_opt/cli/checks.h"
#include "parallel_opt/cli/commands.h"
#include "parallel_opt/hardware/bundle.h"

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
  if (check.costs) console.out << indent << *check.costs << '\n';
  if (check.remedy) console.out << indent << "-> " << *check.remedy << '\n';
}

/// parallel-opt doctor --bundle FILE.tar
ExitCode write_bundle(const std::string& path, const Console& console) {
  const DiskFileSystem files;
  DiscoverOptions options = this_machine();
  options.cross_check = false;
  const std::string tag = fmt::format("{:06x}", std::random_device()() & 0xffffff);
  const std::vector<BundledFile> bundle = make_bundle(files, options, names_here(files), tag);
  write_output(path, to_tar(bundle));
  BundleDocument document;
  document.output = path;
  for (const BundledFile& file : bundle) {
    document.files.push_back({file.path, static_cast<std::int64_t>(file.content.size())});
  }
  if (console.json) {
    print_json(console, document);
    return ExitCode::ok;
  }
  for (const BundleEntry& file : document.files) console.out << file.path << '\n';
  console.log(
      "without names of hosts, users and groups, serial numbers and uuids; look before you "
      "send it: tar xOf " +
      path);
  return ExitCode::ok;
}

ExitCode run_doctor(const Args& args, const Console& console) {
  if (const std::optional<std::string> path = args.get("bundle")) {
    return write_bundle(*path, console);
  }
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
      .flags = {{"bundle", "FILE.tar",
                 "copy what `hardware --root` needs of this machine instead, and list it"}},
      .run = run_doctor,
  };
}

}  // namespace parallel_opt
