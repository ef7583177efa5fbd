#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/base/json.h"
#include "parallel_opt/hardware/cluster.h"

namespace parallel_opt {

/// Arithmetic of a step. `automatic` lets the search choose.
enum class Precision { automatic, fp32, bf16, fp16, fp8 };
constexpr auto enum_names(Precision) {
  return std::to_array<std::string_view>({"auto", "fp32", "bf16", "fp16", "fp8"});
}

enum class Optimizer { none, sgd, momentum, adam, adamw, adagrad, rmsprop, adafactor, lion, other };
constexpr auto enum_names(Optimizer) {
  return std::to_array<std::string_view>({"none", "sgd", "momentum", "adam", "adamw", "adagrad",
                                          "rmsprop", "adafactor", "lion", "other"});
}

enum class Objective { time, energy, money, carbon, memory, edp };
constexpr auto enum_names(Objective) {
  return std::to_array<std::string_view>({"time", "energy", "money", "carbon", "memory", "edp"});
}

enum class MemoryFormat { contiguous, channels_last };
constexpr auto enum_names(MemoryFormat) {
  return std::to_array<std::string_view>({"contiguous", "channels_last"});
}

/// How attention runs. fused: PyTorch's own kernel, which keeps no scores. unfused: two matrix
/// products around a softmax whose result is kept; faster for short sequences on CPUs, whose fused
/// backward is slow.
enum class AttentionKernel { fused, unfused };
constexpr auto enum_names(AttentionKernel) {
  return std::to_array<std::string_view>({"fused", "unfused"});
}

/// What the user fixed; absent: the search chooses.
struct Pins {
  std::optional<int> data;
  std::optional<int> tensor;
  std::optional<int> pipeline;
  std::optional<int> context;
  std::optional<int> expert;
  std::optional<DeviceKind> device;  ///< where the model lives: nothing else may run it
  std::optional<int> threads;
  std::optional<std::int64_t> micro_batch;
  std::optional<bool> compile;
  std::optional<MemoryFormat> memory_format;
  std::optional<AttentionKernel> attention;
  std::optional<bool> fused_optimizer;
  std::optional<std::string> recompute;  ///< none or full
  bool operator==(const Pins&) const = default;
};

/// How the loop gets its samples.
struct DataLoading {
  double sample_s = 0;  ///< what one worker takes to read, decode and augment one sample
  int workers = 0;      ///< processes of each data-parallel rank; 0: the loop's own
  bool operator==(const DataLoading&) const = default;
};

/// What is wanted.
struct Job {
  std::int64_t global_batch = 0;  ///< samples per optimizer step; 0: the batch of the graph
  Precision precision = Precision::automatic;
  Optimizer optimizer = Optimizer::adamw;
  Objective objective = Objective::time;
  std::optional<double>
      max_slowdown;  ///< energy objective: allowed relative loss of time, 0.05 = 5 %
  std::optional<Bytes> memory_limit_bytes;  ///< per device
  std::optional<std::int64_t>
      steps;  ///< expected steps of the run: what one-off costs are spread over
  std::string target = "pytorch";  ///< engine that will run the plan

  std::optional<DataLoading> loading;  ///< absent: samples are there when a step begins

  bool training = true;  ///< false: forward only
  Pins pins;
  bool operator==(const Job&) const = default;
};

/// Every value that no job can have, as "job.pins.data: 0 is below 1". Empty: well formed.
std::vector<Fault> check(const Job& job, const std::string& where = "job");

template <class Visitor, class T>
  requires SameAs<T, Pins>
void fields(Visitor& visit, T& pins) {
  visit("data", pins.data, "data-parallel ranks");
  visit("tensor", pins.tensor, "tensor-parallel degree");
  visit("pipeline", pins.pipeline, "pipeline stages");
  visit("context", pins.context, "context-parallel degree");
  visit("expert", pins.expert, "expert-parallel degree");
  visit("device", pins.device, "kind of device that the model lives on");
  visit("threads", pins.threads, "CPU threads per rank");
  visit("micro_batch", pins.micro_batch, "samples per micro-batch and rank");
  visit("compile", pins.compile, "torch.compile on or off");
  visit("memory_format", pins.memory_format, "layout of image tensors");
  visit("attention", pins.attention, "how attention runs");
  visit("fused_optimizer", pins.fused_optimizer, "one kernel per optimizer step");
  visit("recompute", pins.recompute, "none or full");
}

template <class Visitor, class T>
  requires SameAs<T, DataLoading>
void fields(Visitor& visit, T& loading) {
  visit("sample_s", loading.sample_s, "what one worker takes per sample");
  visit.optional("workers", loading.workers, "processes per data-parallel rank; 0: the loop's own");
}

template <class Visitor, class T>
  requires SameAs<T, Job>
void fields(Visitor& visit, T& job) {
  visit.schema("parallel-opt/job/1");
  visit("global_batch", job.global_batch, "samples per optimizer step; 0: the batch of the graph");
  visit.optional("precision", job.precision, "arithmetic; auto lets the search choose");
  visit.optional("optimizer", job.optimizer, "decides state bytes and step cost");
  visit.optional("objective", job.objective, "what is minimised");
  visit("max_slowdown", job.max_slowdown, "allowed relative loss of time for other objectives");
  visit("memory_limit_bytes", job.memory_limit_bytes, "per device");
  visit("steps", job.steps, "expected steps of the run");
  visit.optional("target", job.target, "engine that will run the plan");
  visit("loading", job.loading, "how the loop gets its samples");
  visit.optional("training", job.training, "false: forward only");
  visit.optional("pins", job.pins, "what the user fixed");
}

}  // namespace parallel_opt
