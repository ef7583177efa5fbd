#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "parallel_opt/base/dtype.h"
#include "parallel_opt/base/error.h"
#include "parallel_opt/importers/json_tree.h"

namespace parallel_opt::hf {

/// What the model ends with, read off the class named in `architectures`.
enum class HeadKind {
  base,
  encoder,  ///< the encoder of an encoder-decoder model alone
  causal_lm,
  masked_lm,
  pretraining,
  next_sentence,
  sequence_classification,
  token_classification,
  question_answering,
  multiple_choice,
  conditional_generation,
  image_classification,
  image_classification_with_teacher,
  ctc,  ///< a letter for each frame
  audio_classification,
  text,  ///< one side of a model of two
  text_with_projection,
  vision,
  vision_with_projection,
  masked_image,
  video_classification,
  object_detection,
  semantic_segmentation,
  depth_estimation,
  other,
};

/// Largest sizes that are believed: every product of them that a graph forms fits 64 bits.
namespace limits {
inline constexpr std::int64_t kWidth = std::int64_t{1} << 20;
inline constexpr std::int64_t kFeedForward = std::int64_t{1} << 24;
inline constexpr std::int64_t kVocabulary = std::int64_t{1} << 28;
inline constexpr std::int64_t kPositions = std::int64_t{1} << 30;
inline constexpr std::int64_t kHeads = std::int64_t{1} << 14;
inline constexpr std::int64_t kExperts = std::int64_t{1} << 14;
inline constexpr std::int64_t kLayers = 2048;
inline constexpr std::int64_t kSequence = std::int64_t{1} << 20;
}  // namespace limits

/// One object of a config.json. Reads fields under any of their names, gives the family's default
/// for what is absent, and collects every fault with its JSON path.
class ConfigReader {
 public:
  using Keys = std::initializer_list<std::string_view>;

  /// `where` is "config.json" or "config.json:text_config".
  ConfigReader(JsonTree::Node object, std::string where, std::vector<Fault>& faults,
               std::vector<std::string>& notes);

  /// A whole number in [min, max]; null or absent: the default.
  std::int64_t whole(Keys keys, std::int64_t fallback, std::int64_t min = 1,
                     std::int64_t max = limits::kWidth);
  /// The same, where null means "not there".
  std::optional<std::int64_t> maybe_whole(Keys keys, std::int64_t min = 1,
                                          std::int64_t max = limits::kWidth);
  /// A number, at least 0.
  double real(Keys keys, double fallback);
  bool flag(Keys keys, bool fallback);
  std::string text(Keys keys, std::string_view fallback);
  /// One of the known words; another is a fault that names the nearest.
  std::string choice(Keys keys, std::string_view fallback, const std::vector<std::string>& known);
  std::string activation(Keys keys, std::string_view fallback);
  /// Height and width: a list of two, or one number for both.
  std::array<std::int64_t, 2> pair(std::string_view key, std::int64_t fallback, std::int64_t max);
  std::vector<std::int64_t> whole_list(std::string_view key);
  std::vector<double> real_list(std::string_view key);
  std::vector<std::string> text_list(std::string_view key);
  /// An object below; nothing when it is absent.
  std::optional<ConfigReader> object(std::string_view key);
  /// The same, without members when it is absent: all defaults.
  ConfigReader object_or_empty(std::string_view key);

  /// "dtype" or "torch_dtype"; fp32 when absent.
  DType dtype();
  /// Of the first architecture; `fallback` when none is named. Only `allowed` ones are known.
  HeadKind head(HeadKind fallback, std::initializer_list<HeadKind> allowed);
  /// `num_labels`, or as many as `id2label` names.
  std::int64_t labels(std::int64_t fallback = 2);
  /// Share of the head's width that is rotated, wherever the version keeps it.
  double rotary_share(Keys keys, double fallback);

  void fault(std::string_view key, std::string what, std::string hint = {});
  /// What the graph does not show, for its notes.
  void note(std::string text) { notes_->push_back(std::move(text)); }
  /// A note when the key is set: neither absent nor false, 0 or empty.
  void note_when_set(std::string_view key, std::string_view text);
  /// Faults when `value` is no multiple of `divisor`; names both keys.
  bool divides(std::string_view divisor_key, std::int64_t divisor, std::string_view key,
               std::int64_t value);
  /// A key that would change the structure in a way that is not built: a fault when it is set.
  void not_built(std::string_view key, std::string_view hint);
  /// A note about keys that nobody read, are set and look like structure: "num_experts".
  void note_unread();
  void ignore(Keys keys);
  /// The same object as that of a model inside this one: its head is not the file's.
  ConfigReader as_part() const;
  /// What `part` has read counts as read here.
  void adopt(const ConfigReader& part) { read_.insert(part.read_.begin(), part.read_.end()); }
  bool is_text(std::string_view key) const { return object_[key].is(JsonTree::Kind::string); }
  bool is_list(std::string_view key) const { return object_[key].is(JsonTree::Kind::array); }
  bool has(std::string_view key) const { return !object_[key].absent(); }
  const std::string& where() const { return where_; }
  bool failed() const { return !faults_->empty(); }

 private:
  static bool set(const JsonTree::Node& node);
  JsonTree::Node find(Keys keys, std::string_view& found);
  std::string at(std::string_view key) const;

  JsonTree::Node object_;
  std::string where_;
  std::vector<Fault>* faults_;
  std::vector<std::string>* notes_;
  std::set<std::string, std::less<>> read_;
  bool part_ = false;
};

}  // namespace parallel_opt::hf
