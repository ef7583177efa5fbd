#include "parallel_opt/cost/row_device.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <regex>
#include <string>
#include <vector>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/accelerator.h"
#include "parallel_opt/cost/cloud_machine.h"
#include "parallel_opt/cost/device_text.h"
#include "parallel_opt/cost/network_text.h"
#include "parallel_opt/cost/row_claims.h"
#include "parallel_opt/cost/row_words.h"
#include "parallel_opt/hardware/preset.h"

namespace parallel_opt {
namespace {

/// "A100" of "A100-SXM-40GB": without the board and its memory.
std::string chip_of(const DeviceRecord& record) {
  static const std::regex board(R"(-(sxm|pcie|nvl|[0-9]+gb)\b)", std::regex::icase);
  return std::regex_replace(record.name, board, "");
}

/// In a node of `per_node` devices, as the usual machine has them for its own.
UsualNetwork usual_network(const TrainingRow& row, const DeviceRecord& record, double per_node) {
  UsualNetwork usual;
  usual.machine = network_of_machine(row.gpu, per_node);
  // Notes may name a machine in passing that has other devices.
  const auto noted = cloud_machine_in(Claims(row.notes).kept());
  if (!usual.machine && noted) {
    const DeviceRecord* inside = find_device(load_database(), noted->device);
    const bool has_it = inside != nullptr && chip_of(*inside) == chip_of(record);
    if (has_it) usual.machine = network_of_machine(*noted, per_node);
  }
  if (!record.host || record.host->adapter_bytes_per_s <= 0) return usual;
  usual.adapters = per_node * record.host->adapters / (record.host->devices * dies_of(record));
  const auto source = record.sources.find(record.host->source);
  if (source != record.sources.end() && mentions(source->second, "slingshot")) {
    usual.fabric = "slingshot";
  }
  return usual;
}

/// What parts of a cell may name: "H100 + 2x Xeon 8480".
std::vector<std::string> parts_of(const std::string& gpu) {
  static const std::regex between(R"(\s*(?:[/,+&;(]|\band\b|\bwith\b)\s*)");
  return {std::sregex_token_iterator(gpu.begin(), gpu.end(), between, -1),
          std::sregex_token_iterator()};
}

/// The device that text names; of a host and its devices, those.
std::optional<DeviceRecord> accelerator_by_text(const std::string& gpu, const std::string& family) {
  auto record = device_by_text(gpu, family);
  if (!record || record->kind != DeviceCategory::cpu) return record;
  for (const std::string& part : parts_of(gpu)) {
    const auto other = device_by_text(part, "");
    if (other && other->kind != DeviceCategory::cpu) return other;
  }
  return record;
}

/// Memory or power that is not the record's own.
void note_variant(const TrainingRow& row, const DeviceRecord& record,
                  std::vector<std::string>& notes) {
  const DeviceRecord* own = find_device(load_database(), record.name);
  if (own == nullptr || !own->memory_bytes || !record.memory_bytes) return;
  const double memory = own->memory_bytes->value, taken_bytes = record.memory_bytes->value;
  const double stated = stated_memory(row.gpu).value_or(0);
  const std::string taken = "gpu '" + row.gpu + "' is taken as " + record.name;
  if (stated > kMostMemory * memory) {
    notes.push_back(taken +
                    ", the memory it states as its host's or that of all devices of a machine");
  } else if (taken_bytes != memory &&
             record.memory_bytes_per_s.value == own->memory_bytes_per_s.value) {
    notes.push_back(taken + " with " + show(Bytes(std::int64_t(taken_bytes))) +
                    ", which are read as fast as that one's");
  }
}

}  // namespace

std::string no_whole_device(const std::string& gpu) {
  static const std::regex part(R"(\bmig\b|\bhalf (of )?an?\b|\b[1-7]g\.[0-9]+gb)",
                               std::regex::icase);
  if (Claims(gpu).has(part)) return "gpu '" + gpu + "' is a part of a device";
  static const std::regex between(R"(\s*(?:[/,+&;]|\b(?:and|or)\b)\s*)");
  const std::string bare = gpu.substr(0, gpu.find(" ("));
  std::string first;
  for (std::sregex_token_iterator it(bare.begin(), bare.end(), between, -1), end; it != end; ++it) {
    const auto record = device_by_text(*it, "");
    if (!record || record->kind == DeviceCategory::cpu) continue;  // of its host
    const std::string chip = chip_of(*record);
    // "GB200: Grace and B200" is one.
    const bool same = first.ends_with(chip) || chip.ends_with(first);
    if (!first.empty() && !same) {
      return "gpu '" + gpu + "' is of several kinds, " + first + " and " + chip_of(*record);
    }
    if (chip.size() > first.size()) first = chip;
  }
  return "";
}

namespace {

/// Whether a cell says how much memory its device has.
bool states_memory(const std::string& cell) {
  const std::string gpu = without_machine(cell);
  static const std::regex stated(R"([0-9] ?(g|gb|gib)\b|00[ -][1-9][0-9]($| \()|dgx-?2)",
                                 std::regex::icase);
  return std::regex_search(gpu, stated);
}

bool states_board(const std::string& gpu) {
  static const std::regex stated(R"(sxm|pcie|nvl|dgx|hgx)", std::regex::icase);
  return std::regex_search(gpu, stated);
}

/// The machine of a cloud that the row names, where it has such a board and the row does not say
/// with how much memory.
std::optional<CloudMachine> machine_of(const TrainingRow& row, const DeviceRecord& record) {
  if (states_memory(row.gpu)) return std::nullopt;
  for (const std::string& text : {row.gpu, row.interconnect, Claims(row.notes).kept()}) {
    const auto found = cloud_machine_in(text);
    const DeviceRecord* other = found ? find_device(load_database(), found->device) : nullptr;
    if (other == nullptr) continue;
    const bool open = !states_board(row.gpu) && chip_of(*other) == chip_of(record);
    if (open || board_of(other->name) == board_of(record.name)) return found;
  }
  return std::nullopt;
}

/// "PCIe only", "over PCI Express only".
bool says_only_bus(const std::string& text) {
  static const std::regex only(R"(\b(pci-?e|pci express) only|\bonly (over |via )?pci)",
                               std::regex::icase);
  return Claims(text).has(only);
}

bool names_links(const std::string& interconnect) {
  return mentions(interconnect, "nvlink") || mentions(interconnect, "nvswitch") ||
         mentions(interconnect, "pci");
}

/// "No NVLink" of the interconnect, or of the notes where that names no links; of trays of a rack
/// those between them are denied.
bool denies_links(const TrainingRow& row) {
  static const std::regex links(R"(nvlink(?! ?(across|between|bridge|sharp|switch|72|network)))",
                                std::regex::icase);
  if (names_links(row.interconnect)) return Claims(row.interconnect).says("nvlink") == false;
  return Claims(row.notes).says(links) == false;
}

bool has_bus_alone(const TrainingRow& row) {
  if (!names_links(row.interconnect)) return says_only_bus(row.notes);
  const Claims links(row.interconnect);
  return links.has("pcie") && !links.has("nvlink") && !links.has("nvswitch");
}

}  // namespace

std::optional<DeviceRecord> device_of(const TrainingRow& row, std::vector<std::string>& notes) {
  static const std::regex clock(R"([0-9] ?[MG]Hz)", std::regex::icase);
  if (std::regex_search(row.gpu, clock)) {
    notes.push_back("gpu '" + row.gpu + "': a clock counts for nothing");
  }
  auto record = accelerator_by_text(row.gpu, row.gpu_family);
  if (!record) return record;
  const auto machine = machine_of(row, *record);
  if (machine && machine->device != record->name) {
    const auto of_machine = device_by_text(machine->device, "");
    if (of_machine) record = of_machine;
  }
  if (machine && !cloud_machine_in(row.gpu)) {
    notes.push_back("gpu '" + row.gpu + "' is taken as " + record->name + ", which " +
                    machine->name + " has");
  }
  note_variant(row, *record, notes);
  const auto limit = stated_limit_w(Claims(row.notes).kept());
  if (limit && record->max_w && *limit < record->max_w->value) record->max_w->value = *limit;
  const bool without = denies_links(row);
  const bool bare = without || has_bus_alone(row);
  const bool named = names_links(row.interconnect);
  const std::string where = named ? "interconnect" : "notes";
  if (!bare) return record;
  auto board = device_by_text(row.gpu + " PCIe", row.gpu_family);
  const bool fits = board && chip_of(*board) == chip_of(*record) && mentions(board->name, "-pcie");
  if (states_board(row.gpu) || !fits) {
    const bool only = says_only_bus(names_links(row.interconnect) ? row.interconnect : row.notes);
    if ((without || only) && mentions(record->name, "-sxm")) {
      notes.push_back("gpu '" + row.gpu + "' keeps the NVLink of " + record->name + ", which its " +
                      where + (named ? " denies" : " deny"));
    }
    return record;
  }
  notes.push_back("gpu '" + row.gpu + "' is taken as " + board->name + ", as its " + where +
                  (named ? " has no NVLink" : " deny NVLink"));
  return board;
}

namespace {

constexpr double kTray = 4, kRack = 72;  // devices of GB200 and GB300

/// That NVLink joins, as the row says: "GB200-NVL72", "GB200 NVL4", "no NVLink across trays".
std::optional<double> joined_by_name(const TrainingRow& row) {
  static const std::regex joined(R"(nvl[ -]?([0-9]{1,3})\b)", std::regex::icase);
  static const std::regex apart(
      R"(\b(no|not|without) (nvl ?72|(mn)?nvlink (across|between))|mnnvl[a-z_]*[ =:]*(off|0|no|disabled)|nvlink (only )?(within|inside|in) (a |the |each )?(tray|node|host))",
      std::regex::icase);
  const std::string notes = row.interconnect + "; " + row.notes;
  if (std::regex_search(notes, apart)) return kTray;
  const std::string text =
      row.gpu + "; " + Claims(row.interconnect).kept() + "; " + Claims(row.notes).kept();
  std::smatch found;
  if (!std::regex_search(text, found, joined)) return std::nullopt;
  return std::stod(found[1]);
}

std::optional<double> joined_devices(const TrainingRow& row, const DeviceRecord& record) {
  const bool in_trays = record.name == "GB200" || record.name == "GB300";
  if (!in_trays || row.gpus_per_node.value_or(kTray) > kTray) return row.gpus_per_node;
  return joined_by_name(row).value_or(kRack);
}

}  // namespace

bool stands_in_rack(const TrainingRow& row, const DeviceRecord& record) {
  return joined_devices(row, record) == kRack && !joined_by_name(row) && row.gpus_per_node != kRack;
}

namespace {

double memory_of(const DeviceRecord& record) {
  return record.memory_bytes ? record.memory_bytes->value : 0;
}

}  // namespace

std::vector<DeviceRecord> variants_of(const TrainingRow& row, const DeviceRecord& record) {
  std::vector<DeviceRecord> others;
  if (states_memory(row.gpu) || machine_of(row, record)) return others;
  for (DeviceRecord other : load_database().devices) {
    const bool same = board_of(other.name) == board_of(record.name);
    if (!same || other.name == record.name) continue;
    // A cap that the row states holds for them too.
    if (record.max_w && other.max_w) {
      other.max_w->value = std::min(other.max_w->value, record.max_w->value);
    }
    others.push_back(std::move(other));
  }
  std::ranges::sort(others, {}, memory_of);
  return others;
}

namespace {

/// "Ethernet (no InfiniBand)" of a GPU: one adapter per node; of other accelerators it is their
/// own.
std::optional<NetworkWords> plain_ethernet(const TrainingRow& row, const DeviceRecord& record,
                                           double per_node) {
  static const std::regex other(R"(infiniband|\bib\b|roce|rdma|slingshot|spectrum)",
                                std::regex::icase);
  const Claims text(row.interconnect);
  const bool own = record.kind != DeviceCategory::gpu || record.arch.starts_with("Gaudi");
  if (own || !text.has("ethernet") || text.has(other)) return std::nullopt;
  return NetworkWords{kAssumedAdapterBytesPerS / std::max(1.0, per_node),
                      "Ethernet: 100 Gbit/s per node", 1};
}

}  // namespace

// Tables count the devices that frameworks see: of a package, each die with its memory.
bool fill_device(const TrainingRow& row, const DeviceRecord& record, RowCase& out) {
  Surroundings around;
  around.per_node = joined_devices(row, record);
  if (!around.per_node && mentions(row.gpu, "dgx-2")) around.per_node = 16;
  const int dies = dies_of(record);
  if (!around.per_node && dies > 1 && record.host) around.per_node = dies * record.host->devices;
  const double per_node = around.per_node.value_or(record.host ? record.host->devices : 8);
  const UsualNetwork usual = usual_network(row, record, per_node);
  out.network = network_by_text(row.interconnect, per_node, usual);
  if (!out.network) out.network = usual.machine;
  if (!out.network) out.network = plain_ethernet(row, record, per_node);
  if (out.network) {
    around.network_bytes_per_s = out.network->bytes_per_s;
    around.adapters = out.network->adapters;
  }
  const std::string type = element_type_in_words(row.dtype).value_or("");
  const auto device =
      accelerator_of(record, type + (mentions(row.dtype, "rowwise") ? " rowwise" : ""), around);
  if (!device) return false;
  out.device = *device;
  if (dies < 2) return true;
  // A pod's links join chips.
  const bool pod =
      record.kind == DeviceCategory::tpu && out.device.per_node > around.per_node.value_or(0);
  if (pod) out.device.per_node *= dies;
  keep_one_die(dies, out.device);
  for (double* part : {&out.device.memory_bytes, &out.device.links.all_bytes_per_s,
                       &out.device.links.pair_bytes_per_s, &out.device.idle_w, &out.device.max_w}) {
    *part /= dies;
  }
  if (!out.network) out.device.network_bytes_per_s /= dies;
  return true;
}

}  // namespace parallel_opt
