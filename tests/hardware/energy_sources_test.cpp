#include "parallel_opt/hardware/energy_sources.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include "parallel_opt/hardware/discover.h"
#include "tests/hardware/recorded_hosts.h"

namespace parallel_opt {
namespace {

using Notes = std::vector<std::string>;

/// Perf events whose counts the test sets, by config and core.
struct FakePerf {
  std::map<std::pair<std::uint64_t, int>, std::optional<std::uint64_t>> counts;

  using Key = std::pair<std::uint64_t, int>;
  class Event final : public PerfEvent {
   public:
    Event(const FakePerf& perf, Key key) : perf_(perf), key_(std::move(key)) {}
    std::optional<std::uint64_t> read() override { return perf_.counts.at(key_); }

   private:
    const FakePerf& perf_;
    Key key_;
  };

  OpenPerfEvent opener() {
    return [this](const PerfEventSpec& spec) -> std::unique_ptr<PerfEvent> {
      EXPECT_EQ(spec.type, 9u);
      const Key key(spec.config, spec.cpu);
      if (!counts.contains(key)) return nullptr;
      return std::make_unique<Event>(*this, key);
    };
  }
};

MemoryFileSystem perf_host() {
  MemoryFileSystem files = hosts::small_vm();
  const std::string directory = "/sys/bus/event_source/devices/power/";
  files.files[directory + "type"] = "9\n";
  files.files[directory + "cpumask"] = "0,56\n";  // the first core of each package
  files.files[directory + "events/energy-pkg"] = "event=0x02\n";
  files.files[directory + "events/energy-pkg.scale"] = "0.5\n";
  files.files[directory + "events/energy-ram"] = "event=0x03\n";
  files.files[directory + "events/energy-ram.scale"] = "0.25\n";
  files.files[directory + "events/energy-psys"] = "event=0x05\n";  // holds all the others
  files.files[directory + "events/energy-psys.scale"] = "1\n";
  files.files["/proc/sys/kernel/perf_event_paranoid"] = "4\n";
  return files;
}

struct Sources {
  explicit Sources(const MemoryFileSystem& host, const EnergyOptions& options)
      : files(host), cluster(discover(files)) {
    sources = make_energy_sources(files, cluster, options, notes);
  }
  void begin(double now_s) {
    for (const auto& source : sources) source->begin(now_s);
  }
  EnergyReading end(double now_s) {
    EnergyReading reading;
    for (const auto& source : sources) source->end(now_s, reading);
    return reading;
  }
  MemoryFileSystem files;
  Cluster cluster;
  Notes notes;
  std::vector<std::unique_ptr<EnergySource>> sources;
};

EnergyOptions quiet() {
  EnergyOptions options;
  options.nvml_library.clear();
  options.amd_libraries.clear();
  options.open_perf = nullptr;
  return options;
}

TEST(PerfRapl, PackagesAndMemoryAreCountedWherePowercapIsForbidden) {
  FakePerf perf;
  perf.counts = {{{2, 0}, 100}, {{2, 56}, 200}, {{3, 0}, 1000}, {{5, 0}, 7}};
  EnergyOptions options = quiet();
  options.open_perf = perf.opener();
  MemoryFileSystem host = perf_host();
  host.files["/sys/class/powercap/intel-rapl:0/name"] = "package-0\n";
  host.files["/sys/class/powercap/intel-rapl:0/energy_uj"] = "";  // no digit: not readable
  Sources bench(host, options);
  EXPECT_EQ(bench.notes, Notes{"rapl: energy_uj may be read by root only: perf events are used"});
  bench.begin(10);
  perf.counts = {{{2, 0}, 140}, {{2, 56}, 210}, {{3, 0}, 1016}, {{5, 0}, 900}};
  const EnergyReading reading = bench.end(12);
  ASSERT_EQ(reading.devices.size(), 3u);  // no memory of the second package, no psys
  EXPECT_EQ(reading.devices[0].name, "package-0");
  EXPECT_EQ(reading.devices[0].source, "perf");
  EXPECT_DOUBLE_EQ(reading.devices[0].energy_j->value, 40 * 0.5);
  EXPECT_DOUBLE_EQ(reading.devices[0].energy_j->high, 40 * 0.5 * (1 + 1e-3 / 2));  // 1 ms of 2 s
  EXPECT_EQ(reading.devices[0].quality, Quality::counter);
  EXPECT_DOUBLE_EQ(reading.devices[1].energy_j->value, 10 * 0.5);
  EXPECT_EQ(reading.devices[2].name, "dram of package-0");
  EXPECT_DOUBLE_EQ(reading.devices[2].energy_j->value, 16 * 0.25);
}

TEST(PerfRapl, WhatMayNotBeOpenedIsSaidAndModelled) {
  FakePerf perf;
  EnergyOptions options = quiet();
  options.open_perf = perf.opener();
  Sources bench(perf_host(), options);
  EXPECT_EQ(bench.notes,
            Notes{"perf: power events may not be opened (kernel.perf_event_paranoid: 4)"});
  bench.begin(0);
  EXPECT_EQ(bench.end(1).devices[0].source, "cpu time model");
}

TEST(PerfRapl, AnEventThatVanishesIsUnavailableNotZero) {
  FakePerf perf;
  perf.counts = {{{2, 0}, 100}};
  EnergyOptions options = quiet();
  options.open_perf = perf.opener();
  Sources bench(perf_host(), options);
  bench.begin(0);
  perf.counts[{2, 0}].reset();
  const EnergyReading reading = bench.end(1);
  EXPECT_EQ(reading.devices[0].energy_j, std::nullopt);
  EXPECT_EQ(reading.notes, Notes{"perf: package-0 could not be read to the end"});
}

class EnergyOfAmd : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    library = dlopen(GetParam(), RTLD_NOW);
    ASSERT_NE(library, nullptr) << dlerror();
    set_counter =
        reinterpret_cast<void (*)(unsigned, std::uint64_t, bool)>(dlsym(library, "fake_amd_set"));
    set_counter(0, 1'000'000, false);
  }
  void TearDown() override { dlclose(library); }
  EnergyOptions options() const {
    EnergyOptions chosen = quiet();
    chosen.amd_libraries = {GetParam()};
    return chosen;
  }
  void* library = nullptr;
  void (*set_counter)(unsigned, std::uint64_t, bool) = nullptr;
};

