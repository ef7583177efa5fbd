#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "parallel_opt/base/file_system.h"
#include "tests/cli/run_cli.h"
#include "tests/temporary_directory.h"

namespace parallel_opt {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

const char* const kModel = "transformer:layers=8,hidden=512,heads=8,seq=256";

CliRun estimate(std::vector<std::string> flags, const char* cluster = "2n8xH100-SXM-80GB") {
  std::vector<std::string> words = {"estimate", kModel, "--cluster", cluster};
  words.insert(words.end(), flags.begin(), flags.end());
  return run_cli(words);
}

json document(std::vector<std::string> flags, const char* cluster = "2n8xH100-SXM-80GB") {
  flags.emplace_back("--json");
  const CliRun run = estimate(std::move(flags), cluster);
  EXPECT_EQ(run.code, 0) << run.err;
  return json::parse(run.out);
}

TEST(Estimate, HasTheFieldsThatProgramsReadAndTheSchemaFirst) {
  const CliRun run = estimate({"--tensor", "2", "--micro-batch", "1", "--json"});
  EXPECT_EQ(run.out.find("\"schema\": \"parallel-opt/estimate/1\""), run.out.find('"'));
  const json d = json::parse(run.out);
  for (const char* name : {"step_time_s", "samples_per_s", "tokens_per_s", "peak_memory_bytes",
                           "energy_j", "money_usd"}) {
    ASSERT_TRUE(d.contains(name)) << name;
    EXPECT_LT(d[name]["low"], d[name]["value"]) << name;
    EXPECT_GT(d[name]["high"], d[name]["value"]) << name;
  }
  EXPECT_EQ(d["step_time_s"]["quality"], "calibrated");
  EXPECT_EQ(d["energy_j"]["quality"], "modelled");
  EXPECT_EQ(d["fits"], true);
  EXPECT_EQ(d["devices_used"], 16);  // 8 replicas are what two ways of tensor leave of 16
  EXPECT_EQ(d["layout"], "tensor 2, data 8, 1 micro-batch of 1 x 256 tokens");
}

TEST(Estimate, TheModelMayBeAFlagButNotBoth) {
  EXPECT_EQ(run_cli({"estimate", "--model", kModel, "--cluster", "8xH100-SXM-80GB"}).code, 0);
  EXPECT_EQ(run_cli({"estimate", "--cluster", "8xH100-SXM-80GB"}).err,
            "error: parallel-opt estimate: one model is needed (name it once)\n");
  EXPECT_EQ(run_cli({"estimate", kModel, "--model", kModel}).code, 2);
}

TEST(Estimate, LoadingIsALineOfTheBill) {
  const auto line = [](const json& d) {
    for (const json& item : d["items"]) {
      if (item["name"] == "data loading") return item["seconds"].get<double>();
    }
    return 0.0;
  };
  const std::vector<std::string> flags = {"--global-batch", "64", "--sample-time", "0.01"};
  const json base = document({"--global-batch", "64"}), alone = document(flags);
  EXPECT_EQ(line(base), 0);
  EXPECT_NEAR(line(alone), 0.04, 1e-9);  // 4 samples on each of 16 replicas
  std::vector<std::string> helped = flags;
  for (const char* word : {"--loader-workers", "3"}) helped.emplace_back(word);
  EXPECT_LT(line(document(helped)), 0.04 / 3);
  EXPECT_EQ(estimate({"--loader-workers", "3"}).code, 2);
  EXPECT_THAT(estimate({"--loader-workers", "3"}).err, HasSubstr("add --sample-time SECONDS"));
  EXPECT_EQ(estimate({"--sample-time", "-1"}).code, 2);
}

TEST(Estimate, SaysWhatChangesNothing) {
  const CliRun run = estimate({"--data", "16", "--compile", "on", "--steps", "5", "--schedule",
                               "zb_h1", "--sequence-parallel"});
  EXPECT_EQ(run.code, 0);
  for (const char* flag : {"compile", "steps", "schedule", "sequence-parallel"}) {
    EXPECT_THAT(run.err, HasSubstr(std::string("note: --") + flag + " changes nothing"));
  }
  const CliRun used = estimate({"--pipeline", "2", "--tensor", "2", "--schedule", "zb_h1",
                                "--sequence-parallel", "--micro-batch", "1"});
  EXPECT_THAT(used.err, ::testing::Not(HasSubstr("changes nothing")));
}

TEST(Estimate, SaysThatShardsOfNothingAndOfOneRankChangeNothing) {
  const std::vector<std::string> whole = {"--shard", "0", "--data", "2"};
  std::vector<std::string> ways = whole;
  ways.insert(ways.end(), {"--shard-degree", "4"});
  EXPECT_EQ(estimate(ways).err, "note: --shard-degree changes nothing: nothing is sharded\n");
  EXPECT_EQ(document(ways), document(whole));
  const std::vector<std::string> one = {"--tensor", "8", "--data", "1"};
  std::vector<std::string> sharded = one;
  sharded.insert(sharded.end(), {"--shard", "3"});
  EXPECT_EQ(estimate(sharded).err,
            "note: --shard changes nothing: each part of the model has one rank\n");
  EXPECT_EQ(document(sharded), document(one));
  // Weights of one rank may lie on the host all the same.
  EXPECT_EQ(estimate({"--data", "1", "--shard", "3", "--offload", "parameters"}).err, "");
}

TEST(Estimate, OnCoresFlagsOfASearchChangeNothing) {
  const CliRun run = estimate({"--objective", "energy", "--steps", "9"}, "1xEPYC-7742");
  EXPECT_EQ(run.err,
            "note: --objective changes nothing: one layout is stated, none is chosen\n"
            "note: --steps changes nothing: one layout is stated, none is chosen\n");
}

TEST(Estimate, EveryDegreeChangesTheAnswer) {
  const json base = document({"--global-batch", "64", "--micro-batch", "2"});
  for (const std::vector<std::string>& flags : {std::vector<std::string>{"--tensor", "4"},
                                                {"--pipeline", "4"},
                                                {"--context", "2"},
                                                {"--shard", "3"},
                                                {"--recompute", "full"},
                                                {"--stack", "megatron"},
                                                {"--data", "4"},
                                                {"--precision", "fp32"}}) {
    std::vector<std::string> all = {"--global-batch", "64", "--micro-batch", "2"};
    all.insert(all.end(), flags.begin(), flags.end());
    const json d = document(all);
    EXPECT_NE(d["step_time_s"]["value"], base["step_time_s"]["value"]) << flags[0];
  }
}

TEST(Estimate, ASequenceMayBeAsLongAsAnyThatTrained) {
  const auto seconds = [](const char* tokens) {
    const json d =
        json::parse(run_cli({"estimate", "transformer:layers=8,hidden=512,heads=8", "--cluster",
                             "8xH100-SXM-80GB", "--seq", tokens, "--context", "8", "--json"})
                        .out);
    EXPECT_GT(d["peak_memory_bytes"]["value"], 0) << tokens;
    return d["step_time_s"]["value"].get<double>();
  };
  // Products of queries and keys are nearly all of it.
  EXPECT_NEAR(seconds("10000000") / seconds("5000000"), 4, 0.1);
  EXPECT_NEAR(seconds("134217728") / seconds("67108864"), 4, 0.01);
  const CliRun longer = run_cli({"estimate", "transformer:layers=2", "--seq", "134217729"});
  EXPECT_EQ(longer.code, 4);
  EXPECT_EQ(longer.err, "error: transformer:seq: must be 1 to 134217728, is 134217729\n");
}

TEST(Estimate, WhatCannotBeCountedIsRefused) {
  // Scores of 256 heads over 2^27 tokens, which dropout keeps: 2^64 bytes and more.
  const std::string model = "transformer:layers=4,hidden=1024,heads=256,head_dim=16,seq=134217728";
  EXPECT_EQ(run_cli({"graph", model}).code, 0);
  const CliRun kept = run_cli({"graph", model + ",dropout=0.1"});
  EXPECT_EQ(kept.code, 4);
  EXPECT_THAT(kept.err, HasSubstr("more than can be counted (a smaller --seq or --batch)"));
  EXPECT_EQ(run_cli({"graph", model, "--batch", "1000000"}).code, 4);
  // Beyond 64 bits, and yet a size: without fused attention the scores are held.
  const std::string unfused =
      run_cli({"estimate", model, "--cluster", "1xEPYC-7742", "--attention", "unfused"}).out;
  EXPECT_THAT(unfused, HasSubstr(" PiB ("));
  EXPECT_THAT(unfused, ::testing::Not(HasSubstr("9223372036854775808")));
}

TEST(Estimate, GlobalBatchIsKept) {
  const json d = document({"--global-batch", "96", "--micro-batch", "2", "--data", "8"});
  const double rate = d["samples_per_s"]["value"], step = d["step_time_s"]["value"];
  EXPECT_NEAR(rate * step, 96, 1e-9);
}

TEST(Estimate, WhatDoesNotFitSaysSo) {
  EXPECT_EQ(document({"--memory-limit", "1GB"})["fits"], false);
  const CliRun full = estimate({"--memory-limit", "1GB", "--micro-batch", "2", "--data", "8"});
  EXPECT_THAT(full.out, HasSubstr("\ndoes not fit in memory: "));
  EXPECT_THAT(full.out, HasSubstr("\nless is needed by a smaller --micro-batch, --recompute full, "
                                  "--shard 3 or a larger --tensor or --pipeline\n"));
}

TEST(Estimate, ARefusalSaysThatAPackageOfDiesIsOneDevice) {
  const auto error = [](const std::string& cluster) {
    return run_cli({"estimate", "transformer:layers=8,hidden=1024,heads=8,seq=256", "--cluster",
                    cluster, "--tensor", "8", "--global-batch", "8"})
        .err;
  };
  EXPECT_THAT(error("4xMI250X"), HasSubstr("one MI250X counts as one device here, a package of 2 "
                                           "dies that drivers and `accuracy` count singly)"));
  EXPECT_THAT(error("4xH100-SXM-80GB"), HasSubstr("(smaller degrees or a larger cluster)"));
}

TEST(Estimate, NamesOfKnownModelsAreModels) {
  const auto run = [](const std::string& model) {
    return run_cli({"estimate", model, "--cluster", "8xH100-SXM-80GB", "--tensor", "8", "--json"});
  };
  const CliRun named = run("Llama 3 8B");
  ASSERT_EQ(named.code, 0) << named.err;
  EXPECT_THAT(named.err, HasSubstr("note: Llama 3 8B is taken as transformer:"));
  // What `accuracy` reads in a row is read here.
  for (const char* name : {"llama3-8b", "my llama3-8b tuned", "meta-llama/Meta-Llama-3-8B"}) {
    EXPECT_EQ(run(name).out, named.out) << name;
  }
  EXPECT_EQ(run("ViT-L/16").code, 0);
  EXPECT_THAT(run("LLaVA (Llama 3 8B)").err, HasSubstr("note: only the language model is "));
  // A path or a file is none.
  for (const char* path : {"./llama3-8b", "/llama3-8b", "a/b/llama3-8b"}) {
    EXPECT_THAT(run(path).err, HasSubstr("no such model (a model is")) << path;
  }
  EXPECT_THAT(run("llama3-8b.onnx").err, HasSubstr("No such file"));
  EXPECT_THAT(run("Llama 3 8C").err, HasSubstr("no such model (did you mean llama3-8b? "));
}

TEST(Estimate, AFileWithTheNameOfAModelIsTheFile) {
  const testing::TemporaryDirectory directory;
  const std::filesystem::path old = std::filesystem::current_path();
  std::filesystem::current_path(directory.path());
  write_file("gpt2", "no archive");
  const CliRun run = run_cli({"estimate", "gpt2", "--cluster", "8xH100-SXM-80GB"});
  std::filesystem::current_path(old);
  EXPECT_THAT(run.err, HasSubstr("gpt2: has no suffix and is no archive of torch.export"));
}

TEST(Estimate, LayoutsThatCannotBeAreFaultsOfTheFlags) {
  const auto error = [](std::vector<std::string> flags) {
    const CliRun run = estimate(std::move(flags));
    EXPECT_EQ(run.code, 2);
    return run.err;
  };
  EXPECT_EQ(error({"--tensor", "8", "--pipeline", "4"}),
            "error: --cluster: the layout needs 32 devices, there are 16 (smaller degrees or a "
            "larger cluster)\n");
  EXPECT_EQ(error({"--pipeline", "16"}),
            "error: --pipeline: 16 stages of a model with 8 repeated blocks (at most 10: a block "
            "each, the embedding and the head alone)\n");
  EXPECT_EQ(error({"--expert", "2"}), "error: --expert: the model has no experts (leave it out)\n");
  EXPECT_EQ(error({"--global-batch", "10", "--data", "4"}),
            "error: --global-batch: 10 is no multiple of 4 replicas (choose a multiple, or other "
            "degrees)\n");
  EXPECT_EQ(error({"--global-batch", "16", "--data", "2", "--micro-batch", "3"}),
            "error: --micro-batch: 3 does not divide the 8 samples of a replica (choose a "
            "divisor)\n");
  EXPECT_EQ(error({"--schedule", "zb"}),
            "error: --schedule: 'zb' has no closed form (gpipe, 1f1b, interleaved_1f1b, "
            "looped_bfs, zb_h1, zb_h2, zb_v, dualpipe, dualpipe_v; parallel-opt simulate runs "
            "tables of actions)\n");
  EXPECT_EQ(error({"--tensor", "16"}),
            "error: --tensor: 8 heads of attention do not part into 16 (a divisor of the heads)\n");
  EXPECT_EQ(error({"--context", "3"}),
            "error: --context: a sequence of 256 does not part into 3 (a divisor of the "
            "sequence)\n");
  EXPECT_EQ(
      error({"--pipeline", "4", "--data", "1", "--schedule", "dualpipe", "--global-batch", "4"}),
      "error: schedule dualpipe: needs at least twice as many micro-batches as ranks, not 4 "
      "for 4 (zb_v takes any number)\n");
  EXPECT_EQ(
      error({"--pipeline", "2", "--data", "1", "--schedule", "zb_v", "--virtual-stages", "3"}),
      "error: schedule zb_v: has 2 stages per rank, not 3 (leave the number out)\n");
  EXPECT_EQ(error({"--stack", "megatrn"}),
            "error: --stack: 'megatrn' is no known stack (did you mean 'megatron'?)\n");
  EXPECT_EQ(error({"--shard", "4"}), "error: --shard: 4 is no stage (0 to 3)\n");
  EXPECT_THAT(error({"--recompute", "some"}),
              HasSubstr("error: --recompute: 'some' is no rule and no file (none, selective, full, "
                        "or a file: a plan, or a list such as [\"model.layers.0\", {"));
}

TEST(Estimate, AFileSaysWhichBlocksAreComputedAgain) {
  const auto list = [](const std::string& text) {
    const std::string path = ::testing::TempDir() + "/recompute.json";
    std::ofstream(path) << text;
    return path;
  };
  const auto seconds = [](const json& d) {
    for (const json& item : d["items"]) {
      if (item["name"] == "recomputed blocks") return item["seconds"].get<double>();
    }
    return 0.0;
  };
  const std::vector<std::string> flags = {"--micro-batch", "1", "--recompute"};
  const auto with = [&](const std::string& rule) {
    std::vector<std::string> all = flags;
    all.push_back(rule);
    return all;
  };
  const std::string half = list(R"(["model.layers.0", "model.layers.1", "model.layers.2",
                                   "model.layers.3"])");
  const json d = document(with(half));
  EXPECT_NEAR(seconds(d), seconds(document(with("full"))) / 2, 1e-12);
  EXPECT_EQ(d["layout"], "data 16, recompute 4 of 8 blocks, 1 micro-batch of 1 x 256 tokens");
  // The simulator runs the same.
  const auto simulated = [&](const std::string& rule) {
    const CliRun run = run_cli({"simulate", kModel, "--cluster", "2n8xH100-SXM-80GB",
                                "--micro-batch", "1", "--json", "--recompute", rule});
    EXPECT_EQ(run.code, 0) << run.err;
    return json::parse(run.out)["step_time_s"].get<double>();
  };
  const double none = simulated("none"), full = simulated("full");
  EXPECT_NEAR(simulated(half), (none + full) / 2, 0.01 * none);
  const std::string wrong = list(R"(["model.layers.9"])");
  const CliRun refused = estimate(with(wrong));
  EXPECT_EQ(refused.code, 4);
  EXPECT_THAT(refused.err, HasSubstr("recompute[0]: the model has no \"model.layers.9\""));
}

