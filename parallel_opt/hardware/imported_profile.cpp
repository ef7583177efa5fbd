#include "parallel_opt/hardware/imported_profile.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "parallel_opt/base/text.h"

namespace parallel_opt {
namespace {

using Measured = std::optional<double> ProfileRow::*;

constexpr std::array<std::pair<const char*, Measured>, 9> kMeasured = {{
    {"forward_s", &ProfileRow::forward_s},
    {"backward_s", &ProfileRow::backward_s},
    {"optimizer_s", &ProfileRow::optimizer_s},
    {"forward_j", &ProfileRow::forward_j},
    {"backward_j", &ProfileRow::backward_j},
    {"parameter_bytes", &ProfileRow::parameter_bytes},
    {"saved_bytes", &ProfileRow::saved_bytes},
    {"recompute_bytes", &ProfileRow::recompute_bytes},
    {"output_bytes", &ProfileRow::output_bytes},
}};

const std::vector<std::string>& known_collectives() {
  static const std::vector<std::string> kNames = {"p2p", "all_reduce", "all_gather",
                                                  "reduce_scatter", "all_to_all"};
  return kNames;
}

/// What two rows that measure the same thing have in common, the layers aside.
using RowKey = std::tuple<std::string, ProfileLevel, std::string, std::optional<DType>, int, double,
                          std::optional<std::int64_t>, std::optional<double>>;

RowKey key_of(const ProfileRow& row) {
  return {row.device, row.level,       row.name,     row.dtype,
          row.tensor, row.micro_batch, row.sequence, row.clock_hz};
}

bool share_a_layer(const std::optional<LayerRange>& a, const std::optional<LayerRange>& b) {
  if (!a || !b) return true;
  return a->first <= b->last && b->first <= a->last;
}

class ProfileChecker {
 public:
  std::vector<Fault> run(const ImportedProfile& profile, const std::string& where) {
    if (profile.name.empty()) fault(where + ".name", "is empty");
    if (profile.source.empty()) fault(where + ".source", "is empty", "say who measured it");
    if (profile.rows.empty() && profile.transfers.empty() && profile.rates.empty() &&
        !profile.overlap_slowdown) {
      fault(where, "holds no measurement", "rows, transfers or rates");
    }
    for (std::size_t i = 0; i < profile.rows.size(); ++i) {
      row(profile.rows[i], where + ".rows[" + std::to_string(i) + "]");
    }
    for (std::size_t i = 0; i < profile.transfers.size(); ++i) {
      transfer(profile.transfers[i], where + ".transfers[" + std::to_string(i) + "]");
    }
    for (std::size_t i = 0; i < profile.rates.size(); ++i) {
      const std::string place = where + ".rates[" + std::to_string(i) + "]";
      if (profile.rates[i].device.empty()) fault(place + ".device", "is empty");
      std::ranges::move(check(profile.rates[i].curve, place + ".curve"),
                        std::back_inserter(faults_));
    }
    if (profile.overlap_slowdown && !(*profile.overlap_slowdown >= 1)) {
      fault(where + ".overlap_slowdown", "is less than 1", "1 means no slowdown");
    }
    return std::move(faults_);
  }

 private:
  void fault(std::string where, std::string what, std::string hint = "") {
    faults_.push_back({std::move(where), std::move(what), std::move(hint)});
  }

  void row(const ProfileRow& r, const std::string& where) {
    if (r.device.empty()) fault(where + ".device", "is empty");
    if (r.name.empty()) fault(where + ".name", "is empty");
    if (r.tensor < 1) fault(where + ".tensor", "is less than 1");
    if (!(r.micro_batch > 0)) fault(where + ".micro_batch", "is not positive");
    if (r.sequence && *r.sequence < 1) fault(where + ".sequence", "is less than 1");
    if (r.clock_hz && !(*r.clock_hz > 0)) fault(where + ".clock_hz", "is not positive");
    if (r.layers && !(0 <= r.layers->first && r.layers->first <= r.layers->last)) {
      fault(where + ".layers",
            "is " + std::to_string(r.layers->first) + " .. " + std::to_string(r.layers->last),
            "layers count from 0, first <= last");
    }
    bool anything = false;
    for (const auto& [name, quantity] : kMeasured) {
      if (!(r.*quantity)) continue;
      anything = true;
      if (!((r.*quantity).value_or(0) >= 0)) fault(where + "." + name, "is negative");
      once(r, name, quantity, where);
    }
    if (!anything) fault(where, "measures nothing", "forward_s, backward_s, saved_bytes, ...");
  }

  void once(const ProfileRow& r, const char* name, Measured quantity, const std::string& where) {
    std::vector<std::pair<const ProfileRow*, std::string>>& earlier = seen_[key_of(r)];
    for (const auto& [other, place] : earlier) {
      if (other == &r || !(other->*quantity) || !share_a_layer(other->layers, r.layers)) continue;
      fault(where + "." + name, "was measured already, in " + place, "keep one");
      return;
    }
    if (earlier.empty() || earlier.back().first != &r) {
      const std::size_t at = where.rfind("rows[");
      earlier.emplace_back(&r, where.substr(at));
    }
  }