TEST_P(EnergyOfAmd, TheCounterIsStepsTimesTheirSize) {
  Sources bench(hosts::two_mi300x(), options());
  bench.begin(0);
  set_counter(0, 21'000'000, false);
  const EnergyReading reading = bench.end(2);
  EXPECT_EQ(reading.devices[0].source, "amd counter");
  EXPECT_NEAR(reading.devices[0].energy_j->value, 20e6 * 15.3e-6, 1e-4);  // 306 J
  EXPECT_EQ(reading.devices[0].quality, Quality::counter);
}

TEST_P(EnergyOfAmd, ADeviceThatIsPulledOutIsUnavailable) {
  Sources bench(hosts::two_mi300x(), options());
  bench.begin(0);
  set_counter(0, 21'000'000, true);
  const EnergyReading reading = bench.end(2);
  EXPECT_EQ(reading.devices[0].energy_j, std::nullopt);
  EXPECT_EQ(reading.devices[0].quality, Quality::unavailable);
  EXPECT_EQ(reading.notes[0], "amd: 1002:74a1 tells neither energy nor power");
}

INSTANTIATE_TEST_SUITE_P(BothLibraries, EnergyOfAmd, testing::Values(FAKE_AMD_NEW, FAKE_AMD_OLD));

TEST(EnergyOfAmdgpu, WithoutALibraryTheBoardsSensorIsIntegrated) {
  Sources bench(hosts::two_mi300x(), quiet());
  bench.begin(0);
  const std::string sensor = "/sys/class/drm/card0/device/hwmon/hwmon3/power1_input";
  bench.files.files[sensor] = "240000000\n";  // 140 -> 240 W
  const EnergyReading reading = bench.end(2);
  EXPECT_EQ(reading.devices[0].source, "amd power");
  EXPECT_DOUBLE_EQ(reading.devices[0].energy_j->value, (140 + 240) / 2.0 * 2);
  EXPECT_EQ(reading.devices[0].quality, Quality::integrated_power);
  EXPECT_EQ(reading.devices[1].energy_j, std::nullopt);  // the second board has no sensor
}

TEST(EnergyOfNvidia, AnOldDriverAndOneThatRefusesLeaveTheRest) {
  EnergyOptions options = quiet();
  options.nvml_library = FAKE_NVML_OLD;  // no energy counter at all
  Sources old(hosts::small_vm(), options);
  old.begin(0);
  EXPECT_EQ(old.end(1).devices[0].source, "nvml power");
  options.nvml_library = FAKE_NVML_DENIED;
  Sources denied(hosts::small_vm(), options);
  EXPECT_EQ(denied.notes,
            (Notes{std::string("nvidia: ") + FAKE_NVML_DENIED +
                       " does not start: Insufficient Permissions",
                   ("rapl: the processor shows no counters, in powercap or as perf events: its "
                    "energy is modelled from CPU time, +-30 %")}));
  denied.begin(0);
  EXPECT_EQ(denied.end(1).devices[0].source, "cpu time model");
}

