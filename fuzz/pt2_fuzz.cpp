// torch.export archives: the archive itself when the input is a zip, else the model's JSON inside a
// good one. Every input is read or refused with an InputError; nothing else may happen.
#include <zip.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "parallel_opt/base/error.h"
#include "parallel_opt/graph/work.h"
#include "parallel_opt/importers/pt2.h"
#include "parallel_opt/importers/srepr.h"

namespace {

/// A stored archive with one member.
std::string archive_of(std::string_view json) {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* target = zip_source_buffer_create(nullptr, 0, 0, &error);
  zip_source_keep(target);
  zip_t* zip = zip_open_from_source(target, ZIP_TRUNCATE, &error);
  zip_source_t* member = zip_source_buffer(zip, json.data(), json.size(), 0);
  const zip_int64_t index = zip_file_add(zip, "models/model.json", member, 0);
  zip_set_file_compression(zip, static_cast<zip_uint64_t>(index), ZIP_CM_STORE, 0);
  zip_close(zip);
  zip_stat_t stat;
  zip_source_stat(target, &stat);
  std::string bytes(stat.size, '\0');
  zip_source_open(target);
  zip_source_read(target, bytes.data(), bytes.size());
  zip_source_close(target);
  zip_source_free(target);
  return bytes;
}

void read(std::string_view archive) {
  try {
    const parallel_opt::Graph graph = parallel_opt::read_pt2(archive, "fuzz.pt2");
    for (const parallel_opt::Op& op : graph.ops) parallel_opt::forward_work(graph, op);
  } catch (const parallel_opt::InputError&) {  // NOLINT(bugprone-empty-catch): a right answer
  }
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer names it
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (input.starts_with("PK")) {
    read(input);
  } else {
    parallel_opt::parse_size_expression(input);
    read(archive_of(input));
  }
  return 0;
}
