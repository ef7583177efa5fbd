#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "parallel_opt/base/error.h"
#include "parallel_opt/base/json_schema.h"
#include "parallel_opt/base/json_text.h"
#include "parallel_opt/base/json_traits.h"

/// One description of the data, many uses. A struct has one function
///
///   template <class Visitor, class T> requires SameAs<T, Stage>
///   void fields(Visitor& visit, T& stage) {
///     visit.schema("parallel-opt/stage/1");              // documents only: first line
///     visit("blocks", stage.blocks, "what it holds");    // required
///     visit.optional("note", stage.note, "free text");   // default kept when absent, always
///     written
///   }                                                    // std::optional<T>: absent is absent
///
/// and gets a JSON reader (errors name the JSON path), writer and schema. Enumerations give
/// `constexpr auto enum_names(E)`: one name per enumerator, counted from 0.
namespace parallel_opt {

namespace json_detail {
void wrong_kind(const JsonView& view, std::string_view wanted, std::vector<Fault>& faults);
void out_of_range(const JsonView& view, std::int64_t low, std::int64_t high,
                  std::vector<Fault>& faults);
void unknown_field(const JsonView& view, std::string_view key,
                   const std::vector<std::string>& known, std::vector<Fault>& faults);
void unknown_name(const JsonView& view, const std::vector<std::string>& known,
                  std::vector<Fault>& faults);
void missing_field(const JsonView& view, std::string_view key, std::vector<Fault>& faults);
void check_schema(const JsonView& object, std::string_view wanted, std::vector<Fault>& faults);
}  // namespace json_detail

template <class T>
void write_json(JsonWriter& out, const T& value);
template <class T>
void read_json(const JsonView& in, T& value, std::vector<Fault>& faults);
class FieldWriter {
 public:
  explicit FieldWriter(JsonWriter& out) : out_(out) {}
  void schema(std::string_view id) {
    out_.key("schema");
    out_.value(id);
  }
  template <class T>
  void operator()(std::string_view name, const T& value, std::string_view) {
    if constexpr (json_detail::IsOptional<T>::value) {
      if (!value) return;  // absent is absent, never 0
      out_.key(name);
      write_json(out_, *value);
    } else {
      out_.key(name);
      write_json(out_, value);
    }
  }
  template <class T>
  void optional(std::string_view name, const T& value, std::string_view doc) {
    (*this)(name, value, doc);
  }

 private:
  JsonWriter& out_;
};

class FieldReader {
 public:
  FieldReader(const JsonView& object, std::vector<Fault>& faults)
      : object_(object), faults_(faults) {}
  void schema(std::string_view id) {
    known_.emplace_back("schema");
    json_detail::check_schema(object_, id, faults_);
  }
  template <class T>
  void operator()(std::string_view name, T& value, std::string_view doc) {
    visit(name, value, doc, !json_detail::IsOptional<T>::value);
  }
  template <class T>
  void optional(std::string_view name, T& value, std::string_view doc) {
    visit(name, value, doc, false);
  }
  void reject_unknown() {
    for (const auto& [key, member] : object_.members()) {
      bool found = false;
      for (const std::string& name : known_) found = found || name == key;
      if (!found) json_detail::unknown_field(object_, key, known_, faults_);
    }
  }

