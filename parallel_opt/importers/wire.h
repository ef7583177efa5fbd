#pragma once

#include <cstdint>
#include <protozero/pbf_reader.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "parallel_opt/base/error.h"

/// Protocol buffers' wire format, read field by field. A field whose wire type is not the expected
/// one is skipped, as newer fields are; bytes that are no message are an InputError.
namespace parallel_opt::wire {

using protozero::pbf_reader;
using Type = protozero::pbf_wire_type;

/// One field at hand. Each `is_` consumes nothing; read the value at most once.
class Field {
 public:
  explicit Field(pbf_reader& reader) : reader_(reader) {}
  std::uint32_t tag() const { return reader_.tag(); }
  bool is(std::uint32_t tag, Type type) const {
    return reader_.tag() == tag && reader_.wire_type() == type;
  }
  bool bytes(std::uint32_t tag, std::string_view& value) {
    if (!is(tag, Type::length_delimited)) return false;
    value = take();
    return true;
  }
  template <class Integer>
  bool integer(std::uint32_t tag, Integer& value) {
    if (!is(tag, Type::varint)) return false;
    value = static_cast<Integer>(reader_.get_int64());
    read_ = true;
    return true;
  }
  bool flag(std::uint32_t tag, bool& value) {
    std::int64_t number = 0;
    if (!integer(tag, number)) return false;
    value = number != 0;
    return true;
  }
  /// Repeated whole numbers, packed or one by one.
  template <class Integer>
  bool integers(std::uint32_t tag, std::vector<Integer>& values) {
    if (is(tag, Type::varint)) {
      Integer value{};
      integer(tag, value);
      values.push_back(value);
      return true;
    }
    if (!is(tag, Type::length_delimited)) return false;
    const std::string_view packed = take();
    const char* at = packed.data();
    const char* const end = at + packed.size();
    while (at != end) {
      values.push_back(static_cast<Integer>(protozero::decode_varint(&at, end)));
    }
    return true;
  }
  bool real(std::uint32_t tag, double& value) {
    if (is(tag, Type::fixed32)) {
      value = static_cast<double>(reader_.get_float());
    } else if (is(tag, Type::fixed64)) {
      value = reader_.get_double();
    } else {
      return false;
    }
    read_ = true;
    return true;
  }
  void finish() {
    if (!read_) reader_.skip();
  }

 private:
  std::string_view take() {
    read_ = true;
    const protozero::data_view view = reader_.get_view();
    return {view.data(), view.size()};
  }
  pbf_reader& reader_;
  bool read_ = false;
};

/// Calls `visit(field)` for every field of a message. `where` of a fault.
template <class Visit>
void each_field(std::string_view bytes, const std::string& where, Visit visit) {
  try {
    pbf_reader reader(bytes.data(), bytes.size());
    while (reader.next()) {
      Field field(reader);
      visit(field);
      field.finish();
    }
  } catch (const protozero::exception& e) {
    throw InputError(where, std::string("is damaged: ") + e.what(), "is the download complete?");
  }
}

}  // namespace parallel_opt::wire
