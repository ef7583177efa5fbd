#include "parallel_opt/cli/cluster_text.h"

#include <algorithm>
#include <map>
#include <utility>

#include "parallel_opt/base/text.h"
#include "parallel_opt/report/table.h"

namespace parallel_opt {
namespace {

using Row = std::vector<std::string>;

std::string in_brackets(const std::string& text, Quality quality) {
  return text + " (" + std::string(name_of(quality)) + ")";
}

std::string bytes_text(const Uncertain& bytes) {
  return in_brackets(show(Bytes(static_cast<std::int64_t>(bytes.value))), bytes.quality);
}

std::string rate_text(const Uncertain& rate) {
  return in_brackets(show(BytesPerSecond(rate.value)), rate.quality);
}

std::string time_text(const Uncertain& time) {
  return in_brackets(show(Seconds(time.value)), time.quality);
}

/// Empty where nothing is stated.
std::string number_text(const std::optional<Uncertain>& number, const std::string& unit) {
  return number ? in_brackets(show(number->value) + " " + unit, number->quality) : "";
}

/// Rows that are equal, but for the name in front, become one. `names` gives the first and the last
/// name of each, and how many there were.
class Groups {
 public:
  void add(const std::string& name, Row row) {
    const auto [found, is_new] = place_.emplace(row, rows_.size());
    if (is_new) rows_.push_back({name, name, 0, std::move(row)});
    Group& group = rows_[found->second];
    group.last = name;
    ++group.count;
  }

  /// The name or names, the count, then the row.
  std::vector<Row> rows() const {
    std::vector<Row> out;
    for (const Group& group : rows_) {
      const bool one = group.first == group.last;
      Row row = {one ? group.first : group.first + " .. " + group.last,
                 std::to_string(group.count)};
      row.insert(row.end(), group.row.begin(), group.row.end());
      out.push_back(std::move(row));
    }
    return out;
  }

