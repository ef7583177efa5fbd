#include <algorithm>
#include <chrono>
#include <ostream>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/cli/accuracy_text.h"
#include "parallel_opt/cli/commands.h"

namespace parallel_opt {
namespace {

/// --by COLUMN[,COLUMN]
std::vector<std::string> columns_of(const Args& args) {
  if (!args.has("by")) return {};
  std::vector<std::string> known;
  for (const RowColumn& column : row_columns()) known.emplace_back(column.name);
  std::vector<std::string> columns = split(args.at("by"), ',');
  for (const std::string& column : columns) {
    Args one;
    one.values["by"] = column;
    one.require_known("by", known);
  }
  return columns;
}

/// Tells how far it is, every other second, when it takes that long.
std::function<void(std::size_t, std::size_t)> progress_to(const Console& console) {
  using Clock = std::chrono::steady_clock;
  return [&console, last = Clock::now()](std::size_t done, std::size_t total) mutable {
    if (Clock::now() - last < std::chrono::seconds(2)) return;
    last = Clock::now();
    console.log("accuracy: " + std::to_string(done) + " of " + std::to_string(total) + " rows");
  };
}

/// Tables of which nothing can be used are bad input, whatever is said of each row.
ExitCode code_of(const Accuracy& accuracy, const std::string& first, const Console& console) {
  if (accuracy.used > 0) return ExitCode::ok;
  console.err << "error: " << first << ": no row of " << accuracy.rows
              << " can be used (docs/accuracy.md says what rows need)\n";
  return ExitCode::invalid;
}

ExitCode run_accuracy(const Args& args, const Console& console) {
  const std::vector<std::string> columns = columns_of(args);
  std::vector<CsvTable> tables;
  std::vector<Fault> faults;
  for (const std::string& path : args.rest) {
    try {
      tables.push_back(read_csv(read_file(path), path));
    } catch (const InputError& e) {
      faults.insert(faults.end(), e.faults().begin(), e.faults().end());
    }
  }
  throw_if_any(std::move(faults));
  const Accuracy accuracy =
      score_rows(read_measured_rows(tables), predict,
                 {.rows = args.has("rows"), .by = columns, .progress = progress_to(console)});
  if (console.json) {
    print_json(console, accuracy);
    return code_of(accuracy, args.rest.front(), console);
  }
  console.out << accuracy_text(accuracy);
  for (const std::string& column : columns) console.out << '\n' << by_text(accuracy, column);
  if (args.has("rows")) console.out << '\n' << predictions_text(accuracy);
  return code_of(accuracy, args.rest.front(), console);
}

}  // namespace

/// parallel-opt accuracy training.csv memory.csv infeasible.csv
Command accuracy_command() {
  return {
      .name = "accuracy",
      .summary = "Compare predictions with published measurements.",
      .description =
          "Builds model, cluster, job and layout of each row, predicts it and tells the error of\n"
          "iteration time and peak memory, the order of layouts of one job, and what does not fit. "
          "Rows\nthat cannot be expressed are counted and named.",
      .arguments = {{"FILE",
                     "a table with the columns of docs/accuracy.md: runs, peak memories or "
                     "failures",
                     true, true}},
      .flags = {{"rows", "", "every prediction beside what was measured"},
                {"by", "COLUMN[,COLUMN]", "iteration time by a column: dtype, recompute, dp, ..."}},
      .examples = {"parallel-opt accuracy training.csv",
                   "parallel-opt accuracy training.csv memory.csv infeasible.csv --by dp --json"},
      .run = run_accuracy,
  };
}

}  // namespace parallel_opt
