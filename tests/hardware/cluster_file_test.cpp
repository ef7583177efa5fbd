#include "parallel_opt/hardware/cluster_file.h"

#include <gtest/gtest.h>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/hardware/database.h"
#include "parallel_opt/hardware/yaml.h"

namespace parallel_opt {
namespace {

using Lines = std::vector<std::string>;

Lines faults_of(const std::string& json) {
  Lines lines;
  try {
    read_cluster_file(json, "c.json");
  } catch (const InputError& error) {
    for (const Fault& fault : error.faults()) lines.push_back(to_string(fault));
  }
  return lines;
}

/// The text of the one fenced block of that language in a page of docs/.
std::string block(const std::string& page, const std::string& language) {
  const std::string text = read_file(std::string(PARALLEL_OPT_SOURCE) + "/docs/" + page);
  const std::string fence = "```" + language + "\n";
  const std::size_t begin = text.find(fence) + fence.size();
  return text.substr(begin, text.find("```", begin) - begin);
}

#ifdef PARALLEL_OPT_YAML

TEST(ClusterDescription, TheExampleOfTheDocsIsWhatItSays) {
  const std::string json = yaml_to_json(block("howto-describe-cluster.md", "yaml"), "cluster.yaml");
  ASSERT_TRUE(is_cluster_file(json, "cluster.yaml"));
  const Cluster cluster = read_cluster_file(json, "cluster.yaml");
  EXPECT_EQ(check(cluster), std::vector<Fault>{});
  EXPECT_EQ(cluster.name, "two zones");
  EXPECT_EQ(cluster.nodes.size(), 26u);
  EXPECT_EQ(document_of(cluster).summary->types,
            (std::map<std::string, int>{
                {"A100-SXM-80GB", 64}, {"EPYC-7742", 4}, {"H100-SXM-80GB", 128}, {"L4", 8}}));
  EXPECT_EQ(cluster.nodes[0].name, "hopper0");
  EXPECT_EQ(cluster.nodes[0].memory_bytes, exact(2e12, Quality::reported));
  EXPECT_EQ(cluster.nodes[16].zone, "south");
  EXPECT_EQ(cluster.devices[0].usd_per_hour, exact(2.4, Quality::reported));
  EXPECT_EQ(cluster.zones[1].carbon_g_per_kwh, exact(410, Quality::reported));
  const auto way = [&](std::size_t a, std::size_t b) {
    return *find_link(cluster, DeviceId(a), DeviceId(b));
  };
  EXPECT_EQ(way(0, 8).type, "InfiniBand");
  EXPECT_DOUBLE_EQ(way(0, 8).bytes_per_s.value, 45e9);  // eight rails for eight devices
  EXPECT_EQ(way(0, 8).bytes_per_s.quality, Quality::measured);
  EXPECT_EQ(way(128, 136).type, "ethernet");
  // four ports for eight devices, a third of it upwards: 12.5e9 * 4/8 / 3
  EXPECT_DOUBLE_EQ(way(128, 136).bytes_per_s.value, 12.5e9 / 2 / 3);
  EXPECT_EQ(way(0, 128).type, "wide area");
  EXPECT_EQ(way(7, 135).type, "direct");  // hopper0/7 and ampere0/7
  EXPECT_EQ(way(7, 135).bytes_per_s.value, 25e9);
  EXPECT_DOUBLE_EQ(cluster.networks.back().usd_per_byte->value, 0.01 / 1e9);
}

#endif

TEST(ClusterDescription, TheDeviceOfTheDocsIsUsable) {
  const std::string record = block("howto-add-device.md", "json");
  EXPECT_EQ(read_device(record, "x1.json").name, "X1-64GB");
  const Cluster cluster = read_cluster_file(
      R"({"nodes": [{"name": "a", "devices": "2xX1"}], "device_types": [)" + record + "]}", "c");
  EXPECT_EQ(cluster.devices[1].name, "X1-64GB");
  EXPECT_EQ(find_link(cluster, DeviceId(0), DeviceId(1))->type, "XLink");
}

TEST(ClusterDescription, WithoutSwitchesNodesAreJoinedAsInAPreset) {
  const Cluster cluster = read_cluster_file(
      R"({"nodes": [{"name": "a", "count": 2, "devices": "8xH100",
          "adapters": {"count": 2, "bandwidth": "100 Gbps"}, "cores": 48, "sockets": 1}]})",
      "c");
  EXPECT_EQ(cluster.nodes[1].name, "a1");
  EXPECT_EQ(cluster.nodes[1].cores, 48);
  EXPECT_EQ(cluster.nodes[1].sockets, 1);
  EXPECT_DOUBLE_EQ(find_link(cluster, DeviceId(0), DeviceId(8))->bytes_per_s.value,
                   0.8 * 2 * 12.5e9 / 8);
}

