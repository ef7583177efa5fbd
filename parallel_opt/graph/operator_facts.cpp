#include "parallel_opt/graph/operator_facts.h"

#include "parallel_opt/graph/alias.h"

namespace parallel_opt {
std::vector<OperatorFacts> operator_facts(const Graph& graph) {
  const std::vector<bool> needs = needs_grad(graph);
  const bool derive = !has_backward(graph);
  std::vector<TensorId> owners = storage_owners(graph);
  std::vector<bool> counted(graph.tensors.size());
  std::vector<OperatorFacts> facts;
  facts.reserve(graph.ops.size());
  for (const Op& op : graph.ops) {
    OperatorFacts one;
    one.name = op.name;
    one.target = op.target;
    one.module = op.module;
    one.phase = op.phase;
    one.runs = expected_runs(graph, op);
    const OpWork work = forward_work(graph, op);
    one.op_class = work.op_class;
    one.flops = (work.contraction + work.other) * one.runs;
    one.bytes = static_cast<double>((work.read + work.written).value) * one.runs;
    if (one.bytes > 0) one.intensity = one.flops.value / one.bytes;
    if (derive && op.phase == Phase::forward) {
      const OpWork backward = backward_work(graph, op, needs);
      one.backward_flops = (backward.contraction + backward.other) * one.runs;
      const Saved saved = saved_for_backward(graph, op, needs);
      one.saved_bytes = static_cast<double>(saved.extra.value) * one.runs;
      for (const TensorId id : saved.tensors) {
        const TensorId owner = owners[id.index()];
        if (counted[owner.index()]) continue;
        counted[owner.index()] = true;
        if (graph.tensor(owner).role == TensorRole::activation) {
          one.saved_bytes += static_cast<double>(bytes(graph.tensor(owner)).value) * one.runs;
        }
      }
    }
    facts.push_back(std::move(one));
  }
  return facts;
}

}  // namespace parallel_opt
