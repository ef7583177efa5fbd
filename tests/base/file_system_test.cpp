#include "parallel_opt/base/file_system.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "parallel_opt/base/error.h"
#include "parallel_opt/base/workers.h"
#include "tests/temporary_directory.h"

namespace parallel_opt {
namespace {

namespace fs = std::filesystem;

/// An empty directory that is removed with the test.
class Files : public ::testing::Test {
 protected:
  std::string at(const std::string& name) const { return dir + "/" + name; }
  testing::TemporaryDirectory directory;
  const std::string& dir = directory.path();
};

template <class Call>
std::string system_error_of(Call call) {
  try {
    call();
  } catch (const SystemError& e) {
    return e.what();
  }
  return "no error";
}

TEST_F(Files, WrittenFilesReadBackWithEveryByte) {
  const std::string content("a\0b\r\n\xff", 6);
  write_file(at("new/deep/file"), content);
  EXPECT_EQ(read_file(at("new/deep/file")), content);
  write_file(at("new/deep/file"), "");
  EXPECT_EQ(read_file(at("new/deep/file")), "");
  EXPECT_EQ(DiskFileSystem().list(at("new/deep")), std::vector<std::string>{"file"});
}

TEST_F(Files, MissingFileNamesPathAndReason) {
  EXPECT_EQ(system_error_of([&] { read_file(at("none")); }),
            at("none") + ": No such file or directory (is the path right?)");
  EXPECT_EQ(system_error_of([&] { read_file(dir); }), dir + ": is a directory (name a file)");
}

TEST_F(Files, UnwritableDirectoryNamesPathAndReason) {
  write_file(at("file"), "x");
  // A file where a directory should be: refused for everyone, the administrator too.
  EXPECT_EQ(system_error_of([&] { write_file(at("file/below"), "y"); }),
            at("file") + ": Not a directory (choose a directory you may write)");
  EXPECT_EQ(system_error_of([&] { write_file("/proc/parallel_opt_test", "y"); }),
            "/proc/parallel_opt_test: No such file or directory (choose a file you may write)");
  EXPECT_EQ(system_error_of([&] { write_file(dir, "y"); }), dir + ": is a directory (name a file)");
}

TEST_F(Files, ALinkStaysALink) {
  write_file(at("target"), "old");
  fs::create_symlink("target", at("link"));
  write_file(at("link"), "new");
  EXPECT_TRUE(fs::is_symlink(at("link")));
  EXPECT_EQ(read_file(at("target")), "new");
}

TEST_F(Files, ADeviceIsWrittenThroughNotReplaced) {
  write_file("/dev/null", "gone");
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

TEST_F(Files, ManyWritersOfOneFileLeaveOneWholeContent) {
  parallel_for(32, 4, [&](std::size_t i) {
    write_file(at("shared"), std::string(10'000, static_cast<char>('a' + i)));
  });
  const std::string content = read_file(at("shared"));
  EXPECT_EQ(content, std::string(10'000, content.front()));
  EXPECT_EQ(DiskFileSystem().list(dir), std::vector<std::string>{"shared"});
}

TEST_F(Files, RootPutsAnotherMachineInPlace) {
  write_file(at("proc/stat"), "cpu 1");
  const DiskFileSystem other(dir);
  EXPECT_EQ(other.read("/proc/stat"), "cpu 1");
  EXPECT_EQ(other.read("/proc/none"), std::nullopt);
  EXPECT_EQ(other.read("/proc"), std::nullopt);
  EXPECT_TRUE(other.exists("/proc"));
  EXPECT_EQ(other.list("/none"), std::vector<std::string>{});
}

TEST(DiskFileSystem, AFileThatOpensButFailsToReadIsAbsent) {
  // Offset 0 of a process's memory is never mapped: read() gives EIO.
  EXPECT_EQ(DiskFileSystem().read("/proc/self/mem"), std::nullopt);
}

TEST(MemoryFileSystem, ListsNamesOfFilesAndDirectoriesInOrder) {
  MemoryFileSystem memory;
  memory.files = {{"/sys/b/one", "1"}, {"/sys/a", "2"}, {"/sys/b/two", "3"}, {"/system", "4"}};
  EXPECT_EQ(memory.list("/sys"), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(memory.list("/sys/b/"), (std::vector<std::string>{"one", "two"}));
  EXPECT_TRUE(memory.exists("/sys/b"));
  EXPECT_FALSE(memory.exists("/sy"));
  EXPECT_EQ(memory.read("/sys/a"), "2");
  EXPECT_EQ(memory.read("/sys"), std::nullopt);
}

TEST(CacheDirectory, FollowsTheEnvironmentInOrder) {
  const auto set = [](const char* name, const char* value) {
    value == nullptr ? ::unsetenv(name) : ::setenv(name, value, 1);
  };
  std::vector<std::pair<const char*, std::optional<std::string>>> before;
  for (const char* name : {"PARALLEL_OPT_CACHE", "XDG_CACHE_HOME", "HOME"}) {
    const char* value = std::getenv(name);
    before.emplace_back(name, value == nullptr ? std::nullopt : std::optional<std::string>(value));
  }
  set("PARALLEL_OPT_CACHE", "/own");
  set("XDG_CACHE_HOME", "/xdg");
  set("HOME", "/home/me");
  EXPECT_EQ(cache_directory(), "/own");
  set("PARALLEL_OPT_CACHE", "");
  EXPECT_EQ(cache_directory(), "/xdg/parallel_opt");
  set("XDG_CACHE_HOME", nullptr);
  EXPECT_EQ(cache_directory(), "/home/me/.cache/parallel_opt");
  for (const auto& [name, value] : before) set(name, value ? value->c_str() : nullptr);
}

}  // namespace
}  // namespace parallel_opt
