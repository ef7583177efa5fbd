#include "parallel_opt/cost/device_text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <regex>
#include <vector>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/cloud_machine.h"
#include "parallel_opt/cost/stated_number.h"
#include "parallel_opt/hardware/preset.h"

namespace parallel_opt {
namespace {

/// "H100-96GB-HBM2e" -> {"h100", "96gb", "hbm2e"}.
std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : lower_case(text) + " ") {
    if (std::isalnum(static_cast<unsigned char>(c)) || c == '.') {
      word += c;
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  return words;
}

const std::regex& device_count() {
  static const std::regex count(R"(^\s*([0-9]+)\s*[x*]\s*|\s+[x*]\s*([0-9]+)\s*$)",
                                std::regex::icase);
  return count;
}

/// "8xH100" and "H100 x 8" name what "H100" does; "Gaudi 2" is one word, or the first generation
/// would do; "80G" and "80 GiB" are 80GB.
std::vector<std::string> spoken_words(const std::string& text) {
  static const std::regex memory(R"(([0-9])\s*(GiB|GB|G)\b)", std::regex::icase);
  const std::string bare = std::regex_replace(text, device_count(), "");
  std::vector<std::string> words;
  for (const std::string& word : words_of(std::regex_replace(bare, memory, "$1GB"))) {
    const auto digit = [](char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; };
    const bool generation = word.size() == 1 && digit(word.front());
    if (generation && !words.empty() && std::ranges::none_of(words.back(), digit)) {
      words.back() += word;
    } else {
      words.push_back(word);
    }
  }
  return words;
}

bool has_digit(const std::string& word) {
  return std::ranges::any_of(word, [](unsigned char c) { return std::isdigit(c) != 0; });
}

/// Whether the words name a device of this name. A first word that is a family's ("TPU", "Ascend")
/// needs the others too, but for sizes of memory; one of two characters ("A2", "P4") is also part
/// of other names ("Atlas 900 A2") and stands with its maker alone; "4090 D", "3070 Ti" and "5090
/// Laptop" are chips of their own. `bare`: without what stands in brackets.
bool names_it(const std::vector<std::string>& own, const std::vector<std::string>& words,
              const std::vector<std::string>& bare) {
  const auto in = [](const std::vector<std::string>& list, const std::string& word) {
    return std::ranges::find(list, word) != list.end();
  };
  if (!in(words, own.front())) return false;
  const bool family = !has_digit(own.front());
  for (const std::string& word : own) {
    if (family && !word.ends_with("gb") && !in(words, word)) return false;
  }
  static const std::vector<std::string> beside = {"nvidia", "tesla", "tensor", "core",
                                                  "gpu",    "gpus",  "pcie"};
  static const std::vector<std::string> chips = {"d",      "ti",       "super", "laptop",
                                                 "mobile", "notebook", "q"};
  const bool short_name = own.front().size() == 2 && !family;
  return std::ranges::all_of(bare, [&](const std::string& word) {
    if (in(chips, word) && !in(own, word)) return false;
    return !short_name || in(own, word) || in(beside, word) || word.ends_with("gb");
  });
}

/// How well a record's name answers the words: its first word must be there; every other one
/// counts.
int likeness(const std::string& name, const std::vector<std::string>& words,
             const std::vector<std::string>& bare) {
  const std::vector<std::string> own = words_of(name);
  if (own.empty() || !names_it(own, words, bare)) return 0;
  int score = 10;
  for (const std::string& word : own) {
    if (std::ranges::find(words, word) != words.end()) score += 3;
  }
  const bool board = std::ranges::find(own, "sxm") != own.end();
  const bool pcie =
      std::ranges::find(own, "pcie") != own.end() || std::ranges::find(own, "nvl") != own.end();
  if (board) score += 1;  // what training clusters are made of
  if (pcie && std::ranges::find(words, "pcie") == words.end()) score -= 1;
  return score;
}

}  // namespace

std::optional<double> devices_counted(const std::string& gpu) {
  return number_in(gpu, device_count());
}

std::optional<double> stated_memory(const std::string& text) {
  // "A10G" is a name.
  static const std::regex memory(R"((?:^|[^A-Za-z0-9.])([0-9]+)\s*(GB|GiB|G)\b)",
                                 std::regex::icase);
  std::smatch match;
  if (!std::regex_search(text, match, memory)) return std::nullopt;
  const auto gigabytes = stated_number(match[1]);
  return gigabytes ? std::optional(*gigabytes * double(1LL << 30)) : std::nullopt;
}

std::optional<double> stated_limit_w(const std::string& text) {
  static const std::regex watts(
      R"(([0-9.]+)\s*W\s*(?:power\s*)?(?:limit|cap)|(?:(?:limit(?:ed)?|cap(?:ped)?)(?: to| at)?[ :]*|@\s*)([0-9.]+)\s*W\b)",
      std::regex::icase);
  std::smatch match;
  if (!std::regex_search(text, match, watts)) return std::nullopt;
  return stated_number(match[2].matched ? match[2] : match[1]);
}

std::optional<StatedBus> stated_bus(const std::string& text) {
  static const std::regex bus(
      R"(\bpci(?:[ -]?e(?:xpress)?)?[ -]?(?:gen(?:eration)?[ .-]?)?([3-6])(?:\.0)?(?![0-9.])(?:[ ,-]*x[ ]?(1|2|4|8|16)\b)?)",
      std::regex::icase);
  std::smatch match;
  if (!std::regex_search(text, match, bus)) return std::nullopt;
  // A lane of the third generation has 8 GT/s in 128 of 130 bits, each further one twice that; the
  // sixth has frames of its own, 242 of 256.
  const int generation = std::stoi(match[1]);
  const double lanes = match[2].matched ? std::stod(match[2]) : 16;
  const double lane =
      1e9 * std::pow(2.0, generation - 3) * (generation < 6 ? 128.0 / 130 : 242.0 / 256);
  return StatedBus{"PCIe" + match.str(1) + "x" + std::to_string(int(lanes)), lanes * lane};
}

std::optional<SliceDevices> devices_of_slice(const std::string& gpu) {
  static const std::regex slice(
      R"(\s*(?:google )?(?:cloud )?tpu[ _-]?v([2-7])(e|p|x|litepod)?-([1-9][0-9]{0,4})(?: (?:pod )?slice)?\s*)",
      std::regex::icase);
  std::smatch match;
  if (!std::regex_match(gpu, match, slice)) return std::nullopt;
  // Of v2 to v4 and v5p the name counts TensorCores, two to a chip. docs.cloud.google.com/tpu/docs,
  // a page per generation.
  const int generation = std::stoi(match[1]);
  const bool half = generation == 4 || lower_case(match.str(2)) == "p";
  const double named = std::stod(match[3]);
  return SliceDevices{half ? std::max(1.0, named / 2) : named, named};
}

namespace {

bool same_memory(double bytes, const DeviceRecord& record) {
  return record.memory_bytes && std::abs(bytes / record.memory_bytes->value - 1) <= 0.1;
}

void apply_limits(const std::string& text, DeviceRecord& record) {
  static const std::regex rate(R"(([0-9.]+)\s*TB/s)", std::regex::icase);
  std::smatch match;
  if (std::regex_search(text, match, rate)) {
    if (const auto terabytes = stated_number(match[1])) {
      record.memory_bytes_per_s.value = *terabytes * 1e12;
    }
  }
  if (const auto bytes = stated_memory(text); bytes && record.memory_bytes) {
    // "MI250X (64 GB per GCD)" says what one of its dies has.
    const bool known = same_memory(*bytes * dies_of(record), record) || same_memory(*bytes, record);
    const bool of_machine = *bytes > kMostMemory * record.memory_bytes->value;
    if (!known && !of_machine) record.memory_bytes->value = *bytes;
  }
  static const std::regex watts(R"((?:^|[^A-Za-z0-9.])([0-9]+(?:\.[0-9]+)?)\s*W(?:atts?)?\b)");
  if (!record.max_w) return;
  if (const auto limit = stated_limit_w(text)) {
    record.max_w->value = *limit;
  } else if (std::regex_search(text, match, watts)) {
    constexpr double kLeast = 0.2, kMost = 1.5;  // less is idle, more a machine's
    const double stated = stated_number(match[1]).value_or(0), most = record.max_w->value;
    if (stated > kLeast * most && stated < kMost * most) record.max_w->value = stated;
  }
}

/// Names that leave out a maker's word, or stand for what a machine is made of, in full.
std::string full_name(const std::string& text) {
  struct Short {
    const char* pattern;
    const char* whole;
  };
  static constexpr auto kShort = std::to_array<Short>(
      {{R"(^(\s*(?:[0-9]+\s*[x*]\s*)?)([345]0[5-9]0)\b)", "$1RTX $2"},
       {R"(\bRTX([0-9]{4})\b)", "RTX $1"},
       {R"(^(\s*(?:[0-9]+\s*[x*]\s*)?)(910[A-D][0-9]?)\b)", "$1Ascend $2"},
       {R"(\b(?:RTX )?A6000 Ada\b)", "RTX 6000 Ada"},
       {R"(\bB([23]00)([ -]NVL[ -]?(?:4|36|72))\b)", "GB$1$2"},
       {R"(\bTPU ?([0-9])x\b)", "TPU v$1"},
       {R"(\bTPUv([0-9]))", "TPU v$1"},
       {R"(^\s*(?:NVIDIA )?DGX-?1V?\b)", "V100"},
       {R"(^\s*(?:NVIDIA )?DGX-?2\b)", "V100-32GB"},
       // By the memory of all devices; by that of the host.
       {R"(^\s*(?:NVIDIA )?DGX[- ]A100[- (]*640 ?GB\)?)", "A100-SXM-80GB"},
       {R"(\bGH200[- (]*480 ?GB\)?)", "GH200-96GB"},
       // "A100-80" has 80 GB; "H100 96 GPUs" are as many.
       {R"(\b([AHV][0-9]00(?:[- ]SXM[0-9]?)?)[- ](16|32|40|64|80|94|96|141)\b(?!\s*(?:G|x|W|GPUs?|devices|cards|nodes|chips)))",
        "$1-$2GB"}});
  std::string name = text;
  for (const Short& one : kShort) {
    name = std::regex_replace(name, std::regex(one.pattern, std::regex::icase), one.whole);
  }
  return name;
}

/// Of the same board, the one with the most memory that is not above what is stated.
const DeviceRecord* with_memory(const DeviceRecord& board, double bytes) {
  const DeviceRecord* best = &board;
  double most = board.memory_bytes ? board.memory_bytes->value : 0;
  for (const DeviceRecord& other : load_database().devices) {
    if (!other.memory_bytes || board_of(other.name) != board_of(board.name)) continue;
    const double memory = other.memory_bytes->value;
    if (memory <= most || memory > bytes) continue;
    best = &other;
    most = memory;
  }
  return best;
}

}  // namespace

std::optional<DeviceRecord> device_by_text(const std::string& cell, const std::string& family) {
  const DeviceDatabase& database = load_database();
  const auto machine = cloud_machine_in(cell);
  static const std::regex bus(R"(\bpci(?:[ -]e|[ -]express)\b)", std::regex::icase);
  const std::string text =
      std::regex_replace(full_name(machine ? without_machine(cell) : cell), bus, "PCIe");
  const std::string bare = text.substr(0, text.find(" ("));
  const DeviceRecord* best = find_device(database, bare);
  // "A100-80GB (p4d)" is what it states.
  if (machine && (best == nullptr || !stated_memory(text))) {
    best = find_device(database, machine->device);
  }
  // "A100 (80GB)" is the other of the two.
  const auto bytes = stated_memory(text.substr(bare.size()));
  if (best != nullptr && bytes && !same_memory(*bytes, *best)) best = nullptr;
  // "A100 80GB (PCIe)" is another board.
  static const std::regex board(R"(\bpcie\b|\bnvl\b)", std::regex::icase);
  const bool other_board =
      std::regex_search(text.begin() + std::ptrdiff_t(bare.size()), text.end(), board);
  if (best != nullptr && other_board && !std::regex_search(bare, board)) best = nullptr;
  if (best == nullptr) {
    std::vector<std::string> words = spoken_words(text);
    for (const std::string& word : spoken_words(family)) words.push_back(word);
    const std::vector<std::string> plain = spoken_words(bare);
    int most = 0;
    for (const DeviceRecord& record : database.devices) {
      int score = likeness(record.name, words, plain);
      for (const std::string& alias : record.aliases) {
        score = std::max(score, likeness(alias, words, plain));
      }
      if (score > most) {
        most = score;
        best = &record;
      }
    }
  }
  if (best == nullptr) return std::nullopt;
  if (const auto memory = stated_memory(text); memory && best->memory_bytes) {
    if (!same_memory(*memory, *best)) best = with_memory(*best, *memory);
  }
  DeviceRecord record = *best;
  apply_limits(text, record);
  return record;
}

}  // namespace parallel_opt
