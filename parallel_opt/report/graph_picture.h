#pragma once

#include <array>
#include <string>

#include "parallel_opt/report/graph_view.h"

namespace parallel_opt {

/// What the colour of a box says: its share of the model's FLOPs, of the bytes that operators move,
/// of the memory for parameters and for what the backward needs, or of the predicted time of a
/// step.
enum class HeatBy { flops, traffic, memory, time };
constexpr auto enum_names(HeatBy) {
  return std::to_array<std::string_view>({"flops", "traffic", "memory", "time"});
}

/// Colour class of a share, 0 (below a thousandth) to 5 (three tenths and more).
int heat_of(double share);

/// A picture of its own, with its style inside: light or dark as the viewer likes it. By time only
/// where the view has times.
std::string graph_svg(const GraphView& view, HeatBy by);

/// One offline page: boxes open and close by a click, colours by choice, at first as `by` says.
std::string graph_html(const GraphView& view, HeatBy by = HeatBy::flops);

/// The picture as a <figure> of a report, whose page has the style of `graph_style`; by time where
/// the view has times.
std::string graph_figure(const GraphView& view);
std::string graph_style();

}  // namespace parallel_opt
