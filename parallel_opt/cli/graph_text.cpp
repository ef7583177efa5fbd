#include "parallel_opt/cli/graph_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <ostream>

#include "parallel_opt/base/text.h"
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

std::string percent(double share) { return fmt::format("{:.1f} %", share * 100); }

std::string bytes_text(double bytes) { return show_bytes(bytes); }

std::string intensity_text(double intensity) {
  return intensity > 0 ? fmt::format("{:.3g}", intensity) : "-";
}

/// The table, below an empty line, and how many rows were left out; nothing without rows.
void print_table(const Table& table, std::size_t left_out, const char* what, std::ostream& out) {
  if (table.rows.empty()) return;
  out << '\n' << to_text(table);
  if (left_out > 0) out << "and " << left_out << " more " << what << '\n';
}

/// Runs of operators of the critical path in one place: "blocks.*.attn 96x".
Table path_table(const GraphAnalysis& a) {
  Table table{{{"heaviest chain"},
               {"total", Align::right},
               {"of all", Align::right},
               {"operators", Align::right},
               {"gain at most", Align::right}},
              {}};
  const auto add = [&](const char* name, const std::string& total, const PathSummary& path) {
    table.rows.push_back({name, total, percent(path.share), count(std::ssize(path.operators)),
                          fmt::format("{:.2f}x", path.parallelism)});
  };
  add("by FLOPs", show(Flops(a.critical_flops.total)), a.critical_flops);
  add("by bytes moved", bytes_text(a.critical_bytes.total), a.critical_bytes);
  return table;
}

/// Levels of equal width, joined; the widest first.
Table width_table(const WidthSummary& width) {
  struct Row {
    std::int64_t levels = 0;
    Flops flops;
    double bytes = 0;
  };
  std::map<std::int64_t, Row, std::greater<>> by_width;
  Flops all;
  for (const WidthLevel& level : width.levels) {
    Row& row = by_width[level.operators];
    ++row.levels;
    row.flops += level.flops;
    row.bytes += level.bytes;
    all += level.flops;
  }
  Table table{{{"at once", Align::right},
               {"levels", Align::right},
               {"FLOPs", Align::right},
               {"of all", Align::right},
               {"bytes moved", Align::right}},
              {}};
  for (const auto& [operators, row] : by_width) {
    const double share = all.value > 0 ? row.flops.value / all.value : 0;
    table.rows.push_back({count(operators), count(row.levels), show(row.flops), percent(share),
                          bytes_text(row.bytes)});
  }
  return table;
}

std::string branch_text(const BranchSummary& branch) {
  return branch.modules + " (" + show(branch.flops) + ")";
}

Table branches_table(const std::vector<BranchesSummary>& groups) {
  Table table{{{"may run at once"},
               {"places", Align::right},
               {"FLOPs of all", Align::right},
               {"gain", Align::right}},
              {}};
  constexpr std::size_t kMostBranches = 4;
  for (const BranchesSummary& group : groups) {
    std::vector<std::string> texts;
    for (std::size_t b = 0; b < std::min(group.branches.size(), kMostBranches); ++b) {
      texts.push_back(branch_text(group.branches[b]));
    }
    if (group.branches.size() > kMostBranches) {
      texts.push_back("and " + std::to_string(group.branches.size() - kMostBranches) + " more");
    }
    table.rows.push_back(
        {join(texts, " | "), count(group.repeats), percent(group.share), percent(group.gain)});
  }
  return table;
}

Table classes_table(const std::vector<ClassSummary>& classes) {
  Table table{{{"class"},
               {"operators", Align::right},
               {"FLOPs", Align::right},
               {"of all", Align::right},
               {"bytes moved", Align::right},
               {"of all", Align::right},
               {"FLOPs/byte", Align::right}},
              {}};
  for (const ClassSummary& c : classes) {
    table.rows.push_back({std::string(name_of(c.op_class)), count(c.operators), show(c.flops),
                          percent(c.flops_share), bytes_text(c.bytes), percent(c.bytes_share),
                          intensity_text(c.intensity)});
  }
  return table;
}

Table blocks_table(const std::vector<BlockSummary>& blocks) {
  Table table{{{"block"},
               {"inside"},
               {"repeats", Align::right},
               {"operators", Align::right},
               {"FLOPs of all", Align::right},
               {"varies in"}},
              {}};
  for (const BlockSummary& b : blocks) {
    table.rows.push_back({b.name, b.inside, count(b.repeats), count(b.operators),
                          percent(b.flops_share), join(b.varies, ", ")});
  }
  return table;
}

