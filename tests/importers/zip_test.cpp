#include "parallel_opt/importers/zip.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/importers/archive.h"

namespace parallel_opt {
namespace {

using testing::error_of;
using testing::make_zip;

TEST(Zip, StoredAndDeflatedMembersReadAlike) {
  const std::string text(100'000, 'a');
  for (const bool deflate : {false, true}) {
    const std::string bytes = make_zip({{"a/b.txt", text}, {"a/c", ""}}, deflate);
    const ZipArchive zip = ZipArchive::open_memory(bytes, "x.zip");
    EXPECT_EQ(zip.members(), (std::vector<std::string>{"a/b.txt", "a/c"}));
    EXPECT_EQ(zip.size("a/b.txt"), Bytes(100'000));
    EXPECT_EQ(zip.read("a/b.txt"), text);
    EXPECT_EQ(zip.read("a/c"), "");
    EXPECT_TRUE(zip.contains("a/c"));
    EXPECT_FALSE(zip.contains("b.txt"));
  }
}

TEST(Zip, FileAndMemoryReadAlike) {
  const std::string path = ::testing::TempDir() + "zip_test.zip";
  std::ofstream(path, std::ios::binary) << make_zip({{"a", "hello"}});
  EXPECT_EQ(ZipArchive::open_file(path, "f.zip").read("a"), "hello");
  std::filesystem::remove(path);
}

TEST(Zip, EmptyFileSaysSo) {
  EXPECT_EQ(error_of([] { ZipArchive::open_memory("", "m.pt2"); }),
            "m.pt2: the file is empty (is the download complete?)");
}

TEST(Zip, OtherFormatsAreNoZip) {
  EXPECT_EQ(
      error_of([] { ZipArchive::open_memory("\x80\x02}q\x01.", "m.pt2"); }),
      "m.pt2: not a zip archive (a .pt2 file is written by torch.export.save(program, file))");
}

TEST(Zip, TruncatedArchiveSaysSo) {
  const std::string bytes = make_zip({{"a", std::string(1000, 'x')}});
  const std::string half = bytes.substr(0, bytes.size() / 2);
  EXPECT_EQ(
      error_of([&] { ZipArchive::open_memory(half, "m.pt2"); }),
      "m.pt2: truncated or damaged zip archive: Not a zip archive (is the download complete?)");
}

TEST(Zip, MissingFileIsASystemError) {
  EXPECT_EQ(error_of([] { ZipArchive::open_file("/nowhere/m.pt2", "/nowhere/m.pt2"); }),
            "system: /nowhere/m.pt2: No such file or directory (is the path right?)");
}

TEST(Zip, DirectoryIsASystemError) {
  EXPECT_EQ(error_of([] { ZipArchive::open_file("/tmp", "/tmp"); }),
            "system: /tmp: is a directory (name a file)");
}

TEST(Zip, DamagedMemberFailsItsChecksum) {
  std::string bytes = make_zip({{"a", "hello world"}});
  bytes[bytes.find("hello")] = 'j';
  const ZipArchive zip = ZipArchive::open_memory(bytes, "m.pt2");
  EXPECT_EQ(error_of([&] { zip.read("a"); }),
            "m.pt2:a: damaged: CRC error (is the download complete?)");
}

TEST(Zip, MemberAboveTheLimitIsRefusedUnread) {
  const std::string bytes = make_zip({{"a", std::string(2048, 'x')}});
  const ZipArchive zip = ZipArchive::open_memory(bytes, "m.pt2");
  EXPECT_EQ(error_of([&] { zip.read("a", {.member = Bytes(1024)}); }),
            "m.pt2:a: expands to 2.00 KiB, more than 1.00 KiB "
            "(a graph of that size is not a model's)");
}

TEST(Zip, BombIsRefusedByItsRatio) {
  // 20 MiB of one letter deflate about 1000 to 1, above the limit of 250.
  const std::string bytes = make_zip({{"a", std::string(20 << 20, 'x')}}, true);
  const ZipArchive zip = ZipArchive::open_memory(bytes, "m.pt2");
  const std::string error = error_of([&] { zip.read("a"); });
  EXPECT_TRUE(error.starts_with("m.pt2:a: expands 19")) << error;
  EXPECT_TRUE(error.ends_with(" to 20.0 MiB, a zip bomb (a model's graph never shrinks that much)"))
      << error;
}

TEST(Zip, AllReadsTogetherHaveALimit) {
  const std::string bytes = make_zip({{"a", std::string(600, 'x')}, {"b", std::string(600, 'y')}});
  const ZipArchive zip = ZipArchive::open_memory(bytes, "m.pt2");
  const ZipLimits limits{.total = Bytes(1024)};
  EXPECT_EQ(zip.read("a", limits).size(), 600u);
  EXPECT_EQ(error_of([&] { zip.read("b", limits); }),
            "m.pt2:b: the archive expands to more than 1.00 KiB "
            "(a model's graph is never that large)");
}

TEST(Zip, SizeInTheDirectoryIsAClaimOnly) {
  // The directory says 5 bytes where 1000 lie: libzip reads what the directory says and the
  // checksum tells.
  std::string bytes = make_zip({{"a", std::string(1000, 'x')}});
  const std::size_t entry = bytes.rfind("PK\x01\x02");
  bytes[entry + 20] = bytes[entry + 24] = 5;  // stored and expanded size, low bytes of 1000 = 0x3e8
  bytes[entry + 21] = bytes[entry + 25] = 0;
  const std::string error = error_of([&] { ZipArchive::open_memory(bytes, "m.pt2").read("a"); });
  EXPECT_TRUE(error.starts_with("m.pt2")) << error;
}

TEST(Zip, NamesAreOnlyKeys) {
  const std::string bytes = make_zip({{"../../etc/passwd", "x"}, {"/abs", "y"}});
  const ZipArchive zip = ZipArchive::open_memory(bytes, "m.pt2");
  EXPECT_EQ(zip.read("../../etc/passwd"), "x");
  EXPECT_EQ(zip.read("/abs"), "y");
}

}  // namespace
}  // namespace parallel_opt
