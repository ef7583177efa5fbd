#include "parallel_opt/hardware/amdgpu.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "parallel_opt/base/text.h"
#include "parallel_opt/hardware/cgroup.h"

namespace parallel_opt {
namespace {

constexpr char kCards[] = "/sys/class/drm";
constexpr char kTopology[] = "/sys/class/kfd/kfd/topology/nodes";
constexpr char kVendor[] = "0x1002";
constexpr double kMicro = 1e-6;
constexpr std::int64_t kLeastBytes = 2LL << 30;  // of an accelerator
constexpr std::int64_t kXgmi = 11;               // type of a link in KFD's topology

/// "key value" lines.
std::optional<std::int64_t> property(const std::string& text, const std::string& key) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(key + " ")) return leading_integer(line.substr(key.size() + 1));
  }
  return std::nullopt;
}

/// "16.0 GT/s PCIe" -> 4
std::optional<int> generation_of(const std::string& speed) {
  constexpr std::array<std::pair<std::string_view, int>, 6> kSpeeds = {
      {{"2.5", 1}, {"5", 2}, {"8", 3}, {"16", 4}, {"32", 5}, {"64", 6}}};
  const std::string_view number = std::string_view(speed).substr(0, speed.find(' '));
  for (const auto& [text, generation] : kSpeeds) {
    if (number == text || number == std::string(text) + ".0") return generation;
  }
  return std::nullopt;
}

/// "0: 500Mhz\n1: 2100Mhz *\n" -> 2.1e9
std::optional<double> highest_clock(const std::string& levels) {
  std::optional<double> best;
  std::istringstream lines(levels);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const auto megahertz = leading_integer(trim(std::string_view(line).substr(colon + 1)));
    if (megahertz) best = std::max(best.value_or(0), double(*megahertz) * 1e6);
  }
  return best;
}

std::optional<double> sensor(const FileSystem& files, const std::string& device,
                             std::initializer_list<const char*> names) {
  for (const std::string& hwmon : files.list(device + "hwmon")) {
    for (const char* name : names) {
      const auto microwatts =
          leading_integer(files.read(device + "hwmon/" + hwmon + "/" + name).value_or(""));
      if (microwatts && *microwatts > 0) return double(*microwatts) * kMicro;
    }
  }
  return std::nullopt;
}

/// The PCI address is in the device's own uevent: the directory is a link.
std::string pci_of(const FileSystem& files, const std::string& device) {
  std::istringstream lines(files.read(device + "uevent").value_or(""));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("PCI_SLOT_NAME=")) return line.substr(line.find('=') + 1);
  }
  return "";
}

GpuRecord read_card(const FileSystem& files, const std::string& device) {
  GpuRecord gpu;
  gpu.name = text_in(files, device + "product_name");
  if (gpu.name.empty()) {
    const std::string id = text_in(files, device + "device");  // "0x74a1"
    gpu.name = "1002:" + (id.size() > 2 ? id.substr(2) : id);
  }
  gpu.pci = pci_of(files, device);
  const std::string unique = text_in(files, device + "unique_id");
  if (!unique.empty()) gpu.uuid = "GPU-" + unique;
  gpu.memory_bytes = leading_integer(files.read(device + "mem_info_vram_total").value_or(""));
  const auto used = leading_integer(files.read(device + "mem_info_vram_used").value_or(""));
  if (used && gpu.memory_bytes) {
    gpu.free_bytes = std::max<std::int64_t>(0, *gpu.memory_bytes - *used);
  }
  gpu.power_limit_w = sensor(files, device, {"power1_cap"});
  gpu.max_clock_hz = highest_clock(files.read(device + "pp_dpm_sclk").value_or(""));
  gpu.pcie_generation = generation_of(text_in(files, device + "max_link_speed"));
  const auto width = leading_integer(files.read(device + "max_link_width").value_or(""));
  if (width) gpu.pcie_width = static_cast<int>(*width);
  return gpu;
}

int index_of(const DriverRecord& record, const std::string& pci) {
  for (std::size_t i = 0; i < record.devices.size(); ++i) {
    if (record.devices[i].pci == pci) return static_cast<int>(i);
  }
  return -1;
}

