#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/hardware/imported_profile.h"
#include "parallel_opt/hardware/load.h"
#include "tests/cli/run_cli.h"
#include "tests/temporary_directory.h"

namespace parallel_opt {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class HardwareCommands : public ::testing::Test {
 protected:
  HardwareCommands() { ::setenv("PARALLEL_OPT_PYTHON", "/opt/python", 1); }
  ~HardwareCommands() override { ::unsetenv("PARALLEL_OPT_PYTHON"); }
  std::string at(const std::string& name) const { return dir + "/" + name; }
  std::string write(const std::string& name, const std::string& text) const {
    write_file(at(name), text);
    return at(name);
  }
  testing::TemporaryDirectory directory;
  const std::string& dir = directory.path();
};

constexpr const char* kTimes = R"({"1": {"1": {"0": [0.1, 0.2, 0.3], "1": [1, 2, 0.3]}}})";

TEST_F(HardwareCommands, AnImportedProfileBecomesACostSource) {
  const std::string times = write("times.json", kTimes);
  const CliRun import = run_cli({"probe", "--import", times, "--device", "A100-40GB", "--name", "p",
                                 "--model", "m", "-o", at("p.json")});
  EXPECT_EQ(import.code, 0) << import.err;
  EXPECT_EQ(import.out,
            "p, m, from times.json\n2 rows, 0 transfers, 0 rate curves of "
            "A100-SXM-40GB\n" +
                at("p.json") + "\n");
  EXPECT_EQ(read_profile(read_file(at("p.json")), "p").rows[1].forward_s, 1);
  const CliRun add =
      run_cli({"hardware", "2xA100-40GB", "--profile", at("p.json"), "-o", at("c.json")});
  EXPECT_EQ(add.code, 0) << add.err;
  EXPECT_EQ(load_cluster(at("c.json")).profiles.size(), 1u);
  EXPECT_THAT(run_cli({"hardware", at("c.json")}).out,
              HasSubstr("profile: p, 2 rows, 0 transfers, 0 rate curves\n"));
}

TEST_F(HardwareCommands, ImportSaysWhatItLacksAndWhereFlagsBelong) {
  const std::string times = write("times.json", kTimes);
  const CliRun lacking = run_cli({"probe", "--import", times});
  EXPECT_EQ(lacking.code, 4);
  EXPECT_EQ(lacking.err,
            "error: " + times + ": does not say which device was measured (--device NAME)\n");
  const CliRun twice = run_cli({"probe", "--import", times + "," + times, "--device", "L4"});
  EXPECT_EQ(twice.code, 4);
  EXPECT_EQ(twice.err, "error: " + times + ": is given twice (its rows would count twice)\n");
  const CliRun unknown = run_cli({"probe", "--import", times, "--device", "A100-40GBB"});
  EXPECT_EQ(unknown.code, 4);
  EXPECT_EQ(unknown.err,
            "error: --device: unknown device \"A100-40GBB\" (did you mean A100-40GB?)\n");
  const CliRun both = run_cli({"probe", "--import", times, "--collectives", "2"});
  EXPECT_EQ(both.code, 2);
  EXPECT_EQ(
      both.err,
      "error: parallel-opt probe: --import and --collectives exclude each other (keep one)\n");
  EXPECT_EQ(run_cli({"probe", "--collectives", "2", "--device", "L4"}).code, 2);
  const CliRun alone = run_cli({"probe", "--device", "L4"});
  EXPECT_EQ(alone.code, 2);
  EXPECT_EQ(alone.err, "error: parallel-opt probe: --device goes with --import (--import FILES)\n");
  const CliRun missing = run_cli({"hardware", "2xL4", "--profile", at("none.json")});
  EXPECT_EQ(missing.code, 4);
  EXPECT_EQ(missing.err, "error: --profile[0]: cannot be read: " + at("none.json") +
                             ": No such file or directory (is the path right?)\n");
}

TEST_F(HardwareCommands, CollectivesComeFromPython) {
  const std::string profile =
      R"({"schema": "parallel-opt/profile/1", "name": "c", "source": "s",
          "transfers": [{"collective": "p2p", "device": "X", "scope": "node", "ranks": 2,
                         "points": [{"bytes": 8, "seconds": 1}]}], "notes": ["p2p: a fit"]})";
  const CliRun run = run_cli({"probe", "--collectives", "4", "--quick"}, {{0, ""}, {0, profile}});
  EXPECT_EQ(run.code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("0 rows, 1 transfers, 0 rate curves of X\nnote: p2p: a fit\n"));
  ASSERT_FALSE(run.started.empty());
  EXPECT_EQ(run.started.back(),
            (std::vector<std::string>{"/opt/python", "-m", "parallel_opt.probe_collectives",
                                      "--ranks", "4", "--quick"}));
}

TEST_F(HardwareCommands, HostsAreMerged) {
  Cluster a = load_cluster("2xL4");
  Cluster b = load_cluster("4xL4");
  a.nodes[0].name = "a";
  b.nodes[0].name = "b";
  write("a.json", to_json(a));
  write("b.json", to_json(document_of(b)));
  const CliRun run = run_cli({"hardware", "--merge", at("a.json") + "," + at("b.json"), "--json"});
  EXPECT_EQ(run.code, 0) << run.err;
  const auto merged = from_json<ClusterDocument>(run.out, "out");
  EXPECT_EQ(merged.summary->nodes, 2);
  EXPECT_EQ(merged.summary->devices, 6);
  const CliRun both = run_cli({"hardware", "2xL4", "--merge", at("a.json")});
  EXPECT_EQ(both.code, 2);
  EXPECT_EQ(both.err,
            "error: parallel-opt hardware: NAME, --root and --merge exclude each other "
            "(keep one)\n");
}

