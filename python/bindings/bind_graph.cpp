#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "parallel_opt/graph/alias.h"
#include "parallel_opt/graph/graph.h"
#include "parallel_opt/graph/graph_json.h"
#include "parallel_opt/graph/operator_file.h"
#include "parallel_opt/graph/recurrent.h"
#include "parallel_opt/importers/model.h"
#include "parallel_opt/importers/onnx.h"
#include "parallel_opt/importers/pt2.h"
#include "parallel_opt/importers/two_batches.h"
#include "python/bindings/bind_fields.h"

namespace parallel_opt::bindings {
namespace {

using namespace nb::literals;

std::optional<std::int32_t> index_of(TensorId id) {
  return id.valid() ? std::optional(id.value) : std::nullopt;
}

TensorId id_of(std::optional<std::int32_t> index) { return index ? TensorId(*index) : TensorId(); }

std::vector<std::int32_t> indices(const std::vector<TensorId>& ids) {
  std::vector<std::int32_t> result;
  for (const TensorId id : ids) result.push_back(id.value);
  return result;
}

std::vector<TensorId> ids(const std::vector<std::int32_t>& indices_) {
  std::vector<TensorId> result;
  for (const std::int32_t index : indices_) result.push_back(TensorId(index));
  return result;
}

nb::object attribute_to_python(const Attribute& attribute) {
  return std::visit(
      [](const auto& value) -> nb::object {
        if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::monostate>) {
          return nb::none();
        } else {
          return nb::cast(value);
        }
      },
      attribute);
}

/// Python's bool is an int and its int a float: kinds are told apart by exact type.
Attribute attribute_from_python(nb::handle value) {
  if (value.is_none()) return Attribute();
  if (nb::isinstance<nb::bool_>(value)) return nb::cast<bool>(value);
  if (nb::isinstance<nb::int_>(value)) return nb::cast<std::int64_t>(value);
  if (nb::isinstance<nb::float_>(value)) return nb::cast<double>(value);
  if (nb::isinstance<nb::str>(value)) return nb::cast<std::string>(value);
  if (nb::isinstance<nb::list>(value) || nb::isinstance<nb::tuple>(value)) {
    const nb::sequence list = nb::borrow<nb::sequence>(value);
    bool all_bools = nb::len(list) > 0, all_ints = true;
    for (const nb::handle element : list) {
      all_bools = all_bools && nb::isinstance<nb::bool_>(element);
      all_ints = all_ints && nb::isinstance<nb::int_>(element);
    }
    if (all_bools) return nb::cast<std::vector<bool>>(value);
    if (all_ints) return nb::cast<std::vector<std::int64_t>>(value);
    return nb::cast<std::vector<double>>(value);
  }
  throw nb::type_error("an attribute is None, bool, int, float, str or a list of numbers");
}

template <class E>
E enumerator(const std::string& name, const char* what) {
  const std::optional<E> value = enum_from<E>(name);
  if (!value) throw nb::value_error((std::string("unknown ") + what + " '" + name + "'").c_str());
  return *value;
}

/// Collects a graph step by step; `build` checks it.
class GraphBuilder {
 public:
  GraphBuilder(std::string name, std::string source) {
    graph_.name = std::move(name);
    graph_.source = std::move(source);
  }
  std::int32_t add_tensor(std::string name, const std::string& role, const std::string& dtype,
                          const std::vector<std::int64_t>& shape, std::vector<std::int64_t> strides,
                          std::string fqn, bool requires_grad, std::optional<std::int32_t> alias_of,
                          std::optional<std::int32_t> tied_to) {
    Tensor tensor;
    tensor.name = std::move(name);
    tensor.role = enumerator<TensorRole>(role, "role");
    tensor.dtype = enumerator<DType>(dtype, "dtype");
    for (const std::int64_t size : shape) tensor.shape.push_back({size, ""});
    tensor.strides = std::move(strides);
    if (is_contiguous(tensor)) tensor.strides.clear();
    tensor.fqn = std::move(fqn);
    tensor.requires_grad = requires_grad;
    tensor.alias_of = id_of(alias_of);
    tensor.tied_to = id_of(tied_to);
    graph_.tensors.push_back(std::move(tensor));
    return static_cast<std::int32_t>(graph_.tensors.size() - 1);
  }
  void add_op(std::string target, std::string name,
              const std::vector<std::pair<std::string, std::optional<std::int32_t>>>& inputs,
              const std::vector<std::int32_t>& outputs,
              const nb::typed<nb::dict, nb::str, nb::object>& attributes, std::string module,
              std::string module_type, int call, const std::string& phase,
              std::optional<std::int32_t> region) {
    Op op;
    op.target = std::move(target);
    op.name = std::move(name);
    for (const auto& [argument, tensor] : inputs) op.inputs.push_back({argument, id_of(tensor)});
    op.outputs = ids(outputs);
    for (const auto& [key, value] : attributes) {
      op.attributes[nb::cast<std::string>(key)] = attribute_from_python(value);
    }
    op.module = std::move(module);
    op.module_type = std::move(module_type);
    op.call = call;
    op.phase = enumerator<Phase>(phase, "phase");
    if (region) op.region = RegionId(*region);
    graph_.ops.push_back(std::move(op));
  }
  std::int32_t add_region(std::string name, const std::string& kind, std::string group, double runs,
                          bool observed, std::optional<std::int32_t> parent) {
    Region region{std::move(name),
                  enumerator<RegionKind>(kind, "kind"),
                  std::move(group),
                  runs,
                  std::string(),
                  observed,
                  parent ? RegionId(*parent) : RegionId(),
                  TensorId()};
    graph_.regions.push_back(std::move(region));
    return static_cast<std::int32_t>(graph_.regions.size() - 1);
  }
  void decide(std::int32_t region, std::int32_t predicate) {
    graph_.regions.at(static_cast<std::size_t>(region)).predicate = TensorId(predicate);
  }
  /// `entry`: result of a join through which a loop takes up what a run before left.
  void carry(std::int32_t entry, std::int32_t left) {
    for (Op& op : graph_.ops) {
      if (op.outputs.size() == 1 && op.outputs.front() == TensorId(entry)) {
        op.attributes["carried"] = graph_.tensors.at(static_cast<std::size_t>(left)).name;
      }
    }
  }
  void set_inputs(const std::vector<std::int32_t>& tensors) { graph_.inputs = ids(tensors); }
  void set_outputs(const std::vector<std::int32_t>& tensors) { graph_.outputs = ids(tensors); }
  void note(std::string text) { graph_.notes.push_back(std::move(text)); }
  void set_saved_bytes(std::int64_t count) { graph_.observed_saved_bytes = Bytes(count); }
  Graph build() const {
    throw_if_any(check(graph_));
    Graph graph = graph_;
    if (!graph.regions.empty()) fill_aliases(graph);  // what loops carry
    return graph;
  }

