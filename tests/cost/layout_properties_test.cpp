#include <gtest/gtest.h>

#include <array>

#include "parallel_opt/base/random.h"
#include "parallel_opt/cost/accelerator.h"
#include "parallel_opt/cost/layout_cost.h"
#include "parallel_opt/importers/model.h"

/// What holds of every layout on every device, over a few hundred drawn ones.
namespace parallel_opt {
namespace {

constexpr double kRounding = 1 + 1e-9;

TransformerFacts facts_at(const std::string& model, std::int64_t sequence) {
  const std::string spec = "transformer:" + model + ",dtype=bf16,seq=" + std::to_string(sequence);
  return transformer_facts(bind(load_model(spec), {{"batch", 1}, {"sequence", sequence}}));
}

/// One drawn case: a model at two lengths, a device, a stack and a layout.
struct Drawn {
  TransformerFacts facts, longer;
  Accelerator device;
  const SoftwareStack* stack = nullptr;
  ParallelLayout layout;

  LayoutCost cost(const ParallelLayout& l) const {
    return layout_cost(facts, device, *stack, l, layout_parameters());
  }
};

class Draws {
 public:
  Drawn next() {
    Drawn drawn;
    const bool mixture = pick({0, 0, 1}) == 1;
    const bool brief = pick({0, 1}) == 1;  // what is exchanged takes longer than what is computed
    drawn.facts = mixture ? mixture_ : brief ? brief_ : dense_;
    drawn.longer = mixture ? longer_mixture_ : brief ? longer_brief_ : longer_dense_;
    static constexpr std::array kDevices = {"V100-SXM-32GB", "A100-SXM-80GB", "H100-SXM-80GB",
                                            "MI300X", "TPU-v5p"};
    static constexpr std::array kStacks = {"megatron", "pytorch",     "torchtitan",
                                           "nanotron", "llm-foundry", "internevo"};
    drawn.device =
        *accelerator_of(*find_device(load_database(), kDevices.at(pick({0, 1, 2, 3, 4}))), "bf16");
    drawn.device.network_bytes_per_s = double(pick({2, 12, 50})) * 1e9;
    drawn.stack = find_stack(kStacks.at(pick({0, 1, 2, 3, 4, 5})));
    ParallelLayout& l = drawn.layout;
    l.tensor = int(pick({1, 2, 4, 8}));
    l.pipeline = int(pick({1, 2, 4}));
    l.data = int(pick({1, 2, 8, 16}));
    if (mixture && l.data > 1) l.expert = int(pick({1, 2}));
    l.shard = int(pick({0, 1, 2, 3}));
    l.micro_batch = double(pick({1, 2, 4}));
    l.micro_batches = double(pick({1, 2, 4, 16}));
    l.recompute = RecomputeRule(pick({0, 1, 2}));
    l.sequence_parallel = l.tensor > 1 && pick({0, 1}) == 1;
    l.schedule = ScheduleKind(pick({0, 1, 2, 3, 4, 5, 6}));
    const bool loops =
        l.schedule == ScheduleKind::interleaved_1f1b || l.schedule == ScheduleKind::looped_bfs;
    l.virtual_stages = loops ? 2 : 1;
    return drawn;
  }

