#include "parallel_opt/hardware/preset.h"

#include <gtest/gtest.h>

#include <set>

namespace parallel_opt {
namespace {

std::string preset_error(const std::string& spec) {
  try {
    preset_cluster(spec);
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

/// Walks a cluster as `hardware --json` shows it: each number lies in an object that says how it
/// was obtained. Indices are names; of a network and of a device's cores the neighbours say it.
void expect_quality(const JsonView& view, bool known, const std::string& key) {
  using Kind = JsonView::Kind;
  static const std::set<std::string> kNames = {"node", "numa",  "cores",           "physical_cores",
                                               "a",    "b",     "first",           "last",
                                               "like", "ports", "oversubscription"};
  if (view.kind() == Kind::object) {
    const bool told = known || view.find("quality");
    for (const auto& [name, member] : view.members()) expect_quality(member, told, name);
  } else if (view.kind() == Kind::array) {
    for (std::size_t i = 0; i < view.size(); ++i) expect_quality(view.at(i), known, key);
  } else if (view.kind() == Kind::number || view.kind() == Kind::integer) {
    EXPECT_TRUE(known || kNames.contains(key)) << view.path() << " has no quality";
  }
}

TEST(Preset, EveryNumberOfAClusterHasAQuality) {
  for (const DeviceRecord& record : load_database().devices) {
    const std::string text = to_json(preset_cluster("2n2x" + record.name));
    expect_quality(JsonDocument(text, record.name).root(), false, "");
  }
}

TEST(Preset, CountsOfANodeAreAsSureAsTheirSource) {
  // DGX H100's data sheet; processors' own; nobody says which host has the GPUs of a desktop.
  EXPECT_EQ(preset_cluster("8xH100").nodes[0].quality, Quality::database);
  EXPECT_EQ(preset_cluster("2xEPYC-7742").nodes[0].quality, Quality::database);
  EXPECT_EQ(preset_cluster("4xRTX-4090").nodes[0].quality, Quality::assumed);
  EXPECT_EQ(preset_cluster("2n4xMI250").networks.back().bytes_per_s.quality, Quality::assumed);
}

TEST(Preset, EqualPartsOfANodeAreOne) {
  const Cluster cluster = preset_cluster("4xL4,2xL4+8xH100,8xH100");
  EXPECT_EQ(check(cluster), std::vector<Fault>{});
  EXPECT_EQ(document_of(cluster).summary->types,
            (std::map<std::string, int>{{"L4", 6}, {"H100-SXM-80GB", 16}}));
  const Cluster twice = preset_cluster("4xL4+4xL4");
  EXPECT_EQ(twice.notes.size(), 1u);  // the same host is told once
}

TEST(Preset, TwoNodesOfEight) {
  const Cluster cluster = preset_cluster("2n8xH100-SXM-80GB");
  EXPECT_EQ(check(cluster), std::vector<Fault>{});
  EXPECT_EQ(cluster.name, "2n8xH100-SXM-80GB");
  EXPECT_EQ(cluster.nodes.size(), 2u);
  ASSERT_EQ(cluster.devices.size(), 16u);
  EXPECT_EQ(cluster.devices[7].node, 0);
  EXPECT_EQ(cluster.devices[8].node, 1);
  const Device& device = cluster.devices[8];
  EXPECT_EQ(device.kind, DeviceKind::gpu);
  EXPECT_EQ(device.memory_bytes.value, 80.0 * 1024 * 1024 * 1024);
  EXPECT_EQ(device.memory_bytes.quality, Quality::database);
  const RateCurve* curve = find_rate(device, "convolution", DType::bf16, 0);
  ASSERT_NE(curve, nullptr);
  EXPECT_EQ(curve->quality, Quality::database);
  EXPECT_NEAR(curve->points.back().per_second, 0.5 * 989.4e12 * 1000 / 1001, 1e6);
  EXPECT_EQ(find_rate(device, "matmul", DType::bf16, 0)->quality, Quality::calibrated);
  EXPECT_EQ(device.power->max_w, exact(700, Quality::database));
  // NVSwitch and PCIe inside the nodes, one network between them; no list of pairs
  EXPECT_EQ(cluster.networks.size(), 3u);
  EXPECT_EQ(cluster.links, std::vector<Link>{});
  const std::optional<Link> inside = find_link(cluster, DeviceId(9), DeviceId(12));
  EXPECT_EQ(inside->type, "NVLink4");
  EXPECT_EQ(inside->bytes_per_s.value, 0.75 * 450e9);
  EXPECT_EQ(inside->bytes_per_s.quality, Quality::database);
  const std::optional<Link> between = find_link(cluster, DeviceId(3), DeviceId(12));
  EXPECT_EQ(between->type, "network");
  // DGX H100: eight adapters of 400 Gbit/s = 50e9 B/s for eight devices, 0.8 of it reached
  EXPECT_EQ(between->bytes_per_s.value, 0.8 * 50e9);
  EXPECT_EQ(between->bytes_per_s.quality, Quality::database);
  EXPECT_EQ(cluster.nodes[0].cores, 112);
}

TEST(Preset, MixedDevicesStandInDifferentNodes) {
  const Cluster cluster = preset_cluster("4xA100-40GB+4xV100-16GB");
  EXPECT_EQ(cluster.nodes.size(), 2u);
  EXPECT_EQ(document_of(cluster).summary->types,
            (std::map<std::string, int>{{"A100-SXM-40GB", 4}, {"V100-SXM-16GB", 4}}));
}

TEST(Preset, ANameAloneIsOneDeviceAndCaseDoesNotMatter) {
  EXPECT_EQ(preset_cluster("h100-sxm-80gb").devices.size(), 1u);
  EXPECT_EQ(preset_cluster("1xH100").devices, preset_cluster("H100-SXM5-80GB").devices);
}

TEST(Preset, EveryFaultIsNamedWithTheNearestDevice) {
  EXPECT_EQ(preset_error("2n8xH100-SXM-80G"),
            "cluster 2n8xH100-SXM-80G: unknown device \"H100-SXM-80G\" (did you mean "
            "H100-SXM-80GB?)");
  EXPECT_EQ(preset_error("0xH100"), "cluster 0xH100: \"0xH100\" counts 0 devices (1 to 100000)");
  EXPECT_EQ(
      preset_error("99999999999xH100"),
      "cluster 99999999999xH100: \"99999999999xH100\" counts 999999999 devices (1 to 100000)");
  EXPECT_EQ(preset_error("20000n8xL4"),
            "cluster 20000n8xL4: \"20000n8xL4\" counts 160000 devices (1 to 100000)");
  EXPECT_EQ(preset_error("2nH100"),
            "cluster 2nH100: \"2nH100\" has no device count (write NODESnCOUNTxDEVICE, as "
            "2n8xH100-SXM-80GB)");
  EXPECT_EQ(preset_error("60000xH100+60000xA100"),
            "cluster 60000xH100+60000xA100: has more than 100000 devices");
  const std::string both = preset_error("4xA10O-40GB+0xL4");
  EXPECT_NE(both.find("did you mean A100-40GB?"), std::string::npos) << both;
  EXPECT_NE(both.find("\"0xL4\" counts 0 devices"), std::string::npos) << both;
  EXPECT_EQ(
      preset_error("qqqqqqqqqqqqqqqqqqqq"),
      "cluster qqqqqqqqqqqqqqqqqqqq: unknown device \"qqqqqqqqqqqqqqqqqqqq\" (name one such as "
      "A100-SXM-80GB, H100-SXM-80GB, MI300X or T4, or give the file of a cluster)");
  constexpr char kForm[] = " names no device (write NODESnCOUNTxDEVICE, as 2n8xH100-SXM-80GB)";
  EXPECT_EQ(preset_error(""), std::string("cluster : \"\"") + kForm);
  EXPECT_EQ(preset_error("2n8x"), std::string("cluster 2n8x: \"2n8x\"") + kForm);
  EXPECT_EQ(preset_error("L4,,T4"), std::string("cluster L4,,T4: \"\"") + kForm);
}

TEST(Preset, EveryDeviceOfTheDatabaseWorks) {
  for (const DeviceRecord& record : load_database().devices) {
    const Cluster cluster = preset_cluster("2n2x" + record.name);
    EXPECT_EQ(check(cluster), std::vector<Fault>{}) << record.name;
    EXPECT_EQ(document_of(cluster).summary->types.at(record.name), 4) << record.name;
    EXPECT_TRUE(find_link(cluster, DeviceId(0), DeviceId(3)).has_value()) << record.name;
  }
}

TEST(Preset, UsualHostsDifferAndCanBeOverridden) {
  const auto between = [](const std::string& spec) {
    const Cluster cluster = preset_cluster(spec);
    return find_link(cluster, DeviceId(0), DeviceId(cluster.devices.size() - 1))->bytes_per_s.value;
  };
  EXPECT_DOUBLE_EQ(between("2n8xA100-SXM-80GB"), 0.8 * 25e9);            // DGX A100: 8 x 200 Gbit/s
  EXPECT_DOUBLE_EQ(between("2n8xV100-SXM-16GB"), 0.8 * 4 * 12.5e9 / 8);  // DGX-1, as with 32 GB
  EXPECT_DOUBLE_EQ(between("2n8xV100-SXM-16GB@25Gbps"), 0.8 * 3.125e9 / 8);        // p3: for eight
  EXPECT_DOUBLE_EQ(between("2n8xA100-SXM-80GB@4x100Gbps"), 0.8 * 4 * 12.5e9 / 8);  // p4d
  EXPECT_DOUBLE_EQ(between("2n1xL4@25Gbps"), 0.8 * 3.125e9);
  EXPECT_EQ(preset_cluster("2n2xA40").notes,
            (std::vector<std::string>{
                "hosts whose data sheet is unknown are assumed: 2 sockets, 64 cores",
                "their network is assumed: one adapter of 100 Gbit/s per node"}));
  EXPECT_DOUBLE_EQ(between("2n2xA40"), 0.8 * 12.5e9 / 2);
  EXPECT_EQ(preset_cluster("8xH100").notes,
            (std::vector<std::string>{"host of H100-SXM-80GB: DGX H100 data sheet: 8 x ConnectX-7 "
                                      "400 Gbit/s, 2 x Xeon 8480C, 2 TB; eight channels "
                                      "of DDR5-4800 each"}));
}

TEST(Preset, GenerationsMeetAtTheSlowerNetwork) {
  const Cluster cluster = preset_cluster("2n8xH100-SXM-80GB+1n8xA100-SXM-40GB");
  EXPECT_EQ(check(cluster), std::vector<Fault>{});
  EXPECT_EQ(cluster.nodes.size(), 3u);
  const auto rate = [&](std::size_t a, std::size_t b) {
    return find_link(cluster, DeviceId(a), DeviceId(b))->bytes_per_s.value;
  };
  EXPECT_DOUBLE_EQ(rate(0, 8), 0.8 * 50e9);    // H100 to H100
  EXPECT_DOUBLE_EQ(rate(0, 16), 0.8 * 25e9);   // H100 to A100
  EXPECT_DOUBLE_EQ(rate(0, 1), 0.75 * 450e9);  // NVLink4
  EXPECT_DOUBLE_EQ(rate(16, 17), 0.75 * 300e9);
}

TEST(Preset, ProcessorsAndAcceleratorsOfOneNode) {
  const Cluster cluster = preset_cluster("2n8xH100-SXM-80GB,2xXeon-8480+");
  EXPECT_EQ(check(cluster), std::vector<Fault>{});
  ASSERT_EQ(cluster.devices.size(), 20u);
  EXPECT_EQ(cluster.devices[8].kind, DeviceKind::cpu);
  EXPECT_EQ(cluster.devices[9].cores.front(), 56);  // the second socket's first core
  EXPECT_EQ(cluster.nodes[0].cores, 112);
  EXPECT_EQ(find_link(cluster, DeviceId(0), DeviceId(7))->type, "NVLink4");
  EXPECT_EQ(find_link(cluster, DeviceId(0), DeviceId(8))->type, "PCIe5x16");
  EXPECT_EQ(find_link(cluster, DeviceId(8), DeviceId(9))->type, "shared-memory");
  EXPECT_EQ(find_link(cluster, DeviceId(8), DeviceId(8))->type, "shared-memory");
}

TEST(Preset, APlusThatEndsANameIsPartOfIt) {
  EXPECT_EQ(split_groups("2xXeon-8480++8xL4"), (std::vector<std::string>{"2xXeon-8480+", "8xL4"}));
  EXPECT_EQ(split_groups("Xeon-8480+"), (std::vector<std::string>{"Xeon-8480+"}));
  EXPECT_EQ(preset_cluster("2xXeon-8480++8xL4").nodes.size(), 2u);
}

TEST(Preset, LettersBlanksAndDashesDoNotMatter) {
  const Cluster plain = preset_cluster("2n8xA100-SXM-80GB+4xRTX-4090");
  for (const char* spec : {"2N8XA100-SXM-80GB+4xRTX-4090", " 2n 8 x A100 SXM 80GB + 4 x rtx4090 ",
                           "2n8xa100_sxm_80gb+4xRTX_4090"}) {
    Cluster other = preset_cluster(spec);
    other.name = plain.name;
    EXPECT_EQ(other, plain) << spec;
  }
  const auto adapters = [](const char* spec) {
    return find_link(preset_cluster(spec), DeviceId(0), DeviceId(15))->bytes_per_s.value;
  };
  EXPECT_DOUBLE_EQ(adapters("2n8xH100 @ 8 x 400 gbps"), 0.8 * 50e9);
  EXPECT_DOUBLE_EQ(adapters("2n8xH100@8x50GBps"), 0.8 * 50e9);
  EXPECT_DOUBLE_EQ(adapters("2n8xH100@400Gbit/s"), 0.8 * 50e9 / 8);
}

TEST(Preset, AHostOfProcessorsHasTheirMemory) {
  const Cluster cluster = preset_cluster("2xXeon-8480+");
  // 8 GB for each of 56 cores, two processors; 16 GB beside
  EXPECT_DOUBLE_EQ(cluster.nodes[0].memory_bytes.value, 2 * 56 * 8e9 + 16e9);
  EXPECT_GE(cluster.nodes[0].memory_bytes.value, 2 * cluster.devices[0].memory_bytes.value);
}

TEST(Preset, BrokenNetworksAreNamed) {
  EXPECT_EQ(preset_error("2n8xH100@fast"),
            "cluster 2n8xH100@fast: \"@fast\" is no network (write @400Gbps or @8x400Gbps behind "
            "the devices)");
  EXPECT_EQ(preset_error("2n8xH100@0Gbps"),
            "cluster 2n8xH100@0Gbps: \"@0Gbps\" is no network (write @400Gbps or @8x400Gbps "
            "behind the devices)");
}

TEST(Preset, TenThousandDevicesAreHeldCompactly) {
  const Cluster cluster = preset_cluster("1000n8xH100-SXM-80GB+250n8xA100-SXM-80GB");
  EXPECT_EQ(cluster.devices.size(), 10000u);
  EXPECT_EQ(cluster.links.size(), 0u);
  EXPECT_LE(cluster.networks.size(), 7u);
  EXPECT_EQ(check(cluster), std::vector<Fault>{});
  // Each device: its own curves, about 5 kB. The file repeats none of them.
  const std::string text = to_json(cluster, 0);
  EXPECT_LT(text.size(), 4'000'000u);
  EXPECT_EQ(from_json<Cluster>(text, "large.json"), cluster);
}

TEST(Preset, PricesComeWithTheDevices) {
  const Cluster cluster = preset_cluster("2xH100+2xA40");
  EXPECT_EQ(cluster.devices[0].usd_per_hour->value, 12.29);
  EXPECT_EQ(cluster.devices[0].usd_per_hour->quality, Quality::database);
  EXPECT_FALSE(cluster.devices[2].usd_per_hour.has_value());  // nobody rents it in the database
}

TEST(Preset, AdaptersComeWithDevices) {
  // As many per device, however many of them are said to share a node.
  const auto each = [](const char* spec, double devices) {
    for (const Network& network : preset_cluster(spec).networks) {
      if (network.scope != NetworkScope::node) {
        return network.ports * network.bytes_per_s.value / devices;
      }
    }
    return 0.0;
  };
  EXPECT_DOUBLE_EQ(each("2n4xGB200", 4), each("2n8xGB200", 8));
  EXPECT_DOUBLE_EQ(each("2n4xGB200", 4), each("2n72xGB200", 72));
  EXPECT_DOUBLE_EQ(each("2n8xH100", 8), each("2n4xH100", 4));
  EXPECT_DOUBLE_EQ(each("2n8xH100", 8), each("2n16xH100", 16));
}

}  // namespace
}  // namespace parallel_opt
