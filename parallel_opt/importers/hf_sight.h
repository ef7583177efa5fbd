#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "parallel_opt/importers/hf_families.h"
#include "parallel_opt/importers/hf_vision.h"

// Models of words and images whose image side is a tower and a projector.
namespace parallel_opt::hf {

/// The decoder, with `image` [images, tokens, text width] in the places that the text keeps for it.
std::function<Graph(GraphWriter&)> seeing(
    DecoderSpec text, std::function<TensorId(GraphWriter&, const Dim& batch)> image);

/// One image per sample, or the tiles that it is cut into, as images of their own.
TensorId tiled_pixels(GraphWriter& w, const ImageSpec& image, const Dim& batch);
void note_tiles(ConfigReader& c);

/// Squares of `merge` by `merge` patches as one row each: [b, tokens, hidden * merge * merge].
TensorId squares_as_rows(GraphWriter& w, TensorId x, const ImageSpec& image, std::int64_t merge);
/// A fault where patches make no whole squares.
void check_squares(ConfigReader& c, const ImageSpec& image, std::int64_t merge,
                   std::string_view key);

/// pixtral: an image's patches, turned by their rows and columns, in layers without biases.
ImageSpec read_pixtral_image(ConfigReader& c, const ImageSpec& defaults);
ImageSpec pixtral_image_defaults();
/// States before the first layer, in the current module; the layers are "transformer.layers".
TensorId pixtral_image_states(GraphWriter& w, ImageSpec& image, TensorId pixels);

}  // namespace parallel_opt::hf