 private:
  Graph graph_;
};

Graph annotated(Graph graph, const std::vector<std::string>& notes,
                std::optional<std::int64_t> saved_bytes) {
  graph.notes.insert(graph.notes.end(), notes.begin(), notes.end());
  if (saved_bytes) graph.observed_saved_bytes = Bytes(*saved_bytes);
  return graph;
}

void bind_tensor(nb::module_& m) {
  nb::class_<Tensor>(m, "Tensor", "A tensor of a graph.")
      .def_ro("name", &Tensor::name, "Unique in its graph.")
      .def_prop_ro(
          "role", [](const Tensor& t) { return std::string(name_of(t.role)); },
          "input, parameter, buffer, constant or activation.")
      .def_prop_ro(
          "dtype", [](const Tensor& t) { return std::string(name_of(t.dtype)); },
          "\"fp32\", \"bf16\", \"i64\", ...")
      .def_prop_ro(
          "shape",
          [](const Tensor& t) {
            std::vector<std::int64_t> sizes;
            for (const Dim& dim : t.shape) sizes.push_back(dim.size);
            return sizes;
          },
          "Sizes at the bound symbols.")
      .def_prop_ro(
          "expressions",
          [](const Tensor& t) {
            std::vector<std::string> texts;
            for (const Dim& dim : t.shape) texts.push_back(dim.expression);
            return texts;
          },
          "One text per dimension: \"2*batch\"; empty when the size is fixed.")
      .def_prop_ro("strides", &strides_of, "In elements, as captured.")
      .def_ro("fqn", &Tensor::fqn, "A parameter's or buffer's name in its module.")
      .def_ro("requires_grad", &Tensor::requires_grad)
      .def_prop_ro(
          "alias_of", [](const Tensor& t) { return index_of(t.alias_of); },
          "Index of the tensor whose storage this one shares, or None.")
      .def_prop_ro(
          "tied_to", [](const Tensor& t) { return index_of(t.tied_to); },
          "Index of the parameter that this is another name of, or None.")
      .def_prop_ro(
          "bytes", [](const Tensor& t) { return bytes(t).value; }, "Bytes of its elements.")
      .def("__repr__", [](const Tensor& t) { return "Tensor(" + t.name + ")"; });
}

void bind_op(nb::module_& m) {
  nb::class_<Op>(m, "Op", "An operator of a graph.")
      .def_ro("target", &Op::target, "\"aten.linear.default\".")
      .def_ro("name", &Op::name, "Unique in its graph.")
      .def_prop_ro(
          "inputs",
          [](const Op& op) {
            std::vector<std::pair<std::string, std::optional<std::int32_t>>> result;
            for (const Operand& o : op.inputs) result.emplace_back(o.argument, index_of(o.tensor));
            return result;
          },
          "(argument, tensor index or None) in order.")
      .def_prop_ro(
          "outputs", [](const Op& op) { return indices(op.outputs); }, "Tensor indices.")
      .def_prop_ro(
          "attributes",
          [](const Op& op) {
            nb::dict result;
            for (const auto& [key, value] : op.attributes) {
              result[key.c_str()] = attribute_to_python(value);
            }
            return result;
          },
          nb::for_getter(nb::sig("def attributes(self) -> dict[str, object]")),
          "Constant arguments by schema name.")
      .def_ro("module", &Op::module, "FQN of the nn.Module that ran it; empty for the root.")
      .def_ro("module_type", &Op::module_type)
      .def_ro("call", &Op::call, "The module's n-th call in one forward, from 0.")
      .def_prop_ro(
          "phase", [](const Op& op) { return std::string(name_of(op.phase)); },
          "forward, backward or optimizer.")
      .def_prop_ro(
          "region",
          [](const Op& op) {
            return op.region.valid() ? std::optional(op.region.value) : std::nullopt;
          },
          "Index of the region it is in, or None for the main body.")
      .def("__repr__", [](const Op& op) { return "Op(" + op.name + " = " + op.target + ")"; });
}

void bind_region(nb::module_& m) {
  nb::class_<Region>(m, "Region", "An alternative of a branch, or the body of a loop.")
      .def_ro("name", &Region::name, "Unique in its graph.")
      .def_prop_ro(
          "kind", [](const Region& r) { return std::string(name_of(r.kind)); }, "branch or loop.")
      .def_ro("group", &Region::group, "Alternatives of one branch share it.")
      .def_ro("runs", &Region::runs, "Expected runs per run of the parent.")
      .def_ro("observed", &Region::observed, "Seen or fixed by the model; else assumed.")
      .def_prop_ro(
          "parent",
          [](const Region& r) {
            return r.parent.valid() ? std::optional(r.parent.value) : std::nullopt;
          },
          "Index of the enclosing region, or None.")
      .def_prop_ro(
          "predicate",
          [](const Region& r) {
            return r.predicate.valid() ? std::optional(r.predicate.value) : std::nullopt;
          },
          "Index of the tensor that decides, or None.")
      .def("__repr__", [](const Region& r) { return "Region(" + r.name + ")"; });
}

void bind_symbol_and_count(nb::module_& m) {
  nb::class_<Symbol>(m, "Symbol", "A named size with its range and its value at capture.")
      .def_ro("name", &Symbol::name)
      .def_ro("min", &Symbol::min)
      .def_ro("max", &Symbol::max)
      .def_ro("hint", &Symbol::hint)
      .def("__repr__",
           [](const Symbol& s) { return "Symbol(" + s.name + "=" + std::to_string(s.hint) + ")"; });
  nb::class_<ParameterCount>(m, "ParameterCount", "Tied parameters count once.")
      .def_ro("parameters", &ParameterCount::parameters)
      .def_ro("trainable", &ParameterCount::trainable)
      .def_prop_ro("parameter_bytes",
                   [](const ParameterCount& c) { return c.parameter_bytes.value; })
      .def_prop_ro("buffer_bytes", [](const ParameterCount& c) { return c.buffer_bytes.value; });
}

void bind_builder(nb::module_& m) {
  nb::class_<GraphBuilder>(m, "GraphBuilder", "Builds a graph from a trace, in execution order.")
      .def(nb::init<std::string, std::string>(), "name"_a, "source"_a)
      .def("add_tensor", &GraphBuilder::add_tensor, "name"_a, "role"_a, "dtype"_a, "shape"_a,
           "strides"_a = std::vector<std::int64_t>(), "fqn"_a = "", "requires_grad"_a = false,
           "alias_of"_a = nb::none(), "tied_to"_a = nb::none(), "Index of the new tensor.")
      .def("add_op", &GraphBuilder::add_op, "target"_a, "name"_a, "inputs"_a, "outputs"_a,
           "attributes"_a = nb::dict(), "module"_a = "", "module_type"_a = "", "call"_a = 0,
           "phase"_a = "forward", "region"_a = nb::none(), "Append an operator.")
      .def("add_region", &GraphBuilder::add_region, "name"_a, "kind"_a, "group"_a, "runs"_a = 1.0,
           "observed"_a = false, "parent"_a = nb::none(),
           "Index of a new region: an alternative of a branch, or the body of a loop.")
      .def("decide", &GraphBuilder::decide, "region"_a, "predicate"_a,
           "The tensor whose value says whether a region runs.")
      .def("carry", &GraphBuilder::carry, "entry"_a, "left"_a,
           "What a run of a loop leaves in one tensor is what the next finds in the other.")
      .def("set_inputs", &GraphBuilder::set_inputs, "tensors"_a)
      .def("set_outputs", &GraphBuilder::set_outputs, "tensors"_a)
      .def("note", &GraphBuilder::note, "text"_a, "Something the user should know.")
      .def("set_saved_bytes", &GraphBuilder::set_saved_bytes, "bytes"_a,
           "What autograd was seen to keep for the backward.")
      .def("build", &GraphBuilder::build, "The checked graph; raises InputError otherwise.");
}

void bind_graph_fields(nb::class_<Graph>& graph) {
  graph.def_ro("name", &Graph::name)
      .def_ro("source", &Graph::source, "The file, \"torch.export\" or \"trace\".")
      .def_ro("tensors", &Graph::tensors)
      .def_ro("ops", &Graph::ops)
      .def_prop_ro(
          "inputs", [](const Graph& g) { return indices(g.inputs); }, "Tensor indices.")
      .def_prop_ro(
          "outputs", [](const Graph& g) { return indices(g.outputs); }, "Tensor indices.")
      .def_ro("symbols", &Graph::symbols)
      .def_ro("regions", &Graph::regions,
              "Control flow; an enclosing region before the inner ones.")
      .def(
          "expected_runs", [](const Graph& g, const Op& op) { return expected_runs(g, op); },
          "op"_a, "Runs of an operator per run of the model.")
      .def_ro("notes", &Graph::notes, "What could not be expressed.")
      .def_prop_ro(
          "observed_saved_bytes",
          [](const Graph& g) {
            return g.observed_saved_bytes ? std::optional(g.observed_saved_bytes->value)
                                          : std::nullopt;
          },
          "What autograd was seen to keep for the backward, at these sizes; None: nobody looked.")
      .def("annotated", &annotated, "notes"_a = std::vector<std::string>(),
           "saved_bytes"_a = nb::none(), "The same graph with more notes and what was observed.");
}

void bind_graph_methods(nb::class_<Graph>& graph) {
  graph
      .def(
          "to_json", [](const Graph& g) { return to_json(g); },
          "The document that load_model reads from a .json file.")
      .def_static("from_json", &graph_from_json, "text"_a, "name"_a = "graph",
                  "Read a graph document; raises InputError with every fault.")
      .def(
          "bind",
          [](const Graph& g, const std::map<std::string, std::int64_t>& values) {
            return bind(g, values);
          },
          "values"_a, "The same graph with symbols at other values: {\"batch\": 64}.")
      .def(
          "with_operators",
          [](const Graph& g, const std::string& document, const std::string& name) {
            return with_operators(g, operators_from_json(document, name).operators);
          },
          "document"_a, "name"_a,
          "The same graph with rows of a parallel-opt/operators document added; `name` is for "
          "errors.")
      .def("count_parameters", [](const Graph& g) { return count_parameters(g); })
      .def(
          "hash", [](const Graph& g) { return graph_hash(g); },
          "Identity of the computation, names left out: 16 hexadecimal digits.")
      .def(
          "to_networkx",
          [](const nb::object& self, bool sources) -> nb::object {
            return nb::module_::import_("parallel_opt.integrations.networkx")
                .attr("to_networkx")(self, "sources"_a = sources);
          },
          nb::kw_only(), "sources"_a = false,
          "As a networkx.MultiDiGraph: operators, and a tensor on each edge.")
      .def(
          "__eq__", [](const Graph& a, const Graph& b) { return a == b; }, nb::is_operator(),
          nb::sig("def __eq__(self, arg: object, /) -> bool"))
      .def("__repr__", [](const Graph& g) {
        return "Graph(" + g.name + ": " + std::to_string(g.ops.size()) + " operators)";
      });
}

void bind_readers(nb::module_& m) {
  m.def(
      "read_pt2",
      [](const nb::bytes& archive, const std::string& name, const Ties& ties) {
        const std::string_view view(archive.c_str(), archive.size());
        const nb::gil_scoped_release release;
        return read_pt2(view, name, ties);
      },
      "archive"_a, "name"_a, "ties"_a = Ties(), "Read a torch.export archive held in memory.");
  m.def(
      "load_pt2", [](const std::string& path, const Ties& ties) { return load_pt2(path, ties); },
      "path"_a, "ties"_a = Ties(), nb::call_guard<nb::gil_scoped_release>(),
      "Read a .pt2 file; its weights are not read.");
  m.def("recurrent_workspace", &recurrent_workspace, "steps"_a, "samples"_a, "columns"_a,
        "hidden"_a, "element"_a, "Bytes that oneDNN keeps of one layer of an LSTM, one way.");
  m.def(
      "check_operators",
      [](const std::string& document, const std::string& name) {
        operators_from_json(document, name);
      },
      "document"_a, "name"_a, "Raise InputError unless it is a parallel-opt/operators document.");
  m.def(
      "read_onnx",
      [](const nb::bytes& model, const std::string& name, const std::string& directory) {
        const std::string_view view(model.c_str(), model.size());
        const nb::gil_scoped_release release;
        return read_onnx(view, name, directory);
      },
      "model"_a, "name"_a, "directory"_a = "",
      "Read an ONNX model held in memory; its weights may lie in `directory`.");
  m.def("load_onnx", &load_onnx, "path"_a, nb::call_guard<nb::gil_scoped_release>(),
        "Read an .onnx file; weights are read only where shapes depend on them.");
  m.def(
      "knows_onnx_operator",
      [](const std::string& domain, const std::string& type) {
        return knows_onnx_operator(domain, type);
      },
      "domain"_a, "type"_a, "Are the operator's shapes known? Others are opaque.");
  m.def("join_batches", &join_batches, "small"_a, "small_batch"_a, "large"_a, "large_batch"_a,
        "One graph with the symbol `batch` from two captures; None when they differ in more.");
  m.def("load_model", &load_model, "spec"_a, nb::call_guard<nb::gil_scoped_release>(),
        "The graph of a MODEL argument of the command line.");
}

}  // namespace

void bind_graph(nb::module_& m) {
  bind_tensor(m);
  bind_op(m);
  bind_region(m);
  bind_symbol_and_count(m);
  nb::class_<Graph> graph(m, "Graph",
                          "What is computed: operators in order over tensors. Immutable.");
  bind_graph_fields(graph);
  bind_graph_methods(graph);
  bind_builder(m);
  bind_readers(m);
}

}  // namespace parallel_opt::bindings
