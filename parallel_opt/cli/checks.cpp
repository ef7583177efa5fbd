#include "parallel_opt/cli/checks.h"

#include <fmt/format.h>
#include <netdb.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "parallel_opt/base/text.h"
#include "parallel_opt/hardware/cgroup.h"
#include "parallel_opt/hardware/discover.h"
#include "parallel_opt/hardware/probe_cache.h"

namespace parallel_opt {
namespace {

/// What the program below prints. Absent: not installed.
struct PythonFacts {
  std::string version;
  std::optional<std::string> torch;
  std::optional<std::string> package;
  bool header = false;
  bool compiler = false;
};

template <class Visitor, class T>
  requires SameAs<T, PythonFacts>
void fields(Visitor& visit, T& facts) {
  visit("version", facts.version, "of Python");
  visit("torch", facts.torch, "version");
  visit("package", facts.package, "version of parallel_opt");
  visit("header", facts.header, "Python.h is there");
  visit("compiler", facts.compiler, "a C++ compiler is in PATH");
}

/// Looks without importing: importing torch takes seconds.
constexpr const char* kLook = R"(
import importlib.metadata as m, importlib.util as u, json, os, platform, shutil, sysconfig
def version(name):
    if u.find_spec(name) is None: return None
    try: return m.version(name)
    except m.PackageNotFoundError: return "of a source tree"
print(json.dumps({"version": platform.python_version(), "torch": version("torch"),
    "package": version("parallel_opt"),
    "header": os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")),
    "compiler": any(shutil.which(c) for c in (os.environ.get("CXX", "g++"), "g++", "clang++"))}))
)";

/// "2.13.0+cpu" is at least 2.9?
bool new_enough(const std::string& version) {
  const std::vector<std::string> parts = split(version, '.');
  const long major = std::strtol(parts[0].c_str(), nullptr, 10);
  const long minor = parts.size() > 1 ? std::strtol(parts[1].c_str(), nullptr, 10) : 0;
  return major > 2 || (major == 2 && minor >= 9);
}

Check torch_check(const PythonFacts& facts, const std::string& python, bool gpus) {
  if (!facts.torch) {
    return {"torch", CheckStatus::fault, "not installed", "nothing can be trained or captured",
            python + " -m pip install torch"};
  }
  if (!new_enough(*facts.torch)) {
    return {"torch", CheckStatus::fault, *facts.torch, "parallel_opt needs PyTorch 2.9 or newer",
            python + " -m pip install --upgrade torch"};
  }
  if (gpus && facts.torch->ends_with("+cpu")) {
    return {"torch", CheckStatus::warning, *facts.torch + ", built without GPUs",
            "the GPUs of this machine are not used",
            "install the build for their driver: https://pytorch.org/get-started/locally"};
  }
  return {"torch", CheckStatus::ok, *facts.torch, {}, {}};
}

Check compile_check(const PythonFacts& facts) {
  std::vector<std::string> lacking;
  if (!facts.compiler) lacking.emplace_back("a C++ compiler");
  if (!facts.header) lacking.emplace_back("Python.h");
  if (lacking.empty()) return {"compile", CheckStatus::ok, "C++ compiler and Python.h", {}, {}};
  return {"compile", CheckStatus::warning, "missing: " + join(lacking, ", "),
          "torch.compile does not work: plans run eager, often 10 % slower",
          "install g++ and python3-dev"};
}

std::optional<Bytes> free_shared_memory() {
  struct statvfs info{};
  if (::statvfs("/dev/shm", &info) != 0) return std::nullopt;
  return Bytes(static_cast<std::int64_t>(info.f_bavail) * static_cast<std::int64_t>(info.f_frsize));
}

bool host_name_resolves() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return false;
  addrinfo* found = nullptr;
  if (::getaddrinfo(name.data(), nullptr, nullptr, &found) != 0) return false;
  ::freeaddrinfo(found);
  return true;
}

