#include "parallel_opt/base/file_system.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <system_error>

#include "parallel_opt/base/error.h"

namespace parallel_opt {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::optional<std::string> slurp(const std::string& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return std::nullopt;
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  std::ostringstream content;
  content << in.rdbuf();
  // Some files under /sys open but fail to read (EINVAL, EPERM): the same as not being there.
  if (in.bad()) return std::nullopt;
  return std::move(content).str();
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
  const fs::path parent = fs::path(path).parent_path();
  if (!parent.empty()) fs::create_directories(parent, error);
  if (error)
    throw SystemError(parent.string(), error.message(), "choose a directory you may write");
  const std::string beside = path + ".tmp" + std::to_string(::getpid());
  std::ofstream out(beside, std::ios::binary);
  out << content;
  out.close();
  if (!out) {
    const int reason = errno == 0 ? EIO : errno;
    fs::remove(beside, error);
    throw SystemError(path, std::strerror(reason), "choose a file you may write");
  }
  fs::rename(beside, path, error);
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
