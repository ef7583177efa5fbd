#include "parallel_opt/cost/row_schedule.h"

#include <algorithm>
#include <cmath>
#include <regex>
#include <utility>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/row_claims.h"
#include "parallel_opt/cost/row_degrees.h"
#include "parallel_opt/cost/stated_number.h"

namespace parallel_opt {
namespace {

/// Virtual stages with their number; a lone "v" needs its sign, as "v2" is a release.
constexpr const char* kStages =
    R"(\b(?:vpp?|virtual[ _-](?:pipeline )?(?:stages?|size|degree)|(?:model )?chunks)(?: (?:size|degree|of))?[ =:-]{0,3}([0-9]{1,3})\b)"
    R"(|\bv ?[=:] ?([0-9]{1,3})\b)"
    R"(|\b([0-9]{1,3})[ -](?:virtual|(?:model )?chunks|(?:virtual |interleaved )?stages (?:per|on each|a))(?: [a-z]+){0,3})";

bool takes_several(ScheduleKind kind) {
  return kind == ScheduleKind::one_f_one_b || kind == ScheduleKind::interleaved_1f1b ||
         kind == ScheduleKind::looped_bfs;
}

/// Schedules that say themselves how many stages a rank has, where `vp` says something else.
void drop_contrary_stages(RowCase& out) {
  ParallelLayout& l = out.layout;
  const int own = is_folded(l.schedule) ? 2 : 1;
  const int stated = l.virtual_stages;
  l.virtual_stages = takes_several(l.schedule) ? stated : own;
  // Some count the two copies of a rank under DualPipe.
  const bool agrees =
      stated <= 1 || stated == own || (l.schedule == ScheduleKind::dualpipe && stated == 2);
  if (takes_several(l.schedule) || agrees || l.pipeline == 1) return;
  out.notes.push_back("vp = " + std::to_string(stated) + " counts for nothing, as a rank of " +
                      std::string(name_of(l.schedule)) + " has " +
                      (own == 1 ? "one stage" : "two stages"));
}

/// "Zero bubble", which has several schedules.
bool is_plain_zero_bubble(const std::string& text) {
  static const std::regex plain(
      R"((?:^|[^a-z])zero[ _-]?bubble(?!s? ?[ _-]?(?:h[12]|[12]p|v)\b)|^\s*zb\s*$)",
      std::regex::icase);
  static const std::regex specific(
      R"(\bzb[ _-]?(?:h[12]|[12]p|v)|zero[ _-]?bubble[ _-]?(?:h[12]|[12]p|v)\b)",
      std::regex::icase);
  return std::regex_search(text, plain) && !std::regex_search(text, specific);
}

/// Of "zero bubble (ZB-H2)" and "1F1B (interleaved)" the name in brackets, which says more than the
/// one in front of them.
ScheduleKind with_brackets(const std::string& cell, ScheduleKind outside) {
  static const std::regex brackets(R"(\(([^()]*)\))");
  std::smatch match;
  const bool general =
      outside == ScheduleKind::one_f_one_b || is_plain_zero_bubble(cell.substr(0, cell.find('(')));
  if (!general || !std::regex_search(cell, match, brackets)) return outside;
  return schedule_by_name(match.str(1)).value_or(outside);
}

/// "Interleaved 1F1B (VPP 4)", "interleaved with v=4", "Megatron interleaved schedule": without
/// what counts stages.
std::optional<ScheduleKind> schedule_in_cell(const std::string& cell) {
  static const std::regex stages(kStages, std::regex::icase);
  static const std::regex around(
      R"(\(.*|[,;].*|\b(?:with|schedules?|pipelin(?:es?|ing)|parallelism|megatron(?:-lm|-core)?|(?:py)?torch|deepspeed)\b('s\b)?)",
      std::regex::icase);
  if (const auto whole = schedule_by_name(cell)) return whole;
  // Too short for words of notes.
  const std::string brief = lower_case(std::string(trim(cell)));
  if (brief == "zb") return ScheduleKind::zb_h1;
  if (brief == "bfs") return ScheduleKind::looped_bfs;
  const std::string bare = cell.substr(0, cell.find('('));
  if (const auto named = schedule_by_name(bare)) return with_brackets(cell, *named);
  const std::string kept = std::regex_replace(cell, stages, "");
  static const std::regex noun("interleaving", std::regex::icase);
  const std::string name(
      trim(std::regex_replace(std::regex_replace(kept, around, ""), noun, "interleaved")));
  // "VPP 8" and nothing else.
  if (name.empty() && kept != cell) return ScheduleKind::interleaved_1f1b;
  const auto named = schedule_by_name(name);
  return named ? std::optional(with_brackets(cell, *named)) : std::nullopt;
}

/// Into how many stages a rank's blocks are cut so that a stage has two, equal ones if it can be.
int stages_of_two_blocks(double blocks) {
  int best = std::max(2, int(std::round(blocks / 2)));
  const auto off = [&](int stages) {
    return std::pair(std::fmod(blocks, stages) != 0, std::abs(blocks / stages - 2));
  };
  for (int stages = 2; stages <= blocks; ++stages) {
    if (blocks == std::floor(blocks) && off(stages) < off(best)) best = stages;
  }
  return best;
}

/// Of a family that the text names, the one that is taken.
void note_family(const std::string& text, RowCase& out) {
  if (out.layout.pipeline == 1 || out.layout.schedule != ScheduleKind::zb_h1) return;
  static const std::regex looped(R"(interleaved[ _-]?zero[ _-]?bubble)", std::regex::icase);
  if (std::regex_search(text, looped)) {
    out.notes.emplace_back(
        "the interleaved zero bubble is taken as ZB-H1, whose ranks have one stage");
  } else if (is_plain_zero_bubble(text)) {
    out.notes.emplace_back("zero bubble is taken as ZB-H1, as none of its schedules is named");
  }
}

/// Where nobody names a schedule, one is taken all the same.
void note_unsaid(RowCase& out) {
  if (out.layout.pipeline == 1) return;
  out.notes.push_back(std::string("schedule = 1F1B") +
                      (out.layout.virtual_stages > 1 ? " interleaved by vp" : "") +
                      ", as none is stated");
}

}  // namespace

std::optional<int> stages_of_rank_in_words(const std::string& text) {
  static const std::regex stages(kStages, std::regex::icase);
  const auto count = number_in(text, stages);
  return count ? std::optional(int(*count)) : std::nullopt;
}

std::string fill_schedule(const TrainingRow& row, RowCase& out) {
  ParallelLayout& l = out.layout;
  l.virtual_stages = degree(row.vp);
  static const std::regex mixed(R"(interleaved (batch|data|sampl|token|attention|mrope)[a-z]*)",
                                std::regex::icase);
  const Claims notes(std::regex_replace(row.notes, mixed, "")), cell(row.schedule);
  bool said = true;
  std::optional<int> counted;
  if (!row.schedule.empty()) {
    const auto named = schedule_in_cell(row.schedule);
    if (!named) return "schedule '" + row.schedule + "' is not known";
    l.schedule = *named;
    counted = stages_of_rank_in_words(cell.kept());
    note_family(row.schedule, out);
  } else if (const auto noted = schedule_mentioned(notes.kept())) {
    l.schedule = *noted;
    note_family(notes.kept(), out);
  } else if (const auto implied = schedule_mentioned(Claims(row.framework).kept())) {
    l.schedule = *implied;
    note_family(row.framework, out);
  } else {
    static const std::regex plain(R"(1f1b|one-forward-one-backward|pipedream-flush)",
                                  std::regex::icase);
    said = notes.has(plain) || notes.says("interleaved").has_value();
  }
  const bool interleaved =
      l.schedule == ScheduleKind::interleaved_1f1b ||
      (takes_several(l.schedule) && (notes.has("interleaved") || cell.has("interleaved")));
  if (counted && !row.vp && takes_several(l.schedule)) {
    l.virtual_stages = *counted;
  } else if (counted && row.vp && *counted != l.virtual_stages) {
    out.notes.emplace_back("the stages of a rank that schedule counts are not vp; vp counts");
  } else if (!row.vp && l.pipeline > 1 && interleaved) {
    l.virtual_stages = 2;
    out.counts_no_stages = true;
  }
  if (!said) note_unsaid(out);
  drop_contrary_stages(out);
  return "";
}

void fill_stages(const TrainingRow& row, RowCase& out) {
  if (!out.counts_no_stages) return;
  // torchtitan's schedules give a rank two stages by default.
  if (!Claims(row.framework).has("torchtitan")) {
    out.layout.virtual_stages = stages_of_two_blocks(out.facts->layers() / out.layout.pipeline);
  }
  out.notes.push_back("vp = " + std::to_string(out.layout.virtual_stages) +
                      ", as the schedule is interleaved and vp is blank");
}

}  // namespace parallel_opt
