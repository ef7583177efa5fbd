#include <algorithm>
#include <map>
#include <sstream>

#include "parallel_opt/hardware/cgroup.h"
#include "parallel_opt/hardware/energy_parts.h"
#include "parallel_opt/hardware/energy_sources.h"

namespace parallel_opt::energy_parts {
namespace {

constexpr double kModelSpread = 0.3;
/// Kernel clock ticks per second in /proc; the same on every Linux that PyTorch runs on.
constexpr double kTicksPerSecond = 100;

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
      const std::optional<Power> power = known_power(device);
      if (!power) {
        reading.devices.push_back(
            {device.name, "cpu time model", std::nullopt, Quality::unavailable});
        reading.notes.push_back("energy: the power of " + device.name + " is not known");
        continue;
      }
      const std::optional<double> busy = utilisation(device, now, window_s);
      const double idle_w = power->idle_w.value;
      const double range_w = power->max_w.value - idle_w;
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

std::unique_ptr<EnergySource> make_cpu_model(const FileSystem& files, std::vector<Device> devices) {
  return std::make_unique<CpuModelSource>(files, std::move(devices));
}

}  // namespace parallel_opt::energy_parts
