#include "parallel_opt/cost/network_text.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <map>
#include <regex>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/stated_number.h"

namespace parallel_opt {
namespace {

/// What stands between a count, a rate and another count of adapters: "8x ConnectX-7 IB NDR
/// 400Gb/s".
constexpr const char* kAdapterWords =
    R"((?:(?:infiniband|ib|[ehnx]dr|roce(?:v2)?|efa(?:v[0-9])?|omni-?path|opa|slingshot(?:-11)?|connectx-?[0-9]|cx-?[0-9]|mellanox|nvidia|cray|rdma|hcas?|nics?|adapters?|ports?|rails?|ethernet)[\s-]*){0,5})";
/// What says that a rate is one of the network between nodes.
constexpr const char* kNetwork =
    R"((infiniband|\bib\b|roce|efa|ethernet|rdma|[ehnx]dr|slingshot|omni-?path|hcas?\b|nics?\b|inter-?node|network|connectx|cx-?[0-9]))";
constexpr const char* kCounted =
    R"((?:^|[^a-z0-9.]))"
    R"((?:([0-9]+)\s*(?:x|\*|×)|(single|dual|two|quad|four|eight|sixteen))[\s-]*)";

/// Machines and fabrics that tables call by name. What a node's ring was measured to carry on
/// Jean Zay (four Omni-Path adapters of 100 Gbit/s, of which one was used) is in
/// validation/tables/SOURCES.md; Selene has eight adapters of 200 Gbit/s for its 8 devices.
std::optional<double> network_by_name(const std::string& text, double per_node) {
  static const std::regex omni_path(R"(omni-?path|jean ?zay)", std::regex::icase);
  static const std::regex selene(R"(selene)", std::regex::icase);
  if (std::regex_search(text, omni_path)) return 10.6e9 / std::max(1.0, per_node);
  if (std::regex_search(text, selene)) return 25e9;
  return std::nullopt;
}

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
  bool counted = false;
};

/// Of adapters before or behind what is one's rate; 0: not said. Both in lower case.
double adapters(const std::string& before, const std::string& behind) {
  static const std::regex in_front(std::string(kCounted) + kAdapterWords + "$");
  static const std::regex after(
      std::string(R"(^[\s-]*)") + kAdapterWords +
      R"((?:(?:x|\*|×)\s*([0-9]+)|\(\s*([0-9]+)\s*(?:hcas?|nics?|adapters?|ports?|rails?)))");
  std::smatch match;
  if (std::regex_search(before, match, in_front)) return count_of(match[1], match[2]);
  if (std::regex_search(behind, match, after)) {
    return stated_number(match[1].matched ? match[1] : match[2]).value_or(0);
  }
  return 0;
}

/// Whether a rate is one of links inside a node: those are named behind it, or last before it.
bool is_inside(const std::string& before, const std::string& behind) {
  static const std::regex link(
      std::string(
          R"((nvlink|nvswitch|nv-?l|pci-?e|pci express|xgmi|infinity fabric|hccs|intra-?node|ici)|)") +
      kNetwork);
  static const std::regex next(
      R"(^[\s(]*(?:bi-?directional|unidirectional|of|over|via|aggregate)?\s*(?:nvlink|nvswitch|pci-?e|xgmi|infinity fabric|hccs|ici\b))");
  static const std::regex next_network(std::string(R"(^[\s(]*(?:of|over|via|per)?\s*)") + kNetwork);
  if (std::regex_search(behind, next)) return true;
  if (std::regex_search(behind, next_network)) return false;
  bool inside = false;
  for (auto it = std::sregex_iterator(before.begin(), before.end(), link);
       it != std::sregex_iterator(); ++it) {
    inside = (*it)[1].matched;
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
    if (!ethernet && is_inside(before, behind)) continue;
    const bool tera = match.str(2) == "T" || match.str(2) == "t";
    const std::optional<double> stated = stated_number(match[1]);
    if (!stated) continue;
    const double one = *stated * (tera ? 1e12 : 1e9) / (match[3].matched ? 1 : 8);
    const double count = adapters(before, behind);
    return Stated{one * std::max(1.0, count), count > 0};
  }
  // Each generation doubles what EDR's 100 Gbit/s were; "HDR100" is half an adapter.
  static const std::regex named(std::string(kCounted) + kAdapterWords +
                                R"(([ehnx])dr[\s-]*(100|200|400|800)?)");
  static const std::regex sized(R"(([ehnx])dr[\s-]?(100|200|400|800)\b)");
  std::smatch match;
  if (std::regex_search(low, match, named)) {
    const double generation = 12.5e9 * std::pow(2, double(std::string("ehnx").find(match.str(3))));
    const double one = match[4].matched ? std::stod(match[4]) * 1e9 / 8 : generation;
    const double count = count_of(match[1], match[2]);
    return count > 0 ? std::optional(Stated{count * one, true}) : std::nullopt;
  }
  if (std::regex_search(low, match, sized)) return Stated{std::stod(match[2]) * 1e9 / 8, false};
  return std::nullopt;
}

}  // namespace

std::optional<double> network_by_text(const std::string& text, double per_node) {
  static const std::regex devices_of_node(
      R"((gpus?|devices?|accelerators?|chips?|cards?|ranks?) *(per|/|a|each)[ -]*(node|host|server|machine))",
      std::regex::icase);
  static const std::regex of_node(R"((per|/|a|each)[ -]*(node|host|server|machine))",
                                  std::regex::icase);
  static const std::regex of_device(R"((per|/|a|each)[ -]*(gpu|device|accelerator|chip|card|rank))",
                                    std::regex::icase);
  constexpr double kMostOfOne = 100e9;  // bytes per second of one adapter: more is a node's
  const std::string plain = std::regex_replace(text, devices_of_node, "");
  for (const std::string& part : split(plain, ';')) {
    const std::optional<Stated> found = first_rate(part);
    if (!found) continue;
    const bool whole =
        std::regex_search(part, of_node) ||
        (!std::regex_search(part, of_device) && (found->counted || found->bytes > kMostOfOne));
    return whole ? found->bytes / std::max(1.0, per_node) : found->bytes;
  }
  return network_by_name(text, per_node);
}

}  // namespace parallel_opt
