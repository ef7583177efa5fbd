#include "parallel_opt/hardware/bundle.h"

#include <gtest/gtest.h>

#include "parallel_opt/hardware/merge_hosts.h"
#include "tests/hardware/recorded_hosts.h"

namespace parallel_opt {
namespace {

MemoryFileSystem extracted(const std::vector<BundledFile>& bundle) {
  MemoryFileSystem files;
  for (const BundledFile& file : bundle) files.files["/" + file.path] = file.content;
  return files;
}

std::string content_of(const std::vector<BundledFile>& bundle, const std::string& path) {
  for (const BundledFile& file : bundle) {
    if (file.path == path) return file.content;
  }
  return "none";
}

/// What may differ between a host and its bundle.
Cluster anonymous(Cluster cluster) {
  for (Node& node : cluster.nodes) node.name = "host";
  for (Device& device : cluster.devices) device.uuid = "";
  return cluster;
}

TEST(Bundle, DiscoveryFromItFindsTheSameCluster) {
  for (const MemoryFileSystem& files :
       {hosts::two_sockets(), hosts::hybrid(), hosts::small_vm(), hosts::dgx_h100(),
        hosts::pcie_box(), hosts::two_mi300x()}) {
    const Cluster here = discover(files);
    const Cluster there = discover(extracted(make_bundle(files, {}, {})));
    EXPECT_EQ(to_json(anonymous(there)), to_json(anonymous(here)));
  }
}

TEST(Bundle, HoldsNoNamesAndNoIdentities) {
  MemoryFileSystem files = hosts::two_sockets();
  files.files["/proc/self/status"] = "Name:\tann\nUid:\t1000\nCpus_allowed_list:\t0-5\n";
  files.files["/proc/self/cgroup"] = "0::/user.slice/user-ann.slice\n";
  files.files["/proc/self/mountinfo"] =
      "1 0 0:1 / / rw - ext4 /dev/ann rw\n2 1 0:2 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
  files.files["/sys/fs/cgroup/user.slice/user-ann.slice/cpu.max"] = "550000 100000\n";
  files.files["/proc/cpuinfo"] += "Serial\t\t: 0000abcd\n";
  files.files["/sys/class/dmi/id/product_name"] = "ann's channel\n";
  const std::vector<BundledFile> bundle = make_bundle(files, {}, {"ann", "big"});
  for (const BundledFile& file : bundle) {
    for (const char* word : {"user-ann", "0123456789abcdef", "0000abcd", "ext4", "big\n"}) {
      EXPECT_EQ(file.content.find(word), std::string::npos) << file.path << ": " << word;
      EXPECT_EQ(file.path.find(word), std::string::npos) << file.path;
    }
  }
  EXPECT_EQ(content_of(bundle, "etc/machine-id"), "none");
  EXPECT_EQ(content_of(bundle, "proc/sys/kernel/hostname"), "host\n");
  EXPECT_EQ(content_of(bundle, "proc/self/status"), "Cpus_allowed_list:\t0-5\n");
  EXPECT_EQ(content_of(bundle, "proc/self/cgroup"), "0::/g1/g2\n");
  EXPECT_EQ(content_of(bundle, "sys/fs/cgroup/g1/g2/cpu.max"), "550000 100000\n");
  EXPECT_EQ(content_of(bundle, "sys/class/dmi/id/product_name"), "name's channel\n");
  // The quota is found all the same.
  EXPECT_EQ(discover(extracted(bundle)).nodes[0].cpu_quota, 5.5);
}

TEST(Bundle, NamesThatTheKernelUsesTooTakeNothingAway) {
  // Hosts are called node0, and somebody may be called cpu.
  const MemoryFileSystem files = hosts::dgx_h100();
  const Cluster there = discover(extracted(make_bundle(files, {}, {"node0", "cpu", "memory"})));
  EXPECT_EQ(to_json(anonymous(there)), to_json(anonymous(discover(files))));
}

TEST(Bundle, TwoHostsOfOneKindCanBeMerged) {
  const auto from_bundle = [](const std::string& tag) {
    return discover(extracted(make_bundle(hosts::dgx_h100(), {}, {}, tag)));
  };
  const Cluster a = from_bundle("1f00aa");
  EXPECT_EQ(a.nodes[0].name, "host-1f00aa");
  EXPECT_EQ(a.devices[2].uuid, "GPU-1f00aa-0");
  const Cluster merged = merge_hosts({a, from_bundle("2e11bb")}, {"a.json", "b.json"});
  EXPECT_EQ(check(merged), std::vector<Fault>{});
  EXPECT_EQ(merged.nodes.size(), 2u);
}

TEST(Bundle, InterfacesAndOddMountsLoseTheirNames) {
  MemoryFileSystem files = hosts::two_sockets();
  // A RoCE adapter and the interface of the same port; one named after its MAC address.
  hosts::add_port(files, "mlx5_0", "100 Gb/sec (4X EDR)");
  files.files["/sys/class/infiniband/mlx5_0/ports/1/link_layer"] = "Ethernet\n";
  files.files["/sys/class/infiniband/mlx5_0/device/net/enx0242ac110002/mtu"] = "9000\n";
  for (const char* name : {"enx0242ac110002", "to-customer"}) {
    const std::string interface = std::string("/sys/class/net/") + name + "/";
    files.files[interface + "device/vendor"] = "0x15b3\n";
    files.files[interface + "operstate"] = "up\n";
    files.files[interface + "speed"] = "100000\n";
  }
  files.files["/proc/self/mountinfo"] = "2 1 0:2 / /home/ann/cg rw - cgroup2 cgroup2 rw\n";
  files.files["/proc/self/cgroup"] = "0::/job\n";
  files.files["/home/ann/cg/job/cpu.max"] = "550000 100000\n";
  files.files["/home/ann/cg/memory.max"] = "4294967296\n";
  const std::vector<BundledFile> bundle = make_bundle(files, {}, {});
  for (const BundledFile& file : bundle) {
    for (const char* word : {"0242ac", "customer", "ann", "job"}) {
      EXPECT_EQ(file.content.find(word), std::string::npos) << file.path << ": " << word;
      EXPECT_EQ(file.path.find(word), std::string::npos) << file.path;
    }
  }
  const Cluster here = discover(files);
  EXPECT_EQ(here.networks.size(), 2u);  // RoCE, and the other interface
  EXPECT_EQ(here.nodes[0].cpu_quota, 5.5);
  EXPECT_EQ(to_json(anonymous(discover(extracted(bundle)))), to_json(anonymous(here)));
}

TEST(Bundle, DriversLoseTheirUuids) {
  const std::string drivers =
      content_of(make_bundle(hosts::small_vm(), {.nvml_library = FAKE_NVML_LINKS}, {}),
                 "parallel-opt/drivers.json");
  const auto records = from_json<DriverRecords>(drivers, "drivers.json");
  EXPECT_EQ(records.drivers[0].devices[3].uuid, "GPU-3");
  EXPECT_EQ(records.drivers[0].devices[4].slices[1].uuid, "MIG-4-1");
}

TEST(Tar, HasHeadersThatTarReads) {
  const std::string archive = to_tar({{"proc/cpuinfo", "abc"}, {"empty", ""}});
  ASSERT_EQ(archive.size(), 512u * (1 + 1 + 1 + 2));  // header, content, header, end
  EXPECT_STREQ(archive.c_str(), "proc/cpuinfo");
  EXPECT_EQ(archive.substr(124, 11), "00000000003");
  EXPECT_EQ(archive.substr(257, 8), std::string("ustar\0"
                                                "00",
                                                8));
  EXPECT_EQ(archive.substr(512, 4), std::string("abc\0", 4));
  // The sum of the header's bytes with blanks in place of the sum.
  std::string header = archive.substr(0, 512);
  const int stated = std::stoi(header.substr(148, 6), nullptr, 8);
  header.replace(148, 8, "        ");
  int sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  EXPECT_EQ(stated, sum);
  const std::string deep = std::string(90, 'd') + "/" + std::string(60, 'f');
  const std::string cut = to_tar({{deep, ""}});
  EXPECT_STREQ(cut.c_str(), std::string(60, 'f').c_str());
  EXPECT_STREQ(cut.c_str() + 345, std::string(90, 'd').c_str());
  EXPECT_THROW(to_tar({{std::string(300, 'x'), ""}}), InputError);
}

}  // namespace
}  // namespace parallel_opt
