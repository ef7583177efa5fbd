#include "parallel_opt/cost/row_size.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <regex>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/row_claims.h"
#include "parallel_opt/cost/row_words.h"
#include "parallel_opt/cost/stated_number.h"

namespace parallel_opt {
namespace {

/// Whether the feed-forward part has three matrices: "SwiGLU", "14B gated", "non-gated MLP"; empty:
/// no word of it. Attention and recurrences have gates too.
std::optional<bool> gated_in_words(const Claims& text) {
  static const std::regex units(R"(\b(swi|ge|re)?glu\b)", std::regex::icase);
  static const std::regex part(R"(\bgated([ -](feed[ -]?forward|ffns?|mlps?)|(?= ?($|[),;/]))))",
                               std::regex::icase);
  static const std::regex none(R"(\b(un|non[ -]?|not )gated\b)", std::regex::icase);
  if (text.has(units)) return true;
  if (text.says(none).has_value()) return false;
  return text.says(part);
}

/// "Tied embeddings", "head is tied"; "untied".
std::optional<bool> tied_in_words(const Claims& text) {
  static const std::regex apart(R"(\buntied\b)", std::regex::icase);
  static const std::regex one(R"(\btied\b|\bweight tying\b|\btie_word_embeddings\b)",
                              std::regex::icase);
  static const std::regex answered(
      R"(\btied (?:(?:word|input|output)[ _-])?embeddings? ?[=:]? ?(?:(no|false|off|0)|yes|true|on|1)\b(?= ?(?:$|[;,.)(])))",
      std::regex::icase);
  std::smatch match;
  if (std::regex_search(text.kept(), match, answered)) return !match[1].matched;
  if (text.has(apart)) return false;
  return text.says(one);
}

/// Parameters of a stack of equal blocks, in matrices alone.
struct Matrices {
  double layers = 0, hidden = 0, attention = 0, experts = 1;

