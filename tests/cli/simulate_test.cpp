#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "parallel_opt/base/file_system.h"
#include "tests/cli/run_cli.h"
#include "tests/temporary_directory.h"

namespace parallel_opt {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

/// In a directory of its own with work for 4 stages of 1 s, 1 s and 1 s.
class Simulate : public ::testing::Test {
 protected:
  Simulate() {
    json stage = {{"forward_s", 1},
                  {"backward_input_s", 1},
                  {"backward_weight_s", 1},
                  {"kept_bytes", 1000},
                  {"static_bytes", 5000}};
    write_file(dir + "/work.json", json{{"schema", "parallel-opt/step-work/1"},
                                        {"stages", json::array({stage, stage, stage, stage})},
                                        {"power", json::array({{{"idle_w", 50}, {"busy_w", 250}}})}}
                                       .dump());
  }

  CliRun run(std::vector<std::string> flags) const {
    std::vector<std::string> words = {"simulate", "--work", dir + "/work.json"};
    words.insert(words.end(), flags.begin(), flags.end());
    return run_cli(words);
  }
  json document(std::vector<std::string> flags) const {
    flags.emplace_back("--json");
    const CliRun done = run(std::move(flags));
    EXPECT_EQ(done.code, 0) << done.err;
    return json::parse(done.out);
  }
  testing::TemporaryDirectory directory;
  const std::string& dir = directory.path();
};

TEST_F(Simulate, DocumentHasTheFieldsThatProgramsRead) {
  const json d = document({"--micro-batches", "8"});
  EXPECT_EQ(d["schema"], "parallel-opt/simulation/1");
  EXPECT_EQ(d["schedule"], "1f1b");
  EXPECT_DOUBLE_EQ(d["step_time_s"], 3 * (8 + 3));
  EXPECT_NEAR(d["bubble_share"].get<double>(), 3.0 / 11, 1e-12);
  EXPECT_EQ(d["peak_memory_bytes"], 5000 + 4 * 1000);
  EXPECT_EQ(d["ranks"].size(), 4U);
  // 4 ranks: 24 s of work at 250 W, 9 s of waiting at 50 W.
  EXPECT_DOUBLE_EQ(d["energy_j"], 4 * (24 * 250 + 9 * 50));
}

TEST_F(Simulate, SchedulesStragglersAndJitterCount) {
  EXPECT_DOUBLE_EQ(document({"--micro-batches", "8", "--schedule", "zb_h1"})["step_time_s"],
                   3 * 8 + 3);
  EXPECT_DOUBLE_EQ(document({"--micro-batches", "8", "--schedule", "zb_v"})["ranks"].size(), 2);
  EXPECT_DOUBLE_EQ(document({"--micro-batches", "8", "--straggler", "3=2"})["step_time_s"],
                   3 + 8 * 6 + 6);
  const std::vector<std::string> jitter = {"--jitter", "10%", "--seed", "7"};
  EXPECT_EQ(document(jitter), document(jitter));
  EXPECT_NE(document(jitter)["step_time_s"], document({"--jitter", "10%"})["step_time_s"]);
}

TEST_F(Simulate, AnActionTableIsRun) {
  write_file(dir + "/t.csv", "0F0,0B0\n1F0,1B0\n2F0,2B0\n3F0,3B0\n");
  EXPECT_DOUBLE_EQ(document({"--actions", dir + "/t.csv"})["step_time_s"], 12);
  // As spreadsheets write it.
  write_file(dir + "/t.csv",
             "\xef\xbb\xbf"
             "0F0,0B0\r\n1F0,1B0\r\n2F0,2B0\r\n3F0,3B0\r\n");
  EXPECT_DOUBLE_EQ(document({"--actions", dir + "/t.csv"})["step_time_s"], 12);
  write_file(dir + "/t.csv", "0F0,zero\n");
  const CliRun broken = run({"--actions", dir + "/t.csv"});
  EXPECT_EQ(broken.code, 4);
  EXPECT_THAT(broken.err, HasSubstr("t.csv:row 1, column 2: \"zero\" is no action"));
}

TEST_F(Simulate, WritesTraceAndPictures) {
  const CliRun done =
      run({"--trace", dir + "/t.json", "--svg", dir + "/t.svg", "--html", dir + "/t.html"});
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_THAT(done.out,
              HasSubstr("1f1b, 4 ranks, 8 micro-batches\n33.0 s per step, bubble 27.3 %"));
  const json trace = json::parse(read_file(dir + "/t.json"));
  EXPECT_EQ(trace["traceName"], "parallel_opt, simulated");
  int kernels = 0;
  for (const json& event : trace["traceEvents"]) {
    if (event.value("cat", "") != "kernel") continue;
    EXPECT_EQ(event["args"]["stream"], 7);
    EXPECT_EQ(event["args"]["device"].get<int>() + 1, event["pid"].get<int>());
    ++kernels;
  }
  EXPECT_EQ(kernels, 4 * 8 * 2);
  EXPECT_TRUE(read_file(dir + "/t.svg").ends_with("</svg>\n"));
  EXPECT_TRUE(read_file(dir + "/t.html").ends_with("</html>\n"));
}

TEST_F(Simulate, WhatCannotBeIsRefused) {
  const auto refusal = [&](std::vector<std::string> flags) {
    const CliRun done = run(std::move(flags));
    return std::to_string(done.code) + " " + done.err;
  };
  EXPECT_EQ(refusal({"--schedule", "zb_h3"}),
            "2 error: --schedule: unknown value \"zb_h3\" (did you mean \"zb_h1\"? known: gpipe, "
            "1f1b, interleaved_1f1b, looped_bfs, zb_h1, zb_h2, zb_v, dualpipe, dualpipe_v)\n");
  EXPECT_EQ(refusal({"--schedule", "interleaved_1f1b", "--virtual-stages", "3"}),
            "2 error: --virtual-stages: 4 stages do not part into ranks of 3 (a divisor of the "
            "number of stages)\n");
  EXPECT_EQ(
      refusal({"--schedule", "dualpipe", "--micro-batches", "4"}),
      "2 error: schedule dualpipe: needs at least twice as many micro-batches as ranks, not 4 "
      "for 4 (zb_v takes any number)\n");
  EXPECT_EQ(refusal({"--straggler", "1:2"}),
            "2 error: --straggler: \"1:2\" is not RANK=FACTOR (3=1.5: rank 3 takes 1.5 times as "
            "long)\n");
  EXPECT_EQ(refusal({"--straggler", "9=2"}),
            "2 error: --straggler: there is no rank 9 (ranks count from 0 to 3)\n");
  EXPECT_EQ(refusal({"--straggler", "3=1.5,1=2,3=2"}),
            "2 error: --straggler: rank 3 is named twice (one factor for each)\n");
  EXPECT_EQ(
      refusal({"--micro-batches", "999999999"}),
      "2 error: --micro-batches: 999999999 are too many (stages times micro-batches may be 20 "
      "million)\n");
  EXPECT_EQ(refusal({"--actions", "t.csv", "--schedule", "1f1b"}),
            "2 error: --schedule: is in the table of --actions (leave it out)\n");
}

TEST_F(Simulate, ASchedulePutsNoPipelineOnOneRankUnasked) {
  json work = json::parse(read_file(dir + "/work.json"));
  work["stages"].erase(3);
  work["stages"].erase(2);
  write_file(dir + "/work.json", work.dump());
  for (const char* schedule : {"interleaved", "looped_bfs", "zb_v", "dualpipe_v"}) {
    const CliRun done = run({"--schedule", schedule});
    EXPECT_EQ(done.code, 2) << schedule;
    EXPECT_THAT(done.err, HasSubstr(" puts all 2 stages of " + dir +
                                    "/work.json on one rank (at "
                                    "least 4 stages make a pipeline; --schedule 1f1b has one on "
                                    "each rank)\n"));
  }
  EXPECT_EQ(document({"--schedule", "1f1b"})["ranks"].size(), 2U);
  // Whoever asks for it has it, under its name.
  EXPECT_THAT(run({"--schedule", "interleaved", "--virtual-stages", "2"}).out,
              HasSubstr("interleaved_1f1b, 1 rank, "));
}

TEST_F(Simulate, WaitsAreAColumnOfTheirOwn) {
  json work = json::parse(read_file(dir + "/work.json"));
  for (json& stage : work["stages"]) {
    stage["forward_exposed_s"] = 1;
    stage["forward_moves"] = {{{"kind", "all_to_all"}, {"seconds", 1}}};
  }
  write_file(dir + "/work.json", work.dump());
  const json rank = document({"--micro-batches", "8"})["ranks"][3];
  EXPECT_DOUBLE_EQ(rank["busy_s"], 8 * 3);
  EXPECT_DOUBLE_EQ(rank["exposed_s"], 8);
  EXPECT_DOUBLE_EQ(rank["fill_drain_s"], 3 * (1 + 1) + 3 * 2);  // fill, and others' backwards
  EXPECT_EQ(rank["collectives"], json::parse(R"([{"kind": "all_to_all", "seconds": 8}])"));
  EXPECT_THAT(run({"--micro-batches", "8"}).out,
              HasSubstr("\n   3  24.0 s  8.00 s     0 s       12.0 s  12.0 s       8.00 s "));
}

TEST_F(Simulate, TheStragglerIsInTitlePictureAndTable) {
  json work = json::parse(read_file(dir + "/work.json"));
  for (int i = 4; i < 128; ++i) work["stages"].push_back(work["stages"][0]);
  write_file(dir + "/work.json", work.dump());
  const CliRun done =
      run({"--straggler", "61=1.8", "--jitter", "1%", "--seed", "7", "--svg", dir + "/t.svg"});
  ASSERT_EQ(done.code, 0) << done.err;
  const std::string title =
      "1f1b, 128 ranks, 256 micro-batches, rank 61 takes 1.8 times as long, jitter 1 % (seed 7)";
  EXPECT_THAT(done.out, HasSubstr(title + "\n"));
  EXPECT_THAT(done.out, HasSubstr("\n  61 "));
  EXPECT_THAT(done.out, HasSubstr("busiest, takes 1.8 times as long\n"));
  EXPECT_THAT(done.out, HasSubstr("\n   0 "));
  EXPECT_THAT(done.out, HasSubstr("\n 127 "));
  EXPECT_THAT(done.out, HasSubstr("and 96 more ranks (--json has all)\n"));
  const std::string svg = read_file(dir + "/t.svg");
  for (const std::string& part :
       {">" + title + "<", std::string("rank 61 (busiest, takes 1.8 times as long)"),
        std::string("24 of 128 ranks are drawn")}) {
    EXPECT_NE(svg.find(part), std::string::npos) << part;
  }
}

TEST_F(Simulate, WholeNumbersMayHaveExponentsAndManyLikeFaultsAreCounted) {
  std::string work = read_file(dir + "/work.json");
  work.replace(work.find("\"kept_bytes\":1000"), 17, "\"kept_bytes\":1e3 ");
  write_file(dir + "/work.json", work);
  EXPECT_EQ(document({"--micro-batches", "8"})["peak_memory_bytes"], 5000 + 4 * 1000);
  json broken = json::parse(work);
  for (int i = 4; i < 1024; ++i) broken["stages"].push_back(broken["stages"][0]);
  for (json& stage : broken["stages"]) stage["kept_bytes"] = stage["static_bytes"] = 0.5;
  write_file(dir + "/work.json", broken.dump());
  const std::string err = run({}).err;
  EXPECT_EQ(std::ranges::count(err, '\n'), 10);
  EXPECT_THAT(err, HasSubstr("found a number, and 2,038 more like it\n"));
}

TEST_F(Simulate, LongTitlesAreSetSmaller) {
  const auto head = [&](const std::vector<std::string>& more) {
    std::vector<std::string> flags{"--svg", dir + "/t.svg"};
    flags.insert(flags.end(), more.begin(), more.end());
    EXPECT_EQ(run(flags).code, 0);
    const std::string svg = read_file(dir + "/t.svg");
    const std::size_t at = svg.find("<text class=\"head\"");
    return svg.substr(at, svg.find("</text>", at) - at);
  };
  EXPECT_THAT(head({}), Not(HasSubstr("font-size")));
  const std::string small =
      head({"--straggler", "0=1.25,1=1.75,2=1.5", "--jitter", "10%", "--seed", "7"});
  EXPECT_THAT(small, HasSubstr("font-size"));
  EXPECT_THAT(small, HasSubstr("jitter 10 % (seed 7)"));
}

TEST_F(Simulate, ManyStragglersAreCounted) {
  EXPECT_THAT(run({"--straggler", "0=2,1=3,2=1.5,3=2"}).out,
              HasSubstr("micro-batches, 4 ranks take 1.5 to 3 times as long\n"));
  EXPECT_THAT(run({"--straggler", "0=2,1=2,2=2,3=2"}).out,
              HasSubstr("micro-batches, 4 ranks take 2 times as long\n"));
}

CliRun of_model(std::vector<std::string> flags) {
  std::vector<std::string> words = {
      "simulate",       "transformer:layers=8,hidden=512,heads=8,seq=256",
      "--cluster",      "8xH100-SXM-80GB",
      "--global-batch", "16",
      "--micro-batch",  "1"};
  words.insert(words.end(), flags.begin(), flags.end());
  return run_cli(words);
}

TEST(SimulateModel, RunsALayoutUnderEverySchedule) {
  for (const char* schedule : {"gpipe", "1f1b", "interleaved", "looped_bfs", "zb_h1", "zb_h2",
                               "zb_v", "dualpipe", "dualpipe_v"}) {
    const CliRun run = of_model({"--pipeline", "4", "--schedule", schedule, "--json"});
    ASSERT_EQ(run.code, 0) << schedule << run.err;
    const json d = json::parse(run.out);
    EXPECT_EQ(d["ranks"].size(), 4U) << schedule;
    EXPECT_EQ(d["micro_batches"], 16 / 2) << schedule;  // 8 devices hold 2 pipelines of 4
    EXPECT_GT(d["bubble_share"], 0) << schedule;
    EXPECT_GT(d["peak_memory_bytes"], 0) << schedule;
    double of_one_each_j = 0;
    for (const json& rank : d["ranks"]) of_one_each_j += rank["energy_j"].get<double>();
    // 8 devices, 4 ranks of a pipeline.
    EXPECT_NEAR(d["energy_j"].get<double>(), 2 * of_one_each_j, 1e-9) << schedule;
  }
}

TEST(SimulateModel, SaysWhichRankDoesNotFit) {
  const std::vector<std::string> words = {
      "simulate",   "transformer:layers=8,hidden=8192,heads=64,seq=2048",
      "--cluster",  "2xA100-SXM-40GB",
      "--pipeline", "2"};
  const CliRun full = run_cli(words);
  EXPECT_EQ(full.code, 0) << full.err;
  EXPECT_THAT(full.out, HasSubstr("\ndoes not fit in memory: rank 1 holds "));
  EXPECT_THAT(full.out, HasSubstr("\nless is needed by --recompute full or a larger --tensor or "
                                  "--pipeline\n"));
  const testing::TemporaryDirectory directory;
  std::vector<std::string> drawn = words;
  drawn.insert(drawn.end(), {"--svg", directory.path() + "/step.svg"});
  ASSERT_EQ(run_cli(drawn).code, 0);
  EXPECT_THAT(read_file(directory.path() + "/step.svg"), HasSubstr(", does not fit in memory<"));
  std::vector<std::string> small = words;
  small[1] = "transformer:layers=8,hidden=512,heads=8,seq=256";
  EXPECT_THAT(run_cli(small).out, Not(HasSubstr("does not fit")));
  small.emplace_back("--json");
  EXPECT_EQ(json::parse(run_cli(small).out)["fits"], true);
}

TEST(SimulateModel, ThePictureDrawsTheMemoryThatFitsCompares) {
  const testing::TemporaryDirectory directory;
  const std::string file = directory.path() + "/t.svg";
  ASSERT_EQ(of_model({"--pipeline", "4", "--svg", file}).code, 0);
  // 98 % of 80 GiB.
  EXPECT_NE(read_file(file).find(">usable memory of a device: 78.4 GiB<"), std::string::npos);
}

TEST(SimulateModel, TheFullestRankIsThatOfItsOwnDeviceAsInEstimate) {
  const std::vector<std::string> layout = {"transformer:layers=48,hidden=2048,heads=16,vocab=32000",
                                           "--cluster",
                                           "2n4xB200-SXM-180GB+1n4xH100-SXM-80GB",
                                           "--pipeline",
                                           "6",
                                           "--micro-batch",
                                           "1",
                                           "--global-batch",
                                           "48",
                                           "--seq",
                                           "2048",
                                           "--stack",
                                           "pytorch",
                                           "--json"};
  const auto document = [&](const char* command) {
    std::vector<std::string> words = {command};
    words.insert(words.end(), layout.begin(), layout.end());
    return json::parse(run_cli(words).out);
  };
  const json step = document("simulate");
  // The last two of six ranks run on H100: rank 0 holds more, of more than twice as much.
  EXPECT_EQ(step["fullest_rank"], 5);
  EXPECT_EQ(step["peak_memory_bytes"], step["ranks"][5]["peak_memory_bytes"]);
  EXPECT_LT(step["peak_memory_bytes"], step["ranks"][0]["peak_memory_bytes"]);
  const double closed = document("estimate")["peak_memory_bytes"]["value"];
  EXPECT_NEAR(step["peak_memory_bytes"].get<double>() / closed, 1, 0.05);
  std::vector<std::string> words = {"simulate"};
  words.insert(words.end(), layout.begin(), layout.end() - 1);
  // Rank 0 holds most, which the line says too.
  EXPECT_THAT(run_cli(words).out,
              MatchesRegex("(.|\n)*, peak [0-9.]+ GiB on rank 0, fullest rank 5 with [0-9.]+ GiB "
                           "of 78[.]4 GiB, (.|\n)*"));
}

TEST(SimulateModel, JoulesOfSeveralKindsAreThoseOfEstimate) {
  const auto joules = [](const char* command) {
    const json d =
        json::parse(run_cli({command, "transformer:layers=24,hidden=2048,heads=16,vocab=32000",
                             "--cluster", "2xH100-SXM-80GB+2xA100-SXM-80GB", "--tensor", "2",
                             "--pipeline", "2", "--micro-batch", "1", "--global-batch", "8",
                             "--seq", "2048", "--stack", "nanotron", "--json"})
                        .out);
    return d["energy_j"].is_object() ? d["energy_j"]["value"].get<double>()
                                     : d["energy_j"].get<double>();
  };
  // Half of the step waits for hosts, which computes nothing.
  EXPECT_NEAR(joules("simulate") / joules("estimate"), 1, 0.06);
}

TEST(SimulateModel, WhatCannotBeIsRefused) {
  EXPECT_EQ(run_cli({"simulate"}).err,
            "error: parallel-opt simulate: one model or one --work is needed (name it once)\n");
  EXPECT_EQ(of_model({"--micro-batches", "4"}).err,
            "error: --micro-batches: follows from the batch of a model (leave it out)\n");
  EXPECT_EQ(run_cli({"simulate", "--work", "w.json", "--tensor", "2"}).err,
            "error: --tensor: says nothing beside --work (leave it out)\n");
}

TEST(SimulateModel, SaysWhatChangesNothingInTheWordsOfEstimate) {
  const std::vector<std::string> flags = {"--objective",
                                          "carbon",
                                          "--threads",
                                          "4",
                                          "--attention",
                                          "unfused",
                                          "--target",
                                          "pytorch",
                                          "--compile",
                                          "on",
                                          "--steps",
                                          "5",
                                          "--max-slowdown",
                                          "5%",
                                          "--memory-format",
                                          "channels_last",
                                          "--fused-optimizer",
                                          "on",
                                          "--shard",
                                          "0",
                                          "--shard-degree",
                                          "4",
                                          "--schedule",
                                          "zb_h1",
                                          "--virtual-stages",
                                          "2",
                                          "--sequence-parallel",
                                          "--memory-limit",
                                          "200GiB"};
  const auto run = [&](const char* command) {
    std::vector<std::string> words = {command, "transformer:layers=8,hidden=512,heads=8,seq=256",
                                      "--cluster", "8xH100-SXM-80GB"};
    words.insert(words.end(), flags.begin(), flags.end());
    return run_cli(words);
  };
  const CliRun done = run("simulate");
  EXPECT_EQ(done.code, 0);
  EXPECT_EQ(std::ranges::count(done.err, '\n'), 14) << done.err;  // every flag but --shard 0
  EXPECT_EQ(done.err, run("estimate").err);
  EXPECT_EQ(of_model({"--seed", "5"}).err, "note: --seed changes nothing: there is no --jitter\n");
  EXPECT_EQ(of_model({"--seed", "5", "--jitter", "5%"}).err, "");
}

TEST_F(Simulate, OffloadingIsSeenOnTheCopyEngines) {
  const auto layout = [&](const char* offload) {
    const CliRun done =
        run_cli({"simulate", "transformer:layers=8,hidden=1024,heads=8,seq=1024", "--cluster",
                 "8xA100-SXM-80GB", "--data", "1", "--micro-batch", "8", "--offload", offload,
                 "--trace", dir + "/trace.json", "--json"});
    EXPECT_EQ(done.code, 0) << done.err;
    return json::parse(done.out);
  };
  const json here = layout("none"), away = layout("optimizer,activations");
  EXPECT_LT(away["peak_memory_bytes"], here["peak_memory_bytes"]);
  EXPECT_GT(away["step_time_s"], here["step_time_s"]);
  const std::string trace = read_file(dir + "/trace.json");
  for (const char* name : {"Memcpy DtoH (Device -> Pinned)", "Memcpy HtoD (Pinned -> Device)",
                           "Memcpy DtoH (Device -> Pinned) gradients", "optimizer on the host"}) {
    EXPECT_THAT(trace, HasSubstr(name));
  }
}

}  // namespace
}  // namespace parallel_opt
