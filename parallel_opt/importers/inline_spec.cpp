#include "parallel_opt/importers/inline_spec.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "parallel_opt/base/json_traits.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/importers/hf_decoder.h"
#include "parallel_opt/importers/hf_reader.h"

namespace parallel_opt {
namespace {

using hf::DecoderSpec;
using hf::NormKind;
using hf::Positions;
namespace limits = hf::limits;

constexpr std::string_view kPrefix = "transformer:";

const std::vector<std::string>& known_keys() {
  static const std::vector<std::string> keys = {
      "layers",       "hidden",  "heads",     "kv_heads",      "head_dim",
      "ffn",          "vocab",   "seq",       "gated",         "activation",
      "tied",         "norm",    "positions", "bias",          "qk_norm",
      "encoder",      "experts", "top_k",     "expert_ffn",    "shared_experts",
      "dense_layers", "q_rank",  "kv_rank",   "nope_dim",      "rope_dim",
      "value_dim",    "dropout", "dtype",     "expert_groups", "top_groups"};
  return keys;
}

/// "key=value,key=value" with every fault collected.
class SpecReader {
 public:
  explicit SpecReader(const std::string& spec) {
    const std::string_view list = std::string_view(spec).substr(kPrefix.size());
    if (trim(list).empty()) return;  // all defaults
    for (const std::string& part : split(list, ',')) add(part);
  }

  std::int64_t whole(const std::string& key, std::int64_t fallback, std::int64_t max,
                     std::int64_t min = 1) {
    const std::string* text = find(key);
    if (text == nullptr) return fallback;
    std::int64_t value = 0;
    const auto end = std::from_chars(text->data(), text->data() + text->size(), value);
    if (end.ec != std::errc() || end.ptr != text->data() + text->size()) {
      fault(key, "must be a whole number, is '" + *text + "'");
    } else if (value < min || value > max) {
      fault(key, "must be " + std::to_string(min) + " to " + std::to_string(max) + ", is " + *text);
    } else {
      return value;
    }
    return fallback;
  }

  bool flag(const std::string& key, bool fallback) {
    return choice(key, fallback ? "true" : "false", {"true", "false"}) == "true";
  }

  double share(const std::string& key, double fallback) {
    const std::string* text = find(key);
    if (text == nullptr) return fallback;
    double value = -1;
    const auto end = std::from_chars(text->data(), text->data() + text->size(), value);
    const bool whole = end.ec == std::errc() && end.ptr == text->data() + text->size();
    if (whole && value >= 0 && value < 1) return value;
    fault(key, "must be at least 0 and below 1, is '" + *text + "'");
    return fallback;
  }

  std::string choice(const std::string& key, std::string_view fallback,
                     const std::vector<std::string>& known) {
    const std::string* text = find(key);
    if (text == nullptr) return std::string(fallback);
    if (std::find(known.begin(), known.end(), *text) != known.end()) return *text;
    const std::string nearest = nearest_match(*text, known);
    fault(key, "unknown '" + *text + "'",
          nearest.empty() ? "one of " + join(known, ", ") : "did you mean '" + nearest + "'?");
    return std::string(fallback);
  }

  bool has(const std::string& key) const { return values_.contains(key); }
  void fault(const std::string& key, std::string what, std::string hint = {}) {
    faults_.push_back({std::string(kPrefix) + key, std::move(what), std::move(hint)});
  }
  void finish() { throw_if_any(std::move(faults_)); }

 private:
  void add(const std::string& part) {
    const std::size_t equal = part.find('=');
    const std::string key(trim(std::string_view(part).substr(0, equal)));
    if (equal == std::string::npos || key.empty()) {
      return fault("", "'" + part.substr(0, 60) + "' is not key=value",
                   "as in transformer:layers=32,hidden=4096");
    }
    const std::vector<std::string>& known = known_keys();
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      const std::string nearest = nearest_match(key, known);
      return fault(
          key.substr(0, 60), "unknown key",
          nearest.empty() ? "one of " + join(known, ", ") : "did you mean '" + nearest + "'?");
    }
    if (!values_.emplace(key, trim(std::string_view(part).substr(equal + 1))).second) {
      fault(key, "is given twice");
    }
  }

