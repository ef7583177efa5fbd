#include "parallel_opt/base/embedded.h"

#include <algorithm>

namespace parallel_opt {

std::optional<std::string_view> embedded_file(std::string_view name) noexcept {
  const std::span<const EmbeddedFile> files = embedded_files();
  const auto found = std::ranges::lower_bound(files, name, {}, &EmbeddedFile::name);
  if (found == files.end() || found->name != name) return std::nullopt;
  return found->bytes;
}

}  // namespace parallel_opt