  void transfer(const ProfiledTransfer& t, const std::string& where) {
    if (t.device.empty()) fault(where + ".device", "is empty");
    if (std::ranges::find(known_collectives(), t.collective) == known_collectives().end()) {
      fault(where + ".collective", "is unknown: \"" + t.collective + "\"",
            "one of " + join(known_collectives(), ", "));
    }
    if (t.ranks < (t.scope == TransferScope::node ? 2 : 1)) {
      fault(where + ".ranks", t.scope == TransferScope::node ? "is less than 2" : "is less than 1");
    }
    if (t.points.empty() && !t.bus_bytes_per_s) {
      fault(where, "has neither points nor a rate", "points, or bus_bytes_per_s");
    }
    if (t.bus_bytes_per_s && !(*t.bus_bytes_per_s > 0)) {
      fault(where + ".bus_bytes_per_s", "is not positive");
    }
    for (std::size_t i = 0; i < t.points.size(); ++i) {
      const std::string point = where + ".points[" + std::to_string(i) + "]";
      if (!(t.points[i].bytes > 0)) fault(point + ".bytes", "is not positive");
      if (!(t.points[i].seconds > 0)) fault(point + ".seconds", "is not positive");
      if (i > 0 && !(t.points[i - 1].bytes < t.points[i].bytes)) {
        fault(point + ".bytes", "does not rise", "sort the points by size");
      }
    }
  }

  std::vector<Fault> faults_;
  std::map<RowKey, std::vector<std::pair<const ProfileRow*, std::string>>> seen_;
};

bool matches(const ProfileRow& row, const ProfileQuery& query) {
  if (row.device != query.device || row.level != query.level || row.tensor != query.tensor) {
    return false;
  }
  if (query.layer) {
    if (!row.layers || *query.layer < row.layers->first || *query.layer > row.layers->last) {
      return false;
    }
  }
  if (query.name && row.name != *query.name) return false;
  if (query.dtype && row.dtype && *row.dtype != *query.dtype) return false;
  if (query.sequence && row.sequence && *row.sequence != *query.sequence) return false;
  return !query.clock_hz || row.clock_hz == query.clock_hz;
}

}  // namespace

std::vector<Fault> check(const ImportedProfile& profile, const std::string& where) {
  return ProfileChecker().run(profile, where);
}

ImportedProfile read_profile(std::string_view text, const std::string& name) {
  auto profile = from_json<ImportedProfile>(text, name);
  throw_if_any(check(profile, name + ":profile"));
  return profile;
}

std::optional<double> find_profiled(const ImportedProfile& profile, const ProfileQuery& query,
                                    std::optional<double> ProfileRow::* quantity) {
  const ProfileRow* below = nullptr;
  const ProfileRow* above = nullptr;
  // Of several clocks the highest one speaks for the device at its own choice.
  const auto better = [](const ProfileRow* old, const ProfileRow& row, bool nearer) {
    if (old == nullptr || nearer) return true;
    return old->micro_batch == row.micro_batch &&
           row.clock_hz.value_or(1e300) > old->clock_hz.value_or(1e300);
  };
  for (const ProfileRow& row : profile.rows) {
    if (!(row.*quantity) || !matches(row, query)) continue;
    if (row.micro_batch <= query.micro_batch &&
        better(below, row, below != nullptr && row.micro_batch > below->micro_batch)) {
      below = &row;
    }
    if (row.micro_batch >= query.micro_batch &&
        better(above, row, above != nullptr && row.micro_batch < above->micro_batch)) {
      above = &row;
    }
  }
  if (below == nullptr || above == nullptr) return std::nullopt;
  const double low = (below->*quantity).value_or(0);
  const double high = (above->*quantity).value_or(0);
  if (below->micro_batch == above->micro_batch) return low;
  const double share =
      (query.micro_batch - below->micro_batch) / (above->micro_batch - below->micro_batch);
  return low + (high - low) * share;
}

std::optional<double> transfer_seconds(const ProfiledTransfer& transfer, double bytes) {
  const std::vector<MessageTime>& points = transfer.points;
  if (points.empty()) return std::nullopt;
  const auto above = std::ranges::lower_bound(points, bytes, {}, &MessageTime::bytes);
  if (above == points.begin()) return points.front().seconds;
  if (above == points.end()) return points.back().seconds * bytes / points.back().bytes;
  const MessageTime& low = *(above - 1);
  const double share = std::log(bytes / low.bytes) / std::log(above->bytes / low.bytes);
  return low.seconds * std::pow(above->seconds / low.seconds, share);
}

}  // namespace parallel_opt
