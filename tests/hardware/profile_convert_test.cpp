#include "parallel_opt/hardware/profile_convert.h"

#include <gtest/gtest.h>

#include <cmath>

#include "parallel_opt/base/text.h"

namespace parallel_opt {
namespace {

using Lines = std::vector<std::string>;

ImportedProfile convert(const std::string& text, const ProfileFacts& facts = {},
                        const std::string& path = "dir/file.json") {
  return import_profile({{path, text}}, facts);
}

Lines faults_of(const std::string& text, const ProfileFacts& facts = {}) {
  Lines lines;
  try {
    convert(text, facts, "f.json");
  } catch (const InputError& error) {
    for (const Fault& fault : error.faults()) lines.push_back(to_string(fault));
  }
  return lines;
}

const ProfileFacts kA100 = {.device = "A100-40"};

TEST(ConvertSailor, EqualLayersShareARow) {
  const ImportedProfile profile = convert(
      R"({"2": {"4": {"0": [0.1, 0.2, 0.3], "1": [1, 2, 0.3], "2": [1, 2, 0.3],
                      "3": [3, 4, 0.3]}}})",
      kA100);
  EXPECT_EQ(profile.name, "file");
  EXPECT_EQ(profile.source, "file.json");
  ASSERT_EQ(profile.rows.size(), 3u);
  const ProfileRow& block = profile.rows[1];
  EXPECT_EQ(block.device, "A100-SXM-40GB");  // "A100-40" with GB is an alias of the database
  EXPECT_EQ(block.name, "block");
  EXPECT_EQ(block.layers, (LayerRange{1, 2}));
  EXPECT_EQ(block.micro_batch, 2);
  EXPECT_EQ(block.tensor, 4);
  EXPECT_EQ(block.dtype, DType::fp32);
  EXPECT_EQ(block.forward_s, 1);
  EXPECT_EQ(block.backward_s, 2);
  EXPECT_EQ(block.optimizer_s, 0.3);
  EXPECT_EQ(profile.rows[0].name, "embedding");
  EXPECT_EQ(profile.rows[2].name, "head");
}

TEST(ConvertSailor, ManyDevicesNameThemselves) {
  const std::string text =
      R"({"OPT": {"GH-96": {"1": {"1": {"0": [1, 2, 3]}}}, "V100-16": {"1": {"1": {"0": [4, 5, 6]}}}}})";
  const ImportedProfile all = convert(text);
  EXPECT_EQ(all.model, "OPT");
  ASSERT_EQ(all.rows.size(), 2u);
  EXPECT_EQ(all.rows[0].device, "GH200-96GB");
  EXPECT_EQ(all.rows[1].device, "V100-SXM-16GB");
  ASSERT_EQ(convert(text, {.device = "V100-16GB"}).rows.size(), 1u);
}

TEST(ConvertSailor, SizesBelongToTheDevicesThatWereTimed) {
  const std::string sizes =
      R"({"OPT": {"2": {"0": {"params_floats": 10, "act_output_floats": 3, "act_mem_floats": 5}}}})";
  const ImportedProfile profile = import_profile(
      {{"t.json", R"({"OPT": {"A": {"1": {"2": {"0": [1, 2, 3]}}}}})"}, {"s.json", sizes}}, {});
  ASSERT_EQ(profile.rows.size(), 2u);
  EXPECT_EQ(profile.rows[1].device, "A");
  EXPECT_EQ(profile.rows[1].tensor, 2);
  EXPECT_EQ(profile.rows[1].parameter_bytes, 40);  // 4 bytes each
  EXPECT_EQ(profile.rows[1].saved_bytes, 20);
  EXPECT_EQ(profile.rows[1].output_bytes, 12);
  EXPECT_EQ(faults_of(sizes),
            Lines{"f.json: does not say which device was measured (--device NAME)"});
}

