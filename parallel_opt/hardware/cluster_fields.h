#pragma once

#include "parallel_opt/hardware/cluster.h"

namespace parallel_opt {

template <class Visitor, class T>
  requires SameAs<T, RatePoint>
void fields(Visitor& visit, T& point) {
  visit("size", point.size, "FLOPs of one call (compute), bytes moved (memory, links)");
  visit("per_s", point.per_second, "FLOP/s or bytes/s reached");
}

template <class Visitor, class T>
  requires SameAs<T, RateCurve>
void fields(Visitor& visit, T& curve) {
  visit("kernel", curve.kernel, "family of kernels: matmul, convolution, attention, memory, ...");
  visit("dtype", curve.dtype, "element type, where it matters");
  visit.optional("threads", curve.threads, "CPU threads used; 0: the whole device");
  visit("points", curve.points, "rate by size, rising");
  visit("quality", curve.quality, "how the curve was obtained");
  visit.optional("source", curve.source, "where it comes from, with its date");
}

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
  visit.optional("cpu_quota", node.cpu_quota, "cores' worth of time granted; 0: no limit");
  visit.optional("numa_nodes", node.numa_nodes, "memory regions");
  visit.optional("caches", node.caches, "data caches");
  visit("memory_bytes", node.memory_bytes, "host memory that may be used");
  visit("virtualization", node.virtualization, "hypervisor, when one shows itself");
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
  requires SameAs<T, Cluster>
void fields(Visitor& visit, T& cluster) {
  visit.schema("parallel-opt/cluster/1");
  visit("name", cluster.name, "what people call it");
  visit("nodes", cluster.nodes, "machines");
  visit("devices", cluster.devices, "what runs operators");
  visit.optional("links", cluster.links, "ways between devices");
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
