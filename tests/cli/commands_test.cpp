#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <tuple>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/cli/job_flags.h"
#include "parallel_opt/cli/model_argument.h"
#include "parallel_opt/cli/parse.h"
#include "parallel_opt/graph/graph_json.h"
#include "parallel_opt/graph/summary.h"
#include "parallel_opt/hardware/cluster.h"
#include "parallel_opt/importers/model.h"
#include "parallel_opt/plan/plan.h"
#include "tests/cli/run_cli.h"
#include "tests/report/sample.h"
#include "tests/temporary_directory.h"

namespace parallel_opt {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class Commands : public ::testing::Test {
 protected:
  Commands() { ::setenv("PARALLEL_OPT_PYTHON", "/opt/python", 1); }
  ~Commands() override { ::unsetenv("PARALLEL_OPT_PYTHON"); }
  std::string at(const std::string& name) const { return dir + "/" + name; }
  testing::TemporaryDirectory directory;
  const std::string& dir = directory.path();
};

Job job_of(const std::vector<std::string>& words) {
  std::vector<std::string> all = {"--model", "m.pt2"};
  all.insert(all.end(), words.begin(), words.end());
  return job_from(parse_args(find_command("plan"), all));
}

std::string job_error_of(const std::vector<std::string>& words) {
  try {
    (void)job_of(words);
  } catch (const UsageError& e) {
    return e.what();
  }
  return "accepted";
}

TEST(JobFlags, EveryFlagReachesTheJob) {
  const Job job = job_of(
      {"--global-batch",    "512",   "--micro-batch", "4",      "--precision",     "bf16",
       "--optimizer",       "sgd",   "--objective",   "energy", "--max-slowdown",  "5%",
       "--memory-limit",    "38GiB", "--steps",       "1000",   "--data",          "2",
       "--threads",         "1",     "--compile",     "off",    "--memory-format", "channels_last",
       "--fused-optimizer", "on",    "--recompute",   "full",   "--tensor",        "1",
       "--inference"});
  Job wanted;
  wanted.global_batch = 512;
  wanted.precision = Precision::bf16;
  wanted.optimizer = Optimizer::sgd;
  wanted.objective = Objective::energy;
  wanted.max_slowdown = 0.05;
  wanted.memory_limit_bytes = Bytes(38LL << 30);
  wanted.steps = 1000;
  wanted.training = false;
  wanted.pins.data = 2;
  wanted.pins.threads = 1;
  wanted.pins.micro_batch = 4;
  wanted.pins.compile = false;
  wanted.pins.memory_format = MemoryFormat::channels_last;
  wanted.pins.fused_optimizer = true;
  wanted.pins.recompute = "full";
  wanted.pins.tensor = 1;
  EXPECT_EQ(job, wanted);
  EXPECT_EQ(job_of({}), Job{});
}

TEST(JobFlags, WhatThisVersionCannotDoIsRefusedAllAtOnce) {
  EXPECT_EQ(
      job_error_of({"--shard", "3", "--tensor", "8", "--sequence-parallel", "--schedule", "1f1b"}),
      "--shard: sharding of optimizer states, gradients or parameters is not available yet (leave "
      "it "
      "out, or --shard 0)\n"
      "--schedule: a pipeline schedule is not available yet (leave it out, or --schedule none)\n"
      "--sequence-parallel: sequence parallelism is not available yet (leave it out)\n"
      "--tensor: tensor parallelism is not available yet (leave it out, or --tensor 1)");
  EXPECT_EQ(job_error_of({"--recompute", "selective"}),
            "--recompute: \"selective\" is not available yet (none or full)");
  EXPECT_EQ(job_error_of({"--shard", "0", "--virtual-stages", "1", "--schedule", "none"}),
            "accepted");
}

TEST(JobFlags, ValuesThatNoJobCanHaveNameTheFlag) {
  EXPECT_EQ(job_error_of({"--precision", "bf17"}),
            "--precision: unknown value \"bf17\" (did you mean \"bf16\"? known: auto, fp32, bf16, "
            "fp16, fp8)");
  EXPECT_EQ(job_error_of({"--precision", "fp8"}),
            "--precision: no engine runs fp8 yet (use auto, fp32, bf16 or fp16)");
  EXPECT_EQ(
      job_error_of({"--objective", "money"}),
      "--objective: money needs prices that no cluster states (use time, energy, memory or edp)");
  EXPECT_EQ(job_error_of({"--global-batch", "0"}),
            "--global-batch: \"0\" is not a whole number of at least 1");
  EXPECT_EQ(job_error_of({"--data", "2000000"}),
            "--data: 2000000 is out of range (at most 1000000)");
}

TEST(JobFlags, ASlowdownOfTheFastestPlanIsNothing) {
  const auto plan = [](const char* objective) {
    return run_cli({"plan", "--model", "transformer:layers=2,hidden=64,heads=4", "--cluster",
                    "1xEPYC-7742", "--max-slowdown", "5%", "--objective", objective})
        .err;
  };
  EXPECT_EQ(plan("time"), "note: --max-slowdown changes nothing: --objective is time\n");
  EXPECT_EQ(plan("energy"), "");
}

TEST(JobFlags, ValuesThatDoNotExistAreRefusedByEveryCommand) {
  for (const auto& [flag, value, known] :
       {std::tuple("compile", "maybe", "on, off"), std::tuple("fused-optimizer", "1", "on, off"),
        std::tuple("memory-format", "x", "contiguous, channels_last"),
        std::tuple("attention", "flash3", "fused, unfused"),
        std::tuple("target", "nosuch", "pytorch")}) {
    for (const char* command : {"plan", "estimate", "simulate"}) {
      const CliRun done =
          run_cli({command, "--model", "transformer:layers=2,hidden=64,heads=4", "--cluster",
                   "8xH100-SXM-80GB", std::string("--") + flag, value});
      EXPECT_EQ(done.code, 2) << command << flag;
      EXPECT_EQ(done.err, std::string("error: --") + flag + ": unknown value \"" + value +
                              "\" (known: " + known + ")\n");
    }
  }
}

TEST_F(Commands, PlanNeedsAModel) {
  const CliRun run = run_cli({"plan"});
  EXPECT_EQ(run.code, 2);
  EXPECT_EQ(run.err,
            "error: parallel-opt plan: --model is missing (" + std::string(kModelFormats) + ")\n");
}

TEST_F(Commands, AMissingModelFileIsBadInput) {
  const CliRun run = run_cli({"graph", at("none.pt2"), "--json"});
  EXPECT_EQ(run.code, 4);
  EXPECT_THAT(run.err, StartsWith("error: " + at("none.pt2") + ": "));
  EXPECT_THAT(run.out, StartsWith("{\n  \"schema\": \"parallel-opt/error/1\",\n"));
}

TEST_F(Commands, AnySymbolIsBoundByItsName) {
  const std::string seq2seq = R"({"model_type": "t5", "d_model": 8, "d_kv": 4, "d_ff": 16,
    "num_layers": 1, "num_heads": 2, "vocab_size": 32,
    "architectures": ["T5ForConditionalGeneration"]})";
  write_file(at("config.json"), seq2seq);
  const std::string file = at("config.json");
  const auto inputs = [&](const std::vector<std::string>& flags) {
    std::vector<std::string> words = {"graph", file, "--batch", "2", "--seq", "16"};
    words.insert(words.end(), flags.begin(), flags.end());
    return run_cli(words).out;
  };
  EXPECT_THAT(inputs({}), HasSubstr("decoder_input_ids i64[2, 16]"));
  EXPECT_THAT(inputs({"--bind", "target_sequence=5"}), HasSubstr("decoder_input_ids i64[2, 5]"));
  EXPECT_EQ(run_cli({"graph", file, "--bind", "target_sequence"}).err,
            "error: --bind: 'target_sequence' is no NAME=N (for example s16=64)\n");
  EXPECT_EQ(run_cli({"graph", file, "--bind", "nix=3"}).code, 4);
}