/// Interfaces that a variable of gloo or NCCL names and that are not here. NCCL takes the front of
/// a name, "=" before a whole one and "^" before what it is to leave alone.
std::vector<std::string> absent_interfaces(const FileSystem& files, const std::string& value) {
  std::vector<std::string> absent;
  if (value.empty() || value.starts_with('^')) return absent;
  const std::vector<std::string> here = files.list("/sys/class/net");
  const bool whole = value.starts_with('=');
  for (const std::string& name : split(value.substr(whole ? 1 : 0), ',')) {
    const bool found = std::ranges::any_of(here, [&](const std::string& interface) {
      return whole ? interface == name : interface.starts_with(name);
    });
    if (!found) absent.push_back(name);
  }
  return absent;
}

std::map<std::string, std::string> named_interfaces() {
  std::map<std::string, std::string> named;
  for (const char* variable : {"GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"}) {
    if (const char* value = std::getenv(variable)) named[variable] = value;
  }
  return named;
}

/// Device files of drivers that are there, and that this user may not open.
std::vector<std::string> forbidden_devices() {
  std::vector<std::string> forbidden;
  for (const char* path : {"/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dri/renderD128"}) {
    if (::access(path, F_OK) == 0 && ::access(path, R_OK | W_OK) != 0) forbidden.emplace_back(path);
  }
  return forbidden;
}

bool has_gpus(const Cluster& cluster) {
  return std::ranges::find(cluster.devices, DeviceKind::gpu, &Device::kind) !=
         cluster.devices.end();
}

/// Of the usable cores of all nodes.
int usable_cores(const Cluster& cluster) {
  int cores = 0;
  for (const Node& node : cluster.nodes) cores += node.threads;
  return cores;
}

}  // namespace

std::vector<Check> check_python(const Processes& processes, bool gpus) {
  const std::string python = python_program();
  const ProcessResult look = processes.run({python, "-c", kLook});
  if (look.exit_code != 0) {
    return {{"python", CheckStatus::fault, python + " cannot be started",
             "planning works, but nothing can be captured or run",
             "install Python 3.10 or newer, or set PARALLEL_OPT_PYTHON"}};
  }
  const PythonFacts facts = from_json<PythonFacts>(look.output, python);
  std::vector<Check> checks = {
      {"python", CheckStatus::ok, facts.version + " (" + python + ")", {}, {}}};
  if (facts.package) {
    checks.push_back({"package", CheckStatus::ok, *facts.package, {}, {}});
  } else {
    checks.push_back({"package", CheckStatus::fault, "parallel_opt is not installed in this Python",
                      "run, demo and capture do not work",
                      python + " -m pip install . in parallel_opt's source"});
  }
  checks.push_back(torch_check(facts, python, gpus));
  checks.push_back(compile_check(facts));
  return checks;
}

Check check_cores(const Cluster& cluster) {
  Check check{"cores", CheckStatus::ok, "", {}, {}};
  for (const Node& node : cluster.nodes) {
    check.found += fmt::format("{}{} usable of {} physical", check.found.empty() ? "" : "; ",
                               node.threads, node.cores);
    if (node.cpu_quota && *node.cpu_quota < node.cores) {
      check.found += fmt::format(", quota {} cores' worth of time", show(*node.cpu_quota));
      check.status = CheckStatus::warning;
      check.costs = "more threads than the quota grants are throttled; plans stay within it";
      check.remedy = "raise the CPU limit of the container, if more is wanted";
    }
  }
  return check;
}

Check check_memory(const Cluster& cluster) {
  double least = 0;
  for (const Node& node : cluster.nodes) {
    if (least == 0 || node.memory_bytes.value < least) least = node.memory_bytes.value;
  }
  const std::string found = show(Bytes(static_cast<std::int64_t>(least))) + " usable";
  if (least >= 2e9) return {"memory", CheckStatus::ok, found, {}, {}};
  return {"memory", CheckStatus::warning, found,
          "PyTorch and a compiler need about 2 GB by themselves", "raise the memory limit"};
}

