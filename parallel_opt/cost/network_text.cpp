#include "parallel_opt/cost/network_text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <map>
#include <regex>
#include <sstream>
#include <vector>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/stated_number.h"

namespace parallel_opt {
namespace {

/// What stands between a count, a rate and another count of adapters: "8x ConnectX-7 IB NDR
/// 400Gb/s".
constexpr const char* kAdapterWords =
    R"((?:(?:infiniband|ib|[sdqfehnx]dr(?:10|[1248]00)?|roce(?:v2)?|efa(?:v[0-9])?|omni[\s-]?path|opa|slingshot(?:[\s-]?1[01])?|connectx-?[0-9]|cx-?[0-9]|mellanox|nvidia|intel|hpe|cray|rdma|hcas?|nics?|adapters?|ports?|rails?|ethernet)[\s(-]*){0,5})";
/// What says that a rate is one of the network between nodes.
constexpr const char* kNetwork =
    R"((infiniband|\bib\b|roce|efa|ethernet|rdma|[qfehnx]dr|slingshot|omni[\s-]?path|hcas?\b|nics?\b|inter-?node|network|connectx|cx-?[0-9]))";
constexpr const char* kCounted =
    R"((?:^|[^a-z0-9.]))"
    R"((?:([0-9]+)\s*(?:x|\*|×)|(single|dual|two|quad|four|eight|sixteen))[\s-]*)";

double count_of(const std::string& digits, const std::string& word) {
  static const std::map<std::string, double> words = {{"single", 1},  {"dual", 2}, {"two", 2},
                                                      {"quad", 4},    {"four", 4}, {"eight", 8},
                                                      {"sixteen", 16}};
  if (!digits.empty()) return stated_number(digits).value_or(0);
  const auto it = words.find(word);
  return it == words.end() ? 0 : it->second;
}

/// A rate as it stands in the text.
struct Stated {
  double bytes = 0;  ///< per second, of all adapters that are counted
  double count = 0;  ///< of those; 0: not counted
};

/// Of adapters before or behind what is one's rate or name; empty: not said. Both in lower case.
std::optional<double> adapters(const std::string& before, const std::string& behind) {
  static const std::regex in_front(std::string(kCounted) + kAdapterWords + "$");
  static const std::regex after(
      std::string(R"(^[\s)-]*)") + kAdapterWords +
      R"((?:(?:x|\*|×)\s*([0-9]+)|\(?\s*([0-9]+)\s*(?:hcas?|nics?|adapters?|ports?|rails?)))");
  // "4 HDR adapters": without a sign, what is counted has to follow.
  static const std::regex bare(std::string(R"((?:^|[^a-z0-9.])([0-9]{1,2})\s+)") + kAdapterWords +
                               "$");
  static const std::regex counted(std::string(R"(^[\s-]*)") + kAdapterWords +
                                  R"(\b(?:hcas|nics|adapters|ports|rails)\b)");
  // "HDR 200 Gb/s, 4 per node"; devices of a node are no longer in the text.
  static const std::regex of_node(
      R"(^[\s,;(-]*(?:[a-z-]+[\s,;(-]+){0,3}([0-9]{1,3})\s*(?:per|/|a|each)[ -]*(?:node|host|server|machine))");
  // "4 NICs, 200 Gb/s each", "1 NIC of 200 Gb/s".
  static const std::regex named(
      R"((?:^|[^a-z0-9.])([0-9]{1,2})\s*(?:hcas?|nics?|adapters?|ports?|rails?)[\s,:(]*(?:of |at )?$)");
  std::smatch match;
  if (std::regex_search(before, match, in_front)) return count_of(match[1], match[2]);
  if (std::regex_search(before, match, named)) return stated_number(match[1]).value_or(0);
  if (std::regex_search(before, match, bare) && std::regex_search(behind, counted)) {
    return count_of(match[1], "");
  }
  if (std::regex_search(behind, match, after)) {
    return stated_number(match[1].matched ? match[1] : match[2]).value_or(0);
  }
  if (std::regex_search(behind, match, of_node)) return stated_number(match[1]).value_or(0);
  return std::nullopt;
}

/// Whether a rate is one of links inside a node: those are named behind it, or last before it. What
/// stands apart from a link's name is its own only in bytes and uncounted: "NVLink, 600 GB/s", not
/// "NVLink, 8x200 Gb/s".
bool is_inside(const std::string& before, const std::string& behind, bool of_adapters) {
  static const std::regex link(
      std::string(
          R"((nvlink|nvswitch|nv-?l|pci-?e|pci express|xgmi|infinity fabric|hccs|intra-?node|ici)|)") +
      kNetwork);
  static const std::regex next(
      R"(^[\s(]*(?:bi-?directional|unidirectional|of|over|via|aggregate)?\s*(?:nvlink|nvswitch|pci-?e|xgmi|infinity fabric|hccs|ici\b))");
  static const std::regex next_network(
      std::string(R"(^[\s(]*(?:(?:between|across) nodes|(?:of|over|via|per)?\s*)") + kNetwork +
      ")");
  static const std::regex apart(R"([,+&]|\band\b)");
  if (std::regex_search(behind, next)) return true;
  if (std::regex_search(behind, next_network)) return false;
  bool inside = false;
  for (auto it = std::sregex_iterator(before.begin(), before.end(), link);
       it != std::sregex_iterator(); ++it) {
    const auto end = std::size_t(it->position() + it->length());
    const bool its_own = !of_adapters || !std::regex_search(before.substr(end), apart);
    inside = (*it)[1].matched && its_own;
  }
  return inside;
}

/// The first rate of a network in one part of a text.
std::optional<Stated> first_rate(const std::string& text) {
  // Bytes have a capital B; "100G" is what adapters are called by.
  static const std::regex rate(
      R"(([0-9]+(?:\.[0-9]+)?)\s*-?([GgTt])(?:(B/s|Bps|BPS|B/sec)|(b/s|bps|bit/s|bits/s|bit|bE|BE|b|b/sec)|())(?![A-Za-z]))");
  static const std::regex adapter(kNetwork);
  const std::string low = lower_case(text);
  for (auto it = std::sregex_iterator(text.begin(), text.end(), rate); it != std::sregex_iterator();
       ++it) {
    const std::smatch& match = *it;
    const auto at = std::size_t(match.position()), end = at + std::size_t(match.length());
    const std::string before = low.substr(0, at), behind = low.substr(end);
    const bool bare = !match[3].matched && !match[4].matched;
    if (bare && !std::regex_search(low, adapter)) continue;
    const bool ethernet = match.str(4) == "bE" || match.str(4) == "BE";
    const double count = adapters(before, behind).value_or(0);
    const bool of_adapters = count > 0 || !match[3].matched;
    if (!ethernet && is_inside(before, behind, of_adapters)) continue;
    const bool tera = match.str(2) == "T" || match.str(2) == "t";
    const std::optional<double> stated = stated_number(match[1]);
    if (!stated) continue;
    const double one = *stated * (tera ? 1e12 : 1e9) / (match[3].matched ? 1 : 8);
    return Stated{one * std::max(1.0, count), count};
  }
  return std::nullopt;
}

/// An adapter that a text names without saying its rate.
struct Named {
  std::string name;             ///< "EDR InfiniBand"
  std::string fabric;           ///< "infiniband", "omni-path", "slingshot"
  double gbit_per_s = 0;        ///< that it is sold as
  std::optional<double> count;  ///< as stated
};

/// What four lanes of InfiniBand carry once they are decoded. InfiniBand Trade Association,
/// roadmap.
double gbit_of_generation(char letter) {
  static const std::map<char, double> sold = {{'s', 8},   {'d', 16},  {'q', 32},  {'f', 54.5},
                                              {'e', 100}, {'h', 200}, {'n', 400}, {'x', 800}};
  return sold.at(letter);
}

/// The first name in one part of a text that means one rate.
std::optional<Named> first_name(const std::string& text) {
  static const std::regex name(
      R"((^|[^a-z]|[0-9]\s*x)(?:([sdqfehnx])dr(?:[\s-]?(10|[1248]00))?(?![a-wyz0-9]))"
      R"(|(omni[\s-]?path|opa)(?![a-z])|slingshot[\s-]?(1[01])(?![0-9])))");
  static const std::regex infiniband(R"(infiniband|\bib\b|mellanox)");
  const std::string low = lower_case(text);
  for (auto it = std::sregex_iterator(low.begin(), low.end(), name); it != std::sregex_iterator();
       ++it) {
    const std::smatch& match = *it;
    const auto at = std::size_t(match.position()) + std::size_t(match.length(1));
    const auto end = std::size_t(match.position()) + std::size_t(match.length());
    Named found;
    if (match[2].matched) {
      const char letter = match.str(2).front();
      const bool memory = letter == 's' || letter == 'd';  // DDR4
      if (memory && !std::regex_search(low, infiniband)) continue;
      found.name = std::string(1, char(letter - 'a' + 'A')) + "DR" + match.str(3) + " InfiniBand";
      found.fabric = "infiniband";
      found.gbit_per_s = gbit_of_generation(letter);
      // "HDR100" is half an adapter, "FDR10" one of 40 Gbit/s.
      if (match[3].matched) found.gbit_per_s = match.str(3) == "10" ? 40 : std::stod(match[3]);
    } else if (match[4].matched) {
      found = {"Omni-Path", "omni-path", 100, {}};
    } else {
      found = {"Slingshot-" + match.str(5), "slingshot", match.str(5) == "10" ? 100.0 : 200.0, {}};
    }
    found.count = adapters(low.substr(0, at), low.substr(end));
    if (!found.count || *found.count > 0) return found;
  }
  return std::nullopt;
}

bool is_of_node(const std::string& text) {
  static const std::regex of_node(R"((per|/|a|each)[ -]*(node|host|server|machine))",
                                  std::regex::icase);
  return std::regex_search(text, of_node);
}

bool is_of_device(const std::string& text) {
  static const std::regex of_device(R"((per|/|a|each)[ -]*(gpu|device|accelerator|chip|card|rank))",
                                    std::regex::icase);
  return std::regex_search(text, of_device);
}

/// "1 adapter", "4 adapters".
std::string counted_adapters(double count) {
  const auto whole = std::to_string(std::int64_t(count));
  return whole + (count == 1 ? " adapter" : " adapters");
}

/// Adapters of that name: as many as are stated, else those of the device's usual machine, where
/// that one's are of the same fabric.
NetworkWords sold_as(const Named& named, const std::string& part, double per_node,
                     const UsualNetwork& of_machine) {
  const double one = named.gbit_per_s * 1e9 / 8;
  std::ostringstream taken;
  taken << named.name << ": " << named.gbit_per_s << " Gbit/s per adapter, ";
  if (is_of_device(part) && !is_of_node(part)) {
    const double count = named.count.value_or(1);
    taken << counted_adapters(count) << " per device";
    return {one * count, taken.str()};
  }
  const bool usual = !named.count && !is_of_node(part) && of_machine.adapters > 0 &&
                     named.fabric == of_machine.fabric;
  const double count =
      usual ? std::max(1.0, std::round(of_machine.adapters)) : named.count.value_or(1);
  taken << counted_adapters(count) << (usual ? " of its usual machine" : " per node");
  return {one * count / std::max(1.0, per_node), taken.str(), count};
}

/// The adapters of nodes of systems that tables call by name; empty: of none of them.
std::string adapters_of_system(const std::string& text) {
  struct System {
    const char* name;
    const char* adapters;
  };
  // The centres' own pages; those with one kind of accelerated node.
  static constexpr auto kSystems = std::to_array<System>({{"perlmutter", "4x Slingshot-11"},
                                                          {"polaris", "2x Slingshot-11"},
                                                          {"alps", "4x Slingshot-11"},
                                                          {"frontier", "4x Slingshot-11"},
                                                          {"lumi", "4x Slingshot-11"},
                                                          {"juwels", "4x HDR"},
                                                          {"leonardo", "4x HDR100"},
                                                          {"marenostrum", "4x NDR200"},
                                                          {"summit", "2x EDR"}});
  for (const auto& [name, adapters] : kSystems) {
    const std::regex word(std::string(R"(\b)") + name + R"(\b)", std::regex::icase);
    if (std::regex_search(text, word)) return adapters;
  }
  return "";
}

}  // namespace

std::optional<NetworkWords> network_by_text(const std::string& text, double per_node,
                                            const UsualNetwork& usual) {
  static const std::regex devices_of_node(
      R"((gpus?|devices?|accelerators?|chips?|cards?|ranks?) *(per|/|a|each)[ -]*(node|host|server|machine))",
      std::regex::icase);
  constexpr double kMostOfOne = 100e9;  // bytes per second of one adapter: more is a node's
  // "10 Gigabit Ethernet", "200 Gigabits/s".
  static const std::regex spelt(R"(\bgigabits?\b(?: ?(?:/ ?s|per second))?)", std::regex::icase);
  const std::string plain =
      std::regex_replace(std::regex_replace(text, spelt, "Gbit"), devices_of_node, "");
  // "storage over 25 Gb/s, compute 8x200 Gb/s": of several networks the one that trains.
  static const std::regex others(
      R"([^;,()]*\b(storage|management|front-?end|in-band|out-of-band|north-south)\b[^;,()]*)",
      std::regex::icase);
  if (const std::string own = std::regex_replace(plain, others, ""); own != plain) {
    if (const auto found = network_by_text(own, per_node, usual)) return found;
  }
  const std::vector<std::string> parts = split(plain, ';');
  for (const std::string& part : parts) {
    if (const std::optional<Stated> found = first_rate(part)) {
      const bool whole = is_of_node(part) ||
                         (!is_of_device(part) && (found->count > 0 || found->bytes > kMostOfOne));
      if (!whole) return NetworkWords{found->bytes, ""};
      // One rate of a node that one adapter may have is that of one.
      const double adapters =
          found->bytes > kMostOfOne ? found->count : std::max(1.0, found->count);
      return NetworkWords{found->bytes / std::max(1.0, per_node), "", adapters};
    }
    const std::optional<Named> named = first_name(part);
    if (named && named->count) return sold_as(*named, part, per_node, usual);
  }
  // A fabric that nobody counts adapters of is that of the system which is named beside it.
  if (const std::string adapters = adapters_of_system(text); !adapters.empty()) {
    return network_by_text(adapters, per_node, usual);
  }
  for (const std::string& part : parts) {
    if (const auto named = first_name(part)) return sold_as(*named, part, per_node, usual);
  }
  return std::nullopt;
}

}  // namespace parallel_opt
