#pragma once

#include <string>
#include <string_view>

namespace parallel_opt {

/// `write_file` for a file that the user names (`-o FILE`): its directory must be there, since a
/// wrong path is more likely than a wish for new directories. Throws SystemError.
void write_output(const std::string& path, std::string_view content);

}  // namespace parallel_opt
