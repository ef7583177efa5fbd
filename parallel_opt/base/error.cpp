#include "parallel_opt/base/error.h"

#include <utility>

namespace parallel_opt {
namespace {

std::string joined(const std::vector<Fault>& faults) {
  std::string text;
  for (const Fault& fault : faults) {
    if (!text.empty()) text += '\n';
    text += to_string(fault);
  }
  return text;
}

}  // namespace

std::string to_string(const Fault& fault) {
  std::string text;
  if (!fault.where.empty()) text += fault.where + ": ";
  text += fault.what;
  if (!fault.hint.empty()) text += " (" + fault.hint + ")";
  return text;
}

InputError::InputError(std::string where, std::string what, std::string hint)
    : InputError(std::vector<Fault>{{std::move(where), std::move(what), std::move(hint)}}) {}

InputError::InputError(std::vector<Fault> faults)
    : std::runtime_error(joined(faults)), faults_(std::move(faults)) {}

SystemError::SystemError(std::string where, std::string what, std::string hint)
    : std::runtime_error(to_string(Fault{where, what, hint})),
      fault_{std::move(where), std::move(what), std::move(hint)} {}

void throw_if_any(std::vector<Fault> faults) {
  if (!faults.empty()) throw InputError(std::move(faults));
}

void check_failed(const char* condition, const char* file, int line, std::string_view message) {
  throw InternalError(std::string("internal error at ") + file + ":" + std::to_string(line) + ": " +
                      std::string(message) + " [" + condition + "]");
}

}  // namespace parallel_opt
