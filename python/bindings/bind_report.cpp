#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <optional>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/base/output_file.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/report/graph_picture.h"
#include "parallel_opt/report/report.h"
#include "parallel_opt/simulate/timeline.h"
#include "python/bindings/bind_fields.h"

namespace parallel_opt::bindings {

using namespace nb::literals;

namespace {

GraphView view_of(const Graph& graph, const Cluster* cluster) {
  const bool timed = cluster != nullptr && !cluster->devices.empty();
  return timed ? graph_view(graph, cluster->devices.front()) : graph_view(graph);
}

}  // namespace

void bind_report(nb::module_& m) {
  m.def(
      "report_html",
      [](std::string_view document, const std::string& name) {
        return report_html(read_report(document, name));
      },
      "document"_a, "name"_a = "report",
      "One offline HTML file from a run or demo document. Raises InputError.");
  m.def(
      "graph_view",
      [](const Graph& graph, const Cluster* cluster) { return to_json(view_of(graph, cluster)); },
      "graph"_a, "cluster"_a = nb::none(), nb::call_guard<nb::gil_scoped_release>(),
      "The model as a picture shows it: JSON for `graph` of a run or demo document. With a cluster "
      "also the times on its first device.");
  m.def(
      "graph_html",
      [](const Graph& graph, const Cluster* cluster) {
        return graph_html(view_of(graph, cluster));
      },
      "graph"_a, "cluster"_a = nb::none(), nb::call_guard<nb::gil_scoped_release>(),
      "One offline page of the model, with boxes that open and close.");
  m.def("chrome_trace", &chrome_trace, "timeline"_a, "Chrome trace JSON; opens in Perfetto.");
  m.def("read_file", &read_file, "path"_a, "Content of a file. Raises MachineError.");
  m.def("write_file", &write_file, "path"_a, "content"_a,
        "Replace a file in one step, with its directories. Raises MachineError.");
  m.def("write_output", &write_output, "path"_a, "content"_a,
        "The same for a file that the user names: its directory must be there.");
  m.def(
      "parse_bytes",
      [](std::string_view text) -> std::optional<std::int64_t> {
        const std::optional<Bytes> size = parse_bytes(text);
        return size ? std::optional(size->value) : std::nullopt;
      },
      "text"_a, "\"38GiB\", \"1.5 GB\", \"512\" in bytes; None when it is no size.");
}

}  // namespace parallel_opt::bindings
