#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "parallel_opt/importers/findings.h"

/// ONNX's messages (onnx.proto) as plain structs. Texts and payloads are views into the file: no
/// weight is ever copied. Private to importers/.
namespace parallel_opt::onnx {

using Texts = std::vector<std::string_view>;

struct KeyValue {
  std::string_view key, value;
};

/// TensorProto. Payloads of repeated numbers stay encoded: a list of pieces of the file.
struct ProtoTensor {
  std::string_view name;
  std::vector<std::int64_t> dims;
  std::int64_t data_type = 0;
  std::string_view raw_data;
  Texts float_data, int32_data, int64_data, double_data, uint64_data;
  std::int64_t strings = 0;  ///< count of string_data
  std::vector<KeyValue> external_data, metadata;
  bool external = false;  ///< data_location EXTERNAL
};

struct ProtoSparseTensor {
  ProtoTensor values, indices;
  std::vector<std::int64_t> dims;
};

struct ProtoDim {
  bool fixed = false;
  std::int64_t value = 0;
  std::string_view param;
};

struct ProtoType {
  enum class Kind { none, tensor, sparse_tensor, sequence, optional, map, opaque };
  Kind kind = Kind::none;
  std::int64_t element = 0;  ///< tensors: TensorProto.DataType
  bool shaped = false;       ///< has a shape, maybe an empty one
  std::vector<ProtoDim> dims;
  std::vector<ProtoType> inner;  ///< sequence, optional: one
};

struct ProtoValueInfo {
  std::string_view name;
  ProtoType type;
  std::vector<KeyValue> metadata;
};

struct ProtoGraph;

struct ProtoAttribute {
  std::string_view name, reference;  ///< reference: the attribute of the enclosing function
  std::int64_t type = 0;             ///< AttributeProto.AttributeType
  float f = 0;
  std::int64_t i = 0;
  std::string_view s;
  std::vector<float> floats;
  std::vector<std::int64_t> ints;
  Texts strings;
  std::vector<ProtoTensor> tensors;       ///< `t`, or `tensors`
  std::vector<ProtoSparseTensor> sparse;  ///< `sparse_tensor`, or `sparse_tensors`
  std::vector<ProtoGraph> graphs;         ///< `g`, or `graphs`
  std::vector<ProtoType> types;           ///< `tp`, or `type_protos`
};

struct ProtoNode {
  Texts inputs, outputs;
  std::string_view name, type, domain, overload;
  std::vector<ProtoAttribute> attributes;
  std::vector<KeyValue> metadata;
};

struct ProtoGraph {
  std::string_view name;
  std::vector<ProtoNode> nodes;
  std::vector<ProtoTensor> initializers;
  std::vector<ProtoSparseTensor> sparse_initializers;
  std::vector<ProtoValueInfo> inputs, outputs, value_info;
};

struct ProtoOpset {
  std::string_view domain;
  std::int64_t version = 0;
};

struct ProtoFunction {
  std::string_view name, domain, overload;
  Texts inputs, outputs, attributes;
  std::vector<ProtoAttribute> defaults;
  std::vector<ProtoNode> nodes;
  std::vector<ProtoOpset> opsets;
  std::vector<ProtoValueInfo> value_info;
};

struct ProtoModel {
  std::int64_t ir_version = 0;
  std::string_view producer;
  std::vector<ProtoOpset> opsets;
  ProtoGraph graph;
  bool has_graph = false;
  std::vector<ProtoFunction> functions;
};

/// Reads a ModelProto; what is broken goes to `findings` with its place ("graph.node[17]"), and
/// the rest is read on. The result holds views into `bytes`.
ProtoModel read_model(std::string_view bytes, Findings& findings);

/// The numbers of a payload, decoded; at most `most`. Throws InputError at `where` when an encoding
/// is broken.
std::vector<std::int64_t> decode_varints(const Texts& pieces, std::size_t most);
std::vector<double> decode_floats(const Texts& pieces, std::size_t most);
std::vector<double> decode_doubles(const Texts& pieces, std::size_t most);

}  // namespace parallel_opt::onnx
