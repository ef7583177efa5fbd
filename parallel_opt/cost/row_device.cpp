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
  static const std::regex part(
      R"(\bmig\b|\bhalf (of )?an?\b|\bhalf [abhvptlk][1-9]|\b[1-7]g\.[0-9]+gb|^\s*(1/[2-9]|0\.[0-9]+)\s*(x|of)?\s*(an?\s)?[a-z])",
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

bool states_memories(const std::string& gpu) {
  static const std::regex several(
      R"(\b([0-9]{2,3}) ?(?:g|gb|gib)? ?(?:/|\bor\b|\band\b) ?([0-9]{2,3}) ?(?:g|gb|gib)\b)",
      std::regex::icase);
  std::smatch match;
  return std::regex_search(gpu, match, several) && match[1] != match[2];
}

namespace {

/// Whether a cell says how much memory its device has.
bool states_memory(const std::string& cell) {
  if (states_memories(cell)) return false;
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

/// Names of links between devices, and of what joins them.
const std::regex& links_of_devices() {
  static const std::regex links(R"(nvlink|nvswitch|xgmi|infinity fabric|xe ?link)",
                                std::regex::icase);
  return links;
}

bool names_links(const std::string& interconnect) {
  return std::regex_search(interconnect, links_of_devices()) || mentions(interconnect, "pci") ||
         mentions(interconnect, "bridge");
}

/// Whether the link is a bridge that boards of this kind are also sold without.
bool is_bridge(const DeviceRecord& record, const DeviceLink& link) {
  if (link.to != LinkEnd::device) return false;
  const auto source = link.pair_bytes_per_s ? record.sources.find(link.pair_bytes_per_s->source)
                                            : record.sources.end();
  return link.type.ends_with("-bridge") ||
         (source != record.sources.end() && mentions(source->second, "bridge"));
}

bool has_bridge(const DeviceRecord& record) {
  return std::ranges::any_of(record.links,
                             [&](const DeviceLink& link) { return is_bridge(record, link); });
}

void remove_bridge(DeviceRecord& record) {
  const DeviceRecord whole = record;
  std::erase_if(record.links, [&](const DeviceLink& link) { return is_bridge(whole, link); });
}

/// Boards in slots of an older machine, or of fewer lanes. Notes speak of disks and adapters too.
void slow_bus(const TrainingRow& row, DeviceRecord& record, std::vector<std::string>& notes) {
  const std::pair<const char*, const std::string&> cells[] = {{"interconnect", row.interconnect},
                                                              {"gpu", row.gpu}};
  for (const auto& [name, text] : cells) {
    const auto bus = stated_bus(Claims(text).kept());
    if (!bus) continue;
    bool slower = false;
    for (DeviceLink& link : record.links) {
      if (!link.type.starts_with("PCIe") || link.bytes_per_s.value <= 1.01 * bus->bytes_per_s) {
        continue;
      }
      link.bytes_per_s.value = bus->bytes_per_s;
      link.type = bus->type;
      slower = true;
    }
    if (slower) notes.push_back("links through hosts are " + bus->type + ", as in " + name);
    return;
  }
}

/// Where a row says that its devices have no links of their own, and how.
struct BareLinks {
  std::string where;    ///< "gpu", "interconnect" or "notes"; empty: it does not say so
  bool denied = false;  ///< else it names PCIe alone
  bool only = false;    ///< in so many words
  /// "interconnect has" or "notes have".
  std::string verb(const char* of_one, const char* of_several) const {
    return where + ' ' + (where == "notes" ? of_several : of_one);
  }
};

/// Of trays of a rack "no NVLink across trays" denies what joins those; of boards bridges are
/// denied too, and what keeps NCCL from using them. Links of other makers have other names.
bool denies_links(const std::string& text, const DeviceRecord& record) {
  static const std::regex links(R"(nvlink(?! ?(across|between|bridge|sharp|switch|72|network)))",
                                std::regex::icase);
  static const std::regex bridges(R"(nvlink(?! ?(across|sharp|switch|72|network))|bridges?\b)",
                                  std::regex::icase);
  static const std::regex others(R"(xgmi|infinity ?fabric|xe ?link|\bici\b|bridges?\b)",
                                 std::regex::icase);
  static const std::regex no_peers(R"(P2P_DISABLE ?= ?1\b|\b(no|without) P2P\b|P2P disabled)",
                                   std::regex::icase);
  const DeviceLink* link = neighbour_link(record);
  if (link != nullptr && link->to == LinkEnd::device && !link->type.starts_with("NVLink")) {
    return Claims(text).says(others) == false;
  }
  const bool bridged = has_bridge(record);
  if (bridged && std::regex_search(text, no_peers)) return true;
  return Claims(text).says(bridged ? bridges : links) == false;
}

bool has_bus_alone(const TrainingRow& row) {
  if (!names_links(row.interconnect)) return says_only_bus(row.notes);
  static const std::regex bus(R"(\bpci(-?e|[ -]express)?(?![a-z]))", std::regex::icase);
  const Claims links(row.interconnect);
  return links.has(bus) && !links.has(links_of_devices()) && !links.has("bridge") &&
         !Claims(row.gpu + "; " + row.notes).has("nvlink");
}

/// The interconnect counts for more than the notes where it names links.
BareLinks bare_links(const TrainingRow& row, const DeviceRecord& record) {
  if (denies_links(row.gpu, record)) return {"gpu", true};
  const bool named = names_links(row.interconnect);
  BareLinks bare{named ? "interconnect" : "notes"};
  const std::string& text = named ? row.interconnect : row.notes;
  bare.denied = denies_links(text, record);
  bare.only = says_only_bus(text);
  return bare.denied || has_bus_alone(row) ? bare : BareLinks{};
}

/// Boards lose their bridges; a device whose links are part of it keeps them.
void settle_links(const std::string& gpu, const BareLinks& bare, DeviceRecord& record,
                  std::vector<std::string>& notes) {
  const DeviceLink* link = neighbour_link(record);
  if (link == nullptr || link->to != LinkEnd::device) return;
  const std::string type = link->type.starts_with("NVLink") ? "NVLink" : link->type;
  const std::string alone = bare.verb("names", "name") + " PCIe alone";
  if (has_bridge(record)) {
    notes.push_back("gpu '" + gpu + "' is taken without a bridge of " + type + ", as its " +
                    (bare.denied ? bare.verb("has", "have") + " none" : alone));
    return remove_bridge(record);
  }
  const bool denies = bare.denied || bare.only;
  notes.push_back(
      "gpu '" + gpu + "' keeps the " + type + " of " + record.name +
      (denies ? ", which its " + bare.verb("denies", "deny") : ", though its " + alone));
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
  const auto cap = [&](DeviceRecord& device) {
    if (limit && device.max_w) device.max_w->value = std::min(device.max_w->value, *limit);
  };
  cap(*record);
  slow_bus(row, *record, notes);
  const BareLinks bare = bare_links(row, *record);
  if (bare.where.empty()) return record;
  auto board = device_by_text(row.gpu + " PCIe", row.gpu_family);
  const bool fits = board && chip_of(*board) == chip_of(*record) && mentions(board->name, "-pcie");
  if (states_board(row.gpu) || !fits) {
    settle_links(row.gpu, bare, *record, notes);
    return record;
  }
  notes.push_back(
      "gpu '" + row.gpu + "' is taken as " + board->name + ", as its " +
      (bare.where == "notes" ? "notes deny NVLink" : bare.verb("has", "") + " no NVLink"));
  cap(*board);
  slow_bus(row, *board, notes);
  remove_bridge(*board);
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
    if (!has_bridge(record)) remove_bridge(other);
    others.push_back(std::move(other));
  }
  std::ranges::sort(others, {}, memory_of);
  return others;
}

namespace {

/// EFA is of AWS, whose machines have one network with each chip.
std::optional<NetworkWords> network_of_efa(const TrainingRow& row, const DeviceRecord& record,
                                           double per_node) {
  static const std::regex efa(R"(\befa(v[0-9])?\b)", std::regex::icase);
  if (!Claims(row.interconnect).has(efa)) return std::nullopt;
  for (const char* name : {"p3dn.24xlarge", "p4d.24xlarge", "p5.48xlarge", "p5en.48xlarge"}) {
    const auto machine = cloud_machine_in(name);
    if (!machine) continue;
    const DeviceRecord* inside = find_device(load_database(), machine->device);
    const bool has_it = inside != nullptr && chip_of(*inside) == chip_of(record);
    if (has_it) return network_of_machine(*machine, per_node);
  }
  return std::nullopt;
}

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
  if (!out.network) out.network = network_of_efa(row, record, per_node);
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
