#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace parallel_opt {

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
  /// An integer, or a number that is one: 1e6, 2.0. Up to 2^53, within which no other text of a
  /// number reads as the same; empty for all else.
  std::optional<std::int64_t> whole() const;
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

}  // namespace parallel_opt