TEST(ConvertSailor, NetworksAreSampledWhereTheyWereFitted) {
  // 10 GB/s + 2 GB/s for each doubling of 1 MB
  const std::string leaf = "[[0, 2, 10], 3e10]";
  const ImportedProfile inside = convert(R"({"A100-40": {"2": )" + leaf + "}}");
  ASSERT_EQ(inside.transfers.size(), 1u);
  const ProfiledTransfer& pair = inside.transfers[0];
  EXPECT_EQ(pair.collective, "p2p");
  EXPECT_EQ(pair.scope, TransferScope::node);
  ASSERT_EQ(pair.points.size(), 11u);
  EXPECT_EQ(pair.points[0], (MessageTime{1e6, 1e6 / 10e9}));
  EXPECT_EQ(pair.points[10], (MessageTime{1024e6, 1024e6 / 30e9}));
  const ImportedProfile both = convert(R"({"inter": {"A100-40": {"4": )" + leaf +
                                       R"(}}, "intra": {"A100-40": {"2": )" + leaf + "}}}");
  EXPECT_EQ(both.transfers[0].scope, TransferScope::cluster);
  EXPECT_EQ(both.transfers[0].ranks, 4);
  EXPECT_EQ(both.transfers[1].scope, TransferScope::node);
  const ImportedProfile zones =
      convert(R"({"east": {"A100-40": {"4": {"west": {"V100-16": {"2": )" + leaf + "}}}}}}");
  EXPECT_EQ(zones.transfers[0].zone, "east");
  EXPECT_EQ(zones.transfers[0].to_zone, "west");
  EXPECT_EQ(zones.transfers[0].to, "V100-SXM-16GB");
  EXPECT_EQ(zones.transfers[0].to_ranks, 2);
}

TEST(ConvertSailor, BrokenNumbersAreNamedByPath) {
  EXPECT_EQ(
      faults_of(R"({"1": {"1": {"0": [1, 2, 3], "1": [1, "x", 3], "2": [1]}, "none": 3}})", kA100),
      (Lines{"f.json:1.1.1[1]: expected a number, found a string",
             "f.json:1.1.2: is no list of forward, backward and update seconds",
             "f.json:1: has the key \"none\", but a number from 1 is needed",
             "f.json:1.none: expected an object, found a whole number"}));
}

TEST(ConvertGalvatron, TimesOfASampleBecomeThoseOfAMicroBatch) {
  const ImportedProfile profile = convert(
      R"({"layernum[2]_bsz4_seq2048": 45.4, "layertype_0_bsz4_seq2048": 4.5,
          "layertype_other_bsz4_seq2048": 3.25})",
      kA100, "computation_profiling_bf16_llama2-7b_all.json");
  ASSERT_EQ(profile.rows.size(), 2u);
  EXPECT_EQ(profile.rows[0].name, "block");
  EXPECT_EQ(profile.rows[0].dtype, DType::bf16);
  EXPECT_EQ(profile.rows[0].micro_batch, 4);
  EXPECT_EQ(profile.rows[0].sequence, 2048);
  EXPECT_DOUBLE_EQ(profile.rows[0].forward_s.value(), 4 * 4.5e-3);
  EXPECT_EQ(profile.rows[1].name, "embedding and head");
  EXPECT_EQ(profile.notes,
            Lines{"computation_profiling_bf16_llama2-7b_all.json: 1 raw times of whole models left "
                  "out: the layers' were derived from them"});
  const ImportedProfile raw = convert(R"({"layernum[2]_bsz1_seq2048": 24.5})", kA100);
  EXPECT_EQ(raw.rows[0].name, "model of 2 layers, embedding and head");
  EXPECT_DOUBLE_EQ(raw.rows[0].forward_s.value(), 24.5e-3);
}

TEST(ConvertGalvatron, MemoryIsPerDeviceAndSample) {
  const ImportedProfile profile = convert(
      R"({"1_1_8_sp": {}, "layertype_0_sp": {"4096": {"parameter_size": 8,
            "tp_activation_per_bsz_dict": {"1": 6, "2": 3.5, "checkpoint": 2}}},
          "other_memory_pp_off_sp": {"4096": {"model_states": {"1": 16}, "activation": {"1": 5, "2": 3}}},
          "other_memory_pp_on_first_sp": {"4096": {"model_states": {"1": 4}, "activation": {"1": 1}}}})",
      kA100);
  ASSERT_EQ(profile.rows.size(), 5u);
  constexpr double kMb = 1048576;
  const ProfileRow& two = profile.rows[1];
  EXPECT_EQ(two.tensor, 2);
  EXPECT_EQ(two.parameter_bytes, 8 * kMb / 2);
  EXPECT_EQ(two.saved_bytes, 3.5 * kMb);
  EXPECT_EQ(two.recompute_bytes, 2 * kMb / 2);
  EXPECT_EQ(profile.rows[2].name, "embedding and head");
  EXPECT_EQ(profile.rows[2].parameter_bytes, 16 * kMb / 4);  // weights, gradients, two moments
  EXPECT_EQ(profile.rows[3].parameter_bytes, std::nullopt);  // no states at degree 2
  EXPECT_EQ(profile.rows[4].name, "embedding");
  // Raw measurements alone are no profile.
  EXPECT_EQ(faults_of(R"({"1_1_8_sp": {"layernum[1]_bsz8_seq2048_rank0_ms": 904.3}})", kA100),
            Lines{"f.json:profile: holds no measurement (rows, transfers or rates)"});
}

