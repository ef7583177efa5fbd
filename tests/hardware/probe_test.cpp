#include "parallel_opt/hardware/probe.h"

#include <gtest/gtest.h>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/hardware/discover.h"
#include "parallel_opt/hardware/probe_host.h"

namespace parallel_opt {
namespace {

/// Rounds that take the given times, in order and then again.
struct Rounds {
  std::vector<double> times;
  int calls = 0;
  double operator()() { return times[static_cast<std::size_t>(calls++) % times.size()]; }
};

Timing repeat(Rounds& rounds, const RepeatLimits& limits) {
  return repeat_until_stable([&] { return rounds(); }, limits);
}

TEST(Repeat, ThrowsTheFirstRoundAway) {
  Rounds rounds{{100, 1, 1, 1, 1, 1, 1, 1}};
  const Timing timing = repeat(rounds, {.budget_s = 1000});
  EXPECT_EQ(timing, (Timing{1, 1, 1, 6}));  // stable after twice the least number of rounds
  EXPECT_EQ(rounds.calls, 7);
}

TEST(Repeat, EndsWithTheBudget) {
  Rounds rounds{{1, 2}};  // never stable
  const Timing timing = repeat(rounds, {.budget_s = 10});
  // 1 for the lost round, then 2 1 2 1 2 1 = 9; sum 10
  EXPECT_EQ(timing.rounds, 6);
  EXPECT_DOUBLE_EQ(timing.median_s, 1.5);
}

TEST(Repeat, ASlowActionIsTimedThreeTimesAnyway) {
  Rounds rounds{{50, 50, 60, 70}};
  const Timing timing = repeat(rounds, {.budget_s = 1});
  EXPECT_EQ(timing.rounds, 3);
  EXPECT_DOUBLE_EQ(timing.median_s, 60);
  EXPECT_DOUBLE_EQ(timing.low_s, 52);  // a tenth of the way through 50 60 70
  EXPECT_DOUBLE_EQ(timing.high_s, 68);
}

TEST(Repeat, StopsAtTheMostRounds) {
  Rounds rounds{{1, 2}};
  EXPECT_EQ(repeat(rounds, {.budget_s = 1e9, .most_rounds = 20}).rounds, 20);
}

TEST(FitTransfer, FindsLatencyAndBandwidth) {
  std::vector<TransferPoint> points;
  for (int bytes = 64; bytes <= 16777216; bytes *= 4) {
    points.push_back({double(bytes), 5e-6 + bytes / 2e9});
  }
  const TransferFit fit = fit_transfer(points);
  EXPECT_NEAR(fit.latency_s.value, 5e-6, 1e-12);
  EXPECT_NEAR(fit.bytes_per_s.value, 2e9, 1);
  EXPECT_EQ(fit.latency_s.quality, Quality::measured);
  EXPECT_NEAR(fit.bytes_per_s.low, 2e9, 100);  // no residual, no doubt
}

TEST(FitTransfer, AShapedLinkHasTheRateOfItsLargeMessages) {
  std::vector<TransferPoint> points;
  for (int bytes = 1024; bytes <= 16777216; bytes *= 4) {
    // A bucket of 64 KiB goes through at 1.4 GB/s, the rest at 12.5 MB/s.
    const double slow = std::max(0, bytes - 65536) / 12.5e6;
    points.push_back({double(bytes), 60e-6 + std::min(bytes, 65536) / 1.4e9 + slow});
  }
  const TransferFit fit = fit_transfer(points);
  EXPECT_NEAR(fit.bytes_per_s.value, 12.5e6, 1);
  EXPECT_LE(fit.latency_s.value, 61e-6);
  EXPECT_GT(fit.bytes_per_s.low, 12.5e6 * 0.9);  // large messages follow it
  EXPECT_LT(fit.latency_s.low, fit.latency_s.value * 0.8);
}

TEST(FitTransfer, NoiseWidensTheIntervalAndStaysPositive) {
  const TransferFit fit = fit_transfer({{64, 9e-6}, {1e6, 4e-6}, {2e6, 3e-6}});
  EXPECT_GT(fit.latency_s.value, 0);
  EXPECT_GT(fit.bytes_per_s.value, 0);
  EXPECT_LT(fit.bytes_per_s.low, fit.bytes_per_s.value);
  EXPECT_GT(fit.bytes_per_s.low, 0);
  EXPECT_THROW(fit_transfer({{64, 1}}), InternalError);
}

TEST(TimeCopy, ManyThreadsShareTheBytes) {
  const Timing one = time_copy(1 << 16, {-1}, {.budget_s = 1e-3});
  const Timing four = time_copy(1 << 16, {-1, -1, -1, -1}, {.budget_s = 1e-3});
  EXPECT_GT(one.median_s, 0);
  EXPECT_GT(four.median_s, 0);
  EXPECT_LE(one.low_s, one.high_s);
}

TEST(TimeTransfer, BothWaysCarryMessages) {
  for (const Transport transport : {Transport::shared_memory, Transport::loopback}) {
    for (const std::int64_t bytes : {1, 1 << 20}) {
      const auto timing = time_transfer(transport, bytes, {-1, -1}, {.budget_s = 1e-3});
      if (transport == Transport::loopback && !timing) continue;  // a sandbox without sockets
      ASSERT_TRUE(timing.has_value()) << name_of(transport);
      EXPECT_GT(timing->median_s, 0) << name_of(transport);
    }
  }
}

TEST(ProbeHost, GivesCurvesAndLinksThatFitTheDevice) {
  Cluster cluster = discover(DiskFileSystem());
  const ProbeSet set = probe_host(cluster.devices[0], 0.02);
  EXPECT_EQ(set.uuid, cluster.devices[0].uuid);
  ASSERT_FALSE(set.rates.empty());
  EXPECT_EQ(set.rates.back().kernel, "memory");
  EXPECT_EQ(set.rates.back().threads, 0);  // the whole device is always there
  EXPECT_EQ(set.rates.back().quality, Quality::measured);
  EXPECT_EQ(set.rates.back().source, "probe " + set.date);
  cluster.devices[0].rates = set.rates;
  EXPECT_EQ(check(cluster), std::vector<Fault>{});
  ASSERT_FALSE(set.links.empty());
  EXPECT_EQ(set.links[0].type, "shared-memory");
  EXPECT_EQ(from_json<ProbeSet>(to_json(set), "probe"), set);
}

}  // namespace
}  // namespace parallel_opt
