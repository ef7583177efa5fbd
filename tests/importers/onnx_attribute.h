#pragma once

#include <cstdint>
#include <protozero/pbf_writer.hpp>
#include <string>
#include <string_view>
#include <vector>

/// Attributes of ONNX nodes made by hand (onnx.proto's field numbers).
namespace parallel_opt::testing {

using Names = std::vector<std::string>;
using Numbers = std::vector<std::int64_t>;

inline constexpr std::int64_t kFloat = 1, kInt64 = 7;

inline std::string attribute(std::string_view name, std::int64_t type,
                             const std::string& field = "") {
  std::string bytes;
  protozero::pbf_writer writer(bytes);
  writer.add_string(1, name.data(), name.size());
  writer.add_int64(20, type);
  return bytes + field;
}

inline std::string whole(std::string_view name, std::int64_t value) {
  std::string field;
  protozero::pbf_writer(field).add_int64(3, value);
  return attribute(name, 2, field);
}

inline std::string real(std::string_view name, float value) {
  std::string field;
  protozero::pbf_writer(field).add_float(2, value);
  return attribute(name, 1, field);
}

inline std::string text(std::string_view name, const std::string& value) {
  std::string field;
  protozero::pbf_writer(field).add_string(4, value);
  return attribute(name, 3, field);
}

inline std::string wholes(std::string_view name, const Numbers& values) {
  std::string field;
  protozero::pbf_writer(field).add_packed_int64(8, values.begin(), values.end());
  return attribute(name, 7, field);
}

/// A message inside an attribute: a tensor (5) or a graph (6).
inline std::string message(std::string_view name, protozero::pbf_tag_type field,
                           const std::string& bytes) {
  std::string part;
  protozero::pbf_writer(part).add_message(field, bytes);
  return attribute(name, field == 5 ? 4 : 5, part);
}

/// An attribute of the enclosing function.
inline std::string reference(std::string_view name, const std::string& outer) {
  std::string field;
  protozero::pbf_writer(field).add_string(21, outer);
  return attribute(name, 2, field);
}

}  // namespace parallel_opt::testing
