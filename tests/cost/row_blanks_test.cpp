#include <gmock/gmock.h>

#include "parallel_opt/cost/measured_rows.h"
#include "parallel_opt/cost/row_notes.h"
#include "row_fixture.h"

/// What a row leaves blank: the run that someone with that machine would have chosen.
namespace parallel_opt {
namespace {

using testing::case_of;
using testing::llama_row;
using testing::note_with;
using testing::prediction_of;
using testing::replicas_of;
using testing::seconds_of;
using testing::skipped;

bool has_note(const RowPrediction& answer, const std::string& words) {
  return std::ranges::any_of(
      answer.notes, [&](const std::string& note) { return note.find(words) != std::string::npos; });
}

TEST(RowBlanks, MicroBatchesAreAsLargeAsFit) {
  // 64 sequences on each device where 80 GB hold a few.
  TrainingRow row = llama_row("PyTorch FSDP");
  row.fsdp_zero = "FSDP";
  row.recompute = "none";
  row.global_batch = 512;
  row.micro_batch.reset();
  const RowPrediction chosen = prediction_of(row);
  EXPECT_TRUE(chosen.fits);
  EXPECT_TRUE(has_note(chosen, "micro-batches as large as fit"));
  // No stated size that fits is larger: the next is slower or does not fit.
  double fitting = 0;
  for (const double size : {1, 2, 4, 8, 16, 32, 64}) {
    row.micro_batch = size;
    const RowPrediction stated = prediction_of(row);
    if (stated.fits) fitting = stated.step_time_s.value;
  }
  EXPECT_DOUBLE_EQ(chosen.step_time_s.value, fitting);
  // Stated steps are kept, whether they fit or not.
  row.micro_batch.reset();
  row.grad_accum = 1;
  EXPECT_FALSE(prediction_of(row).fits);
  // And so is a batch that fits at once.
  row.grad_accum.reset();
  row.global_batch = 8;
  EXPECT_FALSE(has_note(prediction_of(row), "micro-batches as large as fit"));
}

TEST(RowBlanks, MeasuredPeaksOfUnknownMicroBatchesAreNotScored) {
  const std::string note = "the measured peak is not scored, as micro_batch is blank";
  TrainingRow row = llama_row("PyTorch FSDP");
  row.fsdp_zero = "FSDP";
  row.global_batch = 64;  // eight of each replica
  row.peak_memory_bytes = 5e10;
  const auto knows = [&](std::optional<double> micro_batch, std::optional<double> steps) {
    row.micro_batch = micro_batch;
    row.grad_accum = steps;
    const bool told = note_with(row, note).empty();
    EXPECT_EQ(prediction_of(row).knows_peak, told);
    return told;
  };
  EXPECT_TRUE(knows(8, {}));
  EXPECT_TRUE(knows({}, 2));
  EXPECT_FALSE(knows({}, {}));
  row.global_batch = 8;  // one of each
  EXPECT_TRUE(knows({}, {}));
  row.framework = "Megatron-LM";
  row.fsdp_zero = "";
  row.global_batch = 16;
  row.pp = 4;
  row.dp = 2;
  EXPECT_FALSE(knows({}, {}));
  row.framework = "torchtitan";  // as many as stages, where nobody says another number
  EXPECT_TRUE(knows({}, {}));
  row.framework = "PyTorch";  // a loop of its own, though it splits as torchtitan does
  EXPECT_FALSE(knows({}, {}));
}

TEST(RowBlanks, ReplicasThatNoDeviceHoldsAreFsdp) {
  const std::string note =
      "FSDP, as fsdp_zero is blank and no device holds the states of a replica";
  TrainingRow row = llama_row("PyTorch");
  EXPECT_EQ(case_of(row).layout.shard, 3);  // 6.7e9 parameters of 16 bytes on 80 GB
  EXPECT_NE(note_with(row, note), "");
  row.fsdp_zero = "none";
  EXPECT_EQ(case_of(row).layout.shard, 0);
  EXPECT_FALSE(prediction_of(row).fits);
  row.fsdp_zero = "";
  row.notes = "DDP";
  EXPECT_EQ(fill_from_notes(row).columns, std::vector<std::string>{"fsdp_zero"});
  EXPECT_EQ(case_of(row).layout.shard, 0);
  row = testing::usual_row("PyTorch");  // 1.3e9: whole replicas
  EXPECT_EQ(case_of(row).layout.shard, 0);
  EXPECT_EQ(note_with(row, note), "");
  row = llama_row("PyTorch");  // there is nobody to share with
  row.gpus = row.dp = row.global_batch = 1;
  EXPECT_EQ(case_of(row).layout.shard, 0);
}

TEST(RowBlanks, RecomputationIsAsMuchAsItTakesWhateverTheSoftware) {
  for (const char* framework :
       {"PyTorch FSDP", "DeepSpeed", "llm-foundry", "MaxText", "Megatron-LM", "PaddleNLP"}) {
    TrainingRow row = llama_row(framework);
    row.fsdp_zero = "ZeRO-3";
    row.micro_batch = 8;
    row.global_batch = 64;
    row.seq_len = 4096;
    const RowPrediction chosen = prediction_of(row);
    EXPECT_TRUE(chosen.fits) << framework;
    EXPECT_TRUE(has_note(chosen, "as few as it takes to fit")) << framework;
    row.recompute = "none";
    EXPECT_FALSE(prediction_of(row).fits) << framework;
    row.recompute = "full";
    EXPECT_LE(chosen.step_time_s.value, prediction_of(row).step_time_s.value) << framework;
  }
  // nanotron's tables say nothing of it because nothing is computed again.
  TrainingRow row = llama_row("nanotron");
  row.fsdp_zero = "ZeRO-1";
  row.micro_batch = 8;
  row.global_batch = 64;
  row.seq_len = 4096;
  EXPECT_FALSE(prediction_of(row).fits);
}

TEST(RowBlanks, ADeviceHasTheLeastMemoryThatHoldsItsRun) {
  // Of 7 billion parameters that eight devices share, with 14 GB gathered: 40 GB hold one sequence
  // of 2048, 80 GB four.
  TrainingRow row = llama_row("PyTorch FSDP");
  row.fsdp_zero = "FSDP";
  row.recompute = "none";
  row.gpu = "A100";
  EXPECT_EQ(note_with(row, "is taken as"),
            "gpu 'A100' is taken as A100-SXM-40GB, as its memory is not stated");
  row.micro_batch = 2;
  row.global_batch = 16;
  EXPECT_EQ(note_with(row, "is taken as"),
            "gpu 'A100' is taken as A100-SXM-80GB, as its memory is not stated");
  row.notes = "power capped at 300 W";
  EXPECT_EQ(case_of(row).device.max_w, 300);
  row.notes = "";
  EXPECT_GT(case_of(row).device.max_w, 300);
  row.failed = true;  // nothing shows that a device held it
  EXPECT_EQ(note_with(row, "is taken as"),
            "gpu 'A100' is taken as A100-SXM-40GB, as its memory is not stated");
  EXPECT_FALSE(prediction_of(row).fits);
  row.failed = false;
  row.gpu = "A100-40GB";  // stated
  EXPECT_FALSE(prediction_of(row).fits);
  row.gpu = "A100";
  row.micro_batch = 64;  // too much for either
  row.global_batch = 512;
  EXPECT_EQ(note_with(row, "is taken as"),
            "gpu 'A100' is taken as A100-SXM-40GB, as its memory is not stated");
}

TEST(RowBlanks, TheUsualSequenceIsTold) {
  TrainingRow row = llama_row("PyTorch FSDP");
  row.seq_len.reset();
  EXPECT_EQ(note_with(row, "seq_len"), "seq_len = 4096, usual of 'Llama-2-7B', as none is stated");
  row.seq_len = 2048;
  EXPECT_EQ(note_with(row, "seq_len"), "");
}

TEST(RowBlanks, NamesInUsualSpellingsHaveTheirShapes) {
  struct Named {
    const char* name;
    double hidden, layers;
  };
  for (const Named& one : {Named{"Llama 3.0 8B", 4096, 32}, Named{"Llama 3 8B", 4096, 32},
                           Named{"IBM Granite 7B (Llama 2 architecture)", 4096, 32},
                           Named{"Some 13B, llama-2-style", 5120, 40}, Named{"GPT 126M", 768, 12},
                           Named{"GPT 5B", 4096, 24}, Named{"GPT-3 20B", 6144, 44},
                           Named{"GPT3 40B", 8192, 48}, Named{"Moonlight-16B-A3B", 2048, 27},
                           Named{"Llama 2 34B", 8192, 48}, Named{"Code Llama 34B", 8192, 48}}) {
    TrainingRow row = replicas_of("Megatron-LM");
    row.model_name = one.name;
    const RowCase found = case_of(row);
    ASSERT_NE(found.facts, nullptr) << one.name;
    EXPECT_NE(found.model.find("hidden=" + std::to_string(int(one.hidden))), std::string::npos)
        << one.name << ": " << found.model;
    EXPECT_NEAR(found.facts->layers(), one.layers, 1e-9) << one.name;
  }
  // GPT-NeoX 20B is another model.
  TrainingRow row = replicas_of("GPT-NeoX");
  row.model_name = "GPT-NeoX-20B";
  EXPECT_NE(case_of(row).model.find("heads=64"), std::string::npos);
}

TEST(RowBlanks, ParametersTellMatricesOfMixturesWithoutAVocabulary) {
  // 48 blocks of 64 experts of 2560 and one shared: 129e9 with three matrices each, 85e9 with two.
  TrainingRow row = replicas_of("MaxText");
  row.gpu = "GB200";
  row.model_name = "GrugMoE 129B";
  row.params_b = 129.2;
  row.layers = 48;
  row.hidden = 5120;
  row.heads = 40;
  row.kv_heads = 10;
  row.ffn_hidden = 2560;
  row.experts = 64;
  row.topk = 4;
  row.notes = "1 shared expert";
  EXPECT_EQ(skipped(row), "");
  EXPECT_NE(case_of(row).model.find("gated=true"), std::string::npos);
  row.params_b = 86;
  EXPECT_EQ(case_of(row).model.find("gated=true"), std::string::npos);
}

TEST(RowBlanks, PackedSequencesThatAreFullCount) {
  TrainingRow row = llama_row("Megatron-LM");
  row.workload = "sft";
  EXPECT_EQ(skipped(row), "workload 'sft': how full the packed sequences are is not stated");
  for (const char* notes : {"packing 99.87 % efficient",
                            "sequences 97% full",
                            "100% packed",
                            "packing to 2048",
                            "packed to 2,048 tokens, full",
                            "packed into sequences of 2k",
                            "sequence packing",
                            "packed short documents",
                            "all sequences padded to 2048",
                            "padded to max length",
                            "pad_to_max_length",
                            "padded to the sequence length",
                            "fixed length",
                            "fixed-length data",
                            "sequences of full length, no packing",
                            "HF run_clm.py",
                            "run_clm",
                            "group_texts",
                            "concatenated to blocks",
                            "texts concatenated and split into blocks",
                            "TRL's ConstantLengthDataset",
                            "chunked to the full length",
                            "chunked to max length"}) {
    row.notes = notes;
    EXPECT_EQ(skipped(row), "") << notes;
    EXPECT_NE(note_with(row, "sequences count as full"), "") << notes;
  }
  for (const char* notes :
       {"packing 71 % efficient", "packing to 8192", "packed-QKV FlashAttention",
        "saves packed 4-bit activations", "GPT2BPETokenizer, padded to 51200",
        "padded to the longest of a batch", "padded to max length of the batch"}) {
    row.notes = notes;
    EXPECT_EQ(skipped(row), "workload 'sft': how full the packed sequences are is not stated")
        << notes;
  }
  // The longest that may come says neither time nor peak memory.
  for (const char* notes : {"no packing", "without sequence packing", "not packed"}) {
    row.notes = notes;
    EXPECT_EQ(skipped(row),
              "workload 'sft': sequences are not packed, and how long they are is not stated")
        << notes;
  }
  row.notes = "";
  row.failed = true;  // one sequence of the length that is asked for is what did not fit
  EXPECT_EQ(skipped(row), "");
  row.failed = false;
  row.workload = "pretrain";
  EXPECT_EQ(skipped(row), "");
  EXPECT_EQ(note_with(row, "sequences count as full"), "");
}

TEST(RowBlanks, StepsOfPipelinesTellTheirMicroBatches) {
  TrainingRow row = llama_row("Megatron-LM");
  row.gpus = 64;
  row.tp = 4;
  row.pp = 2;
  row.dp = 8;
  row.global_batch = 512;
  row.micro_batch.reset();
  EXPECT_EQ(case_of(row).layout.micro_batch, 1);
  EXPECT_NE(note_with(row, "micro-batches of 1"), "");
  row.grad_accum = 16;
  EXPECT_EQ(case_of(row).layout.micro_batch, 4);
  EXPECT_EQ(case_of(row).layout.micro_batches, 16);
  EXPECT_EQ(note_with(row, "micro-batches of 1"), "");
  row.grad_accum = 30;
  EXPECT_EQ(skipped(row), "grad_accum x dp = 240 does not divide global_batch = 512");
}

TEST(RowBlanks, NotesTellWhatIsComputedAgain) {
  TrainingRow row = llama_row("Megatron-LM");
  for (const char* notes :
       {"recompute: full", "recompute=full", "full recompute", "full recomputation", "AC=full",
        "full AC", "activation recompute: yes", "--recompute-granularity full",
        "checkpoint_activations: true", "remat", "act ckpt"}) {
    row.notes = notes;
    EXPECT_EQ(case_of(row).layout.recompute, RecomputeRule::full) << notes;
  }
  for (const char* notes : {"recompute=selective", "selective recompute"}) {
    row.notes = notes;
    EXPECT_EQ(case_of(row).layout.recompute, RecomputeRule::selective) << notes;
  }
  for (const char* notes : {"no recompute", "recomputation is not printed", "AC power", ""}) {
    row.notes = notes;
    EXPECT_EQ(case_of(row).layout.recompute, RecomputeRule::none) << notes;
  }
}

TEST(RowBlanks, ShardsInsideNodesAreCopiedBetweenThem) {
  TrainingRow row = llama_row("PyTorch");
  row.gpus = row.dp = row.global_batch = 32;
  for (const char* cell : {"FSDP within a node, DDP across nodes", "FSDP within node",
                           "ZeRO-3 inside the node", "HYBRID_SHARD"}) {
    row.fsdp_zero = cell;
    const RowCase found = case_of(row);
    EXPECT_EQ(found.layout.shard, 3) << cell;
    EXPECT_EQ(found.layout.shard_degree, 8) << cell;
  }
}

TEST(RowBlanks, WordsOfOtherSoftware) {
  TrainingRow row = llama_row("PyTorch");
  row.fsdp_zero = "gemini";  // ColossalAI's ZeRO-3 in chunks
  EXPECT_EQ(case_of(row).layout.shard, 3);
  row.recompute = "activation";
  EXPECT_EQ(case_of(row).layout.recompute, RecomputeRule::full);
}

TEST(RowBlanks, ReplicasOfBlankDegreesMakeTheBatch) {
  const CsvTable table = read_csv(
      "id,gpu,gpus,tp,pp,dp,micro_batch,grad_accum,seq_len,metric_samples_per_s,"
      "metric_tokens_per_s_per_gpu\n"
      "a-1,V100,1,,,,64,,128,272,\n"     // one device
      "a-2,H100,64,2,,,4,,4096,,8000\n"  // 32 replicas of two tensor ranks
      "a-3,H100,16,,,,2,8,4096,,8000\n",
      "t.csv");
  const MeasuredRows rows = read_measured_rows({table});
  ASSERT_EQ(rows.rows.size(), 3u);
  EXPECT_EQ(rows.rows[0].row.global_batch, 64);
  EXPECT_NEAR(*rows.rows[0].row.iteration_s, 64.0 / 272, 1e-12);
  EXPECT_EQ(rows.rows[1].row.global_batch, 4 * 32);
  EXPECT_NEAR(*rows.rows[1].row.iteration_s, 4 * 32 * 4096 / (8000.0 * 64), 1e-12);
  EXPECT_EQ(rows.rows[2].row.global_batch, 2 * 8 * 16);
}

TEST(RowBlanks, WhatWasTakenIsTold) {
  TrainingRow row = testing::usual_row("Megatron-LM");
  row.gpus = 16;
  row.tp = row.pp = 2;
  row.vp = 3;
  row.dp = 4;
  row.micro_batch = 2;
  row.global_batch = 64;
  row.recompute = "6 of 24 layers";
  const RowPrediction answer = prediction_of(row);
  const TakenRun& run = answer.taken;
  EXPECT_EQ(run.device, "A100-SXM-80GB");
  EXPECT_EQ(run.stack, "megatron");
  EXPECT_EQ(run.dtype, "bf16");
  EXPECT_EQ(run.sequence, 2048);
  EXPECT_EQ(run.schedule, "interleaved_1f1b");
  EXPECT_EQ(run.virtual_stages, 3);
  EXPECT_EQ(run.micro_batches, 8);
  EXPECT_EQ(run.recompute, "full");
  EXPECT_NEAR(run.recomputed, 0.25, 1e-9);
  EXPECT_EQ(in_short(run),
            "A100-SXM-80GB megatron, tp 2 pp 2 (interleaved_1f1b x 3) dp 4, ZeRO-1, 8 x 2, full "
            "25 %");
  row.recompute = "none";
  row.vp = 1;
  row.fsdp_zero = "DDP";
  EXPECT_EQ(in_short(prediction_of(row).taken),
            "A100-SXM-80GB megatron, tp 2 pp 2 (1f1b) dp 4, 8 x 2");
}

TEST(RowBlanks, InterleavingIsOneThingHoweverItIsNamed) {
  // 24 blocks on 10 stages: they do not divide.
  TrainingRow row = testing::usual_row("Megatron-LM");
  row.gpus = 10;
  row.pp = 5;
  row.vp = 2;
  row.dp = 2;
  row.micro_batch = 2;
  row.global_batch = 40;
  const double blank = seconds_of(row);
  for (const char* schedule : {"1F1B", "interleaved", "interleaved 1F1B"}) {
    row.schedule = schedule;
    EXPECT_EQ(seconds_of(row), blank) << schedule;
  }
  row.vp = 1;
  const double plain = seconds_of(row);
  row.schedule = "1F1B";
  EXPECT_EQ(seconds_of(row), plain);
  EXPECT_GT(plain, blank);
}

TEST(RowBlanks, NoReplicaHasHalfASequence) {
  TrainingRow row = testing::usual_row("Megatron-LM");
  row.micro_batch.reset();
  row.global_batch = 4;  // of eight replicas
  EXPECT_EQ(skipped(row), "global_batch is less than one sequence of each replica");
  row.global_batch = 12;
  EXPECT_EQ(skipped(row), "dp 8 does not divide global_batch 12");
  row.gpus = 32;
  row.pp = 4;
  EXPECT_EQ(skipped(row), "dp 8 does not divide global_batch 12");
  row.global_batch = 16;
  EXPECT_EQ(skipped(row), "");
}

}  // namespace
}  // namespace parallel_opt
