#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "parallel_opt/cost/caching_allocator.h"
#include "parallel_opt/cost/measured_rows.h"
#include "parallel_opt/cost/row_model.h"
#include "python/bindings/bind_fields.h"

namespace parallel_opt::bindings {

using namespace nb::literals;

namespace {

/// Published rows that are read once and predicted under many parameters. Rows whose run is
/// assumed, as it would not fit as they state it, are skipped.
class RowCases {
 public:
  explicit RowCases(const std::vector<std::string>& rows) {
    for (const std::string& text : rows) add(row_case(from_json<TrainingRow>(text, "row")));
  }
  /// Tables as `parallel-opt accuracy` reads them, by name and text.
  static RowCases of_tables(const std::vector<std::pair<std::string, std::string>>& files) {
    std::vector<CsvTable> tables;
    for (const auto& [name, text] : files) tables.push_back(read_csv(text, name));
    RowCases found({});
    for (const MeasuredRow& measured : read_measured_rows(tables).rows) {
      found.add(measured.unusable.empty() ? row_case(measured.row) : measured.unusable);
      found.rows_.push_back(measured);
    }
    return found;
  }
  const std::vector<std::string>& skipped() const { return skipped_; }
  std::vector<std::string> ids() const {
    return collect<std::string>([](const MeasuredRow& m) { return m.row.id; });
  }
  std::vector<std::string> sources() const {
    return collect<std::string>([](const MeasuredRow& m) { return m.row.source; });
  }
  std::vector<std::string> architectures() const {
    std::vector<std::string> found;
    for (const RowCase& one : cases_) found.push_back(one.facts ? one.device.arch : "");
    return found;
  }
  std::vector<std::string> boards() const {
    std::vector<std::string> found;
    for (const RowCase& one : cases_) found.push_back(one.facts ? one.device.board : "");
    return found;
  }
  std::vector<double> devices() const {
    return collect<double>([](const MeasuredRow& m) { return m.row.gpus.value_or(0); });
  }
  std::vector<double> seconds() const {
    return collect<double>([](const MeasuredRow& m) { return m.row.iteration_s.value_or(0); });
  }
  std::vector<double> peak_bytes() const {
    return collect<double>(
        [](const MeasuredRow& m) { return m.row.peak_memory_bytes.value_or(0); });
  }
  /// Seconds and bytes per row; 0 where it was skipped.
  std::pair<std::vector<double>, std::vector<double>> predict(const std::string& parameters) const {
    const auto p = from_json<LayoutParameters>(parameters, "parameters");
    std::vector<double> seconds(cases_.size()), bytes(cases_.size());
    for (std::size_t i = 0; i < cases_.size(); ++i) {
      const RowCase& one = cases_[i];
      if (!one.facts) continue;
      const LayoutCost cost = layout_cost(*one.facts, one.device, one.stack, one.layout, p);
      seconds[i] = cost.time_s();
      bytes[i] = printed_bytes(one, cost);
    }
    return {std::move(seconds), std::move(bytes)};
  }
  /// The items of one row's estimate, as JSON.
  std::string items(std::size_t row, const std::string& parameters) const {
    const auto p = from_json<LayoutParameters>(parameters, "parameters");
    const RowCase& one = cases_.at(row);
    if (!one.facts) return "{}";
    const LayoutCost cost = layout_cost(*one.facts, one.device, one.stack, one.layout, p);
    return to_json(layout_estimate(cost, *one.facts, one.device, one.layout, p));
  }

