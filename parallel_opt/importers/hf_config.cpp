#include "parallel_opt/importers/hf_config.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "parallel_opt/base/json_traits.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/importers/hf_families.h"

namespace parallel_opt {
namespace {

using hf::HfFamily;

const char* const kCapture =
    "capture it: python -m parallel_opt.capture file.py:factory -o model.pt2, or give "
    "file.py:factory as MODEL";

std::vector<HfFamily> all_families() {
  std::vector<HfFamily> all;
  for (const std::span<const HfFamily> part :
       {hf::decoder_families(),     hf::early_decoder_families(),  hf::further_decoder_families(),
        hf::expert_families(),      hf::further_expert_families(), hf::encoder_families(),
        hf::sequence_families(),    hf::vision_families(),         hf::further_vision_families(),
        hf::convnext_families(),    hf::swin_families(),           hf::deberta_families(),
        hf::modernbert_families(),  hf::multimodal_families(),     hf::sight_families(),
        hf::mobile_families(),      hf::detr_families(),           hf::qwen_vision_families(),
        hf::llama4_families(),      hf::speech_families(),         hf::state_space_families(),
        hf::hybrid_families(),      hf::further_hybrid_families(), hf::delta_families(),
        hf::decoder_kin_families(), hf::expert_kin_families(),     hf::encoder_kin_families(),
        hf::vision_kin_families(),  hf::video_families(),          hf::t5_families(),
        hf::resnet_families(),      hf::segformer_families()}) {
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

/// The known type that is most likely the relative: "gemma3" begins gemma3_text, "qwen2_vl" begins
/// with qwen2, "lama" is almost llama, "deberta-v2" has bert in it, "longt5" ends with t5.
std::string nearest_family(std::string_view type) {
  const std::vector<std::string> known = hf_families();
  std::string begun, within, inside;
  for (const std::string& one : known) {
    if (one.starts_with(type) && type.size() >= 3 && (begun.empty() || one.size() < begun.size())) {
      begun = one;
    }
    const bool word =
        type.size() > one.size() && std::isalpha(static_cast<unsigned char>(type[one.size()])) == 0;
    if (type.starts_with(one) && word && one.size() > within.size()) within = one;
    const bool ends = type.ends_with(one) && inside.empty();
    if (ends ||
        (type.find(one) != type.npos && one.size() > std::max<std::size_t>(3, inside.size()))) {
      inside = one;
    }
  }
  // Of three letters, two may differ: that is no likeness.
  const std::string like = type.size() > 3 ? nearest_match(type, known) : std::string();
  for (const std::string& candidate : {begun, within, like}) {
    if (!candidate.empty()) return candidate;
  }
  return inside;
}

const HfFamily& family_of(const JsonTree::Node& root, const std::string& name,
                          const std::vector<HfFamily>& families) {
  const JsonTree::Node type = root["model_type"];
  if (!type.is(JsonTree::Kind::string)) {
    throw InputError(name + ":model_type", type.none() ? "is missing" : "must be a string",
                     "is this a Hugging Face config.json?");
  }
  const auto known = std::find_if(families.begin(), families.end(),
                                  [&](const HfFamily& f) { return f.type == type.string(); });
  if (known != families.end()) return *known;
  const std::string nearest = nearest_family(type.string());
  throw InputError(name + ":model_type",
                   "unknown model type '" + std::string(type.string().substr(0, 60)) + "'",
                   (nearest.empty() ? "" : "the nearest known one is '" + nearest + "'; ") +
                       std::string(kCapture));
}

/// Sizes are each believable; their product may still not be.
void check_size(const Graph& graph, const std::string& name) {
  constexpr double kMostParameters = 1e15;
  double parameters = 0;
  for (const Tensor& tensor : graph.tensors) {
    if (tensor.role != TensorRole::parameter) continue;
    double count = 1;
    for (const Dim& dim : tensor.shape) count *= static_cast<double>(dim.size);
    parameters += count;
  }
  if (parameters > kMostParameters) {
    throw InputError(name, "describes " + show(parameters) + " parameters", "at most 1e15");
  }
}

/// Python writes Infinity and NaN, which JSON does not know; errors keep their place.
std::string plain_json(std::string_view text) {
  std::string plain(text);
  bool quoted = false;
  for (std::size_t i = 0; i < plain.size(); ++i) {
    if (plain[i] == '"') quoted = !quoted;
    if (quoted && plain[i] == '\\') ++i;
    if (quoted) continue;
    for (const std::string_view word : {"-Infinity", "Infinity", "NaN"}) {
      if (plain.compare(i, word.size(), word) != 0) continue;
      std::string instead = word == "NaN" ? "0" : "null";
      instead.resize(word.size(), ' ');
      plain.replace(i, word.size(), instead);
    }
  }
  return plain;
}

/// Weights in few bits: the graph has the model as it was before.
void note_quantization(hf::ConfigReader& c, DType dtype) {
  std::optional<hf::ConfigReader> q = c.object("quantization_config");
  if (!q) return;
  const std::string method = q->text({"quant_method"}, "unknown method");
  std::optional<std::int64_t> bits = q->maybe_whole({"bits", "w_bit"}, 1, 64);
  if (!bits && (q->flag({"load_in_4bit", "_load_in_4bit"}, false) || method == "mxfp4")) bits = 4;
  if (!bits && (q->flag({"load_in_8bit", "_load_in_8bit"}, false) || method == "fp8")) bits = 8;
  c.note("quantization_config (" + method.substr(0, 40) +
         (bits ? ", " + std::to_string(*bits) + " bits" : "") + "): weights are counted in " +
         std::string(name_of(dtype)) +
         (bits ? "; quantised ones would take " + std::to_string(*bits) + " of " +
                     std::to_string(8 * size_of(dtype)) + " bits"
               : ""));
}

HfFamily::Writing decoder_writing(const HfFamily& family, hf::ConfigReader& c) {
  hf::DecoderSpec spec = family.decoder(c);
  hf::check_rotary(c, spec);
  return hf::writing(std::move(spec));
}

/// Which angles positions turn by changes numbers, no counts.
void note_rotary_kind(hf::ConfigReader& c) {
  constexpr auto kKnown =
      std::to_array<std::string_view>({"default", "linear", "dynamic", "yarn", "longrope", "su",
                                       "llama3", "mrope", "proportional", "ntk", "deepseek_yarn"});
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    std::optional<hf::ConfigReader> rope = c.object(key);
    if (!rope) continue;
    const std::string kind = rope->text({"rope_type", "type"}, "default");
    if (std::ranges::find(kKnown, kind) != kKnown.end()) continue;
    c.note(std::string(key) + ": '" + kind.substr(0, 40) +
           "' is no kind of rotation that is known here; counts do not depend on it");
  }
}

/// What changes a step but not the model.
void note_training(hf::ConfigReader& c) {
  for (const char* key : {"layerdrop", "encoder_layerdrop", "decoder_layerdrop"}) {
    c.note_when_set(key, "counted as if no layer was dropped");
  }
  c.note_when_set("gradient_checkpointing", "what is recomputed is the plan's choice");
  c.note_when_set("output_router_logits", "the loss that balances experts is left out");
  for (const char* key : {"pruned_heads", "tie_encoder_decoder"}) {
    c.not_built(key, "capture the model");
  }
}

}  // namespace

std::vector<std::string> hf_families() {
  std::vector<std::string> types;
  for (const HfFamily& family : all_families()) types.emplace_back(family.type);
  std::sort(types.begin(), types.end());
  return types;
}

Graph read_hf_config(std::string_view json, const std::string& name) {
  const JsonTree tree(plain_json(json), name);
  if (!tree.root().is(JsonTree::Kind::object)) {
    throw InputError(name, "must hold one object", "is this a Hugging Face config.json?");
  }
  const std::vector<HfFamily> families = all_families();
  const HfFamily& family = family_of(tree.root(), name, families);
  std::vector<Fault> faults;
  std::vector<std::string> notes;
  hf::ConfigReader reader(tree.root(), name, faults, notes);
  const DType dtype = reader.dtype();
  const auto write =
      family.decoder != nullptr ? decoder_writing(family, reader) : family.read(reader);
  reader.ignore({"model_type", "architectures"});
  note_training(reader);
  note_rotary_kind(reader);
  note_quantization(reader, dtype);
  reader.note_unread();
  throw_if_any(std::move(faults));
  const JsonTree::Node architecture = tree.root()["architectures"].at(0);
  const std::string_view called =
      architecture.is(JsonTree::Kind::string) ? architecture.string() : family.type;
  hf::GraphWriter writer(std::string(called), name, dtype);
  for (std::string& note : notes) writer.note(std::move(note));
  Graph graph = write(writer);
  check_size(graph, name);
  return graph;
}

}  // namespace parallel_opt
