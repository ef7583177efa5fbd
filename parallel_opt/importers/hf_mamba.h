#pragma once

#include <cstdint>
#include <string>

#include "parallel_opt/importers/hf_decoder.h"

namespace parallel_opt::hf {

/// Norms of the steps and of what enters and leaves the state.
enum class PartNorms {
  none,
  plain,   ///< without weights (falcon_mamba)
  learnt,  ///< jamba
};

/// A state-space mixer: mamba's where `heads` is 0, mamba2's elsewhere.
struct MambaSpec {
  std::int64_t vocab = 0, hidden = 0, layers = 0, state = 0, inner = 0, kernel = 4;
  std::int64_t step_rank = 0;                                   ///< mamba
  std::int64_t heads = 0, head_dim = 0, groups = 0, chunk = 0;  ///< mamba2
  double eps = 1e-5;
  bool bias = false, conv_bias = true, tied = true, residual_fp32 = true;
  std::string activation = "silu";
  PartNorms part_norms = PartNorms::none;
  bool bare = false;
};

/// Depthwise over positions [b, c, s], looking back; [b, c, s + kernel - 1].
TensorId depthwise_convolution(GraphWriter& w, TensorId x, const char* name, std::int64_t kernel,
                               bool bias);
/// Mixers of x [b, s, hidden] in the current module: mamba's, and mamba2's in chunks.
TensorId selective_mixer(GraphWriter& w, TensorId x, const MambaSpec& s);
TensorId chunked_mixer(GraphWriter& w, TensorId x, const MambaSpec& s);

}  // namespace parallel_opt::hf
