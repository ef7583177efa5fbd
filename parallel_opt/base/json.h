#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "parallel_opt/base/error.h"
#include "parallel_opt/base/ids.h"
#include "parallel_opt/base/units.h"

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

template <class T, class U>
concept SameAs = std::is_same_v<std::remove_const_t<T>, U>;

/// Writes JSON text. Numbers are the shortest text that reads back equal, whole ones below 1e15
/// without an exponent; keys keep their order.
class JsonWriter {
 public:
  /// `indent` spaces per level; 0 writes one line.
  explicit JsonWriter(int indent = 2) : indent_(indent) {}
  void begin_object() { open('{'); }
  void end_object() { close('}'); }
  void begin_array() { open('['); }
  void end_array() { close(']'); }
  void key(std::string_view name);
  void value(bool v);
  void value(std::int64_t v);
  void value(double v);  ///< NaN and infinities become null: JSON has no such numbers
  void value(std::string_view v);
  void value(const char* v) { value(std::string_view(v)); }  // a pointer would become a bool
  void null();
  /// Text written by another JsonWriter (must be one whole value).
  void raw(std::string_view json);
  const std::string& text() const { return text_; }

 private:
  void open(char bracket);
  void close(char bracket);
  void separate();
  void newline();
  int indent_;
  int depth_ = 0;
  bool first_ = true;
  bool after_key_ = false;
  std::string text_;
};

/// A value inside a parsed document; valid while its JsonDocument lives.
class JsonView {
 public:
  enum class Kind { null, boolean, integer, number, string, array, object };
  Kind kind() const;
  std::string_view kind_name() const;
  bool boolean() const;          ///< pre: kind boolean
  std::int64_t integer() const;  ///< pre: kind integer
  double number() const;         ///< pre: kind integer or number
  const std::string& string() const;
  std::size_t size() const;                                  ///< elements of an array or object
  JsonView at(std::size_t i) const;                          ///< element of an array
  std::optional<JsonView> find(std::string_view key) const;  ///< member of an object
  std::vector<std::pair<std::string, JsonView>> members() const;  ///< of an object, in file order
  /// "plan.json:stages[0].devices"; the root is "plan.json".
  std::string path() const {
    return path_.ends_with(':') ? path_.substr(0, path_.size() - 1) : path_;
  }
  /// The value as JSON text on one line.
  std::string dump() const;

 private:
  friend class JsonDocument;
  JsonView(const void* node, std::string path) : node_(node), path_(std::move(path)) {}
  const void*
      node_;  // nlohmann::ordered_json, kept out of this header: it costs seconds to compile
  std::string path_;
};

/// A parsed JSON text.
class JsonDocument {
 public:
  /// Throws InputError with line and column. `name` starts every path: "plan.json".
  JsonDocument(std::string_view text, std::string name);
  ~JsonDocument();
  JsonDocument(JsonDocument&&) noexcept;
  JsonView root() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

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

template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};
template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};
template <class T>
struct IsMap : std::false_type {};
template <class T>
struct IsMap<std::map<std::string, T>> : std::true_type {};
template <class T>
struct IsQuantity : std::false_type {};
template <class U, class R>
struct IsQuantity<Quantity<U, R>> : std::true_type {};
template <class T>
struct IsId : std::false_type {};
template <class T>
struct IsId<Id<T>> : std::true_type {};
}  // namespace json_detail

template <class T>
void write_json(JsonWriter& out, const T& value);
template <class T>
void read_json(const JsonView& in, T& value, std::vector<Fault>& faults);
template <class T>
void write_schema(JsonWriter& out, std::string_view description = {});

/// The name of an enumerator, as in JSON, command line and Python.
template <class E>
  requires std::is_enum_v<E>
constexpr std::string_view name_of(E e) {
  return enum_names(E{})[static_cast<std::size_t>(e)];
}

/// The enumerator of that name; empty when there is none.
template <class E>
  requires std::is_enum_v<E>
constexpr std::optional<E> enum_from(std::string_view name) {
  constexpr auto names = enum_names(E{});
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) return static_cast<E>(i);
  }
  return std::nullopt;
}

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
    if (!expect(in.kind() == Kind::integer, "a whole number")) return;
    if (!std::in_range<T>(in.integer())) {
      using Limits = std::numeric_limits<T>;
      json_detail::out_of_range(in, Limits::min(), Limits::max(), faults);
      return;
    }
    value = static_cast<T>(in.integer());
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
    write_json(out, schema.required());
    out.key("additionalProperties");
    out.value(false);
  }
  out.end_object();
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

/// The JSON schema (draft 2020-12) of T, ending in a newline.
template <class T>
std::string schema_of(std::string_view description = {}) {
  JsonWriter out;
  write_schema<T>(out, description);
  return "{\n  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\"," +
         out.text().substr(1) + "\n";
}

}  // namespace parallel_opt
