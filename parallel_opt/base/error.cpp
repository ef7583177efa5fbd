#include "parallel_opt/base/error.h"

#include <map>
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

/// One line of at most about a thousand bytes, whatever a file holds: control characters would
/// forge lines or colours on a terminal.
std::string one_line(std::string_view text) {
  constexpr std::size_t kMost = 1000, kKept = 480;
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string line;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text.size() > kMost && i == kKept) {
      i = text.size() - kKept;
      while (i < text.size() && (text[i] & 0xC0) == 0x80) ++i;  // not within a UTF-8 character
      line += " ... ";
    }
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x20 && c != 0x7F) {
      line += text[i];
    } else {
      line += c == '\n'   ? "\\n"
              : c == '\t' ? "\\t"
                          : std::string("\\x") + kDigits[c >> 4] + kDigits[c & 15];
    }
  }
  return line;
}

/// What faults of one kind share: all but numbers. Those in quotes are parts of names, which count.
std::string kind_of(const Fault& fault) {
  std::string kind;
  bool quoted = false;
  for (const char c : fault.what + '\n' + fault.hint) {
    quoted = quoted != (c == '"');
    const bool digit = !quoted && c >= '0' && c <= '9';
    if (!digit || !kind.ends_with('0')) kind += digit ? '0' : c;
  }
  return kind;
}

/// 2038 -> "2,038".
std::string with_commas(std::size_t count) {
  std::string text = std::to_string(count);
  for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, ",");
  return text;
}

/// A thousand lines that say the same hide the one that does not.
std::vector<Fault> few_of_a_kind(std::vector<Fault> faults) {
  constexpr std::size_t kTold = 10;
  struct Kind {
    std::size_t count = 0, last = 0;  ///< faults; place of the last one told
  };
  std::map<std::string, Kind> kinds;
  std::vector<Fault> told;
  for (Fault& fault : faults) {
    Kind& kind = kinds[kind_of(fault)];
    if (kind.count++ >= kTold) continue;
    kind.last = told.size();
    told.push_back(std::move(fault));
  }
  for (const auto& [text, kind] : kinds) {
    if (kind.count <= kTold) continue;
    told[kind.last].what += ", and " + with_commas(kind.count - kTold) + " more like it";
  }
  return told;
}

}  // namespace

std::string to_string(const Fault& fault) {
  std::string text;
  if (!fault.where.empty()) text += one_line(fault.where) + ": ";
  text += one_line(fault.what);
  if (!fault.hint.empty()) text += " (" + one_line(fault.hint) + ")";
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
  if (!faults.empty()) throw InputError(few_of_a_kind(std::move(faults)));
}

void check_failed(const char* condition, const char* file, int line, std::string_view message) {
  throw InternalError(std::string("internal error at ") + file + ":" + std::to_string(line) + ": " +
                      std::string(message) + " [" + condition + "]");
}

}  // namespace parallel_opt
