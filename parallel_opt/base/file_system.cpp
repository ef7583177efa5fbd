#include "parallel_opt/base/file_system.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <system_error>

#include "parallel_opt/base/error.h"

namespace parallel_opt {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// Whole content; empty, with errno set, when it cannot be read. Some files under /proc and /sys
/// open but fail to read: the same as not being there. C's streams report that, C++'s do not.
std::optional<std::string> slurp(const std::string& path) {
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  const std::unique_ptr<std::FILE, Close> file(std::fopen(path.c_str(), "rb"));
  if (!file) return std::nullopt;
  std::string content;
  std::array<char, 65536> buffer;
  while (!std::feof(file.get()) && !std::ferror(file.get())) {
    content.append(buffer.data(), std::fread(buffer.data(), 1, buffer.size(), file.get()));
  }
  if (std::ferror(file.get())) return std::nullopt;
  return content;
}

/// Writes through an existing device or pipe (/dev/stdout, a process substitution).
void write_in_place(const std::string& path, std::string_view content) {
  std::ofstream out(path, std::ios::binary);
  out << content;
  out.close();
  if (!out) {
    throw SystemError(path, std::strerror(errno == 0 ? EIO : errno), "choose a file you may write");
  }
}

}  // namespace

std::optional<std::string> DiskFileSystem::read(const std::string& path) const {
  return slurp(root_ + path);
}

std::vector<std::string> DiskFileSystem::list(const std::string& path) const {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(root_ + path, error), end; !error && it != end;
       it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool DiskFileSystem::exists(const std::string& path) const {
  std::error_code error;
  return fs::exists(root_ + path, error);
}

std::optional<std::string> MemoryFileSystem::read(const std::string& path) const {
  const auto it = files.find(path);
  if (it == files.end()) return std::nullopt;
  return it->second;
}

std::vector<std::string> MemoryFileSystem::list(const std::string& path) const {
  const std::string prefix = path.ends_with('/') ? path : path + "/";
  std::set<std::string> names;
  for (const auto& [name, content] : files) {
    if (name.starts_with(prefix)) {
      names.insert(name.substr(prefix.size(), name.find('/', prefix.size()) - prefix.size()));
    }
  }
  return {names.begin(), names.end()};
}

bool MemoryFileSystem::exists(const std::string& path) const {
  return files.contains(path) || !list(path).empty();
}

std::string read_file(const std::string& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) throw SystemError(path, "is a directory", "name a file");
  errno = 0;
  std::optional<std::string> content = slurp(path);
  if (!content) {
    const int reason = errno == 0 ? EIO : errno;
    throw SystemError(path, std::strerror(reason),
                      reason == ENOENT ? "is the path right?" : "may you read it?");
  }
  return *std::move(content);
}

void write_file(const std::string& path, std::string_view content) {
  std::error_code error;
  if (fs::is_directory(path, error)) throw SystemError(path, "is a directory", "name a file");
  if (fs::exists(path, error) && !fs::is_regular_file(path, error)) {
    return write_in_place(path, content);
  }
  // A link stays a link: what it points to is replaced.
  const std::string target =
      fs::is_symlink(path, error) ? fs::weakly_canonical(path, error).string() : path;
  const fs::path parent = fs::path(target).parent_path();
  error.clear();
  if (!parent.empty()) fs::create_directories(parent, error);
  if (error) {
    throw SystemError(parent.string(), error.message(), "choose a directory you may write");
  }
  static std::atomic<unsigned> serial = 0;  // two threads may write one file
  const std::string beside =
      target + ".tmp" + std::to_string(::getpid()) + "." + std::to_string(serial++);
  errno = 0;
  std::ofstream out(beside, std::ios::binary);
  out << content;
  out.close();
  if (!out) {
    const int reason = errno == 0 ? EIO : errno;
    fs::remove(beside, error);
    throw SystemError(path, std::strerror(reason), "choose a file you may write");
  }
  fs::rename(beside, target, error);
  if (error) {
    const std::string message = error.message();
    fs::remove(beside, error);
    throw SystemError(path, message, "choose a file you may write");
  }
}

std::string cache_directory() {
  if (const std::string own = environment("PARALLEL_OPT_CACHE"); !own.empty()) return own;
  if (const std::string xdg = environment("XDG_CACHE_HOME"); !xdg.empty()) {
    return xdg + "/parallel_opt";
  }
  const std::string home = environment("HOME");
  return (home.empty() ? fs::temp_directory_path().string() : home + "/.cache") + "/parallel_opt";
}

}  // namespace parallel_opt
