#include <fmt/format.h>

#include <chrono>
#include <ostream>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/base/output_file.h"
#include "parallel_opt/cli/commands.h"
#include "parallel_opt/cli/job_flags.h"
#include "parallel_opt/cli/model_argument.h"
#include "parallel_opt/cli/plan_text.h"
#include "parallel_opt/hardware/load.h"
#include "parallel_opt/importers/model.h"
#include "parallel_opt/search/search.h"

namespace parallel_opt {
namespace {

void print_result(const SearchResult& result, double wall_s, const Console& console) {
  std::ostream& out = console.out;
  if (!result.plan) {
    out << "no plan is possible\n";
    for (const std::string& reason : result.binding) out << "  " << reason << '\n';
    return;
  }
  out << one_line(*result.plan) << "\n\n" << estimate_text(result.plan->estimate);
  out << fmt::format("\n{}: {} plans judged in {}, {} settled by bounds; gap {:.1f} %\n",
                     name_of(result.status), result.considered, show(Seconds(wall_s)),
                     result.pruned, result.gap.value_or(0) * 100);
  out << "searched: " << result.space << '\n';
  for (const std::string& reason : result.binding) out << "  " << reason << '\n';
  out << '\n' << candidates_text(result.candidates);
}

ExitCode run_plan(const Args& args, const Console& console) {
  const Job job = job_from(args);
  if (job.max_slowdown && job.objective == Objective::time) {
    console.log("note: --max-slowdown changes nothing: --objective is time");
  }
  const std::string model = args.at("model"), cluster_name = args.get_or("cluster", "local");
  const Cluster cluster = load_cluster(cluster_name);
  const std::optional<std::int64_t> seq = args.whole("seq", 1);
  const Graph graph = bind_sizes(load_model_argument(model, console, seq), std::nullopt, seq);
  check_kept(graph);
  const SearchLimits limits{.deadline_s = args.positive("deadline").value_or(60)};
  const auto start = std::chrono::steady_clock::now();
  SearchResult result = search(graph, cluster, job, limits);
  const double wall_s =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (result.plan) {
    Provenance& provenance = result.plan->provenance;
    provenance.model_source = model;
    provenance.cluster_source = cluster_name;
    provenance.seq = seq;
    provenance.job = job;
  }
  if (const auto output = args.get("output"); output && result.plan) {
    write_output(*output, to_json(*result.plan));
    console.log("wrote " + *output);
  }
  if (console.json) {
    print_json(console, plan_result(result, wall_s));
  } else {
    print_result(result, wall_s, console);
  }
  if (result.plan) return ExitCode::ok;
  for (const std::string& reason : result.binding) console.err << "error: plan: " << reason << '\n';
  return ExitCode::infeasible;
}

}  // namespace

/// parallel-opt plan --model model.pt2 --cluster local -o plan.json
Command plan_command() {
  std::vector<Flag> flags = {{"model", "MODEL", kModelFormats},
                             {"cluster", "NAME", "local (default), a preset, or a file"},
                             {"output", "FILE", "write the plan there", 'o'},
                             {"deadline", "SECONDS", "search no longer (default: 60)"}};
  for (Flag& flag : job_flags()) flags.push_back(std::move(flag));
  for (Flag& flag : layout_flags()) flags.push_back(std::move(flag));
  return {
      .name = "plan",
      .summary = "Find the best way to run a model on a cluster.",
      .description =
          "Searches the whole space that flags leave open and says how good the plan is proven to "
          "be.\n"
          "Exit code 3 when no plan is possible.",
      .flags = std::move(flags),
      .required = {"model"},
      .examples =
          {"parallel-opt plan --model model.pt2 --cluster local -o plan.json",
           "parallel-opt plan --model model.pt2 --precision fp32 --memory-limit 2GiB --json"},
      .run = run_plan,
  };
}

}  // namespace parallel_opt
