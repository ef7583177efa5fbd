#include <ostream>

#include "parallel_opt/cli/commands.h"
#include "parallel_opt/cli/model_argument.h"
#include "parallel_opt/graph/summary.h"
#include "parallel_opt/report/table.h"

namespace parallel_opt {
namespace {

std::string count(std::int64_t number) { return std::to_string(number); }

std::string shape_text(const InputSummary& input) {
  std::vector<std::string> sizes;
  sizes.reserve(input.shape.size());
  for (const std::int64_t size : input.shape) sizes.push_back(count(size));
  return input.name + " " + std::string(name_of(input.dtype)) + "[" + join(sizes, ", ") + "]";
}

void print_summary(const GraphSummary& s, std::ostream& out) {
  std::vector<std::string> inputs;
  inputs.reserve(s.inputs.size());
  for (const InputSummary& input : s.inputs) inputs.push_back(shape_text(input));
  const Table facts{
      {{"", Align::left}, {"", Align::left}},
      {{"model", s.name + " (" + s.source + ")"},
       {"inputs", join(inputs, ", ")},
       {"operators", count(s.operators) + " over " + count(s.tensors) + " tensors"},
       {"parameters", count(s.parameters) + ", " + count(s.trainable_parameters) + " trainable, " +
                          show(s.parameter_bytes)},
       {"buffers", show(s.buffer_bytes)},
       {"forward", show(s.flops.forward) + " in contractions, convolutions and attention; " +
                       show(s.flops_all.forward) + " in all"},
       {"backward", show(s.flops.backward) + "; " + show(s.flops_all.backward) + " in all"},
       {"saved", show(s.saved_bytes) + " kept for the backward"},
       {"critical path", show(s.critical_path_flops)}}};
  out << to_text(facts);
  Table blocks{{{"block"}, {"repeats", Align::right}, {"operators", Align::right}}, {}};
  for (const Block& block : s.blocks) {
    blocks.rows.push_back({block.name, count(block.repeats), count(block.operators)});
  }
  if (!blocks.rows.empty()) out << '\n' << to_text(blocks);
  Table opaque{{{"unknown operator"}, {"count", Align::right}, {"share of FLOPs", Align::right}},
               {}};
  for (const OpaqueSummary& o : s.opaque) {
    opaque.rows.push_back({o.operator_name, count(o.count), show(o.flops_share * 100) + " %"});
  }
  if (!opaque.rows.empty()) out << '\n' << to_text(opaque);
  for (const std::string& note : s.notes) out << "note: " << note << '\n';
}

ExitCode run_graph(const Args& args, const Console& console) {
  const Graph loaded = with_operator_flag(load_model_argument(args.at("MODEL"), console), args);
  const Graph graph = bind_sizes(loaded, args.whole("batch", 1), args.whole("seq", 1));
  const GraphSummary summary = summarize(graph);
  if (console.json) {
    print_json(console, summary);
  } else {
    print_summary(summary, console.out);
  }
  return ExitCode::ok;
}

}  // namespace

/// parallel-opt graph model.pt2 --batch 8
Command graph_command() {
  return {
      .name = "graph",
      .summary = "Show what a model computes: operators, parameters, FLOPs, memory, blocks.",
      .arguments = {{"MODEL",
                     "a .pt2 file, a Hugging Face config.json, transformer:layers=32,..., or "
                     "file.py:factory (captured by Python)"}},
      .flags = {batch_flag(), seq_flag(), operators_flag()},
      .examples = {"parallel-opt graph model.pt2 --batch 8",
                   "parallel-opt graph model.pt2 --operators mine.json"},
      .run = run_graph,
  };
}

}  // namespace parallel_opt