TEST_F(Commands, GraphWritesTheGraphItself) {
  const std::string model = "transformer:layers=1,hidden=8,heads=2,vocab=16";
  const auto written = [&](const std::vector<std::string>& flags) {
    std::vector<std::string> words = {"graph", model, "-o", at("graph.json")};
    words.insert(words.end(), flags.begin(), flags.end());
    EXPECT_EQ(run_cli(words).code, 0);
    return read_file(at("graph.json"));
  };
  const std::string open = written({}), bound = written({"--batch", "3", "--seq", "7"});
  EXPECT_THAT(open, StartsWith("{\n  \"schema\": \"parallel-opt/graph/1\",\n"));
  const Graph graph = from_json<Graph>(open, "graph.json");
  EXPECT_FALSE(graph.symbols.empty());  // sizes stay open: the file can be bound again
  EXPECT_EQ(summarize(bind_sizes(graph, 3, 7, {})),
            summarize(from_json<Graph>(bound, "graph.json")));
  const CliRun none = run_cli({"graph", model, "-o", at("none/graph.json")});
  EXPECT_EQ(none.code, 4);
  EXPECT_THAT(none.err, HasSubstr("there is no directory " + at("none")));
}

TEST_F(Commands, SeqMayBeLongerThanAnInlineModelsDefault) {
  const std::string model = "transformer:layers=1,hidden=64,vocab=16";
  EXPECT_THAT(run_cli({"graph", model, "--seq", "2048"}).out, HasSubstr("input_ids i64[1, 2048]"));
  const std::vector<std::string> job = {
      "--cluster", "2xH100-SXM-80GB", "--global-batch", "4", "--seq", "2048", "--model", model};
  for (const std::string command : {"plan", "estimate", "simulate"}) {
    std::vector<std::string> words = {command};
    words.insert(words.end(), job.begin(), job.end());
    EXPECT_EQ(run_cli(words).code, 0) << command;
  }
  std::vector<std::string> words = {"plan", "-o", at("plan.json")};
  words.insert(words.end(), job.begin(), job.end());
  ASSERT_EQ(run_cli(words).code, 0);
  EXPECT_EQ(run_cli({"explain", at("plan.json")}).code, 0);
}

