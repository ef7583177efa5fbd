#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "parallel_opt/base/dtype.h"

/// TensorFlow's protocol buffers as plain structs, without TensorFlow and without libprotobuf.
/// Field numbers are those of tensorflow/core/framework and core/protobuf. Texts are views into the
/// file's bytes, which must outlive them; values of tensors are read only where sizes depend on
/// them.
namespace parallel_opt::tf {

/// Sizes of a TensorShapeProto; -1 is unknown.
struct ShapeProto {
  bool ranked = true;
  std::vector<std::int64_t> dims;
};

struct Attr {
  enum class Kind { none, text, integer, real, flag, type, shape, tensor, function, list };
  Kind kind = Kind::none;
  std::string_view text;  ///< text, or a function's name, or a tensor's bytes
  std::int64_t integer = 0;
  double real = 0;
  bool flag = false;
  int type = 0;
  ShapeProto shape;
  std::vector<std::string_view> texts;  ///< of a list: its strings, or its functions' names
  std::vector<std::int64_t> integers;
  std::vector<double> reals;
  std::vector<int> types;
  std::vector<ShapeProto> shapes;
};

struct Node {
  std::string_view name;
  std::string_view op;
  std::vector<std::string_view> inputs;  ///< "n", "n:1", "^control", in functions "n:output:0"
  std::map<std::string_view, Attr> attributes;

  const Attr* find(std::string_view attribute) const;
  std::int64_t integer(std::string_view attribute, std::int64_t fallback) const;
  bool flag(std::string_view attribute, bool fallback = false) const;
  std::string_view text(std::string_view attribute, std::string_view fallback = {}) const;
  int type(std::string_view attribute) const;  ///< 0 when absent
  std::vector<std::int64_t> integers(std::string_view attribute) const;
};

/// An argument of an operator or function definition.
struct ArgDef {
  std::string_view name;
  int type = 0;
  std::string_view number_attr;     ///< the argument is this many tensors
  std::string_view type_list_attr;  ///< or one per type of this list
};

struct OpDef {
  std::string_view name;
  std::vector<ArgDef> inputs, outputs;
};

struct Function {
  OpDef signature;
  std::vector<Node> nodes;
  std::map<std::string_view, std::string_view> results;   ///< output -> "node:output:0"
  std::map<std::string_view, std::string_view> controls;  ///< control output -> node
  std::map<std::int64_t, ShapeProto> argument_shapes;     ///< of `_output_shapes`
};

struct GraphDef {
  std::vector<Node> nodes;
  std::vector<Function> functions;
};

struct TensorInfo {
  std::string_view tensor;  ///< "node:0"
  int type = 0;
  ShapeProto shape;
};

struct Signature {
  std::map<std::string, TensorInfo> inputs, outputs;
};

/// A node of the object graph that is saved beside the functions (Python objects).
struct SavedObject {
  struct Child {
    std::int64_t node = 0;
    std::string_view name;
  };
  std::vector<Child> children;
  bool variable = false;
  bool trainable = false;
  int type = 0;
  ShapeProto shape;
  std::string_view name;  ///< of the variable
};

struct MetaGraph {
  std::vector<std::string_view> tags;
  std::vector<OpDef> ops;  ///< every operator the graph uses
  GraphDef graph;
  std::map<std::string, Signature> signatures;
  std::vector<std::string_view> assets;  ///< file names
  std::vector<SavedObject> objects;
  /// Function -> object per captured tensor, in order of the last arguments.
  std::map<std::string_view, std::vector<std::int64_t>> captures;
  std::vector<std::string_view> trainable;  ///< names in the collection of TensorFlow 1
};

/// A TensorProto's head, and its values when they are whole numbers or flags and few.
struct TensorValue {
  int type = 0;
  ShapeProto shape;
  std::vector<std::int64_t> values;  ///< one per element when `known`
  bool known = false;
};

/// `where` starts the place of a fault: "model.pb". All throw InputError for bytes that are no such
/// message.
GraphDef read_graph_def(std::string_view bytes, const std::string& where);
std::vector<MetaGraph> read_saved_model(std::string_view bytes, const std::string& where);
/// Values of more than `most` elements stay unread.
TensorValue read_tensor(std::string_view bytes, const std::string& where, std::int64_t most);

/// One entry of a variables.index table (BundleEntryProto).
struct BundleEntry {
  int type = 0;
  ShapeProto shape;
  std::int64_t shard = 0;
};
BundleEntry read_bundle_entry(std::string_view bytes, const std::string& where);
/// Number of shards of the table's header (BundleHeaderProto).
std::int64_t read_bundle_header(std::string_view bytes, const std::string& where);

/// Element type of a tensorflow DataType; references (100 and more) as their value. Empty: strings,
/// resources, variants and what is not known.
std::optional<DType> dtype_of(int type);
constexpr int kResource = 20, kVariant = 21, kString = 7;
/// Does the file begin with something that is a SavedModel, rather than a GraphDef?
bool looks_like_saved_model(std::string_view bytes);

}  // namespace parallel_opt::tf