TEST(EnergyOfNvidia, ADeviceThatIsPulledOutIsUnavailableAndTheOtherCounts) {
  void* library = dlopen(FAKE_NVML_USUAL, RTLD_NOW);
  const auto set = reinterpret_cast<void (*)(unsigned, unsigned long long, unsigned)>(
      dlsym(library, "fake_nvml_set"));
  const auto lose = reinterpret_cast<void (*)(unsigned, bool)>(dlsym(library, "fake_nvml_lose"));
  set(0, 1'000'000, 100'000);
  set(1, 0, 50'000);
  EnergyOptions options = quiet();
  options.nvml_library = FAKE_NVML_USUAL;
  Sources bench(hosts::small_vm(), options);
  bench.begin(0);
  lose(0, true);
  const EnergyReading reading = bench.end(2);
  lose(0, false);
  EXPECT_EQ(reading.devices[0].energy_j, std::nullopt);
  EXPECT_DOUBLE_EQ(reading.devices[1].energy_j->value, 100);  // 50 W for 2 s
  EXPECT_EQ(reading.notes[0], "nvidia: NVIDIA H100 80GB HBM3 tells neither energy nor power");
  dlclose(library);
}

TEST(EnergyOfNvidia, ACounterThatStepsIsRoughInAShortWindow) {
  void* library = dlopen(FAKE_NVML_USUAL, RTLD_NOW);
  const auto set = reinterpret_cast<void (*)(unsigned, unsigned long long, unsigned)>(
      dlsym(library, "fake_nvml_set"));
  set(0, 1'000'000, 100'000);
  EnergyOptions options = quiet();
  options.nvml_library = FAKE_NVML_USUAL;
  Sources bench(hosts::small_vm(), options);
  bench.begin(0);
  set(0, 1'060'000, 0);  // three of its 100 ms steps at 200 W
  const EnergyReading reading = bench.end(0.33);
  EXPECT_EQ(reading.devices[0].quality, Quality::integrated_power);
  EXPECT_DOUBLE_EQ(reading.devices[0].energy_j->value, 60);
  // One step at either end: 100 ms of 330. The true 66 J lie inside.
  EXPECT_DOUBLE_EQ(reading.devices[0].energy_j->high, 60 * (1 + 0.1 / 0.33));
  dlclose(library);
}

TEST(EnergySources, AModulesCounterHoldsItsProcessor) {
  // By name, and where the driver states a number alone.
  for (const auto& [file, text] :
       {std::pair("product_name", "AMD Instinct MI300A\n"), std::pair("device", "0x74a0\n")}) {
    MemoryFileSystem host = hosts::two_mi300x();
    for (const char* card : {"card0", "card1"}) {
      host.files[std::string("/sys/class/drm/") + card + "/device/" + file] = text;
    }
    host.files["/sys/class/powercap/intel-rapl:0/name"] = "package-0\n";
    host.files["/sys/class/powercap/intel-rapl:0/energy_uj"] = "5\n";
    Sources bench(host, quiet());
    EXPECT_EQ(bench.sources.size(), 1u) << file;  // no second count of the processor
  }
}

TEST(EnergySources, APackageOfTwoDiesCountsOnce) {
  Sources bench(hosts::two_mi250x(), quiet());
  bench.begin(0);
  const EnergyReading reading = bench.end(10);
  ASSERT_EQ(reading.devices.size(), 3u);  // two packages, the processor
  EXPECT_EQ(reading.devices[0].name, "1002:7408 (2 dies)");
  EXPECT_DOUBLE_EQ(reading.devices[1].energy_j->value, 90 * 10);
  EXPECT_EQ(reading.notes, Notes{});  // the second dies are not missed
}

TEST(EnergySources, ACounterThatMayNotBeReadIsMissedInTheSum) {
  MemoryFileSystem host = hosts::small_vm();
  const std::string zone = "/sys/class/powercap/intel-rapl:";
  for (const char* i : {"0", "1"}) host.files[zone + i + "/name"] = std::string("package-") + i;
  host.files[zone + "0/energy_uj"] = "5\n";
  host.files[zone + "1/energy_uj"] = "";  // no digit: not readable
  Sources bench(host, quiet());
  EXPECT_EQ(bench.notes,
            Notes{"rapl: not every energy_uj may be read: the sum lacks what those count"});
  bench.begin(0);
  EXPECT_EQ(bench.end(1).devices.size(), 1u);
}

}  // namespace
}  // namespace parallel_opt
