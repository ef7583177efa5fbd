#include "parallel_opt/cost/named_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "parallel_opt/cost/row_shape.h"
#include "tests/cost/row_fixture.h"

namespace parallel_opt {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr const char* kPictures =
    "only the language model is predicted, as model_name has pictures too";

std::string spec_of(const std::string& name) { return named_model(name, {}).spec; }

TEST(NamedModel, IsWhatARowOfThatNameIs) {
  for (const char* name :
       {"TinyLlama 1.1B", "ViT-L/16", "Llama-3.1-8B-Instruct", "bert-large-uncased",
        "Llama-4-Scout-17B-16E", "StarCoder-15B", "OLMoE-1B-7B", "Falcon3-1B", "GLM-4.5-Air",
        "LLaVA (Llama 3 8B)", "Qwen2.5-VL-7B", "GPT-2 XL (vocab padded)"}) {
    TrainingRow row = testing::replicas_of("PyTorch");
    row.model_name = name;
    row.seq_len = std::nullopt;
    const RowCase read = testing::case_of(row);
    const std::string spec = spec_of(name);
    EXPECT_EQ(spec.substr(0, spec.rfind(",seq=")), read.model) << name;
    EXPECT_EQ(number_of(spec, "seq"), read.facts->tokens) << name;
  }
}

TEST(NamedModel, TakesTheLengthThatIsAskedFor) {
  EXPECT_EQ(number_of(named_model("Llama 3 8B", 1024).spec, "seq"), 1024);
  EXPECT_EQ(number_of(spec_of("Llama 3 8B"), "seq"), 8192);
}

TEST(NamedModel, OfOneThatIsShownPicturesTheLanguageModelCounts) {
  for (const char* name :
       {"LLaVA (Llama 3 8B)", "LLaVA-NeXT (Llama 3 8B, CLIP ViT-L/14)", "own VLM of Llama 3 8B"}) {
    const NamedModel model = named_model(name, {});
    EXPECT_EQ(model.spec, spec_of("Llama 3 8B")) << name;
    EXPECT_THAT(model.notes, ElementsAre(kPictures)) << name;
  }
  for (const auto& [seen, language] : {std::pair("Qwen3-VL-2B", "Qwen3-1.7B"),
                                       {"Qwen3-VL-235B-A22B", "Qwen3-235B-A22B"},
                                       {"Qwen2.5-VL-3B-Instruct", "Qwen2.5-3B"}}) {
    EXPECT_EQ(spec_of(seen), spec_of(language)) << seen;
    EXPECT_THAT(named_model(seen, {}).notes, ElementsAre(kPictures)) << seen;
    EXPECT_THAT(named_model(language, {}).notes, IsEmpty()) << language;
  }
}

TEST(NamedModel, IsNoneWhereARowOfThatNameIsNone) {
  for (const char* name :
       {"", "nobody's", "GPT-2 1558M", "BLOOM-1b3", "Llama-3-80B", "Jamba", "T5-11B", "CLIP ViT-L",
        "Llama 3 8B LoRA", "from Llama 3 70B to 8B", "Llama 3 8B MoE", "DiT-XL/2", "MiniMax-M1"}) {
    EXPECT_EQ(spec_of(name), "") << name;
  }
}

TEST(NamedModel, IsTheLongestThatIsNamed) {
  EXPECT_NE(spec_of("GLM-4.5"), spec_of("GLM-4.5-Air"));
  EXPECT_EQ(number_of(spec_of("distilbert-base-uncased"), "layers"), 6);
  EXPECT_EQ(number_of(spec_of("XLM-RoBERTa-base"), "vocab"), 250002);
  EXPECT_EQ(number_of(spec_of("Cerebras-GPT-1.3B"), "vocab"), 50257);
}

}  // namespace
}  // namespace parallel_opt
