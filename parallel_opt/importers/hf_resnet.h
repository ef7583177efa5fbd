#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "parallel_opt/importers/hf_convolution.h"
#include "parallel_opt/importers/hf_families.h"

namespace parallel_opt::hf {

enum class ResidualKind { basic, bottleneck, grouped, grouped_gated };

struct ResnetSpec {
  std::string base;
  std::array<std::int64_t, 2> image = {224, 224};
  std::int64_t channels = 3, labels = 2, stem = 64, stem_kernel = 7, group_width = 64;
  std::vector<std::int64_t> widths = {}, depths = {};
  ResidualKind kind = ResidualKind::bottleneck;
  bool pooled_stem = true;  ///< largest of every 3 by 3 behind the first convolution
  bool halves_first = false, halves_at_once = false;
  std::string activation = "relu";
  HeadKind head = HeadKind::image_classification;
  // Below another model: what of it does not train, and how it is called.
  bool frozen_norms = false;
  std::int64_t frozen_stages = 0;  ///< with the stem, where it is more than 0
  bool timm_names = false;         ///< those of timm's resnets
};

/// The plane behind the last stage, in the current module.
TensorId resnet_plane(GraphWriter& w, const ResnetSpec& spec, TensorId pixels);
/// The stages of a resnet's configuration, not its image and head.
void read_resnet(ConfigReader& c, ResnetSpec& spec);

}  // namespace parallel_opt::hf
