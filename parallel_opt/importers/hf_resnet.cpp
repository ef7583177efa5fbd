#include "parallel_opt/importers/hf_resnet.h"

#include <algorithm>
#include <cmath>

#include "parallel_opt/importers/hf_attention.h"

// resnet and regnet: stages of convolutions with shortcuts, each stage half as large.
namespace parallel_opt::hf {
namespace {

using Writing = std::function<Graph(GraphWriter&)>;

struct Residual {
  const ResnetSpec& s;
  GraphWriter& w;
  bool trains = true;

  struct Step {
    std::int64_t out, kernel, stride = 1, groups = 1;
    bool active = true;
  };
  /// The module of a part (a number, "shortcut" or "embedder.embedder"), its filter and its norm.
  std::array<std::string, 3> names(const std::string& part) const {
    if (!s.timm_names) return {part, "convolution", "normalization"};
    if (part == "shortcut") return {"downsample", "0", "1"};
    const std::string number = part.size() > 1 ? "1" : std::to_string(std::stoi(part) + 1);
    return {"", "conv" + number, "bn" + number};
  }
  TensorId convolved(TensorId x, const std::string& part, const Step& step) const {
    const std::array<std::string, 3> named = names(part);
    const GraphWriter::Scope scope(w, named[0]);
    x = filtered(w, x, named[1], step.out,
                 {.kernel = {step.kernel, step.kernel},
                  .stride = {step.stride, step.stride},
                  .padding = step.kernel / 2,
                  .groups = step.groups,
                  .bias = false,
                  .trains = trains});
    x = s.frozen_norms ? frozen_batch_norm(w, x, named[2]) : batch_norm(w, x, named[2]);
    return step.active ? activate(w, x, s.activation) : x;
  }

  /// Channels weighted by two layers over their means.
  TensorId gated(TensorId x, std::int64_t reduced) const {
    const Dim one = fixed(1);
    const TensorId mean = w.op("aten.adaptive_avg_pool2d.default", {{"self", x}},
                               {w.dim(x, 0), w.dim(x, 1), one, one},
                               {{"output_size", std::vector<std::int64_t>{1, 1}}});
    const std::int64_t width = w.dim(x, 1).size;
    TensorId y = filtered(w, mean, "attention.0", reduced, {{1, 1}});
    y = filtered(w, w.unary("aten.relu.default", y), "attention.2", width, {{1, 1}});
    return w.mul(x, w.unary("aten.sigmoid.default", y));
  }

  TensorId halves(TensorId x, std::int64_t out, std::int64_t stride) const {
    const std::int64_t in = w.dim(x, 1).size;
    switch (s.kind) {
      case ResidualKind::basic:
        x = convolved(x, "0", {out, 3, stride});
        return convolved(x, "1", {.out = out, .kernel = 3, .active = false});
      case ResidualKind::bottleneck: {
        const std::int64_t reduced = out / 4;
        x = convolved(x, "0", {reduced, 1, s.halves_at_once ? stride : 1});
        x = convolved(x, "1", {reduced, 3, s.halves_at_once ? 1 : stride});
        return convolved(x, "2", {.out = out, .kernel = 1, .active = false});
      }
      case ResidualKind::grouped:
      case ResidualKind::grouped_gated:
        break;
    }
    const bool gate = s.kind == ResidualKind::grouped_gated;
    x = convolved(x, "0", {out, 1});
    x = convolved(x, "1", {out, 3, stride, std::max<std::int64_t>(1, out / s.group_width)});
    if (gate) {
      const GraphWriter::Scope scope(w, "2");
      const double quarter = static_cast<double>(in) / 4;  // Python rounds a half to the even one
      x = gated(x, std::max<std::int64_t>(std::llrint(quarter), 1));
    }
    return convolved(x, gate ? "3" : "2", {.out = out, .kernel = 1, .active = false});
  }

