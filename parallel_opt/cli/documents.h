#pragma once

#include <string>
#include <vector>

#include "parallel_opt/base/json.h"
#include "parallel_opt/plan/estimate.h"
#include "parallel_opt/search/explain.h"
#include "parallel_opt/simulate/simulation.h"

/// Documents that `--json` prints and that are no noun of the core.
namespace parallel_opt {

template <class Visitor, class T>
  requires SameAs<T, Fault>
void fields(Visitor& visit, T& fault) {
  visit("where", fault.where, "file and JSON path, flag or program");
  visit("what", fault.what, "what is wrong");
  visit("hint", fault.hint, "the way out; may be empty");
}

struct ErrorDocument {
  std::vector<Fault> errors;
};

template <class Visitor, class T>
  requires SameAs<T, ErrorDocument>
void fields(Visitor& visit, T& document) {
  visit.schema("parallel-opt/error/1");
  visit("errors", document.errors, "every fault found");
}

struct VersionDocument {
  std::string version;
  std::string compiler;
};

template <class Visitor, class T>
  requires SameAs<T, VersionDocument>
void fields(Visitor& visit, T& document) {
  visit.schema("parallel-opt/version/1");
  visit("version", document.version, "of parallel-opt");
  visit("compiler", document.compiler, "that built it");
}

/// What `parallel-opt schema` lists.
struct SchemasDocument {
  std::vector<std::string> nouns;
};

template <class Visitor, class T>
  requires SameAs<T, SchemasDocument>
void fields(Visitor& visit, T& document) {
  visit.schema("parallel-opt/schemas/1");
  visit("nouns", document.nouns, "documents that have a schema");
}

/// One thing that `doctor` looked at.
enum class CheckStatus { ok, warning, fault };
constexpr auto enum_names(CheckStatus) {
  return std::to_array<std::string_view>({"ok", "warning", "fault"});
}

struct Check {
  std::string name;
  CheckStatus status = CheckStatus::ok;
  std::string found;
  std::optional<std::string> costs;   ///< what is lost by it; absent: nothing
  std::optional<std::string> remedy;  ///< what to do; absent: nothing
};

template <class Visitor, class T>
  requires SameAs<T, Check>
void fields(Visitor& visit, T& check) {
  visit("name", check.name, "what was looked at");
  visit("status", check.status, "ok, warning: slower or less exact, fault: something cannot work");
  visit("found", check.found, "what is there");
  visit("costs", check.costs, "what is lost by it; absent: nothing");
  visit("remedy", check.remedy, "what to do; absent: nothing");
}

struct DoctorDocument {
  std::vector<Check> checks;
};

template <class Visitor, class T>
  requires SameAs<T, DoctorDocument>
void fields(Visitor& visit, T& document) {
  visit.schema("parallel-opt/doctor/1");
  visit("checks", document.checks, "one per part");
}

struct BundleEntry {
  std::string path;
  std::int64_t bytes = 0;
};

/// What `doctor --bundle` wrote.
struct BundleDocument {
  std::string output;
  std::vector<BundleEntry> files;
};

template <class Visitor, class T>
  requires SameAs<T, BundleEntry>
void fields(Visitor& visit, T& entry) {
  visit("path", entry.path, "below the root");
  visit("bytes", entry.bytes, "its size");
}

template <class Visitor, class T>
  requires SameAs<T, BundleDocument>
void fields(Visitor& visit, T& document) {
  visit.schema("parallel-opt/bundle/1");
  visit("output", document.output, "the archive that was written");
  visit("files", document.files, "everything in it");
}

/// What `report` wrote.
struct ReportDocument {
  std::string source;
  std::string output;
  std::int64_t bytes = 0;
};

template <class Visitor, class T>
  requires SameAs<T, ReportDocument>
void fields(Visitor& visit, T& document) {
  visit.schema("parallel-opt/report-file/1");
  visit("source", document.source, "the document it was made of");
  visit("output", document.output, "the file that was written");
  visit("bytes", document.bytes, "its size");
}

/// What `estimate` prints: the Estimate's own fields, and whether it fits.
struct EstimateDocument {
  Estimate estimate;
  std::optional<Uncertain> carbon_g;
  bool fits = true;
  double memory_limit_bytes = 0;
  std::optional<double> host_memory_bytes;
  std::optional<double> host_limit_bytes;
  int devices_used = 1;
  std::string layout;
  std::optional<std::vector<std::string>> placement;
  std::optional<std::string> assumed_network;
  std::string stack;
  std::string way_out;  ///< in text alone: what would need less memory
};

template <class Visitor, class T>
  requires SameAs<T, EstimateDocument>
void fields(Visitor& visit, T& document) {
  visit.schema("parallel-opt/estimate/1");
  fields(visit, document.estimate);
  visit("carbon_g", document.carbon_g,
        "CO2 equivalent of one step; absent: the cluster's zones do not say");
  visit("fits", document.fits,
        "the predicted peak's value is within memory_limit_bytes, and host_memory_bytes within "
        "host_limit_bytes");
  visit("memory_limit_bytes", document.memory_limit_bytes,
        "what training may use of a device, or the stated limit");
  visit("host_memory_bytes", document.host_memory_bytes,
        "of one node, what its devices offload; absent: nothing");
  visit("host_limit_bytes", document.host_limit_bytes,
        "what training may use of a node's memory; absent: not known, or nothing is offloaded");
  visit("devices_used", document.devices_used, "devices of the layout");
  visit("layout", document.layout, "in words");
  visit(
      "placement", document.placement,
      "which stage runs on which devices, or how many nodes are used, in words; absent: all are of "
      "one kind, and CPUs of one node");
  visit("assumed_network", document.assumed_network,
        "between nodes, in words; absent: the cluster states it, or the layout is in one node");
  visit("stack", document.stack, "software stack whose rules were used");
}

struct ExplainDocument {
  std::vector<Reason> reasons;
};

template <class Visitor, class T>
  requires SameAs<T, ExplainDocument>
void fields(Visitor& visit, T& document) {
  visit.schema("parallel-opt/explain/1");
  visit("reasons", document.reasons, "most important first");
}

/// What `simulate` prints.
struct SimulationDocument {
  std::string schedule;
  int micro_batches = 1;
  double step_time_s = 0;
  double pipeline_s = 0;
  double bubble_share = 0;
  std::int64_t peak_memory_bytes = 0;
  int fullest_rank = 0;
  std::int64_t events = 0;
  std::optional<double> energy_j = {};
  std::optional<std::vector<std::string>> placement = {};
  std::optional<bool> fits = {};
  std::optional<std::string> too_full = {};
  std::vector<RankUse> ranks = {};
};

template <class Visitor, class T>
  requires SameAs<T, SimulationDocument>
void fields(Visitor& visit, T& document) {
  visit.schema("parallel-opt/simulation/1");
  visit("schedule", document.schedule, "its name, or the file of its table");
  visit("micro_batches", document.micro_batches, "per step and pipeline");
  visit("step_time_s", document.step_time_s, "the whole step");
  visit("pipeline_s", document.pipeline_s, "until the last action of the schedule");
  visit("bubble_share", document.bubble_share, "idle share of the ranks' time until then");
  visit("peak_memory_bytes", document.peak_memory_bytes, "of fullest_rank");
  visit("fullest_rank", document.fullest_rank,
        "fullest of what its own device has; where that is not known, with most bytes");
  visit("events", document.events, "tasks that were simulated");
  visit("energy_j", document.energy_j, "of all devices; absent: their watts are not known");
  visit("placement", document.placement,
        "which stage runs on which devices, in words; absent: all are of one kind");
  visit("fits", document.fits, "every rank's peak in what its device has; absent: not known");
  visit("too_full", document.too_full, "the fullest rank where it does not fit, in words");
  visit("ranks", document.ranks, "over all replicas");
}

}  // namespace parallel_opt
