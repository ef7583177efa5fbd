#include "parallel_opt/graph/summary.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "parallel_opt/graph/liveness.h"
#include "parallel_opt/graph/work.h"

namespace parallel_opt {
namespace {

struct OpaqueCount {
  std::int64_t count = 0;
  double flops = 0;
};

std::vector<OpaqueSummary> opaque_list(const std::map<std::string, OpaqueCount>& counts,
                                       double all_flops) {
  std::vector<OpaqueSummary> list;
  list.reserve(counts.size());
  for (const auto& [target, counted] : counts) {
    list.push_back({target, counted.count, all_flops > 0 ? counted.flops / all_flops : 0});
  }
  std::stable_sort(list.begin(), list.end(), [](const OpaqueSummary& a, const OpaqueSummary& b) {
    return a.flops_share > b.flops_share;
  });
  return list;
}

/// What two module names begin with alike, part by part.
std::string common_module(const std::string& a, const std::string& b) {
  std::size_t end = 0;
  for (std::size_t i = 0; i <= std::min(a.size(), b.size()); ++i) {
    const bool a_ends = i == a.size() || a[i] == '.', b_ends = i == b.size() || b[i] == '.';
    if (a_ends && b_ends) end = i;
    if (i == a.size() || i == b.size() || a[i] != b[i]) break;
  }
  return a.substr(0, end);
}

/// Loops whose body multiplies: layers that a scan runs one behind another.
void add_loops(const Graph& graph, std::vector<Block>& blocks) {
  std::vector<BlockInstance> bodies(graph.regions.size());
  std::vector<bool> multiplies(graph.regions.size(), false);
  for (std::size_t k = 0; k < graph.ops.size(); ++k) {
    const Op& op = graph.ops[k];
    if (!op.region.valid()) continue;
    const bool product = forward_work(graph, op).contraction.value > 0;
    for (RegionId at = op.region; at.valid(); at = graph.region(at).parent) {
      BlockInstance& body = bodies[at.index()];
      body.module = body.ops.empty() ? op.module : common_module(body.module, op.module);
      body.ops.push_back(OpId(k));
      if (product) multiplies[at.index()] = true;
    }
  }
  for (std::size_t i = 0; i < bodies.size(); ++i) {
    const Region& loop = graph.regions[i];
    if (loop.kind != RegionKind::loop || !(loop.runs > 1) || !multiplies[i]) continue;
    if (bodies[i].module.empty()) bodies[i].module = loop.name;
    Block block;
    block.name = bodies[i].module;
    block.repeats = std::llround(loop.runs);
    block.operators = static_cast<std::int64_t>(bodies[i].ops.size());
    block.instances.push_back(std::move(bodies[i]));
    blocks.push_back(std::move(block));
  }
}

LivePeak replayed_peak(const Graph& step) {
  const Liveness live = replay_live_bytes(step);
  return {live.peak, live.peak_at};
}

}  // namespace

GraphSummary summarize(const Graph& graph) {
  GraphSummary summary;
  summary.name = graph.name;
  summary.source = graph.source;
  summary.operators = static_cast<std::int64_t>(graph.ops.size());
  summary.tensors = static_cast<std::int64_t>(graph.tensors.size());
  const ParameterCount parameters = count_parameters(graph);
  summary.parameters = parameters.parameters;
  summary.trainable_parameters = parameters.trainable;
  summary.parameter_bytes = parameters.parameter_bytes;
  summary.buffer_bytes = parameters.buffer_bytes;
  for (const TensorId id : graph.inputs) {
    const Tensor& input = graph.tensor(id);
    InputSummary line{input.name, {}, input.dtype};
    for (const Dim& dim : input.shape) line.shape.push_back(dim.size);
    summary.inputs.push_back(std::move(line));
  }
  const std::vector<bool> needs = needs_grad(graph);
  std::map<std::string, OpaqueCount> opaque;
  std::vector<double> path(graph.tensors.size(), 0);  // FLOPs of the costliest chain to a tensor
  // A step that was traced with its backward needs none derived.
  const bool recorded = has_backward(graph);
  for (const Op& op : graph.ops) {
    if (op.phase == Phase::optimizer) continue;
    const double runs = expected_runs(graph, op);
    const bool is_forward = op.phase == Phase::forward;
    const OpWork forward = is_forward ? forward_work(graph, op) : OpWork();
    OpWork backward = is_forward ? OpWork() : forward_work(graph, op);
    if (!recorded) backward = backward_work(graph, op, needs);
    if (recorded && is_forward && is_recomputed(op)) backward = forward;
    const Flops all = (forward.contraction + forward.other) * runs;
    const Flops all_backward = (backward.contraction + backward.other) * runs;
    summary.flops.forward += forward.contraction * runs;
    summary.flops.backward += backward.contraction * runs;
    summary.flops_all.forward += all;
    summary.flops_all.backward += all_backward;
    if ((is_forward ? forward : backward).op_class == OpClass::opaque) {
      OpaqueCount& counted = opaque[op.target];
      ++counted.count;
      counted.flops += all.value + all_backward.value;
    }
    if (!is_forward) continue;
    double longest = 0;
    for (const Operand& input : op.inputs) {
      if (input.tensor.valid()) longest = std::max(longest, path[input.tensor.index()]);
    }
    for (const TensorId id : op.outputs) {
      if (id.valid()) path[id.index()] = longest + all.value;
    }
    summary.critical_path_flops =
        Flops(std::max(summary.critical_path_flops.value, longest + all.value));
  }
  summary.saved_bytes = graph.observed_saved_bytes.value_or(saved_bytes(graph));
  if (recorded) summary.live_peak = replayed_peak(graph);
  summary.blocks = find_blocks(graph);
  add_loops(graph, summary.blocks);
  summary.opaque =
      opaque_list(opaque, summary.flops_all.forward.value + summary.flops_all.backward.value);
  summary.notes = graph.notes;
  return summary;
}

}  // namespace parallel_opt
