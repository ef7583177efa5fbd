#pragma once

#include <optional>
#include <span>
#include <string_view>

namespace parallel_opt {

/// One file that was compiled into the program, so that the wheel needs no data directory.
struct EmbeddedFile {
  std::string_view name;   ///< path from the root of the source tree, as "schema/plan.json"
  std::string_view bytes;  ///< the whole content; lives as long as the program
};

/// Every embedded file, sorted by name: the `.json` below data/ and schema/, and
/// parallel_opt/*/assets/. A new file under these paths is picked up by the next build.
std::span<const EmbeddedFile> embedded_files() noexcept;

/// The content of one embedded file; empty when there is none of that name.
std::optional<std::string_view> embedded_file(std::string_view name) noexcept;

}  // namespace parallel_opt
