#include "parallel_opt/cost/software_stack.h"

#include <algorithm>
#include <cctype>
#include <regex>

#include "parallel_opt/base/embedded.h"
#include "parallel_opt/base/text.h"

namespace parallel_opt {

const std::vector<SoftwareStack>& software_stacks() {
  static const std::vector<SoftwareStack> stacks = [] {
    std::vector<SoftwareStack> found;
    for (const EmbeddedFile& file : embedded_files()) {
      if (file.name.starts_with("data/stacks/")) {
        found.push_back(from_json<SoftwareStack>(file.bytes, std::string(file.name)));
      }
    }
    return found;
  }();
  return stacks;
}

const SoftwareStack* find_stack(const std::string& name) {
  const std::vector<SoftwareStack>& stacks = software_stacks();
  const auto it = std::ranges::find(stacks, name, &SoftwareStack::name);
  return it == stacks.end() ? nullptr : &*it;
}

namespace {

/// Letters and digits of a name, small, and where its words begin.
struct ClosedName {
  std::string text;
  std::vector<std::size_t> begins;
};

ClosedName closed_name(const std::string& name) {
  ClosedName closed;
  bool apart = true;
  for (const char c : lower_case(name)) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) {
      apart = true;
      continue;
    }
    if (apart) closed.begins.push_back(closed.text.size());
    apart = false;
    closed.text += c;
  }
  return closed;
}

/// The stack with the longest word that the framework's name has: "megatron-deepspeed" says more
/// than "megatron".
const SoftwareStack* best_claim(const std::string& framework,
                                std::vector<std::string> SoftwareStack::* words) {
  const ClosedName name = closed_name(framework);
  const SoftwareStack* best = nullptr;
  std::size_t longest = 0;
  for (const SoftwareStack& stack : software_stacks()) {
    for (const std::string& word : stack.*words) {
      const std::string closed = closed_name(word).text;
      const bool named = std::ranges::any_of(name.begins, [&](std::size_t at) {
        return name.text.compare(at, closed.size(), closed) == 0;
      });
      if (named && closed.size() > longest) {
        best = &stack;
        longest = closed.size();
      }
    }
  }
  return best;
}

}  // namespace

const SoftwareStack* stack_of_framework(const std::string& framework) {
  const SoftwareStack* best = best_claim(framework, &SoftwareStack::frameworks);
  if (best == nullptr) best = best_claim(framework, &SoftwareStack::users);
  // Flash attention was merged in January 2023 (pull request 267), reductions beside the backward
  // later that year; releases 1 and 2 ended before.
  static const std::regex early(
      R"(\b(2019|202[0-2])\b|megatron[-_ ]?(lm)?[-_ (]{0,2}v?[12]\.[0-9])", std::regex::icase);
  if (best != nullptr && best->name == "megatron" && std::regex_search(framework, early)) {
    return find_stack("megatron-2020");
  }
  return best;
}

}  // namespace parallel_opt
