#include "parallel_opt/importers/onnx_external.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace parallel_opt::onnx {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse(const std::string& path, const std::string& hint) {
  throw SystemError(path, std::strerror(errno), hint);
}

std::string_view entry(const ProtoTensor& tensor, std::string_view key) {
  for (const KeyValue& pair : tensor.external_data) {
    if (pair.key == key) return pair.value;
  }
  return {};
}

/// Empty: no whole number that is not negative.
std::optional<std::int64_t> count_of(std::string_view text) {
  std::int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(
      text.data(), end, value);  // NOLINT(bugprone-suspicious-stringview-data-usage)
  if (text.empty() || error != std::errc{} || stop != end || value < 0) return std::nullopt;
  return value;
}

bool leaves(const fs::path& location) {
  return location.is_absolute() ||
         std::ranges::any_of(location, [](const fs::path& part) { return part == ".."; });
}

}  // namespace

MappedFile::MappedFile(const std::string& path) {
  const int handle = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (handle < 0) refuse(path, "is the path right?");
  struct stat status{};
  if (::fstat(handle, &status) != 0 || !S_ISREG(status.st_mode)) {
    if (!S_ISREG(status.st_mode)) errno = EISDIR;
    ::close(handle);
    refuse(path, "name the .onnx file itself");
  }
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ > 0) {
    void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, handle, 0);
    if (address == MAP_FAILED) {
      ::close(handle);
      refuse(path, "");
    }
    data_ = static_cast<const char*>(address);
  }
  ::close(handle);
}

MappedFile::~MappedFile() {
  // munmap takes no pointer to const; nothing is written.
  if (data_ != nullptr) ::munmap(const_cast<char*>(data_), size_);  // NOLINT
}

const ExternalFiles::File& ExternalFiles::file(const std::string& location) {
  const auto [at, fresh] = files_.try_emplace(location);
  File& file = at->second;
  if (!fresh) return file;
  const fs::path name(location);
  if (location.empty() || location.find('\0') != std::string::npos) {
    file.fault = "names no file";
    return file;
  }
  if (leaves(name)) {
    file.fault = "leaves the directory of the model";
    return file;
  }
  if (directory_.empty()) return file;
  std::error_code error;
  const fs::path base = fs::canonical(directory_, error);
  const fs::path real = error ? fs::path() : fs::canonical(base / name, error);
  if (error) return file;
  const auto [stop, unused] = std::mismatch(base.begin(), base.end(), real.begin(), real.end());
  if (stop != base.end()) {
    file.fault = "is a link that leaves the directory of the model";
    return file;
  }
  if (!fs::is_regular_file(real, error)) return file;
  const std::uintmax_t size = fs::file_size(real, error);
  if (error) return file;
  file.path = real.string();
  file.size = static_cast<std::int64_t>(size);
  return file;
}

void ExternalFiles::check_external(const ProtoTensor& tensor, std::int64_t bytes,
                                   const Place& place, Findings& findings) {
  const Place at{&place, "external_data", SIZE_MAX};
  const std::string location(entry(tensor, "location"));
  const File& found = file(location);
  if (!found.fault.empty()) {
    return findings.fault(at, "the file \"" + location + "\" " + found.fault,
                          "keep the weights beside the model");
  }
  const std::string_view offset_text = entry(tensor, "offset"),
                         length_text = entry(tensor, "length");
  const auto offset = offset_text.empty() ? std::optional<std::int64_t>(0) : count_of(offset_text);
  const auto length = length_text.empty()
                          ? std::optional<std::int64_t>(std::max<std::int64_t>(bytes, 0))
                          : count_of(length_text);
  if (!offset) return findings.fault(at, "the offset is no whole number");
  if (!length) return findings.fault(at, "the length is no whole number");
  if (bytes >= 0 && *length < bytes) {
    return findings.fault(
        at, "has " + std::to_string(*length) + " bytes, its shape needs " + std::to_string(bytes));
  }
  if (found.size < 0) {
    if (!directory_.empty()) {
      findings.note("the file \"" + location +
                    "\" with weights is not there: shapes are read, weights are not needed");
    }
    return;
  }
  if (*offset > found.size || *length > found.size - *offset) {
    findings.fault(at,
                   "bytes " + std::to_string(*offset) + " to " + std::to_string(*offset) + " + " +
                       std::to_string(*length) + " are beyond the end of \"" + location + "\", " +
                       std::to_string(found.size) + " bytes",
                   "is the download complete?");
  }
}

std::string ExternalFiles::read_external(const ProtoTensor& tensor, std::size_t most) {
  const File& found = file(std::string(entry(tensor, "location")));
  const auto offset = count_of(entry(tensor, "offset")).value_or(0);
  if (!found.fault.empty() || found.size < 0 || offset > found.size) return {};
  std::ifstream in(found.path, std::ios::binary);
  in.seekg(offset);
  std::string bytes(std::min(most, static_cast<std::size_t>(found.size - offset)), '\0');
  in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<std::size_t>(in.gcount()));
  return bytes;
}

}  // namespace parallel_opt::onnx
