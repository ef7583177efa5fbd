#include "parallel_opt/importers/hf_reader.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "parallel_opt/base/text.h"
#include "parallel_opt/importers/hf_decoder.h"

namespace parallel_opt::hf {
namespace {

using Kind = JsonTree::Kind;

std::string kind_text(const JsonTree::Node& node) {
  switch (node.kind()) {
    case Kind::boolean:
      return node.boolean() ? "true" : "false";
    case Kind::integer:
    case Kind::number:
      return node.dump();
    case Kind::string:
      return "\"" + std::string(node.string().substr(0, 40)) + "\"";
    case Kind::array:
      return "a list";
    case Kind::object:
      return "an object";
    default:
      return "null";
  }
}

/// Letters and digits, small: "Qwen2Moe" and "qwen2_moe" are alike.
std::string letters(std::string_view text) {
  std::string kept = lower_case(std::string(text));
  std::erase_if(kept, [](unsigned char c) { return std::isalnum(c) == 0; });
  return kept;
}

/// "ast" of audio-spectrogram-transformer.
std::string initials(std::string_view type) {
  std::string first;
  for (std::size_t i = 0; i < type.size(); ++i) {
    const bool begins = i == 0 || type[i - 1] == '-' || type[i - 1] == '_';
    if (begins) first.push_back(type[i]);
  }
  return first.size() > 1 ? lower_case(first) : "";
}

struct ArchitectureSuffix {
  std::string_view suffix;
  HeadKind head;
};
constexpr std::array kSuffixes = {
    ArchitectureSuffix{"ForCausalLM", HeadKind::causal_lm},
    ArchitectureSuffix{"LMHeadModel", HeadKind::causal_lm},
    ArchitectureSuffix{"ForMaskedLM", HeadKind::masked_lm},
    ArchitectureSuffix{"ForSequenceClassification", HeadKind::sequence_classification},
    ArchitectureSuffix{"ForConditionalGeneration", HeadKind::conditional_generation},
    ArchitectureSuffix{"ForImageClassification", HeadKind::image_classification},
    ArchitectureSuffix{"ForImageClassificationWithTeacher",
                       HeadKind::image_classification_with_teacher},
    ArchitectureSuffix{"ForMaskedImageModeling", HeadKind::masked_image},
    ArchitectureSuffix{"ForVideoClassification", HeadKind::video_classification},
    ArchitectureSuffix{"ForObjectDetection", HeadKind::object_detection},
    ArchitectureSuffix{"ForSemanticSegmentation", HeadKind::semantic_segmentation},
    ArchitectureSuffix{"ForDepthEstimation", HeadKind::depth_estimation},
    ArchitectureSuffix{"ForCTC", HeadKind::ctc},
    ArchitectureSuffix{"ForAudioClassification", HeadKind::audio_classification},
    ArchitectureSuffix{"ForPreTraining", HeadKind::pretraining},
    ArchitectureSuffix{"ForNextSentencePrediction", HeadKind::next_sentence},
    ArchitectureSuffix{"ForTokenClassification", HeadKind::token_classification},
    ArchitectureSuffix{"ForQuestionAnswering", HeadKind::question_answering},
    ArchitectureSuffix{"ForMultipleChoice", HeadKind::multiple_choice},
    ArchitectureSuffix{"TextModelWithProjection", HeadKind::text_with_projection},
    ArchitectureSuffix{"VisionModelWithProjection", HeadKind::vision_with_projection},
    ArchitectureSuffix{"EncoderModel", HeadKind::encoder},
    ArchitectureSuffix{"DoubleHeadsModel", HeadKind::other},
    ArchitectureSuffix{"TextModel", HeadKind::text},
    ArchitectureSuffix{"VisionModel", HeadKind::vision},
    ArchitectureSuffix{"MTModel", HeadKind::conditional_generation},
    ArchitectureSuffix{"Model", HeadKind::base},
};

/// Words of keys that say how a model is built.
constexpr auto kStructural = std::to_array<std::string_view>(
    {"num_",   "n_",      "_size",       "_dim",   "_rank",        "layer", "head",  "expert",
     "_act",   "_step",   "_freq",       "width",  "depth",        "_bias", "block", "hidden",
     "conv",   "qk_norm", "alibi",       "window", "moe",          "lora",  "tie_",  "parallel",
     "cross_", "pruned",  "multi_query", "shared", "bidirectional"});

/// Keys with such words that change neither operators nor parameters.
constexpr std::array<std::string_view, 34> kHarmless = {"layer_norm_eps",
                                                        "layer_norm_epsilon",
                                                        "num_return_sequences",
                                                        "num_beams",
                                                        "num_beam_groups",
                                                        "no_repeat_ngram_size",
                                                        "encoder_no_repeat_ngram_size",
                                                        "use_cache",
                                                        "output_hidden_states",
                                                        "max_position_embeddings",
                                                        "n_positions",
                                                        "n_ctx",
                                                        "original_max_position_embeddings",
                                                        "rope_scaling",
                                                        "rope_parameters",
                                                        "rope_theta",
                                                        "chunk_size_feed_forward",
                                                        "initializer_range",
                                                        "layer_types",
                                                        "max_window_layers",
                                                        "num_labels",
                                                        "id2label",
                                                        "label2id",
                                                        "layerdrop",
                                                        "encoder_layerdrop",
                                                        "decoder_layerdrop",
                                                        "head_dim",
                                                        "logits_to_keep",
                                                        "router_aux_loss_coef",
                                                        "pretraining_tp",
                                                        "ep_size",
                                                        "aux_loss_alpha",
                                                        "num_hidden_layers",
                                                        "attn_implementation"};

bool structural(std::string_view key) {
  if (std::find(kHarmless.begin(), kHarmless.end(), key) != kHarmless.end()) return false;
  if (key.ends_with("_token_id") || key.ends_with("_token_index")) return false;
  if (key.ends_with("dropout") || key.starts_with('_')) return false;
  return std::any_of(kStructural.begin(), kStructural.end(), [&](std::string_view word) {
    return word == "n_" ? key.starts_with(word) : key.find(word) != key.npos;
  });
}

/// Families whose classes in transformers are another's.
bool borrows(std::string_view type, std::string_view stem) {
  return stem == "llama" && (type == "internlm3" || type == "iquestcoder");
}

}  // namespace

ConfigReader::ConfigReader(JsonTree::Node object, std::string where, std::vector<Fault>& faults,
                           std::vector<std::string>& notes)
    : object_(object), where_(std::move(where)), faults_(&faults), notes_(&notes) {}

std::string ConfigReader::at(std::string_view key) const {
  const char* const separator = where_.find(':') == where_.npos ? ":" : ".";
  return where_ + separator + std::string(key);
}

void ConfigReader::fault(std::string_view key, std::string what, std::string hint) {
  faults_->push_back({at(key), std::move(what), std::move(hint)});
}

JsonTree::Node ConfigReader::find(Keys keys, std::string_view& found) {
  found = *keys.begin();
  JsonTree::Node result;
  for (const std::string_view key : keys) {
    read_.emplace(key);
    const JsonTree::Node node = object_[key];
    if (node.none() || !result.none()) continue;
    found = key;
    result = node;
  }
  return result;
}

std::optional<std::int64_t> ConfigReader::maybe_whole(Keys keys, std::int64_t min,
                                                      std::int64_t max) {
  std::string_view key;
  const JsonTree::Node node = find(keys, key);
  if (node.none()) return std::nullopt;
  for (const std::string_view other : keys) {  // names of one thing
    const JsonTree::Node second = object_[other];
    if (!second.is(Kind::integer) || !node.is(Kind::integer)) continue;
    if (second.integer() == node.integer()) continue;
    fault(other,
          "is " + std::to_string(second.integer()) + " where " + std::string(key) + " is " +
              std::to_string(node.integer()),
          "they name one thing: leave one out");
    return std::nullopt;
  }
  if (!node.is(Kind::integer)) {
    fault(key, "must be a whole number, is " + kind_text(node));
    return std::nullopt;
  }
  if (node.integer() < min || node.integer() > max) {
    fault(key, "must be " + std::to_string(min) + " to " + std::to_string(max) + ", is " +
                   std::to_string(node.integer()));
    return std::nullopt;
  }
  return node.integer();
}

std::int64_t ConfigReader::whole(Keys keys, std::int64_t fallback, std::int64_t min,
                                 std::int64_t max) {
  for (const std::string_view key : keys) {  // null where a number must stand is no default
    if (object_[key].is(Kind::null)) {
      read_.emplace(key);
      fault(key, "must be a whole number, is null", "leave it out for " + std::to_string(fallback));
      return fallback;
    }
  }
  return maybe_whole(keys, min, max).value_or(fallback);
}

double ConfigReader::real(Keys keys, double fallback) {
  std::string_view key;
  const JsonTree::Node node = find(keys, key);
  if (node.none()) return fallback;
  if (!node.is(Kind::integer) && !node.is(Kind::number)) {
    fault(key, "must be a number, is " + kind_text(node));
    return fallback;
  }
  if (!(node.number() >= 0 && node.number() < 1e30)) {
    fault(key, "must be at least 0, is " + kind_text(node));
    return fallback;
  }
  return node.number();
}

std::array<std::int64_t, 2> ConfigReader::pair(std::string_view key, std::int64_t fallback,
                                               std::int64_t max) {
  if (!object_[key].is(Kind::array)) {
    const std::int64_t both = whole({key}, fallback, 1, max);
    return {both, both};
  }
  const std::vector<std::int64_t> list = whole_list(key);
  if (list.size() == 2 &&
      std::ranges::all_of(list, [&](std::int64_t size) { return size >= 1 && size <= max; })) {
    return {list[0], list[1]};
  }
  if (list.size() == object_[key].size()) {  // else it is told already
    fault(key, "must be a number or two, height and width, of 1 to " + std::to_string(max));
  }
  return {fallback, fallback};
}

bool ConfigReader::flag(Keys keys, bool fallback) {
  std::string_view key;
  const JsonTree::Node node = find(keys, key);
  if (node.none()) return fallback;
  if (node.is(Kind::boolean)) return node.boolean();
  fault(key, "must be true or false, is " + kind_text(node));
  return fallback;
}

std::string ConfigReader::text(Keys keys, std::string_view fallback) {
  std::string_view key;
  const JsonTree::Node node = find(keys, key);
  if (node.none()) return std::string(fallback);
  if (node.is(Kind::string)) return std::string(node.string());
  fault(key, "must be a string, is " + kind_text(node));
  return std::string(fallback);
}

std::string ConfigReader::choice(Keys keys, std::string_view fallback,
                                 const std::vector<std::string>& known) {
  std::string word = text(keys, fallback);
  if (std::find(known.begin(), known.end(), word) != known.end()) return word;
  std::string_view key;
  find(keys, key);
  const std::string nearest = nearest_match(word, known);
  fault(key, "unknown '" + word.substr(0, 40) + "'",
        nearest.empty() ? "one of " + join(known, ", ") : "did you mean '" + nearest + "'?");
  return std::string(fallback);
}

std::string ConfigReader::activation(Keys keys, std::string_view fallback) {
  const std::vector<std::string>& known = known_activations();
  if (std::find(known.begin(), known.end(), fallback) != known.end()) {
    return choice(keys, fallback, known);
  }
  std::vector<std::string> with_own = known;  // a family's own one, which no other takes
  with_own.emplace_back(fallback);
  return choice(keys, fallback, with_own);
}

std::vector<std::int64_t> ConfigReader::whole_list(std::string_view key) {
  std::string_view found;
  const JsonTree::Node node = find({key}, found);
  std::vector<std::int64_t> list;
  if (node.none()) return list;
  if (!node.is(Kind::array)) fault(key, "must be a list, is " + kind_text(node));
  for (std::size_t i = 0; node.is(Kind::array) && i < node.size(); ++i) {
    if (node.at(i).is(Kind::integer)) {
      list.push_back(node.at(i).integer());
    } else {
      fault(std::string(key) + "[" + std::to_string(i) + "]",
            "must be a whole number, is " + kind_text(node.at(i)));
    }
  }
  return list;
}

std::vector<double> ConfigReader::real_list(std::string_view key) {
  std::string_view found;
  const JsonTree::Node node = find({key}, found);
  std::vector<double> list;
  if (node.none()) return list;
  if (!node.is(Kind::array)) fault(key, "must be a list, is " + kind_text(node));
  for (std::size_t i = 0; node.is(Kind::array) && i < node.size(); ++i) {
    if (node.at(i).is(Kind::integer) || node.at(i).is(Kind::number)) {
      list.push_back(node.at(i).number());
    } else {
      fault(std::string(key) + "[" + std::to_string(i) + "]",
            "must be a number, is " + kind_text(node.at(i)));
    }
  }
  return list;
}

std::vector<std::string> ConfigReader::text_list(std::string_view key) {
  std::string_view found;
  const JsonTree::Node node = find({key}, found);
  std::vector<std::string> list;
  if (node.none()) return list;
  if (!node.is(Kind::array)) fault(key, "must be a list, is " + kind_text(node));
  for (std::size_t i = 0; node.is(Kind::array) && i < node.size(); ++i) {
    if (node.at(i).is(Kind::string)) {
      list.emplace_back(node.at(i).string());
    } else {
      fault(std::string(key) + "[" + std::to_string(i) + "]",
            "must be a string, is " + kind_text(node.at(i)));
    }
  }
  return list;
}

std::optional<ConfigReader> ConfigReader::object(std::string_view key) {
  std::string_view found;
  const JsonTree::Node node = find({key}, found);
  if (node.none()) return std::nullopt;
  if (!node.is(Kind::object)) {
    fault(key, "must be an object, is " + kind_text(node));
    return std::nullopt;
  }
  return ConfigReader(node, at(key), *faults_, *notes_);
}

ConfigReader ConfigReader::object_or_empty(std::string_view key) {
  static const JsonTree kNothing("{}", "nothing");
  std::optional<ConfigReader> given = object(key);
  return given ? *given : ConfigReader(kNothing.root(), at(key), *faults_, *notes_);
}

DType ConfigReader::dtype() {
  static const std::vector<std::string> names = {"float32", "bfloat16", "float16", "float64",
                                                 "auto"};
  constexpr std::array kTypes = {DType::fp32, DType::bf16, DType::fp16, DType::fp64, DType::fp32};
  std::string word = text({"dtype", "torch_dtype"}, "float32");
  if (word.starts_with("torch.")) word = word.substr(6);
  const auto at = std::find(names.begin(), names.end(), word);
  if (at != names.end()) return kTypes[static_cast<std::size_t>(at - names.begin())];
  choice({"dtype", "torch_dtype"}, "float32", names);  // says what is known
  return DType::fp32;
}

HeadKind ConfigReader::head(HeadKind fallback, std::initializer_list<HeadKind> allowed) {
  const std::vector<std::string> names = text_list("architectures");
  if (names.empty() || part_) return fallback;
  const auto known_here = [&](HeadKind kind) {
    return std::find(allowed.begin(), allowed.end(), kind) != allowed.end();
  };
  if (known_here(HeadKind::base) &&
      letters(names.front()) == letters(text({"model_type"}, "")) + "model") {
    return HeadKind::base;  // Gemma3TextModel of gemma3_text
  }
  for (const ArchitectureSuffix& known : kSuffixes) {
    if (!std::string_view(names.front()).ends_with(known.suffix)) continue;
    if (!known_here(known.head)) {
      break;  // a longer ending says more: an EncoderModel is no Model
    }
    const std::string_view stem(names.front().data(), names.front().size() - known.suffix.size());
    const std::string type = letters(text({"model_type"}, ""));
    const std::string of = letters(stem);
    if (of.empty() || type.starts_with(of) || borrows(type, of)) return known.head;
    if (std::ranges::is_permutation(of, type)) return known.head;     // HunYuanDenseV1
    if (of == initials(text({"model_type"}, ""))) return known.head;  // AST
    if (known.head == HeadKind::base) break;                          // anything may end so
    notes_->push_back("'" + names.front().substr(0, 60) + "' is read as the " +
                      text({"model_type"}, "") + " of transformers: parts of its own are missing");
    return known.head;
  }
  std::vector<std::string> endings;
  for (const ArchitectureSuffix& known : kSuffixes) {
    if (known_here(known.head) && known.suffix != "MTModel") {  // marian's alone
      endings.push_back("..." + std::string(known.suffix));
    }
  }
  fault("architectures[0]", "the head of '" + names.front().substr(0, 60) + "' is not built",
        "known here: " + join(endings, ", ") +
            "; or capture it: python -m parallel_opt.capture file.py:factory -o model.pt2");
  return fallback;
}

std::int64_t ConfigReader::labels(std::int64_t fallback) {
  const std::optional<ConfigReader> names = object("id2label");
  const std::int64_t named = names ? static_cast<std::int64_t>(names->object_.size()) : fallback;
  return whole({"num_labels"}, std::max<std::int64_t>(named, 1));
}

double ConfigReader::rotary_share(Keys keys, double fallback) {
  double share = real(keys, -1);
  for (const std::string_view nested : {"rope_parameters", "rope_scaling"}) {
    if (share >= 0) break;
    if (std::optional<ConfigReader> rope = object(nested)) {
      share = rope->real({"partial_rotary_factor"}, -1);
    }
  }
  if (share < 0) share = fallback;
  if (share > 1) {
    fault(*keys.begin(), "must be at most 1, is more");
    return fallback;
  }
  return share;
}

bool ConfigReader::divides(std::string_view divisor_key, std::int64_t divisor, std::string_view key,
                           std::int64_t value) {
  if (divisor > 0 && value % divisor == 0) return true;
  fault(divisor_key, std::to_string(divisor) + " does not divide " + std::string(key) + " " +
                         std::to_string(value));
  return false;
}

bool ConfigReader::set(const JsonTree::Node& node) {
  const bool off = node.none() || (node.is(Kind::boolean) && !node.boolean()) ||
                   (node.is(Kind::integer) && node.integer() == 0) ||
                   ((node.is(Kind::array) || node.is(Kind::object)) && node.size() == 0);
  return !off;
}

void ConfigReader::not_built(std::string_view key, std::string_view hint) {
  std::string_view found;
  const JsonTree::Node node = find({key}, found);
  if (set(node)) fault(key, kind_text(node) + " is not built here", std::string(hint));
}

void ConfigReader::note_when_set(std::string_view key, std::string_view text) {
  std::string_view found;
  const JsonTree::Node node = find({key}, found);
  if (!set(node) || (node.is(Kind::number) && node.number() == 0)) return;
  note(std::string(key) + " " + kind_text(node) + ": " + std::string(text));
}

ConfigReader ConfigReader::as_part() const {
  ConfigReader part = *this;
  part.part_ = true;
  return part;
}

void ConfigReader::ignore(Keys keys) { read_.insert(keys.begin(), keys.end()); }

void ConfigReader::note_unread() {
  std::vector<std::string> keys;
  for (std::size_t i = 0; i < object_.size(); ++i) {
    const std::string_view key = object_.key(i);
    if (!set(object_.at(i)) || read_.contains(key) || !structural(key)) continue;
    keys.emplace_back(key.substr(0, 60));
  }
  std::sort(keys.begin(), keys.end());
  const std::size_t colon = where_.find(':');
  const std::string part = colon == where_.npos ? "" : " of " + where_.substr(colon + 1);
  if (!keys.empty()) note("not understood and left out" + part + ": " + join(keys, ", "));
}

}  // namespace parallel_opt::hf
