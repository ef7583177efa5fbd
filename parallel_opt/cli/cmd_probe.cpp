#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <ostream>
#include <set>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/base/output_file.h"
#include "parallel_opt/cli/commands.h"
#include "parallel_opt/hardware/discover.h"
#include "parallel_opt/hardware/probe_cache.h"
#include "parallel_opt/hardware/profile_convert.h"
#include "parallel_opt/report/table.h"

namespace parallel_opt {
namespace {

/// Kernels whose rates are of FLOPs begin so; of others they are of bytes.
constexpr std::array<std::string_view, 4> kArithmetic = {"matmul", "attention", "convolution",
                                                         "recurrent"};
constexpr double kBudget = 30, kQuickBudget = 6;  // seconds, without PyTorch

/// What C++ measures by itself: memory and transfers, one device of each type.
ProbeReport probe_without_torch(const Args& args) {
  ProbeReport report;
  const double budget_s =
      args.positive("budget").value_or(args.has("quick") ? kQuickBudget : kBudget);
  const Cluster cluster = discover(DiskFileSystem());
  std::set<std::string> types;
  for (const Device& device : cluster.devices) {
    if (device.kind == DeviceKind::cpu && types.insert(device.name).second) {
      report.sets.push_back(probe_host(device, budget_s));
    }
  }
  if (!args.has("no-store")) {
    try {
      for (const ProbeSet& set : report.sets) store_probes(probe_directory(), set);
    } catch (const SystemError& e) {
      report.notes.push_back(std::string("not kept for later runs: ") + e.what());
    }
  }
  return report;
}

/// PyTorch's kernels as well; its Python measures, stores and prints the document.
ProbeReport probe_with_torch(const std::vector<std::string>& argv, const Console& console) {
  const ProcessResult result = console.processes.run(argv);
  if (result.output.empty()) {
    throw SystemError("probe", "Python ended with exit code " + std::to_string(result.exit_code),
                      "the reason stands above");
  }
  return from_json<ProbeReport>(result.output, "probe");
}

ProbeReport probe(const Args& args, const Console& console) {
  (void)args.positive("budget");
  std::vector<std::string> words = {"--json"};
  if (args.has("quick")) words.push_back("--quick");
  if (args.has("no-store")) words.push_back("--no-store");
  if (console.quiet) words.push_back("--quiet");
  if (args.has("budget")) words.insert(words.end(), {"--budget", args.at("budget")});
  std::vector<std::string> argv;
  std::string missing;
  try {
    argv = python_command(console.processes, "probe", words);
  } catch (const MissingPart& e) {
    missing = e.what();
  }
  if (!missing.empty()) {
    ProbeReport report = probe_without_torch(args);
    report.notes.push_back("only memory and transfers were measured: " + missing);
    return report;
  }
  return probe_with_torch(argv, console);
}

void print_set(const ProbeSet& set, std::ostream& out) {
  out << fmt::format("{}{}, {}, {}\n", set.device, set.software.empty() ? "" : ", " + set.software,
                     set.date, show(Seconds(set.wall_s)));
  Table table{{{"kernel"},
               {"type"},
               {"threads", Align::right},
               {"best", Align::right},
               {"spread", Align::right}},
              {}};
  for (const RateCurve& curve : set.rates) {
    double best = 0;
    for (const RatePoint& point : curve.points) best = std::max(best, point.per_second);
    if (curve.kernel == "memory")
      best = curve.points.back().per_second;  // small ones run in caches
    std::string dtype;
    if (const std::optional<DType> known = curve.dtype; known) dtype = name_of(*known);
    std::string scatter;
    if (const std::optional<double> known = curve.spread; known) {
      scatter = fmt::format("{:.0f} %", 100 * *known);
    }
    const bool flops = std::ranges::any_of(
        kArithmetic, [&](std::string_view name) { return curve.kernel.starts_with(name); });
    table.rows.push_back(
        {curve.kernel, dtype, curve.threads == 0 ? "all" : std::to_string(curve.threads),
         (flops ? show(Flops(best)) : show(Bytes(static_cast<std::int64_t>(best)))) + "/s",
         scatter});
  }
  for (const Link& link : set.links) {
    table.rows.push_back({"transfer, " + link.type, "", "",
                          show(Bytes(static_cast<std::int64_t>(link.bytes_per_s.value))) +
                              "/s after " + show(Seconds(link.latency_s.value)),
                          ""});
  }
  const auto launch = [&](const char* name, const std::optional<Uncertain>& seconds) {
    if (seconds) table.rows.push_back({name, "", "", show(Seconds(seconds->value)), ""});
  };
  launch("launch, forward", set.launch_s);
  launch("launch, forward and backward", set.launch_autograd_s);
  out << to_text(table);
  for (const std::string& note : set.notes) out << "note: " << note << '\n';
  if (set.busy) out << "note: others used the machine meanwhile: to be taken again\n";
}

constexpr std::array<const char*, 8> kImportFlags = {"name",   "device",      "model",    "dtype",
                                                     "tensor", "micro-batch", "sequence", "output"};

ProfileFacts profile_facts(const Args& args) {
  ProfileFacts facts;
  facts.name = args.get("name");
  facts.device = args.get("device");
  facts.model = args.get("model");
  facts.dtype = args.choice<DType>("dtype");
  if (const auto tensor = args.whole("tensor", 1)) facts.tensor = static_cast<int>(*tensor);
  facts.micro_batch = args.positive("micro-batch");
  facts.sequence = args.whole("sequence", 1);
  return facts;
}

void print_profile(const ImportedProfile& profile, std::ostream& out) {
  std::set<std::string> devices;
  for (const ProfileRow& row : profile.rows) devices.insert(row.device);
  for (const ProfiledTransfer& transfer : profile.transfers) devices.insert(transfer.device);
  for (const ProfiledRate& rate : profile.rates) devices.insert(rate.device);
  out << profile.name << (profile.model ? ", " + *profile.model : "") << ", from " << profile.source
      << '\n'
      << fmt::format("{} rows, {} transfers, {} rate curves of {}\n", profile.rows.size(),
                     profile.transfers.size(), profile.rates.size(),
                     join({devices.begin(), devices.end()}, ", "));
  for (const std::string& note : profile.notes) out << "note: " << note << '\n';
}

void give_profile(const ImportedProfile& profile, const Args& args, const Console& console) {
  const std::optional<std::string> output = args.get("output");
  if (output) write_output(*output, to_json(profile));
  if (console.json) {
    print_json(console, profile);
  } else {
    print_profile(profile, console.out);
    if (output) console.out << *output << '\n';
  }
}

/// parallel-opt probe --import FILES: measurements made elsewhere, in our own format.
ExitCode import_profiles(const Args& args, const Console& console) {
  std::vector<ProfileText> files;
  for (const std::string& path : split(args.at("import"), ',')) {
    files.push_back({path, read_file(path)});
  }
  give_profile(import_profile(files, profile_facts(args)), args, console);
  return ExitCode::ok;
}

/// parallel-opt probe --collectives N: between processes of this host, by PyTorch.
ExitCode probe_collectives(const Args& args, const Console& console) {
  const std::int64_t ranks = args.whole("collectives", 2).value_or(2);
  std::vector<std::string> words = {"--ranks", std::to_string(ranks)};
  if (args.has("quick")) words.push_back("--quick");
  if (const auto budget = args.positive("budget")) {
    words.insert(words.end(), {"--budget", args.at("budget")});
  }
  const ProcessResult result =
      console.processes.run(python_command(console.processes, "probe_collectives", words));
  if (result.exit_code != 0 || result.output.empty()) {
    throw SystemError("probe", "Python ended with exit code " + std::to_string(result.exit_code),
                      "the reason stands above");
  }
  give_profile(read_profile(result.output, "probe"), args, console);
  return ExitCode::ok;
}

/// Of flags that would be ignored beside `flag`.
void refuse_beside(const Args& args, const char* flag, std::initializer_list<const char*> others) {
  for (const char* other : others) {
    if (!args.has(other)) continue;
    throw UsageError("parallel-opt probe",
                     "--" + std::string(flag) + " and --" + other + " exclude each other",
                     "keep one");
  }
}

ExitCode run_probe(const Args& args, const Console& console) {
  if (args.has("import")) {
    refuse_beside(args, "import", {"collectives", "quick", "budget", "no-store"});
    return import_profiles(args, console);
  }
  if (args.has("collectives")) {
    refuse_beside(
        args, "collectives",
        {"no-store", "name", "device", "model", "dtype", "tensor", "micro-batch", "sequence"});
    return probe_collectives(args, console);
  }
  for (const char* flag : kImportFlags) {
    if (!args.has(flag)) continue;
    throw UsageError("parallel-opt probe", "--" + std::string(flag) + " goes with --import",
                     "--import FILES");
  }
  const ProbeReport report = probe(args, console);
  if (console.json) {
    print_json(console, report);
  } else {
    for (const ProbeSet& set : report.sets) print_set(set, console.out);
    for (const std::string& note : report.notes) console.out << "note: " << note << '\n';
  }
  return report.sets.empty() ? ExitCode::missing : ExitCode::ok;
}

}  // namespace

/// parallel-opt probe --quick
Command probe_command() {
  return {
      .name = "probe",
      .summary = "Measure this machine: kernels of PyTorch, memory, transfers, launch overhead.",
      .description = "Results are cached per device with their date and used by every later plan.",
      .flags = {{"quick", "", "fewer sizes and types, a few seconds"},
                {"budget", "SECONDS", "time to spend"},
                {"no-store", "", "leave the cache alone"},
                {"collectives", "RANKS", "measure collectives between processes of this host"},
                {"import", "FILE[,FILE]", "convert published profiles instead of measuring"},
                {"name", "NAME", "with --import: what a cluster calls the profile"},
                {"device", "NAME", "with --import: what was measured, where no file says it"},
                {"model", "NAME", "with --import: whose layers they are"},
                {"dtype", "bf16|fp16|fp32|...", "with --import: type of the arithmetic"},
                {"tensor", "N", "with --import: tensor-parallel degree"},
                {"micro-batch", "N", "with --import: samples of a micro-batch"},
                {"sequence", "N", "with --import: tokens of a sample"},
                {"output", "FILE", "with --import or --collectives: write the profile there", 'o'}},
      .examples = {"parallel-opt probe --quick",
                   "parallel-opt probe --import profile.json --device A100-40GB -o a100.json"},
      .run = run_probe,
  };
}

}  // namespace parallel_opt
