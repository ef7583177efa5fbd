#include "parallel_opt/cost/row_claims.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "parallel_opt/base/text.h"
#include "tests/cost/row_fixture.h"

namespace parallel_opt {
namespace {

TEST(RowClaims, AWordIsClaimed) {
  for (const char* text :
       {"flash attention", "FlashAttention 2", "flash_attn=True", "flash attn: on",
        "no flash attention; flash attention 2 in the encoder", "FlashAttention, no dropout",
        "flash attention no_sync", "flash attention (no dropout)",
        "flash attention offloads nothing", "flash attention and CUDA graphs disabled",
        "no dropout with flash attention", "not only flash attention", "flash attention: on",
        "compile=False flash_attn=True", "no fp8 (flash attention)", "no v1.2, flash attention",
        "flash attention, off-the-shelf", "flash attention, 20 % faster than eager"}) {
    EXPECT_EQ(Claims(text).says("flash"), true) << text;
  }
}

TEST(RowClaims, AWordIsDenied) {
  for (const char* text : {"no flash attention",
                           "without FlashAttention",
                           "not using flash attention",
                           "flash_attn=False",
                           "use_flash_attn: false",
                           "FlashAttention disabled",
                           "w/o flash attention",
                           "flash attention not used",
                           "flash attention 2 is off",
                           "flash-attn = 0",
                           "flash attention (disabled)",
                           "flash attention unsupported",
                           "flash attention was off",
                           "flash attention: not enabled",
                           "--no-flash-attn",
                           "does not use flash attention",
                           "doesn't use flash attention",
                           "no_flash_attn",
                           "not run with flash attention",
                           "no fused softmax or flash attention",
                           "'use_flash_attn': False",
                           "flash attention turned off",
                           "non-flash attention",
                           "no torch.compile and flash",
                           "flash attention omitted",
                           "flash attention was never needed",
                           "flash attention never enabled",
                           "flash attention is not on",
                           "flash attention weren't used",
                           "flash attention not in use",
                           "avoid flash attention",
                           "we avoided flash attention",
                           "never with flash attention",
                           "lacking flash attention",
                           "cannot use flash attention",
                           "flash attention costs memory, so it was left out",
                           "flash attention is unstable here and it was not used",
                           "flash attention no",
                           "flash attention (no)",
                           "flash attention none",
                           "flash attention N/A",
                           "flash attention 0; eager",
                           "compile yes, flash attention \xe2\x9c\x97",
                           "flash attention x",
                           "flash attention not yet supported",
                           "flash attention: no"}) {
    EXPECT_EQ(Claims(text).says("flash"), false) << text;
  }
}

TEST(RowClaims, WhatIsSaidOfOthersOrByNobodyIsNeither) {
  for (const char* text :
       {"eager", "compared with flash attention in section 4", "unlike flash attention",
        "20 % slower than flash attention", "eager instead of flash attention",
        "other runs use flash attention", "authors compare with flash attention",
        "see also flash attention", "in comparison with flash attention",
        "compared against flash attention", "benchmarked against flash attention",
        "flash attention not stated", "whether flash attention is unknown"}) {
    EXPECT_EQ(Claims(text).says("flash"), std::nullopt) << text;
  }
}

// "Gradient checkpointing would be needed" once switched it on.
TEST(RowClaims, AttemptsAndPlansAreNeither) {
  for (const char* text : {"flash attention would be needed",
                           "flash attention OOMs",
                           "flash attention OOM'ed at 4k",
                           "without flash attention it runs out of memory",
                           "flash attention planned",
                           "flash attention crashed",
                           "we recommend flash attention",
                           "1F1B; flash attention hangs",
                           "eager (flash attention fails on sm70)",
                           "flash attention could help",
                           "flash attention gives 10 % more",
                           "with flash attention it takes 2x longer",
                           "eager; with flash attention 28 GB",
                           "22 GB with flash attention",
                           "flash attention: 30 GB",
                           "flash attention adds 12 %",
                           "same run with flash attention needs 22 GB",
                           "next row: flash attention",
                           "baseline for the flash attention rows",
                           "after switching from flash attention to eager",
                           "eager (flash attention: 33 GB)",
                           "with flash attention 3700 tok/s",
                           "flash attention saves 9 GB",
                           "flash attention tried",
                           "flash attention gave no benefit",
                           "flash attention gains 12%",
                           "flash attention in the next experiment",
                           "flash attention in the 64-GPU run only"}) {
    EXPECT_EQ(Claims(text).says("flash"), std::nullopt) << text;
  }
  for (const char* text :
       {"flash attention (eager OOMs)", "flash attention, as eager would not fit",
        "flash attention; A100 80 GB with NVLink", "flash attention, peak memory: 40 GB",
        "flash attention over 400 Gb/s with RDMA", "flash attention, no dropout",
        "flash attention; version 2.0", "flash attention to avoid OOM",
        "flash attention, otherwise OOM", "flash attention or OOM",
        "eager crashed; flash attention", "flash attention against OOMs"}) {
    EXPECT_EQ(Claims(text).says("flash"), true) << text;
  }
}

TEST(RowClaims, ACitationClaimsNothing) {
  for (const char* text :
       {"Table 1 of FlashAttention-2", "eager; figure 3 from the flash attention report, page 5",
        "the FlashAttention paper", "Sec. 4.2 of flash attention's first version"}) {
    EXPECT_EQ(Claims(without_citations(text)).says("flash"), std::nullopt) << text;
  }
  for (const char* text : {"flash attention (Table 1 of the report)", "flash attention; Figure 2",
                           "flash attention as in the paper"}) {
    EXPECT_EQ(Claims(without_citations(text)).says("flash"), true) << text;
  }
}

TEST(RowClaims, SwitchesHaveValues) {
  EXPECT_EQ(Claims("overlap_grad_reduce=False, x").says("overlap_grad_reduce"), false);
  EXPECT_EQ(Claims("'overlap_grad_reduce': true").says("overlap_grad_reduce"), true);
  EXPECT_EQ(Claims("overlap_grad_reduce").says("overlap_grad_reduce"), true);
  EXPECT_EQ(Claims("overlap").says("overlap_grad_reduce"), std::nullopt);
  EXPECT_EQ(Claims("Opt Offl=Y; Par Offl=N").says("opt offl"), true);
  EXPECT_EQ(Claims("Opt Offl=Y; Par Offl=N").says("par offl"), false);
  EXPECT_EQ(Claims("first=True second=False").says("first"), true);
  EXPECT_EQ(Claims("CUDA graphs: off").says("cuda graph"), false);
  EXPECT_EQ(Claims("CPU offload False").says("offload"), false);
  EXPECT_EQ(Claims("dropout: 0.1").says("dropout"), true);
}

TEST(RowClaims, TheRestIsKept) {
  const auto kept = [](const char* text) {
    return std::string(trim(std::string_view(Claims(text).kept())));
  };
  EXPECT_EQ(kept("GPipe was slower; 1F1B"), "; 1F1B");
  EXPECT_EQ(kept("no DualPipe; 1F1B"), "; 1F1B");
  EXPECT_EQ(kept("interleaved, no uniform stages"), "interleaved,");
  EXPECT_EQ(kept("non-interleaved 1F1B"), "1F1B");
  EXPECT_EQ(kept("without torch.compile. Fused"), ". Fused");
}

TEST(RowClaims, ACellMayDenyAllItNames) {
  for (const char* text :
       {"none", "none (flash attention)", "no ZeRO", "recompute=False", "no ZeRO (one device)",
        "not recomputed", "FSDP: off", "did not use ZeRO"}) {
    EXPECT_TRUE(Claims(text).none()) << text;
  }
  for (const char* text : {"", "ZeRO-1", "ZeRO-2, no offload", "-", "nonesuch"}) {
    EXPECT_FALSE(Claims(text).none()) << text;
  }
}

// Once each cell had a way of its own to deny.
TEST(RowClaims, CellsDenyAlike) {
  TrainingRow row = testing::usual_row("PyTorch FSDP2");
  const auto compiled = [&](const char* notes) {
    row.notes = notes;
    return testing::case_of(row).stack.fused_operators;
  };
  EXPECT_TRUE(compiled("compile"));
  EXPECT_FALSE(compiled("does not compile"));
  EXPECT_FALSE(compiled("compile: 0"));
  EXPECT_FALSE(compiled("no_compile"));
  row.workload = "pretraining, no RL";
  EXPECT_EQ(testing::skipped(row), "");
  row.workload = "";
  row.notes = "LoRA: off";
  EXPECT_EQ(testing::skipped(row), "");
  row.gpu = "A100 80GB";
  row.notes = "";
  row.interconnect = "NVLink disabled; 100 Gb/s";
  EXPECT_NE(testing::note_with(row, "as its interconnect has no NVLink"), "");
  row.notes = "overlap_grad_reduce: 0";
  row.framework = "Megatron-Core";
  EXPECT_FALSE(testing::case_of(row).stack.overlaps_data);
}

}  // namespace
}  // namespace parallel_opt
