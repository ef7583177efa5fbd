#include "parallel_opt/importers/json_tree.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "parallel_opt/base/error.h"
#include "parallel_opt/base/json.h"
#include "parallel_opt/importers/json_scanner.h"

namespace parallel_opt {

template <class T>
std::uint64_t JsonTree::Pages<T>::add(const T* elements, std::size_t count) {
  if (count == 0) return 0;
  if (count > kPage / 4) {
    pages_.push_back(std::make_unique_for_overwrite<T[]>(count));
    std::copy_n(elements, count, pages_.back().get());
    return std::uint64_t(pages_.size() - 1) << kShift;
  }
  if (used_ + count > kPage) {
    pages_.push_back(std::make_unique_for_overwrite<T[]>(kPage));
    current_ = pages_.size() - 1;
    used_ = 0;
  }
  std::copy_n(elements, count, pages_[current_].get() + used_);
  const std::uint64_t place = (std::uint64_t(current_) << kShift) + used_;
  used_ += count;
  return place;
}

/// Takes what a text has, in its order: values of open containers wait on one stack and move to
/// their final place when the container closes, so that children lie together.
struct JsonTreeBuilder {
  using Kind = JsonTree::Kind;
  using Value = JsonTree::Value;
  static constexpr std::size_t kMaxDepth = 200;
  static constexpr std::size_t kMaxValues = 48'000'000;  // 16 bytes each

  JsonTree& tree;
  const std::vector<std::string_view>& dropped;
  std::vector<Value> waiting;
  struct Open {
    std::size_t first;
    bool metadata;
    bool object;
  };
  std::vector<Open> open;
  /// The words of the schema come again and again, names of tensors once: the last key of each hash
  /// is remembered, and stored once more when another has taken its slot.
  struct Key {
    std::string text;
    std::uint64_t place = 0;
  };
  std::vector<Key> keys = std::vector<Key>(1024);
  bool metadata_next = false;  // the last key was "metadata"
  std::size_t skip_depth = 0;  // inside a dropped value: containers open there
  bool skip_next = false;
  bool too_deep = false;
  std::size_t values = 0;
  std::string twice = {};  // the path of a member that was there before

  std::string_view name(const Value& key) const {
    return key.size == 0 ? std::string_view()
                         : std::string_view(tree.strings_.at(key.payload), key.size);
  }

  /// "text_config.layers[3].name": the member `last` of the container that is closing.
  std::string path_of(std::string_view last) const {
    std::string path;
    for (std::size_t level = 0; level + 1 < open.size(); ++level) {
      const std::size_t held = open[level + 1].first - open[level].first;
      if (!open[level].object) {
        path += "[" + std::to_string(held) + "]";
      } else {
        if (level > 0) path += '.';
        path += name(waiting[open[level + 1].first - 1]);
      }
    }
    return path + (open.size() > 1 ? "." : "") + std::string(last.substr(0, 80));
  }

  /// Members of one object have names of their own. Most objects are small: their names are
  /// compared one by one, without memory.
  bool names_differ(std::size_t first) {
    constexpr std::size_t kFew = 24;
    const std::size_t count = (waiting.size() - first) / 2;
    const auto key = [&](std::size_t i) { return name(waiting[first + 2 * i]); };
    if (count <= kFew) {
      for (std::size_t i = 1; i < count; ++i) {
        for (std::size_t j = 0; j < i; ++j) {
          if (waiting[first + 2 * i].size != waiting[first + 2 * j].size || key(i) != key(j))
            continue;
          twice = path_of(key(i));
          return false;
        }
      }
      return true;
    }
    std::vector<std::string_view> names(count);
    for (std::size_t i = 0; i < count; ++i) names[i] = key(i);
    std::ranges::sort(names);
    const auto found = std::ranges::adjacent_find(names);
    if (found == names.end()) return true;
    twice = path_of(*found);
    return false;
  }

