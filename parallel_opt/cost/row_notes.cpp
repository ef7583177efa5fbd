#include "parallel_opt/cost/row_notes.h"

#include <array>
#include <cstdint>
#include <optional>
#include <regex>
#include <set>
#include <vector>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/row_claims.h"
#include "parallel_opt/cost/row_schedule.h"
#include "parallel_opt/cost/stated_number.h"

namespace parallel_opt {
namespace {

/// A column of numbers, and how notes spell what it has.
struct Spelling {
  const char* column;
  std::optional<double> TrainingRow::* cell;
  const char* words;  ///< in front of the number
};

constexpr auto kSpellings = std::to_array<Spelling>(
    {{"tp", &TrainingRow::tp, R"(tp|tensor[ _-](?:model[ _-])?parallel(?:ism)?)"},
     {"pp", &TrainingRow::pp, R"(pp|pipeline[ _-](?:model[ _-])?parallel(?:ism)?)"},
     {"vp", &TrainingRow::vp,
      R"(vpp?|virtual[ _-]pipeline(?:[ _-](?:model[ _-])?parallel(?:ism)?)?|virtual stages)"},
     {"cp", &TrainingRow::cp, R"(cp|context[ _-]parallel(?:ism)?)"},
     {"ep", &TrainingRow::ep, R"(ep|expert[ _-](?:model[ _-])?parallel(?:ism)?)"},
     {"etp", &TrainingRow::etp, R"(etp|expert[ _-]tensor[ _-]parallel(?:ism)?)"},
     {"dp", &TrainingRow::dp, R"(dp|data[ _-]parallel(?:ism)?)"},
     {"micro_batch", &TrainingRow::micro_batch,
      R"(mbs|micro[ _-]?batch|per[ _-](?:gpu|device)[ _-](?:train[ _-])?batch)"},
     {"grad_accum", &TrainingRow::grad_accum,
      R"(grad(?:ient)?[ _-]acc(?:um(?:ulation|ulate)?)?(?:[ _-]steps)?)"},
     {"global_batch", &TrainingRow::global_batch, R"(gbs|global[ _-]batch)"},
     {"seq_len", &TrainingRow::seq_len,
      R"((?:max[ _-])?seq[ _-]?len(?:gth)?|(?:max[ _-])?sequence[ _-]length|context length)"},
     {"vocab", &TrainingRow::vocab, R"(vocab(?:ulary)?)"}});

/// Whole numbers alone: neither "4M tokens" nor "8k"; behind "per" or "x" another thing is counted.
constexpr const char* kNumber =
    R"(([0-9]{1,9}(?:,[0-9]{3})*)(?![0-9]|\.[0-9]|\s?(?:[kmb](?![a-z0-9=])|%)|[a-z_]))";
constexpr const char* kBetween = R"((?:[ _-](?:size|degree|ranks|of|is|steps)){0,2}[ =:_]{0,3})";

/// A spelling as searched for: with the number behind, or in front: "8-way tensor parallelism".
struct Searched {
  const Spelling* spelling;
  std::regex behind, ahead;
};

const std::vector<Searched>& searched() {
  static const std::vector<Searched> all = [] {
    std::vector<Searched> made;
    for (const Spelling& one : kSpellings) {
      const std::string words = std::string("(?:") + one.words + ")";
      made.push_back(
          {&one,
           std::regex("(?:^|[^a-z0-9_*])(?:--)?" + words + kBetween + kNumber, std::regex::icase),
           std::regex("(?:^|[^a-z0-9_.])([0-9]{1,6})[ -]way[ -]" + words + "(?![a-z])",
                      std::regex::icase)});
    }
    return made;
  }();
  return all;
}

/// The numbers that the notes have so.
std::set<double> numbers_in(const std::string& notes, const Searched& words) {
  std::set<double> found;
  for (const std::regex* pattern : {&words.behind, &words.ahead}) {
    for (std::sregex_iterator it(notes.begin(), notes.end(), *pattern), end; it != end; ++it) {
      std::string digits = (*it)[1];
      std::erase(digits, ',');
      if (const auto value = stated_number(digits); value && *value >= 1) found.insert(*value);
    }
  }
  return found;
}

/// "Seq 4096", "ctx=8192", "4096 tokens per sequence", "8,192-token sequences": lengths by size.
std::set<double> lengths_in(const std::string& notes) {
  static const std::regex bare(
      R"((?:^|[^a-z0-9_])(?:seq|sequence|context|ctx)[ =:]{1,3}([1-9][0-9]{2,6}|[1-9][0-9]{0,3},[0-9]{3})(?![0-9.,a-z]))"
      R"(|(?:^|[^a-z0-9_.,])([1-9][0-9]{2,6}|[1-9][0-9]{0,3},[0-9]{3})[ -]tokens?(?: per sequence|[ -]sequences?)\b)",
      std::regex::icase);
  std::set<double> found;
  for (std::sregex_iterator it(notes.begin(), notes.end(), bare), end; it != end; ++it) {
    std::string digits = (*it)[1].matched ? (*it)[1] : (*it)[2];
    std::erase(digits, ',');
    if (const auto value = stated_number(digits)) found.insert(*value);
  }
  return found;
}

/// The notes without addresses, and without clauses that give a number of something else: a bound,
/// another phase, where a checkpoint came from.
std::string of_this_run(const std::string& notes) {
  static const std::regex address(R"(\b(?:https?|ftp)://\S+|\bwandb\.\S+)", std::regex::icase);
  static const std::regex others(
      R"(\b(oom\w*|out of memory|unnecessary|(not|never|isn't|wasn't|didn't|did not|was not|is not) \w+)"
      R"(|(converted|resumed|loaded|initialized) from|inference|later|at most|max(imum)? (tp|pp|dp)|slower|faster|halves?|had a bug|appendix|variant|warm-?up|instead)\b)",
      std::regex::icase);
  return without_clauses(std::regex_replace(notes, address, " "), others);
}

std::string listed(const std::set<double>& numbers) {
  std::vector<std::string> texts;
  for (const double one : numbers) texts.push_back(std::to_string(std::int64_t(one)));
  return join(texts, " and ");
}

/// "Interleaved with v=4", "interleaved, 4 chunks per rank": stages are counted where notes name
/// what has them.
std::optional<double> interleaved_stages(const Claims& notes) {
  static const std::regex clause(R"(\binterleav[^;.]*)", std::regex::icase);
  std::smatch match;
  if (!std::regex_search(notes.kept(), match, clause)) return std::nullopt;
  const auto counted = stages_of_rank_in_words(match.str(0));
  return counted ? std::optional(double(*counted)) : std::nullopt;
}

/// "ZeRO-2", "ZeRO stage 3", "HSDP" of notes, where all that they name is one.
std::string sharding_in(const Claims& notes) {
  static const std::regex words(
      R"((?:^|[^a-z0-9_])((?:zero[ _-]?(?:stage[ _-]?)?[123]|fsdp2?|ddp)(?![a-z0-9+=_-]| [0-9])|hsdp(?![a-z+_-])))",
      std::regex::icase);
  const std::string& text = notes.kept();
  std::set<std::string> found;
  for (std::sregex_iterator it(text.begin(), text.end(), words), end; it != end; ++it) {
    found.insert(lower_case((*it)[1].str()));
  }
  if (found.size() == 1) return *found.begin();
  return found.empty() && notes.says("distributed optimizer") == false ? "none" : "";
}

/// "Sequence parallel", "no SP", "SP=False" beside tensor ranks; not a degree, which is one of
/// parts of the sequence, as are Ulysses' and a ring's.
std::string sequence_split_in(const TrainingRow& row, const Claims& notes) {
  static const std::regex others(R"(ulysses|\bring\b|context[ _-]parallel)", std::regex::icase);
  static const std::regex whole(
      R"((^|[^a-z_])sequence[ _-]parallel(ism)?(?![a-z]|[ _-](size|degree|ranks)|[ =:]{1,3}[1-9]))",
      std::regex::icase);
  static const std::regex brief(
      R"((^|[^A-Za-z0-9_])(SP|sp(?= ?[=:]))(?![A-Za-z0-9_]| ?[=:]? ?[1-9]))");
  if (row.tp.value_or(1) <= 1 || std::regex_search(row.notes, others)) return "";
  const auto said = notes.says(whole);
  const auto on = said ? said : notes.says(brief);
  return !on ? "" : *on ? "yes" : "no";
}

/// A clause that names a type and nothing else: "bf16", "trained in FP8 mixed precision".
std::string type_in(const std::string& notes) {
  static const std::regex clause(
      R"((?:^|[;,(])\s*(?:(?:trained|training|runs?) in |(?:mixed[ -])?precision[ :=]*|dtype[ :=]*|amp[ -]?)?)"
      R"(((?:mx|nv)?fp(?:4|8|16|32)|bf16|bfloat16|float16|float32|tf32)(?:[ -]mixed)?)"
      R"((?:[ -](?:precision|training|amp))?\s*(?=[;,)]|$))",
      std::regex::icase);
  std::set<std::string> found;
  for (std::sregex_iterator it(notes.begin(), notes.end(), clause), end; it != end; ++it) {
    found.insert(lower_case((*it)[1].str()));
  }
  return found.size() == 1 ? *found.begin() : "";
}

}  // namespace

NotesFilled fill_from_notes(TrainingRow& row) {
  NotesFilled filled;
  if (row.notes.empty()) return filled;
  const Claims notes(of_this_run(row.notes));
  for (const Searched& words : searched()) {
    std::optional<double>& cell = row.*words.spelling->cell;
    if (cell) continue;
    std::set<double> found = numbers_in(notes.kept(), words);
    if (words.spelling->cell == &TrainingRow::seq_len) found.merge(lengths_in(notes.kept()));
    if (found.size() > 1 && filled.unclear.empty()) {
      filled.unclear =
          std::string(words.spelling->column) + " is blank, and the notes say " + listed(found);
    }
    if (found.size() != 1) continue;
    cell = *found.begin();
    filled.columns.emplace_back(words.spelling->column);
  }
  if (const auto stages = interleaved_stages(notes); stages && !row.vp) {
    row.vp = stages;
    filled.columns.emplace_back("vp");
  }
  const auto fill = [&](const char* column, std::string& cell, const std::string& said) {
    if (!cell.empty() || said.empty()) return;
    cell = said;
    filled.columns.emplace_back(column);
  };
  fill("fsdp_zero", row.fsdp_zero, sharding_in(notes));
  fill("sequence_parallel", row.sequence_parallel, sequence_split_in(row, notes));
  fill("dtype", row.dtype, type_in(notes.kept()));
  return filled;
}

}  // namespace parallel_opt
