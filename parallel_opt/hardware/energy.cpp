#include "parallel_opt/hardware/energy.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "parallel_opt/hardware/discover.h"
#include "parallel_opt/hardware/energy_sources.h"

namespace parallel_opt {
namespace {

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Watts at rest of every device; absent when those of one are not known.
std::optional<Uncertain> idle_watts(const Cluster& cluster) {
  std::optional<Uncertain> sum;
  for (const Device& device : cluster.devices) {
    const std::optional<Power> power = known_power(device);
    if (!power) return std::nullopt;
    sum = sum ? *sum + power->idle_w : power->idle_w;
  }
  return sum;
}

void sum_up(EnergyReading& reading) {
  for (const DeviceEnergy& device : reading.devices) {
    if (!device.energy_j) continue;
    reading.quality = reading.energy_j ? worst(reading.quality, device.quality) : device.quality;
    reading.energy_j = reading.energy_j ? *reading.energy_j + *device.energy_j : *device.energy_j;
  }
}

}  // namespace

struct EnergyMeter::Impl {
  std::unique_ptr<const FileSystem> files;
  EnergyOptions options;
  std::vector<std::string> notes;
  std::vector<std::unique_ptr<EnergySource>> sources;
  std::optional<Uncertain> idle_w;
  bool open = false;
  double start_s = 0;
  double period_s = 1;
  std::mutex mutex;  // sources, open
  std::condition_variable_any wake;
  std::jthread sampler;  // last: it ends before what it uses

  double now_s() const { return options.clock_s(); }

  void run(const std::stop_token& stop) {
    std::unique_lock lock(mutex);
    while (!stop.stop_requested()) {
      wake.wait_for(lock, stop, std::chrono::duration<double>(period_s), [] { return false; });
      if (stop.stop_requested() || !open) continue;
      for (const auto& source : sources) source->sample(now_s());
    }
  }
};

EnergyMeter::EnergyMeter(std::unique_ptr<const FileSystem> files, const Cluster& cluster,
                         EnergyOptions options)
    : impl_(std::make_unique<Impl>()) {
  impl_->files = std::move(files);
  impl_->options = std::move(options);
  impl_->idle_w = idle_watts(cluster);
  if (!impl_->options.clock_s) impl_->options.clock_s = steady_seconds;
  impl_->sources = make_energy_sources(*impl_->files, cluster, impl_->options, impl_->notes);
  for (const auto& source : impl_->sources) {
    impl_->period_s = std::min(impl_->period_s, source->period_s());
  }
}

EnergyMeter::EnergyMeter()
    : EnergyMeter(std::make_unique<DiskFileSystem>(), discover(DiskFileSystem(), this_machine())) {}

EnergyMeter::EnergyMeter(EnergyMeter&&) noexcept = default;
EnergyMeter::~EnergyMeter() = default;

void EnergyMeter::begin() {
  const std::scoped_lock lock(impl_->mutex);
  impl_->start_s = impl_->now_s();
  impl_->open = true;
  for (const auto& source : impl_->sources) source->begin(impl_->start_s);
  if (impl_->options.background && !impl_->sampler.joinable()) {
    impl_->sampler = std::jthread([impl = impl_.get()](const std::stop_token& s) { impl->run(s); });
  }
}

void EnergyMeter::sample() {
  const std::scoped_lock lock(impl_->mutex);
  if (!impl_->open) return;
  for (const auto& source : impl_->sources) source->sample(impl_->now_s());
}

EnergyReading EnergyMeter::end() {
  EnergyReading reading;
  reading.notes = impl_->notes;
  {
    const std::scoped_lock lock(impl_->mutex);
    if (!impl_->open) {
      reading.notes.emplace_back("energy: no window was begun");
      return reading;
    }
    impl_->open = false;
    const double now_s = impl_->now_s();
    reading.window_s = now_s - impl_->start_s;
    for (const auto& source : impl_->sources) source->end(now_s, reading);
  }
  if (impl_->sampler.joinable()) {  // no thread of ours lives between windows: users fork
    impl_->sampler.request_stop();
    impl_->sampler.join();
  }
  sum_up(reading);
  if (impl_->idle_w && reading.energy_j) {
    Uncertain idle = *impl_->idle_w * reading.window_s;
    if (idle.quality == Quality::assumed) {  // then it cannot be more than all that was metered
      idle.value = std::min(idle.value, reading.energy_j->value);
      idle.low = std::min(idle.low, idle.value);
    }
    reading.idle_j = idle;
  }
  return reading;
}

}  // namespace parallel_opt
