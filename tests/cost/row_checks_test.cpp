#include "parallel_opt/cost/row_checks.h"

#include "tests/cost/row_fixture.h"

namespace parallel_opt {
namespace {

using testing::case_of;
using testing::note_with;
using testing::skipped;
using testing::told;
using testing::usual_row;
using testing::whole_row;

TEST(RowChecks, DegreesDivideWhatTheySplit) {
  EXPECT_EQ(skipped(usual_row()), "");
  TrainingRow row = usual_row();
  row.pp = 8;
  EXPECT_EQ(skipped(row), "");
  row.pp = 48;
  EXPECT_EQ(skipped(row), "pp x vp makes 48 stages of 24 layers");
  row = usual_row();
  row.tp = 3;
  EXPECT_EQ(skipped(row), "tp 3 does not divide heads 16");
  row = usual_row();
  row.cp = 3;
  EXPECT_EQ(skipped(row).substr(0, 36), "cp 3 does not divide the sequence of");
  row = usual_row();
  row.heads = 15;
  EXPECT_EQ(skipped(row).substr(0, 31), "heads 15 does not divide hidden");
  row = usual_row();
  row.experts = 8;
  row.topk = 2;
  row.ep = 8;
  EXPECT_EQ(skipped(row), "");
  row.ep = 64;
  EXPECT_EQ(skipped(row), "ep 64 does not divide experts 8");
}

TEST(RowChecks, BatchesAreMadeOfMicroBatches) {
  TrainingRow row = usual_row();
  row.global_batch = 66;
  EXPECT_EQ(skipped(row), "micro_batch x dp 32 does not divide global_batch 66");
  row = whole_row();
  row.fsdp_zero = "FSDP";
  row.grad_accum = 2;  // 64 / (4 x 8)
  EXPECT_EQ(skipped(row), "");
  EXPECT_TRUE(case_of(row).notes.empty());
  row.grad_accum = 3;
  EXPECT_EQ(case_of(row).notes,
            std::vector<std::string>{
                "grad_accum is not global_batch / (micro_batch x dp); global_batch counts"});
}

TEST(RowChecks, APipelinesStepHasSomeMicroBatches) {
  TrainingRow row = usual_row("Megatron-Core");
  row.pp = 4;
  row.tp = 1;
  row.dp = 2;
  row.gpus = 8;
  row.global_batch = std::nullopt;
  EXPECT_EQ(skipped(row),
            "micro-batches of a pipeline's step are not counted: global_batch and grad_accum are "
            "blank");
  row.grad_accum = 8;
  EXPECT_EQ(case_of(row).layout.micro_batches, 8);
}

TEST(RowChecks, ParametersAreThoseOfTheDimensions) {
  TrainingRow row = whole_row();  // 24 x 12 x 2048^2 + 50257 x 2048 = 1.31e9
  row.fsdp_zero = "FSDP";
  row.params_b = 1.3;
  EXPECT_TRUE(case_of(row).notes.empty());
  row.params_b = 1.5;
  EXPECT_EQ(
      case_of(row).notes,
      std::vector<std::string>{"params_b is 10 to 25 % from what the model's dimensions make"});
  row.params_b = 0.9;
  row.ffn_hidden = std::nullopt;  // a narrower one makes it
  EXPECT_EQ(skipped(row), "");
  row.ffn_hidden = 8192;
  EXPECT_NE(skipped(row), "");
  row.experts = 8;  // those that a token meets
  row.topk = 1;
  EXPECT_EQ(skipped(row), "");
  row.params_b = 175;
  EXPECT_NE(skipped(row), "");
  row = usual_row();
  row.params_b = 175;
  EXPECT_EQ(skipped(row).substr(0, 49), "params_b is 175, and the model's dimensions make ");
  // A name says the width too.
  row.layers = row.hidden = row.heads = std::nullopt;
  row.model_name = "Llama 2 13B";
  row.params_b = 7;
  EXPECT_EQ(skipped(row), "params_b is 7, and the model's dimensions make 13.0");
  row.params_b = 13;
  EXPECT_EQ(skipped(row), "");
}

TEST(RowChecks, OtherModelsAndOtherWorkAreNamed) {
  for (const char* name : {"Mamba-2.8B",        "Jamba",           "Swin-L",
                           "CLIP ViT-L",        "T5-11B",          "mT5-xxl",
                           "flan-t5",           "UL2 20B",         "Whisper large",
                           "Nemotron-H-56B",    "Hymba-1.5B",      "Griffin",
                           "RecurrentGemma-9B", "Zamba2-7B",       "FalconMamba-7B",
                           "mBART-large",       "NLLB-3.3B",       "byT5-xxl",
                           "Switch-Base-8",     "MiniMax-Text-01", "Qwen3-Next-80B-A3B"}) {
    TrainingRow row = usual_row();
    row.model_name = name;
    EXPECT_NE(skipped(row), "") << name;
  }
  for (const char* name : {"Vicuna-7B", "own", "LLaMA", "MPT5", "Nemotron-4", "Gemma"}) {
    TrainingRow row = usual_row();
    row.model_name = name;
    EXPECT_EQ(skipped(row), "") << name;
  }
  for (const char* work : {"inference", "RLHF", "serving", "LLM inference (decode)"}) {
    TrainingRow row = usual_row();
    row.workload = work;
    EXPECT_EQ(skipped(row),
              "workload '" + std::string(work) + "' is not the training that is modelled");
  }
}

TEST(RowChecks, NamesThatLeaveTheModelOpenAreSkipped) {
  const struct {
    const char* name;
    const char* why;
  } kNames[] = {
      {"distilled from Llama 3 70B to 8B", "names two models, and its dimensions are blank"},
      {"Llama-3-8B from Llama-3-70B", "names two models, and its dimensions are blank"},
      {"pruned from Llama 3 70B", "names what it was made from, and its dimensions are blank"},
      {"Mistral-7B MoE upcycled 8x", "has experts, and how many is blank"}};
  TrainingRow row = testing::llama_row("Megatron-LM");
  for (const auto& [name, why] : kNames) {
    row.model_name = name;
    EXPECT_EQ(skipped(row), "model '" + std::string(name) + "' " + why);
  }
  for (const char* name : {"Llama 3 8B", "Llama 3 8B (no MoE)", "Llama-3-8B to 32k context",
                           "DeepSeek-MoE-16B", "Qwen3-30B-A3B MoE"}) {
    row.model_name = name;
    row.params_b = std::nullopt;
    EXPECT_EQ(skipped(row), "") << name;
  }
  row = usual_row();  // dimensions count
  row.model_name = "from 70B to 1.3B";
  EXPECT_EQ(skipped(row), "");
}

TEST(RowChecks, ModelsOfPicturesAreTold) {
  const std::string told_note =
      "only the language model is predicted, as model_name has pictures too";
  TrainingRow row = usual_row();
  for (const char* name : {"LLaVA-1.5", "own VLM", "Qwen2-VL", "multimodal", "vision-language"}) {
    row.model_name = name;
    EXPECT_EQ(told(row, told_note), 1) << name;
  }
  for (const char* name : {"own", "ViT-B/16", "Vision Transformer", "revision 2"}) {
    row.model_name = name;
    EXPECT_EQ(told(row, told_note), 0) << name;
  }
}

TEST(RowChecks, NamesMayCountLayers) {
  TrainingRow row = testing::llama_row("Megatron-LM");
  for (const char* name : {"Llama 3 8B (2 layers)", "Llama-3-8B 2-layer"}) {
    row.model_name = name;
    EXPECT_EQ(case_of(row).facts->layers(), 2) << name;
    EXPECT_EQ(told(row, "layers = 2, as model_name says"), 1) << name;
  }
  row.layers = 4;
  EXPECT_EQ(case_of(row).facts->layers(), 4);
}

TEST(RowChecks, NarrowTypesNeedADeviceThatHasThem) {
  TrainingRow row = usual_row();
  row.dtype = "fp8";
  EXPECT_EQ(skipped(row), "device 'A100-SXM-80GB' has no products of dtype 'fp8'");
  row.gpu = "H100-SXM-80GB";
  EXPECT_EQ(skipped(row), "");
  row.dtype = "nvfp4";
  EXPECT_NE(skipped(row), "");
  row.gpu = "B200-SXM-180GB";
  EXPECT_EQ(skipped(row), "");
}

TEST(RowChecks, WhatIsFilledInIsTold) {
  TrainingRow row = whole_row();
  row.fsdp_zero = "FSDP";
  EXPECT_TRUE(case_of(row).notes.empty());
  row.fsdp_zero = "";
  row.framework = "Foobar";
  row.tp = 2;
  row.dp = 4;
  row.dtype = "";
  row.micro_batch = std::nullopt;
  row.heads = std::nullopt;
  EXPECT_EQ(
      case_of(row).notes,
      (std::vector<std::string>{
          "heads = hidden / 128, as none are stated",
          "stack megatron, as framework 'Foobar' is not known",
          "sequence parallelism, as is megatron's way, as sequence_parallel is blank",
          "fsdp_zero = ZeRO stage 1, as is megatron's way, as it is blank",
          "dtype = 16 bits, as none is stated", "micro_batch from global_batch and the layout"}));
  row.framework = "";
  row.tp = 1;
  EXPECT_EQ(case_of(row).notes.at(1), "stack pytorch, as no framework is stated");
}

TEST(RowChecks, SoftwareThatServesModelsTrainsNone) {
  TrainingRow row = usual_row();
  for (const char* framework : {"vLLM", "vllm 0.6.3", "SGLang", "TensorRT-LLM", "llama.cpp"}) {
    row.framework = framework;
    EXPECT_EQ(skipped(row), "framework '" + row.framework +
                                "' serves models, which is not the training that is modelled");
  }
  row.framework = "PyTorch FSDP, rollouts by vLLM";
  EXPECT_EQ(skipped(row), "");
}

TEST(RowChecks, WorkThatIsNoTrainingIsSkipped) {
  TrainingRow row = usual_row();
  const auto why = [&](const char* workload) {
    row.workload = workload;
    return skipped(row);
  };
  for (const char* workload : {"inference", "RL", "reinforcement learning", "distillation",
                               "evaluation", "forward only", "prefill", "decode", "DPO"}) {
    EXPECT_NE(why(workload).find("is not the training that is modelled"), std::string::npos)
        << workload;
  }
  for (const char* workload :
       {"LoRA", "QLoRA", "DoRA", "IA3", "BitFit", "adapter", "frozen backbone"}) {
    EXPECT_NE(why(workload).find("frozen weights"), std::string::npos) << workload;
  }
  for (const char* workload :
       {"", "pretrain", "continued pre-training", "full fine-tuning", "decoder-only pretraining",
        "pretraining with evaluation", "next-generation LLM pretraining", "performance evaluation",
        "pretraining, no LoRA", "full fine-tuning (not LoRA)", "pretrain (not RL)", "benchmark"}) {
    EXPECT_EQ(why(workload), "") << workload;
  }
  row.workload = "synthetic data";
  EXPECT_EQ(case_of(row).notes.at(0), "workload 'synthetic data' counts as training");
}

TEST(RowChecks, FewWeightsAreNamedInAnyCell) {
  TrainingRow row = usual_row();
  for (const char* name : {"own + LoRA", "Alpaca-LoRA", "LLaMA-Adapter"}) {
    row.model_name = name;
    EXPECT_NE(skipped(row).find("frozen weights"), std::string::npos) << name;
  }
  row = usual_row();
  row.framework = "Megatron-LM + PEFT";
  EXPECT_EQ(skipped(row), "framework 'Megatron-LM + PEFT': frozen weights have no gradients");
  row = usual_row();
  row.notes = "16 nodes; QLoRA r=16";
  EXPECT_EQ(skipped(row), "'QLoRA' in the notes: frozen weights have no gradients");
  for (const char* notes : {"LoRA", "(IA)3", "prefix tuning", "prompt-tuning of 20 tokens"}) {
    row.notes = notes;
    EXPECT_NE(skipped(row).find("frozen weights"), std::string::npos) << notes;
  }
  for (const char* notes :
       {"no LoRA", "full fine-tuning (not LoRA)", "LoRA: off", "two network adapters",
        "exploration of layouts", "compared with LoRA in section 3"}) {
    row.notes = notes;
    EXPECT_EQ(skipped(row), "") << notes;
  }
}

TEST(RowChecks, FiguresThatCannotBeAreTold) {
  TrainingRow row = usual_row();
  row.peak_share = 1.5;
  EXPECT_EQ(told(row, "measured: more than the whole peak"), 1);
  row.peak_share = 0.5;
  EXPECT_EQ(told(row, "measured: more than the whole peak"), 0);
  row.flops_per_s = 5e15;
  row.peak_memory_bytes = 200e9;
  row.ep = 8;
  EXPECT_NE(note_with(row, "TFLOP/s of the device"), "");
  EXPECT_EQ(told(row, "measured: more memory than the device has"), 1);
  EXPECT_EQ(told(row, "ep and etp count for nothing, as the model has no experts"), 1);
  row = testing::llama_row("Megatron-LM");
  row.model_name = "Mixtral 8x7B";
  EXPECT_EQ(told(row, "ep = 1, as none is stated"), 1);
  row.ep = 8;
  EXPECT_EQ(told(row, "ep = 1, as none is stated"), 0);
}

TEST(RowChecks, TimesThatCannotBeAreTold) {
  TrainingRow row = usual_row();  // 6 x 1.3e9 x 16384 tokens at 312 TFLOP/s: 0.41 s
  row.iteration_s = 0.5;
  EXPECT_EQ(note_with(row, "measured: "), "");
  row.iteration_s = 0.35;
  EXPECT_EQ(told(row, "measured: more than the 312 TFLOP/s of the device"), 1);
  row.dtype = "fp8";
  row.gpu = "H100";
  EXPECT_EQ(note_with(row, "measured: "), "");
}

TEST(RowChecks, ShapesByNameWeighWhatTheNameSays) {
  const std::vector<std::pair<std::string, double>> named = {{"Qwen1.5-110B", 111.2e9},
                                                             {"Nemotron 340B", 341e9},
                                                             {"OLMo-2-13B", 13.7e9},
                                                             {"OLMo-2 7B", 7.3e9},
                                                             {"TinyLlama-1.1B", 1.1e9},
                                                             {"InternLM2-20B", 19.9e9},
                                                             {"InternLM2-7B", 7.7e9},
                                                             {"Phi-4", 14.7e9},
                                                             {"Phi-3-mini", 3.8e9},
                                                             {"StarCoder2-15B", 15.7e9},
                                                             {"StarCoder2-7B", 7.2e9},
                                                             {"StarCoder2-3B", 3.0e9},
                                                             {"LLaMA 6.7B", 6.7e9},
                                                             {"Mistral-Large-2", 122.6e9},
                                                             {"Qwen1.5-MoE-A2.7B", 14.3e9},
                                                             {"Gemma 3 27B", 27e9},
                                                             {"GLM-4-9B", 9.4e9},
                                                             {"ChatGLM3-6B", 6.2e9},
                                                             {"Apertus 70B", 70.6e9},
                                                             {"Apertus-8B", 8.05e9},
                                                             {"SmolLM2-1.7B", 1.7e9},
                                                             {"baichuan-7b", 7.0e9},
                                                             {"OLMoE", 6.9e9},
                                                             {"GPT-2 350M", 0.355e9},
                                                             {"RoBERTa-large", 0.355e9},
                                                             {"Qwen1.5-32B", 32.5e9},
                                                             {"Phi-4-mini", 3.8e9},
                                                             {"Megatron-Turing NLG", 530e9}};
  for (const auto& [name, parameters] : named) {
    TrainingRow row = usual_row();
    row.model_name = name;
    row.layers = row.hidden = row.heads = std::nullopt;
    const auto found = row_case(row);
    const auto* made = std::get_if<RowCase>(&found);
    ASSERT_NE(made, nullptr) << name << ": " << std::get<std::string>(found);
    EXPECT_NEAR(made->facts->parameters / parameters, 1, 0.03) << name;
  }
}

}  // namespace
}  // namespace parallel_opt
