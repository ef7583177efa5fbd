#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "parallel_opt/importers/hf_reader.h"
#include "parallel_opt/importers/hf_writer.h"

namespace parallel_opt::hf {

/// A learnt filter over a plane: height and width of its kernel and of its steps.
struct Filter {
  std::array<std::int64_t, 2> kernel, stride = {1, 1};
  std::int64_t padding = 0, groups = 1;
  bool bias = true;
  std::int64_t dilation = 1;
  bool trains = true;
};

/// x [b, c, h, w] -> [b, out, h', w'], in submodule `name`. Pre: the kernel fits the padded plane.
TensorId filtered(GraphWriter& w, TensorId x, std::string_view name, std::int64_t out,
                  const Filter& filter);
/// x [b, c, ...] by mean and variance of the batch, in submodule `name`.
TensorId batch_norm(GraphWriter& w, TensorId x, std::string_view name);
/// The same by what is stored: nothing of it trains (detr).
TensorId frozen_batch_norm(GraphWriter& w, TensorId x, std::string_view name);
/// x [b, c, h, w] with zeros around the plane.
struct Border {
  std::int64_t left = 0, right = 0, top = 0, bottom = 0;
};
TensorId bordered(GraphWriter& w, TensorId x, const Border& border);
/// The axes of x in another order: [b, c, h, w] to [b, h, w, c], or back.
TensorId channels_last(GraphWriter& w, TensorId x);
TensorId channels_first(GraphWriter& w, TensorId x);
/// x [b, c, h, w] -> [b, c].
TensorId mean_of_plane(GraphWriter& w, TensorId x);

/// A list of sizes of 1 to `max`; `usual` where the file has none. Another length is a fault.
std::vector<std::int64_t> sizes_of_stages(ConfigReader& c, std::string_view key,
                                          const std::vector<std::int64_t>& usual,
                                          std::int64_t max = limits::kWidth);
/// Images where the file states no size: a note says which was taken.
std::array<std::int64_t, 2> stated_image(ConfigReader& c, std::int64_t usual);

}  // namespace parallel_opt::hf