Check check_load(const FileSystem& files, const Cluster& cluster) {
  const std::string text = files.read("/proc/loadavg").value_or("");
  if (text.empty()) return {"load", CheckStatus::ok, "unknown", {}, {}};
  const double load = std::strtod(text.c_str(), nullptr);
  const std::string found =
      fmt::format("{} runnable tasks on {} cores", show(load), usable_cores(cluster));
  if (load < 0.5 * usable_cores(cluster)) return {"load", CheckStatus::ok, found, {}, {}};
  return {"load", CheckStatus::warning, found, "probes and trials are noisy now",
          "stop other programs, or repeat later"};
}

Check check_shared_memory(std::optional<Bytes> free) {
  if (!free) {
    return {"shared memory", CheckStatus::warning, "/dev/shm is absent",
            "data loaders with workers fail", "mount a tmpfs on /dev/shm"};
  }
  const std::string found = show(*free) + " free in /dev/shm";
  if (*free >= Bytes(256 * 1024 * 1024)) return {"shared memory", CheckStatus::ok, found, {}, {}};
  return {"shared memory", CheckStatus::warning, found, "data loaders with workers may fail",
          "start the container with --shm-size=1g"};
}

Check check_network(const FileSystem& files, bool host_name_resolves,
                    const std::map<std::string, std::string>& interfaces) {
  const bool loopback = files.exists("/sys/class/net/lo");
  if (!loopback) {
    return {"network", CheckStatus::fault, "no loopback interface", "ranks cannot reach each other",
            "ip link set lo up"};
  }
  for (const auto& [variable, value] : interfaces) {
    const std::vector<std::string> absent = absent_interfaces(files, value);
    if (absent.empty()) continue;
    return {"network", CheckStatus::fault,
            fmt::format("{} names {}, which is not here", variable, join(absent, ", ")),
            "ranks cannot reach each other",
            fmt::format("unset {}, or name one of: {}", variable,
                        join(files.list("/sys/class/net"), ", "))};
  }
  if (!host_name_resolves) {
    return {"network", CheckStatus::warning, "the host's own name does not resolve",
            "gloo may not find an interface",
            "export GLOO_SOCKET_IFNAME=lo, or add the name to /etc/hosts"};
  }
  return {"network", CheckStatus::ok, "loopback, and the host's own name resolves", {}, {}};
}

Check check_gpus(const FileSystem& files, const Cluster& cluster,
                 const std::vector<std::string>& forbidden) {
  std::vector<std::string> gpus;
  for (const Device& device : cluster.devices) {
    if (device.kind == DeviceKind::gpu) gpus.push_back(device.name);
  }
  std::vector<std::string> untold;
  for (const std::string& note : cluster.notes) {
    if (note.starts_with("nvidia:") || note.starts_with("amd:")) untold.push_back(note);
  }
  if (!forbidden.empty()) {
    return {"gpus", CheckStatus::warning,
            (gpus.empty() ? "" : join(gpus, ", ") + ", but ") + join(forbidden, ", ") +
                " may not be opened",
            "GPUs are not used",
            "add this user to the groups video and render, or give the container its devices"};
  }
  if (!gpus.empty() && !untold.empty()) {
    return {"gpus", CheckStatus::warning, join(gpus, ", ") + " (" + join(untold, "; ") + ")",
            "what the driver does not tell is taken from the data sheet or assumed",
            "parallel-opt probe; a newer driver tells more"};
  }
  if (!gpus.empty()) return {"gpus", CheckStatus::ok, join(gpus, ", "), {}, {}};
  if (files.exists("/proc/driver/nvidia") || files.exists("/dev/nvidiactl")) {
    const std::string why = untold.empty() ? "" : " (" + join(untold, "; ") + ")";
    return {"gpus", CheckStatus::warning, "an NVIDIA driver, but no device that answers" + why,
            "GPUs are not used", "see nvidia-smi; is libnvidia-ml.so.1 in this container?"};
  }
  if (files.exists("/dev/kfd")) {
    return {"gpus", CheckStatus::warning, "an AMD driver, but no device in /sys/class/drm",
            "GPUs are not used", "see amd-smi; is /sys/class/drm in this container?"};
  }
  return {"gpus", CheckStatus::ok, "none", {}, {}};
}

