#pragma once

#include <string_view>
#include <vector>

#include "parallel_opt/hardware/cluster.h"
#include "parallel_opt/plan/plan.h"

namespace parallel_opt {

/// What an engine can run. A search with `Job::target` never leaves this set and `validate` names
/// what lies outside it.
struct Capabilities {
  std::string_view target;       ///< name, as in `--target`
  Mesh most;                     ///< highest degree per mesh axis; kAnyDegree: no limit
  bool several_nodes = false;    ///< ranks on more than one node
  bool micro_batches = false;    ///< more than one micro-batch per step
  bool whole_blocks = false;     ///< recompute of whole blocks
  bool parts_of_blocks = false;  ///< recompute of chosen parts of a block
};

inline constexpr int kAnyDegree = 1 << 20;

/// The engine of that name; nullptr when there is none.
const Capabilities* find_capabilities(std::string_view target);
/// Names of all engines.
std::vector<std::string> known_targets();

/// Arithmetic that the engine runs on this kind of device: fp16 needs a GPU (CPU kernels for it
/// are partial and slow), fp8 has no engine yet.
bool can_run(Precision precision, DeviceKind kind);

/// Does PyTorch have a one-kernel (`fused=True`) form of this optimizer on this kind of device?
/// Source: torch.optim of 2.9 to 2.13, docs/references.md [pytorch-optim].
bool has_fused_form(Optimizer optimizer, DeviceKind kind);

/// The engine word for a precision that a plan states; pre: not automatic.
DType dtype_of(Precision precision);

}  // namespace parallel_opt
