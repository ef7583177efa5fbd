#pragma once

#include <string>
#include <string_view>

namespace parallel_opt {

/// A file's bytes, read only where they are touched: a model's weights stay on disk. Throws
/// SystemError naming the file and the reason.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();
  std::string_view bytes() const { return {data_, size_}; }

 private:
  const char* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace parallel_opt