TEST_F(Commands, AFileThatIsNoArchiveIsBadInput) {
  write_file(at("bad.pt2"), "not a zip");
  EXPECT_EQ(run_cli({"graph", at("bad.pt2")}).code, 4);
  const CliRun colours =
      run_cli({"graph", "transformer:layers=2", "--color", "time", "--cluster", "x"});
  EXPECT_EQ(colours.code, 2);
  EXPECT_EQ(colours.err,
            "error: --color: says nothing without a picture (add --svg FILE or --html FILE)\n"
            "error: --cluster: says nothing without a picture (add --svg FILE or --html FILE)\n");
  EXPECT_EQ(run_cli({"plan", "--model", at("bad.pt2"), "--cluster", "8xH100-SXM-80GB"}).code, 4);
}

TEST_F(Commands, HardwareOfAPresetIsTheClusterWithASummary) {
  const CliRun run = run_cli({"hardware", "2n8xH100-SXM-80GB", "--json"});
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(run.err, "");
  const JsonDocument document(run.out, "out");
  EXPECT_EQ(document.root().members().at(0).first, "schema");
  const JsonView summary = *document.root().find("summary");
  EXPECT_EQ(summary.find("nodes")->integer(), 2);
  EXPECT_EQ(summary.find("devices")->integer(), 16);
  EXPECT_EQ(summary.find("types")->find("H100-SXM-80GB")->integer(), 16);
  EXPECT_THAT(run_cli({"hardware", "2n8xH100-SXM-80GB"}).out, HasSubstr("H100-SXM-80GB"));
}

