#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "parallel_opt/base/error.h"
#include "parallel_opt/base/json.h"
#include "parallel_opt/graph/graph.h"
#include "parallel_opt/hardware/cluster.h"

namespace parallel_opt {

/// What a box of the picture of a model stands for.
enum class BoxKind { model, module, group, operation, input, output, entry, exit };
constexpr auto enum_names(BoxKind) {
  return std::to_array<std::string_view>(
      {"model", "module", "group", "operation", "input", "output", "entry", "exit"});
}

/// One box, with its place in the grid of the box that it is drawn in. Sums over all that it
/// stands for: repeats, and repeats of what encloses it.
struct GraphBox {
  std::string name;    ///< "blocks.*", "q_proj", "softmax"
  std::string detail;  ///< "linear", "float32[8, 64]"
  BoxKind kind = BoxKind::module;
  int parent = -1;  ///< an earlier box; -1: none, the model itself
  std::int64_t repeats = 1;
  std::int64_t operators = 0;  ///< with work, of one occurrence
  double flops = 0;
  double bytes = 0;         ///< moved
  double memory_bytes = 0;  ///< kept for the backward, and parameters
  int row = 0, column = 0;
  bool open = false;   ///< drawn with what is inside, at first
  double seconds = 0;  ///< of a plain step, forward and backward; 0: nobody knows
  bool operator==(const GraphBox&) const = default;
};

/// A tensor, or several, that pass from one box to another of the same parent.
struct GraphLine {
  int from = 0, to = 0;
  double bytes = 0;
  std::string tensor;  ///< the largest
  int lane = 0;        ///< column that it runs through where it passes rows
  bool operator==(const GraphLine&) const = default;
};

/// A model as a picture shows it: modules in modules, equal neighbours drawn once.
struct GraphView {
  std::string name;
  double flops = 0, bytes = 0, memory_bytes = 0;
  std::vector<GraphBox> boxes;  ///< the first is the model
  std::vector<GraphLine> lines;
  double seconds = 0;    ///< of a plain step, forward and backward; 0: nobody knows
  std::string timed_on;  ///< the device that `seconds` are predicted for
  bool operator==(const GraphView&) const = default;
};

/// `open_boxes`: about as many boxes as are to be seen at first; those with most FLOPs are opened.
GraphView graph_view(const Graph& graph, int open_boxes = 48);
/// The same with the times that a plain step takes on a device (cost/call_time.h).
GraphView graph_view(const Graph& graph, const Device& device, int open_boxes = 48);

/// What a picture relies on, for views that were read from a file: parents before their boxes,
/// lines between boxes of one parent, downward, in cells of a reasonable grid.
std::vector<Fault> check(const GraphView& view, const std::string& where);

template <class Visitor, class T>
  requires SameAs<T, GraphBox>
void fields(Visitor& visit, T& box) {
  visit("name", box.name, "module, operator or tensor");
  visit.optional("detail", box.detail, "operator or shape");
  visit("kind", box.kind, "what it stands for");
  visit("parent", box.parent, "index of the box that it is drawn in; -1: none");
  visit("repeats", box.repeats, "equal neighbours drawn once");
  visit("operators", box.operators, "with work, of one occurrence");
  visit("flops", box.flops, "all repeats");
  visit("bytes", box.bytes, "moved, all repeats");
  visit("memory_bytes", box.memory_bytes, "kept for the backward, and parameters, all repeats");
  visit("row", box.row, "in the grid of its parent, from the top");
  visit("column", box.column, "0: the main path");
  visit.optional("open", box.open, "drawn with what is inside");
  visit.optional("seconds", box.seconds, "of a plain step, forward and backward, all repeats");
}

template <class Visitor, class T>
  requires SameAs<T, GraphLine>
void fields(Visitor& visit, T& line) {
  visit("source", line.from, "index of a box");
  visit("target", line.to, "index of a box with the same parent");
  visit("bytes", line.bytes, "of the tensors that pass");
  visit("tensor", line.tensor, "the largest");
  visit("lane", line.lane, "column that it runs through where it passes rows");
}

template <class Visitor, class T>
  requires SameAs<T, GraphView>
void fields(Visitor& visit, T& view) {
  visit("name", view.name, "name of the model");
  visit("flops", view.flops, "forward, whole batch");
  visit("bytes", view.bytes, "moved by the forward");
  visit("memory_bytes", view.memory_bytes, "kept for the backward, and parameters");
  visit("boxes", view.boxes, "the first is the model");
  visit("lines", view.lines, "what passes between boxes");
  visit.optional("seconds", view.seconds, "of a plain step, forward and backward");
  visit.optional("timed_on", view.timed_on, "the device that seconds are predicted for");
}

}  // namespace parallel_opt
