#include <algorithm>

#include "parallel_opt/base/text.h"
#include "parallel_opt/hardware/cgroup.h"
#include "parallel_opt/hardware/energy_parts.h"

namespace parallel_opt::energy_parts {
namespace {

constexpr char kPowercap[] = "/sys/class/powercap";
constexpr char kPerf[] = "/sys/bus/event_source/devices/power";

class RaplSource final : public EnergySource {
 public:
  /// nullptr when there is nothing to read.
  static std::unique_ptr<RaplSource> open(const FileSystem& files, bool& forbidden) {
    auto source = std::unique_ptr<RaplSource>(new RaplSource(files));
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

/// One counter of one package.
struct PerfDomain {
  std::string name;
  std::unique_ptr<PerfEvent> event;
  double joules_per_count = 0;
  std::uint64_t start = 0;
  bool lost = false;
};

class PerfSource final : public EnergySource {
 public:
  explicit PerfSource(std::vector<PerfDomain> domains) : domains_(std::move(domains)) {}

  void begin(double now_s) override {
    start_s_ = now_s;
    for (PerfDomain& domain : domains_) {
      const std::optional<std::uint64_t> count = domain.event->read();
      domain.lost = !count;
      domain.start = count.value_or(0);
    }
  }
  void sample(double) override {}

  void end(double now_s, EnergyReading& reading) override {
    for (const PerfDomain& domain : domains_) {
      const std::optional<std::uint64_t> count = domain.event->read();
      if (domain.lost || !count || *count < domain.start) {
        reading.devices.push_back({domain.name, "perf", std::nullopt, Quality::unavailable});
        reading.notes.push_back("perf: " + domain.name + " could not be read to the end");
        continue;
      }
      reading.devices.push_back(counted(domain.name, "perf",
                                        double(*count - domain.start) * domain.joules_per_count,
                                        now_s - start_s_, kStepSeconds));
    }
  }

  double period_s() const override { return 60; }

 private:
  static constexpr double kStepSeconds = 1e-3;
  std::vector<PerfDomain> domains_;
  double start_s_ = 0;
};

/// "event=0x02" -> 2
std::optional<std::uint64_t> event_number(const std::string& text) {
  const std::string key = "event=0x";
  const std::size_t at = text.find(key);
  if (at == std::string::npos) return std::nullopt;
  return std::strtoull(text.c_str() + at + key.size(), nullptr, 16);
}

/// Opens one event on one logical core of each package.
void open_domain(const FileSystem& files, const OpenPerfEvent& open, const std::string& event,
                 const std::string& label, std::vector<PerfDomain>& domains) {
  const std::string directory = std::string(kPerf) + "/";
  const auto type = leading_integer(files.read(directory + "type").value_or(""));
  const auto config = event_number(files.read(directory + "events/" + event).value_or(""));
  const double scale = std::strtod(
      files.read(directory + "events/" + event + ".scale").value_or("").c_str(), nullptr);
  if (!type || !config || !(scale > 0)) return;
  const std::vector<int> cores = parse_cpu_list(files.read(directory + "cpumask").value_or(""));
  for (std::size_t package = 0; package < cores.size(); ++package) {
    PerfEventSpec spec{static_cast<std::uint32_t>(*type), *config, cores[package]};
    std::unique_ptr<PerfEvent> opened = open(spec);
    if (opened == nullptr) continue;
    domains.push_back({label + std::to_string(package), std::move(opened), scale, 0, false});
  }
}

}  // namespace

std::unique_ptr<EnergySource> open_powercap(const FileSystem& files, bool& forbidden) {
  return RaplSource::open(files, forbidden);
}

std::unique_ptr<EnergySource> open_perf_rapl(const FileSystem& files, const OpenPerfEvent& open,
                                             std::vector<std::string>& notes) {
  if (!open || !files.read(std::string(kPerf) + "/type")) return nullptr;
  std::vector<PerfDomain> domains;
  open_domain(files, open, "energy-pkg", "package-", domains);
  if (domains.empty()) {
    const std::string level(
        trim(files.read("/proc/sys/kernel/perf_event_paranoid").value_or("not told")));
    notes.push_back("perf: power events may not be opened (kernel.perf_event_paranoid: " + level +
                    ")");
    return nullptr;
  }
  open_domain(files, open, "energy-ram", "dram of package-", domains);
  return std::make_unique<PerfSource>(std::move(domains));
}

}  // namespace parallel_opt::energy_parts
