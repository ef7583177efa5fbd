#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/cli/accuracy_text.h"
#include "parallel_opt/cli/parse.h"
#include "tests/cli/run_cli.h"
#include "tests/temporary_directory.h"

namespace parallel_opt {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr const char* kRuns =
    "id,gpu,gpu_family,gpus,gpus_per_node,framework,workload,model_name,params_b,layers,hidden,"
    "heads,kv_heads,ffn_hidden,vocab,seq_len,tp,pp,dp,fsdp_zero,recompute,micro_batch,grad_accum,"
    "global_batch,metric_iter_time_s,peak_memory_gb,memory_unit,colour\n"
    "nano-1,H100-80GB,H100,8,8,nanotron v0.5,pretrain,llama-1B,1.34,16,2048,32,32,8192,131072,4096,"
    "1,2,4,zero1,,4,16,256,3.37,41.8,GB,red\n"
    "nano-2,H100-80GB,H100,8,8,nanotron v0.5,pretrain,llama-1B,1.34,16,2048,32,32,8192,131072,4096,"
    "2,1,4,zero1,,2,32,256,3.9,30,GB,red\n"
    "nano-3,H100-80GB,H100,8,8,nanotron v0.5,pretrain,llama-1B,,,,,,,,,0,1,4,zero1,,2,32,256,3.9,,"
    ",red\n";

class AccuracyCommand : public ::testing::Test {
 protected:
  AccuracyCommand() { write_file(runs(), kRuns); }
  std::string runs() const { return dir + "/runs.csv"; }
  testing::TemporaryDirectory directory;
  const std::string& dir = directory.path();
};

TEST_F(AccuracyCommand, JsonHasEveryScore) {
  const CliRun run = run_cli({"accuracy", runs(), "--json", "--rows", "--by", "recompute"});
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_THAT(run.out, StartsWith("{\n  \"schema\": \"parallel-opt/accuracy/1\",\n"));
  const JsonDocument document(run.out, "out");
  const auto at = [&](const std::string& path) {
    std::optional<JsonView> view = document.root();
    for (const std::string& key : split(path, '.')) view = view->find(key);
    return view->dump();
  };
  EXPECT_EQ(at("rows"), "3");
  EXPECT_EQ(at("used"), "2");
  EXPECT_EQ(at("skipped"), R"([{"id":"nano-3","reason":"tp is 0"}])");
  EXPECT_EQ(at("time.count"), "2");
  EXPECT_EQ(at("memory.count"), "2");
  EXPECT_EQ(at("groups.count"), "1");
  EXPECT_EQ(at("infeasible.count"), "0");
  EXPECT_EQ(at("interval.level"), "0.8");
  EXPECT_EQ(at("by.source.nano.count"), "2");
  EXPECT_EQ(at("by.tp.2.count"), "1");
  EXPECT_EQ(at("by.recompute.not stated.count"), "2");
  EXPECT_EQ(document.root().find("predictions")->size(), 2u);
  EXPECT_EQ(document.root().find("predictions")->at(0).find("measured_s")->dump(), "3.37");
}

TEST_F(AccuracyCommand, TextNamesWhatWasSkippedAndPassedOver) {
  const CliRun run = run_cli({"accuracy", runs(), "--by", "tp", "--rows"});
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_THAT(run.out, StartsWith("3 rows, 2 used, 1 skipped\n\niteration time, relative error\n"));
  EXPECT_THAT(run.out, HasSubstr("\n      1  tp is 0  nano-3\n"));
  EXPECT_THAT(run.out, HasSubstr("note: " + runs() + ": columns passed over: colour\n"));
  EXPECT_THAT(run.out, HasSubstr("\ntp  rows "));
  EXPECT_THAT(run.out, HasSubstr("\nnano-2 "));
  EXPECT_THAT(run_cli({"accuracy", runs()}).out, Not(HasSubstr("\nnano-2 ")));
}

TEST_F(AccuracyCommand, SeveralTablesAreOne) {
  write_file(dir + "/failed.csv", "id,gpu,gpus,status\nnanofail-1,H100-80GB,8,OOM\n");
  const CliRun run = run_cli({"accuracy", runs(), "--json", dir + "/failed.csv"});
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("\"rows\": 4,"));
}

// Once it ended well.
TEST_F(AccuracyCommand, TablesWithoutAUsableRowAreBadInput) {
  const std::string table = dir + "/skipped.csv";
  write_file(table, "id,gpu,gpus,metric_iter_time_s\nx-1,Abacus,8,1\nx-2,H100,8,2\n");
  const CliRun run = run_cli({"accuracy", table});
  EXPECT_EQ(run.code, 4);
  EXPECT_THAT(run.out, HasSubstr("device 'Abacus' is not in the database"));
  EXPECT_THAT(run.err, HasSubstr("error: " + table + ": no row of 2 can be used"));
  EXPECT_EQ(run_cli({"accuracy", table, "--json"}).code, 4);
  EXPECT_EQ(run_cli({"accuracy", table, runs()}).code, 0);
}

TEST_F(AccuracyCommand, FaultsOfEveryFileAreTold) {
  write_file(dir + "/a.csv", "id,tp,metric_iter_time_s\nx,1\n");
  write_file(dir + "/b.csv", "");
  const CliRun run = run_cli({"accuracy", dir + "/a.csv", dir + "/b.csv"});
  EXPECT_EQ(run.code, 4);
  EXPECT_EQ(run.out, "");
  EXPECT_EQ(run.err, "error: " + dir +
                         "/a.csv:2: 2 cells, but the header has 3 (a cell that holds a comma is "
                         "put in quotes)\nerror: " +
                         dir + "/b.csv: is empty (the first line names the columns)\n");
  EXPECT_EQ(run_cli({"accuracy", dir + "/none.csv"}).code, 4);
}

