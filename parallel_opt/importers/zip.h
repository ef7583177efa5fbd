#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "parallel_opt/base/units.h"

namespace parallel_opt {

/// What members may expand to. A member beyond a limit is refused before it is read.
struct ZipLimits {
  Bytes member = Bytes(std::int64_t(1) << 30);  ///< one member, expanded
  double ratio = 250;  ///< expanded over stored, for members above `ratio_from`
  Bytes ratio_from = Bytes(std::int64_t(16) << 20);
  Bytes total = Bytes(std::int64_t(2) << 30);  ///< all reads of one archive together
};

/// A zip archive open for reading: members stored or deflated, Zip64 too. Only the directory at its
/// end is read until a member is asked for. Names are keys and nothing else: no file is ever
/// written. Faults are InputError at `name`; a file that cannot be opened is a SystemError.
class ZipArchive {
 public:
  static ZipArchive open_file(const std::string& path, const std::string& name);
  /// `bytes` must outlive the archive.
  static ZipArchive open_memory(std::string_view bytes, const std::string& name);
  ~ZipArchive();
  ZipArchive(ZipArchive&&) noexcept;

  /// Member names in archive order, directories left out.
  const std::vector<std::string>& members() const;
  bool contains(std::string_view member) const;
  /// Expanded size as the directory states it. Pre: `contains(member)`.
  Bytes size(std::string_view member) const;
  /// Whole content. Pre: `contains(member)`. Throws InputError for a damaged, encrypted or
  /// oversized member.
  std::string read(std::string_view member, const ZipLimits& limits = {}) const;

 private:
  struct Impl;
  explicit ZipArchive(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace parallel_opt
