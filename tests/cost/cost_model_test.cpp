#include "parallel_opt/cost/cost_model.h"

#include <gtest/gtest.h>

#include <functional>

#include "parallel_opt/base/random.h"
#include "parallel_opt/cost/estimate.h"
#include "parallel_opt/cost/optimizer.h"
#include "parallel_opt/cost/parameters.h"
#include "parallel_opt/hardware/efficiency.h"
#include "parallel_opt/hardware/preset.h"
#include "tests/cost/models.h"

namespace parallel_opt {
namespace {

using testing::cnn;
using testing::cpu;
using testing::gpt;
using testing::GraphBuilder;
using testing::machine;
using testing::mlp;

double item(const Estimate& e, const std::string& name,
            std::optional<double> EstimateItem::* part = &EstimateItem::seconds) {
  for (const EstimateItem& line : e.items) {
    if (line.name == name) return (line.*part).value_or(0);
  }
  return 0;
}

/// x [8, 64] -> linear 64 -> 32, no bias.
Graph one_linear() {
  GraphBuilder b;
  const TensorId x = b.input({8, 64});
  const TensorId y =
      b.op("aten.linear.default", {{"input", x}, {"weight", b.parameter({32, 64})}}, {8, 32}, "fc");
  return b.done(y, "one_linear");
}

TEST(CostModel, HandBuiltGraphsAreWellFormed) {
  for (const Graph& graph : {mlp(), gpt(), cnn(), one_linear()}) {
    for (const Fault& fault : check(graph)) ADD_FAILURE() << graph.name << " " << to_string(fault);
  }
}

TEST(CostModel, OneLinearByHand) {
  const Graph graph = one_linear();
  const Cluster cluster = machine();
  Job job;
  job.optimizer = Optimizer::sgd;
  const CostModel model(graph, cluster, job);
  const Estimate e = model.estimate(model.plan(model.plain()));
  // Bytes of a call: x 8*64*4 = 2048, w 32*64*4 = 8192, y 8*32*4 = 1024: 11264 B / 20 GB/s = 0.5632
  // us. FLOPs: 2*8*64*32 = 32768 / 200 GFLOP/s = 0.164 us. So bytes bound it; one launch 5 us.
  EXPECT_NEAR(item(e, "forward contraction"), 5e-6 + 11264 / 20e9, 1e-12);
  // Backward: all operands and dy count as read, dw is written: 11264 + 8192 B, one launch.
  EXPECT_NEAR(item(e, "backward contraction"), 5e-6 + (11264 + 8192) / 20e9, 1e-12);
  // Loss in the loop: 6 passes over 1024 B at 20 GB/s, 6 launches.
  EXPECT_NEAR(item(e, "loss"), 6 * 1024 / 20e9 + 6 * 5e-6, 1e-12);
  // SGD: 3 passes over 8192 B, one warm call at 0.4 launches, and 25 of them until it runs.
  EXPECT_NEAR(item(e, "optimizer"), 3 * 8192 / 20e9 + (0.4 + 25) * 5e-6, 1e-12);
  double sum = 0;
  for (const EstimateItem& line : e.items) sum += line.seconds.value_or(0);
  EXPECT_NEAR(e.step_time_s.value, sum, 1e-15);
  EXPECT_NEAR(e.samples_per_s.value, 8 / sum, 1e-6);
}

TEST(CostModel, NormsOfChannelsTakeTheirOwnTime) {
  Cluster cluster = machine();
  const auto norms = [&] {
    const Graph graph = cnn();
    const CostModel model(graph, cluster, Job{});
    const Estimate e = model.estimate(model.plan(model.plain()));
    return item(e, "forward normalization");
  };
  const double before = norms();
  EXPECT_GT(before, 0);
  cluster.devices[0].rates.push_back({.kernel = "batch_norm",
                                      .dtype = {},
                                      .threads = 2,
                                      .points = {{1 << 20, 1e9}},
                                      .source = {}});
  EXPECT_GT(norms(), 2 * before);
}

TEST(CostModel, ParameterAndOptimizerBytesAreExact) {
  const Graph graph = mlp(8, 16, 2);
  const Cluster cluster = machine();
  const CostModel model(graph, cluster, {});
  const Estimate e = model.estimate(model.plan(model.plain()));
  // 2 layers of 16*16 + 16 = 272 numbers: 544 * 4 = 2176 B; AdamW keeps two more of each.
  EXPECT_EQ(item(e, "parameters and buffers", &EstimateItem::bytes), 2176);
  EXPECT_EQ(item(e, "optimizer state", &EstimateItem::bytes), 2 * 2176);
  for (const EstimateItem& line : e.items) {
    const double value =
        line.seconds.value_or(0) + line.bytes.value_or(0) + line.joules.value_or(0);
    const bool exact = line.name == "parameters and buffers" || line.name == "optimizer state" ||
                       line.name == "gradients";
    EXPECT_EQ(line.low.value() == value, exact) << line.name;  // states follow from the plan
    EXPECT_EQ(line.high.value() == value, exact) << line.name;
  }
}

TEST(CostModel, FindsRepeatedBlocks) {
  const ModelFacts facts = model_facts(gpt(4), true);
  ASSERT_EQ(facts.classes.size(), 1u);
  EXPECT_EQ(facts.classes[0].blocks,
            (std::vector<std::string>{"blocks.0", "blocks.1", "blocks.2", "blocks.3"}));
}

TEST(CostModel, WorkDoesNotGrowWithDepth) {
  const auto entries = [](int layers) {
    const Graph graph = gpt(layers);
    return make_profile(graph, model_facts(graph, true), {}, true).work.size();
  };
  EXPECT_EQ(entries(4), entries(48));
}

TEST(CostModel, CompilingRemovesLaunchesAndBytes) {
  const Graph graph = gpt(2);
  const ModelFacts facts = model_facts(graph, true);
  const auto totals = [&](bool compile) {
    double launches = 0, bytes = 0;
    for (const Work& w : make_profile(graph, facts, {Precision::fp32, compile}, true).work) {
      launches += w.calls * w.launches;
      bytes += w.calls * w.bytes.at(8);
    }
    return std::pair(launches, bytes);
  };
  EXPECT_LT(totals(true).first, 0.6 * totals(false).first);
  EXPECT_LT(totals(true).second, totals(false).second);
}

TEST(CostModel, EagerBf16PaysForCasts) {
  const Graph graph = gpt(2);
  const Cluster cluster = machine();
  const CostModel model(graph, cluster, {});
  LocalChoice choice = model.plain();
  EXPECT_EQ(item(model.estimate(model.plan(choice)), "precision casts"), 0);
  choice.precision = 1;
  const Estimate e = model.estimate(model.plan(choice));
  EXPECT_GT(item(e, "precision casts"), 0);
  // Copies of all matrices of contractions, 2 bytes a number. Per block 3 + 1 of 256*256 and 2 of
  // 1024*256, with the head of 256*256; their biases are cast too.
  const double matrices = 2.0 * (4 * 65536 + 2 * 262144) + 65536;
  const double biases = 2.0 * (4 * 256 + 1024 + 256) + 256;
  EXPECT_EQ(item(e, "weight copies and buckets", &EstimateItem::bytes), 2 * (matrices + biases));
}

TEST(CostModel, ChannelsLastSavesLayoutChangesOfEagerConvolutions) {
  const Graph graph = cnn();
  const Cluster cluster = machine();
  const CostModel model(graph, cluster, {});
  LocalChoice choice = model.plain();
  // 4 convolutions turn x and y (64*64*8*8*4 = 1 MiB each) in and out: 2 passes, forward and
  // backward.
  const double images = 64.0 * 64 * 64 * 4;
  const Estimate e = model.estimate(model.plan(choice));
  EXPECT_NEAR(item(e, "layout changes"), 4 * 2 * (2 * 2 * images) / 20e9, 1e-9);
  choice.memory_format = MemoryFormat::channels_last;
  EXPECT_EQ(item(model.estimate(model.plan(choice)), "layout changes"), 0);
  choice.compile = true;
  choice.memory_format = MemoryFormat::contiguous;
  EXPECT_EQ(item(model.estimate(model.plan(choice)), "layout changes"), 0);
}

TEST(CostModel, UnfusedAttentionKeepsItsProbabilities) {
  const Graph graph = gpt(2);
  const ModelFacts facts = model_facts(graph, true);
  const auto profile = [&](AttentionKernel attention, Precision precision) {
    return make_profile(graph, facts, {precision, false, attention}, true);
  };
  const auto saved = [&](const Profile& p) {
    double bytes = 0;
    for (const parallel_opt::Run& run : p.runs) bytes += run.count * run.saved.at(8);
    return bytes;
  };
  // 2 blocks of 8 samples x 4 heads x 128 x 128 probabilities instead of 8 x 4 x 128 logarithms of
  // sums, which are fp32 in either precision.
  const double probabilities = 2.0 * 8 * 4 * 128 * 128, sums = 2.0 * 8 * 4 * 128;
  for (const auto& [precision, size] :
       {std::pair(Precision::fp32, 4.0), std::pair(Precision::bf16, 2.0)}) {
    EXPECT_DOUBLE_EQ(saved(profile(AttentionKernel::unfused, precision)) -
                         saved(profile(AttentionKernel::fused, precision)),
                     size * probabilities - 4 * sums);
  }
  double flops = 0, attention_flops = 0;
  for (const Work& w : profile(AttentionKernel::unfused, Precision::fp32).work) {
    if (w.op_class == OpClass::attention) ++attention_flops;
    flops += w.calls * w.flops.at(8);
  }
  EXPECT_EQ(attention_flops, 0);
  // Without the fused backward's second look at the scores: 2 * 128 * 64 per probability.
  double fused_flops = 0;
  for (const Work& w : profile(AttentionKernel::fused, Precision::fp32).work) {
    fused_flops += w.calls * w.flops.at(8);
  }
  EXPECT_DOUBLE_EQ(fused_flops - flops, 2.0 * 64 * probabilities);
}

TEST(CostModel, UnfusedAttentionIsAChoiceOfCpusOnly) {
  const Graph graph = gpt(2);
  const auto kernels = [&](const Graph& g, const Job& job) {
    return CostModel(g, machine(), job).space().attention.size();
  };
  EXPECT_EQ(kernels(graph, {}), 2u);
  EXPECT_EQ(kernels(mlp(), {}), 1u);
  Job pinned;
  pinned.pins.attention = AttentionKernel::unfused;
  EXPECT_EQ(kernels(graph, pinned), 1u);
  Job forward_only;
  forward_only.training = false;
  EXPECT_EQ(kernels(graph, forward_only), 1u);
  Graph dropping = graph;
  for (Op& op : dropping.ops) {
    if (op.target.starts_with("aten.scaled")) op.attributes["dropout_p"] = 0.1;
  }
  EXPECT_EQ(kernels(dropping, {}), 1u);
  Device gpu = cpu();
  gpu.kind = DeviceKind::gpu;
  gpu.cores.clear();
  EXPECT_EQ(CostModel(graph, machine({cpu(), gpu}), {}).space().attention.size(), 1u);
}

TEST(CostModel, TwoRanksPayForGradientsAndOutputs) {
  const Graph graph = mlp(8, 16, 2);
  Cluster cluster = machine();
  cluster.links.push_back({DeviceId(0), DeviceId(0), "loopback", exact(1e-5), exact(1e9)});
  const CostModel model(graph, cluster, {});
  LocalChoice choice = model.plain();
  for (std::size_t l = 0; l < model.space().layouts.size(); ++l) {
    if (model.space().layouts[l].ranks() == 2) choice.layout = int(l);
  }
  const Estimate e = model.estimate(model.plan(choice));
  // gloo: 10 + 800 us a step, 1 / (1 / 1 GB/s + 1 / 1.5 GB/s) = 0.6 GB/s.
  // 2*(2-1)*810 us + 2*1/2*2176 B / 0.6 GB/s, and once more for the number of samples; outputs
  // 8*16*4 = 512 B: 810 us + 1/2*512 / 0.6e9.
  EXPECT_NEAR(item(e, "all-reduce of gradients"), 2 * 1620e-6 + 2176 / 0.6e9, 1e-12);
  EXPECT_NEAR(item(e, "gather of outputs"), 810e-6 + 256 / 0.6e9, 1e-12);
}

TEST(CostModel, RanksOnCpusWaitForEveryBucket) {
  // Two layers of 2,900^2 in fp32 are 64.2 MiB: a bucket of 1 MiB and three of 25 MiB, then the
  // number of samples: five small waits where the sum alone has one.
  const Graph graph = mlp(8, 2900, 2);
  Cluster cluster = machine();
  cluster.links.push_back({DeviceId(0), DeviceId(0), "loopback", exact(1e-5), exact(1e9)});
  Job job;
  job.pins.data = 2;
  const CostModel model(graph, cluster, job);
  const double bytes = 4.0 * 2 * (2900.0 * 2900 + 2900);
  EXPECT_NEAR(item(model.estimate(model.plan(model.plain())), "all-reduce of gradients"),
              5 * 1620e-6 + bytes / 0.6e9, 1e-9);
}

TEST(CostModel, RanksSynchroniseTheirBatchNorms) {
  Cluster cluster = machine();
  cluster.links.push_back({DeviceId(0), DeviceId(0), "loopback", exact(1e-5), exact(1e9)});
  const auto statistics_s = [&](const Graph& graph, int ranks) {
    Job job;
    job.pins.data = ranks;
    const CostModel model(graph, cluster, job);
    return item(model.estimate(model.plan(model.plain())), "synchronised batch norms");
  };
  // Four of them gather once and sum once, a step of gloo's ring 810 us: 4 * (1 + 2) * 810 us.
  // Each passes 12 + 15 times more than one kernel over 32 * 64 * 8 * 8 * 4 B = 512 KiB at 10 GB/s,
  // and launches 60 warm operators at 0.4 * 5 us.
  const double one = 3 * 810e-6 + 27 * 524288 / 10e9 + 60 * 0.4 * 5e-6;
  EXPECT_NEAR(statistics_s(cnn(), 2), 4 * one, 1e-12);
  EXPECT_EQ(statistics_s(cnn(), 1), 0);
  EXPECT_EQ(statistics_s(mlp(), 2), 0);
}

TEST(CostModel, AnOptimizerReadsOneTensorAtATime) {
  // 20 passes of AdamW in 9 kernels: a rate that falls with size is taken at 20 / 9 of a tensor.
  Cluster cluster = machine();
  RateCurve curve = testing::flat("elementwise", std::nullopt, 2, 1e10);
  curve.points = {{2000, 4e10}, {4000, 2e10}, {40000, 1e10}};
  cluster.devices[0].rates.edit() = {curve};
  const Graph graph = mlp(8, 16, 1);  // 256 and 16 numbers
  const CostModel model(graph, cluster, {});
  const double expected = 20 * 1024 / rate_at(curve, 1024 * 20 / 9.0) + 20 * 64 / 4e10;
  EXPECT_NEAR(item(model.estimate(model.plan(model.plain())), "optimizer"),
              expected + (2 * 9 * 0.4 + 25) * 5e-6, 1e-9);
}

TEST(CostModel, AMeasuredLoopOfAnOptimizerHoldsItsLaunches) {
  Cluster cluster = machine();
  cluster.devices[0].rates.push_back(testing::flat("optimizer", std::nullopt, 2, 2e9));
  const Graph graph = mlp(8, 16, 1);  // 256 and 16 numbers
  const CostModel model(graph, cluster, {});
  const LocalChoice plain = model.plain();
  // 20 passes at the rate of the loop, and the step's own 25 launches of 5 us.
  EXPECT_NEAR(item(model.estimate(model.plan(plain)), "optimizer"), 20 * 1088 / 2e9 + 25 * 5e-6,
              1e-12);
  // A fused step has no curve of its own here: elementwise, and a launch per tensor.
  LocalChoice fused = plain;
  fused.fused_optimizer = true;
  EXPECT_NEAR(item(model.estimate(model.plan(fused)), "optimizer"),
              7 * 1088 / 20e9 + (2 * 0.4 + 25) * 5e-6, 1e-12);
}

TEST(CostModel, AGpusOptimizerRunsOverLists) {
  Device gpu = cpu();
  gpu.kind = DeviceKind::gpu;
  gpu.cores.clear();
  const Graph graph = mlp(8, 16, 1);
  const Cluster cluster = machine({gpu});
  const CostModel model(graph, cluster, {});
  // AdamW: 20 passes over 1024 + 64 B at 10 GB/s, 9 calls with their Python for all tensors.
  EXPECT_NEAR(item(model.estimate(model.plan(model.plain())), "optimizer"),
              20 * 1088 / 10e9 + 9 * 2 * 5e-6, 1e-12);
}

TEST(CostModel, AProcessorSpreadsABiasOverTheRowsOfAProduct) {
  const auto copied = [](const Graph& graph, const Device& device) {
    const Cluster cluster = machine({device});
    const CostModel model(graph, cluster, {});
    return item(model.estimate(model.plan(model.plain())), "forward copy");
  };
  // 8 rows of 16 numbers, each line read before it is written, at 20 GB/s and without a launch.
  EXPECT_NEAR(copied(mlp(8, 16, 1), cpu()), 2 * 8 * 16 * 4 / 20e9, 1e-15);
  Device gpu = cpu();
  gpu.kind = DeviceKind::gpu;
  gpu.cores.clear();
  EXPECT_EQ(copied(mlp(8, 16, 1), gpu), 0);
  EXPECT_EQ(copied(one_linear(), cpu()), 0);
}

TEST(CostModel, ABiasTakesTheSumOfItsGradientOverRows) {
  const Graph graph = mlp(8, 16, 1);
  const Profile profile = make_profile(graph, model_facts(graph, true), {}, true);
  const auto calls = [&](OpClass op_class) {
    std::vector<std::pair<double, double>> found;  // calls, bytes of one
    for (const Work& work : profile.work) {
      if (work.backward && work.op_class == op_class)
        found.emplace_back(work.calls, work.bytes.at(8));
    }
    return found;
  };
  using Calls = std::vector<std::pair<double, double>>;
  EXPECT_EQ(calls(OpClass::reduction), (Calls{{1, 8 * 16 * 4}}));  // reads dy
  // dx is not wanted: one product, whose weight's gradient has 16 * 16 numbers, and the bias'.
  // It reads dy, x, w, b: 512 + 512 + 1024 + 64 B.
  EXPECT_EQ(calls(OpClass::contraction), (Calls{{1, 2112 + 1024 + 64}}));
}

TEST(CostModel, FittedCollectivesServeWhereNoLinkWasMeasured) {
  const Graph graph = mlp(8, 16, 1);
  Cluster cluster = preset_cluster("2xA100-40GB");
  Job job;
  job.pins.data = 2;
  const auto all_reduce_s = [&] {
    const CostModel model(graph, cluster, job);
    return item(model.estimate(model.plan(model.plain())), "all-reduce of gradients");
  };
  const CollectiveCurve* curve = collective_curve("A100-SXM-40GB", "all_reduce", 2);
  ASSERT_NE(curve, nullptr);
  // One bucket of (256 + 16) * 4 B, which nothing hides.
  EXPECT_NEAR(all_reduce_s(), collective_time(*curve, 1088).value, 1e-12);
  cluster.links.push_back(
      {DeviceId(0), DeviceId(1), "NVLink3", exact(5e-6), exact(2e11, Quality::measured)});
  EXPECT_NEAR(all_reduce_s(), 2 * 5e-6 + 1088 / 2e11, 1e-12);
}

TEST(CostModel, MicroBatchesRunTheForwardTwice) {
  const Graph graph = gpt(2);
  const Cluster cluster = machine();
  const CostModel model(graph, cluster, {});
  LocalChoice choice = model.plain();
  EXPECT_EQ(model.bill(choice).second_forward_s, 0);
  choice.micro = 1;
  const Bill bill = model.bill(choice);
  EXPECT_DOUBLE_EQ(bill.second_forward_s, bill.forward_s);
  EXPECT_LT(bill.saved_bytes, model.bill(model.plain()).saved_bytes);
}

/// Calls `visit` for every choice of the space.
void each(const CostModel& model, const std::function<void(const LocalChoice&)>& visit) {
  const LocalSpace& space = model.space();
  LocalChoice c;
  for (c.layout = 0; c.layout < int(space.layouts.size()); ++c.layout) {
    for (c.micro = 0; c.micro < int(space.micro_batches[std::size_t(c.layout)].size()); ++c.micro) {
      for (c.precision = 0; c.precision < int(space.precisions.size()); ++c.precision) {
        for (const bool compile : space.compile) {
          for (const bool fused : space.fused_optimizer) {
            for (int n = 0; n <= space.most_recompute[0]; ++n) {
              c.compile = compile;
              c.fused_optimizer = fused;
              c.recompute[0] = n;
              visit(c);
            }
          }
        }
      }
    }
  }
}

TEST(CostModel, EstimateOfThePlanEqualsEvaluationOfTheChoice) {
  const Graph graph = gpt(3, 6, 16, 32);
  const Cluster cluster = machine({cpu(4)});
  const CostModel model(graph, cluster, {});
  each(model, [&](const LocalChoice& choice) {
    const Cost cost = model.evaluate(choice);
    const Estimate e = model.estimate(model.plan(choice));
    ASSERT_DOUBLE_EQ(e.step_time_s.value, cost.time_s) << one_line(model.plan(choice));
    ASSERT_DOUBLE_EQ(e.peak_memory_bytes.value, cost.memory_bytes);
    ASSERT_DOUBLE_EQ(e.energy_j->value, cost.energy_j);
  });
}

TEST(CostModel, FreeEstimateAgreesWithTheModel) {
  const Graph graph = gpt(2);
  const Cluster cluster = machine();
  const Job job;
  const CostModel model(graph, cluster, job);
  const Plan plan = model.plan(model.plain());
  EXPECT_EQ(estimate(graph, cluster, job, plan), model.estimate(plan));
}

TEST(CostModel, EnergyIsAtLeastIdlePowerOverTheStep) {
  const Graph graph = gpt(2);
  const Cluster cluster = machine();
  const CostModel model(graph, cluster, {});
  each(model, [&](const LocalChoice& choice) {
    const Cost cost = model.evaluate(choice);
    ASSERT_GE(cost.energy_j, 10 * cost.time_s);
    ASSERT_LE(cost.energy_j, 30 * cost.time_s * (1 + 1e-12));
  });
}

TEST(CostModel, RecomputeTradesTimeForMemory) {
  const Graph graph = gpt(6);
  const Cluster cluster = machine();
  const CostModel model(graph, cluster, {});
  LocalChoice choice = model.plain();
  Cost before = model.evaluate(choice);
  for (int n = 1; n <= 6; ++n) {
    choice.recompute[0] = n;
    const Cost now = model.evaluate(choice);
    ASSERT_GT(now.time_s, before.time_s);
    if (n < 5) {
      ASSERT_LT(now.memory_bytes, before.memory_bytes) << n;
    }
    before = now;
  }
}

TEST(CostModel, LargerBatchesNeverTakeLess) {
  const Cluster cluster = machine();
  const Graph graph = gpt(2, 4, 16, 32);
  Cost before;
  for (std::int64_t batch = 1; batch <= 64; ++batch) {
    Job job;
    job.global_batch = batch;
    const CostModel model(graph, cluster, job);
    const Cost now = model.evaluate(model.plain());
    ASSERT_GE(now.time_s, before.time_s) << batch;
    ASSERT_GE(now.memory_bytes, before.memory_bytes) << batch;
    before = now;
  }
}

TEST(CostModel, MoreThreadsOfEqualRateAreNeverSlower) {
  const Graph graph = gpt(2);
  const Cluster cluster = machine({cpu(8)});
  const CostModel model(graph, cluster, {});
  LocalChoice choice = model.plain();
  double before = 0;
  for (std::size_t l = 0; l < model.space().layouts.size(); ++l) {
    if (model.space().layouts[l].ranks() != 1) continue;  // one rank, threads falling
    choice.layout = int(l);
    const double now = model.evaluate(choice).time_s;
    ASSERT_GE(now, before);
    before = now;
  }
}

TEST(CostModel, OrderOfEqualDevicesChangesNothing) {
  const Graph graph = gpt(2);
  Device first = cpu(2), second = cpu(2);
  first.uuid = "a";
  second.uuid = "b";
  const Cluster one = machine({first, second}), other = machine({second, first});
  const CostModel a(graph, one, {}), b(graph, other, {});
  each(a, [&](const LocalChoice& choice) {
    ASSERT_EQ(a.evaluate(choice).time_s, b.evaluate(choice).time_s);
    ASSERT_EQ(a.evaluate(choice).energy_j, b.evaluate(choice).energy_j);
  });
}

TEST(CostModel, WorseInputsWidenTheInterval) {
  const Graph graph = gpt(2);
  const auto width = [&](const Cluster& cluster) {
    const CostModel model(graph, cluster, {});
    const Estimate e = model.estimate(model.plan(model.plain()));
    return std::pair(e.step_time_s.high / e.step_time_s.value - 1, e.step_time_s.quality);
  };
  Cluster measured = machine(), assumed = machine();
  assumed.devices[0].rates.clear();
  EXPECT_NEAR(width(measured).first, cost_parameter::kWidthMeasured, 1e-12);
  EXPECT_EQ(width(measured).second, Quality::calibrated);
  EXPECT_NEAR(width(assumed).first, cost_parameter::kWidthAssumed, 1e-12);
  EXPECT_EQ(width(assumed).second, Quality::assumed);
}

TEST(Optimizer, FusedAdamWReadsAndWritesEachTensorOnce) {
  const OptimizerCost cost = optimizer_cost(Optimizer::adamw);
  EXPECT_EQ(cost.fused_passes, 4 + 3);  // p g m v -> p m v
  EXPECT_EQ(cost.passes, 2 + 3 + 2 + 3 + 2 + 2 + 2 + 4);
  EXPECT_EQ(cost.state_tensors, 2);
}

}  // namespace
}  // namespace parallel_opt
