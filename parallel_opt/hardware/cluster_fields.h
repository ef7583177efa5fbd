#pragma once

#include "parallel_opt/hardware/cluster.h"

namespace parallel_opt {

template <class Visitor, class T>
  requires SameAs<T, Power>
void fields(Visitor& visit, T& power) {
  visit("idle_w", power.idle_w, "watts when idle");
  visit("max_w", power.max_w, "watts at full load: design power or enforced limit");
}

template <class Visitor, class T>
  requires SameAs<T, Device>
void fields(Visitor& visit, T& device) {
  visit("name", device.name, "type of device");
  visit.optional("uuid", device.uuid, "identity, stable on one machine");
  visit("kind", device.kind, "cpu or gpu");
  visit.optional("node", device.node, "index of the node that holds it");
  visit.optional("cores", device.cores, "cpu: logical cores of the group; gpu: those near it");
  visit.optional("physical_cores", device.physical_cores, "cpu: physical cores among them");
  visit.optional("numa", device.numa, "NUMA node");
  visit("memory_bytes", device.memory_bytes, "what a job may use");
  visit.optional("instruction_sets", device.instruction_sets, "cpu features that matter");
  visit.optional("rates", device.rates, "how fast it runs each family of kernels");
  visit("launch_s", device.launch_s, "overhead of one eager operator, seconds");
  visit("power", device.power, "idle and maximum watts");
  visit("usd_per_hour", device.usd_per_hour, "price of renting it");
  visit("like", device.like,
        "index of an earlier device with the same rates, launch_s, power and price");
}

template <class Visitor, class T>
  requires SameAs<T, Cache>
void fields(Visitor& visit, T& cache) {
  visit("level", cache.level, "1, 2 or 3");
  visit("size_bytes", cache.size_bytes, "of one instance");
  visit("shared_by", cache.shared_by, "logical cores that share one instance");
}

template <class Visitor, class T>
  requires SameAs<T, Node>
void fields(Visitor& visit, T& node) {
  visit("name", node.name, "host name");
  visit.optional("cpu_model", node.cpu_model, "as the operating system states it");
  visit.optional("sockets", node.sockets, "CPU packages");
  visit.optional("cores", node.cores, "physical cores");
  visit.optional("threads", node.threads, "logical cores that may be used");
  visit("cpu_quota", node.cpu_quota, "cores' worth of time granted; absent: no limit");
  if constexpr (std::is_same_v<Visitor, FieldReader>) {
    if (node.cpu_quota == 0.0) node.cpu_quota.reset();  // what files before 2026-11-26 say instead
  }
  visit.optional("numa_nodes", node.numa_nodes, "memory regions");
  visit.optional("caches", node.caches, "data caches");
  visit.optional("quality", node.quality, "how the counts and caches were obtained");
  visit("memory_bytes", node.memory_bytes, "host memory that may be used");
  visit("virtualization", node.virtualization, "hypervisor, when one shows itself");
  visit("zone", node.zone, "name of a zone");
}

template <class Visitor, class T>
  requires SameAs<T, Link>
void fields(Visitor& visit, T& link) {
  visit("a", link.a, "index of one device");
  visit("b", link.b, "index of the other device");
  visit("type", link.type, "shared-memory, NVLink4, PCIe4x16, ethernet, ...");
  visit("latency_s", link.latency_s, "seconds per message");
  visit("bytes_per_s", link.bytes_per_s, "each direction, large messages");
}

template <class Visitor, class T>
  requires SameAs<T, NodeRange>
void fields(Visitor& visit, T& range) {
  visit("first", range.first, "index of a node");
  visit("last", range.last, "index of a node, included");
}

template <class Visitor, class T>
  requires SameAs<T, Network>
void fields(Visitor& visit, T& network) {
  visit("name", network.name, "unique");
  visit("type", network.type, "NVLink4, InfiniBand, ethernet, ...");
  visit("scope", network.scope, "joins the devices of each node, nodes of each zone, all nodes");
  visit.optional("nodes", network.nodes, "its nodes; empty: all");
  visit.optional("devices", network.devices, "names of attached devices; empty: all");
  visit.optional("ports", network.ports, "adapters of one node (rails), or links of one device");
  visit.optional("shape", network.shape,
                 "of links inside a node: switched, mesh (to each of the others), torus");
  visit.optional("reduces", network.reduces, "scope node: its switch sums what passes");
  visit("latency_s", network.latency_s, "seconds per message");
  visit("bytes_per_s", network.bytes_per_s, "of one port, each direction, large messages");
  visit.optional("oversubscription", network.oversubscription,
                 "ports below a switch over its uplinks");
  visit.optional("rail_optimized", network.rail_optimized,
                 "port i of every node meets at switch i");
  visit("usd_per_byte", network.usd_per_byte, "price of traffic");
}

template <class Visitor, class T>
  requires SameAs<T, Zone>
void fields(Visitor& visit, T& zone) {
  visit("name", zone.name, "unique");
  visit("usd_per_kwh", zone.usd_per_kwh, "price of energy");
  visit("carbon_g_per_kwh", zone.carbon_g_per_kwh, "grams of CO2 equivalent");
}

template <class Visitor, class T>
  requires SameAs<T, Cluster>
void fields(Visitor& visit, T& cluster) {
  visit.schema("parallel-opt/cluster/1");
  visit("name", cluster.name, "what people call it");
  visit("nodes", cluster.nodes, "machines");
  if constexpr (std::is_same_v<Visitor, FieldWriter>) {
    visit("devices", compact(cluster.devices), "what runs operators");
  } else {
    visit("devices", cluster.devices, "what runs operators");
  }
  if constexpr (std::is_same_v<Visitor, FieldReader>) expand(cluster.devices);
  visit.optional("links", cluster.links, "ways between devices");
  visit.optional("networks", cluster.networks, "switches that join many alike");
  visit.optional("zones", cluster.zones, "places with their own prices and carbon");
  visit.optional("profiles", cluster.profiles, "measurements made elsewhere, a cost source here");
  visit.optional("notes", cluster.notes, "what could not be found out");
}

template <class Visitor, class T>
  requires SameAs<T, ClusterSummary>
void fields(Visitor& visit, T& summary) {
  visit("nodes", summary.nodes, "number of machines");
  visit("devices", summary.devices, "number of devices");
  visit("types", summary.types, "devices of each name");
}

template <class Visitor, class T>
  requires SameAs<T, ClusterDocument>
void fields(Visitor& visit, T& document) {
  fields(visit, document.cluster);
  visit("summary", document.summary, "counts; ignored when read");
}

}  // namespace parallel_opt
