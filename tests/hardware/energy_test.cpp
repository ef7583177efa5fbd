#include "parallel_opt/hardware/energy.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include "parallel_opt/hardware/discover.h"
#include "tests/hardware/hosts.h"

namespace parallel_opt {
namespace {

using Notes = std::vector<std::string>;

/// A host whose files and clock the test moves on.
class Bench {
 public:
  explicit Bench(MemoryFileSystem host, const std::string& nvml = "")
      : owned_(std::make_unique<MemoryFileSystem>(std::move(host))),
        files(*owned_),
        cluster(discover(files)) {
    options_.nvml_library = nvml;
    options_.amd_libraries.clear();
    options_.open_perf = nullptr;
    options_.background = false;
    options_.clock_s = [this] { return now_s; };
  }
  EnergyMeter meter() { return EnergyMeter(std::move(owned_), cluster, options_); }

 private:
  std::unique_ptr<MemoryFileSystem> owned_;
  EnergyOptions options_;

 public:
  MemoryFileSystem& files;
  Cluster cluster;
  double now_s = 100;
};

void add_zone(MemoryFileSystem& files, const std::string& zone, const std::string& name,
              const std::string& energy_uj, const std::string& range_uj = "262143328850") {
  const std::string directory = "/sys/class/powercap/" + zone + "/";
  files.files[directory + "name"] = name + "\n";
  files.files[directory + "energy_uj"] = energy_uj + "\n";
  files.files[directory + "max_energy_range_uj"] = range_uj + "\n";
}

MemoryFileSystem powercap_host() {
  MemoryFileSystem files = hosts::small_vm();
  add_zone(files, "intel-rapl:0", "package-0", "1000000");
  add_zone(files, "intel-rapl:0:0", "core", "500000");
  add_zone(files, "intel-rapl:0:1", "dram", "200000");
  add_zone(files, "intel-rapl:1", "psys", "9000000");
  add_zone(files, "intel-rapl-mmio:0", "package-0", "1000000");
  return files;
}

void set(Bench& bench, const std::string& zone, const std::string& energy_uj) {
  bench.files.files["/sys/class/powercap/" + zone + "/energy_uj"] = energy_uj + "\n";
}

TEST(Energy, RaplAddsPackageAndMemoryOnly) {
  Bench bench(powercap_host());
  EnergyMeter meter = bench.meter();
  meter.begin();
  bench.now_s += 2;
  set(bench, "intel-rapl:0", "31000000");    // + 30 J
  set(bench, "intel-rapl:0:1", "4200000");   // + 4 J
  set(bench, "intel-rapl:0:0", "20000000");  // inside the package
  set(bench, "intel-rapl:1", "90000000");    // around everything
  const EnergyReading reading = meter.end();
  EXPECT_EQ(reading.quality, Quality::counter);
  EXPECT_DOUBLE_EQ(reading.window_s, 2);
  EXPECT_DOUBLE_EQ(reading.energy_j->value, 34);
  // One counter step of 1 ms of 2 s is in doubt.
  EXPECT_DOUBLE_EQ(reading.energy_j->high, 34 * (1 + 1e-3 / 2));
  ASSERT_EQ(reading.devices.size(), 2u);
  EXPECT_EQ(reading.devices[0].name, "package-0");
  EXPECT_EQ(reading.devices[1].name, "dram of intel-rapl:0");
  EXPECT_EQ(reading.notes, Notes{});
}

TEST(Energy, ACounterThatWrapsGoesOnCounting) {
  MemoryFileSystem files = hosts::small_vm();
  add_zone(files, "intel-rapl:0", "package-0", "90000000", "100000000");  // wraps at 100 J
  Bench bench(files);
  EnergyMeter meter = bench.meter();
  meter.begin();
  bench.now_s += 1;
  set(bench, "intel-rapl:0", "20000000");  // 90 -> 100 = 0 -> 20: 30 J
  meter.sample();
  bench.now_s += 1;
  set(bench, "intel-rapl:0", "10000000");  // 20 -> 100 = 0 -> 10: 90 J
  EXPECT_DOUBLE_EQ(meter.end().energy_j->value, 120);
}

TEST(Energy, AWindowOfFewCounterStepsIsNoBetterThanSampledPower) {
  Bench bench(powercap_host());
  EnergyMeter meter = bench.meter();
  meter.begin();
  bench.now_s += 4e-3;
  set(bench, "intel-rapl:0", "1400000");  // + 0.4 J
  const EnergyReading reading = meter.end();
  EXPECT_EQ(reading.quality, Quality::integrated_power);
  EXPECT_NEAR(reading.energy_j->low, 0.4 * (1 - 0.25), 1e-9);  // 1 ms of 4
}

TEST(Energy, ACounterThatIsForbiddenIsSaidAndModelled) {
  MemoryFileSystem files = hosts::small_vm();
  add_zone(files, "intel-rapl:0", "package-0", "");
  files.files["/proc/stat"] = "cpu 0 0 0 0\ncpu0 0 0 0 0 0 0 0 0\ncpu1 0 0 0 0 0 0 0 0\n";
  Bench bench(files);
  EnergyMeter meter = bench.meter();
  meter.begin();
  bench.now_s += 10;
  const EnergyReading reading = meter.end();
  EXPECT_EQ(reading.quality, Quality::modelled);
  EXPECT_EQ(reading.notes, Notes{"rapl: energy_uj may be read by root only: energy is modelled"});
}

TEST(Energy, ACounterThatVanishesIsUnavailableNotZero) {
  Bench bench(powercap_host());
  EnergyMeter meter = bench.meter();
  meter.begin();
  bench.now_s += 1;
  bench.files.files.erase("/sys/class/powercap/intel-rapl:0/energy_uj");
  set(bench, "intel-rapl:0:1", "1200000");  // DRAM still counts: + 1 J
  const EnergyReading reading = meter.end();
  EXPECT_EQ(reading.devices[0].energy_j, std::nullopt);
  EXPECT_DOUBLE_EQ(reading.energy_j->value, 1);
  EXPECT_EQ(reading.notes, Notes{"rapl: package-0 could not be read to the end"});
}

TEST(Energy, WithoutSensorsCpuTimeIsTheModel) {
  MemoryFileSystem files = hosts::small_vm();
  //                                    user nice system idle iowait irq softirq steal
  files.files["/proc/stat"] =
      "cpu  9 9 9 9 9 9 9 9\ncpu0 100 0 0 100 0 0 0 0\ncpu1 0 0 0 0 0 0 0 0\n";
  Bench bench(files);
  EnergyMeter meter = bench.meter();
  meter.begin();
  bench.now_s += 2;
  bench.files.files["/proc/stat"] =
      "cpu  9 9 9 9 9 9 9 9\ncpu0 250 0 50 100 0 0 0 0\ncpu1 0 0 0 150 50 0 0 0\n";
  const EnergyReading reading = meter.end();
  // Busy 200 of 200 ticks and 0 of 200: half. Two Zen4 cores: 7.5 W at most, 30 % of it when idle.
  const double watts = 2.25 + (7.5 - 2.25) * 0.5;
  EXPECT_NEAR(reading.energy_j->value, watts * 2, 1e-9);
  EXPECT_NEAR(reading.energy_j->low, watts * 2 * 0.7, 1e-9);
  EXPECT_NEAR(reading.energy_j->high, watts * 2 * 1.3, 1e-9);
  EXPECT_EQ(reading.quality, Quality::modelled);
  EXPECT_EQ(reading.devices[0].source, "cpu time model");
}

TEST(Energy, WithoutProcStatTheOwnProcessIsTheModel) {
  Bench bench(hosts::small_vm());
  bench.files.files["/proc/self/stat"] = "7 (py) thon) S 1 1 1 0 -1 4 5 6 7 8 100 0 0 0 20\n";
  EnergyMeter meter = bench.meter();
  meter.begin();
  bench.now_s += 2;
  bench.files.files["/proc/self/stat"] = "7 (py) thon) S 1 1 1 0 -1 4 5 6 7 8 150 25 20 5 20\n";
  // 100 ticks = 1 s of CPU in 2 s on 2 cores: a quarter.
  EXPECT_NEAR(meter.end().energy_j->value, 2 * (2.25 + 5.25 * 0.25), 1e-9);
}

TEST(Energy, AWindowBelowTheClockTickSpansIdleToFull) {
  MemoryFileSystem files = hosts::small_vm();
  files.files["/proc/stat"] = "cpu0 1 0 0 1\ncpu1 1 0 0 1\n";
  Bench bench(files);
  EnergyMeter meter = bench.meter();
  meter.begin();
  bench.now_s += 0.004;
  const EnergyReading reading = meter.end();
  EXPECT_NEAR(reading.energy_j->low, 2.25 * 0.004 * 0.7, 1e-12);
  EXPECT_NEAR(reading.energy_j->high, 7.5 * 0.004 * 1.3, 1e-12);
}

TEST(Energy, AnUnknownProcessorIsUnavailable) {
  Bench bench{MemoryFileSystem()};
  EnergyMeter meter = bench.meter();
  meter.begin();
  bench.now_s += 1;
  const EnergyReading reading = meter.end();
  EXPECT_EQ(reading.energy_j, std::nullopt);
  EXPECT_EQ(reading.quality, Quality::unavailable);
  EXPECT_EQ(
      reading.notes,
      (Notes{("rapl: the processor shows no counters, in powercap or as perf events: its energy is "
              "modelled from CPU time, +-30 %"),
             "energy: the power of unknown processor (1 core) is not known"}));
  EXPECT_EQ(to_json(reading, 0).find("energy_j"), std::string::npos);  // absent, never 0
}

class EnergyOfGpus : public testing::Test {
 protected:
  void SetUp() override {
    library = dlopen(FAKE_NVML_USUAL, RTLD_NOW);
    ASSERT_NE(library, nullptr) << dlerror();
    set_sensors = reinterpret_cast<void (*)(unsigned, unsigned long long, unsigned)>(
        dlsym(library, "fake_nvml_set"));
    set_sensors(0, 1'000'000, 100'000);
    set_sensors(1, 0, 50'000);
  }
  void TearDown() override { dlclose(library); }
  void* library = nullptr;
  void (*set_sensors)(unsigned, unsigned long long, unsigned) = nullptr;
};

TEST_F(EnergyOfGpus, CounterOrIntegratedPowerAndTheWorstNamesTheSum) {
  Bench bench(powercap_host(), FAKE_NVML_USUAL);
  EnergyMeter meter = bench.meter();
  meter.begin();
  bench.now_s += 1;
  set_sensors(1, 0, 150'000);
  meter.sample();
  bench.now_s += 1;
  set_sensors(0, 1'600'000, 0);
  set(bench, "intel-rapl:0", "11000000");
  const EnergyReading reading = meter.end();
  ASSERT_EQ(reading.devices.size(), 4u);
  EXPECT_EQ(reading.devices[0].source, "nvml counter");
  EXPECT_DOUBLE_EQ(reading.devices[0].energy_j->value, 600);  // 1600 - 1000 J
  EXPECT_EQ(reading.devices[1].source, "nvml power");
  // 50 -> 150 W over one second by trapezoid, then 150 W for another
  EXPECT_DOUBLE_EQ(reading.devices[1].energy_j->value, 100 + 150);
  EXPECT_DOUBLE_EQ(reading.energy_j->value, 600 + 250 + 10);
  EXPECT_EQ(reading.quality, Quality::integrated_power);
}

TEST_F(EnergyOfGpus, ACounterThatStartsAnewIsUnavailable) {
  Bench bench(powercap_host(), FAKE_NVML_USUAL);
  EnergyMeter meter = bench.meter();
  meter.begin();
  bench.now_s += 1;
  set_sensors(0, 5, 0);
  const EnergyReading reading = meter.end();
  EXPECT_EQ(reading.devices[0].energy_j, std::nullopt);
  EXPECT_EQ(reading.notes, Notes{"nvidia: NVIDIA H100 80GB HBM3 tells neither energy nor power"});
}

TEST(Energy, IdleIsToldApart) {
  Bench bench(powercap_host());
  bench.cluster.devices.front().power = Power{exact(20), exact(100)};
  EnergyMeter meter = bench.meter();
  meter.begin();
  bench.now_s += 3;
  const EnergyReading reading = meter.end();
  ASSERT_TRUE(reading.idle_j.has_value());
  EXPECT_DOUBLE_EQ(reading.idle_j->value, 20 * 3);  // 20 W for 3 s
  // Assumed watts at rest are not more than what was metered: nothing, in this window.
  Bench assumed(powercap_host());
  assumed.cluster.devices.front().power =
      Power{within(20, 0.5, Quality::assumed), exact(100, Quality::database)};
  EnergyMeter third = assumed.meter();
  third.begin();
  assumed.now_s += 3;
  EXPECT_DOUBLE_EQ(third.end().idle_j.value_or(exact(-1)).value, 0);
  Bench unknown(powercap_host());
  unknown.cluster.devices.front().power.reset();
  EnergyMeter other = unknown.meter();
  other.begin();
  EXPECT_EQ(other.end().idle_j, std::nullopt);
}

TEST(Energy, EndWithoutBeginIsUnavailable) {
  Bench bench(powercap_host());
  EnergyMeter meter = bench.meter();
  const EnergyReading reading = meter.end();
  EXPECT_EQ(reading.quality, Quality::unavailable);
  EXPECT_EQ(reading.notes, Notes{"energy: no window was begun"});
}

TEST(Energy, WindowsFollowEachOtherOnThisHost) {
  EnergyMeter meter;
  for (int i = 0; i < 2; ++i) {
    meter.begin();
    meter.begin();  // starts anew
    const EnergyReading reading = meter.end();
    EXPECT_GE(reading.window_s, 0);
    EXPECT_EQ(from_json<EnergyReading>(to_json(reading), "energy"), reading);
  }
}

}  // namespace
}  // namespace parallel_opt
