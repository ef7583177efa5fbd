#include "parallel_opt/cost/row_shape.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>

#include "tests/cost/row_fixture.h"

namespace parallel_opt {
namespace {

using testing::case_of;
using testing::usual_row;

TEST(RowShape, TheSizeSaysWhetherLayersAreGated) {
  TrainingRow row = usual_row();
  row.model_name = "Nemotron-4-340B";  // squared ReLU: 96 (2.17 h^2 + 2 h 4 h) + 2 v h = 341e9
  row.layers = 96;
  row.hidden = 18432;
  row.heads = 96;
  row.kv_heads = 8;
  row.ffn_hidden = 73728;
  row.vocab = 256000;
  EXPECT_NE(case_of(row).model.find("gated=false"), std::string::npos);  // by the size in its name
  row.model_name = "Nemotron";
  EXPECT_NE(case_of(row).model.find("gated=true"), std::string::npos);  // as most of its relatives
  row.params_b = 340;
  EXPECT_NE(case_of(row).model.find("gated=false"), std::string::npos);
  row.model_name = "Nobody-70B";  // 80 (2.25 h^2 + 3 h 3.5 h) + 2 v h = 70.6e9
  row.layers = 80;
  row.hidden = 8192;
  row.heads = 64;
  row.ffn_hidden = 28672;
  row.vocab = 128256;
  row.params_b = 70;
  EXPECT_NE(case_of(row).model.find("gated=true"), std::string::npos);
  row.params_b = 60;  // neither: nothing is concluded
  EXPECT_EQ(case_of(row).model.find("gated"), std::string::npos);
}

TEST(RowShape, WidthsSayWhetherLayersAreGatedWhereNoSizeDoes) {
  TrainingRow row = usual_row();
  const auto gated = [&](double hidden, double heads, double kv_heads, double ffn) {
    row.model_name = "Nobody";
    row.params_b = std::nullopt;
    row.hidden = hidden;
    row.heads = heads;
    row.kv_heads = kv_heads;
    row.ffn_hidden = ffn;
    return case_of(row).model.find("gated=true") != std::string::npos;
  };
  EXPECT_TRUE(gated(4096, 32, 32, 11008));   // 8/3
  EXPECT_TRUE(gated(8192, 64, 8, 28672));    // keys are shared
  EXPECT_FALSE(gated(8192, 64, 64, 32768));  // GPT
  EXPECT_FALSE(gated(8192, 64, 8, 32768));   // Falcon
  EXPECT_EQ(std::ranges::count(case_of(row).notes,
                               "three matrices in the feed-forward part, as its width says"),
            0);
  row.ffn_hidden = 28672;
  EXPECT_EQ(std::ranges::count(case_of(row).notes,
                               "three matrices in the feed-forward part, as its width says"),
            1);
}

/// 18 (2.67 h^2 + 3 h 3 h) + v h = 149e6; two matrices and a head beside the table make 142e6.
TrainingRow base_149m() {
  TrainingRow row = usual_row();
  row.model_name = "base_149m";
  row.layers = 18;
  row.hidden = 768;
  row.heads = 12;
  row.kv_heads = 4;
  row.ffn_hidden = 2304;
  row.vocab = 32768;
  row.params_b = 0.149;
  return row;
}

TEST(RowShape, NotesSayWhetherTheHeadIsTied) {
  const struct {
    const char* notes;
    const char* tied;
  } kNotes[] = {
      {"tied embeddings", "tied=true"},           {"tied embeddings: yes", "tied=true"},
      {"tied embeddings yes; bf16", "tied=true"}, {"tied embeddings no", "tied=false"},
      {"tied embeddings no; bf16", "tied=false"}, {"tied embeddings: no", "tied=false"},
      {"tied embeddings=False", "tied=false"},    {"untied", "tied=false"},
      {"tied embeddings no bias", "tied=true"},   {"tied word embeddings: no", "tied=false"}};
  for (const auto& [notes, tied] : kNotes) {
    TrainingRow row = testing::whole_row();
    row.notes = notes;
    EXPECT_NE(case_of(row).model.find(tied), std::string::npos) << notes;
  }
}

TEST(RowShape, DigitsOfTheSizeTellAThirdMatrixFromAHead) {
  TrainingRow row = base_149m();
  EXPECT_EQ(testing::skipped(row), "");
  EXPECT_NE(case_of(row).model.find("gated=true"), std::string::npos);
  EXPECT_NE(case_of(row).model.find("tied=true"), std::string::npos);
  row.notes = "non-gated MLP, untied";  // the size counts for more
  EXPECT_NE(case_of(row).model.find("gated=true"), std::string::npos);
  EXPECT_NE(case_of(row).model.find("tied=true"), std::string::npos);
  row.notes = "";
  row.params_b = 0.1424;
  EXPECT_NE(case_of(row).model.find("gated=false"), std::string::npos);
  EXPECT_NE(case_of(row).model.find("tied=false"), std::string::npos);
  row.params_b = 0.146;  // either
  EXPECT_EQ(case_of(row).model.find("gated"), std::string::npos);
  // 12 (4 h^2 + 3 h 8/3 h) + v h = 33.5e6, with two matrices 28.8e6 or 41e6.
  row = usual_row();
  row.model_name = "small";
  row.layers = 12;
  row.hidden = 384;
  row.heads = 6;
  row.ffn_hidden = 1024;
  row.vocab = 32000;
  row.params_b = 0.0335;
  EXPECT_NE(case_of(row).model.find("gated=true"), std::string::npos);
}

TEST(RowShape, WordsSayWhetherLayersAreGatedAndHeadsTied) {
  struct Said {
    const char* notes;
    const char* key;
  };
  TrainingRow row = base_149m();
  row.params_b = std::nullopt;
  row.kv_heads = std::nullopt;  // which alone would say it
  EXPECT_EQ(case_of(row).model.find("gated"), std::string::npos);
  for (const Said& one : {Said{"SwiGLU, RoPE", "gated=true"}, Said{"swiglu", "gated=true"},
                          Said{"GeGLU", "gated=true"}, Said{"gated feed-forward", "gated=true"},
                          Said{"gated MLP", "gated=true"}, Said{"non-gated MLP", "gated=false"},
                          Said{"ungated", "gated=false"}, Said{"tied embeddings", "tied=true"},
                          Said{"head is tied", "tied=true"}, Said{"untied", "tied=false"},
                          Said{"embeddings not tied", "tied=false"}}) {
    row.notes = one.notes;
    EXPECT_NE(case_of(row).model.find(one.key), std::string::npos) << one.notes;
  }
  for (const char* notes :
       {"gated attention", "no fused SwiGLU kernel", "Gated DeltaNet", "AdamW"}) {
    row.notes = notes;
    EXPECT_EQ(case_of(row).model.find("gated"), std::string::npos) << notes;
  }
  row.notes = "";
  row.model_name = "14B gated";
  row.ffn_hidden = 17408;
  row.layers = 40;
  row.hidden = 5120;
  row.heads = 40;
  EXPECT_NE(case_of(row).model.find("gated=true"), std::string::npos);
}

TEST(RowShape, MixturesWeighWhatTheirExpertsDo) {
  // Mixtral's columns under another name: 46.7e9 with three matrices, 31.6e9 with two.
  TrainingRow row = usual_row();
  row.model_name = "MyMoE";
  row.layers = 32;
  row.hidden = 4096;
  row.heads = 32;
  row.kv_heads = 8;
  row.ffn_hidden = 14336;
  row.vocab = 32000;
  row.experts = 8;
  row.topk = 2;
  for (const std::optional<double> size : {std::optional(46.7), std::optional<double>()}) {
    row.params_b = size;
    EXPECT_EQ(testing::skipped(row), "");
    EXPECT_NE(case_of(row).model.find("gated=true"), std::string::npos);
  }
  row.params_b = 31.6;
  EXPECT_NE(case_of(row).model.find("gated=false"), std::string::npos);
}

}  // namespace
}  // namespace parallel_opt
