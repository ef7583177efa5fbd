#include "parallel_opt/cost/kept_products.h"

#include "parallel_opt/cost/row_words.h"
#include "parallel_opt/importers/model.h"
#include "tests/cost/row_fixture.h"

namespace parallel_opt {
namespace {

TEST(KeptProducts, PoliciesOfJaxKeepTheProductsTheyName) {
  // A block of h = 2048: queries, keys and values 3 h^2, the projection behind attention h^2, the
  // feed-forward part 8 h^2, half of it in its first product. The last one's result is the next
  // block's input: no backward needs it again.
  TrainingRow row = testing::blocks_of("MaxText", 4, 2048);
  row.vocab = 32000;
  const auto stack = [&](const char* policy) {
    row.recompute = policy;
    return testing::case_of(row).stack;
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
  // Kept beside the block's input of width h: 3 h, or the 3 + 1 + 4 that all products make whose
  // results a backward reads.
  EXPECT_NEAR(stack("SAVE_DOT_ONLY").selective_keeps / stack("save_qkv_proj").selective_keeps,
              (1 + 8.0) / (1 + 3), 1e-9);
}

TEST(KeptProducts, KeepingMoreNeverRunsMoreAgain) {
  // All 64 choices on a dense, a gated and a mixed block: each one more thing that is kept runs no
  // more again and holds no less.
  for (const char* model :
       {"layers=4,hidden=512,heads=8,seq=256", "layers=4,hidden=512,heads=8,gated=true,seq=256",
        "layers=4,hidden=512,heads=8,experts=8,top_k=2,expert_ffn=256,seq=256"}) {
    const TransformerFacts facts = transformer_facts(
        bind(load_model(std::string("transformer:dtype=bf16,") + model), {{"batch", 1}}));
    bool BlockTensors::* const parts[] = {&BlockTensors::query,   &BlockTensors::key,
                                          &BlockTensors::context, &BlockTensors::output,
                                          &BlockTensors::ahead,   &BlockTensors::back};
    const auto meaning = [&](unsigned choice) {
      KeptProducts kept;
      for (unsigned bit = 0; bit < 6; ++bit) kept.device.*parts[bit] = (choice >> bit & 1) != 0;
      SoftwareStack stack = *find_stack("maxtext");
      keep_products(kept, facts, stack);
      return stack;
    };
    for (unsigned choice = 0; choice < 64; ++choice) {
      const SoftwareStack less = meaning(choice);
      EXPECT_GE(less.selective_products, 0) << model << ' ' << choice;
      EXPECT_LE(less.selective_products, 1) << model << ' ' << choice;
      EXPECT_GT(less.selective_keeps, 0) << model << ' ' << choice;  // at least the block's input
      EXPECT_LE(less.selective_keeps, 1) << model << ' ' << choice;
      for (unsigned bit = 0; bit < 6; ++bit) {
        const SoftwareStack more = meaning(choice | 1U << bit);
        EXPECT_LE(more.selective_products, less.selective_products) << model << ' ' << choice;
        EXPECT_LE(more.selective_attention, less.selective_attention) << model << ' ' << choice;
        EXPECT_GE(more.selective_keeps, less.selective_keeps) << model << ' ' << choice;
      }
    }
    EXPECT_EQ(meaning(31).selective_products, 0) << model;
  }
}

TEST(KeptProducts, OtherWordsKeepNothingByName) {
  EXPECT_FALSE(kept_in_words("selective"));
  EXPECT_FALSE(kept_in_words("full"));
  EXPECT_FALSE(kept_in_words("nothing_saveable"));
  EXPECT_FALSE(kept_in_words("everything_saveable"));
  EXPECT_FALSE(kept_in_words("offload"));
  EXPECT_TRUE(kept_in_words("dots_saveable")->device.back);
}

TEST(KeptProducts, PoliciesNameWhatGoesToTheHost) {
  const BlockTensors qkv{.query = true, .key = true};
  EXPECT_EQ(kept_in_words("qkv_proj_offloaded"), (KeptProducts{.host = qkv}));
  EXPECT_EQ(kept_in_words("save_qkv_proj"), (KeptProducts{.device = qkv}));
  const auto minimal = kept_in_words("minimal_offloaded");
  ASSERT_TRUE(minimal);
  EXPECT_TRUE(minimal->host.back);
  EXPECT_FALSE(minimal->host.context);
  EXPECT_FALSE(minimal->device.made());
  // Tensor by tensor, in the forms of a command line, of YAML and of Python; the rest is computed
  // again.
  const KeptProducts custom{.device = {.query = true}, .host = {.input = true, .back = true}};
  for (const char* text :
       {"custom: decoder_layer_input=offload, query_proj=device, mlpwo=offload, context=remat",
        "remat_policy: custom; decoder_layer_input: 'offload', query_proj: 'device', mlpwo: "
        "'offload'",
        R"("decoder_layer_input": "offload", "query_proj": "device", "moe_mlpwo": "offload")"}) {
    EXPECT_EQ(kept_in_words(text), custom) << text;
  }
  EXPECT_EQ(recompute_in_words("custom: decoder_layer_input=offload")->rule, RecomputeRule::full);
  EXPECT_EQ(recompute_in_words("custom: context=offload")->rule, RecomputeRule::selective);
}

TEST(KeptProducts, TheHostHasItsShareOfTheirBytes) {
  // h = 2048 wide: the input 1 h, queries 1 h, keys and values 1 h each.
  const TransformerFacts facts = transformer_facts(bind(
      load_model("transformer:layers=4,hidden=2048,heads=16,seq=2048,dtype=bf16"), {{"batch", 1}}));
  SoftwareStack stack = *find_stack("maxtext");
  const auto share = [&](const char* policy) {
    return keep_products(*kept_in_words(policy), facts, stack);
  };
  EXPECT_EQ(share("save_qkv_proj"), 0);
  EXPECT_NEAR(share("qkv_proj_offloaded"), 3.0 / 4, 1e-9);
  EXPECT_NEAR(share("custom: query_proj=offload, key_proj=device, value_proj=device"), 1.0 / 4,
              1e-9);
  EXPECT_EQ(share("custom: decoder_layer_input=offload, out_proj=offload"), 1);
}

}  // namespace
}  // namespace parallel_opt
