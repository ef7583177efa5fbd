#include <gtest/gtest.h>

#include <string>

#include "parallel_opt/base/random.h"
#include "parallel_opt/graph/summary.h"
#include "parallel_opt/importers/inline_spec.h"
#include "tests/importers/graph_views.h"

// Random inline specs against closed forms of their parameters and FLOPs, at random sizes.
namespace parallel_opt {
namespace {

/// A transformer as its keys say it; all sizes are stated, none is a default.
struct Spec {
  std::int64_t layers = 1, hidden = 8, heads = 1, kv_heads = 1, head_dim = 4, ffn = 8, vocab = 10;
  std::int64_t seq = 64;
  bool gated = false, rms = false, bias = false, tied = true, qk_norm = false, learned = false;
  // A mixture of experts, when there are any.
  std::int64_t experts = 0, top_k = 1, expert_ffn = 8, shared = 0, dense_layers = 0;
  // Latent attention, when there is a rank.
  std::int64_t kv_rank = 0, q_rank = 0, nope = 4, rope = 2, value = 4;

  std::string text() const {
    const auto key = [](const char* name, std::int64_t number) {
      return std::string(",") + name + "=" + std::to_string(number);
    };
    const auto flag = [](const char* name, bool on) {
      return std::string(",") + name + (on ? "=true" : "=false");
    };
    std::string t = "transformer:layers=" + std::to_string(layers) + key("hidden", hidden) +
                    key("heads", heads) + key("ffn", ffn) + key("vocab", vocab) + key("seq", seq) +
                    flag("gated", gated) + flag("bias", bias) + flag("tied", tied) +
                    flag("qk_norm", qk_norm) + (rms ? ",norm=rms" : ",norm=layer");
    if (experts > 0) {
      t += key("experts", experts) + key("top_k", top_k) + key("expert_ffn", expert_ffn) +
           key("shared_experts", shared) + key("dense_layers", dense_layers);
    }
    if (kv_rank > 0) {
      return t + key("kv_rank", kv_rank) + key("q_rank", q_rank) + key("nope_dim", nope) +
             key("rope_dim", rope) + key("value_dim", value);
    }
    return t + key("kv_heads", kv_heads) + key("head_dim", head_dim) +
           (learned ? ",positions=learned" : ",positions=rope");
  }
};

Spec random_spec(Random& rng) {
  const auto within = [&](std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(high - low + 1)));
  };
  const auto maybe = [&] { return rng.below(2) == 0; };
  Spec s;
  s.layers = within(1, 4);
  s.kv_heads = within(1, 3);
  s.heads = s.kv_heads * within(1, 3);
  s.head_dim = 2 * within(1, 6);
  s.hidden = within(3, 40);
  s.ffn = within(2, 60);
  s.vocab = within(5, 90);
  s.gated = maybe();
  s.rms = maybe();
  s.bias = maybe();
  s.tied = maybe();
  s.learned = maybe();
  s.qk_norm = maybe();
  if (rng.below(3) == 0) {
    s.experts = within(2, 8);
    s.top_k = within(1, s.experts);
    s.expert_ffn = within(2, 30);
    s.shared = within(0, 2);
    s.dense_layers = within(0, s.layers);
    s.bias = false;
  }
  if (rng.below(4) == 0) {
    s.kv_rank = within(2, 12);
    s.q_rank = maybe() ? within(2, 12) : 0;
    s.nope = within(1, 6);
    s.rope = 2 * within(1, 4);
    s.value = within(1, 7);
    s.bias = s.qk_norm = s.learned = false;
    s.rms = true;
  }
  return s;
}

/// Elements of the weights that every token is multiplied with, and of all others.
struct Counted {
  std::int64_t multiplied = 0, others = 0;
};

Counted attention_weights(const Spec& s) {
  if (s.kv_rank > 0) {
    const std::int64_t head = s.nope + s.rope;
    const std::int64_t query =
        s.q_rank > 0 ? s.q_rank * (s.hidden + s.heads * head) : s.hidden * s.heads * head;
    return {query + s.hidden * (s.kv_rank + s.rope) + s.kv_rank * s.heads * (s.nope + s.value) +
                s.heads * s.value * s.hidden,
            s.q_rank + s.kv_rank};
  }
  const std::int64_t wide = s.heads * s.head_dim, narrow = 2 * s.kv_heads * s.head_dim;
  const std::int64_t norms = s.qk_norm ? 2 * s.head_dim * (s.rms || !s.bias ? 1 : 2) : 0;
  return {s.hidden * (2 * wide + narrow), norms + (s.bias ? wide + narrow + s.hidden : 0)};
}

