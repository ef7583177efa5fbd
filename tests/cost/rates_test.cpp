#include "parallel_opt/cost/rates.h"

#include <gtest/gtest.h>

#include "parallel_opt/cost/parameters.h"
#include "tests/cost/models.h"

namespace parallel_opt {
namespace {

using testing::cpu;
using testing::flat;

TEST(Rates, ThreadsBetweenMeasuredOnesScale) {
  // Measured: 1 thread 100 GFLOP/s, 8 threads 800. Two threads: twice one.
  const Device device = cpu(8);
  const RankRates rates = rank_rates(device, 2, 1, DType::bf16);
  EXPECT_DOUBLE_EQ(rates.arithmetic(Kernel::contraction, false).at(1e9), 2e11);
  EXPECT_DOUBLE_EQ(rates.arithmetic(Kernel::contraction, true).at(1e9), 4e11);  // bf16: twice
  EXPECT_EQ(rates.quality, Quality::measured);
}

TEST(Rates, RanksShareTheBandwidthOfTheDevice) {
  Device device = cpu(2);
  // One core alone draws 16 GB/s, both together 20: each of two ranks gets 10.
  for (RateCurve& curve : device.rates.edit()) {
    if (curve.kernel == "matmul") continue;
    curve.points = {{1, curve.threads == 1 ? 16e9 : 20e9}};
  }
  EXPECT_DOUBLE_EQ(rank_rates(device, 1, 1, DType::fp32).memory.at(1e6), 16e9);
  EXPECT_DOUBLE_EQ(rank_rates(device, 2, 1, DType::fp32).memory.at(1e6), 20e9);
  EXPECT_DOUBLE_EQ(rank_rates(device, 1, 2, DType::fp32).memory.at(1e6), 10e9);
}

TEST(Rates, ConvolutionFallsBackToMatmul) {
  Device device = cpu(2);
  EXPECT_DOUBLE_EQ(
      rank_rates(device, 2, 1, DType::fp32).arithmetic(Kernel::convolution, false).at(1e9), 2e11);
  device.rates.push_back(flat("convolution", DType::fp32, 2, 5e10));
  EXPECT_DOUBLE_EQ(
      rank_rates(device, 2, 1, DType::fp32).arithmetic(Kernel::convolution, false).at(1e9), 5e10);
}

TEST(Rates, PickedRowsAndMaximaHaveCurvesOfTheirOwn) {
  Device device = cpu(2);
  const auto rate = [&](OpClass c, bool backward) {
    return rank_rates(device, 2, 1, DType::bf16).bytes(c, false, false, backward).at(1e6);
  };
  EXPECT_DOUBLE_EQ(rate(OpClass::embedding, true), 2e10);  // no curve: elementwise
  device.rates.push_back(flat("embedding", std::nullopt, 2, 7e9));
  device.rates.push_back(flat("embedding_backward", std::nullopt, 2, 3e9));
  device.rates.push_back(flat("pooling", std::nullopt, 2, 5e9));
  EXPECT_DOUBLE_EQ(rate(OpClass::embedding, false), 7e9);
  EXPECT_DOUBLE_EQ(rate(OpClass::embedding, true), 3e9);
  EXPECT_DOUBLE_EQ(rate(OpClass::pooling, false), 5e9);
  EXPECT_DOUBLE_EQ(rate(OpClass::pooling, true), 2e10);  // gradients go where the maxima were
}

TEST(Rates, CopiesAreTorchsOwn) {
  Device device = cpu(2);
  const auto copies = [&] {
    return rank_rates(device, 2, 1, DType::fp32).bytes(OpClass::copy, false, false, false).at(1e6);
  };
  EXPECT_DOUBLE_EQ(copies(), 2e10);  // no curve: streaming
  device.rates.push_back(flat("copy", std::nullopt, 2, 6e9));
  EXPECT_DOUBLE_EQ(copies(), 6e9);
}

TEST(Rates, NormsOfChannelsHaveCurvesOfTheirOwn) {
  Device device = cpu(2);
  const auto rate = [&](bool by_channel, bool backward) {
    return rank_rates(device, 2, 1, DType::bf16)
        .bytes(OpClass::normalization, false, by_channel, backward)
        .at(1e6);
  };
  EXPECT_DOUBLE_EQ(rate(true, false), 2e10);  // no curve: other norms
  device.rates.push_back(flat("batch_norm", std::nullopt, 2, 5e9));
  device.rates.push_back(flat("batch_norm_backward", std::nullopt, 2, 8e9));
  EXPECT_DOUBLE_EQ(rate(true, false), 5e9);
  EXPECT_DOUBLE_EQ(rate(true, true), 8e9);
  EXPECT_DOUBLE_EQ(rate(false, false), 2e10);
  EXPECT_DOUBLE_EQ(rate(false, true), 2e10);
}

TEST(Rates, RecurrentLayersHaveCurvesOfTheirOwn) {
  Device device = cpu(2);
  const auto rate = [&](Kernel kernel) {
    return rank_rates(device, 2, 1, DType::bf16).arithmetic(kernel, false).at(1e9);
  };
  EXPECT_EQ(kernel_of(OpClass::recurrent, false, false), Kernel::recurrent);
  EXPECT_EQ(kernel_of(OpClass::recurrent, true, false), Kernel::recurrent_backward);
  EXPECT_DOUBLE_EQ(rate(Kernel::recurrent), 2e11);  // no curve: products
  device.rates.push_back(flat("recurrent", DType::fp32, 2, 7e10));
  EXPECT_DOUBLE_EQ(rate(Kernel::recurrent), 7e10);
  EXPECT_DOUBLE_EQ(rate(Kernel::recurrent_backward), 7e10);
  device.rates.push_back(flat("recurrent_backward", DType::fp32, 2, 5e10));
  EXPECT_DOUBLE_EQ(rate(Kernel::recurrent_backward), 5e10);
}

TEST(Rates, LowPrecisionWithoutACurveRunsLikeFp32) {
  Device device = cpu(2);
  std::erase_if(device.rates.edit(),
                [](const RateCurve& curve) { return curve.dtype == DType::bf16; });
  const RankRates rates = rank_rates(device, 2, 1, DType::bf16);
  EXPECT_DOUBLE_EQ(rates.arithmetic(Kernel::contraction, true).at(1e9), 2e11);
}

TEST(Rates, DeviceWithoutCurvesIsAssumedAndSaysSo) {
  Device device = cpu(4);
  device.rates.clear();
  const RankRates rates = rank_rates(device, 4, 1, DType::bf16);
  EXPECT_EQ(rates.quality, Quality::assumed);
  EXPECT_DOUBLE_EQ(rates.arithmetic(Kernel::contraction, false).at(1e9),
                   4 * cost_parameter::kAssumedCpuFlopsPerCore);
}

TEST(Rates, LayoutsAndBackwardHaveCurvesOfTheirOwn) {
  Device device = cpu(2);
  device.rates.push_back(flat("convolution", DType::fp32, 2, 5e10));
  EXPECT_FALSE(rank_rates(device, 2, 1, DType::bf16).layouts_measured[0]);
  device.rates.push_back(flat("convolution_channels_last", DType::fp32, 2, 6e10));
  device.rates.push_back(flat("convolution_backward", DType::fp32, 2, 4e10));
  device.rates.push_back(flat("attention_backward", DType::fp32, 2, 3e10));
  const RankRates rates = rank_rates(device, 2, 1, DType::bf16);
  const auto rate = [&](OpClass c, bool backward, bool channels_last) {
    return rates.arithmetic(kernel_of(c, backward, channels_last), false).at(1e9);
  };
  EXPECT_DOUBLE_EQ(rate(OpClass::convolution, false, false), 5e10);
  EXPECT_DOUBLE_EQ(rate(OpClass::convolution, false, true), 6e10);
  EXPECT_DOUBLE_EQ(rate(OpClass::convolution, true, false), 4e10);
  EXPECT_DOUBLE_EQ(rate(OpClass::convolution, true, true), 4e10);  // no curve: the other layout's
  EXPECT_DOUBLE_EQ(rate(OpClass::attention, true, false), 3e10);
  EXPECT_DOUBLE_EQ(rate(OpClass::attention, false, false), 2e11);  // no curve: products
  EXPECT_TRUE(rates.layouts_measured[0]);
  EXPECT_FALSE(rates.layouts_measured[1]);
}

TEST(Rates, Bf16PaysFromFifteenPercentOn) {
  EXPECT_TRUE(low_precision_pays(cpu(2, 2.0), DType::bf16));
  EXPECT_TRUE(low_precision_pays(cpu(2, 1.15), DType::bf16));
  EXPECT_FALSE(low_precision_pays(cpu(2, 1.14), DType::bf16));
  EXPECT_FALSE(low_precision_pays(cpu(2, 0.3), DType::bf16));
  EXPECT_FALSE(low_precision_pays(cpu(2), DType::fp16));  // never measured
  Device device = cpu(2, 0.9);  // timed badly, but the processor has the instructions
  device.instruction_sets = {"avx2", "avx512_bf16"};
  EXPECT_TRUE(low_precision_pays(device, DType::bf16));
  EXPECT_FALSE(low_precision_pays(device, DType::fp16));
}

}  // namespace
}  // namespace parallel_opt
