#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "parallel_opt/hardware/cluster.h"
#include "python/bindings/bind_fields.h"

namespace parallel_opt::bindings {

template <>
nb::object to_python(const RateCurves& curves) {
  return to_python(curves.list());
}
template <>
std::string python_type<RateCurves>() {
  return python_type<std::vector<RateCurve>>();
}

void bind_cluster(nb::module_& m) {
  bind_struct<RatePoint>(m, "RatePoint", "One point of a rate curve.");
  bind_struct<RateCurve>(m, "RateCurve", "How fast a device runs one family of kernels.");
  bind_struct<Power>(m, "Power", "Idle and maximum watts of a device.");
  bind_struct<Device>(m, "Device", "A GPU or a group of CPU cores.");
  bind_struct<Cache>(m, "Cache", "One level of data cache.");
  bind_struct<Node>(m, "Node", "One machine.");
  bind_struct<Link>(m, "Link", "A way between two devices.");
  bind_struct<NodeRange>(m, "NodeRange", "Nodes first to last, both included.");
  bind_struct<Network>(m, "Network", "Switches that join many devices or nodes alike.");
  bind_struct<Zone>(m, "Zone", "A place with its own price of energy and carbon.");
  bind_struct<LayerRange>(m, "LayerRange", "Layers first to last of a model, both included.");
  bind_struct<ProfileRow>(m, "ProfileRow", "Time, memory and energy of one piece of a model.");
  bind_struct<MessageTime>(m, "MessageTime", "Seconds of one size of a collective.");
  bind_struct<ProfiledTransfer>(m, "ProfiledTransfer", "Time of one collective by size.");
  bind_struct<ProfiledRate>(m, "ProfiledRate", "A rate curve of a device.");
  bind_struct<ImportedProfile>(m, "ImportedProfile", "Measurements made elsewhere.");
  bind_struct<Cluster>(m, "Cluster", "What a job runs on; each number carries its quality.");
}

}  // namespace parallel_opt::bindings
