#include "parallel_opt/importers/onnx_proto.h"

#include <cstring>
#include <protozero/pbf_reader.hpp>
#include <protozero/varint.hpp>

namespace parallel_opt::onnx {
namespace {

using Reader = protozero::pbf_reader;
using Wire = protozero::pbf_wire_type;

/// A field has another wire type than its message says.
struct WrongWire {
  std::uint32_t field;
};

std::string_view view_of(protozero::data_view view) { return {view.data(), view.size()}; }

void expect(const Reader& reader, Wire wire) {
  if (reader.wire_type() != wire) throw WrongWire{reader.tag()};
}

std::string_view text(Reader& reader) {
  expect(reader, Wire::length_delimited);
  return view_of(reader.get_view());
}

std::int64_t whole(Reader& reader) {
  expect(reader, Wire::varint);
  return reader.get_int64();
}

/// A repeated number, packed or not.
void add_wholes(Reader& reader, std::vector<std::int64_t>& list) {
  if (reader.wire_type() != Wire::length_delimited) {
    list.push_back(whole(reader));
    return;
  }
  for (const std::int64_t value : reader.get_packed_int64()) list.push_back(value);
}

void add_floats(Reader& reader, std::vector<float>& list) {
  if (reader.wire_type() != Wire::length_delimited) {
    expect(reader, Wire::fixed32);
    list.push_back(reader.get_float());
    return;
  }
  for (const float value : reader.get_packed_float()) list.push_back(value);
}

/// The encoded bytes of a repeated number: a packed list, or one value by itself.
void add_piece(Reader& reader, Texts& pieces, Wire single) {
  if (reader.wire_type() == Wire::length_delimited) {
    pieces.push_back(view_of(reader.get_view()));
    return;
  }
  expect(reader, single);
  const char* begin = reader.data().data();
  reader.skip();
  pieces.emplace_back(begin, static_cast<std::size_t>(reader.data().data() - begin));
}

/// Reads messages; a broken one is a fault at its place and what was read of it is kept.
class ModelReader {
 public:
  explicit ModelReader(Findings& findings) : findings_(findings) {}

  void read(std::string_view bytes, ProtoModel& model) {
    const Place root, opsets{nullptr, "opset_import", SIZE_MAX},
        functions{nullptr, "functions", SIZE_MAX}, graph{nullptr, "graph", SIZE_MAX};
    each(bytes, root, [&](Reader& r) {
      switch (r.tag()) {
        case 1:
          model.ir_version = whole(r);
          return true;
        case 2:
          model.producer = text(r);
          return true;
        case 7:
          model.has_graph = true;
          read(text(r), model.graph, graph);
          return true;
        case 8:
          return add(r, model.opsets, opsets);
        case 25:
          return add(r, model.functions, functions);
        default:
          return false;
      }
    });
  }

 private:
  /// Every field of a message. `field` returns false for one that it does not know.
  template <class Field>
  void each(std::string_view bytes, const Place& place, Field field) {
    if (findings_.full()) return;
    // A subgraph in a subgraph is four messages further in: graph, node, attribute, graph.
    constexpr int kMostNested = 4 * 34;
    if (depth_ >= kMostNested) {
      findings_.fault(place, "is nested more than " + std::to_string(kMostNested) +
                                 " messages deep, which holds 32 subgraphs");
      return;
    }
    ++depth_;
    try {
      Reader reader(bytes.data(), bytes.size());
      while (reader.next()) {
        if (!field(reader)) reader.skip();
        if (findings_.full()) break;
      }
    } catch (const protozero::end_of_buffer_exception&) {
      findings_.fault(place, "ends in the middle of a field", "is the download complete?");
    } catch (const protozero::exception& e) {
      findings_.fault(place, std::string("is no valid protobuf: ") + e.what(),
                      "is the download complete?");
    } catch (const WrongWire& wrong) {
      findings_.fault(place, "field " + std::to_string(wrong.field) + " has the wrong wire type",
                      "is it an ONNX file?");
    }
    --depth_;
  }

  /// The next element of a repeated message.
  template <class T>
  bool add(Reader& reader, std::vector<T>& list, const Place& places) {
    const std::string_view bytes = text(reader);
    const Place place{&places, "", list.size()};
    list.emplace_back();
    read(bytes, list.back(), place);
    return true;
  }

  void read(std::string_view bytes, KeyValue& entry, const Place& place) {
    each(bytes, place, [&](Reader& r) {
      const std::uint32_t tag = r.tag();  // reading a value clears it
      if (tag == 1) entry.key = text(r);
      if (tag == 2) entry.value = text(r);
      return tag == 1 || tag == 2;
    });
  }

  void read(std::string_view bytes, ProtoOpset& opset, const Place& place) {
    each(bytes, place, [&](Reader& r) {
      const std::uint32_t tag = r.tag();  // reading a value clears it
      if (tag == 1) opset.domain = text(r);
      if (tag == 2) opset.version = whole(r);
      return tag == 1 || tag == 2;
    });
  }

