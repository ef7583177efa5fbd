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
    R"((?:(?:infiniband|ib|[sdqfehnx]dr(?:10|[1248]00)?|roce(?:[\s-]?v[12])?|efa(?:v[0-9])?|omni[\s-]?path|opa|slingshot(?:[\s-]?1[01])?|connectx-?[0-9]|cx-?[0-9]|mellanox|nvidia|intel|hpe|cray|rdma|hcas?|nics?|adapters?|ports?|rails?|ethernet)[\s(-]*){0,5})";
/// What says that a rate is one of the network between nodes.
constexpr const char* kNetwork =
    R"((infiniband|\bib\b|roce|efa|ethernet|rdma|[qfehnx]dr|slingshot|omni[\s-]?path|spectrum(?:-?x)?\b|hcas?\b|nics?\b|inter-?node|network|\btcp\b|connectx|cx-?[0-9]))";
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
  double bytes = 0;    ///< per second, of all adapters that are counted
  double count = 0;    ///< of those; 0: not counted
  std::string clause;  ///< that it stands in, lower case
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
                                  R"(\b(?:hcas|nics|adapters|ports|rails|links)\b)");
  // "HDR 200 Gb/s, 4 per node"; devices of a node are no longer in the text.
  static const std::regex of_node(
      R"(^[\s,;(-]*(?:[a-z-]+[\s,;(-]+){0,3}([0-9]{1,3})\s*(?:per|/|a|each)[ -]*(?:node|host|server|machine|instance|vm\b))");
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

constexpr const char* kBetween =
    R"(\b(?:between|across|among) (?:the )?(?:nodes|machines|hosts|servers|instances)\b)"
    R"(|\b(?:inter|cross)[ -]?(?:node|machine|host|server)\b)";

