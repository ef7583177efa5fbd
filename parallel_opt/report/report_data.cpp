#include "parallel_opt/report/report_data.h"

#include <algorithm>

#include "parallel_opt/base/text.h"

namespace parallel_opt {
namespace {

std::string size(double bytes) { return show(Bytes(static_cast<std::int64_t>(bytes))); }

ReportWay way_of(const std::string& name, const DemoWay& demo) {
  ReportWay way;
  way.name = name;
  way.step_s = demo.step_s;
  way.samples_per_s = demo.samples_per_s;
  way.peak_bytes = demo.peak_bytes;
  way.rss_bytes = demo.rss_bytes;
  way.cpu_share = demo.cpu_share;
  way.energy_j = demo.energy_j;
  way.energy_quality = demo.energy_quality;
  way.losses = demo.losses;
  way.held_out_loss = demo.held_out_loss;
  way.plan = demo.plan;
  way.reasons = demo.reasons;
  way.notes = demo.notes;
  if (demo.predicted) {
    way.predicted_step_s = exact(demo.predicted->step_s, Quality::calibrated);
    way.predicted_peak_bytes = exact(demo.predicted->peak_bytes, Quality::calibrated);
  }
  if (demo.modelled) {
    way.modelled_step_s = exact(demo.modelled->step_s, Quality::calibrated);
    way.modelled_peak_bytes = exact(demo.modelled->peak_bytes, Quality::calibrated);
  }
  if (demo.estimate) {  // the same values, with their intervals
    way.predicted_step_s = demo.estimate->step_time_s;
    way.predicted_peak_bytes = demo.estimate->peak_memory_bytes;
    way.items = demo.estimate->items;
  }
  if (demo.probing_s) way.planning.push_back({"planning took", show(Seconds(*demo.probing_s))});
  if (demo.break_even_steps) {
    way.planning.push_back({"won back after", show(*demo.break_even_steps) + " steps"});
  }
  way.candidates = demo.candidates;
  way.timeline = demo.timeline;
  return way;
}

std::vector<Fact> planning_facts(const PlanningCost& cost) {
  std::vector<Fact> facts;
  const auto add = [&](const char* name, std::optional<double> seconds) {
    if (seconds && *seconds > 0) facts.push_back({name, show(Seconds(*seconds))});
  };
  add("reading the model", cost.capture_s);
  add("measuring the machine", cost.probe_s);
  add("searching", cost.search_s);
  add("trying candidates", cost.trial_s);
  if (cost.break_even_steps) {
    facts.push_back({"won back after", show(*cost.break_even_steps) + " steps"});
  }
  return facts;
}

std::string schema_of_document(const JsonView& root) {
  if (root.kind() != JsonView::Kind::object) return "";
  const std::optional<JsonView> schema = root.find("schema");
  return schema && schema->kind() == JsonView::Kind::string ? schema->string() : "";
}

void check_parts(const ReportData& report, const std::string& name) {
  std::vector<Fault> faults;
  for (const ReportModel& model : report.models) {
    for (const ReportWay& way : model.ways) {
      if (!way.timeline) continue;
      const std::string where = name + ":" + model.name + "." + way.name + ".timeline";
      std::ranges::copy(check(*way.timeline, where), std::back_inserter(faults));
    }
    if (model.graph) {
      const std::string where = name + ":" + model.name + ".graph";
      std::ranges::copy(check(model.graph.value(), where), std::back_inserter(faults));
    }
  }
  throw_if_any(std::move(faults));
}

ReportModel report_model_of(const ModelRun& run) {
  ReportWay way;
  way.name = "this run";
  if (const auto& step = run.measured.step_time_s)
    way.step_s = {step->value, step->low, step->high};
  if (run.measured.samples_per_s) way.samples_per_s = run.measured.samples_per_s->value;
  way.peak_bytes = run.measured.peak_memory_bytes;
  way.rss_bytes = run.measured.rss_bytes;
  way.cpu_share = run.measured.cpu_share;
  if (run.measured.energy_j) {
    way.energy_j = run.measured.energy_j->value;
    way.energy_quality = run.measured.energy_j->quality;
  }
  way.plan = run.plan_line;
  way.reasons = run.reasons;
  if (run.estimate) {
    way.predicted_step_s = run.estimate->step_time_s;
    way.predicted_peak_bytes = run.estimate->peak_memory_bytes;
    way.items = run.estimate->items;
  }
  if (run.modelled) {
    way.modelled_step_s = run.modelled->step_time_s;
    way.modelled_peak_bytes = run.modelled->peak_memory_bytes;
  }
  way.planning = planning_facts(run.planning);
  way.candidates = run.candidates;
  way.timeline = run.timeline;
  return {run.plan ? run.plan->model : "run", "", {std::move(way)}, run.graph};
}

}  // namespace

ReportData report_of(const DemoDocument& demo) {
  ReportData report;
  const DemoMachine& machine = demo.machine;
  report.title = "Plain PyTorch against parallel_opt";
  report.subtitle = machine.date;
  report.machine = {{"processor", machine.cpu},
                    {"usable cores", std::to_string(machine.cores)},
                    {"memory", size(machine.memory_bytes)},
                    {"devices", join(machine.devices, ", ")},
                    {"PyTorch", machine.torch + ", " + std::to_string(machine.threads) +
                                    (machine.threads == 1 ? " thread" : " threads")},
                    {"Python", machine.python}};
  for (const DemoModel& model : demo.models) {
    ReportModel& shown = report.models.emplace_back();
    shown.name = model.name;
    shown.title = model.title;
    shown.graph = model.graph;
    shown.ways = {way_of("plain", model.plain), way_of("fp32", model.fp32),
                  way_of("auto", model.automatic)};
    shown.ways[1].speedup = model.ratio.fp32;
    shown.ways[2].speedup = model.ratio.automatic;
    if (model.agreement) {
      shown.ways[1].agreement = model.agreement->fp32;
      shown.ways[2].agreement = model.agreement->automatic;
    }
  }
  return report;
}

ReportData report_of(const RunRecord& run) {
  ReportData report;
  report.title = run.title.empty() ? "A training run" : run.title;
  report.subtitle = run.date;
  if (!run.machine.empty()) report.machine.push_back({"machine", run.machine});
  report.machine.push_back({"ranks", std::to_string(run.ranks)});
  if (run.exit_code) report.machine.push_back({"exit code", std::to_string(*run.exit_code)});
  if (run.measured.steps > 0) {
    report.machine.push_back({"steps timed", std::to_string(run.measured.steps)});
  }
  report.events = run.events;
  for (const RunError& error : run.errors) {
    const std::string hint = error.hint.empty() ? "" : " (" + error.hint + ")";
    report.events.push_back({0, "error", error.where + ": " + error.what + hint});
  }
  report.models.push_back(report_model_of(run));
  for (const ModelRun& other : run.others) {
    report.models.push_back(report_model_of(other));
    std::ranges::copy(other.events, std::back_inserter(report.events));
  }
  std::ranges::stable_sort(report.events, {}, &RunEvent::time_s);
  return report;
}

ReportData read_report(std::string_view text, const std::string& name) {
  const std::string schema = schema_of_document(JsonDocument(text, name).root());
  ReportData report;
  if (schema.starts_with("parallel-opt/run/")) {
    report = report_of(from_json<RunRecord>(text, name));
  } else if (schema.starts_with("parallel-opt/demo/")) {
    report = report_of(from_json<DemoDocument>(text, name));
  } else if (schema.starts_with("parallel-opt/report/")) {
    report = from_json<ReportData>(text, name);
  } else {
    throw InputError(name, "is no document that a report can be made of",
                     "run.json of `parallel-opt run`, or demo.json of `parallel-opt demo`");
  }
  check_parts(report, name);
  return report;
}

}  // namespace parallel_opt
