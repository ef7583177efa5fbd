#pragma once

#include <string_view>

namespace parallel_opt {

/// The one place where the version is written: CMake and pyproject.toml read this line.
inline constexpr std::string_view kVersion = "0.1.0";

}  // namespace parallel_opt
