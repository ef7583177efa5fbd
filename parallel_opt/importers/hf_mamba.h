#pragma once

#include <cstdint>
#include <string>

#include "parallel_opt/importers/hf_decoder.h"
#include "parallel_opt/importers/hf_reader.h"

namespace parallel_opt::hf {

/// Norms of the steps and of what enters and leaves the state.
enum class PartNorms {
  none,
  plain,   ///< without weights (falcon_mamba)
  learnt,  ///< jamba
};

/// How the scanned states meet their gate (mamba2).
enum class GateNorm {
  gate_first,  ///< gated, then normed
  norm_first,  ///< normed, then gated (falcon_h1)
  none,        ///< gated alone
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
  GateNorm gate_norm = GateNorm::gate_first;
  bool out_bias = false;      ///< mamba2; mamba's is `bias`
  double in_scale = 0;        ///< of what enters; 0: none
  bool scaled_parts = false;  ///< what enters is scaled by channel, from a buffer (falcon_h1)
  bool bare = false;
};

/// Depthwise over positions [b, c, s], looking back; [b, c, s + kernel - 1].
TensorId depthwise_convolution(GraphWriter& w, TensorId x, const char* name, std::int64_t kernel,
                               bool bias);
/// Mixers of x [b, s, hidden] in the current module: mamba's, and mamba2's in chunks.
TensorId selective_mixer(GraphWriter& w, TensorId x, const MambaSpec& s);
TensorId chunked_mixer(GraphWriter& w, TensorId x, const MambaSpec& s);

/// mamba2's sizes under the names that hybrids use; `inner` 0: mamba_expand * hidden_size.
MambaSpec read_chunked_mixer(ConfigReader& c, const DecoderSpec& s, std::int64_t inner = 0);
void note_recurrence(ConfigReader& c);

}  // namespace parallel_opt::hf