TEST(Estimate, WhatFitsIsJudgedByTheValueAndToldWithTheLimit) {
  const double peak = document({})["peak_memory_bytes"]["value"];
  const auto limit = std::to_string(std::int64_t(peak * 1.05));
  EXPECT_EQ(document({"--memory-limit", limit})["fits"], true);
  EXPECT_EQ(document({"--memory-limit", limit})["memory_limit_bytes"], std::int64_t(peak * 1.05));
  EXPECT_THAT(estimate({"--memory-limit", limit}).out, HasSubstr(", but may take up to "));
  // No flag makes a device larger.
  EXPECT_EQ(document({"--memory-limit", "200GiB"})["memory_limit_bytes"],
            document({})["memory_limit_bytes"]);
  EXPECT_THAT(estimate({"--memory-limit", "200GiB"}).err,
              HasSubstr("--memory-limit 200 GiB is more than the 78.4 GiB of a device"));
  const double cores = document({"--global-batch", "4"}, "local")["peak_memory_bytes"]["value"];
  const auto tight = std::to_string(std::int64_t(cores * 1.02));
  EXPECT_EQ(document({"--global-batch", "4", "--memory-limit", tight}, "local")["fits"], true);
}

TEST(Estimate, RanksThatNoProcessorHoldsAreRefusedAsByPlan) {
  const auto flags_of = [](const std::vector<std::string>& more) {
    std::vector<std::string> flags = {"--global-batch", "8"};
    flags.insert(flags.end(), more.begin(), more.end());
    return flags;
  };
  for (const std::vector<std::string>& more : std::vector<std::vector<std::string>>{
           {"--threads", "65"}, {"--data", "8", "--threads", "9"}, {"--micro-batch", "16"}}) {
    const CliRun run = estimate(flags_of(more), "1xEPYC-7742");
    EXPECT_EQ(run.code, 2) << run.err;
    EXPECT_THAT(run.err, HasSubstr("error: job.pins"));
    std::vector<std::string> words = {"plan", "--model", kModel, "--cluster", "1xEPYC-7742"};
    for (const std::string& flag : flags_of(more)) words.push_back(flag);
    // "error: plan: WHERE: WHAT" there.
    EXPECT_THAT(run_cli(words).err, HasSubstr(run.err.substr(std::string("error: ").size())));
  }
  EXPECT_THAT(estimate({"--global-batch", "8", "--threads", "65"}, "1xEPYC-7742").err,
              HasSubstr("no device of the cluster offers the pinned ranks and threads"));
}

