#include <ostream>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/cli/commands.h"
#include "parallel_opt/cli/documents.h"
#include "parallel_opt/cli/model_argument.h"
#include "parallel_opt/cli/plan_text.h"
#include "parallel_opt/hardware/load.h"
#include "parallel_opt/plan/validate.h"

namespace parallel_opt {
namespace {

Plan load_plan(const std::string& path) { return from_json<Plan>(read_file(path), path); }

Reason line(std::string item, std::string text) {
  Reason reason;
  reason.item = std::move(item);
  reason.text = std::move(text);
  return reason;
}

/// What the plan says of itself: what it does, where its time and memory go, how good it is.
std::vector<Reason> own_reasons(const Plan& plan) {
  std::vector<Reason> reasons;
  const Estimate& estimate = plan.estimate;
  Reason total = line(
      "total", one_line(plan) + ": " + show(Seconds(estimate.step_time_s.value)) + " per step, " +
                   show(Bytes(static_cast<std::int64_t>(estimate.peak_memory_bytes.value))) +
                   " at the peak (predicted)");
  total.delta_s = estimate.step_time_s.value;
  total.delta_bytes = estimate.peak_memory_bytes.value;
  reasons.push_back(std::move(total));
  for (const EstimateItem& item : estimate.items) {
    const double share = item.seconds.value_or(0) / estimate.step_time_s.value;
    if (!item.seconds || share < 0.05) continue;
    Reason reason = line(item.name, item.name + ": " + show(Seconds(*item.seconds)) + ", " +
                                        show(share * 100) + " % of the step");
    reason.delta_s = item.seconds;
    reasons.push_back(std::move(reason));
  }
  if (const std::optional<Certificate>& proof = plan.certificate) {
    reasons.push_back(line("certificate", "the plan is " + proof->status +
                                              " within: " + proof->space +
                                              "; no plan of it is predicted faster than " +
                                              show(Seconds(proof->lower_bound_s))));
    if (!proof->pinned.empty()) {
      reasons.push_back(line("pins", "fixed by the user: " + join(proof->pinned, ", ")));
    }
  }
  return reasons;
}

/// Answers a wish by a search with it pinned, over the model and cluster that the plan was made
/// for.
std::vector<Reason> answer_wish(const Args& args, const Plan& plan, const Console& console) {
  const Provenance& origin = plan.provenance;
  const std::string model = args.get_or("model", origin.model_source.value_or(""));
  if (model.empty()) {
    throw UsageError("parallel-opt explain", "--why-not needs --model",
                     "the plan does not say which file its model is in");
  }
  Job job;
  job.global_batch = plan.global_batch;
  if (origin.job) job = *origin.job;
  const std::string source = origin.cluster_source.value_or("local");
  const Cluster cluster = load_cluster(args.get_or("cluster", source));
  const Graph graph =
      bind_sizes(load_model_argument(model, console, origin.seq), std::nullopt, origin.seq);
  throw_if_any(validate(graph, cluster, job, plan));
  SearchResult result = search(graph, cluster, job);
  result.plan = plan;
  return why_not(graph, cluster, job, result, args.at("why-not"));
}

ExitCode run_explain(const Args& args, const Console& console) {
  const Plan plan = load_plan(args.at("PLAN"));
  for (const char* flag : {"model", "cluster"}) {
    if (args.has(flag) && !args.has("why-not")) {
      throw UsageError("parallel-opt explain",
                       std::string("--") + flag + " counts with --why-not only", "leave it out");
    }
  }
  ExplainDocument document;
  if (args.has("why-not") && args.has("against")) {
    throw UsageError("parallel-opt explain", "--why-not and --against exclude each other",
                     "keep one");
  }
  if (const auto wish = args.get("why-not")) {
    if (std::vector<Fault> faults = check_wish(*wish); !faults.empty()) {
      throw UsageError(std::move(faults));
    }
    document.reasons = answer_wish(args, plan, console);
  } else if (const auto other = args.get("against")) {
    document.reasons = explain(plan, load_plan(*other));
  } else {
    document.reasons = own_reasons(plan);
  }
  if (console.json) {
    print_json(console, document);
  } else {
    for (const Reason& reason : document.reasons) console.out << reason.text << '\n';
  }
  return ExitCode::ok;
}

}  // namespace

/// parallel-opt explain plan.json --against other.json
Command explain_command() {
  return {
      .name = "explain",
      .summary = "Say why a plan is as it is, or why it beats another one.",
      .arguments = {{"PLAN", "a file that `parallel-opt plan -o` wrote"}},
      .flags = {{"against", "PLAN", "compare with another plan"},
                {"why-not", "NAME=VALUE", "what if: compile=off, ranks=2, precision=fp32, ..."},
                {"model", "MODEL", "with --why-not: the model, when it is not where it was"},
                {"cluster", "NAME", "with --why-not: the cluster, when it is not the plan's"}},
      .examples = {"parallel-opt explain plan.json",
                   "parallel-opt explain plan.json --against fp32.json",
                   "parallel-opt explain plan.json --why-not compile=off"},
      .run = run_explain,
  };
}

}  // namespace parallel_opt