TEST(ConvertGalvatron, BandwidthsTimesAndOverlap) {
  const ImportedProfile rates = convert(
      R"({"allreduce_size_8_consec_1": 154, "allreduce_size_4_consec_0": 155, "pp_size_2": 163})",
      kA100);
  ASSERT_EQ(rates.transfers.size(), 3u);
  EXPECT_EQ(rates.transfers[0].collective, "all_reduce");
  EXPECT_EQ(rates.transfers[0].ranks, 8);
  EXPECT_FALSE(rates.transfers[0].strided);
  // 1 GB/s is one MB of 2^20 bytes per millisecond
  EXPECT_DOUBLE_EQ(rates.transfers[0].bus_bytes_per_s.value(), 154 * 1048576 * 1e3);
  EXPECT_TRUE(rates.transfers[1].strided);
  EXPECT_EQ(rates.transfers[2].collective, "p2p");
  const ImportedProfile times = convert(
      R"({"allreduce_size_8_16MB_time": 0.3, "allreduce_size_8_2MB_time": 0.1,
          "all2all_size_4_1MB_time": 0.05})",
      kA100);
  ASSERT_EQ(times.transfers.size(), 2u);
  EXPECT_EQ(times.transfers[0].points,
            (std::vector<MessageTime>{{2 * 1048576, 0.1 * 1e-3}, {16 * 1048576, 0.3 * 1e-3}}));
  EXPECT_EQ(times.transfers[1].collective, "all_to_all");
  EXPECT_EQ(convert(R"({"overlap_coe": 1.125})").overlap_slowdown, 1.125);
}

constexpr const char* kSystem = R"({
  "matrix": {"float16": {"tflops": 100, "gflops_efficiency": [[16, 0.9], [1, 0.5], [0, 0.1]]}},
  "vector": {"float16": {"tflops": 10, "gflops_efficiency": [[0, 0.5]]}},
  "mem1": {"GiB": 80, "GBps": 2000, "MB_efficiency": [[100, 0.9], [0, 0.3]]},
  "mem2": {"GiB": 0, "GBps": 32, "MB_efficiency": [[0, 0.3]]},
  "networks": [{"bandwidth": 100, "efficiency": 0.5, "size": 8, "latency": 1e-5,
                "ops": {"p2p": [1.0, null], "all_reduce": [2.0, -1]}},
               {"bandwidth": 25, "efficiency": 1, "size": 64, "latency": 2e-5,
                "ops": {"p2p": [1.0, null]}}]})";

TEST(ConvertCalculon, TablesOfEfficiencyBecomeSteps) {
  const ImportedProfile profile = convert(kSystem, kA100);
  ASSERT_EQ(profile.rates.size(), 3u);  // mem2 of 0 GiB is none
  const RateCurve& matmul = profile.rates[0].curve;
  EXPECT_EQ(matmul.kernel, "matmul");
  EXPECT_EQ(matmul.dtype, DType::fp16);
  EXPECT_DOUBLE_EQ(rate_at(matmul, 1e6), 0.1 * 100e12);
  EXPECT_DOUBLE_EQ(rate_at(matmul, 1e9), 0.5 * 100e12);
  EXPECT_DOUBLE_EQ(rate_at(matmul, 15.9e9), 0.5 * 100e12);
  EXPECT_DOUBLE_EQ(rate_at(matmul, 16e9), 0.9 * 100e12);
  EXPECT_DOUBLE_EQ(rate_at(profile.rates[1].curve, 5), 5e12);
  EXPECT_EQ(profile.rates[2].curve.kernel, "memory");
  EXPECT_DOUBLE_EQ(rate_at(profile.rates[2].curve, 1e8), 0.9 * 2000e9);
}

