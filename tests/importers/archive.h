#pragma once

#include <zip.h>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "parallel_opt/base/error.h"
#include "parallel_opt/importers/pt2.h"

/// Archives and models made by hand, small enough to read.
namespace parallel_opt::testing {

using Members = std::vector<std::pair<std::string, std::string>>;

/// A zip archive in memory.
inline std::string make_zip(const Members& members, bool deflate = false) {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* target = zip_source_buffer_create(nullptr, 0, 0, &error);
  zip_source_keep(target);
  zip_t* zip = zip_open_from_source(target, ZIP_TRUNCATE, &error);
  if (zip == nullptr) throw std::runtime_error(zip_error_strerror(&error));
  for (const auto& [name, content] : members) {
    zip_source_t* source = zip_source_buffer(zip, content.data(), content.size(), 0);
    const zip_int64_t index = zip_file_add(zip, name.c_str(), source, 0);
    zip_set_file_compression(zip, static_cast<zip_uint64_t>(index),
                             deflate ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0);
  }
  if (zip_close(zip) != 0) throw std::runtime_error(zip_strerror(zip));
  zip_stat_t stat;
  zip_source_stat(target, &stat);
  std::string bytes(stat.size, '\0');
  zip_source_open(target);
  zip_source_read(target, bytes.data(), bytes.size());
  zip_source_close(target);
  zip_source_free(target);
  return bytes;
}

/// The text of the InputError that `run` throws; "no error" when it does not.
template <class F>
std::string error_of(const F& run) {
  try {
    run();
  } catch (const InputError& e) {
    return e.what();
  } catch (const SystemError& e) {
    return std::string("system: ") + e.what();
  }
  return "no error";
}

/// {"dtype": 7, "sizes": [{"as_int": 2}, ...]}: fp32 and contiguous unless said otherwise. A size
/// is JSON: "2" or a whole {"as_expr": ...}.
inline std::string meta(const std::vector<std::string>& sizes, int dtype = 7,
                        const std::vector<int>& strides = {}, bool requires_grad = false) {
  std::string text = "{\"dtype\": " + std::to_string(dtype) + ", \"sizes\": [";
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    text += i == 0 ? "" : ", ";
    text += sizes[i][0] == '{' ? sizes[i] : "{\"as_int\": " + sizes[i] + "}";
  }
  text += "], \"requires_grad\": ";
  text += requires_grad ? "true" : "false";
  text += ", \"device\": {\"type\": \"cpu\", \"index\": null}, \"strides\": [";
  for (std::size_t i = 0; i < strides.size(); ++i) {
    text += (i == 0 ? "{\"as_int\": " : ", {\"as_int\": ") + std::to_string(strides[i]) + "}";
  }
  return text + "], \"storage_offset\": {\"as_int\": 0}, \"layout\": 7}";
}

inline std::string join_lines(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ",\n") + part;
  return text;
}

/// An ExportedProgram in parts, as torch.export writes it.
struct Model {
  std::vector<std::string> values;  ///< members of tensor_values: "x": {...}
  std::vector<std::string> sizes;   ///< members of sym_int_values
  std::vector<std::string> nodes;
  std::vector<std::string> inputs;   ///< input_specs
  std::vector<std::string> outputs;  ///< output_specs
  std::string graph_outputs;         ///< what graph.outputs lists, as JSON without brackets
  std::string ranges;                ///< members of range_constraints
  std::string version = R"({"major": 8, "minor": 20})";

  void value(const std::string& name, const std::string& text) {
    values.push_back("\"" + name + "\": " + text);
  }
  void parameter(const std::string& name, const std::string& fqn,
                 const std::vector<std::string>& shape) {
    value(name, meta(shape, 7, {}, true));
    inputs.push_back(R"({"parameter": {"arg": {"name": ")" + name + R"("}, "parameter_name": ")" +
                     fqn + "\"}}");
  }
  void input(const std::string& name, const std::string& text) {
    value(name, text);
    inputs.push_back(R"({"user_input": {"arg": {"as_tensor": {"name": ")" + name + "\"}}}}");
  }
  void output(const std::string& name) {
    outputs.push_back(R"({"user_output": {"arg": {"as_tensor": {"name": ")" + name + "\"}}}}");
  }
  /// `arguments`: JSON of the named arguments; one tensor result.
  void node(const std::string& target, const std::vector<std::string>& arguments,
            const std::string& result, const std::string& stack = "") {
    nodes.push_back(R"({"target": ")" + target + R"(", "inputs": [)" + join_lines(arguments) +
                    R"(], "outputs": [{"as_tensor": {"name": ")" + result +
                    R"("}}], "metadata": {"nn_module_stack": ")" + stack + R"("}, "name": ")" +
                    result + "\"}");
  }
  std::string json() const {
    return R"({"graph_module": {"graph": {"inputs": [], "outputs": [)" + graph_outputs +
           R"(], "nodes": [)" + join_lines(nodes) + R"(], "tensor_values": {)" +
           join_lines(values) + R"(}, "sym_int_values": {)" + join_lines(sizes) +
           R"(}, "sym_bool_values": {}}, "signature": {"input_specs": [)" + join_lines(inputs) +
           R"(], "output_specs": [)" + join_lines(outputs) +
           R"(]}, "module_call_graph": []}, "opset_version": {"aten": 10}, "range_constraints": {)" +
           ranges + R"(}, "schema_version": )" + version +
           R"(, "verifiers": ["TRAINING"], "torch_version": "2.13.0"})";
  }
};

/// One named argument of a node: argument("self", "as_tensor", "{\"name\": \"x\"}").
inline std::string argument(const std::string& name, const std::string& kind,
                            const std::string& value) {
  return R"({"name": ")" + name + R"(", "arg": {")" + kind + "\": " + value + R"(}, "kind": 1})";
}

inline std::string tensor(const std::string& name, const std::string& value) {
  return argument(name, "as_tensor", R"({"name": ")" + value + "\"}");
}

/// The archive as PyTorch 2.13 lays it out, root folder and all.
inline std::string make_pt2(const std::string& json, Members more = {}, bool deflate = false) {
  Members members = {{"root/models/model.json", json},
                     {"root/archive_format", "pt2"},
                     {"root/archive_version", "0"},
                     {"root/.data/version", "6\n"},
                     {"root/byteorder", "little"}};
  for (auto& [name, content] : more) members.emplace_back("root/" + name, std::move(content));
  return make_zip(members, deflate);
}

/// y = linear(x, w): two rows of three by four outputs.
inline Model linear_model() {
  Model model;
  model.parameter("p_w", "fc.weight", {"4", "3"});
  model.input("x", meta({"2", "3"}));
  model.value("linear", meta({"2", "4"}));
  model.node("torch.ops.aten.linear.default", {tensor("input", "x"), tensor("weight", "p_w")},
             "linear", "L__self__,,Net;L__self__fc,fc,torch.nn.modules.linear.Linear");
  model.output("linear");
  return model;
}

/// The graph of a model, by way of its file.
inline Graph read_model(const Model& model) {
  return read_pt2(make_pt2(model.json()), "model.pt2");
}

}  // namespace parallel_opt::testing
