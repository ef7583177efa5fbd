// Published profiles, and what another machine's drivers said. Every input becomes a well-formed
// profile or cluster, or an InputError; nothing else may happen.
#include <cstdint>
#include <string>
#include <string_view>

#include "parallel_opt/hardware/discover.h"
#include "parallel_opt/hardware/profile_convert.h"

namespace {

using namespace parallel_opt;

void read_profile_of(const std::string& text) {
  const ProfileFacts facts = {.device = "A100-40GB"};
  const ImportedProfile profile = import_profile({{"profile.json", text}}, facts);
  if (!check(profile, "profile").empty()) __builtin_trap();
}

void read_drivers_of(const std::string& text) {
  MemoryFileSystem files;
  files.files[kDriverRecordPath] = text;
  if (discover(files).devices.empty()) __builtin_trap();
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer names it
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    if (text.find("parallel-opt/drivers") != std::string::npos) {
      read_drivers_of(text);
    } else {
      read_profile_of(text);
    }
  } catch (const parallel_opt::InputError&) {  // NOLINT(bugprone-empty-catch): a right answer
  }
  return 0;
}
