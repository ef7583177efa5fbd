#include "parallel_opt/cost/row_size.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "parallel_opt/cost/named_model.h"
#include "parallel_opt/cost/row_shape.h"
#include "tests/cost/row_fixture.h"

/// Models that everybody trains, one column blank: what their size says is what they have.
namespace parallel_opt {
namespace {

using testing::case_of;
using testing::note_with;
using testing::usual_row;

struct Dimensions {
  const char* name;
  double params_b, layers, hidden, heads, kv_heads, ffn, vocab;
  bool gated;
};
constexpr Dimensions kModels[] = {
    {"Llama 1 7B", 6.74, 32, 4096, 32, 32, 11008, 32000, true},
    {"Llama 2 70B", 69.0, 80, 8192, 64, 8, 28672, 32000, true},
    {"Llama 3 8B", 8.03, 32, 4096, 32, 8, 14336, 128256, true},
    {"Llama 3 70B", 70.6, 80, 8192, 64, 8, 28672, 128256, true},
    {"Mistral 7B", 7.24, 32, 4096, 32, 8, 14336, 32000, true},
    {"Qwen 2 72B", 72.7, 80, 8192, 64, 8, 29568, 152064, true},
    {"GPT-3 175B", 175, 96, 12288, 96, 96, 49152, 50257, false},
    {"GPT-NeoX 20B", 20.6, 44, 6144, 64, 64, 24576, 50432, false},
    {"OPT 30B", 30, 48, 7168, 56, 56, 28672, 50272, false},
    {"Falcon 40B", 41.3, 60, 8192, 128, 8, 32768, 65024, false},
};

TrainingRow sized_row(const Dimensions& of) {
  TrainingRow row = usual_row("Megatron-Core");
  row.model_name = "m";
  row.params_b = of.params_b;
  row.layers = of.layers;
  row.hidden = of.hidden;
  row.heads = of.heads;
  row.kv_heads = of.kv_heads;
  row.ffn_hidden = of.ffn;
  row.vocab = of.vocab;
  return row;
}

class RowSize : public ::testing::TestWithParam<Dimensions> {
 protected:
  static double size(const TrainingRow& row) { return case_of(row).facts->parameters; }
  static bool gated(const TrainingRow& row) {
    return case_of(row).model.find("gated=true") != std::string::npos;
  }
  TrainingRow row = sized_row(GetParam());
};

TEST_P(RowSize, ABlankVocabularyIsTheOneThatMakesTheParameters) {
  const double whole = size(row);
  row.vocab = std::nullopt;
  EXPECT_NEAR(size(row) / whole, 1, 0.03);
  EXPECT_EQ(gated(row), GetParam().gated);
  EXPECT_NE(note_with(row, "vocab = "), "");
}

TEST_P(RowSize, ABlankWidthIsTheOneThatMakesTheParameters) {
  const double whole = size(row);
  row.ffn_hidden = std::nullopt;
  EXPECT_NEAR(size(row) / whole, 1, 0.08);
  EXPECT_NE(note_with(row, "ffn_hidden = "), "");
}

TEST_P(RowSize, BlankHeadsChangeNoParameters) {
  const double whole = size(row);
  row.heads = std::nullopt;
  EXPECT_EQ(gated(row), GetParam().gated);
  EXPECT_NE(note_with(row, "heads = hidden / "), "");
  // Falcon's heads are half as wide as most: keys of 8 weigh twice as much.
  EXPECT_NEAR(size(row) / whole, 1, GetParam().heads == 128 ? 0.02 : 1e-3);
}

TEST_P(RowSize, SharedKeysWeighLess) {
  row.kv_heads = std::nullopt;
  EXPECT_EQ(gated(row), GetParam().gated);
  EXPECT_EQ(note_with(row, "kv_heads = 8, as the size says").empty(),
            GetParam().kv_heads == GetParam().heads);
}

TEST_P(RowSize, NobodyIsToldWhatEveryColumnSays) {
  for (const char* words : {"vocab =", "ffn_hidden =", "heads =", "matrices"}) {
    EXPECT_EQ(note_with(row, words), "") << words;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, RowSize, ::testing::ValuesIn(kModels), [](const auto& test) {
  std::string name;
  for (const char c : std::string(test.param.name)) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) name += c;
  }
  return name;
});

TEST(RowSizeUnstated, WhatIsUsualIsTakenAndTold) {
  TrainingRow row = usual_row("Megatron-Core");
  EXPECT_EQ(number_of(case_of(row).model, "vocab"), 50257);
  EXPECT_NE(note_with(row, "vocab = 50257, as none is stated"), "");
  EXPECT_NE(note_with(row, "ffn_hidden = 4 x hidden, as none is stated"), "");
  row.kv_heads = 4;
  EXPECT_EQ(number_of(case_of(row).model, "ffn"), 7168);
  EXPECT_NE(note_with(row, "ffn_hidden = 3.5 x hidden, as none is stated"), "");
  row.kv_heads = std::nullopt;
  row.model_name = "llama of our own";
  EXPECT_NE(note_with(row, "ffn_hidden = 8/3 x hidden, as none is stated"), "");
}

/// config.json's intermediate_size is that of blocks without experts.
TEST(RowSizeUnstated, ExpertsAreNoWiderThanTheModelIsLarge) {
  TrainingRow row = sized_row({"m", 30.5, 48, 2048, 32, 4, 768, 151936, true});
  row.experts = 128;
  row.topk = 8;
  const double whole = case_of(row).facts->parameters;
  EXPECT_NEAR(whole, 30.5e9, 1e9);
  row.ffn_hidden = 6144;
  EXPECT_NEAR(case_of(row).facts->parameters / whole, 1, 0.02);
  EXPECT_NE(note_with(row, "experts of 768, as the size says: ffn_hidden is of blocks without"),
            "");
}

TEST(RowSizeUnstated, SizesOfMixturesAreOfAllExpertsOrOfThoseThatATokenMeets) {
  TrainingRow row = testing::llama_row("Megatron-Core");
  row.model_name = "Mixtral 8x7B";  // 46.7e9, 12.9e9 of them active
  for (const double params_b : {46.7, 47.0, 12.9, 13.0}) {
    row.params_b = params_b;
    EXPECT_EQ(testing::skipped(row), "") << params_b;
    EXPECT_EQ(note_with(row, "params_b is what a token meets").empty(), params_b > 40) << params_b;
    EXPECT_EQ(note_with(row, "params_b is 10 to 25 %"), "") << params_b;
  }
  for (const double params_b : {0.0001, 7.0, 24.0, 90.0}) {
    row.params_b = params_b;
    EXPECT_NE(testing::skipped(row), "") << params_b;
  }
}

/// However a name is written, the model is the same, and as large as it is called.
TEST(RowSizeUnstated, KnownModelsAreAsLargeAsTheirNamesSay) {
  int sizes = 0;
  for (const char* name :
       {"yi-6b", "yi-34b", "gpt-oss 20b", "gpt-oss 120b", "moonlight-16b-a3b", "mixtral-8x22b",
        "deepseek-67b", "nemotron-4-340b", "falcon-7b", "mpt-7b", "opt-6.7b", "pythia-6.9b",
        "qwen2.5-7b", "phi-3-mini", "olmo-7b", "chatglm3-6b", "starcoder2-15b", "llama 3 70b"}) {
    const std::string spec = named_model(name, {}).spec;
    ASSERT_NE(spec, "") << name;
    for (const char separator : {' ', '_', '-'}) {
      std::string other = name;
      std::ranges::replace_if(other, [](char c) { return c == ' ' || c == '-'; }, separator);
      EXPECT_EQ(named_model(other, {}).spec, spec) << other;
    }
    const auto size = size_in_name(name);
    if (!size || std::string(name).find('x') != std::string::npos) continue;
    TrainingRow row = testing::llama_row("Megatron-Core");
    row.model_name = name;
    EXPECT_NEAR(case_of(row).facts->parameters / (1e9 * *size), 1, 0.12) << name;
    ++sizes;
  }
  EXPECT_GT(sizes, 10);
}

TEST(RowSizeUnstated, AKnownNameOfAnotherSizeIsAnotherModel) {
  TrainingRow row = testing::llama_row("Megatron-Core");
  for (const char* name :
       {"GPT-2 1558M", "GPT-2 762M", "GPT-3 125M", "GPT-3 760M", "GPT-3 1T", "DeepSeek-V3 16B",
        "DeepSeek-R1-Distill-Qwen-7B", "BLOOM-1b3", "BERT-large 1.2B"}) {
    row.model_name = name;
    EXPECT_NE(testing::skipped(row), "") << name;
  }
  for (const char* name : {"GPT-2 124M", "GPT-3 175B", "DeepSeek-V3 671B", "BLOOM 7b1",
                           "BERT-large 340M", "Llama 2 7B", "Mixtral 8x7B", "Moonlight-16B-A3B",
                           "Gemma 2B", "Llama 3.2 1B", "OPT-125M", "ViT-B/16"}) {
    row.model_name = name;
    EXPECT_EQ(testing::skipped(row).find("by its name"), std::string::npos) << name;
  }
  EXPECT_EQ(any_size_in_name("GPT-2 1558M"), 1.558);
  EXPECT_EQ(any_size_in_name("Switch 1T"), 1000);
  EXPECT_EQ(any_size_in_name("BLOOM-1b1"), 1.1);
  EXPECT_EQ(any_size_in_name("Llama 2 7B, 1T tokens"), 7);
  EXPECT_EQ(any_size_in_name("GPT, 1T tokens"), std::nullopt);
  EXPECT_EQ(any_size_in_name("GPT-2 XL, 1M context"), std::nullopt);
}

TEST(RowSizeUnstated, BlankExpertsAreAsWideAsTheSizeSays) {
  TrainingRow row = usual_row("DeepSpeed");
  row.model_name = "m";
  row.layers = 24;
  row.hidden = 2048;
  row.heads = 16;
  row.experts = 128;
  row.topk = 1;
  row.params_b = 52;
  EXPECT_NEAR(case_of(row).facts->parameters, 52e9, 2e9);
  EXPECT_NE(note_with(row, "ffn_hidden = "), "");
}

TEST(RowSizeUnstated, HeadsAreAsWideAsKeysCanBeShared) {
  TrainingRow row = usual_row("Megatron-Core");
  row.hidden = 960;  // 7.5 heads of 128, 15 of 64
  row.heads = std::nullopt;
  EXPECT_EQ(number_of(case_of(row).model, "heads"), 15);
  row.kv_heads = 5;
  EXPECT_EQ(number_of(case_of(row).model, "heads"), 15);
  row.kv_heads = 4;
  EXPECT_EQ(number_of(case_of(row).model, "heads"), 12);  // of 80
  EXPECT_NE(note_with(row, "heads = hidden / 80, as none are stated"), "");
}

TEST(RowSizeUnstated, ASizeInANameIsRounded) {
  TrainingRow row = usual_row("Megatron-Core");  // 1.31e9
  row.model_name = "GPT 1.2B";
  EXPECT_NE(note_with(row, "ffn_hidden = 4 x hidden"), "");
  EXPECT_EQ(note_with(row, "the size in model_name"), "");
  row.ffn_hidden = 8192;
  row.model_name = "GPT 7B";
  EXPECT_NE(note_with(row, "the size in model_name is not what the dimensions, which count, make"),
            "");
  row.model_name = "GPT 8x7B";
  EXPECT_EQ(note_with(row, "the size in model_name"), "");
  row.model_name = "Llama 2 7B";  // known, and other dimensions stated
  EXPECT_NE(note_with(row, "the size in model_name"), "");
}

}  // namespace
}  // namespace parallel_opt
