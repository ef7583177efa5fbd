#include "tests/hardware/recorded_hosts.h"

#include <gtest/gtest.h>

#include "parallel_opt/hardware/discover.h"
#include "parallel_opt/hardware/merge_hosts.h"

namespace parallel_opt {
namespace {

using Notes = std::vector<std::string>;

Link way(const Cluster& cluster, int a, int b) {
  return find_link(cluster, DeviceId(a), DeviceId(b)).value_or(Link());
}

TEST(RecordedHost, ADgxHasEightDevicesOnOneSwitch) {
  const Cluster cluster = discover(hosts::dgx_h100());
  EXPECT_EQ(check(cluster), std::vector<Fault>{});
  EXPECT_EQ(cluster.notes, Notes{});
  EXPECT_EQ(cluster.nodes[0].sockets, 2);
  EXPECT_EQ(cluster.nodes[0].cores, 112);
  EXPECT_EQ(document_of(cluster).summary->types,
            (std::map<std::string, int>{{"H100-SXM-80GB", 8},
                                        {"Intel Xeon Platinum 8480C (56 cores, amx_bf16)", 2}}));
  EXPECT_EQ(cluster.devices[2].power->max_w.value, 700);
  EXPECT_EQ(cluster.devices[9].numa, 1);
  EXPECT_EQ(way(cluster, 2, 9).type, "NVLink4");
  EXPECT_DOUBLE_EQ(way(cluster, 2, 9).bytes_per_s.value, 18 * 25e9 * 0.75);
  EXPECT_EQ(way(cluster, 0, 2).type, "PCIe5x16");  // its own socket
  EXPECT_EQ(way(cluster, 1, 2).type, "PCIe5x16");  // the other socket: one hop more
  EXPECT_DOUBLE_EQ(way(cluster, 1, 2).latency_s.value, 2 * way(cluster, 0, 2).latency_s.value);
  // NVSwitch, then adapters by rate: 200 and 400 Gbit/s; what is down does not count
  ASSERT_EQ(cluster.networks.size(), 3u);
  EXPECT_EQ(cluster.networks[1].name, "InfiniBand 200 Gbit/s");
  EXPECT_EQ(cluster.networks[2].ports, 8);
  EXPECT_DOUBLE_EQ(cluster.networks[2].bytes_per_s.value, 50e9 * 0.9);
}

TEST(RecordedHost, APcieBoxCopiesThroughTheHostBetweenSockets) {
  const Cluster cluster = discover(hosts::pcie_box());
  EXPECT_EQ(check(cluster), std::vector<Fault>{});
  EXPECT_EQ(cluster.notes, Notes{});
  ASSERT_EQ(cluster.devices.size(), 6u);
  EXPECT_EQ(cluster.devices[2].name, "L40S");
  EXPECT_EQ(way(cluster, 2, 3).type, "PCIe4x16");
  EXPECT_DOUBLE_EQ(way(cluster, 2, 3).bytes_per_s.value, 16 * 1.969e9 * 0.8);
  EXPECT_DOUBLE_EQ(way(cluster, 2, 4).bytes_per_s.value, 16 * 1.969e9 * 0.8 * 0.5);
  EXPECT_GT(way(cluster, 2, 4).latency_s.value, way(cluster, 2, 3).latency_s.value);
  // The bridge of a container is no adapter.
  ASSERT_EQ(cluster.networks.size(), 1u);
  EXPECT_EQ(cluster.networks[0].name, "ethernet 25.0 Gbit/s");
  EXPECT_DOUBLE_EQ(cluster.networks[0].bytes_per_s.value, 25e9 / 8 * 0.9);
}

TEST(RecordedHost, ABrokenDriverRecordIsANoteAndTheProcessorsStay) {
  MemoryFileSystem files = hosts::pcie_box();
  files.files[kDriverRecordPath] = R"({"schema": "parallel-opt/drivers/1", "drivers": 3})";
  const Cluster cluster = discover(files);
  EXPECT_EQ(cluster.devices.size(), 2u);
  EXPECT_EQ(cluster.notes,
            Notes{"drivers: /parallel-opt/drivers.json:drivers: expected a list, found a whole "
                  "number"});
}

Cluster named(MemoryFileSystem files, const std::string& name, const std::string& uuids) {
  files.files["/proc/sys/kernel/hostname"] = name + "\n";
  Cluster cluster = discover(files);
  for (Device& device : cluster.devices) device.uuid = uuids + device.uuid;
  return cluster;
}

TEST(MergeHosts, TwoDgxMeetOverTheirAdapters) {
  const Cluster merged =
      merge_hosts({named(hosts::dgx_h100(), "a", "a"), named(hosts::dgx_h100(), "b", "b")},
                  {"a.json", "b.json"});
  EXPECT_EQ(check(merged), std::vector<Fault>{});
  EXPECT_EQ(merged.name, "2 hosts");
  EXPECT_EQ(merged.nodes[1].name, "b");
  ASSERT_EQ(merged.devices.size(), 20u);
  EXPECT_EQ(merged.devices[12].node, 1);
  ASSERT_EQ(merged.networks.size(), 3u);
  EXPECT_EQ(merged.networks[0].nodes, (std::vector<NodeRange>{{0, 1}}));
  EXPECT_EQ(way(merged, 12, 19).type, "NVLink4");  // inside the second host
  EXPECT_EQ(way(merged, 0, 2), way(discover(hosts::dgx_h100()), 0, 2));
  // Eight GPUs of each host share eight ports; with a processor at one end ten devices do.
  EXPECT_EQ(way(merged, 2, 12).type, "InfiniBand");
  EXPECT_DOUBLE_EQ(way(merged, 2, 12).bytes_per_s.value, 50e9 * 0.9);
  EXPECT_DOUBLE_EQ(way(merged, 0, 12).bytes_per_s.value, 50e9 * 0.9 * 8 / 10);
  EXPECT_EQ(merged.notes, Notes{});
}

TEST(MergeHosts, UnlikeHostsAreJoinedByAnAssumption) {
  const Cluster merged =
      merge_hosts({named(hosts::dgx_h100(), "a", "a"), named(hosts::pcie_box(), "a", "b")},
                  {"a.json", "b.json"});
  EXPECT_EQ(check(merged), std::vector<Fault>{});
  EXPECT_EQ(merged.nodes[1].name, "a-2");
  EXPECT_EQ(way(merged, 2, 12).type, "ethernet");
  EXPECT_EQ(way(merged, 2, 12).bytes_per_s.quality, Quality::assumed);
  EXPECT_EQ(merged.notes,
            Notes{"network: no adapters of one kind were found on all hosts: 10 Gbit/s are assumed "
                  "between them until they are probed"});
}

TEST(MergeHosts, ClonesOfOneImageAreHostsOfTheirOwn) {
  MemoryFileSystem files = hosts::two_sockets();  // its machine id is in the image
  const Cluster a = discover(files);
  files.files["/proc/sys/kernel/hostname"] = "other\n";
  const Cluster b = discover(files);
  EXPECT_EQ(a.devices[0].uuid, b.devices[0].uuid);
  const Cluster merged = merge_hosts({a, b}, {"a.json", "b.json"});
  EXPECT_EQ(check(merged), std::vector<Fault>{});
  EXPECT_EQ(merged.nodes.size(), 2u);
  EXPECT_THROW(merge_hosts({a, b, a}, {"a.json", "b.json", "c.json"}), InputError);
}

TEST(MergeHosts, OneHostTwiceIsAnError) {
  const Cluster host = discover(hosts::pcie_box());
  try {
    merge_hosts({host, host}, {"a.json", "b.json"});
    FAIL() << "accepted";
  } catch (const InputError& error) {
    EXPECT_EQ(std::string(error.what()), "b.json: is the same host as a.json (device " +
                                             host.devices[0].uuid + " is in both)");
  }
  EXPECT_THROW(merge_hosts({}, {}), InputError);
  EXPECT_EQ(merge_hosts({host}, {"a.json"}).devices, host.devices);
}

}  // namespace
}  // namespace parallel_opt
