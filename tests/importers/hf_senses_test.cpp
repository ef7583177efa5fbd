#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "parallel_opt/graph/summary.h"
#include "parallel_opt/importers/hf_config.h"
#include "tests/importers/archive.h"

// Models that see and hear, from their config.json.
namespace parallel_opt {
namespace {

using testing::error_of;

Graph senses(const std::string& members) { return read_hf_config("{" + members + "}", "c.json"); }

std::int64_t parameters_in(const std::string& members) {
  return count_parameters(senses(members)).parameters;
}

std::string config_fault(const std::string& members) {
  return error_of([&] { senses(members); });
}

TEST(HfSenses, PublishedTotals) {
  EXPECT_EQ(parameters_in(R"("model_type": "dinov2", "architectures": ["Dinov2Model"],
                          "hidden_size": 1536, "num_hidden_layers": 40, "num_attention_heads": 24,
                          "image_size": 518, "use_swiglu_ffn": true)"),
            1'136'480'768);
  EXPECT_EQ(parameters_in(R"("model_type": "convnext", "num_labels": 1000, "depths": [3, 3, 27, 3],
                          "hidden_sizes": [128, 256, 512, 1024])"),
            88'591'464);
  EXPECT_EQ(parameters_in(R"("model_type": "convnextv2", "num_labels": 1000)"), 28'635'496);
  EXPECT_EQ(parameters_in(R"("model_type": "wav2vec2")"), 94'396'320);
  // So400m sees 27 by 27 whole patches of 14 in 384 pixels.
  const std::string so400m = R"({"hidden_size": 1152, "intermediate_size": 4304,
                                 "num_hidden_layers": 27, "num_attention_heads": 16)";
  EXPECT_EQ(parameters_in(R"("model_type": "siglip", "text_config": )" + so400m +
                          R"(}, "vision_config": )" + so400m +
                          R"(, "image_size": 384, "patch_size": 14})"),
            877'960'498);
}

TEST(HfSenses, ATextThatSeesHasTheTowerTheProjectorAndItsOwnNames) {
  const std::string text = R"("text_config": {"model_type": "mistral", "hidden_size": 64,
      "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
      "num_key_value_heads": 2, "vocab_size": 100})";
  const std::string sight = R"("vision_config": {"model_type": "clip_vision_model",
      "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
      "image_size": 28, "patch_size": 14})";
  const Graph graph = senses(R"("model_type": "llava", )" + text + ", " + sight);
  const auto named = [&](std::string_view fqn) {
    return std::ranges::any_of(graph.tensors, [&](const Tensor& t) { return t.fqn == fqn; });
  };
  EXPECT_TRUE(named("model.language_model.layers.1.self_attn.q_proj.weight"));
  EXPECT_TRUE(named("model.multi_modal_projector.linear_2.bias"));
  EXPECT_TRUE(named("model.vision_tower.encoder.layers.1.mlp.fc2.weight"));  // run, not read
  EXPECT_TRUE(named("lm_head.weight"));
  EXPECT_EQ(graph.inputs.size(), 2U);
  const auto projected = std::ranges::find_if(
      graph.ops, [](const Op& op) { return op.module == "model.multi_modal_projector.linear_1"; });
  ASSERT_NE(projected, graph.ops.end());
  // 28 / 14 squared: four patches, without the class token; 64 is the text's width.
  const std::vector<Dim>& shape = graph.tensor(projected->outputs[0]).shape;
  EXPECT_EQ(shape[1].size, 4);
  EXPECT_EQ(shape[2].size, 64);
}

TEST(HfSenses, TheLengthOfAWaveIsASymbol) {
  const Graph graph = senses(R"("model_type": "hubert", "num_hidden_layers": 1)");
  ASSERT_EQ(graph.outputs.size(), 1U);
  // 10 s at 16 kHz through strides of 5 * 2^6 = 320 samples: 499 frames.
  EXPECT_EQ(graph.tensor(graph.outputs[0]).shape[1].size, 499);
  const Graph short_wave = bind(graph, {{"batch", 1}, {"samples", 400}});
  EXPECT_EQ(short_wave.tensor(short_wave.outputs[0]).shape[1].size, 1);
}

/// Scores of contents, then with distances: each further kind is a product of its own.
TEST(HfSenses, DistancesAreProductsOfTheirOwn) {
  const auto products = [](const std::string& kinds) {
    const Graph graph = senses(R"("model_type": "deberta-v2", "num_hidden_layers": 1,
                                  "relative_attention": true, "pos_att_type": ")" +
                               kinds + "\"");
    return std::ranges::count_if(graph.ops,
                                 [](const Op& op) { return op.target == "aten.bmm.default"; });
  };
  EXPECT_EQ(products("c2p"), 3);      // scores, distances, values
  EXPECT_EQ(products("p2c|c2p"), 4);  // and distances the other way
}

TEST(HfSenses, FaultsNameTheirKeys) {
  EXPECT_EQ(config_fault(R"("model_type": "convnext", "depths": [3, 3, 9])"),
            "c.json:num_stages: is 4 with 4 hidden_sizes and 3 depths");
  EXPECT_EQ(config_fault(R"("model_type": "convnext", "depths": [2000, 2000, 1, 1])"),
            "c.json:depths: are 4002 layers together (at most 2048)");
  EXPECT_EQ(config_fault(R"("model_type": "convnext", "image_size": 16)"),
            "c.json:image_size: leaves nothing of the image for the last stage");
  EXPECT_EQ(config_fault(R"("model_type": "wav2vec2", "conv_dim": [512, 512])"),
            "c.json:conv_kernel: and conv_stride must name as many filters as conv_dim");
  EXPECT_EQ(config_fault(R"("model_type": "wav2vec2", "conv_stride": [5, 2, 2, 2, 2, 2, 2000])"),
            "no error");
  EXPECT_EQ(config_fault(R"("model_type": "wav2vec2", "conv_kernel": [10, 3, 3, 3, 3, 2, 16000])"),
            "c.json:conv_kernel: leaves nothing of 160000 samples, which are 10 s");
  EXPECT_EQ(config_fault(R"("model_type": "hubert", "conv_dim": [0])"),
            "c.json:conv_dim: must be at most 64 numbers of 1 to 16384");
  EXPECT_EQ(config_fault(R"("model_type": "llava", "text_config": {"model_type": "t5"})"),
            "c.json:text_config.model_type: 't5' is not built inside another model "
            "(capture the model)");
  EXPECT_EQ(config_fault(R"("model_type": "llava", "text_config": {},
                     "vision_config": {"model_type": "dinov2"})"),
            "c.json:vision_config.model_type: 'dinov2' is not built inside another model "
            "(known here: clip_vision_model, siglip_vision_model, pixtral; or capture the model)");
  EXPECT_EQ(
      config_fault(R"("model_type": "llava", "text_config": {}, "vision_feature_layer": -40)"),
      "c.json:vision_feature_layer: is no layer of the image tower, which has 24");
  EXPECT_EQ(
      config_fault(R"("model_type": "gemma3", "text_config": {}, "mm_tokens_per_image": 255)"),
      "c.json:mm_tokens_per_image: 255 tokens are no square that divides 14 by 14 patches");
  EXPECT_EQ(config_fault(R"("model_type": "siglip", "vision_config": {"vision_use_head": false})"),
            "c.json:vision_config.vision_use_head: false leaves no image to compare");
  EXPECT_EQ(config_fault(R"("model_type": "mpnet", "max_position_embeddings": 2)"),
            "c.json:max_position_embeddings: leaves no position after padding");
}

}  // namespace
}  // namespace parallel_opt
