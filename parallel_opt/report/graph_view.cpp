#include "parallel_opt/report/graph_view.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <queue>
#include <unordered_map>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/call_time.h"
#include "parallel_opt/graph/blocks.h"
#include "parallel_opt/graph/operator_facts.h"
#include "parallel_opt/report/graph_grid.h"
#include "parallel_opt/report/graph_parts.h"

namespace parallel_opt {
namespace {

using graph_parts::Part;

constexpr std::size_t kMostEnds = 6;  ///< inputs or outputs drawn on their own

std::string shape_text(const Tensor& tensor) {
  std::vector<std::string> sizes;
  for (const Dim& dim : tensor.shape) {
    sizes.push_back(dim.symbolic() ? dim.expression : std::to_string(dim.size));
  }
  return std::string(name_of(tensor.dtype)) + "[" + join(sizes, ", ") + "]";
}

class Drawing {
 public:
  Drawing(const Graph& graph, int open_boxes, std::vector<double> seconds)
      : graph_(graph),
        open_boxes_(open_boxes),
        facts_(operator_facts(graph)),
        seconds_(std::move(seconds)),
        box_of_op_(graph.ops.size(), -1),
        entered_(graph.regions.size()) {
    add_parameters();
  }

  GraphView run() {
    view_.name = graph_.name;
    const Part root = graph_parts::parts_of(graph_, facts_);
    view_.boxes.push_back(
        {graph_.name, graph_.source, BoxKind::model, -1, 1, 0, 0, 0, 0, 0, 0, true});
    inside_.emplace_back();
    add_inputs();
    for (const Part& part : root.inside) emit(part, 0, 1);
    sum_up();
    add_lines();
    place();
    open();
    return std::move(view_);
  }

 private:
  /// A parameter is memory of the operator that reads it first.
  void add_parameters() {
    std::vector<bool> counted(graph_.tensors.size());
    for (std::size_t i = 0; i < graph_.ops.size(); ++i) {
      for (const Operand& input : graph_.ops[i].inputs) {
        if (!input.tensor.valid() || counted[input.tensor.index()]) continue;
        counted[input.tensor.index()] = true;
        const Tensor& tensor = graph_.tensor(input.tensor);
        if (tensor.role == TensorRole::parameter) {
          facts_[i].saved_bytes += static_cast<double>(bytes(tensor).value);
        }
      }
    }
  }

  int add_box(GraphBox box) {
    const int index = static_cast<int>(view_.boxes.size());
    inside_[static_cast<std::size_t>(box.parent)].push_back(index);
    view_.boxes.push_back(std::move(box));
    inside_.emplace_back();
    return index;
  }

  GraphBox& box(int index) { return view_.boxes[static_cast<std::size_t>(index)]; }

  void add_inputs() {
    for (const TensorId id : graph_.inputs) {
      if (input_box_.size() >= kMostEnds && !input_box_.empty()) {
        input_box_[id.value] = input_box_.begin()->second;
        continue;
      }
      const Tensor& tensor = graph_.tensor(id);
      input_box_[id.value] =
          add_box({tensor.name, shape_text(tensor), BoxKind::input, 0, 1, 0, 0, 0, 0, 0, 0, false});
    }
  }

  void emit(const Part& part, int parent, double times) {
    GraphBox one{part.name, part.detail, part.kind, parent, part.repeats, 0, 0, 0, 0, 0, 0, false};
    const int index = add_box(std::move(one));
    const double inner = times * static_cast<double>(part.repeats);
    for (const OpId op : part.hidden) box_of_op_[op.index()] = index;
    for (const OpId op : part.ops) {
      box_of_op_[op.index()] = index;
      const OperatorFacts& facts = facts_[op.index()];
      GraphBox& at = box(index);
      at.operators += 1;
      at.flops += facts.flops.value * inner;
      at.bytes += facts.bytes * inner;
      at.memory_bytes += facts.saved_bytes * inner;
      if (!seconds_.empty()) at.seconds += seconds_[op.index()] * inner;
    }
    if (part.inside.empty()) return;
    add_box({"", "", BoxKind::entry, index, 1, 0, 0, 0, 0, 0, 0, false});
    for (const Part& child : part.inside) emit(child, index, inner);
    add_box({"", "", BoxKind::exit, index, 1, 0, 0, 0, 0, 0, 0, false});
  }

