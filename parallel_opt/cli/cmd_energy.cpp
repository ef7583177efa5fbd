#include <ostream>

#include "parallel_opt/cli/commands.h"
#include "parallel_opt/hardware/energy.h"
#include "parallel_opt/report/table.h"

namespace parallel_opt {
namespace {

std::string joules(const std::optional<Uncertain>& energy) {
  if (!energy) return "not known";
  return show(energy->value) + " J (" + show(energy->low) + " to " + show(energy->high) + ")";
}

void print(const EnergyReading& reading, std::ostream& out) {
  Table table{{{"", Align::left}, {"energy", Align::left}, {"how obtained"}, {"from"}}, {}};
  for (const DeviceEnergy& device : reading.devices) {
    table.rows.push_back({device.name, joules(device.energy_j),
                          std::string(name_of(device.quality)), device.source});
  }
  table.rows.push_back(
      {"all", joules(reading.energy_j), std::string(name_of(reading.quality)), ""});
  if (reading.idle_j) {
    table.rows.push_back({"of it idle", joules(reading.idle_j),
                          std::string(name_of(reading.idle_j->quality)), "watts at rest x time"});
  }
  out << to_text(table) << "over " << show(Seconds(reading.window_s)) << '\n';
  for (const std::string& note : reading.notes) out << "note: " << note << '\n';
}

ExitCode run_energy(const Args& args, const Console& console) {
  EnergyMeter meter;
  meter.begin();
  const int code = console.processes.follow(args.rest);
  const EnergyReading reading = meter.end();
  if (code == kNotStarted) {
    throw InputError(args.rest.front(), "cannot be started", "is it installed and on PATH?");
  }
  if (console.json) {
    print_json(console, reading);
  } else {
    print(reading, console.out);
  }
  return static_cast<ExitCode>(code);
}

}  // namespace

/// parallel-opt energy -- python train.py
Command energy_command() {
  return {
      .name = "energy",
      .summary = "Run a command and tell the energy that the machine took meanwhile.",
      .description =
          "Counters and power sensors where the machine has them and lets this user read them, "
          "else "
          "a\nmodel, labelled so. The whole machine is metered, whatever else runs on it. What the "
          "command\nprints goes to stderr; the exit code is the command's.",
      .passes_on = "COMMAND [ARGS]",
      .examples = {"parallel-opt energy -- python train.py",
                   "parallel-opt energy --json -- python train.py"},
      .run = run_energy,
  };
}

}  // namespace parallel_opt
