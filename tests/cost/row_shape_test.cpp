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
