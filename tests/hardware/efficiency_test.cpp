#include "parallel_opt/hardware/efficiency.h"

#include <gtest/gtest.h>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/base/random.h"
#include "parallel_opt/hardware/database.h"

namespace parallel_opt {
namespace {

const DeviceRecord& device_named(const std::string& name) {
  return *find_device(load_database(), name);
}

/// What validation/fit_efficiency.py computed with the same curves.
double predicted(const JsonView& test) {
  const DeviceRecord* record = find_device(load_database(), test.find("device")->string());
  const std::string kind = test.find("kind")->string();
  const std::string kernel = test.find("kernel")->string();
  const std::string dtype = test.find("dtype")->string();
  const auto call = [&](std::size_t i) { return test.find("call")->at(i).number(); };
  if (kind == "collective") {
    const auto ranks = static_cast<int>(test.find("ranks")->integer());
    const CollectiveCurve* curve = collective_curve(test.find("device")->string(), kernel, ranks);
    return curve == nullptr ? 0 : collective_time(*curve, call(0)).value;
  }
  const Direction direction = *enum_from<Direction>(test.find("direction")->string());
  if (kind == "matmul") {
    const auto curve = matmul_curve(*record, kernel, dtype, direction);
    return curve ? gemm_time(*curve, call(0), call(1), call(2), call(3)).value : 0;
  }
  if (kind == "attention") {
    const auto curve = matmul_curve(*record, kernel, dtype, direction);
    return curve ? attention_time(*curve, call(0), call(1), call(2), call(3), call(4)).value : 0;
  }
  const auto curve = operator_curve(*record, kernel, dtype, direction);
  return curve ? operator_time(*curve, call(0), call(1), call(2)).value : 0;
}

TEST(Efficiency, EqualsTheScriptThatFittedIt) {
  const std::string path =
      std::string(PARALLEL_OPT_SOURCE) + "/tests/hardware/efficiency_cases.json";
  const std::string text = read_file(path);
  const JsonDocument document(text, path);
  const JsonView cases = *document.root().find("cases");
  ASSERT_GE(cases.size(), 100u);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const double wanted = cases.at(i).find("seconds")->number();
    EXPECT_NEAR(predicted(cases.at(i)) / wanted, 1, 1e-5) << cases.at(i).dump();
  }
}

TEST(Efficiency, EveryCurveIsOfAKnownDeviceAndSane) {
  const EfficiencyTable& table = load_efficiency();
  EXPECT_GE(table.matmuls.size(), 80u);
  EXPECT_GE(table.operators.size(), 200u);
  EXPECT_GE(table.collectives.size(), 60u);
  const auto known = [](const std::string& name) {
    return name == "any" || find_device(load_database(), name) != nullptr;
  };
  for (const MatmulCurve& curve : table.matmuls) {
    EXPECT_TRUE(known(curve.device)) << curve.device;
    EXPECT_GT(curve.efficiency, 0.05) << curve.device << " " << curve.dtype;
    EXPECT_LT(curve.efficiency, 1.4) << curve.device << " " << curve.dtype;
    EXPECT_LT(curve.launch_s, 1e-3) << curve.device;
    EXPECT_FALSE(curve.source.empty());
  }
  for (const OperatorCurve& curve : table.operators) {
    EXPECT_TRUE(known(curve.device)) << curve.device;
    EXPECT_GT(curve.passes, 0) << curve.device << " " << curve.kernel;
  }
}

TEST(AttentionTime, TilesOfQueriesAreDealtToUnitsAndScoresCostBesideTheirProducts) {
  MatmulCurve curve;
  curve.peak_flops_per_s = 1e12;
  curve.units = 4;
  curve.efficiency = 0.8;
  curve.k_half = 64;
  // 3 heads x 256 queries: 6 tiles of 128 on 4 units are two waves, 6 of 8 places used. Of heads 64
  // wide the exponentials take as long as the products. 2 * 2 * 3 * 256 * 256 * 64 FLOP = 50.33e6
  const double flops = 2.0 * 2 * 3 * 256 * 256 * 64;
  EXPECT_NEAR(attention_time(curve, 2, 3, 256, 256, 64).value, flops * 2 / (1e12 * 0.8 * 0.75),
              1e-12);
  // A query sees half of the keys: half of the time. Two and a half times the products backward.
  EXPECT_NEAR(attention_time(curve, 2, 3, 256, 128, 64).value, flops / (1e12 * 0.8 * 0.75), 1e-12);
  EXPECT_NEAR(attention_time(curve, 5, 3, 256, 256, 64).value,
              2.5 * flops * 2 / (1e12 * 0.8 * 0.75), 1e-12);
  curve.launch_s = 1e-3;
  EXPECT_EQ(attention_time(curve, 2, 0, 256, 256, 64).value, 1e-3);  // nothing to do
}

TEST(GemmTime, OneFullWaveOfALongProduct) {
  MatmulCurve curve;
  curve.dtype = "fp16";
  curve.peak_flops_per_s = 1e12;
  curve.bytes_per_s = 1e12;
  curve.units = 4;
  curve.k_half = 100;
  // 256 x 512 is four tiles of 256 x 128 on four units: one full wave. k/(k + 100) = 0.9.
  // 2 * 256 * 512 * 900 FLOP / (1e12 * 0.9) = 262.144 us; nothing to launch.
  EXPECT_DOUBLE_EQ(gemm_time(curve, 1, 256, 512, 900).value, 262.144e-6);
  // One row more needs a second wave of that tile: 64 x 128 at 0.85 does best, 5 * 4 tiles in five
  // waves.
  EXPECT_NEAR(gemm_time(curve, 1, 257, 512, 900).value,
              2 * 5 * 64 * 512.0 * 900 / (1e12 * 0.9 * 0.85), 1e-12);
}

TEST(GemmTime, MemoryLaunchAndThrottleBoundIt) {
  MatmulCurve curve;
  curve.dtype = "fp32";
  curve.peak_flops_per_s = 1e15;
  curve.bytes_per_s = 1e9;
  curve.units = 1;
  // 4 B * (64*64 + 2 * 64*1) = 16896 B at 1e9 B/s
  EXPECT_DOUBLE_EQ(gemm_time(curve, 1, 64, 64, 1).value, 16.896e-6);
  curve.launch_s = 1;
  EXPECT_DOUBLE_EQ(gemm_time(curve, 1, 64, 64, 1).value, 1);
  EXPECT_EQ(gemm_time(curve, 1, 0, 64, 1).value, 1);
  curve.launch_s = 0;
  curve.throttle = 0.5;
  const double busy = 16.896e-6;
  EXPECT_DOUBLE_EQ(gemm_time(curve, 1, 64, 64, 1).value, busy * (1 + 0.5 * busy / (busy + 1e-3)));
}

TEST(GemmTime, MoreWorkNeverTakesLessTime) {
  Random rng(20261125);
  const MatmulCurve curve = *matmul_curve(device_named("H100-SXM-80GB"), "matmul", "bf16");
  for (int i = 0; i < 2000; ++i) {
    const double m = 256 * double(1 + rng.next() % 64);
    const double n = 256 * double(1 + rng.next() % 64);
    const double k = double(16 + rng.next() % 8192);
    ASSERT_LE(gemm_time(curve, 1, m, n, k).value, gemm_time(curve, 1, m, n, k + 64).value)
        << "case " << i << ": " << m << " " << n << " " << k;
    ASSERT_LE(gemm_time(curve, 1, m, n, k).value, gemm_time(curve, 2, m, n, k).value * 1.0001);
  }
}

TEST(Efficiency, LargeMultipliesReachWhatWasMeasured) {
  // 8192 cubed in bf16: 797.5 TFLOP/s on the H100 of gemm.csv, a row that the fit did not see.
  const MatmulCurve h100 = *matmul_curve(device_named("H100-SXM-80GB"), "matmul", "bf16");
  EXPECT_EQ(h100.quality, Quality::calibrated);
  const double rate = 2 * 8192.0 * 8192 * 8192 / gemm_time(h100, 1, 8192, 8192, 8192).value;
  EXPECT_NEAR(rate / 797.5e12, 1, 0.08);
}

TEST(Efficiency, DevicesNobodyMeasuredGetTheMedianCurveWithTheirOwnPeak) {
  const DeviceRecord& b200 = device_named("B200-SXM-180GB");
  const MatmulCurve curve = *matmul_curve(b200, "matmul", "bf16");
  EXPECT_EQ(curve.quality, Quality::modelled);
  EXPECT_EQ(curve.device, "B200-SXM-180GB");
  EXPECT_EQ(curve.peak_flops_per_s, 2250e12);
  EXPECT_EQ(curve.units, 148);
  EXPECT_DOUBLE_EQ(curve.bytes_per_s, 0.85 * 8e12);
  const OperatorCurve norm = *operator_curve(b200, "norm", "fp16");
  EXPECT_EQ(norm.bytes_per_s, 8e12);
  EXPECT_FALSE(matmul_curve(device_named("TPU-v4"), "matmul", "fp16").has_value());  // no such peak
  EXPECT_FALSE(operator_curve(b200, "fft", "fp16").has_value());
  EXPECT_EQ(collective_curve("B200-SXM-180GB", "all_reduce", 8), nullptr);
}

TEST(OperatorTime, PassesWidthAndLaunch) {
  OperatorCurve curve;
  curve.bytes_per_s = 1e9;
  curve.passes = 3;
  curve.peak_flops_per_s = 1e9;
  curve.width_exponent = 1;
  // 3 passes over 1000 B at 1e9 B/s, rows twice as wide: 6 us; 500 FLOP at 1e9: 0.5 us
  EXPECT_DOUBLE_EQ(operator_time(curve, 1000, 2048, 500).value, 6.5e-6);
  curve.launch_s = 1e-3;
  EXPECT_NEAR(operator_time(curve, 1000, 2048, 500).value, 1e-3, 1e-9);
  EXPECT_EQ(operator_time(curve, 0).value, 1e-3);
}

TEST(CollectiveTime, AlphaBetaAndFill) {
  CollectiveCurve curve;
  curve.latency_s = 1e-5;
  curve.s_per_byte = 1e-9;
  curve.fill_s2_per_byte = 1e-16;
  // 10 us + 10000 B * 1 ns + sqrt(1e-12) = 10 + 10 + 1 us
  EXPECT_DOUBLE_EQ(collective_time(curve, 10000).value, 21e-6);
  EXPECT_EQ(collective_time(curve, -1).value, 1e-5);
}

}  // namespace
}  // namespace parallel_opt
