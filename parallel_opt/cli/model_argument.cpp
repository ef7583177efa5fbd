#include "parallel_opt/cli/model_argument.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <filesystem>
#include <map>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/cli/documents.h"
#include "parallel_opt/cost/named_model.h"
#include "parallel_opt/cost/row_shape.h"
#include "parallel_opt/graph/batch_dim.h"
#include "parallel_opt/graph/op_table.h"
#include "parallel_opt/graph/operator_file.h"
#include "parallel_opt/importers/inline_spec.h"
#include "parallel_opt/importers/model.h"

namespace parallel_opt {
namespace {

namespace fs = std::filesystem;

/// A directory that goes away with its owner.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (fs::temp_directory_path() / "parallel_opt_XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) {
      throw SystemError(pattern, "a temporary directory cannot be made", "set TMPDIR");
    }
    path_ = pattern;
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

Graph capture(const std::string& spec, const Console& console) {
  const TemporaryDirectory directory;
  const std::string file = directory.file("graph.json"), errors = directory.file("errors.json");
  console.detail("capturing " + spec);
  const ProcessResult result = console.processes.run(
      python_command(console.processes, "capture", {spec, "-o", file, "--errors", errors}));
  if (result.exit_code != 0) {
    if (fs::exists(errors)) {  // else it was killed, or Python itself did not start
      throw_if_any(from_json<ErrorDocument>(read_file(errors), errors).errors);
    }
    throw InputError(
        spec, "Python could not capture it (exit code " + std::to_string(result.exit_code) + ")",
        "the reason stands above");
  }
  Graph graph = load_model(file);
  graph.source = spec;
  return graph;
}

/// Length of what an encoder-decoder writes, as importers of configurations name it.
constexpr std::string_view kTargetSequence = "target_sequence";

/// The symbol of sequence lengths: "sequence", or the only one beside the batch's.
std::string seq_symbol(const Graph& graph, const std::string& batch_symbol) {
  std::vector<std::string> others;
  for (const Symbol& symbol : graph.symbols) {
    if (symbol.name == "sequence") return symbol.name;
    if (symbol.name != batch_symbol) others.push_back(symbol.name);
  }
  if (others.size() == 1) return others.front();
  throw InputError(graph.source,
                   others.empty() ? "every size but the batch is fixed in this file"
                                  : "several sizes are symbolic: " + join(others, ", "),
                   others.empty() ? "export it with a dynamic sequence length, or leave --seq out"
                                  : "leave --seq out");
}

}  // namespace

Flag batch_flag() { return {"batch", "B", "samples, where the model's batch is symbolic"}; }
Flag seq_flag() { return {"seq", "S", "sequence length, where it is symbolic"}; }

Flag operators_flag() {
  return {"operators", "FILE", "rows for operators that the table lacks (docs/operators.md)"};
}

Graph with_operator_flag(Graph graph, const Args& args) {
  const auto file = args.get("operators");
  if (!file) return graph;
  return with_operators(std::move(graph), operators_from_json(read_file(*file), *file).operators);
}

namespace {

/// No path, no spec and no factory: what is left may be a model's name, also that of a hub
/// ("Qwen/Qwen2.5-7B") and of a picture's patches ("ViT-L/16").
bool may_be_name(const std::string& spec) {
  std::error_code ignored;
  if (spec.empty() || spec.find_first_of(":\\") != std::string::npos) return false;
  if (fs::exists(spec, ignored)) return false;
  const std::size_t slash = spec.find('/');
  if (slash == std::string::npos) return true;
  const bool one = spec.find('/', slash + 1) == std::string::npos;
  return one && spec.front() != '.' && slash > 0 && !fs::exists(spec.substr(0, slash), ignored);
}

/// "Qwen2.5-7B" has no suffix, "lama.onnx" does.
bool has_suffix(const std::string& spec) {
  const std::string suffix = lower_case(fs::path(spec).extension().string());
  return suffix.size() > 1 && std::isdigit(static_cast<unsigned char>(suffix[1])) == 0;
}

}  // namespace

Graph load_model_argument(const std::string& spec, const Console& console,
                          std::optional<std::int64_t> seq) {
  if (is_python_factory(spec)) return capture(spec, console);
  if (may_be_name(spec) && !has_suffix(spec)) {
    const NamedModel known = named_model(spec, seq);
    if (!known.spec.empty()) {
      console.log("note: " + spec + " is taken as " + known.spec + " (data/models.json)");
      for (const std::string& note : known.notes) console.log("note: " + note);
      return load_model(known.spec);
    }
    const std::string near = nearest_known_model(spec);
    if (!near.empty()) {
      throw SystemError(spec, "no such model",
                        "did you mean " + near + "? A model is " + kModelFormats);
    }
  }
  return load_model(seq ? with_sequence(spec, *seq) : spec);
}

