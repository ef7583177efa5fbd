#include "parallel_opt/cost/row_patches.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <regex>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/row_claims.h"
#include "parallel_opt/cost/stated_number.h"

namespace parallel_opt {
namespace {

constexpr double kImage = 224;         // pixels of a side, as ViT is trained and compared
constexpr double kLatentImage = 256;   // DiT's
constexpr double kPixelsOfLatent = 8;  // its autoencoder halves a side three times

/// A size as names have it, in small letters; "g" and "G" are two models.
struct Size {
  const char* names;  ///< a pattern
  const char* word;   ///< of data/models.json
  double patch;
};
constexpr auto kVisionSizes = std::to_array<Size>({{"ti|tiny", "vit-ti-16", 16},
                                                   {"s|small", "vit-s-16", 16},
                                                   {"b|base", "vit-b-16", 16},
                                                   {"l|large", "vit-l-16", 16},
                                                   {"h|huge", "vit-h-14", 14},
                                                   {"g|giant", "vit-giant-14", 14},
                                                   {"gg|bigg|gigantic", "vit-gigantic-14", 14},
                                                   {"e|enormous", "vit-e-14", 14},
                                                   {"22b", "vit-22b", 14}});
/// [peebles2023] table 1.
constexpr auto kLatentSizes =
    std::to_array<Size>({{"s|small", "layers=12,hidden=384,heads=6,ffn=1536", 2},
                         {"b|base", "layers=12,hidden=768,heads=12,ffn=3072", 2},
                         {"l|large", "layers=24,hidden=1024,heads=16,ffn=4096", 2},
                         {"xl", "layers=28,hidden=1152,heads=16,ffn=4608", 2}});

constexpr const char* kFamily = R"((?:^|[^a-z0-9])(vit|deit|dit|vision[ _-]transformer)(?![a-z]))";

/// The size behind the family's name: "B" of "ViT-B/16".
template <std::size_t N>
const Size* size_named(const std::string& name, const std::array<Size, N>& sizes) {
  static const std::regex behind(R"((?:vit|de?it|transformer)[ _-]?([a-z]+|[0-9]+b)(?![a-z0-9]))",
                                 std::regex::icase);
  std::smatch match;
  if (!std::regex_search(name, match, behind)) return nullptr;
  const std::string said = match[1] == "G" ? "gg" : lower_case(match[1]);
  for (const Size& one : sizes) {
    if (std::regex_match(said, std::regex(one.names))) return &one;
  }
  return nullptr;
}

/// "ViT-B/16", "224/14", "ViT-B-32", "vit_base_patch16_224", "patch size 16", "14 x 14 patches".
std::optional<double> patch_in(const std::string& name, const std::string& notes) {
  static const std::regex in_name(
      R"(/ ?([1-9][0-9]?)(?![0-9])|(?:[stbhlg]|base|small|large|huge|tiny)[ _-](14|16|32)(?![0-9]))",
      std::regex::icase);
  static const std::regex in_words(
      R"(\b[0-9]{3,4} ?/ ?([1-9][0-9]?)(?![0-9])|(?:\b|_)patch(?:es)?(?:[ _-]size)?(?: of)?[ =:_]{0,2}([1-9][0-9]?)(?![0-9]))"
      R"(|\b([1-9][0-9]?) ?x ?[1-9][0-9]?[ -]patch)",
      std::regex::icase);
  if (const auto found = number_in(name, in_words)) return found;
  if (const auto found = number_in(name, in_name)) return found;
  return number_in(notes, in_words);
}

/// "@336", "224/14", "224px", "224x224", "patch16_384", "resolution 384", "image size 224".
std::optional<double> image_in(const std::string& text) {
  static const std::regex image(
      R"(@ ?([1-9][0-9]{1,3})\b|(?:\b|_)patch[0-9]{1,2}[_-]([1-9][0-9]{2,3})(?![0-9])|\b([1-9][0-9]{2,3}) ?(?:px|pixels?\b|x ?[1-9][0-9]{2,3}\b)|\b([1-9][0-9]{2,3}) ?/ ?[1-9][0-9]?\b)"
      R"(|\b(?:resolution|image[ _-]size|images? of)[ =:]{0,2}([1-9][0-9]{1,3})\b)",
      std::regex::icase);
  return number_in(text, image);
}

/// 384 of "ViT-B/32 384" and "ViT-B/32-384": behind the patch, where it counts nothing else.
std::optional<double> image_behind_patch(const std::string& name) {
  static const std::regex image(
      R"(/ ?[1-9][0-9]?[ _-]{1,2}\(?([1-9][0-9]{2,3})(?![0-9a-z.,%])(?!\)? ?[a-z]))",
      std::regex::icase);
  return number_in(name, image);
}

std::string plain(double whole) { return std::to_string(std::int64_t(whole)); }

/// Tokens of a picture, and of the class where there is one.
void count_tokens(const TrainingRow& row, double usual_patch, PatchModel& model) {
  const auto patch = patch_in(row.model_name, row.notes);
  const double side = patch.value_or(usual_patch);
  if (side < 1) return;
  auto image = image_in(row.model_name);
  if (!image) image = image_behind_patch(row.model_name);
  if (!image) image = image_in(row.notes);
  const double pixels = image.value_or(model.modulated ? kLatentImage : kImage);
  const double shown = model.modulated ? pixels / kPixelsOfLatent : pixels;
  const double along = std::floor(shown / side);
  if (along < 1) return;
  model.tokens = along * along + (model.modulated ? 0 : 1);
  model.how = plain(pixels) + " x " + plain(pixels) + " in patches of " + plain(side) +
              (model.modulated ? " x 8" : " and the class");
}

}  // namespace

bool is_shown_pictures(const std::string& name) {
  static const std::regex pictures(
      R"(llava|(^|[^a-z])(m?llm-?v|vlm|mllm|multi-?modal|(vision|visual|image)[ -](language|text)|vision(?![ -]transformer)|paligemma|idefics|flamingo)(?![a-z])|([0-9]|[^a-z]|intern|qwen)-?vl(?![a-z]))",
      std::regex::icase);
  return Claims(name).has(pictures);
}

std::optional<PatchModel> patch_model(const TrainingRow& row) {
  constexpr std::size_t kLongest = 4096;  // letters: searches go as deep as a text is long
  if (std::max(row.model_name.size(), row.notes.size()) > kLongest) return std::nullopt;
  if (is_shown_pictures(row.model_name)) return std::nullopt;
  static const std::regex family(kFamily, std::regex::icase);
  std::smatch match;
  if (!std::regex_search(row.model_name, match, family)) return std::nullopt;
  PatchModel model;
  model.modulated = lower_case(match[1]) == "dit";
  const Size* size = model.modulated ? size_named(row.model_name, kLatentSizes)
                                     : size_named(row.model_name, kVisionSizes);
  if (size != nullptr) (model.modulated ? model.spec : model.word) = size->word;
  count_tokens(row, size != nullptr ? size->patch : 0, model);
  return model;
}

void add_modulation(TransformerFacts& facts, double width) {
  const Product made{.rows = 1, .n = 6 * width, .k = width};
  for (BlockFacts& block : facts.blocks) {
    const double parameters = made.n * (made.k + 1);
    block.products.push_back(made);
    block.dense_parameters += parameters;
    facts.parameters += parameters * block.repeats;
  }
}

}  // namespace parallel_opt
