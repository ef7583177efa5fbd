#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/base/json.h"
#include "parallel_opt/plan/communication.h"
#include "parallel_opt/plan/schedule.h"

namespace parallel_opt {

/// A run of layers whose parameters are gathered together and whose gradients are reduced together:
/// a unit of sharding, or a bucket of data parallelism.
struct LayerGroup {
  double share = 1;     ///< of the stage's compute
  double gather_s = 0;  ///< all-gather of its parameters, with nothing else on the wires
  double reduce_s = 0;  ///< reduce-scatter or all-reduce of its gradients
  std::int64_t gathered_bytes = 0;  ///< whole parameters, held from the gather to the last use
  bool operator==(const LayerGroup&) const = default;
};

/// What one stage costs per micro-batch on an undisturbed device.
struct StageWork {
  double forward_s = 0;
  double backward_input_s = 0;
  double backward_weight_s = 0;
  double recompute_s = 0;  ///< forward work done again before the backward
  /// Collectives of tensor, context and expert parallelism that compute waits for. They hide only
  /// behind the other half of an overlapped forward and backward.
  double forward_exposed_s = 0;
  double backward_exposed_s = 0;
  /// What these are. Seconds beyond them are in the pass's own: collectives that are run again with
  /// the forward, or hidden already. Less than them: nobody says what the rest is.
  std::vector<CommunicationWork> forward_moves = {};
  std::vector<CommunicationWork> backward_moves = {};
  /// Those that run beside compute, on streams of their own.
  double forward_beside_s = 0;
  double backward_beside_s = 0;
  /// What these are. Less than them: nobody says what the rest is.
  std::vector<CommunicationWork> forward_beside = {};
  std::vector<CommunicationWork> backward_beside = {};
  std::int64_t kept_bytes = 0;              ///< from the start of F until the backward is done
  std::int64_t kept_for_weights_bytes = 0;  ///< of these, what I leaves to W
  std::int64_t offloaded_bytes = 0;         ///< of these, what is copied to the host and back
  std::int64_t working_bytes = 0;           ///< while an action runs
  std::int64_t static_bytes = 0;            ///< parameters, gradients, optimizer states, buffers
  std::int64_t output_bytes = 0;            ///< boundary tensor; its gradient is as large
  std::vector<LayerGroup> groups = {};  ///< in forward order; empty: nothing to gather or reduce
  /// What their reductions are, in proportion; empty: scattered where anything is gathered, else
  /// summed.
  std::vector<CommunicationWork> reductions = {};
  double optimizer_s = 0;
  double update_gather_s = 0;  ///< after the optimizer: all-gather of updated parameters
  double late_gather_s = 0;    ///< the rest of it, beside the next step's first passes
  // Copies to the host and back, by groups where there are some, those of states by as many.
  std::int64_t fetched_bytes = 0;   ///< weights, before each pass
  std::int64_t drained_bytes = 0;   ///< gradients, behind their backward and its reduction
  std::int64_t states_bytes = 0;    ///< optimizer states: in for the step, and out again
  std::int64_t updated_bytes = 0;   ///< weights that the host's step made, to the device
  std::int64_t returned_bytes = 0;  ///< weights that the device's step made, to the host
  double host_step_s = 0;           ///< the optimizer on the host's cores, behind the device's part
  bool operator==(const StageWork&) const = default;
};

/// A way from rank to rank.
struct LinkWork {
  std::string name;
  double latency_s = 0;
  double bytes_per_s = 0;
  /// One link for all that is routed over it: n transfers at a time get 1/n of it each. Otherwise
  /// each pair of ranks and direction has one like it, which carries one message at a time.
  bool shared = false;
  bool operator==(const LinkWork&) const = default;
};

struct RouteWork {
  int from = 0;  ///< rank, counted over replicas
  int to = 0;
  int link = 0;  ///< index into `links`
  bool operator==(const RouteWork&) const = default;
};

struct DevicePower {
  double idle_w = 0;
  double busy_w = 0;           ///< while it computes: no waits for collectives
  double communication_w = 0;  ///< added while gathers and reductions run
  bool operator==(const DevicePower&) const = default;
};

enum class GatherWhen { never, once, each_pass, each_forward };
constexpr auto enum_names(GatherWhen) {
  return std::to_array<std::string_view>({"never", "once", "each_pass", "each_forward"});
}
/// Block by block, beside the passes that use them.
constexpr bool streams(GatherWhen when) {
  return when == GatherWhen::each_pass || when == GatherWhen::each_forward;
}
enum class ReduceWhen { never, last, each };
constexpr auto enum_names(ReduceWhen) {
  return std::to_array<std::string_view>({"never", "last", "each"});
}

/// Everything that a training step consists of, in seconds and bytes: the simulator's input.
/// Ranks of a pipeline are counted along it; replica r's rank k is r * ranks + k.
struct StepWork {
  std::vector<StageWork> stages;  ///< of one lane of the schedule
  int replicas = 1;
  std::vector<LinkWork> links = {};    ///< none: boundary tensors arrive at once
  std::vector<RouteWork> routes = {};  ///< pairs without one use link 0
  GatherWhen gather = GatherWhen::never;
  ReduceWhen reduce = ReduceWhen::never;
  ReduceWhen drain = ReduceWhen::last;      ///< of gradients to the host, where they go there
  int prefetch = 1;                         ///< groups gathered ahead of the one that computes
  std::optional<int> collective_link = {};  ///< the shared link that gathers and reductions occupy
  /// Of a gather and of a reduction, the share that hides behind compute; compute waits for the
  /// rest also while it has work.
  double gather_hides = 1;
  double reduce_hides = 1;
  double slowdown = 1;              ///< of compute and collectives while both run; at least 1
  bool blocking_sends = false;      ///< compute waits until a boundary tensor is sent
  bool optimizer_together = false;  ///< every rank waits for all gradients (norm clipping)
  double together_s = 0;            ///< what that meeting takes
  double host_s = 0;                ///< launching one action
  double load_s = 0;                ///< input data of one micro-batch
  int loaded_ahead = 0;             ///< micro-batches loaded before the step begins
  double copy_bytes_per_s = 0;      ///< to the host and back, each way
  std::string element;   ///< that passes exchange, as NCCL names it: "bf16"; empty: not known
  std::string gradient;  ///< that gradients are reduced in, likewise
  std::vector<double> rank_slowdown = {};  ///< >= 1 is slower; empty: 1; else one per rank
  std::vector<DevicePower> power = {};     ///< none, one for all, or one per rank
  bool operator==(const StepWork&) const = default;
};

/// Every broken rule of the work itself, and of running these schedules (one, or one per replica)
/// with it.
std::vector<Fault> check(const StepWork& work, const std::vector<Schedule>& schedules,
                         const std::string& where = "work");

}  // namespace parallel_opt