  /// Boxes stand after their parents: sums go up from the end.
  void sum_up() {
    for (std::size_t i = view_.boxes.size(); i-- > 1;) {
      const GraphBox& from = view_.boxes[i];
      GraphBox& to = box(from.parent);
      to.operators += from.operators * from.repeats;
      to.flops += from.flops;
      to.bytes += from.bytes;
      to.memory_bytes += from.memory_bytes;
      to.seconds += from.seconds;
    }
    view_.flops = view_.boxes[0].flops;
    view_.bytes = view_.boxes[0].bytes;
    view_.memory_bytes = view_.boxes[0].memory_bytes;
    view_.seconds = view_.boxes[0].seconds;
  }

  /// Boxes that make a tensor, seen through views.
  using Sources = std::vector<int>;

  void add_lines() {
    std::vector<Sources> sources(graph_.tensors.size());
    for (const TensorId id : graph_.inputs) {
      sources[id.index()].push_back(input_box_.at(id.value));
    }
    for (std::size_t i = 0; i < graph_.ops.size(); ++i) {
      const Op& op = graph_.ops[i];
      if (op.phase != Phase::forward) continue;
      const int target = box_of_op_[i];
      Sources through;
      if (target >= 0) add_deciding(sources, op.region, target);
      for (const Operand& input : op.inputs) {
        if (!input.tensor.valid()) continue;
        for (const int source : sources[input.tensor.index()]) {
          if (target >= 0) {
            add_line(source, target, input.tensor);
          } else if (through.size() < 4 && std::ranges::find(through, source) == through.end()) {
            through.push_back(source);
          }
        }
      }
      for (const TensorId id : op.outputs) {
        if (id.valid()) sources[id.index()] = target >= 0 ? Sources{target} : through;
      }
    }
    add_outputs(sources);
    for (const auto& [ends, line] : lines_) view_.lines.push_back(line);
  }

  /// What chooses a way of a branch leads into it: to the first operator that is drawn.
  void add_deciding(const std::vector<Sources>& sources, RegionId region, int target) {
    for (; region.valid(); region = graph_.region(region).parent) {
      const Region& one = graph_.region(region);
      if (entered_[region.index()]) continue;
      entered_[region.index()] = true;
      if (one.kind != RegionKind::branch || !one.predicate.valid()) continue;
      for (const int source : sources[one.predicate.index()]) {
        add_line(source, target, one.predicate);
      }
    }
  }

  void add_outputs(const std::vector<Sources>& sources) {
    std::size_t drawn = 0;
    for (const TensorId id : graph_.outputs) {
      if (!id.valid() || sources[id.index()].empty() || drawn++ >= kMostEnds) continue;
      const Tensor& tensor = graph_.tensor(id);
      const int output = add_box(
          {tensor.name, shape_text(tensor), BoxKind::output, 0, 1, 0, 0, 0, 0, 0, 0, false});
      for (const int source : sources[id.index()]) add_line(source, output, id);
    }
  }

  std::vector<int> chain(int index) const {
    std::vector<int> result;
    for (; index > 0; index = view_.boxes[static_cast<std::size_t>(index)].parent) {
      result.push_back(index);
    }
    std::ranges::reverse(result);
    return result;
  }

  /// Between the boxes side by side that hold both ends, and down to the ends through entry and
  /// exit of every box on the way.
  void add_line(int source, int target, TensorId tensor) {
    const std::vector<int> from = chain(source), to = chain(target);
    std::size_t k = 0;
    while (k < from.size() && k < to.size() && from[k] == to[k]) ++k;
    // Equal up to here: a box that stands for several, one of which feeds the next.
    if (k < from.size() && k < to.size()) join_boxes(from[k], to[k], tensor);
    const std::size_t below = k < from.size() && k < to.size() ? k + 1 : k;
    for (std::size_t i = std::max<std::size_t>(below, 1); i < from.size(); ++i) {
      join_boxes(from[i], inside_[static_cast<std::size_t>(from[i - 1])].back(), tensor);
    }
    for (std::size_t i = std::max<std::size_t>(below, 1); i < to.size(); ++i) {
      join_boxes(inside_[static_cast<std::size_t>(to[i - 1])].front(), to[i], tensor);
    }
  }

  void join_boxes(int from, int to, TensorId tensor) {
    if (from >= to) return;  // into the next repeat
    const double size = static_cast<double>(bytes(graph_.tensor(tensor)).value);
    GraphLine& line = lines_[{from, to}];
    line.from = from;
    line.to = to;
    if (size > line.bytes || line.tensor.empty()) {
      line.bytes = size;
      line.tensor = graph_.tensor(tensor).name;
    }
  }

