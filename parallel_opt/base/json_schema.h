#pragma once

#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "parallel_opt/base/json_text.h"
#include "parallel_opt/base/json_traits.h"

namespace parallel_opt {

/// The JSON schema of T as one value.
template <class T>
void write_schema(JsonWriter& out, std::string_view description = {});

/// Writes the `properties` of a JSON schema (draft 2020-12) and remembers which are required.
class FieldSchema {
 public:
  explicit FieldSchema(JsonWriter& out) : out_(out) {}
  void schema(std::string_view id) {
    required_.emplace_back("schema");
    out_.key("schema");
    out_.begin_object();
    out_.key("const");
    out_.value(id);
    out_.end_object();
  }
  template <class T>
  void operator()(std::string_view name, T&, std::string_view doc) {
    property<T>(name, doc, !json_detail::IsOptional<T>::value);
  }
  template <class T>
  void optional(std::string_view name, T&, std::string_view doc) {
    property<T>(name, doc, false);
  }
  const std::vector<std::string>& required() const { return required_; }

 private:
  template <class T>
  void property(std::string_view name, std::string_view doc, bool required) {
    if (required) required_.emplace_back(name);
    out_.key(name);
    if constexpr (json_detail::IsOptional<T>::value) {
      write_schema<typename T::value_type>(out_, doc);
    } else {
      write_schema<T>(out_, doc);
    }
  }
  JsonWriter& out_;
  std::vector<std::string> required_;
};

template <class T>
void write_schema(JsonWriter& out, std::string_view description) {
  const auto type = [&](std::string_view name) {
    out.key("type");
    out.value(name);
  };
  out.begin_object();
  if (!description.empty()) {
    out.key("description");
    out.value(description);
  }
  if constexpr (std::is_same_v<T, bool>) {
    type("boolean");
  } else if constexpr (std::is_integral_v<T> || json_detail::IsId<T>::value) {
    type("integer");
  } else if constexpr (std::is_floating_point_v<T>) {
    type("number");
  } else if constexpr (std::is_same_v<T, std::string>) {
    type("string");
  } else if constexpr (std::is_enum_v<T>) {
    out.key("enum");
    out.begin_array();
    for (const std::string_view name : enum_names(T{})) out.value(name);
    out.end_array();
  } else if constexpr (json_detail::IsQuantity<T>::value) {
    type(std::is_integral_v<typename T::rep> ? "integer" : "number");
  } else if constexpr (json_detail::IsOptional<T>::value) {
    out.key("anyOf");
    out.begin_array();
    write_schema<typename T::value_type>(out);
    out.begin_object();
    type("null");
    out.end_object();
    out.end_array();
  } else if constexpr (json_detail::IsVector<T>::value) {
    type("array");
    out.key("items");
    write_schema<typename T::value_type>(out);
  } else if constexpr (json_detail::IsMap<T>::value) {
    type("object");
    out.key("additionalProperties");
    write_schema<typename T::mapped_type>(out);
  } else {
    type("object");
    out.key("properties");
    out.begin_object();
    FieldSchema schema(out);
    T value{};
    fields(schema, value);
    out.end_object();
    out.key("required");
    out.begin_array();
    for (const std::string& name : schema.required()) out.value(name);
    out.end_array();
    out.key("additionalProperties");
    out.value(false);
  }
  out.end_object();
}

/// The JSON schema (draft 2020-12) of T, ending in a newline.
template <class T>
std::string schema_of(std::string_view description = {}) {
  JsonWriter out;
  write_schema<T>(out, description);
  return "{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\"," +
         out.text().substr(1) + "\n";
}

}  // namespace parallel_opt
