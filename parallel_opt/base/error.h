#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace parallel_opt {

/// One thing that is wrong: the place, the fault, and the way out (may be empty).
struct Fault {
  std::string where;
  std::string what;
  std::string hint;
  bool operator==(const Fault&) const = default;
};

/// "WHERE: WHAT (HINT)", the form every tool prints.
std::string to_string(const Fault& fault);

/// The user's input is wrong. Thrown by loaders, parsers and validators only, with every fault
/// found. Exit code 4.
class InputError : public std::runtime_error {
 public:
  InputError(std::string where, std::string what, std::string hint);
  /// Pre: at least one fault.
  explicit InputError(std::vector<Fault> faults);
  const std::vector<Fault>& faults() const noexcept { return faults_; }

 private:
  std::vector<Fault> faults_;
};

/// The machine refuses: a missing file, driver, library or permission. Exit code 4, as for other
/// bad input: the file that a user names is not there, or may not be written.
class SystemError : public std::runtime_error {
 public:
  SystemError(std::string where, std::string what, std::string hint);
  const Fault& fault() const noexcept { return fault_; }

 private:
  Fault fault_;
};

/// A part that is not always installed is missing: PyTorch, Python, a device. Exit code 5.
class MissingPart : public SystemError {
 public:
  using SystemError::SystemError;
};

/// A promise inside this program is broken. Never reachable from input. Exit code 1.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

/// Throws when `faults` is not empty: the end of every collecting validator. Of faults of one kind
/// (alike but for their place and numbers; names in quotes count) ten are told; the tenth counts
/// the others.
void throw_if_any(std::vector<Fault> faults);

[[noreturn]] void check_failed(const char* condition, const char* file, int line,
                               std::string_view message);

}  // namespace parallel_opt

/// Checks a promise of ours in all build types; throws InternalError, never aborts: we live in
/// someone's Python process.
#define PO_CHECK(condition, message) \
  ((condition) ? void(0) : ::parallel_opt::check_failed(#condition, __FILE__, __LINE__, (message)))
