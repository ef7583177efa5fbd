#include <algorithm>
#include <cmath>

#include "parallel_opt/importers/hf_attention.h"
#include "parallel_opt/importers/hf_families.h"

// Encoder-decoder models: bart and its relatives, whisper. Symbols: `sequence` is the decoder's
// length in whisper (its encoder's is fixed) and the encoder's elsewhere, where the decoder has
// `target_sequence`.
namespace parallel_opt::hf {
namespace {

using Writing = std::function<Graph(GraphWriter&)>;
using Head = HeadKind;

// --- bart and whisper: the same layers, norms before or after

/// What says where a token stands.
enum class PlaceKind {
  learned,
  frozen,  ///< sines and cosines, stored as a parameter (marian, pegasus)
  stored,  ///< the same as a buffer (m2m_100)
};

struct BartSpec {
  std::int64_t vocab = 0, hidden = 0, positions = 0, target_positions = 0, offset = 0;
  std::int64_t encoder_layers = 0, decoder_layers = 0, encoder_heads = 0, decoder_heads = 0;
  std::int64_t encoder_ffn = 0, decoder_ffn = 0, mel_bins = 0;
  double dropout = 0, attention_dropout = 0, activation_dropout = 0, embed_scale = 0;
  std::string activation = "gelu";
  bool norm_first = false, key_bias = true, tied = true;
  bool embedding_norm = true, logits_bias = true;
  PlaceKind places = PlaceKind::learned;
  Head head = Head::conditional_generation;
  SentenceHead classifier = {};
  std::int64_t projection = 256;  ///< whisper: width before the labels
};

struct BartLayer {
  const BartSpec& s;
  GraphWriter& w;
  std::int64_t heads, ffn;
  static constexpr double kEps = 1e-5;

