#include "parallel_opt/hardware/gpus.h"

#include <gtest/gtest.h>

#include "parallel_opt/hardware/amd_smi.h"
#include "parallel_opt/hardware/amdgpu.h"
#include "parallel_opt/hardware/discover.h"
#include "parallel_opt/hardware/nvml.h"
#include "tests/hardware/recorded_hosts.h"

namespace parallel_opt {
namespace {

using Notes = std::vector<std::string>;

DriverRecord links_record() {
  Notes notes;
  return Nvml::open(FAKE_NVML_LINKS, notes)->record();
}

TEST(NvmlRecord, LinksPathsAndPeersAreRead) {
  const DriverRecord record = links_record();
  EXPECT_EQ(record.version, "570.10");
  ASSERT_EQ(record.devices.size(), 6u);
  EXPECT_EQ(record.devices[0].fabric, (FabricLinks{4, 18, {}}));
  EXPECT_EQ(record.devices[2].fabric, (FabricLinks{3, 0, {{"0000:42:00.0", 4}}}));
  EXPECT_EQ(record.devices[4].fabric, std::nullopt);
  EXPECT_EQ(record.devices[0].pcie_generation, 5);
  EXPECT_EQ(record.devices[0].pcie_width, 16);
  ASSERT_EQ(record.pairs.size(), 15u);  // 6 * 5 / 2
  EXPECT_EQ(record.pairs[0], (GpuPair{0, 1, true, PciPath::one_switch, std::nullopt}));
  EXPECT_EQ(record.pairs[1], (GpuPair{0, 2, false, PciPath::system, std::nullopt}));
}

TEST(NvmlRecord, SlicesAreRead) {
  const DriverRecord record = links_record();
  EXPECT_FALSE(record.devices[3].mig);
  EXPECT_TRUE(record.devices[4].mig);
  EXPECT_EQ(record.devices[4].slices,
            (std::vector<GpuSlice>{{"3g.20gb", "MIG-a", 20'000'000'000, 42, 3},
                                   {"4g.20gb", "MIG-b", 20'000'000'000, 56, 4}}));
  EXPECT_EQ(record.notes,
            Notes{"nvidia: device 5: MIG is on, but it has no slices: nothing can run on it"});
}

TEST(NvmlRecord, TheInstantPowerWinsOverTheMean) {
  Notes notes;
  const std::optional<Nvml> nvml = Nvml::open(FAKE_NVML_LINKS, notes);
  EXPECT_EQ(nvml->power_w(0), 123.0);
  EXPECT_EQ(nvml->power_w(1), 99.0);  // it has no instant value
}

TEST(DriverRecord, ReadsWhatItWrites) {
  const DriverRecords records{{links_record()}};
  EXPECT_EQ(from_json<DriverRecords>(to_json(records), "drivers.json"), records);
}

TEST(DiscoverGpus, EachPairHasTheWayThatIsThere) {
  const Cluster cluster = discover(hosts::small_vm(), {.nvml_library = FAKE_NVML_LINKS});
  EXPECT_EQ(check(cluster), std::vector<Fault>{});
  // processor, 4 whole devices, 2 slices; the device without slices is none
  ASSERT_EQ(cluster.devices.size(), 7u);
  const auto way = [&](int a, int b) { return find_link(cluster, DeviceId(a), DeviceId(b)); };
  // NVSwitch: 18 links of 25 GB/s, three quarters of it reached
  EXPECT_EQ(way(1, 2)->type, "NVLink4");
  EXPECT_DOUBLE_EQ(way(1, 2)->bytes_per_s.value, 18 * 25e9 * 0.75);
  ASSERT_EQ(cluster.networks.size(), 1u);
  EXPECT_EQ(cluster.networks[0].devices, Notes{"H100-SXM-80GB"});
  // four links between the two A40
  EXPECT_EQ(way(3, 4)->type, "NVLink3");
  EXPECT_DOUBLE_EQ(way(3, 4)->bytes_per_s.value, 4 * 25e9 * 0.75);
  // across: the slower PCIe, through the host's memory
  EXPECT_EQ(way(1, 3)->type, "PCIe4x16");
  EXPECT_DOUBLE_EQ(way(1, 3)->bytes_per_s.value, 16 * 1.969e9 * 0.8 * 0.5);
  EXPECT_DOUBLE_EQ(way(0, 1)->bytes_per_s.value, 16 * 3.938e9 * 0.8);
  EXPECT_DOUBLE_EQ(way(5, 6)->bytes_per_s.value, 16 * 1.969e9 * 0.8 * 0.5);  // two slices
}

TEST(DiscoverGpus, SlicesHaveTheirPartOfTheDevice) {
  const Cluster cluster = discover(hosts::small_vm(), {.nvml_library = FAKE_NVML_LINKS});
  const Device& slice = cluster.devices[5];
  EXPECT_EQ(slice.name, "A100-SXM-40GB MIG 3g.20gb");
  EXPECT_EQ(slice.uuid, "MIG-a");
  EXPECT_EQ(slice.memory_bytes, exact(2e10, Quality::reported));
  const Device whole = device_of(*find_device(load_database(), "A100-SXM-40GB"));
  const auto rate = [](const Device& device, const char* kernel, std::optional<DType> dtype) {
    return find_rate(device, kernel, dtype, 0)->points.back().per_second;
  };
  // 42 of 108 multiprocessors, half of the memory
  EXPECT_DOUBLE_EQ(rate(slice, "matmul", DType::bf16),
                   rate(whole, "matmul", DType::bf16) * 42 / 108);
  EXPECT_DOUBLE_EQ(rate(slice, "memory", std::nullopt), rate(whole, "memory", std::nullopt) / 2);
  EXPECT_DOUBLE_EQ(slice.power->max_w.value, 400.0 * 42 / 108);
  EXPECT_EQ(slice.power->max_w.quality, Quality::assumed);
}

TEST(DiscoverGpus, ASliceWithoutAttributesIsSizedByItsName) {
  // A container often may not ask for them.
  MemoryFileSystem files = hosts::small_vm();
  GpuRecord whole = hosts::gpu(0, "NVIDIA A100-SXM4-40GB", 40);
  whole.mig = true;
  whole.slices = {{"3g.20gb", "MIG-a", 20LL << 30}, {"slice", "MIG-b", 10LL << 30}};
  hosts::add_drivers(files, {.devices = {whole}});
  const Cluster cluster = discover(files);
  ASSERT_EQ(cluster.devices.size(), 3u);
  const Device all = device_of(*find_device(load_database(), "A100-SXM-40GB"));
  const auto share = [&](int i, const char* kernel, std::optional<DType> dtype) {
    return find_rate(cluster.devices[std::size_t(i)], kernel, dtype, 0)->points.back().per_second /
           find_rate(all, kernel, dtype, 0)->points.back().per_second;
  };
  EXPECT_DOUBLE_EQ(share(1, "matmul", DType::bf16), 3.0 / 7);
  EXPECT_DOUBLE_EQ(share(1, "memory", std::nullopt), 20.0 / 40);
  EXPECT_DOUBLE_EQ(share(2, "matmul", DType::bf16), 10.0 / 40);  // its memory is all that is told
}

TEST(Amdgpu, GraphicsOfAProcessorAreNoAccelerator) {
  MemoryFileSystem files = hosts::two_mi300x();
  files.files["/sys/class/drm/card1/device/mem_info_vram_total"] = "536870912\n";
  EXPECT_EQ(read_amdgpu(files)->devices.size(), 1u);
  files.files["/sys/class/drm/card0/device/mem_info_vram_total"] = "536870912\n";
  EXPECT_EQ(read_amdgpu(files), std::nullopt);
}

TEST(Amdgpu, DiesOfAPackageShareItsWatts) {
  const Cluster cluster = discover(hosts::two_mi250x());
  ASSERT_EQ(cluster.devices.size(), 5u);
  EXPECT_EQ(cluster.devices[1].name, "MI250X");
  EXPECT_DOUBLE_EQ(cluster.devices[1].power->max_w.value, 500.0 / 2);  // the enforced limit
  EXPECT_DOUBLE_EQ(cluster.devices[2].power->max_w.value, 560.0 / 2);  // the data sheet's
}

TEST(Amdgpu, PartitionsCountNoLinkTwice) {
  MemoryFileSystem files = hosts::two_mi300x();
  const std::string nodes = "/sys/class/kfd/kfd/topology/nodes/";
  for (int i = 0; i < 2; ++i) {  // each device once more, with the links of the whole
    const std::string from = nodes + std::to_string(i + 1) + "/";
    const std::string to = nodes + std::to_string(i + 3) + "/";
    files.files[to + "properties"] = files.files[from + "properties"];
    files.files[to + "io_links/1/properties"] = files.files[from + "io_links/1/properties"];
  }
  const std::optional<DriverRecord> record = read_amdgpu(files);
  EXPECT_EQ(record->devices[0].fabric, (FabricLinks{0, 0, {{"0000:22:00.0", 1}}}));
  EXPECT_EQ(record->notes,
            (Notes{"amd: device 1: memory: not told by amdgpu",
                   "amd: device 0 is cut into 2 partitions: they are taken for one device",
                   "amd: device 1 is cut into 2 partitions: they are taken for one device"}));
}

TEST(AmdSmi, AbsentLibrariesAreNoNews) {
  Notes notes;
  EXPECT_EQ(AmdSmi::open({"/nowhere/libamd_smi.so", "/nowhere/librocm_smi64.so"}, notes), nullptr);
  EXPECT_EQ(notes, Notes{});
}

TEST(AmdSmi, OneThatDoesNotStartIsToldAndTheNextOneTried) {
  Notes notes;
  const auto library = AmdSmi::open({"libm.so.6", FAKE_AMD_DENIED, FAKE_AMD_OLD}, notes);
  ASSERT_NE(library, nullptr);
  EXPECT_EQ(library->count(), 2);
  EXPECT_EQ(notes, (Notes{"amd: libm.so.6 does not start: it has neither amdsmi_init nor rsmi_init",
                          std::string("amd: ") + FAKE_AMD_DENIED + " does not start: error 10"}));
}

TEST(AmdSmi, BothInterfacesTellTheSame) {
  for (const char* name : {FAKE_AMD_NEW, FAKE_AMD_OLD}) {
    Notes notes;
    const auto library = AmdSmi::open({name}, notes);
    ASSERT_NE(library, nullptr) << name;
    EXPECT_EQ(library->pci(0), "0000:0c:00.0") << name;
    EXPECT_EQ(library->pci(1), "0000:22:00.0") << name;
    EXPECT_EQ(library->memory_bytes(0), 206158430208) << name;
    EXPECT_NEAR(library->energy_j(0).value(), 15.3, 1e-6) << name;  // 1e6 steps of 15.3 uJ
    EXPECT_EQ(library->energy_j(1), std::nullopt) << name;          // not supported
  }
  Notes notes;
  EXPECT_EQ(AmdSmi::open({FAKE_AMD_NEW}, notes)->devices()[0].free_bytes, 206'000'000'000);
  EXPECT_EQ(AmdSmi::open({FAKE_AMD_NEW}, notes)->uuid(1), "aaff-1");
  EXPECT_EQ(AmdSmi::open({FAKE_AMD_NEW}, notes)->peer(0, 1), true);
  EXPECT_EQ(AmdSmi::open({FAKE_AMD_NEW}, notes)->power_w(0), std::nullopt);
  EXPECT_EQ(AmdSmi::open({FAKE_AMD_OLD}, notes)->uuid(1), "GPU-abc1");
  EXPECT_EQ(AmdSmi::open({FAKE_AMD_OLD}, notes)->power_w(0), 300.0);
  EXPECT_EQ(AmdSmi::open({FAKE_AMD_OLD}, notes)->peer(0, 1), std::nullopt);  // not in it
  EXPECT_EQ(notes, Notes{});
}

TEST(AmdSmi, MissingFunctionsAreCapabilitiesThatAreOff) {
  Notes notes;
  const auto library = AmdSmi::open({FAKE_AMD_BARE}, notes);
  ASSERT_NE(library, nullptr);
  EXPECT_EQ(library->count(), 0);
  EXPECT_EQ(library->devices(), std::vector<GpuRecord>{});
}

TEST(Amdgpu, DevicesAreReadWithoutALibrary) {
  const std::optional<DriverRecord> record = read_amdgpu(hosts::two_mi300x());
  ASSERT_TRUE(record);
  EXPECT_EQ(record->version, "6.10.5");
  ASSERT_EQ(record->devices.size(), 2u);
  const GpuRecord& gpu = record->devices[0];
  EXPECT_EQ(gpu.name, "1002:74a1");  // the board states no product name
  EXPECT_EQ(gpu.uuid, "GPU-1234abcd");
  EXPECT_EQ(gpu.pci, "0000:0c:00.0");
  EXPECT_EQ(gpu.memory_bytes, 206158430208);
  EXPECT_EQ(gpu.free_bytes, 206158430208 - 298844160);
  EXPECT_EQ(gpu.power_limit_w, 750.0);
  EXPECT_EQ(gpu.max_clock_hz, 2.1e9);
  EXPECT_EQ(gpu.pcie_generation, 5);
  EXPECT_EQ(gpu.pcie_width, 16);
  EXPECT_EQ(gpu.fabric, (FabricLinks{0, 0, {{"0000:22:00.0", 1}}}));
  EXPECT_EQ(record->pairs, (std::vector<GpuPair>{{0, 1, std::nullopt, std::nullopt, 64e9}}));
  EXPECT_EQ(record->notes, Notes{"amd: device 1: memory: not told by amdgpu"});
  EXPECT_EQ(read_amdgpu(hosts::small_vm()), std::nullopt);
  EXPECT_EQ(amdgpu_power_w(hosts::two_mi300x(), "0000:0c:00.0"), 140.0);
  EXPECT_EQ(amdgpu_power_w(hosts::two_mi300x(), "0000:22:00.0"), std::nullopt);
}

TEST(Amdgpu, JoinsTheHostWithItsLinks) {
  const Cluster cluster = discover(hosts::two_mi300x(), {.amd_libraries = {FAKE_AMD_NEW}});
  EXPECT_EQ(check(cluster), std::vector<Fault>{});
  ASSERT_EQ(cluster.devices.size(), 3u);
  EXPECT_EQ(cluster.devices[1].name, "MI300X");
  EXPECT_EQ(cluster.devices[1].uuid, "aaff-0");  // the library's word
  EXPECT_EQ(cluster.devices[2].memory_bytes.value, 206158430208.0);
  const std::optional<Link> link = find_link(cluster, DeviceId(1), DeviceId(2));
  EXPECT_EQ(link->type, "xGMI");
  EXPECT_DOUBLE_EQ(link->bytes_per_s.value, 64e9 * 0.75);
  EXPECT_EQ(find_link(cluster, DeviceId(0), DeviceId(1))->type, "PCIe5x16");
}

}  // namespace
}  // namespace parallel_opt
