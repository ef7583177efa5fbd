#pragma once

#include <cctype>
#include <cstdint>
#include <cstring>
#include <protozero/pbf_writer.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "parallel_opt/base/error.h"
#include "parallel_opt/importers/onnx.h"
#include "tests/importers/graph_views.h"
#include "tests/importers/onnx_attribute.h"

/// ONNX files made by hand, one message at a time (onnx.proto's field numbers).
namespace parallel_opt::testing {

struct Node {
  std::string type;
  Names inputs;
  Names outputs;
  Names attributes = {};
  std::string domain = {};
  std::string name = {};
  std::vector<std::pair<std::string, std::string>> metadata = {};
};

inline std::string key_value(const std::string& key, const std::string& value) {
  std::string bytes;
  protozero::pbf_writer writer(bytes);
  writer.add_string(1, key);
  writer.add_string(2, value);
  return bytes;
}

inline std::string bytes_of(const Node& node) {
  std::string bytes;
  protozero::pbf_writer writer(bytes);
  for (const std::string& input : node.inputs) writer.add_string(1, input);
  for (const std::string& output : node.outputs) writer.add_string(2, output);
  writer.add_string(3, node.name);
  writer.add_string(4, node.type);
  for (const std::string& one : node.attributes) writer.add_message(5, one);
  writer.add_string(7, node.domain);
  for (const auto& [key, value] : node.metadata) writer.add_message(9, key_value(key, value));
  return bytes;
}

/// A value's type: sizes are numbers, or names of symbols.
inline std::string value_info(const std::string& name, const Names& sizes,
                              std::int64_t element = kFloat) {
  std::string shape;
  for (const std::string& size : sizes) {
    std::string dim;
    protozero::pbf_writer writer(dim);
    if (!size.empty() && (std::isdigit(static_cast<unsigned char>(size[0])) != 0)) {
      writer.add_int64(1, std::stoll(size));
    } else if (!size.empty()) {
      writer.add_string(2, size);
    }
    protozero::pbf_writer(shape).add_message(1, dim);
  }
  std::string tensor, type, bytes;
  protozero::pbf_writer writer(tensor);
  writer.add_int64(1, element);
  writer.add_message(2, shape);
  protozero::pbf_writer(type).add_message(1, tensor);
  protozero::pbf_writer info(bytes);
  info.add_string(1, name);
  info.add_message(2, type);
  return bytes;
}

inline std::string tensor(const std::string& name, const Numbers& dims, std::int64_t element,
                          const std::string& raw) {
  std::string bytes;
  protozero::pbf_writer writer(bytes);
  writer.add_packed_int64(1, dims.begin(), dims.end());
  writer.add_int64(2, element);
  writer.add_string(8, name);
  if (!raw.empty()) writer.add_bytes(9, raw);
  return bytes;
}

/// A weight without its numbers.
inline std::string weight(const std::string& name, const Numbers& dims) {
  return tensor(name, dims, kFloat, "");
}

inline std::string list(const std::string& name, const Numbers& values) {
  std::string raw(values.size() * 8, '\0');
  if (!values.empty()) std::memcpy(raw.data(), values.data(), raw.size());
  return tensor(name, {static_cast<std::int64_t>(values.size())}, kInt64, raw);
}

inline std::string number(const std::string& name, std::int64_t value) {
  std::string raw(8, '\0');
  std::memcpy(raw.data(), &value, 8);
  return tensor(name, {}, kInt64, raw);
}

struct OnnxGraph {
  std::vector<Node> nodes;
  Names inputs = {};  ///< serialized value infos
  Names outputs = {};
  Names initializers = {};
  Names value_infos = {};

  std::string bytes() const {
    std::string result;
    protozero::pbf_writer writer(result);
    for (const Node& node : nodes) writer.add_message(1, bytes_of(node));
    writer.add_string(2, "graph");
    for (const std::string& one : initializers) writer.add_message(5, one);
    for (const std::string& one : inputs) writer.add_message(11, one);
    for (const std::string& one : outputs) writer.add_message(12, one);
    for (const std::string& one : value_infos) writer.add_message(13, one);
    return result;
  }
};

inline std::string opset(const std::string& domain, std::int64_t version) {
  std::string bytes;
  protozero::pbf_writer writer(bytes);
  writer.add_string(1, domain);
  writer.add_int64(2, version);
  return bytes;
}

inline std::string function(const std::string& name, const Names& inputs, const Names& outputs,
                            const std::vector<Node>& nodes, const Names& defaults = {}) {
  std::string bytes;
  protozero::pbf_writer writer(bytes);
  writer.add_string(1, name);
  for (const std::string& input : inputs) writer.add_string(4, input);
  for (const std::string& output : outputs) writer.add_string(5, output);
  for (const Node& node : nodes) writer.add_message(7, bytes_of(node));
  writer.add_message(9, opset("", 18));
  writer.add_string(10, "local");
  for (const std::string& one : defaults) writer.add_message(11, one);
  return bytes;
}

inline std::string model(const OnnxGraph& graph, std::int64_t version = 18,
                         const Names& functions = {}) {
  std::string bytes;
  protozero::pbf_writer writer(bytes);
  writer.add_int64(1, 10);
  writer.add_message(7, graph.bytes());
  writer.add_message(8, opset("", version));
  writer.add_message(8, opset("com.microsoft", 1));
  writer.add_message(8, opset("local", 1));
  for (const std::string& one : functions) writer.add_message(25, one);
  return bytes;
}

inline Graph read(const OnnxGraph& graph, std::int64_t version = 18, const Names& functions = {}) {
  return read_onnx(model(graph, version, functions), "model.onnx");
}

/// One node over inputs x, y, ... of these sizes; its result is z.
inline OnnxGraph one_node(const std::string& type, const std::vector<Names>& shapes,
                          const Names& attributes = {}, const Names& constants = {},
                          const std::string& domain = "") {
  OnnxGraph graph;
  Node node{type, {}, {"z"}, attributes, domain};
  const std::string letters = "xywvu";
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    node.inputs.emplace_back(1, letters[i]);
    graph.inputs.push_back(value_info(node.inputs.back(), shapes[i]));
  }
  for (std::size_t i = 0; i < constants.size(); ++i) {
    node.inputs.push_back("c" + std::to_string(i));
    graph.initializers.push_back(constants[i]);
  }
  graph.nodes.push_back(std::move(node));
  graph.outputs.push_back(value_info("z", {}));
  graph.outputs.back() = [] {  // a result without a stated shape
    std::string bytes;
    protozero::pbf_writer(bytes).add_string(1, "z");
    return bytes;
  }();
  return graph;
}

/// "[2, seq, 64]" of a tensor.
inline std::string sizes(const Graph& graph, TensorId id) {
  std::string result = "[";
  for (const Dim& dim : graph.tensor(id).shape) {
    if (result.size() > 1) result += ", ";
    result += dim.symbolic() ? dim.expression : std::to_string(dim.size);
  }
  return result + "]";
}

/// The result of `one_node`.
inline std::string result_of(const OnnxGraph& graph, std::int64_t version = 18) {
  const Graph made = read(graph, version);
  return sizes(made, made.outputs.at(0));
}

}  // namespace parallel_opt::testing
