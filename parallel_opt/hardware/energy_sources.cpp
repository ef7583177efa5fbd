#include "parallel_opt/hardware/energy_sources.h"

#include <algorithm>
#include <map>
#include <sstream>

#include "parallel_opt/base/text.h"
#include "parallel_opt/hardware/cgroup.h"
#include "parallel_opt/hardware/nvml.h"

namespace parallel_opt {
namespace {

constexpr char kPowercap[] = "/sys/class/powercap";
constexpr double kModelSpread = 0.3;
/// A counter read over fewer steps than this is as rough as sampled power.
constexpr double kLeastSteps = 5;
/// Kernel clock ticks per second in /proc; the same on every Linux that PyTorch runs on.
constexpr double kTicksPerSecond = 100;

/// Energy of a counter that moves in steps of `step_s`: one step at either end is in doubt.
DeviceEnergy counted(std::string name, std::string source, double joules, double window_s,
                     double step_s) {
  const double doubt = window_s > 0 ? std::min(1.0, step_s / window_s) : 1.0;
  const Quality quality =
      window_s < kLeastSteps * step_s ? Quality::integrated_power : Quality::counter;
  return {std::move(name), std::move(source), within(joules, doubt, quality), quality};
}

/// RAPL domains that do not overlap: packages, and DRAM, which packages leave out. "core" and
/// "uncore" are inside a package, "psys" holds everything, MMIO zones repeat the package.
class RaplSource final : public EnergySource {
 public:
  /// nullptr when there is nothing to read.
  static std::unique_ptr<RaplSource> open(const FileSystem& files,
                                          std::vector<std::string>& notes) {
    auto source = std::unique_ptr<RaplSource>(new RaplSource(files));
    bool forbidden = false;
    for (const std::string& zone : files.list(kPowercap)) {
      if (!zone.starts_with("intel-rapl:")) continue;
      const std::string directory = std::string(kPowercap) + "/" + zone + "/";
      const std::string name(trim(files.read(directory + "name").value_or("")));
      if (!name.starts_with("package") && name != "dram") continue;
      Domain domain{name, directory + "energy_uj", 0, 0, 0};
      if (!source->read(domain)) {
        forbidden = forbidden || files.exists(domain.path);
        continue;
      }
      if (name == "dram") domain.name += " of " + zone.substr(0, zone.rfind(':'));
      domain.range_uj = double(
          leading_integer(files.read(directory + "max_energy_range_uj").value_or("")).value_or(0));
      source->domains_.push_back(domain);
    }
    if (forbidden) {
      notes.emplace_back("rapl: energy_uj may be read by root only: energy is modelled");
    }
    // DRAM alone is not the CPU's energy.
    const bool package = std::ranges::any_of(
        source->domains_, [](const Domain& d) { return d.name.starts_with("package"); });
    if (!package) return nullptr;
    return source;
  }

  void begin(double now_s) override {
    start_s_ = now_s;
    for (Domain& domain : domains_) {
      domain.joules = 0;
      domain.lost = !read(domain);
    }
  }

  void sample(double) override {
    for (Domain& domain : domains_) {
      const double before = domain.last_uj;
      if (domain.lost || !read(domain)) {
        domain.lost = true;
        continue;
      }
      double delta = domain.last_uj - before;
      if (delta < 0) delta += domain.range_uj;  // wrapped once: sampled faster than it can twice
      if (delta < 0) domain.lost = true;        // no range is known: the number means nothing
      domain.joules += delta * 1e-6;
    }
  }

  void end(double now_s, EnergyReading& reading) override {
    sample(now_s);
    for (const Domain& domain : domains_) {
      if (domain.lost) {
        reading.devices.push_back({domain.name, "rapl", std::nullopt, Quality::unavailable});
        reading.notes.push_back("rapl: " + domain.name + " could not be read to the end");
      } else {
        reading.devices.push_back(
            counted(domain.name, "rapl", domain.joules, now_s - start_s_, kStepSeconds));
      }
    }
  }

  double period_s() const override {
    double period = 1.0;
    for (const Domain& domain : domains_) {
      if (domain.range_uj > 0) {
        period = std::min(period, domain.range_uj * 1e-6 / kMostWatts / 2);
      }
    }
    return period;
  }

 private:
  static constexpr double kStepSeconds = 1e-3;  // the counter is updated about each millisecond
  static constexpr double kMostWatts = 1000;    // of a package: bounds the time to a wrap

