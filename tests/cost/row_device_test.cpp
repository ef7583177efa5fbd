#include "parallel_opt/cost/row_device.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>

#include "parallel_opt/cost/accelerator.h"
#include "parallel_opt/cost/device_text.h"
#include "parallel_opt/hardware/load.h"
#include "tests/cost/row_fixture.h"

namespace parallel_opt {
namespace {

using testing::case_of;
using testing::note_with;
using testing::skipped;
using testing::told;
using testing::usual_row;

TEST(RowDevice, PackagesOfTwoDiesAreTwoDevices) {
  TrainingRow row = usual_row();
  row.gpu = "MI250X";  // 383 TFLOP/s, 128 GiB, four 200 Gbit/s adapters for four packages
  row.gpus_per_node = std::nullopt;
  const Accelerator die = case_of(row).device;
  EXPECT_EQ(die.half_flops_per_s, 191.5e12);
  EXPECT_EQ(die.memory_bytes, 64.0 * (1LL << 30));
  EXPECT_EQ(die.per_node, 8);
  EXPECT_EQ(die.network_bytes_per_s, 12.5e9);
}

TEST(RowDevice, RowsOfSeveralKindsOrOfPartsAreSkipped) {
  TrainingRow row = usual_row();
  for (const char* gpu :
       {"A100-80GB and H100-80GB", "8xA100-80GB + 8xV100-32GB", "A100/H100", "32xA100+32xH100"}) {
    row.gpu = gpu;
    EXPECT_NE(skipped(row).find("is of several kinds"), std::string::npos) << gpu;
  }
  for (const char* gpu : {"A100-SXM-80GB MIG 1g.10gb", "half of an A100-80GB", "A100 3g.40gb",
                          "1/2 A100", "half A100-80GB", "0.5 A100-SXM-80GB"}) {
    row.gpu = gpu;
    EXPECT_NE(skipped(row).find("is a part of a device"), std::string::npos) << gpu;
  }
  for (const char* gpu : {"8xA100-80GB", "A100 40GB/80GB", "H100 (DGX H100, NVSwitch and IB)",
                          "A100-SXM4-80GB, DGX A100", "TPU v4", "slice of a TPU v4 pod",
                          "H100-SXM-80GB + 2x Xeon 8480C", "A100-SXM-80GB, MIG disabled",
                          "GB200: Grace CPU + B200 GPU", "A100 and EPYC 7763"}) {
    row.gpu = gpu;
    EXPECT_EQ(skipped(row), "") << gpu;
  }
}

TEST(RowDevice, BoardsWithoutNvlinkAreThoseOfPcie) {
  TrainingRow row = usual_row();
  const auto links = [&](const char* gpu, const char* interconnect) {
    row.gpu = gpu;
    row.interconnect = interconnect;
    return case_of(row).device.links.all_bytes_per_s;
  };
  const double pcie = links("A100-PCIe-80GB", "100 Gb/s");
  EXPECT_EQ(links("A100 80GB", "PCIe, 100 Gb/s"), pcie);
  EXPECT_EQ(links("A100 80GB", "no NVLink; 100 Gb/s"), pcie);
  EXPECT_GT(links("A100 80GB", "NVLink, PCIe 4.0; 100 Gb/s"), 5 * pcie);
  EXPECT_GT(links("A100-SXM-80GB", "PCIe 4.0; 100 Gb/s"), 5 * pcie);  // to its adapters
  EXPECT_GT(links("A100 80GB", "100 Gb/s"), 5 * pcie);
}

TEST(RowDevice, DevicesOnSxmKeepTheirNvlinkAndSaySo) {
  TrainingRow row = usual_row();
  row.gpu = "A100-SXM-80GB";
  const auto keeps = [&](const char* interconnect) {
    row.interconnect = interconnect;
    return told(row,
                "gpu 'A100-SXM-80GB' keeps the NVLink of A100-SXM-80GB, which its interconnect "
                "denies");
  };
  EXPECT_EQ(keeps("PCIe only"), 1);
  EXPECT_EQ(keeps("no NVLink"), 1);
  EXPECT_EQ(keeps("PCIe 4.0; 100 Gb/s"), 0);
}

// Once a bridge stayed whatever a row said of it.
TEST(RowDevice, BoardsLoseBridgesThatARowDenies) {
  TrainingRow row = usual_row();
  row.gpus_per_node = 2;
  const auto links = [&](const char* gpu, const char* interconnect, const char* notes = "") {
    row.gpu = gpu;
    row.interconnect = interconnect;
    row.notes = notes;
    return case_of(row).device.links.all_bytes_per_s;
  };
  constexpr double kPcie4 = 31.5e9, kBridge = 56.25e9;
  for (const char* none :
       {"PCIe", "PCIe 4.0", "PCIe 4.0 x16", "PCI Express", "no NVLink", "PCIe, no NVLink",
        "PCIe 4.0 x16 (no NVLink)", "without NVLink bridges", "no bridge",
        "NVLink bridge not installed", "PCIe (NCCL_P2P_DISABLE=1)", "NVLink: none"}) {
    EXPECT_EQ(links("RTX 3090", none), kPcie4) << none;
    EXPECT_EQ(links("A6000", none), kPcie4) << none;
    EXPECT_EQ(links("A100-PCIe-80GB", none), kPcie4) << none;
  }
  for (const char* some : {"", "NVLink", "NVLink bridge", "NVLink, PCIe 4.0", "100 Gb/s"}) {
    EXPECT_EQ(links("RTX 3090", some), kBridge) << some;
  }
  EXPECT_EQ(links("RTX 3090", "", "no NVLink"), kPcie4);
  EXPECT_EQ(links("RTX 3090", "", "boards without NVLink bridge"), kPcie4);
  EXPECT_EQ(links("RTX 3090 (no NVLink)", ""), kPcie4);
  EXPECT_EQ(links("RTX 3090", "PCIe 4.0", "pairs joined by NVLink"), kBridge);
  EXPECT_EQ(links("RTX 3090", "", "faster than PCIe"), kBridge);
  EXPECT_EQ(links("A100 80GB", "PCIe"), kPcie4);   // of a pair
  EXPECT_GT(links("MI210", "no NVLink"), kPcie4);  // true of any
  EXPECT_EQ(links("MI210", "PCIe, no Infinity Fabric bridge"), kPcie4);
  row.gpu = "RTX 3090";
  row.interconnect = "PCIe 4.0";
  EXPECT_EQ(told(row,
                 "gpu 'RTX 3090' is taken without a bridge of NVLink, as its interconnect names "
                 "PCIe alone"),
            1);
  row.interconnect = "no NVLink";
  EXPECT_EQ(
      told(row, "gpu 'RTX 3090' is taken without a bridge of NVLink, as its interconnect has none"),
      1);
  EXPECT_EQ(note_with(row, "joins two"), "");
}

TEST(RowDevice, DevicesWhoseLinksArePartOfThemSayThatTheyKeepThem) {
  TrainingRow row = usual_row();
  const auto note = [&](const char* gpu, const char* interconnect) {
    row.gpu = gpu;
    row.interconnect = interconnect;
    return note_with(row, " keeps the ");
  };
  EXPECT_EQ(note("A100-SXM4-80GB", "PCIe"),
            "gpu 'A100-SXM4-80GB' keeps the NVLink of A100-SXM-80GB, though its interconnect names "
            "PCIe alone");
  EXPECT_NE(note("V100-SXM2-32GB", "PCIe 4.0"), "");
  EXPECT_NE(note("A100-SXM4-80GB", "PCIe 4.0 x16"), "");
  EXPECT_NE(note("MI300X", "PCIe"), "");
  EXPECT_EQ(note("MI300X", "no NVLink"), "");
  EXPECT_EQ(note("A100-SXM4-80GB", "NVLink, PCIe 4.0"), "");
  EXPECT_EQ(note("L40S", "PCIe"), "");
}

TEST(RowDevice, A16BitTypeThatADeviceLacksIsTold) {
  TrainingRow row = usual_row();
  const auto note = [&](const char* gpu, const char* dtype) {
    row.gpu = gpu;
    row.dtype = dtype;
    return note_with(row, " as fast as ");
  };
  EXPECT_EQ(note("V100-SXM2-32GB", "bf16"),
            "bf16 as fast as fp16, as V100-SXM-32GB has no products of bf16");
  EXPECT_EQ(note("P100-PCIe-16GB", "bfloat16 mixed"),
            "bf16 as fast as fp16, as P100-PCIe-16GB has no products of bf16");
  EXPECT_EQ(note("K80", "bf16"), "bf16 as fast as fp32, as K80 has no products of 16 bits");
  EXPECT_EQ(note("TPU v4", "float16"), "fp16 as fast as bf16, as TPU-v4 has no products of fp16");
  for (const char* dtype : {"fp16", "mixed", "fp16/bf16", "fp32", ""}) {
    EXPECT_EQ(note("V100-SXM2-32GB", dtype), "") << dtype;
  }
  EXPECT_EQ(note("A100-SXM-80GB", "bf16"), "");
}

TEST(RowDevice, AMemoryIsStatedWithoutItsUnit) {
  TrainingRow row = usual_row();
  const auto assumed = [&](const char* gpu) {
    row.gpu = gpu;
    return !note_with(row, "as its memory is not stated").empty();
  };
  EXPECT_FALSE(assumed("A100-80"));
  EXPECT_FALSE(assumed("V100 32"));
  EXPECT_FALSE(assumed("DGX-2"));
  EXPECT_TRUE(assumed("DGX-1"));
  row.gpu = "A100 40GB/80GB";
  EXPECT_EQ(
      told(row, "gpu 'A100 40GB/80GB' is taken as A100-SXM-40GB, as its memory is one of several"),
      1);
  EXPECT_TRUE(assumed("A100"));
}

TEST(RowDevice, AMachineOfACloudHasItsOwnNetwork) {
  TrainingRow row = usual_row();
  row.gpu = "A100-SXM-80GB";
  row.gpus_per_node = 8;
  const auto network = [&] { return case_of(row).device.network_bytes_per_s; };
  row.notes = "on AWS p4de.24xlarge";
  EXPECT_EQ(network(), 50e9 / 8);
  row.interconnect = "8x200 Gb/s";  // what is stated counts
  EXPECT_EQ(network(), 25e9);
  row.interconnect = "400 Gbps";  // of the node that the notes name
  EXPECT_EQ(network(), 50e9 / 8);
  row.interconnect = row.notes = "";
  row.gpu = "p4d.24xlarge";
  EXPECT_EQ(network(), 50e9 / 8);
}

TEST(RowDevice, EfaIsThatOfTheMachineWithSuchAChip) {
  TrainingRow row = usual_row();
  row.gpus_per_node = 8;
  row.interconnect = "EFA";
  row.gpu = "A100-SXM-80GB";
  EXPECT_EQ(case_of(row).device.network_bytes_per_s, 50e9 / 8);
  row.gpus = row.dp = 16;
  EXPECT_EQ(told(row, "a network of p4d.24xlarge: 4x100 Gb/s, as no rate is stated"), 1);
  row.gpu = "H100";
  EXPECT_EQ(case_of(row).device.network_bytes_per_s, 400e9 / 8);
  row.interconnect = "EFA 3200 Gbps";
  EXPECT_EQ(case_of(row).device.network_bytes_per_s, 50e9);
  row.gpu = "MI300X";  // of no such machine
  row.interconnect = "EFA";
  EXPECT_NE(note_with(row, "interconnect says no rate"), "");
}

TEST(RowDevice, ALimitOfPowerIsReadInUsualWords) {
  TrainingRow row = usual_row();
  const auto watts = [&](const char* gpu) {
    row.gpu = gpu;
    return case_of(row).device.max_w;
  };
  EXPECT_EQ(watts("A100-SXM-80GB (250 W cap)"), 250);
  EXPECT_EQ(watts("A100-SXM-80GB (250W power limit)"), 250);
  EXPECT_EQ(watts("A100-SXM-80GB (capped at 300 W)"), 300);
  EXPECT_EQ(watts("A100-SXM-80GB @ 250W"), 250);
  EXPECT_EQ(watts("A100-SXM-80GB"), 400);
  EXPECT_EQ(watts("A100-SXM-80GB 300W"), 300);
  EXPECT_EQ(watts("A100-SXM-80GB (300 W)"), 300);
  EXPECT_EQ(watts("DGX A100 6500 W"), 400);  // of the machine
  row.notes = "power capped at 250 W";
  EXPECT_EQ(watts("A100-SXM-80GB"), 250);
  row.notes = "no power limit of 250 W";
  EXPECT_EQ(watts("A100-SXM-80GB"), 400);
}

TEST(RowDevice, ItsMemoryHeldWhatRanHoweverBlanksAreFilled) {
  TrainingRow row = testing::llama_row("PyTorch FSDP");
  row.gpu = "A100";
  row.gpus = row.dp = 8;
  row.gpus_per_node = 8;
  row.model_name = "Llama-2-13B";
  row.seq_len = 4096;
  row.micro_batch = 4;
  row.global_batch = 32;
  row.recompute = "";  // with all blocks computed again 47 GiB
  EXPECT_EQ(case_of(row).device_name, "A100-SXM-80GB");
  row.micro_batch = 1;
  row.global_batch = 8;
  row.recompute = "full";
  EXPECT_EQ(case_of(row).device_name, "A100-SXM-40GB");
  row.peak_memory_bytes = 60e9;
  EXPECT_EQ(case_of(row).device_name, "A100-SXM-80GB");
}

TEST(RowDevice, CountsMayStandBehindTheName) {
  TrainingRow row = usual_row();
  for (const char* gpu : {"8x A100-SXM-80GB", "A100-SXM-80GB x 8", "A100-SXM-80GB x8"}) {
    row.gpu = gpu;
    EXPECT_EQ(case_of(row).device_name, "A100-SXM-80GB") << gpu;
  }
}

TEST(RowDevice, BoardsInSlowSlotsAreSlower) {
  TrainingRow row = usual_row("PyTorch DDP");
  row.gpus = row.gpus_per_node = 4;
  const auto rate = [&](const char* gpu, const char* interconnect, const char* notes) {
    row.gpu = gpu;
    row.interconnect = interconnect;
    row.notes = notes;
    return case_of(row).device.links.all_bytes_per_s;
  };
  const char* told = "links through hosts are PCIe3x8, as in interconnect";
  EXPECT_NEAR(rate("RTX 4090", "", ""), 31.5e9, 0.1e9);
  EXPECT_NEAR(rate("RTX 4090", "PCIe Gen3 x8", ""), 7.88e9, 0.01e9);
  EXPECT_EQ(std::ranges::count(case_of(row).notes, told), 1);
  EXPECT_NEAR(rate("RTX 4090", "PCI-e 3.0 x16", ""), 15.75e9, 0.01e9);
  EXPECT_NEAR(rate("RTX 4090", "PCIe4", ""), 31.5e9, 0.1e9);
  EXPECT_NEAR(rate("RTX 4090 (PCIe 4.0 x4)", "", ""), 7.88e9, 0.01e9);
  EXPECT_NEAR(rate("RTX 4090", "PCIe 5.0 x16", ""), 31.5e9, 0.1e9);  // the card's own is slower
  EXPECT_NEAR(rate("RTX 4090", "", "disks on PCIe 3.0 x4"), 31.5e9, 0.1e9);
  EXPECT_NEAR(rate("RTX 4090", "PCIe", ""), 31.5e9, 0.1e9);
  // Of a device with links of its own, what goes through the host alone.
  EXPECT_EQ(rate("A100-SXM-80GB", "NVLink, PCIe Gen3", ""), rate("A100-SXM-80GB", "NVLink", ""));
}

TEST(RowDevice, AProcessorIsADeviceWhereItIsNamedAlone) {
  TrainingRow row = usual_row("PyTorch DDP");
  for (const char* gpu : {"Xeon 8480", "EPYC 7763", "Grace CPU", "2x Intel Xeon Platinum 8380"}) {
    row.gpu = gpu;
    EXPECT_TRUE(case_of(row).on_cores) << gpu;
  }
  // Once the device was the host's.
  for (const char* gpu : {"H100 + 2x Xeon 8480", "H100-SXM-80GB (Xeon 8480)", "EPYC 7763, H100"}) {
    row.gpu = gpu;
    EXPECT_EQ(case_of(row).device.half_flops_per_s, 989.4e12) << gpu;
    EXPECT_FALSE(case_of(row).on_cores) << gpu;
  }
}

TEST(RowDevice, MemoryThatNobodyKnowsIsTold) {
  TrainingRow row = usual_row();
  row.gpu = "A100-96GB";
  EXPECT_EQ(case_of(row).device.memory_bytes, 96.0 * (1LL << 30));
  EXPECT_EQ(told(row,
                 "gpu 'A100-96GB' is taken as A100-SXM-80GB with 96.0 GiB, which are read as fast "
                 "as that one's"),
            1);
  row.gpu = "A100 64GB";
  EXPECT_NE(note_with(row, "is taken as A100-SXM-40GB with 64.0 GiB"), "");
  row.gpu = "H100-96GB-HBM2e (2.4TB/s, 500W limit)";  // says it
  EXPECT_EQ(note_with(row, "is taken as"), "");
}

// Of one site's nodes Omni-Path was 10.6 GB/s, of all others nothing.
TEST(RowDevice, ANameOfANetworkIsReadAsTheUsualMachinesAdapters) {
  TrainingRow row = usual_row();
  const auto network = [&](const char* gpu, double per_node, const char* interconnect) {
    row.gpu = gpu;
    row.gpus_per_node = per_node;
    row.interconnect = interconnect;
    return case_of(row).device.network_bytes_per_s;
  };
  EXPECT_EQ(network("V100-SXM2-16GB", 8, "EDR InfiniBand"), network("V100-SXM2-16GB", 8, ""));
  EXPECT_EQ(network("V100-SXM2-16GB", 8, "EDR"), 4 * 12.5e9 / 8);
  EXPECT_EQ(network("V100-SXM2-16GB", 4, "EDR"), 2 * 12.5e9 / 4);
  EXPECT_EQ(network("V100-SXM2-16GB", 4, "Omni-Path"), 12.5e9 / 4);  // no machine of that kind
  EXPECT_EQ(network("MI250X", 8, "Slingshot-11"), 12.5e9);           // half of its machine
  EXPECT_EQ(network("MI250X", 8, "Slingshot-11"), network("MI250X", 8, ""));
  EXPECT_EQ(network("RTX-4090", 8, "HDR"), 25e9 / 8);  // one per node
}

// Once a preset had 200 Gbit/s per device and a row 10.
TEST(RowDevice, AnUnknownMachineHasOneNetworkInTablesAndPresets) {
  TrainingRow row = usual_row();
  row.gpus = row.dp = 16;
  for (const char* gpu :
       {"RTX-4090", "A40", "A10", "RTX-A6000", "H100-NVL-94GB", "L4", "H100-SXM-80GB"}) {
    for (const double per_node : {2, 4, 8}) {
      row.gpu = gpu;
      row.gpus_per_node = per_node;
      const Accelerator of_row = case_of(row).device;
      const std::string spec =
          std::to_string(int(16 / per_node)) + "n" + std::to_string(int(per_node)) + "x" + gpu;
      const Accelerator of_preset = accelerator_of(load_cluster(spec), Precision::automatic, 16);
      const bool known = row.gpu == "L4" || row.gpu == "H100-SXM-80GB";
      EXPECT_EQ(of_row.network_quality == Quality::assumed, !known) << spec;
      EXPECT_EQ(of_preset.network_quality == Quality::assumed, !known) << spec;
      if (known && per_node < 8) continue;  // a row's share of the usual machine's, its whole
      EXPECT_DOUBLE_EQ(of_row.network_bytes_per_s, of_preset.network_bytes_per_s) << spec;
      if (!known) {
        EXPECT_DOUBLE_EQ(of_row.network_bytes_per_s, 12.5e9 / per_node) << spec;
      }
    }
  }
}

TEST(RowDevice, TheLinksOfTpusJoinThePod) {
  TrainingRow row = usual_row();
  row.gpus_per_node = 4;  // of a host: its chips are joined to those of other hosts
  for (const auto& [gpu, pod] : {std::pair{"TPU v4", 4096}, {"TPU v5p", 8960}, {"TPU v5e", 256}}) {
    row.gpu = gpu;
    EXPECT_EQ(case_of(row).device.per_node, pod) << gpu;
  }
  row.gpu = "H100";
  EXPECT_EQ(case_of(row).device.per_node, 4);
  // More than a host has: a slice, joined to others by the hosts' network.
  row.gpu = "TPU v5p";
  row.gpus_per_node = 64;
  EXPECT_EQ(case_of(row).device.per_node, 64);
  row.gpu = "TPU v6e";  // four adapters for eight chips
  EXPECT_EQ(case_of(row).device.network_bytes_per_s, 4 * 25e9 / 8);
}

TEST(RowDevice, MemoryOfHostsAndMachinesIsNoDevices) {
  TrainingRow row = usual_row("PyTorch");
  const auto memory = [&](const char* gpu) {
    row.gpu = gpu;
    return case_of(row).device.memory_bytes;
  };
  const double gib = double(1LL << 30);
  EXPECT_NEAR(memory("A10G"), 24 * gib, 1.5 * gib);  // a name, not ten gigabytes
  EXPECT_NEAR(memory("NVIDIA GH200 480GB"), 96 * gib, 8 * gib);
  EXPECT_NEAR(memory("DGX A100 640GB"), 80 * gib, 8 * gib);
  EXPECT_NEAR(memory("GH200 624GB"), 144 * gib, 12 * gib);
  EXPECT_NE(note_with(row, "gpu 'GH200 624GB' is taken as GH200"), "");
  EXPECT_NEAR(memory("RTX 4090 48GB"), 48 * gib, gib);  // sold with twice its memory
}

TEST(RowDevice, AMachineOfACloudHasDevicesOfOneMemory) {
  constexpr double kGib = 1LL << 30;
  const auto memory = [](const char* gpu, const char* interconnect, const char* notes) {
    TrainingRow row = usual_row();
    row.gpu = gpu;
    row.interconnect = interconnect;
    row.notes = notes;
    EXPECT_EQ(note_with(row, "memory is not stated"), "") << gpu << interconnect << notes;
    return case_of(row).device.memory_bytes / kGib;
  };
  for (const char* name :
       {"Standard_ND96amsr_A100_v4", "ND96amsr_A100_v4", "p4de.24xlarge", "a2-ultragpu-8g"}) {
    EXPECT_NEAR(memory(name, "", ""), 80, 1) << name;
    EXPECT_NEAR(memory("A100", name, ""), 80, 1) << name;
    EXPECT_NEAR(memory("NVIDIA A100", "", name), 80, 1) << name;
  }
  for (const char* name : {"Standard_ND96asr_v4", "p4d.24xlarge", "a2-highgpu-8g", "p4d"}) {
    EXPECT_NEAR(memory(name, "", ""), 40, 1) << name;
    EXPECT_NEAR(memory("A100", name, ""), 40, 1) << name;
  }
  EXPECT_NEAR(memory("p3dn.24xlarge", "", ""), 32, 1);
  EXPECT_NEAR(memory("V100", "p3dn", ""), 32, 1);
  EXPECT_NEAR(memory("V100", "", "AWS p3.16xlarge"), 16, 1);
  // What is stated counts, and machines of other devices say nothing.
  EXPECT_NEAR(memory("A100-80GB", "p4d.24xlarge", ""), 80, 1);
  TrainingRow row = usual_row();
  row.gpu = "A100";
  row.interconnect = "p4de.24xlarge";
  EXPECT_EQ(told(row, "gpu 'A100' is taken as A100-SXM-80GB, which p4de.24xlarge has"), 1);
  row.interconnect = "p3dn.24xlarge";
  EXPECT_NE(note_with(row, "memory is not stated"), "");
  row.interconnect = "NC96ads_A100_v4";
  EXPECT_NE(note_with(row, "A100-PCIe-80GB, which"), "");
}

TEST(RowDevice, EachCoreOfOlderTpusIsADevice) {
  TrainingRow row = usual_row("MaxText");
  row.gpus_per_node = std::nullopt;
  row.gpu = "TPU v3";  // a chip: 123 TFLOP/s, 32 GiB, two links each way of 82 GB/s; 1024 in a pod
  const Accelerator core = case_of(row).device;
  EXPECT_EQ(core.half_flops_per_s, 61.5e12);
  EXPECT_EQ(core.bytes_per_s, 450e9);
  EXPECT_EQ(core.memory_bytes, 16.0 * (1LL << 30));
  EXPECT_EQ(core.links.pair_bytes_per_s, 41e9);
  EXPECT_EQ(core.per_node, 2048);
  for (const char* gpu : {"TPU v3-32", "TPU v3 pod", "TPUv3", "Google TPU v3"}) {
    row.gpu = gpu;
    EXPECT_EQ(case_of(row).device.half_flops_per_s, 61.5e12) << gpu;
  }
  row.gpu = "TPU v2-8";
  EXPECT_EQ(case_of(row).device.half_flops_per_s, 23e12);
  EXPECT_EQ(case_of(row).device.memory_bytes, 8.0 * (1LL << 30));
  EXPECT_EQ(case_of(row).device.per_node, 512);
  row.gpus_per_node = 32;  // a slice, in devices
  EXPECT_EQ(case_of(row).device.per_node, 32);
  row.gpu = "TPU v4";
  row.gpus_per_node = std::nullopt;
  EXPECT_EQ(case_of(row).device.half_flops_per_s, 275e12);
}

TEST(RowDevice, NamesOfSlicesCountDevices) {
  const auto devices = [](const char* gpu) {
    const auto slice = devices_of_slice(gpu);
    return slice ? slice->devices : 0;
  };
  EXPECT_EQ(devices("TPU v3-512"), 512);
  EXPECT_EQ(devices("TPUv3-512"), 512);
  EXPECT_EQ(devices("TPU v2-8"), 8);
  EXPECT_EQ(devices("TPU v4-512"), 256);
  EXPECT_EQ(devices("Cloud TPU v5p-128"), 64);
  EXPECT_EQ(devices("tpu-v5e-256"), 256);
  EXPECT_EQ(devices("TPU v5litepod-16 slice"), 16);
  for (const char* gpu : {"TPU v3", "TPU v3 pod", "A100-80", "2x TPU v5e-256", "TPU v4-"}) {
    EXPECT_EQ(devices(gpu), 0) << gpu;
  }
}

TEST(RowDevice, AMachineNamedInPassingCountsWhereItHasTheDevice) {
  TrainingRow row = testing::llama_row("PyTorch FSDP2");
  row.gpus = row.dp = row.global_batch = 16;
  const auto rate = [&](const char* notes) {
    row.notes = notes;
    return case_of(row).device.network_bytes_per_s;
  };
  const double usual = rate("");
  EXPECT_EQ(rate("p3dn numbers are in the appendix"), usual);  // V100 alone
  EXPECT_EQ(rate("on p4de.24xlarge"), 4 * 100e9 / 8 / 8);
}

}  // namespace
}  // namespace parallel_opt
