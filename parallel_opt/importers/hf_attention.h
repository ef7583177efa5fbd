#pragma once

#include <string>

#include "parallel_opt/importers/hf_decoder.h"

namespace parallel_opt::hf {

/// Attention with separate projections, as encoders and cross attention have it.
struct AttentionParts {
  std::string q, k, v, o;  ///< submodules; they may lead deeper: "self.query"
  std::int64_t heads = 0, width = 0;
  bool q_bias = true, k_bias = true, v_bias = true, o_bias = true;
  AttentionCall call{};
};

/// x [b, q, c] looks at memory [b, k, c'] (x itself for self attention): [b, q, out].
TensorId attend(GraphWriter& w, TensorId x, TensorId memory, const AttentionParts& parts,
                std::int64_t out);

/// down(activation(up(x))).
struct TwoLayers {
  std::string up, down;
  std::int64_t width = 0, out = 0;
  std::string activation;
  bool bias = true;
  double dropout = 0;  ///< between the two
};
TensorId two_layers(GraphWriter& w, TensorId x, const TwoLayers& layers);

/// How well each token of x [b, s, c] begins and ends an answer, [b, s] each.
struct Answer {
  TensorId start, end;
};
Answer answer_head(GraphWriter& w, TensorId x, std::string_view name = "qa_outputs");

}  // namespace parallel_opt::hf
