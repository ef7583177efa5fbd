#include <gtest/gtest.h>

#include "parallel_opt/cost/accelerator.h"
#include "parallel_opt/hardware/preset.h"
#include "tests/cost/row_fixture.h"

namespace parallel_opt {
namespace {

using testing::case_of;
using testing::llama_row;
using testing::note_with;
using testing::prediction_of;
using testing::seconds_of;
using testing::told;

SoftwareStack stack_of(const TrainingRow& row) { return case_of(row).stack; }

TEST(RowNotes, SayWhetherPyTorchCompiles) {
  TrainingRow row = llama_row("PyTorch FSDP2");
  EXPECT_FALSE(stack_of(row).fused_operators);
  row.notes = "some page; compile; bf16";
  EXPECT_TRUE(stack_of(row).fused_operators);
  EXPECT_FALSE(stack_of(row).eager_host);
  row.tp = 2;  // torchtitan's way of splitting operators: compiled, unless the row says otherwise
  row.dp = 4;
  row.notes = "";
  EXPECT_TRUE(stack_of(row).fused_operators);
  for (const char* notes :
       {"some page; eager", "no compile", "without torch.compile", "not compiled", "uncompiled",
        "compile=off", "compile: false", "torch.compile disabled", "torch.compile is disabled",
        "torch.compile: disabled", "torch.compile (disabled)", "torch.compile not enabled",
        "torch.compile unsupported", "compile was off", "compile off"}) {
    row.notes = notes;
    EXPECT_FALSE(stack_of(row).fused_operators) << notes;
  }
  EXPECT_TRUE(stack_of(row).eager_host);
  row.notes = "eager attention";  // of attention alone
  EXPECT_TRUE(stack_of(row).fused_operators);
  row.framework = "Megatron-Core";  // has kernels of its own
  EXPECT_TRUE(stack_of(row).fused_operators);
}

TEST(RowNotes, SayWhatIsFused) {
  TrainingRow row = llama_row("PyTorch DDP");
  row.notes = "fused layernorm and swiglu";
  EXPECT_TRUE(stack_of(row).fused_operators);
  EXPECT_TRUE(stack_of(row).eager_host);
  row.notes = "";
  EXPECT_EQ(stack_of(row).attention, AttentionFamily::flash);
  row.notes = "Hugging Face GPT-2; unfused attention";
  EXPECT_EQ(stack_of(row).attention, AttentionFamily::unfused);
}

TEST(RowNotes, SayWhereGradientsAndLogitsAreWhole) {
  TrainingRow row = llama_row("PyTorch FSDP2");
  EXPECT_FALSE(stack_of(row).reduces_once);
  EXPECT_FALSE(stack_of(row).whole_logits);
  row.notes = "gradients stay whole until the last micro-batch; logits whole on every rank";
  EXPECT_TRUE(stack_of(row).reduces_once);
  EXPECT_TRUE(stack_of(row).whole_logits);
  EXPECT_EQ(stack_of(row).logits_bytes, 12);
  row.notes = "loss in 16 bits";
  EXPECT_EQ(stack_of(row).logits_bytes, 8);
  row.notes = "accumulates under no_sync()";
  EXPECT_TRUE(stack_of(row).reduces_once);
}

TEST(RowNotes, SayHowTokensReachTheirExperts) {
  TrainingRow row = llama_row("Megatron-Core");
  EXPECT_TRUE(stack_of(row).dispatches_once_per_node);
  row.notes = "all-to-all dispatcher";
  EXPECT_FALSE(stack_of(row).dispatches_once_per_node);
  row.framework = "DeepSpeed";
  row.notes = "DeepEP";
  EXPECT_TRUE(stack_of(row).dispatches_once_per_node);
}

TEST(RowNotes, SayWhoseMemoryIsPrinted) {
  TrainingRow row = llama_row("Megatron-LM");
  EXPECT_FALSE(stack_of(row).prints_first_stage);
  row.notes = "peak memory of the first rank, max_memory_reserved; expandable segments";
  EXPECT_TRUE(stack_of(row).prints_first_stage);
  EXPECT_TRUE(stack_of(row).prints_reserved);
  EXPECT_TRUE(stack_of(row).expands_segments);
  row.framework = "torchtitan";
  row.notes = "max_memory_allocated";
  EXPECT_FALSE(stack_of(row).prints_reserved);
}

TEST(RowNotes, SayThatMemoryIsTheDrivers) {
  TrainingRow row = llama_row("Megatron-LM");
  const auto printed = [&] { return prediction_of(row).peak_memory_bytes.value; };
  const double held = printed();
  row.notes = "memory is what nvidia-smi shows";
  EXPECT_GT(printed(), held + 2.2e9);  // and what the allocator holds beyond tensors
  // The counter that is named first is the figure's.
  row.notes = "max_memory_allocated 40.0 GB (nvidia-smi 52 GB)";
  EXPECT_EQ(printed(), held);
}

TEST(RowNotes, SayHowManyExpertsServeAllTokens) {
  TrainingRow row = testing::blocks_of("Megatron-LM", 4, 1024);
  row.experts = 8;
  row.topk = 2;
  row.ffn_hidden = 1024;
  const double none = case_of(row).facts->parameters;
  row.notes = "some page; 2 shared experts (2048)";
  EXPECT_NEAR(case_of(row).facts->parameters - none, 4 * 2 * 3 * 1024 * 1024, 2e5);
  row.notes = "no shared experts";
  EXPECT_EQ(case_of(row).facts->parameters, none);
}

TEST(RowNotes, ForksForGaudiRunCompiledGraphs) {
  TrainingRow row = llama_row("Megatron-DeepSpeed");
  EXPECT_TRUE(stack_of(row).eager_host);
  row.gpu = "Gaudi 2";
  EXPECT_EQ(stack_of(row).name, "habana");
  EXPECT_FALSE(stack_of(row).eager_host);
  row.framework = "Optimum Habana";
  EXPECT_EQ(stack_of(row).name, "habana");
}

TEST(RowNotes, PaddleIsAStackOfItsOwn) {
  TrainingRow row = llama_row("PaddleNLP v2.7");
  row.tp = 2;
  row.dp = 4;
  EXPECT_EQ(stack_of(row).name, "paddlenlp");
}

TEST(RowNotes, NameTheVirtualStagesThatAreAssumed) {
  TrainingRow row = llama_row("Megatron-LM");
  row.gpus = row.pp = 4;
  row.dp = 1;
  row.schedule = "interleaved 1F1B";
  const std::string assumed = "vp = 4, as the schedule is interleaved and vp is blank";
  EXPECT_EQ(told(row, assumed), 1);
  row.vp = 2;
  EXPECT_EQ(told(row, assumed), 0);
  row.vp = std::nullopt;
  row.schedule = "";
  EXPECT_EQ(told(row, assumed), 0);
  row.notes = "interleaved schedule";
  EXPECT_EQ(told(row, assumed), 1);
}

TEST(RowNotes, NameVirtualStagesThatTheScheduleContradicts) {
  TrainingRow row = llama_row("Megatron-LM");
  row.gpus = row.pp = 4;
  row.dp = 1;
  const auto stages_told = [&](const std::string& schedule, double stages) {
    row.schedule = schedule;
    row.vp = stages;
    return note_with(row, "vp = ");
  };
  EXPECT_EQ(stages_told("ZB-H1", 2), "vp = 2 counts for nothing, as a rank of zb_h1 has one stage");
  EXPECT_EQ(case_of(row).layout.virtual_stages, 1);
  EXPECT_EQ(stages_told("ZB-V", 3), "vp = 3 counts for nothing, as a rank of zb_v has two stages");
  EXPECT_EQ(case_of(row).layout.virtual_stages, 2);
  EXPECT_EQ(stages_told("ZB-V", 2), "");
  EXPECT_EQ(stages_told("DualPipe", 2), "");  // of either copy one
  EXPECT_EQ(stages_told("1F1B", 2), "");
  EXPECT_EQ(stages_told("looped BFS", 4), "");
  EXPECT_EQ(case_of(row).layout.virtual_stages, 4);
}

TEST(RowNotes, NameTheNetworkThatIsAssumed) {
  TrainingRow row = llama_row("Megatron-LM");
  const auto network_told = [&] { return note_with(row, "a network of "); };
  row.gpu = "V100-SXM2-16GB";
  row.gpus = row.dp = 8;
  row.global_batch = 16;
  row.micro_batch = 1;
  EXPECT_EQ(network_told(), "");  // one node
  row.gpus = row.dp = 16;
  EXPECT_EQ(network_told(),
            "a network of 6.25 GB/s per V100-SXM-16GB is assumed (DGX-1 data sheet), as no "
            "interconnect is stated");
  row.interconnect = "RoCE";  // without a rate
  EXPECT_EQ(network_told(),
            "a network of 6.25 GB/s per V100-SXM-16GB is assumed (DGX-1 data sheet), as "
            "interconnect says no rate");
  row.interconnect = "EDR InfiniBand";
  EXPECT_EQ(network_told(),
            "a network of EDR InfiniBand: 100 Gbit/s per adapter, 4 adapters of its usual "
            "machine, as no rate is stated");
  row.interconnect = "100 Gb/s per node";
  EXPECT_EQ(network_told(), "");
  const auto taken_as_each = [&] {
    return told(row, "interconnect's rate is one of each device, as it is not said to be a node's");
  };
  EXPECT_EQ(taken_as_each(), 0);
  row.interconnect = "InfiniBand 100 Gb/s";
  EXPECT_EQ(taken_as_each(), 1);
  row.gpus = row.dp = 8;
  EXPECT_EQ(taken_as_each(), 0);
  row.gpus = row.dp = 16;
  row.interconnect = "";
  row.gpu = "A40";
  EXPECT_EQ(network_told(),
            "a network of 1.56 GB/s per A40 is assumed (one adapter of 100 Gbit/s per node), as "
            "neither it nor its usual machine is known");
}

TEST(RowNotes, NameTheNodesOfDevicesThatAreBoughtInRacks) {
  TrainingRow row = llama_row("Megatron-LM");
  row.gpus = row.dp = row.global_batch = 64;
  row.micro_batch = 1;
  const auto joined = [&] { return case_of(row).device.per_node; };
  const auto told = [&] { return note_with(row, "NVLink joins"); };
  const std::string rack =
      "NVLink joins a rack of 72 GB200, as neither NVL4 nor another number is named";
  row.gpu = "GB200";
  EXPECT_EQ(told(), rack);
  EXPECT_EQ(joined(), 72);
  row.gpus_per_node = 4;  // a tray, as srun counts
  EXPECT_EQ(told(), rack);
  EXPECT_EQ(joined(), 72);
  row.gpu = "GB200-NVL72";
  EXPECT_EQ(told(), "");  // its name says so
  EXPECT_EQ(joined(), 72);
  row.gpu = "GB200 NVL4";
  EXPECT_EQ(joined(), 4);
  row.gpu = "GB200";
  row.gpus_per_node = 36;
  EXPECT_EQ(told(), "");
  EXPECT_EQ(joined(), 36);
  row.gpus_per_node = 4;
  for (const char* words : {"NVL4 + IB", "no NVLink across trays, NDR 400G", "MNNVL off",
                            "NVLink inside the node, 400 Gb/s IB between nodes", "not NVL72"}) {
    row.interconnect = words;
    EXPECT_EQ(joined(), 4) << words;
    EXPECT_EQ(told(), "") << words;
  }
  row.interconnect = "NVL72";
  EXPECT_EQ(joined(), 72);
  EXPECT_EQ(told(), "");
  row.interconnect = "";
  row.notes = "NCCL_MNNVL_ENABLE=0";
  EXPECT_EQ(joined(), 4);
  row.notes = "NVL36";
  EXPECT_EQ(joined(), 36);
  row.notes = "";
  row.gpu = "GB300-NVL72";
  row.gpus_per_node.reset();
  EXPECT_EQ(joined(), 72);
  row.gpu = "H100-NVL-94GB";
  row.gpus_per_node = 2;
  EXPECT_EQ(joined(), 2);
}

TEST(RowNotes, AModelByItsNameIsTheOneSpelledOut) {
  // On A100, where models of before 2023 ran unfused attention: what a name means counts as what
  // columns say.
  struct Shape {
    const char* name;
    double layers, hidden, heads, kv_heads, ffn, vocab;
  };
  for (const Shape& one : {Shape{"Yi 34B", 60, 7168, 56, 8, 20480, 64000},
                           Shape{"StarCoder2-15B", 40, 6144, 48, 4, 24576, 49152},
                           Shape{"Falcon 40B", 60, 8192, 128, 8, 32768, 65024}}) {
    TrainingRow row = testing::replicas_of("Megatron-LM");
    row.gpu = "A100-SXM-80GB";
    row.params_b = row.layers = row.hidden = row.heads = row.kv_heads = row.ffn_hidden = row.vocab =
        std::nullopt;
    row.model_name = one.name;
    const SoftwareStack named = stack_of(row);
    EXPECT_NE(named.attention, AttentionFamily::unfused) << one.name;
    row.layers = one.layers;
    row.hidden = one.hidden;
    row.heads = one.heads;
    row.kv_heads = one.kv_heads;
    row.ffn_hidden = one.ffn;
    row.vocab = one.vocab;
    EXPECT_EQ(stack_of(row).attention, named.attention) << one.name;
  }
}

TEST(RowNotes, NameWhatZeroPlusPlusAdds) {
  TrainingRow row = llama_row("DeepSpeed");
  const auto passed_over = [&](const char* shares) {
    row.fsdp_zero = shares;
    return told(row,
                "what ZeRO++ adds to ZeRO-3 (second shards in a node, narrow gathers) counts for "
                "nothing");
  };
  EXPECT_EQ(passed_over("ZeRO++ (hpZ=8)"), 1);
  EXPECT_EQ(passed_over("3 (hpZ=8)"), 1);
  EXPECT_EQ(passed_over("ZeRO-3"), 0);
}

TEST(RowNotes, SayInWhichTypeGradientsTravel) {
  TrainingRow row = llama_row("Megatron-LM");
  const auto bytes = [&](const char* framework, const char* notes) {
    row.framework = framework;
    row.notes = notes;
    EXPECT_EQ(stack_of(row).reduced_bytes, stack_of(row).gradient_bytes) << notes;
    return stack_of(row).reduced_bytes;
  };
  EXPECT_EQ(bytes("Megatron-LM", "gradients reduced in bf16"), 2);
  EXPECT_EQ(bytes("Megatron-LM", "gradients reduced in 16 bits"), 2);
  for (const char* notes : {"bf16 gradient reduction", "gradient reduction in bf16", "bf16 reduce",
                            "grads reduced in bfloat16", "reduce_dtype=bf16",
                            "grad reduce dtype bf16", "bf16 all-reduce of gradients"}) {
    EXPECT_EQ(bytes("Megatron-LM", notes), 2) << notes;
  }
  EXPECT_EQ(bytes("Megatron-LM", "no gradients reduced in bf16"), 4);
  EXPECT_EQ(bytes("NeMo", "gradients are reduced in fp32"), 4);
  EXPECT_EQ(bytes("NeMo", ""), 2);
}

TEST(RowNotes, TurnOverlapsOffAndNameOptimizers) {
  TrainingRow row = llama_row("Megatron-LM");
  EXPECT_TRUE(stack_of(row).overlaps_data);
  row.notes = "overlap_grad_reduce=False; overlap_param_gather: false; SGD; sliding window 1024";
  EXPECT_FALSE(stack_of(row).overlaps_data);
  EXPECT_FALSE(stack_of(row).overlaps_gathers);
  EXPECT_EQ(case_of(row).layout.optimizer_states, 0);
  EXPECT_EQ(told(row, "'sliding window' in the notes counts for nothing"), 1);
}

TEST(RowNotes, PagedStatesAreOnTheDevice) {
  TrainingRow row = llama_row("PyTorch FSDP");
  const double held = prediction_of(row).peak_memory_bytes.value;
  for (const char* notes : {"paged AdamW", "paged_adamw_32bit", "PagedAdamW", "AdamW, paged"}) {
    row.notes = notes;
    EXPECT_EQ(told(row, "paged optimizer states count as on the device"), 1) << notes;
    EXPECT_EQ(prediction_of(row).peak_memory_bytes.value, held) << notes;
  }
  row.notes = "AdamW; paged attention";
  EXPECT_EQ(note_with(row, "paged"), "");
}

TEST(RowNotes, StepsInTheBackwardFreeGradients) {
  // Of 6.7e9 gradients of 2 bytes those of one block, 0.2e9, are there at once.
  TrainingRow row = llama_row("torchtune");
  row.gpus = row.dp = row.global_batch = 1;
  row.dtype = "pure bf16";
  const double whole = prediction_of(row).needed_bytes;
  for (const char* notes : {"optimizer in backward", "optimizer_in_bwd=True",
                            "fused optimizer step in backward", "optimizer step in the backward"}) {
    row.notes = notes;
    EXPECT_NEAR(whole - prediction_of(row).needed_bytes, 2 * (6.74e9 - 0.2e9), 1e8) << notes;
  }
  row.global_batch = 4;
  EXPECT_EQ(told(row,
                 "the optimizer's step in the backward counts for nothing, as gradients "
                 "accumulate"),
            1);
  EXPECT_EQ(prediction_of(row).needed_bytes, whole);
  row.notes = "optimizer in backward: off";
  EXPECT_EQ(note_with(row, "step in the backward"), "");
}

TEST(RowNotes, SayHowSequencesAreSplit) {
  TrainingRow row = llama_row("torchtitan");
  row.notes = "Ulysses";
  EXPECT_EQ(told(row, "'Ulysses' in the notes counts for nothing, as cp is 1 or blank"), 1);
  row.cp = 2;
  row.dp = 4;
  EXPECT_EQ(told(row, "'Ulysses' in the notes counts as a ring of keys and values"), 1);
  row.notes = "ring attention";  // as it is modelled
  EXPECT_EQ(note_with(row, "ring"), "");
}

TEST(RowNotes, LigersKernelsAreFusedAndMakeLogitsInPieces) {
  TrainingRow row = llama_row("PyTorch FSDP");  // 4096 wide, 32000 words
  row.notes = "Liger kernel";
  EXPECT_TRUE(stack_of(row).fused_operators);
  EXPECT_NEAR(stack_of(row).logits_bytes, 12 * 4096.0 / 32000, 1e-9);
  const double pieces = prediction_of(row).peak_memory_bytes.value;
  row.notes = "no Liger kernel";
  EXPECT_FALSE(stack_of(row).fused_operators);
  EXPECT_LT(pieces, prediction_of(row).peak_memory_bytes.value);
  row.notes = "";
  row.framework = "HF Trainer + Liger";
  EXPECT_TRUE(stack_of(row).fused_operators);
}

TEST(RowNotes, LossesThatMakeLogitsInPiecesAreNamedInManyWays) {
  TrainingRow row = llama_row("PyTorch FSDP");
  for (const char* notes : {"chunked loss", "fused linear cross entropy", "chunked_nll",
                            "cut cross-entropy", "linear CE", "chunked cross_entropy (8 chunks)"}) {
    row.notes = notes;
    EXPECT_NEAR(stack_of(row).logits_bytes, 12 * 4096.0 / 32000, 1e-9) << notes;
    EXPECT_FALSE(stack_of(row).fused_operators) << notes;
  }
  for (const char* notes : {"fused cross entropy", "no chunked loss", "chunked prefill", ""}) {
    row.notes = notes;
    EXPECT_EQ(stack_of(row).logits_bytes, 12) << notes;
  }
}

TEST(RowNotes, AGraphReplaysWhatPythonLaunches) {
  // Short blocks wait for Python, unless a graph holds their launches.
  TrainingRow row = llama_row("Megatron-LM");
  row.gpu = "H200";
  row.params_b = row.ffn_hidden = std::nullopt;
  row.model_name = "small";
  row.layers = 24;
  row.hidden = 1024;
  row.heads = 16;
  row.kv_heads = std::nullopt;
  row.seq_len = 512;
  row.micro_batch = 1;
  const auto seconds = [&](const char* notes) {
    row.notes = notes;
    return seconds_of(row);
  };
  EXPECT_LT(seconds("full CUDA graphs"), seconds("") / 2);
  EXPECT_EQ(seconds("no CUDA graphs"), seconds(""));
  // Of parts: Python launches the rest.
  const auto host = [&](const char* notes) {
    row.notes = notes;
    return case_of(row).stack.host_factor;
  };
  for (const char* notes : {"CUDA graphs of moe_router and moe_preprocess",
                            "CUDA graphs for moe_router", "cuda_graph_scope=moe_router"}) {
    EXPECT_EQ(host(notes), host("")) << notes;
  }
  for (const char* notes : {"CUDA graph of attention", "cuda_graph_scope: attn, moe_router"}) {
    EXPECT_EQ(host(notes), host("") / 2) << notes;
  }
  for (const char* notes : {"CUDA graphs", "full-iteration CUDA graph", "CUDA graphs; attention",
                            "cuda_graph_impl=full_iteration"}) {
    EXPECT_EQ(host(notes), 0) << notes;
  }
}

TEST(RowNotes, NameTheRateThatStandsIn) {
  TrainingRow row = llama_row("Megatron-LM");
  row.gpu = "Gaudi2";
  const auto stands_in = [&](const std::string& type) {
    row.dtype = type;
    return told(row, "products of Gaudi2 as fast as in 16 bits, as no rate in fp32 is known");
  };
  EXPECT_EQ(stands_in("fp32"), 1);
  EXPECT_EQ(stands_in("bf16"), 0);
  row.gpu = "A100-SXM-80GB";
  EXPECT_EQ(stands_in("fp32"), 0);
}

TEST(RowNotes, BridgesJoinTwoBoardsOfANode) {
  TrainingRow row = llama_row("Megatron-LM");
  row.gpu = "A100-PCIe-80GB";
  row.gpus_per_node = 8;
  const auto links = [&] { return case_of(row).device.links.all_bytes_per_s; };
  EXPECT_EQ(links(), 31.5e9);
  EXPECT_EQ(note_with(row, "bridge"),
            "links of A100-PCIe-80GB are PCIe4x16, as its NVLink3-bridge joins two of the 8 in a "
            "node");
  // The same node in a cluster.
  const auto in_cluster = accelerator_of(preset_cluster("8xA100-PCIe-80GB"), Precision::bf16).links;
  EXPECT_NEAR(links() / in_cluster.all_bytes_per_s, 1, 1e-9);
  row.gpus = row.gpus_per_node = row.dp = 2;
  EXPECT_EQ(links(), 300e9);
  EXPECT_EQ(note_with(row, "bridge"), "");
}

TEST(RowNotes, MemorySizesOfOneChipHaveOneNetwork) {
  // Where a fact says otherwise a record's source names it.
  const auto network = [](const char* name) {
    return accelerator_of(*find_device(load_database(), name), "fp16")->network_bytes_per_s;
  };
  EXPECT_EQ(network("V100-SXM-16GB"), network("V100-SXM-32GB"));
  EXPECT_EQ(network("A100-SXM-40GB"), network("A100-SXM-80GB"));
  EXPECT_EQ(network("GH200-96GB"), network("GH200-144GB"));
}

}  // namespace
}  // namespace parallel_opt