  void read(std::string_view bytes, ProtoTensor& tensor, const Place& place) {
    const Place external{&place, "external_data", SIZE_MAX}, notes{&place, "metadata", SIZE_MAX};
    each(bytes, place, [&](Reader& r) {
      switch (r.tag()) {
        case 1:
          add_wholes(r, tensor.dims);
          return true;
        case 2:
          tensor.data_type = whole(r);
          return true;
        case 4:
          add_piece(r, tensor.float_data, Wire::fixed32);
          return true;
        case 5:
          add_piece(r, tensor.int32_data, Wire::varint);
          return true;
        case 6:
          ++tensor.strings;
          return false;
        case 7:
          add_piece(r, tensor.int64_data, Wire::varint);
          return true;
        case 8:
          tensor.name = text(r);
          return true;
        case 9:
          tensor.raw_data = text(r);
          return true;
        case 10:
          add_piece(r, tensor.double_data, Wire::fixed64);
          return true;
        case 11:
          add_piece(r, tensor.uint64_data, Wire::varint);
          return true;
        case 13:
          return add(r, tensor.external_data, external);
        case 14:
          tensor.external = whole(r) == 1;
          return true;
        case 16:
          return add(r, tensor.metadata, notes);
        default:
          return false;
      }
    });
  }

  void read(std::string_view bytes, ProtoSparseTensor& tensor, const Place& place) {
    const Place values{&place, "values", SIZE_MAX}, indices{&place, "indices", SIZE_MAX};
    each(bytes, place, [&](Reader& r) {
      switch (r.tag()) {
        case 1:
          read(text(r), tensor.values, values);
          return true;
        case 2:
          read(text(r), tensor.indices, indices);
          return true;
        case 3:
          add_wholes(r, tensor.dims);
          return true;
        default:
          return false;
      }
    });
  }

  void read(std::string_view bytes, ProtoDim& dim, const Place& place) {
    each(bytes, place, [&](Reader& r) {
      const std::uint32_t tag = r.tag();  // reading a value clears it
      if (tag == 1) {
        dim.value = whole(r);
        dim.fixed = true;
      }
      if (tag == 2) dim.param = text(r);
      return tag == 1 || tag == 2;
    });
  }

  void read_tensor_type(std::string_view bytes, ProtoType& type, const Place& place) {
    const Place dims{&place, "shape.dim", SIZE_MAX};
    each(bytes, place, [&](Reader& r) {
      const std::uint32_t tag = r.tag();  // reading a value clears it
      if (tag == 1) type.element = whole(r);
      if (tag == 2) {
        type.shaped = true;
        each(text(r), dims,
             [&](Reader& shape) { return shape.tag() == 1 && add(shape, type.dims, dims); });
      }
      return tag == 1 || tag == 2;
    });
  }

  void read(std::string_view bytes, ProtoType& type, const Place& place) {
    using Kind = ProtoType::Kind;
    const Place tensor{&place, "tensor_type", SIZE_MAX}, inner{&place, "elem_type", SIZE_MAX};
    const auto wrap = [&](Reader& r, Kind kind) {
      type.kind = kind;
      type.inner.clear();
      each(text(r), inner,
           [&](Reader& element) { return element.tag() == 1 && add(element, type.inner, inner); });
    };
    each(bytes, place, [&](Reader& r) {
      switch (r.tag()) {
        case 1:
          type.kind = Kind::tensor;
          read_tensor_type(text(r), type, tensor);
          return true;
        case 4:
          wrap(r, Kind::sequence);
          return true;
        case 5:
          type.kind = Kind::map;
          return false;
        case 7:
          type.kind = Kind::opaque;
          return false;
        case 8:
          type.kind = Kind::sparse_tensor;
          read_tensor_type(text(r), type, tensor);
          return true;
        case 9:
          wrap(r, Kind::optional);
          return true;
        default:
          return false;
      }
    });
  }

  void read(std::string_view bytes, ProtoValueInfo& value, const Place& place) {
    const Place type{&place, "type", SIZE_MAX}, notes{&place, "metadata_props", SIZE_MAX};
    each(bytes, place, [&](Reader& r) {
      switch (r.tag()) {
        case 1:
          value.name = text(r);
          return true;
        case 2:
          read(text(r), value.type, type);
          return true;
        case 4:
          return add(r, value.metadata, notes);
        default:
          return false;
      }
    });
  }

  void read(std::string_view bytes, ProtoAttribute& attribute, const Place& place) {
    const Place tensors{&place, "t", SIZE_MAX}, graphs{&place, "g", SIZE_MAX},
        sparse{&place, "sparse_tensor", SIZE_MAX}, types{&place, "tp", SIZE_MAX};
    each(bytes, place, [&](Reader& r) {
      switch (r.tag()) {
        case 1:
          attribute.name = text(r);
          return true;
        case 2:
          expect(r, Wire::fixed32);
          attribute.f = r.get_float();
          return true;
        case 3:
          attribute.i = whole(r);
          return true;
        case 4:
          attribute.s = text(r);
          return true;
        case 5:
        case 10:
          return add(r, attribute.tensors, tensors);
        case 6:
        case 11:
          return add(r, attribute.graphs, graphs);
        case 7:
          add_floats(r, attribute.floats);
          return true;
        case 8:
          add_wholes(r, attribute.ints);
          return true;
        case 9:
          attribute.strings.push_back(text(r));
          return true;
        case 14:
        case 15:
          return add(r, attribute.types, types);
        case 20:
          attribute.type = whole(r);
          return true;
        case 21:
          attribute.reference = text(r);
          return true;
        case 22:
        case 23:
          return add(r, attribute.sparse, sparse);
        default:
          return false;
      }
    });
  }