Counted mlp_weights(const Spec& s, std::int64_t layer) {
  const std::int64_t matrices = s.gated ? 3 : 2;
  if (s.experts > 0 && layer >= s.dense_layers) {
    const std::int64_t expert = matrices * s.hidden * s.expert_ffn;
    const std::int64_t always = s.hidden * s.experts + s.shared * expert;
    return {always + s.top_k * expert, (s.experts - s.top_k) * expert};
  }
  return {matrices * s.hidden * s.ffn, s.bias ? (matrices - 1) * s.ffn + s.hidden : 0};
}

Counted weights(const Spec& s) {
  const std::int64_t norm = s.hidden * (s.rms || !s.bias ? 1 : 2);
  Counted sum{s.vocab * s.hidden, norm + (s.learned && s.kv_rank == 0 ? s.seq * s.hidden : 0)};
  if (!s.tied) sum.others += s.vocab * s.hidden;
  for (std::int64_t layer = 0; layer < s.layers; ++layer) {
    const Counted attention = attention_weights(s), mlp = mlp_weights(s, layer);
    sum.multiplied += attention.multiplied + mlp.multiplied;
    sum.others += attention.others + mlp.others + 2 * norm;
  }
  return sum;
}

double flops_of(const Spec& s, std::int64_t batch, std::int64_t sequence) {
  const std::int64_t scores = s.kv_rank > 0 ? s.nope + s.rope : s.head_dim;
  const std::int64_t values = s.kv_rank > 0 ? s.value : s.head_dim;
  const double tokens = static_cast<double>(batch * sequence);
  const double pairs = tokens * static_cast<double>(sequence * s.heads * s.layers);
  return 2 * tokens * static_cast<double>(weights(s).multiplied) +
         2 * pairs * static_cast<double>(scores + values);
}

TEST(InlineSpecProperty, ParametersAndFlopsAreTheClosedForms) {
  Random rng(20261128);
  for (int round = 0; round < 400; ++round) {
    const Spec s = random_spec(rng);
    const Graph graph = read_inline_spec(s.text());
    const Counted counted = weights(s);
    ASSERT_EQ(count_parameters(graph).parameters, counted.multiplied + counted.others) << s.text();
    const auto batch = static_cast<std::int64_t>(1 + rng.below(5));
    const auto sequence = static_cast<std::int64_t>(1 + rng.below(64));
    const GraphSummary summary = summarize(bind(graph, {{"batch", batch}, {"sequence", sequence}}));
    ASSERT_EQ(summary.flops.forward.value, flops_of(s, batch, sequence)) << s.text();
    // Every product has a gradient on both of its sides: words are parameters too.
    ASSERT_EQ(summary.flops.backward.value, 2 * summary.flops.forward.value) << s.text();
    ASSERT_TRUE(summary.opaque.empty()) << s.text();
    ASSERT_EQ(summary.parameter_bytes.value, 4 * summary.parameters) << s.text();
  }
}

TEST(InlineSpecProperty, LayersAreTheBlocks) {
  Random rng(7);
  for (int round = 0; round < 100; ++round) {
    Spec s = random_spec(rng);
    s.layers += 1;
    s.dense_layers = 0;
    const std::vector<Block> blocks = find_blocks(read_inline_spec(s.text()));
    ASSERT_FALSE(blocks.empty()) << s.text();
    EXPECT_EQ(blocks[0].repeats, s.layers) << s.text();
    EXPECT_EQ(blocks[0].name, "model.layers.*");
  }
}

TEST(InlineSpecProperty, AKeyThatIsItsDefaultChangesNothing) {
  Random rng(9);
  for (int round = 0; round < 100; ++round) {
    const auto heads = static_cast<std::int64_t>(1 + rng.below(6));
    const std::int64_t hidden = 64 * heads;
    const bool gated = rng.below(2) == 0;
    const std::string plain = "transformer:layers=2,hidden=" + std::to_string(hidden) +
                              (gated ? ",gated=true" : ",gated=false");
    const std::int64_t ffn = gated ? (8 * hidden / 3 + 255) / 256 * 256 : 4 * hidden;
    const std::string whole =
        plain + ",heads=" + std::to_string(heads) + ",kv_heads=" + std::to_string(heads) +
        ",head_dim=64,ffn=" + std::to_string(ffn) +
        ",vocab=50257,seq=1024,tied=true,norm=layer,positions=learned,bias=true,dtype=fp32" +
        ",encoder=false,qk_norm=false,dropout=0,experts=0";
    EXPECT_EQ(graph_hash(read_inline_spec(plain)), graph_hash(read_inline_spec(whole))) << whole;
  }
}

}  // namespace
}  // namespace parallel_opt