/// KFD numbers its nodes by itself: each states the PCI place of its device.
void read_fabric(const FileSystem& files, DriverRecord& record) {
  std::map<std::int64_t, int> device_of_node;
  std::map<int, int> parts;
  for (const std::string& node : files.list(kTopology)) {
    const std::string text =
        files.read(std::string(kTopology) + "/" + node + "/properties").value_or("");
    const auto place = property(text, "location_id");
    const auto number = leading_integer(node);
    if (!place || *place == 0 || !number) continue;  // 0: processors
    const auto id = static_cast<std::uint64_t>(*place);
    const auto domain = static_cast<std::uint64_t>(property(text, "domain").value_or(0));
    const int device = index_of(record, fmt::format("{:04x}:{:02x}:{:02x}.{:x}", domain,
                                                    (id >> 8) & 0xff, (id >> 3) & 0x1f, id & 7));
    // A partitioned device shows one node for each part, all with the links of the whole.
    if (device >= 0 && ++parts[device] > 1) continue;
    device_of_node[*number] = device;
  }
  for (const auto& [device, count] : parts) {
    if (count < 2) continue;
    record.notes.push_back(fmt::format(
        "amd: device {} is cut into {} partitions: they are taken for one device", device, count));
  }
  for (const auto& [node, from] : device_of_node) {
    const std::string links = std::string(kTopology) + "/" + std::to_string(node) + "/io_links";
    for (const std::string& link : files.list(links)) {
      const std::string text = files.read(links + "/" + link + "/properties").value_or("");
      const auto to = device_of_node.find(property(text, "node_to").value_or(-1));
      if (property(text, "type") != kXgmi || from < 0 || to == device_of_node.end()) continue;
      GpuRecord& device = record.devices[std::size_t(from)];
      if (!device.fabric) device.fabric.emplace();
      if (to->second < 0) continue;
      ++device.fabric->to_devices[record.devices[std::size_t(to->second)].pci];
      if (from > to->second) continue;
      GpuPair pair{from, to->second, std::nullopt, std::nullopt, std::nullopt};
      const auto megabytes = property(text, "max_bandwidth");
      if (megabytes && *megabytes > 0) pair.fabric_bytes_per_s = double(*megabytes) * 1e6;
      record.pairs.push_back(pair);
    }
  }
}

}  // namespace

std::optional<DriverRecord> read_amdgpu(const FileSystem& files) {
  DriverRecord record;
  record.vendor = GpuVendor::amd;
  for (const std::string& card : files.list(kCards)) {
    const std::string device = std::string(kCards) + "/" + card + "/device/";
    // "card0-HDMI-A-1" is a connector, "renderD128" the same device again.
    if (!card.starts_with("card") || card.find('-') != std::string::npos) continue;
    if (text_in(files, device + "vendor") != kVendor) continue;
    GpuRecord card_record = read_card(files, device);
    // Graphics of a processor: a few hundred MB of the host's memory.
    if (card_record.memory_bytes.value_or(kLeastBytes) < kLeastBytes) continue;
    record.devices.push_back(std::move(card_record));
  }
  if (record.devices.empty()) return std::nullopt;
  std::ranges::sort(record.devices, {}, &GpuRecord::pci);
  for (std::size_t i = 0; i < record.devices.size(); ++i) {
    GpuRecord& device = record.devices[i];
    device.index = static_cast<int>(i);
    if (device.uuid.empty()) device.uuid = "GPU-" + device.pci;
    if (!device.memory_bytes) {
      record.notes.push_back("amd: device " + std::to_string(i) + ": memory: not told by amdgpu");
    }
  }
  const std::string version = text_in(files, "/sys/module/amdgpu/version");
  if (!version.empty()) record.version = version;
  read_fabric(files, record);
  return record;
}

std::optional<double> amdgpu_power_w(const FileSystem& files, const std::string& pci) {
  for (const std::string& card : files.list(kCards)) {
    const std::string device = std::string(kCards) + "/" + card + "/device/";
    if (!card.starts_with("card") || card.find('-') != std::string::npos) continue;
    if (pci_of(files, device) != pci) continue;
    // Newer boards show the power now, older ones a mean.
    return sensor(files, device, {"power1_average", "power1_input"});
  }
  return std::nullopt;
}

}  // namespace parallel_opt
