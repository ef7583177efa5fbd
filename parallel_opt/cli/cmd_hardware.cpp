#include <ostream>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/base/output_file.h"
#include "parallel_opt/cli/cluster_text.h"
#include "parallel_opt/cli/commands.h"
#include "parallel_opt/hardware/discover.h"
#include "parallel_opt/hardware/load.h"
#include "parallel_opt/hardware/merge_hosts.h"
#include "parallel_opt/hardware/profile_merge.h"

namespace parallel_opt {
namespace {

/// --merge FILE,FILE: hosts as `hardware --json` showed them, each on itself.
Cluster merged(const std::string& paths) {
  const std::vector<std::string> names = split(paths, ',');
  std::vector<Cluster> hosts;
  hosts.reserve(names.size());
  for (const std::string& name : names) hosts.push_back(load_cluster(name));
  return merge_hosts(hosts, names);
}

Cluster chosen(const Args& args) {
  const int ways = int(args.has("NAME")) + int(args.has("root")) + int(args.has("merge"));
  if (ways > 1) {
    throw UsageError("parallel-opt hardware", "NAME, --root and --merge exclude each other",
                     "keep one");
  }
  if (const std::optional<std::string> paths = args.get("merge")) return merged(*paths);
  if (const std::optional<std::string> root = args.get("root")) {
    const DiskFileSystem files(*root);
    if (files.list("/proc").empty() && files.list("/sys").empty()) {
      throw InputError(*root, "holds neither proc/ nor sys/",
                       "unpack a bundle of parallel-opt doctor there, or copy both");
    }
    return discover(files);
  }
  return load_cluster(args.get_or("NAME", "local"));
}

/// --profile FILE[,FILE]: measurements made elsewhere become a cost source of the cluster.
void add_named_profiles(const Args& args, Cluster& cluster) {
  const std::optional<std::string> paths = args.get("profile");
  if (!paths) return;
  std::vector<Fault> faults;
  add_profiles(cluster, split(*paths, ','), "", "--profile", faults);
  throw_if_any(std::move(faults));
}

ExitCode run_hardware(const Args& args, const Console& console) {
  Cluster cluster = chosen(args);
  add_named_profiles(args, cluster);
  const std::optional<std::string> output = args.get("output");
  if (output) write_output(*output, to_json(cluster));
  if (console.json) {
    print_json(console, document_of(cluster));
  } else if (output) {
    console.out << *output << '\n';
  } else {
    console.out << cluster_text(cluster);
  }
  return ExitCode::ok;
}

}  // namespace

/// parallel-opt hardware 2n8xH100-SXM-80GB
Command hardware_command() {
  return {
      .name = "hardware",
      .summary = "Show this machine or a cluster, each number with its quality.",
      .arguments = {{"NAME", "local (default), a preset as 2n8xH100-SXM-80GB, or a file", false}},
      .flags = {{"root", "DIR", "read /proc, /sys and driver records below DIR instead of /"},
                {"merge", "FILE,FILE", "one cluster of several hosts' own `hardware --json`"},
                {"profile", "FILE[,FILE]", "add measurements made elsewhere (probe --import)"},
                {"output", "FILE", "write the cluster there", 'o'}},
      .examples = {"parallel-opt hardware",
                   "parallel-opt hardware 4xA100-40GB+4xV100-16GB -o mix.json"},
      .run = run_hardware,
  };
}

}  // namespace parallel_opt