/// Whether a rate is one of links inside a node: its clause says so, or those are named behind it,
/// or last before it. What stands apart from a link's name is its own only in bytes and uncounted:
/// "NVLink, 600 GB/s", not "NVLink, 8x200 Gb/s".
bool is_inside(const std::string& before, const std::string& behind, const std::string& clause,
               bool of_adapters) {
  static const std::regex within(
      R"(\bintra\b|\bintranode\b|\b(?:within|inside) (?:an? |the |each |one )?(?:node|machine|host|server)s?\b)");
  static const std::regex between(std::string(kBetween) + "|" + kNetwork);
  if (std::regex_search(clause, within) && !std::regex_search(clause, between)) return true;
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

/// What stands around a place up to the next marks.
std::string clause_around(const std::string& text, std::size_t begin, std::size_t end) {
  static const std::regex mark(R"([,;&+(]|\band\b| / )"), mark_behind(R"([,;&+]|\band\b| / )");
  std::string before = text.substr(0, begin), behind = text.substr(end);
  for (std::smatch match; std::regex_search(before, match, mark);) before = match.suffix();
  std::smatch match;
  if (std::regex_search(behind, match, mark_behind)) behind.resize(std::size_t(match.position()));
  return before + text.substr(begin, end - begin) + behind;
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
    const std::string clause = clause_around(low, at, end);
    if (!ethernet && is_inside(before, behind, clause, of_adapters)) continue;
    const bool tera = match.str(2) == "T" || match.str(2) == "t";
    const std::optional<double> stated = stated_number(match[1]);
    if (!stated) continue;
    const double one = *stated * (tera ? 1e12 : 1e9) / (match[3].matched ? 1 : 8);
    return Stated{one * std::max(1.0, count), count, clause};
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
  static const std::regex of_node(
      R"((\bper|/|\ba|\beach)[ -]*(node|host|server|machine|instance\b|vm\b))", std::regex::icase);
  return std::regex_search(text, of_node);
}

bool is_of_device(const std::string& text) {
  static const std::regex of_device(
      R"((\bper|/|\ba|\beach)[ -]*(gpu|device|accelerator|chip|card|rank))", std::regex::icase);
  return std::regex_search(text, of_device);
}

/// What nobody counts and yet is one of a node: the whole, the only adapter, or a kind of network
/// that nodes have one of. `part`: what the rate stands in.
bool is_a_nodes(const Stated& rate, const std::string& part) {
  constexpr double kMostOfEthernet = 12.5e9;  // faster ones are bought as one of each device,
  constexpr double kLeastOfRoce = 12.5e9;     // and no slower ones
  static const std::regex whole(
      R"(\b(total|aggregated?|altogether)\b|\b(an?|one|single|1) [^,;]*\b(nic|hca|adapter|port)\b)");
  static const std::regex between(kBetween);
  // Those are sold by adapter: "InfiniBand 400 Gb/s between nodes" is what one carries.
  static const std::regex by_adapter(R"(infiniband|\bib\b|roce|\b[sdqfehnx]dr)");
  static const std::regex ethernet(R"(ethernet|gbe\b|gb e\b)"), roce(R"(\broce)");
  static const std::regex of_instances(R"(\befa(v[0-9])?\b)");  // as AWS states it
  const auto says = [&](const std::regex& words) { return std::regex_search(rate.clause, words); };
  return says(whole) || (says(between) && !says(by_adapter)) ||
         (says(ethernet) && rate.bytes <= kMostOfEthernet) ||
         (says(roce) && rate.bytes < kLeastOfRoce) ||
         std::regex_search(lower_case(part), of_instances);
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

/// A device's part of a rate that is one of a node, else all of it.
NetworkWords of_one_device(const Stated& rate, const std::string& part, double per_node) {
  constexpr double kMostOfOne = 100e9;  // bytes per second of one adapter: more is a node's
  const bool of_device = is_of_device(part);
  const bool whole =
      is_of_node(part) ||
      (!of_device && (rate.count > 0 || rate.bytes > kMostOfOne || is_a_nodes(rate, part)));
  if (!whole) return {.bytes_per_s = rate.bytes, .taken = "", .each_is_assumed = !of_device};
  // One rate of a node that one adapter may have is that of one.
  const double adapters = rate.bytes > kMostOfOne ? rate.count : std::max(1.0, rate.count);
  return {rate.bytes / std::max(1.0, per_node), "", adapters};
}

/// What a text says beside the name of a cloud's machine: as much as one of its adapters has is
/// said of each of them, all else of the node.
NetworkWords beside_machine(const Stated& rate, const NetworkWords& machine, double per_node) {
  const double whole = machine.bytes_per_s * std::max(1.0, per_node);
  const auto is = [&](double bytes) { return std::abs(rate.bytes / bytes - 1) < 0.01; };
  const bool of_all = is(whole) || is(whole / std::max(1.0, machine.adapters));
  return {(of_all ? whole : rate.bytes) / std::max(1.0, per_node), "",
          of_all ? machine.adapters : 1};
}

/// What the nodes of a system have.
struct KnownNodes {
  const char* name;
  const char* adapters;
};
/// The centres' own pages; those with one kind of accelerated node.
constexpr auto kSystems = std::to_array<KnownNodes>({{"perlmutter", "4x Slingshot-11"},
                                                     {"polaris", "2x Slingshot-11"},
                                                     {"alps", "4x Slingshot-11"},
                                                     // Of Alps; the Cray before had P100 and Aries.
                                                     {"piz[ -]?daint", ""},
                                                     {"daint", "4x Slingshot-11"},
                                                     {"clariden", "4x Slingshot-11"},
                                                     {"frontier", "4x Slingshot-11"},
                                                     {"lumi", "4x Slingshot-11"},
                                                     {"juwels", "4x HDR"},
                                                     {"leonardo", "4x HDR100"},
                                                     {"marenostrum", "4x NDR200"},
                                                     {"summit", "2x EDR"}});
/// What nodes of the first system that a text names have.
std::optional<NetworkWords> network_of_system(const std::string& text, double per_node,
                                              const UsualNetwork& usual) {
  for (const auto& [name, adapters] : kSystems) {
    const std::regex word(std::string("(^|[^a-z0-9])(") + name + ")(?![a-z0-9])",
                          std::regex::icase);
    if (std::regex_search(text, word)) return network_by_text(adapters, per_node, usual);
  }
  return std::nullopt;
}

}  // namespace

std::optional<NetworkWords> network_by_text(const std::string& text, double per_node,
                                            const UsualNetwork& usual) {
  static const std::regex devices_of_node(
      R"((gpus?|devices?|accelerators?|chips?|cards?|ranks?) *(per|/|a|each)[ -]*(node|host|server|machine|instance|vm\b))",
      std::regex::icase);
  // "10 Gigabit Ethernet", "200 Gigabits/s".
  static const std::regex spelt(R"(\bgigabits?\b(?: ?(?:/ ?s|per second))?)", std::regex::icase);
  // "4x100", "8 x 400 InfiniBand": rates that adapters have, once they are counted.
  static const std::regex bare(
      R"((^|[^A-Za-z0-9.])([0-9]{1,2})\s*(?:[xX*]|×)\s*(10|25|40|50|100|200|400|800)(?:\s*G)?(?![A-Za-z0-9.]|\s*[GT]i?[Bb]|\s*(?:[ABHVM][1-9]|GPU|gpu|node|dev)))");
  std::string plain =
      std::regex_replace(std::regex_replace(text, spelt, "Gbit"), devices_of_node, "");
  plain = std::regex_replace(plain, bare, "$1$2x$3 Gb/s");
  // "100G", "NVLink; 400G per GPU": rates that adapters have, alone in their clause.
  static const std::regex lone(
      R"((^\s*|[;,+]\s*)(10|25|40|50|100|200|400|800) ?G(?=\s*($|[;,)]|per\b|/ ?(?:node|gpu|device))))");
  plain = std::regex_replace(plain, lone, "$1$2 Gb/s");
  // "storage over 25 Gb/s, compute 8x200 Gb/s": of several networks the one that trains.
  static const std::regex others(
      R"([^;,()]*\b(storage|management|front-?end|in-band|out-of-band|north-south)\b[^;,()]*)",
      std::regex::icase);
  if (const std::string own = std::regex_replace(plain, others, ""); own != plain) {
    if (const auto found = network_by_text(own, per_node, usual)) return found;
  }
  auto named_here = network_of_machine(text, per_node);
  const auto machine = named_here ? named_here : usual.machine;
  const std::vector<std::string> parts = split(plain, ';');
  for (const std::string& part : parts) {
    if (const std::optional<Stated> found = first_rate(part)) {
      const bool counted = found->count > 0 || is_of_device(part);
      if (machine && !counted) return beside_machine(*found, *machine, per_node);
      return of_one_device(*found, part, per_node);
    }
    const std::optional<Named> named = first_name(part);
    if (named && named->count) return sold_as(*named, part, per_node, usual);
  }
  // A fabric that nobody counts adapters of is that of the system which is named beside it.
  if (const auto found = network_of_system(text, per_node, usual)) return found;
  if (named_here) return named_here;
  for (const std::string& part : parts) {
    if (const auto named = first_name(part)) return sold_as(*named, part, per_node, usual);
  }
  return std::nullopt;
}

std::optional<NetworkWords> network_of_machine(const CloudMachine& machine, double per_node) {
  auto found = network_by_text(machine.adapters, per_node);
  if (found && found->taken.empty()) found->taken = machine.name + ": " + machine.adapters;
  return found;
}

std::optional<NetworkWords> network_of_machine(const std::string& text, double per_node) {
  const auto machine = cloud_machine_in(text);
  return machine ? network_of_machine(*machine, per_node) : std::nullopt;
}

}  // namespace parallel_opt
