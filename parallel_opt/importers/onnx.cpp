#include "parallel_opt/importers/onnx.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "parallel_opt/graph/alias.h"
#include "parallel_opt/graph/symbol.h"
#include "parallel_opt/importers/onnx_import.h"

namespace parallel_opt {
namespace {

using onnx::ProtoModel;

constexpr std::int64_t kOldest = 13;
constexpr std::int64_t kNewest = 28;  // of onnx 1.23; operators may mean something else later

void check_model(const ProtoModel& model, Findings& findings) {
  const Place none, opsets{nullptr, "opset_import", SIZE_MAX};
  if (!model.has_graph && !findings.any()) {
    findings.fault(none, "has no graph", "is it an ONNX file?");
  }

  for (std::size_t i = 0; i < model.opsets.size(); ++i) {
    const onnx::ProtoOpset& opset = model.opsets[i];
    if (!onnx::is_main_domain(opset.domain)) continue;
    if (opset.version < 1 || opset.version > kNewest) {
      findings.fault({&opsets, "", i},
                     "operator set " + std::to_string(opset.version) + " is not known, 1 to " +
                         std::to_string(kNewest) + " are",
                     "export with opset_version=" + std::to_string(kNewest) +
                         " or less, or onnx.version_converter.convert_version(model, " +
                         std::to_string(kNewest) + ")");
      continue;
    }
    if (opset.version < kOldest) {
      findings.note("operator set " + std::to_string(opset.version) + " is older than " +
                    std::to_string(kOldest) +
                    ": operators that meant something else then may be "
                    "counted as they are now");
    }
  }
  if (model.has_graph && model.opsets.empty()) {
    findings.fault(opsets, "the model says no operator set", "is the download complete?");
  }
}

/// Symbols that no size of a tensor uses: of shapes the file states and inference knew better.
void drop_unused_symbols(Graph& graph) {
  std::set<std::string> used;
  std::set<std::string_view> seen;
  const auto use = [&](const std::string& expression) {
    if (expression.empty() || !seen.insert(expression).second) return;
    for (std::string& name : symbols_of(parse_expression(expression, graph.name))) {
      used.insert(std::move(name));
    }
  };
  for (const Tensor& tensor : graph.tensors) {
    for (const Dim& dim : tensor.shape) use(dim.expression);
  }
  for (const Region& region : graph.regions) use(region.expression);
  std::erase_if(graph.symbols, [&](const Symbol& s) { return !used.contains(s.name); });
}

void note_symbols(const Graph& graph, Findings& findings) {
  std::string text;
  for (const Symbol& symbol : graph.symbols) {
    if (symbol.name.starts_with("unknown_")) continue;
    text += (text.empty() ? "" : ", ") + symbol.name + " = " + std::to_string(symbol.hint);
  }
  if (!text.empty())
    findings.note("sizes that the file leaves open, unless they are bound: " + text);
}

Graph read(std::string_view bytes, const std::string& file, const std::string& directory) {
  Findings findings(file);
  const ProtoModel model = onnx::read_model(bytes, findings);
  check_model(model, findings);
  const std::filesystem::path path(file);
  Graph graph;
  graph.name = path.stem().string();
  graph.source = path.filename().string();
  onnx::ExternalFiles files(directory);
  onnx::Importer importer(model, files, graph, findings);
  if (!findings.full()) importer.run();
  findings.throw_if_any();
  drop_unused_symbols(graph);
  note_symbols(graph, findings);
  onnx::move_shared_operators(graph);
  fill_aliases(graph);
  graph.notes = findings.notes();
  throw_if_any(check(graph));
  return graph;
}

}  // namespace

Graph read_onnx(std::string_view bytes, const std::string& name, const std::string& directory) {
  return read(bytes, name, directory);
}

Graph load_onnx(const std::string& path) {
  const onnx::MappedFile file(path);
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return read(file.bytes(), path, parent.empty() ? "." : parent);
}

bool knows_onnx_operator(std::string_view domain, std::string_view type) {
  constexpr std::string_view kControl[] = {"If", "Loop", "Scan", "SequenceMap"};
  if (onnx::is_main_domain(domain) && std::ranges::find(kControl, type) != std::end(kControl)) {
    return true;
  }
  return onnx::find_rule(domain, type) != nullptr;
}

}  // namespace parallel_opt
