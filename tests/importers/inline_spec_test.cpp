#include "parallel_opt/importers/inline_spec.h"

#include <gtest/gtest.h>

#include "parallel_opt/graph/summary.h"
#include "tests/importers/archive.h"

namespace parallel_opt {
namespace {

using testing::error_of;

std::string error_of_keys(const std::string& keys) {
  return error_of([&] { read_inline_spec("transformer:" + keys); });
}

std::int64_t parameters(const std::string& keys) {
  return count_parameters(read_inline_spec("transformer:" + keys)).parameters;
}

TEST(InlineSpec, DefaultsAreGpt2) { EXPECT_EQ(parameters(""), 124'439'808); }

TEST(InlineSpec, GraphsAreWellFormed) {
  for (const char* keys : {"", ",norm=rms,positions=rope,gated=true,kv_heads=4,bias=false",
                           ",experts=8,top_k=2,shared_experts=1,gated=true",
                           ",kv_rank=64,q_rank=32,nope_dim=32,rope_dim=16", ",encoder=true",
                           ",qk_norm=true,dropout=0.1,dtype=bf16,positions=none"}) {
    const Graph graph = read_inline_spec(std::string("transformer:layers=2,hidden=768") + keys);
    EXPECT_TRUE(check(graph).empty()) << keys;
    EXPECT_EQ(find_blocks(graph).front().name, "model.layers.*") << keys;
  }
}

// Shapes that published measurements use (Llama 3 of torchtitan).
TEST(InlineSpec, Llama3HasItsPublishedParameters) {
  const std::string style = ",gated=true,norm=rms,positions=rope,tied=false,vocab=128256";
  EXPECT_EQ(parameters("layers=32,hidden=4096,heads=32,kv_heads=8,ffn=14336" + style),
            8'030'261'248);
  EXPECT_EQ(parameters("layers=80,hidden=8192,heads=64,kv_heads=8,ffn=28672" + style),
            70'553'706'496);
  EXPECT_EQ(parameters("layers=126,hidden=16384,heads=128,kv_heads=8,ffn=53248" + style),
            405'853'388'800);
}

TEST(InlineSpec, MixtureOfExpertsHasItsPublishedParameters) {
  const std::string style =
      ",heads=64,kv_heads=4,head_dim=128,qk_norm=true,gated=true,norm=rms,positions=rope,"
      "tied=false,vocab=151936";
  EXPECT_EQ(parameters("layers=94,hidden=4096,experts=128,top_k=8,expert_ffn=1536" + style),
            235'093'634'560);
}

TEST(InlineSpec, LatentAttentionHasItsPublishedParameters) {
  EXPECT_EQ(parameters("layers=61,hidden=7168,heads=128,ffn=18432,vocab=129280,experts=256,top_k=8,"
                       "expert_ffn=2048,shared_experts=1,dense_layers=3,q_rank=1536,kv_rank=512,"
                       "nope_dim=128,rope_dim=64,value_dim=128,gated=true,norm=rms,tied=false"),
            671'026'404'352);
}

TEST(InlineSpec, FlopsInClosedForm) {
  const Graph graph = read_inline_spec("transformer:layers=2,hidden=64,heads=4,vocab=100,seq=8");
  const double tokens = 8;
  const double layer = 2 * tokens * (4 * 64 * 64 + 2 * 64 * 256) + 2 * 2 * tokens * tokens * 64;
  EXPECT_EQ(summarize(graph).flops.forward.value, 2 * layer + 2 * tokens * 64 * 100);
  const Graph bound = bind(graph, {{"batch", 3}, {"sequence", 4}});
  const double fewer = 2 * 12 * (4 * 64 * 64 + 2 * 64 * 256) + 2 * 2 * 3 * 4 * 4 * 64;
  EXPECT_EQ(summarize(bound).flops.forward.value, 2 * fewer + 2 * 12 * 64 * 100);
}

TEST(InlineSpec, LearnedPositionsLimitTheSequence) {
  const Graph graph = read_inline_spec("transformer:layers=1,hidden=64,seq=16");
  EXPECT_EQ(error_of([&] { bind(graph, {{"sequence", 17}}); }),
            "transformer: symbol 'sequence' cannot be 17 (at least 1 and at most 16)");
}

TEST(InlineSpec, ALongerSequenceIsTheDefaultOfWhoStatesNone) {
  EXPECT_EQ(with_sequence("transformer:layers=2", 4096), "transformer:layers=2,seq=4096");
  EXPECT_EQ(with_sequence("transformer:", 4096), "transformer:seq=4096");
  EXPECT_EQ(with_sequence("transformer:layers=2", 128), "transformer:layers=2");
  EXPECT_EQ(with_sequence("transformer:seq=16", 4096), "transformer:seq=16");
  EXPECT_EQ(with_sequence("model.pt2", 4096), "model.pt2");
}

TEST(InlineSpec, UnknownKeyNamesTheNearest) {
  EXPECT_EQ(error_of_keys("layer=2"), "transformer:layer: unknown key (did you mean 'layers'?)");
  EXPECT_EQ(error_of_keys("norm=rmsnorm"),
            "transformer:norm: unknown 'rmsnorm' (one of layer, rms)");
  EXPECT_EQ(error_of_keys("activation=silo"),
            "transformer:activation: unknown 'silo' (did you mean 'silu'?)");
}

TEST(InlineSpec, EveryFaultIsNamedAtOnce) {
  EXPECT_EQ(error_of_keys("layers=0,hidden=abc,heads=5,bias=yes,layers=3"),
            "transformer:layers: is given twice\n"
            "transformer:layers: must be 1 to 2048, is 0\n"
            "transformer:hidden: must be a whole number, is 'abc'\n"
            "transformer:heads: 5 does not divide hidden 768 (give head_dim where heads have a "
            "width of their own)\n"
            "transformer:bias: unknown 'yes' (one of true, false)");
  EXPECT_EQ(error_of_keys("layers"),
            "transformer:: 'layers' is not key=value "
            "(as in transformer:layers=32,hidden=4096)");
  EXPECT_EQ(error_of_keys("top_k=2"),
            "transformer:top_k: belongs to a mixture of experts "
            "(give experts too)");
  EXPECT_EQ(error_of_keys("experts=4,top_k=5"), "transformer:top_k: 5 of 4 experts");
  EXPECT_EQ(error_of_keys("kv_heads=5"), "transformer:kv_heads: 5 does not divide heads 12");
  EXPECT_EQ(error_of_keys("rope_dim=64"),
            "transformer:rope_dim: belongs to latent attention "
            "(give kv_rank too)");
  EXPECT_EQ(error_of_keys("dropout=1"),
            "transformer:dropout: must be at least 0 and below 1, is '1'");
}

}  // namespace
}  // namespace parallel_opt
