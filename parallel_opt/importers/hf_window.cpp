#include <algorithm>
#include <optional>

#include "parallel_opt/importers/hf_families.h"

// Which layers of a decoder attend within a window, and whether that shows: PyTorch's attention
// takes windows as a mask, and transformers makes one only for sequences that reach beyond it.
namespace parallel_opt::hf {
namespace {

constexpr std::int64_t kUsualWindow = 4096;

/// What transformers 5 does for a family where the file says nothing.
struct WindowRule {
  std::string_view type;
  std::int64_t window = 0;  ///< 0: none
  bool asked = false;       ///< only with use_sliding_window
  std::int64_t full = 0;    ///< every so many layers one sees all; 0: none does
  bool first = false;       ///< the first of them, not the last; no key says another number
  std::int64_t pause = 0;   ///< the first `max_window_layers` (this many) see all
  std::int64_t end = 0;     ///< only the first `max_window_layers` (this many) slide
  std::string_view key = "sliding_window";
  std::string_view word = "sliding_attention";
  std::string_view recurs = {};  ///< of layers that do not attend
};
constexpr WindowRule kWindowRules[] = {
    {.type = "mistral", .window = kUsualWindow},
    {.type = "ministral", .window = kUsualWindow},
    {.type = "mixtral"},
    {.type = "phi3"},
    {.type = "starcoder2"},
    {.type = "qwen2", .window = kUsualWindow, .asked = true, .pause = 28},
    {.type = "qwen3", .window = kUsualWindow, .asked = true, .pause = 28},
    {.type = "qwen2_moe", .window = kUsualWindow, .asked = true, .full = 2, .end = 28},
    {.type = "qwen3_moe", .window = kUsualWindow, .asked = true},
    {.type = "smollm3", .asked = true},
    {.type = "gemma2", .window = kUsualWindow, .full = 2},
    {.type = "gemma3_text", .window = kUsualWindow, .full = 6},
    {.type = "olmo3", .window = kUsualWindow, .full = 4},
    {.type = "cohere2", .window = kUsualWindow, .full = 4},
    {.type = "exaone4", .window = kUsualWindow, .full = 4},
    {.type = "cwm", .window = 8192, .full = 4, .first = true},
    {.type = "granite_swa", .window = 128, .full = 4, .first = true},
    {.type = "vaultgemma", .window = kUsualWindow, .full = 2},
    {.type = "ministral3"},
    {.type = "exaone_moe", .window = kUsualWindow, .full = 4},
    {.type = "lfm2_moe", .recurs = "conv"},
    {.type = "gpt_oss", .window = 128, .full = 2},
    {.type = "phimoe"},
    {.type = "granitemoehybrid", .recurs = "mamba"},
    {.type = "lfm2", .recurs = "conv"},
    {.type = "qwen3_next", .recurs = "linear_attention"},
    {.type = "qwen3_5_text", .recurs = "linear_attention"},
    {.type = "qwen3_5_moe_text", .recurs = "linear_attention"},
    {.type = "recurrent_gemma",
     .window = 2048,
     .key = "attention_window_size",
     .recurs = "linear_attention"},
    {.type = "qwen2_vl", .window = kUsualWindow, .asked = true, .pause = 80},
    {.type = "qwen2_vl_text", .window = kUsualWindow, .asked = true, .pause = 80},
    {.type = "qwen2_5_vl", .window = kUsualWindow, .asked = true, .pause = 80},
    {.type = "qwen2_5_vl_text", .window = kUsualWindow, .asked = true, .pause = 80},
    {.type = "dots1", .window = kUsualWindow, .pause = 62},
    {.type = "llama4_text",
     .window = 8192,
     .key = "attention_chunk_size",
     .word = "chunked_attention"},
};

std::optional<WindowRule> window_rule(std::string_view type) {
  for (const WindowRule& rule : kWindowRules) {
    if (rule.type == type) return rule;
  }
  return std::nullopt;
}

/// One word per layer, "full_attention" or "sliding_attention"; empty when the file has none.
std::vector<std::string> read_layer_types(ConfigReader& c, std::int64_t layers,
                                          const WindowRule& rule) {
  std::vector<std::string> kinds = c.text_list("layer_types");
  static const std::vector<std::string> kKnown = {"full_attention", "sliding_attention"};
  static const std::vector<std::string> kOthers = {"chunked_attention",
                                                   "linear_attention",
                                                   "window_attention",
                                                   "indexed_attention",
                                                   "mamba",
                                                   "conv",
                                                   "hybrid"};
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    if (kinds[i] == "attention") kinds[i] = kKnown[0];  // as older files say it
    if (kinds[i] == rule.word) kinds[i] = kKnown[1];
    if (!rule.recurs.empty() && (kinds[i] == rule.recurs || kinds[i] == "linear_attention")) {
      kinds[i] = "recurs";
      continue;
    }
    if (std::find(kKnown.begin(), kKnown.end(), kinds[i]) != kKnown.end()) continue;
    const std::string key = "layer_types[" + std::to_string(i) + "]";
    if (std::find(kOthers.begin(), kOthers.end(), kinds[i]) != kOthers.end()) {
      c.fault(key, "'" + kinds[i] + "' is not built here", "capture the model");
    } else {
      c.fault(key, "unknown '" + kinds[i].substr(0, 40) + "'",
              "known here: full_attention, sliding_attention");
    }
    break;
  }
  if (!kinds.empty() && static_cast<std::int64_t>(kinds.size()) != layers) {
    c.fault("layer_types",
            "names " + std::to_string(kinds.size()) + " layers of " + std::to_string(layers));
  }
  return kinds;
}

bool slides_by_rule(const WindowRule& rule, std::int64_t layer) {
  if (rule.full > 0 && (rule.first ? layer : layer + 1) % rule.full == 0) return false;
  return layer >= rule.pause && (rule.end == 0 || layer < rule.end);
}

}  // namespace