TEST_F(Commands, HardwareWritesAClusterThatItReadsBack) {
  ASSERT_EQ(run_cli({"hardware", "4xA100-40GB", "-o", at("c.json")}).code, 0);
  EXPECT_EQ(from_json<Cluster>(read_file(at("c.json")), "c").devices.size(), 4u);
  EXPECT_EQ(run_cli({"hardware", at("c.json"), "--json"}).code, 0);
}

TEST_F(Commands, HardwareNamesTheNearestPreset) {
  const CliRun run = run_cli({"hardware", "8xH100-SXM-80BG"});
  EXPECT_EQ(run.code, 4);
  EXPECT_THAT(run.err, HasSubstr("did you mean H100-SXM-80GB?"));
}

TEST_F(Commands, HardwareOfAnEmptyRootIsRefused) {
  const CliRun run = run_cli({"hardware", "--root", at("nothing")});
  EXPECT_EQ(run.code, 4);
  EXPECT_EQ(run.err,
            "error: " + at("nothing") +
                ": holds neither proc/ nor sys/ (unpack a bundle of parallel-opt doctor there, or "
                "copy both)\n");
}

TEST_F(Commands, HardwareOfAnotherMachinesFilesNeedsNothingOfThisOne) {
  write_file(at("proc/meminfo"), "MemTotal: 1048576 kB\n");
  const CliRun run = run_cli({"hardware", "--root", dir, "--json"});
  EXPECT_EQ(run.code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("1073741824"));  // 1048576 kB
}

TEST_F(Commands, ReportDrawsADemoBesideIt) {
  write_file(at("demo.json"), to_json(demo_sample()));
  const CliRun run = run_cli({"report", dir});
  EXPECT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(run.out, at("report.html") + "\n");
  EXPECT_THAT(read_file(at("report.html")), StartsWith("<!DOCTYPE html>"));
}

TEST_F(Commands, ReportOfWhatIsNoReportSaysSo) {
  EXPECT_EQ(run_cli({"report", dir}).err,
            "error: " + dir +
                ": holds neither run.json nor demo.json (write one with `parallel-opt run "
                "--report " +
                dir + " SCRIPT`)\n");
  write_file(at("demo.json"), to_json(demo_sample()));
  const CliRun run = run_cli({"report", at("demo.json"), "-o", at("demo.json/x.html")});
  EXPECT_EQ(run.code, 4);
  EXPECT_EQ(run.err,
            "error: " + at("demo.json") + ": Not a directory (choose a directory you may write)\n");
}

TEST_F(Commands, RunBecomesPythonWithTheScriptsOwnArguments) {
  const CliRun run =
      run_cli({"run", "--ranks", "2", "--report", "out", "train.py", "--ranks", "9", "--json"},
              {{0, "\n"}, {7, ""}});
  EXPECT_EQ(run.code, 7);  // the script's
  EXPECT_EQ(run.started.at(1),
            (std::vector<std::string>{"/opt/python", "-m", "parallel_opt.launch", "--ranks", "2",
                                      "--report", "out", "train.py", "--ranks", "9", "--json"}));
}

TEST_F(Commands, RunTakesAModuleAsPythonDoes) {
  const CliRun run = run_cli({"run", "-m", "package.train", "-m", "x"}, {{0, "\n"}, {0, ""}});
  EXPECT_EQ(run.started.at(1), (std::vector<std::string>{"/opt/python", "-m", "parallel_opt.launch",
                                                         "--module", "package.train", "-m", "x"}));
}

