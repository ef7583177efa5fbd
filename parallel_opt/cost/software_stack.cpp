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

/// Whether a name that has Megatron is NeMo's, which runs Megatron-Core beneath: "NeMo 2.0 /
/// Megatron", "Megatron-Core (NeMo)". Megatron-LM in front of it is a program of its own.
bool names_nemo(const std::string& framework) {
  static const std::regex nemo(R"(\bnemo\b(?![ :0-9.]*(container|image)))", std::regex::icase);
  static const std::regex own(R"(megatron[ _-]?lm\b)", std::regex::icase);
  std::smatch match;
  return std::regex_search(framework, match, nemo) && !std::regex_search(match.prefix().str(), own);
}

}  // namespace

const SoftwareStack* stack_of_framework(const std::string& framework) {
  const SoftwareStack* best = best_claim(framework, &SoftwareStack::frameworks);
  if (best == nullptr) best = best_claim(framework, &SoftwareStack::users);
  // Their fork, in any order of the names: "DeepSpeed + Megatron", "Megatron-LM with DeepSpeed".
  const bool either = best != nullptr && (best->name == "megatron" || best->name == "deepspeed");
  if (either && mentions(framework, "megatron") && mentions(framework, "deepspeed")) {
    return find_stack("megatron-deepspeed");
  }
  if (best != nullptr && best->name == "megatron" && names_nemo(framework)) {
    return find_stack("nemo");
  }
  const int year = year_of_megatron(framework);
  const bool early = year > 0 && year < kFusedMegatron;
  return best != nullptr && best->name == "megatron" && early ? find_stack("megatron-2020") : best;
}

int year_of_megatron(const std::string& framework) {
  static const std::regex year(R"(\b(20[12][0-9])\b)");
  static const std::regex release(
      R"(megatron[-_ ]?(?:lm)?[-_ (]{0,2}(?:v([0-9]{1,2})(?![0-9])|([0-9]{1,2})\.[0-9]))",
      std::regex::icase);
  static const std::regex day(R"(\b(2[0-9])(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])\b)");
  std::smatch match;
  if (std::regex_search(framework, match, year)) return std::stoi(match[1]);
  if (std::regex_search(framework, match, day)) return 2000 + std::stoi(match[1]);
  if (!std::regex_search(framework, match, release)) return 0;
  constexpr int kFirstContainer = 19;  // releases 1 and 2 ended in 2022
  const int number = std::stoi(match[1].matched ? match[1] : match[2]);
  if (number >= kFirstContainer) return 2000 + number;
  return number == 0 ? 0 : number < 3 ? kFusedMegatron - 1 : kFusedMegatron;
}

}  // namespace parallel_opt