TEST_F(HardwareCommands, AMergedFileCountsItsHosts) {
  for (const char* name : {"a", "b", "c"}) {
    Cluster one = load_cluster("2xL4");
    one.nodes[0].name = name;
    write(std::string(name) + ".json", to_json(one));
  }
  run_cli({"hardware", "--merge", at("a.json") + "," + at("b.json"), "-o", at("ab.json")});
  EXPECT_EQ(load_cluster(at("ab.json")).name, "2 hosts");
  const CliRun run = run_cli({"hardware", "--merge", at("ab.json") + "," + at("c.json")});
  EXPECT_THAT(run.out, StartsWith("3 hosts\n"));
}

constexpr const char* kZones = R"({"name": "two zones", "nodes": [
    {"name": "a", "count": 2, "devices": "4xMI300X,2xEPYC-9654", "zone": "north",
     "usd_per_device_hour": 2},
    {"name": "b", "devices": "4xMI300X,2xEPYC-9654", "zone": "south"}],
  "zones": [{"name": "north", "usd_per_kwh": 0.08, "carbon_g_per_kwh": 45}, {"name": "south"}],
  "switches": [{"name": "wide", "type": "ethernet", "bandwidth": "10 Gbps", "latency": "18 ms",
                "oversubscription": 3, "usd_per_gb": 0.01}],
  "links": [{"a": "a0/1", "b": "b/2", "type": "direct", "bandwidth": "25 GB/s",
             "latency": "4 us"}]})";

TEST_F(HardwareCommands, TheTextShowsEverythingThatAClusterSays) {
  const CliRun run = run_cli({"hardware", write("zones.json", kZones)});
  EXPECT_EQ(run.code, 0) << run.err;
  const auto has = [&](const char* pattern) {
    // Not std::regex: an unoptimised copy of it would be the one that the whole program runs.
    EXPECT_THAT(run.out, ContainsRegex(pattern));
  };
  has("a0 \\.\\. a1 +2 +EPYC-9654 +2 +192 +384 +database [^\n]* north");
  has("\nb +1 +EPYC-9654 [^\n]* south");
  // Devices of a kind share a row though processors lie between; a price makes a kind of its own.
  has("MI300X +8 [^\n]*112 W \\(assumed\\) +750 W \\(database\\) +2.00 USD/h \\(reported\\)");
  has("MI300X +4 ");
  has("EPYC-9654 +4 ");
  has("EPYC-9654 +2 ");
  has("devices of a node \\(mesh\\) +7 +48.0 GB/s \\(database\\)");
  has("wide +ethernet +nodes +1 +1.25 GB/s \\(reported\\) +18.0 ms \\(reported\\) +3.00 +0.0100 "
      "USD/GB");
  has("a0/1 - b/2 +1 +direct +two MI300X +yes +25.0 GB/s \\(reported\\) +4.00 us");
  has("shared-memory +ranks on one EPYC-9654");
  has("north +2 +0.0800 USD/kWh \\(reported\\) +45.0 g CO2/kWh \\(reported\\)");
  has("\nsouth +1");
}

TEST_F(HardwareCommands, ABundleIsListedAndReadAgain) {
  const CliRun run = run_cli({"doctor", "--bundle", at("b.tar")});
  EXPECT_EQ(run.code, 0) << run.err;
  EXPECT_THAT(run.out, StartsWith("parallel-opt/drivers.json\nproc/"));
  EXPECT_THAT(run.err, HasSubstr("look before you send it: tar xOf " + at("b.tar")));
  std::filesystem::create_directories(at("root"));
  const std::string unpack = "tar xf " + at("b.tar") + " -C " + at("root");
  // NOLINTNEXTLINE(bugprone-command-processor): tar is who must read it
  ASSERT_EQ(std::system(unpack.c_str()), 0);
  const CliRun there = run_cli({"hardware", "--root", at("root"), "--json"});
  EXPECT_EQ(there.code, 0) << there.err;
  const auto copy = from_json<ClusterDocument>(there.out, "out");
  EXPECT_TRUE(copy.cluster.nodes[0].name.starts_with("host-")) << copy.cluster.nodes[0].name;
  const Cluster here = load_cluster("local");
  ASSERT_EQ(copy.cluster.devices.size(), here.devices.size());
  EXPECT_EQ(copy.cluster.devices[0].name, here.devices[0].name);
  EXPECT_EQ(copy.cluster.devices[0].cores, here.devices[0].cores);
  const CliRun listed = run_cli({"doctor", "--bundle", at("b.tar"), "--json"});
  EXPECT_THAT(listed.out, StartsWith("{\n  \"schema\": \"parallel-opt/bundle/1\",\n"));
}

TEST_F(HardwareCommands, NoFileIsWrittenIntoAMissingDirectory) {
  const std::string times = write("times.json", kTimes);
  const std::vector<std::vector<std::string>> calls = {
      {"doctor", "--bundle"}, {"probe", "--import", times, "--device", "A100-40GB", "-o"}};
  for (std::vector<std::string> call : calls) {
    call.push_back(at("none/b.tar"));
    const CliRun run = run_cli(call);
    EXPECT_EQ(run.code, 4);
    EXPECT_EQ(run.out, "");
    EXPECT_EQ(run.err, "error: " + at("none/b.tar") + ": there is no directory " + at("none") +
                           " (make it, or name another)\n");
    EXPECT_FALSE(std::filesystem::exists(at("none")));
  }
}

}  // namespace
}  // namespace parallel_opt
