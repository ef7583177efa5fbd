#include <ostream>

#include "parallel_opt/base/version.h"
#include "parallel_opt/cli/commands.h"
#include "parallel_opt/cli/documents.h"

namespace parallel_opt {
namespace {

#ifdef __clang__
constexpr const char* kCompiler = __VERSION__;  // names itself
#else
constexpr const char* kCompiler = "GCC " __VERSION__;
#endif

}  // namespace

/// parallel-opt version
Command version_command() {
  return {
      .name = "version",
      .summary = "Print the version.",
      .run = [](const Args&, const Console& console) -> ExitCode {
        if (console.json) {
          print_json(console, VersionDocument{std::string(kVersion), kCompiler});
        } else {
          console.out << "parallel-opt " << kVersion << '\n';
        }
        return ExitCode::ok;
      },
  };
}

}  // namespace parallel_opt
