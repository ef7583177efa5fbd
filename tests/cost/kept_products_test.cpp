#include "parallel_opt/cost/kept_products.h"

#include <gtest/gtest.h>

#include "parallel_opt/cost/row_model.h"

namespace parallel_opt {
namespace {

TEST(KeptProducts, PoliciesOfJaxKeepTheProductsTheyName) {
  // A block of h = 2048: queries, keys and values 3 h^2, the projection behind attention h^2, the
  // feed-forward part 8 h^2, half of it in its first product. The last one's result is the next
  // block's input: no backward needs it again.
  TrainingRow row;
  row.gpu = "H100-SXM-80GB";
  row.framework = "MaxText";
  row.gpus = row.dp = 8;
  row.layers = 4;
  row.hidden = 2048;
  row.heads = 16;
  row.vocab = 32000;
  row.seq_len = 2048;
  row.tp = row.pp = row.micro_batch = 1;
  row.global_batch = 8;
  const auto stack = [&](const char* policy) {
    row.recompute = policy;
    const auto found = row_case(row);
    const auto* const expressed = std::get_if<RowCase>(&found);
    if (expressed == nullptr) ADD_FAILURE() << policy << ": " << std::get<std::string>(found);
    return expressed != nullptr ? expressed->stack : SoftwareStack{};
  };
  EXPECT_NEAR(stack("save_qkv_proj").selective_products, 5.0 / 12, 1e-9);
  EXPECT_NEAR(stack("save_out_proj").selective_products, 7.0 / 12, 1e-9);
  EXPECT_NEAR(stack("SAVE_QKV_OUT_PROJ").selective_products, 4.0 / 12, 1e-9);
  EXPECT_NEAR(stack("save_dot_except_mlpwi").selective_products, 4.0 / 12, 1e-9);
  EXPECT_NEAR(stack("save_dot_except_mlp").selective_products, 4.0 / 12, 1e-9);
  EXPECT_NEAR(stack("minimal").selective_products, 0, 1e-9);
  EXPECT_EQ(stack("minimal").selective_attention, 1);
  EXPECT_EQ(stack("save_dot_with_context_except_mlp").selective_attention, 0);
  EXPECT_EQ(stack("minimal").selective_operators, 1);
  // Kept beside the block's input of width h: 3 h, or the 3 + 1 + 4 + 1 that all products make.
  EXPECT_NEAR(stack("SAVE_DOT_ONLY").selective_keeps / stack("save_qkv_proj").selective_keeps,
              (1 + 9.0) / (1 + 3), 1e-9);
}

TEST(KeptProducts, OtherWordsKeepNothingByName) {
  EXPECT_FALSE(kept_in_words("selective"));
  EXPECT_FALSE(kept_in_words("full"));
  EXPECT_FALSE(kept_in_words("nothing_saveable"));
  EXPECT_FALSE(kept_in_words("everything_saveable"));
  EXPECT_FALSE(kept_in_words("qkv_proj_offloaded"));
  EXPECT_TRUE(kept_in_words("dots_saveable")->back);
}

}  // namespace
}  // namespace parallel_opt