TEST(Estimate, RefusesBf16WhereNoDeviceMultipliesIt) {
  const auto error = [](const std::string& command, const char* cluster) {
    return run_cli({command, kModel, "--cluster", cluster, "--precision", "bf16"}).err;
  };
  for (const char* command : {"estimate", "simulate"}) {
    EXPECT_EQ(error(command, "8xV100-SXM-32GB"),
              "error: --precision: V100-SXM-32GB has no products in bf16 (choose fp16)\n");
    for (const char* cluster : {"8xT4", "8xP100-SXM-16GB", "8xH100-SXM-80GB+8xV100-SXM-32GB"}) {
      EXPECT_THAT(error(command, cluster), HasSubstr("in bf16 (choose fp16)")) << cluster;
    }
    EXPECT_THAT(error(command, "8xK80"), HasSubstr("in bf16 (choose fp32)"));
    // A data sheet that is silent is no refusal.
    for (const char* cluster : {"8xA100-SXM-40GB", "8xTPU-v4", "4xMax-1100"}) {
      EXPECT_EQ(error(command, cluster).find("bf16"), std::string::npos) << cluster;
    }
  }
  EXPECT_EQ(estimate({"--precision", "fp16"}, "8xV100-SXM-32GB").code, 0);
  EXPECT_EQ(estimate({}, "8xV100-SXM-32GB").code, 0);
}