TEST(ClusterDescription, ASwitchInsideNodesReplacesWhatTheDatabaseAssumes) {
  const Cluster cluster = read_cluster_file(
      R"({"nodes": [{"name": "a", "devices": "4xA100-SXM-40GB"}],
          "switches": [{"name": "nvlink", "type": "NVLink3", "scope": "node", "nodes": ["a"],
                        "bandwidth": "100 GB/s"}]})",
      "c");
  EXPECT_EQ(find_link(cluster, DeviceId(0), DeviceId(1))->bytes_per_s.value, 100e9);
}

TEST(ClusterDescription, TenThousandDevicesAreAFewLines) {
  const Cluster cluster = read_cluster_file(
      R"({"nodes": [{"name": "h", "count": 1000, "devices": "8xH100"},
                    {"name": "a", "count": 250, "devices": "8xA100-SXM-80GB"}]})",
      "c");
  EXPECT_EQ(cluster.devices.size(), 10000u);
  EXPECT_EQ(cluster.links.size(), 0u);
}

TEST(ClusterDescription, EveryFaultIsNamedWithItsPath) {
  EXPECT_EQ(faults_of(R"({"nodes": []})"),
            Lines{"c.json:nodes: is empty (a cluster has a machine)"});
  EXPECT_EQ(
      faults_of(R"({"nodes": [
        {"name": "a", "devices": "8xH100-SXM-80G", "zone": "moon"},
        {"name": "a", "count": 0, "devices": "0xL4", "usd_per_device_hour": -1},
        {"name": "b", "devices": "2n8xL4", "adapters": {"count": 0, "bandwidth": "0 Gbps"}}]})"),
      (Lines{"c.json:nodes[0].zone: names no zone: \"moon\" (add it to zones)",
             ("c.json:nodes[0].devices: unknown device \"H100-SXM-80G\" (did you mean "
              "H100-SXM-80GB?)"),
             "c.json:nodes[1].name: two groups of nodes are called \"a\"",
             "c.json:nodes[1].count: is 0, outside 1 .. 100000",
             "c.json:nodes[1].usd_per_device_hour: is negative",
             "c.json:nodes[1].devices: \"0xL4\" counts 0 devices (1 to 100000)",
             ("c.json:nodes[2].devices: counts nodes: \"2n8xL4\" (the field count says how many "
              "nodes there are)"),
             "c.json:nodes[2].adapters.count: is less than 1",
             "c.json:nodes[2].adapters.bandwidth: is not positive"}));
  EXPECT_EQ(
      faults_of(R"({"nodes": [{"name": "alpha", "count": 2, "devices": "2xL4"}],
        "switches": [{"name": "s", "type": "t", "nodes": ["alhpa"], "bandwidth": "0 GB/s",
                      "ports": 0, "oversubscription": 0.5}],
        "links": [{"a": "alpha0/2", "b": "beta", "bandwidth": "1 GB/s"}]})"),
      (Lines{"c.json:switches[0].bandwidth: is not positive",
             "c.json:switches[0].ports: is less than 1",
             "c.json:switches[0].oversubscription: is less than 1 (1 means full bisection)",
             "c.json:switches[0].nodes[0]: names no node: \"alhpa\" (did you mean alpha?)",
             ("c.json:links[0].a: names no device of node alpha0: \"alpha0/2\" (it has 2, counted "
              "from 0)"),
             ("c.json:links[0].b: names no node: \"beta\" (write a node, or NODE/INDEX for one of "
              "its devices)")}));
}

