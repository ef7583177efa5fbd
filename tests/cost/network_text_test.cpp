#include "parallel_opt/cost/network_text.h"

#include <gtest/gtest.h>

#include <optional>

namespace parallel_opt {
namespace {

TEST(NetworkByText, ReadsRatesPerNodeAndPerDevice) {
  EXPECT_EQ(network_by_text("RoCE 1600 Gbps/node", 8), 25e9);
  EXPECT_EQ(network_by_text("4x100Gb RoCE per node", 8), 6.25e9);
  EXPECT_EQ(network_by_text("NVLink; 400 Gb/s RDMA per GPU", 8), 50e9);
  EXPECT_EQ(network_by_text("inter-node 800 Gbps per node (simulation config)", 8), 12.5e9);
  EXPECT_EQ(network_by_text("Selene", 8), 25e9);
  EXPECT_EQ(network_by_text("JeanZay (4 GPU NVLink nodes, Omni-Path)", 4), 10.6e9 / 4);  // measured
  EXPECT_EQ(network_by_text("somewhere", 8), std::nullopt);
  // A count is one of adapters of a node, unless it is said to be of a device.
  EXPECT_EQ(network_by_text("8x200 Gb/s RoCE", 8), 25e9);
  EXPECT_EQ(network_by_text("4x HDR 200 InfiniBand", 8), 12.5e9);
  EXPECT_EQ(network_by_text("8x NDR", 8), 50e9);
  // A stated rate tells lanes from adapters.
  EXPECT_EQ(network_by_text("InfiniBand 100 Gb/sec (4X EDR)", 8), 12.5e9);
  EXPECT_EQ(network_by_text("InfiniBand 1x100 Gb/s (4X EDR)", 8), 12.5e9 / 8);
  EXPECT_EQ(network_by_text("24x100GbE", 8), 37.5e9);
  EXPECT_EQ(network_by_text("2x100 Gb/s per accelerator", 8), 25e9);
  // No adapter carries 3.2 Tbit/s.
  EXPECT_EQ(network_by_text("3.2 Tb/s InfiniBand", 8), 50e9);
  EXPECT_EQ(network_by_text("2 Tb/s RoCE per host", 8), 31.25e9);
  EXPECT_EQ(network_by_text("EFA 3200 Gbps", 8), 50e9);
  EXPECT_EQ(network_by_text("InfiniBand 400 Gb/s", 8), 50e9);
}

TEST(NetworkByText, CountsAdaptersByWordsBetweenAndBehind) {
  EXPECT_EQ(network_by_text("4x Omni-Path 100 Gbps per node", 8), 6.25e9);
  EXPECT_EQ(network_by_text("8x ConnectX-7 IB NDR 400Gb/s", 8), 50e9);
  EXPECT_EQ(network_by_text("4x InfiniBand HDR 200 Gb/s", 8), 12.5e9);
  EXPECT_EQ(network_by_text("4 × 200 Gb/s HDR", 8), 12.5e9);
  EXPECT_EQ(network_by_text("200 Gb/s HDR InfiniBand x4", 8), 12.5e9);
  EXPECT_EQ(network_by_text("HDR InfiniBand 200Gb/s (4 HCAs)", 8), 12.5e9);
  EXPECT_EQ(network_by_text("four 200 Gb/s NICs", 8), 12.5e9);
  EXPECT_EQ(network_by_text("dual 100 GbE", 8), 3.125e9);
  EXPECT_EQ(network_by_text("4x HDR100", 8), 6.25e9);
  EXPECT_EQ(network_by_text("InfiniBand HDR100", 8), 12.5e9);
  EXPECT_EQ(network_by_text("RoCE v2 8*200G", 8), 25e9);
  EXPECT_EQ(network_by_text("100G Ethernet", 8), 12.5e9);
}

TEST(NetworkByText, PassesOverWhatStaysInANode) {
  EXPECT_EQ(network_by_text("NVLink 600 GB/s; 8x HDR 200", 8), 25e9);
  EXPECT_EQ(network_by_text("NVLink 600 GB/s + 200 Gb/s InfiniBand", 8), 25e9);
  EXPECT_EQ(network_by_text("NVLink (600 GB/s), InfiniBand (200 Gb/s)", 8), 25e9);
  EXPECT_EQ(network_by_text("600 GB/s NVLink, 200 Gb/s InfiniBand", 8), 25e9);
  EXPECT_EQ(network_by_text("NVSwitch 900 GB/s", 8), std::nullopt);
  EXPECT_EQ(network_by_text("PCIe 4.0 x16 32 GB/s and 100GbE", 4), 12.5e9);
  EXPECT_EQ(network_by_text("A100-80G with NVLink", 8), std::nullopt);
  EXPECT_EQ(network_by_text("A100-SXM4-80GB", 8), std::nullopt);
  EXPECT_EQ(network_by_text("8 GPUs per node, 400 Gb/s InfiniBand", 8), 50e9);
  EXPECT_EQ(network_by_text("25 GB/s per GPU", 8), 25e9);
}

}  // namespace
}  // namespace parallel_opt