TEST(Estimate, SaysWhatStandsInForUnknownRatesAndLinks) {
  const std::vector<std::string> fp32 = {"--precision", "fp32"};
  EXPECT_THAT(estimate(fp32, "8xGaudi2").err,
              HasSubstr("note: products of Gaudi2 as fast as in 16 bits"));
  EXPECT_EQ(estimate(fp32, "8xA100-SXM-40GB").err, "");
  const std::string bridge = "note: links of A100-PCIe-80GB are PCIe4x16, as its NVLink3-bridge";
  EXPECT_THAT(estimate({"--tensor", "2"}, "4xA100-PCIe-80GB").err, HasSubstr(bridge));
  EXPECT_EQ(estimate({"--tensor", "2"}, "2xA100-PCIe-80GB").err, "");
  EXPECT_EQ(estimate({}, "1xA100-PCIe-80GB").err, "");
}

TEST(Estimate, SaysThatRanksOnCoresUseOneNode) {
  const std::vector<std::string> flags = {"--global-batch", "8", "--data", "4"};
  const CliRun four = estimate(flags, "4n1xEPYC-7742"), one = estimate(flags, "1xEPYC-7742");
  EXPECT_THAT(four.err, HasSubstr("note: 1 of 4 nodes is used: ranks on CPUs are estimated"));
  EXPECT_THAT(four.out, HasSubstr("\non 1 of 4 nodes: ranks on CPUs are estimated within one"));
  EXPECT_EQ(one.err, "");
  EXPECT_FALSE(document(flags, "1xEPYC-7742").contains("placement"));
}

