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

}  // namespace
}  // namespace parallel_opt
