#include "parallel_opt/cli/placement.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cli/command.h"
#include "parallel_opt/hardware/database.h"
#include "parallel_opt/hardware/preset.h"

namespace parallel_opt {
namespace {

/// "8 H100-SXM-80GB"; of several kinds the slowest decides.
std::string kinds_of(const Cluster& cluster, const std::vector<std::size_t>& devices) {
  std::vector<std::pair<std::string, int>> kinds;
  for (const std::size_t i : devices) {
    const std::string& name = cluster.devices[i].name;
    auto kind = std::ranges::find(kinds, name, &std::pair<std::string, int>::first);
    if (kind == kinds.end()) kind = kinds.insert(kind, {name, 0});
    ++kind->second;
  }
  std::vector<std::string> parts;
  for (const auto& [name, count] : kinds) parts.push_back(std::to_string(count) + " " + name);
  return join(parts, " and ") + (parts.size() > 1 ? ", all as slow as the slowest" : "");
}

std::string smallest_of(const Cluster& cluster, const std::vector<std::size_t>& devices) {
  const auto bytes = [&](std::size_t i) { return cluster.devices[i].memory_bytes.value; };
  return cluster.devices[std::ranges::min(devices, {}, bytes)].name;
}

/// "stages 0 to 3 on 8 H100-SXM-80GB each".
std::vector<std::string> words_of(const Cluster& cluster, const std::vector<RankDevices>& ranks,
                                  const ParallelLayout& layout) {
  std::set<std::string> names;
  std::vector<std::string> kinds, words;
  for (const RankDevices& rank : ranks) {
    kinds.push_back(kinds_of(cluster, rank.of_cluster));
    for (const std::size_t i : rank.of_cluster) names.insert(cluster.devices[i].name);
  }
  if (names.size() < 2) return words;
  const bool plain = layout.virtual_stages <= 1 && layout.schedule != ScheduleKind::dualpipe;
  const std::string one = plain ? "stage " : "rank ", several = plain ? "stages " : "ranks ";
  for (std::size_t first = 0; first < kinds.size();) {
    std::size_t next = first;
    while (next < kinds.size() && kinds[next] == kinds[first]) ++next;
    const bool alone = next == first + 1;
    std::string who = alone ? one + std::to_string(first)
                            : several + std::to_string(first) + " to " + std::to_string(next - 1);
    if (kinds.size() == 1) who = "all";
    words.push_back(who + " on " + kinds[first] + (alone ? "" : " each"));
    first = next;
  }
  return words;
}

/// Of a preset that does not state it (@400Gbps), where the layout needs it.
std::string assumed_network(const Cluster& cluster, const std::vector<Accelerator>& devices,
                            const ParallelLayout& layout) {
  const auto states_it = [](const std::string& group) {
    return group.find('@') != std::string::npos;
  };
  std::vector<std::string> usual;
  for (const std::string& note : cluster.notes) {
    const bool says = note.starts_with("host of ") || note.starts_with("their network");
    if (says) usual.push_back(note.substr(0, note.find(';')));
  }
  const double inside = std::ranges::min(devices, {}, &Accelerator::per_node).per_node;
  const bool needed = layout.devices() > inside;
  if (!needed || usual.empty() || std::ranges::all_of(split_groups(cluster.name), states_it)) {
    return "";
  }
  const double rate =
      std::ranges::min(devices, {}, &Accelerator::network_bytes_per_s).network_bytes_per_s;
  return "network between nodes: " + show(BytesPerSecond(rate)) +
         " per device is assumed, as none is stated (" + join(usual, "; ") +
         "); 2n8xH100@8x400Gbps states one";
}

/// Products in bf16 came after these; records of others that lack them are of shorter data sheets.
bool lacks_bf16(const DeviceRecord& record) {
  static const std::set<std::string, std::less<>> before = {
      "Kepler", "Maxwell", "Pascal", "Volta", "Turing", "Vega20", "RDNA2", "Da Vinci"};
  return before.contains(record.arch) && !record.flops_per_s.contains("bf16");
}

void refuse_bf16(const Cluster& cluster, const std::vector<RankDevices>& ranks) {
  for (const RankDevices& rank : ranks) {
    for (const std::size_t i : rank.of_cluster) {
      const std::string& name = cluster.devices[i].name;
      const DeviceRecord* record = find_device(load_database(), name);
      if (record == nullptr || !lacks_bf16(*record)) continue;
      throw UsageError("--precision", name + " has no products in bf16",
                       record->flops_per_s.contains("fp16") ? "choose fp16" : "choose fp32");
    }
  }
}

/// Of every kind that runs something.
std::vector<std::string> notes_of(const Cluster& cluster, const std::vector<RankDevices>& ranks,
                                  Precision precision) {
  double used = 0, per_node = 1;
  std::set<std::string, std::less<>> names;
  for (const RankDevices& rank : ranks) {
    for (const std::size_t i : rank.of_cluster) names.insert(cluster.devices[i].name);
    used += double(rank.of_cluster.size());
    per_node = std::max(per_node, rank.device.per_node);
  }
  std::vector<std::string> notes;
  for (const std::string& name : names) {
    const DeviceRecord* record = find_device(load_database(), name);
    if (record == nullptr) continue;
    for (std::string& note :
         stand_ins(*record, std::string(name_of(precision)), used > 1 ? per_node : 1)) {
      notes.push_back(std::move(note));
    }
  }
  return notes;
}

double mean_price(const Cluster& cluster, const std::vector<RankDevices>& ranks) {
  double sum = 0, count = 0;
  for (const RankDevices& rank : ranks) {
    for (const std::size_t i : rank.of_cluster) {
      const std::optional<Uncertain>& price = cluster.devices[i].usd_per_hour;
      if (!price) return 0;
      sum += price->value;
      count += 1;
    }
  }
  return count > 0 ? sum / count : 0;
}

/// `bytes` are what training may use; a device that has less keeps it, which is said.
void limit_memory(double bytes, PlacedLayout& out) {
  const double limit = bytes / kUsableMemory;
  double least = 0;
  for (Accelerator& device : out.devices) {
    double& own = device.memory_bytes;
    if (own > 0 && kUsableMemory * own + 1 < bytes) least = least > 0 ? std::min(least, own) : own;
    own = own > 0 ? std::min(own, limit) : limit;
  }
  if (least <= 0) return;
  out.notes.push_back("--memory-limit " + show_bytes(bytes) + " is more than the " +
                      show_bytes(std::floor(kUsableMemory * least)) + " of a device, which count");
}

}  // namespace

PlacedLayout place(const Cluster& cluster, const Job& job, const ParallelLayout& layout) {
  const std::vector<RankDevices> ranks =
      devices_of_ranks(cluster, job.precision, layout.pipeline, layout.devices());
  if (job.precision == Precision::bf16) refuse_bf16(cluster, ranks);
  PlacedLayout out;
  for (const RankDevices& rank : ranks) {
    if (job.precision == Precision::fp8 && !rank.device.narrow) {
      throw UsageError(
          "--precision",
          "no faster products in fp8 are known of " + kinds_of(cluster, rank.of_cluster),
          "choose a type of 16 bits");
    }
    out.devices.push_back(rank.device);
    out.smallest.push_back(smallest_of(cluster, rank.of_cluster));
    out.of_cluster.insert(out.of_cluster.end(), rank.of_cluster.begin(), rank.of_cluster.end());
  }
  out.words = words_of(cluster, ranks, layout);
  out.notes = notes_of(cluster, ranks, job.precision);
  if (job.memory_limit_bytes) limit_memory(double(job.memory_limit_bytes->value), out);
  out.network = assumed_network(cluster, out.devices, layout);
  out.usd_per_hour = mean_price(cluster, ranks);
  return out;
}

}  // namespace parallel_opt
