#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/report/run_record.h"

namespace parallel_opt {

/// Median with the 10th and 90th percentile of repeated measurements.
struct Spread {
  double median = 0;
  double low = 0;
  double high = 0;
  bool operator==(const Spread&) const = default;
};

/// What the demo ran on.
struct DemoMachine {
  std::string date;  ///< ISO 8601
  std::string cpu;
  int cores = 1;  ///< logical cores that may be used
  double memory_bytes = 0;
  std::vector<std::string> devices;
  std::string python;
  std::string torch;
  int threads = 1;
  bool operator==(const DemoMachine&) const = default;
};

struct DemoPrediction {
  double step_s = 0;
  double peak_bytes = 0;
  bool operator==(const DemoPrediction&) const = default;
};

/// (predicted - measured) / measured
struct DemoError {
  double step = 0;
  double peak = 0;
  bool operator==(const DemoError&) const = default;
};

/// One way of training one model.
struct DemoWay {
  Spread step_s;
  double samples_per_s = 0;
  double peak_bytes = 0;  ///< allocator's peak
  std::optional<double> rss_bytes;
  double cpu_share = 0;  ///< CPU time / (wall time x usable cores)
  std::optional<double> energy_j;
  Quality energy_quality = Quality::unavailable;
  std::vector<std::optional<double>> losses;  ///< per step; null: not finite
  std::optional<double> final_loss;           ///< absent: not finite
  std::optional<double> held_out_loss;
  std::string plan;
  std::vector<std::string> reasons;
  std::vector<std::string> notes;
  std::optional<DemoPrediction> predicted;  ///< the plan's, its trials included
  std::optional<DemoError> error;
  std::optional<DemoPrediction> modelled;  ///< the cost model's alone, before any trial
  std::optional<DemoError> modelled_error;
  std::optional<Estimate> estimate;  ///< the whole prediction, with intervals and items
  std::optional<double> probing_s;   ///< planning in all, once
  std::optional<double> break_even_steps;
  std::vector<Considered> candidates;
  std::optional<Timeline> timeline;
  bool operator==(const DemoWay&) const = default;
};

/// Do the losses equal plain PyTorch's? Largest relative differences.
struct Agreement {
  std::optional<double> training;  ///< absent: a loss is not finite
  std::optional<double> held_out;
  double tolerance = 0;
  bool agrees = false;
  bool operator==(const Agreement&) const = default;
};

struct DemoRatios {
  Spread fp32;
  Spread automatic;
  bool operator==(const DemoRatios&) const = default;
};

struct DemoAgreements {
  Agreement fp32;
  Agreement automatic;
  bool operator==(const DemoAgreements&) const = default;
};

struct DemoModel {
  std::string name;
  std::string title;
  DemoWay plain;
  DemoWay fp32;
  DemoWay automatic;
  DemoRatios ratio;  ///< samples/s against plain, over interleaved rounds
  std::optional<DemoAgreements> agreement;
  std::optional<GraphView> graph;
  bool operator==(const DemoModel&) const = default;
};

/// What `parallel-opt demo --json` prints.
struct DemoDocument {
  DemoMachine machine;
  std::vector<DemoModel> models;
  bool operator==(const DemoDocument&) const = default;
};

template <class Visitor, class T>
  requires SameAs<T, Spread>
void fields(Visitor& visit, T& spread) {
  visit("median", spread.median, "of repeated measurements");
  visit("low", spread.low, "10th percentile");
  visit("high", spread.high, "90th percentile");
}

template <class Visitor, class T>
  requires SameAs<T, DemoMachine>
void fields(Visitor& visit, T& machine) {
  visit("date", machine.date, "day of the run");
  visit("cpu", machine.cpu, "processor");
  visit("cores", machine.cores, "logical cores that may be used");
  visit("memory_bytes", machine.memory_bytes, "memory that may be used");
  visit("devices", machine.devices, "what runs operators");
  visit("python", machine.python, "version");
  visit("torch", machine.torch, "version");
  visit("threads", machine.threads, "PyTorch's threads in one process");
}

template <class Visitor, class T>
  requires SameAs<T, DemoPrediction>
void fields(Visitor& visit, T& predicted) {
  visit("step_s", predicted.step_s, "seconds per step");
  visit("peak_bytes", predicted.peak_bytes, "peak memory");
}

template <class Visitor, class T>
  requires SameAs<T, DemoError>
void fields(Visitor& visit, T& error) {
  visit("step", error.step, "(predicted - measured) / measured step time");
  visit("peak", error.peak, "(predicted - measured) / measured peak memory");
}

template <class Visitor, class T>
  requires SameAs<T, DemoWay>
void fields(Visitor& visit, T& way) {
  visit("step_s", way.step_s, "seconds per step");
  visit("samples_per_s", way.samples_per_s, "batch over median step time");
  visit("peak_bytes", way.peak_bytes, "allocator's peak over all ranks");
  visit("rss_bytes", way.rss_bytes, "peak of the whole process");
  visit("cpu_share", way.cpu_share, "CPU time over wall time and usable cores");
  visit("energy_j", way.energy_j, "joules per step");
  visit("energy_quality", way.energy_quality, "how the energy was obtained");
  visit("losses", way.losses, "training loss per step; null: not finite");
  visit("final_loss", way.final_loss, "last training loss; absent: not finite");
  visit("held_out_loss", way.held_out_loss, "loss on data that was not trained on");
  visit("plan", way.plan, "the plan in one line");
  visit.optional("reasons", way.reasons, "why this plan");
  visit.optional("notes", way.notes, "fallbacks and degraded features");
  visit("predicted", way.predicted, "by the plan: what its trials measured, or the cost model");
  visit("error", way.error, "of the prediction, relative");
  visit("modelled", way.modelled, "by the cost model alone, before any trial");
  visit("modelled_error", way.modelled_error, "of the cost model alone, relative");
  visit("estimate", way.estimate, "the whole prediction");
  visit("probing_s", way.probing_s, "seconds that planning took, once");
  visit("break_even_steps", way.break_even_steps, "steps until planning is won back");
  visit.optional("candidates", way.candidates, "plans that were considered");
  visit("timeline", way.timeline, "a few measured steps");
}

template <class Visitor, class T>
  requires SameAs<T, Agreement>
void fields(Visitor& visit, T& agreement) {
  visit("training", agreement.training, "largest relative difference of training losses");
  visit("held_out", agreement.held_out, "relative difference of held-out losses");
  visit("tolerance", agreement.tolerance, "largest difference that counts as agreement");
  visit("agrees", agreement.agrees, "both are within the tolerance");
}

template <class Visitor, class T>
  requires SameAs<T, DemoRatios>
void fields(Visitor& visit, T& ratio) {
  visit("fp32", ratio.fp32, "samples/s of fp32 over plain");
  visit("auto", ratio.automatic, "samples/s of auto over plain");
}

template <class Visitor, class T>
  requires SameAs<T, DemoAgreements>
void fields(Visitor& visit, T& agreement) {
  visit("fp32", agreement.fp32, "fp32 against plain");
  visit("auto", agreement.automatic, "auto against plain");
}

template <class Visitor, class T>
  requires SameAs<T, DemoModel>
void fields(Visitor& visit, T& model) {
  visit("name", model.name, "short name");
  visit.optional("title", model.title, "what is trained on what");
  visit("plain", model.plain, "PyTorch as its users write it");
  visit("fp32", model.fp32, "the same loop, precision pinned");
  visit("auto", model.automatic, "the same loop, nothing pinned");
  visit("ratio", model.ratio, "samples/s against plain over the interleaved rounds");
  visit("agreement", model.agreement, "do the losses equal plain PyTorch's?");
  visit("graph", model.graph, "the model as a picture shows it");
}

template <class Visitor, class T>
  requires SameAs<T, DemoDocument>
void fields(Visitor& visit, T& document) {
  visit.schema("parallel-opt/demo/1");
  visit("machine", document.machine, "what the demo ran on");
  visit("models", document.models, "one per model");
}

}  // namespace parallel_opt