  template <class Part>
  TensorId part(TensorId x, const char* norm_name, Part run) const {
    if (s.norm_first) {
      return w.add(x, w.dropout(run(w.layer_norm(x, norm_name, kEps)), s.dropout));
    }
    return w.layer_norm(w.add(x, w.dropout(run(x), s.dropout)), norm_name, kEps);
  }
  TensorId attention(TensorId x, TensorId memory, const char* name, bool causal) const {
    const GraphWriter::Scope scope(w, name);
    AttentionParts p{"q_proj", "k_proj", "v_proj", "out_proj", heads, s.hidden / heads};
    p.k_bias = s.key_bias;
    p.call = {causal, TensorId(), 0, s.attention_dropout};
    return attend(w, x, memory, p, s.hidden);
  }
  TensorId run(TensorId x, TensorId memory) const {
    const bool decoder = memory.valid();
    x = part(x, "self_attn_layer_norm",
             [&](TensorId h) { return attention(h, h, "self_attn", decoder); });
    if (decoder) {
      x = part(x, "encoder_attn_layer_norm",
               [&](TensorId h) { return attention(h, memory, "encoder_attn", false); });
    }
    return part(x, "final_layer_norm", [&](TensorId h) {
      return two_layers(w, h,
                        {"fc1", "fc2", ffn, s.hidden, s.activation, true, s.activation_dropout});
    });
  }
};

TensorId bart_layers(GraphWriter& w, const BartSpec& s, TensorId x, TensorId memory) {
  const bool decoder = memory.valid();
  const std::int64_t layers = decoder ? s.decoder_layers : s.encoder_layers;
  const BartLayer layer{s, w, decoder ? s.decoder_heads : s.encoder_heads,
                        decoder ? s.decoder_ffn : s.encoder_ffn};
  for (std::int64_t i = 0; i < layers; ++i) {
    const GraphWriter::Mark mark = w.mark();
    const GraphWriter::Scope scope(w, "layers." + std::to_string(i));
    x = layer.run(x, memory);
    if (i == 1) w.reserve_repeats(mark, layers - 2);
  }
  return s.norm_first ? w.layer_norm(x, "layer_norm", BartLayer::kEps) : x;
}

TensorId placed(GraphWriter& w, const BartSpec& s, TensorId x, std::int64_t rows) {
  const TensorId range = w.op("aten.arange.default", DType::i64, {}, {w.dim(x, 1)});
  if (s.places == PlaceKind::stored) {
    const TensorId kept =
        w.buffer("embed_positions.weights", DType::fp32, {rows + s.offset, s.hidden});
    const TensorId found = w.op("aten.index_select.default", {{"self", kept}, {"index", range}},
                                {w.dim(x, 1), fixed(s.hidden)}, {{"dim", std::int64_t{0}}});
    return w.add(x, w.to(found, w.dtype()));
  }
  const bool trains = s.places == PlaceKind::learned;
  const TensorId table =
      w.parameter_of(w.dtype(), "embed_positions.weight", {rows + s.offset, s.hidden}, trains);
  return w.add(x, w.embedding(range, table, "embed_positions"));
}

TensorId bart_side(GraphWriter& w, const BartSpec& s, TensorId ids, TensorId table,
                   TensorId memory) {
  const GraphWriter::Scope scope(w, memory.valid() ? "decoder" : "encoder");
  w.tie("embed_tokens.weight", table);
  TensorId x = w.embedding(ids, table, "embed_tokens");
  if (s.embed_scale > 0) x = w.mul(x, s.embed_scale);
  x = placed(w, s, x, s.positions);
  if (s.embedding_norm) x = w.layer_norm(x, "layernorm_embedding", BartLayer::kEps);
  return bart_layers(w, s, w.dropout(x, s.dropout), memory);
}

Graph build_bart(GraphWriter& w, const BartSpec& s) {
  const Dim batch = w.symbol("batch", 1);
  const std::int64_t hint = std::min<std::int64_t>(s.positions, 1024);
  const Dim source = w.symbol("sequence", hint, s.positions);
  const bool classifies = s.head == Head::sequence_classification;  // by the encoder's ids
  const Dim target = classifies ? source : w.symbol("target_sequence", hint, s.positions);
  const TensorId ids = w.input("input_ids", DType::i64, {batch, source});
  const TensorId decoded = w.input("decoder_input_ids", DType::i64, {batch, target});
  TensorId x, table;
  {
    const GraphWriter::Scope base(w, s.head == Head::base ? "" : "model");
    table = w.parameter("shared.weight", {s.vocab, s.hidden});
    const TensorId memory = bart_side(w, s, ids, table, TensorId());
    x = bart_side(w, s, decoded, table, memory);
  }
  if (s.head == Head::base) return w.finish({x});
  if (classifies) return w.finish({sentence_head(w, ids, x, s.classifier)});
  if (s.head == Head::question_answering) {
    const Answer answer = answer_head(w, x);
    return w.finish({answer.start, answer.end});
  }
  w.tie("lm_head.weight", table);
  const TensorId logits = w.linear_with(x, "lm_head", table, TensorId());
  if (!s.logits_bias) return w.finish({logits});
  return w.finish({w.add(logits, w.buffer("final_logits_bias", w.dtype(), {1, s.vocab}))});
}

TensorId convolved(GraphWriter& w, TensorId x, const char* name, std::int64_t out,
                   std::int64_t stride) {
  const GraphWriter::Scope scope(w, name);
  constexpr std::int64_t kKernel = 3;
  const TensorId weight = w.parameter("weight", {out, w.dim(x, 1).size, kKernel});
  const TensorId bias = w.parameter("bias", {out});
  const std::int64_t length = (w.dim(x, 2).size - 1) / stride + 1;
  const TensorId y = w.op(
      "aten.conv1d.default", {{"input", x}, {"weight", weight}, {"bias", bias}},
      {w.dim(x, 0), fixed(out), fixed(length)},
      {{"stride", std::vector<std::int64_t>{stride}}, {"padding", std::vector<std::int64_t>{1}}});
  return w.unary("aten.gelu.default", y);
}

/// Two convolutions over the spectrogram, positions and layers: [batch, positions, hidden].
TensorId heard(GraphWriter& w, const BartSpec& s, TensorId features) {
  const GraphWriter::Scope scope(w, "encoder");
  const TensorId waves =
      convolved(w, convolved(w, features, "conv1", s.hidden, 1), "conv2", s.hidden, 2);
  const TensorId rows = w.transpose(waves, 1, 2);
  return bart_layers(w, s, w.dropout(placed(w, s, rows, s.positions), s.dropout), {});
}

Graph build_audio_classifier(GraphWriter& w, const BartSpec& s) {
  const Dim batch = w.symbol("batch", 1);
  const TensorId features =
      w.input("input_features", w.dtype(), {batch, fixed(s.mel_bins), fixed(2 * s.positions)});
  const TensorId projected = w.linear(heard(w, s, features), "projector", s.projection, true);
  const TensorId mean = w.op("aten.mean.dim", {{"self", projected}}, {batch, fixed(s.projection)},
                             {{"dim", std::vector<std::int64_t>{1}}, {"keepdim", false}});
  return w.finish({w.linear(mean, "classifier", s.classifier.labels, true)});
}

Graph build_whisper(GraphWriter& w, const BartSpec& s) {
  if (s.head == Head::audio_classification) return build_audio_classifier(w, s);
  const Dim batch = w.symbol("batch", 1);
  const Dim target = w.symbol("sequence", s.target_positions, s.target_positions);
  const TensorId features =
      w.input("input_features", w.dtype(), {batch, fixed(s.mel_bins), fixed(2 * s.positions)});
  const TensorId decoded = w.input("decoder_input_ids", DType::i64, {batch, target});
  TensorId x, table;
  {
    const GraphWriter::Scope base(w, s.head == Head::base ? "" : "model");
    const TensorId memory = heard(w, s, features);
    const GraphWriter::Scope scope(w, "decoder");
    table = w.parameter("embed_tokens.weight", {s.vocab, s.hidden});
    TensorId words = w.embedding(decoded, table, "embed_tokens");
    if (s.embed_scale > 0) words = w.mul(words, s.embed_scale);
    x = placed(w, s, words, s.target_positions);
    x = bart_layers(w, s, w.dropout(x, s.dropout), memory);
  }
  if (s.head == Head::base) return w.finish({x});
  if (s.tied) {
    w.tie("proj_out.weight", table);
  } else {
    table = w.parameter("proj_out.weight", {s.vocab, s.hidden});
  }
  return w.finish({w.linear_with(x, "proj_out", table, TensorId())});
}

void read_sides(ConfigReader& c, BartSpec& s, const BartSpec& d) {
  s.vocab = c.whole({"vocab_size"}, d.vocab, 1, limits::kVocabulary);
  s.hidden = c.whole({"d_model", "hidden_size"}, d.hidden);
  s.encoder_layers =
      c.whole({"encoder_layers", "num_hidden_layers"}, d.encoder_layers, 1, limits::kLayers);
  s.decoder_layers = c.whole({"decoder_layers"}, d.decoder_layers, 1, limits::kLayers);
  s.encoder_heads = c.whole({"encoder_attention_heads", "num_attention_heads"}, d.encoder_heads, 1,
                            limits::kHeads);
  s.decoder_heads = c.whole({"decoder_attention_heads"}, d.decoder_heads, 1, limits::kHeads);
  c.divides("encoder_attention_heads", s.encoder_heads, "d_model", s.hidden);
  c.divides("decoder_attention_heads", s.decoder_heads, "d_model", s.hidden);
  s.encoder_ffn = c.whole({"encoder_ffn_dim"}, d.encoder_ffn, 1, limits::kFeedForward);
  s.decoder_ffn = c.whole({"decoder_ffn_dim"}, d.decoder_ffn, 1, limits::kFeedForward);
  s.activation = c.activation({"activation_function"}, d.activation);
  s.dropout = c.real({"dropout"}, d.dropout);
  s.attention_dropout = c.real({"attention_dropout"}, d.attention_dropout);
  s.activation_dropout = c.real({"activation_dropout"}, 0);
  if (c.flag({"scale_embedding"}, d.embed_scale > 0))
    s.embed_scale = std::sqrt(static_cast<double>(s.hidden));
  s.tied = c.flag({"tie_word_embeddings"}, true);
  c.ignore({"is_encoder_decoder"});
}

/// The sizes that most of bart's relatives take by default.
BartSpec bart_sizes() {
  return {.vocab = 50265,
          .hidden = 1024,
          .positions = 1024,
          .offset = 2,
          .encoder_layers = 12,
          .decoder_layers = 12,
          .encoder_heads = 16,
          .decoder_heads = 16,
          .encoder_ffn = 4096,
          .decoder_ffn = 4096,
          .dropout = 0.1};
}

Writing read_bart(ConfigReader& c, const BartSpec& d, std::initializer_list<Head> heads) {
  BartSpec s = d;
  read_sides(c, s, d);
  s.positions = c.whole({"max_position_embeddings"}, d.positions, 1, limits::kSequence);
  s.head = c.head(Head::conditional_generation, heads);
  s.classifier = {c.labels(d.classifier.labels), c.real({"classifier_dropout"}, 0)};
  if (!s.tied) c.fault("tie_word_embeddings", "false is not built here", "capture the model");
  return [s](GraphWriter& w) { return build_bart(w, s); };
}

constexpr auto kBartHeads = {Head::conditional_generation, Head::sequence_classification,
                             Head::question_answering, Head::base};
constexpr auto kGenerates = {Head::conditional_generation, Head::base};

Writing bart(ConfigReader& c) {
  BartSpec d = bart_sizes();
  d.classifier.labels = 3;
  return read_bart(c, d, kBartHeads);
}

Writing mbart(ConfigReader& c) {
  BartSpec d = bart_sizes();
  d.norm_first = true;
  return read_bart(c, d, kBartHeads);
}

Writing mvp(ConfigReader& c) {
  BartSpec d = bart_sizes();
  d.vocab = 50267;
  c.not_built("use_prompt", "capture the model");
  c.ignore({"prompt_length", "prompt_mid_dim"});
  return read_bart(c, d, kBartHeads);
}

Writing plbart(ConfigReader& c) {
  BartSpec d = bart_sizes();
  d.vocab = 50005;
  d.hidden = 768;
  d.encoder_layers = d.decoder_layers = 6;
  d.encoder_heads = d.decoder_heads = 12;
  d.encoder_ffn = d.decoder_ffn = 3072;
  d.attention_dropout = 0.1;
  d.embed_scale = 1;
  return read_bart(c, d, {Head::conditional_generation, Head::sequence_classification, Head::base});
}

Writing pegasus(ConfigReader& c) {
  BartSpec d = bart_sizes();
  d.offset = 0;
  d.norm_first = true;
  d.embedding_norm = false;
  d.places = PlaceKind::frozen;
  return read_bart(c, d, kGenerates);
}

Writing marian(ConfigReader& c) {
  BartSpec d = bart_sizes();
  d.vocab = 58101;
  d.offset = 0;
  d.embedding_norm = false;
  d.places = PlaceKind::frozen;
  if (!c.flag({"share_encoder_decoder_embeddings"}, true)) {
    c.fault("share_encoder_decoder_embeddings", "false is not built here", "capture the model");
  }
  c.ignore({"decoder_vocab_size"});  // read for two tables alone
  return read_bart(c, d, kGenerates);
}

Writing m2m_100(ConfigReader& c) {
  BartSpec d = bart_sizes();
  d.vocab = 128112;
  d.norm_first = true;
  d.embedding_norm = d.logits_bias = false;
  d.places = PlaceKind::stored;
  d.activation = "relu";
  d.attention_dropout = 0.1;
  d.embed_scale = 1;
  return read_bart(c, d, kGenerates);
}

Writing blenderbot(ConfigReader& c) {
  BartSpec d = bart_sizes();
  d.vocab = 8008;
  d.hidden = 2560;
  d.positions = 128;
  d.offset = 0;
  d.encoder_layers = 2;
  d.decoder_layers = 24;
  d.encoder_heads = d.decoder_heads = 32;
  d.encoder_ffn = d.decoder_ffn = 10240;
  d.norm_first = true;
  d.embedding_norm = false;
  return read_bart(c, d, kGenerates);
}

Writing blenderbot_small(ConfigReader& c) {
  BartSpec d = bart_sizes();
  d.hidden = 512;
  d.positions = 512;
  d.offset = 0;
  d.encoder_layers = d.decoder_layers = 8;
  d.encoder_ffn = d.decoder_ffn = 2048;
  return read_bart(c, d, kGenerates);
}

Writing whisper(ConfigReader& c) {
  BartSpec d{.vocab = 51865,
             .hidden = 384,
             .encoder_layers = 4,
             .decoder_layers = 4,
             .encoder_heads = 6,
             .decoder_heads = 6,
             .encoder_ffn = 1536,
             .decoder_ffn = 1536};
  BartSpec s;
  read_sides(c, s, d);
  s.norm_first = true;
  s.key_bias = false;
  s.mel_bins = c.whole({"num_mel_bins"}, 80);
  s.positions = c.whole({"max_source_positions"}, 1500, 1, limits::kSequence);
  s.target_positions = c.whole({"max_target_positions"}, 448, 1, limits::kSequence);
  s.head = c.head(Head::conditional_generation,
                  {Head::conditional_generation, Head::audio_classification, Head::base});
  s.classifier.labels = c.labels();
  s.projection = c.whole({"classifier_proj_size"}, 256);
  if (s.head == Head::audio_classification)
    c.not_built("use_weighted_layer_sum", "capture the model");
  c.ignore({"use_weighted_layer_sum", "median_filter_width"});
  return [s](GraphWriter& w) { return build_whisper(w, s); };
}

constexpr HfFamily kSequenceFamilies[] = {
    {"bart", bart},       {"mbart", mbart},           {"mvp", mvp},
    {"plbart", plbart},   {"pegasus", pegasus},       {"marian", marian},
    {"m2m_100", m2m_100}, {"blenderbot", blenderbot}, {"blenderbot-small", blenderbot_small},
    {"whisper", whisper}};

}  // namespace

std::span<const HfFamily> sequence_families() { return kSequenceFamilies; }

}  // namespace parallel_opt::hf