Check check_energy_counters(const FileSystem& files, const Cluster& cluster) {
  bool present = false;
  for (const std::string& zone : files.list("/sys/class/powercap")) {
    const std::string counter = "/sys/class/powercap/" + zone + "/energy_uj";
    present = present || files.exists(counter);
    if (files.read(counter))
      return {"energy", CheckStatus::ok, "RAPL counters can be read", {}, {}};
  }
  const bool perf = files.exists("/sys/bus/event_source/devices/power/type");
  const auto paranoid =
      leading_integer(files.read("/proc/sys/kernel/perf_event_paranoid").value_or(""));
  if (perf && paranoid && *paranoid <= 0) {
    return {"energy", CheckStatus::ok, "RAPL counters by perf events", {}, {}};
  }
  present = present || perf;
  const std::string remedy =
      perf ? "sysctl kernel.perf_event_paranoid=0" : "chmod o+r /sys/class/powercap/*/energy_uj";
  const std::string locked = "RAPL counters are there, but may not be read";
  if (has_gpus(cluster)) {
    const std::string found = "counters of the GPUs; the CPU's energy is modelled";
    if (!present) return {"energy", CheckStatus::ok, found, {}, {}};
    return {"energy", CheckStatus::warning, "counters of the GPUs; " + locked,
            "the CPU's energy is modelled from CPU time, +-30 %", remedy};
  }
  return {"energy", CheckStatus::warning, present ? locked : "no energy counters",
          "energy is modelled from CPU time, +-30 %", present ? remedy : "none on this machine"};
}

Check check_cache_directory(const std::string& directory) {
  const std::string file = directory + "/.writable";
  try {
    write_file(file, "");
    ::unlink(file.c_str());
  } catch (const SystemError& e) {
    return {"cache", CheckStatus::warning, e.what(), "every run measures this machine anew",
            "set PARALLEL_OPT_CACHE to a directory you may write"};
  }
  return {"cache", CheckStatus::ok, directory, {}, {}};
}

Check check_probes(const FileSystem& files, const std::string& directory, const Cluster& cluster,
                   const std::string& now) {
  std::vector<std::string> found, notes;
  bool complete = true;
  for (const Device& device : cluster.devices) {
    const CachedProbes cached = cached_probes(files, directory, device, "", now);
    if (cached.probes) {
      found.push_back(cached.probes->date + (cached.probes->software.empty()
                                                 ? ", memory only"
                                                 : ", " + cached.probes->software));
    }
    complete =
        complete && cached.probes && !cached.probes->software.empty() && !cached.probes->busy;
    notes.insert(notes.end(), cached.notes.begin(), cached.notes.end());
  }
  std::string text = found.empty() ? "none" : join(found, "; ");
  if (!notes.empty()) text += " (" + join(notes, "; ") + ")";
  if (complete && !cluster.devices.empty()) return {"probes", CheckStatus::ok, text, {}, {}};
  return {"probes", CheckStatus::warning, text,
          "plans rest on data sheets; the first run measures and takes longer",
          "parallel-opt probe"};
}

std::vector<Check> all_checks(const Processes& processes) {
  const DiskFileSystem files;
  const Cluster cluster = discover(files, this_machine());
  std::vector<Check> checks = check_python(processes, has_gpus(cluster));
  checks.push_back(check_cores(cluster));
  checks.push_back(check_memory(cluster));
  checks.push_back(check_load(files, cluster));
  checks.push_back(check_shared_memory(free_shared_memory()));
  checks.push_back(check_network(files, host_name_resolves(), named_interfaces()));
  checks.push_back(check_gpus(files, cluster, forbidden_devices()));
  checks.push_back(check_energy_counters(files, cluster));
  checks.push_back(check_cache_directory(cache_directory()));
  checks.push_back(check_probes(files, probe_directory(), cluster, today()));
  return checks;
}

}  // namespace parallel_opt