 private:
  void add(std::variant<RowCase, std::string> found) {
    if (auto* why = std::get_if<std::string>(&found)) {
      skipped_.push_back(*why);
      cases_.emplace_back();
    } else {
      skipped_.emplace_back();
      const RowCase& one = std::get<RowCase>(found);
      if (one.on_cores) {  // of other parameters
        skipped_.back() = "its devices are processors";
        cases_.emplace_back();
        return;
      }
      const RowCase run = chosen_run(one, layout_parameters());
      // What was assumed of a run because it would not fit speaks for no parameter.
      const bool known = run.facts == one.facts && run.layout.micro_batch == one.layout.micro_batch;
      if (!known) {
        skipped_.back() = run.notes.back();
        cases_.emplace_back();
        return;
      }
      cases_.push_back(std::move(std::get<RowCase>(found)));
    }
  }
  template <class T, class Get>
  std::vector<T> collect(Get get) const {
    std::vector<T> values;
    for (const MeasuredRow& measured : rows_) values.push_back(get(measured));
    return values;
  }

  std::vector<MeasuredRow> rows_;
  std::vector<RowCase> cases_;
  std::vector<std::string> skipped_;
};

}  // namespace

void bind_layout(nb::module_& m) {
  nb::class_<CachingAllocator>(m, "CachingAllocator",
                               "PyTorch's caching allocator of one device, as a model.")
      .def(
          "__init__",
          [](CachingAllocator* self, bool expandable_segments,
             std::optional<std::int64_t> capacity_bytes) {
            AllocatorSettings settings;
            settings.expandable_segments = expandable_segments;
            if (capacity_bytes) settings.capacity_bytes = *capacity_bytes;
            new (self) CachingAllocator(settings);
          },
          "expandable_segments"_a = false, "capacity_bytes"_a = nb::none())
      .def("allocate", &CachingAllocator::allocate, "bytes"_a,
           "A block, or None when the device has no room.")
      .def("free", &CachingAllocator::free, "block"_a, "Gives a block back.")
      .def("adopt", &CachingAllocator::adopt, "small"_a, "sizes"_a, "is_free"_a,
           "A segment of a snapshot; returns its blocks.")
      .def_prop_ro("allocated_bytes", &CachingAllocator::allocated_bytes, "In use now.")
      .def_prop_ro("reserved_bytes", &CachingAllocator::reserved_bytes, "Of all segments now.")
      .def_prop_ro("peak_allocated_bytes", &CachingAllocator::peak_allocated_bytes, "Most in use.")
      .def_prop_ro("peak_reserved_bytes", &CachingAllocator::peak_reserved_bytes,
                   "Most in segments.");
  nb::class_<RowCases>(m, "RowCases", "Published rows, read once, predicted under many parameters.")
      .def(nb::init<const std::vector<std::string>&>(), "rows"_a)
      .def_static("of_tables", &RowCases::of_tables, "files"_a,
                  "Tables, each by name and text, as `parallel-opt accuracy` reads them.")
      .def_prop_ro("ids", &RowCases::ids, "Names of the rows of tables.")
      .def_prop_ro("sources", &RowCases::sources, "What they are from.")
      .def_prop_ro("architectures", &RowCases::architectures, "Of their devices, or empty.")
      .def_prop_ro("boards", &RowCases::boards,
                   "Names of their devices without their memory, or empty.")
      .def_prop_ro("devices", &RowCases::devices, "Devices of each; 0: not stated.")
      .def_prop_ro("seconds", &RowCases::seconds, "Measured per step; 0: nothing was.")
      .def_prop_ro("peak_bytes", &RowCases::peak_bytes, "Measured peaks; 0: nothing was.")
      .def_prop_ro("skipped", &RowCases::skipped, "Per row: why it cannot be expressed, or empty.")
      .def("predict", &RowCases::predict, "parameters"_a, nb::call_guard<nb::gil_scoped_release>(),
           "Seconds per step and peak bytes per row; 0 where it was skipped.")
      .def("items", &RowCases::items, "row"_a, "parameters"_a, "The estimate of one row, as JSON.");
  m.def(
      "layout_parameters", [] { return to_json(layout_parameters()); },
      "The fitted parameters of the layout cost model, as JSON.");
}

}  // namespace parallel_opt::bindings
