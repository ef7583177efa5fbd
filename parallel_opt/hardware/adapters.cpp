#include "parallel_opt/hardware/adapters.h"

#include <map>
#include <set>

#include "parallel_opt/base/text.h"
#include "parallel_opt/hardware/cgroup.h"

namespace parallel_opt {
namespace {

constexpr Uncertain kReached{0.9, 0.7, 0.97, Quality::database};
constexpr double kInfinibandLatencyS = 5e-6;
constexpr double kEthernetLatencyS = 30e-6;

/// Type and Gbit/s of a port -> how many there are.
using Ports = std::map<std::pair<std::string, double>, int>;

/// RDMA adapters; the names of their Ethernet interfaces go to `taken`.
Ports rdma_ports(const FileSystem& files, std::set<std::string>& taken) {
  const std::string all = "/sys/class/infiniband";
  Ports ports;
  for (const std::string& adapter : files.list(all)) {
    const std::string device = all + "/" + adapter;
    for (const std::string& name : files.list(device + "/device/net")) taken.insert(name);
    for (const std::string& number : files.list(device + "/ports")) {
      const std::string port = device + "/ports/" + number;
      if (text_in(files, port + "/state").find("ACTIVE") == std::string::npos) continue;
      const auto gigabits = leading_integer(files.read(port + "/rate").value_or(""));
      if (!gigabits || *gigabits <= 0) continue;
      const bool ethernet = text_in(files, port + "/link_layer") == "Ethernet";
      ++ports[{ethernet ? "RoCE" : "InfiniBand", double(*gigabits)}];
    }
  }
  return ports;
}

Ports ethernet_ports(const FileSystem& files, const std::set<std::string>& taken) {
  const std::string all = "/sys/class/net";
  Ports ports;
  for (const std::string& name : files.list(all)) {
    const std::string interface = all + "/" + name + "/";
    // Bridges, tunnels and the loopback have no device behind them.
    if (taken.contains(name) || !files.exists(interface + "device")) continue;
    if (text_in(files, interface + "operstate") != "up") continue;
    const auto megabits = leading_integer(files.read(interface + "speed").value_or(""));
    if (megabits && *megabits > 0) ++ports[{"ethernet", double(*megabits) / 1e3}];  // -1: not known
  }
  return ports;
}

Network network_of(const std::pair<std::string, double>& kind, int ports) {
  Network network;
  network.type = kind.first;
  network.name = kind.first + " " + show(kind.second) + " Gbit/s";
  network.ports = ports;
  const double latency_s = kind.first == "ethernet" ? kEthernetLatencyS : kInfinibandLatencyS;
  network.latency_s = within(latency_s, 0.5, Quality::assumed);
  network.bytes_per_s = kReached * (kind.second * 1e9 / 8);
  return network;
}

}  // namespace

std::vector<Network> read_adapters(const FileSystem& files) {
  std::set<std::string> taken;
  std::vector<Network> networks;
  for (const auto& [kind, count] : rdma_ports(files, taken)) {
    networks.push_back(network_of(kind, count));
  }
  for (const auto& [kind, count] : ethernet_ports(files, taken)) {
    networks.push_back(network_of(kind, count));
  }
  return networks;
}

}  // namespace parallel_opt