TEST(Estimate, CarbonFollowsFromTheZonesOfTheDevices) {
  const std::string path = ::testing::TempDir() + "/zones.yaml";
  std::ofstream(path) << "schema: parallel-opt/cluster-file/1\nname: c\nzones:\n- {name: north, "
                         "carbon_g_per_kwh: 36}\nnodes:\n- {name: a, count: 1, devices: "
                         "8xH100-SXM-80GB, zone: north}\n";
  const json d = document({"--micro-batch", "1"}, path.c_str());
  // 36 g for 3.6 MJ: 10 ug for a joule.
  EXPECT_NEAR(d["carbon_g"]["value"].get<double>() / d["energy_j"]["value"].get<double>(), 1e-5,
              1e-15);
  EXPECT_FALSE(document({"--micro-batch", "1"}).contains("carbon_g"));
  // With the other totals, above the bill.
  const std::string text = estimate({"--micro-batch", "1"}, path.c_str()).out;
  EXPECT_LT(text.find("\ncarbon per step  "), text.find("\nitem "));
}

TEST(Estimate, ZonesOfDevicesThatAreNotUsedDoNotCount) {
  const std::string path = ::testing::TempDir() + "/two-zones.yaml";
  const auto write = [&](const char* device) {
    std::ofstream(path) << "schema: parallel-opt/cluster-file/1\nname: c\nzones:\n"
                           "- {name: north, carbon_g_per_kwh: 100, usd_per_kwh: 0.1}\n"
                           "- {name: south, carbon_g_per_kwh: 900, usd_per_kwh: 0.3}\nnodes:\n"
                        << "- {name: a, count: 1, zone: north, devices: " << device
                        << "}\n- {name: b, count: 1, zone: south, devices: " << device << "}\n";
  };
  const auto per_kwh = [&](const char* replicas, const char* total) {
    const json d = document({"--micro-batch", "1", "--data", replicas}, path.c_str());
    return d[total]["value"].get<double>() / d["energy_j"]["value"].get<double>() * 3.6e6;
  };
  write("4xRTX-4090");  // which nobody rents
  EXPECT_NEAR(per_kwh("4", "carbon_g"), 100, 1e-9);
  EXPECT_NEAR(per_kwh("4", "money_usd"), 0.1, 1e-12);
  EXPECT_NEAR(per_kwh("8", "carbon_g"), 500, 1e-9);
  EXPECT_NEAR(per_kwh("8", "money_usd"), 0.2, 1e-12);
  EXPECT_NEAR(per_kwh("6", "carbon_g"), (4 * 100 + 2 * 900) / 6.0, 1e-9);
  write("1xEPYC-7742");  // ranks on cores use the first node
  EXPECT_NEAR(per_kwh("1", "carbon_g"), 100, 1e-9);
}

