#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "parallel_opt/hardware/discover.h"
#include "parallel_opt/hardware/energy.h"
#include "parallel_opt/hardware/load.h"
#include "parallel_opt/hardware/merge_hosts.h"
#include "parallel_opt/hardware/probe_cache.h"
#include "python/bindings/bind_fields.h"

namespace parallel_opt::bindings {

using namespace nb::literals;
using Released = nb::call_guard<nb::gil_scoped_release>;

namespace {

void bind_discovery(nb::module_& m) {
  m.def(
      "discover",
      [](const std::string& root) {
        if (!root.empty()) return discover(DiskFileSystem(root));
        return discover(DiskFileSystem(), this_machine());
      },
      "root"_a = "", Released(),
      "This host, or the one whose /proc and /sys lie below `root`, without cached probes.");
  m.def("merge_hosts", &merge_hosts, "hosts"_a, "names"_a, Released(),
        "One cluster of several hosts; `names` say where each came from, for errors. Raises "
        "InputError.");
  m.def("load_cluster", &load_cluster, "spec"_a, "software"_a = "", Released(),
        "A cluster by name: \"local\" (with cached probes, of `software` only when it is given), a "
        "file, or a preset such as \"2n8xH100-SXM-80GB\". Raises InputError or SystemError.");
  m.def(
      "check_cluster", [](const Cluster& cluster) { throw_if_any(check(cluster)); }, "cluster"_a,
      "Raise InputError with every broken rule of a cluster.");
  m.def("hardware_hash", &hardware_hash, "cluster"_a,
        "Identity of the hardware: types, counts and links, no measured values.");
}

void bind_probes(nb::module_& m) {
  bind_struct<ProbeSet>(m, "ProbeSet", "What was measured on one device in one go.");
  bind_struct<ProbeReport>(m, "ProbeReport", "What a probe run prints.");
  m.def(
      "fit_transfer",
      [](const std::vector<std::pair<double, double>>& points) {
        std::vector<TransferPoint> measured;
        measured.reserve(points.size());
        for (const auto& [bytes, seconds] : points) measured.push_back({bytes, seconds});
        if (measured.size() < 2) {
          throw InputError("points", "are fewer than two", "measure at least two sizes");
        }
        const TransferFit fit = fit_transfer(measured);
        return std::pair(fit.latency_s, fit.bytes_per_s);
      },
      "points"_a,
      "Seconds and bytes/s of latency + bytes / rate, fitted to (bytes, seconds); the intervals "
      "hold the residual.");
  m.def("today", &today, "The day in UTC, as 2026-11-21.");
  m.def("probe_host", &probe_host, "device"_a, "budget_s"_a, Released(),
        "Memory bandwidth and transfers between ranks of a CPU device of this host.");
  m.def(
      "cached_probes",
      [](const Device& device, const std::string& software) {
        CachedProbes found =
            cached_probes(DiskFileSystem(), probe_directory(), device, software, today());
        return std::pair(std::move(found.probes), std::move(found.notes));
      },
      "device"_a, "software"_a = "",
      "The newest usable probe of a device, or None; and why other entries were passed over.");
  m.def("probe_directory", &probe_directory, "Where probes are filed.");
  m.def(
      "store_probes", [](const ProbeSet& set) { return store_probes(probe_directory(), set); },
      "probes"_a, "File a probe in the cache; returns its path. Raises SystemError.");
  m.def(
      "merge_probes",
      [](Cluster cluster, const ProbeSet& set) {
        merge_probes(cluster, set);
        return cluster;
      },
      "cluster"_a, "probes"_a, "The cluster with a probe's measured numbers.");
}

void bind_energy(nb::module_& m) {
  bind_struct<DeviceEnergy>(m, "DeviceEnergy", "Joules of one part of the machine.");
  bind_struct<EnergyReading>(m, "EnergyReading", "Joules of the machine over a window.");
  nb::class_<EnergyMeter>(m, "EnergyMeter",
                          "Measures windows of energy with the best source this host has.")
      .def(nb::init<>(), Released())
      .def("begin", &EnergyMeter::begin, Released(), "Start a window.")
      .def("end", &EnergyMeter::end, Released(), "End the window; returns its reading.");
}

}  // namespace

void bind_hardware(nb::module_& m) {
  bind_discovery(m);
  bind_probes(m);
  bind_energy(m);
}

}  // namespace parallel_opt::bindings
