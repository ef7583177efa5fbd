#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "parallel_opt/report/demo_document.h"

namespace parallel_opt {

struct Fact {
  std::string name;
  std::string value;
  bool operator==(const Fact&) const = default;
};

/// One way of running a model, as the report shows it. What is absent is left out of the pictures.
struct ReportWay {
  std::string name;
  std::optional<Spread> step_s;
  std::optional<double> samples_per_s;
  std::optional<Spread> speedup;  ///< samples/s against the first way
  std::optional<double> peak_bytes;
  std::optional<double> rss_bytes;
  std::optional<double> cpu_share;
  std::optional<double> energy_j;
  Quality energy_quality = Quality::unavailable;
  std::vector<std::optional<double>> losses;
  std::optional<double> held_out_loss;
  std::optional<Agreement> agreement;
  std::string plan;
  std::vector<std::string> reasons;
  std::vector<std::string> notes;
  std::optional<Uncertain> predicted_step_s;
  std::optional<Uncertain> predicted_peak_bytes;
  std::optional<Uncertain> modelled_step_s;
  std::optional<Uncertain> modelled_peak_bytes;
  std::vector<EstimateItem> items;
  std::vector<Fact> planning;
  std::vector<Considered> candidates;
  std::optional<Timeline> timeline;
  bool operator==(const ReportWay&) const = default;
};

struct ReportModel {
  std::string name;
  std::string title;
  std::vector<ReportWay> ways;  ///< the first is what others are compared with
  std::optional<GraphView> graph;
  bool operator==(const ReportModel&) const = default;
};

/// Everything a report shows.
struct ReportData {
  std::string title;
  std::string subtitle;
  std::vector<Fact> machine;
  std::vector<ReportModel> models;
  std::vector<RunEvent> events;
  bool operator==(const ReportData&) const = default;
};

ReportData report_of(const DemoDocument& demo);
ReportData report_of(const RunRecord& run);

/// Reads a document of `parallel-opt run`, `parallel-opt demo`, or ReportData itself, whichever it
/// says it is. Throws InputError with every fault.
ReportData read_report(std::string_view text, const std::string& name);

template <class Visitor, class T>
  requires SameAs<T, Fact>
void fields(Visitor& visit, T& fact) {
  visit("name", fact.name, "what");
  visit("value", fact.value, "with its unit");
}

template <class Visitor, class T>
  requires SameAs<T, ReportWay>
void fields(Visitor& visit, T& way) {
  visit("name", way.name, "plain, fp32, auto, this run, ...");
  visit("step_s", way.step_s, "seconds per step");
  visit("samples_per_s", way.samples_per_s, "throughput");
  visit("speedup", way.speedup, "throughput against the first way");
  visit("peak_bytes", way.peak_bytes, "allocator's peak");
  visit("rss_bytes", way.rss_bytes, "peak of the whole process");
  visit("cpu_share", way.cpu_share, "CPU time over wall time and usable cores");
  visit("energy_j", way.energy_j, "joules per step");
  visit.optional("energy_quality", way.energy_quality, "how the energy was obtained");
  visit.optional("losses", way.losses, "training loss per step; null: not finite");
  visit("held_out_loss", way.held_out_loss, "loss on data that was not trained on");
  visit("agreement", way.agreement, "do the losses equal the first way's?");
  visit.optional("plan", way.plan, "the plan in one line");
  visit.optional("reasons", way.reasons, "why this plan");
  visit.optional("notes", way.notes, "fallbacks and degraded features");
  visit("predicted_step_s", way.predicted_step_s, "by the plan, its trials included");
  visit("predicted_peak_bytes", way.predicted_peak_bytes, "likewise");
  visit("modelled_step_s", way.modelled_step_s, "by the cost model alone, before any trial");
  visit("modelled_peak_bytes", way.modelled_peak_bytes, "likewise");
  visit.optional("items", way.items, "the predicted bill, line by line");
  visit.optional("planning", way.planning, "what planning cost");
  visit.optional("candidates", way.candidates, "plans that were considered");
  visit("timeline", way.timeline, "a few measured steps");
}

template <class Visitor, class T>
  requires SameAs<T, ReportModel>
void fields(Visitor& visit, T& model) {
  visit("name", model.name, "short name");
  visit.optional("title", model.title, "what is trained on what");
  visit("ways", model.ways, "the first is what others are compared with");
  visit("graph", model.graph, "the model as a picture shows it");
}

template <class Visitor, class T>
  requires SameAs<T, ReportData>
void fields(Visitor& visit, T& report) {
  visit.schema("parallel-opt/report/1");
  visit("title", report.title, "headline");
  visit.optional("subtitle", report.subtitle, "when and where");
  visit.optional("machine", report.machine, "facts about the machine");
  visit("models", report.models, "one per model");
  visit.optional("events", report.events, "what happened");
}

}  // namespace parallel_opt
