#pragma once

#include <array>
#include <vector>

#include "parallel_opt/cost/collective.h"
#include "parallel_opt/cost/data_loading.h"
#include "parallel_opt/cost/layouts.h"
#include "parallel_opt/cost/profile.h"
#include "parallel_opt/cost/rates.h"
#include "parallel_opt/plan/plan.h"

namespace parallel_opt {

inline constexpr std::size_t kOpClasses = enum_names(OpClass{}).size();

/// Totals of one step. All are sums of the lines of a Bill.
struct Cost {
  double time_s = 0;
  double memory_bytes = 0;  ///< on the fullest device
  double energy_j = 0;      ///< 0 when the cluster states no watts
  double warm_up_s = 0;
};

/// Where a step's seconds and bytes go, per rank. What `estimate` itemises and `evaluate` sums.
struct Bill {
  double forward_s = 0;
  double backward_s = 0;
  double second_forward_s = 0;  ///< micro-batches run their forward again, with autograd
  double recompute_s = 0;
  double loss_s = 0;
  double gather_s = 0;      ///< outputs of all ranks, for the global view
  double statistics_s = 0;  ///< batch norms over ranks: collectives, and more passes
  double all_reduce_s = 0;  ///< gradients; the part that the backward does not hide
  double optimizer_s = 0;
  double loading_s = 0;  ///< waiting for samples

  double parameters_bytes = 0;
  double optimizer_bytes = 0;
  double gradients_bytes = 0;  ///< at the moment of the peak
  double saved_bytes = 0;      ///< activations kept, at the moment of the peak
  double working_bytes = 0;    ///< operands, results and temporaries of the operator at the peak
  double outputs_bytes = 0;    ///< outputs and loss
  double copies_bytes = 0;     ///< low-precision weights, communication buckets

  double busy_compute_s = 0;  ///< seconds bound by arithmetic, by memory, by the host
  double busy_memory_s = 0;
  double busy_host_s = 0;

  double time_s() const;
  double memory_bytes() const;  ///< of one rank
};

/// Everything that decides what one micro-batch costs on one rank.
struct Setting {
  int device = 0;
  int devices = 1;
  int ranks_per_device = 1;
  int threads = 1;
  std::int64_t share = 1;        ///< samples of the fullest rank
  std::int64_t micro_batch = 1;  ///< samples of the largest piece
  Policy policy;
  MemoryFormat memory_format = MemoryFormat::contiguous;
  int ranks() const { return devices * ranks_per_device; }
  double pieces() const {
    const std::int64_t rounded_up = (share + micro_batch - 1) / micro_batch;
    return double(rounded_up);
  }
};

/// Time of one micro-batch under a setting, summed over operators.
struct SettingCost {
  double forward_s = 0;
  double backward_s = 0;
  std::array<double, kMaxBlockClasses> block_forward_s{};  ///< of one block of each class
  std::array<double, kOpClasses> forward_by_class_s{};
  std::array<double, kOpClasses> backward_by_class_s{};
  double cast_s = 0;                               ///< part of the two sums above
  double layout_s = 0;                             ///< likewise
  double compute_s = 0, memory_s = 0, host_s = 0;  ///< the same time by what bounds it
};

struct CollectiveCurve;

/// Prepared once for a graph, cluster and job; then judges plans in closed form, without
/// allocation, I/O or exceptions. Keeps references: lives no longer than its arguments. Threads may
/// share it.
class CostModel {
 public:
  /// Pre: check(graph), check(cluster) and check(job) are empty.
  CostModel(const Graph& graph, const Cluster& cluster, const Job& job);

  const LocalSpace& space() const { return space_; }
  const ModelFacts& facts() const { return facts_; }
  const Job& job() const { return job_; }
  const Cluster& cluster() const { return cluster_; }

  /// Pre: the choice lies in `space()`.
  Cost evaluate(const LocalChoice& choice) const noexcept;
  Bill bill(const LocalChoice& choice) const noexcept;

  /// The plan of a choice, without estimate or certificate.
  Plan plan(const LocalChoice& choice) const;
  /// What PyTorch does by itself: one rank, all threads, fp32 (or the pinned precision), eager.
  /// Pins that forbid it are kept.
  LocalChoice plain() const;

  /// Predicted cost of any plan of replicas, itemised, with intervals. A plan that breaks
  /// `validate` still gets numbers, of the nearest plan that does not.
  Estimate estimate(const Plan& plan) const;

 private:
  friend struct EstimateWriter;
  struct Switches {
    bool fused_optimizer = false;
    std::array<int, kMaxBlockClasses> recompute{};
  };
  struct Point {
    Setting setting;
    SettingCost cost;
    std::array<double, 2> optimizer_s{};  ///< single-tensor, fused
    double loss_s = 0;
    std::array<double, 2> rank_norms_s{};  ///< of one micro-batch: forward, backward
    double warm_up_s = 0;
    LinkModel link{};
    Loader loader{};
    /// Fitted curves of the device for so many ranks, where no link was measured here.
    const CollectiveCurve* all_reduce = nullptr;
    const CollectiveCurve* all_gather = nullptr;
    Quality quality = Quality::measured;
  };

  Point prepare(const Setting& setting, const RankRates& rates) const;
  void use_profiles(Point& point, double samples) const;
  Loader loader_of(const Setting& setting) const;
  double optimizer_time(const RankRates& rates, const Setting& setting, bool fused) const;
  Bill bill(const Point& point, const Switches& switches) const noexcept;
  void fill_memory(const Point& point, const Switches& switches, Bill& bill) const noexcept;
  Cost total(const Point& point, const Bill& bill) const noexcept;
  double energy(const Point& point, const Bill& bill) const noexcept;
  const Profile& profile(const Policy& policy) const;
  std::size_t point_index(const LocalChoice& choice) const noexcept;
  LinkModel link_of(const Setting& setting) const;
  const CollectiveCurve* fitted(const Setting& setting, const char* collective) const;
  double warm_up(const Policy& policy) const noexcept;

  const Graph& graph_;
  const Cluster& cluster_;
  Job job_;
  ModelFacts facts_;
  LocalSpace space_;
  /// By precision (fp32, bf16 or fp16), compile and attention kernel.
  std::array<Profile, 8> profiles_;
  double input_bytes_ = 0;           ///< of the global batch
  double largest_parameter_ = 0;     ///< bytes
  std::vector<std::size_t> offset_;  ///< per layout: its first point
  std::vector<Point> points_;
};

}  // namespace parallel_opt
