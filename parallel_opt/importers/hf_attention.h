#pragma once

#include <string>

#include "parallel_opt/importers/hf_decoder.h"

namespace parallel_opt::hf {

struct AttentionCall {
  bool causal = false;
  TensorId mask;     ///< added to the scores; may be invalid
  double scale = 0;  ///< 0: 1/sqrt(d)
  double dropout = 0;
  bool eager = false;  ///< as products and a softmax
};
/// [b, h, q, d], [b, g, k, d], [b, g, k, e] -> [b, q, h * e]: one fused operator and the views.
TensorId fused_attention(GraphWriter& w, TensorId q, TensorId k, TensorId v,
                         const AttentionCall& call);
/// [b, s, heads * width] -> [b, heads, s, width].
TensorId split_heads(GraphWriter& w, TensorId x, std::int64_t heads, std::int64_t width);
/// [b, h, s, e] -> [b, s, h * e].
TensorId merge_heads(GraphWriter& w, TensorId x);

/// Attention with separate projections, as encoders and cross attention have it.
struct AttentionParts {
  std::string q, k, v, o;  ///< submodules; they may lead deeper: "self.query"
  std::int64_t heads = 0, width = 0;
  bool q_bias = true, k_bias = true, v_bias = true, o_bias = true;
  AttentionCall call{};
  RotaryTables tables{};      ///< what queries and keys are turned by; may be invalid
  bool pairs = false;         ///< neighbours are turned, not halves
  std::int64_t unturned = 0;  ///< leading tokens that are not (dinov3's class token and registers)
  std::string q_norm = {}, k_norm = {};  ///< over all heads' width, before they part; "": none
};

/// x [b, q, c] looks at memory [b, k, c'] (x itself for self attention): [b, q, out].
TensorId attend(GraphWriter& w, TensorId x, TensorId memory, const AttentionParts& parts,
                std::int64_t out);

/// Distances between positions as bucket numbers, a number of each head looked up for them: near
/// ones have a bucket each, far ones share those of log(distance / near) * pace.
struct DistanceBuckets {
  std::string table;  ///< module of the weight [buckets, heads]
  std::int64_t buckets = 0, heads = 0;
  double near = 8, pace = 1;
};
/// [heads, n, n], to be added to attention's scores.
TensorId bucketed_distances(GraphWriter& w, const DistanceBuckets& b, const Dim& length);

/// down(activation(up(x))), or down(activation(gate(x)) * up(x)).
struct TwoLayers {
  std::string up, down;
  std::int64_t width = 0, out = 0;
  std::string activation;
  bool bias = true;
  double dropout = 0;      ///< between the two
  std::string gate = {};   ///< "": none
  bool gate_bias = false;  ///< of `gate`, and of `up` beside it
};
TensorId two_layers(GraphWriter& w, TensorId x, const TwoLayers& layers);

/// The state of the token that ends each input, then two layers: [batch, labels].
struct SentenceHead {
  std::int64_t labels = 2;
  double dropout = 0;
};
TensorId sentence_head(GraphWriter& w, TensorId ids, TensorId x, const SentenceHead& s);

/// How well each token of x [b, s, c] begins and ends an answer, [b, s] each.
struct Answer {
  TensorId start, end;
};
Answer answer_head(GraphWriter& w, TensorId x, std::string_view name = "qa_outputs");

}  // namespace parallel_opt::hf