  void read(std::string_view bytes, ProtoNode& node, const Place& place) {
    const Place attributes{&place, "attribute", SIZE_MAX},
        notes{&place, "metadata_props", SIZE_MAX};
    each(bytes, place, [&](Reader& r) {
      switch (r.tag()) {
        case 1:
          node.inputs.push_back(text(r));
          return true;
        case 2:
          node.outputs.push_back(text(r));
          return true;
        case 3:
          node.name = text(r);
          return true;
        case 4:
          node.type = text(r);
          return true;
        case 5:
          return add(r, node.attributes, attributes);
        case 7:
          node.domain = text(r);
          return true;
        case 8:
          node.overload = text(r);
          return true;
        case 9:
          return add(r, node.metadata, notes);
        default:
          return false;
      }
    });
    if (node.type.empty()) findings_.fault(place, "the operator has no type");
  }

  void read(std::string_view bytes, ProtoGraph& graph, const Place& place) {
    const Place nodes{&place, "node", SIZE_MAX}, initializers{&place, "initializer", SIZE_MAX},
        inputs{&place, "input", SIZE_MAX}, outputs{&place, "output", SIZE_MAX},
        values{&place, "value_info", SIZE_MAX}, sparse{&place, "sparse_initializer", SIZE_MAX};
    each(bytes, place, [&](Reader& r) {
      switch (r.tag()) {
        case 1:
          return add(r, graph.nodes, nodes);
        case 2:
          graph.name = text(r);
          return true;
        case 5:
          return add(r, graph.initializers, initializers);
        case 11:
          return add(r, graph.inputs, inputs);
        case 12:
          return add(r, graph.outputs, outputs);
        case 13:
          return add(r, graph.value_info, values);
        case 15:
          return add(r, graph.sparse_initializers, sparse);
        default:
          return false;
      }
    });
  }

  void read(std::string_view bytes, ProtoFunction& function, const Place& place) {
    const Place nodes{&place, "node", SIZE_MAX}, opsets{&place, "opset_import", SIZE_MAX},
        defaults{&place, "attribute_proto", SIZE_MAX}, values{&place, "value_info", SIZE_MAX};
    each(bytes, place, [&](Reader& r) {
      switch (r.tag()) {
        case 1:
          function.name = text(r);
          return true;
        case 4:
          function.inputs.push_back(text(r));
          return true;
        case 5:
          function.outputs.push_back(text(r));
          return true;
        case 6:
          function.attributes.push_back(text(r));
          return true;
        case 7:
          return add(r, function.nodes, nodes);
        case 9:
          return add(r, function.opsets, opsets);
        case 10:
          function.domain = text(r);
          return true;
        case 11:
          return add(r, function.defaults, defaults);
        case 12:
          return add(r, function.value_info, values);
        case 13:
          function.overload = text(r);
          return true;
        default:
          return false;
      }
    });
  }

  Findings& findings_;
  int depth_ = 0;
};

template <class T>
std::vector<double> decode_fixed(const Texts& pieces, std::size_t most) {
  std::vector<double> result;
  for (const std::string_view piece : pieces) {
    for (std::size_t at = 0; at + sizeof(T) <= piece.size() && result.size() < most;
         at += sizeof(T)) {
      T value;
      std::memcpy(&value, piece.data() + at, sizeof value);  // files are little-endian, as we are
      result.push_back(static_cast<double>(value));
    }
  }
  return result;
}

}  // namespace

ProtoModel read_model(std::string_view bytes, Findings& findings) {
  ProtoModel model;
  ModelReader(findings).read(bytes, model);
  return model;
}

std::vector<std::int64_t> decode_varints(const Texts& pieces, std::size_t most) {
  std::vector<std::int64_t> result;
  for (const std::string_view piece : pieces) {
    const char* at = piece.data();
    const char* end = at + piece.size();
    try {
      while (at != end && result.size() < most) {
        result.push_back(static_cast<std::int64_t>(protozero::decode_varint(&at, end)));
      }
    } catch (const protozero::exception&) {
      return result;  // the caller compares the count with the shape
    }
  }
  return result;
}

std::vector<double> decode_floats(const Texts& pieces, std::size_t most) {
  return decode_fixed<float>(pieces, most);
}

std::vector<double> decode_doubles(const Texts& pieces, std::size_t most) {
  return decode_fixed<double>(pieces, most);
}

}  // namespace parallel_opt::onnx