TEST_F(AccuracyCommand, AColumnThatIsNoneIsAUsageError) {
  const CliRun run = run_cli({"accuracy", runs(), "--by", "tp,recompte"});
  EXPECT_EQ(run.code, 2);
  EXPECT_THAT(run.err, StartsWith("error: --by: unknown value \"recompte\" (did you mean "
                                  "\"recompute\"? known: source, gpu, "));
  EXPECT_EQ(run_cli({"accuracy"}).code, 2);
}

TEST(ParseArgs, WhatRepeatsIsKeptInOrder) {
  const Args args = parse_args(find_command("accuracy"), {"a.csv", "--rows", "b.csv", "c.csv"});
  EXPECT_EQ(args.at("FILE"), "a.csv");
  EXPECT_EQ(args.rest, (std::vector<std::string>{"a.csv", "b.csv", "c.csv"}));
}

TEST(AccuracyText, TablesForPeople) {
  Accuracy accuracy;
  accuracy.rows = 9, accuracy.used = 4;
  for (const char* id : {"a-1", "a-2", "a-3", "a-4"}) accuracy.skipped.push_back({id, "no time"});
  accuracy.skipped.push_back({"a-5", "no layers"});
  accuracy.time = {4, 0.0512, 0.2, -0.01};
  accuracy.by["source"]["nano"] = accuracy.time;
  accuracy.noise["nano"] = {1, 2, 0.08, 0.04};
  accuracy.groups = {2, 1, 0.95, 0.01, 0.02};
  accuracy.groups_by_source["nano"] = accuracy.groups;
  accuracy.memory = {3, 0.06, 0.1, 0.02, 0.0};
  accuracy.infeasible = {2, 4, 1.0, 0.25, {3, 0.5}};
  accuracy.interval.coverage = 0.75;
  accuracy.notes = {"1 row: seq_len from the notes"};
  EXPECT_EQ(accuracy_text(accuracy),
            "9 rows, 4 used, 5 skipped\n"
            "\n"
            "iteration time, relative error\n"
            "source  rows  median     p90    bias  noise floor  groups  Spearman  regret  worst\n"
            "------  ----  ------  ------  ------  -----------  ------  --------  ------  -----\n"
            "nano       4   5.1 %  20.0 %  -1.0 %        4.0 %       2     0.950   1.0 %  2.0 %\n"
            "all        4   5.1 %  20.0 %  -1.0 %                    2     0.950   1.0 %  2.0 %\n"
            "\n"
            "peak memory: 3 rows, median error 6.0 %, p90 10.0 %, bias +2.0 %, under by more than "
            "3 %: 0.0 %\n"
            "does not fit: 2 rows, recall 100.0 %\n"
            "fits: 4 rows, false alarms 25.0 %\n"
            "failed, not known why: 3 rows, 50.0 % predicted not to fit\n"
            "80 % intervals hold 75.0 % of the times, - of the memories\n"
            "\n"
            "skipped  reason     rows\n"
            "-------  ---------  ------------------\n"
            "      4  no time    a-1, a-2, a-3, ...\n"
            "      1  no layers  a-5\n"
            "note: 1 row: seq_len from the notes\n");
  EXPECT_EQ(predictions_text(accuracy), "");
}

TEST(AccuracyText, ValuesOfAColumnByTheirSize) {
  Accuracy accuracy;
  for (const char* value : {"16", "2", "not stated", "1"}) {
    accuracy.by["tp"][value] = {1, 0.1, 0.1, 0.1};
  }
  EXPECT_EQ(by_text(accuracy, "tp"),
            "tp          rows  median     p90     bias\n"
            "----------  ----  ------  ------  -------\n"
            "1              1  10.0 %  10.0 %  +10.0 %\n"
            "2              1  10.0 %  10.0 %  +10.0 %\n"
            "16             1  10.0 %  10.0 %  +10.0 %\n"
            "not stated     1  10.0 %  10.0 %  +10.0 %\n");
}

TEST(AccuracyText, APredictionBesideWhatWasMeasured) {
  Accuracy accuracy;
  TakenRun taken;
  taken.device = "T4";
  taken.stack = "pytorch";
  taken.recompute = "none";
  accuracy.predictions = {
      {"a-1", 2, 3, 2.5, 3.5, std::nullopt, 1024, 1000, 1100, 2048, 1536, false, {}, taken, {}}};
  EXPECT_EQ(
      predictions_text(accuracy),
      "row  measured  predicted    error          interval  peak  predicted peak    needed  fits  "
      "taken as\n"
      "---  --------  ---------  -------  ----------------  ----  --------------  --------  ----  "
      "-----------------------\n"
      "a-1    2.00 s     3.00 s  +50.0 %  2.50 s to 3.50 s     -        1.00 KiB  2.00 KiB  no    "
      "T4 pytorch, dp 1, 1 x 1\n"
      "predicted peak is what the row's software prints, which may count the driver's part;\n"
      "needed is what tensors and allocator take of the fullest device, by which fits is judged\n"
      "(with blocks computed again where recompute is blank and it does not fit without);\n"
      "taken as is the run that was predicted: micro-batches x their sequences, what is computed "
      "again\n");
}

}  // namespace
}  // namespace parallel_opt
