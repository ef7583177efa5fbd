#include "parallel_opt/cost/measured_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "parallel_opt/base/error.h"

namespace parallel_opt {
namespace {

constexpr double kGiB = 1024.0 * 1024 * 1024;

MeasuredRows rows_of(const std::vector<std::string>& texts) {
  std::vector<CsvTable> tables;
  for (const std::string& text : texts) {
    tables.push_back(read_csv(text, "t" + std::to_string(tables.size()) + ".csv"));
  }
  return read_measured_rows(tables);
}

std::string error_of(const std::vector<std::string>& texts) {
  try {
    (void)rows_of(texts);
  } catch (const InputError& e) {
    return e.what();
  }
  return "accepted";
}

TEST(MeasuredRows, CellsBecomeMembersAndBlanksAreAbsent) {
  const MeasuredRows table = rows_of(
      {"id,gpu,gpus,tp,dtype,metric_iter_time_s,notes\nvtrain-single-0001,A100,8,2,,0.25,a; b\n"});
  ASSERT_EQ(table.rows.size(), 1u);
  const MeasuredRow& measured = table.rows[0];
  EXPECT_EQ(measured.row.id, "vtrain-single-0001");
  EXPECT_EQ(measured.row.source, "vtrain");
  EXPECT_EQ(measured.row.gpu, "A100");
  EXPECT_EQ(measured.row.gpus, 8);
  EXPECT_EQ(measured.row.tp, 2);
  EXPECT_EQ(measured.row.dtype, "");
  EXPECT_EQ(measured.row.pp, std::nullopt);
  EXPECT_EQ(measured.row.iteration_s, 0.25);
  EXPECT_EQ(measured.row.notes, "a; b");
  EXPECT_EQ(measured.truth, RowTruth::ran);
  EXPECT_EQ(measured.unusable, "");
  EXPECT_TRUE(table.notes.empty());
}

TEST(MeasuredRows, NamesOfSlicesCountTheirDevices) {
  const MeasuredRows table =
      rows_of({"id,gpu,gpus,dp,metric_iter_time_s\n"
               "a-1,TPU v3-512,,,1\n"
               "a-2,TPU v4-512,,,1\n"
               "a-3,TPU v4-512,512,,1\n"     // its cores once more
               "a-4,TPU v4-512,512,512,1\n"  // which the layout counts too
               "a-5,TPU v3-512,256,,1\n"});
  const auto gpus = [&](std::size_t at) { return table.rows[at].row.gpus; };
  EXPECT_EQ(gpus(0), 512);
  EXPECT_EQ(gpus(1), 256);
  EXPECT_EQ(gpus(2), 256);
  EXPECT_EQ(gpus(3), 512);
  EXPECT_EQ(gpus(4), 256);
  EXPECT_THAT(
      table.notes,
      ::testing::ElementsAre("1 row: gpus = chips of the slice, whose name counts cores",
                             "2 rows: gpus from the name of the slice",
                             "2 rows: gpus is not what the name of the slice counts; gpus counts"));
}

TEST(MeasuredRows, TheTimeComesFromRatesWhenItIsNotStated) {
  const MeasuredRows table =
      rows_of({"id,gpu,gpus,seq_len,global_batch,metric_tokens_per_s_per_gpu,metric_samples_per_s\n"
               "a-1,H100,8,4096,16,1024,\n"
               "a-2,H100,8,,16,,64\n"
               "a-3,H100,8,,16,1024,\n"
               "a-4,H100,8,,,,64\n"});
  EXPECT_EQ(table.rows[0].row.iteration_s, 8);     // 16 * 4096 / (1024 * 8)
  EXPECT_EQ(table.rows[1].row.iteration_s, 0.25);  // 16 / 64
  EXPECT_EQ(table.rows[2].untimed, "tokens/s/GPU is stated, but not seq_len");
  EXPECT_EQ(table.rows[3].untimed, "samples/s is stated, but not global_batch");
}

TEST(MeasuredRows, RatesOfFlopsWaitForTheModel) {
  const MeasuredRows table =
      rows_of({"id,gpus,metric_iter_time_s,metric_tflops_per_gpu,tflops_kind,metric_mfu_pct,metric_"
               "hfu_pct\n"
               "a-1,8,2,400,model,40,\n"
               "a-2,8,,400,\"hardware, factor 4\",40,\n"
               "a-3,8,,,,40,\n"
               "a-4,8,,,,,50\n"});
  EXPECT_EQ(table.rows[0].row.flops_per_s, std::nullopt);  // its time is stated
  EXPECT_EQ(table.rows[1].row.flops_per_s, 400e12);
  EXPECT_TRUE(table.rows[1].row.counts_recompute);
  EXPECT_EQ(table.rows[2].row.peak_share, 0.4);
  EXPECT_FALSE(table.rows[2].row.counts_recompute);
  EXPECT_EQ(table.rows[3].row.peak_share, 0.5);
  EXPECT_TRUE(table.rows[3].row.counts_recompute);
}

TEST(MeasuredRows, NotesSayWhatEachDeviceTakes) {
  const auto batch = [](const std::string& notes) {
    return rows_of({"id,gpus,tp,pp,dp,seq_len,metric_iter_time_s,notes\na-1,8,1,1,8,2048,1,\"" +
                    notes + "\"\n"})
        .rows[0]
        .row.global_batch;
  };
  for (const char* notes :
       {"local batch size 4", "batch size 4 per GPU", "bs=4 per device, eager",
        "4 sequences per GPU", "batch of 4 samples per rank", "batch_size: 4/GPU"}) {
    EXPECT_EQ(batch(notes), 32) << notes;
  }
  for (const char* notes :
       {"batch size 2 per GPU, grad accum 4", "batch size 2 per GPU; 4 gradient accumulation steps",
        "batch size 2 per GPU, effective batch size 64", "micro batch 2, GA=4",
        "micro batch 2, 4 accumulation steps"}) {
    EXPECT_EQ(batch(notes), 64) << notes;
  }
  EXPECT_EQ(batch("effective batch size 256"), 256);
  EXPECT_EQ(batch("train_batch_size 256, train_micro_batch_size_per_gpu 4"), 256);
  EXPECT_EQ(batch("micro batch 2, GAS 4"), 64);
  for (const char* notes :
       {"4 samples per GPU per second", "4 samples/GPU/s", "4 nodes per rack"}) {
    EXPECT_EQ(batch(notes), std::nullopt) << notes;
  }
}

TEST(MeasuredRows, WhatAssumedRatesOfFlopsCountIsTold) {
  struct Case {
    const char* kind;
    const char* notes;
    bool again;
    const char* told;  ///< empty: nothing
  };
  for (const Case& one :
       {Case{"model", "", false, ""},
        {"hardware", "", true, ""},
        {"", "", false, "as tflops_kind is blank"},
        {"achieved", "", false, "as tflops_kind 'achieved' does not say otherwise"},
        {"", "HFU 48 %", true, "as the notes say"},
        {"", "150 TFLOP/s counts the recomputation", true, "as the notes say"},
        {"", "Megatron's formula which counts recomputation", true, "as the notes say"},
        {"model", "HFU 48 %", false, ""}}) {
    const MeasuredRows table =
        rows_of({std::string("id,gpus,metric_tflops_per_gpu,tflops_kind,notes\na-1,8,150,") +
                 one.kind + "," + one.notes + "\n"});
    EXPECT_EQ(table.rows[0].row.counts_recompute, one.again) << one.kind << one.notes;
    std::string told;
    for (const std::string& note : table.rows[0].filled) {
      if (note.starts_with("TFLOP/s")) told += note;
    }
    EXPECT_TRUE(*one.told == 0 ? told.empty() : told.ends_with(one.told)) << told;
  }
}

TEST(MeasuredRows, WhatCellsDetermineIsFilledInWithANote) {
  const MeasuredRows table =
      rows_of({"id,gpu,gpus,tp,pp,dp,micro_batch,grad_accum,global_batch,metric_iter_time_s,notes\n"
               "a-1,A100,16,2,4,,1,8,16,1,\n"
               "a-2,A100,8,1,1,8,2,4,,1,\n"
               "a-3,A100,8,1,1,8,2,,,1,\n"
               "a-4,A100,64,8,4,2,,,,1,\"4D, \"\"local batch size 8\"\" per dp rank\"\n"
               "a-5,A100,64,8,4,2,1,,,1,\n"});
  EXPECT_EQ(table.rows[0].row.dp, 2);                       // 16 / (2 * 4)
  EXPECT_EQ(table.rows[1].row.global_batch, 64);            // 2 * 4 * 8
  EXPECT_EQ(table.rows[2].row.global_batch, 16);            // 2 * 8
  EXPECT_EQ(table.rows[3].row.global_batch, 16);            // 8 * 2
  EXPECT_EQ(table.rows[4].row.global_batch, std::nullopt);  // how many micro-batches is unknown
  EXPECT_EQ(table.notes,
            (std::vector<std::string>{
                "1 row: dp = gpus / (tp x pp x cp)",
                "1 row: global_batch = local batch size of the notes x dp",
                "1 row: global_batch = micro_batch x dp, where no accumulation is stated",
                "1 row: global_batch = micro_batch x grad_accum x dp"}));
}

TEST(MeasuredRows, CopiesThatRanksShareAreCounted) {
  const MeasuredRows rows =
      rows_of({"id,gpu,gpus,tp,pp,dp,fsdp_zero,notes,metric_iter_time_s\n"
               "a-1,H100,32,1,1,4,fsdp=8,,1\na-2,H100,64,2,1,4,FSDP,fsdp=8,1\na-3,H100,32,1,1,4,"
               "FSDP,,1\n"});
  EXPECT_EQ(rows.rows[0].row.dp, 32);
  EXPECT_EQ(rows.rows[1].row.dp, 32);
  EXPECT_EQ(rows.rows[2].row.dp, 4);
  EXPECT_EQ(rows.notes,
            (std::vector<std::string>{"2 rows: dp = dp x fsdp, as their product takes all devices",
                                      "1 row: tp x pp x cp x dp is not gpus; the degrees count"}));
}

TEST(MeasuredRows, DegreesThatContradictTheDevicesAreTold) {
  // 2 x 4 x 4 ranks on 16 devices; the other row has 2 x 4 x 2.
  const MeasuredRows table =
      rows_of({"id,gpu,gpus,tp,pp,dp,metric_iter_time_s\n"
               "a-1,A100,16,2,4,4,1\n"
               "a-2,A100,16,2,4,2,1\n"});
  EXPECT_EQ(table.notes,
            std::vector<std::string>{"1 row: tp x pp x cp x dp is not gpus; the degrees count"});
}

TEST(MeasuredRows, TheSequenceOfARecipe) {
  const MeasuredRows table =
      rows_of({"id,gpu,gpus,framework,model_name,metric_iter_time_s,notes\n"
               "a-1,H100,8,x,y,1,sequence length not restated (recipe default 4096)\n"
               "a-2,H100,8,torchtitan,Llama3.1-8B,1,\n"
               "a-3,H100,8,x,y,1,all default 7\n"});
  EXPECT_EQ(table.rows[0].row.seq_len, 4096);
  EXPECT_EQ(table.rows[1].row.seq_len, 8192);
  EXPECT_EQ(table.rows[2].row.seq_len, std::nullopt);
}

TEST(MeasuredRows, PeakMemoryHasTheUnitOfItsSource) {
  const MeasuredRows table =
      rows_of({"id,gpu,gpus,framework,peak_memory_gb,notes\n"
               "nano-1,H100,8,nanotron v0.5,2,\n"
               "tr3m-1,V100,8,Megatron-DeepSpeed,2,\n"
               "titan-1,H100,8,torchtitan,2,\n"
               "b-1,H100,8,x,2,memory in GiB\n"});
  EXPECT_EQ(table.rows[0].row.peak_memory_bytes, 2 * kGiB);  // nanotron prints GiB as GB
  EXPECT_EQ(table.rows[1].row.peak_memory_bytes, 2e9);
  EXPECT_EQ(table.rows[2].row.peak_memory_bytes, 2 * kGiB);
  EXPECT_EQ(table.rows[3].row.peak_memory_bytes, 2 * kGiB);
}

TEST(MeasuredRows, MemoryTablesJoinByTrainingIdOrStandForThemselves) {
  const MeasuredRows table =
      rows_of({"id,training_id,gpu,gpus,peak_memory_gb,memory_unit\n"
               "mem-0,titan-1,H100,8,3,GiB\nmem-1,nano-7,H100-80GB,8,5,GB as printed\n",
               "id,gpu,gpus,layers,metric_iter_time_s\ntitan-1,H100,8,32,1\n"});
  ASSERT_EQ(table.rows.size(), 2u);
  EXPECT_EQ(table.rows[0].row.id, "titan-1");
  EXPECT_EQ(table.rows[0].row.peak_memory_bytes, 3 * kGiB);
  EXPECT_EQ(table.rows[0].row.iteration_s, 1);
  EXPECT_EQ(table.rows[0].row.layers, 32);
  EXPECT_EQ(table.rows[1].row.id, "nano-7");
  EXPECT_EQ(table.rows[1].row.framework, "nanotron v0.5");
  EXPECT_EQ(table.rows[1].row.peak_memory_bytes, 5 * kGiB);
}

/// 16 layers of 2048, ffn 8192, vocab 131072, sequence 4096 on H100-80GB.
std::string failure(const std::string& id, const std::string& layout, const std::string& rest) {
  return id + ",HF,H100-80GB,8,llama,16,2048,32,8192,131072,4096," + layout + "," + rest + "\n";
}
constexpr const char* kFailures =
    "id,source,gpu,gpus,model_name,layers,hidden,heads,ffn_hidden,vocab,seq_len,"
    "tp,pp,dp,fsdp_zero,micro_batch,global_batch,status,notes\n";

TEST(MeasuredRows, LeastMemoryByHand) {
  TrainingRow row;
  row.layers = 16, row.hidden = 2048, row.heads = 32, row.ffn_hidden = 8192, row.vocab = 131072;
  row.seq_len = 4096, row.micro_batch = 2, row.global_batch = 16;
  row.tp = 2, row.pp = 2, row.dp = 2;
  row.fsdp_zero = "zero1", row.recompute = "none";
  // parameters: 16 * (4 * 2048^2 + 3 * 2048 * 8192) + 131072 * 2048 = 1,342,177,280
  //   / (2 * 2) * (2 + 4 + 12 / 2) = 4,026,531,840
  // a stage keeps 2 * 4096 tokens * 2 bytes * (6 * 2048 + 3 * 8192) / 2 * 16 / 2
  //   = 2,415,919,104; two in flight: 4,831,838,208
  // logits: 6 * 8192 * 131072 / 2 = 3,221,225,472; with one stage 5,637,144,576: more
  EXPECT_DOUBLE_EQ(least_memory_bytes(row).value(), 4026531840.0 + 5637144576.0);
  row.recompute = "full";  // layer inputs alone: 2 * 8192 * 2048 / 2 * 16 / 2 = 134,217,728
  EXPECT_DOUBLE_EQ(least_memory_bytes(row).value(), 4026531840.0 + 134217728.0 + 3221225472.0);
  row.vocab.reset();
  EXPECT_EQ(least_memory_bytes(row), std::nullopt);
}

TEST(MeasuredRows, TheNameOfADeviceSaysItsMemory) {
  EXPECT_EQ(nominal_memory_bytes("H100-80GB"), 80 * kGiB);
  EXPECT_EQ(nominal_memory_bytes("H100-96GB-HBM2e (2.4TB/s, 500W limit)"), 96 * kGiB);
  EXPECT_EQ(nominal_memory_bytes("GB200-192GB"), 192 * kGiB);
  EXPECT_EQ(nominal_memory_bytes("A100"), std::nullopt);
  EXPECT_EQ(nominal_memory_bytes("GB200-NVL72"), std::nullopt);
}

TEST(MeasuredRows, ABlankElementTypeIsThatOfOtherReleasesWhereAllAreNarrow) {
  const MeasuredRows table =
      rows_of({"id,gpu,gpus,model_name,dtype,tp,metric_iter_time_s,notes\n"
               "m-1,B200,8,llama,FP8-CS,1,1,container 26.02\n"
               "m-2,B200,8,llama,NVFP4,1,1,container 26.02\n"
               "m-3,B200,8,llama,,1,1,container 25.09\n"
               "m-4,B200,8,llama,,2,1,container 25.09\n"
               "m-5,B200,8,qwen,BF16,1,1,container 26.02\nm-6,B200,8,qwen,,1,1,container 25.09\n"
               "m-7,B200,8,llama,,1,1,baseline\n"});
  EXPECT_EQ(table.rows[2].row.dtype, "FP8-CS");  // the widest
  EXPECT_EQ(table.rows[3].row.dtype, "");        // another layout
  EXPECT_EQ(table.rows[5].row.dtype, "");        // 16 bits are what a blank means anyway
  EXPECT_EQ(table.rows[6].row.dtype, "");        // of no release: tables compare types
}

TEST(MeasuredRows, StatusesAreReadAsPeopleWriteThem) {
  for (const char* status : {"oom", "OOM", "CUDA OOM", "Out of memory", "out-of-memory error",
                             "didn't fit", "did not fit", "cannot fit"}) {
    const MeasuredRows table =
        rows_of({"id,gpu,gpus,status\na-1,A100,8," + std::string(status) + "\n"});
    EXPECT_EQ(table.rows.at(0).truth, RowTruth::out_of_memory) << status;
    EXPECT_TRUE(table.rows.at(0).row.failed) << status;
  }
  for (const char* status : {"ok",
                             "Success",
                             "completed",
                             "done",
                             "pass",
                             "",
                             "not OOM",
                             "no OOM",
                             "ran without OOM",
                             "did not run out of memory",
                             "OOM: no",
                             "works",
                             "yes",
                             "fits",
                             "fits in memory",
                             "true",
                             "1",
                             "ran (no OOM)",
                             "trains",
                             "\xe2\x9c\x93"}) {
    const MeasuredRows table = rows_of(
        {"id,gpu,gpus,status,metric_iter_time_s\na-1,A100,8," + std::string(status) + ",1.5\n"});
    EXPECT_EQ(table.rows.at(0).truth, RowTruth::ran) << status;
    EXPECT_EQ(table.rows.at(0).row.iteration_s, 1.5) << status;
    EXPECT_FALSE(table.rows.at(0).row.failed) << status;
    EXPECT_EQ(table.rows.at(0).says_it_ran, *status != '\0') << status;
  }
  for (const char* status : {"room temperature", "failed (not OOM)", "no", "\xe2\x9c\x97",
                             "no OOM but crashed", "not run"}) {
    const std::string row = "a-1,A100,8," + std::string(status) + "\n";
    EXPECT_EQ(rows_of({"id,gpu,gpus,status\n" + row}).rows.at(0).truth, RowTruth::unclear)
        << status;
  }
}

TEST(MeasuredRows, BatchesAreStatedInTokens) {
  const auto row_of = [](const std::string& seq, const std::string& batch,
                         const std::string& notes) {
    return rows_of({"id,gpu,gpus,tp,pp,micro_batch,grad_accum,seq_len,global_batch,notes,"
                    "metric_iter_time_s\na-1,A100,64,1,1,4,," +
                    seq + ",\"" + batch + "\",\"" + notes + "\",3\n"})
        .rows.at(0);
  };
  const auto filled_of = [&](const std::string& batch, const std::string& notes) {
    const MeasuredRow row = row_of("2048", batch, notes);
    EXPECT_EQ(row.unusable, "") << batch << notes;
    return std::pair(row.row.global_batch.value_or(0), row.filled.back());
  };
  using Filled = std::pair<double, std::string>;
  EXPECT_EQ(filled_of("4M tokens", ""),
            Filled(2048, "global_batch = 2048 sequences, from 4M tokens"));
  EXPECT_EQ(filled_of("4194304 tokens", ""),
            Filled(2048, "global_batch = 2048 sequences, from 4194304 tokens"));
  EXPECT_EQ(filled_of("4M", ""), Filled(2048, "global_batch = 2048 sequences, from 4M"));
  EXPECT_EQ(filled_of("0.5M tokens", "").first, 256);
  EXPECT_EQ(filled_of("3.2M tokens", "").first, 1536);  // 1562.5, of which 256 part 6 x 256
  EXPECT_EQ(row_of("2048", "1024 (4M tokens)", "").row.global_batch, 1024);
  EXPECT_EQ(filled_of("", "global batch of 4M tokens"),
            Filled(2048, "global_batch = 2048 sequences, from 4M tokens of the notes"));
  EXPECT_EQ(filled_of("", "batch size of 4M tokens").first, 2048);
  EXPECT_EQ(filled_of("", "micro-batch of 8192 tokens").first, 256);
  EXPECT_EQ(row_of("", "4M tokens", "").unusable,
            "global_batch is \"4M tokens\", and seq_len is blank");
  EXPECT_EQ(row_of("", "", "batch size of 4M tokens").row.global_batch, 256);  // 4 x 64
  EXPECT_EQ(row_of("2048", "4k", "").unusable, "global_batch \"4k\" is no number of at least 0");
}

TEST(MeasuredRows, OnlyClearFailuresAreOutOfMemory) {
  const std::string failed = "\"failed (OOM or crash, not distinguished)\",";
  const MeasuredRows table =
      rows_of({kFailures + failure("bsfail-1", "1,1,8,zero1,1,8", "OOM,") +
               failure("nanofail-1", "1,1,8,zero0,16,128", failed) +
               failure("nanofail-2", "8,1,1,zero0,1,8", failed) +
               failure("nanofail-3", "1,1,8,zero0,16,128",
                       failed + "listed as failed although throughput 1 tok/s/gpu") +
               failure("nanofail-4", "1,1,8,zero0,16,128",
                       failed + "same listed configuration also appears as successful") +
               failure("nanofail-5", "1,8,1,zero0,1,1", failed + "grad_accum < pp-1") +
               failure("nanofail-6", "1,1,8,zero0,16,128", "timeout,")});
  ASSERT_EQ(table.rows.size(), 7u);
  const auto expect = [&](std::size_t i, RowTruth truth, const std::string& doubt) {
    EXPECT_EQ(table.rows[i].truth, truth) << i;
    EXPECT_EQ(table.rows[i].doubt, doubt) << i;
  };
  expect(0, RowTruth::out_of_memory, "");
  expect(1, RowTruth::out_of_memory, "");
  expect(2, RowTruth::unclear, "failed, out of memory or for another reason");
  expect(3, RowTruth::unclear, "failed, yet with a throughput");
  expect(4, RowTruth::unclear, "failed once, ran once");
  expect(5, RowTruth::unclear, "failed, with too few micro-batches for its pipeline");
  expect(6, RowTruth::unclear, "its status is \"timeout\"");
  EXPECT_TRUE(table.rows[0].source_says_so);
  EXPECT_FALSE(table.rows[1].source_says_so);
  EXPECT_EQ(table.rows[0].row.source, "bsv100");
  EXPECT_EQ(table.rows[1].row.source, "nano");
  EXPECT_EQ(table.rows[1].row.framework, "nanotron v0.5");
}

TEST(MeasuredRows, FailuresTakeTheModelOfRunsThatAgree) {
  const MeasuredRows table =
      rows_of({"id,gpu,gpus,model_name,dtype,kv_heads,gpu_family,metric_iter_time_s\n"
               "nano-1,H100-80GB,8,llama,bf16,32,H100,1\nnano-2,H100-80GB,8,llama,fp8,32,H100,1\n",
               kFailures + failure("nanofail-1", "1,1,8,zero0,1,8", "OOM,")});
  const TrainingRow& row = table.rows[2].row;
  EXPECT_EQ(row.kv_heads, 32);
  EXPECT_EQ(row.gpu_family, "H100");
  EXPECT_EQ(row.dtype, "");  // the runs differ
  EXPECT_EQ(table.notes,
            std::vector<std::string>{"1 row: the model as in the runs of the same name"});
}

TEST(MeasuredRows, ADegreeThatNoJobCanHaveMakesARowUnusable) {
  const MeasuredRows table =
      rows_of({"id,gpu,gpus,tp,layers,metric_iter_time_s\na-1,A100,8,0,,1\na-2,A100,8,2,1.5,1\n"
               "a-3,,8,2,3,1\n"});
  EXPECT_EQ(table.rows[0].unusable, "tp is 0");
  EXPECT_EQ(table.rows[1].unusable, "layers is 1.5");
  EXPECT_EQ(table.rows[2].unusable, "gpu is not stated");
}

TEST(MeasuredRows, ReleasesComeFromTheNotes) {
  const MeasuredRows table =
      rows_of({"id,gpu,gpus,metric_iter_time_s,notes\n"
               "mbridge-1,H100,8,1,container 26.02 NeMo Container; Pre-Training Performance\n"});
  EXPECT_EQ(table.rows[0].release, "container 26.02 NeMo Container");
}

TEST(MeasuredRows, EveryFaultIsNamed) {
  EXPECT_EQ(error_of({"id,gpu,gpus,tp,metric_iter_time_s\na,A100,8,1,1\n", "gpu,gpus\nA100,8\n",
                      "id,gpu\na,A100\n"}),
            "t1.csv: column \"id\" is missing (is it separated by commas, with a header line?)\n"
            "t2.csv: column \"metric_iter_time_s\" is missing (or another measured figure: "
            "metric_tokens_per_s_per_gpu, metric_samples_per_s, peak_memory_gb, status)");
}

// Once such a table was refused: column "metric_iter_time_s" is missing.
TEST(MeasuredRows, ColumnsAreFoundByTheirNamesInAnyCase) {
  const MeasuredRows table = rows_of(
      {"ID,Gpu,GPUs, Seq_Len,tp ,Metric_Iter_Time_s,Colour,notes\na-1,A100,8,4096,2,0.25,red,x\n"});
  const TrainingRow& row = table.rows.at(0).row;
  EXPECT_EQ(row.id, "a-1");
  EXPECT_EQ(row.gpus, 8);
  EXPECT_EQ(row.seq_len, 4096);
  EXPECT_EQ(row.tp, 2);
  EXPECT_EQ(row.iteration_s, 0.25);
  EXPECT_EQ(row.notes, "x");
  EXPECT_THAT(table.notes, ::testing::Contains("t0.csv: columns passed over: Colour"));
  EXPECT_EQ(
      error_of({"id,gpu,gpus,GPUs,tp, tp,metric_iter_time_s,Colour,colour\na,A100,8,8,1,1,1,,\n"}),
      "t0.csv:1: columns \"gpus\" and \"GPUs\" are both gpus (rename one)\n"
      "t0.csv:1: columns \"tp\" and \" tp\" are both tp (rename one)");
}

TEST(MeasuredRows, EveryRowGetsANameOfItsOwn) {
  const MeasuredRows table =
      rows_of({"id,gpu,gpus,metric_iter_time_s\na-1,A100,8,1\n,A100,8,2\na-1,A100,8,3\n"
               "a-1 (2),A100,8,4\na-1,A100,8,5\n",
               "training_id,id,peak_memory_gb,memory_unit\na-1,m-0,7,GiB\n"});
  std::vector<std::string> ids;
  for (const MeasuredRow& measured : table.rows) ids.push_back(measured.row.id);
  EXPECT_THAT(ids, ::testing::ElementsAre("a-1", "t0-3", "a-1 (2)", "a-1 (2) (2)", "a-1 (3)"));
  EXPECT_EQ(table.rows[0].row.peak_memory_bytes, 7 * kGiB);  // the first of that name
  EXPECT_EQ(table.rows[2].row.peak_memory_bytes, std::nullopt);
  EXPECT_THAT(table.notes, ::testing::IsSupersetOf(
                               {"1 row: named after file and line, as id is blank",
                                "3 rows: the id is another row's too, so a number is added to it: "
                                "\"a-1\" of t0.csv:4, \"a-1 (2)\" of t0.csv:5, \"a-1\" of "
                                "t0.csv:6"}));
}

TEST(MeasuredRows, WordsForNothingAreBlanks) {
  for (const char* blank : {"nan", "NaN", "N/A", "NA", "n/a", "-", "--", "None", "null", "?"}) {
    const std::string cell = blank;
    const MeasuredRows table = rows_of(
        {"id,gpu,gpus,tp,framework,metric_iter_time_s\na-1,A100,8," + cell + "," + cell + ",1\n"});
    EXPECT_EQ(table.rows[0].unusable, "") << blank;
    EXPECT_EQ(table.rows[0].row.tp, std::nullopt) << blank;
    EXPECT_EQ(table.rows[0].row.framework, "") << blank;
  }
  // Where a column may be off, "none" says that it is.
  const MeasuredRows off =
      rows_of({"id,gpu,gpus,recompute,fsdp_zero,metric_iter_time_s\na-1,A100,8,None,nan,1\n"});
  EXPECT_EQ(off.rows[0].row.recompute, "None");
  EXPECT_EQ(off.rows[0].row.fsdp_zero, "");
}

TEST(MeasuredRows, OneOddCellCostsItsRowAlone) {
  const MeasuredRows table =
      rows_of({"id,gpu,gpus,tp,metric_iter_time_s\na-1,A100,eight,1,1\na-2,A100,8,-2,1\n"
               "a-3,A100,\"1,024\",1,1\na-4,A100,\"1,02\",1,1\na-5,A100,8,1,fast\n"});
  ASSERT_EQ(table.rows.size(), 5u);
  EXPECT_EQ(table.rows[0].unusable, "gpus \"eight\" is no number of at least 0");
  EXPECT_EQ(table.rows[1].unusable, "tp \"-2\" is no number of at least 0");
  EXPECT_EQ(table.rows[2].unusable, "");
  EXPECT_EQ(table.rows[2].row.gpus, 1024);
  EXPECT_EQ(table.rows[3].unusable, "gpus \"1,02\" is no number of at least 0");
  EXPECT_EQ(table.rows[4].unusable, "metric_iter_time_s \"fast\" is no number of at least 0");
}

TEST(MeasuredRows, AFigureOutOfMemoryIsAFailure) {
  const MeasuredRows table =
      rows_of({"id,gpu,gpus,metric_iter_time_s,peak_memory_gb\na-1,A100,8,OOM,\n"
               "a-2,A100,8,,CUDA out of memory\na-3,A100,8,1,20\n"});
  for (const std::size_t failed : {0, 1}) {
    EXPECT_EQ(table.rows[failed].truth, RowTruth::out_of_memory);
    EXPECT_EQ(table.rows[failed].unusable, "");
  }
  EXPECT_EQ(table.rows[2].truth, RowTruth::ran);
}

TEST(MeasuredRows, PeakMemoriesComeInAnyUnit) {
  for (const auto& [unit, bytes] :
       std::vector<std::pair<std::string, double>>{{"GB", 2048e9},
                                                   {"GiB", 2048 * kGiB},
                                                   {"MB", 2048e6},
                                                   {"MiB", 2 * kGiB},
                                                   {"bytes", 2048},
                                                   {"TB", 2048e12},
                                                   {"MiB (nvidia-smi)", 2 * kGiB}}) {
    const MeasuredRows table =
        rows_of({"id,gpu,gpus,peak_memory_gb,memory_unit\na-1,A100,8,2048," + unit + "\n"});
    EXPECT_EQ(table.rows[0].row.peak_memory_bytes, bytes) << unit;
    EXPECT_TRUE(table.notes.empty()) << unit;
  }
  const MeasuredRows share = rows_of({"id,gpu,gpus,peak_memory_gb,memory_unit\na-1,A100,8,80,%\n"});
  EXPECT_EQ(share.rows[0].row.peak_memory_bytes, std::nullopt);
  EXPECT_EQ(share.notes, std::vector<std::string>{
                             "1 row: peak_memory_gb is not read, as memory_unit '%' is not known"});
}

TEST(MeasuredRows, SharesOfThePeakMayBeFractions) {
  const MeasuredRows table =
      rows_of({"id,gpu,gpus,metric_mfu_pct,metric_hfu_pct\na-1,A100,8,45,\na-2,A100,8,0.45,\n"
               "a-3,A100,8,,0.5\n"});
  EXPECT_EQ(table.rows[0].row.peak_share, 0.45);
  EXPECT_EQ(table.rows[1].row.peak_share, 0.45);
  EXPECT_EQ(table.rows[2].row.peak_share, 0.5);
  EXPECT_EQ(table.notes, (std::vector<std::string>{"1 row: metric_hfu_pct is read as a fraction",
                                                   "1 row: metric_mfu_pct is read as a fraction"}));
}

TEST(MeasuredRows, WhatIsFilledInIsToldOfItsRow) {
  const MeasuredRows table =
      rows_of({"id,gpu,gpus,tp,pp,dp,metric_iter_time_s,metric_mfu_pct,status\n"
               "a-1,A100,8,2,1,2,1,,\na-2,A100,8,2,1,,1,,\na-3,A100,8,2,1,4,,0.4,\na-4,A100,8,2,1,"
               "4,2,,OOM\n"});
  const std::vector<std::vector<std::string>> told = {
      {"tp x pp x cp x dp is not gpus; the degrees count"},
      {"dp = gpus / (tp x pp x cp)"},
      {"metric_mfu_pct is read as a fraction"},
      {"a failed run has no time"}};
  for (std::size_t i = 0; i < told.size(); ++i) {
    for (const std::string& note : told[i]) {
      EXPECT_EQ(std::ranges::count(table.rows[i].filled, note), 1) << note;
      EXPECT_EQ(std::ranges::count(table.notes, "1 row: " + note), 1) << note;
    }
  }
  EXPECT_FALSE(table.rows[3].row.iteration_s);
}

TEST(MeasuredRows, DegreesDetermineEachOther) {
  const MeasuredRows table =
      rows_of({"id,gpu,gpus,tp,pp,dp,micro_batch,grad_accum,global_batch,metric_iter_time_s\n"
               "a-1,H100,,2,4,8,1,,,1\n"
               "a-2,8x H100,,,,,1,,,1\n"
               "a-3,H100,64,,2,,1,8,128,1\n"
               "a-4,H100,64,,2,,1,8,1000,1\n"
               "a-5,H100 (8x1),,,,,1,,,1\n"});
  EXPECT_EQ(table.rows[0].row.gpus, 64);
  EXPECT_EQ(table.rows[1].row.gpus, 8);
  EXPECT_EQ(table.rows[2].row.tp, 2);
  EXPECT_EQ(table.rows[2].row.dp, 16);
  EXPECT_EQ(table.rows[3].row.tp, std::nullopt);
  EXPECT_EQ(table.rows[4].row.gpus, std::nullopt);
  for (const char* note :
       {"gpus = tp x pp x cp x dp", "gpus from gpu", "tp and dp from gpus, pp and the batch"}) {
    EXPECT_EQ(std::ranges::count(table.notes, std::string("1 row: ") + note), 1) << note;
  }
}

TEST(MeasuredRows, NoStepIsShorterThanAKernel) {
  const MeasuredRows table =
      rows_of({"id,gpu,gpus,metric_iter_time_s\na-1,A100,8,1e-320\na-2,A100,8,1e-5\n"});
  EXPECT_EQ(table.rows[0].unusable, "no step takes less than a microsecond");
  EXPECT_EQ(table.rows[1].unusable, "");
}

TEST(MeasuredRows, NumbersBeyondAnyMachineAreRefused) {
  const MeasuredRows table =
      rows_of({"id,gpu,gpus,tp,dp,metric_iter_time_s\na-1,A100,99999999999999999999,1,1,1\n"
               "a-2,A100,8,100000,100000,1\n"});
  EXPECT_EQ(table.rows[0].unusable, "gpus is 1e+20, more than can be");
  EXPECT_EQ(table.rows[1].unusable, "tp x pp x cp x dp is more than can be");
}

TEST(MeasuredRows, UnknownColumnsArePassedOverWithANote) {
  const MeasuredRows table =
      rows_of({"id,gpu,gpus,metric_iter_time_s,colour,derived\na-1,A100,8,1,red,x\n"});
  EXPECT_EQ(table.notes, std::vector<std::string>{"t0.csv: columns passed over: colour"});
}

}  // namespace
}  // namespace parallel_opt
