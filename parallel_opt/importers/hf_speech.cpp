#include <algorithm>

#include "parallel_opt/graph/symbol.h"
#include "parallel_opt/importers/hf_attention.h"
#include "parallel_opt/importers/hf_convolution.h"
#include "parallel_opt/importers/hf_families.h"

// wav2vec2 and hubert: convolutions over the wave, a convolution for positions, an encoder.
namespace parallel_opt::hf {
namespace {

struct SpeechSpec {
  std::string base;
  std::vector<std::int64_t> widths = {}, kernels = {}, strides = {};
  std::int64_t hidden = 768, ffn = 3072, layers = 12, heads = 12, vocab = 32, labels = 2;
  std::int64_t position_kernel = 128, position_groups = 16, projection = 256;
  double eps = 1e-5;
  double dropout = 0.1, attention_dropout = 0.1, inner_dropout = 0.1, feature_dropout = 0;
  double final_dropout = 0.1;
  std::string activation = "gelu", feature_activation = "gelu";
  bool filter_bias = false, norm_each = false, norm_first = false;
  bool feature_norm = true, batch_norm = false, mask = true;
  std::int64_t position_layers = 0;  ///< 0: one filter, stored in two parts
  std::int64_t buckets = 0;          ///< of distances that bias the scores (wavlm)
  HeadKind head = HeadKind::ctc;
};

constexpr std::int64_t kUsualSamples = 160'000;  // 10 s
constexpr std::size_t kMostFilters = 64;
constexpr std::int64_t kMostOfFilter = 1 << 14;  // channels, places

/// Outputs of a convolution over `length` samples: (length + 2 padding - kernel) // stride + 1.
Dim convolved_length(const Dim& length, std::int64_t kernel, std::int64_t stride,
                     std::int64_t padding) {
  const std::int64_t more = 2 * padding - kernel;
  const std::int64_t size = (length.size + more) / stride + 1;
  if (!length.symbolic()) return fixed(size);
  return {size, to_string(parse_expression("(" + length.expression + " + " + std::to_string(more) +
                                               ")//" + std::to_string(stride) + " + 1",
                                           "samples"))};
}

TensorId wave_filters(GraphWriter& w, const SpeechSpec& s, TensorId x) {
  for (std::size_t i = 0; i < s.widths.size(); ++i) {
    const GraphWriter::Scope layer(w, "feature_extractor.conv_layers." + std::to_string(i));
    const std::int64_t width = s.widths[i];
    {
      const GraphWriter::Scope scope(w, "conv");
      const TensorId weight = w.parameter("weight", {width, w.dim(x, 1).size, s.kernels[i]});
      const Shape shape{w.dim(x, 0), fixed(width),
                        convolved_length(w.dim(x, 2), s.kernels[i], s.strides[i], 0)};
      const std::vector<std::int64_t> stride{s.strides[i]};
      x = s.filter_bias
              ? w.op("aten.conv1d.default",
                     {{"input", x}, {"weight", weight}, {"bias", w.parameter("bias", {width})}},
                     shape, {{"stride", stride}})
              : w.op("aten.conv1d.default", {{"input", x}, {"weight", weight}}, shape,
                     {{"stride", stride}});
    }
    if (s.norm_each) {
      x = w.transpose(w.layer_norm(w.transpose(x, 1, 2), "layer_norm", 1e-5), 1, 2);
    } else if (i == 0) {
      const GraphWriter::Scope scope(w, "layer_norm");
      const TensorId weight = w.parameter("weight", {width}), bias = w.parameter("bias", {width});
      x = w.op("aten.group_norm.default", {{"input", x}, {"weight", weight}, {"bias", bias}},
               w.tensor(x).shape, {{"num_groups", width}, {"eps", 1e-5}});
    }
    x = activate(w, x, s.feature_activation);
  }
  return x;
}

/// The filter is a direction and a length for each of its places.
TensorId normed_filter(GraphWriter& w, const SpeechSpec& s) {
  const std::int64_t each = s.hidden / s.position_groups;
  const TensorId length =
      w.parameter("parametrizations.weight.original0", {1, 1, s.position_kernel});
  const TensorId direction =
      w.parameter("parametrizations.weight.original1", {s.hidden, each, s.position_kernel});
  return w.op("aten._weight_norm.default", {{"v", direction}, {"g", length}},
              w.tensor(direction).shape, {{"dim", std::int64_t{2}}});
}

/// Positions from the neighbourhood: [b, n, hidden].
TensorId convolved_positions(GraphWriter& w, const SpeechSpec& s, TensorId x) {
  const GraphWriter::Scope scope(w, "pos_conv_embed");
  TensorId turned = w.transpose(x, 1, 2);
  if (s.batch_norm) turned = batch_norm(w, turned, "batch_norm");
  const std::int64_t padding = s.position_kernel / 2;
  TensorId out;
  {
    const GraphWriter::Scope filter(w, "conv");
    const TensorId bias = w.parameter("bias", {s.hidden});
    const TensorId weight =
        s.batch_norm
            ? w.parameter("weight", {s.hidden, s.hidden / s.position_groups, s.position_kernel})
            : normed_filter(w, s);
    out = w.op("aten.conv1d.default", {{"input", turned}, {"weight", weight}, {"bias", bias}},
               {w.dim(x, 0), fixed(s.hidden),
                convolved_length(w.dim(x, 1), s.position_kernel, 1, padding)},
               {{"stride", std::vector<std::int64_t>{1}},
                {"padding", std::vector<std::int64_t>{padding}},
                {"groups", s.position_groups}});
  }
  if (s.position_kernel % 2 == 0) out = w.slice(out, 2, 0, w.dim(x, 1));
  return w.transpose(activate(w, out, s.feature_activation), 1, 2);
}

/// The same by several filters, each with a norm that learns nothing.
TensorId filtered_positions(GraphWriter& w, const SpeechSpec& s, TensorId x) {
  TensorId y = w.transpose(x, 1, 2);
  for (std::int64_t i = 0; i < s.position_layers; ++i) {
    const GraphWriter::Scope scope(w, "pos_conv_embed.layers." + std::to_string(i));
    const TensorId weight =
        w.parameter("conv.weight", {s.hidden, s.hidden / s.position_groups, s.position_kernel});
    const TensorId bias = w.parameter("conv.bias", {s.hidden});
    const std::int64_t padding = s.position_kernel / 2;
    y = w.op("aten.conv1d.default", {{"input", y}, {"weight", weight}, {"bias", bias}},
             {w.dim(x, 0), fixed(s.hidden),
              convolved_length(w.dim(x, 1), s.position_kernel, 1, padding)},
             {{"stride", std::vector<std::int64_t>{1}},
              {"padding", std::vector<std::int64_t>{padding}},
              {"groups", s.position_groups}});
    if (s.position_kernel % 2 == 0) y = w.slice(y, 2, 0, w.dim(x, 1));
    const TensorId normed = norm(w, w.transpose(y, 1, 2), "", NormKind::layer_plain, 1e-5);
    y = activate(w, w.transpose(normed, 1, 2), s.feature_activation);
  }
  return w.transpose(y, 1, 2);
}

/// The distances' numbers times a gate of each token and head: [b, heads, n, n].
TensorId gated_distances(GraphWriter& w, const SpeechSpec& s, TensorId x, TensorId distances) {
  const Dim batch = w.dim(x, 0), length = w.dim(x, 1), heads = fixed(s.heads);
  const TensorId constant = w.parameter("gru_rel_pos_const", {1, s.heads, 1, 1});
  const TensorId split = split_heads(w, x, s.heads, s.hidden / s.heads);
  const TensorId made = w.linear(split, "gru_rel_pos_linear", 8, true);
  const TensorId sums = w.op(
      "aten.sum.dim_IntList", {{"self", w.view(made, {batch, heads, length, fixed(2), fixed(4)})}},
      {batch, heads, length, fixed(2)}, {{"dim", std::vector<std::int64_t>{-1}}});
  const TensorId gates = w.unary("aten.sigmoid.default", sums);
  const TensorId a = w.slice(gates, 3, 0, fixed(1)), b = w.slice(gates, 3, 1, fixed(1));
  const TensorId gate = w.add(w.mul(a, w.add(w.mul(b, constant), -1.0)), 2.0);
  return w.op("aten.mul.Tensor", {{"self", gate}, {"other", distances}},
              {batch, heads, length, length});
}

TensorId speech_layer(GraphWriter& w, const SpeechSpec& s, TensorId x, TensorId& distances) {
  const auto attention = [&](TensorId h) {
    const GraphWriter::Scope scope(w, "attention");
    AttentionParts p{"q_proj", "k_proj", "v_proj", "out_proj", s.heads, s.hidden / s.heads};
    p.call = {false, TensorId(), 0, s.attention_dropout};
    if (s.buckets > 0) {
      if (!distances.valid())  // The first layer's, used by all.
        distances =
            bucketed_distances(w, {"rel_attn_embed", s.buckets, s.heads, 80, 34.7}, w.dim(h, 1));
      p.call.mask = gated_distances(w, s, h, distances);
      p.call.eager = true;
    }
    return attend(w, h, h, p, s.hidden);
  };
  const auto feed_forward = [&](TensorId h) {
    const GraphWriter::Scope scope(w, "feed_forward");
    const TensorId out = two_layers(w, h,
                                    {"intermediate_dense", "output_dense", s.ffn, s.hidden,
                                     s.activation, true, s.inner_dropout});
    return w.dropout(out, s.dropout);
  };
  if (s.norm_first) {
    x = w.add(x, w.dropout(attention(w.layer_norm(x, "layer_norm", s.eps)), s.dropout));
    return w.add(x, feed_forward(w.layer_norm(x, "final_layer_norm", s.eps)));
  }
  x = w.layer_norm(w.add(x, w.dropout(attention(x), s.dropout)), "layer_norm", s.eps);
  return w.layer_norm(w.add(x, feed_forward(x)), "final_layer_norm", s.eps);
}

TensorId speech_encoder(GraphWriter& w, const SpeechSpec& s, TensorId x) {
  const GraphWriter::Scope scope(w, "encoder");
  x = w.add(x, s.position_layers > 0 ? filtered_positions(w, s, x) : convolved_positions(w, s, x));
  if (!s.norm_first) x = w.layer_norm(x, "layer_norm", s.eps);
  x = w.dropout(x, s.dropout);
  TensorId distances;
  for (std::int64_t i = 0; i < s.layers; ++i) {
    const GraphWriter::Mark mark = w.mark();
    const GraphWriter::Scope layer(w, "layers." + std::to_string(i));
    x = speech_layer(w, s, x, distances);
    if (i == 1) w.reserve_repeats(mark, s.layers - 2);
  }
  return s.norm_first ? w.layer_norm(x, "layer_norm", s.eps) : x;
}

Graph build_speech(GraphWriter& w, const SpeechSpec& s) {
  const Dim batch = w.symbol("batch", 1);
  const Dim samples = w.symbol("samples", kUsualSamples);
  const TensorId wave = w.input("input_values", w.dtype(), {batch, samples});
  TensorId x;
  {
    const GraphWriter::Scope base(w, s.head == HeadKind::base ? "" : s.base);
    if (s.mask) w.parameter("masked_spec_embed", {s.hidden});
    x = w.transpose(wave_filters(w, s, w.unsqueeze(wave, 1)), 1, 2);
    {
      const GraphWriter::Scope scope(w, "feature_projection");
      if (s.feature_norm) x = w.layer_norm(x, "layer_norm", s.eps);
      x = w.dropout(w.linear(x, "projection", s.hidden, true), s.feature_dropout);
    }
    x = speech_encoder(w, s, x);
  }
  if (s.head == HeadKind::base) return w.finish({x});
  if (s.head == HeadKind::ctc) {
    return w.finish({w.linear(w.dropout(x, s.final_dropout), "lm_head", s.vocab, true)});
  }
  x = w.linear(x, "projector", s.projection, true);
  const TensorId mean = w.op("aten.mean.dim", {{"self", x}}, {batch, fixed(s.projection)},
                             {{"dim", std::vector<std::int64_t>{1}}, {"keepdim", false}});
  return w.finish({w.linear(mean, "classifier", s.labels, true)});
}

void read_filters(ConfigReader& c, SpeechSpec& s) {
  const auto list = [&](std::string_view key, std::vector<std::int64_t> usual) {
    std::vector<std::int64_t> given = c.whole_list(key);
    if (given.empty()) return usual;
    const auto fits = [](std::int64_t one) { return one >= 1 && one <= kMostOfFilter; };
    if (given.size() <= kMostFilters && std::ranges::all_of(given, fits)) return given;
    c.fault(key, "must be at most 64 numbers of 1 to 16384");
    return usual;
  };
  s.widths = list("conv_dim", std::vector<std::int64_t>(7, 512));
  s.kernels = list("conv_kernel", {10, 3, 3, 3, 3, 2, 2});
  s.strides = list("conv_stride", {5, 2, 2, 2, 2, 2, 2});
  if (s.kernels.size() != s.widths.size() || s.strides.size() != s.widths.size()) {
    c.fault("conv_kernel", "and conv_stride must name as many filters as conv_dim");
    s.kernels.resize(s.widths.size(), 1);
    s.strides.resize(s.widths.size(), 1);
  }
  std::int64_t left = kUsualSamples;
  for (std::size_t i = 0; i < s.widths.size() && left > 0; ++i) {
    left = left < s.kernels[i] ? 0 : (left - s.kernels[i]) / s.strides[i] + 1;
  }
  if (left == 0) c.fault("conv_kernel", "leaves nothing of 160000 samples, which are 10 s");
  s.filter_bias = c.flag({"conv_bias"}, false);
  if (!s.norm_each) {
    s.norm_each = c.choice({"feat_extract_norm"}, "group", {"group", "layer"}) == "layer";
  }
  s.feature_activation = c.activation({"feat_extract_activation"}, "gelu");
  if (s.position_layers == 0) {
    s.position_kernel = c.whole({"num_conv_pos_embeddings"}, 128, 1, kMostOfFilter);
  }
  s.position_groups = c.whole({"num_conv_pos_embedding_groups"}, 16, 1, 1 << 16);
  c.divides("num_conv_pos_embedding_groups", s.position_groups, "hidden_size", s.hidden);
}

std::function<Graph(GraphWriter&)> read_speech(ConfigReader& c, SpeechSpec s) {
  s.hidden = c.whole({"hidden_size"}, 768);
  s.ffn = c.whole({"intermediate_size"}, 3072, 1, limits::kFeedForward);
  s.layers = c.whole({"num_hidden_layers"}, 12, 1, limits::kLayers);
  s.heads = c.whole({"num_attention_heads"}, 12, 1, limits::kHeads);
  c.divides("num_attention_heads", s.heads, "hidden_size", s.hidden);
  s.vocab = c.whole({"vocab_size"}, 32, 1, limits::kVocabulary);
  read_filters(c, s);
  s.eps = c.real({"layer_norm_eps"}, 1e-5);
  s.dropout = c.real({"hidden_dropout"}, 0.1);
  s.attention_dropout = c.real({"attention_dropout"}, 0.1);
  s.inner_dropout = c.real({"activation_dropout"}, 0.1);
  s.feature_dropout = c.real({"feat_proj_dropout"}, 0);
  s.final_dropout = c.real({"final_dropout"}, 0.1);
  s.activation = c.activation({"hidden_act"}, "gelu");
  s.norm_first = c.flag({"do_stable_layer_norm"}, false);
  s.mask = c.real({"mask_time_prob"}, 0.05) > 0 || c.real({"mask_feature_prob"}, 0) > 0;
  s.head =
      c.head(HeadKind::ctc, {HeadKind::ctc, HeadKind::sequence_classification, HeadKind::base});
  s.labels = c.labels();
  s.projection = c.whole({"classifier_proj_size"}, 256);
  for (const char* key : {"add_adapter", "adapter_attn_dim", "use_weighted_layer_sum"}) {
    c.not_built(key, "capture the model");
  }
  if (c.flag({"apply_spec_augment"}, true) && s.mask) {
    c.note("apply_spec_augment: what is masked in training is counted as if it was not");
  }
  c.ignore({"num_feat_extract_layers", "output_hidden_size", "adapter_kernel_size",
            "adapter_stride", "num_adapter_layers", "xvector_output_dim", "tdnn_dim", "tdnn_kernel",
            "tdnn_dilation", "num_codevectors_per_group", "num_codevector_groups", "codevector_dim",
            "proj_codevector_dim", "num_negatives", "mask_time_length", "mask_feature_length",
            "mask_time_min_masks", "mask_feature_min_masks"});
  return [s](GraphWriter& w) { return build_speech(w, s); };
}

std::function<Graph(GraphWriter&)> wav2vec2(ConfigReader& c) {
  return read_speech(c, {.base = "wav2vec2"});
}
std::function<Graph(GraphWriter&)> hubert(ConfigReader& c) {
  SpeechSpec s{.base = "hubert"};
  s.feature_norm = c.flag({"feat_proj_layer_norm"}, true);
  s.batch_norm = c.flag({"conv_pos_batch_norm"}, false);
  return read_speech(c, std::move(s));
}

std::function<Graph(GraphWriter&)> unispeech(ConfigReader& c) {
  c.ignore({"num_ctc_classes"});
  return read_speech(c, {.base = "unispeech"});
}
std::function<Graph(GraphWriter&)> unispeech_sat(ConfigReader& c) {
  c.ignore({"num_ctc_classes", "num_clusters"});
  return read_speech(c, {.base = "unispeech_sat"});
}
std::function<Graph(GraphWriter&)> data2vec_audio(ConfigReader& c) {
  SpeechSpec s{.base = "data2vec_audio"};
  s.position_layers = c.whole({"num_conv_pos_embeddings"}, 5, 1, 64);
  s.position_kernel = c.whole({"conv_pos_kernel_size"}, 19, 1, kMostOfFilter);
  s.norm_each = true;
  return read_speech(c, std::move(s));
}
std::function<Graph(GraphWriter&)> wavlm(ConfigReader& c) {
  SpeechSpec s{.base = "wavlm"};
  s.buckets = c.whole({"num_buckets"}, 320, 4, 1 << 16);
  c.ignore({"max_bucket_distance", "num_ctc_classes"});
  return read_speech(c, std::move(s));
}

constexpr HfFamily kSpeechFamilies[] = {{"wav2vec2", wav2vec2},
                                        {"hubert", hubert},
                                        {"unispeech", unispeech},
                                        {"unispeech-sat", unispeech_sat},
                                        {"data2vec-audio", data2vec_audio},
                                        {"wavlm", wavlm}};

}  // namespace

std::span<const HfFamily> speech_families() { return kSpeechFamilies; }

}  // namespace parallel_opt::hf