TEST_F(Commands, RunWithoutTorchIsAMissingPart) {
  const CliRun run = run_cli({"run", "train.py"}, {{0, "torch,parallel_opt\n"}});
  EXPECT_EQ(run.code, 5);
  EXPECT_EQ(run.err,
            "error: /opt/python: PyTorch is not installed there (run `/opt/python -m pip install "
            "torch`, or "
            "set PARALLEL_OPT_PYTHON)\n");
}

TEST_F(Commands, RunWithoutAScriptIsUsage) {
  const CliRun run = run_cli({"run", "--ranks", "2"});
  EXPECT_EQ(run.code, 2);
  EXPECT_EQ(run.err,
            "error: parallel-opt run: SCRIPT [ARGS] is missing (see parallel-opt run --help)\n");
  EXPECT_EQ(run_cli({"run", "--ranks", "none", "train.py"}).err,
            "error: --ranks: \"none\" is not a whole number of at least 1\n");
}

TEST_F(Commands, EnergyRunsTheCommandAndKeepsItsExitCode) {
  const CliRun run = run_cli({"energy", "--json", "--", "train", "--json", "x"}, {{7, ""}});
  EXPECT_EQ(run.code, 7);
  EXPECT_EQ(run.started.at(0), (std::vector<std::string>{"train", "--json", "x"}));
  EXPECT_TRUE(run.out.starts_with("{\n  \"schema\": \"parallel-opt/energy/1\"")) << run.out;
  EXPECT_EQ(run_cli({"energy", "nothing"}, {{kNotStarted, ""}}).err,
            "error: nothing: cannot be started (is it installed and on PATH?)\n");
}

TEST_F(Commands, DemoPassesItsFlagsOn) {
  const CliRun run =
      run_cli({"demo", "--rounds", "2", "--model", "cnn", "--json"}, {{0, "\n"}, {0, ""}});
  EXPECT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(run.started.at(1),
            (std::vector<std::string>{"/opt/python", "-m", "parallel_opt.demo", "--rounds", "2",
                                      "--model", "cnn", "--json"}));
  EXPECT_EQ(run_cli({"demo", "--rounds", "0"}).code, 2);
}

TEST_F(Commands, AFactoryIsCapturedByPython) {
  const CliRun run = run_cli({"graph", "model.py:build"}, {{0, "\n"}, {4, ""}});
  EXPECT_EQ(run.code, 4);
  EXPECT_EQ(run.err,
            "error: model.py:build: Python could not capture it (exit code 4) (the reason stands "
            "above)\n");
  ASSERT_EQ(run.started.size(), 2u);
  EXPECT_EQ(run.started[1].at(2), "parallel_opt.capture");
  EXPECT_EQ(run.started[1].at(3), "model.py:build");
  EXPECT_TRUE(run.started[1].at(5).ends_with("/graph.json")) << run.started[1].at(5);
}

TEST_F(Commands, ProbePrintsWhatPythonMeasured) {
  const std::string document =
      R"({"schema": "parallel-opt/probe/1", "sets": [{"schema": "parallel-opt/probes/1", "uuid": "u",
          "device": "CPU", "date": "2026-11-21", "software": "torch 2.13.0", "wall_s": 2.5, "rates":
          [{"kernel": "matmul", "dtype": "bf16", "threads": 2, "quality": "measured",
            "points": [{"size": 1e9, "per_s": 3e11}]}]}], "notes": ["a note"]})";
  const CliRun text = run_cli({"probe", "--quick"}, {{0, "\n"}, {0, document}});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("CPU, torch 2.13.0, 2026-11-21, 2.50 s\n"));
  EXPECT_THAT(text.out, HasSubstr("matmul  bf16        2  300 GFLOP/s\n"));
  EXPECT_THAT(text.out, HasSubstr("note: a note\n"));
  EXPECT_EQ(text.started.at(1), (std::vector<std::string>{"/opt/python", "-m", "parallel_opt.probe",
                                                          "--json", "--quick"}));
  EXPECT_EQ(run_cli({"probe", "--budget", "0"}).code, 2);
}

