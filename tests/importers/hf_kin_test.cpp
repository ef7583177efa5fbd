#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "parallel_opt/graph/summary.h"
#include "parallel_opt/importers/hf_config.h"
#include "tests/importers/archive.h"

// Families that are relatives of others: totals that publishers state, and what is refused.
namespace parallel_opt {
namespace {

using testing::error_of;

Graph relative(const std::string& type, const std::string& members = "") {
  return read_hf_config(R"({"model_type": ")" + type + '"' + members + "}", "c.json");
}

std::int64_t kin_parameters(const std::string& type, const std::string& members = "") {
  return count_parameters(relative(type, members)).parameters;
}

std::string kin_fault(const std::string& type, const std::string& members) {
  return error_of([&] { relative(type, members); });
}

TEST(HfKin, Totals) {
  // 32 layers of 4 h^2 + 2 h f, two norms of h, two of a head, two numbers; two tables, one norm
  const std::int64_t h = 4096, f = 14336;
  EXPECT_EQ(kin_parameters("apertus"),
            2 * 131072 * h + 32 * (4 * h * h + 2 * h * f + 2 * h + 2 * 128 + 2) + h);
  EXPECT_EQ(kin_parameters("openai-gpt"), 116'534'784);
  EXPECT_EQ(kin_parameters("kimi_k2"), kin_parameters("deepseek_v3"));
  // Their defaults have more layers than bert's.
  EXPECT_EQ(kin_parameters("megatron-bert"), 333'671'808);
  EXPECT_EQ(kin_parameters("xlm-roberta-xl"), 3'482'741'760);
}

TEST(HfKin, AnActivationOfOneFamilyIsNoOthers) {
  EXPECT_EQ(kin_fault("llama", R"(, "hidden_act": "xielu")"),
            "c.json:hidden_act: unknown 'xielu' (did you mean 'silu'?)");
  EXPECT_EQ(kin_fault("apertus", R"(, "hidden_act": 3)"),
            "c.json:hidden_act: must be a string, is 3");
}

TEST(HfKin, SettingsThatTransformersRefusesAreFaults) {
  EXPECT_EQ(
      kin_fault("internlm3", R"(, "qkv_bias": true)"),
      "c.json:attention_bias: must be what mlp_bias is (transformers has no other internlm3)");
  EXPECT_EQ(kin_fault("iquestcoder", R"(, "use_sliding_window": true)"),
            "c.json:use_sliding_window: true is not built here (nor has transformers it)");
  EXPECT_EQ(kin_fault("bitnet", R"(, "head_dim": 64)"),
            "c.json:head_dim: heads must be hidden_size wide together (a norm of that width "
            "follows)");
  EXPECT_EQ(kin_fault("lfm2_moe", ""),
            "c.json:layer_types: is missing (transformers has no default for it)");
  EXPECT_EQ(kin_fault("lfm2_moe", R"(, "num_hidden_layers": 1, "layer_types": ["conv"],
                                     "use_expert_bias": false)"),
            "c.json:use_expert_bias: false is not built here (capture the model)");
}

TEST(HfKin, TheKindOfEachMlpIsNamed) {
  EXPECT_EQ(kin_fault("glm4_moe_lite", R"(, "num_hidden_layers": 3, "mlp_layer_types": ["dense"])"),
            "c.json:mlp_layer_types: names 1 layers of 3");
  EXPECT_EQ(kin_fault("exaone_moe", R"(, "num_hidden_layers": 1, "mlp_layer_types": ["thick"])"),
            "c.json:mlp_layer_types[0]: unknown 'thick' (known here: dense, sparse)");
  // Experts in place of gate, up and down: 64 of them and a shared one, router and no correction.
  const std::int64_t h = 2048, dense = 3 * h * 10240, sparse = 65 * 3 * h * 1536 + 64 * h;
  const std::string layers = R"(, "num_hidden_layers": 2, "mlp_layer_types": )";
  EXPECT_EQ(kin_parameters("glm4_moe_lite", layers + R"(["sparse", "sparse"])") -
                kin_parameters("glm4_moe_lite", layers + R"(["sparse", "dense"])"),
            sparse - dense);
}

TEST(HfKin, ViewsAndStages) {
  EXPECT_EQ(kin_parameters("resnet", R"(, "num_labels": 1000)"), 25'557'032);  // ResNet-50
  EXPECT_EQ(kin_parameters("resnet", R"(, "num_labels": 1000, "layer_type": "basic",
                "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2])"),
            11'689'512);  // ResNet-18
  // ESM-2 of 33 layers
  EXPECT_EQ(kin_parameters("esm", R"(, "vocab_size": 33, "hidden_size": 1280,
                "intermediate_size": 5120, "num_hidden_layers": 33, "num_attention_heads": 20,
                "position_embedding_type": "rotary")"),
            651'043'254);
  EXPECT_EQ(kin_parameters("audio-spectrogram-transformer", R"(, "architectures": ["ASTModel"])"),
            86'187'264);
  EXPECT_THAT(relative("resnet").notes,
              ::testing::ElementsAre("the file states no image_size: images of 224 by 224"));
}

TEST(HfKin, AQuarterOfAnOddHalfIsRoundedAsPythonDoes) {
  // A layer after the stem of 138 squeezes to 34.5 numbers: transformers' round() takes 34.
  EXPECT_EQ(kin_parameters("regnet", R"(, "embedding_size": 138, "depths": [1, 1, 1, 1],
                "hidden_sizes": [64, 128, 128, 128], "groups_width": 32, "num_labels": 3, "layer_type": "y",
                "architectures": ["RegNetForImageClassification"])"),
            315'223);
}

TEST(HfKin, StagesThatDoNotFitAreFaults) {
  EXPECT_EQ(kin_fault("segformer", R"(, "image_size": 24)"),
            "c.json:sr_ratios: stage 0 has fewer than 8 rows or columns");
  EXPECT_EQ(
      kin_fault("segformer", R"(, "num_encoder_blocks": 3)"),
      "c.json:num_encoder_blocks: another number than 4 is not built here (capture the model)");
  EXPECT_EQ(kin_fault("resnet", R"(, "hidden_sizes": [256, 512])"),
            "c.json:hidden_sizes: must be 4 whole numbers of 1 to 1048576");
  EXPECT_EQ(kin_fault("regnet", R"(, "groups_width": 48)"),
            "c.json:groups_width: 10 does not divide hidden_sizes 512");
  EXPECT_EQ(kin_fault("vit_mae", R"(, "mask_ratio": 1.5)"),
            "c.json:mask_ratio: leaves no patch to be seen (less than 1)");
  EXPECT_EQ(kin_fault("dinov3_vit", R"(, "query_bias": false)"),
            "c.json:query_bias: must be what value_bias is, and true beside key_bias (capture the "
            "model)");
  EXPECT_EQ(kin_fault("videomae", R"(, "num_frames": 15)"),
            "c.json:tubelet_size: 2 does not divide num_frames 15");
  EXPECT_EQ(kin_fault("rembert", R"(, "tie_word_embeddings": true)"),
            "c.json:tie_word_embeddings: words of 256 numbers cannot be told from 1664");
}

TEST(HfKin, SettingsThatContradictEachOtherAreFaults) {
  EXPECT_EQ(kin_fault("qwen3_moe", R"(, "num_experts": 64, "num_local_experts": 32)"),
            "c.json:num_local_experts: is 32 where num_experts is 64 (they name one thing: leave "
            "one out)");
  EXPECT_EQ(kin_fault("t5", R"(, "is_gated_act": true)"),
            "c.json:is_gated_act: true is not what feed_forward_proj says, 'relu'");
  EXPECT_EQ(kin_fault("convnext", R"(, "num_stages": 2)"),
            "c.json:num_stages: is 2 with 4 hidden_sizes and 4 depths");
  EXPECT_EQ(kin_fault("helium", R"(, "head_dim": 64)"),
            "c.json:head_dim: heads must be hidden_size wide together (o_proj is a square)");
  EXPECT_EQ(kin_fault("llama", R"(, "head_dim": 33)"),
            "c.json:head_dim: 33 numbers of a head are rotated (an even number can be)");
  EXPECT_EQ(kin_fault("lfm2", R"(, "intermediate_size": 1)"),
            "c.json:block_ff_dim: leaves nothing of the inner width");
}

}  // namespace
}  // namespace parallel_opt
