#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/base/dtype.h"
#include "parallel_opt/base/json.h"
#include "parallel_opt/hardware/rate_curve.h"

/// Measurements made elsewhere: by another planner, on another machine, with another framework.
/// docs/imported-profiles.md names the formats that are converted into this one.
namespace parallel_opt {

/// op: one kernel call; block: several layers measured as one; layer: one of a model's profiled
/// layers, embedding and head counted.
enum class ProfileLevel { op, block, layer };

constexpr auto enum_names(ProfileLevel) {
  return std::to_array<std::string_view>({"operator", "block", "layer"});
}

/// Layers first .. last of a model, both included, counted from 0.
struct LayerRange {
  int first = 0;
  int last = 0;
  bool operator==(const LayerRange&) const = default;
};

/// Time, memory and energy of one piece of a model on one device type. Times are of one
/// micro-batch on one tensor-parallel group, its collectives included; bytes and joules are of one
/// device of the group. What was not measured is absent.
struct ProfileRow {
  std::string device;  ///< Device::name
  ProfileLevel level = ProfileLevel::layer;
  std::string name;                  ///< "embedding", "block", "head", "matmul"
  std::optional<LayerRange> layers;  ///< each of them took this (layer), or all together (block)
  std::optional<DType> dtype;
  int tensor = 1;          ///< tensor-parallel degree
  double micro_batch = 1;  ///< samples
  std::optional<std::int64_t> sequence;
  std::optional<double> clock_hz;  ///< absent: the device's own choice
  std::optional<double> forward_s;
  std::optional<double> backward_s;
  std::optional<double> optimizer_s;
  std::optional<double> forward_j;
  std::optional<double> backward_j;
  std::optional<double> parameter_bytes;
  std::optional<double> saved_bytes;      ///< kept for the backward
  std::optional<double> recompute_bytes;  ///< kept when the whole piece is recomputed
  std::optional<double> output_bytes;     ///< of the whole group: what goes to the next layer
  bool operator==(const ProfileRow&) const = default;
};

struct MessageTime {
  double bytes = 0;  ///< the whole tensor of a collective
  double seconds = 0;
  bool operator==(const MessageTime&) const = default;
};

/// node: between devices of one node; cluster: between nodes.
enum class TransferScope { node, cluster };

constexpr auto enum_names(TransferScope) {
  return std::to_array<std::string_view>({"node", "cluster"});
}

/// Time of one collective by size, or its rate where no size was published.
struct ProfiledTransfer {
  std::string collective{};  ///< p2p, all_reduce, all_gather, reduce_scatter, all_to_all
  std::string device{};
  std::optional<std::string> to{};    ///< p2p to another type of device
  std::optional<int> to_ranks{};      ///< cluster: devices of the receiving node, where they differ
  std::optional<std::string> zone{};  ///< cluster: of the sender
  std::optional<std::string> to_zone{};  ///< cluster: of the receiver
  TransferScope scope = TransferScope::node;
  int ranks = 2;         ///< node: devices that take part; cluster: devices of each node
  bool strided = false;  ///< the ranks are no neighbours
  std::vector<MessageTime> points{};
  /// As nccl-tests has it: the wire's share of the bytes over time.
  std::optional<double> bus_bytes_per_s{};
  bool operator==(const ProfiledTransfer&) const = default;
};

struct ProfiledRate {
  std::string device;
  RateCurve curve;
  bool operator==(const ProfiledRate&) const = default;
};

struct ImportedProfile {
  std::string name;    ///< unique in a cluster
  std::string source;  ///< who measured it: file, repository, commit
  std::optional<std::string> model;
  std::vector<ProfileRow> rows;
  std::vector<ProfiledTransfer> transfers;
  std::vector<ProfiledRate> rates;
  std::optional<double> overlap_slowdown;  ///< of compute and transfers that run beside each other
  std::vector<std::string> notes;          ///< what was left out
  bool operator==(const ImportedProfile&) const = default;
};

/// Every broken rule of a profile; empty: well formed. Paths as in its JSON.
std::vector<Fault> check(const ImportedProfile& profile, const std::string& where);

/// Reads `parallel-opt/profile/1`. Throws InputError with every fault.
ImportedProfile read_profile(std::string_view text, const std::string& name);

/// What is asked of a profile. An absent dtype or sequence matches any; an absent clock the fastest
/// there is.
struct ProfileQuery {
  std::string device;
  ProfileLevel level = ProfileLevel::layer;
  std::optional<int> layer;         ///< a layer's index
  std::optional<std::string> name;  ///< or the name of a layer, block or operator
  std::optional<DType> dtype;
  int tensor = 1;
  double micro_batch = 1;
  std::optional<std::int64_t> sequence;
  std::optional<double> clock_hz;
};

/// A measured quantity, say &ProfileRow::forward_s, linear between measured micro-batches. Empty
/// where it was not profiled: another tensor degree, or a micro-batch outside the measured ones,
/// which often did not fit. Bytes measured at one micro-batch only are of that one: the caller
/// scales what is per sample.
std::optional<double> find_profiled(const ImportedProfile& profile, const ProfileQuery& query,
                                    std::optional<double> ProfileRow::* quantity);

/// Seconds of a message, log-interpolated between measured sizes, by the end rate outside. Empty
/// without points.
std::optional<double> transfer_seconds(const ProfiledTransfer& transfer, double bytes);

}  // namespace parallel_opt

#include "parallel_opt/hardware/imported_profile_fields.h"
