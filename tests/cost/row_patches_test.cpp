#include "parallel_opt/cost/row_patches.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "parallel_opt/cost/row_shape.h"
#include "tests/cost/row_fixture.h"

namespace parallel_opt {
namespace {

using testing::case_of;
using testing::note_with;
using testing::replicas_of;
using testing::skipped;
using testing::told;

TrainingRow named(const std::string& model) {
  TrainingRow row = replicas_of("PyTorch DDP");
  row.model_name = model;
  row.seq_len = std::nullopt;
  return row;
}

TEST(RowPatches, ImageAndPatchesMakeTheTokens) {
  const auto tokens = [](const char* name, const char* notes = "") {
    TrainingRow row = named(name);
    row.notes = notes;
    return patch_model(row).value().tokens.value_or(0);
  };
  EXPECT_EQ(tokens("ViT-B/16"), 14 * 14 + 1);  // 224
  EXPECT_EQ(tokens("ViT-B/32"), 7 * 7 + 1);
  EXPECT_EQ(tokens("ViT-B-32"), 7 * 7 + 1);
  EXPECT_EQ(tokens("ViT-L/14@336"), 24 * 24 + 1);
  EXPECT_EQ(tokens("ViT-H (224/14)"), 16 * 16 + 1);
  EXPECT_EQ(tokens("google/vit-base-patch16-384"), 24 * 24 + 1);
  EXPECT_EQ(tokens("ViT-22B"), 16 * 16 + 1);
  EXPECT_EQ(tokens("vit_large_patch14_336"), 24 * 24 + 1);
  EXPECT_EQ(tokens("vit_base_patch8_224"), 28 * 28 + 1);
  EXPECT_EQ(tokens("vit_small_patch16_384"), 24 * 24 + 1);
  EXPECT_EQ(tokens("vit_base_patch16_224.augreg_in21k"), 14 * 14 + 1);
  EXPECT_EQ(tokens("deit_base_patch16_384"), 24 * 24 + 1);
  EXPECT_EQ(tokens("ViT-B/32 384"), 12 * 12 + 1);
  EXPECT_EQ(tokens("ViT-L/14-336"), 24 * 24 + 1);
  EXPECT_EQ(tokens("ViT-B/16 (384)"), 24 * 24 + 1);
  EXPECT_EQ(tokens("ViT-B/16 512 GPUs"), 14 * 14 + 1);
  EXPECT_EQ(tokens("DiT-XL/2 512"), 32 * 32);
  EXPECT_EQ(tokens("DiT-XL/2-512x512"), 32 * 32);
  EXPECT_EQ(tokens("ViT-L", "image size 384, patch size 16"), 24 * 24 + 1);
  EXPECT_EQ(tokens("ViT-L", "512x512 images, 16x16 patches"), 32 * 32 + 1);
  EXPECT_EQ(tokens("DiT-XL/2"), 16 * 16);  // of 256 / 8
  EXPECT_EQ(tokens("DiT-XL/2 512x512"), 32 * 32);
  EXPECT_EQ(tokens("ViT-own"), 0);  // no size, no patches
  for (const char* other : {"Vicuna-7B", "GPT-3", "Llama-2-7B", "InternVL", "own"}) {
    EXPECT_FALSE(patch_model(named(other))) << other;
  }
}

TEST(RowPatches, NamesHaveTheirPublishedShapes) {
  const struct {
    const char* name;
    double parameters;  // published, in 1e6
  } kModels[] = {{"ViT-Ti/16", 5.7}, {"DeiT-S", 22},     {"ViT-B/16", 86},   {"ViT-Large/16", 307},
                 {"ViT-H/14", 632},  {"ViT-g/14", 1011}, {"ViT-G/14", 1843}, {"ViT-e", 3926},
                 {"ViT-22B", 21743}, {"DiT-S/2", 33},    {"DiT-B/2", 130},   {"DiT-L/2", 458},
                 {"DiT-XL/2", 675}};
  for (const auto& [name, parameters] : kModels) {
    const RowCase found = case_of(named(name));
    EXPECT_NEAR(found.facts->parameters / 1e6 / parameters, 1, 0.04) << name;
    EXPECT_NE(found.model.find("encoder=true"), std::string::npos) << name;
    EXPECT_EQ(found.facts->blocks.front().causal_share, 1) << name;
  }
}

TEST(RowPatches, AShapeOfItsOwnIsReadAsAnEncoder) {
  TrainingRow row = named("ViT-5B");
  row.layers = 32;
  row.hidden = 3584;
  row.heads = 28;
  row.ffn_hidden = 14336;
  row.seq_len = 257;
  const RowCase found = case_of(row);
  EXPECT_NEAR(found.facts->parameters, 32 * 12.0 * 3584 * 3584, 0.01 * found.facts->parameters);
  EXPECT_EQ(found.facts->tokens, 257);
  EXPECT_EQ(found.facts->blocks.front().causal_share, 1);
}

TEST(RowPatches, TheLengthOfASampleIsTold) {
  EXPECT_EQ(told(named("ViT-L/14@336"),
                 "seq_len = 577, of 336 x 336 in patches of 14 and the class, as none is stated"),
            1);
  EXPECT_EQ(told(named("vit_base_patch8_224"),
                 "seq_len = 785, of 224 x 224 in patches of 8 and the class, as none is stated"),
            1);
  EXPECT_EQ(
      told(named("DiT-XL/2"), "seq_len = 256, of 256 x 256 in patches of 2 x 8, as none is stated"),
      1);
  EXPECT_EQ(told(named("DiT-XL/2"),
                 "blocks are modulated once per picture; its autoencoder is not counted"),
            1);
  EXPECT_EQ(note_with(named("ViT-L/16"), "modulated"), "");
}

// A product of h x 6 h with 6 h biases, for one row of a sample.
TEST(RowPatches, ModulationIsOncePerSample) {
  TransformerFacts facts;
  facts.blocks.resize(1);
  facts.blocks.front().repeats = 28;
  add_modulation(facts, 1152);
  EXPECT_EQ(facts.blocks.front().products.front().flops(), 2.0 * 6 * 1152 * 1152);
  EXPECT_EQ(facts.parameters, 28 * 6.0 * 1152 * 1153);
}

TEST(RowPatches, OtherModelsSayWhatTheyHave) {
  EXPECT_EQ(skipped(named("T5-11B")),
            "model 'T5-11B' has an encoder and a decoder that attends to it, and a row has one "
            "stack and sequence (T5)");
  EXPECT_EQ(skipped(named("CLIP ViT-L/14")),
            "model 'CLIP ViT-L/14' has an encoder of pictures and one of texts, and a row has one "
            "stack (CLIP)");
  EXPECT_EQ(skipped(named("MAE ViT-L")),
            "model 'MAE ViT-L' encodes some of the patches alone (MAE)");
  EXPECT_EQ(skipped(named("Swin-L")),
            "model 'Swin-L' is no stack of equal attention blocks (Swin)");
}

}  // namespace
}  // namespace parallel_opt