  bool add(Value value) {
    if (skip_depth > 0) return true;
    if (skip_next) {
      skip_next = false;
      return true;
    }
    waiting.push_back(value);
    return ++values <= kMaxValues;
  }
  bool integer(std::int64_t v) { return add({static_cast<std::uint64_t>(v), 0, Kind::integer}); }
  bool number(double v) { return add({std::bit_cast<std::uint64_t>(v), 0, Kind::number}); }
  bool string(std::string_view s) {
    if (skip_depth > 0 || skip_next) return add({});
    return add({tree.strings_.add(s.data(), s.size()), static_cast<std::uint32_t>(s.size()),
                Kind::string});
  }
  bool key(std::string_view s) {
    if (skip_depth > 0) return true;
    if (open.back().metadata && std::ranges::find(dropped, s) != dropped.end()) {
      skip_next = true;
      return true;
    }
    Key& known = keys[std::hash<std::string_view>{}(s) % keys.size()];
    if (known.text != s || s.empty()) {
      known.text = s;
      known.place = tree.strings_.add(s.data(), s.size());
    }
    waiting.push_back({known.place, static_cast<std::uint32_t>(s.size()), Kind::string});
    metadata_next = s == "metadata";
    return ++values <= kMaxValues;
  }
  bool start(bool object) {
    if (skip_depth > 0 || skip_next) {
      skip_next = false;
      ++skip_depth;
      return true;
    }
    too_deep = open.size() >= kMaxDepth;
    open.push_back({waiting.size(), metadata_next, object});
    metadata_next = false;
    return !too_deep;
  }
  bool end(Kind kind) {
    if (skip_depth > 0) {
      --skip_depth;
      return true;
    }
    metadata_next = false;
    const std::size_t first = open.back().first;
    if (kind == Kind::object && !names_differ(first)) return false;
    open.pop_back();
    const std::size_t count = waiting.size() - first;
    const Value value{tree.values_.add(waiting.data() + first, count),
                      static_cast<std::uint32_t>(kind == Kind::object ? count / 2 : count), kind};
    waiting.resize(first);
    waiting.push_back(value);
    return true;
  }
};

namespace {

using Token = JsonScanner::Token;

/// One value that is no container; false when it is none, or the builder has enough.
bool add_scalar(JsonTreeBuilder& builder, const JsonScanner& scanner, Token token) {
  switch (token) {
    case Token::string:
      return builder.string(scanner.string());
    case Token::integer:
      return builder.integer(scanner.integer());
    case Token::number:
      return builder.number(scanner.number());
    case Token::yes:
    case Token::no:
      return builder.add({token == Token::yes ? 1U : 0U, 0, JsonTree::Kind::boolean});
    case Token::null:
      return builder.add({0, 0, JsonTree::Kind::null});
    default:
      return false;
  }
}

/// Reads a member's name and colon; `token` is the name's, then that of the value.
bool add_key(JsonTreeBuilder& builder, JsonScanner& scanner, Token& token) {
  if (token != Token::string || !builder.key(scanner.string())) return false;
  if (scanner.next() != Token::colon) return false;
  token = scanner.next();
  return true;
}

/// The whole text; false where it stops being JSON, or the builder refuses.
bool build(JsonTreeBuilder& builder, JsonScanner& scanner) {
  std::vector<bool> inside;  // open containers: whether they are objects
  Token token = scanner.next();
  while (true) {
    const bool object = token == Token::begin_object;
    if (object || token == Token::begin_array) {
      if (!builder.start(object)) return false;
      inside.push_back(object);
      token = scanner.next();
      if (token != (object ? Token::end_object : Token::end_array)) {
        if (object && !add_key(builder, scanner, token)) return false;
        continue;
      }
    } else {
      if (!add_scalar(builder, scanner, token)) return false;
      if (inside.empty()) return scanner.next() == Token::end;
      token = scanner.next();
    }
    while (token == (inside.back() ? Token::end_object : Token::end_array)) {
      if (!builder.end(inside.back() ? JsonTree::Kind::object : JsonTree::Kind::array))
        return false;
      inside.pop_back();
      token = scanner.next();
      if (inside.empty()) return token == Token::end;
    }
    if (token != Token::comma) return false;
    token = scanner.next();
    if (inside.back() && !add_key(builder, scanner, token)) return false;
  }
}

}  // namespace

JsonTree::JsonTree(std::string_view text, const std::string& where,
                   const std::vector<std::string_view>& dropped) {
  JsonTreeBuilder builder{*this, dropped, {}, {}};
  JsonScanner scanner(text);
  if (build(builder, scanner) && builder.waiting.size() == 1) {
    root_ = builder.waiting.front();
    return;
  }
  if (builder.values > JsonTreeBuilder::kMaxValues) {
    throw InputError(where, "JSON holds more than 48 million values", "no model is that large");
  }
  if (!builder.twice.empty()) {
    throw InputError(where + ":" + builder.twice, "stands twice in one object", "keep one");
  }
  if (builder.too_deep) throw InputError(where, "JSON is nested deeper than 200 levels", "");
  const std::string_view before = text.substr(0, scanner.place());
  const std::size_t line = 1 + static_cast<std::size_t>(std::ranges::count(before, '\n'));
  const std::size_t start = before.rfind('\n') + 1;  // npos + 1 is 0: the first line
  throw InputError(
      where + ":" + std::to_string(line) + ":" + std::to_string(before.size() - start + 1),
      "not valid JSON", "the first character that does not fit stands there");
}

JsonTree::Node JsonTree::root() const { return {*this, root_}; }

std::int64_t JsonTree::Node::integer() const { return static_cast<std::int64_t>(value_.payload); }

double JsonTree::Node::number() const {
  return is(Kind::integer) ? static_cast<double>(integer()) : std::bit_cast<double>(value_.payload);
}

std::string_view JsonTree::Node::string() const {
  return value_.size == 0 ? std::string_view()
                          : std::string_view(tree_->strings_.at(value_.payload), value_.size);
}

std::size_t JsonTree::Node::size() const {
  return is(Kind::array) || is(Kind::object) ? value_.size : 0;
}

JsonTree::Node JsonTree::Node::at(std::size_t i) const {
  if (i >= size()) return {};
  return {*tree_, tree_->values_.at(value_.payload)[is(Kind::object) ? 2 * i + 1 : i]};
}

std::string_view JsonTree::Node::key(std::size_t i) const {
  return Node(*tree_, tree_->values_.at(value_.payload)[2 * i]).string();
}

JsonTree::Node JsonTree::Node::operator[](std::string_view wanted) const {
  if (!is(Kind::object)) return {};
  for (std::size_t i = 0; i < size(); ++i) {
    if (key(i) == wanted) return at(i);
  }
  return {};
}

std::string JsonTree::Node::dump() const {
  JsonWriter out(0);
  const auto write = [&out](const auto& self, const Node& node) -> void {
    switch (node.kind()) {
      case Kind::absent:
      case Kind::null:
        return out.null();
      case Kind::boolean:
        return out.value(node.boolean());
      case Kind::integer:
        return out.value(node.integer());
      case Kind::number:
        return out.value(node.number());
      case Kind::string:
        return out.value(node.string());
      case Kind::array:
        out.begin_array();
        for (std::size_t i = 0; i < node.size(); ++i) self(self, node.at(i));
        return out.end_array();
      case Kind::object:
        out.begin_object();
        for (std::size_t i = 0; i < node.size(); ++i) {
          out.key(node.key(i));
          self(self, node.at(i));
        }
        return out.end_object();
    }
  };
  write(write, *this);
  return out.text();
}

}  // namespace parallel_opt
