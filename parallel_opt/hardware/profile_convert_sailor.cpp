#include <cmath>
#include <set>

#include "parallel_opt/hardware/profile_convert_parts.h"

/// eth-easl/sailor. Every file is an object of objects down to a leaf; what the leaf is and how
/// deep it lies tells the files apart. Times in seconds of fp32 training, one micro-batch on one
/// tensor-parallel group; networks are a bandwidth in GB/s, quadratic in log2 of the size in MB.
namespace parallel_opt::profile_convert {
namespace {

using Kind = JsonView::Kind;

/// Keys of the first way down, and what lies there.
struct Way {
  std::vector<std::string> keys;
  JsonView leaf;
};

bool is_network_leaf(const JsonView& view) {
  return view.kind() == Kind::array && view.size() == 2 && view.at(0).kind() == Kind::array &&
         view.at(0).size() == 3;
}

bool is_sizes_leaf(const JsonView& view) {
  return view.kind() == Kind::object && view.find("params_floats").has_value();
}

Way first_way(const JsonView& root) {
  Way way{{}, root};
  while (way.leaf.kind() == Kind::object && way.leaf.size() > 0 && !is_sizes_leaf(way.leaf)) {
    auto members = way.leaf.members();
    way.keys.push_back(members.front().first);
    way.leaf = members.front().second;
  }
  return way;
}

bool is_times_leaf(const JsonView& view) { return view.kind() == Kind::array && view.size() == 3; }

int key_number(const Source& source, const JsonView& at, const std::string& key) {
  const std::optional<int> number = whole_number(key);
  if (!number || *number < 1) {
    source.fault(at.path(), "has the key \"" + key + "\", but a number from 1 is needed");
    return 1;
  }
  return *number;
}

std::string layer_name(int layer, int layers) {
  if (layer == 0) return "embedding";
  return layer == layers - 1 ? "head" : "block";
}

/// Appends a row, or lets the row before hold this layer too when it says the same.
void add_layer(ImportedProfile& profile, std::size_t begin, ProfileRow row) {
  if (profile.rows.size() > begin) {
    ProfileRow& before = profile.rows.back();
    ProfileRow longer = row;
    longer.layers = before.layers;
    if (row.layers && before.layers && row.layers->first == before.layers->last + 1 &&
        longer == before) {
      before.layers->last = row.layers->last;
      return;
    }
  }
  profile.rows.push_back(std::move(row));
}

void add_layer_times(const Source& source, const JsonView& micro_batches,
                     const std::string& device) {
  for (const auto& [batch, degrees] : source.members(micro_batches)) {
    const int micro_batch = key_number(source, micro_batches, batch);
    for (const auto& [degree, layers] : source.members(degrees)) {
      ProfileRow row;
      row.device = device;
      row.dtype = source.facts.dtype.value_or(DType::fp32);
      row.micro_batch = micro_batch;
      row.tensor = key_number(source, degrees, degree);
      row.sequence = source.facts.sequence;
      const std::size_t begin = source.profile.rows.size();
      const auto members = source.members(layers);
      for (const auto& [key, times] : members) {
        if (!is_times_leaf(times)) {
          source.fault(times.path(), "is no list of forward, backward and update seconds");
          continue;
        }
        const int layer = whole_number(key).value_or(0);
        row.name = layer_name(layer, static_cast<int>(members.size()));
        row.layers = LayerRange{layer, layer};
        row.forward_s = source.number(times.at(0));
        row.backward_s = source.number(times.at(1));
        row.optimizer_s = source.number(times.at(2));
        add_layer(source.profile, begin, row);
      }
    }
  }
}

/// [tensor][layer] -> floats of 4 bytes, of one sample.
void add_sizes(const Source& source, const JsonView& degrees, const std::string& device) {
  constexpr double kFloat = 4;
  for (const auto& [degree, layers] : source.members(degrees)) {
    const auto members = source.members(layers);
    const std::size_t begin = source.profile.rows.size();
    for (const auto& [key, sizes] : members) {
      ProfileRow row;
      row.device = device;
      row.dtype = DType::fp32;
      row.tensor = key_number(source, degrees, degree);
      row.sequence = source.facts.sequence;
      const int layer = whole_number(key).value_or(0);
      row.name = layer_name(layer, static_cast<int>(members.size()));
      row.layers = LayerRange{layer, layer};
      const auto floats = [&](const char* name) -> std::optional<double> {
        const std::optional<JsonView> value =
            sizes.kind() == Kind::object ? sizes.find(name) : std::nullopt;
        if (value) return source.number(*value, kFloat);
        source.fault(sizes.path(), std::string("lacks ") + name);
        return std::nullopt;
      };
      row.parameter_bytes = floats("params_floats");
      row.saved_bytes = floats("act_mem_floats");
      row.output_bytes = floats("act_output_floats");
      add_layer(source.profile, begin, row);
    }
  }
}

/// Sizes hold for every device: those that the files before are of, unless one is named.
std::set<std::string> devices_of(const Source& source) {
  std::set<std::string> devices;
  for (const ProfileRow& row : source.profile.rows) devices.insert(row.device);
  if (source.facts.device || devices.empty()) return {source.device()};
  return devices;
}

/// The polynomial at the sizes that it was fitted on: 1 MB to 1 GB.
void add_network(const Source& source, const JsonView& leaf, ProfiledTransfer transfer) {
  if (!is_network_leaf(leaf)) {
    source.fault(leaf.path(), "is no pair of three coefficients and a maximum");
    return;
  }
  const JsonView c = leaf.at(0);
  for (int u = 0; u <= 10; ++u) {
    const double rate = source.number(c.at(0)) * u * u + source.number(c.at(1)) * u +
                        source.number(c.at(2));  // GB/s
    const double bytes = std::ldexp(1e6, u);
    if (rate > 0) transfer.points.push_back({bytes, bytes / (rate * 1e9)});
  }
  transfer.collective = "p2p";
  source.profile.transfers.push_back(std::move(transfer));
}

/// [device][devices of a node]
void add_networks(const Source& source, const JsonView& devices, TransferScope scope) {
  for (const auto& [name, counts] : source.members(devices)) {
    for (const auto& [count, leaf] : source.members(counts)) {
      ProfiledTransfer transfer;
      transfer.device = known_device(name);
      transfer.scope = scope;
      transfer.ranks = key_number(source, counts, count);
      add_network(source, leaf, std::move(transfer));
    }
  }
}

/// [zone][device][count] of the sender, then of the receiver.
void add_zones(const Source& source) {
  for (const auto& [zone, devices] : source.members(source.root)) {
    for (const auto& [device, counts] : source.members(devices)) {
      for (const auto& [count, zones] : source.members(counts)) {
        ProfiledTransfer from;
        from.device = known_device(device);
        from.scope = TransferScope::cluster;
        from.ranks = key_number(source, counts, count);
        from.zone = zone;
        for (const auto& [to_zone, to_devices] : source.members(zones)) {
          for (const auto& [to_device, to_counts] : source.members(to_devices)) {
            for (const auto& [to_count, leaf] : source.members(to_counts)) {
              ProfiledTransfer transfer = from;
              transfer.to_zone = to_zone;
              const std::string to = known_device(to_device);
              if (to != transfer.device) transfer.to = to;
              const int to_ranks = key_number(source, to_counts, to_count);
              if (to_ranks != transfer.ranks) transfer.to_ranks = to_ranks;
              add_network(source, leaf, std::move(transfer));
            }
          }
        }
      }
    }
  }
}

}  // namespace

bool is_sailor(const JsonView& root) {
  const Way way = first_way(root);
  const std::size_t depth = way.keys.size();
  if (is_network_leaf(way.leaf)) return depth == 2 || depth == 3 || depth == 6;
  if (is_sizes_leaf(way.leaf)) return depth == 3;
  return is_times_leaf(way.leaf) && (depth == 3 || depth == 5);
}

void convert_sailor(const Source& source) {
  const Way way = first_way(source.root);
  if (is_network_leaf(way.leaf)) {
    if (way.keys.size() == 2) return add_networks(source, source.root, TransferScope::node);
    if (way.keys.size() == 6) return add_zones(source);
    for (const auto& [where, devices] : source.members(source.root)) {
      const bool inside = where == "intra";
      add_networks(source, devices, inside ? TransferScope::node : TransferScope::cluster);
    }
  } else if (is_sizes_leaf(way.leaf)) {
    const std::set<std::string> names = devices_of(source);
    for (const auto& [model, degrees] : source.members(source.root)) {
      if (source.facts.model && *source.facts.model != model) continue;
      source.profile.model = model;
      for (const std::string& device : names) add_sizes(source, degrees, device);
    }
  } else if (way.keys.size() == 3) {
    add_layer_times(source, source.root, source.device());
  } else {
    for (const auto& [model, devices] : source.members(source.root)) {
      if (source.facts.model && *source.facts.model != model) continue;
      source.profile.model = model;
      for (const auto& [device, micro_batches] : source.members(devices)) {
        const std::string name = known_device(device);
        if (!source.facts.device || known_device(*source.facts.device) == name) {
          add_layer_times(source, micro_batches, name);
        }
      }
    }
  }
}

}  // namespace parallel_opt::profile_convert
