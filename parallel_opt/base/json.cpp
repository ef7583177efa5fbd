#include "parallel_opt/base/json.h"

#include <charconv>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "parallel_opt/base/text.h"

namespace parallel_opt {
namespace {

using Node = nlohmann::ordered_json;

const Node& node(const void* p) { return *static_cast<const Node*>(p); }

/// "parallel-opt/plan/2" -> {"parallel-opt/plan", 2}; version -1 when there is none.
std::pair<std::string_view, int> split_schema(std::string_view id) {
  const std::size_t slash = id.rfind('/');
  int version = -1;
  if (slash == std::string_view::npos) return {id, version};
  const char* const begin = id.begin() + slash + 1;
  const char* const end = id.end();
  if (std::from_chars(begin, end, version).ptr != end) version = -1;
  return {id.substr(0, slash), version};
}

/// Text between quotes. Names and paths come from users' files: bytes that are no UTF-8 are
/// replaced, not refused.
std::string quoted(std::string_view text) {
  return Node(text).dump(-1, ' ', false, Node::error_handler_t::replace);
}

std::string line_and_column(std::string_view before) {
  std::size_t line = 1, column = 1;
  for (const char c : before) {
    column = c == '\n' ? 1 : column + 1;
    line += c == '\n';
  }
  return std::to_string(line) + ":" + std::to_string(column);
}

/// Refuses an object that names a field twice: the library would keep the last one in silence.
class DuplicateKeys {
 public:
  explicit DuplicateKeys(const std::string& name) : name_(name) {}
  bool operator()(int, Node::parse_event_t event, const Node& value) {
    if (event == Node::parse_event_t::object_start) {
      open_.emplace_back();
    } else if (event == Node::parse_event_t::object_end) {
      open_.pop_back();
    } else if (event == Node::parse_event_t::key) {
      const std::string& key = value.get_ref<const std::string&>();
      if (!open_.back().insert(key).second) {
        throw InputError(name_, "field \"" + key + "\" stands twice in one object", "keep one");
      }
    }
    return true;
  }

 private:
  const std::string& name_;
  std::vector<std::unordered_set<std::string>> open_;  ///< keys of the objects that are open
};

}  // namespace

void JsonWriter::newline() {
  if (indent_ == 0) return;
  text_ += '\n';
  text_.append(static_cast<std::size_t>(depth_ * indent_), ' ');
}

void JsonWriter::separate() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  if (depth_ == 0) return;
  if (!first_) text_ += indent_ == 0 ? ", " : ",";
  newline();
  first_ = false;
}

void JsonWriter::open(char bracket) {
  separate();
  text_ += bracket;
  ++depth_;
  first_ = true;
}

void JsonWriter::close(char bracket) {
  --depth_;
  if (!first_) newline();
  text_ += bracket;
  first_ = false;
}

void JsonWriter::key(std::string_view name) {
  separate();
  text_ += quoted(name);
  text_ += ": ";
  after_key_ = true;
}

void JsonWriter::value(bool v) {
  separate();
  text_ += v ? "true" : "false";
}

void JsonWriter::value(std::int64_t v) {
  separate();
  text_ += std::to_string(v);
}

void JsonWriter::value(double v) {
  if (!std::isfinite(v)) return null();
  // 500000, not 5e+05: people read these files too.
  if (std::abs(v) < 1e15 && v == std::trunc(v)) return value(static_cast<std::int64_t>(v));
  separate();
  std::array<char, 32> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), v).ptr;
  text_.append(buffer.data(), end);
}

void JsonWriter::value(std::string_view v) {
  separate();
  text_ += quoted(v);
}

void JsonWriter::null() {
  separate();
  text_ += "null";
}

void JsonWriter::raw(std::string_view json) {
  separate();
  while (!json.empty() && json.back() == '\n') json.remove_suffix(1);
  if (indent_ == 0) {  // strings hold no line ends: every one is between tokens
    for (const std::string& line : split(json, '\n')) text_ += trim(line);
    return;
  }
  for (const char c : json) {
    text_ += c;
    if (c == '\n') text_.append(static_cast<std::size_t>(depth_ * indent_), ' ');
  }
}

JsonView::Kind JsonView::kind() const {
  switch (node(node_).type()) {
    case Node::value_t::null:
      return Kind::null;
    case Node::value_t::boolean:
      return Kind::boolean;
    case Node::value_t::number_integer:
      return Kind::integer;
    case Node::value_t::number_unsigned:
      // Above int64 only a floating number can hold it.
      return node(node_).get<std::uint64_t>() > INT64_MAX ? Kind::number : Kind::integer;
    case Node::value_t::number_float:
      return Kind::number;
    case Node::value_t::string:
      return Kind::string;
    case Node::value_t::array:
      return Kind::array;
    default:
      return Kind::object;
  }
}

std::string_view JsonView::kind_name() const {
  constexpr std::array<std::string_view, 7> kNames = {
      "null", "true or false", "a whole number", "a number", "a string", "a list", "an object"};
  return kNames[static_cast<std::size_t>(kind())];
}

