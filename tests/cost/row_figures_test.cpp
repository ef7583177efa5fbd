#include "parallel_opt/cost/row_figures.h"

#include <gtest/gtest.h>

#include <string>

#include "parallel_opt/cost/measured_rows.h"

namespace parallel_opt {
namespace {

double value_of(const char* cell, const char* column) {
  const auto figure = figure_in(cell, column);
  return figure ? figure->value : -1;
}

TEST(RowFigures, AreNumbersWithTheirColumnsOwnUnit) {
  EXPECT_EQ(value_of("18.13", "metric_iter_time_s"), 18.13);
  EXPECT_EQ(value_of("18.13 s", "metric_iter_time_s"), 18.13);
  EXPECT_EQ(value_of("18.13s", "metric_iter_time_s"), 18.13);
  EXPECT_DOUBLE_EQ(value_of("1420 ms", "metric_iter_time_s"), 1.42);
  EXPECT_DOUBLE_EQ(value_of("1.5e3 MS", "metric_iter_time_s"), 1.5);
  EXPECT_EQ(value_of("2 min", "metric_iter_time_s"), 120);
  EXPECT_EQ(value_of("46.2%", "metric_mfu_pct"), 46.2);
  EXPECT_EQ(value_of("46.2 %", "metric_hfu_pct"), 46.2);
  EXPECT_EQ(value_of("175B", "params_b"), 175);
  EXPECT_DOUBLE_EQ(value_of("350M", "params_b"), 0.35);
  EXPECT_EQ(value_of("1.2T", "params_b"), 1200);
  EXPECT_EQ(value_of("3,210 tokens/s/GPU", "metric_tokens_per_s_per_gpu"), 3210);
  EXPECT_EQ(value_of("412 TFLOPS", "metric_tflops_per_gpu"), 412);
  EXPECT_EQ(value_of("64 GPUs", "gpus"), 64);
  EXPECT_EQ(value_of("4,096 tokens", "seq_len"), 4096);
  EXPECT_EQ(value_of("512 sequences", "global_batch"), 512);
  EXPECT_EQ(value_of("4096 tokens", "global_batch"), -1);  // sequences, there
  EXPECT_EQ(value_of("80 GB", "peak_memory_gb"), 80);
  EXPECT_EQ(figure_in("74.5 GiB", "peak_memory_gb").value().unit, "GiB");
  EXPECT_EQ(figure_in("74.5", "peak_memory_gb").value().unit, "");
}

TEST(RowFigures, SayHowWellTheyAreKnown) {
  for (const char* cell :
       {"~10", "~ 10 s", "\u224810", "10 (avg)", "10 s (mean)", "10\u00b10.2", "10 \u00b1 0.2 s",
        "10 +- 0.2", "10 +/- 0.2 s", "about 10", "ca. 10 s"}) {
    EXPECT_EQ(value_of(cell, "metric_iter_time_s"), 10) << cell;
  }
  EXPECT_EQ(value_of("~60", "metric_mfu_pct"), 60);
  EXPECT_EQ(value_of("46.2% \xc2\xb1 0.3%", "metric_mfu_pct"), -1);  // of what?
  EXPECT_EQ(value_of("~64", "gpus"), -1);                            // counts are whole
  EXPECT_EQ(value_of("10 - 12", "metric_iter_time_s"), -1);
}

TEST(RowFigures, CountsMayNameWhatTheyCount) {
  EXPECT_EQ(value_of("8 experts", "experts"), 8);
  EXPECT_EQ(value_of("2 experts", "topk"), 2);
  EXPECT_EQ(value_of("48 layers", "layers"), 48);
  EXPECT_EQ(value_of("32 heads", "heads"), 32);
  EXPECT_EQ(value_of("900 images/s", "metric_samples_per_s"), 900);
  EXPECT_EQ(value_of("8 layers", "experts"), -1);
}

TEST(RowFigures, LengthsAreInThousandsOfPowersOfTwo) {
  EXPECT_EQ(value_of("4k", "seq_len"), 4096);
  EXPECT_EQ(value_of("8K tokens", "seq_len"), 8192);
  EXPECT_EQ(value_of("128K", "seq_len"), 131072);
  EXPECT_EQ(value_of("10k", "seq_len"), -1);  // 10000 or 10240
  EXPECT_EQ(value_of("4k", "global_batch"), -1);
}

TEST(RowFigures, UnitsHaveManySpellings) {
  for (const char* cell :
       {"32.5 sec/step", "32.5 s/iter", "32.5 seconds per step", "32.5 secs / it", "32500 ms/step",
        "32.5 sec/iteration", "32.5 s/step"}) {
    EXPECT_DOUBLE_EQ(value_of(cell, "metric_iter_time_s"), 32.5) << cell;
  }
  EXPECT_EQ(value_of("5 sec/iter", "metric_iter_time_s"), 5);
  for (const char* cell : {"2200 tokens/second/chip", "2200 tokens/sec/GPU", "2200 tgs",
                           "2,200 TGS", "2200 tok/s/device", "2200 tokens per second per GPU",
                           "2200 tokens/GPU/s", "2200 toks/s"}) {
    EXPECT_EQ(value_of(cell, "metric_tokens_per_s_per_gpu"), 2200) << cell;
  }
  EXPECT_EQ(value_of("400 TFLOPS/GPU", "metric_tflops_per_gpu"), 400);
  EXPECT_EQ(value_of("400 TFLOP/s per device", "metric_tflops_per_gpu"), 400);
  EXPECT_EQ(value_of("12 samples/sec", "metric_samples_per_s"), 12);
  EXPECT_EQ(value_of("2 steps/s", "metric_iter_time_s"), -1);
  EXPECT_EQ(value_of("2200 tokens/s/node", "metric_tokens_per_s_per_gpu"), -1);
}

TEST(RowFigures, RatesMayBeInThousandsOrOfOneDevice) {
  EXPECT_EQ(value_of("14k", "metric_tokens_per_s_per_gpu"), 14000);
  EXPECT_DOUBLE_EQ(value_of("3.3K tok/s/GPU", "metric_tokens_per_s_per_gpu"), 3300);
  EXPECT_DOUBLE_EQ(value_of("~1.2 k samples/s", "metric_samples_per_s"), 1200);
  EXPECT_EQ(value_of("14k", "metric_tflops_per_gpu"), -1);
  EXPECT_EQ(value_of("14kk", "metric_tokens_per_s_per_gpu"), -1);
  EXPECT_EQ(value_of("k", "metric_tokens_per_s_per_gpu"), -1);
  for (const char* cell : {"12.5 samples/s/GPU", "12.5 seq/s per device", "12.5 images/sec/chip"}) {
    const auto figure = figure_in(cell, "metric_samples_per_s");
    ASSERT_TRUE(figure) << cell;
    EXPECT_EQ(figure->value, 12.5) << cell;
    EXPECT_TRUE(figure->of_device) << cell;
  }
  EXPECT_FALSE(figure_in("12.5 samples/s", "metric_samples_per_s")->of_device);
  EXPECT_EQ(value_of("45 GB per GPU", "peak_memory_gb"), 45);
  EXPECT_EQ(figure_in("45GiB/device", "peak_memory_gb").value().unit, "GiB");
  EXPECT_EQ(value_of("45 GB per node", "peak_memory_gb"), -1);
}

TEST(RowFigures, TimesMayHaveParts) {
  for (const char* cell : {"1m 23s", "1m23s", "1 min 23 s", "1 minute, 23 seconds", "0h 1m 23s"}) {
    EXPECT_EQ(value_of(cell, "metric_iter_time_s"), 83) << cell;
  }
  EXPECT_EQ(value_of("1h 2m 3.5s", "metric_iter_time_s"), 3723.5);
  for (const char* cell : {"1:23", "2m", "23s 1m", "1m 23"}) {
    EXPECT_EQ(value_of(cell, "metric_iter_time_s"), -1) << cell;
  }
}

TEST(RowFigures, KindsOfFlopsCountRecomputationOrNot) {
  for (const char* kind : {"hardware", "Hardware (SC21 eq. 3)", "HFU", "HFLOPs", "hw FLOPs",
                           "with recomputation", "incl. recomputation", "executed",
                           "achieved incl. activation recompute", "model, counting recompute"}) {
    EXPECT_TRUE(counts_recompute_in_words(kind)) << kind;
  }
  for (const char* kind : {"", "model", "MFU", "excl. recomputation", "without recomputation",
                           "no recompute", "model (recomputation not counted)",
                           "achieved, recomputation excluded", "achieved", "not hardware"}) {
    EXPECT_FALSE(counts_recompute_in_words(kind)) << kind;
  }
}

TEST(RowFigures, MayHaveThousands) {
  for (const char* cell : {"16384", "16,384", "16 384", "16'384",
                           "16\xe2\x80\xaf"
                           "384",
                           "16\xe2\x80\x99"
                           "384"}) {
    EXPECT_EQ(value_of(cell, "gpus"), 16384) << cell;
  }
  EXPECT_EQ(value_of("1,234,567.5", "metric_tokens_per_s_per_gpu"), 1234567.5);
  EXPECT_DOUBLE_EQ(value_of("1 420 ms", "metric_iter_time_s"), 1.42);
}

TEST(RowFigures, HaveNoOtherUnitAndNoTwoMeanings) {
  for (const char* cell : {"2k", "2K", "16 38", "1,02", "1,234 567", "1 2", "", "s", "%", "-2",
                           "8 %", "8 s", "0x10", "inf", "eight", "16 384 384 1"}) {
    EXPECT_FALSE(figure_in(cell, "gpus")) << cell;
  }
  EXPECT_FALSE(figure_in("18 GB", "metric_iter_time_s"));
  EXPECT_FALSE(figure_in("18.13 %", "metric_iter_time_s"));
  EXPECT_FALSE(figure_in("18,13 s", "metric_iter_time_s"));
  EXPECT_FALSE(figure_in("-3 s", "metric_iter_time_s"));
  EXPECT_FALSE(figure_in("97 %", "peak_memory_gb"));
  EXPECT_FALSE(figure_in("1e400 s", "metric_iter_time_s"));
}

MeasuredRow row_of_memory(const std::string& memory, const std::string& unit) {
  const std::string text =
      "id,gpu,framework,peak_memory_gb,memory_unit,metric_iter_time_s\n"
      "a-1,A100,Megatron-LM," +
      memory + ',' + unit + ",\"1 420 ms\"\n";
  return read_measured_rows({read_csv(text, "t.csv")}).rows.at(0);
}

MeasuredRow row_of_chips(const std::string& gpu, const std::string& gpus, const std::string& rate) {
  const std::string text = "id,gpu,gpus,global_batch,seq_len,metric_tokens_per_s_per_gpu\na-1," +
                           gpu + ',' + gpus + ",64,2048," + rate + '\n';
  return read_measured_rows({read_csv(text, "t.csv")}).rows.at(0);
}

TEST(RowFigures, ChipsOfTwoCoresAreTwoDevices) {
  const MeasuredRow row = row_of_chips("TPU v3", "64 chips", "1000 tokens/s/chip");
  EXPECT_EQ(row.row.gpus, 128);
  EXPECT_EQ(row.row.iteration_s, 64 * 2048 / (128 * 500.0));
  EXPECT_EQ(row_of_chips("TPU v3", "64", "1000").row.gpus, 64);
  EXPECT_EQ(row_of_chips("TPU v4", "64 chips", "1000").row.gpus, 64);
  EXPECT_EQ(row_of_chips("Trainium1", "16 chips", "1000").row.gpus, 32);
}

TEST(RowFigures, SamplesOfOneDeviceCountTimesDevices) {
  const auto row_of = [](const std::string& gpu, const std::string& gpus) {
    const std::string text = "id,gpu,gpus,dp,global_batch,metric_samples_per_s\na-1," + gpu + ',' +
                             gpus + ",,800,12.5 samples/s/chip\n";
    return read_measured_rows({read_csv(text, "t.csv")}).rows.at(0);
  };
  EXPECT_EQ(row_of("A100", "64").row.iteration_s, 1);  // 800 / (12.5 x 64)
  EXPECT_EQ(row_of("A100", "64").filled.back(),
            "metric_samples_per_s is of one device, and counts times gpus");
  EXPECT_EQ(row_of("TPU v3", "64 chips").row.iteration_s, 1);
  EXPECT_EQ(row_of("A100", "").row.iteration_s, std::nullopt);
  EXPECT_EQ(row_of("A100", "").untimed, "samples/s/GPU is stated, but not gpus");
}

// Once each of these cells skipped its row.
TEST(RowFigures, SayTheUnitOfMemoryUnlessItsColumnSaysAnother) {
  constexpr double kGibibyte = 1024.0 * 1024 * 1024;
  EXPECT_EQ(row_of_memory("74.5 GiB", "").row.peak_memory_bytes, 74.5 * kGibibyte);
  EXPECT_EQ(row_of_memory("80GB", "").row.peak_memory_bytes, 80e9);
  EXPECT_EQ(row_of_memory("74.5 GiB", "gib").row.peak_memory_bytes, 74.5 * kGibibyte);
  EXPECT_EQ(row_of_memory("80 GB", "GB as printed").row.peak_memory_bytes, 80e9);
  EXPECT_EQ(row_of_memory("74.5", "GiB").row.peak_memory_bytes, 74.5 * kGibibyte);
  EXPECT_DOUBLE_EQ(row_of_memory("80 GB", "").row.iteration_s.value(), 1.42);
  EXPECT_EQ(row_of_memory("74.5 GiB", "GB").unusable,
            "peak_memory_gb is in GiB, and memory_unit is \"GB\"");
  EXPECT_EQ(row_of_memory("97 %", "").unusable,
            "peak_memory_gb \"97 %\" is no number of at least 0");
}

}  // namespace
}  // namespace parallel_opt
