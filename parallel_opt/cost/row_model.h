#pragma once

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "parallel_opt/cost/layout_cost.h"
#include "parallel_opt/cost/network_text.h"
#include "parallel_opt/cost/row_words.h"
#include "parallel_opt/cost/training_row.h"

namespace parallel_opt {

/// A published row as the cost model sees it.
struct RowCase {
  std::string device_name;   ///< in the database
  std::string element_type;  ///< of products: "bf16" for any of 16 bits
  std::string model;         ///< as MODEL takes it: "transformer:layers=..."
  std::shared_ptr<const TransformerFacts> facts;
  Accelerator device;
  SoftwareStack stack;  ///< with what the row's notes say of it
  ParallelLayout layout;
  std::optional<NetworkWords> network;      ///< as the row states it
  std::optional<RecomputeWords> recompute;  ///< likewise
  bool least_stage = false;        ///< of ZeRO no stage is stated: the lowest with which it fits
  bool may_shard = false;          ///< nobody says whether replicas share states, which is a choice
  bool counts_no_sharers = false;  ///< hybrid sharding, among how many ranks is not stated
  bool guesses_micro_batch = false;  ///< nothing stated makes it, nor is it the stack's own way
  bool may_accumulate = false;       ///< in how many micro-batches is not stated
  bool counts_no_stages = false;     ///< interleaved, in how many stages per rank is not stated
  bool may_recompute = false;        ///< what is computed again is not stated
  bool may_offload = false;          ///< nor what is moved to a host beside the chip
  bool on_cores = false;             ///< its devices are processors: row_on_cores.h
  std::vector<std::string> notes;  ///< what was taken where the row says nothing, or nothing known
};

/// Model, device, stack and layout of a row, or why it cannot be expressed. What the row leaves
/// blank follows its stack, its device's usual machine and the family of its model.
std::variant<RowCase, std::string> row_case(const TrainingRow& row);

/// The peak that the row's software prints: of the fullest device, or of its first rank.
double printed_bytes(const RowCase& row, const LayoutCost& cost);

/// The run that is predicted for a row: where it does not fit, with what the row leaves blank
/// (micro-batches, recomputation) chosen as someone with that machine would.
RowCase chosen_run(const RowCase& row, const LayoutParameters& parameters);

/// What is predicted of such a run, in words and numbers.
TakenRun taken_run(const RowCase& run);

/// Sets the FLOPs of one step as tables count them (products and attention, all positions with all
/// others, once forward and twice backward) and the peak rate that they are a share of.
void count_flops(const RowCase& run, RowPrediction& answer);

/// The prediction under other parameters than the fitted ones.
RowPrediction predict(const RowCase& row, const LayoutParameters& parameters);

}  // namespace parallel_opt