  struct Domain {
    std::string name;
    std::string path;
    double last_uj = 0;
    double range_uj = 0;
    double joules = 0;
    bool lost = false;
  };

  explicit RaplSource(const FileSystem& files) : files_(files) {}

  bool read(Domain& domain) const {
    const auto now = leading_integer(files_.read(domain.path).value_or(""));
    if (!now) return false;
    domain.last_uj = double(*now);
    return true;
  }

  const FileSystem& files_;
  std::vector<Domain> domains_;
  double start_s_ = 0;
};

/// NVIDIA devices: the energy counter where there is one, else power integrated by trapezoid.
class NvmlSource final : public EnergySource {
 public:
  NvmlSource(Nvml nvml, const std::vector<NvmlDevice>& devices) : nvml_(std::move(nvml)) {
    for (const NvmlDevice& device : devices) parts_.push_back({device, {}, {}, 0, 0, false});
  }

  /// Of these modules the counters hold the CPU's energy too.
  bool covers_cpu() const {
    return std::ranges::any_of(parts_, [](const Part& part) {
      return part.device.name.find("GH200") != std::string::npos ||
             part.device.name.find("GB200") != std::string::npos;
    });
  }

  void begin(double now_s) override {
    start_s_ = now_s;
    for (Part& part : parts_) {
      part.start_j = nvml_.energy_j(part.device.index);
      part.last_w = nvml_.power_w(part.device.index);
      part.last_s = now_s;
      part.joules = 0;
      part.lost = !part.start_j && !part.last_w;
    }
  }

  void sample(double now_s) override {
    for (Part& part : parts_) {
      if (part.start_j || part.lost || !part.last_w) continue;
      const std::optional<double> watts = nvml_.power_w(part.device.index);
      if (!watts) {
        part.lost = true;
        continue;
      }
      part.joules += (*part.last_w + *watts) / 2 * (now_s - part.last_s);
      part.last_w = watts;
      part.last_s = now_s;
    }
  }

  void end(double now_s, EnergyReading& reading) override {
    sample(now_s);
    for (const Part& part : parts_) {
      const double window_s = now_s - start_s_;
      const std::optional<double> end_j =
          part.start_j ? nvml_.energy_j(part.device.index) : std::nullopt;
      if (end_j && *end_j >= *part.start_j) {  // less: the driver was loaded again
        reading.devices.push_back(counted(part.device.name, "nvml counter", *end_j - *part.start_j,
                                          window_s, kStepSeconds));
      } else if (!part.start_j && !part.lost) {
        reading.devices.push_back({part.device.name, "nvml power",
                                   within(part.joules, kPowerSpread, Quality::integrated_power),
                                   Quality::integrated_power});
      } else {
        reading.devices.push_back({part.device.name, "nvml", std::nullopt, Quality::unavailable});
        reading.notes.push_back("nvidia: " + part.device.name + " tells neither energy nor power");
      }
    }
  }

  double period_s() const override { return kStepSeconds; }

 private:
  static constexpr double kStepSeconds = 0.1;
  static constexpr double kPowerSpread = 0.1;  // only part of the time is sampled by the device

  struct Part {
    NvmlDevice device;
    std::optional<double> start_j;
    std::optional<double> last_w;
    double last_s = 0;
    double joules = 0;
    bool lost = false;
  };

  Nvml nvml_;
  std::vector<Part> parts_;
  double start_s_ = 0;
};

/// CPU devices without a sensor: P = idle + (max - idle) * utilisation of their cores.
class CpuModelSource final : public EnergySource {
 public:
  CpuModelSource(const FileSystem& files, std::vector<Device> devices)
      : files_(files), devices_(std::move(devices)) {}

  void begin(double now_s) override {
    start_s_ = now_s;
    start_ = read();
  }
  void sample(double) override {}

  void end(double now_s, EnergyReading& reading) override {
    const Ticks now = read();
    const double window_s = now_s - start_s_;
    for (const Device& device : devices_) {
      if (!device.power) {
        reading.devices.push_back(
            {device.name, "cpu time model", std::nullopt, Quality::unavailable});
        reading.notes.push_back("energy: the power of " + device.name + " is not known");
        continue;
      }
      const std::optional<double> busy = utilisation(device, now, window_s);
      const double idle_w = device.power->idle_w.value;
      const double range_w = device.power->max_w.value - idle_w;
      Uncertain joules = within((idle_w + range_w * busy.value_or(0.5)) * window_s, kModelSpread,
                                Quality::modelled);
      if (!busy) {  // shorter than the kernel's clock tick: anything from idle to full
        joules.low = idle_w * window_s * (1 - kModelSpread);
        joules.high = (idle_w + range_w) * window_s * (1 + kModelSpread);
      }
      reading.devices.push_back({device.name, "cpu time model", joules, Quality::modelled});
    }
  }

