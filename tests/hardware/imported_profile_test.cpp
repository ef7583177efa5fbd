#include "parallel_opt/hardware/imported_profile.h"

#include <gtest/gtest.h>

#include <cmath>

namespace parallel_opt {
namespace {

using Lines = std::vector<std::string>;

ProfileRow block_row(int micro_batch, double forward_s) {
  ProfileRow row;
  row.device = "X";
  row.name = "block";
  row.layers = LayerRange{1, 4};
  row.micro_batch = micro_batch;
  row.forward_s = forward_s;
  return row;
}

ImportedProfile profile_of(std::vector<ProfileRow> rows) {
  ImportedProfile profile;
  profile.name = "p";
  profile.source = "a test";
  profile.rows = std::move(rows);
  return profile;
}

Lines profile_faults(const ImportedProfile& profile) {
  Lines lines;
  for (const Fault& fault : check(profile, "p")) lines.push_back(to_string(fault));
  return lines;
}

ProfileQuery layer_query(int layer, double micro_batch) {
  ProfileQuery query;
  query.device = "X";
  query.layer = layer;
  query.micro_batch = micro_batch;
  return query;
}

TEST(ImportedProfile, ReadsWhatItWrites) {
  ImportedProfile profile = profile_of({block_row(1, 0.5)});
  profile.model = "m";
  profile.transfers = {
      {"p2p", "X", "Y", 2, "a", "b", TransferScope::cluster, 4, true, {{1e6, 1e-3}}, std::nullopt}};
  profile.rates = {{"X", {"matmul", DType::bf16, 0, {{1e9, 1e12}}, Quality::reported, "s"}}};
  profile.overlap_slowdown = 1.1;
  EXPECT_EQ(profile_faults(profile), Lines{});
  EXPECT_EQ(read_profile(to_json(profile), "p.json"), profile);
}

TEST(ImportedProfile, EveryBrokenRuleIsNamed) {
  ImportedProfile profile = profile_of({block_row(1, -1), block_row(0, 1), ProfileRow{}});
  profile.rows[1].layers = LayerRange{3, 2};
  profile.rows[1].tensor = 0;
  profile.rows[1].sequence = 0;
  profile.rows[1].clock_hz = 0;
  profile.name = profile.source = "";
  EXPECT_EQ(profile_faults(profile),
            (Lines{"p.name: is empty", "p.source: is empty (say who measured it)",
                   "p.rows[0].forward_s: is negative", "p.rows[1].tensor: is less than 1",
                   "p.rows[1].micro_batch: is not positive", "p.rows[1].sequence: is less than 1",
                   "p.rows[1].clock_hz: is not positive",
                   "p.rows[1].layers: is 3 .. 2 (layers count from 0, first <= last)",
                   "p.rows[2].device: is empty", "p.rows[2].name: is empty",
                   "p.rows[2]: measures nothing (forward_s, backward_s, saved_bytes, ...)"}));
  EXPECT_EQ(profile_faults(profile_of({})),
            Lines{"p: holds no measurement (rows, transfers or rates)"});
}

TEST(ImportedProfile, BrokenTransfersAndRatesAreNamed) {
  ImportedProfile profile = profile_of({});
  ProfiledTransfer transfer;
  transfer.collective = "broadcast";
  transfer.ranks = 1;
  profile.transfers = {transfer, transfer};
  profile.transfers[1] = {.collective = "p2p", .device = "X", .ranks = 2};
  profile.transfers[1].points = {{8, 1}, {8, 0}};
  profile.transfers[1].bus_bytes_per_s = 0;
  profile.rates = {{"", {"", DType::bf16, 0, {}, Quality::reported, ""}}};
  profile.overlap_slowdown = 0.5;
  const std::string unknown =
      "p.transfers[0].collective: is unknown: \"broadcast\" (one of p2p, all_reduce, all_gather, "
      "reduce_scatter, all_to_all)";
  EXPECT_EQ(
      profile_faults(profile),
      (Lines{"p.transfers[0].device: is empty", unknown, "p.transfers[0].ranks: is less than 2",
             "p.transfers[0]: has neither points nor a rate (points, or bus_bytes_per_s)",
             "p.transfers[1].bus_bytes_per_s: is not positive",
             "p.transfers[1].points[1].seconds: is not positive",
             "p.transfers[1].points[1].bytes: does not rise (sort the points by size)",
             "p.rates[0].device: is empty", "p.rates[0].curve.kernel: is empty",
             "p.rates[0].curve.points: is empty (a curve has a point)",
             "p.overlap_slowdown: is less than 1 (1 means no slowdown)"}));
}

TEST(ImportedProfile, OneQuantityOfOneLayerIsMeasuredOnce) {
  ProfileRow memory = block_row(1, 0);
  memory.forward_s.reset();
  memory.saved_bytes = 10;
  ProfileRow other = block_row(1, 0.2);
  other.layers = LayerRange{4, 9};
  EXPECT_EQ(profile_faults(profile_of({block_row(1, 0.1), memory, other})),
            Lines{"p.rows[2].forward_s: was measured already, in rows[0] (keep one)"});
  other.layers = LayerRange{5, 9};
  EXPECT_EQ(profile_faults(profile_of({block_row(1, 0.1), memory, other})), Lines{});
}

TEST(FindProfiled, IsLinearBetweenMicroBatchesAndSilentOutside) {
  const ImportedProfile profile =
      profile_of({block_row(1, 0.1), block_row(4, 0.4), block_row(2, 0.25)});
  const auto forward = [&](const ProfileQuery& query) {
    return find_profiled(profile, query, &ProfileRow::forward_s);
  };
  EXPECT_EQ(forward(layer_query(1, 1)), 0.1);
  EXPECT_EQ(forward(layer_query(4, 2)), 0.25);
  // half way from 2 to 4: (0.25 + 0.4) / 2
  EXPECT_DOUBLE_EQ(forward(layer_query(2, 3)).value(), 0.325);
  EXPECT_EQ(forward(layer_query(2, 8)), std::nullopt);  // often it did not fit
  EXPECT_EQ(forward(layer_query(2, 0.5)), std::nullopt);
  EXPECT_EQ(forward(layer_query(0, 1)), std::nullopt);  // no such layer
  ProfileQuery wide = layer_query(1, 1);
  wide.tensor = 2;
  EXPECT_EQ(forward(wide), std::nullopt);
  ProfileQuery named = layer_query(1, 1);
  named.name = "head";
  EXPECT_EQ(forward(named), std::nullopt);
  EXPECT_EQ(find_profiled(profile, layer_query(1, 1), &ProfileRow::backward_s), std::nullopt);
}

TEST(FindProfiled, TheHighestClockSpeaksForTheDevice) {
  ImportedProfile profile = profile_of({block_row(1, 0.3), block_row(1, 0.2)});
  profile.rows[0].clock_hz = 9e8;
  profile.rows[1].clock_hz = 1.4e9;
  EXPECT_EQ(find_profiled(profile, layer_query(1, 1), &ProfileRow::forward_s), 0.2);
  ProfileQuery slow = layer_query(1, 1);
  slow.clock_hz = 9e8;
  EXPECT_EQ(find_profiled(profile, slow, &ProfileRow::forward_s), 0.3);
}

TEST(FindProfiled, TypesAndLengthsMustAgreeWhereBothAreStated) {
  ImportedProfile profile = profile_of({block_row(1, 0.3)});
  profile.rows[0].dtype = DType::bf16;
  profile.rows[0].sequence = 2048;
  ProfileQuery query = layer_query(1, 1);
  EXPECT_TRUE(find_profiled(profile, query, &ProfileRow::forward_s));
  query.dtype = DType::fp32;
  EXPECT_FALSE(find_profiled(profile, query, &ProfileRow::forward_s));
  query.dtype = DType::bf16;
  query.sequence = 4096;
  EXPECT_FALSE(find_profiled(profile, query, &ProfileRow::forward_s));
}

TEST(TransferSeconds, RunsThroughThePointsAndKeepsTheEndRate) {
  ProfiledTransfer transfer;
  EXPECT_EQ(transfer_seconds(transfer, 1), std::nullopt);
  transfer.points = {{1e6, 1e-3}, {4e6, 2e-3}};
  EXPECT_EQ(transfer_seconds(transfer, 1), 1e-3);
  EXPECT_DOUBLE_EQ(transfer_seconds(transfer, 2e6).value(), 1e-3 * std::sqrt(2.0));  // log-log
  EXPECT_DOUBLE_EQ(transfer_seconds(transfer, 8e6).value(), 4e-3);                   // 2e9 B/s
}

}  // namespace
}  // namespace parallel_opt