/// Cuts that differ in nothing but their place are one row.
Table cuts_table(const std::vector<CutSummary>& cuts, std::size_t most, std::size_t& left_out) {
  struct Row {
    const CutSummary* first = nullptr;
    std::int64_t places = 0;
    double last_share = 0;
  };
  std::vector<Row> rows;
  std::map<std::string, std::size_t> at;
  for (const CutSummary& cut : cuts) {
    const std::string key =
        fmt::format("{} {} {} {} {}", without_numbers(cut.module), cut.bytes_per_sample,
                    cut.skip_bytes, cut.fixed_bytes, cut.tensors);
    const auto [place, fresh] = at.try_emplace(key, rows.size());
    if (fresh) rows.push_back({&cut, 0, 0});
    ++rows[place->second].places;
    rows[place->second].last_share = cut.share;
  }
  // The most places first: a chain of equal blocks is cut at those.
  std::ranges::stable_sort(rows, [](const Row& a, const Row& b) { return a.places > b.places; });
  left_out = rows.size() - std::min(rows.size(), most);
  rows.resize(std::min(rows.size(), most));
  std::ranges::stable_sort(
      rows, [](const Row& a, const Row& b) { return a.first->share < b.first->share; });
  Table table{{{"cut after"},
               {"places", Align::right},
               {"FLOPs before", Align::right},
               {"tensors", Align::right},
               {"per sample", Align::right},
               {"of it skips", Align::right},
               {"fixed", Align::right}},
              {}};
  for (const Row& row : rows) {
    const CutSummary& cut = *row.first;
    const std::string place = cut.module.empty() ? cut.after : without_numbers(cut.module);
    const std::string share =
        row.places == 1 ? percent(cut.share)
                        : fmt::format("{:.1f}-{:.1f} %", cut.share * 100, row.last_share * 100);
    table.rows.push_back({place, count(row.places), share, count(cut.tensors),
                          bytes_text(cut.bytes_per_sample), bytes_text(cut.skip_bytes),
                          bytes_text(cut.fixed_bytes)});
  }
  return table;
}

}  // namespace

void print_summary(const GraphSummary& s, std::ostream& out) {
  std::vector<std::string> inputs;
  inputs.reserve(s.inputs.size());
  for (const InputSummary& input : s.inputs) inputs.push_back(shape_text(input));
  Table facts{
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
  if (s.live_peak) {
    facts.rows.push_back({"peak", show(s.live_peak->bytes) + " at " + s.live_peak->at});
  }
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

void print_analysis(const GraphAnalysis& a, std::ostream& out) {
  constexpr std::size_t kMostRows = 12;
  out << to_text(
      {{{"", Align::left}, {"", Align::left}},
       {{"model", a.name + " (" + a.source + ")"},
        {"operators", count(a.operators)},
        {"forward", show(a.flops) + ", " + bytes_text(a.bytes) + " moved"},
        {"depth", count(a.width.depth) + " operators; at most " + count(a.width.most) +
                      " at once, on average " + fmt::format("{:.2f}", a.width.average)}}});
  print_table(path_table(a), 0, "", out);
  print_table(width_table(a.width), 0, "", out);
  std::vector<BranchesSummary> branches = a.branches;
  constexpr double kGain = 0.0005;  // less shows as 0.0 %
  std::erase_if(branches, [](const BranchesSummary& group) { return group.gain < kGain; });
  if (branches.size() > kMostRows) branches.resize(kMostRows);
  const std::size_t shown = branches.size();
  print_table(branches_table(branches), a.branches.size() - shown, "groups with less gain", out);
  print_table(classes_table(a.classes), 0, "", out);
  print_table(blocks_table(a.blocks), 0, "", out);
  std::size_t left_out = 0;
  const Table cuts = cuts_table(a.cuts, kMostRows, left_out);
  print_table(cuts, left_out, "kinds of cut", out);
  for (const std::string& note : a.notes) out << "note: " << note << '\n';
}

void print_operators(const GraphAnalysis& a, std::ostream& out) {
  Table table{{{"operator"},
               {"class"},
               {"module"},
               {"runs", Align::right},
               {"FLOPs", Align::right},
               {"of all", Align::right},
               {"bytes moved", Align::right},
               {"FLOPs/byte", Align::right},
               {"saved", Align::right},
               {"level", Align::right}},
              {}};
  // Operators that are alike in all but their place: one row, with how many there are.
  std::map<std::string, std::size_t> at;
  std::vector<std::pair<const OperatorFacts*, std::int64_t>> rows;
  for (const OperatorFacts& one : a.operator_list) {
    if (one.bytes == 0 && one.flops.value == 0) continue;  // views
    const std::string key =
        one.block.empty()
            ? one.name
            : fmt::format("{}\n{}\n{}\n{}\n{}", one.target, without_numbers(one.module),
                          one.flops.value, one.bytes, one.saved_bytes);
    const auto [place, fresh] = at.try_emplace(key, rows.size());
    if (fresh) rows.emplace_back(&one, 0);
    ++rows[place->second].second;
  }
  for (const auto& [one, times] : rows) {
    const double repeats = static_cast<double>(times);
    table.rows.push_back(
        {one->target, std::string(name_of(one->op_class)),
         times > 1 ? without_numbers(one->module) : one->module,
         fmt::format("{:.4g}", repeats * one->runs), show(one->flops * repeats),
         percent(a.flops.value > 0 ? one->flops.value * repeats / a.flops.value : 0),
         bytes_text(one->bytes * repeats), intensity_text(one->intensity),
         bytes_text(one->saved_bytes * repeats), count(one->level)});
  }
  print_table(table, 0, "", out);
}

}  // namespace parallel_opt
