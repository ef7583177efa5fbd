#include <charconv>
#include <cmath>
#include <map>

#include "parallel_opt/base/text.h"
#include "parallel_opt/hardware/profile_convert_parts.h"

/// ml-energy/zeus, stage profiles of Perseus: seconds and joules of one instruction of a pipeline
/// stage on one GPU, by locked clock in MHz.
namespace parallel_opt::profile_convert {
namespace {

constexpr std::string_view kHeader = "stage,instruction,frequency,time,energy";

std::optional<double> decimal(std::string_view text) {
  text = trim(text);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (!std::isfinite(value)) return std::nullopt;
  return value;
}

}  // namespace

bool is_perseus(const std::string& text) { return text.starts_with(kHeader); }

void convert_perseus(const std::string& text, const std::string& path, const ProfileFacts& facts,
                     ImportedProfile& profile, std::vector<Fault>& faults) {
  if (!facts.device) {
    faults.push_back({path, "does not say which device was measured", "--device NAME"});
  }
  std::map<std::pair<int, double>, ProfileRow> rows;  // stage, MHz
  const std::vector<std::string> lines = split(text, '\n');
  for (std::size_t i = 1; i < lines.size(); ++i) {
    if (trim(lines[i]).empty()) continue;
    const std::vector<std::string> cells = split(lines[i], ',');
    const std::string where = path + ":" + std::to_string(i + 1);
    const auto stage = cells.size() == 5 ? whole_number(cells[0]) : std::nullopt;
    const auto megahertz = stage ? decimal(cells[2]) : std::nullopt;
    const auto seconds = stage ? decimal(cells[3]) : std::nullopt;
    const auto joules = stage ? decimal(cells[4]) : std::nullopt;
    const bool forward = stage && cells[1] == "forward";
    if (!megahertz || !seconds || !joules || (!forward && cells[1] != "backward")) {
      faults.push_back({where, "is no row of " + std::string(kHeader), "0,forward,1410,0.05,23.8"});
      continue;
    }
    ProfileRow& row = rows[{*stage, *megahertz}];
    row.device = facts.device ? known_device(*facts.device) : "unknown";
    row.level = ProfileLevel::block;
    row.name = "stage " + std::to_string(*stage);
    row.dtype = facts.dtype;
    row.tensor = facts.tensor.value_or(1);
    row.micro_batch = facts.micro_batch.value_or(1);
    row.sequence = facts.sequence;
    row.clock_hz = *megahertz * 1e6;
    (forward ? row.forward_s : row.backward_s) = seconds;
    (forward ? row.forward_j : row.backward_j) = joules;
  }
  for (auto& [key, row] : rows) profile.rows.push_back(std::move(row));
}

}  // namespace parallel_opt::profile_convert
