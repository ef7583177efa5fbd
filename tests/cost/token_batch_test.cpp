#include "parallel_opt/cost/token_batch.h"

#include <gtest/gtest.h>

namespace parallel_opt {
namespace {

TEST(TokenBatch, CellsCountTokens) {
  const auto tokens = [](const char* cell) {
    const auto found = tokens_of_batch(cell);
    return found ? found->count * (found->thousands == 2   ? 1e6
                                   : found->thousands == 1 ? 1e3
                                                           : 1)
                 : -1;
  };
  EXPECT_EQ(tokens("4M tokens"), 4e6);
  EXPECT_EQ(tokens("4M"), 4e6);
  EXPECT_EQ(tokens("4Mi tokens"), 4e6);
  EXPECT_EQ(tokens("~0.5M tokens"), 5e5);
  EXPECT_EQ(tokens("2 million tokens"), 2e6);
  EXPECT_EQ(tokens("512K tokens/step"), 512e3);
  EXPECT_EQ(tokens("4,194,304 tokens"), 4194304);
  EXPECT_EQ(tokens("4194304 tokens per batch"), 4194304);
  for (const char* cell : {"1024", "4k", "1024 sequences", "M", "4M sequences", "4M images", ""}) {
    EXPECT_EQ(tokens(cell), -1) << cell;
  }
}

TEST(TokenBatch, SequencesBesideTokensCount) {
  EXPECT_EQ(without_tokens("1024 (4M tokens)"), "1024");
  EXPECT_EQ(without_tokens("1,024 sequences (4,194,304 tokens)"), "1,024 sequences");
  EXPECT_EQ(without_tokens("1024 / 4M tokens"), "1024");
  EXPECT_EQ(without_tokens("1024 x 4096 tokens"), "1024");
  EXPECT_EQ(without_tokens("1024 sequences of 4,096 tokens"), "1024 sequences");
  EXPECT_EQ(without_tokens("4M tokens (1024 sequences)"), "1024 sequences");
  EXPECT_EQ(without_tokens("4M tokens"), "4M tokens");
  EXPECT_EQ(without_tokens("1024 (one)"), "1024 (one)");
}

TEST(TokenBatch, NotesNameTheBatch) {
  const auto words = [](const char* notes) {
    const auto found = token_batch_in_notes(notes);
    return found ? found->words : "";
  };
  for (const char* notes :
       {"global batch of 4M tokens", "trained with a batch size of 4M tokens",
        "global batch size: 4M tokens", "A100; mini-batch of 4M tokens (constant)", "GBS 4M tokens",
        "4M tokens per step", "4M tokens per batch", "a batch size of 4M tokens; 4M tokens/step"}) {
    EXPECT_EQ(words(notes), "4M tokens") << notes;
  }
  EXPECT_EQ(words("a 4M-token batch"), "4M-token");
  for (const char* notes :
       {"micro-batch of 8192 tokens", "local batch size of 1M tokens", "batch of 4M samples",
        "batch size of 1M tokens per GPU", "batch size of 2M tokens, then batch size of 4M tokens",
        "trained on 300B tokens", "4096 tokens per batch", "batch of 4M to 16M tokens"}) {
    EXPECT_EQ(words(notes), "") << notes;
  }
}

TEST(TokenBatch, SequencesArePartedByWhatReplicasTakeAtOnce) {
  const TokenBatch four{4, 2, "4M"};
  EXPECT_EQ(sequences_of(four, 2048, 256), 2048);  // 2^22 / 2^11
  EXPECT_EQ(sequences_of(four, 4096, 1), 1024);
  // 1562.5 sequences of 3.2e6, none of 3.2 x 2^20: 1536 = 4 x 384.
  EXPECT_EQ(sequences_of({3.2, 2, "3.2M"}, 2048, 384), 1536);
  EXPECT_EQ(sequences_of({3, 2, "3M"}, 2048, 1536), 1536);  // 3 x 2^20
  // 2^22 is no multiple of 24 sequences: 1953.1 of 4e6, and 81 x 24 of them.
  EXPECT_EQ(sequences_of(four, 2048, 24), 1944);
  EXPECT_EQ(sequences_of({4194304, 0, "4194304"}, 2048, 24), 2048);  // exact as it stands
  EXPECT_EQ(sequences_of({4000000, 0, "4000000"}, 2048, 4), 1952);   // 1953.1
  // Replicas that part none near: what is stated, which contradicts them.
  EXPECT_EQ(sequences_of(four, 2048, 1500), 1953);
}

}  // namespace
}  // namespace parallel_opt