  void place() {
    std::map<int, std::vector<std::size_t>> lines_in;  // by parent
    for (std::size_t k = 0; k < view_.lines.size(); ++k) {
      lines_in[box(view_.lines[k].from).parent].push_back(k);
    }
    for (std::size_t parent = 0; parent < inside_.size(); ++parent) {
      const std::vector<int>& children = inside_[parent];
      if (children.empty()) continue;
      std::unordered_map<int, int> local;  // never iterated
      GridInput input;
      for (const int child : children) {
        local[child] = static_cast<int>(input.weights.size());
        input.weights.push_back(1 + box(child).flops + 0.001 * box(child).bytes);
      }
      const std::vector<std::size_t>& lines = lines_in[static_cast<int>(parent)];
      for (const std::size_t k : lines) {
        input.lines.push_back({local.at(view_.lines[k].from), local.at(view_.lines[k].to)});
      }
      const Grid grid = lay_out(input);
      for (std::size_t i = 0; i < children.size(); ++i) {
        box(children[i]).row = grid.rows[i];
        box(children[i]).column = grid.columns[i];
      }
      for (std::size_t k = 0; k < lines.size(); ++k) view_.lines[lines[k]].lane = grid.lanes[k];
    }
  }

  /// Opens what has most FLOPs, as long as the picture stays small.
  void open() {
    std::priority_queue<std::pair<double, int>> closed;
    int seen = 0;
    const auto show_inside = [&](int index) {
      for (const int child : inside_[static_cast<std::size_t>(index)]) {
        ++seen;
        if (!inside_[static_cast<std::size_t>(child)].empty()) {
          closed.emplace(box(child).flops / static_cast<double>(box(child).repeats), -child);
        }
      }
    };
    show_inside(0);
    while (!closed.empty()) {
      const int index = -closed.top().second;
      closed.pop();
      const int more = static_cast<int>(inside_[static_cast<std::size_t>(index)].size());
      // What costs next to nothing stays closed, however much room there is.
      if (seen + more > open_boxes_ || box(index).flops < 0.01 * view_.flops) continue;
      box(index).open = true;
      show_inside(index);
    }
  }

  const Graph& graph_;
  int open_boxes_;
  std::vector<OperatorFacts> facts_;
  std::vector<double> seconds_;            ///< by operator; empty: nobody knows
  std::vector<int> box_of_op_;             ///< -1: a view, not drawn
  std::vector<bool> entered_;              ///< by region: an operator of it was drawn
  std::map<std::int32_t, int> input_box_;  ///< by tensor
  std::vector<std::vector<int>> inside_;   ///< by box, in execution order
  std::map<std::pair<int, int>, GraphLine> lines_;
  GraphView view_;
};

}  // namespace

GraphView graph_view(const Graph& graph, int open_boxes) {
  return Drawing(graph, open_boxes, {}).run();
}

GraphView graph_view(const Graph& graph, const Device& device, int open_boxes) {
  GraphView view = Drawing(graph, open_boxes, operator_times(graph, device).seconds).run();
  view.timed_on = device.name;
  return view;
}

std::vector<Fault> check(const GraphView& view, const std::string& where) {
  constexpr int kMostTracks = 10'000;
  std::vector<Fault> faults;
  const auto fault = [&](const char* list, std::size_t i, const char* what) {
    faults.push_back({where + "." + list + "[" + std::to_string(i) + "]", what, ""});
  };
  const int count = static_cast<int>(view.boxes.size());
  if (count == 0) faults.push_back({where + ".boxes", "are empty", "the first is the model"});
  for (int i = 0; i < count; ++i) {
    const GraphBox& box = view.boxes[static_cast<std::size_t>(i)];
    const auto at = static_cast<std::size_t>(i);
    if (i == 0 ? box.parent != -1 : box.parent < 0 || box.parent >= i) {
      fault("boxes", at, "its parent is no earlier box");
    }
    if (std::abs(box.row) > kMostTracks || std::abs(box.column) > kMostTracks) {
      fault("boxes", at, "its place is far outside of any grid");
    }
    if (box.repeats < 1) fault("boxes", at, "repeats less than once");
  }
  for (std::size_t i = 0; i < view.lines.size(); ++i) {
    const GraphLine& line = view.lines[i];
    if (line.from < 1 || line.to < 1 || line.from >= count || line.to >= count) {
      fault("lines", i, "joins no two boxes");
      continue;
    }
    const GraphBox& from = view.boxes[static_cast<std::size_t>(line.from)];
    const GraphBox& to = view.boxes[static_cast<std::size_t>(line.to)];
    if (from.parent != to.parent) fault("lines", i, "joins boxes of two parents");
    if (to.row <= from.row) fault("lines", i, "does not lead downward");
    if (std::abs(line.lane) > kMostTracks) fault("lines", i, "its lane is far outside of any grid");
  }
  return faults;
}

}  // namespace parallel_opt
