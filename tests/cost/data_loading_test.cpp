#include "parallel_opt/cost/data_loading.h"

#include "parallel_opt/cost/cost_model.h"
#include "tests/cost/layout_fixture.h"
#include "tests/cost/models.h"

namespace parallel_opt {
namespace {

using testing::cpu;
using testing::machine;
using testing::mlp;

TEST(DataLoading, OneProcessLoadsThenComputes) {
  EXPECT_DOUBLE_EQ(waits_for_samples({0.01, 0, 8, 8}, 32, 1.0), 0.32);
}

TEST(DataLoading, WorkersHideWhatFitsBesideTheStep) {
  // 0.32 s of work: four workers take 0.08 s.
  EXPECT_EQ(waits_for_samples({0.01, 4, 8, 8}, 32, 0.1), 0);
  EXPECT_DOUBLE_EQ(waits_for_samples({0.01, 4, 8, 8}, 32, 0.05), 0.03);
  EXPECT_DOUBLE_EQ(waits_for_samples({0.01, 4, 2, 2}, 32, 0.05), 0.11);  // two cores for the four
}

TEST(DataLoading, WithoutSpareCoresTheWorkIsSharedButNotHidden) {
  EXPECT_DOUBLE_EQ(waits_for_samples({0.01, 4, 2, 0}, 32, 1.0), 0.16);
}

TEST(DataLoading, MoreWorkersAndCoresNeverWaitLonger) {
  for (const double step_s : {0.0, 0.1, 1.0}) {
    for (const double spare : {0.0, 0.5, 2.0, 8.0}) {
      double before = 1e9;
      for (const double workers : {0.0, 1.0, 2.0, 4.0, 64.0}) {
        // A worker without a spare core of its own takes turns with the step.
        const double waits = waits_for_samples({0.02, workers, 8, spare}, 64, step_s);
        EXPECT_LE(waits, before) << workers << " workers, " << spare << " spare cores";
        EXPECT_LE(waits_for_samples({0.02, workers, 16, spare}, 64, step_s), waits);
        EXPECT_LE(waits_for_samples({0.02, workers, 8, spare}, 32, step_s), waits);
        before = waits;
      }
    }
  }
}

TEST(DataLoading, RanksOnCoresGiveUpThreadsForWorkers) {
  const Graph graph = mlp(64, 256, 2);
  const Cluster cluster = machine({cpu()});
  Job job;
  job.pins.data = 1;
  const auto seconds = [&](int threads, int workers) {
    job.pins.threads = threads;
    job.loading = DataLoading{1e-3, workers};
    const CostModel model(graph, cluster, job);
    return model.bill(model.plain()).loading_s;
  };
  const int cores = int(cluster.devices[0].cores.size());
  ASSERT_GE(cores, 2);
  const double alone = seconds(cores, 0);
  EXPECT_DOUBLE_EQ(alone, 64e-3);
  EXPECT_NEAR(seconds(cores, cores), alone / cores, 1e-9);
  EXPECT_LT(seconds(1, cores), seconds(cores, cores));  // beside the step, too
}

class LoadingOfLayouts : public testing::LayoutFixture {};

TEST_F(LoadingOfLayouts, IsTheStepWhereTheHostIsSlower) {
  ParallelLayout l;
  l.tensor = 4;
  l.data = 2;
  l.micro_batch = 1;
  l.micro_batches = 16;
  l.sequence_parallel = true;
  a100.host.cores = 4 * a100.host.devices;  // 16 for the four devices of a replica
  const double bare = cost(l).time_s();
  l.sample_s = bare;
  EXPECT_NEAR(cost(l).time_s(), bare + 16 * bare, 1e-9);  // the loop loads itself
  l.loader_workers = 64;                                  // of which 16 have a core
  EXPECT_NEAR(cost(l).time_s(), bare, 1e-9);
  l.loader_workers = 8;
  EXPECT_NEAR(cost(l).time_s(), 2 * bare, 1e-9);
  const Estimate e = layout_estimate(cost(l), dense, a100, l, p);
  double listed = 0;
  for (const EstimateItem& item : e.items) listed += item.seconds.value_or(0);
  EXPECT_NEAR(listed, e.step_time_s.value, 1e-9);
}

}  // namespace
}  // namespace parallel_opt
