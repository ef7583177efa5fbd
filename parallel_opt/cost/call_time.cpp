#include "parallel_opt/cost/call_time.h"

#include <algorithm>

#include "parallel_opt/cost/parameters.h"
#include "parallel_opt/graph/work.h"

namespace parallel_opt {
namespace {

/// An exponential counts as 10 FLOPs or more, read and written once in fp32: 8 bytes, 12 with the
/// gradient. Sums and comparisons stay below 0.2.
constexpr double kHeavyFlopsPerByte = 0.7;

bool is_low(const Graph& graph, const Op& op) {
  if (op.outputs.empty() || !op.outputs.front().valid()) return false;
  const DType dtype = graph.tensor(op.outputs.front()).dtype;
  return dtype == DType::bf16 || dtype == DType::fp16;
}

/// The low precision that the graph is written in.
DType low_of(const Graph& graph) {
  const bool half = std::ranges::any_of(
      graph.tensors, [](const Tensor& tensor) { return tensor.dtype == DType::fp16; });
  return half ? DType::fp16 : DType::bf16;
}

double seconds_of(const Op& op, const OpWork& work, const RankRates& rates, bool backward,
                  bool low) {
  if (work.kernels <= 0) return 0;
  const double calls = work.kernels;
  Work entry;
  entry.op_class = work.op_class;
  entry.backward = backward;
  entry.heavy = is_heavy(work);
  entry.by_channel = is_by_channel(op);
  entry.low = low;
  const double flops =
      is_arithmetic(work.op_class) ? (work.contraction + work.recomputed).value : 0;
  entry.flops = {flops / calls, 0};
  entry.bytes = {double((work.read + work.written).value) / calls, 0};
  return calls * call_time(entry, rates, 1, false).total();
}

}  // namespace

bool is_heavy(const OpWork& work) {
  const double bytes = double((work.read + work.written).value);
  return work.op_class == OpClass::elementwise && work.other.value >= kHeavyFlopsPerByte * bytes;
}

bool is_by_channel(const Op& op) {
  return op.target.find("batch_norm") != std::string::npos ||
         op.target.find("instance_norm") != std::string::npos;
}

CallTime call_time(const Work& work, const RankRates& rates, double samples, bool channels_last) {
  const Kernel kernel = kernel_of(work.op_class, work.backward, channels_last);
  CallTime time;
  const double flops = work.flops.at(samples), bytes = work.bytes.at(samples);
  const double arithmetic = flops > 0 ? flops / rates.arithmetic(kernel, work.low).at(flops) : 0;
  const double memory =
      bytes > 0
          ? bytes / rates.bytes(work.op_class, work.heavy, work.by_channel, work.backward).at(bytes)
          : 0;
  time.arithmetic_bound = arithmetic > memory;
  time.kernel_s = std::max(arithmetic, memory);
  const double launch = work.launches * rates.launch_s;
  // A GPU works while the host prepares the next call; a CPU thread does both in turn.
  time.host_s = rates.overlaps_launch ? std::max(0.0, launch - time.kernel_s) : launch;
  return time;
}

OperatorTimes operator_times(const Graph& graph, const Device& device) {
  const int threads = std::max(1, int(device.cores.size()));
  const RankRates rates = rank_rates(device, threads, 1, low_of(graph));
  const std::vector<bool> needs = needs_grad(graph);
  const bool recorded =
      std::ranges::any_of(graph.ops, [](const Op& op) { return op.phase == Phase::backward; });
  OperatorTimes times;
  times.quality = rates.quality;
  times.seconds.reserve(graph.ops.size());
  for (const Op& op : graph.ops) {
    const bool low = is_low(graph, op);
    double seconds =
        seconds_of(op, forward_work(graph, op), rates, op.phase == Phase::backward, low);
    if (op.phase == Phase::forward && !recorded) {
      seconds += seconds_of(op, backward_work(graph, op, needs), rates, true, low);
    }
    times.seconds.push_back(seconds * expected_runs(graph, op));
  }
  return times;
}

}  // namespace parallel_opt
