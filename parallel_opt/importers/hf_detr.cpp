#include <optional>

#include "parallel_opt/importers/hf_resnet.h"
#include "parallel_opt/importers/hf_vision.h"

// detr: a resnet's plane through an encoder, and learnt queries that look at it become boxes.
namespace parallel_opt::hf {
namespace {

struct DetrSide {
  std::int64_t layers = 6, heads = 8, ffn = 2048;
};

struct DetrSpec {
  ResnetSpec eyes;
  DetrSide encoder, decoder;
  std::int64_t hidden = 256, queries = 100, labels = 91;
  double dropout = 0.1, attention_dropout = 0, activation_dropout = 0;
  std::string activation = "relu";
  bool learned_places = false;
  HeadKind head = HeadKind::object_detection;
};

/// Content, and the places that are added to what queries and keys are made of.
struct Placed {
  TensorId content, places;
};

struct DetrLayer {
  const DetrSpec& s;
  GraphWriter& w;
  const DetrSide& side;

  TensorId attention(const Placed& from, const Placed& to, const char* name) const {
    const GraphWriter::Scope scope(w, name);
    const std::int64_t width = s.hidden / side.heads;
    const auto part = [&](TensorId x, const char* which) {
      return split_heads(w, w.linear(x, which, s.hidden, true), side.heads, width);
    };
    const TensorId q = part(w.add(from.content, from.places), "q_proj");
    const TensorId k = part(w.add(to.content, to.places), "k_proj");
    const TensorId v = part(to.content, "v_proj");
    const TensorId mixed = fused_attention(w, q, k, v, {false, TensorId(), 0, s.attention_dropout});
    return w.dropout(w.linear(mixed, "o_proj", s.hidden, true), s.dropout);
  }
  TensorId normed(TensorId x, TensorId more, const char* name) const {
    return w.layer_norm(w.add(x, more), name, 1e-5);
  }
  TensorId run(TensorId x, TensorId places, const Placed* memory) const {
    const Placed own{x, places};
    x = normed(x, attention(own, own, "self_attn"), "self_attn_layer_norm");
    if (memory != nullptr) {
      x = normed(x, attention({x, places}, *memory, "encoder_attn"), "encoder_attn_layer_norm");
    }
    TensorId inner;
    {
      const GraphWriter::Scope scope(w, "mlp");
      inner = w.dropout(
          two_layers(w, x,
                     {"fc1", "fc2", side.ffn, s.hidden, s.activation, true, s.activation_dropout}),
          s.dropout);
    }
    return normed(x, inner, "final_layer_norm");
  }
};

TensorId run_side(GraphWriter& w, const DetrSpec& s, const DetrSide& side, const char* name,
                  const Placed& first, const Placed* memory) {
  const GraphWriter::Scope scope(w, name);
  TensorId x = first.content;
  for (std::int64_t i = 0; i < side.layers; ++i) {
    const GraphWriter::Mark mark = w.mark();
    const GraphWriter::Scope layer(w, "layers." + std::to_string(i));
    x = DetrLayer{s, w, side}.run(x, first.places, memory);
    if (i == 1) w.reserve_repeats(mark, side.layers - 2);
  }
  return memory != nullptr ? w.layer_norm(x, "layernorm", 1e-5) : x;
}

/// Sines of rows and columns, or two learnt tables: [b, places, hidden].
TensorId plane_places(GraphWriter& w, const DetrSpec& s, TensorId plane) {
  const Dim batch = w.dim(plane, 0), rows = w.dim(plane, 2), columns = w.dim(plane, 3);
  const Dim half = fixed(s.hidden / 2);
  const Shape grid{batch, rows, columns, half};
  const auto along = [&](const char* name, const Dim& count, std::size_t axis) {
    TensorId line;
    if (s.learned_places) {
      const GraphWriter::Scope scope(w, "position_embedding");
      const TensorId table = w.parameter(std::string(name) + ".weight", {50, half.size});
      const TensorId places = w.op("aten.arange.default", DType::i64, {}, {count});
      line = w.embedding(places, table, name);
    } else {
      const TensorId angles = w.op("aten.arange.default", w.dtype(), {}, {count, half});
      line = w.unary("aten.sin.default", angles);
    }
    return w.expand(w.unsqueeze(line, axis), grid);
  };
  const TensorId x = along("column_embeddings", columns, 0);
  const TensorId both = w.cat({along("row_embeddings", rows, 1), x}, 3);
  return w.op("aten.reshape.default", {{"self", both}},
              {batch, times(rows, columns), fixed(s.hidden)});
}

TensorId detr_states(GraphWriter& w, const DetrSpec& s) {
  const Dim batch = w.symbol("batch", 1), hidden = fixed(s.hidden);
  const ResnetSpec& eyes = s.eyes;
  const TensorId pixels =
      w.input("pixel_values", w.dtype(),
              {batch, fixed(eyes.channels), fixed(eyes.image[0]), fixed(eyes.image[1])});
  const GraphWriter::Scope base(w, s.head == HeadKind::base ? "" : "model");
  const TensorId queries = w.parameter("query_position_embeddings.weight", {s.queries, s.hidden});
  TensorId plane;
  {
    const GraphWriter::Scope scope(w, "backbone.model");
    plane = resnet_plane(w, eyes, pixels);
  }
  const TensorId narrow = filtered(w, plane, "input_projection", s.hidden, {{1, 1}});
  const Dim count = times(w.dim(plane, 2), w.dim(plane, 3));
  const TensorId rows =
      w.transpose(w.view_op("aten.flatten.using_ints", narrow, {batch, hidden, count}), 1, 2);
  const TensorId places = plane_places(w, s, plane);
  const TensorId seen =
      run_side(w, s, s.encoder, "encoder", {w.dropout(rows, s.dropout), places}, nullptr);
  const TensorId asked =
      w.op("aten.repeat.default", {{"self", w.unsqueeze(queries, 0)}},
           {batch, fixed(s.queries), hidden}, {{"repeats", std::vector<std::int64_t>{1, 1, 1}}});
  const Placed memory{seen, places};
  return run_side(w, s, s.decoder, "decoder", {w.unary("aten.zeros_like.default", asked), asked},
                  &memory);
}

Graph build_detr(GraphWriter& w, const DetrSpec& s) {
  const TensorId x = detr_states(w, s);
  if (s.head == HeadKind::base) return w.finish({x});
  const TensorId kinds = w.linear(x, "class_labels_classifier", s.labels + 1, true);
  const TensorId edges = three_layers(w, x, "bbox_predictor", 4);
  return w.finish({kinds, w.unary("aten.sigmoid.default", edges)});
}

/// timm's resnets with bottlenecks, of which the first stage does not train.
void timm_resnet(ConfigReader& c, ResnetSpec& s) {
  const std::string known =
      c.choice({"backbone"}, "resnet50", {"resnet50", "resnet101", "resnet152"});
  s.widths = {256, 512, 1024, 2048};
  s.depths = {3, 4, 6, 3};
  if (known == "resnet101") s.depths[2] = 23;
  if (known == "resnet152") s.depths = {3, 8, 36, 3};
  s.timm_names = true;
  s.frozen_stages = 1;
}

void read_backbone(ConfigReader& c, ResnetSpec& s) {
  s.frozen_norms = true;
  std::optional<ConfigReader> given = c.object("backbone_config");
  const bool timm = c.flag({"use_timm_backbone"}, true);
  c.ignore({"backbone", "backbone_kwargs", "use_pretrained_backbone"});
  if (!given && timm) return timm_resnet(c, s);
  ConfigReader b = given ? *given : c.object_or_empty("backbone_config");
  const std::string type = b.text({"model_type"}, "resnet");
  if (type == "timm_backbone") {
    timm_resnet(b, s);
    b.ignore({"num_channels", "features_only", "use_pretrained_backbone", "out_indices",
              "out_features", "output_stride", "freeze_batch_norm_2d", "stage_names"});
  } else if (type == "resnet") {
    read_resnet(b, s);
    s.frozen_stages = static_cast<std::int64_t>(s.depths.size());
    c.note("no weight of a resnet of transformers trains in detr");
  } else {
    b.fault("model_type", "'" + type.substr(0, 40) + "' is not built below detr",
            "known here: resnet, timm_backbone; or capture the model");
  }
  b.note_unread();
}

std::function<Graph(GraphWriter&)> detr(ConfigReader& c) {
  DetrSpec s;
  read_backbone(c, s.eyes);
  s.eyes.image = stated_image(c, 800);
  s.eyes.channels = c.whole({"num_channels"}, s.eyes.channels, 1, 1 << 12);
  s.hidden = c.whole({"d_model", "hidden_size"}, 256);
  s.queries = c.whole({"num_queries"}, 100, 1, limits::kSequence);
  const auto side = [&](DetrSide& one, const char* layers, const char* heads, const char* ffn) {
    one.layers = c.whole({layers}, 6, 1, limits::kLayers);
    one.heads = c.whole({heads}, 8, 1, limits::kHeads);
    one.ffn = c.whole({ffn}, 2048, 1, limits::kFeedForward);
    c.divides(heads, one.heads, "d_model", s.hidden);
  };
  side(s.encoder, "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim");
  side(s.decoder, "decoder_layers", "decoder_attention_heads", "decoder_ffn_dim");
  c.divides("2 (of rows and columns)", 2, "d_model", s.hidden);
  s.dropout = c.real({"dropout"}, 0.1);
  s.attention_dropout = c.real({"attention_dropout"}, 0);
  s.activation_dropout = c.real({"activation_dropout"}, 0);
  s.activation = c.activation({"activation_function"}, "relu");
  s.learned_places =
      c.choice({"position_embedding_type"}, "sine", {"sine", "learned"}) == "learned";
  s.head = c.head(HeadKind::object_detection, {HeadKind::object_detection, HeadKind::base});
  s.labels = c.labels();
  c.not_built("dilation", "capture the model");
  c.note_when_set("auxiliary_loss", "losses of the layers before the last are left out");
  c.ignore({"num_hidden_layers", "num_attention_heads", "class_cost", "bbox_cost", "giou_cost",
            "mask_loss_coefficient", "dice_loss_coefficient", "bbox_loss_coefficient",
            "giou_loss_coefficient", "eos_coefficient", "init_std", "init_xavier_std",
            "scale_embedding", "max_position_embeddings", "classifier_dropout"});
  return [s](GraphWriter& w) { return build_detr(w, s); };
}

constexpr HfFamily kDetrFamilies[] = {{"detr", detr}};

}  // namespace

std::span<const HfFamily> detr_families() { return kDetrFamilies; }

}  // namespace parallel_opt::hf
