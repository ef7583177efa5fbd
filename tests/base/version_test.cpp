#include "parallel_opt/base/version.h"

#include <gtest/gtest.h>

#include <regex>
#include <string>

namespace parallel_opt {
namespace {

TEST(Version, HasThreeNumbers) {
  const std::string version(kVersion);
  EXPECT_TRUE(std::regex_match(version, std::regex("[0-9]+\\.[0-9]+\\.[0-9]+"))) << version;
}

}  // namespace
}  // namespace parallel_opt
