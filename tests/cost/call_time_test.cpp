#include "parallel_opt/cost/call_time.h"

#include <gtest/gtest.h>

#include "tests/cost/models.h"

namespace parallel_opt {
namespace {

using testing::cpu;
using testing::GraphBuilder;

constexpr double kFlops = 2e11, kBytes = 2e10, kLaunch = 5e-6;  // of cpu(2)
constexpr double kProduct = 2.0 * 64 * 1024 * 1024;

/// A layer, its result viewed, and a relu.
Graph layer(bool trained) {
  GraphBuilder b;
  const TensorId x = b.input({64, 1024});
  const TensorId w = b.parameter({1024, 1024});
  b.graph.tensors[w.index()].requires_grad = trained;
  const TensorId h = b.op("aten.linear.default", {{"input", x}, {"weight", w}}, {64, 1024});
  const TensorId v = b.op("aten.view.default", {{"self", h}}, {32, 2, 1024});
  return b.done(b.op("aten.relu.default", {{"self", v}}, {32, 2, 1024}), "layer");
}

TEST(OperatorTimes, ProductsTakeArithmeticAndLightOperatorsBytes) {
  const OperatorTimes times = operator_times(layer(false), cpu(2));
  ASSERT_EQ(times.seconds.size(), 3u);
  EXPECT_DOUBLE_EQ(times.seconds[0], kProduct / kFlops + kLaunch);
  EXPECT_EQ(times.seconds[1], 0);  // a view launches nothing
  EXPECT_DOUBLE_EQ(times.seconds[2], 2.0 * 64 * 1024 * 4 / kBytes + kLaunch);  // read, written
  EXPECT_EQ(times.quality, Quality::measured);
}

TEST(OperatorTimes, TheBackwardIsPartOfItsOperator) {
  // The weight's gradient is one product more; the input has none.
  EXPECT_DOUBLE_EQ(operator_times(layer(true), cpu(2)).seconds[0],
                   2 * (kProduct / kFlops + kLaunch));
}

TEST(OperatorTimes, ARecordedBackwardHasOperatorsOfItsOwn) {
  Graph graph = layer(true);
  graph.ops.back().phase = Phase::backward;
  EXPECT_DOUBLE_EQ(operator_times(graph, cpu(2)).seconds[0], kProduct / kFlops + kLaunch);
}

TEST(OperatorTimes, RunsOfALoopAddUp) {
  Graph graph = layer(false);
  const double once = operator_times(graph, cpu(2)).seconds[0];
  graph.regions.push_back(
      {"loop.body", RegionKind::loop, "loop", 12, "", true, RegionId(), TensorId()});
  graph.ops[0].region = RegionId(0);
  EXPECT_DOUBLE_EQ(operator_times(graph, cpu(2)).seconds[0], 12 * once);
}

TEST(OperatorTimes, LowPrecisionRunsAtItsOwnRate) {
  Graph graph = layer(false);
  for (Tensor& tensor : graph.tensors) tensor.dtype = DType::bf16;
  EXPECT_DOUBLE_EQ(operator_times(graph, cpu(2)).seconds[0], kProduct / (2 * kFlops) + kLaunch);
}

TEST(CallTime, AGpuHidesLaunchesBehindItsWork) {
  Device device = cpu(2);
  device.kind = DeviceKind::gpu;
  device.rates.clear();
  for (const char* kernel : {"matmul", "memory", "elementwise", "reduce"}) {
    device.rates.push_back(testing::flat(kernel, DType::fp32, 0, 1e12));
  }
  const RankRates rates = rank_rates(device, 1, 1, DType::fp32);
  Work work;
  work.op_class = OpClass::contraction;
  work.flops = {1e9, 0};  // 1 ms, far above a launch
  EXPECT_DOUBLE_EQ(call_time(work, rates, 1, false).total(), 1e-3);
  work.flops = {1e6, 0};  // 1 us: the launch is what one sees
  EXPECT_DOUBLE_EQ(call_time(work, rates, 1, false).total(), kLaunch);
}

/// One operator on 1024 x 1024 numbers: 4 MiB read, as much written.
double seconds_of_one(const char* target, const Device& device) {
  GraphBuilder b;
  const TensorId x = b.input({1024, 1024});
  const Graph graph = b.done(b.op(target, {{"self", x}}, {1024, 1024}), "one");
  return operator_times(graph, device).seconds[0];
}

TEST(OperatorTimes, ExponentialsHaveACurveOfTheirOwn) {
  constexpr double kMoved = 2.0 * 4 * 1024 * 1024;
  Device device = cpu(2);
  EXPECT_DOUBLE_EQ(seconds_of_one("aten.gelu.default", device), kMoved / kBytes + kLaunch);
  device.rates.push_back(testing::flat("activation", std::nullopt, 2, 5e9));
  for (const char* heavy : {"aten.gelu.default", "aten.silu.default", "aten.tanh.default"}) {
    EXPECT_DOUBLE_EQ(seconds_of_one(heavy, device), kMoved / 5e9 + kLaunch) << heavy;
  }
  for (const char* light : {"aten.relu.default", "aten.neg.default"}) {
    EXPECT_DOUBLE_EQ(seconds_of_one(light, device), kMoved / kBytes + kLaunch) << light;
  }
}

}  // namespace
}  // namespace parallel_opt
