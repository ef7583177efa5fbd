#include "parallel_opt/cost/layout_cost.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "parallel_opt/cost/accelerator.h"
#include "parallel_opt/importers/model.h"

namespace parallel_opt {
namespace {

class LayoutCosts : public ::testing::Test {
 protected:
  TransformerFacts facts = transformer_facts(
      bind(load_model("transformer:layers=32,hidden=4096,heads=32,seq=2048,dtype=bf16"),
           {{"batch", 1}}));
  Accelerator device = *accelerator_of(*find_device(load_database(), "A100-SXM-80GB"), "bf16");
  const SoftwareStack& stack = *find_stack("megatron");
  LayoutParameters p = layout_parameters();

  LayoutCost cost(const ParallelLayout& layout) const {
    return layout_cost(facts, device, stack, layout, p);
  }
  static ParallelLayout pipeline(int stages, double micro_batches) {
    ParallelLayout l;
    l.pipeline = stages;
    l.micro_batches = micro_batches;
    return l;
  }
};

TEST_F(LayoutCosts, BubbleOfEqualStagesIsTheTextbooks) {
  // Without head and transfers (p - 1) of the m stage times are waited for: share (p - 1) / m.
  facts.outside = {};
  facts.logits_elements = 0;
  p.send = 0;
  for (const int stages : {2, 4, 8}) {
    const LayoutCost c = cost(pipeline(stages, 16));
    const double busy = c.products_s + c.attention_s + c.operators_s + c.host_s;
    EXPECT_NEAR(c.bubble_s / busy, (stages - 1) / 16.0, 1e-9) << stages;
    ParallelLayout interleaved = pipeline(stages, 16);
    interleaved.virtual_stages = 2;
    EXPECT_NEAR(cost(interleaved).bubble_s / busy, (stages - 1) / 16.0 / 2, 1e-9) << stages;
  }
}

TEST_F(LayoutCosts, BlocksAreNotCutInTwo) {
  // 32 blocks on 5 stages: some stage has 7, not 6.4.
  facts.outside = {};
  facts.logits_elements = 0;
  p.send = 0;
  const LayoutCost five = cost(pipeline(5, 64)), eight = cost(pipeline(8, 64));
  EXPECT_NEAR(five.products_s / eight.products_s, 7.0 / 4.0, 1e-9);
}

TEST_F(LayoutCosts, TensorCollectivesAreTheRingFormula) {
  // Two sums per block forward, two backward; sequence parallelism gathers half as much again.
  p.tensor_overlap = 0;
  ParallelLayout l;
  l.tensor = 4;
  const double bytes = 2048.0 * 4096 * 2;
  const double ring = 2 * 3.0 / 4 * bytes / (device.links.all_bytes_per_s * p.link_efficiency) +
                      2 * p.link_latency_s * std::log2(4);
  EXPECT_NEAR(cost(l).tensor_s, 32 * 4 * ring, 1e-12);
  l.sequence_parallel = true;
  EXPECT_NEAR(cost(l).tensor_s, 32 * 5 * ring, 1e-12);
  p.tensor_overlap = 0.5;  // but never more than the products there are to hide behind
  EXPECT_NEAR(cost(l).tensor_s, 32 * 5 * ring / 2, 1e-12);
}

TEST_F(LayoutCosts, StatesAreShardedStageByStage) {
  // fp32 weight and two Adam states: 12 bytes per parameter; weights 2, main gradients 4.
  const double n = facts.parameters;
  ParallelLayout l;
  l.data = 8;
  const auto states = [&](int shard) {
    l.shard = shard;
    const LayoutCost c = cost(l);
    return std::array{c.weights_bytes, c.gradients_bytes, c.optimizer_bytes};
  };
  EXPECT_EQ(states(0), (std::array{2 * n, 4 * n, 12 * n}));
  EXPECT_EQ(states(1), (std::array{2 * n, 4 * n, 12 * n / 8}));
  EXPECT_EQ(states(2), (std::array{2 * n, 4 * n / 8, 12 * n / 8}));
  EXPECT_EQ(states(3), (std::array{2 * n / 8, 4 * n / 8, 12 * n / 8}));
}

TEST_F(LayoutCosts, FirstStageHoldsAsManyMicroBatchesAsThereAreStages) {
  const double one = cost(pipeline(1, 1)).activations_bytes;
  EXPECT_NEAR(cost(pipeline(4, 16)).activations_bytes / one, 1, 1e-9);  // 4 in flight of a quarter
  EXPECT_NEAR(cost(pipeline(4, 2)).activations_bytes / one, 0.5, 0.2);
  ParallelLayout gpipe = pipeline(4, 16);
  gpipe.schedule = ScheduleKind::gpipe;
  EXPECT_NEAR(cost(gpipe).activations_bytes / one, 4, 1e-9);
}

TEST_F(LayoutCosts, RecomputationTradesTimeForMemory) {
  ParallelLayout l;
  l.micro_batch = 4;
  const LayoutCost kept = cost(l);
  l.recompute = RecomputeRule::full;
  const LayoutCost again = cost(l);
  EXPECT_GT(again.time_s(), 1.15 * kept.time_s());  // a forward is a third of the work
  EXPECT_LT(again.time_s(), 1.45 * kept.time_s());
  EXPECT_LT(again.activations_bytes, 0.2 * kept.activations_bytes);
}

TEST_F(LayoutCosts, SlowerLinksAndMoreBytesAreNeverFaster) {
  ParallelLayout l;
  l.tensor = 8;
  l.data = 16;
  l.micro_batches = 4;
  for (const int shard : {0, 1, 3}) {
    l.shard = shard;
    const double before = cost(l).time_s();
    Accelerator slow = device;
    slow.network_bytes_per_s /= 2;
    slow.links.all_bytes_per_s /= 2;
    slow.links.pair_bytes_per_s /= 2;
    EXPECT_GE(layout_cost(facts, slow, stack, l, p).time_s(), before);
    ParallelLayout more = l;
    more.micro_batch *= 2;
    // A longer backward hides more of the gradients: equal to rounding where that is all it does.
    EXPECT_GE(cost(more).time_s(), before * (1 - 1e-9));
    EXPECT_GE(cost(more).memory_bytes(), cost(l).memory_bytes());
  }
}

TEST_F(LayoutCosts, MoreReplicasNeverNeedMoreMemory) {
  ParallelLayout l;
  for (const int shard : {0, 1, 2, 3}) {
    l.shard = shard;
    double last = 1e300;
    for (const int data : {1, 2, 4, 8, 64, 512}) {
      l.data = data;
      const double bytes = cost(l).memory_bytes();
      EXPECT_LE(bytes, last * (1 + 1e-12)) << shard << ' ' << data;
      last = bytes;
    }
  }
}

TEST_F(LayoutCosts, EstimateSumsItsItemsAndCoversIdlePower) {
  ParallelLayout l = pipeline(4, 8);
  l.tensor = 2;
  l.data = 2;
  const LayoutCost c = cost(l);
  const Estimate e = layout_estimate(c, facts, device, l, p, 2.0);
  double seconds = 0, bytes = 0, joules = 0;
  for (const EstimateItem& item : e.items) {
    seconds += item.seconds.value_or(0);
    bytes += item.bytes.value_or(0);
    joules += item.joules.value_or(0);
  }
  EXPECT_NEAR(seconds, e.step_time_s.value, 1e-9 * seconds);
  EXPECT_NEAR(bytes, e.peak_memory_bytes.value, 8);
  EXPECT_NEAR(joules, e.energy_j->value, 1e-6 * joules);
  EXPECT_GE(joules, 16 * device.idle_w * e.step_time_s.value);
  EXPECT_LE(joules, 16 * device.max_w * e.step_time_s.value);
  EXPECT_NEAR(e.samples_per_s.value, 2 * 8 / e.step_time_s.value, 1e-9);
  EXPECT_NEAR(e.money_usd->value, 16 * 2.0 / 3600 * e.step_time_s.value, 1e-12);
}

/// Half the width of an interval, as a natural logarithm.
double width_of(double low, double high) { return std::log(high / low) / 2; }
double width_of(const Uncertain& number) { return width_of(number.low, number.high); }

TEST_F(LayoutCosts, ItemsErrApartFromEachOtherAndByKind) {
  ParallelLayout l = pipeline(4, 8);
  l.tensor = 2;
  l.data = 2;
  const Estimate e = layout_estimate(cost(l), facts, device, l, p);
  std::map<std::string, double> seconds;
  double all = 0;
  for (const EstimateItem& item : e.items) {
    const double value =
        item.seconds.value_or(0) + item.bytes.value_or(0) + item.joules.value_or(0);
    EXPECT_LE(item.low.value(), value) << item.name;
    EXPECT_GE(item.high.value(), value) << item.name;
    EXPECT_GT(item.low.value(), 0) << item.name;
    all += item.seconds.value_or(0);
    if (item.seconds) seconds[item.name] = *item.seconds;
    if (item.name == "matrix products") {
      EXPECT_NEAR(width_of(*item.low, *item.high), p.widths.compute, 1e-9);
    }
    if (item.name == "tensor collectives") {
      EXPECT_NEAR(width_of(*item.low, *item.high), p.widths.links, 1e-9);
    }
  }
  const auto part = [&](std::initializer_list<const char*> names, double width) {
    double sum = 0;
    for (const char* name : names) sum += seconds[name];
    return std::pow(sum / all * width, 2);
  };
  const double squares =
      part({"matrix products", "attention", "other operators", "recomputed blocks", "head and loss",
            "optimizer"},
           p.widths.compute) +
      part({"waiting for the host", "once per step"}, p.widths.host) +
      part({"pipeline bubble"}, p.widths.bubble) +
      part({"tensor collectives", "transfers between stages", "gradients and gathered weights"},
           p.widths.links);
  EXPECT_NEAR(width_of(e.step_time_s), std::sqrt(squares), 1e-9);
  EXPECT_LT(width_of(e.step_time_s), p.widths.links);
}

TEST_F(LayoutCosts, DevicesThatNoRowWasMeasuredOnAreLessCertain) {
  const ParallelLayout l = pipeline(4, 8);
  const auto estimate = [&](const std::string& board) {
    device.board = board;
    return layout_estimate(cost(l), facts, device, l, p);
  };
  const Estimate seen = estimate("H100-SXM"), unseen = estimate("Gaudi2");
  EXPECT_EQ(seen.step_time_s.quality, Quality::calibrated);
  EXPECT_EQ(seen.peak_memory_bytes.quality, Quality::calibrated);
  EXPECT_EQ(unseen.step_time_s.quality, Quality::database);
  EXPECT_EQ(unseen.peak_memory_bytes.quality, Quality::database);
  EXPECT_GT(width_of(unseen.step_time_s), width_of(seen.step_time_s));
  device.quality = Quality::assumed;
  EXPECT_EQ(estimate("Gaudi2").step_time_s.quality, Quality::assumed);
}

// Mamba and ResNet were called calibrated once, of which no row is.
TEST_F(LayoutCosts, ModelsOfAKindThatNoRowIsOfAreLessCertain) {
  const ParallelLayout l = pipeline(4, 8);
  device.board = "H100-SXM";
  const auto estimate = [&](const TransformerFacts& of) {
    return layout_estimate(cost(l), of, device, l, p);
  };
  EXPECT_EQ(estimate(facts).step_time_s.quality, Quality::calibrated);
  TransformerFacts images = facts;
  images.tokens = 0;
  EXPECT_EQ(estimate(images).step_time_s.quality, Quality::database);
  EXPECT_EQ(estimate(images).peak_memory_bytes.quality, Quality::database);
  EXPECT_GT(width_of(estimate(images).step_time_s), width_of(estimate(facts).step_time_s));
  TransformerFacts scans = facts;
  for (BlockFacts& block : scans.blocks) block.score_elements = 0;
  EXPECT_EQ(estimate(scans).step_time_s.quality, Quality::database);
}

TEST_F(LayoutCosts, SiliconOfOneGenerationIsNotOneDevice) {
  // Of a V100's age, and yet no row is of them.
  const LayoutParameters& fitted = layout_parameters();
  const auto seen = [&](const char* name) {
    const auto of = accelerator_of(*find_device(load_database(), name), "fp16");
    return std::ranges::count(fitted.boards, of->board) > 0;
  };
  for (const char* name : {"V100-SXM-32GB", "A100-SXM-40GB", "H100-SXM-80GB", "GB200"}) {
    EXPECT_TRUE(seen(name)) << name;
  }
  for (const char* name : {"T4", "MI100", "RTX-4090", "RTX-3090", "A100-PCIe-80GB", "MI300X"}) {
    EXPECT_FALSE(seen(name)) << name;
  }
}

TEST_F(LayoutCosts, SinglePrecisionHoldsTwiceTheBytes) {
  ParallelLayout l;
  const LayoutCost half = cost(l);
  l.element_bytes = 4;
  const LayoutCost full = cost(l);
  EXPECT_NEAR(full.activations_bytes / half.activations_bytes, 2, 1e-9);
  EXPECT_EQ(full.weights_bytes, 4 * facts.parameters);
  EXPECT_EQ(full.optimizer_bytes, 8 * facts.parameters);  // no second copy of the weights
}

TEST(SoftwareStacks, PyTorchRecomputesSelectivelyAsTorchtitan) {
  // Every second product and what lies between, not attention alone as Megatron.
  const SoftwareStack &own = *find_stack("pytorch"), &titan = *find_stack("torchtitan");
  EXPECT_EQ(own.selective_products, titan.selective_products);
  EXPECT_EQ(own.selective_attention, titan.selective_attention);
  EXPECT_EQ(own.selective_keeps, titan.selective_keeps);
  EXPECT_NE(own.selective_keeps, find_stack("megatron")->selective_keeps);
}

TEST(SoftwareStacks, SpellingAndAgeOfMegatron) {
  for (const char* framework :
       {"Megatron", "Megatron LM", "megatron_lm", "MegatronLM", "Megatron-LM", "MCore",
        "Pai-Megatron-Patch", "FlagScale (Megatron)", "MindSpeed-LLM", "Megatron-Core 0.2.1",
        "Megatron with PyTorch 2.1", "MindFormers", "MindFormers r1.3 (MindSpore 2.3)",
        "mindspore"}) {
    const SoftwareStack* stack = stack_of_framework(framework);
    ASSERT_NE(stack, nullptr) << framework;
    EXPECT_EQ(stack->name, "megatron") << framework;
  }
  for (const char* framework : {"Megatron-LM (2020)", "Megatron-LM (Jan 2021)", "megatron_lm 2021",
                                "Megatron-LM v2.6", "Megatron 1.1", "Megatron-LM (2022)"}) {
    const SoftwareStack* stack = stack_of_framework(framework);
    ASSERT_NE(stack, nullptr) << framework;
    EXPECT_EQ(stack->name, "megatron-2020") << framework;
  }
}

TEST(SoftwareStacks, WhatRunsOnAnotherFramework) {
  const auto name = [](const char* framework) {
    const SoftwareStack* stack = stack_of_framework(framework);
    return stack != nullptr ? stack->name : std::string("none");
  };
  for (const char* framework : {"transformers", "HF Trainer", "Accelerate", "LitGPT", "nanoGPT",
                                "torchtune", "OLMo-core", "PyTorch Lightning"}) {
    EXPECT_EQ(name(framework), "pytorch") << framework;
  }
  for (const char* framework : {"JAX", "T5X", "Pax", "paxml", "levanter"}) {
    EXPECT_EQ(name(framework), "maxtext") << framework;
  }
  EXPECT_EQ(name("picotron"), "nanotron");
  EXPECT_EQ(name("gpt_neox"), "megatron-deepspeed");
  EXPECT_EQ(name("GPT-NeoX"), "megatron-deepspeed");
  EXPECT_EQ(name("Accelerate + DeepSpeed"), "deepspeed");
  EXPECT_EQ(name("standard DP"), "none");  // no "ddp" across words
  EXPECT_EQ(name("Foobar"), "none");
  EXPECT_EQ(name(""), "none");
}

TEST(SoftwareStacks, TheLongestWordOfAFrameworkDecides) {
  const auto name = [](const char* framework) {
    const SoftwareStack* stack = stack_of_framework(framework);
    return stack != nullptr ? stack->name : std::string("none");
  };
  EXPECT_EQ(name("nanotron v0.5"), "nanotron");
  EXPECT_EQ(name("llm-foundry/Composer PyTorch FSDP"), "llm-foundry");
  EXPECT_EQ(name("Megatron-Bridge/Megatron-Core"), "nemo");
  EXPECT_EQ(name("Megatron-Core"), "megatron");
  EXPECT_EQ(name("Megatron-LM/NeMo"), "megatron");
  EXPECT_EQ(name("Megatron-LM (2020)"), "megatron-2020");
  EXPECT_EQ(name("Megatron + Deepspeed 3D (new branch)"), "megatron-deepspeed");
  EXPECT_EQ(name("NeMo AutoModel (PyTorch FSDP2) TE"), "automodel");
  EXPECT_EQ(name("NeMo"), "nemo");
  EXPECT_EQ(name("nemo-megatron"), "nemo");
  EXPECT_EQ(name("DeepSpeed (Hugging Face GPT-2)"), "deepspeed");
  EXPECT_EQ(name("Google MaxText"), "maxtext");
  EXPECT_EQ(name("neuronx-nemo-megatron"), "neuron");
  EXPECT_EQ(name("my own loop"), "none");
}

}  // namespace
}  // namespace parallel_opt
