#pragma once

#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/hardware/imported_profile.h"

namespace parallel_opt {

/// What a file does not say of itself. `device` may be a name or alias of the database.
struct ProfileFacts {
  std::optional<std::string> name{};
  std::optional<std::string> device{};
  std::optional<std::string> model{};
  std::optional<DType> dtype{};
  std::optional<int> tensor{};
  std::optional<double> micro_batch{};
  std::optional<std::int64_t> sequence{};
};

struct ProfileText {
  std::string path;
  std::string text;
};

/// One profile of one or more files, each in our own format or in a published one, told apart by
/// what they hold (docs/imported-profiles.md). Throws InputError with every fault: unknown formats,
/// facts that neither the file nor `facts` states, broken numbers.
ImportedProfile import_profile(const std::vector<ProfileText>& files, const ProfileFacts& facts);

/// The formats that import_profile() reads, for messages.
const std::vector<std::string>& profile_formats();

}  // namespace parallel_opt
