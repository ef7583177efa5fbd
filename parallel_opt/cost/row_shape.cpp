#include "parallel_opt/cost/row_shape.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "parallel_opt/base/embedded.h"
#include "parallel_opt/base/json.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/row_patches.h"
#include "parallel_opt/cost/row_size.h"
#include "parallel_opt/cost/stated_number.h"

namespace parallel_opt {
namespace {

/// Shapes of models that tables name without printing their dimensions.
struct KnownModel {
  std::string word;  ///< of the model's name, lower case
  std::string spec;  ///< "layers=32,hidden=4096,..."
  std::optional<double> seq;
  std::optional<double> params_b;  ///< where the word says no size and others of its name have one
  std::string source;
};

template <class Visitor, class T>
  requires SameAs<T, KnownModel>
void fields(Visitor& visit, T& model) {
  visit("word", model.word, "part of the name, lower case");
  visit("spec", model.spec, "keys of an inline spec");
  visit("seq", model.seq, "usual sequence length");
  visit("params_b", model.params_b, "parameters in 1e9, of a name that others share");
  visit("source", model.source, "where its shape is stated");
}

struct KnownModels {
  std::vector<KnownModel> models;
};

template <class Visitor, class T>
  requires SameAs<T, KnownModels>
void fields(Visitor& visit, T& table) {
  visit.schema("parallel-opt/known-models/1");
  visit("models", table.models, "longest word first");
}

/// Lower case without what separates the parts of a name ("3.0" is "3"); `edges` are the places
/// between parts, and around what stands in brackets or a list.
std::string joined(const std::string& name, std::set<std::size_t>& edges) {
  static const std::regex first_release(R"(([0-9])\.0(?![0-9.]))");
  std::string text;
  for (const char c : std::regex_replace(lower_case(name), first_release, "$1")) {
    if (c == ' ' || c == '-' || c == '_') {
      edges.insert(text.size());
      continue;
    }
    if (c == ')' || c == ',') edges.insert(text.size());
    text += c;
  }
  edges.insert({0, text.size()});
  return text;
}

/// "deepseek v3" is in "DeepSeek-V3 (fp8)", "gpt2" in "GPT2-24B" and not in "GPT-20B".
bool names_model(const std::string& name, const std::string& word) {
  std::set<std::size_t> edges, ignored;
  const std::string text = joined(name, edges);
  const std::string part = joined(word, ignored);
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    if (edges.contains(at + part.size())) return true;
  }
  return false;
}

/// By parameters or, where nobody says them, by width.
bool is_of_size(const KnownModel& model, const std::optional<double>& size,
                const std::optional<double>& hidden) {
  constexpr double kOfItsSize = 0.1;
  if (!model.params_b) return true;
  if (size) return std::abs(*size / *model.params_b - 1) < kOfItsSize;
  const auto width = "hidden=" + std::to_string(std::int64_t(hidden.value_or(0))) + ',';
  return !hidden || (model.spec + ',').find(width) != std::string::npos;
}

const KnownModels& known_models() {
  static const KnownModels table =
      from_json<KnownModels>(embedded_file("data/models.json").value(), "data/models.json");
  return table;
}

/// By its name, and its size where that has a column of its own: "LLaMA", 7.
const KnownModel* known_model(const TrainingRow& row, const std::optional<PatchModel>& patches) {
  const KnownModels& table = known_models();
  std::string name = patches ? patches->word : row.model_name;
  if (!size_in_name(name) && row.params_b) {
    std::ostringstream text;
    text << name << ' ' << *row.params_b << 'B';
    name = text.str();
  }
  const std::optional<double> size = size_in_name(name);
  // "Granite 7B (Llama 2 architecture)".
  static const std::regex kin(R"(\b([a-z]+[ -]?[0-9]?(\.[0-9])?)[ -](architecture|style|like)\b)",
                              std::regex::icase);
  std::smatch of;
  if (size && std::regex_search(row.model_name, of, kin)) {
    std::ostringstream text;
    text << name << ' ' << of[1] << ' ' << *size << 'B';
    name = text.str();
  }
  const KnownModel* best = nullptr;
  for (const KnownModel& model : table.models) {
    const bool longer = best == nullptr || model.word.size() > best->word.size();
    if (longer && is_of_size(model, size, row.hidden) && names_model(name, model.word))
      best = &model;
  }
  return best;
}

void put(std::map<std::string, std::string>& keys, const std::string& key,
         const std::optional<double>& value) {
  if (value) keys[key] = std::to_string(std::int64_t(std::llround(*value)));
}

void put_all(std::map<std::string, std::string>& keys, const std::string& spec) {
  for (const std::string& pair : split(spec, ',')) {
    const std::size_t equal = pair.find('=');
    if (equal != std::string::npos) keys[pair.substr(0, equal)] = pair.substr(equal + 1);
  }
}

/// Encoders of pictures, in keys of an inline spec: patches come in and classes, or the noise of a
/// patch of 4 channels and its variance, go out.
std::string style_of(const PatchModel& model) {
  return std::string("encoder=true,norm=layer,gated=false,tied=false,vocab=") +
         (model.modulated ? "32," : "1000,") + model.spec;
}

std::string model_spec(const TrainingRow& row, const KnownModel* known,
                       const std::optional<PatchModel>& patches, std::vector<std::string>& notes) {
  std::map<std::string, std::string> keys;
  // However a known name is spelt.
  if (is_llama_like(known != nullptr ? known->word : row.model_name)) {
    keys = {{"gated", "true"},
            {"norm", "rms"},
            {"positions", "rope"},
            {"tied", "false"},
            {"bias", "false"}};
  }
  const bool unknown = known == nullptr && !patches;
  const ShapeBySize shape = unknown ? shape_by_size(row, notes) : shape_by_size(row);
  if (shape.gated) keys["gated"] = *shape.gated ? "true" : "false";
  if (shape.tied) keys["tied"] = *shape.tied ? "true" : "false";
  if (patches) put_all(keys, style_of(*patches));
  if (known != nullptr) put_all(keys, known->spec);
  put(keys, "layers", row.layers);
  put(keys, "hidden", row.hidden);
  put(keys, "heads", row.heads ? row.heads : shape.heads);
  put(keys, "kv_heads", row.kv_heads ? row.kv_heads : shape.kv_heads);
  const bool experts = row.experts && *row.experts > 1;
  put(keys, experts && !keys.contains("expert_ffn") ? "expert_ffn" : "ffn",
      shape.ffn_hidden ? shape.ffn_hidden : row.ffn_hidden);
  put(keys, "vocab", row.vocab ? row.vocab : shape.vocab);
  if (experts) put(keys, "experts", row.experts);
  if (row.topk && *row.topk > 0) put(keys, "top_k", row.topk);
  static const std::regex beside(R"(\b([0-9]{1,3}|an?|one|two)\s+shared\s+experts?)",
                                 std::regex::icase);
  std::smatch said;
  if (experts && std::regex_search(row.notes, said, beside)) {
    const std::string count = lower_case(said[1].str());
    const bool one = count == "a" || count == "an" || count == "one";
    keys["shared_experts"] = one ? "1" : count == "two" ? "2" : count;
  }
  if (!keys.contains("layers") || !keys.contains("hidden")) return "";
  const std::int64_t hidden = std::stoll(keys["hidden"]);
  const auto heads = keys.find("heads");
  const bool divides = heads == keys.end() || hidden % std::stoll(heads->second) == 0;
  if (!divides && !keys.contains("head_dim")) {
    keys["head_dim"] =
        std::to_string(std::max<std::int64_t>(1, hidden / std::stoll(heads->second)));
  }
  std::string spec;
  for (const auto& [key, value] : keys)
    spec += (spec.empty() ? "transformer:" : ",") + key + "=" + value;
  return spec;
}

}  // namespace