  explicit Matrices(const TrainingRow& row)
      : layers(row.layers.value_or(0)),
        hidden(row.hidden.value_or(0)),
        experts(std::max(1.0, row.experts.value_or(1))) {
    const double heads = row.heads.value_or(1);
    attention = (2 + 2 * row.kv_heads.value_or(heads) / heads) * hidden * hidden;
  }
  double of(double matrices, double ffn, double tables, double vocab) const {
    return layers * (attention + experts * matrices * hidden * ffn) + tables * vocab * hidden;
  }
};

/// Parameters as printed; empty: nobody says.
std::optional<double> size_of(const TrainingRow& row) {
  const std::optional<double> params_b = row.params_b ? row.params_b : size_in_name(row.model_name);
  // Of mixtures a name says many things; their size is what the column says.
  const bool sized = row.experts.value_or(1) > 1 ? row.params_b.has_value() : params_b.has_value();
  return sized ? std::optional(1e9 * *params_b) : std::nullopt;
}

constexpr double kSame = 0.08;       // sizes in names are rounded,
constexpr double kSameTable = 0.02;  // but not by a table where that one is large
constexpr double kUsualVocabulary = 50257;

bool shares_keys(const TrainingRow& row) {
  return row.kv_heads.value_or(1e9) < row.heads.value_or(0);
}

double usual_width(int matrices, double hidden) { return (matrices == 3 ? 8.0 / 3 : 4.0) * hidden; }

/// Where no name and no size says whether the feed-forward part has three matrices: widths are then
/// chosen for as many parameters as two of 4 hidden have (8/3), or heads share keys, as came later;
/// mixtures of the time have three always.
bool looks_gated(const TrainingRow& row) {
  if (!row.ffn_hidden || !row.hidden) return false;
  const double width = *row.ffn_hidden / *row.hidden;
  const bool mixture = row.experts.value_or(1) > 1;
  if (width == 4) return shares_keys(row) && mixture;
  return (width > 2.5 && width < 3) || shares_keys(row) || mixture;
}

/// As wide as most are, so that keys can be shared as stated.
void fill_heads(TrainingRow& row, ShapeBySize& shape, std::vector<std::string>& notes) {
  if (row.heads || !row.hidden) return;
  constexpr auto kWidths = std::to_array<double>({128, 64, 96, 80, 112, 256, 192});
  for (const double width : kWidths) {
    const double heads = *row.hidden / width;
    if (heads != std::floor(heads) || std::fmod(heads, row.kv_heads.value_or(1)) != 0) continue;
    row.heads = shape.heads = heads;
    notes.push_back("heads = hidden / " + std::to_string(int(width)) + ", as none are stated");
    return;
  }
}

std::string as_stated(const std::string& column, double value) {
  return column + " = " + std::to_string(std::int64_t(value)) + ", as the size says";
}

/// Keys that 8 heads have, or one, where the parameters speak for those and against keys of all.
void fill_keys(TrainingRow& row, double size, ShapeBySize& shape, std::vector<std::string>& notes) {
  const auto error = [&](double kv_heads) {
    TrainingRow shared = row;
    shared.kv_heads = kv_heads;
    const Matrices blocks(shared);
    double least = 1e9;
    for (const int matrices : {2, 3}) {
      for (const int tables : {1, 2}) {
        const double made =
            blocks.of(matrices, *row.ffn_hidden, tables, row.vocab.value_or(kUsualVocabulary));
        least = std::min(least, std::abs(made / size - 1));
      }
    }
    return least;
  };
  // Digits of columns tell more than names and tables that nobody states.
  const double same = row.params_b && row.vocab ? 0.03 : kSame;
  const double heads = row.heads.value_or(0);
  if (error(heads) < same) return;
  for (const double kv_heads : {8.0, 1.0}) {
    if (std::fmod(heads, kv_heads) != 0 || error(kv_heads) > same / 2) continue;
    row.kv_heads = shape.kv_heads = kv_heads;
    notes.push_back(as_stated("kv_heads", kv_heads));
    return;
  }
}

/// Matrices of the feed-forward part that are likely before its size is looked at.
int likely_matrices(const TrainingRow& row, const ShapeBySize& shape) {
  if (shape.gated) return *shape.gated ? 3 : 2;
  const bool gated =
      is_llama_like(row.model_name) || (row.ffn_hidden ? looks_gated(row) : shares_keys(row));
  return gated ? 3 : 2;
}

/// Vocabularies of GPT-2, Llama 2, Llama 3, Qwen, Gemma, OLMo 2 and ChatGLM: the likeliest that
/// makes the parameters. GPT-2's stays where it makes them as closely as names have them.
void fill_vocabulary(const TrainingRow& row, double size, ShapeBySize& shape) {
  constexpr auto kVocabularies =
      std::to_array<double>({kUsualVocabulary, 32000, 128256, 151936, 256000, 100352, 65024});
  constexpr double kUnlikely = 0.02, kUnusual = 0.005;  // of the parameters, as far as they may err
  const Matrices blocks(row);
  const double ffn = row.ffn_hidden.value_or(0);
  const int likely = likely_matrices(row, shape);
  double least = kSame;
  for (const double vocab : kVocabularies) {
    for (const int matrices : {likely, 5 - likely}) {
      for (const int tables : {2, 1}) {
        if (shape.gated && matrices != likely) continue;
        if (shape.tied && *shape.tied != (tables == 1)) continue;
        const double made = blocks.of(matrices, ffn, tables, vocab);
        const bool usual = vocab == kUsualVocabulary;
        const double error = std::abs(made / size - 1) + (matrices == likely ? 0 : kUnlikely) +
                             (usual ? 0 : kUnusual);
        if (error < least) {
          least = error;
          shape.vocab = vocab;
        }
      }
    }
    if (shape.vocab == kUsualVocabulary && least < kSame / 2) return;
  }
}

/// Of the feed-forward part, so that all weigh `size`; empty: none that models have.
std::optional<double> width_that_makes(double size, const Matrices& blocks, int matrices,
                                       double tables, double vocab) {
  const double rest = size - blocks.of(matrices, 0, tables, vocab);
  const double all = blocks.layers * blocks.experts * matrices * blocks.hidden;
  const double width = std::round(rest / all / 64) * 64;
  const double least = blocks.experts > 1 ? 64 : blocks.hidden;
  return width >= least && width <= 9 * blocks.hidden ? std::optional(width) : std::nullopt;
}

/// Of mixtures `ffn_hidden` may be the width of blocks without experts, as config.json has it: no
/// expert is so wide where all of them would weigh more than the model.
void narrow_experts(const TrainingRow& row, double size, ShapeBySize& shape,
                    std::vector<std::string>& notes) {
  constexpr double kFar = 1.5;
  const Matrices blocks(row);
  const double vocab = row.vocab.value_or(kUsualVocabulary);
  if (blocks.of(2, row.ffn_hidden.value_or(0), 1, vocab) < kFar * size) return;
  const auto width = width_that_makes(size, blocks, 3, 2, vocab);
  if (!width) return;
  shape.gated = true;
  shape.ffn_hidden = width;
  notes.push_back("experts of " + std::to_string(std::int64_t(*width)) +
                  ", as the size says: ffn_hidden is of blocks without");
}

/// As wide as makes the parameters, where what is usual does not.
void fill_width(const TrainingRow& row, double size, ShapeBySize& shape) {
  const Matrices blocks(row);
  const int likely = likely_matrices(row, shape);
  const double vocab = row.vocab.value_or(kUsualVocabulary);
  const double printed = row.params_b ? kSame : 0.2;  // "1B" has 1.2
  for (const int matrices : {likely, 5 - likely}) {
    if (shape.gated && matrices != likely) return;
    const double tables = shape.tied ? (*shape.tied ? 1 : 2) : matrices - 1;
    const double usual = blocks.of(matrices, usual_width(matrices, blocks.hidden), tables, vocab);
    if (std::abs(usual / size - 1) < printed) return;
    shape.ffn_hidden = width_that_makes(size, blocks, matrices, tables, vocab);
    if (!shape.ffn_hidden) continue;
    shape.gated = matrices == 3;
    return;
  }
}

/// What the parameters as printed speak for, where they do so clearly.
void weigh(const TrainingRow& row, double size, ShapeBySize& shape) {
  if (!row.layers || !row.hidden || !row.heads || !row.ffn_hidden) return;
  const Matrices blocks(row);
  const auto error = [&](int matrices, int tables) {
    return std::abs(blocks.of(matrices, *row.ffn_hidden, tables, row.vocab.value_or(0)) / size - 1);
  };
  const auto clearly = [](double one, double other, double same) -> std::optional<bool> {
    if (std::min(one, other) > same || std::max(one, other) < 2 * same) return std::nullopt;
    return one < other;
  };
  const double three = std::min(error(3, 1), error(3, 2));
  const double two = std::min(error(2, 1), error(2, 2));
  std::optional<bool> gated_by_size = clearly(three, two, kSame);
  // Two matrices with a head may weigh what three without one do: a column has more digits.
  const bool exact = row.params_b && row.vocab;
  if (!gated_by_size && exact) gated_by_size = clearly(three, two, kSameTable);
  if (gated_by_size) shape.gated = gated_by_size;
  if (!row.vocab) return;
  const std::optional<bool> gated =
      shape.gated || !is_llama_like(row.model_name) ? shape.gated : std::optional(true);
  const auto tables_error = [&](int tables) {
    return gated ? error(*gated ? 3 : 2, tables) : std::min(error(2, tables), error(3, tables));
  };
  const std::optional<bool> tied_by_size = clearly(tables_error(1), tables_error(2), kSameTable);
  if (tied_by_size) shape.tied = tied_by_size;
}

ShapeBySize shape_in_words(const TrainingRow& row) {
  const Claims words(row.model_name + "; " + row.notes);
  return {.gated = gated_in_words(words), .tied = tied_in_words(words)};
}

/// Where neither name nor size tells: three matrices as their width says or, that blank too, as
/// models that share keys have them since Llama 3.
void look(const TrainingRow& row, ShapeBySize& shape, std::vector<std::string>& notes) {
  if (shape.gated || is_llama_like(row.model_name)) return;
  if (looks_gated(row)) {
    shape.gated = true;
    notes.emplace_back("three matrices in the feed-forward part, as its width says");
  } else if (!row.ffn_hidden && row.hidden && shares_keys(row)) {
    constexpr double kWidth = 3.5;
    shape.gated = true;
    shape.ffn_hidden = std::round(kWidth * *row.hidden / 64) * 64;
  }
}

}  // namespace

ShapeBySize shape_by_size(const TrainingRow& row) {
  ShapeBySize shape = shape_in_words(row);
  if (const auto size = size_of(row)) weigh(row, *size, shape);
  return shape;
}

ShapeBySize shape_by_size(const TrainingRow& row, std::vector<std::string>& notes) {
  ShapeBySize shape = shape_in_words(row);
  TrainingRow filled = row;
  fill_heads(filled, shape, notes);
  const std::optional<double> size = size_of(row);
  const bool weighed = size && row.layers && row.hidden && filled.heads;
  const bool mixture = row.experts.value_or(1) > 1;
  if (weighed && mixture && row.ffn_hidden) narrow_experts(filled, *size, shape, notes);
  if (weighed && !mixture && !row.kv_heads && row.ffn_hidden) {
    fill_keys(filled, *size, shape, notes);
  }
  if (weighed && !mixture && !row.vocab && row.ffn_hidden) fill_vocabulary(filled, *size, shape);
  filled.vocab = row.vocab ? row.vocab : shape.vocab;
  if (weighed && !row.ffn_hidden) fill_width(filled, *size, shape);
  if (size) weigh(filled, *size, shape);
  if (!size) look(filled, shape, notes);
  if (!row.hidden) return shape;
  if (!row.vocab) {
    const bool usual = shape.vocab.value_or(kUsualVocabulary) == kUsualVocabulary;
    shape.vocab = shape.vocab.value_or(kUsualVocabulary);
    notes.push_back(usual ? "vocab = 50257, as none is stated" : as_stated("vocab", *shape.vocab));
  }
  if (!row.ffn_hidden) {
    const bool gated = shape.gated.value_or(is_llama_like(row.model_name));
    const char* usual = shape.ffn_hidden ? "3.5" : gated ? "8/3" : "4";
    notes.push_back(size && shape.ffn_hidden
                        ? as_stated("ffn_hidden", *shape.ffn_hidden)
                        : std::string("ffn_hidden = ") + usual + " x hidden, as none is stated");
  }
  return shape;
}

std::optional<double> size_in_name(const std::string& name) {
  static const std::regex size(R"((^|[^0-9a-z.])([0-9]+(\.[0-9]+)?)\s?b($|[^0-9a-z]))");
  std::smatch match;
  const std::string low = lower_case(name);
  if (!std::regex_search(low, match, size)) return std::nullopt;
  return stated_number(match[2]);
}

std::optional<double> any_size_in_name(const std::string& name) {
  if (const auto size = size_in_name(name)) return size;
  // "1M" is a context, "1T tokens" what was read.
  static const std::regex other(
      R"((?:^|[^0-9a-z.])(?:([1-9][0-9]{1,4}) ?m|([1-9][0-9]?) ?t(?! ?tok)|([0-9]{1,3})b([0-9]))(?![0-9a-z]))",
      std::regex::icase);
  std::smatch match;
  if (!std::regex_search(name, match, other)) return std::nullopt;
  if (match[1].matched) return std::stod(match[1]) / 1e3;
  if (match[2].matched) return std::stod(match[2]) * 1e3;
  return std::stod(match.str(3) + "." + match.str(4));
}

std::optional<double> layers_in_name(const std::string& name) {
  static const std::regex counted(R"((?:^|[^a-z0-9.])([1-9][0-9]{0,3})[ -]?(?:layers?|blocks)\b)",
                                  std::regex::icase);
  return number_in(name, counted);
}

bool is_llama_like(const std::string& name) {
  static const std::regex words(
      R"(llama|qwen|mistral|mixtral|gemma|internlm|deepseek|kimi|moonlight|gpt[ _-]?oss|nemotron|(^|[^a-z])(yi[ _-]?[0-9v]|phi))",
      std::regex::icase);
  return std::regex_search(name, words);
}

}  // namespace parallel_opt