 private:
  struct Group {
    std::string first, last;
    int count;
    Row row;
  };
  std::vector<Group> rows_;
  std::map<Row, std::size_t> place_;
};

/// Without the columns in which every cell is empty.
std::string text_of(Table table) {
  for (std::size_t c = table.columns.size(); c-- > 0;) {
    const auto at = static_cast<std::ptrdiff_t>(c);
    if (!std::ranges::all_of(table.rows, [&](const Row& row) { return row[c].empty(); })) continue;
    table.columns.erase(table.columns.begin() + at);
    for (Row& row : table.rows) row.erase(row.begin() + at);
  }
  return table.rows.empty() ? "" : to_text(table) + "\n";
}

/// What the device reaches in a kernel: "1.2 TFLOP/s (measured)".
std::string best_rate(const Device& device, std::string_view kernel, std::optional<DType> dtype) {
  const RateCurve* curve = find_rate(device, kernel, dtype, 0);
  if (curve == nullptr) return "";
  const bool memory = kernel == "memory";
  // Small copies run in caches: memory is what the largest one reaches.
  double best = memory ? curve->points.back().per_second : 0;
  for (const RatePoint& point : curve->points) {
    if (!memory) best = std::max(best, point.per_second);
  }
  return in_brackets(memory ? show(BytesPerSecond(best)) : show(Flops(best)) + "/s",
                     curve->quality);
}

std::string node_table(const Cluster& cluster) {
  Groups groups;
  for (const Node& node : cluster.nodes) {
    groups.add(node.name,
               {node.cpu_model, std::to_string(node.sockets), std::to_string(node.cores),
                std::to_string(node.threads), node.cpu_quota ? show(*node.cpu_quota) : "",
                std::string(name_of(node.quality)), bytes_text(node.memory_bytes),
                node.virtualization.value_or(""), node.zone.value_or("")});
  }
  return text_of({{{"node"},
                   {"count", Align::right},
                   {"processor"},
                   {"sockets", Align::right},
                   {"cores", Align::right},
                   {"usable", Align::right},
                   {"quota", Align::right},
                   {"counts are"},
                   {"memory", Align::right},
                   {"virtual"},
                   {"zone"}},
                  groups.rows()});
}

std::string device_table(const Cluster& cluster) {
  Groups groups;
  for (const Device& device : cluster.devices) {
    const std::optional<Power>& power = device.power;
    groups.add(
        device.name,
        {device.name, bytes_text(device.memory_bytes), best_rate(device, "matmul", DType::fp32),
         best_rate(device, "matmul", DType::bf16), best_rate(device, "memory", std::nullopt),
         number_text(power ? std::optional(power->idle_w) : std::nullopt, "W"),
         number_text(power ? std::optional(power->max_w) : std::nullopt, "W"),
         number_text(device.usd_per_hour, "USD/h")});
  }
  std::vector<Row> rows = groups.rows();
  for (Row& row : rows) row.erase(row.begin() + 2);  // the name, that told types apart
  return text_of({{{"device"},
                   {"count", Align::right},
                   {"memory", Align::right},
                   {"matmul fp32"},
                   {"matmul bf16"},
                   {"memory bandwidth"},
                   {"idle"},
                   {"at most"},
                   {"price"}},
                  std::move(rows)});
}

std::string joins_text(const Network& network) {
  const std::string shape =
      network.shape == LinkShape::switched ? "" : " (" + std::string(name_of(network.shape)) + ")";
  switch (network.scope) {
    case NetworkScope::node:
      return "devices of a node" + shape + (network.reduces ? " (sums in its switch)" : "");
    case NetworkScope::zone:
      return "nodes of a zone";
    case NetworkScope::cluster:
      break;
  }
  return "nodes";
}

std::string network_table(const Cluster& cluster) {
  Table table{{{"network"},
               {"type"},
               {"joins"},
               {"ports", Align::right},
               {"bandwidth of one"},
               {"latency"},
               {"oversubscribed", Align::right},
               {"price"}},
              {}};
  for (const Network& network : cluster.networks) {
    std::optional<Uncertain> price = network.usd_per_byte;
    if (price) price = *price * 1e9;
    const bool full = network.oversubscription == 1;
    table.rows.push_back({network.name, network.type == network.name ? "" : network.type,
                          joins_text(network), std::to_string(network.ports),
                          rate_text(network.bytes_per_s), time_text(network.latency_s),
                          full ? "" : show(network.oversubscription),
                          number_text(price, "USD/GB")});
  }
  return text_of(std::move(table));
}

/// "node0/3 H100-SXM-80GB": places count as in links of cluster files.
std::vector<std::string> end_names(const Cluster& cluster) {
  std::vector<std::string> names;
  std::map<int, int> seen;
  for (const Device& device : cluster.devices) {
    names.push_back(cluster.nodes[std::size_t(device.node)].name + "/" +
                    std::to_string(seen[device.node]++));
  }
  return names;
}

std::string link_table(const Cluster& cluster) {
  const std::vector<std::string> ends = end_names(cluster);
  Groups groups;
  for (const Link& link : cluster.links) {
    const Device& a = cluster.devices[link.a.index()];
    const Device& b = cluster.devices[link.b.index()];
    const std::string kinds = link.a == link.b   ? "ranks on one " + a.name
                              : a.name == b.name ? "two " + a.name
                                                 : a.name + " and " + b.name;
    const std::string pair = link.a == link.b ? ends[link.a.index()]
                                              : ends[link.a.index()] + " - " + ends[link.b.index()];
    groups.add(pair, {link.type, kinds, a.node == b.node ? "" : "yes", rate_text(link.bytes_per_s),
                      time_text(link.latency_s)});
  }
  return text_of({{{"link"},
                   {"count", Align::right},
                   {"type"},
                   {"joins"},
                   {"between nodes"},
                   {"bandwidth"},
                   {"latency"}},
                  groups.rows()});
}

std::string zone_table(const Cluster& cluster) {
  Table table{{{"zone"}, {"nodes", Align::right}, {"energy"}, {"carbon"}}, {}};
  for (const Zone& zone : cluster.zones) {
    const auto nodes = std::ranges::count(cluster.nodes, zone.name, &Node::zone);
    table.rows.push_back({zone.name, std::to_string(nodes),
                          number_text(zone.usd_per_kwh, "USD/kWh"),
                          number_text(zone.carbon_g_per_kwh, "g CO2/kWh")});
  }
  return text_of(std::move(table));
}

}  // namespace

std::string cluster_text(const Cluster& cluster) {
  std::string text = cluster.name + "\n\n" + node_table(cluster) + device_table(cluster) +
                     network_table(cluster) + link_table(cluster) + zone_table(cluster);
  text.pop_back();  // the blank line behind the last table
  std::string rest;
  for (const ImportedProfile& profile : cluster.profiles) {
    rest += "profile: " + profile.name + ", " + std::to_string(profile.rows.size()) + " rows, " +
            std::to_string(profile.transfers.size()) + " transfers, " +
            std::to_string(profile.rates.size()) + " rate curves\n";
  }
  for (const std::string& note : cluster.notes) rest += "note: " + note + "\n";
  return rest.empty() ? text : text + "\n" + rest;
}

}  // namespace parallel_opt
