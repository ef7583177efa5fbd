#include "parallel_opt/cost/row_words.h"

#include <gtest/gtest.h>

#include "parallel_opt/cost/row_sharding.h"

namespace parallel_opt {
namespace {

std::optional<RecomputeRule> rule_of(const char* text) {
  const auto found = recompute_in_words(text);
  return found ? std::optional(found->rule) : std::nullopt;
}

TEST(RowWords, RecomputationIsReadAsSourcesPrintIt) {
  for (const char* text : {"full", "yes", "True", "activation checkpointing",
                           "checkpoint_activations", "rematerialization", "uniform", "full AC", "1",
                           "gradient checkpointing", "nothing_saveable", "SAVE_NOTHING",
                           "uses activation checkpointing", "all layers activation checkpointing",
                           "NO_REENTRANT", "non-reentrant", "non reentrant", "REENTRANT"}) {
    EXPECT_EQ(rule_of(text), RecomputeRule::full) << text;
  }
  for (const char* text : {"selective", "selective activation checkpointing", "core_attn", "SAC",
                           "RMSNorm, MLA up-projection", "sel", "partial", "minimal",
                           "save_qkv_proj", "SAVE_DOT_ONLY", "dots_with_no_batch_dims_saveable"}) {
    EXPECT_EQ(rule_of(text), RecomputeRule::selective) << text;
  }
  for (const char* text : {"none", "no", "off", "False", "0", "no activation checkpointing",
                           "no AC", "everything_saveable"}) {
    EXPECT_EQ(rule_of(text), RecomputeRule::none) << text;
  }
  EXPECT_EQ(recompute_in_words("as in the paper"), std::nullopt);
  EXPECT_EQ(recompute_in_words("full except last stage"), std::nullopt);
  const auto second = recompute_in_words("selective 2");  // torchtitan's option
  ASSERT_TRUE(second);
  EXPECT_EQ(second->rule, RecomputeRule::full);
  EXPECT_EQ(second->share, 0.5);
}

TEST(RowWords, SomeLayersMayBeComputedAgain) {
  const auto share = [](const char* text) {
    const auto found = recompute_in_words(text);
    return found ? found->share.value_or(-1) : -2;
  };
  EXPECT_EQ(share("full (12 of 48 layers)"), 0.25);
  EXPECT_EQ(share("12/48 blocks"), 0.25);
  EXPECT_EQ(share("selective, 3 out of 4 layers"), 0.75);
  EXPECT_EQ(share("checkpoint every other layer"), 0.5);
  EXPECT_EQ(share("1 of every 4"), 0.25);
  EXPECT_EQ(share("half"), 0.5);
  EXPECT_EQ(share("half of the layers"), 0.5);
  EXPECT_EQ(share("full, half the blocks"), 0.5);
  EXPECT_EQ(share("every 4th block"), 0.25);
  EXPECT_EQ(share("per-op SAC every other mm"), -1);  // torchtitan's, in every block
  EXPECT_EQ(share("full"), -1);
  EXPECT_EQ(share("uniform, 1"), -1);  // a checkpoint at every layer: all of them
  EXPECT_EQ(share("5 of 4 layers"), -2);
  EXPECT_EQ(recompute_in_words("selective, 3 of 4 layers")->rule, RecomputeRule::selective);
  EXPECT_EQ(recompute_in_words("12 of 48 layers")->rule, RecomputeRule::full);
  EXPECT_EQ(recompute_in_words("block, 5 layers"),
            (RecomputeWords{.rule = RecomputeRule::full, .per_stage = 5}));
  for (const char* text :
       {"full (all but last 4)", "full except last 4 layers", "all but 4 layers"}) {
    EXPECT_EQ(recompute_in_words(text), (RecomputeWords{.rule = RecomputeRule::full, .spared = 4}))
        << text;
  }
  EXPECT_EQ(recompute_in_words("full, 2 layers per stage"),
            (RecomputeWords{.rule = RecomputeRule::full, .per_stage = 2}));
  EXPECT_EQ(share("full, 50%"), 0.5);
  EXPECT_EQ(share("full for 60 % of the layers"), 0.6);
  for (const char* text :
       {"full recompute made it 20% slower", "full (+30% time)", "full recompute in 2 of 3 runs",
        "full activation checkpointing reduces memory by 60%", "full, costs 30 %"}) {
    EXPECT_EQ(share(text), -1) << text;
  }
  EXPECT_EQ(share("every third layer"), 1.0 / 3);
  EXPECT_EQ(rule_of("uniform (num_layers=4)"), RecomputeRule::full);
  EXPECT_EQ(rule_of("selective (mla)"), RecomputeRule::selective);
  for (const char* text : {"block", "first 10 layers full", "full 12", "full, 12", "every 4 blocks",
                           "every 4 layers"}) {
    EXPECT_EQ(recompute_in_words(text), std::nullopt) << text;  // of how many, or of which
  }
}

TEST(RowWords, SwitchesMayBeTicked) {
  for (const char* on : {"yes", "SP", "Megatron SP", "Megatron-SP", "\xe2\x9c\x93", "\xe2\x9c\x94",
                         "\xe2\x9c\x85"}) {
    EXPECT_EQ(switch_in_words(on), true) << on;
  }
  for (const char* off :
       {"no", "x", "X", "\xc3\x97", "\xe2\x9c\x97", "\xe2\x9c\x98", "\xe2\x9d\x8c"}) {
    EXPECT_EQ(switch_in_words(off), false) << off;
  }
  EXPECT_EQ(switch_in_words("Ulysses"), std::nullopt);
}

TEST(RowWords, WhatBeginsWithNoSaysNothing) {
  for (const char* text :
       {"no gradient checkpointing", "without recomputation", "not recomputed"}) {
    EXPECT_EQ(rule_of(text), RecomputeRule::none) << text;
  }
  EXPECT_EQ(rule_of("no full, selective"), RecomputeRule::selective);
  EXPECT_EQ(rule_of("selective, offload=False"), RecomputeRule::selective);
  EXPECT_EQ(rule_of("no AC; flash attention"), RecomputeRule::none);
  for (const char* text :
       {"none (flash attention)", "activation checkpointing off", "recompute=False"}) {
    EXPECT_EQ(rule_of(text), RecomputeRule::none) << text;
  }
  for (const char* text :
       {"no ZeRO", "without FSDP", "no sharding", "FSDP disabled", "ZeRO: off"}) {
    EXPECT_EQ(sharding_in_words(text)->stage, 0) << text;
  }
  EXPECT_EQ(sharding_in_words("ZeRO-2, no offload")->stage, 2);
  EXPECT_EQ(sharding_in_words("FSDP2, cpu_offload=False")->stage, 3);
  EXPECT_EQ(sharding_in_words("DDP, no ZeRO")->stage, 0);
  EXPECT_EQ(sharding_named("PyTorch (no FSDP)"), "");
  EXPECT_EQ(optimizer_states_in_words("AdamW instead of SGD"), std::nullopt);
}

TEST(RowWords, OptimizersAreNamed) {
  EXPECT_EQ(optimizer_states_in_words("optimizer SGD"), 0);
  EXPECT_EQ(optimizer_states_in_words("SGD with momentum"), 1);
  EXPECT_EQ(optimizer_states_in_words("Adafactor"), 0);
  EXPECT_EQ(optimizer_states_in_words("Muon"), 1);
  EXPECT_EQ(optimizer_states_in_words("8-bit Adam"), 0.5);
  EXPECT_EQ(optimizer_states_in_words("AdamW8bit"), 0.5);
  EXPECT_EQ(optimizer_states_in_words("bf16 optimizer states"), 1);
  EXPECT_EQ(optimizer_states_in_words("optimizer states in 16 bits"), 1);
  for (const char* text : {"Lion", "fused; Lion", "trained with Muon", "optimizer: lion",
                           "the Muon optimizer", "Muon for matrices, AdamW for the rest"}) {
    EXPECT_EQ(optimizer_states_in_words(text), 1) << text;
  }
  for (const char* text :
       {"compared with Muon in section 4; this row is AdamW", "SGD baseline omitted",
        "AdamW rather than SGD", "unlike Lion", "", "AdamW", "fused Adam", "no SGD",
        "million tokens", "Lion cluster", "8 nodes of Lion", "detects muon tracks"}) {
    EXPECT_EQ(optimizer_states_in_words(text), std::nullopt) << text;
  }
}

TEST(RowWords, ARunMayHaveNoOptimizer) {
  for (const char* text :
       {"no optimizer step", "without optimizer states", "forward and backward only",
        "forward, cross-entropy and backward only: no optimizer step in the timing",
        "fwd + bwd only", "optimizer step not used", "forward/backward pass only"}) {
    EXPECT_TRUE(skips_optimizer(text)) << text;
    EXPECT_EQ(optimizer_states_in_words(text), 0) << text;
  }
  for (const char* text : {"", "optimizer state offload: no", "optimizer states offload: off",
                           "no optimizer offload", "no distributed optimizer", "forward only",
                           "bf16 optimizer states", "the optimizer step is fused"}) {
    EXPECT_FALSE(skips_optimizer(text)) << text;
  }
}

TEST(RowWords, MomentsInEightBitsAreNamedInAnyOrder) {
  for (const char* text :
       {"8-bit Adam", "8-bit paged AdamW", "paged 8-bit AdamW", "PagedAdamW8bit", "PagedAdamW 8bit",
        "paged_adamw_8bit", "adamw_bnb_8bit", "AdamW (8-bit)", "AdamW, 8-bit", "AdamW 8 bit, paged",
        "AdamW (paged, 8-bit)", "bitsandbytes AdamW in 8 bits", "8bit bitsandbytes AdamW",
        "AdamW (bitsandbytes 8-bit)", "eight-bit Adam", "8-bit optimizer",
        "optimizer states in 8 bits", "8-bit optimizer states", "Adam with 8-bit states"}) {
    EXPECT_EQ(optimizer_states_in_words(text), 0.5) << text;
    EXPECT_EQ(optimizer_states_in_words(text, 2), 1) << text;  // beside those of pure bf16
  }
  for (const char* text : {"AdamW, 8-bit gathers", "paged AdamW", "AdamW; 8-bit weights",
                           "no 8-bit Adam", "AdamW, 8 bit gradients", "fused AdamW, 8 GPUs"}) {
    EXPECT_EQ(optimizer_states_in_words(text), std::nullopt) << text;
  }
  EXPECT_EQ(optimizer_states_in_words("bf16 optimizer states", 2), 2);
  EXPECT_EQ(optimizer_states_in_words("optimizer states in fp32", 2), 4);
  EXPECT_EQ(optimizer_states_in_words("fp32 optimizer states"), 2);
  EXPECT_EQ(optimizer_states_in_words("SGD with momentum", 2), 1);
}

TEST(RowWords, UnreadWordsOfNotes) {
  EXPECT_EQ(unread_words("sliding window of 1024; MTP"),
            std::vector<std::string>{"sliding window"});
  EXPECT_TRUE(unread_words("no sliding window; compile").empty());
  for (const char* words :
       {"GaLore", "sequence packing", "packed sequences", "gradient accumulation fusion",
        "max-autotune", "Unsloth", "BitsAndBytes", "PowerSGD", "sparse attention"}) {
    EXPECT_EQ(unread_words(std::string("bf16; ") + words + ", batch 4"),
              std::vector<std::string>{words});
  }
  for (const char* notes : {"8-bit Adam of bitsandbytes", "no fusion of gradient accumulation",
                            "ring attention", "without packing", "unpacking archives"}) {
    EXPECT_TRUE(unread_words(notes).empty()) << notes;
  }
  EXPECT_EQ(context_in_notes("with ring attention"), "ring attention");
  EXPECT_EQ(context_in_notes("DeepSpeed-Ulysses"), "Ulysses");
  EXPECT_EQ(context_in_notes("no Ulysses; string attention"), "");
}

TEST(RowWords, MegatronsSwitchIsSelective) {
  for (const char* text : {"--recompute-activations", "recompute-activations",
                           "recompute_activations=True", "sel.", "Sel."}) {
    EXPECT_EQ(rule_of(text), RecomputeRule::selective) << text;
  }
  EXPECT_EQ(recompute_in_notes("bf16; --recompute-activations; TE")->rule,
            RecomputeRule::selective);
  EXPECT_EQ(rule_of("recompute activations"), RecomputeRule::full);
  EXPECT_EQ(rule_of("--checkpoint-activations"), RecomputeRule::full);
  EXPECT_EQ(rule_of("recompute_activations: full"), RecomputeRule::full);
  EXPECT_EQ(rule_of("recompute-activations: false"), RecomputeRule::none);
  for (const char* text : {"without", "w/o", "no --recompute-activations"}) {
    EXPECT_EQ(rule_of(text), RecomputeRule::none) << text;
  }
  for (const char* text : {"O1", "O2", "apex amp O2", "o2"}) {
    EXPECT_EQ(element_type_in_words(text), "bf16") << text;
  }
}

TEST(RowWords, PartsOfBlocksAreNamed) {
  const auto parts = [](const char* text) { return recompute_in_words(text)->parts; };
  EXPECT_EQ(parts("selective: mlp"), (RecomputeParts{.mlp = true}));
  EXPECT_EQ(parts("core_attn, mlp"), (RecomputeParts{.attention = true, .mlp = true}));
  EXPECT_EQ(parts("mlp only"), (RecomputeParts{.mlp = true}));
  EXPECT_EQ(parts("select: moe_act layernorm"),
            (RecomputeParts{.activations = true, .norms = true}));
  EXPECT_EQ(parts("layernorm and moe"), (RecomputeParts{.mlp = true, .norms = true}));
  EXPECT_EQ(parts("RMSNorm, MLA up-projection"), (RecomputeParts{.norms = true, .latent = true}));
  EXPECT_EQ(parts("SwiGLU"), (RecomputeParts{.activations = true}));
  EXPECT_EQ(parts("norm, act"), (RecomputeParts{.activations = true, .norms = true}));
  for (const char* text :
       {"core_attn", "selective", "attention", "act ckpt", "full", "full (mlp)"}) {
    EXPECT_EQ(parts(text), RecomputeParts{}) << text;  // a stack's own way, or all of it
  }
  EXPECT_EQ(rule_of("act ckpt"), RecomputeRule::full);
  EXPECT_EQ(rule_of("attention not recomputed"), std::nullopt);
}

TEST(RowWords, ShardingIsReadAsSourcesPrintIt) {
  const auto stage = [](const char* text) {
    const auto found = sharding_in_words(text);
    return !found ? -1 : found->least ? 9 : found->stage;
  };
  for (const char* text : {"zero3",
                           "ZeRO-3",
                           "ZeRO stage 3",
                           "zero_stage: 3",
                           "stage 3",
                           "3",
                           "FSDP",
                           "fsdp2",
                           "fsdp8(shards over dp*cp)",
                           "fully sharded",
                           "Full Shard",
                           "HYBRID_SHARD",
                           "HSDP",
                           "ZeRO++",
                           "True",
                           "hybrid",
                           "MiCS",
                           "FSDP2 dp_shard 8 dp_replicate 8",
                           "dp_shard=8",
                           "optim_grads_params",
                           "P_os+g+p",
                           "ZeRO Infinity",
                           "ZeRO++ (hpZ=8)",
                           "3 (hpZ=8)",
                           "Z3",
                           "level p_g_os",
                           "fsdp 8, dp 8",
                           "shard size 8"}) {
    EXPECT_EQ(stage(text), 3) << text;
  }
  for (const char* text :
       {"FSDP (ZeRO-2)", "fsdp-SHARD_GRAD_OP", "zero 2", "2", "optim_grads", "Zero DP os+g",
        "FSDP (reshard_after_forward=False)", "FSDP2, reshard_after_forward: never"}) {
    EXPECT_EQ(stage(text), 2) << text;
  }
  for (const char* text :
       {"zero1(shard 8)", "ZeRO stage 1", "distributed optimizer", "1",
        "ddp(distributed-optimizer not stated)", "Distributed-Optim", "OSS", "P_os", "optim"}) {
    EXPECT_EQ(stage(text), 1) << text;
  }
  for (const char* text :
       {"DDP", "torch DDP", "none", "no", "0", "NO_SHARD", "DistributedDataParallel", "zero0"}) {
    EXPECT_EQ(stage(text), 0) << text;
  }
  EXPECT_EQ(stage("zero(see section)"), 9);
  EXPECT_EQ(stage("level os_g"), 2);
  EXPECT_EQ(stage("z1"), 1);
  EXPECT_EQ(stage("somehow"), -1);
  EXPECT_EQ(stage("3 of them"), -1);
  EXPECT_EQ(sharding_in_words("fsdp 8, dp 4")->degree, 8);
  EXPECT_EQ(sharding_in_words("dp=4 x fsdp=8")->degree, 8);
  EXPECT_EQ(sharding_in_words("FSDP2, dp 4")->degree, std::nullopt);  // its second release
  EXPECT_EQ(sharding_in_words("zero1(shard 8)")->degree, 8);
  EXPECT_EQ(sharding_in_words("FSDP2 dp_shard 8 dp_replicate 2")->degree, 8);
  EXPECT_EQ(sharding_in_words("dp_shard -1"), std::nullopt);
  EXPECT_EQ(sharding_in_words("fsdp dp_shard -1")->degree, std::nullopt);  // all
  EXPECT_TRUE(sharding_in_words("HSDP")->in_a_node);
  EXPECT_TRUE(sharding_in_words("MiCS")->in_a_node);
  EXPECT_FALSE(sharding_in_words("True")->in_a_node);
}

TEST(RowWords, TheNarrowestElementTypeCounts) {
  EXPECT_EQ(element_type_in_words("bf16 (fp32 reduction)"), "bf16");
  EXPECT_EQ(element_type_in_words("BF16-mixed, fp8 products"), "fp8");
  EXPECT_EQ(element_type_in_words("float8 rowwise"), "fp8");
  EXPECT_EQ(element_type_in_words("INT8"), "int8");
  EXPECT_EQ(element_type_in_words("NVFP4"), "fp4");
  EXPECT_EQ(element_type_in_words("half"), "bf16");
  EXPECT_EQ(element_type_in_words("mixed precision"), "bf16");
  EXPECT_EQ(element_type_in_words("float32"), "fp32");
  EXPECT_EQ(element_type_in_words("TF32"), "tf32");
  EXPECT_EQ(element_type_in_words("float"), "fp32");
  EXPECT_EQ(element_type_in_words("32"), "fp32");
  EXPECT_EQ(element_type_in_words("8"), std::nullopt);  // fp8 or int8
  EXPECT_EQ(element_type_in_words("posit"), std::nullopt);
  EXPECT_EQ(element_type_in_words("bf16 (no fp8)"), "bf16");
  for (const char* text :
       {"fp8=false", "fp8 off", "no fp8, bf16", "fp8: not used", "without fp8"}) {
    EXPECT_EQ(element_type_in_words(text), "bf16") << text;
  }
  EXPECT_EQ(element_type_in_words("fp32, no fp8"), "fp32");
  EXPECT_EQ(element_type_in_words("BF16 with FP8 all-gather"), "bf16");
  EXPECT_EQ(element_type_in_words("fp8 with FP8 all-gather"), "fp8");
  EXPECT_EQ(element_type_in_words("bf16 w/ fp8 comm"), "bf16");
  EXPECT_EQ(element_type_in_words("bf16, FP8 communication"), "bf16");
  EXPECT_EQ(element_type_in_words("fp8 w/ fp8 comms"), "fp8");
  EXPECT_EQ(element_type_in_words("fp8 all-gather"), "fp8");  // nothing else is named
  EXPECT_EQ(element_type_in_words("32-true"), "fp32");
}

TEST(RowWords, PureTypesKeepNothingWider) {
  for (const char* text :
       {"pure bf16", "bf16-true", "16-true", "full bf16", "full bf16 training (no mixed precision)",
        "bf16 (full)", "true bf16 (no autocast)", "all in bf16", "everything in bf16",
        "bf16 weights and optimizer", "weights and states in bf16", "without autocast",
        "model.to(torch.bfloat16)", "torch_dtype=bfloat16", "training dtype bfloat16",
        "parameters and optimizer states in bf16", "fully in bf16"}) {
    EXPECT_TRUE(pure_half_in_words(text)) << text;
  }
  for (const char* text :
       {"bf16", "bf16-mixed", "32-true", "not pure bf16", "full bf16 peak", "bf16 full fine-tuning",
        "full 16 GPUs", "bf16 autocast", "weights in bf16, autocast", "all 16 layers", "",
        "weights and gradients travel in bf16", "full bf16 fine-tuning", "full bf16 gradients",
        "bf16 mixed precision"}) {
    EXPECT_FALSE(pure_half_in_words(text)) << text;
  }
}

TEST(RowWords, NotesSayWhatIsComputedAgain) {
  const auto rule = [](const char* text) {
    const auto found = recompute_in_notes(text);
    return found ? std::optional(found->rule) : std::nullopt;
  };
  for (const char* text : {"uses activation checkpointing", "FSDP plus activation checkpointing",
                           "this activation checkpointing run", "uses activation recomputation",
                           "uses AC", "with full AC", "grad ckpt: yes", "with grad checkpointing",
                           "all blocks activation checkpointed", "gradient checkpointing",
                           "bf16; activation checkpointing, batch 4",
                           "full activation recomputation", "gradient_checkpointing=True"}) {
    EXPECT_EQ(rule(text), RecomputeRule::full) << text;
  }
  EXPECT_EQ(rule("selective activation checkpointing"), RecomputeRule::selective);
  for (const char* text : {"selective recompute (core_attn, mlp); EP=8",
                           "selective recompute: core_attn, mlp", "selective recompute of mlp"}) {
    ASSERT_TRUE(recompute_in_notes(text)) << text;
    EXPECT_TRUE(recompute_in_notes(text)->parts.mlp) << text;
  }
  EXPECT_EQ(rule("selective recomputation to avoid full recomputation"), RecomputeRule::selective);
  for (const char* text :
       {"gradient checkpointing no", "recompute none; no dropout", "activation checkpointing no",
        "no gradient checkpointing", "activation checkpointing: off",
        "without activation recomputation", "gradient checkpointing disabled",
        "full activation recomputation was never needed", "avoid full recomputation",
        "without recomputation", "no recompute", "recomputation not needed",
        "recomputation is not required", "recomputation not used", "did not use recompute",
        "activation checkpointing costs 25 % here, so it was left out",
        "we avoided activation checkpointing", "TP8 without recompute"}) {
    EXPECT_EQ(rule(text), RecomputeRule::none) << text;
  }
  for (const char* text :
       {"", "checkpoints every hour", "its activation recomputation is not stated",
        "without gradient checkpointing it runs out of memory", "with recomputation",
        "without recomputation 20 % faster", "no recomputation of attention",
        "no further recomputation", "compared with activation checkpointing in section 3",
        "authors compare with DeepSpeed ZeRO-3 and with full recomputation",
        "other rows use gradient checkpointing", "gradient checkpointing only for 13B",
        "with AC power", "see also the run with activation checkpointing"}) {
    EXPECT_EQ(rule(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace parallel_opt