  const std::string* find(const std::string& key) const {
    const auto at = values_.find(key);
    return at == values_.end() ? nullptr : &at->second;
  }

  std::map<std::string, std::string> values_;
  std::vector<Fault> faults_;
};

constexpr std::int64_t kHeadWidth = 64;  // GPT-2's and GPT-3's smaller models
constexpr std::int64_t kMostHeadWidth = 1 << 16;
constexpr std::int64_t kSequence = 1024;  // GPT-2's
/// Ring Attention trained on 10 million tokens; more than a config.json's learned positions may be.
constexpr std::int64_t kLongestSequence = std::int64_t{1} << 27;

/// LLaMA's rule: the parameters of 4 * hidden in three matrices, rounded up to 256.
std::int64_t gated_width(std::int64_t hidden) { return (8 * hidden / 3 + 255) / 256 * 256; }

void read_sizes(SpecReader& r, DecoderSpec& s) {
  s.layers = r.whole("layers", 12, limits::kLayers);
  s.hidden = r.whole("hidden", 768, limits::kWidth);
  const std::int64_t heads = s.hidden % kHeadWidth == 0 ? s.hidden / kHeadWidth : 1;
  s.heads = r.whole("heads", std::min(heads, limits::kHeads), limits::kHeads);
  s.kv_heads = r.whole("kv_heads", s.heads, limits::kHeads);
  if (s.heads % s.kv_heads != 0) {
    r.fault("kv_heads",
            std::to_string(s.kv_heads) + " does not divide heads " + std::to_string(s.heads));
  }
  const bool divides = s.hidden % s.heads == 0;
  s.head_dim = r.whole("head_dim", divides ? s.hidden / s.heads : 1, kMostHeadWidth);
  if (!divides && !r.has("head_dim") && !r.has("kv_rank")) {
    r.fault("heads",
            std::to_string(s.heads) + " does not divide hidden " + std::to_string(s.hidden),
            "give head_dim where heads have a width of their own");
  }
  s.gated = r.flag("gated", false);
  s.ffn = r.whole("ffn", s.gated ? gated_width(s.hidden) : 4 * s.hidden, limits::kFeedForward);
  s.vocab = r.whole("vocab", 50257, limits::kVocabulary);
  s.max_positions = r.whole("seq", kSequence, kLongestSequence);
  s.sequence_hint = s.max_positions;
}

void read_style(SpecReader& r, DecoderSpec& s) {
  const bool rms = r.choice("norm", "layer", {"layer", "rms"}) == "rms";
  s.norm = rms ? NormKind::rms : NormKind::layer;
  s.norm_eps = 1e-5;
  s.activation = r.choice("activation", s.gated ? "silu" : "gelu", hf::known_activations());
  const std::string positions = r.choice("positions", "learned", {"learned", "rope", "none"});
  s.positions = positions == "rope"   ? Positions::rotary
                : positions == "none" ? Positions::none
                                      : Positions::learned;
  if (s.positions == Positions::rotary && s.head_dim % 2 != 0) {
    r.fault("head_dim", "must be even for positions=rope, is " + std::to_string(s.head_dim));
  }
  const bool bias = r.flag("bias", !rms);
  s.qkv_bias = s.o_bias = s.mlp_bias = bias;
  if (!rms && !bias) s.norm = NormKind::layer_no_bias;
  if (r.flag("qk_norm", false)) s.qk_norm = hf::QkNorm::per_head;
  s.qk_norm_kind = s.norm;
  s.tied = r.flag("tied", true);
  s.causal = !r.flag("encoder", false);
  const double dropout = r.share("dropout", 0);
  s.attention_dropout = s.residual_dropout = s.embed_dropout = dropout;
}

void read_latent(SpecReader& r, DecoderSpec& s) {
  if (!r.has("kv_rank")) {
    for (const char* key : {"q_rank", "nope_dim", "rope_dim", "value_dim"}) {
      if (r.has(key)) r.fault(key, "belongs to latent attention", "give kv_rank too");
    }
    return;
  }
  hf::LatentAttention a;
  a.kv_rank = r.whole("kv_rank", 512, limits::kWidth);
  a.q_rank = r.whole("q_rank", 0, limits::kWidth, 0);
  a.nope = r.whole("nope_dim", 128, kMostHeadWidth);
  a.rope = r.whole("rope_dim", 64, kMostHeadWidth, 2);
  a.value = r.whole("value_dim", a.nope, kMostHeadWidth);
  s.latent = a;
  s.positions = Positions::rotary;
}

/// A router that picks groups of experts first.
void read_groups(SpecReader& r, hf::MixtureOfExperts& m) {
  m.groups = r.whole("expert_groups", 0, limits::kExperts, 0);
  m.top_groups = r.whole("top_groups", m.groups, limits::kExperts, 0);
  if (m.groups == 0) {
    if (r.has("top_groups")) r.fault("top_groups", "belongs to groups", "give expert_groups too");
    return;
  }
  if (m.experts % m.groups != 0) {
    r.fault("expert_groups",
            std::to_string(m.groups) + " do not divide " + std::to_string(m.experts) + " experts");
  } else if (m.top_groups < 1 || m.top_groups > m.groups) {
    r.fault("top_groups",
            std::to_string(m.top_groups) + " of " + std::to_string(m.groups) + " groups");
  } else if (m.top_k > m.top_groups * (m.experts / m.groups)) {
    r.fault("top_k", std::to_string(m.top_k) + " of the experts of " +
                         std::to_string(m.top_groups) + " groups");
  }
  m.router = hf::RouterKind::softmax_groups;
}

void read_experts(SpecReader& r, DecoderSpec& s) {
  const std::int64_t experts = r.whole("experts", 0, limits::kExperts, 0);
  if (experts == 0) {
    for (const char* key :
         {"top_k", "expert_ffn", "shared_experts", "dense_layers", "expert_groups", "top_groups"}) {
      if (r.has(key)) r.fault(key, "belongs to a mixture of experts", "give experts too");
    }
    return;
  }
  hf::MixtureOfExperts m;
  m.experts = experts;
  m.top_k = r.whole("top_k", std::min<std::int64_t>(2, experts), limits::kExperts);
  if (m.top_k > experts) {
    r.fault("top_k", std::to_string(m.top_k) + " of " + std::to_string(experts) + " experts");
  }
  m.ffn = r.whole("expert_ffn", s.ffn, limits::kFeedForward);
  m.shared_ffn = m.ffn * r.whole("shared_experts", 0, 64, 0);
  m.renormalise = true;
  m.gated = s.gated;
  read_groups(r, m);
  s.moe = m;
  const std::int64_t dense = r.whole("dense_layers", 0, limits::kLayers, 0);
  s.layer_has_experts = [dense](std::int64_t i) { return i >= dense; };
}

}  // namespace

Graph read_inline_spec(const std::string& spec) {
  SpecReader r(spec);
  DecoderSpec s;
  s.names.positions = "embed_positions";
  read_sizes(r, s);
  read_style(r, s);
  read_latent(r, s);
  read_experts(r, s);
  const std::string dtype = r.choice("dtype", "fp32", {"fp32", "bf16", "fp16", "fp64"});
  r.finish();
  hf::GraphWriter writer("transformer", spec, enum_from<DType>(dtype).value_or(DType::fp32));
  return build_decoder(writer, s);
}

std::string with_sequence(const std::string& spec, std::int64_t sequence) {
  if (!spec.starts_with(kPrefix) || sequence <= kSequence) return spec;
  if (SpecReader(spec).has("seq")) return spec;
  const bool none = trim(std::string_view(spec).substr(kPrefix.size())).empty();
  return spec + (none ? "" : ",") + "seq=" + std::to_string(sequence);
}

}  // namespace parallel_opt
