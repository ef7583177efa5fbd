#include "tests/cost/row_fixture.h"

namespace parallel_opt {
namespace {

TrainingRow llama_row(const std::string& framework) {
  TrainingRow row = testing::replicas_of(framework);
  row.model_name = "Llama-2-7B";
  return row;
}

SoftwareStack stack_of(const TrainingRow& row) { return testing::case_of(row).stack; }

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
  for (const char* notes : {"some page; eager", "no compile", "without torch.compile",
                            "not compiled", "uncompiled", "compile=off", "compile: false"}) {
    row.notes = notes;
    EXPECT_FALSE(stack_of(row).fused_operators) << notes;
  }
  EXPECT_TRUE(stack_of(row).eager_host);
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

TEST(RowNotes, VoltaHasNoFlashAttentionUnlessARowSaysSo) {
  TrainingRow row = llama_row("HF + Deepspeed Zero 3");
  EXPECT_EQ(stack_of(row).attention, AttentionFamily::flash);
  row.gpu = "V100-SXM2-32GB";
  row.dtype = "fp16";
  EXPECT_EQ(stack_of(row).attention, AttentionFamily::unfused);
  row.notes = "xFormers; fused attention";
  EXPECT_EQ(stack_of(row).attention, AttentionFamily::flash);
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
  const auto printed = [&] {
    return std::get<RowPrediction>(predict(row)).peak_memory_bytes.value;
  };
  const double held = printed();
  row.notes = "memory is what nvidia-smi shows";
  EXPECT_GT(printed(), held + 2.2e9);  // and what the allocator holds beyond tensors
}

TEST(RowNotes, PaddleIsAStackOfItsOwn) {
  TrainingRow row = llama_row("PaddleNLP v2.7");
  row.tp = 2;
  row.dp = 4;
  EXPECT_EQ(stack_of(row).name, "paddlenlp");
}

}  // namespace
}  // namespace parallel_opt
