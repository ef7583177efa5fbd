#pragma once

#include <array>
#include <string_view>

namespace parallel_opt {

/// Families of operators that a device runs at like efficiency.
enum class OpClass {
  contraction,
  convolution,
  attention,
  recurrent,
  normalization,
  softmax,
  loss,
  embedding,
  gather,
  pooling,
  reduction,
  elementwise,
  random,
  copy,
  view,
  opaque,
};

constexpr auto enum_names(OpClass) {
  return std::to_array<std::string_view>({"contraction", "convolution", "attention", "recurrent",
                                          "normalization", "softmax", "loss", "embedding", "gather",
                                          "pooling", "reduction", "elementwise", "random", "copy",
                                          "view", "opaque"});
}

}  // namespace parallel_opt
