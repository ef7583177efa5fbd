#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "parallel_opt/base/file_system.h"

namespace parallel_opt {

/// Compares with a file of the source tree; UPDATE_GOLDEN=1 rewrites it instead.
inline void expect_golden(const std::string& name, const std::string& text) {
  const std::string path = std::string(PARALLEL_OPT_SOURCE_DIR "/") + name;
  if (const char* update = std::getenv("UPDATE_GOLDEN"); update != nullptr && *update == '1') {
    write_file(path, text);
    return;
  }
  std::ifstream in(path, std::ios::binary);
  ASSERT_TRUE(in) << path << " is missing: run with UPDATE_GOLDEN=1";
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), text)
      << "run with UPDATE_GOLDEN=1 and read the difference";
}

}  // namespace parallel_opt
