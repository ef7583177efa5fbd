#include "parallel_opt/plan/recompute_list.h"

#include <gtest/gtest.h>

#include "parallel_opt/plan/plan.h"
#include "tests/cost/layout_fixture.h"

/// `--recompute FILE`: what it names, and what that costs.
namespace parallel_opt {
namespace {

const char* const kModel = "transformer:layers=8,hidden=1024,heads=8,seq=1024,dtype=bf16";

class RecomputeList : public testing::LayoutFixture {
 protected:
  Graph graph = bind(load_model(kModel), {{"batch", 1}});

  TransformerFacts listed(const std::string& text) const {
    const std::vector<Recompute> list = read_recompute(text, "list.json");
    return transformer_facts(graph, recomputed_operators(graph, list, "list.json"));
  }
  LayoutCost of(const TransformerFacts& facts, RecomputeRule rule = RecomputeRule::none) const {
    ParallelLayout l;
    l.recompute = rule;
    return layout_cost(facts, a100, stack, l, p);
  }
  LayoutCost ruled(RecomputeRule rule) const { return of(transformer_facts(graph), rule); }
  std::string error(const std::string& text) const {
    try {
      listed(text);
    } catch (const InputError& fault) {
      return fault.what();
    }
    return "";
  }
};

TEST_F(RecomputeList, OfAllBlocksIsTheRuleFullAndOfNoneTheRuleNone) {
  const LayoutCost all = of(listed(R"(["model.layers.*"])")), none = of(listed("[]"));
  EXPECT_DOUBLE_EQ(all.time_s(), ruled(RecomputeRule::full).time_s());
  EXPECT_DOUBLE_EQ(all.memory_bytes(), ruled(RecomputeRule::full).memory_bytes());
  EXPECT_DOUBLE_EQ(none.time_s(), ruled(RecomputeRule::none).time_s());
  EXPECT_DOUBLE_EQ(none.memory_bytes(), ruled(RecomputeRule::none).memory_bytes());
  // The list decides, whatever the stack does by itself.
  EXPECT_DOUBLE_EQ(of(listed("[]"), RecomputeRule::full).time_s(), none.time_s());
}

TEST_F(RecomputeList, OfHalfOfTheBlocksTakesHalfOfTheTimeAndOfTheActivations) {
  const LayoutCost half =
      of(listed(R"(["model.layers.0", "model.layers.3", "model.layers.4", "model.layers.7"])"));
  const LayoutCost full = ruled(RecomputeRule::full), none = ruled(RecomputeRule::none);
  EXPECT_GT(full.recompute_s, 0);
  EXPECT_NEAR(half.recompute_s, full.recompute_s / 2, 1e-12);
  // A block that is computed again holds what it keeps else, one at a time.
  const double block = (none.memory_bytes() - full.memory_bytes()) / 7;
  EXPECT_NEAR(half.memory_bytes(), none.memory_bytes() - 3 * block, 1);
}

TEST_F(RecomputeList, OfPartsRunsThemAgainAndKeepsWhatTheyRead) {
  stack.fused_operators = false;
  const LayoutCost full = ruled(RecomputeRule::full), none = ruled(RecomputeRule::none);
  const TransformerFacts facts =
      listed(R"([{"block": "model.layers.*", "parts": ["model.layers.*.mlp"]}])");
  ASSERT_EQ(facts.blocks.size(), 1u);
  const BlockRecompute& part = facts.blocks[0].recompute.value();
  // 4 of 12 h^2 are attention's four products.
  EXPECT_NEAR(part.products, 8.0 / 12, 1e-9);
  EXPECT_EQ(part.attention, 0);
  // s h elements of 2 bytes: what enters stays, the two results inside (4 h wide each) do not.
  const double tokens = 1024, bytes = 2;
  EXPECT_EQ(facts.blocks[0].saved_inner_bytes - part.saved_inner_bytes, 2 * tokens * 4096 * bytes);
  EXPECT_EQ(facts.blocks[0].saved_wide_bytes, part.saved_wide_bytes);
  const LayoutCost some = of(facts);
  EXPECT_GT(some.recompute_s, 0);
  EXPECT_LT(some.recompute_s, full.recompute_s);
  EXPECT_LT(some.activations_bytes, none.activations_bytes);
  EXPECT_GT(some.activations_bytes, full.activations_bytes);
}

TEST_F(RecomputeList, AttentionAloneIsNamedByItsOperator) {
  const TransformerFacts facts = listed(
      R"([{"block": "model.layers.2", "parts": ["aten.scaled_dot_product_attention.default"]}])");
  ASSERT_EQ(facts.blocks.size(), 2u);
  EXPECT_EQ(facts.blocks[0].repeats, 7);
  EXPECT_EQ(facts.blocks[0].recompute->rule, RecomputeRule::none);
  EXPECT_EQ(facts.blocks[1].repeats, 1);
  EXPECT_EQ(facts.blocks[1].recompute->attention, 1);
  EXPECT_EQ(facts.blocks[1].recompute->products, 0);
}

TEST_F(RecomputeList, APlanSaysItToo) {
  Plan plan;
  plan.recompute = {{"model.layers.1", {"model.layers.1"}}};
  const std::vector<Recompute> list = read_recompute(to_json(plan), "plan.json");
  EXPECT_EQ(list, plan.recompute);
}

TEST_F(RecomputeList, AFileOfAnotherFormIsToldTheForm) {
  const std::string form =
      " (a plan, or a list such as [\"model.layers.0\", {\"block\": \"model.layers.*\", "
      "\"parts\": [\"model.layers.*.mlp\"]}])";
  EXPECT_EQ(error(R"({"blocks": [0, 1]})"),
            "list.json: is neither a plan nor a list of blocks" + form);
  EXPECT_EQ(error("3"), "list.json: is neither a plan nor a list of blocks" + form);
  EXPECT_EQ(error("model.layers.0\nmodel.layers.1\n"), "list.json:1:1: not valid JSON" + form);
  EXPECT_EQ(error("[0]"), "list.json:[0]: names no block" + form);
}

TEST_F(RecomputeList, NamesThatTheModelDoesNotHaveAreFaultsOfTheFile) {
  EXPECT_EQ(error(R"(["model.layers.8"])"),
            "list.json:recompute[0]: the model has no \"model.layers.8\" (did you mean "
            "model.layers.*?)");
  EXPECT_EQ(error(R"(["lm_head"])"),
            "list.json:recompute[0]: \"lm_head\" is in no repeated block (blocks are called "
            "model.layers.*)");
  EXPECT_EQ(error(R"([{"block": "model.layers.0", "parts": ["model.layers.1.mlp"]}])"),
            "list.json:recompute[0]: \"model.layers.1.mlp\" is no module or operator of "
            "\"model.layers.0\" (parallel-opt graph --per-operator lists them)");
  EXPECT_EQ(error(R"([{"block": "model.layers.0", "parts": []}])"),
            "list.json:recompute[0]: of \"model.layers.0\" nothing is named (its own name means "
            "all of it)");
  EXPECT_EQ(error(R"(["model.layers.0", "model.layers.0"])"),
            "list.json:recompute[1]: \"model.layers.0\" is named twice (once is enough)");
}

}  // namespace
}  // namespace parallel_opt