TEST(Estimate, WithoutAPipelineThereIsNothingToSchedule) {
  const json plain = document({"--micro-batch", "1"})["step_time_s"];
  for (const char* schedule : {"zb_h1", "zb_v", "looped_bfs", "gpipe"}) {
    EXPECT_EQ(document({"--micro-batch", "1", "--schedule", schedule})["step_time_s"], plain)
        << schedule;
  }
  EXPECT_THAT(estimate({"--pipeline", "2", "--schedule", "dualpipe", "--virtual-stages", "2"}).err,
              HasSubstr("--virtual-stages: a rank of dualpipe has one stage of either copy"));
}

TEST(Estimate, TheLayoutIsToldWhole) {
  EXPECT_EQ(document({"--tensor", "2", "--pipeline", "2", "--data", "4", "--shard", "2",
                      "--shard-degree", "2", "--sequence-parallel", "--schedule", "zb_h1",
                      "--global-batch", "32"})["layout"],
            "tensor 2, pipeline 2, data 4, shard stage 2 among 2, sequence parallel, zb_h1, 8 "
            "micro-batches of 1 x 256 tokens");
}

TEST(Estimate, RanksThatShardOneModelTakeAllDevicesThatAreLeft) {
  // 16 devices: replicas of shards among 8.
  EXPECT_EQ(document({"--shard", "3", "--shard-degree", "8", "--global-batch", "16"})["layout"],
            "data 16, shard stage 3 among 8, 1 micro-batch of 1 x 256 tokens");
  EXPECT_EQ(
      run_cli({"estimate", kModel, "--cluster", "8xH100-SXM-80GB", "--shard-degree", "3"}).err,
      "error: --shard-degree: 3 does not divide the 8 ranks of one part of the model (choose "
      "a divisor, or say --data)\n");
}

TEST(Estimate, AnElementTypeThatTheDeviceDoesNotMultiplyIsRefused) {
  EXPECT_EQ(run_cli({"estimate", kModel, "--cluster", "8xA100-SXM-80GB", "--precision", "fp8"}).err,
            "error: --precision: no faster products in fp8 are known of 8 A100-SXM-80GB (choose a "
            "type of 16 bits)\n");
}

TEST(Estimate, ExpertsMayBeSpreadOverTensorRanks) {
  const char* const mixture =
      "transformer:layers=4,hidden=512,heads=8,experts=16,top_k=2,expert_ffn=512,seq=256";
  EXPECT_EQ(run_cli({"estimate", mixture, "--cluster", "8xH100-SXM-80GB", "--tensor", "2",
                     "--expert", "8"})
                .code,
            0);
  EXPECT_EQ(run_cli({"estimate", mixture, "--cluster", "8xH100-SXM-80GB", "--expert", "5"}).err,
            "error: --expert: 5 ways for 16 experts on 8 ranks of a stage (a divisor of both)\n");
}

