#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace parallel_opt {

/// A parsed JSON text, read-only and compact: 16 bytes per value or key, common keys stored once.
/// Nothing is moved while it grows. For foreign files of many megabytes; our own documents use
/// base/json.h.
class JsonTree {
 public:
  enum class Kind : std::uint8_t { absent, null, boolean, integer, number, string, array, object };

  /// A value of the tree; valid while the tree lives. `absent` stands for what is not there, so
  /// that look-ups chain.
  class Node;

  /// Throws InputError at "WHERE:LINE:COLUMN" when `text` is not JSON, or is nested deeper than 200
  /// levels; at "WHERE:PATH" when an object names a member twice. Members of an object "metadata"
  /// that are named in `dropped` are not kept: traces of source lines are most of an exported
  /// model's text.
  JsonTree(std::string_view text, const std::string& where,
           const std::vector<std::string_view>& dropped = {});
  Node root() const;

 private:
  friend struct JsonTreeBuilder;
  struct Value {
    std::uint64_t payload = 0;  // number bits, or offset of string bytes or of the first child
    std::uint32_t size = 0;     // bytes, elements or members
    Kind kind = Kind::absent;
  };
  /// Pages of equal elements. What is added at once lies together; places never change.
  template <class T>
  class Pages {
   public:
    /// Returns the place of the first of `count` elements.
    std::uint64_t add(const T* elements, std::size_t count);
    const T* at(std::uint64_t place) const {
      return pages_[place >> kShift].get() + (place & (kPage - 1));
    }

   private:
    static constexpr int kShift = 16;
    static constexpr std::uint64_t kPage = std::uint64_t(1) << kShift;
    std::vector<std::unique_ptr<T[]>> pages_;  // a long list has a page of its own
    std::size_t current_ = 0, used_ = kPage;   // of the page that still has room
  };
  Pages<Value> values_;  // children of one container lie together; a member is key, value
  Pages<char> strings_;
  Value root_;
};

class JsonTree::Node {
 public:
  Node() = default;
  Kind kind() const { return value_.kind; }
  bool absent() const { return value_.kind == Kind::absent; }
  bool none() const { return absent() || value_.kind == Kind::null; }
  bool is(Kind k) const { return value_.kind == k; }
  bool boolean() const { return value_.payload != 0; }  ///< pre: boolean
  std::int64_t integer() const;                         ///< pre: integer
  double number() const;                                ///< pre: integer or number
  std::string_view string() const;                      ///< pre: string
  std::size_t size() const;                             ///< elements or members; else 0
  Node at(std::size_t i) const;                 ///< element or member value; absent beyond the end
  std::string_view key(std::size_t i) const;    ///< pre: object, i < size()
  Node operator[](std::string_view key) const;  ///< absent when it is no object or has no such key
  /// The value as JSON text on one line.
  std::string dump() const;

 private:
  friend class JsonTree;
  Node(const JsonTree& tree, Value value) : tree_(&tree), value_(value) {}
  const JsonTree* tree_ = nullptr;
  Value value_;
};

}  // namespace parallel_opt
