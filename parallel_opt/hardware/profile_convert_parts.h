#pragma once

#include <string>
#include <vector>

#include "parallel_opt/base/json.h"
#include "parallel_opt/hardware/imported_profile.h"
#include "parallel_opt/hardware/profile_convert.h"

/// The converters behind profile_convert.h: each appends to a profile what one file holds.
namespace parallel_opt::profile_convert {

/// A file being converted.
struct Source {
  JsonView root;
  const std::string& path;
  const ProfileFacts& facts;
  ImportedProfile& profile;
  std::vector<Fault>& faults;

  void fault(const std::string& where, std::string what, std::string hint = "") const {
    faults.push_back({where, std::move(what), std::move(hint)});
  }
  /// The device that `--device` names; a fault when it does not.
  std::string device() const;
  /// The number of a value, times `factor`; a fault and 0 when it is none.
  double number(const JsonView& value, double factor = 1) const;
  /// Members of an object; a fault and none when it is no object.
  std::vector<std::pair<std::string, JsonView>> members(const JsonView& value) const;
};

/// The database's name of a device that others call `text`, else `text` itself.
std::string known_device(const std::string& text);

/// Whether the text is a whole number without sign.
std::optional<int> whole_number(std::string_view text);

bool is_sailor(const JsonView& root);
void convert_sailor(const Source& source);
bool is_galvatron(const JsonView& root);
void convert_galvatron(const Source& source);
bool is_calculon(const JsonView& root);
void convert_calculon(const Source& source);
/// CSV: stage,instruction,frequency,time,energy
bool is_perseus(const std::string& text);
void convert_perseus(const std::string& text, const std::string& path, const ProfileFacts& facts,
                     ImportedProfile& profile, std::vector<Fault>& faults);

}  // namespace parallel_opt::profile_convert
