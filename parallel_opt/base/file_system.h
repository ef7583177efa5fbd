#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace parallel_opt {

/// The outside world as files. Discovery, loaders and sensors read through this, so that tests and
/// `--root DIR` can put another machine in its place. Paths are absolute, '/'-separated.
class FileSystem {
 public:
  virtual ~FileSystem() = default;
  /// Whole content; empty when it is absent or may not be read.
  virtual std::optional<std::string> read(const std::string& path) const = 0;
  /// Names (not paths) in a directory, sorted; empty when it is absent.
  virtual std::vector<std::string> list(const std::string& path) const = 0;
  virtual bool exists(const std::string& path) const = 0;
};

/// The real one. With a root, "/proc/stat" means "<root>/proc/stat".
class DiskFileSystem : public FileSystem {
 public:
  explicit DiskFileSystem(std::string root = "") : root_(std::move(root)) {}
  std::optional<std::string> read(const std::string& path) const override;
  std::vector<std::string> list(const std::string& path) const override;
  bool exists(const std::string& path) const override;

 private:
  std::string root_;
};

/// Files in memory, for tests.
class MemoryFileSystem : public FileSystem {
 public:
  std::map<std::string, std::string> files;  ///< path -> content
  std::optional<std::string> read(const std::string& path) const override;
  std::vector<std::string> list(const std::string& path) const override;
  bool exists(const std::string& path) const override;
};

/// Whole content of a user's file; throws SystemError naming the file and the reason.
std::string read_file(const std::string& path);
/// Replaces a file in one step (write beside it, rename), so a reader never sees half of it.
/// Creates missing directories. Throws SystemError naming the file and the reason.
void write_file(const std::string& path, std::string_view content);

/// Where measured things are kept: $PARALLEL_OPT_CACHE, else $XDG_CACHE_HOME/parallel_opt, else
/// ~/.cache/parallel_opt.
std::string cache_directory();

}  // namespace parallel_opt
