#include "parallel_opt/cost/row_model.h"

#include <gtest/gtest.h>

#include "parallel_opt/cost/accelerator.h"
#include "parallel_opt/hardware/load.h"
#include "tests/cost/row_fixture.h"

namespace parallel_opt {
namespace {

using testing::case_of;
using testing::prediction_of;
using testing::seconds_of;
using testing::skipped;

/// Everything printed.
TrainingRow full_row() {
  TrainingRow row = testing::usual_row("llm-foundry/Composer PyTorch FSDP");
  row.source = "x";
  row.workload = "pretrain";
  row.model_name = "MPT-1b";
  row.dtype = "amp_bf16";
  row.fsdp_zero = "fsdp-FULL_SHARD";
  row.recompute = "none";
  row.ffn_hidden = 8192;
  row.vocab = 50368;
  row.cp = 1;
  return row;
}

TEST(RowModel, ReadsEveryColumn) {
  const RowCase row = case_of(full_row());
  EXPECT_EQ(row.model, "transformer:ffn=8192,heads=16,hidden=2048,layers=24,vocab=50368");
  EXPECT_EQ(row.stack.name, "llm-foundry");
  EXPECT_EQ(row.device.arch, "Ampere");
  EXPECT_EQ(row.layout.data, 8);
  EXPECT_EQ(row.layout.shard, 3);
  EXPECT_EQ(row.layout.micro_batches, 2);
  EXPECT_EQ(row.facts->layers(), 24);
}

TEST(RowModel, PredictsWithAnInterval) {
  const RowPrediction prediction = prediction_of(full_row());
  // 1.3e9 parameters, 64 x 2048 tokens on 8 A100: 6 * 1.3e9 * 131072 / 8 / 312e12 = 0.41 s at peak.
  EXPECT_GT(prediction.step_time_s.value, 0.45);
  EXPECT_LT(prediction.step_time_s.value, 1.2);
  EXPECT_LT(prediction.step_time_s.low, prediction.step_time_s.value);
  EXPECT_TRUE(prediction.fits);
}

TEST(RowModel, BlankShapesFollowTheModelsName) {
  TrainingRow row = full_row();
  row.model_name = "InternLM-7B";
  row.layers = row.hidden = row.heads = row.ffn_hidden = row.vocab = std::nullopt;
  EXPECT_NE(case_of(row).model.find("hidden=4096"), std::string::npos);
  row.model_name = "nobody's";
  EXPECT_EQ(skipped(row), "the shape of model 'nobody's' is blank");
}

TEST(RowModel, NamesAreReadWhateverSeparatesTheirParts) {
  TrainingRow row = full_row();
  row.layers = row.hidden = row.heads = row.ffn_hidden = row.vocab = std::nullopt;
  const auto hidden = [&](const std::string& name) {
    row.model_name = name;
    const auto found = row_case(row);
    if (std::holds_alternative<std::string>(found)) return std::string("not known");
    const std::string spec = std::get<RowCase>(found).model;
    const std::size_t at = spec.find("hidden=") + 7;
    return spec.substr(at, spec.find(',', at) - at);
  };
  EXPECT_EQ(hidden("DeepSeek-V3"), "7168");
  EXPECT_EQ(hidden("deepseek_v3 (fp8)"), "7168");
  EXPECT_EQ(hidden("Llama-3.1-405B"), "16384");
  EXPECT_EQ(hidden("Llama 3 8B"), "4096");
  EXPECT_EQ(hidden("Llama-3-80B"), "not known");
}

TEST(RowModel, KnowsTheShapesOfPublishedModels) {
  TrainingRow row = full_row();
  row.layers = row.hidden = row.heads = row.ffn_hidden = row.vocab = std::nullopt;
  // Parameters in 1e9, experts included: within 4 % of what the name or its paper says.
  const auto billions = [&](const std::string& name) {
    row.model_name = name;
    const RowCase found = case_of(row);
    return found.facts ? found.facts->parameters / 1e9 : 0;
  };
  EXPECT_NEAR(billions("BLOOM-176B") / 176, 1, 0.04);
  EXPECT_NEAR(billions("bloom") / 176, 1, 0.04);
  EXPECT_NEAR(billions("PaLM 540B") / 540, 1, 0.04);
  EXPECT_NEAR(billions("GLM-130B") / 130, 1, 0.04);
  EXPECT_NEAR(billions("Falcon-180B") / 180, 1, 0.04);
  EXPECT_NEAR(billions("OPT-175B") / 175, 1, 0.04);
  EXPECT_NEAR(billions("MT-NLG 530B") / 530, 1, 0.04);
  EXPECT_NEAR(billions("Gopher") / 280, 1, 0.08);  // relative positions are not modelled
  EXPECT_NEAR(billions("Nemotron-4-340B") / 341, 1, 0.04);
  EXPECT_NEAR(billions("LLaMA 65B") / 65.2, 1, 0.04);
  EXPECT_NEAR(billions("meta-llama/Llama-3.3-70B-Instruct") / 70.6, 1, 0.04);
  EXPECT_NEAR(billions("Qwen2.5-72B") / 72.7, 1, 0.04);
  EXPECT_NEAR(billions("Qwen3-235B-A22B") / 235, 1, 0.04);
  EXPECT_NEAR(billions("Mixtral 8x7B") / 46.7, 1, 0.04);
  EXPECT_NEAR(billions("Mixtral-8x22B") / 141, 1, 0.04);
  EXPECT_NEAR(billions("DBRX 132B") / 132, 1, 0.04);
  EXPECT_NEAR(billions("Grok-1") / 314, 1, 0.04);
  EXPECT_NEAR(billions("LLAMA4-Maverick-LLM") / 400, 1, 0.04);
  EXPECT_NEAR(billions("Snowflake Arctic") / 480, 1, 0.04);
  EXPECT_NEAR(billions("DeepSeek-V2") / 236, 1, 0.04);
  EXPECT_NEAR(billions("DeepSeek-R1") / 671, 1, 0.04);
  EXPECT_NEAR(billions("GPT-NeoX-20B") / 20.6, 1, 0.04);
  EXPECT_NEAR(billions("gemma-7b") / 8.5, 1, 0.04);
  EXPECT_NEAR(billions("Qwen3-VL-30B-A3B") / 30.5, 1, 0.04);
  EXPECT_NEAR(billions("GLM-4.5") / 355, 1, 0.04);
  EXPECT_NEAR(billions("GLM-4.5-Air") / 106, 1, 0.04);
  EXPECT_NEAR(billions("SmolLM3-3B") / 3.08, 1, 0.04);
  EXPECT_NEAR(billions("Mistral-Small-3.1-24B-Instruct-2503") / 23.6, 1, 0.04);
  EXPECT_NEAR(billions("Cerebras-GPT 13B") / 12.9, 1, 0.04);
  EXPECT_NEAR(billions("Falcon3-1B-Base") / 1.67, 1, 0.04);  // less than its size by name
  EXPECT_NEAR(billions("Granite-3.1-3B-A800M") / 3.3, 1, 0.04);
  EXPECT_NEAR(billions("Yi-1.5-9B") / 8.83, 1, 0.04);
  EXPECT_NEAR(billions("OLMo-2-0425-1B") / 1.48, 1, 0.04);
  EXPECT_NEAR(billions("BLOOM-1b1") / 1.07, 1, 0.04);
  EXPECT_NEAR(billions("RoBERTa-base") / 0.124, 1, 0.04);
  EXPECT_NEAR(billions("distilbert-base-uncased") / 0.066, 1, 0.04);  // not BERT's 12 blocks
  row.model_name = "Gopher 7.1B";                                     // another of its family
  EXPECT_EQ(skipped(row), "the shape of model 'Gopher 7.1B' is blank");
}

TEST(RowModel, DevicesAreReadHoweverTheyAreSpelt) {
  TrainingRow row = full_row();
  const auto peak = [&](const std::string& gpu) {
    row.gpu = gpu;
    return case_of(row).device.half_flops_per_s / 1e12;
  };
  EXPECT_EQ(peak("NVIDIA A100-SXM4-80GB"), 312);
  EXPECT_EQ(peak("8xH100"), peak("H100 SXM5 80GB HBM3"));
  EXPECT_EQ(peak("Intel Gaudi 2"), 432);  // not the first generation
  EXPECT_EQ(peak("AWS Trainium 2"), peak("Trainium2"));
  EXPECT_EQ(peak("TPU v4 pod"), 275);
}

TEST(RowModel, AV100IsWiredByItsMachine) {
  TrainingRow row = full_row();
  row.gpu = "V100-SXM2-32GB";
  const auto among = [&](double per_node, double ranks) {
    row.gpus_per_node = per_node;
    return case_of(row).device.links.among(ranks) / 1e9;
  };
  EXPECT_EQ(among(4, 2), 50);  // two of six links to each of the three others
  EXPECT_EQ(among(4, 4), 150);
  EXPECT_EQ(among(8, 2), 25);  // DGX-1: one between some neighbours
  EXPECT_EQ(among(8, 4), 100);
  EXPECT_EQ(among(8, 8), 150);
  EXPECT_EQ(among(16, 2), 150);  // DGX-2: switches
  row.gpus_per_node.reset();
  row.gpu = "V100-32GB (DGX-2)";
  EXPECT_EQ(case_of(row).device.per_node, 16);
}

TEST(RowModel, TrainiumCountsItsCores) {
  TrainingRow row = full_row();
  row.gpu = "AWS Trainium (trn1.32xlarge)";
  EXPECT_EQ(case_of(row).device.half_flops_per_s, 95e12);  // 190 of a chip
  EXPECT_EQ(case_of(row).device.per_node, 32);
}

TEST(RowModel, AcceleratorsOfOtherMakersReachWhatWasMeasuredOfThem) {
  TrainingRow row = full_row();
  row.gpus = row.dp = 1;
  row.hidden = 8192;
  row.ffn_hidden = 32768;
  row.heads = 64;
  row.layers = 8;
  row.fsdp_zero = "";
  const auto seconds = [&](const std::string& gpu) {
    row.gpu = gpu;
    return seconds_of(row);
  };
  // Of one chip, the one with a higher limit: 51 and 60 % of the same peak in the best shapes.
  EXPECT_NEAR(seconds("MI300X") / seconds("MI325X"), 0.604 / 0.514, 0.05);
  // 989 TFLOP/s at 75 %, 1307 at 51 %.
  EXPECT_NEAR(seconds("MI300X") / seconds("H100-80GB"), (989 * 0.746) / (1307 * 0.511), 0.12);
}

TEST(RowModel, ModelParallelSizesAreDealtOutAsMegatronDoes) {
  TrainingRow row = full_row();
  row.framework = "Megatron-LM (Jan 2021)";
  row.tp = row.pp = row.dp = row.micro_batch = std::nullopt;
  row.gpus = 64;
  row.gpus_per_node = 8;
  row.notes = "model-parallel size tp*pp=16 (division into tp and pp not stated)";
  const ParallelLayout layout = case_of(row).layout;
  EXPECT_EQ(layout.tensor, 8);
  EXPECT_EQ(layout.pipeline, 2);
  EXPECT_EQ(layout.data, 4);
  EXPECT_EQ(layout.recompute, RecomputeRule::none);  // the row says so
  row.recompute = "";
  EXPECT_EQ(case_of(row).layout.recompute, RecomputeRule::full);  // its stack does it always
}

TEST(RowModel, WhatCannotBeExpressedSaysWhy) {
  TrainingRow row = full_row();
  row.workload = "lora";
  EXPECT_EQ(skipped(row), "workload 'lora': frozen weights have no gradients");
  row = full_row();
  row.offload = "some of it";
  EXPECT_EQ(skipped(row), "offload 'some of it' is not understood");
  row = full_row();
  row.gpu = "Abacus 9";
  EXPECT_EQ(skipped(row), "device 'Abacus 9' is not in the database");
  row = full_row();
  row.gpus = std::nullopt;
  EXPECT_EQ(skipped(row), "the number of devices is blank");
  row = full_row();
  row.seq_len = std::nullopt;
  EXPECT_EQ(skipped(row), "the sequence length is blank");
}

TEST(RowModel, ZeroWithoutANumberIsTheLowestStageThatFits) {
  TrainingRow row = full_row();
  row.fsdp_zero = "zero(see section)";
  EXPECT_EQ(case_of(row).layout.shard, 1);  // 1.3 billion parameters fit
  row.layers = 64;
  row.hidden = 8192;
  row.ffn_hidden = 32768;
  row.heads = 64;
  row.gpus = row.dp = 64;
  row.recompute = "full";
  row.micro_batch = 1;
  EXPECT_EQ(case_of(row).layout.shard, 3);  // 52 billion: 104 GB of weights
  row.fsdp_zero = "zero1";
  EXPECT_EQ(case_of(row).layout.shard, 1);  // as it says
}

TEST(RowModel, ExpertsAreSplitByTensorRanksWhereARowSaysSo) {
  TrainingRow row = full_row();
  row.experts = 8;
  row.topk = 2;
  row.tp = 4;
  row.dp = 2;
  row.ep = 2;
  EXPECT_EQ(case_of(row).layout.expert_tensor, 1);
  row.etp = 4;
  EXPECT_EQ(case_of(row).layout.expert_tensor, 4);
  row.etp = 8;  // no more than there are
  EXPECT_EQ(case_of(row).layout.expert_tensor, 4);
}

TEST(RowModel, GradientsReducedInBf16AreKeptInBf16) {
  TrainingRow row = full_row();
  row.framework = "Megatron-LM";
  EXPECT_EQ(case_of(row).stack.gradient_bytes, 4);
  row.notes = "gradients reduced in bf16";
  EXPECT_EQ(case_of(row).stack.gradient_bytes, 2);
  EXPECT_EQ(case_of(row).stack.reduced_bytes, 2);
}

TEST(RowModel, ADispatcherNeedsExpertsOnSeveralRanks) {
  TrainingRow row = full_row();
  row.experts = 32;
  row.topk = 4;
  EXPECT_EQ(case_of(row).layout.expert, 1);
  row.framework = "NeMo AutoModel (PyTorch FSDP2) TE + DeepEP";
  EXPECT_EQ(case_of(row).layout.expert, 8);  // as many as there are replicas
  row.ep = 4;
  EXPECT_EQ(case_of(row).layout.expert, 4);
}

TEST(RowModel, PredictsThePeakThatTheSoftwarePrints) {
  TrainingRow row = full_row();
  row.framework = "nanotron v0.5";  // of the first rank
  row.pp = 2;
  row.dp = 4;
  row.micro_batch = 16;  // one micro-batch per replica: the head's logits make the last one fullest
  const RowCase found = case_of(row);
  const LayoutCost cost =
      layout_cost(*found.facts, found.device, found.stack, found.layout, layout_parameters());
  EXPECT_LT(cost.first_stage_bytes, cost.memory_bytes());
  EXPECT_EQ(printed_bytes(found, cost), cost.first_stage_bytes);
  const auto answer = prediction_of(row);
  EXPECT_NEAR(answer.peak_memory_bytes.value, cost.first_stage_bytes, 1);
  row.framework = "Megatron-DeepSpeed";  // the driver's number: 2.2 GB beside the allocator
  const RowCase driver = case_of(row);
  EXPECT_EQ(printed_bytes(driver, cost), cost.first_stage_bytes + 3e9);
}

TEST(RowModel, PrintsWhatTensorsHoldUnlessTheSoftwareCountsTheAllocator) {
  TrainingRow row = full_row();
  row.framework = "Megatron-LM";
  const RowCase held = case_of(row);
  const LayoutCost cost =
      layout_cost(*held.facts, held.device, held.stack, held.layout, layout_parameters());
  EXPECT_GT(cost.unused_bytes, layout_parameters().reserve_bytes);
  EXPECT_EQ(printed_bytes(held, cost), cost.memory_bytes() - cost.unused_bytes);
  row.framework = "torchtitan";
  const RowCase reserved = case_of(row);
  EXPECT_EQ(printed_bytes(reserved, cost), cost.memory_bytes());
}

TEST(RowModel, CountsFlopsAsTablesDo) {
  // 8 sequences per device of 24 x (12 h^2 weights and 2 x 2,048 x h of attention) and the head.
  TrainingRow row = full_row();
  const double tokens = 8 * 2048.0, h = 2048;
  const double blocks = 24 * (2 * 12 * h * h + 4 * 2048 * h), head = 2 * h * 50368;
  const auto none = prediction_of(row);
  EXPECT_NEAR(none.flops / (3 * tokens * (blocks + head)), 1, 1e-9);
  EXPECT_EQ(none.flops_again, none.flops);
  EXPECT_EQ(none.peak_flops_per_s, 312e12);
  row.recompute = "full";
  const auto full = prediction_of(row);
  EXPECT_NEAR((full.flops_again - full.flops) / (tokens * blocks), 1, 1e-9);
}

TEST(RowModel, ReadsTheScheduleFromItsColumnTheNotesOrTheFramework) {
  TrainingRow row = full_row();
  row.pp = 4;
  row.dp = 2;
  EXPECT_EQ(case_of(row).layout.schedule, ScheduleKind::one_f_one_b);
  row.framework = "Megatron-LM, zero bubble";
  EXPECT_EQ(case_of(row).layout.schedule, ScheduleKind::zb_h1);
  row.notes = "schedule ZB-V";
  EXPECT_EQ(case_of(row).layout.schedule, ScheduleKind::zb_v);
  row.schedule = "Interleaved 1F1B";
  EXPECT_EQ(case_of(row).layout.schedule, ScheduleKind::interleaved_1f1b);
  EXPECT_EQ(case_of(row).layout.virtual_stages, 3);
  row.vp = 2;
  EXPECT_EQ(case_of(row).layout.virtual_stages, 2);
  row.schedule = "Hanayo";
  EXPECT_EQ(skipped(row), "schedule 'Hanayo' is not known");
  for (const auto& [name, kind] : {std::pair("non-interleaved 1F1B", ScheduleKind::one_f_one_b),
                                   {"1F1B, not interleaved", ScheduleKind::one_f_one_b},
                                   {"interleaved 1F1B (VPP 4)", ScheduleKind::interleaved_1f1b},
                                   {"zero-bubble V", ScheduleKind::zb_v},
                                   {"zero bubble H2", ScheduleKind::zb_h2}}) {
    row.schedule = name;
    EXPECT_EQ(case_of(row).layout.schedule, kind) << name;
  }
}

TEST(RowModel, UnknownSoftwareThatSplitsModelsIsReadAsMegatron) {
  TrainingRow row = full_row();
  row.framework = "in-house";
  EXPECT_EQ(case_of(row).stack.name, "pytorch");
  row.tp = 2;
  row.dp = 4;
  EXPECT_EQ(case_of(row).stack.name, "megatron");
}

TEST(RowModel, ParametersSayWhetherTheHeadIsTheEmbedding) {
  // 24 x (4 h^2 + 3 h f) = 24 x 67.1e6 = 1.61e9, and a table of 131,072 x 2,048 = 0.27e9 once or
  // twice.
  TrainingRow row = full_row();
  row.model_name = "llama-x";
  row.vocab = 131072;
  row.params_b = 1.88;
  EXPECT_NE(case_of(row).model.find("tied=true"), std::string::npos);
  row.params_b = 2.15;
  EXPECT_NE(case_of(row).model.find("tied=false"), std::string::npos);
  row.params_b = 2.0;  // neither: as the family has it
  EXPECT_NE(case_of(row).model.find("tied=false"), std::string::npos);
  // 16 blocks: the table weighs what a third matrix of each block does, which a LLaMA has.
  row.layers = 16;
  row.params_b = 1.34;
  EXPECT_NE(case_of(row).model.find("tied=true"), std::string::npos);
}

TEST(RowModel, WhatMayBeRecomputedMayFit) {
  TrainingRow row = full_row();
  row.framework = "Megatron-Bridge/Megatron-Core";
  row.micro_batch = 24;
  row.global_batch = 192;
  row.recompute = "none";
  EXPECT_FALSE(prediction_of(row).fits);
  row.recompute = "";  // recipes recompute as memory needs, and tables do not say so
  EXPECT_TRUE(prediction_of(row).fits);
}

TEST(RowModel, EagerAttentionPassesOverItsScoresAgainAndAgain) {
  // build-nanogpt: 300 ms eager, 130 compiled, 96 with fused attention
  TrainingRow row = testing::replicas_of("PyTorch");
  row.gpus = row.dp = 1;
  row.model_name = "GPT-2 124M";
  row.seq_len = 1024;
  row.micro_batch = row.global_batch = 16;
  const auto seconds = [&](const char* notes) {
    row.notes = notes;
    return seconds_of(row);
  };
  const double eager = seconds("eager; unfused attention");
  const double compiled = seconds("compile; unfused attention");
  const double fused = seconds("compile; fused attention");
  EXPECT_GT(eager, 1.3 * compiled);
  EXPECT_NEAR(compiled, 0.130, 0.15 * 0.130);
  EXPECT_NEAR(fused, 0.096, 0.15 * 0.096);
}

TEST(RowModel, WordsThatSayNothingKnownAreNamed) {
  TrainingRow row = full_row();
  row.recompute = "as usual";
  EXPECT_EQ(skipped(row), "recompute 'as usual' is not understood");
  row.recompute = "activation checkpointing";
  EXPECT_EQ(case_of(row).layout.recompute, RecomputeRule::full);
  row.fsdp_zero = "somehow";
  EXPECT_EQ(skipped(row), "fsdp_zero 'somehow' is not understood");
  row.fsdp_zero = "ZeRO stage 3";
  EXPECT_EQ(case_of(row).layout.shard, 3);
  row.dtype = "posit";
  EXPECT_EQ(skipped(row), "dtype 'posit' is not understood");
  row.dtype = "bf16, fp32 reduction";
  EXPECT_EQ(case_of(row).layout.element_bytes, 2);
  EXPECT_EQ(case_of(row).device.flops_per_s, 312e12);
  row.sequence_parallel = "sometimes";
  EXPECT_EQ(skipped(row), "sequence_parallel 'sometimes' is not understood");
}

TEST(RowModel, TheSizeOfAModelMayHaveAColumnOfItsOwn) {
  TrainingRow row = testing::replicas_of("PyTorch");
  row.model_name = "LLaMA";
  EXPECT_EQ(skipped(row), "the shape of model 'LLaMA' is blank");
  row.params_b = 7;
  EXPECT_EQ(case_of(row).facts->layers(), 32);
  row.model_name = "GPT-3";
  row.params_b = 175;
  EXPECT_EQ(case_of(row).facts->layers(), 96);
}

TEST(RowModel, ABareNameIsTheModelThatItIsUsedFor) {
  TrainingRow row = testing::replicas_of("PyTorch");
  row.model_name = "gpt2";  // Hugging Face's own name of the smallest
  EXPECT_EQ(case_of(row).facts->layers(), 12);
  row.model_name = "GPT-3";
  EXPECT_EQ(case_of(row).facts->layers(), 96);
  row.model_name = "GPT-3 XL";
  EXPECT_EQ(case_of(row).facts->layers(), 24);
  // Not where the row says otherwise.
  row.model_name = "gpt2";
  row.layers = 24;
  row.hidden = 2048;
  row.heads = 16;
  EXPECT_EQ(case_of(row).facts->layers(), 24);
  row.params_b = 24;
  row.layers = row.hidden = row.heads = std::nullopt;
  EXPECT_EQ(skipped(row), "the shape of model 'gpt2' is blank");
}

TEST(RowModel, ReplicasOfANodeAreSharedInIt) {
  TrainingRow row = full_row();
  row.gpus = row.dp = 64;
  row.global_batch = 512;
  row.fsdp_zero = "HYBRID_SHARD";
  EXPECT_EQ(case_of(row).layout.shard, 3);
  EXPECT_EQ(case_of(row).layout.shard_degree, 8);
}

TEST(RowModel, CopiesMayBeSharedByFewerRanks) {
  TrainingRow row = full_row();
  row.gpus = row.dp = 32;
  row.global_batch = 128;
  const auto shared_by = [&](const char* cell, const char* notes) {
    row.fsdp_zero = cell;
    row.notes = notes;
    return case_of(row).layout.shard_degree;
  };
  EXPECT_EQ(shared_by("fsdp=8", ""), 8);
  EXPECT_EQ(shared_by("FSDP8", ""), 8);
  EXPECT_EQ(shared_by("FSDP", "fsdp=8"), 8);
  EXPECT_EQ(shared_by("", "dp=4 x fsdp=8"), 8);
  EXPECT_EQ(case_of(row).layout.shard, 3);
  EXPECT_EQ(shared_by("HSDP", "fsdp: 16"), 16);  // not a node's
  EXPECT_EQ(shared_by("fsdp=32", ""), 0);        // all
  EXPECT_EQ(shared_by("FSDP2", ""), 0);          // its release
  EXPECT_EQ(shared_by("DDP", "fsdp=8"), 0);
  EXPECT_EQ(shared_by("FSDP", "no fsdp=8"), 0);
  row.fsdp_zero = "fsdp=7";
  EXPECT_EQ(skipped(row), "a shard degree of 7 does not divide dp x cp 32");
}

TEST(RowModel, PyTorchSplitsOperatorsAsTorchtitanDoes) {
  TrainingRow row = full_row();
  row.framework = "PyTorch FSDP + TP";
  EXPECT_EQ(case_of(row).stack.name, "pytorch");
  row.tp = 2;
  row.dp = 4;
  EXPECT_EQ(case_of(row).stack.name, "torchtitan");
}

TEST(RowModel, NotesSayInWhatGradientsAreReduced) {
  TrainingRow row = full_row();
  row.framework = "Megatron-Core";
  EXPECT_EQ(case_of(row).stack.reduced_bytes, 4);
  row.notes = "config_DGXH100.sh; gradients reduced in bf16";
  EXPECT_EQ(case_of(row).stack.reduced_bytes, 2);
}

TEST(RowModel, TorchtitanCutsABatchByItsStages) {
  TrainingRow row = full_row();
  row.framework = "torchtitan";
  row.pp = 4;
  row.dp = 2;
  row.micro_batch = std::nullopt;
  row.notes = "Interleaved 1F1B";
  const ParallelLayout l = case_of(row).layout;
  EXPECT_EQ(l.micro_batches, 4);  // 64 samples / 2 replicas / 8 each
  EXPECT_EQ(l.micro_batch, 8);
  EXPECT_EQ(l.virtual_stages, 2);
}

TEST(AcceleratorOf, APresetHasTheLinksThatRowsOfItsDevicesHave) {
  for (const char* name : {"H100-SXM-80GB", "A100-SXM-80GB", "V100-SXM-32GB", "B200-SXM-180GB",
                           "MI300X", "Gaudi2", "Ascend-910B2"}) {
    const DeviceRecord* record = find_device(load_database(), name);
    ASSERT_NE(record, nullptr) << name;
    const double devices = record->host ? record->host->devices : 8;
    const Cluster cluster = load_cluster("2n" + std::to_string(std::int64_t(devices)) + "x" + name);
    const Accelerator preset = accelerator_of(cluster, Precision::bf16);
    const Accelerator row = accelerator_of(*record, "bf16").value();
    EXPECT_NEAR(preset.links.all_bytes_per_s / row.links.all_bytes_per_s, 1, 1e-9) << name;
    EXPECT_NEAR(preset.links.pair_bytes_per_s / row.links.pair_bytes_per_s, 1, 1e-9) << name;
    EXPECT_EQ(preset.links.reached, row.links.reached) << name;
    EXPECT_EQ(preset.links.shape, row.links.shape) << name;
    EXPECT_EQ(preset.per_node, row.per_node) << name;
    EXPECT_NEAR(preset.network_bytes_per_s / row.network_bytes_per_s, 1, 1e-9) << name;
  }
}

TEST(AcceleratorOf, TheOrderOfDevicesChangesNothing) {
  const auto of = [](const char* preset) {
    return accelerator_of(load_cluster(preset), Precision::bf16);
  };
  // The slowest decides, wherever it stands.
  const Accelerator first = of("8xV100-SXM-32GB+8xA100-SXM-80GB");
  const Accelerator last = of("8xA100-SXM-80GB+8xV100-SXM-32GB");
  EXPECT_EQ(first, last);
  EXPECT_EQ(first.arch, "Volta");
  EXPECT_EQ(first.per_node, 8);
}

TEST(AcceleratorOf, HostsOfAPodAreJoinedByItsOwnLinks) {
  const Accelerator tpu = accelerator_of(load_cluster("16n4xTPU-v4"), Precision::bf16);
  EXPECT_EQ(tpu.per_node, 4096);
  EXPECT_GT(tpu.links.all_bytes_per_s, 200e9);
}

TEST(AcceleratorOf, TakesThePeakOfTheElementType) {
  const DeviceRecord& h100 = *find_device(load_database(), "H100-SXM-80GB");
  const Accelerator half = *accelerator_of(h100, "bf16"), narrow = *accelerator_of(h100, "FP8");
  EXPECT_FALSE(half.narrow);
  EXPECT_TRUE(narrow.narrow);
  EXPECT_NEAR(narrow.flops_per_s / half.flops_per_s, 2, 0.01);
  EXPECT_EQ(half.per_node, 8);
  // Scaled by rows: the casts, and no faster products.
  const Accelerator rows = *accelerator_of(h100, "float8 rowwise");
  EXPECT_TRUE(rows.narrow);
  EXPECT_EQ(rows.flops_per_s, half.flops_per_s);
  // 4-bit recipes keep a quarter of the work in 8 bits: 1 / (0.75 / 10 + 0.25 / 5) = 8 PFLOP/s.
  const DeviceRecord& gb200 = *find_device(load_database(), "GB200");
  EXPECT_NEAR(accelerator_of(gb200, "NVFP4")->flops_per_s, 8e15, 1e9);
  // Integers of 8 bits have a rate of their own: a TPU v5p has no other narrow one.
  const DeviceRecord& v5p = *find_device(load_database(), "TPU-v5p");
  EXPECT_EQ(accelerator_of(v5p, "INT8")->flops_per_s, 918e12);
  EXPECT_EQ(accelerator_of(v5p, "bf16")->flops_per_s, 459e12);
  // An A100 has no fp8: products stay in 16 bits.
  EXPECT_FALSE(accelerator_of(*find_device(load_database(), "A100-SXM-80GB"), "fp8")->narrow);
}

}  // namespace
}  // namespace parallel_opt
