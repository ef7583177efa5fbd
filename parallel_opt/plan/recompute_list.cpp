#include "parallel_opt/plan/recompute_list.h"

#include <algorithm>
#include <set>

#include "parallel_opt/base/json.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/graph/blocks.h"

namespace parallel_opt {
namespace {

/// A name alone, or an entry of a plan.
Recompute entry_of(const JsonView& view, std::vector<Fault>& faults) {
  Recompute entry;
  if (view.kind() == JsonView::Kind::string) {
    entry.block = view.string();
    entry.parts = {entry.block};
  } else if (view.kind() == JsonView::Kind::object) {
    read_json(view, entry, faults);
  } else {
    faults.push_back({view.path(), "names no block", std::string(kRecomputeForm)});
  }
  return entry;
}

JsonDocument parsed(std::string_view text, const std::string& file) {
  try {
    return JsonDocument(text, file);
  } catch (const InputError& error) {
    std::vector<Fault> faults = error.faults();
    for (Fault& fault : faults) fault.hint = kRecomputeForm;
    throw InputError(std::move(faults));
  }
}

/// Whether a module is the one of the name or inside of it; "*" is any one of the name's parts.
bool lies_in(const std::vector<std::string>& module, const std::vector<std::string>& name) {
  if (module.size() < name.size()) return false;
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (name[i] != "*" && name[i] != module[i]) return false;
  }
  return true;
}

class Finder {
 public:
  explicit Finder(const Graph& graph) : graph_(graph), in_block_(graph.ops.size(), false) {
    for (const Op& op : graph.ops) modules_.push_back(split(op.module, '.'));
    for (const Block& block : find_layers(graph)) {
      names_.push_back(block.name);
      for (const BlockInstance& instance : block.instances) {
        names_.push_back(instance.module);
        for (const OpId id : instance.ops) in_block_[id.index()] = true;
        instances_.push_back(instance);
      }
    }
  }

  /// Forward operators of a module, a block or one that is called so.
  std::vector<std::size_t> operators(const std::string& name) const {
    std::vector<std::size_t> found;
    for (const BlockInstance& instance : instances_) {
      if (instance.module != name) continue;
      for (const OpId id : instance.ops) found.push_back(id.index());
    }
    if (!found.empty()) return found;
    const std::vector<std::string> wanted = split(name, '.');
    for (std::size_t i = 0; i < graph_.ops.size(); ++i) {
      const Op& op = graph_.ops[i];
      if (op.name == name || op.target == name || lies_in(modules_[i], wanted)) found.push_back(i);
    }
    return found;
  }
  bool in_block(std::size_t op) const { return in_block_[op]; }
  /// The way out of a name that says nothing.
  std::string hint(const std::string& name) const {
    if (names_.empty()) return "the model has no repeated blocks";
    const std::string nearest = nearest_match(name, names_);
    return nearest.empty() ? "blocks are called " + names_.front()
                           : "did you mean " + nearest + "?";
  }

 private:
  const Graph& graph_;
  std::vector<bool> in_block_;
  std::vector<std::vector<std::string>> modules_;
  std::vector<std::string> names_;
  std::vector<BlockInstance> instances_;
};

}  // namespace

std::vector<Recompute> read_recompute(std::string_view text, const std::string& file) {
  const JsonDocument document = parsed(text, file);
  const JsonView root = document.root();
  if (root.kind() == JsonView::Kind::object && root.find("schema")) {
    return from_json<Plan>(text, file).recompute;
  }
  if (root.kind() != JsonView::Kind::array) {
    throw InputError(file, "is neither a plan nor a list of blocks", std::string(kRecomputeForm));
  }
  std::vector<Recompute> list;
  std::vector<Fault> faults;
  for (std::size_t i = 0; i < root.size(); ++i) list.push_back(entry_of(root.at(i), faults));
  throw_if_any(std::move(faults));
  return list;
}

std::vector<bool> recomputed_operators(const Graph& graph, const std::vector<Recompute>& list,
                                       const std::string& file) {
  const Finder finder(graph);
  std::vector<bool> again(graph.ops.size(), false);
  std::vector<Fault> faults;
  std::set<std::string> blocks;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const Recompute& entry = list[i];
    const std::string where = file + ":recompute[" + std::to_string(i) + "]";
    const auto fault = [&](std::string what, std::string hint) {
      faults.push_back({where, std::move(what), std::move(hint)});
    };
    const std::vector<std::size_t> all = finder.operators(entry.block);
    const std::set<std::size_t> inside(all.begin(), all.end());
    if (all.empty()) {
      fault("the model has no \"" + entry.block + "\"", finder.hint(entry.block));
    } else if (std::ranges::none_of(all, [&](std::size_t op) { return finder.in_block(op); })) {
      fault("\"" + entry.block + "\" is in no repeated block", finder.hint(entry.block));
    } else if (!blocks.insert(entry.block).second) {
      fault("\"" + entry.block + "\" is named twice", "once is enough");
    } else if (entry.parts.empty()) {
      fault("of \"" + entry.block + "\" nothing is named", "its own name means all of it");
    }
    for (const std::string& part : entry.parts) {
      bool known = all.empty();
      for (const std::size_t op : finder.operators(part)) {
        if (!inside.contains(op)) continue;
        known = true;
        if (finder.in_block(op)) again[op] = true;
      }
      if (!known) {
        fault("\"" + part + "\" is no module or operator of \"" + entry.block + "\"",
              "parallel-opt graph --per-operator lists them");
      }
    }
  }
  throw_if_any(std::move(faults));
  return again;
}

}  // namespace parallel_opt
