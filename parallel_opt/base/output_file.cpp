#include "parallel_opt/base/output_file.h"

#include <filesystem>

#include "parallel_opt/base/error.h"
#include "parallel_opt/base/file_system.h"

namespace parallel_opt {

void write_output(const std::string& path, std::string_view content) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  std::error_code error;
  if (!parent.empty() && !std::filesystem::exists(parent, error)) {
    throw SystemError(path, "there is no directory " + parent.string(), "make it, or name another");
  }
  write_file(path, content);
}

}  // namespace parallel_opt
