#include "parallel_opt/plan/schedule_kind.h"

#include <utility>

namespace parallel_opt {
namespace {

using enum ScheduleKind;

constexpr auto kSpellings = std::to_array<std::pair<std::string_view, ScheduleKind>>({
    {"gpipe", gpipe},
    {"afab", gpipe},
    {"allforwardallbackward", gpipe},
    {"filldrain", gpipe},
    {"1f1b", one_f_one_b},
    {"plain1f1b", one_f_one_b},
    {"standard1f1b", one_f_one_b},
    {"oneforwardonebackward", one_f_one_b},
    {"oneforwardonebackward1f1b", one_f_one_b},
    {"noninterleaved", one_f_one_b},
    {"noninterleaved1f1b", one_f_one_b},
    {"1f1bnoninterleaved", one_f_one_b},
    {"1f1bnotinterleaved", one_f_one_b},
    {"pipedreamflush", one_f_one_b},
    {"dapple", one_f_one_b},
    {"interleaved", interleaved_1f1b},
    {"interleaved1f1b", interleaved_1f1b},
    {"1f1binterleaved", interleaved_1f1b},
    {"1f1bwithinterleaving", interleaved_1f1b},
    {"1f1bi", interleaved_1f1b},
    {"vpp", interleaved_1f1b},
    {"loopedbfs", looped_bfs},
    {"breadthfirst", looped_bfs},
    {"zbh1", zb_h1},
    {"zb1p", zb_h1},
    {"zerobubble", zb_h1},
    {"zerobubbleh1", zb_h1},
    {"interleavedzerobubble", zb_h1},
    {"zerobubble1p", zb_h1},
    {"zbh2", zb_h2},
    {"zerobubbleh2", zb_h2},
    {"zb2p", zb_h2},
    {"zerobubble2p", zb_h2},
    {"zbv", zb_v},
    {"zerobubblev", zb_v},
    {"zbvpp", zb_v},
    {"zbvzerobubble", zb_v},
    {"vzb", zb_v},
    {"dualpipe", dualpipe},
    {"dualpipev", dualpipe_v},
});

bool is_part(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

std::string bare(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (is_part(c)) out += c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c;
  }
  return out;
}

}  // namespace

std::optional<ScheduleKind> schedule_by_name(std::string_view name) {
  // PyTorch's classes: "torch.distributed.pipelining.ScheduleInterleaved1F1B".
  constexpr std::string_view kClass = "schedule";
  const std::string last = bare(name.substr(name.rfind('.') + 1));
  const bool is_class = last.starts_with(kClass) && last.size() > kClass.size();
  const std::string wanted = is_class ? last.substr(kClass.size()) : bare(name);
  for (const auto& [spelling, kind] : kSpellings) {
    if (spelling == wanted) return kind;
  }
  return std::nullopt;
}

std::optional<ScheduleKind> schedule_mentioned(const std::string& text) {
  std::string before;  // the word before, for "zero bubble" and "breadth-first"
  for (std::size_t begin = 0; begin < text.size();) {
    if (!is_part(text[begin])) {
      ++begin;
      continue;
    }
    std::size_t end = begin;
    while (end < text.size() && (is_part(text[end]) || text[end] == '-' || text[end] == '_')) ++end;
    const std::string word = bare(std::string_view(text).substr(begin, end - begin));
    for (const std::string& candidate : {word, before + word}) {
      const auto kind = schedule_by_name(candidate);
      if (kind && *kind != one_f_one_b && *kind != interleaved_1f1b) return kind;
    }
    before = word;
    begin = end;
  }
  return std::nullopt;
}

}  // namespace parallel_opt
