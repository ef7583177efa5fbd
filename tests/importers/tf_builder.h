#pragma once

#include <cstdint>
#include <cstring>
#include <protozero/pbf_writer.hpp>
#include <string>
#include <utility>
#include <vector>

/// TensorFlow's messages made by hand, field by field, small enough to read.
namespace parallel_opt::testing::tf {

using protozero::pbf_writer;
using Bytes = std::string;
using Dims = std::vector<std::int64_t>;

constexpr int kFloat = 1, kInt32 = 3, kString = 7, kBool = 10, kResource = 20, kVariant = 21;

inline Bytes shape(const Dims& dims) {
  Bytes bytes;
  pbf_writer writer(bytes);
  for (const std::int64_t size : dims) {
    pbf_writer dim(writer, 2);
    dim.add_int64(1, size);
  }
  return bytes;
}

inline Bytes unknown_rank() {
  Bytes bytes;
  pbf_writer(bytes).add_bool(3, true);
  return bytes;
}

// --- AttrValue
inline Bytes type(int value) {
  Bytes bytes;
  pbf_writer(bytes).add_enum(6, value);
  return bytes;
}
inline Bytes whole(std::int64_t value) {
  Bytes bytes;
  pbf_writer(bytes).add_int64(3, value);
  return bytes;
}
inline Bytes flag(bool value) {
  Bytes bytes;
  pbf_writer(bytes).add_bool(5, value);
  return bytes;
}
inline Bytes text(const std::string& value) {
  Bytes bytes;
  pbf_writer(bytes).add_bytes(2, value);
  return bytes;
}
inline Bytes shape_value(const Dims& dims) {
  Bytes bytes;
  pbf_writer(bytes).add_message(7, shape(dims));
  return bytes;
}
inline Bytes wholes(const Dims& values) {
  Bytes list;
  pbf_writer(list).add_packed_int64(3, values.begin(), values.end());
  Bytes bytes;
  pbf_writer(bytes).add_message(1, list);
  return bytes;
}
inline Bytes shapes(const std::vector<Dims>& values) {
  Bytes list;
  pbf_writer writer(list);
  for (const Dims& dims : values) writer.add_message(7, shape(dims));
  Bytes bytes;
  pbf_writer(bytes).add_message(1, list);
  return bytes;
}
inline Bytes function_name(const std::string& name) {
  Bytes inner;
  pbf_writer(inner).add_bytes(1, name);
  return inner;
}
inline Bytes function(const std::string& name) {
  Bytes bytes;
  pbf_writer(bytes).add_message(10, function_name(name));
  return bytes;
}
inline Bytes functions(const std::vector<std::string>& names) {
  Bytes list;
  pbf_writer writer(list);
  for (const std::string& name : names) writer.add_message(9, function_name(name));
  Bytes bytes;
  pbf_writer(bytes).add_message(1, list);
  return bytes;
}
inline Bytes integers(const std::vector<std::int32_t>& values, const Dims& dims) {
  Bytes tensor;
  {
    pbf_writer writer(tensor);
    writer.add_enum(1, kInt32);
    writer.add_message(2, shape(dims));
    writer.add_bytes(4, Bytes(reinterpret_cast<const char*>(values.data()),
                              values.size() * sizeof(std::int32_t)));
  }
  Bytes bytes;
  pbf_writer(bytes).add_message(8, tensor);
  return bytes;
}
/// A constant of floating type; its values do not matter, so they are left out.
inline Bytes floats(const Dims& dims) {
  Bytes tensor;
  {
    pbf_writer writer(tensor);
    writer.add_enum(1, kFloat);
    writer.add_message(2, shape(dims));
  }
  Bytes bytes;
  pbf_writer(bytes).add_message(8, tensor);
  return bytes;
}

using Attributes = std::vector<std::pair<std::string, Bytes>>;

/// One entry of a map<string, message>.
inline Bytes entry(const std::string& key, const Bytes& value) {
  Bytes bytes;
  pbf_writer writer(bytes);
  writer.add_bytes(1, key);
  writer.add_message(2, value);
  return bytes;
}

inline Bytes node(const std::string& name, const std::string& op,
                  const std::vector<std::string>& inputs = {}, const Attributes& attributes = {}) {
  Bytes bytes;
  pbf_writer writer(bytes);
  writer.add_bytes(1, name);
  writer.add_bytes(2, op);
  for (const std::string& input : inputs) writer.add_bytes(3, input);
  for (const auto& [key, value] : attributes) writer.add_message(5, entry(key, value));
  return bytes;
}

inline Bytes placeholder(const std::string& name, const Dims& dims, int dtype = kFloat) {
  return node(name, "Placeholder", {}, {{"dtype", type(dtype)}, {"shape", shape_value(dims)}});
}
inline Bytes weight(const std::string& name, const Dims& dims) {
  return node(name, "Const", {}, {{"dtype", type(kFloat)}, {"value", floats(dims)}});
}
inline Bytes numbers(const std::string& name, const std::vector<std::int32_t>& values,
                     const Dims& dims) {
  return node(name, "Const", {}, {{"dtype", type(kInt32)}, {"value", integers(values, dims)}});
}
inline Bytes number(const std::string& name, std::int32_t value) {
  return numbers(name, {value}, {});
}

/// `arguments` and `results`: name and element type; `returns`: what each result is.
inline Bytes function_def(const std::string& name,
                          const std::vector<std::pair<std::string, int>>& arguments,
                          const std::vector<std::pair<std::string, std::string>>& returns,
                          const std::vector<Bytes>& nodes) {
  Bytes signature;
  {
    pbf_writer writer(signature);
    writer.add_bytes(1, name);
    for (const auto& [argument, dtype] : arguments) {
      pbf_writer arg(writer, 2);
      arg.add_bytes(1, argument);
      arg.add_enum(3, dtype);
    }
    for (const auto& [result, source] : returns) {
      pbf_writer arg(writer, 3);
      arg.add_bytes(1, result);
      arg.add_enum(3, kFloat);
    }
  }
  Bytes bytes;
  pbf_writer writer(bytes);
  writer.add_message(1, signature);
  for (const Bytes& one : nodes) writer.add_message(3, one);
  for (const auto& [result, source] : returns) {
    pbf_writer ret(writer, 4);
    ret.add_bytes(1, result);
    ret.add_bytes(2, source);
  }
  return bytes;
}

inline Bytes graph(const std::vector<Bytes>& nodes, const std::vector<Bytes>& library = {}) {
  Bytes bytes;
  pbf_writer writer(bytes);
  for (const Bytes& one : nodes) writer.add_message(1, one);
  if (library.empty()) return bytes;
  pbf_writer functions_of(writer, 2);
  for (const Bytes& one : library) functions_of.add_message(1, one);
  return bytes;
}

inline Bytes tensor_info(const std::string& tensor, int dtype, const Dims& dims) {
  Bytes bytes;
  pbf_writer writer(bytes);
  writer.add_bytes(1, tensor);
  writer.add_enum(2, dtype);
  writer.add_message(3, shape(dims));
  return bytes;
}

/// One meta graph with tag "serve" and one signature; `more`: further fields of the meta graph.
inline Bytes saved_model(const Bytes& graph_def, const std::string& signature, const Bytes& input,
                         const std::string& output, const Bytes& more = {}) {
  Bytes meta;
  {
    pbf_writer writer(meta);
    pbf_writer(writer, 1).add_bytes(4, "serve");
    writer.add_message(2, graph_def);
    Bytes def;
    {
      pbf_writer signature_def(def);
      signature_def.add_message(1, entry("x", input));
      signature_def.add_message(2, entry("y", tensor_info(output, kFloat, {})));
    }
    writer.add_message(5, entry(signature, def));
  }
  meta += more;
  Bytes bytes;
  pbf_writer writer(bytes);
  writer.add_int64(1, 1);
  writer.add_message(2, meta);
  return bytes;
}

}  // namespace parallel_opt::testing::tf
