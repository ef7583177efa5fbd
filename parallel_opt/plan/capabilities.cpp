#include "parallel_opt/plan/capabilities.h"

#include <array>

namespace parallel_opt {
namespace {

// `pytorch` runs replicas on the devices of one node (DDP or the global view) with micro-batches
// and checkpointed blocks. Other axes have no engine yet.
constexpr std::array<Capabilities, 1> kEngines = {{
    {.target = "pytorch",
     .most =
         {.pipeline = 1, .data = kAnyDegree, .shard = 1, .context = 1, .expert = 1, .tensor = 1},
     .several_nodes = false,
     .micro_batches = true,
     .whole_blocks = true,
     .parts_of_blocks = false},
}};

}  // namespace

const Capabilities* find_capabilities(std::string_view target) {
  for (const Capabilities& engine : kEngines) {
    if (engine.target == target) return &engine;
  }
  return nullptr;
}

std::vector<std::string> known_targets() {
  std::vector<std::string> names;
  for (const Capabilities& engine : kEngines) names.emplace_back(engine.target);
  return names;
}

bool can_run(Precision precision, DeviceKind kind) {
  switch (precision) {
    case Precision::fp32:
    case Precision::bf16:
      return true;
    case Precision::fp16:
      return kind == DeviceKind::gpu;
    case Precision::fp8:
    case Precision::automatic:
      return false;
  }
  return false;
}

bool has_fused_form(Optimizer optimizer, DeviceKind) {
  switch (optimizer) {
    case Optimizer::sgd:
    case Optimizer::momentum:
    case Optimizer::adam:
    case Optimizer::adamw:
    case Optimizer::adagrad:
      return true;
    default:
      return false;
  }
}

DType dtype_of(Precision precision) {
  switch (precision) {
    case Precision::bf16:
      return DType::bf16;
    case Precision::fp16:
      return DType::fp16;
    case Precision::fp8:
      return DType::fp8_e4m3fn;
    default:
      return DType::fp32;
  }
}

}  // namespace parallel_opt
