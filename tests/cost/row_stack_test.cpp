#include "parallel_opt/cost/row_stack.h"

#include <gtest/gtest.h>

#include "parallel_opt/cost/row_notes.h"
#include "row_fixture.h"

namespace parallel_opt {
namespace {

using testing::case_of;
using testing::note_with;
using testing::told;
using testing::usual_row;

/// With two tensor ranks.
TrainingRow split_row(const char* framework, const char* notes = "") {
  TrainingRow row = usual_row(framework);
  row.tp = 2;
  row.dp = 4;
  row.notes = notes;
  fill_from_notes(row);
  return row;
}

TEST(RowStack, BothNamesInAnyOrderAreTheirFork) {
  for (const char* framework :
       {"Megatron-DeepSpeed", "DeepSpeed-Megatron", "DeepSpeed + Megatron",
        "DeepSpeed & Megatron-LM", "Megatron/DeepSpeed", "Megatron + DeepSpeed",
        "Megatron-LM with DeepSpeed", "Megatron-DeepSpeed 2022", "DeepSpeed (Megatron-LM 2021)",
        "GPT-NeoX", "gpt_neox 2.0", "NeoX", "DeeperSpeed"}) {
    EXPECT_EQ(case_of(split_row(framework)).stack.name, "megatron-deepspeed") << framework;
    EXPECT_EQ(case_of(split_row(framework)).stack.attention, AttentionFamily::unfused) << framework;
  }
  EXPECT_EQ(stack_of_framework("DeepSpeed")->name, "deepspeed");
  EXPECT_EQ(stack_of_framework("Megatron-LM")->name, "megatron");
  EXPECT_EQ(stack_of_framework("NeMo (Megatron, no DeepSpeed)")->name, "nemo");
}

TEST(RowStack, NeMoRunsMegatronCoreBeneath) {
  for (const char* framework :
       {"NeMo 26.02 + Megatron-Core", "NeMo (Megatron-Core)", "NeMo 2.0 / Megatron",
        "NeMo Framework, Megatron Bridge", "Megatron-Core (NeMo 2.0)", "NeMo / Megatron-LM",
        "NeMo-Megatron", "Megatron-Bridge/Megatron-Core", "Megatron-Bridge (NeMo 26.04)"}) {
    EXPECT_EQ(stack_of_framework(framework)->name, "nemo") << framework;
  }
  for (const char* framework : {"Megatron-LM/NeMo", "Megatron-LM core v0.14 (NeMo container)",
                                "Megatron-Core", "Megatron-Core in NeMo 24.07 container"}) {
    EXPECT_EQ(stack_of_framework(framework)->name, "megatron") << framework;
  }
  EXPECT_EQ(stack_of_framework("neuronx-nemo-megatron")->name, "neuron");
}

TEST(RowStack, TheirForkFusesAttentionSince2023) {
  const std::string since = "attention is fused, as in Megatron-DeepSpeed since 2023";
  for (const char* notes : {"June 2023", "2024-05", "container 23.09"}) {
    const TrainingRow row = split_row("GPT-NeoX", notes);
    EXPECT_EQ(case_of(row).stack.attention, AttentionFamily::flash) << notes;
    EXPECT_EQ(told(row, since), 1) << notes;
  }
  EXPECT_EQ(case_of(split_row("Megatron-DeepSpeed (2024)")).stack.attention,
            AttentionFamily::flash);
  for (const char* notes : {"", "May 2022", "June 2023; unfused attention"}) {
    EXPECT_EQ(case_of(split_row("GPT-NeoX", notes)).stack.attention, AttentionFamily::unfused)
        << notes;
  }
  // Its package has no kernels for these.
  for (const char* gpu : {"V100-SXM-32GB", "Intel Max 1550"}) {
    TrainingRow row = split_row("GPT-NeoX", "June 2023");
    row.gpu = gpu;
    EXPECT_EQ(case_of(row).stack.attention, AttentionFamily::unfused) << gpu;
    EXPECT_EQ(told(row, since), 0) << gpu;
  }
}

TEST(RowStack, FusedAttentionOfAnEarlierYearIsTold) {
  EXPECT_EQ(told(split_row("DeepSpeed", "May 2022"),
                 "attention is fused, as is deepspeed's way, though the notes name 2022"),
            1);
  for (const char* notes : {"", "May 2023", "May 2022; FlashAttention", "May 2022; no flash"}) {
    EXPECT_EQ(note_with(split_row("DeepSpeed", notes), "though"), "") << notes;
  }
  EXPECT_EQ(note_with(split_row("GPT-NeoX", "May 2022"), "though"), "");
}

TEST(RowStack, ItsOwnWayIsTold) {
  const auto full = [](const TrainingRow& row) {
    return told(row, "blocks are computed again, as is megatron-2020's way, as recompute is blank");
  };
  TrainingRow row = split_row("Megatron-LM (2021)");
  EXPECT_EQ(full(row), 1);
  // BigScience's runs say so; others recompute as memory needs.
  EXPECT_EQ(note_with(split_row("Megatron-DeepSpeed"), "way, as recompute"), "");
  row.recompute = "full";
  EXPECT_EQ(full(row), 0);
  row.recompute = "";
  row.notes = "no activation checkpointing";
  EXPECT_EQ(full(row), 0);
  EXPECT_EQ(note_with(split_row("DeepSpeed"), "computed again"), "");
  EXPECT_EQ(told(split_row("torchtitan"),
                 "parts of blocks are computed again, as is torchtitan's way, as recompute is "
                 "blank"),
            1);
  const std::string sequence =
      "sequence parallelism, as is megatron's way, as sequence_parallel is blank";
  EXPECT_EQ(told(split_row("Megatron-LM"), sequence), 1);
  EXPECT_EQ(told(split_row("Megatron-LM", "no SP"), sequence), 0);
  EXPECT_EQ(told(usual_row("Megatron-LM"), sequence), 0);  // no tensor ranks
}

TEST(RowStack, NotesSayWhetherTensorRanksSplitTheSequence) {
  const auto split = [](const char* framework, const char* notes) {
    return case_of(split_row(framework, notes)).layout.sequence_parallel;
  };
  for (const char* notes :
       {"sequence_parallel=False", "no SP", "SP=False", "SP off", "sequence parallelism off",
        "without sequence parallel", "sp: false", "sequence-parallel: disabled", "TP, no SP"}) {
    EXPECT_FALSE(split("Megatron-LM", notes)) << notes;
  }
  for (const char* notes : {"sequence parallel", "sequence parallelism", "SP", "TP+SP", "SP=True",
                            "--sequence-parallel", "sp=on"}) {
    EXPECT_TRUE(split("Megatron-DeepSpeed", notes)) << notes;
  }
  for (const char* notes : {"SP=4", "Ulysses sequence parallelism", "sequence parallel size 4",
                            "sequence_parallel_size=2", "sparse", "sp=2"}) {
    EXPECT_FALSE(split("Megatron-DeepSpeed", notes)) << notes;
    EXPECT_TRUE(split("Megatron-LM", notes)) << notes;
  }
  TrainingRow row = split_row("Megatron-LM");
  row.sequence_parallel = "yes";
  row.notes = "no SP";
  EXPECT_TRUE(fill_from_notes(row).columns.empty());  // the column counts
}

TEST(RowStack, NotesSayWhatIsComputedAgain) {
  const auto rule = [](const char* notes) {
    return case_of(split_row("DeepSpeed", notes)).layout.recompute;
  };
  for (const char* notes : {"with recompute", "AC on", "recompute on", "AC=on"}) {
    EXPECT_EQ(rule(notes), RecomputeRule::full) << notes;
  }
  for (const char* notes : {"recompute granularity selective", "--recompute-activations",
                            "recompute-activations", "AC: selective"}) {
    EXPECT_EQ(rule(notes), RecomputeRule::selective) << notes;
  }
  for (const char* notes : {"no recompute", "without recompute", "AC off", "AC on 4 nodes failed",
                            "measured on AC power"}) {
    EXPECT_EQ(rule(notes), RecomputeRule::none) << notes;
  }
}

TEST(RowStack, NotesNameItsKernelOfAttention) {
  const auto attention = [](const char* notes) {
    return case_of(split_row("DeepSpeed", notes)).stack.attention;
  };
  for (const char* notes :
       {"no flash", "flash off", "--attention-backend unfused", "attention-backend=unfused",
        "attention_backend: local", "FA disabled", "flash: false"}) {
    EXPECT_EQ(attention(notes), AttentionFamily::unfused) << notes;
  }
  for (const char* notes : {"", "no flash storage", "attention backend auto", "flash array off"}) {
    EXPECT_EQ(attention(notes), AttentionFamily::flash) << notes;
  }
  EXPECT_EQ(case_of(split_row("Megatron-DeepSpeed", "--attention-backend fused")).stack.attention,
            AttentionFamily::flash);
}

TEST(RowStack, NotesHaveMegatronsSwitches) {
  const auto stack = [](const char* notes) {
    return case_of(split_row("Megatron-LM 2024", notes)).stack;
  };
  const SoftwareStack own = stack("");
  for (const char* notes : {"--no-overlap-grad-reduce", "overlap-grad-reduce: false",
                            "overlap_grad_reduce=False", "no overlap-grad-reduce"}) {
    EXPECT_FALSE(stack(notes).overlaps_data) << notes;
    EXPECT_TRUE(stack(notes).overlaps_gathers) << notes;  // of one alone
    EXPECT_EQ(stack(notes).overlaps_tensor, own.overlaps_tensor) << notes;
    EXPECT_EQ(stack(notes).overlaps_sends, own.overlaps_sends) << notes;
  }
  for (const char* notes : {"overlap-param-gather off", "no overlap_param_gather"}) {
    EXPECT_FALSE(stack(notes).overlaps_gathers) << notes;
    EXPECT_TRUE(stack(notes).overlaps_data) << notes;
  }
  const SoftwareStack off = stack("tp-comm-overlap: false");
  EXPECT_FALSE(off.overlaps_tensor);
  EXPECT_TRUE(off.overlaps_data);
  EXPECT_FALSE(stack("no overlap").overlaps_data);
  EXPECT_FALSE(stack("no-overlap").overlaps_data);
  EXPECT_TRUE(case_of(split_row("Megatron-DeepSpeed",
                                "--overlap-param-gather, "
                                "--overlap-grad-reduce"))
                  .stack.overlaps_gathers);
}

/// The model of the recipes: 128 experts of width 768, 8 of them at a time.
TrainingRow experts_row(const char* framework, const char* gpu, const char* notes) {
  TrainingRow row = usual_row(framework);
  row.model_name = "Qwen3-30B-A3B";
  row.layers = row.hidden = row.heads = std::nullopt;
  row.gpu = gpu;
  row.ep = 8;
  row.dtype = "MXFP8";
  row.notes = notes;
  return row;
}

TEST(RowStack, RecipesOfExpertsInEightBitsFuseThemSinceJune2026) {
  const auto stack = [](const TrainingRow& row) { return case_of(row).stack; };
  for (const char* notes : {"container 26.06", "26.08 NeMo container; NeMo 26.08", "August 2026"}) {
    for (const char* gpu : {"GB300", "B200", "B300-SXM"}) {
      const SoftwareStack found = stack(experts_row("Megatron-Bridge", gpu, notes));
      EXPECT_EQ(found.name, "nemo-2026") << notes << gpu;
      EXPECT_TRUE(found.overlaps_experts && found.fused_casts) << notes << gpu;
    }
  }
  const auto name = [&](const TrainingRow& row) { return stack(row).name; };
  for (const char* notes : {"", "container 26.04", "May 2026", "2025"}) {
    EXPECT_EQ(name(experts_row("Megatron-Bridge", "GB300", notes)), "nemo") << notes;
  }
  EXPECT_EQ(name(experts_row("Megatron-Bridge", "H100-SXM", "container 26.06")), "nemo");
  EXPECT_EQ(name(experts_row("Megatron-LM", "GB300", "container 26.06")), "megatron");
  TrainingRow row = experts_row("Megatron-Bridge", "GB300", "container 26.06");
  for (const char* dtype : {"bf16", "FP8-CS", "NVFP4"}) {
    row.dtype = dtype;
    EXPECT_EQ(name(row), "nemo") << dtype;
  }
  row = usual_row("Megatron-Bridge");  // no experts
  row.gpu = "GB300";
  row.dtype = "MXFP8";
  row.notes = "container 26.06";
  EXPECT_EQ(name(row), "nemo");
}

TEST(RowStack, NotesSayWhetherTokensTravelBesideOtherMicroBatches) {
  const auto beside = [](const char* notes) {
    return case_of(experts_row("Megatron-LM", "H100-SXM", notes)).stack.overlaps_experts;
  };
  EXPECT_FALSE(beside(""));
  for (const char* notes :
       {"expert all-to-all overlapped (combined 1F1B)", "--overlap-moe-expert-parallel-comm",
        "moe_a2a_overlap=True", "overlaps the expert all-to-all", "EP a2a is overlapped"}) {
    EXPECT_TRUE(beside(notes)) << notes;
  }
  for (const char* notes : {"no overlap of the expert exchange", "moe_a2a_overlap=False",
                            "expert all-to-all without overlap", "overlap-grad-reduce"}) {
    EXPECT_FALSE(beside(notes)) << notes;
  }
  EXPECT_TRUE(case_of(experts_row("Megatron-LM", "H100-SXM", "no overlap of the expert exchange"))
                  .stack.overlaps_data);
}

TEST(RowStack, TorchtitanCompilesItsLossSinceApril2025) {
  const auto logits = [](const char* gpu, const char* framework, const char* notes) {
    TrainingRow row = split_row(framework, notes);
    row.gpu = gpu;
    return case_of(row).stack.logits_bytes;
  };
  const double own = find_stack("torchtitan")->logits_bytes;
  for (const char* framework :
       {"torchtitan (2025-06)", "torchtitan, May 2026", "torchtitan (2026)"}) {
    EXPECT_EQ(logits("H100-SXM", framework, "compile"), 4) << framework;
    EXPECT_EQ(logits("H100-SXM", framework, "eager"), own) << framework;
  }
  EXPECT_EQ(logits("GB200", "torchtitan", "torch.compile"), 4);
  EXPECT_EQ(logits("H100-SXM", "torchtitan", "torch.compile"), own);  // of 2024, where nobody says
  for (const char* framework : {"torchtitan 0.0.2 (2025-03)", "torchtitan (2024-07)"}) {
    EXPECT_EQ(logits("H100-SXM", framework, "compile"), own) << framework;
  }
}

TEST(RowStack, NotesHaveDeepSpeedsSwitchOfOverlap) {
  TrainingRow row = usual_row("DeepSpeed");
  EXPECT_TRUE(case_of(row).stack.overlaps_data);
  for (const char* notes : {"overlap_comm false", "overlap_comm=False", "overlap_comm: false"}) {
    row.notes = notes;
    EXPECT_FALSE(case_of(row).stack.overlaps_data) << notes;
    EXPECT_FALSE(case_of(row).stack.overlaps_shards) << notes;
  }
  row.notes = "overlap_comm true";
  EXPECT_TRUE(case_of(row).stack.overlaps_data);
}

TEST(RowStack, NotesSayInWhichTypeAdamsMomentsAre) {
  const auto states = [](const char* notes) {
    return case_of(split_row("Megatron-LM 2024", notes)).layout.optimizer_states;
  };
  for (const char* notes :
       {"Adam moments in bf16", "precision-aware optimizer, bf16 moments", "bf16 optimizer states",
        "moments: bf16", "exp_avg_dtype=bf16, exp_avg_sq_dtype=bf16",
        "--exp-avg-dtype bf16 --exp-avg-sq-dtype bf16"}) {
    EXPECT_EQ(states(notes), 1) << notes;
  }
  EXPECT_EQ(states("exp_avg_dtype=bf16"), 1.5);
  for (const char* notes : {"precision-aware optimizer", "use_precision_aware_optimizer=True"}) {
    EXPECT_EQ(states(notes), 2) << notes;
    EXPECT_EQ(told(split_row("Megatron-LM 2024", notes),
                   "the precision-aware optimizer keeps states in fp32, as no other type is named"),
              1);
  }
  EXPECT_EQ(note_with(split_row("Megatron-LM", "precision-aware optimizer, bf16 moments"), "aware"),
            "");
}

TEST(RowStack, WhatNotesSayOfDevicesIsTold) {
  const std::string clock = "a clock in the notes counts for nothing";
  for (const char* notes : {"clock locked 1410 MHz", "1.2 GHz clock", "clocks at 1.4 GHz"}) {
    EXPECT_EQ(told(split_row("Megatron-LM", notes), clock), 1) << notes;
  }
  EXPECT_EQ(told(split_row("Megatron-LM", "EPYC of 2.4 GHz"), clock), 0);
  TrainingRow row = split_row("Megatron-LM", "PCIe only");
  row.gpu = "A100 80GB";
  for (const char* notes : {"PCIe only", "no NVLink", "NVLink disabled"}) {
    row.notes = notes;
    row.interconnect = "";
    EXPECT_EQ(told(row, "gpu 'A100 80GB' is taken as A100-PCIe-80GB, as its notes deny NVLink"), 1)
        << notes;
    row.interconnect = "8x200 Gb/s";
    EXPECT_NE(note_with(row, "A100-PCIe-80GB, as its notes"), "") << notes;
    row.interconnect = "NVLink 600 GB/s";
    EXPECT_EQ(note_with(row, "deny"), "") << notes;
  }
  row.gpu = "H100-SXM-80GB";
  row.interconnect = "";
  EXPECT_EQ(told(row,
                 "gpu 'H100-SXM-80GB' keeps the NVLink of H100-SXM-80GB, which its notes "
                 "deny"),
            1);
  row.gpu = "GB200";
  row.notes = "no NVLink across trays";
  EXPECT_EQ(note_with(row, "deny"), "");
}

}  // namespace
}  // namespace parallel_opt
