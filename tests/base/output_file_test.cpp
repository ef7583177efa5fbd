#include "parallel_opt/base/output_file.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "parallel_opt/base/error.h"
#include "parallel_opt/base/file_system.h"

namespace parallel_opt {
namespace {

TEST(WriteOutput, MakesNoDirectories) {
  const std::string dir = ::testing::TempDir() + "output_file_test";
  std::filesystem::remove_all(dir);
  try {
    write_output(dir + "/file", "y");
    FAIL() << "wrote into a directory that is not there";
  } catch (const SystemError& e) {
    EXPECT_EQ(e.what(),
              dir + "/file: there is no directory " + dir + " (make it, or name another)");
  }
  EXPECT_FALSE(std::filesystem::exists(dir));
}

TEST(WriteOutput, WritesWhereADirectoryIs) {
  const std::string path = ::testing::TempDir() + "output_file_test.txt";
  write_output(path, "first");
  write_output(path, "second");
  EXPECT_EQ(read_file(path), "second");
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace parallel_opt
