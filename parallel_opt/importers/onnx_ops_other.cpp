#include <algorithm>
#include <array>

#include "parallel_opt/importers/onnx_ops.h"

/// Signals, strings, images, and classical models (ai.onnx.ml).
namespace parallel_opt::onnx {
namespace {

/// Spectra: the last axis holds real and imaginary part.
void dft_shape(Call& call) {
  const Shape* x = call.shape(0);
  if (x == nullptr || x->size() < 2) return call.set(0, call.element(0), std::nullopt);
  const std::int64_t rank = static_cast<std::int64_t>(x->size());
  std::optional<std::int64_t> axis = call.opset < 20 ? call.whole("axis", 1)
                                     : call.has(2)   ? call.number(2)
                                                     : std::optional<std::int64_t>(-2);
  Shape shape = *x;
  shape.back() = fixed(2);
  const bool one_sided = call.whole("onesided", 0) != 0, inverse = call.whole("inverse", 0) != 0;
  if (!axis) {
    if (one_sided && inverse) shape.back() = fixed(1);
    for (std::size_t i = 1; i + 1 < shape.size(); ++i) shape[i] = unknown_size(shape[i].size);
    return call.set(0, call.element(0), std::move(shape));
  }
  if (*axis < 0) *axis += rank;
  if (*axis < 0 || *axis >= rank - 1)
    return call.fault("axis " + std::to_string(*axis) + " of " + show(*x));
  Dim& dim = shape[static_cast<std::size_t>(*axis)];
  if (call.has(1)) {
    const Data* length = call.data(1);
    dim = length != nullptr && !length->real && length->size() == 1 ? length->whole[0]
                                                                    : unknown_size(dim.size);
  }
  if (one_sided && !inverse) dim = add(floor_divide(dim, fixed(2)), fixed(1));
  if (one_sided && inverse) {  // from n / 2 + 1 bins back to n samples
    if (!call.has(1)) dim = multiply(fixed(2), subtract(dim, fixed(1)));
    shape.back() = fixed(1);
  }
  call.set(0, call.element(0), std::move(shape));
}

void dft(Call& call) {
  const bool one_sided = call.whole("onesided", 0) != 0, inverse = call.whole("inverse", 0) != 0;
  const char* target = !one_sided ? "aten._fft_c2c.default"
                       : inverse  ? "aten._fft_c2r.default"
                                  : "aten._fft_r2c.default";
  call.emit(target, {{"self", call.tensor(0)}});
}

/// signal [b, n, 1 or 2], step, window, length: [b, frames, bins, 2].
void stft_shape(Call& call) {
  const Shape* x = call.shape(0);
  if (x == nullptr || x->size() < 2) return call.set(0, call.element(0), std::nullopt);
  const auto step = call.number(1), length = call.number(3);
  const Shape* window = call.shape(2);
  Dim frame = length ? fixed(*length) : unknown_size();
  if (!length && window != nullptr && window->size() == 1) frame = window->front();
  const bool one_sided = call.whole("onesided", 1) != 0;
  const Dim frames = step && *step > 0
                         ? add(floor_divide(subtract((*x)[1], frame), fixed(*step)), fixed(1))
                         : unknown_size((*x)[1].size);
  const Dim bins = one_sided ? add(floor_divide(frame, fixed(2)), fixed(1)) : frame;
  call.set(0, call.element(0), Shape{(*x)[0], frames, bins, fixed(2)});
}

void image_shape(Call& call) {
  const std::int64_t channels = call.text("pixel_format", "RGB") == "Grayscale" ? 1 : 3;
  call.set(0, kUint8, Shape{unknown_size(224), unknown_size(224), fixed(channels)});
}

/// The pool of n-gram counters is as long as the largest place in it.
void ngram_shape(Call& call) {
  const Shape* x = call.shape(0);
  std::int64_t places = 0;
  for (const std::int64_t place : call.wholes("ngram_indexes"))
    places = std::max(places, place + 1);
  if (x == nullptr) return call.set(0, kFloat, std::nullopt);
  Shape shape = *x;
  if (shape.empty()) shape.push_back(fixed(places));
  shape.back() = fixed(places);
  call.set(0, kFloat, std::move(shape));
}

void strings_shape(Call& call) {
  const Shape* x = call.shape(0);
  if (x == nullptr) return call.set(0, kString, std::nullopt);
  Shape shape = *x;
  const ProtoAttribute* stop = call.attribute("stopwords");
  if (stop != nullptr && !stop->strings.empty() && !shape.empty())
    shape.back() = unknown_size(shape.back().size);
  call.set(0, kString, std::move(shape));
}

void split_string_shape(Call& call) {
  const Shape* x = call.shape(0);
  if (x == nullptr) return;
  Shape shape = *x;
  shape.push_back(unknown_size());
  call.set(0, kString, std::move(shape));
  call.set(1, kInt64, *x);
}

void match_shape(Call& call) {
  same_shape(call);
  if (call.wants(0)) call.result().element = kBool;
}

void multinomial_shape(Call& call) {
  const Shape* x = call.shape(0);
  if (x == nullptr || x->size() != 2) return call.set(0, call.whole("dtype", kInt32), std::nullopt);
  call.set(0, call.whole("dtype", kInt32),
           Shape{(*x)[0], fixed(std::max<std::int64_t>(call.whole("sample_size", 1), 0))});
}

constexpr auto kOtherRules = std::to_array<OpRule>({
    {"DFT", dft_shape, {}, {}, dft},
    {"STFT", stft_shape, "aten.stft.default", "self - window -"},
    {"Multinomial", multinomial_shape, "aten.multinomial.default", "self"},
    {"ImageDecoder", image_shape},
    {"TfIdfVectorizer", ngram_shape},
    {"StringNormalizer", strings_shape},
    {"StringConcat", broadcast_shape},
    {"StringSplit", split_string_shape},
    {"RegexFullMatch", match_shape},
});

// --- ai.onnx.ml

void labels_shape(Call& call) {
  same_shape(call);
  if (!call.wants(0)) return;
  const auto has = [&](const char* name) { return call.attribute(name) != nullptr; };
  if (has("values_strings")) call.result().element = kString;
  if (has("values_int64s")) call.result().element = kInt64;
  if (has("values_floats")) call.result().element = kFloat;
  if (const ProtoAttribute* values = call.attribute("values_tensor");
      values != nullptr && !values->tensors.empty()) {
    call.result().element = values->tensors.front().data_type;
  }
}

void features_shape(Call& call) {
  const Shape *x = call.shape(0), *indices = call.shape(1);
  if (x == nullptr || indices == nullptr) return call.set(0, call.element(0), std::nullopt);
  Shape shape = *x;
  if (shape.size() == 1) shape.insert(shape.begin(), fixed(1));
  if (!shape.empty()) shape.back() = product(*indices, 0, indices->size());
  call.set(0, call.element(0), std::move(shape));
}

void to_float(Call& call) {
  same_shape(call);
  if (call.wants(0)) call.result().element = kFloat;
}

/// Rows of scores, one column per target.
void trees_shape(Call& call) {
  const Shape* x = call.shape(0);
  if (x == nullptr || x->empty()) return call.set(0, call.element(0), std::nullopt);
  call.set(0, call.element(0),
           Shape{x->front(), fixed(std::max<std::int64_t>(call.whole("n_targets", 1), 0))});
}

void targets_shape(Call& call) {
  const Shape* x = call.shape(0);
  if (x == nullptr || x->empty()) return call.set(0, kFloat, std::nullopt);
  call.set(
      0, kFloat,
      Shape{x->front(), fixed(std::max<std::int64_t>(
                            std::max(call.whole("n_targets", 1), call.whole("targets", 1)), 0))});
}

void classes_shape(Call& call) {
  const Shape* x = call.shape(0);
  const ProtoAttribute* strings = call.attribute("classlabels_strings");
  std::size_t classes = strings == nullptr ? 0 : strings->strings.size();
  const bool named = classes > 0;
  for (const char* name : {"classlabels_int64s", "classlabels_ints"})
    classes = std::max(classes, call.wholes(name).size());
  const Dim rows = x == nullptr || x->empty() ? unknown_size() : x->front();
  call.set(0, named ? kString : kInt64, Shape{rows});
  call.set(1, kFloat, Shape{rows, fixed(static_cast<std::int64_t>(classes))});
}

constexpr auto kMl = std::to_array<OpRule>({
    {"LabelEncoder", labels_shape},
    {"ArrayFeatureExtractor", features_shape},
    {"Binarizer", same_shape},
    {"Imputer", same_shape},
    {"Scaler", to_float},
    {"Normalizer", to_float},
    {"TreeEnsemble", trees_shape},
    {"TreeEnsembleRegressor", targets_shape},
    {"LinearRegressor", targets_shape},
    {"TreeEnsembleClassifier", classes_shape},
    {"LinearClassifier", classes_shape},
});

}  // namespace

std::span<const OpRule> other_rules() { return kOtherRules; }
std::span<const OpRule> ml_rules() { return kMl; }

}  // namespace parallel_opt::onnx