TEST(ClusterDescription, FaultsOfPartsAreNamedWhereTheyStandInTheFile) {
  EXPECT_EQ(
      faults_of(R"({"nodes": [
        {"name": "", "devices": "L4", "cores": 0, "sockets": 0, "memory": "0 GB"},
        {"name": "a/b", "devices": "L4"}],
        "zones": [{"name": "z", "usd_per_kwh": -1}, {"name": "z", "carbon_g_per_kwh": -2}]})"),
      (Lines{"c.json:zones[0].usd_per_kwh: is negative",
             "c.json:zones[1].name: two zones are called \"z\"",
             "c.json:zones[1].carbon_g_per_kwh: is negative", "c.json:nodes[0].name: is empty",
             "c.json:nodes[0].cores: is less than 1", "c.json:nodes[0].sockets: is less than 1",
             "c.json:nodes[0].memory: is not positive",
             "c.json:nodes[1].name: has a slash: \"a/b\" (links write NODE/INDEX)"}));
  EXPECT_EQ(
      faults_of(R"({"nodes": [{"name": "a", "count": 2, "devices": "2xA100-SXM-80GB"}],
        "switches": [
          {"name": "s", "type": "t", "bandwidth": "1 GB/s", "usd_per_gb": -1},
          {"name": "s", "type": "t", "bandwidth": "1 GB/s", "devices": ["A100-SXM-40GB"]},
          {"name": "r", "type": "t", "bandwidth": "1 GB/s", "scope": "zone"}],
        "links": [{"a": "a0/1", "b": "a0/1", "bandwidth": "1 GB/s"}]})"),
      (Lines{"c.json:switches[0].usd_per_gb: is negative",
             "c.json:switches[1].name: two switches are called \"s\"",
             ("c.json:switches[1].devices[0]: names no device of these nodes: \"A100-SXM-40GB\" "
              "(did you mean A100-SXM-80GB?)"),
             ("c.json:switches[2].scope: is zone, but node a0 is in none (give it a zone, or leave "
              "scope out)"),
             "c.json:links[0]: joins a device with itself: \"a0/1\" and \"a0/1\""}));
}

TEST(ClusterDescription, EndsGroupsAndSecondLinksAreToldApart) {
  EXPECT_EQ(
      faults_of(R"({"nodes": [{"name": "a", "count": 2, "devices": "2xL4"}],
        "switches": [{"name": "", "type": "t", "bandwidth": "1 GB/s"}],
        "links": [{"a": "a", "b": "a0/0x", "bandwidth": "1 GB/s"},
                  {"a": "a0/0", "b": "a1/1", "type": "t", "bandwidth": "1 GB/s"},
                  {"a": "a1/1", "b": "a0", "type": "t", "bandwidth": "2 GB/s"}]})"),
      (Lines{"c.json:switches[0].name: is empty",
             "c.json:links[0].a: names a group of several nodes: \"a\" (write a0 to a1)",
             ("c.json:links[0].b: names no device of node a0: \"a0/0x\" (it has 2, counted from "
              "0)"),
             ("c.json:links[2]: is a second link of type \"t\" between \"a1/1\" and \"a0\" (add "
              "their bandwidths)")}));
}

TEST(ClusterDescription, FaultsOfAllPartsAreNamedInOneGo) {
  // Form (a unit, a missing field), values, names and ends: and no fault twice in other words.
  EXPECT_EQ(
      faults_of(R"({"nodes": [{"name": "a", "count": 2, "devices": "2xL44"},
                              {"name": "b", "devices": "L4", "memory": 80}],
        "zones": [{"name": "z", "usd_per_kwh": -1}],
        "switches": [{"name": "s", "bandwidth": "400", "ports": 0, "nodes": ["a", "c"]},
                     {"name": "s", "type": "t", "bandwidth": "1 GB/s", "devices": ["T4"]}],
        "links": [{"a": "a1/9", "b": "d", "bandwidth": "0 GB/s"}]})"),
      (Lines{
          "c.json:nodes[1].memory: has no unit: 80 (write 80 GiB)",
          "c.json:switches[0]: field \"type\" is missing",
          ("c.json:switches[0].bandwidth: is no number with a unit that fits: \"400\" (write "
           "400 Gbps or 50 GB/s)"),
          "c.json:zones[0].usd_per_kwh: is negative",
          "c.json:nodes[0].devices: unknown device \"L44\" (did you mean L4?)",
          "c.json:switches[0].ports: is less than 1",
          ("c.json:switches[0].nodes[1]: names no node: \"c\" (write a node, or NODE/INDEX for one "
           "of its devices)"),
          "c.json:switches[1].name: two switches are called \"s\"",
          ("c.json:links[0].b: names no node: \"d\" (write a node, or NODE/INDEX for one of its "
           "devices)"),
          "c.json:links[0].bandwidth: is not positive"}));
}