bool DecoderSpec::slides(std::int64_t layer) const {
  return window > 0 && layer_slides && layer_slides(layer);
}

void read_windows(ConfigReader& c, DecoderSpec& s) {
  std::optional<WindowRule> rule = window_rule(c.text({"model_type"}, ""));
  const std::vector<std::string> kinds = read_layer_types(c, s.layers, rule.value_or(WindowRule{}));
  if (!rule) return;
  const std::optional<std::int64_t> window = c.maybe_whole({rule->key}, 0, limits::kPositions);
  const bool used = c.flag({"use_sliding_window"}, !rule->asked);
  if (used) s.window = window.value_or(c.has(rule->key) ? 0 : rule->window);
  if (rule->pause > 0) {
    rule->pause = c.whole({"max_window_layers"}, rule->pause, 0, limits::kLayers);
  }
  if (rule->end > 0) rule->end = c.whole({"max_window_layers"}, rule->end, 0, limits::kLayers);
  if (rule->full > 0 && rule->end == 0 && !rule->first) {
    rule->full = c.is_text("sliding_window_pattern")  // "LLLG": every fourth sees all
                     ? static_cast<std::int64_t>(c.text({"sliding_window_pattern"}, "").size())
                     : c.whole({"sliding_window_pattern"}, rule->full, 0);
  }
  if (!rule->recurs.empty() && !kinds.empty()) {
    s.layer_recurs = [kinds](std::int64_t i) {
      return kinds.at(static_cast<std::size_t>(i)) == "recurs";
    };
  }
  s.layer_slides = [kinds, rule = *rule](std::int64_t i) {
    if (kinds.empty()) return slides_by_rule(rule, i);
    return kinds.at(static_cast<std::size_t>(i)) == "sliding_attention";
  };
}

void note_windows(GraphWriter& w, const DecoderSpec& s) {
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < s.layers; ++i) count += s.slides(i) ? 1 : 0;
  if (count == 0) return;
  const std::string where = count < s.layers ? " in " + std::to_string(count) + " of " +
                                                   std::to_string(s.layers) + " layers"
                                             : "";
  w.note("attention in a window of " + std::to_string(s.window) + " positions" + where +
         " is counted in full, as PyTorch computes it under a mask" +
         (s.masks_window() ? "" : ", which only longer sequences have"));
}

}  // namespace parallel_opt::hf