  TensorId run(TensorId x, std::int64_t out, std::int64_t stride) const {
    TensorId y;
    {
      const GraphWriter::Scope scope(w, s.timm_names ? "" : "layer");
      y = halves(x, out, stride);
    }
    const bool other = w.dim(x, 1).size != out || stride != 1;
    const TensorId straight =
        other
            ? convolved(x, "shortcut", {.out = out, .kernel = 1, .stride = stride, .active = false})
            : x;
    return activate(w, w.add(y, straight), s.activation);
  }
};

}  // namespace

TensorId resnet_plane(GraphWriter& w, const ResnetSpec& s, TensorId pixels) {
  const Residual stem{s, w, s.frozen_stages == 0};
  TensorId x = stem.convolved(pixels, "embedder.embedder", {s.stem, s.stem_kernel, 2});
  if (s.pooled_stem) {
    const auto half = [&](std::size_t axis) { return fixed((w.dim(x, axis).size - 1) / 2 + 1); };
    x = w.op("aten.max_pool2d.default", {{"self", x}},
             {w.dim(pixels, 0), fixed(s.stem), half(2), half(3)},
             {{"kernel_size", std::vector<std::int64_t>{3, 3}},
              {"stride", std::vector<std::int64_t>{2, 2}},
              {"padding", std::vector<std::int64_t>{1, 1}}});
  }
  for (std::size_t stage = 0; stage < s.widths.size(); ++stage) {
    const Residual residual{s, w, static_cast<std::int64_t>(stage) >= s.frozen_stages};
    const std::string name = s.timm_names ? "layer" + std::to_string(stage + 1) + "."
                                          : "encoder.stages." + std::to_string(stage) + ".layers.";
    for (std::int64_t i = 0; i < s.depths[stage]; ++i) {
      const GraphWriter::Scope layer(w, name + std::to_string(i));
      const bool halves = i == 0 && (stage > 0 || s.halves_first);
      x = residual.run(x, s.widths[stage], halves ? 2 : 1);
    }
  }
  return x;
}

namespace {

Graph build_resnet(GraphWriter& w, const ResnetSpec& s) {
  const Dim batch = w.symbol("batch", 1);
  const TensorId pixels = w.input("pixel_values", w.dtype(),
                                  {batch, fixed(s.channels), fixed(s.image[0]), fixed(s.image[1])});
  TensorId x;
  {
    const GraphWriter::Scope base(w, s.head == HeadKind::base ? "" : s.base);
    x = resnet_plane(w, s, pixels);
  }
  const TensorId mean = w.op("aten.adaptive_avg_pool2d.default", {{"self", x}},
                             {batch, w.dim(x, 1), fixed(1), fixed(1)},
                             {{"output_size", std::vector<std::int64_t>{1, 1}}});
  if (s.head == HeadKind::base) return w.finish({x, mean});
  const TensorId flat = w.view_op("aten.flatten.using_ints", mean, {batch, w.dim(x, 1)});
  return w.finish({w.linear(flat, "classifier.1", s.labels, true)});
}

void read_stages(ConfigReader& c, ResnetSpec& s, const std::vector<std::int64_t>& widths,
                 const std::vector<std::int64_t>& depths) {
  s.channels = c.whole({"num_channels"}, 3, 1, 1 << 12);
  s.stem = c.whole({"embedding_size"}, s.stem);
  s.widths = sizes_of_stages(c, "hidden_sizes", widths);
  s.depths = sizes_of_stages(c, "depths", depths, limits::kLayers);
  s.activation = c.activation({"hidden_act"}, "relu");
  c.ignore({"out_features", "out_indices", "stage_names"});
}

void read_whole(ConfigReader& c, ResnetSpec& s) {
  s.image = stated_image(c, 224);
  s.labels = c.labels();
  s.head = c.head(HeadKind::image_classification, {HeadKind::image_classification, HeadKind::base});
}

}  // namespace

void read_resnet(ConfigReader& c, ResnetSpec& s) {
  read_stages(c, s, {256, 512, 1024, 2048}, {3, 4, 6, 3});
  const std::string kind = c.choice({"layer_type"}, "bottleneck", {"basic", "bottleneck"});
  s.kind = kind == "basic" ? ResidualKind::basic : ResidualKind::bottleneck;
  for (const std::int64_t width : s.widths) {
    if (kind == "bottleneck" && !c.divides("4 (of a bottleneck)", 4, "hidden_sizes", width)) break;
  }
  s.halves_first = c.flag({"downsample_in_first_stage"}, false);
  s.halves_at_once = c.flag({"downsample_in_bottleneck"}, false);
}

namespace {

Writing resnet(ConfigReader& c) {
  ResnetSpec s;
  s.base = "resnet";
  read_resnet(c, s);
  read_whole(c, s);
  return [s](GraphWriter& w) { return build_resnet(w, s); };
}

Writing regnet(ConfigReader& c) {
  ResnetSpec s;
  s.base = "regnet";
  s.stem = 32;
  s.stem_kernel = 3;
  s.pooled_stem = false;
  read_stages(c, s, {128, 192, 512, 1088}, {2, 6, 12, 2});
  read_whole(c, s);
  s.group_width = c.whole({"groups_width"}, 64);
  s.kind = c.choice({"layer_type"}, "y", {"x", "y"}) == "y" ? ResidualKind::grouped_gated
                                                            : ResidualKind::grouped;
  for (const std::int64_t width : s.widths) {
    const std::int64_t groups = std::max<std::int64_t>(1, width / s.group_width);
    if (!c.divides("groups_width", groups, "hidden_sizes", width)) break;
  }
  s.halves_first = c.flag({"downsample_in_first_stage"}, true);
  return [s](GraphWriter& w) { return build_resnet(w, s); };
}

constexpr HfFamily kResnetFamilies[] = {{"resnet", resnet}, {"regnet", regnet}};

}  // namespace

std::span<const HfFamily> resnet_families() { return kResnetFamilies; }

}  // namespace parallel_opt::hf
