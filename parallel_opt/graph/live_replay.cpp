#include <algorithm>
#include <limits>

#include "parallel_opt/graph/alias.h"
#include "parallel_opt/graph/liveness_impl.h"

namespace parallel_opt {
namespace {

constexpr std::size_t kNever = std::numeric_limits<std::size_t>::max();

/// When the storages of a recorded step live; time counts its operators.
struct Record {
  std::vector<std::size_t> first;  ///< per tensor that owns a storage; kNever: none made it
  std::vector<std::size_t> last;
  std::vector<const Op*> maker;
  std::vector<bool> read_by_optimizer;
  std::vector<bool>
      literal;  ///< a number of the program's text, which only its copy makes a tensor
};

Record observe(const Graph& step, const std::vector<TensorId>& owners) {
  const std::size_t count = step.tensors.size();
  Record seen{std::vector<std::size_t>(count, kNever), std::vector<std::size_t>(count, 0),
              std::vector<const Op*>(count, nullptr), std::vector<bool>(count, false),
              std::vector<bool>(count, false)};
  std::size_t seed = kNever;
  std::size_t backward_ends = 0;
  for (std::size_t time = 0; time < step.ops.size(); ++time) {
    const Op& op = step.ops[time];
    if (op.phase == Phase::backward) backward_ends = time;
    for (const Operand& input : op.inputs) {
      if (!input.tensor.valid()) continue;
      const std::size_t owner = owners[input.tensor.index()].index();
      seen.last[owner] = time;
      if (op.phase == Phase::optimizer) seen.read_by_optimizer[owner] = true;
      if (op.target == "aten.lift_fresh_copy.default") seen.literal[owner] = true;
    }
    for (const TensorId id : op.outputs) {
      if (!id.valid()) continue;
      const std::size_t owner = owners[id.index()].index();
      seen.last[owner] = time;
      if (seen.first[owner] != kNever) continue;
      seen.first[owner] = time;
      seen.maker[owner] = &op;
      if (seed == kNever && op.phase == Phase::backward && op.target == "aten.ones_like.default") {
        seed = owner;
      }
    }
  }
  // Whoever calls the backward holds the gradient it starts from.
  if (seed != kNever) seen.last[seed] = std::max(seen.last[seed], backward_ends);
  for (const TensorId id : step.outputs) {
    if (id.valid()) seen.last[owners[id.index()].index()] = step.ops.size();
  }
  return seen;
}

MemoryKind kind_of_state(const Tensor& tensor, bool read_by_optimizer) {
  switch (tensor.role) {
    case TensorRole::parameter:
      return MemoryKind::parameters;
    case TensorRole::input:
      return MemoryKind::inputs;
    default:
      return read_by_optimizer ? MemoryKind::optimizer : MemoryKind::buffers;
  }
}

MemoryKind kind_made_in(Phase phase) {
  switch (phase) {
    case Phase::forward:
      return MemoryKind::activations;
    case Phase::backward:
      return MemoryKind::gradients;
    default:
      return MemoryKind::temporaries;
  }
}

}  // namespace

Liveness replay_live_bytes(const Graph& step) {
  const std::vector<TensorId> owners = storage_owners(step);
  const Record seen = observe(step, owners);
  const std::size_t end = step.ops.size();
  std::vector<LiveBuffer> buffers;
  for (std::size_t i = 0; i < step.tensors.size(); ++i) {
    const Tensor& tensor = step.tensors[i];
    const TensorId id(static_cast<std::int32_t>(i));
    if (owners[i] != id || tensor.tied_to.valid() || seen.literal[i]) continue;
    if (tensor.role != TensorRole::activation) {
      const MemoryKind kind = kind_of_state(tensor, seen.read_by_optimizer[i]);
      buffers.push_back({tensor.name, kind, bytes(tensor).value, 0, end});
    } else if (seen.maker[i] != nullptr) {
      const Op& op = *seen.maker[i];
      const bool left = op.phase == Phase::backward && seen.read_by_optimizer[i];
      buffers.push_back({tensor.name, kind_made_in(op.phase),
                         storage_bytes(step, op, id, bytes(tensor).value), seen.first[i],
                         left ? end : seen.last[i]});
    }
  }
  Liveness live;
  live.forward_operations =
      static_cast<std::size_t>(std::ranges::count(step.ops, Phase::forward, &Op::phase));
  live.backward_operations =
      static_cast<std::size_t>(std::ranges::count(step.ops, Phase::backward, &Op::phase));
  const std::size_t peak = sweep_buffers(buffers, end, live);
  live.peak_at = end == 0 ? "start" : step.ops[peak].name;
  return live;
}

}  // namespace parallel_opt
