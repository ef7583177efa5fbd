#include <filesystem>
#include <ostream>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/base/output_file.h"
#include "parallel_opt/cli/commands.h"
#include "parallel_opt/cli/documents.h"
#include "parallel_opt/report/report.h"

namespace parallel_opt {
namespace {

/// DIR/run.json or DIR/demo.json; a file is itself.
std::string document_of(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(path, ignored)) return path;
  for (const char* name : {"run.json", "demo.json"}) {
    const std::string candidate = (std::filesystem::path(path) / name).string();
    if (std::filesystem::exists(candidate, ignored)) return candidate;
  }
  throw InputError(path, "holds neither run.json nor demo.json",
                   "write one with `parallel-opt run --report " + path + " SCRIPT`");
}

ExitCode run_report(const Args& args, const Console& console) {
  const std::string source = document_of(args.at("SOURCE"));
  const std::string beside = (std::filesystem::path(source).parent_path() / "report.html").string();
  const std::string output = args.get_or("output", beside);
  const std::string html = report_html(read_report(read_file(source), source));
  write_output(output, html);
  if (console.json) {
    print_json(console, ReportDocument{source, output, static_cast<std::int64_t>(html.size())});
  } else {
    console.out << output << '\n';
  }
  return ExitCode::ok;
}

}  // namespace

/// parallel-opt report run/ -o report.html
Command report_command() {
  return {
      .name = "report",
      .summary = "Draw a run or a demo as one offline HTML file.",
      .description = "Prints the path of the file that was written.",
      .arguments = {{"SOURCE", "directory with run.json or demo.json, or such a file"}},
      .flags = {{"output", "FILE", "where to write (default: report.html beside the source)", 'o'}},
      .examples = {"parallel-opt run --report run/ train.py",
                   "parallel-opt report run/ -o report.html"},
      .run = run_report,
  };
}

}  // namespace parallel_opt
