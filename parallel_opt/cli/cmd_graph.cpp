#include <ostream>

#include "parallel_opt/base/output_file.h"
#include "parallel_opt/cli/commands.h"
#include "parallel_opt/cli/graph_text.h"
#include "parallel_opt/cli/model_argument.h"
#include "parallel_opt/graph/analysis_fields.h"
#include "parallel_opt/graph/graph_json.h"
#include "parallel_opt/hardware/load.h"
#include "parallel_opt/importers/model.h"
#include "parallel_opt/report/graph_picture.h"

namespace parallel_opt {
namespace {

void write_and_say(const std::string& path, const std::string& content, const Console& console) {
  write_output(path, content);
  console.log("wrote " + path);
}

void write_pictures(const Graph& graph, const Args& args, const Console& console) {
  const HeatBy by = args.choice<HeatBy>("color").value_or(HeatBy::flops);
  // Nobody waits for a look at the machine who did not ask for times.
  const bool timed = by == HeatBy::time || args.has("cluster");
  const GraphView view =
      timed ? graph_view(graph, load_cluster(args.get_or("cluster", "local")).devices.front())
            : graph_view(graph);
  if (const auto svg = args.get("svg")) {
    write_and_say(*svg, graph_svg(view, by), console);
  }
  if (const auto html = args.get("html")) write_and_say(*html, graph_html(view, by), console);
}

/// Colours and the machine behind them are those of pictures.
void refuse_without_picture(const Args& args) {
  if (args.has("svg") || args.has("html")) return;
  std::vector<Fault> faults;
  for (const char* flag : {"color", "cluster"}) {
    if (args.has(flag)) {
      faults.push_back({"--" + std::string(flag), "says nothing without a picture",
                        "add --svg FILE or --html FILE"});
    }
  }
  if (!faults.empty()) throw UsageError(std::move(faults));
}

ExitCode run_graph(const Args& args, const Console& console) {
  refuse_without_picture(args);
  const std::optional<std::int64_t> seq = args.whole("seq", 1);
  const Graph graph =
      bind_sizes(with_operator_flag(load_model_argument(args.at("MODEL"), console, seq), args),
                 args.whole("batch", 1), seq, bound_sizes(args));
  check_kept(graph);
  if (const auto path = args.get("output")) write_and_say(*path, to_json(graph), console);
  if (args.has("svg") || args.has("html")) write_pictures(graph, args, console);
  const bool operators = args.has("per-operator");
  if (operators || args.has("analysis")) {
    const GraphAnalysis analysis = analyze(graph, {operators});
    if (console.json) {
      print_json(console, analysis);
    } else {
      if (args.has("analysis")) print_analysis(analysis, console.out);
      if (operators) print_operators(analysis, console.out);
    }
    return ExitCode::ok;
  }
  const GraphSummary summary = summarize(graph);
  if (console.json) {
    print_json(console, summary);
  } else {
    print_summary(summary, console.out);
  }
  return ExitCode::ok;
}

}  // namespace

/// parallel-opt graph model.pt2 --batch 8
Command graph_command() {
  return {
      .name = "graph",
      .summary = "Show what a model computes: operators, parameters, FLOPs, memory, blocks.",
      .arguments = {{"MODEL", kModelFormats}},
      .flags = {batch_flag(),
                seq_flag(),
                bind_flag(),
                operators_flag(),
                {"analysis", "", "critical path, parallel width and branches, intensity, cuts"},
                {"per-operator", "", "one row per operator; repeated blocks once"},
                {"output", "FILE", "write the graph itself there", 'o'},
                {"svg", "FILE", "write a picture of the model"},
                {"html", "FILE", "write a page whose boxes open and close"},
                {"color", "flops|traffic|memory|time", "what the colours mean"},
                {"cluster", "NAME|FILE", "times in pictures are its first device's (local)"}},
      .examples = {"parallel-opt graph model.pt2 --batch 8",
                   "parallel-opt graph model.pt2 --operators mine.json",
                   "parallel-opt graph model.pt2 --analysis --html model.html",
                   "parallel-opt graph model.pt2 --svg model.svg --color time"},
      .run = run_graph,
  };
}

}  // namespace parallel_opt