TEST(Estimate, HoldsMicroBatchesAsTheScheduleSays) {
  const std::vector<std::string> flags = {"--pipeline", "4", "--data", "1", "--global-batch", "64"};
  std::vector<std::string> gpipe = flags;
  gpipe.insert(gpipe.end(), {"--schedule", "gpipe"});
  EXPECT_GT(document(gpipe)["peak_memory_bytes"]["value"].get<double>(),
            document(flags)["peak_memory_bytes"]["value"].get<double>());
}

TEST(Estimate, CoresTakeTheLocalModel) {
  const json d = document({"--global-batch", "4"}, "local");
  EXPECT_EQ(d["devices_used"], 1);
  EXPECT_EQ(estimate({"--tensor", "2"}, "local").err,
            "error: --tensor: is estimated for accelerators only (leave it out, or name another "
            "--cluster)\n");
}

TEST(Estimate, SlowestDeviceOfAMixedClusterDecides) {
  const json mixed = document({"--micro-batch", "1"}, "4xA100-40GB+4xV100-16GB");
  const json fast = document({"--micro-batch", "1"}, "8xA100-40GB");
  EXPECT_GT(mixed["step_time_s"]["value"].get<double>(),
            fast["step_time_s"]["value"].get<double>());
}

TEST(Estimate, StagesOfAMixedClusterRunOnTheirOwnDevices) {
  const std::vector<std::string> flags = {"--pipeline",     "2",  "--tensor",      "8",
                                          "--global-batch", "32", "--micro-batch", "1"};
  const auto simulated = [&](const char* cluster) {
    std::vector<std::string> words = {"simulate", kModel, "--cluster", cluster, "--json"};
    words.insert(words.end(), flags.begin(), flags.end());
    const CliRun run = run_cli(words);
    EXPECT_EQ(run.code, 0) << run.err;
    return json::parse(run.out);
  };
  const char* const both = "8xH100-SXM-80GB+8xA100-SXM-80GB";
  const json fast = simulated("2n8xH100-SXM-80GB"), slow = simulated("2n8xA100-SXM-80GB");
  const json d = simulated(both);
  EXPECT_NEAR(d["ranks"][0]["busy_s"].get<double>() / fast["ranks"][0]["busy_s"].get<double>(), 1,
              0.05);
  EXPECT_NEAR(d["ranks"][1]["busy_s"].get<double>() / slow["ranks"][1]["busy_s"].get<double>(), 1,
              0.05);
  const json e = document(flags, both);
  EXPECT_NEAR(d["step_time_s"].get<double>() / e["step_time_s"]["value"].get<double>(), 1, 0.06);
  const json placement = {"stage 0 on 8 H100-SXM-80GB", "stage 1 on 8 A100-SXM-80GB"};
  EXPECT_EQ(e["placement"], placement);
  EXPECT_EQ(d["placement"], placement);
  EXPECT_FALSE(fast.contains("placement"));
  EXPECT_THAT(estimate(flags, both).out, HasSubstr("\nstage 1 on 8 A100-SXM-80GB\n"));
  // A layout that leaves the slow devices out runs without them.
  const std::vector<std::string> few = {"--tensor", "8", "--data", "1", "--micro-batch", "1"};
  EXPECT_EQ(document(few, both)["step_time_s"], document(few, "8xH100-SXM-80GB")["step_time_s"]);
  EXPECT_EQ(document({"--micro-batch", "1"}, both)["placement"],
            json({"all on 8 H100-SXM-80GB and 8 A100-SXM-80GB, all as slow as the slowest"}));
}

TEST(Estimate, AnAssumedNetworkIsNamed) {
  const std::vector<std::string> flags = {"--micro-batch", "1"};
  EXPECT_THAT(estimate(flags, "2n8xV100-SXM2-16GB").out,
              HasSubstr("\nnetwork between nodes: 6.25 GB/s per device is assumed, as none is "
                        "stated (host of V100-SXM-16GB: DGX-1 data sheet: 4 x 100 Gbit/s"));
  EXPECT_TRUE(document(flags, "2n8xV100-SXM2-16GB").contains("assumed_network"));
  EXPECT_FALSE(document(flags, "2n8xV100-SXM2-16GB@25Gbps").contains("assumed_network"));
  EXPECT_FALSE(document(flags, "8xV100-SXM2-16GB").contains("assumed_network"));
  EXPECT_EQ(document(flags, "2n8xV100-SXM2-16GB")["step_time_s"],
            document(flags, "2n8xV100-SXM2-32GB")["step_time_s"]);
}

