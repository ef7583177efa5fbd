#include "parallel_opt/cost/profiled.h"

#include <algorithm>
#include <cmath>

namespace parallel_opt {
namespace {

constexpr int kEmbeddingAndHead = 2;

ProfileQuery query_of(const ProfiledQuestion& asked, ProfileLevel level) {
  ProfileQuery query;
  query.device = asked.device->name;
  query.level = level;
  query.dtype = asked.dtype;
  query.micro_batch = asked.micro_batch;
  if (asked.sequence > 0) query.sequence = std::llround(asked.sequence);
  return query;
}

/// Adds `times` of one more piece; false when it was not measured.
bool add(const ImportedProfile& profile, const ProfileQuery& query, int times, ProfiledTimes& sum) {
  const auto forward = find_profiled(profile, query, &ProfileRow::forward_s);
  if (!forward) return false;
  sum.forward_s += times * *forward;
  const auto backward = find_profiled(profile, query, &ProfileRow::backward_s);
  if (backward && sum.backward_s) {
    *sum.backward_s += times * *backward;
  } else {
    sum.backward_s.reset();
  }
  return true;
}

/// Layers that the profile numbers on the device: the last one and those before it.
int layers_of(const ImportedProfile& profile, const std::string& device) {
  int count = 0;
  for (const ProfileRow& row : profile.rows) {
    if (row.device == device && row.level == ProfileLevel::layer && row.layers) {
      count = std::max(count, row.layers->last + 1);
    }
  }
  return count;
}

std::optional<ProfiledTimes> by_layers(const ImportedProfile& profile,
                                       const ProfiledQuestion& asked) {
  const int layers = layers_of(profile, asked.device->name);
  if (layers != asked.blocks && layers != asked.blocks + kEmbeddingAndHead) return std::nullopt;
  ProfiledTimes sum{0, 0.0};
  ProfileQuery query = query_of(asked, ProfileLevel::layer);
  for (int layer = 0; layer < layers; ++layer) {
    query.layer = layer;
    if (!add(profile, query, 1, sum)) return std::nullopt;
  }
  return sum;
}

std::optional<ProfiledTimes> by_blocks(const ImportedProfile& profile,
                                       const ProfiledQuestion& asked) {
  ProfiledTimes sum{0, 0.0};
  ProfileQuery query = query_of(asked, ProfileLevel::block);
  query.name = "block";
  if (!add(profile, query, asked.blocks, sum)) return std::nullopt;
  query.name = "embedding and head";
  if (!add(profile, query, 1, sum)) return std::nullopt;
  return sum;
}

}  // namespace

std::optional<ProfiledTimes> profiled_times(const Cluster& cluster, const ProfiledQuestion& asked) {
  if (asked.device == nullptr || asked.blocks < 1) return std::nullopt;
  for (const ImportedProfile& profile : cluster.profiles) {
    if (auto times = by_layers(profile, asked)) return times;
    if (auto times = by_blocks(profile, asked)) return times;
  }
  return std::nullopt;
}

}  // namespace parallel_opt
