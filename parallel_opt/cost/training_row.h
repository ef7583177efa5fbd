#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "parallel_opt/cost/taken_run.h"
#include "parallel_opt/plan/estimate.h"

namespace parallel_opt {

/// One published measurement of a training configuration: the columns of training.csv, memory.csv
/// and infeasible.csv (docs/accuracy.md). Blank cells are absent.
struct TrainingRow {
  std::string id;
  std::string source;  ///< prefix of the id: "nano", "vtrain", ...
  std::string gpu, gpu_family, interconnect, framework, workload, model_name, dtype;
  std::string fsdp_zero, sequence_parallel, recompute, offload, schedule, notes;
  std::optional<double> gpus, gpus_per_node, params_b;
  std::optional<double> layers, hidden, heads, kv_heads, ffn_hidden, vocab, seq_len, experts, topk;
  std::optional<double> tp, pp, vp, cp, ep, etp, dp;
  std::optional<double> micro_batch, grad_accum, global_batch;
  std::optional<double> iteration_s;        ///< from the time, else tokens/s or samples/s
  std::optional<double> peak_memory_bytes;  ///< `memory_unit` applied
  /// Where no time is stated: of one device, as FLOP/s or as a share of its peak.
  std::optional<double> flops_per_s, peak_share;
  bool counts_recompute = false;  ///< those count what is computed again
  bool failed = false;            ///< nothing shows that its devices held it
};

/// What the cost model says of a row.
struct RowPrediction {
  Uncertain step_time_s;
  Uncertain peak_memory_bytes;
  double capacity_bytes = 0;  ///< of the device, as far as training may use it
  /// What tensors and the allocator take of the fullest device: where even all blocks computed
  /// again do not fit and the row does not say what is, with those. The peak is what the row's
  /// software prints, which may count the driver's part too.
  double needed_bytes = 0;
  bool knows_peak =
      true;          ///< false: by a micro-batch that is a guess, so no measured one scores it
  bool fits = true;  ///< where recomputation is not stated: with as little as it takes
  /// Of one step on one device: products and whole attention forward and backward; likewise with
  /// what is computed again; and the peak rate that shares of it are of.
  double flops = 0, flops_again = 0, peak_flops_per_s = 0;
  TakenRun taken;                  ///< blank cells filled in
  std::vector<std::string> notes;  ///< what was taken where the row says nothing, or nothing known
};

/// A prediction, or why the row cannot be expressed.
using RowAnswer = std::variant<RowPrediction, std::string>;

/// Builds model, cluster and layout of the row and predicts it.
RowAnswer predict(const TrainingRow& row);

template <class Visitor, class T>
  requires SameAs<T, TrainingRow>
void fields(Visitor& visit, T& row) {
  visit("id", row.id, "stable key");
  visit.optional("source", row.source, "as printed");
  visit.optional("gpu", row.gpu, "as printed");
  visit.optional("gpu_family", row.gpu_family, "as printed");
  visit.optional("interconnect", row.interconnect, "as printed");
  visit.optional("framework", row.framework, "as printed");
  visit.optional("workload", row.workload, "as printed");
  visit.optional("model_name", row.model_name, "as printed");
  visit.optional("dtype", row.dtype, "as printed");
  visit.optional("fsdp_zero", row.fsdp_zero, "as printed");
  visit.optional("sequence_parallel", row.sequence_parallel, "as printed");
  visit.optional("recompute", row.recompute, "as printed");
  visit.optional("offload", row.offload, "as printed; blank: as the other words say");
  visit.optional("schedule", row.schedule, "as printed; blank: as the notes or the framework say");
  visit.optional("notes", row.notes, "as printed");
  visit("gpus", row.gpus, "as printed; absent: blank");
  visit("gpus_per_node", row.gpus_per_node, "as printed; absent: blank");
  visit("params_b", row.params_b, "as printed; absent: blank");
  visit("layers", row.layers, "as printed; absent: blank");
  visit("hidden", row.hidden, "as printed; absent: blank");
  visit("heads", row.heads, "as printed; absent: blank");
  visit("kv_heads", row.kv_heads, "as printed; absent: blank");
  visit("ffn_hidden", row.ffn_hidden, "as printed; absent: blank");
  visit("vocab", row.vocab, "as printed; absent: blank");
  visit("seq_len", row.seq_len, "as printed; absent: blank");
  visit("experts", row.experts, "as printed; absent: blank");
  visit("topk", row.topk, "as printed; absent: blank");
  visit("tp", row.tp, "as printed; absent: blank");
  visit("pp", row.pp, "as printed; absent: blank");
  visit("vp", row.vp, "as printed; absent: blank");
  visit("cp", row.cp, "as printed; absent: blank");
  visit("ep", row.ep, "as printed; absent: blank");
  visit.optional("etp", row.etp, "as printed; absent: blank");
  visit("dp", row.dp, "as printed; absent: blank");
  visit("micro_batch", row.micro_batch, "as printed; absent: blank");
  visit("grad_accum", row.grad_accum, "as printed; absent: blank");
  visit("global_batch", row.global_batch, "as printed; absent: blank");
  visit("iteration_s", row.iteration_s, "as printed; absent: blank");
  visit("peak_memory_bytes", row.peak_memory_bytes, "as printed; absent: blank");
}

}  // namespace parallel_opt
