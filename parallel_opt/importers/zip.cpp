#include "parallel_opt/importers/zip.h"

#include <zip.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <utility>

#include "parallel_opt/base/error.h"
#include "parallel_opt/base/file_system.h"
#include "parallel_opt/base/text.h"

namespace parallel_opt {
namespace {

constexpr std::string_view kLocalHeader = "PK\x03\x04";
constexpr std::string_view kEmptyArchive = "PK\x05\x06";

/// An archive that libzip refuses: say which of the common accidents it is.
[[noreturn]] void refuse(const std::string& name, std::string_view head,
                         const std::string& reason) {
  if (head.empty()) throw InputError(name, "the file is empty", "is the download complete?");
  if (head.starts_with(kLocalHeader)) {
    throw InputError(name, "truncated or damaged zip archive: " + reason,
                     "is the download complete?");
  }
  throw InputError(name, "not a zip archive",
                   "a .pt2 file is written by torch.export.save(program, file)");
}

std::string text_of(zip_error_t& error) {
  std::string text = zip_error_strerror(&error);
  zip_error_fini(&error);
  return text;
}

struct FileCloser {
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};

}  // namespace

struct ZipArchive::Impl {
  struct Entry {
    zip_uint64_t index = 0;
    Bytes size;
    Bytes stored;
  };
  zip_t* zip = nullptr;
  Bytes bytes;     ///< of the archive
  Bytes expanded;  ///< by all reads so far
  std::string name;
  std::vector<std::string> names;
  std::map<std::string, Entry, std::less<>> entries;

  ~Impl() {
    if (zip != nullptr) zip_discard(zip);
  }
  void open(zip_source_t* source, std::string_view head);
  void list();
};

void ZipArchive::Impl::open(zip_source_t* source, std::string_view head) {
  zip_error_t error;
  zip_error_init(&error);
  zip = zip_open_from_source(source, ZIP_RDONLY, &error);
  if (zip == nullptr) {
    zip_source_free(source);
    refuse(name, head, text_of(error));
  }
  // libzip takes an empty file for an archive without members.
  if (zip_get_num_entries(zip, 0) == 0 && !head.starts_with(kEmptyArchive)) {
    refuse(name, head, "no directory at its end");
  }
  zip_error_fini(&error);
  list();
}

void ZipArchive::Impl::list() {
  const zip_int64_t count = zip_get_num_entries(zip, 0);
  for (zip_uint64_t i = 0; i < static_cast<zip_uint64_t>(std::max<zip_int64_t>(count, 0)); ++i) {
    zip_stat_t stat;
    zip_stat_init(&stat);
    if (zip_stat_index(zip, i, 0, &stat) != 0 || stat.name == nullptr) {
      throw InputError(name,
                       "truncated or damaged zip archive: member " + std::to_string(i) +
                           " has no readable entry in the directory",
                       "is the download complete?");
    }
    std::string member = stat.name;
    if (member.empty() || member.ends_with('/')) continue;
    const auto bounded = [](zip_uint64_t n) {
      return Bytes(static_cast<std::int64_t>(std::min<zip_uint64_t>(n, INT64_MAX)));
    };
    if (entries.try_emplace(member, Entry{i, bounded(stat.size), bounded(stat.comp_size)}).second) {
      names.push_back(std::move(member));
    }
  }
}

ZipArchive::ZipArchive(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ZipArchive::~ZipArchive() = default;
ZipArchive::ZipArchive(ZipArchive&&) noexcept = default;

ZipArchive ZipArchive::open_file(const std::string& path, const std::string& name) {
  std::array<char, 4> head{};
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  // A directory opens but does not read; read_file knows the words for each reason.
  if (!in || in.peek() == std::ifstream::traits_type::eof()) {
    if (read_file(path).empty()) refuse(name, "", "");
  }
  in.read(head.data(), head.size());
  const std::string_view start(head.data(), static_cast<std::size_t>(in.gcount()));
  auto impl = std::make_unique<Impl>();
  impl->name = name;
  in.seekg(0, std::ios::end);
  impl->bytes = Bytes(static_cast<std::int64_t>(in.tellg()));
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_file_create(path.c_str(), 0, -1, &error);
  if (source == nullptr) throw SystemError(name, text_of(error), "may you read it?");
  zip_error_fini(&error);
  impl->open(source, start);
  return ZipArchive(std::move(impl));
}

ZipArchive ZipArchive::open_memory(std::string_view bytes, const std::string& name) {
  if (bytes.empty()) refuse(name, "", "");
  auto impl = std::make_unique<Impl>();
  impl->name = name;
  impl->bytes = Bytes(static_cast<std::int64_t>(bytes.size()));
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_buffer_create(bytes.data(), bytes.size(), 0, &error);
  if (source == nullptr) throw SystemError(name, text_of(error), "");
  zip_error_fini(&error);
  impl->open(source, bytes.substr(0, 4));
  return ZipArchive(std::move(impl));
}

const std::vector<std::string>& ZipArchive::members() const { return impl_->names; }

bool ZipArchive::contains(std::string_view member) const {
  return impl_->entries.find(member) != impl_->entries.end();
}

Bytes ZipArchive::size(std::string_view member) const {
  const auto it = impl_->entries.find(member);
  PO_CHECK(it != impl_->entries.end(), "no such member");
  return it->second.size;
}

std::string ZipArchive::read(std::string_view member, const ZipLimits& limits) const {
  const auto it = impl_->entries.find(member);
  PO_CHECK(it != impl_->entries.end(), "no such member");
  const std::string where = impl_->name + ":" + std::string(member);
  const auto& [index, size, stored] = it->second;
  if (size > limits.member) {
    throw InputError(where, "expands to " + show(size) + ", more than " + show(limits.member),
                     "a graph of that size is not a model's");
  }
  if (size > limits.ratio_from &&
      double(size.value) > limits.ratio * double(std::max<std::int64_t>(stored.value, 1))) {
    throw InputError(where, "expands " + show(stored) + " to " + show(size) + ", a zip bomb",
                     "a model's graph never shrinks that much");
  }
  if (impl_->expanded + size > limits.total) {
    throw InputError(where, "the archive expands to more than " + show(limits.total),
                     "a model's graph is never that large");
  }
  const std::unique_ptr<zip_file_t, FileCloser> file(zip_fopen_index(impl_->zip, index, 0));
  if (!file) {
    throw InputError(where, std::string("cannot be read: ") + zip_strerror(impl_->zip),
                     "save the archive anew, without password");
  }
  // The size in the directory is a claim, not a promise: believed up to 64 MiB, then grown. That of
  // a stored member is no more than the archive's own.
  std::string content;
  const std::int64_t believed = size <= stored && size <= impl_->bytes ? size.value : 64 << 20;
  content.reserve(static_cast<std::size_t>(std::min(size.value, believed)));
  std::array<char, 1 << 16> chunk;
  while (true) {
    const zip_int64_t got = zip_fread(file.get(), chunk.data(), chunk.size());
    if (got < 0) {
      throw InputError(where, std::string("damaged: ") + zip_file_strerror(file.get()),
                       "is the download complete?");
    }
    if (got == 0) break;
    content.append(chunk.data(), static_cast<std::size_t>(got));
    if (Bytes(static_cast<std::int64_t>(content.size())) > limits.member) {
      throw InputError(where, "expands to more than " + show(limits.member),
                       "a graph of that size is not a model's");
    }
  }
  impl_->expanded += Bytes(static_cast<std::int64_t>(content.size()));
  return content;
}

}  // namespace parallel_opt