// Once the network of such nodes was 200 Gbit/s per device, and as good as what was fitted.
TEST(Estimate, AnUnknownMachinesNetworkIsAGuess) {
  const std::vector<std::string> flags = {"--micro-batch", "1"};
  EXPECT_THAT(estimate(flags, "2n8xRTX-4090").out,
              HasSubstr("1.56 GB/s per device is assumed, as none is stated (their network is "
                        "assumed: one adapter of 100 Gbit/s per node)"));
  const auto time = [&](const char* cluster) { return document(flags, cluster)["step_time_s"]; };
  const auto ratio = [](const json& t) {
    return t["high"].get<double>() / t["value"].get<double>();
  };
  const json guess = time("2n8xRTX-4090"), stated = time("2n8xRTX-4090@100Gbps");
  EXPECT_EQ(guess["value"], stated["value"]);
  EXPECT_EQ(guess["quality"], "assumed");
  EXPECT_NE(stated["quality"], "assumed");
  EXPECT_GT(ratio(guess), 1.5 * ratio(stated));
  EXPECT_NE(time("8xRTX-4090")["quality"], "assumed");             // in one node
  EXPECT_EQ(time("2n8xV100-SXM2-16GB")["quality"], "calibrated");  // its usual machine is known
}

TEST(Estimate, TheMemoryOfEveryStagesDevicesIsALimit) {
  const std::vector<std::string> flags = {"--pipeline", "2", "--data", "1", "--global-batch", "8"};
  const json d = document(flags, "1xH100-SXM-80GB+1xV100-SXM2-16GB");
  EXPECT_EQ(d["fits"], true);
  EXPECT_LT(d["memory_limit_bytes"].get<double>(), 17.2e9);
}

TEST(Estimate, OffloadingMovesBytesToTheHostsAndSaysWhetherTheyHoldThem) {
  const std::vector<std::string> flags = {"--shard", "3", "--micro-batch", "1"};
  const auto with = [&](const char* offload) {
    std::vector<std::string> words = flags;
    words.insert(words.end(), {"--offload", offload});
    return document(words);
  };
  const json here = with("none"), away = with("optimizer,activations=50%");
  EXPECT_FALSE(here.contains("host_memory_bytes"));
  EXPECT_LT(away["peak_memory_bytes"]["value"], here["peak_memory_bytes"]["value"]);
  EXPECT_GT(away["step_time_s"]["value"], here["step_time_s"]["value"]);
  EXPECT_GT(away["host_memory_bytes"], 0);
  EXPECT_EQ(away["host_limit_bytes"], 0.9 * 2e12);
  EXPECT_THAT(away["layout"], HasSubstr("offload optimizer, offload activations 0.500, "));
  EXPECT_GT(with("states")["step_time_s"]["value"], here["step_time_s"]["value"]);
  const CliRun run = estimate({"--shard", "3", "--offload", "optimizer,parameters"});
  EXPECT_THAT(run.out, HasSubstr("copies to the host and back"));
  EXPECT_THAT(run.out, HasSubstr("\nfits in the memory of each host: "));
  // A trillion parameters, 16 bytes each on two hosts of 2 TB.
  const CliRun large = run_cli({"estimate", "transformer:layers=128,hidden=25600,heads=160,seq=256",
                                "--cluster", "2n8xH100-SXM-80GB", "--shard", "3", "--micro-batch",
                                "1", "--offload", "optimizer,parameters", "--json"});
  EXPECT_EQ(json::parse(large.out)["fits"], false);
  EXPECT_GT(json::parse(large.out)["host_memory_bytes"], 0.9 * 2e12);
}

TEST(Estimate, OffloadsNoNonsense) {
  const auto error = [](const char* offload, const char* shard = "3", const char* pipeline = "1") {
    return estimate({"--shard", shard, "--pipeline", pipeline, "--offload", offload}).err;
  };
  EXPECT_EQ(error("gradients"),
            "error: --offload: 'gradients' cannot be offloaded (optimizer or states, parameters, "
            "activations, or none)\n");
  EXPECT_EQ(error("activations=2"),
            "error: --offload: '2' is no share of activations (more than 0, at most 1: "
            "activations=0.5)\n");
  EXPECT_EQ(error("optimizer,states"),
            "error: --offload: the optimizer's states are named twice (optimizer: the host's cores "
            "make the step; states: the device does)\n");
  EXPECT_EQ(error("parameters", "1"),
            "error: --offload: parameters go to the host where they are sharded only (add --shard "
            "3, or leave parameters out)\n");
  EXPECT_EQ(error("parameters", "3", "2"),
            "error: --offload: stages of a pipeline keep their parameters (leave parameters or "
            "--pipeline out)\n");
  EXPECT_EQ(error("parameters=0.5"),
            "error: --offload: parameters are the host's as a whole (leave out the share)\n");
}

}  // namespace
}  // namespace parallel_opt
