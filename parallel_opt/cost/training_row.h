#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "parallel_opt/plan/estimate.h"

namespace parallel_opt {

/// One published measurement of a training configuration: the columns of training.csv, memory.csv
/// and infeasible.csv (docs/accuracy.md). Blank cells are absent.
struct TrainingRow {
  std::string id;
  std::string source;  ///< prefix of the id: "nano", "vtrain", ...
  std::string gpu, gpu_family, interconnect, framework, workload, model_name, dtype;
  std::string fsdp_zero, sequence_parallel, recompute, notes;
  std::optional<double> gpus, gpus_per_node, params_b;
  std::optional<double> layers, hidden, heads, kv_heads, ffn_hidden, vocab, seq_len, experts, topk;
  std::optional<double> tp, pp, vp, cp, ep, dp;
  std::optional<double> micro_batch, grad_accum, global_batch;
  std::optional<double> iteration_s;        ///< from the time, else tokens/s or samples/s
  std::optional<double> peak_memory_bytes;  ///< `memory_unit` applied
};

/// What the cost model says of a row.
struct RowPrediction {
  Uncertain step_time_s;
  Uncertain peak_memory_bytes;
  double capacity_bytes = 0;  ///< of the device, as far as training may use it
  bool fits = true;           ///< the high end of the memory interval decides
};

/// A prediction, or why the row cannot be expressed.
using RowAnswer = std::variant<RowPrediction, std::string>;

/// Builds model, cluster and layout of the row and predicts it.
RowAnswer predict(const TrainingRow& row);

}  // namespace parallel_opt
