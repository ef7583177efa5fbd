#include "parallel_opt/cost/transformer_facts.h"

#include <gtest/gtest.h>

#include "parallel_opt/graph/summary.h"
#include "parallel_opt/importers/model.h"

namespace parallel_opt {
namespace {

TransformerFacts facts_of(const std::string& spec, std::int64_t batch = 1) {
  const Graph graph = load_model("transformer:" + spec);
  return transformer_facts(bind(graph, {{"batch", batch}}));
}

double contraction_flops(const TransformerFacts& facts) {
  double sum = 0;
  for (const BlockFacts& block : facts.blocks) {
    for (const Product& one : block.products) sum += block.repeats * one.flops();
    sum += block.repeats * block.attention_flops;
  }
  for (const Product& one : facts.outside.products) sum += one.flops();
  return sum;
}

TEST(TransformerFacts, ProductsOfAGptBlockAreThoseOnPaper) {
  // h = 64, f = 256, s = 32: q, k, v and projection 64 x 64, MLP 64 x 256 and back.
  const TransformerFacts facts = facts_of("layers=3,hidden=64,heads=4,vocab=100,seq=32");
  ASSERT_EQ(facts.blocks.size(), 1u);
  const BlockFacts& block = facts.blocks[0];
  EXPECT_EQ(block.repeats, 3);
  ASSERT_EQ(block.products.size(), 6u);
  const auto expect = [&](std::size_t i, double n, double k, ShardedSide side) {
    EXPECT_EQ(block.products[i], (Product{32, n, k, 0, side})) << i;
  };
  for (const std::size_t i : {0, 1, 2}) expect(i, 64, 64, ShardedSide::columns);
  expect(3, 64, 64, ShardedSide::inner);
  expect(4, 256, 64, ShardedSide::columns);
  expect(5, 64, 256, ShardedSide::inner);
  EXPECT_EQ(block.attention_flops, 4.0 * 32 * 32 * 64);
  EXPECT_EQ(block.score_elements, 4.0 * 32 * 32);  // heads x positions^2
  EXPECT_EQ(block.causal_share, 0.5);
  EXPECT_EQ(block.boundary_elements, 32.0 * 64);
  EXPECT_EQ(facts.logits_elements, 32.0 * 100);
  EXPECT_EQ(facts.tokens, 32);
}

TEST(TransformerFacts, OneLayerIsABlockToo) {
  const std::string shape = "hidden=64,heads=4,vocab=100,seq=32";
  const TransformerFacts one = facts_of("layers=1," + shape), three = facts_of("layers=3," + shape);
  ASSERT_EQ(one.blocks.size(), 1u);
  EXPECT_EQ(one.layers(), 1);
  EXPECT_EQ(one.blocks[0].products, three.blocks[0].products);
  EXPECT_EQ(one.blocks[0].dense_parameters, three.blocks[0].dense_parameters);
  EXPECT_EQ(one.blocks[0].saved_wide_bytes, three.blocks[0].saved_wide_bytes);
  EXPECT_EQ(one.outside.products, three.outside.products);
}

TEST(TransformerFacts, ADenseLayerBeforeAMixturesIsABlockOfItsOwn) {
  const std::string shape =
      "hidden=64,heads=4,vocab=100,seq=32,experts=8,top_k=2,expert_ffn=32,ffn=256,dense_layers=";
  const TransformerFacts one = facts_of("layers=5," + shape + "1");
  const TransformerFacts two = facts_of("layers=6," + shape + "2");
  ASSERT_EQ(one.blocks.size(), 2u);
  EXPECT_EQ(one.layers(), 5);
  EXPECT_EQ(one.blocks[0].repeats, 1);  // in the order of the model
  EXPECT_EQ(one.blocks[0].products, two.blocks[0].products);
  EXPECT_EQ(one.outside.products, two.outside.products);
}

TEST(TransformerFacts, SquareWeightsAreToldByWhatTheyRead) {
  // As wide inside as outside: the second product of the MLP puts columns together all the same.
  const auto sides = [](const std::string& spec) {
    std::string found;
    const TransformerFacts facts = facts_of(spec);
    for (const Product& one : facts.blocks.at(0).products) {
      found += one.side == ShardedSide::inner ? 'i' : 'c';
    }
    return found;
  };
  const std::string gpt = "layers=3,hidden=64,heads=4,vocab=100,seq=32";
  EXPECT_EQ(sides(gpt), "cccici");
  EXPECT_EQ(sides(gpt + ",ffn=64"), "cccici");
  EXPECT_EQ(sides(gpt + ",ffn=64,gated=true,norm=rms,positions=rope"), "cccicci");
  EXPECT_EQ(sides(gpt + ",kv_heads=2,ffn=64"), "cccici");
  EXPECT_EQ(sides(gpt + ",experts=4,top_k=2,expert_ffn=64,gated=true"),
            sides(gpt + ",experts=4,top_k=2,expert_ffn=96,gated=true"));
}

TEST(TransformerFacts, LatentAttentionExpandsColumnsWhateverTheirNumber) {
  // Keys and values of 4 heads x (24 + 24), or of 4 x (8 + 8) = 64, the block's own width.
  const auto inner = [](const std::string& sizes) {
    const TransformerFacts facts = facts_of(
        "layers=2,hidden=64,heads=4,vocab=100,seq=32,gated=true,"
        "norm=rms,positions=rope,q_rank=32,kv_rank=16," +
        sizes);
    std::int64_t count = 0;
    for (const Product& one : facts.blocks.at(0).products) count += one.side == ShardedSide::inner;
    return count;
  };
  EXPECT_EQ(inner("nope_dim=24,rope_dim=8,value_dim=24"), 2);
  EXPECT_EQ(inner("nope_dim=8,rope_dim=8,value_dim=8"), 2);
}

TEST(TransformerFacts, TensorParallelismSplitsWhatLiesBetweenColumnsAndRows) {
  // [korthikanti2022] without scores: of each token's h values in 2 bytes, two norms' operands and
  // results are every rank's; q, k, v, attention's result and the MLP's two of 4 h are split.
  const BlockFacts block = facts_of("layers=2,hidden=64,heads=4,vocab=100,seq=32").blocks.at(0);
  const double unit = 2 * 32 * 64;
  EXPECT_EQ(block.fused_wide_bytes, 4 * unit);
  EXPECT_NEAR(block.fused_inner_bytes, (3 + 1 + 2 * 4) * unit, 0.2 * unit);
}

TEST(TransformerFacts, FlopsAndParametersAreTheGraphsOwn) {
  for (const char* spec :
       {"layers=2,hidden=64,heads=4,seq=16",
        "layers=4,hidden=128,heads=8,kv_heads=2,gated=true,"
        "norm=rms,positions=rope,tied=false,seq=64",
        "layers=3,hidden=64,heads=4,experts=4,top_k=2,gated=true,norm=rms,positions=rope,seq=16"}) {
    const Graph graph = bind(load_model(std::string("transformer:") + spec), {{"batch", 1}});
    const TransformerFacts facts = transformer_facts(graph);
    const GraphSummary summary = summarize(graph);
    EXPECT_NEAR(contraction_flops(facts) / summary.flops.forward.value, 1, 1e-9) << spec;
    double parameters = facts.embedding_parameters + facts.outside.dense_parameters;
    for (const BlockFacts& block : facts.blocks) {
      parameters += block.repeats * (block.dense_parameters + block.expert_parameters);
    }
    EXPECT_EQ(parameters, double(summary.parameters)) << spec;
  }
}

TEST(TransformerFacts, ExpertsKeepTheirRowsAndWeights) {
  // 16 tokens to 2 experts each: 32 rows; gate and up in one product of 2 x 96 columns.
  const TransformerFacts facts = facts_of(
      "layers=3,hidden=64,heads=4,experts=4,top_k=2,expert_ffn=96,gated=true,norm=rms,"
      "positions=rope,seq=16");
  const BlockFacts& block = facts.blocks.at(0);
  EXPECT_EQ(block.expert_parameters, 4.0 * 3 * 64 * 96);
  double rows = 0;
  for (const Product& one : block.products) {
    if (one.experts > 0) rows = one.rows;
  }
  EXPECT_EQ(rows, 32);
  EXPECT_EQ(block.dispatched_elements, 32.0 * 64);
}

TEST(TransformerFacts, LatentAttentionKeepsNoScores) {
  // Queries of 24 + 8, values of 16 wide: CPU kernels write the scores out, accelerators do not.
  const auto kept = [](int seq) {
    return facts_of(
               "layers=2,hidden=64,heads=4,kv_rank=32,nope_dim=24,rope_dim=8,value_dim=16,"
               "norm=rms,seq=" +
               std::to_string(seq))
        .blocks.at(0)
        .saved_inner_bytes;
  };
  EXPECT_NEAR(kept(64) / kept(16), 4, 1e-9);  // in proportion to the tokens, not to their square
}

TEST(TransformerFacts, AreThoseOfOneSample) {
  const char* spec = "layers=3,hidden=64,heads=4,seq=32";
  EXPECT_EQ(facts_of(spec, 4).blocks.at(0).products, facts_of(spec, 1).blocks.at(0).products);
  EXPECT_NEAR(facts_of(spec, 4).blocks.at(0).saved_wide_bytes,
              facts_of(spec, 1).blocks.at(0).saved_wide_bytes, 1);
}

TEST(TransformerFacts, FusedBytesAreLessThanEager) {
  const BlockFacts block =
      facts_of("layers=3,hidden=64,heads=4,gated=true,norm=rms,positions=rope,seq=32").blocks.at(0);
  EXPECT_GT(block.wide_bytes, 0);
  EXPECT_GT(block.inner_bytes, 0);
  EXPECT_GT(block.eager_factor, 1.5);  // RMS norm alone is six operators
}

TEST(TransformerFacts, FusedKernelsKeepWhatProductsReadAndWrite) {
  // A LLaMA block, h wide, f = 4 h, in values of 2 bytes per token. Products and attention read two
  // norms' results, q, k, v, attention's result and the gated product (f); their results and the
  // block's input are what the rest is computed from: the projection, gate and up (2 f).
  const double h = 64, f = 256, s = 32;
  const TransformerFacts llama = facts_of(
      "layers=2,hidden=64,heads=4,ffn=256,vocab=100,seq=32,gated=true,norm=rms,positions=rope");
  const BlockFacts& block = llama.blocks.at(0);
  const double fused = block.fused_wide_bytes + block.fused_inner_bytes;
  const double statistics = 4 * s * 4;  // of attention's sums, four heads
  EXPECT_NEAR(fused, 2 * s * (8 * h + 3 * f), statistics + 2 * s * h);
  EXPECT_LT(fused, 0.85 * (block.saved_wide_bytes + block.saved_inner_bytes));
  // A GPT's operators keep nothing that its products do not: both ways the same to 5 %.
  const BlockFacts gpt = facts_of("layers=2,hidden=64,heads=4,vocab=100,seq=32").blocks.at(0);
  EXPECT_NEAR((gpt.fused_wide_bytes + gpt.fused_inner_bytes) /
                  (gpt.saved_wide_bytes + gpt.saved_inner_bytes),
              1, 0.05);
}

}  // namespace
}  // namespace parallel_opt
