#include <algorithm>
#include <charconv>
#include <map>
#include <optional>

#include "parallel_opt/base/text.h"
#include "parallel_opt/plan/schedule.h"

namespace parallel_opt {
namespace {

constexpr std::string_view kLetters = "FBIW";  // in the order of ActionKind
constexpr int kMostStages = 65'535;
constexpr int kMostMicroBatches = 1 << 24;

/// Entries that the simulator derives itself.
constexpr auto kPassedOver = std::to_array<std::string_view>(
    {"SEND_F", "RECV_F", "SEND_B", "RECV_B", "UNSHARD", "RESHARD", "REDUCE_GRAD"});

/// A whole number at the front of `text`, which is cut off.
std::optional<int> take_number(std::string_view& text, int most) {
  int number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number < 0 || number > most || text.starts_with('-')) {
    return std::nullopt;
  }
  text.remove_prefix(static_cast<std::size_t>(stop - text.data()));
  return number;
}

std::optional<Action> read_action(std::string_view text) {
  const std::optional<int> stage = take_number(text, kMostStages - 1);
  if (!stage || text.empty()) return std::nullopt;
  const std::size_t letter = kLetters.find(text.front());
  if (letter == std::string_view::npos) return std::nullopt;
  text.remove_prefix(1);
  const std::optional<int> micro_batch = take_number(text, kMostMicroBatches - 1);
  if (!micro_batch || !text.empty()) return std::nullopt;
  return Action{
      .micro_batch = *micro_batch, .stage = *stage, .kind = static_cast<ActionKind>(letter)};
}

bool is_passed_over(std::string_view text) {
  if (!take_number(text, kMostStages - 1)) return false;
  // The micro-batch behind it may be missing, and a longer word may begin like a shorter one.
  while (!text.empty() && text.back() >= '0' && text.back() <= '9') text.remove_suffix(1);
  return std::ranges::find(kPassedOver, text) != kPassedOver.end();
}

/// One cell: an action, two that run together, or nothing.
bool read_cell(std::string_view cell, std::vector<Action>& row) {
  cell = trim(cell);
  if (cell.empty() || is_passed_over(cell)) return true;
  constexpr std::string_view kTogether = ")OVERLAP_F_B";
  if (cell.starts_with('(') && cell.ends_with(kTogether)) {
    cell.remove_prefix(1);
    cell.remove_suffix(kTogether.size());
    const std::size_t middle = cell.find(';');
    if (middle == std::string_view::npos) return false;
    std::optional<Action> first = read_action(trim(cell.substr(0, middle)));
    const std::optional<Action> second = read_action(trim(cell.substr(middle + 1)));
    if (!first || !second || first->kind != ActionKind::forward ||
        second->kind != ActionKind::backward) {
      return false;
    }
    first->with_next = true;
    row.push_back(*first);
    row.push_back(*second);
    return true;
  }
  const std::optional<Action> action = read_action(cell);
  if (action) row.push_back(*action);
  return action.has_value();
}

/// Ranks of stages, number of stages, micro-batches and lanes, from the actions.
void infer_shape(Schedule& schedule, const std::string& name) {
  int last_stage = -1, last_micro_batch = -1;
  std::map<int, int> rank_of;
  for (std::size_t rank = 0; rank < schedule.actions.size(); ++rank) {
    for (const Action& a : schedule.actions[rank]) {
      last_stage = std::max(last_stage, a.stage);
      last_micro_batch = std::max(last_micro_batch, a.micro_batch);
      rank_of.emplace(a.stage, static_cast<int>(rank));
    }
  }
  schedule.stages = last_stage + 1;
  schedule.micro_batches = last_micro_batch + 1;
  for (int stage = 0; stage <= last_stage; ++stage) {
    const auto it = rank_of.find(stage);
    if (it == rank_of.end()) {
      throw InputError(name, "no rank has stage " + std::to_string(stage),
                       "stages count from 0 without gaps");
    }
    schedule.rank_of.push_back(it->second);
  }
  // The last micro-batch never meets stage 0: it has a copy of the model of its own.
  bool two_lanes = last_stage > 0 && last_stage % 2 == 1 && last_micro_batch % 2 == 1;
  for (const std::vector<Action>& row : schedule.actions) {
    for (const Action& a : row) {
      two_lanes = two_lanes && !(a.stage == 0 && a.micro_batch == last_micro_batch);
    }
  }
  schedule.lanes = two_lanes ? 2 : 1;
}

}  // namespace

Schedule parse_actions(std::string_view text, const std::string& name) {
  Schedule schedule;
  std::vector<Fault> faults;
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";  // spreadsheets write it
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  const std::vector<std::string> rows = split(text, '\n');
  for (std::size_t r = 0; r < rows.size(); ++r) {
    std::vector<Action> row;
    const std::vector<std::string> cells = split(rows[r], ',');
    for (std::size_t c = 0; c < cells.size(); ++c) {
      if (read_cell(cells[c], row)) continue;
      faults.push_back(
          {name + ":row " + std::to_string(r + 1) + ", column " + std::to_string(c + 1),
           "\"" + std::string(trim(cells[c])) + "\" is no action",
           "stage, then F, B, I or W, then micro-batch: 0F0; together: (0F5;7B3)OVERLAP_F_B"});
    }
    schedule.actions.push_back(std::move(row));
  }
  throw_if_any(std::move(faults));
  infer_shape(schedule, name);
  throw_if_any(check(schedule, name));
  return schedule;
}

std::string to_string(const Action& action) {
  return std::to_string(action.stage) + kLetters[static_cast<std::size_t>(action.kind)] +
         std::to_string(action.micro_batch);
}

std::string action_table(const Schedule& schedule) {
  std::string text;
  for (const std::vector<Action>& row : schedule.actions) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (i > 0) text += ',';
      if (row[i].with_next && i + 1 < row.size()) {
        text += '(' + to_string(row[i]) + ';' + to_string(row[i + 1]) + ")OVERLAP_F_B";
        ++i;
      } else {
        text += to_string(row[i]);
      }
    }
    text += '\n';
  }
  return text;
}

}  // namespace parallel_opt