 private:
  std::size_t pick(std::initializer_list<std::size_t> values) {
    return *(values.begin() + random_.below(values.size()));
  }
  static constexpr const char* kDense = "layers=32,hidden=4096,heads=32,vocab=32000";
  static constexpr const char* kMixture =
      "layers=16,hidden=2048,heads=16,experts=16,expert_ffn=2048";
  TransformerFacts dense_ = facts_at(kDense, 1024), longer_dense_ = facts_at(kDense, 2048);
  TransformerFacts brief_ = facts_at(kDense, 256), longer_brief_ = facts_at(kDense, 384);
  TransformerFacts mixture_ = facts_at(kMixture, 1024), longer_mixture_ = facts_at(kMixture, 2048);
  Random random_{6};
};

constexpr int kDraws = 300;

TEST(LayoutProperties, MoreOfAnythingIsNeverFasterNorSmaller) {
  Draws draws;
  for (int i = 0; i < kDraws; ++i) {
    const Drawn drawn = draws.next();
    const LayoutCost base = drawn.cost(drawn.layout);
    // Of passes that wait for their host a zero-bubble schedule puts off what the products' share
    // is, which grows with them.
    const bool splits = drawn.layout.schedule >= ScheduleKind::zb_h1;
    const double rounding = splits && base.host_s > 0 ? 1.002 : kRounding;
    ParallelLayout more = drawn.layout;
    more.micro_batch *= 2;
    EXPECT_GE(drawn.cost(more).time_s() * rounding, base.time_s()) << "micro-batch, draw " << i;
    EXPECT_GT(drawn.cost(more).memory_bytes(), base.memory_bytes()) << i;
    more = drawn.layout;
    more.micro_batches *= 2;
    EXPECT_GT(drawn.cost(more).time_s(), base.time_s()) << "micro-batches, draw " << i;
    EXPECT_LE(drawn.cost(more).time_s(), 2 * base.time_s() * kRounding) << i;
    const LayoutCost longer =
        layout_cost(drawn.longer, drawn.device, *drawn.stack, drawn.layout, layout_parameters());
    EXPECT_GE(longer.time_s() * rounding, base.time_s()) << "sequence, draw " << i;
    EXPECT_GT(longer.memory_bytes(), base.memory_bytes()) << i;
  }
}

TEST(LayoutProperties, ARowMoreIsNeverFaster) {
  // Not where it begins another tile either.
  for (const char* device : {"A100-SXM-80GB", "H100-SXM-80GB", "MI300X"}) {
    const Accelerator one = *accelerator_of(*find_device(load_database(), device), "bf16");
    for (const int tokens : {127, 128, 255, 256, 384, 512, 1024}) {
      const auto seconds = [&](int sequence) {
        return layout_cost(facts_at("layers=4,hidden=4096,heads=32,vocab=32000", sequence), one,
                           *find_stack("megatron"), {}, layout_parameters())
            .time_s();
      };
      EXPECT_GE(seconds(tokens + 1), seconds(tokens)) << device << ' ' << tokens;
    }
  }
}

TEST(LayoutProperties, EveryDegreeOfTensorDoesTheWholeArithmetic) {
  // Kernels cost nothing and the memory is endlessly fast: t ranks take a t-th each.
  Draws draws;
  LayoutParameters p = layout_parameters();
  p.kernel_s = p.inner_half = p.wave = 0;
  for (int i = 0; i < kDraws; ++i) {
    Drawn drawn = draws.next();
    drawn.device.bytes_per_s = 1e30;
    ParallelLayout one = drawn.layout;
    one.tensor = 1;
    const auto products = [&](const ParallelLayout& l) {
      return layout_cost(drawn.facts, drawn.device, *drawn.stack, l, p).products_s;
    };
    const double share = products(drawn.layout) * drawn.layout.tensor / products(one);
    EXPECT_NEAR(share, 1, 1e-9) << i;
  }
}

TEST(LayoutProperties, RecomputationAndShardsTradeTimeForMemory) {
  Draws draws;
  for (int i = 0; i < kDraws; ++i) {
    const Drawn drawn = draws.next();
    const auto with = [&](RecomputeRule rule) {
      ParallelLayout l = drawn.layout;
      l.recompute = rule;
      return drawn.cost(l);
    };
    const LayoutCost none = with(RecomputeRule::none), full = with(RecomputeRule::full);
    const LayoutCost some = with(RecomputeRule::selective);
    EXPECT_LE(none.time_s(), some.time_s() * kRounding) << i;
    EXPECT_LE(some.time_s(), full.time_s() * kRounding) << i;
    EXPECT_GE(none.memory_bytes() * kRounding, some.memory_bytes()) << i;
    EXPECT_GE(some.memory_bytes() * kRounding, full.memory_bytes()) << i;
    const auto held = [&](int shard) {
      ParallelLayout l = drawn.layout;
      l.shard = shard;
      return drawn.cost(l).memory_bytes();
    };
    EXPECT_GE(held(0) * kRounding, held(1)) << i;
    EXPECT_GE(held(1) * kRounding, held(2)) << i;
    EXPECT_GE(held(2) * kRounding, held(3)) << i;
  }
}

TEST(LayoutProperties, MoreReplicasHoldNoMoreAndEnergyCoversIdling) {
  Draws draws;
  for (int i = 0; i < kDraws; ++i) {
    const Drawn drawn = draws.next();
    ParallelLayout twice = drawn.layout;
    twice.data *= 2;
    const LayoutCost cost = drawn.cost(drawn.layout);
    if (drawn.layout.data > 1) {
      EXPECT_LE(drawn.cost(twice).memory_bytes(), cost.memory_bytes() * kRounding) << i;
    }
    const Estimate estimate =
        layout_estimate(cost, drawn.facts, drawn.device, drawn.layout, layout_parameters());
    if (!estimate.energy_j) continue;
    const double idle = drawn.device.idle_w * drawn.layout.devices() * cost.time_s();
    EXPECT_GE(estimate.energy_j->value, idle) << i;
  }
}

TEST(LayoutProperties, ManyLayoutsOfOneModelCostWhatEachCostsAlone) {
  Draws draws;
  const Drawn first = draws.next();
  const LayoutEvaluator evaluate(first.facts, first.device, *first.stack, layout_parameters());
  for (int i = 0; i < kDraws; ++i) {
    const ParallelLayout layout = draws.next().layout;
    const LayoutCost alone = first.cost(layout), among = evaluate(layout);
    EXPECT_EQ(among.time_s(), alone.time_s()) << i;
    EXPECT_EQ(among.memory_bytes(), alone.memory_bytes()) << i;
  }
}

TEST(LayoutProperties, OffloadingHoldsNoMoreAndIsNoFaster) {
  Draws draws;
  for (int i = 0; i < kDraws; ++i) {
    const Drawn drawn = draws.next();
    const LayoutCost here = drawn.cost(drawn.layout);
    EXPECT_EQ(here.host_bytes, 0) << i;
    for (const Offload& offload :
         {Offload{.optimizer = 1}, Offload{.optimizer = 0.3},
          Offload{.optimizer = 1, .fetched = true}, Offload{.parameters = true},
          Offload{.optimizer = 1, .parameters = true}, Offload{.activations = 1},
          Offload{.activations = 0.4},
          Offload{.optimizer = 0.6, .fetched = true, .parameters = true, .activations = 1}}) {
      ParallelLayout l = drawn.layout;
      l.offload = offload;
      const LayoutCost away = drawn.cost(l);
      EXPECT_LE(away.memory_bytes(), here.memory_bytes() * kRounding) << i;
      EXPECT_GE(away.time_s() * kRounding, here.time_s()) << i;
      // What left is on the host; what is on its way is in both places.
      const auto moved = [](const LayoutCost& cost) {
        return cost.weights_bytes + cost.gradients_bytes + cost.optimizer_bytes +
               cost.activations_bytes + cost.host_bytes;
      };
      if (drawn.layout.pipeline == 1 && drawn.stack->passing_gradient_bytes == 0) {
        EXPECT_GE(moved(away) * kRounding, moved(here)) << i;
      }
      Drawn slower = drawn;
      slower.device.host.link_bytes_per_s /= 4;
      EXPECT_GE(slower.cost(l).time_s() * kRounding, away.time_s()) << i;
    }
  }
}

}  // namespace
}  // namespace parallel_opt
