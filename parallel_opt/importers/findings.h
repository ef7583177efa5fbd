#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "parallel_opt/base/error.h"

/// How importers say what is wrong with a file, and where. Private to importers/.
namespace parallel_opt {

/// A name from the file, as messages show it.
inline std::string in_quotes(std::string_view name) { return '"' + std::string(name) + '"'; }

/// Where in a file a value stands; a chain on the stack, made text only when needed.
struct Place {
  const Place* parent = nullptr;
  std::string_view key;
  std::size_t index = SIZE_MAX;  ///< used when `key` is empty
  /// "graph.nodes[17].inputs[0]"
  std::string text() const;
};

/// Faults and notes of one import, each said once.
class Findings {
 public:
  explicit Findings(std::string file) : file_(std::move(file)) {}
  /// Adds a fault at "FILE:PLACE". More than 20 are counted, not kept.
  void fault(const Place& place, std::string what, std::string hint = "");
  /// Each text once. More than 100 are counted, not kept.
  void note(const std::string& text);
  bool any() const { return !faults_.empty(); }
  /// As many faults as are kept: reading on tells the user nothing new.
  bool full() const;
  /// Throws InputError when there is any fault.
  void throw_if_any() const;
  const std::vector<std::string>& notes() const { return notes_; }
  const std::string& file() const { return file_; }

 private:
  std::string file_;
  std::vector<Fault> faults_;
  std::vector<std::string> notes_;
  std::unordered_set<std::string> noted_;  // never iterated
  std::size_t more_ = 0;
};

}  // namespace parallel_opt
