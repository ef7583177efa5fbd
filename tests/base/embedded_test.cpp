#include "parallel_opt/base/embedded.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>

namespace parallel_opt {
namespace {

TEST(Embedded, FilesAreSortedByName) {
  EXPECT_TRUE(std::ranges::is_sorted(embedded_files(), {}, &EmbeddedFile::name));
}

TEST(Embedded, EveryFileHasTheBytesOfTheSourceTree) {
  for (const EmbeddedFile& file : embedded_files()) {
    std::ifstream on_disk(std::string(PARALLEL_OPT_SOURCE_DIR "/").append(file.name),
                          std::ios::binary);
    const std::string bytes(std::istreambuf_iterator<char>(on_disk), {});
    EXPECT_TRUE(file.bytes == bytes) << file.name << ": " << bytes.size() << " bytes on disk, "
                                     << file.bytes.size() << " embedded";
    EXPECT_EQ(embedded_file(file.name), file.bytes);
  }
}

TEST(Embedded, UnknownNameIsAbsent) {
  EXPECT_EQ(embedded_file("data/no-such-file.json"), std::nullopt);
  EXPECT_EQ(embedded_file(""), std::nullopt);
}

}  // namespace
}  // namespace parallel_opt
