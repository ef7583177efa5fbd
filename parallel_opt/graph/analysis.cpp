#include "parallel_opt/graph/analysis.h"

#include <algorithm>
#include <cctype>
#include <map>

#include "parallel_opt/graph/blocks.h"
#include "parallel_opt/graph/branches.h"
#include "parallel_opt/graph/cuts.h"
#include "parallel_opt/graph/dependencies.h"

namespace parallel_opt {
namespace {

using Facts = std::vector<OperatorFacts>;

PathSummary path_of(const Dependencies& dependencies, const Facts& facts,
                    const std::vector<double>& weights) {
  const Chain chain = heaviest_chain(dependencies, weights);
  double all = 0;
  for (const double weight : weights) all += weight;
  PathSummary path;
  path.total = chain.weight;
  if (all > 0) path.share = chain.weight / all;
  if (chain.weight > 0) path.parallelism = all / chain.weight;
  for (const OpId op : chain.ops) path.operators.push_back(facts[op.index()].name);
  return path;
}

/// Does it launch anything? Views and arithmetic on sizes do not.
bool works(const OperatorFacts& one) { return one.bytes > 0 || one.flops.value > 0; }

/// Operators worth a device of their own: below a thousandth of what an operator does on average,
/// in FLOPs and in bytes, nobody would. A ResNet's counters of batches depend on nothing and would
/// be its widest level.
std::vector<bool> considerable(const Facts& facts) {
  double flops = 0, bytes = 0, working = 0;
  for (const OperatorFacts& one : facts) {
    flops += one.flops.value;
    bytes += one.bytes;
    working += works(one) ? 1 : 0;
  }
  constexpr double kShareOfMean = 0.001;
  const double least_flops = kShareOfMean * flops / std::max(working, 1.0);
  const double least_bytes = kShareOfMean * bytes / std::max(working, 1.0);
  std::vector<bool> counts;
  counts.reserve(facts.size());
  for (const OperatorFacts& one : facts) {
    counts.push_back(works(one) && (one.flops.value > least_flops || one.bytes > least_bytes));
  }
  return counts;
}

WidthSummary width_of(const Dependencies& dependencies, Facts& facts) {
  const std::vector<bool> counts = considerable(facts);
  const std::vector<std::int32_t> levels = earliest_levels(dependencies, counts);
  WidthSummary width;
  std::int64_t operators = 0;
  for (std::size_t i = 0; i < facts.size(); ++i) {
    facts[i].level = levels[i];
    if (!counts[i]) continue;
    const auto level = static_cast<std::size_t>(levels[i]);
    while (width.levels.size() <= level) {
      width.levels.push_back({static_cast<std::int64_t>(width.levels.size()), 0, {}, 0});
    }
    WidthLevel& at = width.levels[level];
    ++at.operators;
    at.flops += facts[i].flops;
    at.bytes += facts[i].bytes;
    ++operators;
  }
  width.depth = static_cast<std::int64_t>(width.levels.size());
  for (const WidthLevel& level : width.levels) width.most = std::max(width.most, level.operators);
  if (width.depth > 0) {
    width.average = static_cast<double>(operators) / static_cast<double>(width.depth);
  }
  return width;
}

/// What the modules of several operators have in common: the longest common prefix of their parts.
std::string common_module(const Facts& facts, const std::vector<OpId>& ops) {
  std::string common = facts[ops.front().index()].module;
  for (const OpId op : ops) {
    const std::string& other = facts[op.index()].module;
    while (!common.empty() && other != common &&
           !(other.starts_with(common) && other[common.size()] == '.')) {
      const std::size_t dot = common.rfind('.');
      common.resize(dot == std::string::npos ? 0 : dot);
    }
  }
  return without_numbers(common);
}

BranchesSummary branches_of(const BranchGroup& group, const Facts& facts, double all_flops) {
  BranchesSummary summary;
  if (group.fork.valid()) summary.after = facts[group.fork.index()].name;
  if (group.join.valid()) summary.until = facts[group.join.index()].name;
  double total = 0;
  for (const Branch& branch : group.branches) {
    BranchSummary one{common_module(facts, branch.ops),
                      static_cast<std::int64_t>(branch.ops.size()), Flops(branch.weight), 0};
    // Operators at the root, or all over the model: the target says more.
    if (one.modules.empty()) {
      one.modules = facts[branch.ops.front().index()].target;
      if (branch.ops.size() > 1) one.modules += " ...";
    }
    for (const OpId op : branch.ops) one.bytes += facts[op.index()].bytes;
    total += branch.weight;
    summary.branches.push_back(std::move(one));
  }
  if (all_flops > 0) summary.share = total / all_flops;
  if (all_flops > 0) summary.gain = group.gain / all_flops;
  return summary;
}

/// Groups that differ in nothing but their place are one line.
std::vector<BranchesSummary> gathered(const IndependentBranches& found, const Facts& facts,
                                      double all_flops) {
  std::vector<BranchesSummary> result;
  std::map<std::string, std::size_t> at;
  for (const BranchGroup& group : found.groups) {
    BranchesSummary one = branches_of(group, facts, all_flops);
    std::string key;
    for (const BranchSummary& branch : one.branches) {
      key += branch.modules + ' ' + std::to_string(branch.operators) + ' ' +
             std::to_string(branch.flops.value) + '\n';
    }
    const auto [place, fresh] = at.try_emplace(key, result.size());
    if (fresh) {
      result.push_back(std::move(one));
      continue;
    }
    BranchesSummary& first = result[place->second];
    ++first.repeats;
    first.share += one.share;
    first.gain += one.gain;
  }
  std::ranges::stable_sort(result, [](const auto& a, const auto& b) { return a.gain > b.gain; });
  return result;
}

std::vector<ClassSummary> classes_of(const Facts& facts, double all_flops, double all_bytes) {
  std::map<OpClass, ClassSummary> by_class;
  for (const OperatorFacts& one : facts) {
    ClassSummary& c = by_class[one.op_class];
    c.op_class = one.op_class;
    ++c.operators;
    c.flops += one.flops;
    c.bytes += one.bytes;
  }
  std::vector<ClassSummary> result;
  for (auto& [op_class, c] : by_class) {
    if (all_flops > 0) c.flops_share = c.flops.value / all_flops;
    if (all_bytes > 0) c.bytes_share = c.bytes / all_bytes;
    if (c.bytes > 0) c.intensity = c.flops.value / c.bytes;
    result.push_back(c);
  }
  std::ranges::stable_sort(result, [](const ClassSummary& a, const ClassSummary& b) {
    return a.flops > b.flops || (a.flops == b.flops && a.bytes > b.bytes);
  });
  return result;
}

std::vector<BlockSummary> blocks_of(const Graph& graph, Facts& facts, double all_flops) {
  const std::vector<NestedBlock> nested = find_nested_blocks(graph);
  std::vector<BlockSummary> result;
  std::vector<double> repeats_in_all;
  for (const NestedBlock& one : nested) {
    BlockSummary summary{one.block.name,      "", one.block.repeats,
                         one.block.operators, 0,  one.block.varies};
    double outer = 1;
    if (one.parent >= 0) {
      summary.inside = result[static_cast<std::size_t>(one.parent)].name;
      outer = repeats_in_all[static_cast<std::size_t>(one.parent)];
    }
    repeats_in_all.push_back(outer * static_cast<double>(one.block.repeats));
    double flops = 0;
    for (const BlockInstance& instance : one.block.instances) {
      for (const OpId op : instance.ops) {
        flops += facts[op.index()].flops.value;
        facts[op.index()].block = one.block.name;
      }
    }
    if (all_flops > 0) summary.flops_share = flops * outer / all_flops;
    result.push_back(std::move(summary));
  }
  // Inner blocks are known of the first instance: the others are alike. Innermost first.
  for (std::size_t b = nested.size(); b-- > 0;) {
    const std::vector<BlockInstance>& instances = nested[b].block.instances;
    for (const BlockInstance& other : instances) {
      for (std::size_t k = 0; k < other.ops.size(); ++k) {
        facts[other.ops[k].index()].block = facts[instances.front().ops[k].index()].block;
      }
    }
  }
  return result;
}

std::vector<CutSummary> cuts_of(const Graph& graph, const std::vector<double>& weights) {
  constexpr std::size_t kMostNames = 16;
  std::vector<CutSummary> result;
  for (const Cut& cut : find_cuts(graph, weights)) {
    const Op& op = graph.op(cut.after);
    CutSummary one{op.name,
                   op.module,
                   cut.share,
                   cut.crossing.tensors,
                   cut.crossing.per_sample(),
                   cut.crossing.activation,
                   cut.crossing.skip,
                   cut.crossing.fixed,
                   {}};
    const std::size_t first = cut.tensors.size() - std::min(cut.tensors.size(), kMostNames);
    for (std::size_t i = first; i < cut.tensors.size(); ++i) {
      one.crossing.push_back(graph.tensor(cut.tensors[i]).name);
    }
    result.push_back(std::move(one));
  }
  return result;
}

}  // namespace

std::string without_numbers(std::string_view module) {
  std::string result;
  std::size_t at = 0;
  while (at <= module.size()) {
    const std::size_t dot = std::min(module.find('.', at), module.size());
    const std::string_view part = module.substr(at, dot - at);
    const bool number = !part.empty() && std::ranges::all_of(part, [](unsigned char c) {
      return std::isdigit(c) != 0;
    });
    result += number ? "*" : part;
    if (dot < module.size()) result += '.';
    at = dot + 1;
  }
  return result;
}

GraphAnalysis analyze(const Graph& graph, const AnalysisOptions& options) {
  const Dependencies dependencies(graph);
  Facts facts = operator_facts(graph);
  std::vector<double> flops, bytes;
  GraphAnalysis analysis;
  for (const OperatorFacts& one : facts) {
    flops.push_back(one.flops.value);
    bytes.push_back(one.bytes);
    analysis.flops += one.flops;
    analysis.bytes += one.bytes;
  }
  analysis.name = graph.name;
  analysis.source = graph.source;
  analysis.operators = static_cast<std::int64_t>(graph.ops.size());
  analysis.critical_flops = path_of(dependencies, facts, flops);
  analysis.critical_bytes = path_of(dependencies, facts, bytes);
  analysis.width = width_of(dependencies, facts);
  const IndependentBranches branches = independent_branches(graph, dependencies, flops);
  analysis.branches = gathered(branches, facts, analysis.flops.value);
  analysis.classes = classes_of(facts, analysis.flops.value, analysis.bytes);
  analysis.blocks = blocks_of(graph, facts, analysis.flops.value);
  analysis.cuts = cuts_of(graph, flops);
  analysis.notes = graph.notes;
  if (!branches.complete) {
    analysis.notes.emplace_back(
        "branches that span most of the model were not followed to their end");
  }
  if (options.operators) analysis.operator_list = std::move(facts);
  return analysis;
}

}  // namespace parallel_opt