TEST(ClusterDescription, AMeshIsForLinksInsideANode) {
  const Cluster cluster = read_cluster_file(
      R"({"nodes": [{"name": "a", "devices": "4xL4"}],
          "switches": [{"name": "s", "type": "t", "scope": "node", "shape": "mesh", "ports": 3,
                        "bandwidth": "30 GB/s"}]})",
      "c.json");
  EXPECT_EQ(find_link(cluster, DeviceId(0), DeviceId(2))->bytes_per_s.value, 30e9);
  EXPECT_EQ(node_reach(cluster, 0)->links.among(4), 90e9);
  EXPECT_EQ(faults_of(R"({"nodes": [{"name": "a", "devices": "4xL4"}],
          "switches": [{"name": "s", "type": "t", "shape": "torus", "bandwidth": "20 GB/s"}]})"),
            Lines{"c.json:switches[0].shape: is for links inside a node (scope: node, or leave it "
                  "out)"});
}

TEST(ClusterDescription, GroupsThatMakeTheSameNodeOrAreSeveralAreNamed) {
  EXPECT_EQ(
      faults_of(R"({"nodes": [{"name": "c", "count": 2, "devices": "L4"},
                              {"name": "c1", "devices": "L4"},
                              {"name": "d", "devices": "2xT4+4xL4"}]})"),
      (Lines{"c.json:nodes[1].name: makes a node called \"c1\", as group \"c\" does",
             ("c.json:nodes[2].devices: is several groups: \"2xT4+4xL4\" (write a comma between "
              "devices of one node, an entry of nodes for each kind of node)")}));
}

TEST(ClusterDescription, NewerVersionsAndFaultsOfDeviceTypesAreNamed) {
  EXPECT_EQ(faults_of(R"({"schema": "parallel-opt/cluster-file/2",
                          "nodes": [{"name": "a", "devices": "L4"}]})"),
            Lines{"c.json:schema: version 2 is newer than the known version 1 (update "
                  "parallel_opt)"});
  EXPECT_EQ(faults_of(R"({"nodes": [{"name": "a", "devices": "L4"}], "device_types": [
      {"schema": "parallel-opt/device/1", "name": "", "kind": "gpu", "vendor": "V", "arch": "A",
       "year": 2020, "flops_per_s": {}, "sources": {"s": "sheet"},
       "memory_bytes": {"value": 1, "quality": "reported", "source": "s"},
       "memory_bytes_per_s": {"value": 0, "quality": "reported", "source": "s"}}]})"),
            (Lines{"c.json:device_types[0].name: is empty",
                   "c.json:device_types[0].memory_bytes_per_s.value: is not positive"}));
}

TEST(ClusterDescription, ASwitchMayCallItsDevicesByAnAlias) {
  const Cluster cluster = read_cluster_file(
      R"({"nodes": [{"name": "a", "devices": "2xA100-40GB"}],
          "switches": [{"name": "s", "type": "t", "scope": "node", "devices": ["a100-40gb"],
                        "bandwidth": "1 GB/s"}]})",
      "c.json");
  EXPECT_EQ(cluster.networks.back().devices, std::vector<std::string>{cluster.devices[0].name});
}

TEST(ClusterDescription, WrongTypesUnitsAndFieldsAreNamed) {
  EXPECT_EQ(faults_of(R"({"nodes": [{"name": 3, "devices": "L4", "memory": 80}], "swithces": [],
                    "switches": [{"name": "s", "type": "t", "bandwidth": 400,
                                  "scope": "rack", "latency": "-1 us"}]})"),
            (Lines{"c.json:nodes[0].name: expected a string, found a whole number",
                   "c.json:nodes[0].memory: has no unit: 80 (write 80 GiB)",
                   "c.json:switches[0].scope: unknown value \"rack\" (known: node, zone, cluster)",
                   "c.json:switches[0].bandwidth: has no unit: 400 (write 400 Gbps or 50 GB/s)",
                   "c.json:switches[0].latency: is negative: \"-1 us\"",
                   "c.json: unknown field \"swithces\" (did you mean \"switches\"?)"}));
}

TEST(ClusterDescription, IsToldFromACluster) {
  EXPECT_TRUE(is_cluster_file(R"({"nodes": []})", "c"));
  EXPECT_TRUE(is_cluster_file(R"({"schema": "parallel-opt/cluster-file/1"})", "c"));
  EXPECT_FALSE(is_cluster_file(R"({"schema": "parallel-opt/cluster/1"})", "c"));
  EXPECT_FALSE(is_cluster_file(R"({"devices": []})", "c"));
  EXPECT_FALSE(is_cluster_file("[]", "c"));
}

}  // namespace
}  // namespace parallel_opt