double number_of(const std::string& spec, const std::string& key) {
  for (const std::string& pair : split(spec.substr(spec.find(':') + 1), ',')) {
    if (pair.starts_with(key + "=")) return std::strtod(pair.c_str() + key.size() + 1, nullptr);
  }
  return 0;
}

bool is_known_by_its_size(const TrainingRow& row) {
  const KnownModel* known = known_model(row, patch_model(row));
  const std::optional<double> size = any_size_in_name(row.model_name);
  return known != nullptr && size && any_size_in_name(known->word) == size;
}

std::string nearest_known_model(const std::string& name) {
  std::set<std::size_t> ignored;
  std::vector<std::string> words;
  for (const KnownModel& model : known_models().models) {
    words.push_back(joined(model.word, ignored));
  }
  const std::string nearest = nearest_match(joined(name, ignored), words);
  const auto at = std::ranges::find(words, nearest) - words.begin();
  return nearest.empty() ? "" : known_models().models[std::size_t(at)].word;
}

RowShape shape_of(const TrainingRow& stated, std::vector<std::string>& notes) {
  TrainingRow row = stated;
  if (!row.layers) {
    row.layers = layers_in_name(row.model_name);
    if (row.layers) {
      notes.push_back("layers = " + std::to_string(std::int64_t(*row.layers)) +
                      ", as model_name says");
    }
  }
  const auto patches = patch_model(row);
  const KnownModel* known = known_model(row, patches);
  RowShape shape;
  shape.spec = model_spec(row, known, patches, notes);
  if (known != nullptr) shape.seq = known->seq;
  if (!patches) return shape;
  shape.seq = patches->tokens;
  shape.patches = patches->how;
  shape.modulated = patches->modulated;
  return shape;
}

}  // namespace parallel_opt
