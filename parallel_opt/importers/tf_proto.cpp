#include "parallel_opt/importers/tf_proto.h"

#include <algorithm>
#include <cstring>

#include "parallel_opt/importers/wire.h"

namespace parallel_opt::tf {
namespace {

using wire::each_field;
using wire::Field;

std::string place(const std::string& where, const char* list, std::size_t i) {
  return where + "." + list + "[" + std::to_string(i) + "]";
}

ShapeProto read_shape(std::string_view bytes, const std::string& where) {
  constexpr std::size_t kMostAxes = 254;  // TensorFlow's own limit
  ShapeProto shape;
  each_field(bytes, where, [&](Field& field) {
    std::string_view dim;
    bool unknown = false;
    if (field.flag(3, unknown)) shape.ranked = shape.ranked && !unknown;
    if (!field.bytes(2, dim)) return;
    std::int64_t size = 0;
    each_field(dim, where, [&](Field& f) { f.integer(1, size); });
    shape.dims.push_back(size);
  });
  if (shape.dims.size() > kMostAxes) {
    throw InputError(where, "a shape has " + std::to_string(shape.dims.size()) + " axes",
                     "at most 254");
  }
  for (const std::int64_t size : shape.dims) {
    if (size < -1) throw InputError(where, "a size is " + std::to_string(size), "");
  }
  return shape;
}

std::string_view function_name(std::string_view bytes, const std::string& where) {
  std::string_view name;
  each_field(bytes, where, [&](Field& field) { field.bytes(1, name); });
  return name;
}

void read_list(std::string_view bytes, const std::string& where, Attr& attr) {
  each_field(bytes, where, [&](Field& field) {
    std::string_view view;
    if (field.bytes(2, view)) attr.texts.push_back(view);
    field.integers(3, attr.integers);
    if (field.is(4, wire::Type::fixed32)) {
      double value = 0;
      field.real(4, value);
      attr.reals.push_back(value);
    } else if (field.bytes(4, view)) {  // packed
      for (std::size_t i = 0; i + sizeof(float) <= view.size(); i += sizeof(float)) {
        float value = 0;
        std::memcpy(&value, view.data() + i, sizeof value);
        attr.reals.push_back(static_cast<double>(value));
      }
    }
    if (!field.integers(5, attr.integers)) field.integers(6, attr.types);
    if (field.bytes(7, view)) attr.shapes.push_back(read_shape(view, where));
    if (field.bytes(9, view)) attr.texts.push_back(function_name(view, where));
  });
}

Attr read_attr(std::string_view bytes, const std::string& where) {
  Attr attr;
  each_field(bytes, where, [&](Field& field) {
    std::string_view view;
    if (field.bytes(2, attr.text)) attr.kind = Attr::Kind::text;
    if (field.integer(3, attr.integer)) attr.kind = Attr::Kind::integer;
    if (field.real(4, attr.real)) attr.kind = Attr::Kind::real;
    if (field.flag(5, attr.flag)) attr.kind = Attr::Kind::flag;
    if (field.integer(6, attr.type)) attr.kind = Attr::Kind::type;
    if (field.bytes(7, view)) {
      attr.kind = Attr::Kind::shape;
      attr.shape = read_shape(view, where);
    }
    if (field.bytes(8, attr.text)) attr.kind = Attr::Kind::tensor;
    if (field.bytes(10, view)) {
      attr.kind = Attr::Kind::function;
      attr.text = function_name(view, where);
    }
    if (field.bytes(1, view)) {
      attr.kind = Attr::Kind::list;
      read_list(view, where, attr);
    }
  });
  return attr;
}

/// One entry of a map<string, message>.
struct Entry {
  std::string_view key, value;
};

Entry read_entry(std::string_view bytes, const std::string& where) {
  Entry entry;
  each_field(bytes, where, [&](Field& field) {
    field.bytes(1, entry.key);
    field.bytes(2, entry.value);
  });
  return entry;
}

Node read_node(std::string_view bytes, const std::string& where) {
  Node node;
  each_field(bytes, where, [&](Field& field) {
    std::string_view view;
    field.bytes(1, node.name);
    field.bytes(2, node.op);
    if (field.bytes(3, view)) node.inputs.push_back(view);
    if (field.bytes(5, view)) {
      const Entry entry = read_entry(view, where);
      node.attributes[entry.key] = read_attr(entry.value, where);
    }
  });
  if (node.op.empty() || node.name.empty()) {
    throw InputError(where, node.op.empty() ? "a node has no operator" : "a node has no name",
                     "is this a TensorFlow graph?");
  }
  return node;
}

ArgDef read_arg(std::string_view bytes, const std::string& where) {
  ArgDef arg;
  each_field(bytes, where, [&](Field& field) {
    field.bytes(1, arg.name);
    field.integer(3, arg.type);
    field.bytes(5, arg.number_attr);
    field.bytes(6, arg.type_list_attr);
  });
  return arg;
}

OpDef read_op_def(std::string_view bytes, const std::string& where) {
  OpDef def;
  each_field(bytes, where, [&](Field& field) {
    std::string_view view;
    field.bytes(1, def.name);
    if (field.bytes(2, view)) def.inputs.push_back(read_arg(view, where));
    if (field.bytes(3, view)) def.outputs.push_back(read_arg(view, where));
  });
  return def;
}

/// map<uint32, ArgAttrs{map<string, AttrValue>}>: only the shapes of arguments.
void read_argument_shapes(std::string_view bytes, const std::string& where, Function& function) {
  std::int64_t index = 0;
  each_field(bytes, where, [&](Field& field) {
    std::string_view attrs;
    field.integer(1, index);
    if (!field.bytes(2, attrs)) return;
    each_field(attrs, where, [&](Field& f) {
      std::string_view view;
      if (!f.bytes(1, view)) return;
      const Entry entry = read_entry(view, where);
      if (entry.key != "_output_shapes") return;
      const Attr attr = read_attr(entry.value, where);
      if (attr.shapes.size() == 1) function.argument_shapes[index] = attr.shapes.front();
    });
  });
}

Function read_function(std::string_view bytes, const std::string& where) {
  Function function;
  each_field(bytes, where, [&](Field& field) {
    std::string_view view;
    if (field.bytes(1, view)) function.signature = read_op_def(view, where);
    if (field.bytes(3, view)) {
      function.nodes.push_back(read_node(view, place(where, "node_def", function.nodes.size())));
    }
    if (field.bytes(4, view)) {
      const Entry entry = read_entry(view, where);
      function.results[entry.key] = entry.value;
    }
    if (field.bytes(6, view)) {
      const Entry entry = read_entry(view, where);
      function.controls[entry.key] = entry.value;
    }
    if (field.bytes(7, view)) read_argument_shapes(view, where, function);
  });
  return function;
}

TensorInfo read_info(std::string_view bytes, const std::string& where) {
  TensorInfo info;
  each_field(bytes, where, [&](Field& field) {
    std::string_view view;
    field.bytes(1, info.tensor);
    field.integer(2, info.type);
    if (field.bytes(3, view)) info.shape = read_shape(view, where);
  });
  return info;
}

Signature read_signature(std::string_view bytes, const std::string& where) {
  Signature signature;
  each_field(bytes, where, [&](Field& field) {
    std::string_view view;
    if (field.bytes(1, view)) {
      const Entry entry = read_entry(view, where);
      signature.inputs[std::string(entry.key)] = read_info(entry.value, where);
    }
    if (field.bytes(2, view)) {
      const Entry entry = read_entry(view, where);
      signature.outputs[std::string(entry.key)] = read_info(entry.value, where);
    }
  });
  return signature;
}

void read_variable(std::string_view bytes, const std::string& where, SavedObject& object) {
  object.variable = true;
  each_field(bytes, where, [&](Field& field) {
    std::string_view view;
    field.integer(1, object.type);
    if (field.bytes(2, view)) object.shape = read_shape(view, where);
    field.flag(3, object.trainable);
    field.bytes(6, object.name);
  });
}

void read_objects(std::string_view bytes, const std::string& where, MetaGraph& meta) {
  each_field(bytes, where, [&](Field& field) {
    std::string_view view;
    if (field.bytes(1, view)) {
      SavedObject object;
      each_field(view, where, [&](Field& f) {
        std::string_view part;
        if (f.bytes(1, part)) {
          SavedObject::Child child;
          each_field(part, where, [&](Field& c) {
            c.integer(1, child.node);
            c.bytes(2, child.name);
          });
          object.children.push_back(child);
        }
        if (f.bytes(7, part)) read_variable(part, where, object);
      });
      meta.objects.push_back(std::move(object));
    }
    if (field.bytes(2, view)) {
      const Entry entry = read_entry(view, where);
      each_field(entry.value, where, [&](Field& f) { f.integers(2, meta.captures[entry.key]); });
    }
  });
}

void read_meta_info(std::string_view bytes, const std::string& where, MetaGraph& meta) {
  each_field(bytes, where, [&](Field& field) {
    std::string_view view;
    if (field.bytes(4, view)) meta.tags.push_back(view);
    if (!field.bytes(2, view)) return;
    each_field(view, where, [&](Field& f) {
      std::string_view op;
      if (f.bytes(1, op)) meta.ops.push_back(read_op_def(op, where));
    });
  });
}

/// collection_def: the names of TensorFlow 1's trainable variables.
void read_collection(const Entry& entry, const std::string& where, MetaGraph& meta) {
  if (entry.key != "trainable_variables") return;
  each_field(entry.value, where, [&](Field& field) {
    std::string_view list;
    if (!field.bytes(2, list)) return;
    each_field(list, where, [&](Field& f) {
      std::string_view variable;
      if (!f.bytes(1, variable)) return;
      each_field(variable, where, [&](Field& v) {
        std::string_view name;
        if (v.bytes(1, name)) meta.trainable.push_back(name.substr(0, name.find(':')));
      });
    });
  });
}

MetaGraph read_meta_graph(std::string_view bytes, const std::string& where) {
  MetaGraph meta;
  each_field(bytes, where, [&](Field& field) {
    std::string_view view;
    if (field.bytes(1, view)) read_meta_info(view, where + ".meta_info_def", meta);
    if (field.bytes(2, view)) meta.graph = read_graph_def(view, where + ".graph_def");
    if (field.bytes(4, view)) {
      read_collection(read_entry(view, where + ".collection_def"), where + ".collection_def", meta);
    }
    if (field.bytes(5, view)) {
      const Entry entry = read_entry(view, where + ".signature_def");
      meta.signatures[std::string(entry.key)] =
          read_signature(entry.value, where + ".signature_def");
    }
    if (field.bytes(6, view)) {
      each_field(view, where + ".asset_file_def", [&](Field& f) {
        std::string_view name;
        if (f.bytes(2, name)) meta.assets.push_back(name);
      });
    }
    if (field.bytes(7, view)) read_objects(view, where + ".object_graph_def", meta);
  });
  return meta;
}

/// Bytes of one element in tensor_content; 0: not a whole number.
std::size_t integer_size(int type) {
  switch (type) {
    case 4:   // uint8
    case 6:   // int8
    case 10:  // bool
      return 1;
    case 5:   // int16
    case 17:  // uint16
      return 2;
    case 3:   // int32
    case 22:  // uint32
      return 4;
    case 9:   // int64
    case 23:  // uint64
      return 8;
    default:
      return 0;
  }
}

std::int64_t read_element(const char* at, int type) {
  const auto get = [&](auto value) {
    std::memcpy(&value, at, sizeof value);
    return static_cast<std::int64_t>(value);
  };
  switch (type) {
    case 4:
    case 10:
      return get(std::uint8_t{});
    case 6:
      return get(std::int8_t{});
    case 5:
      return get(std::int16_t{});
    case 17:
      return get(std::uint16_t{});
    case 3:
      return get(std::int32_t{});
    case 22:
      return get(std::uint32_t{});
    default:
      return get(std::int64_t{});
  }
}

}  // namespace

const Attr* Node::find(std::string_view attribute) const {
  const auto found = attributes.find(attribute);
  return found == attributes.end() ? nullptr : &found->second;
}

std::int64_t Node::integer(std::string_view attribute, std::int64_t fallback) const {
  const Attr* attr = find(attribute);
  return attr != nullptr && attr->kind == Attr::Kind::integer ? attr->integer : fallback;
}

bool Node::flag(std::string_view attribute, bool fallback) const {
  const Attr* attr = find(attribute);
  return attr != nullptr && attr->kind == Attr::Kind::flag ? attr->flag : fallback;
}

std::string_view Node::text(std::string_view attribute, std::string_view fallback) const {
  const Attr* attr = find(attribute);
  const bool text =
      attr != nullptr && (attr->kind == Attr::Kind::text || attr->kind == Attr::Kind::function);
  return text ? attr->text : fallback;
}

int Node::type(std::string_view attribute) const {
  const Attr* attr = find(attribute);
  return attr != nullptr && attr->kind == Attr::Kind::type ? attr->type : 0;
}

std::vector<std::int64_t> Node::integers(std::string_view attribute) const {
  const Attr* attr = find(attribute);
  return attr == nullptr ? std::vector<std::int64_t>() : attr->integers;
}

GraphDef read_graph_def(std::string_view bytes, const std::string& where) {
  GraphDef graph;
  each_field(bytes, where, [&](Field& field) {
    std::string_view view;
    if (field.bytes(1, view)) {
      graph.nodes.push_back(read_node(view, place(where, "node", graph.nodes.size())));
    }
    if (!field.bytes(2, view)) return;
    each_field(view, where + ".library", [&](Field& f) {
      std::string_view function;
      if (!f.bytes(1, function)) return;
      graph.functions.push_back(
          read_function(function, place(where, "library.function", graph.functions.size())));
    });
  });
  return graph;
}

std::vector<MetaGraph> read_saved_model(std::string_view bytes, const std::string& where) {
  std::vector<MetaGraph> graphs;
  each_field(bytes, where, [&](Field& field) {
    std::string_view view;
    if (field.bytes(2, view)) {
      graphs.push_back(read_meta_graph(
          view, place(where, "meta_graphs", graphs.size()).replace(where.size(), 1, ":")));
    }
  });
  return graphs;
}

TensorValue read_tensor(std::string_view bytes, const std::string& where, std::int64_t most) {
  TensorValue tensor;
  std::string_view content;
  std::vector<std::int64_t> listed;
  each_field(bytes, where, [&](Field& field) {
    std::string_view view;
    field.integer(1, tensor.type);
    if (field.bytes(2, view)) tensor.shape = read_shape(view, where);
    field.bytes(4, content);
    for (const std::uint32_t tag : {7U, 10U, 11U, 16U, 17U}) {
      if (field.tag() == tag) field.integers(tag, listed);
    }
  });
  std::int64_t count = 1;
  for (const std::int64_t size : tensor.shape.dims) {
    if (__builtin_mul_overflow(count, size, &count)) count = INT64_MAX;
    if (count < 0 || count > most) return tensor;
  }
  const std::size_t width = integer_size(tensor.type);
  if (width == 0 || !tensor.shape.ranked) return tensor;
  const auto elements = static_cast<std::size_t>(count);
  if (!content.empty()) {
    if (content.size() != elements * width) {
      throw InputError(where,
                       "a constant of " + std::to_string(elements) + " elements holds " +
                           std::to_string(content.size()) + " bytes",
                       "is the download complete?");
    }
    for (std::size_t i = 0; i < elements; ++i) {
      tensor.values.push_back(read_element(content.data() + i * width, tensor.type));
    }
  } else {  // fewer values than elements: the last one repeats; none: zeros
    tensor.values = std::move(listed);
    tensor.values.resize(elements, tensor.values.empty() ? 0 : tensor.values.back());
  }
  tensor.known = true;
  return tensor;
}

BundleEntry read_bundle_entry(std::string_view bytes, const std::string& where) {
  BundleEntry entry;
  each_field(bytes, where, [&](Field& field) {
    std::string_view view;
    field.integer(1, entry.type);
    if (field.bytes(2, view)) entry.shape = read_shape(view, where);
    field.integer(3, entry.shard);
  });
  return entry;
}

std::int64_t read_bundle_header(std::string_view bytes, const std::string& where) {
  std::int64_t shards = 1;
  each_field(bytes, where, [&](Field& field) { field.integer(1, shards); });
  return shards;
}

std::optional<DType> dtype_of(int type) {
  switch (type >= 100 ? type - 100 : type) {
    case 1:
      return DType::fp32;
    case 2:
      return DType::fp64;
    case 3:
    case 13:  // qint32
      return DType::i32;
    case 4:
    case 12:  // quint8
    case 30:  // uint4, stored in bytes
      return DType::u8;
    case 5:
    case 15:  // qint16
      return DType::i16;
    case 6:
    case 11:  // qint8
    case 29:  // int4, stored in bytes
      return DType::i8;
    case 8:
      return DType::complex64;
    case 9:
      return DType::i64;
    case 10:
      return DType::boolean;
    case 14:
      return DType::bf16;
    case 16:  // quint16
    case 17:
      return DType::u16;
    case 18:
      return DType::complex128;
    case 19:
      return DType::fp16;
    case 22:
      return DType::u32;
    case 23:
      return DType::u64;
    case 24:
      return DType::fp8_e5m2;
    case 25:
      return DType::fp8_e4m3fn;
    default:
      return std::nullopt;
  }
}

bool looks_like_saved_model(std::string_view bytes) {
  // saved_model_schema_version = 1 comes first; in a GraphDef field 1 is a node, a message.
  return bytes.size() > 2 && bytes[0] == 0x08 && bytes[2] == 0x12;
}

}  // namespace parallel_opt::tf
