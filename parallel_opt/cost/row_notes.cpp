#include "parallel_opt/cost/row_notes.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <regex>
#include <set>
#include <vector>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/row_claims.h"
#include "parallel_opt/cost/row_schedule.h"
#include "parallel_opt/cost/row_sharding.h"
#include "parallel_opt/cost/stated_number.h"

namespace parallel_opt {
namespace {

/// A column of numbers, and how notes spell what it has.
struct Spelling {
  const char* column;
  std::optional<double> TrainingRow::* cell;
  const char* words;            ///< in front of the number
  const char* brief = nullptr;  ///< the axis of "8-way tensor and 4-way pipeline parallelism"
  const char* units = nullptr;  ///< "4 pipeline stages"
};

constexpr auto kSpellings = std::to_array<Spelling>(
    {{"tp", &TrainingRow::tp, R"(tp|tensor[ _-](?:model[ _-])?(?:parallel(?:ism)?|slicing))",
      "tensor(?: model)?"},
     {"pp", &TrainingRow::pp,
      R"(pp|pipeline[ _-](?:model[ _-])?parallel(?:ism)?|pipeline (?:of|with|over)(?= [0-9]+ stages))",
      "pipeline(?: model)?",
      R"(pipeline(?:[ -]parallel)? stages(?! (?:per|on each|a) )|stage pipeline)"},
     {"vp", &TrainingRow::vp,
      R"(vpp?|virtual[ _-]pipeline(?:[ _-](?:model[ _-])?parallel(?:ism)?)?|virtual stages)"},
     {"cp", &TrainingRow::cp, R"(cp|context[ _-]parallel(?:ism)?)", "context"},
     {"ep", &TrainingRow::ep, R"(ep|expert[ _-](?:model[ _-])?parallel(?:ism)?)",
      "experts?(?: model)?"},
     {"etp", &TrainingRow::etp, R"(etp|expert[ _-]tensor[ _-]parallel(?:ism)?)"},
     {"dp", &TrainingRow::dp, R"(dp|data[ _-]parallel(?:ism)?)", "data"},
     {"micro_batch", &TrainingRow::micro_batch,
      R"(mbs|micro[ _-]?batch|per[ _-](?:gpu|device)[ _-](?:train[ _-])?batch)"},
     {"grad_accum", &TrainingRow::grad_accum,
      R"(gas?|grad(?:ient)?[ _-]acc(?:um(?:ulation|ulate)?)?(?:[ _-]steps)?)"},
     {"global_batch", &TrainingRow::global_batch,
      R"(gbs|global[ _-]batch|effective[ _-]batch|train[ _-]batch)"},
     {"seq_len", &TrainingRow::seq_len,
      R"((?:max[ _-])?seq[ _-]?len(?:gth)?|(?:max[ _-])?sequence[ _-]length|context length)"},
     {"vocab", &TrainingRow::vocab, R"(vocab(?:ulary)?)"}});

/// Whole numbers alone: neither "4M tokens" nor "8k"; behind "per" or "x" another thing is counted.
constexpr const char* kNumber =
    R"(([0-9]{1,9}(?:,[0-9]{3})*)(?![0-9]|\.[0-9]|\s?(?:[kmb](?![a-z0-9=])|%)|[a-z_]))";
constexpr const char* kBetween = R"((?:[ _-](?:size|degree|ranks|of|is|steps)){0,2}[ =:_]{0,3})";

/// Behind an axis whose "parallelism" stands further on or nowhere.
constexpr const char* kElided = R"((?=\s*(?:$|[;,.)/&+]|(?:and|with|x)\b)))";

/// A spelling as searched for: with the number behind ("TP 8", "TP-8"), or in front ("8-way tensor
/// parallelism", "8-way tensor and ...", "8x TP"); where neither is there, by its units.
struct Searched {
  const Spelling* spelling;
  std::regex behind, ahead, counted;
};

std::string ahead_of(const Spelling& one, const std::string& words) {
  const std::string begin = R"((?:^|[^a-z0-9_.])([0-9]{1,6})(?:[ -]way[ -])";
  if (one.brief == nullptr) return begin + words + "(?![a-z]))";
  return begin + "(?:" + words + "(?![a-z])|(?:" + one.brief + ")" + kElided + R"()|(?:x|×) ?)" +
         words + "(?:(?= [0-9]+ ?x)|" + kElided + "))";
}

const std::vector<Searched>& searched() {
  static const std::vector<Searched> all = [] {
    std::vector<Searched> made;
    for (const Spelling& one : kSpellings) {
      const std::string words = std::string("(?:") + one.words + ")";
      const std::string units = one.units != nullptr ? one.units : "$^";
      made.push_back({&one,
                      std::regex("(?:^|[^a-z0-9_*])(?:--)?" + words + "(?:" + kBetween +
                                     R"(|-| ?\((?=[0-9]+[ -]way\))))" + kNumber,
                                 std::regex::icase),
                      std::regex(ahead_of(one, words), std::regex::icase),
                      std::regex("(?:^|[^a-z0-9_.])([0-9]{1,6})[ -](?:" + units + ")(?![a-z])",
                                 std::regex::icase)});
    }
    return made;
  }();
  return all;
}

/// The numbers that the notes have so. Batches that count tokens are no sequences.
std::set<double> numbers_in(const std::string& notes, const Searched& words) {
  static const std::regex tokens(R"(^[ -]?tok)", std::regex::icase);
  const auto cell = words.spelling->cell;
  const bool of_batch = cell == &TrainingRow::global_batch || cell == &TrainingRow::micro_batch;
  std::set<double> found;
  const auto search = [&](const std::regex& pattern) {
    for (std::sregex_iterator it(notes.begin(), notes.end(), pattern), end; it != end; ++it) {
      if (of_batch && std::regex_search((*it).suffix().str(), tokens)) continue;
      std::string digits = (*it)[1];
      std::erase(digits, ',');
      if (const auto value = stated_number(digits); value && *value >= 1) found.insert(*value);
    }
  };
  search(words.behind);
  search(words.ahead);
  if (found.empty() && words.spelling->units != nullptr) search(words.counted);
  return found;
}

/// Megatron's "MP=8", "8-way model parallelism": of tensor ranks, where stages are counted beside
/// it; empty: none, or several.
std::optional<double> model_parallel_in(const std::string& notes) {
  static const std::regex words(
      std::string(
          R"((?:^|[^a-z0-9_*])((?:tensor|pipeline|expert|sequence|context|data)[ _-])?(?:mp|model[ _-]parallel(?:ism)?)(?:)") +
          kBetween + "|-)" + kNumber +
          R"(|(?:^|[^a-z0-9_.])([0-9]{1,6})[ -]way[ -](?:mp\b|model(?:[ -]parallel|)" + kElided +
          "))",
      std::regex::icase);
  std::set<double> found;
  for (std::sregex_iterator it(notes.begin(), notes.end(), words), end; it != end; ++it) {
    if ((*it)[1].matched) continue;
    const auto value = stated_number((*it)[(*it)[2].matched ? 2 : 3]);
    if (value) found.insert(*value);
  }
  return found.size() == 1 ? std::optional(*found.begin()) : std::nullopt;
}

/// "Eight-way", "four pipeline stages": with digits.
std::string with_digits(const std::string& notes) {
  static constexpr auto kWords = std::to_array<std::string_view>(
      {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
       "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"});
  static const std::regex counted(
      R"(\b(thirty[ -]two|sixty[ -]four|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen))"
      R"((?=[ -]way\b|-? (?:or|to|and) [a-z0-9-]+[ -]way\b|[ -]stage pipeline\b| pipeline(?:[ -]parallel)? stages\b))",
      std::regex::icase);
  std::string out;
  auto behind = notes.begin();
  for (std::sregex_iterator it(notes.begin(), notes.end(), counted), end; it != end; ++it) {
    const std::string word = lower_case(it->str(1));
    const auto at = std::ranges::find(kWords, std::string_view(word)) - kWords.begin();
    const bool tens = at == std::ssize(kWords);
    out.append(behind, (*it)[0].first);
    out += tens ? word.starts_with('t') ? "32" : "64" : std::to_string(at);
    behind = (*it)[0].second;
  }
  return out.append(behind, notes.end());
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
  // "Sequence length 4k", "32K-token sequences": powers of two, which have one thousand.
  static const std::regex thousands(
      R"((?:^|[^a-z0-9_])(?:seq|sequence)(?:[ _-]?len(?:gth)?)?(?: of)?[ =:]{1,3}([1-9][0-9]{0,2}) ?k(?![a-z0-9])|(?:^|[^a-z0-9_.,])([1-9][0-9]{0,2})k(?:[ -]tokens?)?(?:[ -]| per )(?:sequences?|seq)\b)",
      std::regex::icase);
  for (std::sregex_iterator it(notes.begin(), notes.end(), thousands), end; it != end; ++it) {
    const auto count = unsigned(std::stoi((*it)[1].matched ? (*it)[1] : (*it)[2]));
    if (std::has_single_bit(count)) found.insert(1024.0 * count);
  }
  return found;
}

/// The notes without addresses, and without clauses of something else: a bound, another phase,
/// where a checkpoint came from.
std::string of_this_run(const std::string& notes) {
  static const std::regex address(R"(\b(?:https?|ftp)://\S+|\bwandb\.\S+)", std::regex::icase);
  static const std::regex others(
      R"(\b((converted|resumed|loaded|initialized) from|inference|later|at most|max(imum)? (tp|pp|dp)|slower|faster|halves?|had a bug|appendix|variant|warm-?up|instead|phase|at [0-9,]+ (gpus|devices|nodes))\b)",
      std::regex::icase);
  return without_clauses(std::regex_replace(notes, address, " "), others);
}

/// Without clauses that deny anything, whose numbers may be of what was not done.
std::string without_denials(const std::string& notes) {
  static const std::regex denials(
      R"(\b(unnecessary|(not|never|isn't|wasn't|didn't|did not|was not|is not) \w+)\b)",
      std::regex::icase);
  return without_clauses(notes, denials);
}

/// The degrees of "tp8pp2", "T8P2D4", "(t, p, d) = (8, 2, 4)" and "TP/PP = 8/2", each by its name.
std::string with_degrees_apart(std::string notes) {
  static const std::regex letters(R"(\bT([0-9]{1,3})P([0-9]{1,3})(?:D([0-9]{1,5}))?\b)");
  static const std::regex joined(
      R"((^|[^a-z0-9])((?:(?:etp|tp|pp|dp|cp|ep|vpp|vp|mbs|gbs)=?[0-9]{1,5}_?){2,})(?![a-z0-9]))",
      std::regex::icase);
  static const std::regex inner(R"(([0-9])_?(?=[a-z]))", std::regex::icase);
  static const std::regex listed(
      R"(\(?\b((?:[tpdce]p|[tpd])(?:\s?[,/*]\s?(?:[tpdce]p|[tpd]))+|[tpdce]p(?:\s?x\s?[tpdce]p)+)(?![a-z])\)?)"
      R"(\s?[=:]\s?\(?([0-9]{1,5}(?:\s?[,/x*]\s?[0-9]{1,5})+)\)?)",
      std::regex::icase);
  static const std::regex between(R"(\s?[,/x*]\s?)", std::regex::icase);
  static const std::regex steps(R"(\b([0-9]{1,4}) (?:grad(?:ient)?[ -])?accumulation steps\b)",
                                std::regex::icase);
  notes = std::regex_replace(notes, steps, "grad accum $1");
  std::smatch match;
  if (std::regex_search(notes, match, letters)) {
    const std::string data = match[3].matched ? " dp=" + match.str(3) : "";
    notes = match.prefix().str() + "tp=" + match.str(1) + " pp=" + match.str(2) + data +
            match.suffix().str();
  }
  if (std::regex_search(notes, match, joined)) {
    notes = match.prefix().str() + match.str(1) + std::regex_replace(match.str(2), inner, "$1 ") +
            match.suffix().str();
  }
  if (!std::regex_search(notes, match, listed)) return notes;
  const std::string names = match[1], counts = match[2];
  std::sregex_token_iterator name(names.begin(), names.end(), between, -1), end;
  std::sregex_token_iterator count(counts.begin(), counts.end(), between, -1);
  std::string apart;
  for (; name != end && count != end; ++name, ++count) {
    const std::string letter = lower_case(name->str()).substr(0, 1);
    apart += (apart.empty() ? "" : " ") + letter + "p=" + count->str();
  }
  if (name != end || count != end) return notes;  // of others
  return match.prefix().str() + apart + match.suffix().str();
}

/// The notes without numbers that others may stand for: "2 or 4", "1, 2 or 4", "64 to 1024", "2/4",
/// "2-8" say none.
std::string without_alternatives(const std::string& notes) {
  static const std::regex several(
      R"(\b[0-9]{1,9}(?:-way|-)?(?:(?:, ?[0-9]{1,9}(?:-way|-)?){0,8},? (?:or|to) |/|-|–)[0-9]{1,9}\b)"
      R"(|\b[0-9]{1,9}- and [0-9]{1,9}\b)",
      std::regex::icase);
  return std::regex_replace(notes, several, "several");
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
  const std::string own =
      of_this_run(without_alternatives(with_degrees_apart(with_digits(row.notes))));
  const Claims said(own), notes(without_denials(own));
  for (const Searched& words : searched()) {
    std::optional<double>& cell = row.*words.spelling->cell;
    if (cell) continue;
    std::set<double> found = numbers_in(notes.kept(), words);
    if (words.spelling->cell == &TrainingRow::seq_len) found.merge(lengths_in(notes.kept()));
    // What all devices leave of them is known without.
    const bool left_over = words.spelling->cell == &TrainingRow::dp && row.gpus && row.tp && row.pp;
    if (found.size() > 1 && !left_over && filled.unclear.empty()) {
      filled.unclear =
          std::string(words.spelling->column) + " is blank, and the notes say " + listed(found);
    }
    if (found.size() != 1) continue;
    cell = *found.begin();
    filled.columns.emplace_back(words.spelling->column);
  }
  const auto together = row.tp || !row.pp ? std::nullopt : model_parallel_in(notes.kept());
  if (together) {
    row.tp = together;
    filled.columns.emplace_back("tp");
  }
  if (!row.global_batch) filled.batch = token_batch_in_notes(notes.kept());
  if (const auto stages = interleaved_stages(notes); stages && !row.vp) {
    row.vp = stages;
    filled.columns.emplace_back("vp");
  }
  const auto fill = [&](const char* column, std::string& cell, const std::string& words) {
    if (!cell.empty() || words.empty()) return;
    cell = words;
    filled.columns.emplace_back(column);
  };
  if (const std::string words = sharding_in_notes(row.fsdp_zero, own); !words.empty()) {
    row.fsdp_zero += (row.fsdp_zero.empty() ? "" : ", ") + words;
    filled.columns.emplace_back("fsdp_zero");
  }
  fill("sequence_parallel", row.sequence_parallel, sequence_split_in(row, said));
  fill("dtype", row.dtype, type_in(notes.kept()));
  return filled;
}

std::optional<double> local_batch_in_notes(const std::string& notes) {
  static const std::regex words(
      R"(\blocal batch size (?:of )?([0-9]{1,6})\b)"
      R"(|\b(?:bs|batch(?:[ _-]size)?)(?: of)?[ :=]{0,3}([0-9]{1,6})(?: (?:sequences|samples))?(?: ?/ ?| per )(?:gpu|device|rank|card|chip|replica)\b)"
      R"(|(?:^|[^a-z0-9_.,])([0-9]{1,6}) (?:sequences|samples)(?: ?/ ?| per )(?:gpu|device|rank|card|chip|replica)\b(?! ?(?:/|per) ?s))",
      std::regex::icase);
  return number_in(notes, words);
}

}  // namespace parallel_opt
