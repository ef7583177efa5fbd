#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/graph/analysis_fields.h"
#include "parallel_opt/graph/batch_dim.h"
#include "parallel_opt/graph/liveness.h"
#include "parallel_opt/graph/op_table.h"
#include "parallel_opt/graph/split_cost.h"
#include "parallel_opt/graph/summary.h"
#include "parallel_opt/graph/work.h"
#include "python/bindings/bind_fields.h"

namespace parallel_opt::bindings {
namespace {

using namespace nb::literals;

std::map<std::string, std::int64_t> bytes_by_kind(const Liveness& live) {
  std::map<std::string, std::int64_t> result;
  for (std::size_t i = 0; i < kMemoryKinds; ++i) {
    result[std::string(name_of(static_cast<MemoryKind>(i)))] = live.at_peak[i].value;
  }
  return result;
}

void bind_liveness(nb::module_& m) {
  nb::class_<Liveness>(m, "Liveness", "Live bytes over one step of a fixed order.")
      .def_prop_ro("peak_bytes", [](const Liveness& l) { return l.peak.value; })
      .def_ro("peak_at", &Liveness::peak_at, "\"backward of linear_3\".")
      .def_prop_ro("bytes_by_kind", &bytes_by_kind, "What lives at the peak.")
      .def_prop_ro(
          "curve_bytes",
          [](const Liveness& l) {
            std::vector<std::int64_t> curve;
            curve.reserve(l.curve.size());
            for (const Bytes b : l.curve) curve.push_back(b.value);
            return curve;
          },
          "During each operation: forward, backward, one per updated parameter; of a replay, "
          "during each operator.");
  m.def(
      "live_bytes",
      [](const Graph& graph, double optimizer_states, double optimizer_temporaries,
         bool optimizer_stepped, bool gradients_before, bool training, const std::string& compute,
         std::vector<std::string> recompute) {
        StepOptions options;
        options.training = training;
        options.optimizer_states = optimizer_states;
        options.optimizer_temporaries = optimizer_temporaries;
        options.optimizer_stepped = optimizer_stepped;
        options.gradients_before = gradients_before;
        const std::optional<DType> dtype = enum_from<DType>(compute);
        if (!dtype) throw nb::value_error(("unknown dtype '" + compute + "'").c_str());
        options.compute = *dtype;
        options.recompute = std::move(recompute);
        return live_bytes(graph, options);
      },
      "graph"_a, nb::kw_only(), "optimizer_states"_a = 2.0, "optimizer_temporaries"_a = 2.0,
      "optimizer_stepped"_a = true, "gradients_before"_a = false, "training"_a = true,
      "compute"_a = "fp32", "recompute"_a = std::vector<std::string>(),
      "Live bytes of one training step; the defaults are AdamW's, not fused.");
  m.def("replay_live_bytes", &replay_live_bytes, "step"_a,
        "Live bytes of a step recorded with its backward, operator by operator as recorded.");
}

nb::list axes_of(const std::vector<std::vector<int>>& tensors) {
  nb::list list;
  for (const std::vector<int>& axes : tensors) list.append(nb::cast(axes));
  return list;
}

/// One operator as the table sees it.
nb::dict describe_operator(const Graph& graph, std::size_t index) {
  if (index >= graph.ops.size()) throw nb::index_error("no such operator");
  const Op& op = graph.ops[index];
  const IterationSpace space = iteration_space(graph, op);
  const std::vector<SplitCost> costs = split_costs(graph, op, space);
  nb::list dims;
  for (std::size_t i = 0; i < space.dims.size(); ++i) {
    const IterationDim& dim = space.dims[i];
    dims.append(nb::make_tuple(dim.name, dim.size, std::string(name_of(dim.role)),
                               std::string(name_of(costs[i]))));
  }
  const std::vector<bool> needs = needs_grad(graph);
  const OpWork forward = forward_work(graph, op), backward = backward_work(graph, op, needs);
  nb::dict result;
  result["class"] = std::string(name_of(forward.op_class));
  result["dims"] = dims;
  result["operands"] = axes_of(space.operands);
  result["results"] = axes_of(space.results);
  result["flops"] = nb::make_tuple(forward.contraction.value, backward.contraction.value);
  result["other_flops"] = nb::make_tuple(forward.other.value, backward.other.value);
  result["read_bytes"] = forward.read.value;
  result["written_bytes"] = forward.written.value;
  return result;
}

void bind_graph_analysis(nb::module_& m) {
  bind_struct<PathSummary>(m, "PathSummary", "The heaviest chain of dependent operators.");
  bind_struct<WidthLevel>(m, "WidthLevel", "Operators that may run at the same time.");
  bind_struct<WidthSummary>(m, "WidthSummary", "How many operators may run at once, by depth.");
  bind_struct<BranchSummary>(m, "BranchSummary", "One of several independent branches.");
  bind_struct<BranchesSummary>(m, "BranchesSummary", "Branches of one fork, or of several alike.");
  bind_struct<ClassSummary>(m, "ClassSummary", "Operators of one family.");
  bind_struct<BlockSummary>(m, "BlockSummary", "A repeated part, and what it stands in.");
  bind_struct<CutSummary>(m, "CutSummary", "A place where few bytes cross.");
  bind_struct<OperatorFacts>(m, "OperatorFacts", "One operator as a machine sees it.");
  bind_struct<GraphAnalysis>(m, "GraphAnalysis", "How much of a model may run at once.");
  m.def(
      "analyze", [](const Graph& graph, bool operators) { return analyze(graph, {operators}); },
      "graph"_a, nb::kw_only(), "operators"_a = false, nb::call_guard<nb::gil_scoped_release>(),
      "Critical path, parallel width, independent branches, intensity, blocks and cut points.");
}

}  // namespace

void bind_analysis(nb::module_& m) {
  bind_struct<BlockInstance>(m, "BlockInstance", "One occurrence of a repeated block.");
  bind_struct<Block>(m, "Block", "A part of the model that occurs several times.");
  bind_struct<InputSummary>(m, "InputSummary", "A tensor that the caller passes.");
  bind_struct<StepFlops>(m, "StepFlops", "FLOPs of one step's halves.");
  bind_struct<OpaqueSummary>(m, "OpaqueSummary", "An operator that the table does not know.");
  bind_struct<LivePeak>(m, "LivePeak", "Where a recorded step holds most.");
  bind_struct<GraphSummary>(m, "GraphSummary", "One look at a model.");
  bind_graph_analysis(m);
  m.def("summarize", &summarize, "graph"_a, nb::call_guard<nb::gil_scoped_release>(),
        "Count operators, FLOPs, bytes, repeated blocks and unknown operators.");
  m.def(
      "mixing_operators",
      [](const Graph& graph) {
        const BatchDims batch = find_batch(graph);
        std::vector<std::string> names;
        names.reserve(batch.mixing.size() + batch.unknown.size());
        for (const OpId id : batch.mixing) names.push_back(graph.op(id).name);
        for (const OpId id : batch.unknown) names.push_back(graph.op(id).name);
        return names;
      },
      "graph"_a, "Operators that mix the samples of a batch, or may: it cannot be cut unchanged.");
  m.def("describe_operator", &describe_operator, "graph"_a, "index"_a,
        nb::sig("def describe_operator(graph: Graph, index: int) -> dict[str, object]"),
        "One operator as the table sees it: class; dims (name, size, role, what a split along it "
        "asks of the parts); which dim indexes each axis of operands and results; FLOPs of forward "
        "and backward; bytes.");
  m.def(
      "known_operators",
      [] {
        std::vector<std::string> targets;
        for (const OpRow& row : op_rows()) targets.emplace_back(row.target);
        return targets;
      },
      "Targets of the operator table, without overloads.");
  m.def(
      "knows_operator", [](const std::string& target) { return find_row(target) != nullptr; },
      "target"_a, "Has the operator table a row for \"aten.add_.Tensor\"?");
  bind_liveness(m);
}

}  // namespace parallel_opt::bindings
