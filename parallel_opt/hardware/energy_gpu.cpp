#include "parallel_opt/hardware/amdgpu.h"
#include "parallel_opt/hardware/energy_parts.h"

namespace parallel_opt::energy_parts {
namespace {

constexpr double kPowerSpread = 0.1;  // only part of the time is sampled by the device

/// What one device is asked for.
struct GpuSensors {
  std::string name;
  std::string vendor;   ///< "nvml", "amd"
  double step_s = 0.1;  ///< of the energy counter
  std::function<std::optional<double>()> energy_j;
  std::function<std::optional<double>()> power_w;
};

class GpuSource final : public EnergySource {
 public:
  /// `keep` lives as long as the sensors that use it.
  GpuSource(std::vector<GpuSensors> sensors, std::function<void()> keep) : keep_(std::move(keep)) {
    for (GpuSensors& one : sensors) parts_.push_back({std::move(one), {}, {}, 0, 0, false});
  }

  void begin(double now_s) override {
    start_s_ = now_s;
    for (Part& part : parts_) {
      part.start_j = part.sensors.energy_j();
      part.last_w = part.start_j ? std::nullopt : part.sensors.power_w();
      part.last_s = now_s;
      part.joules = 0;
      part.lost = !part.start_j && !part.last_w;
    }
  }

  void sample(double now_s) override {
    for (Part& part : parts_) {
      if (part.start_j || part.lost || !part.last_w) continue;
      const std::optional<double> watts = part.sensors.power_w();
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
      const GpuSensors& sensors = part.sensors;
      const double window_s = now_s - start_s_;
      const std::optional<double> end_j =
          part.start_j ? sensors.energy_j() : std::optional<double>();
      const double start_j = part.start_j.value_or(0);
      if (end_j && *end_j >= start_j) {  // less: the driver was loaded again
        reading.devices.push_back(counted(sensors.name, sensors.vendor + " counter",
                                          *end_j - start_j, window_s, sensors.step_s));
      } else if (!part.start_j && !part.lost) {
        reading.devices.push_back({sensors.name, sensors.vendor + " power",
                                   within(part.joules, kPowerSpread, Quality::integrated_power),
                                   Quality::integrated_power});
      } else {
        const std::string who = sensors.vendor == "nvml" ? "nvidia" : "amd";
        reading.devices.push_back(
            {sensors.name, sensors.vendor, std::nullopt, Quality::unavailable});
        reading.notes.push_back(who + ": " + sensors.name + " tells neither energy nor power");
      }
    }
  }

  double period_s() const override { return kSampleSeconds; }

 private:
  static constexpr double kSampleSeconds = 0.1;

  struct Part {
    GpuSensors sensors;
    std::optional<double> start_j;
    std::optional<double> last_w;
    double last_s = 0;
    double joules = 0;
    bool lost = false;
  };

  std::function<void()> keep_;
  std::vector<Part> parts_;
  double start_s_ = 0;
};

}  // namespace

std::unique_ptr<EnergySource> make_nvml_source(Nvml nvml, const std::vector<GpuRecord>& devices) {
  const auto library = std::make_shared<Nvml>(std::move(nvml));  // std::function wants copies
  std::vector<GpuSensors> sensors;
  for (const GpuRecord& device : devices) {
    const int index = device.index;
    sensors.push_back({device.name, "nvml", 0.1,
                       [library, index] { return library->energy_j(index); },
                       [library, index] { return library->power_w(index); }});
  }
  return std::make_unique<GpuSource>(std::move(sensors), [library] {});
}

std::unique_ptr<EnergySource> make_amd_source(std::unique_ptr<AmdSmi> library,
                                              const FileSystem& files,
                                              const std::vector<GpuRecord>& devices) {
  const std::shared_ptr<AmdSmi> shared = std::move(library);
  std::vector<GpuSensors> sensors;
  for (const GpuRecord& device : devices) {
    int index = -1;  // as the library counts
    for (int i = 0; shared != nullptr && i < shared->count(); ++i) {
      if (shared->pci(i) == device.pci) index = i;
    }
    sensors.push_back(
        {device.name, "amd", 1e-3,
         [shared, index] { return index < 0 ? std::nullopt : shared->energy_j(index); },
         [shared, index, &files, pci = device.pci] {
           const auto told = index < 0 ? std::nullopt : shared->power_w(index);
           return told ? told : amdgpu_power_w(files, pci);
         }});
  }
  return std::make_unique<GpuSource>(std::move(sensors), [shared] {});
}

}  // namespace parallel_opt::energy_parts
