#include "parallel_opt/hardware/profile_convert.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <set>

#include "parallel_opt/base/text.h"
#include "parallel_opt/hardware/database.h"
#include "parallel_opt/hardware/profile_convert_parts.h"

namespace parallel_opt {
namespace profile_convert {

std::string known_device(const std::string& text) {
  // Names of published profiles that are no alias: the memory is what tells these boards apart.
  static const std::map<std::string, std::string> kNicknames = {{"GH-96", "GH200-96GB"},
                                                                {"RTX-2080", "RTX-2080-Ti"}};
  if (const auto nickname = kNicknames.find(text); nickname != kNicknames.end()) {
    return nickname->second;
  }
  for (const std::string& name : {text, text + "GB"}) {
    const DeviceRecord* record = find_device(load_database(), name);
    if (record != nullptr) return record->name;
  }
  return text;
}

std::optional<int> whole_number(std::string_view text) {
  constexpr int kMost = 1'000'000'000;
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (value < 0 || value > kMost) return std::nullopt;
  return value;
}

std::string Source::device() const {
  if (facts.device) return known_device(*facts.device);
  const auto told = [&](const Fault& f) { return f.where == path; };
  if (std::ranges::none_of(faults, told)) {
    fault(path, "does not say which device was measured", "--device NAME");
  }
  return "unknown";
}

double Source::number(const JsonView& value, double factor) const {
  if (value.kind() == JsonView::Kind::integer || value.kind() == JsonView::Kind::number) {
    return value.number() * factor;
  }
  fault(value.path(), "expected a number, found " + std::string(value.kind_name()));
  return 0;
}

std::vector<std::pair<std::string, JsonView>> Source::members(const JsonView& value) const {
  if (value.kind() == JsonView::Kind::object) return value.members();
  fault(value.path(), "expected an object, found " + std::string(value.kind_name()));
  return {};
}

}  // namespace profile_convert

namespace {

using profile_convert::Source;

void append(ImportedProfile own, ImportedProfile& profile) {
  if (profile.source.empty()) profile.source = own.source;
  if (!profile.model) profile.model = own.model;
  if (own.overlap_slowdown) profile.overlap_slowdown = own.overlap_slowdown;
  std::ranges::move(own.rows, std::back_inserter(profile.rows));
  std::ranges::move(own.transfers, std::back_inserter(profile.transfers));
  std::ranges::move(own.rates, std::back_inserter(profile.rates));
  std::ranges::move(own.notes, std::back_inserter(profile.notes));
}

bool is_own(const JsonView& root) {
  const std::optional<JsonView> schema =
      root.kind() == JsonView::Kind::object ? root.find("schema") : std::nullopt;
  return schema && schema->kind() == JsonView::Kind::string &&
         schema->string().starts_with("parallel-opt/profile/");
}

Fault unknown_format(const std::string& path) {
  return {path, "is in no profile format that is known", "one of " + join(profile_formats(), ", ")};
}

void convert_json(const ProfileText& file, const ProfileFacts& facts, ImportedProfile& profile,
                  std::vector<Fault>& faults) {
  const JsonDocument document(file.text, file.path);
  const Source source{document.root(), file.path, facts, profile, faults};
  if (is_own(source.root)) {
    append(read_profile(file.text, file.path), profile);
  } else if (profile_convert::is_calculon(source.root)) {
    profile_convert::convert_calculon(source);
  } else if (profile_convert::is_galvatron(source.root)) {
    profile_convert::convert_galvatron(source);
  } else if (profile_convert::is_sailor(source.root)) {
    profile_convert::convert_sailor(source);
  } else {
    faults.push_back(unknown_format(file.path));
  }
}

/// A table or prose is told apart from broken JSON.
bool may_be_json(std::string_view text) {
  text = trim(text);
  return text.empty() || text.front() == '{' || text.front() == '[';
}

void convert(const ProfileText& file, const ProfileFacts& facts, ImportedProfile& profile,
             std::vector<Fault>& faults) {
  try {
    if (profile_convert::is_perseus(file.text)) {
      profile_convert::convert_perseus(file.text, file.path, facts, profile, faults);
    } else if (!may_be_json(file.text)) {
      faults.push_back(unknown_format(file.path));
    } else {
      convert_json(file, facts, profile, faults);
    }
  } catch (const InputError& e) {
    faults.insert(faults.end(), e.faults().begin(), e.faults().end());
  }
}

}  // namespace

const std::vector<std::string>& profile_formats() {
  static const std::vector<std::string> kFormats = {
      "parallel-opt/profile/1", "Sailor's profiles, sizes and networks",
      "Galvatron's times, memory and bandwidths", "Calculon's systems", "Perseus' stage profiles"};
  return kFormats;
}

ImportedProfile import_profile(const std::vector<ProfileText>& files, const ProfileFacts& facts) {
  ImportedProfile profile;
  std::vector<Fault> faults;
  std::vector<std::string> names;
  if (facts.device &&
      find_device(load_database(), profile_convert::known_device(*facts.device)) == nullptr) {
    faults.push_back(unknown_device(load_database(), "--device", *facts.device));
  }
  std::set<std::string> texts;
  for (const ProfileText& file : files) {
    if (!texts.insert(file.text).second) {
      faults.push_back({file.path, "is given twice", "its rows would count twice"});
      continue;
    }
    convert(file, facts, profile, faults);
    names.push_back(std::filesystem::path(file.path).filename().string());
  }
  if (facts.model) profile.model = facts.model;
  if (profile.source.empty()) profile.source = join(names, ", ");
  profile.name = facts.name.value_or(
      files.empty() ? "profile" : std::filesystem::path(files[0].path).stem().string());
  throw_if_any(std::move(faults));
  throw_if_any(check(profile, (files.size() == 1 ? files[0].path : profile.name) + ":profile"));
  return profile;
}

}  // namespace parallel_opt
