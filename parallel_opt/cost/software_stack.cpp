#include "parallel_opt/cost/software_stack.h"

#include <algorithm>

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

const SoftwareStack* stack_of_framework(const std::string& framework) {
  const std::string text = lower_case(framework);
  const SoftwareStack* best = nullptr;
  std::size_t longest = 0;  // "megatron-deepspeed" says more than "megatron"
  for (const SoftwareStack& stack : software_stacks()) {
    for (const std::string& word : stack.frameworks) {
      if (word.size() > longest && text.find(word) != std::string::npos) {
        best = &stack;
        longest = word.size();
      }
    }
  }
  return best;
}

}  // namespace parallel_opt