TEST(ConvertCalculon, TiersAreAlphaBetaByCollective) {
  const ImportedProfile profile = convert(kSystem, kA100);
  ASSERT_EQ(profile.transfers.size(), 3u);
  const ProfiledTransfer& reduce = profile.transfers[1];
  EXPECT_EQ(reduce.collective, "all_reduce");
  EXPECT_EQ(reduce.ranks, 8);
  // 10 us + 1e6 B * 2 * 7/8 / 50 GB/s = 10 us + 35 us
  EXPECT_NEAR(transfer_seconds(reduce, 1e6).value(), 45e-6, 1e-15);
  EXPECT_EQ(profile.transfers[2].scope, TransferScope::cluster);
  EXPECT_NEAR(transfer_seconds(profile.transfers[2], 1e9).value(), 2e-5 + 0.04, 1e-12);
}

TEST(ConvertPerseus, ForwardAndBackwardOfAClockAreOneRow) {
  ProfileFacts facts = {.device = "A100-80GB", .dtype = DType::bf16, .tensor = 8};
  const ImportedProfile profile = convert(
      "stage,instruction,frequency,time,energy\n0,forward,1410,0.05,23.8\n"
      "0,backward,1410,0.09,44.5\n7,forward,855,0.06,20\n",
      facts, "gpt3.csv");
  ASSERT_EQ(profile.rows.size(), 2u);
  const ProfileRow& row = profile.rows[0];
  EXPECT_EQ(row.device, "A100-SXM-80GB");
  EXPECT_EQ(row.name, "stage 0");
  EXPECT_EQ(row.clock_hz, 1.41e9);
  EXPECT_EQ(row.tensor, 8);
  EXPECT_EQ(row.forward_s, 0.05);
  EXPECT_EQ(row.backward_s, 0.09);
  EXPECT_EQ(row.forward_j, 23.8);
  EXPECT_EQ(row.backward_j, 44.5);
  EXPECT_EQ(profile.rows[1].backward_s, std::nullopt);
}

TEST(ConvertPerseus, BrokenRowsAreNamedByLine) {
  EXPECT_EQ(faults_of("stage,instruction,frequency,time,energy\n0,sideways,1,2,3\n0,forward,1,2\n"),
            (Lines{"f.json: does not say which device was measured (--device NAME)",
                   "f.json:2: is no row of stage,instruction,frequency,time,energy "
                   "(0,forward,1410,0.05,23.8)",
                   "f.json:3: is no row of stage,instruction,frequency,time,energy "
                   "(0,forward,1410,0.05,23.8)"}));
}

TEST(ImportProfile, TablesOfOtherKindsAndNumbersOutOfRangeAreNamedWithTheirFile) {
  const auto fault = [](const char* path, const std::string& text) {
    try {
      import_profile({{path, text}}, {.device = "A100-40GB", .model = "m"});
      return std::string("accepted");
    } catch (const InputError& error) {
      return std::string(error.what());
    }
  };
  EXPECT_TRUE(fault("t.csv", "stage,time\n0,1\n").starts_with("t.csv: is in no profile format"));
  EXPECT_TRUE(fault("t.md", "# words\n").starts_with("t.md: is in no profile format"));
  EXPECT_TRUE(fault("t.json", "{").starts_with("t.json:1:2: not valid JSON"));
  EXPECT_EQ(fault("t.json", R"({"1": {"1": {"0": [0.1, -0.2, 0.1]}}})"),
            "t.json:profile.rows[0].backward_s: is negative");
}

TEST(ImportProfile, UnknownFormatsAreToldWhatIsKnown) {
  const std::string known =
      " (one of parallel-opt/profile/1, Sailor's profiles, sizes and networks, Galvatron's times, "
      "memory and bandwidths, Calculon's systems, Perseus' stage profiles)";
  for (const char* text : {"{}", "[1]", R"({"a": 1})", R"({"hidden": 4096})"}) {
    EXPECT_EQ(faults_of(text), Lines{"f.json: is in no profile format that is known" + known});
  }
  EXPECT_EQ(faults_of("{").size(), 1u);
}

TEST(ImportProfile, OwnFormatIsTakenAsItIs) {
  const ImportedProfile profile = convert(kSystem, kA100);
  ImportedProfile again = convert(to_json(profile), {.name = "file"});
  EXPECT_EQ(again, profile);
}

}  // namespace
}  // namespace parallel_opt
