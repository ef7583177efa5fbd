#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "parallel_opt/importers/findings.h"
#include "parallel_opt/importers/onnx_proto.h"
#include "parallel_opt/importers/onnx_size.h"

/// Weights beside the model. Private to importers/.
namespace parallel_opt::onnx {

/// A file in memory without a copy. Throws SystemError naming the file and the reason.
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

/// Empty: a type without numbers (strings), or an unknown code. Types of less than a byte count as
/// bytes.
std::optional<DType> dtype_of(std::int64_t element);
/// Whether ONNX has an element type of this number; strings are one.
bool is_element(std::int64_t element);
bool is_float(std::int64_t element);

/// Elements known before the model runs, in row-major order: whole numbers (also booleans), which
/// may be sizes, or reals.
struct Data {
  bool real = false;
  Shape whole;
  std::vector<double> reals;
  std::size_t size() const { return real ? reals.size() : whole.size(); }
};

/// Elements at the symbols' hints; empty: more than 2^58, whose bytes would not fit 64 bits.
std::optional<std::int64_t> element_count(const Shape& shape);

/// The files that a model keeps weights in: all inside the directory of the model.
class ExternalFiles {
 public:
  /// Empty: the model comes from memory, and names of files are only checked for their form.
  explicit ExternalFiles(std::string directory) : directory_(std::move(directory)) {}

  /// The shape of a stored tensor, after checking it and its payload without reading it. `dims`:
  /// of a sparse tensor those of the whole; then `dense` is false. A name that leaves the directory
  /// (absolute, "..", a link) is a fault.
  Shape shape_of(const ProtoTensor& tensor, const std::vector<std::int64_t>& dims, bool dense,
                 const Place& place, Findings& findings);
  /// Its elements, when there are at most `most` and they are numbers.
  std::optional<Data> read_data(const ProtoTensor& tensor, const Shape& shape, std::size_t most);

 private:
  struct File {
    std::string path;
    std::int64_t size = -1;  ///< -1: not there
    std::string fault;       ///< why it is refused
  };
  const File& file(const std::string& location);
  void check_external(const ProtoTensor& tensor, std::int64_t bytes, const Place& place,
                      Findings& findings);
  std::string read_external(const ProtoTensor& tensor, std::size_t most);
  std::string directory_;
  std::map<std::string, File> files_;
};

}  // namespace parallel_opt::onnx
