#include <gtest/gtest.h>

#include "parallel_opt/cost/measured_rows.h"
#include "parallel_opt/cost/row_notes.h"
#include "tests/cost/row_fixture.h"

namespace parallel_opt {
namespace {

using Names = std::vector<std::string>;
using testing::case_of;
using testing::seconds_of;
using testing::skipped;

TrainingRow noted(const std::string& notes) {
  TrainingRow row;
  row.notes = notes;
  return row;
}

/// A row as laid out once its notes have filled it in.
ParallelLayout completed(TrainingRow row) {
  fill_from_notes(row);
  return testing::case_of(row).layout;
}

TEST(RowFill, NotesFillDegreesInAnySpelling) {
  for (const char* notes :
       {"TP=4", "TP4, PP blank", "tp 4", "tensor parallel 4", "tensor-parallel size 4",
        "tensor parallelism of 4", "--tensor-model-parallel-size 4", "tensor_model_parallel_size=4",
        "4-way tensor parallelism", "tensor parallel degree: 4"}) {
    TrainingRow row = noted(notes);
    EXPECT_EQ(fill_from_notes(row).columns, Names{"tp"}) << notes;
    EXPECT_EQ(row.tp, 4) << notes;
  }
  TrainingRow row = noted("TP 2, PP 4, virtual pipeline 3, CP=8; EP8, ETP 1; dp 16");
  EXPECT_EQ(fill_from_notes(row).columns, (Names{"tp", "pp", "vp", "cp", "ep", "etp", "dp"}));
  EXPECT_EQ(row.pp, 4);
  EXPECT_EQ(row.vp, 3);
  EXPECT_EQ(row.cp, 8);
  EXPECT_EQ(row.ep, 8);
  EXPECT_EQ(row.etp, 1);
  EXPECT_EQ(row.dp, 16);
}

TEST(RowFill, DegreesAreReadAsPapersShortenThem) {
  const auto expect = [](const char* notes, double tensor, double pipeline, double data) {
    TrainingRow row = noted(notes);
    fill_from_notes(row);
    EXPECT_EQ(row.tp.value_or(0), tensor) << notes;
    EXPECT_EQ(row.pp.value_or(0), pipeline) << notes;
    EXPECT_EQ(row.dp.value_or(0), data) << notes;
  };
  expect("8-way tensor and 4-way pipeline parallelism", 8, 4, 0);
  expect("8-way tensor, 4-way pipeline", 8, 4, 0);
  expect("16-way tensor, 1-way pipeline and 32-way data parallelism", 16, 1, 32);
  expect("8-way tensor model parallelism with 4-stage pipeline", 8, 4, 0);
  expect("8-way tensor slicing and 4-way pipeline parallelism", 8, 4, 0);
  expect("tensor parallelism (8-way), pipeline parallelism (4-way)", 8, 4, 0);
  expect("a pipeline of 4 stages, TP 8", 8, 4, 0);
  expect("MP=8, PP=4", 8, 4, 0);
  expect("8-way model and 4-way pipeline parallelism", 8, 4, 0);
  expect("--model-parallel-size 8 --pipeline-model-parallel-size 4", 8, 4, 0);
  expect("intra-node TP 8 with 4 pipeline stages", 8, 4, 0);
  expect("TP-8 PP-4", 8, 4, 0);
  expect("TP-8-PP-4-DP-2", 8, 4, 2);
  expect("8x TP, 4x PP", 8, 4, 0);
  expect("8x TP 4x PP 2x DP", 8, 4, 2);
  expect("8xTP and 4xPP", 8, 4, 0);
  expect("eight-way tensor parallelism", 8, 0, 0);
  expect("Sixteen-way tensor, two-way pipeline and sixty-four-way data parallelism", 16, 2, 64);
  expect("four pipeline stages, thirty-two-way data parallel", 0, 4, 32);
  expect("pp 4, 16 pipeline stages with vp 4", 0, 4, 0);
  // What counts nothing, counts several things, or other things.
  expect("8-way tensor and N-way data parallelism", 8, 0, 0);
  expect("N-way tensor parallelism", 0, 0, 0);
  expect("MP=8", 0, 0, 0);  // of tensor ranks and stages together, by some
  expect("TP=2, MP=8, PP=4", 2, 4, 0);
  expect("TP 2 x PP 4 x DP", 2, 4, 0);
  expect("8- or 16-way tensor parallelism", 0, 0, 0);
  expect("8- and 16-way tensor parallelism", 0, 0, 0);
  expect("eight or sixteen-way tensor parallelism", 0, 0, 0);
  expect("2x TP speed, 1.5x DP, 16-way data loading", 0, 0, 0);
  expect("4 pipeline stages per rank", 0, 0, 0);
  expect("8 virtual pipeline stages", 0, 0, 0);
}

TEST(RowFill, ABatchInTokensIsNoNumberOfSequences) {
  for (const char* notes : {"global batch of 4194304 tokens", "global batch size 4,194,304 tokens",
                            "global batch of 4M tokens", "micro-batch of 8192 tokens"}) {
    TrainingRow row = noted(notes);
    const NotesFilled filled = fill_from_notes(row);
    EXPECT_TRUE(filled.columns.empty()) << notes;
    EXPECT_EQ(filled.batch.has_value(), std::string(notes).starts_with("global")) << notes;
  }
  TrainingRow row = noted("global batch of 4M tokens");
  row.global_batch = 1024;
  EXPECT_FALSE(fill_from_notes(row).batch);
}

TEST(RowFill, DegreesMayBeListedOrJoined) {
  for (const char* notes : {"tp8pp2dp4", "TP8PP2DP4", "TP8_PP2_DP4", "T8P2D4", "(t,p,d)=(8,2,4)",
                            "(t, p, d) = (8, 2, 4)", "(p, t, d) = (2, 8, 4)", "TP/PP/DP = 8/2/4",
                            "TPxPPxDP=8x2x4", "(TP, PP, DP): 8, 2, 4"}) {
    TrainingRow row = noted(notes);
    fill_from_notes(row);
    EXPECT_EQ(row.tp, 8) << notes;
    EXPECT_EQ(row.pp, 2) << notes;
    EXPECT_EQ(row.dp, 4) << notes;
  }
  TrainingRow row = noted("T8P2");
  EXPECT_EQ(fill_from_notes(row).columns, (Names{"tp", "pp"}));
  for (const char* notes :
       {"tp*pp=8", "(t,p)=8", "(t,p,d)=(8,2)", "no tp8pp2", "GPT8P", "step8p2", "exp = 3, 4"}) {
    row = noted(notes);
    fill_from_notes(row);
    EXPECT_FALSE(row.pp) << notes;
  }
}

TEST(RowFill, NotesFillBatchesAndSizes) {
  TrainingRow row = noted(
      "micro-batch size 2, gradient accumulation steps: 16; global batch size 1,024, sequence "
      "length 4096, vocabulary of 50304");
  EXPECT_EQ(fill_from_notes(row).columns,
            (Names{"micro_batch", "grad_accum", "global_batch", "seq_len", "vocab"}));
  EXPECT_EQ(row.micro_batch, 2);
  EXPECT_EQ(row.grad_accum, 16);
  EXPECT_EQ(row.global_batch, 1024);
  EXPECT_EQ(row.seq_len, 4096);
  EXPECT_EQ(row.vocab, 50304);
}

TEST(RowFill, NotesFillHowReplicasShareAndTypes) {
  const auto shares = [](const char* notes) {
    TrainingRow row = noted(notes);
    fill_from_notes(row);
    return row.fsdp_zero;
  };
  EXPECT_EQ(shares("ZeRO-3, bf16"), "zero-3");
  EXPECT_EQ(shares("DeepSpeed ZeRO stage 2 with offload"), "zero stage 2");
  EXPECT_EQ(shares("FSDP2 over all"), "fsdp2");
  EXPECT_EQ(shares("no distributed optimizer"), "none");
  EXPECT_EQ(shares("faster than ZeRO-2"), "");
  EXPECT_EQ(shares("ZeRO-2 and ZeRO-3 alike"), "");
  const auto type = [](const char* notes) {
    TrainingRow row = noted(notes);
    fill_from_notes(row);
    return row.dtype;
  };
  EXPECT_EQ(type("some page; bf16 mixed precision, DDP"), "bf16");
  EXPECT_EQ(type("trained in FP8"), "fp8");
  EXPECT_EQ(type("fp32 master weights; gradients reduced in bf16"), "");
}

TEST(RowFill, CellsCountMoreThanNotes) {
  TrainingRow row = noted("TP=4, ZeRO-3, bf16");
  row.tp = 2;
  row.fsdp_zero = "DDP";
  row.dtype = "fp16";
  EXPECT_EQ(fill_from_notes(row).columns, Names{});
  EXPECT_EQ(row.tp, 2);
}

TEST(RowFill, WhatIsDeniedUnclearOrOfSomethingElseFillsNothing) {
  for (const char* notes : {"no TP 4", "global batch 4M tokens", "sequence length 10k", "TP 0",
                            "compared with TP=8", "http://tp4.example", "tp*pp=16", "batch 2",
                            "seq len 2048.5", "FSDP 16 ranks", "MBS*chunks*DP=1024 samples"}) {
    TrainingRow row = noted(notes);
    EXPECT_EQ(fill_from_notes(row).columns, Names{}) << notes;
  }
}

TEST(RowFill, AttemptsAndOtherRunsFillNothing) {
  for (const char* notes :
       {"context parallel 2 tried, no gain", "CP 2 gave no benefit", "CP=2 in the next experiment",
        "CP=2 is for the 32k phase", "micro-batch size 2 at 64 GPUs"}) {
    TrainingRow row = noted(notes);
    EXPECT_EQ(fill_from_notes(row).columns, Names{}) << notes;
  }
}

TEST(RowFill, AlternativesFillNothing) {
  for (const char* notes :
       {"the page prints DP 2 or 4", "DP 2, 4 or 8", "TP 1 to 8", "2- or 4-way tensor parallelism",
        "DP 2/4", "TP 2-8", "global batch 64 to 1024", "ZeRO-1 or 2", "ZeRO-2/3"}) {
    TrainingRow row = noted(notes);
    EXPECT_EQ(fill_from_notes(row).columns, Names{}) << notes;
    EXPECT_EQ(row.fsdp_zero, "") << notes;
  }
  TrainingRow row = noted("TP 2, PP 4 or 8, CP 2");
  EXPECT_EQ(fill_from_notes(row).columns, (Names{"tp", "cp"}));
}

TEST(RowFill, ReplicasThatColumnsContradictDoNotCount) {
  const auto replicas = [](const std::string& cells, const std::string& notes) {
    const MeasuredRows rows = read_measured_rows({read_csv(
        "id,gpu,gpus,tp,pp,micro_batch,global_batch,seq_len,metric_iter_time_s,notes\na-1,A100," +
            cells + ",1,64,2048,1.5,\"" + notes + "\"\n",
        "t.csv")});
    EXPECT_EQ(rows.rows.at(0).unusable, "") << notes;
    return rows.rows.at(0).row.dp;
  };
  EXPECT_EQ(replicas("32,2,2", "dp 8"), 8);
  EXPECT_EQ(replicas("32,2,2", "dp 4"), 8);
  EXPECT_EQ(replicas("32,2,2", "dp 4 or 8"), 8);
  EXPECT_EQ(replicas("32,2,2", "DP=2 at first, DP=4 then"), 8);
  EXPECT_EQ(replicas("32,1,1", "dp=4 x fsdp=8"), 32);  // copies of shards
  EXPECT_EQ(replicas("32,,", "dp 4"), 4);
}

TEST(RowFill, NumbersStandBesideEachOther) {
  for (const char* notes : {"TP8 PP2 MBS1", "TP=8 PP=2 MBS=1", "tp8 pp2 mbs1", "TP 8 PP 2 MBS 1",
                            "TP8/PP2/MBS1", "TP8, PP2, micro-batch 1"}) {
    TrainingRow row = noted(notes);
    EXPECT_EQ(fill_from_notes(row).columns, (Names{"tp", "pp", "micro_batch"})) << notes;
    EXPECT_EQ(row.pp, 2) << notes;
    EXPECT_EQ(row.micro_batch, 1) << notes;
  }
  TrainingRow row = noted("EP4 micro-batch 2, CP2 MBS2, seq len 4096 mbs 2");
  fill_from_notes(row);
  EXPECT_EQ(row.ep, 4);
  EXPECT_EQ(row.cp, 2);
  EXPECT_EQ(row.seq_len, 4096);
}

TEST(RowFill, LengthsOfSequencesHaveManyNames) {
  for (const char* notes :
       {"seq 4096", "seq=4096", "max_seq_len=4096", "context 4096", "ctx 4096",
        "4096 tokens per sequence", "4,096-token sequences", "max sequence length 4096"}) {
    TrainingRow row = noted(notes);
    fill_from_notes(row);
    EXPECT_EQ(row.seq_len, 4096) << notes;
  }
  for (const char* notes : {"seq 4k", "sequence length of 4K", "seq_len=4k", "4k-token sequences",
                            "4K tokens per sequence", "4k sequences"}) {
    TrainingRow row = noted(notes);
    fill_from_notes(row);
    EXPECT_EQ(row.seq_len, 4096) << notes;
  }
  for (const char* notes : {"seq 10k", "4k steps", "4M tokens per batch", "seq parallel",
                            "1000 tokens/s", "context 8k"}) {
    TrainingRow row = noted(notes);
    fill_from_notes(row);
    EXPECT_EQ(row.seq_len, std::nullopt) << notes;
  }
}

TEST(RowFill, WhatIsSaidOfOtherRunsFillsNothing) {
  for (const char* notes :
       {"TP=2 hangs", "TP=2 crashes; plain", "TP=2 planned", "TP=2 did not help",
        "checkpoint converted from TP=8 PP=1", "resumed from a TP=4 PP=2 checkpoint",
        "we recommend TP=8 for larger models", "max TP=8 within a node", "ZeRO-3 OOM",
        "ZeRO-3 not needed", "ZeRO 3 would halve memory", "ZeRO-3 ran out of memory",
        "https://wandb.ai/x/llama-tp8-pp4-mbs2/runs/1"}) {
    TrainingRow row = noted(notes);
    EXPECT_EQ(fill_from_notes(row).columns, Names{}) << notes;
  }
  TrainingRow row = noted("EP=8 OOMs; EP=4; MBS2 (MBS4 OOM), ZeRO-1 (ZeRO-3 crashed)");
  EXPECT_EQ(fill_from_notes(row).columns, (Names{"ep", "micro_batch", "fsdp_zero"}));
  EXPECT_EQ(row.ep, 4);
  EXPECT_EQ(row.micro_batch, 2);
  EXPECT_EQ(row.fsdp_zero, "zero-1");
}

TEST(RowFill, TwoNumbersAreNone) {
  TrainingRow row = noted("tp8, pp2; the 175B model used tp8 pp16");
  EXPECT_EQ(fill_from_notes(row).unclear, "pp is blank, and the notes say 2 and 16");
  EXPECT_EQ(row.pp, std::nullopt);
  row.pp = 2;
  EXPECT_EQ(fill_from_notes(row).unclear, "");
}

TEST(RowFill, FakeGatesAndMasterWeightsAreRead) {
  TrainingRow row = testing::llama_row("NeMo AutoModel");
  EXPECT_TRUE(case_of(row).layout.pure_half);  // the stack's way
  row.dtype = "bf16-mixed";
  EXPECT_FALSE(case_of(row).layout.pure_half);
  row.dtype = "bf16";
  for (const char* notes : {"fp32 master weights", "with master parameters"}) {
    row.notes = notes;
    EXPECT_FALSE(case_of(row).layout.pure_half) << notes;
  }
  row.framework = "PyTorch FSDP";
  EXPECT_FALSE(case_of(row).layout.pure_half);
  for (const char* notes :
       {"pure bf16", "no master weights", "bf16 master weights", "full bf16",
        "master_weights=False", "no fp32 copy of the weights", "no optimizer step"}) {
    row.notes = notes;
    EXPECT_TRUE(case_of(row).layout.pure_half) << notes;
  }
  row.notes = "";
  row.framework = "torchtune";  // its recipes' type is that of everything
  EXPECT_TRUE(case_of(row).layout.pure_half);
  row.notes = "fp32 weights, bf16 autocast";
  EXPECT_FALSE(case_of(row).layout.pure_half);
  row.notes = "pure bf16";
  row.dtype = "fp32";  // nothing to keep a second copy of
  EXPECT_FALSE(case_of(row).layout.pure_half);
  EXPECT_FALSE(case_of(row).layout.experts_by_turns);
  row.notes = "balanced fake MoE gate; mock data";
  EXPECT_TRUE(case_of(row).layout.experts_by_turns);
}

TEST(RowFill, WithoutOverlapTransfersAreSeen) {
  TrainingRow row = testing::usual_row("PyTorch FSDP2");
  row.gpus = row.dp = 16;
  row.interconnect = "100 Gb/s per node";
  const double usual = seconds_of(row);
  for (const char* notes : {"no overlap", "communication overlap disabled", "prefetch disabled",
                            "without weight prefetch"}) {
    row.notes = notes;
    EXPECT_GT(seconds_of(row), 1.02 * usual) << notes;
  }
  for (const char* notes : {"forward_prefetch=False", "no tensor overlap", "overlap"}) {
    row.notes = notes;
    EXPECT_EQ(seconds_of(row), usual) << notes;
  }
}

TEST(RowFill, PartsOfTrainingAreNoTraining) {
  TrainingRow row = testing::llama_row("PyTorch FSDP2");
  for (const char* notes : {"inference only", "forward pass only", "2 of 32 layers trained",
                            "only the last 4 layers are trained"}) {
    row.notes = notes;
    EXPECT_NE(skipped(row), "") << notes;
  }
  for (const char* notes : {"12 of 32 layers recomputed", "not inference only"}) {
    row.notes = notes;
    EXPECT_EQ(skipped(row), "") << notes;
  }
}

TEST(RowFill, PlainEthernetIsOneAdapterOfANode) {
  TrainingRow row = testing::llama_row("PyTorch FSDP2");
  row.gpus = row.dp = row.global_batch = 16;
  const auto rate = [&](const char* words) {
    row.interconnect = words;
    return case_of(row).device.network_bytes_per_s;
  };
  EXPECT_EQ(rate("Ethernet (no InfiniBand)"), 12.5e9 / 8);
  EXPECT_EQ(rate("NVLink, Ethernet"), 12.5e9 / 8);
  EXPECT_EQ(rate("RoCE Ethernet"), 25e9);
  EXPECT_EQ(rate("InfiniBand, no Ethernet"), 25e9);
}

// Denials were dropped with the clauses whose numbers may be of something else.
TEST(RowFill, DenialsTurnDefaultsOff) {
  TrainingRow row = testing::usual_row("Megatron-LM");
  row.tp = 2;
  row.dp = 4;
  for (const char* notes : {"sequence parallelism not used", "SP not enabled", "did not use SP",
                            "SP: off", "no SP", "sequence parallel was never on"}) {
    row.notes = notes;
    EXPECT_FALSE(completed(row).sequence_parallel) << notes;
  }
  for (const char* notes : {"no ZeRO", "zero stage 0", "ZeRO-0", "use_distributed_optimizer=False",
                            "ZeRO not used", "without distributed optimizer", "did not use ZeRO",
                            "distributed optimizer not used", "dist-optim: off"}) {
    row.notes = notes;
    EXPECT_EQ(completed(row).shard, 0) << notes;
  }
  for (const char* notes : {"no zero bubble", "no ZeRO offload", "SP not stated", "tp not 8"}) {
    row.notes = notes;
    EXPECT_TRUE(completed(row).sequence_parallel) << notes;
    EXPECT_EQ(completed(row).shard, 1) << notes;
  }
}

}  // namespace
}  // namespace parallel_opt