  double period_s() const override { return 60; }

 private:
  struct Core {
    double busy = 0;
    double all = 0;
  };
  struct Ticks {
    std::map<int, Core> cores;  ///< /proc/stat
    std::optional<double> own;  ///< /proc/self/stat: this process and its ended children
  };

  Ticks read() const {
    Ticks ticks;
    std::istringstream lines(files_.read("/proc/stat").value_or(""));
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with("cpu") || line.starts_with("cpu ")) continue;
      const auto id = leading_integer(std::string_view(line).substr(3));
      if (!id) continue;
      std::istringstream numbers(line.substr(line.find(' ')));
      Core core;  // user nice system idle iowait irq softirq steal
      double value = 0;
      for (int column = 0; column < 8 && numbers >> value; ++column) {
        core.all += value;
        if (column != 3 && column != 4 && column != 7) core.busy += value;
      }
      ticks.cores[static_cast<int>(*id)] = core;
    }
    const std::string self = files_.read("/proc/self/stat").value_or("");
    const std::size_t name_end = self.rfind(')');  // the name may hold anything
    if (name_end != std::string::npos) {
      std::istringstream rest(self.substr(name_end + 1));
      std::string word;
      double own = 0;
      // Columns 14 to 17: user and system time, own and of ended children; the name is column 2.
      for (int column = 3; column <= 17 && rest >> word; ++column) {
        if (column >= 14) own += double(leading_integer(word).value_or(0));
      }
      ticks.own = own;
    }
    return ticks;
  }

  std::optional<double> utilisation(const Device& device, const Ticks& now, double window_s) const {
    Core sum;
    for (const int id : device.cores) {
      const auto before = start_.cores.find(id);
      const auto after = now.cores.find(id);
      if (before == start_.cores.end() || after == now.cores.end()) continue;
      sum.busy += after->second.busy - before->second.busy;
      sum.all += after->second.all - before->second.all;
    }
    if (sum.all > 0) return std::clamp(sum.busy / sum.all, 0.0, 1.0);
    if (!now.cores.empty() || !start_.own || !now.own || window_s < 1 / kTicksPerSecond) {
      return std::nullopt;
    }
    const double cores = double(std::max<std::size_t>(1, device.cores.size()));
    return std::clamp((*now.own - *start_.own) / kTicksPerSecond / window_s / cores, 0.0, 1.0);
  }

  const FileSystem& files_;
  std::vector<Device> devices_;
  Ticks start_;
  double start_s_ = 0;
};

}  // namespace

std::vector<std::unique_ptr<EnergySource>> make_energy_sources(const FileSystem& files,
                                                               const Cluster& cluster,
                                                               const std::string& nvml_library,
                                                               std::vector<std::string>& notes) {
  std::vector<std::unique_ptr<EnergySource>> sources;
  bool cpu_covered = false;
  if (!nvml_library.empty()) {
    if (std::optional<Nvml> nvml = Nvml::open(nvml_library, notes)) {
      // What the driver does not tell about devices was told when they were discovered.
      std::vector<std::string> told;
      const std::vector<NvmlDevice> devices = nvml->devices(told);
      auto source = std::make_unique<NvmlSource>(*std::move(nvml), devices);
      cpu_covered = source->covers_cpu();
      if (!devices.empty()) sources.push_back(std::move(source));
    }
  }
  if (cpu_covered) return sources;
  if (std::unique_ptr<RaplSource> rapl = RaplSource::open(files, notes)) {
    sources.push_back(std::move(rapl));
    return sources;
  }
  std::vector<Device> cpus;
  std::ranges::copy_if(cluster.devices, std::back_inserter(cpus),
                       [](const Device& d) { return d.kind == DeviceKind::cpu; });
  if (!cpus.empty()) sources.push_back(std::make_unique<CpuModelSource>(files, std::move(cpus)));
  return sources;
}

}  // namespace parallel_opt