bool JsonView::boolean() const { return node(node_).get<bool>(); }
std::int64_t JsonView::integer() const { return node(node_).get<std::int64_t>(); }
double JsonView::number() const { return node(node_).get<double>(); }
std::optional<std::int64_t> JsonView::whole() const {
  if (kind() == Kind::integer) return integer();
  if (kind() != Kind::number || std::abs(number()) > 0x1p53) return std::nullopt;
  if (number() != std::trunc(number())) return std::nullopt;
  return static_cast<std::int64_t>(number());
}
const std::string& JsonView::string() const { return node(node_).get_ref<const std::string&>(); }
std::size_t JsonView::size() const { return node(node_).size(); }

JsonView JsonView::at(std::size_t i) const {
  return {&node(node_)[i], path_ + "[" + std::to_string(i) + "]"};
}

std::optional<JsonView> JsonView::find(std::string_view key) const {
  const auto it = node(node_).find(std::string(key));  // 3.10 of the library takes no view
  if (it == node(node_).end()) return std::nullopt;
  return JsonView(&*it, path_ + (path_.ends_with(':') ? "" : ".") + std::string(key));
}

std::vector<std::pair<std::string, JsonView>> JsonView::members() const {
  std::vector<std::pair<std::string, JsonView>> result;
  for (const auto& [key, value] : node(node_).items()) {
    result.emplace_back(
        key, JsonView(&value, path_ + (path_.ends_with(':') ? "" : ".") + std::string(key)));
  }
  return result;
}

std::string JsonView::dump() const { return node(node_).dump(); }

struct JsonDocument::Impl {
  Node node;
  std::string name;
};

JsonDocument::JsonDocument(std::string_view text, std::string name)
    : impl_(std::make_unique<Impl>()) {
  impl_->name = std::move(name);
  try {
    DuplicateKeys duplicates(impl_->name);
    impl_->node = Node::parse(text, std::ref(duplicates));
  } catch (const Node::parse_error& e) {
    const std::string_view before = text.substr(0, e.byte > 0 ? e.byte - 1 : 0);
    throw InputError(impl_->name + ":" + line_and_column(before), "not valid JSON",
                     "the first character that does not fit stands there");
  } catch (const Node::out_of_range&) {
    throw InputError(impl_->name, "a number is too large for a 64-bit floating number",
                     "the largest is 1.8e308");
  }
}

JsonDocument::~JsonDocument() = default;
JsonDocument::JsonDocument(JsonDocument&&) noexcept = default;

JsonView JsonDocument::root() const { return {&impl_->node, impl_->name + ":"}; }

namespace json_detail {

void wrong_kind(const JsonView& view, std::string_view wanted, std::vector<Fault>& faults) {
  faults.push_back({view.path(),
                    "expected " + std::string(wanted) + ", found " + std::string(view.kind_name()),
                    ""});
}

void out_of_range(const JsonView& view, std::int64_t low, std::int64_t high,
                  std::vector<Fault>& faults) {
  faults.push_back({view.path(), std::to_string(view.whole().value_or(0)) + " is out of range",
                    "from " + std::to_string(low) + " to " + std::to_string(high)});
}

void unknown_field(const JsonView& view, std::string_view key,
                   const std::vector<std::string>& known, std::vector<Fault>& faults) {
  const std::string nearest = nearest_match(key, known);
  faults.push_back(
      {view.path(), "unknown field \"" + std::string(key) + "\"",
       nearest.empty() ? "known: " + join(known, ", ") : "did you mean \"" + nearest + "\"?"});
}

void unknown_name(const JsonView& view, const std::vector<std::string>& known,
                  std::vector<Fault>& faults) {
  faults.push_back(
      {view.path(), "unknown value \"" + view.string() + "\"", "known: " + join(known, ", ")});
}

void missing_field(const JsonView& view, std::string_view key, std::vector<Fault>& faults) {
  faults.push_back({view.path(), "field \"" + std::string(key) + "\" is missing", ""});
}

void check_schema(const JsonView& object, std::string_view wanted, std::vector<Fault>& faults) {
  const std::optional<JsonView> found = object.find("schema");
  if (!found || found->kind() != JsonView::Kind::string) {
    faults.push_back({object.path(), "field \"schema\" is missing",
                      "this file should start with \"schema\": \"" + std::string(wanted) + "\""});
    return;
  }
  const auto [name, version] = split_schema(found->string());
  const auto [wanted_name, wanted_version] = split_schema(wanted);
  if (name != wanted_name || version < 1) {
    faults.push_back({found->path(),
                      "is \"" + found->string() + "\", expected \"" + std::string(wanted) + "\"",
                      "is this the right file?"});
  } else if (version > wanted_version) {
    faults.push_back({found->path(),
                      "version " + std::to_string(version) + " is newer than the known version " +
                          std::to_string(wanted_version),
                      "update parallel_opt"});
  }
}

}  // namespace json_detail
}  // namespace parallel_opt
