#include "parallel_opt/cost/network_text.h"

#include <gtest/gtest.h>

#include <optional>
#include <utility>

namespace parallel_opt {
namespace {

std::optional<double> rate(const char* text, double per_node, double usual_adapters = 0) {
  const auto found = network_by_text(text, per_node, {usual_adapters});
  return found ? std::optional(found->bytes_per_s) : std::nullopt;
}

TEST(NetworkByText, ReadsRatesPerNodeAndPerDevice) {
  EXPECT_EQ(rate("RoCE 1600 Gbps/node", 8), 25e9);
  EXPECT_EQ(rate("4x100Gb RoCE per node", 8), 6.25e9);
  EXPECT_EQ(rate("NVLink; 400 Gb/s RDMA per GPU", 8), 50e9);
  EXPECT_EQ(rate("inter-node 800 Gbps per node (simulation config)", 8), 12.5e9);
  EXPECT_EQ(rate("somewhere", 8), std::nullopt);
  // A count is one of adapters of a node, unless it is said to be of a device.
  EXPECT_EQ(rate("8x200 Gb/s RoCE", 8), 25e9);
  EXPECT_EQ(rate("4x HDR 200 InfiniBand", 8), 12.5e9);
  EXPECT_EQ(rate("8x NDR", 8), 50e9);
  // A stated rate tells lanes from adapters.
  EXPECT_EQ(rate("InfiniBand 100 Gb/sec (4X EDR)", 8), 12.5e9);
  EXPECT_EQ(rate("InfiniBand 1x100 Gb/s (4X EDR)", 8), 12.5e9 / 8);
  EXPECT_EQ(rate("24x100GbE", 8), 37.5e9);
  EXPECT_EQ(rate("2x100 Gb/s per accelerator", 8), 25e9);
  // No adapter carries 3.2 Tbit/s.
  EXPECT_EQ(rate("3.2 Tb/s InfiniBand", 8), 50e9);
  EXPECT_EQ(rate("2 Tb/s RoCE per host", 8), 31.25e9);
  EXPECT_EQ(rate("EFA 3200 Gbps", 8), 50e9);
  EXPECT_EQ(rate("InfiniBand 400 Gb/s", 8), 50e9);
  for (const char* text :
       {"Spectrum-X 400G", "400G RoCE", "NVLink; Spectrum-X 400G", "RoCE 400G"}) {
    EXPECT_EQ(rate(text, 8), 50e9) << text;
  }
  EXPECT_EQ(rate("Spectrum-X", 8), std::nullopt);
}

TEST(NetworkByText, ARateAloneInItsClauseNeedsNoUnit) {
  EXPECT_EQ(rate("100G", 8), 12.5e9);
  EXPECT_EQ(rate("4\u00d7200G", 8), rate("4x200G", 8));
  EXPECT_EQ(rate("400G", 8), 50e9);
  EXPECT_EQ(rate("100 G per node", 8), 12.5e9 / 8);
  EXPECT_EQ(rate("NVLink; 400G per GPU", 8), 50e9);
  EXPECT_EQ(rate("100GbE", 8), 12.5e9 / 8);
  EXPECT_EQ(rate("80G", 8), std::nullopt);  // of memory
  EXPECT_EQ(rate("400GB host memory", 8), std::nullopt);
}

TEST(NetworkByText, RatesApartFromALinksNameAreTheNetworks) {
  for (const char* text :
       {"NVLink, 8x200 Gb/s", "NVLink + 8x200 Gb/s", "PCIe 4.0, 8x200 Gb/s",
        "no NVLink, 8x200 Gb/s", "NVLink (900 GB/s) in a node and 8x200 Gb/s between nodes",
        "NVLink 600 GB/s, 8x 200 Gb/s", "NVLink and InfiniBand 8x200 Gb/s", "NVLink; 8x200 Gb/s",
        "8x200 Gb/s, NVLink"}) {
    EXPECT_EQ(rate(text, 8), 25e9) << text;
  }
  for (const char* text : {"NVLink, 600 GB/s", "NVLink 600 GB/s", "NVLink (900 GB/s)",
                           "NVLink 4 at 7200 Gb/s", "600 GB/s NVLink", "PCIe 4.0 x16 (256 Gb/s)"}) {
    EXPECT_EQ(rate(text, 8), std::nullopt) << text;
  }
}

TEST(NetworkByText, NetworksThatDoNotTrainArePassedOver) {
  for (const char* text : {"storage over 25 Gb/s, compute 8x200 Gb/s",
                           "8x200 Gb/s (storage: 2x100 Gb/s)", "10 GbE management; 8x200 Gb/s RoCE",
                           "2x100GbE frontend, 8x HDR", "8x200 Gb/s for compute and storage"}) {
    EXPECT_EQ(rate(text, 8), 25e9) << text;
  }
}

TEST(NetworkByText, CountsAdaptersThatStandBeforeTheirRate) {
  for (const char* text : {"(200 Gb/s) x4", "4 NICs, 200 Gb/s each", "4 adapters of 200 Gb/s"}) {
    EXPECT_EQ(rate(text, 8), 12.5e9) << text;
  }
  EXPECT_EQ(rate("1 NIC of 200 Gb/s", 8), 25e9 / 8);
}

TEST(NetworkByText, SaysHowManyAdaptersANodeHas) {
  const auto adapters = [](const char* text) { return network_by_text(text, 8, {4})->adapters; };
  EXPECT_EQ(adapters("4x200 Gb/s"), 4);
  EXPECT_EQ(adapters("25 Gb/s per node"), 1);
  EXPECT_EQ(adapters("200 Gb/s per GPU"), 0);
  EXPECT_EQ(adapters("3.2 Tb/s per node"), 0);  // of how many
  EXPECT_EQ(adapters("HDR InfiniBand"), 4);     // of its usual machine
}

TEST(NetworkByText, CountsAdaptersByWordsBetweenAndBehind) {
  EXPECT_EQ(rate("4x Omni-Path 100 Gbps per node", 8), 6.25e9);
  EXPECT_EQ(rate("8x ConnectX-7 IB NDR 400Gb/s", 8), 50e9);
  EXPECT_EQ(rate("4x InfiniBand HDR 200 Gb/s", 8), 12.5e9);
  EXPECT_EQ(rate("4 × 200 Gb/s HDR", 8), 12.5e9);
  EXPECT_EQ(rate("200 Gb/s HDR InfiniBand x4", 8), 12.5e9);
  EXPECT_EQ(rate("HDR InfiniBand 200Gb/s (4 HCAs)", 8), 12.5e9);
  EXPECT_EQ(rate("four 200 Gb/s NICs", 8), 12.5e9);
  EXPECT_EQ(rate("dual 100 GbE", 8), 3.125e9);
  EXPECT_EQ(rate("4x HDR100", 8), 6.25e9);
  EXPECT_EQ(rate("RoCE v2 8*200G", 8), 25e9);
  EXPECT_EQ(rate("100G Ethernet", 8), 12.5e9 / 8);
}

// Once a node of eight with one adapter of 10 Gbit/s had eight of them.
TEST(NetworkByText, UncountedRatesThatAreANodes) {
  for (const char* text :
       {"one 100 Gbps NIC", "a 100G NIC", "100 Gbps total", "aggregate bandwidth 100 Gbps",
        "100 Gbps per instance", "100 Gbps/instance", "100 Gbps per VM", "AWS EFA 100 Gbps",
        "100Gbps EFA", "100 Gbps between machines", "100 Gbps between nodes", "inter-node 100 Gbps",
        "100GbE", "100 GbE", "100 Gbps Ethernet", "NVLink, 100 Gb Ethernet",
        "NVLink 600 GB/s, 100 Gbps in total"}) {
    const auto found = network_by_text(text, 8);
    ASSERT_TRUE(found) << text;
    EXPECT_EQ(found->bytes_per_s, 12.5e9 / 8) << text;
    EXPECT_EQ(found->adapters, 1) << text;
    EXPECT_FALSE(found->each_is_assumed) << text;
  }
  EXPECT_EQ(rate("AWS EFA 400 Gbps per instance", 8), 6.25e9);
  EXPECT_EQ(rate("10GbE TCP", 8), 1.25e9 / 8);
  EXPECT_EQ(rate("1 Gbps Ethernet", 8), 0.125e9 / 8);
  // What is said to be a device's stays one, and so does what is sold by adapter.
  EXPECT_EQ(rate("100 Gbps EFA per GPU", 8), 12.5e9);
  EXPECT_EQ(rate("one 200 Gb/s NIC per GPU", 8), 25e9);
  EXPECT_EQ(rate("400 GbE", 8), 50e9);
  EXPECT_EQ(rate("InfiniBand 400 Gb/s between nodes", 8), 50e9);
  EXPECT_EQ(rate("NVLink 600 GB/s in total, InfiniBand 200 Gb/s", 8), 25e9);
  const auto assumed = [](const char* text) { return network_by_text(text, 8)->each_is_assumed; };
  EXPECT_TRUE(assumed("InfiniBand 400 Gb/s"));
  EXPECT_TRUE(assumed("400 Gb/s"));
  EXPECT_FALSE(assumed("400 Gb/s per GPU"));
  EXPECT_FALSE(assumed("8x400 Gb/s"));
}

// Once Omni-Path was what one site's nodes had reached, and all other names were nothing.
TEST(NetworkByText, NamesMeanWhatSuchAdaptersAreSoldAs) {
  for (const auto& [text, gbit] : {std::pair{"InfiniBand SDR", 8.0},
                                   {"IB DDR", 16.0},
                                   {"QDR", 32.0},
                                   {"InfiniBand FDR10", 40.0},
                                   {"FDR InfiniBand", 54.5},
                                   {"EDR InfiniBand", 100.0},
                                   {"HDR", 200.0},
                                   {"InfiniBand HDR100", 100.0},
                                   {"Quantum-2 NDR", 400.0},
                                   {"NDR200 InfiniBand", 200.0},
                                   {"XDR", 800.0},
                                   {"Mellanox EDR", 100.0}}) {
    const double one = gbit * 1e9 / 8;
    EXPECT_EQ(rate(text, 8), one / 8) << text;         // one per node,
    EXPECT_EQ(rate(text, 8, 4), 4 * one / 8) << text;  // or as in its usual machine
  }
  // Other fabrics are not those of a machine with InfiniBand.
  for (const auto& [text, gbit] : {std::pair{"JeanZay (4 GPU NVLink nodes, Omni-Path)", 100.0},
                                   {"Intel OPA", 100.0},
                                   {"HPE Slingshot-10", 100.0},
                                   {"Slingshot 11", 200.0}}) {
    EXPECT_EQ(rate(text, 8, 4), gbit * 1e9 / 8 / 8) << text;
  }
  EXPECT_EQ(network_by_text("Slingshot-11", 8, {.adapters = 4, .fabric = "slingshot"})->bytes_per_s,
            12.5e9);
  for (const char* unknown : {"InfiniBand", "Slingshot", "8-channel DDR4", "eDRAM", "address"}) {
    EXPECT_EQ(rate(unknown, 8, 4), std::nullopt) << unknown;
  }
  EXPECT_EQ(rate("Slingshot-11, one adapter per GPU", 4, 1), 25e9);
  EXPECT_EQ(rate("EDR InfiniBand per node", 8, 4), 12.5e9 / 8);
  EXPECT_EQ(rate("4xEDR", 8, 8), 4 * 12.5e9 / 8);
  EXPECT_EQ(rate("4 HDR adapters", 8, 8), 12.5e9);
  EXPECT_EQ(rate("two Omni-Path HFI", 4, 8), 6.25e9);
  // A rate goes before a name.
  EXPECT_EQ(rate("HDR InfiniBand (100 Gb/s)", 8, 4), 12.5e9);
  EXPECT_EQ(rate("NVLink; NDR; 4x100 Gb/s", 8, 8), 6.25e9);
}

TEST(NetworkByText, SystemsAreKnownByName) {
  EXPECT_EQ(rate("Perlmutter", 4), 25e9);
  EXPECT_EQ(rate("JUWELS Booster", 4, 8), 25e9);
  EXPECT_EQ(rate("Slingshot-11 (Perlmutter)", 4), 25e9);
  for (const char* alps : {"Alps, Slingshot-11", "CSCS Daint, Slingshot-11", "Alps/Clariden"}) {
    EXPECT_EQ(rate(alps, 4), 25e9) << alps;
  }
  EXPECT_FALSE(network_by_text("Piz Daint", 1));  // Aries
  EXPECT_EQ(rate("JeanZay", 4), std::nullopt);    // its partitions have different adapters
  EXPECT_EQ(rate("Leonardo; 100 Gb/s per GPU", 4), 12.5e9);  // what is stated counts
  EXPECT_EQ(rate("Leonardo, 2x EDR", 4), 2 * 12.5e9 / 4);
  EXPECT_EQ(rate("illuminated", 4), std::nullopt);
}

TEST(NetworkByText, MachinesOfCloudsAreKnownByName) {
  for (const auto& [text, gbit] : {std::pair{"AWS p4d.24xlarge", 400.0},
                                   {"p4de", 400.0},
                                   {"p4d, EFA", 400.0},
                                   {"p3dn.24xlarge", 100.0},
                                   {"p5.48xlarge", 3200.0},
                                   {"GCP a3-highgpu-8g", 800.0},
                                   {"a3-megagpu-8g", 1600.0},
                                   {"Azure ND96asr_v4", 1600.0},
                                   {"Standard_ND96amsr_A100_v4", 1600.0},
                                   {"Azure NDm A100 v4", 1600.0}}) {
    EXPECT_EQ(rate(text, 8), gbit * 1e9 / 8 / 8) << text;
    EXPECT_EQ(network_of_machine(text, 8)->bytes_per_s, gbit * 1e9 / 8 / 8) << text;
  }
  EXPECT_EQ(network_by_text("p4d", 8)->taken, "p4d: 4x100 Gb/s");
  EXPECT_FALSE(network_of_machine("8 GPUs; 400 Gb/s", 8));
  EXPECT_FALSE(network_of_machine("a frontier model", 8));
}

TEST(NetworkByText, ARateBesideAMachineIsItsNodes) {
  for (const char* text : {"p4d 400 Gbps", "400 Gb/s (p4d.24xlarge)", "p4d, EFA 400 Gbps",
                           "p4d 100 Gb/s", "p4d.24xlarge; 4x100 Gb/s"}) {
    const auto found = network_by_text(text, 8);
    ASSERT_TRUE(found) << text;
    EXPECT_EQ(found->bytes_per_s, 50e9 / 8) << text;
    EXPECT_EQ(found->adapters, 4) << text;
    EXPECT_FALSE(found->each_is_assumed) << text;
  }
  EXPECT_EQ(rate("p5.48xlarge 400 Gb/s", 8), 50e9);     // of each of its adapters
  EXPECT_EQ(rate("p4d at 200 Gb/s", 8), 25e9 / 8);      // half of what it has
  EXPECT_EQ(rate("p4d, 100 Gb/s per GPU", 8), 12.5e9);  // what is said counts
  const UsualNetwork named = {.machine = network_of_machine("p4d.24xlarge", 8)};
  EXPECT_EQ(network_by_text("400 Gbps", 8, named)->bytes_per_s, 50e9 / 8);
  EXPECT_EQ(network_by_text("8x200 Gb/s", 8, named)->bytes_per_s, 25e9);
}

TEST(NetworkByText, ClausesSayWhichLinkARateIsOf) {
  for (const char* text :
       {"NVLink intra-node, 200 Gb/s HDR InfiniBand inter-node",
        "200 Gb/s HDR InfiniBand inter-node, NVLink intra-node",
        "900 GB/s intra-node, InfiniBand 25 GB/s inter-node",
        "InfiniBand 25 GB/s inter-node, 900 GB/s intra-node",
        "200 Gb/s InfiniBand across nodes, NVLink within node 600 GB/s", "NVSwitch + 8x HDR",
        "NVLink 900 GB/s + 200 Gb/s InfiniBand", "intra 600 GB/s, inter 8x200 Gb/s",
        "600 GB/s within a node, 8x200 Gb/s across nodes"}) {
    EXPECT_EQ(rate(text, 8), 25e9) << text;
  }
  for (const char* text :
       {"600 GB/s within node, 200 Gb/s across nodes", "inter-node 200 Gb/s, intra-node 600 GB/s",
        "NVLink 900 GB/s intra-node / 25 GB/s inter-node",
        "within nodes: 600 GB/s, between nodes: 200 Gb/s"}) {
    EXPECT_EQ(rate(text, 8), 25e9 / 8) << text;
  }
  EXPECT_EQ(rate("600 GB/s inside a node", 8), std::nullopt);
  EXPECT_TRUE(network_by_text("400 Gb/s of NVIDIA GPUs", 8)->each_is_assumed);  // not "a GPU's"
}

TEST(NetworkByText, CountedAdaptersNeedNoUnit) {
  for (const char* text : {"4x100", "4 x 100G", "4 * 100 GbE", "InfiniBand 4 x 100",
                           "NVLink, 4x100", "4x100 RoCE v2", "4x RoCE v2 100Gb/s"}) {
    EXPECT_EQ(rate(text, 8), 6.25e9) << text;
  }
  EXPECT_EQ(rate("2x25GbE", 8), 6.25e9 / 8);
  for (const char* text : {"8xH100", "2x100 GB", "8x80", "4 x 100 GPUs", "2x10 nodes", "2x40.5"}) {
    EXPECT_EQ(rate(text, 8), std::nullopt) << text;
  }
}

TEST(NetworkByText, SlowRoceIsANodes) {
  EXPECT_EQ(rate("25Gb/s RoCE", 8), 25e9 / 8 / 8);
  EXPECT_EQ(rate("RoCE v2 50 Gb/s", 8), 50e9 / 8 / 8);
  EXPECT_EQ(rate("100GbE RoCE v2", 8), 12.5e9 / 8);  // Ethernet
  EXPECT_EQ(rate("100 Gb/s RoCE", 8), 12.5e9);       // as such adapters are bought
  EXPECT_EQ(rate("25Gb/s RoCE per GPU", 8), 25e9 / 8);
}

TEST(NetworkByText, ARateBehindANameIsOneAdapters) {
  EXPECT_EQ(rate("4x 200 Gb/s Slingshot 11", 8), 12.5e9);
  EXPECT_EQ(rate("4x Slingshot 11 (200 Gb/s)", 8), 12.5e9);
  EXPECT_EQ(rate("4x HPE Slingshot-11 200 Gb/s", 8), 12.5e9);
  EXPECT_EQ(rate("4x HDR200 (200 Gb/s)", 8), 12.5e9);
  EXPECT_EQ(rate("8 ConnectX-7 400 Gb/s NICs", 8), 50e9);
  EXPECT_EQ(rate("PCIe 4 200 Gb/s InfiniBand", 8), 25e9);  // 4 counts nothing
}

TEST(NetworkByText, AdaptersOfANodeMayBeCountedBehind) {
  EXPECT_EQ(rate("HDR 200Gb/s, 4 per node", 8), 12.5e9);
  EXPECT_EQ(rate("200 Gb/s InfiniBand (4 per node)", 8), 12.5e9);
  EXPECT_EQ(rate("200 Gb/s InfiniBand, 8 GPUs per node", 8), 25e9);  // those are devices
  EXPECT_EQ(rate("10 Gigabit Ethernet", 8), 1.25e9 / 8);
  EXPECT_EQ(rate("200 Gigabits/s", 8), 25e9);
  EXPECT_EQ(rate("40 Gigabit InfiniBand per node", 8), 5e9 / 8);
}

TEST(NetworkByText, TellsWhatANameWasTakenFor) {
  const auto taken = [](const char* text, double usual) {
    return network_by_text(text, 8, {usual}).value_or(NetworkWords{}).taken;
  };
  EXPECT_EQ(taken("EDR InfiniBand", 4),
            "EDR InfiniBand: 100 Gbit/s per adapter, 4 adapters of its usual machine");
  EXPECT_EQ(taken("IB FDR", 0), "FDR InfiniBand: 54.5 Gbit/s per adapter, 1 adapter per node");
  EXPECT_EQ(taken("2x Omni-Path", 4), "Omni-Path: 100 Gbit/s per adapter, 2 adapters per node");
  EXPECT_EQ(taken("NDR per GPU", 4),
            "NDR InfiniBand: 400 Gbit/s per adapter, 1 adapter per device");
  EXPECT_EQ(taken("NDR 400 Gb/s", 4), "");
}

TEST(NetworkByText, PassesOverWhatStaysInANode) {
  EXPECT_EQ(rate("NVLink 600 GB/s; 8x HDR 200", 8), 25e9);
  EXPECT_EQ(rate("NVLink 600 GB/s + 200 Gb/s InfiniBand", 8), 25e9);
  EXPECT_EQ(rate("NVLink (600 GB/s), InfiniBand (200 Gb/s)", 8), 25e9);
  EXPECT_EQ(rate("600 GB/s NVLink, 200 Gb/s InfiniBand", 8), 25e9);
  EXPECT_EQ(rate("NVSwitch 900 GB/s", 8), std::nullopt);
  EXPECT_EQ(rate("PCIe 4.0 x16 32 GB/s and 100GbE", 4), 12.5e9 / 4);
  EXPECT_EQ(rate("A100-80G with NVLink", 8), std::nullopt);
  EXPECT_EQ(rate("A100-SXM4-80GB", 8), std::nullopt);
  EXPECT_EQ(rate("8 GPUs per node, 400 Gb/s InfiniBand", 8), 50e9);
  EXPECT_EQ(rate("25 GB/s per GPU", 8), 25e9);
}

}  // namespace
}  // namespace parallel_opt
