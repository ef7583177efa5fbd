#include "parallel_opt/importers/tensorflow.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "parallel_opt/base/error.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/importers/mapped_file.h"
#include "parallel_opt/importers/tf_import.h"

namespace parallel_opt {
namespace {

namespace fs = std::filesystem;

const char* const kWay =
    "TensorFlow writes models with tf.saved_model.save(model, directory) or "
    "model.export(directory)";

/// Sizes that stand for unknown ones until --batch and --seq say otherwise.
constexpr std::int64_t kBatch = 1, kSequence = 128, kOther = 224;

/// One graph under construction.
struct Import {
  OpWriter writer;
  tf::Context context{writer};
  tf::Importer importer;

  Import(const std::string& name, std::size_t nodes)
      : writer(name, most(nodes)), importer(context, name, most(nodes)) {}

  static std::size_t most(std::size_t nodes) { return 20'000 + 16 * nodes; }

  void define(const tf::GraphDef& graph, const std::vector<tf::OpDef>& ops) {
    for (const tf::OpDef& op : ops) context.definitions.emplace(op.name, &op);
    importer.define(graph.functions);
  }

  /// Sizes of an input, unknown ones as symbols.
  sizes::Shape input_shape(const tf::ShapeProto& proto) {
    sizes::Shape shape;
    for (std::size_t i = 0; i < proto.dims.size(); ++i) {
      if (proto.dims[i] >= 0) {
        shape.push_back(sizes::fixed(proto.dims[i]));
        continue;
      }
      const bool sequence = i == 1 && proto.dims.size() <= 3;
      const std::string name = i == 0 ? "batch" : sequence ? "seq" : "size" + std::to_string(i);
      const std::int64_t hint = i == 0 ? kBatch : sequence ? kSequence : kOther;
      context.symbol(name, hint);
      shape.push_back(sizes::symbol(name, hint));
    }
    return shape;
  }

  void add_input(std::string_view node, const std::string& name, int type,
                 const tf::ShapeProto& shape) {
    if (importer.inputs.contains(node)) return;
    const auto dtype = tf::dtype_of(type);
    if (!dtype) {
      importer.inputs[node] = context.nothing(tf::Value::Kind::text);
      writer.note("input '" + name + "' holds strings or handles, which are not counted");
      return;
    }
    writer.where = "input '" + name + "'";
    const TensorId id = writer.add_tensor(name, TensorRole::input, {*dtype, input_shape(shape)});
    writer.graph().inputs.push_back(id);
    const tf::ValueId value = context.value_of(id);
    context.at(value).ranked = shape.ranked;
    importer.inputs[node] = value;
  }

  Graph finish(const tf::Values& results, const std::string& name) {
    writer.region = RegionId();
    writer.where = "outputs";
    for (const tf::ValueId id : results) {
      const tf::Value::Kind kind = context.at(id).kind;
      if (kind == tf::Value::Kind::tensor || kind == tf::Value::Kind::variable) {
        writer.graph().outputs.push_back(context.tensor(id));
      }
    }
    writer.where.clear();
    if (writer.graph().outputs.empty()) writer.fail("computes no tensor", kWay);
    note_sizes();
    fs::path path(name);
    writer.graph().source = path.filename().string();
    Graph graph = writer.finish();
    return graph;
  }

  void note_sizes() {
    std::vector<std::string> sizes;
    for (const Symbol& symbol : writer.graph().symbols) {
      if (symbol.name[0] != 'u') sizes.push_back(symbol.name + " = " + std::to_string(symbol.hint));
    }
    if (sizes.empty()) return;
    writer.note("sizes that the file leaves open, unless they are bound: " + join(sizes, ", "));
  }
};

std::size_t count_nodes(const tf::GraphDef& graph) {
  std::size_t count = graph.nodes.size();
  for (const tf::Function& function : graph.functions) count += function.nodes.size();
  return count;
}

const tf::MetaGraph& choose_graph(const std::vector<tf::MetaGraph>& graphs,
                                  const std::string& name) {
  if (graphs.empty()) throw InputError(name, "holds no graph", kWay);
  for (const tf::MetaGraph& graph : graphs) {
    if (std::ranges::find(graph.tags, "serve") != graph.tags.end()) return graph;
  }
  return graphs.front();
}

const tf::Signature& choose_signature(const tf::MetaGraph& meta, const std::string& wanted,
                                      const std::string& name) {
  std::vector<std::string> known;
  for (const auto& [signature, unused] : meta.signatures) {
    if (!signature.starts_with("__")) known.push_back(signature);
  }
  const std::string chosen = !wanted.empty()     ? wanted
                             : known.size() == 1 ? known.front()
                                                 : "serving_default";
  const auto found = meta.signatures.find(chosen);
  if (found != meta.signatures.end()) return found->second;
  if (known.empty()) {
    throw InputError(name, "has no signature, so nothing says what it computes",
                     "save it with signatures=, or with model.export(directory)");
  }
  throw InputError(name, "has no signature '" + chosen + "'",
                   "name one of them after a colon: " + join(known, ", "));
}

bool is_result(const tf::Node& node) {
  static const std::set<std::string_view> kNone = {"NoOp",
                                                   "Const",
                                                   "Placeholder",
                                                   "SaveV2",
                                                   "RestoreV2",
                                                   "Assign",
                                                   "Assert",
                                                   "Print",
                                                   "PrintV2",
                                                   "AssignVariableOp",
                                                   "MergeV2Checkpoints",
                                                   "ShardedFilename",
                                                   "VarIsInitializedOp",
                                                   "VarHandleOp",
                                                   "VariableV2"};
  return !kNone.contains(node.op);
}

Graph import_signature(const tf::MetaGraph& meta, const tf::Signature& signature,
                       const tf::VariableTable& table, const std::string& name) {
  Import import(name, count_nodes(meta.graph));
  import.define(meta.graph, meta.ops);
  import.importer.facts = tf::describe_variables(meta, table, name);
  tf::Body body = tf::wire_graph(meta.graph.nodes, import.context.definitions, name);
  for (const auto& [key, info] : signature.inputs) {
    const std::string_view node = info.tensor.substr(0, info.tensor.find(':'));
    import.add_input(node, key, info.type, info.shape);
  }
  std::vector<tf::Source> results;
  for (const auto& [key, info] : signature.outputs) {
    results.push_back(tf::find_source(body, info.tensor, name + ":signature output '" + key + "'"));
  }
  tf::order_body(body, results, name);
  return import.finish(import.importer.run(body, results, {}, ""), name);
}

}  // namespace

Graph read_saved_model(std::string_view bytes, std::string_view index, const std::string& signature,
                       const std::string& name) {
  const std::vector<tf::MetaGraph> graphs = tf::read_saved_model(bytes, name);
  const tf::MetaGraph& meta = choose_graph(graphs, name);
  tf::check_assets(meta, name);
  tf::VariableTable table;
  if (!index.empty()) table = tf::read_variable_index(index, name + ":variables.index");
  return import_signature(meta, choose_signature(meta, signature, name), table, name);
}

Graph read_graph_def(std::string_view bytes, const std::string& name) {
  const tf::GraphDef graph = tf::read_graph_def(bytes, name + ":graph_def");
  if (graph.nodes.empty()) throw InputError(name, "holds no operators", kWay);
  Import import(name, count_nodes(graph));
  import.define(graph, {});
  tf::Body body = tf::wire_graph(graph.nodes, import.context.definitions, name);
  std::vector<bool> used(graph.nodes.size());
  for (const tf::Wires& wires : body.wires) {
    for (const tf::Source& source : wires.inputs) {
      used[static_cast<std::size_t>(source.index)] = true;
    }
  }
  const auto variable = [](const tf::Node& node) {
    return node.op == "VarHandleOp" || node.op == "VariableV2" || node.op == "Variable";
  };
  import.context.frozen = std::ranges::none_of(graph.nodes, variable);
  std::vector<tf::Source> results;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const tf::Node& node = graph.nodes[i];
    if (!used[i] && is_result(node)) results.push_back({false, static_cast<int>(i), 0});
    if (node.op != "Placeholder" || !used[i]) continue;
    const tf::Attr* shape = node.find("shape");
    tf::ShapeProto unknown;
    unknown.ranked = false;
    import.add_input(node.name, std::string(node.name), node.type("dtype"),
                     shape == nullptr ? unknown : shape->shape);
  }
  if (results.empty()) throw InputError(name, "every operator's result is used by another", kWay);
  tf::order_body(body, results, name);
  if (import.context.frozen) {
    import.writer.note("a frozen graph: constants with more than one element count as parameters");
  }
  return import.finish(import.importer.run(body, results, {}, ""), name);
}

bool is_saved_model(const std::string& spec) {
  std::error_code error;
  if (fs::exists(fs::path(spec) / "saved_model.pb", error)) return true;
  const std::size_t colon = spec.rfind(':');
  return colon != std::string::npos && colon > 0 &&
         fs::exists(fs::path(spec.substr(0, colon)) / "saved_model.pb", error);
}

Graph load_tensorflow(const std::string& spec) {
  std::error_code error;
  std::string path = spec;
  std::string signature;
  const std::size_t colon = spec.rfind(':');
  if (!fs::exists(path, error) && colon != std::string::npos) {
    path = spec.substr(0, colon);
    signature = spec.substr(colon + 1);
  }
  const bool directory = fs::is_directory(path, error);
  const fs::path model = directory ? fs::path(path) / "saved_model.pb" : fs::path(path);
  const MappedFile file(model.string());
  Graph graph;
  if (directory || tf::looks_like_saved_model(file.bytes())) {
    const fs::path index = model.parent_path() / "variables" / "variables.index";
    if (fs::exists(index, error)) {
      const MappedFile table(index.string());
      graph = read_saved_model(file.bytes(), table.bytes(), signature, model.string());
    } else {
      graph = read_saved_model(file.bytes(), {}, signature, model.string());
    }
  } else {
    if (!signature.empty()) {
      throw InputError(path, "is a graph without signatures", "leave ':" + signature + "' out");
    }
    graph = read_graph_def(file.bytes(), model.string());
  }
  fs::path named(path);
  if (!named.has_filename()) named = named.parent_path();
  graph.name = directory ? named.filename().string() : named.stem().string();
  graph.source = named.filename().string();
  return graph;
}

}  // namespace parallel_opt
