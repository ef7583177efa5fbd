#include "parallel_opt/importers/pt2.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "parallel_opt/base/error.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/graph/alias.h"
#include "parallel_opt/graph/operator_file.h"
#include "parallel_opt/importers/json_tree.h"
#include "parallel_opt/importers/pt2_graph.h"
#include "parallel_opt/importers/pt2_schema.h"
#include "parallel_opt/importers/zip.h"

namespace parallel_opt {
namespace {

using Node = JsonTree::Node;
using Kind = JsonTree::Kind;

constexpr std::int64_t kOldestMajor = 5, kNewestMajor = 8, kNewestMinor = 20;
constexpr std::string_view kOldModel = "serialized_exported_program.json";  // PyTorch 2.4-2.7

/// The members of an archive without the folder that PyTorch puts around all of them.
class Package {
 public:
  explicit Package(const ZipArchive& zip) : zip_(zip), root_(common_root(zip.members())) {
    for (const std::string& member : zip.members()) {
      names_.emplace_back(std::string_view(member).substr(root_.size()));
    }
  }
  const std::vector<std::string>& names() const { return names_; }
  bool contains(const std::string& name) const { return zip_.contains(root_ + name); }
  std::string path(const std::string& name) const { return root_ + name; }

 private:
  /// "model/" when every member starts with it; nothing when a model lies at the top already.
  static std::string common_root(const std::vector<std::string>& members) {
    const auto is_top = [](const std::string& m) {
      return m == kOldModel || m == "archive_format" ||
             (m.starts_with("models/") && m.find('/', 7) == std::string::npos);
    };
    if (members.empty() || std::ranges::any_of(members, is_top)) return "";
    const std::size_t slash = members.front().find('/');
    if (slash == std::string::npos) return "";
    const std::string root = members.front().substr(0, slash + 1);
    const bool common = std::ranges::all_of(
        members, [&](const std::string& member) { return member.starts_with(root); });
    return common ? root : "";
  }
  const ZipArchive& zip_;
  std::string root_;
  std::vector<std::string> names_;
};

/// "models/model.json", or its name in older files.
std::string model_member(const Package& package, const std::string& file) {
  std::vector<std::string> models;
  for (const std::string& name : package.names()) {
    if (name.starts_with("models/") && name.ends_with(".json")) models.push_back(name);
  }
  if (models.size() == 1) return models.front();
  if (std::ranges::find(models, "models/model.json") != models.end()) return "models/model.json";
  if (!models.empty()) {
    throw InputError(file,
                     "holds " + std::to_string(models.size()) + " models: " + join(models, ", "),
                     "save one model per file, or name one of them \"model\"");
  }
  if (package.contains(std::string(kOldModel))) return std::string(kOldModel);
  const std::string wanted = "no models/model.json in the archive";
  if (package.contains("constants.pkl") || package.contains("code/__torch__.py")) {
    throw InputError(file, wanted + ": this is a TorchScript file",
                     "export the model with torch.export instead");
  }
  if (package.contains("data.pkl")) {
    throw InputError(file, wanted + ": this is a torch.save checkpoint, weights without a graph",
                     "export the model: torch.export.save(torch.export.export(model, args), "
                     "\"model.pt2\")");
  }
  const bool compiled = std::ranges::any_of(package.names(), [](const std::string& name) {
    return name.starts_with("data/aotinductor/");
  });
  throw InputError(
      file,
      compiled ? wanted + ": this is a compiled AOTInductor package, without a graph" : wanted,
      "a .pt2 file is written by torch.export.save(program, file)");
}

void check_schema(Node model, Findings& findings) {
  const Place place{nullptr, "schema_version", SIZE_MAX};
  const Node version = model["schema_version"];
  const Node major = version.is(Kind::integer) ? version : version["major"];
  if (!major.is(Kind::integer)) {
    findings.fault(place, "is missing", "is the file written by torch.export.save?");
    return findings.throw_if_any();
  }
  if (major.integer() < kOldestMajor || major.integer() > kNewestMajor) {
    findings.fault({&place, "major", SIZE_MAX},
                   "schema " + std::to_string(major.integer()) + " is not supported, only " +
                       std::to_string(kOldestMajor) + " to " + std::to_string(kNewestMajor),
                   major.integer() > kNewestMajor ? "update parallel_opt"
                                                  : "export the model again with PyTorch 2.4 or "
                                                    "later");
    return findings.throw_if_any();
  }
  const Node minor = version["minor"];
  if (major.integer() == kNewestMajor && minor.is(Kind::integer) &&
      minor.integer() > kNewestMinor) {
    findings.note("schema " + std::to_string(major.integer()) + "." +
                  std::to_string(minor.integer()) + " is newer than the known " +
                  std::to_string(kNewestMajor) + "." + std::to_string(kNewestMinor) +
                  ": what is new in it was left out");
  }
}

JsonTree read_json(const ZipArchive& zip, const Package& package, const std::string& member,
                   const std::string& file, const std::vector<std::string_view>& dropped = {}) {
  return JsonTree(zip.read(package.path(member)), file + ":" + member, dropped);
}

/// What the capturing program wrote beside the model: extra/parallel_opt.json.
struct Recorded {
  std::string name;
  Ties ties;
  std::map<std::string, std::string> symbols;
  std::map<std::string, std::int64_t> sizes;  ///< that depend on data, in the captured batch
  std::vector<CustomOperator> operators;
};

Recorded read_recorded(const ZipArchive& zip, const Package& package, const std::string& file,
                       Findings& findings) {
  const std::string member = "extra/parallel_opt.json";
  Recorded recorded;
  if (!package.contains(member)) return recorded;
  const JsonTree tree = read_json(zip, package, member, file);
  const auto strings = [&](const char* key) {
    std::map<std::string, std::string> result;
    const Node list = tree.root()[key];
    for (std::size_t i = 0; i < list.size() && list.is(Kind::object); ++i) {
      if (list.at(i).is(Kind::string)) result[std::string(list.key(i))] = list.at(i).string();
    }
    return result;
  };
  recorded.ties = strings("ties");
  recorded.symbols = strings("symbols");
  const Node sizes = tree.root()["sizes"];
  for (std::size_t i = 0; i < sizes.size() && sizes.is(Kind::object); ++i) {
    const Node size = sizes.at(i);
    if (size.is(Kind::integer)) recorded.sizes[std::string(sizes.key(i))] = size.integer();
  }
  const Node name = tree.root()["name"], notes = tree.root()["notes"];
  if (name.is(Kind::string)) recorded.name = name.string();
  for (std::size_t i = 0; i < notes.size(); ++i) {
    if (notes.at(i).is(Kind::string)) findings.note(std::string(notes.at(i).string()));
  }
  if (const Node operators = tree.root()["operators"]; operators.is(Kind::array)) {
    const std::string document =
        R"({"schema": "parallel-opt/operators/1", "operators": )" + operators.dump() + "}";
    recorded.operators = operators_from_json(document, file + ":" + member).operators;
  }
  return recorded;
}

std::string payload_key(Node meta) {
  const Node tensor = meta["tensor_meta"];
  return tensor["sizes"].dump() + tensor["strides"].dump() + tensor["storage_offset"].dump();
}

/// Does a name that a file gives to one of its members climb out of its folder?
bool leaves_folder(std::string_view name) {
  const std::filesystem::path path(name);
  return path.is_absolute() || std::ranges::find(path, "..") != path.end();
}

/// Bytes from the start of a weight's storage to the end of what its sizes and strides reach; empty
/// when the entry does not say.
std::optional<double> reach_of(Node meta, DType graph_dtype) {
  const Node sizes = meta["sizes"], strides = meta["strides"], code = meta["dtype"];
  const DType dtype =
      (code.is(Kind::integer) ? pt2::dtype_of(code.integer()) : std::nullopt).value_or(graph_dtype);
  if (!sizes.is(Kind::array) || strides.size() != sizes.size()) return std::nullopt;
  const auto number = [](Node node) {
    const Node inner = node.is(Kind::object) ? pt2::variant_of(node).value : node;
    return inner.is(Kind::integer) ? static_cast<double>(inner.integer()) : 0;
  };
  double last = number(meta["storage_offset"]);
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const double size = number(sizes.at(i));
    if (size < 1) return 0;
    last += (size - 1) * number(strides.at(i));
  }
  return (last + 1) * static_cast<double>(size_of(dtype));
}

/// A stored weight against what its entry says of it, and against the tensor that it is.
void check_payload(Node entry, const Tensor& tensor, Bytes stored, const Place& place,
                   Findings& findings) {
  const Node meta = entry["tensor_meta"], pickled = entry["use_pickle"];
  const Node sizes = meta["sizes"];
  if (sizes.is(Kind::array)) {
    bool same = sizes.size() == tensor.shape.size();
    for (std::size_t i = 0; same && i < sizes.size(); ++i) {
      const Node size = pt2::variant_of(sizes.at(i)).value;
      same = !size.is(Kind::integer) || size.integer() == tensor.shape[i].size;
    }
    if (!same) {
      return findings.fault({&place, "tensor_meta", SIZE_MAX},
                            "its sizes are not those of the graph's tensor \"" + tensor.fqn + "\"");
    }
  }
  const std::optional<double> reach = reach_of(meta, tensor.dtype);
  if (!reach || (pickled.is(Kind::boolean) && pickled.boolean())) return;
  if (static_cast<double>(stored.value) >= *reach) return;
  findings.fault(place,
                 "holds " + std::to_string(stored.value) + " bytes, its tensor needs " +
                     std::to_string(static_cast<std::int64_t>(*reach)),
                 "is the download complete?");
}

/// Equal payload, sizes, strides and offset are one parameter; equal payload alone may be two views
/// of one storage, and an empty payload (fake or meta weights) says nothing.
Ties payload_ties(const ZipArchive& zip, const Package& package, const std::string& file,
                  const Graph& graph, Findings& findings) {
  std::unordered_map<std::string, std::size_t> order;  // FQN -> place in the model
  for (std::size_t i = 0; i < graph.tensors.size(); ++i) {
    if (!graph.tensors[i].fqn.empty()) order.try_emplace(graph.tensors[i].fqn, i);
  }
  Ties ties;
  for (const std::string& member : package.names()) {
    if (!member.starts_with("data/weights/") || !member.ends_with("_config.json")) continue;
    const JsonTree tree = read_json(zip, package, member, file);
    const Node config = tree.root()["config"];
    // payload and view of it -> the FQNs that have it, in model order
    std::map<std::string, std::map<std::size_t, std::string>> same;
    for (std::size_t i = 0; i < config.size() && config.is(Kind::object); ++i) {
      const Node path = config.at(i)["path_name"];
      const auto at = order.find(std::string(config.key(i)));
      if (!path.is(Kind::string) || at == order.end()) continue;
      if (leaves_folder(path.string())) {
        const Place root{nullptr, "config", SIZE_MAX}, place{&root, config.key(i), SIZE_MAX};
        findings.fault({&place, "path_name", SIZE_MAX},
                       "\"" + std::string(path.string()) + "\" leads out of the archive",
                       "do not trust this file");
        continue;
      }
      const std::string payload = "data/weights/" + std::string(path.string());
      if (!package.contains(payload)) continue;
      const Bytes stored = zip.size(package.path(payload));
      if (stored == Bytes(0)) continue;
      const Place members{nullptr, "config", SIZE_MAX};
      check_payload(config.at(i), graph.tensors[at->second], stored,
                    {&members, config.key(i), SIZE_MAX}, findings);
      same[payload + payload_key(config.at(i))][at->second] = config.key(i);
    }
    for (const auto& [key, names] : same) {
      for (const auto& [index, alias] : names) {
        if (alias != names.begin()->second) ties[alias] = names.begin()->second;
      }
    }
  }
  return ties;
}

/// Makes every use of an alias a use of the parameter it is tied to.
void apply_ties(Graph& graph, const Ties& ties, Findings& findings) {
  std::unordered_map<std::string, TensorId> by_fqn;
  for (std::size_t i = 0; i < graph.tensors.size(); ++i) {
    if (!graph.tensors[i].fqn.empty()) by_fqn.try_emplace(graph.tensors[i].fqn, TensorId(i));
  }
  bool changed = false;
  for (const auto& [alias, original] : ties) {
    const auto from = by_fqn.find(alias), to = by_fqn.find(original);
    // The exporter drops names that nothing needs: then there is nothing to merge.
    if (from == by_fqn.end() || to == by_fqn.end() || from->second == to->second) continue;
    if (graph.tensor(to->second).tied_to.valid()) {
      findings.fault({}, "\"" + original + "\" is tied itself, to tie \"" + alias + "\" to it",
                     "tie every name to the first one");
      continue;
    }
    graph.tensors[from->second.index()].tied_to = to->second;
    changed = true;
  }
  if (!changed) return;
  const auto redirect = [&](TensorId& id) {
    if (id.valid() && graph.tensor(id).tied_to.valid()) id = graph.tensor(id).tied_to;
  };
  for (Op& op : graph.ops) {
    for (Operand& operand : op.inputs) redirect(operand.tensor);
  }
  for (Tensor& tensor : graph.tensors) redirect(tensor.alias_of);
  for (TensorId& id : graph.outputs) redirect(id);
}

/// Without weights and without a tie map, a parameter that nothing uses may be tied to one of the
/// same shape: say so, because it is counted twice then.
void note_unused(const Graph& graph, Findings& findings) {
  std::vector<bool> used(graph.tensors.size());
  for (const Op& op : graph.ops) {
    for (const Operand& operand : op.inputs) {
      if (operand.tensor.valid()) used[operand.tensor.index()] = true;
    }
  }
  const auto kind = [](const Tensor& tensor) {
    std::string text = std::to_string(static_cast<int>(tensor.dtype));
    for (const Dim& dim : tensor.shape) {
      text += ' ' + std::to_string(dim.size) + ' ' + dim.expression;
    }
    return text;
  };
  std::unordered_map<std::string, std::size_t> first_used;  // by kind; never iterated
  for (std::size_t i = 0; i < graph.tensors.size(); ++i) {
    const Tensor& tensor = graph.tensors[i];
    if (tensor.role == TensorRole::parameter && used[i]) first_used.try_emplace(kind(tensor), i);
  }
  for (std::size_t i = 0; i < graph.tensors.size(); ++i) {
    const Tensor& tensor = graph.tensors[i];
    if (tensor.role != TensorRole::parameter || used[i] || tensor.tied_to.valid()) continue;
    const auto twin = first_used.find(kind(tensor));
    if (twin == first_used.end()) continue;
    findings.note("parameter \"" + tensor.fqn + "\" is used by no operator: is it tied to \"" +
                  graph.tensors[twin->second].fqn +
                  "\"? The file holds no weights to tell; it is counted on its own");
  }
}

Graph read_package(const ZipArchive& zip, const std::string& file, const Ties& given) {
  const Package package(zip);
  Findings findings(file);
  const std::string member = model_member(package, file);
  const Recorded recorded = read_recorded(zip, package, file, findings);
  const std::filesystem::path path(file);
  Graph graph;
  graph.name = recorded.name.empty() ? path.stem().string() : recorded.name;
  graph.source = path.has_extension() ? path.filename().string() : "torch.export";
  {
    const JsonTree tree =
        read_json(zip, package, member, file,
                  {"stack_trace", "from_node", "source_fn_stack", "torch_fn", "custom"});
    const Node model = tree.root();
    check_schema(model, findings);
    pt2::Symbols symbols(findings, recorded.symbols, recorded.sizes);
    symbols.read_ranges(model["range_constraints"]);
    pt2::GraphReader(graph, findings, symbols).read(model["graph_module"]);
    graph.symbols = symbols.all();
  }
  findings.throw_if_any();
  Ties ties = given;
  ties.insert(recorded.ties.begin(), recorded.ties.end());
  const Ties found = payload_ties(zip, package, file, graph, findings);
  ties.insert(found.begin(), found.end());
  graph.operators = recorded.operators;
  fill_aliases(graph);
  apply_ties(graph, ties, findings);
  note_unused(graph, findings);
  findings.throw_if_any();
  graph.notes = findings.notes();
  throw_if_any(check(graph));
  return graph;
}

}  // namespace

Graph read_pt2(std::string_view archive, const std::string& name, const Ties& ties) {
  return read_package(ZipArchive::open_memory(archive, name), name, ties);
}

Graph load_pt2(const std::string& path, const Ties& ties) {
  return read_package(ZipArchive::open_file(path, path), path, ties);
}

}  // namespace parallel_opt