 private:
  template <class T>
  void visit(std::string_view name, T& value, std::string_view, bool required) {
    known_.emplace_back(name);
    const std::optional<JsonView> member = object_.find(name);
    if (!member || member->kind() == JsonView::Kind::null) {
      if (required) json_detail::missing_field(object_, name, faults_);
      return;
    }
    if constexpr (json_detail::IsOptional<T>::value) {
      value.emplace();
      read_json(*member, *value, faults_);
    } else {
      read_json(*member, value, faults_);
    }
  }
  const JsonView& object_;
  std::vector<Fault>& faults_;
  std::vector<std::string> known_;
};

template <class T>
void write_json(JsonWriter& out, const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    out.value(value);
  } else if constexpr (std::is_integral_v<T>) {
    out.value(static_cast<std::int64_t>(value));
  } else if constexpr (std::is_floating_point_v<T>) {
    out.value(static_cast<double>(value));
  } else if constexpr (std::is_convertible_v<const T&, std::string_view>) {
    out.value(std::string_view(value));
  } else if constexpr (std::is_enum_v<T>) {
    out.value(name_of(value));
  } else if constexpr (json_detail::IsQuantity<T>::value || json_detail::IsId<T>::value) {
    write_json(out, value.value);
  } else if constexpr (json_detail::IsOptional<T>::value) {
    // An element of a list that has no value (a loss that is not finite); fields skip theirs.
    value ? write_json(out, *value) : out.null();
  } else if constexpr (json_detail::IsVector<T>::value) {
    out.begin_array();
    for (const auto& element : value) write_json(out, element);
    out.end_array();
  } else if constexpr (json_detail::IsMap<T>::value) {
    out.begin_object();
    for (const auto& [key, element] : value) {
      out.key(key);
      write_json(out, element);
    }
    out.end_object();
  } else {
    out.begin_object();
    FieldWriter writer(out);
    fields(writer, value);
    out.end_object();
  }
}

template <class T>
void read_json(const JsonView& in, T& value, std::vector<Fault>& faults) {
  using Kind = JsonView::Kind;
  const auto expect = [&](bool ok, std::string_view wanted) {
    if (!ok) json_detail::wrong_kind(in, wanted, faults);
    return ok;
  };
  if constexpr (std::is_same_v<T, bool>) {
    if (expect(in.kind() == Kind::boolean, "true or false")) value = in.boolean();
  } else if constexpr (std::is_integral_v<T>) {
    const std::optional<std::int64_t> whole = in.whole();
    if (!whole) return json_detail::wrong_kind(in, "a whole number", faults);
    if (!std::in_range<T>(*whole)) {
      using Limits = std::numeric_limits<T>;
      json_detail::out_of_range(in, Limits::min(), Limits::max(), faults);
      return;
    }
    value = static_cast<T>(*whole);
  } else if constexpr (std::is_floating_point_v<T>) {
    if (expect(in.kind() == Kind::integer || in.kind() == Kind::number, "a number")) {
      value = static_cast<T>(in.number());
    }
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (expect(in.kind() == Kind::string, "a string")) value = in.string();
  } else if constexpr (std::is_enum_v<T>) {
    if (!expect(in.kind() == Kind::string, "a string")) return;
    const std::optional<T> e = enum_from<T>(in.string());
    if (e) {
      value = *e;
    } else {
      constexpr auto names = enum_names(T{});
      json_detail::unknown_name(in, std::vector<std::string>(names.begin(), names.end()), faults);
    }
  } else if constexpr (json_detail::IsQuantity<T>::value || json_detail::IsId<T>::value) {
    read_json(in, value.value, faults);
  } else if constexpr (json_detail::IsOptional<T>::value) {
    value.reset();
    if (in.kind() != Kind::null) read_json(in, value.emplace(), faults);
  } else if constexpr (json_detail::IsVector<T>::value) {
    if (!expect(in.kind() == Kind::array, "a list")) return;
    value.clear();
    value.resize(in.size());
    for (std::size_t i = 0; i < in.size(); ++i) {
      typename T::value_type element{};
      read_json(in.at(i), element, faults);
      value[i] = std::move(element);
    }
  } else if constexpr (json_detail::IsMap<T>::value) {
    if (!expect(in.kind() == Kind::object, "an object")) return;
    value.clear();
    for (const auto& [key, member] : in.members()) read_json(member, value[key], faults);
  } else {
    if (!expect(in.kind() == Kind::object, "an object")) return;
    FieldReader reader(in, faults);
    fields(reader, value);
    reader.reject_unknown();
  }
}

/// `value` as JSON text ending in a newline.
template <class T>
std::string to_json(const T& value, int indent = 2) {
  JsonWriter out(indent);
  write_json(out, value);
  return out.text() + "\n";
}

/// Reads a document; throws one InputError with every fault, each naming file and JSON path.
template <class T>
T from_json(std::string_view text, std::string name) {
  const JsonDocument document(text, std::move(name));
  T value{};
  std::vector<Fault> faults;
  read_json(document.root(), value, faults);
  throw_if_any(std::move(faults));
  return value;
}

}  // namespace parallel_opt