Flag bind_flag() { return {"bind", "NAME=N,...", "other symbolic sizes by their names"}; }

std::map<std::string, std::int64_t> bound_sizes(const Args& args) {
  std::map<std::string, std::int64_t> sizes;
  const std::string text = args.get_or("bind", "");
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view item = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(rest.size(), item.size() + 1));
    const std::size_t equals = item.find('=');
    const std::string name(item.substr(0, equals));
    std::int64_t size = 0;
    const std::string_view digits = equals < item.size() ? item.substr(equals + 1) : "";
    const auto [end, error] = std::from_chars(digits.begin(), digits.end(), size);
    if (name.empty() || digits.empty() || error != std::errc() || end != digits.end() || size < 0) {
      throw UsageError("--bind", "'" + std::string(item) + "' is no NAME=N", "for example s16=64");
    }
    sizes[name] = size;
  }
  return sizes;
}

namespace {

/// Of what attention with dropout, or with values of a width of their own, keeps: the softmax, with
/// dropout its mask and its result too (graph/saved.cpp). Fused attention keeps no scores.
double kept_scores_bytes(const Graph& graph, const Op& op) {
  const TensorId query = operand(op, "query"), key = operand(op, "key"),
                 value = operand(op, "value");
  if (!query.valid() || !key.valid() || !value.valid()) return 0;
  const Tensor &q = graph.tensor(query), &k = graph.tensor(key), &v = graph.tensor(value);
  if (q.shape.size() < 2 || k.shape.size() < 2 || v.shape.empty()) return 0;
  const bool dropout = attribute_real(op, "dropout_p", 0) > 0;
  if (!dropout && q.shape.back() == v.shape.back()) return 0;
  double bytes = static_cast<double>(size_of(q.dtype)) * (dropout ? 3 : 1);
  for (std::size_t i = 0; i + 1 < q.shape.size(); ++i) {
    bytes *= static_cast<double>(q.shape[i].size);
  }
  return bytes * static_cast<double>(k.shape[k.shape.size() - 2].size);
}

double tensor_bytes(const Graph& graph) {
  double all = 0;
  for (const Tensor& tensor : graph.tensors) {
    double bytes = static_cast<double>(size_of(tensor.dtype));
    for (const Dim& dim : tensor.shape) bytes *= static_cast<double>(dim.size);
    all += bytes;
  }
  return all;
}

/// Totals are sums of 64 bits over what operators read and make, each tensor a few times.
void refuse_uncountable(const Graph& graph, double bytes) {
  if (bytes < 0x1p60) return;
  throw InputError(graph.source,
                   "its tensors are " + show_bytes(bytes) + ", more than can be counted",
                   "a smaller --seq or --batch");
}

}  // namespace

Graph bind_sizes(Graph graph, std::optional<std::int64_t> batch, std::optional<std::int64_t> seq,
                 const std::map<std::string, std::int64_t>& named) {
  std::map<std::string, std::int64_t> values = named;
  const BatchDims dims = find_batch(graph);
  if (batch && !dims.symbol.empty()) {
    values[dims.symbol] = *batch;
  } else if (batch && dims.size != *batch) {
    throw InputError(graph.source,
                     dims.size == 0 ? "no input has a batch"
                                    : "the batch is fixed at " + std::to_string(dims.size),
                     "export it with a dynamic batch, or leave --batch out");
  }
  if (seq) {
    values[seq_symbol(graph, dims.symbol)] = *seq;
    const bool decoder = std::ranges::any_of(
        graph.symbols, [](const Symbol& symbol) { return symbol.name == kTargetSequence; });
    if (decoder) values.try_emplace(std::string(kTargetSequence), *seq);
  }
  if (!values.empty()) graph = parallel_opt::bind(graph, values);
  refuse_uncountable(graph, tensor_bytes(graph));
  return graph;
}

void check_kept(const Graph& graph) {
  double bytes = tensor_bytes(graph);
  for (const Op& op : graph.ops) bytes += kept_scores_bytes(graph, op);
  refuse_uncountable(graph, bytes);
}

}  // namespace parallel_opt
