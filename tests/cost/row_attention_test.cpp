#include "parallel_opt/cost/row_attention.h"

#include <gtest/gtest.h>

#include <string>

#include "parallel_opt/cost/row_date.h"
#include "tests/cost/row_fixture.h"

namespace parallel_opt {
namespace {

using testing::case_of;
using testing::llama_row;
using testing::note_with;
using testing::told;
using testing::usual_row;

const std::string kBefore = "attention is unfused, as in Megatron before 2023";

AttentionFamily attention(const TrainingRow& row) { return case_of(row).stack.attention; }

TEST(RowAttention, MegatronBeforeHopperHasNoFusedOne) {
  TrainingRow row = usual_row("Megatron-LM");
  EXPECT_EQ(attention(row), AttentionFamily::unfused);
  EXPECT_FALSE(case_of(row).stack.overlaps_tensor);
  EXPECT_EQ(told(row, kBefore), 1);
  row.notes = "FlashAttention";
  EXPECT_EQ(attention(row), AttentionFamily::vendor);
  row.notes = "";
  row.gpu = "H100-SXM-80GB";
  EXPECT_EQ(attention(row), AttentionFamily::vendor);
  EXPECT_TRUE(case_of(row).stack.overlaps_tensor);
}

TEST(RowAttention, ModelsOfItsTimeRunItOnOlderDevicesToo) {
  TrainingRow row = usual_row("Megatron-LM");  // a GPT on an A100
  row.kv_heads = 4;
  EXPECT_EQ(attention(row), AttentionFamily::vendor);
  row.kv_heads = std::nullopt;
  row.model_name = "Llama-2-7B";
  EXPECT_EQ(attention(row), AttentionFamily::vendor);
  row.gpu = "V100-32GB";  // there is no such kernel
  EXPECT_EQ(attention(row), AttentionFamily::unfused);
}

// Once the words counted in the notes alone.
TEST(RowAttention, FrameworksNameTheirKernelsToo) {
  TrainingRow row = usual_row("GPT-NeoX");
  EXPECT_EQ(attention(row), AttentionFamily::unfused);
  for (const char* framework :
       {"GPT-NeoX (flash-attention-2)", "Megatron-DeepSpeed (FlashAttention-2)",
        "PyTorch 1.13 + flash attention", "GPT-NeoX, flash-attn"}) {
    row.framework = framework;
    EXPECT_EQ(attention(row), AttentionFamily::flash) << framework;
    EXPECT_EQ(note_with(row, "unfused"), "") << framework;
  }
  for (const char* framework : {"llm-foundry (no flash attention)", "PyTorch, naive attention"}) {
    row.framework = framework;
    EXPECT_EQ(attention(row), AttentionFamily::unfused) << framework;
  }
  // What the notes say counts before.
  row.framework = "GPT-NeoX (flash-attention-2)";
  row.notes = "flash attention disabled";
  EXPECT_EQ(attention(row), AttentionFamily::unfused);
}

TEST(RowAttention, MegatronAloneIsThatOf2022) {
  for (const char* framework : {"", "own code", "Colossal-AI", "XTuner"}) {
    TrainingRow row = usual_row(framework);
    row.tp = 2;
    row.dp = 4;
    EXPECT_NE(attention(row), AttentionFamily::unfused) << framework;
    EXPECT_EQ(told(row, kBefore), 0) << framework;
  }
  // Nor did anyone keep the scores of such sequences.
  TrainingRow row = usual_row("Megatron-LM");
  row.seq_len = 16384;
  EXPECT_EQ(attention(row), AttentionFamily::vendor);
}

TEST(RowAttention, SoftwareOfItsTimeRunsItOnOlderDevicesToo) {
  TrainingRow row = usual_row();
  for (const char* framework :
       {"Megatron-Core", "Megatron-LM core_r0.9", "Megatron-LM (2024)", "Megatron-LM 23.08",
        "Megatron-LM v3", "Megatron-LM v3.0.2", "Megatron (2024)", "Megatron-LM-240405"}) {
    row.framework = framework;
    EXPECT_EQ(attention(row), AttentionFamily::vendor) << framework;
    EXPECT_EQ(told(row, kBefore), 0) << framework;
  }
  for (const char* framework : {"Megatron-LM (2021)", "Megatron-LM v2.5", "Megatron-LM 22.12"}) {
    row.framework = framework;
    EXPECT_EQ(case_of(row).stack.name, "megatron-2020") << framework;
  }
}

TEST(RowAttention, NotesMaySayTheYear) {
  TrainingRow row = usual_row("Megatron-LM");
  row.notes = "main of 3 May 2024";
  EXPECT_EQ(attention(row), AttentionFamily::vendor);
  row.notes = "logs of June 2021";
  EXPECT_EQ(case_of(row).stack.name, "megatron-2020");
  row.framework = "Megatron-LM (2024)";  // its name counts
  EXPECT_EQ(case_of(row).stack.name, "megatron");
  for (const auto& [notes, year] : {std::pair{"2024", 2024},
                                    {"commit of 2023-05-01", 2023},
                                    {"logs of June and July 2022", 2022},
                                    {"run in 2021; page of March 2024", 2024},
                                    {"(2020)", 2020},
                                    {"container 23.09", 2023},
                                    {"sequences of 2048", 0},
                                    {"2020 steps", 0},
                                    {"seq 2021 tokens", 0},
                                    {"in 2020 steps", 0},
                                    {"batch 2022, seq 2048", 0},
                                    {"port 2019:80", 0}}) {
    EXPECT_EQ(stated_date(notes).year, year) << notes;
  }
}

TEST(RowAttention, OldDevicesHaveOtherKernels) {
  TrainingRow row = llama_row("PyTorch FSDP");
  row.dtype = "fp16";
  const auto on = [&](const char* gpu) {
    row.gpu = gpu;
    return attention(row);
  };
  EXPECT_EQ(on("A100"), AttentionFamily::flash);
  for (const char* gpu : {"V100-SXM2-32GB", "RTX 2080 Ti", "T4", "P100", "M40"}) {
    EXPECT_EQ(on(gpu), AttentionFamily::early) << gpu;
    EXPECT_NE(note_with(row, "attention is PyTorch's memory-efficient kernel"), "") << gpu;
  }
  for (const char* gpu : {"K80", "MI100"}) {
    EXPECT_EQ(on(gpu), AttentionFamily::unfused) << gpu;
  }
  EXPECT_EQ(told(row, "attention is unfused, as pytorch has no fused kernel for CDNA1"), 1);
  row.notes = "no flash attention";
  EXPECT_EQ(on("T4"), AttentionFamily::unfused);
  row.notes = "xFormers; fused attention";
  EXPECT_EQ(on("V100-SXM2-32GB"), AttentionFamily::early);
  row.notes = "";
  row.framework = "HF + Deepspeed Zero 3";
  EXPECT_EQ(on("V100-SXM2-32GB"), AttentionFamily::unfused);
  row.framework = "Megatron-LM";
  EXPECT_EQ(on("T4"), AttentionFamily::unfused);
}

TEST(RowAttention, TorchFusesItSinceItsSecondRelease) {
  TrainingRow row = llama_row("PyTorch 1.13 FSDP");
  EXPECT_EQ(attention(row), AttentionFamily::unfused);
  EXPECT_EQ(told(row, "attention is unfused, as in PyTorch before 2.0"), 1);
  row.notes = "flash attention";
  EXPECT_EQ(attention(row), AttentionFamily::flash);
  row.notes = "";
  row.framework = "PyTorch 2.1 FSDP";
  EXPECT_EQ(attention(row), AttentionFamily::flash);
}

TEST(RowAttention, NotesMayDenyIt) {
  TrainingRow row = llama_row("Megatron-LM");
  for (const char* notes :
       {"no flash attention", "flash_attn=False", "no fused attention", "unfused attention",
        "flash attention (disabled)", "attn_implementation=eager", "attn_implementation: 'eager'",
        "naive attention", "math SDPA", "eager attention", "unfused (math) attention",
        "standard attention", "math backend", "Table 1 of FlashAttention-2; without FlashAttention",
        "without flash attention (the FlashAttention-2 paper)"}) {
    row.notes = notes;
    EXPECT_EQ(attention(row), AttentionFamily::unfused) << notes;
  }
  row.framework = "PyTorch FSDP";  // the older release, or PyTorch's own
  for (const char* notes :
       {"flash attention 3: no", "no flash attention 3", "FlashAttention-3 not used",
        "flash attention v3 not yet supported", "flash-attn not installed, SDPA used", "FA3 off"}) {
    row.notes = notes;
    EXPECT_EQ(attention(row), AttentionFamily::flash) << notes;
  }
  row.framework = "Megatron-LM";
  row.notes = "flash storage; compared with naive attention in section 2";
  EXPECT_NE(attention(row), AttentionFamily::unfused);
  row.notes = "no flash attention; fused attention of cuDNN";
  EXPECT_NE(attention(row), AttentionFamily::unfused);
}

TEST(RowAttention, TheFirstFusedKernelsAreSlower) {
  TrainingRow row = llama_row("PyTorch FSDP");
  for (const char* notes : {"FlashAttention-1", "flash attention v1", "FA1", "FA-v1", "xformers",
                            "memory-efficient attention of xFormers"}) {
    row.notes = notes;
    EXPECT_EQ(attention(row), AttentionFamily::early) << notes;
  }
  for (const char* notes : {"FlashAttention-2 v2.1", "FA2", "", "flash attention 1x faster"}) {
    row.notes = notes;
    EXPECT_NE(attention(row), AttentionFamily::early) << notes;
  }
}

TEST(RowAttention, TheirForkFusesItWhereModelOrDeviceIsNewer) {
  const std::string before = "attention is unfused, as in Megatron-DeepSpeed before 2023";
  const std::string since = "attention is fused, as in Megatron-DeepSpeed since 2023";
  TrainingRow row = usual_row("GPT-NeoX");
  EXPECT_EQ(attention(row), AttentionFamily::unfused);
  EXPECT_EQ(told(row, before), 1);
  for (const auto& [gpu, tokens] : {std::pair{"H100-SXM", 2048.0},
                                    {"A100-SXM4-80GB", 32768.0},
                                    {"MI250X", 32768.0},
                                    {"B200", 2048.0}}) {
    row.gpu = gpu;
    row.seq_len = tokens;
    EXPECT_EQ(attention(row), AttentionFamily::flash) << gpu;
    EXPECT_EQ(told(row, since), 1) << gpu;
  }
  row.notes = "without flash attention";
  EXPECT_EQ(attention(row), AttentionFamily::unfused);
  EXPECT_EQ(told(row, since), 0);
}

TEST(RowAttention, TheNewestKernelsAreThoseOfHopperAndBlackwell) {
  TrainingRow row = llama_row("PyTorch FSDP");
  const auto kernels = {"FlashAttention-3",  "flash attention 3",
                        "flash_attn v3",     "FA3",
                        "FlashAttention 4",  "FA4",
                        "cuDNN attention",   "cuDNN SDPA",
                        "attention by cuDNN"};
  for (const char* gpu : {"H100", "GH200", "B200", "GB300"}) {
    row.gpu = gpu;
    row.notes = "";
    EXPECT_EQ(attention(row), AttentionFamily::flash) << gpu;
    for (const char* notes : kernels) {
      row.notes = notes;
      EXPECT_EQ(attention(row), AttentionFamily::vendor) << notes;
    }
    row.notes = "FlashAttention 2";
    EXPECT_EQ(attention(row), AttentionFamily::flash) << gpu;
  }
  for (const char* gpu : {"A100", "RTX 5090", "RTX PRO 6000 Blackwell"}) {
    row.gpu = gpu;
    for (const char* notes : kernels) {
      row.notes = notes;
      EXPECT_EQ(attention(row), AttentionFamily::flash) << notes;
    }
  }
}

TEST(RowAttention, PyTorchTakesTheVendorsByItselfSinceItsRelease) {
  TrainingRow row = llama_row("PyTorch FSDP");
  const auto of = [&](const char* gpu, const char* framework, const char* notes) {
    row.gpu = gpu;
    row.framework = framework;
    row.notes = notes;
    return attention(row);
  };
  const auto vendor = AttentionFamily::vendor, flash = AttentionFamily::flash;
  EXPECT_EQ(of("H100", "PyTorch FSDP", "August 2026"), vendor);
  EXPECT_EQ(of("H100", "PyTorch FSDP", "August 2025"), flash);
  EXPECT_EQ(of("H100", "PyTorch 2.11 FSDP", ""), vendor);
  EXPECT_EQ(of("H100", "PyTorch FSDP", "torch 2.13.0"), vendor);
  EXPECT_EQ(of("H100", "PyTorch FSDP", "torch 2.10; 2026-05"), flash);
  EXPECT_EQ(of("H100", "PyTorch FSDP", "flex attention; 2026-05"), flash);
  EXPECT_EQ(of("H100", "PyTorch FSDP", "FlashAttention 2; 2026-05"), flash);
  EXPECT_EQ(of("H100", "PyTorch FSDP", "eager attention; 2026-05"), AttentionFamily::unfused);
  EXPECT_EQ(of("H100", "torchtitan", "2026-05"), vendor);
  EXPECT_EQ(of("H100", "torchtitan", ""), flash);
  EXPECT_EQ(of("B200", "torchtitan", ""), vendor);
  EXPECT_EQ(of("A100", "PyTorch FSDP", "2026-05"), flash);
  EXPECT_EQ(of("RTX 5090", "PyTorch FSDP", "2026-05"), flash);
  EXPECT_NE(of("H100", "llm-foundry", "2026-05"), vendor);  // packages, not PyTorch's own
}

TEST(RowAttention, NotesMaySayItWhereAStackLeavesItInParts) {
  TrainingRow row = usual_row("Megatron-DeepSpeed");
  EXPECT_EQ(attention(row), AttentionFamily::unfused);
  row.notes = "MLPerf Training v3.1; fused attention";
  EXPECT_EQ(attention(row), AttentionFamily::flash);
}

TEST(RowAttention, GeneratedKernelsStandInForTheVendors) {
  TrainingRow row = testing::llama_row("NeMo AutoModel (PyTorch FSDP2) TE + DeepEP");
  row.gpu = "H100-SXM-80GB";
  EXPECT_EQ(case_of(row).stack.attention, AttentionFamily::vendor);
  row.notes = "flex attention, pack mask";
  EXPECT_EQ(case_of(row).stack.attention, AttentionFamily::flash);
  row.notes = "no flex attention";
  EXPECT_EQ(case_of(row).stack.attention, AttentionFamily::vendor);
  row.framework += " + FlexAttn";
  EXPECT_EQ(case_of(row).stack.attention, AttentionFamily::flash);
}

}  // namespace
}  // namespace parallel_opt
