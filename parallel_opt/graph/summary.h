#pragma once

#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/base/json.h"
#include "parallel_opt/graph/blocks.h"
#include "parallel_opt/graph/graph.h"

namespace parallel_opt {

struct InputSummary {
  std::string name;
  std::vector<std::int64_t> shape;
  DType dtype = DType::fp32;
  bool operator==(const InputSummary&) const = default;
};

/// FLOPs of one step's halves.
struct StepFlops {
  Flops forward;
  Flops backward;
  bool operator==(const StepFlops&) const = default;
};

/// Where a recorded step holds most.
struct LivePeak {
  Bytes bytes;
  std::string at;  ///< name of the operator that runs then
  bool operator==(const LivePeak&) const = default;
};

/// An operator that the table does not know: counted, never dropped.
struct OpaqueSummary {
  std::string operator_name;
  std::int64_t count = 0;
  double flops_share = 0;  ///< of flops_all, from the lower bound of one per element written
  bool operator==(const OpaqueSummary&) const = default;
};

/// What `parallel-opt graph` prints: one look at a model.
struct GraphSummary {
  std::string name;
  std::string source;
  std::int64_t operators = 0;  ///< views and arithmetic on sizes included
  std::int64_t tensors = 0;
  std::int64_t parameters = 0;  ///< elements; tied ones once
  std::int64_t trainable_parameters = 0;
  Bytes parameter_bytes;
  Bytes buffer_bytes;
  std::vector<InputSummary> inputs;
  StepFlops flops;      ///< contractions, convolutions, attention; 2 per multiply-add
  StepFlops flops_all;  ///< and everything else
  Bytes saved_bytes;
  /// Of a step recorded with its backward: `replay_live_bytes` (graph/liveness.h).
  std::optional<LivePeak> live_peak;
  Flops critical_path_flops;  ///< of the forward: the costliest chain of dependent operators
  std::vector<Block> blocks;
  std::vector<OpaqueSummary> opaque;
  std::vector<std::string> notes;  ///< what the importer could not express
  bool operator==(const GraphSummary&) const = default;
};

/// Linear in operators. Pre: `check(graph)` is empty.
GraphSummary summarize(const Graph& graph);

template <class Visitor, class T>
  requires SameAs<T, InputSummary>
void fields(Visitor& visit, T& input) {
  visit("name", input.name, "as the model's forward calls it");
  visit("shape", input.shape, "sizes bound");
  visit("dtype", input.dtype, "element type");
}

template <class Visitor, class T>
  requires SameAs<T, StepFlops>
void fields(Visitor& visit, T& flops) {
  visit("forward", flops.forward, "floating-point operations of one forward");
  visit("backward", flops.backward, "of the gradients that are needed");
}

template <class Visitor, class T>
  requires SameAs<T, LivePeak>
void fields(Visitor& visit, T& peak) {
  visit("bytes", peak.bytes, "parameters, buffers, inputs and optimizer states included");
  visit("at", peak.at, "name of the operator that runs then");
}

template <class Visitor, class T>
  requires SameAs<T, OpaqueSummary>
void fields(Visitor& visit, T& opaque) {
  visit("operator", opaque.operator_name, "target without a row in the operator table");
  visit("count", opaque.count, "calls");
  visit("flops_share", opaque.flops_share, "lower bound of its share of flops_all");
}

template <class Visitor, class T>
  requires SameAs<T, GraphSummary>
void fields(Visitor& visit, T& s) {
  visit.schema("parallel-opt/graph-summary/1");
  visit("name", s.name, "name of the model");
  visit("source", s.source, "where the graph comes from");
  visit("operators", s.operators, "operators in execution order, views included");
  visit("tensors", s.tensors, "inputs, parameters, buffers and results");
  visit("parameters", s.parameters, "elements; tied parameters count once");
  visit("trainable_parameters", s.trainable_parameters, "of these, with a gradient");
  visit("parameter_bytes", s.parameter_bytes, "tied parameters count once");
  visit("buffer_bytes", s.buffer_bytes, "running statistics, masks, positions");
  visit("inputs", s.inputs, "what the caller passes, in call order");
  visit("flops", s.flops, "contractions, convolutions and attention, 2 per multiply-add");
  visit("flops_all", s.flops_all, "and every other operator");
  visit("saved_bytes", s.saved_bytes,
        "kept by the forward for the backward; what was observed, where it was");
  visit.optional("live_peak", s.live_peak,
                 "where a step that was recorded with its backward holds most");
  visit("critical_path_flops", s.critical_path_flops,
        "forward: the costliest chain of dependent operators");
  visit("blocks", s.blocks, "repeated parts, largest share of operators first");
  visit("opaque", s.opaque, "operators that the table does not know");
  visit.optional("notes", s.notes, "what the importer could not express");
}

}  // namespace parallel_opt
