#pragma once

#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/hardware/cluster.h"
#include "parallel_opt/hardware/device_record.h"
#include "parallel_opt/hardware/quantity.h"

/// The parts of a cluster file, as they stand in it.
namespace parallel_opt::cluster_file {

struct FileAdapters {
  int count = 1;
  Bandwidth bandwidth;
};

struct FileNodes {
  std::string name = "node";
  std::int64_t count = 1;
  std::string devices;  ///< "8xH100-SXM-80GB", "4xL4,2xEPYC-7742"
  std::optional<std::string> zone;
  std::optional<Capacity> memory;
  std::optional<int> cores;
  std::optional<int> sockets;
  std::optional<double> usd_per_device_hour;
  std::optional<FileAdapters> adapters;
};

struct FileSwitch {
  std::string name;
  std::string type;
  NetworkScope scope = NetworkScope::cluster;
  std::vector<std::string> nodes;
  std::vector<std::string> devices;
  int ports = 1;
  LinkShape shape = LinkShape::switched;
  bool reduces = false;
  Bandwidth bandwidth;
  Duration latency;
  double oversubscription = 1;
  bool rail_optimized = false;
  std::optional<double> usd_per_gb;
  Quality quality = Quality::reported;
};

struct FileLink {
  std::string a;
  std::string b;
  std::string type = "link";
  Bandwidth bandwidth;
  Duration latency;
  Quality quality = Quality::reported;
};

struct FileZone {
  std::string name;
  std::optional<double> usd_per_kwh;
  std::optional<double> carbon_g_per_kwh;
};

struct File {
  std::optional<std::string> schema;
  std::string name = "cluster";
  std::vector<FileNodes> nodes;
  std::vector<FileSwitch> switches;
  std::vector<FileLink> links;
  std::vector<FileZone> zones;
  std::vector<DeviceRecord> device_types;
  std::vector<std::string> profiles;
};

template <class Visitor, class T>
  requires SameAs<T, FileAdapters>
void fields(Visitor& visit, T& adapters) {
  visit.optional("count", adapters.count, "of one node");
  visit("bandwidth", adapters.bandwidth, "of one, each direction: 400 Gbps");
}

template <class Visitor, class T>
  requires SameAs<T, FileNodes>
void fields(Visitor& visit, T& nodes) {
  visit.optional("name", nodes.name, "of the group; its nodes are NAME0, NAME1, ...");
  visit.optional("count", nodes.count, "equal nodes");
  visit("devices", nodes.devices, "of one node, as in a preset: 8xH100-SXM-80GB");
  visit("zone", nodes.zone, "name of a zone");
  visit("memory", nodes.memory, "of one node: 2 TB");
  visit("cores", nodes.cores, "physical cores of one node");
  visit("sockets", nodes.sockets, "processors of one node");
  visit("usd_per_device_hour", nodes.usd_per_device_hour, "price of renting one device");
  visit("adapters", nodes.adapters, "to the network between nodes");
}

template <class Visitor, class T>
  requires SameAs<T, FileSwitch>
void fields(Visitor& visit, T& network) {
  visit("name", network.name, "unique");
  visit("type", network.type, "NVLink4, InfiniBand, ethernet, ...");
  visit.optional("scope", network.scope,
                 "joins the devices of each node, nodes of each zone, all nodes");
  visit.optional("nodes", network.nodes, "names of groups or nodes; none: all");
  visit.optional("devices", network.devices, "names of devices; none: all");
  visit.optional("ports", network.ports, "adapters of one node (rails), or links of one device");
  visit.optional("shape", network.shape,
                 "scope node: switched, mesh (a port to each of the others) or torus");
  visit.optional("reduces", network.reduces, "scope node: its switch sums what passes");
  visit("bandwidth", network.bandwidth, "of one port, each direction, as jobs reach it");
  visit.optional("latency", network.latency, "of one message");
  visit.optional("oversubscription", network.oversubscription, "1: full bisection");
  visit.optional("rail_optimized", network.rail_optimized,
                 "port i of every node meets at switch i");
  visit("usd_per_gb", network.usd_per_gb, "price of traffic");
  visit.optional("quality", network.quality, "measured, reported, database or assumed");
}

template <class Visitor, class T>
  requires SameAs<T, FileLink>
void fields(Visitor& visit, T& link) {
  visit("a", link.a, "NODE, or NODE/INDEX of a device");
  visit("b", link.b, "the other end");
  visit.optional("type", link.type, "NVLink4, ethernet, ...");
  visit("bandwidth", link.bandwidth, "each direction");
  visit.optional("latency", link.latency, "of one message");
  visit.optional("quality", link.quality, "measured, reported, database or assumed");
}

template <class Visitor, class T>
  requires SameAs<T, FileZone>
void fields(Visitor& visit, T& zone) {
  visit("name", zone.name, "unique");
  visit("usd_per_kwh", zone.usd_per_kwh, "price of energy");
  visit("carbon_g_per_kwh", zone.carbon_g_per_kwh, "grams of CO2 equivalent");
}

template <class Visitor, class T>
  requires SameAs<T, File>
void fields(Visitor& visit, T& file) {
  visit("schema", file.schema, "parallel-opt/cluster-file/1");
  visit.optional("name", file.name, "what people call it");
  visit("nodes", file.nodes, "groups of equal machines");
  visit.optional("switches", file.switches, "what joins many devices or nodes");
  visit.optional("links", file.links, "ways between two of them");
  visit.optional("zones", file.zones, "places with their own prices");
  visit.optional("device_types", file.device_types, "devices that the database has not");
  visit.optional("profiles", file.profiles, "files of imported measurements, beside this one");
}

}  // namespace parallel_opt::cluster_file
