#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "parallel_opt/cost/caching_allocator.h"
#include "parallel_opt/cost/row_model.h"
#include "python/bindings/bind_fields.h"

namespace parallel_opt::bindings {

using namespace nb::literals;

namespace {

/// Published rows that are read once and predicted under many parameters.
class RowCases {
 public:
  explicit RowCases(const std::vector<std::string>& rows) {
    for (const std::string& text : rows) {
      auto found = row_case(from_json<TrainingRow>(text, "row"));
      if (auto* why = std::get_if<std::string>(&found)) {
        skipped_.push_back(*why);
        cases_.emplace_back();
      } else {
        skipped_.emplace_back();
        cases_.push_back(std::move(std::get<RowCase>(found)));
      }
    }
  }
  const std::vector<std::string>& skipped() const { return skipped_; }
  /// Seconds and bytes per row; 0 where it was skipped.
  std::pair<std::vector<double>, std::vector<double>> predict(const std::string& parameters) const {
    const auto p = from_json<LayoutParameters>(parameters, "parameters");
    std::vector<double> seconds(cases_.size()), bytes(cases_.size());
    for (std::size_t i = 0; i < cases_.size(); ++i) {
      const RowCase& one = cases_[i];
      if (!one.facts) continue;
      const LayoutCost cost = layout_cost(*one.facts, one.device, one.stack, one.layout, p);
      seconds[i] = cost.time_s();
      bytes[i] = cost.memory_bytes();
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
      .def_prop_ro("skipped", &RowCases::skipped, "Per row: why it cannot be expressed, or empty.")
      .def("predict", &RowCases::predict, "parameters"_a, nb::call_guard<nb::gil_scoped_release>(),
           "Seconds per step and peak bytes per row; 0 where it was skipped.")
      .def("items", &RowCases::items, "row"_a, "parameters"_a, "The estimate of one row, as JSON.");
  m.def(
      "layout_parameters", [] { return to_json(layout_parameters()); },
      "The fitted parameters of the layout cost model, as JSON.");
}

}  // namespace parallel_opt::bindings