Plan example_plan(double step_s) {
  Plan plan;
  plan.model = "gpt";
  plan.placements = {{0, {0, 1}, 2}};
  plan.global_batch = plan.micro_batch = 16;
  plan.shares = {16};
  plan.stages = {{{}, {0}}};
  plan.estimate.step_time_s = exact(step_s);
  plan.estimate.items = {{"matmul", step_s * 0.75, std::nullopt, std::nullopt},
                         {"optimizer", step_s * 0.01, std::nullopt, std::nullopt}};
  plan.certificate = Certificate{"optimal", step_s, 0, "ranks x threads", {"data 1"}};
  return plan;
}

TEST_F(Commands, ExplainSaysWhereTheTimeGoesAndHowGoodThePlanIs) {
  write_file(at("plan.json"), to_json(example_plan(0.1)));
  const CliRun run = run_cli({"explain", at("plan.json")});
  EXPECT_EQ(run.code, 0) << run.err;
  EXPECT_EQ(
      run.out,
      "1 rank x 2 threads, fp32: 100 ms per step, 0 B at the peak (predicted)\n"
      "matmul: 75.0 ms, 75.0 % of the step\n"
      "the plan is optimal within: ranks x threads; no plan of it is predicted faster than 100 ms\n"
      "fixed by the user: data 1\n");
}

TEST_F(Commands, ExplainComparesTwoPlans) {
  write_file(at("a.json"), to_json(example_plan(0.1)));
  write_file(at("b.json"), to_json(example_plan(0.2)));
  const CliRun run = run_cli({"explain", at("a.json"), "--against", at("b.json"), "--json"});
  EXPECT_EQ(run.code, 0) << run.err;
  const JsonDocument document(run.out, "out");
  EXPECT_EQ(document.root().find("reasons")->at(0).find("delta_s")->number(), -0.1);
}

TEST_F(Commands, ExplainWantsToKnowTheModelOfAWish) {
  write_file(at("plan.json"), to_json(example_plan(0.1)));
  EXPECT_EQ(run_cli({"explain", at("plan.json"), "--why-not", "compile=on"}).err,
            "error: parallel-opt explain: --why-not needs --model (the plan does not say which "
            "file its model "
            "is in)\n");
  EXPECT_EQ(run_cli({"explain", at("plan.json"), "--model", "m.pt2"}).err,
            "error: parallel-opt explain: --model counts with --why-not only (leave it out)\n");
  EXPECT_EQ(run_cli({"explain", at("plan.json"), "--against", "x", "--why-not", "y"}).code, 2);
}

TEST_F(Commands, ABrokenPlanNamesEveryFault) {
  write_file(at("plan.json"), R"({"schema": "parallel-opt/plan/9"})");
  const CliRun run = run_cli({"explain", at("plan.json")});
  EXPECT_EQ(run.code, 4);
  EXPECT_THAT(run.err, StartsWith("error: " + at("plan.json") +
                                  ":schema: version 9 is newer than the known version 1 (update "
                                  "parallel_opt)\nerror: " +
                                  at("plan.json") + ": field \"model\" is missing\n"));
}

TEST_F(Commands, EveryCommandPrintsItsSchemaFirst) {
  const std::vector<std::vector<std::string>> lines = {{"version", "--json"},
                                                       {"schema", "--json"},
                                                       {"schema", "plan", "--json"},
                                                       {"doctor", "--json"}};
  for (const auto& line : lines) {
    const CliRun run =
        run_cli(line, {{0, R"({"version": "3.11.2", "torch": "2.13.0", "package": "1",
                                             "header": true, "compiler": true})"}});
    EXPECT_THAT(run.out, StartsWith("{\n  \"schema\": \"parallel-opt/")) << line[0];
    (void)JsonDocument(run.out, line[0]);
  }
}

}  // namespace
}  // namespace parallel_opt
