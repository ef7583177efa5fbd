#include "parallel_opt/hardware/bundle.h"

#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <map>
#include <sstream>

#include "parallel_opt/base/error.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/hardware/energy_sources.h"

namespace parallel_opt {
namespace {

constexpr std::size_t kShortestName = 3;  // shorter words would hit parts of ordinary text

/// Writes down what is read through it.
class Recorder : public FileSystem {
 public:
  explicit Recorder(const FileSystem& files) : files_(files) {}
  std::optional<std::string> read(const std::string& path) const override {
    if (path == kDriverRecordPath) return drivers;
    std::optional<std::string> content = files_.read(path);
    if (content) seen[path] = *content;
    return content;
  }
  std::vector<std::string> list(const std::string& path) const override {
    std::vector<std::string> names = files_.list(path);
    // What is told by names alone: the interfaces of an adapter.
    if (path.ends_with("/device/net")) {
      for (const std::string& name : names) seen.emplace(path + "/" + name + "/present", "");
    }
    return names;
  }
  bool exists(const std::string& path) const override {
    const bool there = files_.exists(path);
    if (there && path.ends_with("/device")) seen.emplace(path + "/present", "");
    return there;
  }
  std::optional<std::string> drivers;
  mutable std::map<std::string, std::string> seen;

 private:
  const FileSystem& files_;
};

/// Lines whose key, up to `separator`, is one of `keys`; empty lines stay: they part blocks.
std::string keep_lines(const std::string& text, char separator,
                       std::initializer_list<std::string_view> keys) {
  std::string kept;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::string_view key = trim(std::string_view(line).substr(0, line.find(separator)));
    if (key.empty() || std::ranges::find(keys, key) != keys.end()) kept += line + "\n";
  }
  return kept;
}

/// Names of control groups may be those of users, jobs and customers: each part becomes g1, g2, ...
class GroupNames {
 public:
  std::string hide(const std::string& path) {
    std::string hidden;
    for (const std::string& part : split(path, '/')) {
      if (part.empty()) continue;
      if (part == "..") {
        hidden += "/..";
        continue;
      }
      const auto [name, is_new] = names_.try_emplace(part, "");
      if (is_new) name->second = "g" + std::to_string(names_.size());
      hidden += "/" + name->second;
    }
    return hidden.empty() ? "/" : hidden;
  }

  /// "0::/user.slice/user-1000.slice" line by line
  std::string hide_own_groups(const std::string& text) {
    std::string hidden;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      const std::size_t second = line.find(':', line.find(':') + 1);
      if (second == std::string::npos) continue;
      hidden += line.substr(0, second + 1) + hide(line.substr(second + 1)) + "\n";
    }
    return hidden;
  }

  /// Keeps the mounts of control groups: "id parent device root point options - type ..." Unusual
  /// places may lie in somebody's directory.
  std::string hide_mounts(const std::string& text) {
    std::string hidden;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      if (line.find(" - cgroup") == std::string::npos) continue;
      std::vector<std::string> words = split(line, ' ');
      if (words.size() < 6) continue;
      words[3] = hide(words[3]);
      std::string& point = points_[words[4]];
      const bool usual = words[4].starts_with("/sys/fs/cgroup");
      point = usual ? words[4] : "/sys/fs/cgroup/mount" + std::to_string(points_.size());
      words[4] = point;
      hidden += join(words, " ") + "\n";
    }
    return hidden;
  }

  /// The path of a file below a mount of control groups.
  std::string hide_path(const std::string& path) {
    std::string best, hidden;
    for (const auto& [point, instead] : points_) {
      if (!path.starts_with(point + "/") || point.size() <= best.size()) continue;
      best = point;
      hidden = instead;
    }
    if (best.empty()) return path;
    const std::size_t name = path.rfind('/');
    if (name <= best.size()) return hidden + path.substr(best.size());
    return hidden + hide(path.substr(best.size(), name - best.size())) + path.substr(name);
  }

 private:
  std::map<std::string, std::string> names_;
  std::map<std::string, std::string> points_;  ///< where it is mounted -> what is written instead
};

/// Interfaces may be called by their MAC address or by what they lead to: each becomes net1, ...
class InterfaceNames {
 public:
  /// "/sys/class/net/enx0242ac110002/speed", ".../mlx5_0/device/net/ens1/present"
  std::string hide_path(const std::string& path) {
    for (const std::string_view before : {"/sys/class/net/", "/device/net/"}) {
      const std::size_t at = path.find(before);
      if (at == std::string::npos) continue;
      const std::size_t begin = at + before.size();
      const std::size_t end = std::min(path.find('/', begin), path.size());
      const auto [name, is_new] = names_.try_emplace(path.substr(begin, end - begin), "");
      if (is_new) name->second = "net" + std::to_string(names_.size());
      return path.substr(0, begin) + name->second + path.substr(end);
    }
    return path;
  }

 private:
  std::map<std::string, std::string> names_;
};

/// Whether no letter or digit touches the word at `at`: "ann" is not in "channel".
bool stands_alone(const std::string& text, std::size_t at, std::size_t length) {
  const auto word = [&](std::size_t i) {
    return i < text.size() && std::isalnum(static_cast<unsigned char>(text[i])) != 0;
  };
  return (at == 0 || !word(at - 1)) && !word(at + length);
}

std::string without(std::string text, const std::set<std::string>& names) {
  constexpr std::string_view kInstead = "name";
  for (const std::string& name : names) {
    if (name.size() < kShortestName) continue;
    std::size_t at = text.find(name);
    while (at != std::string::npos) {
      const bool whole = stands_alone(text, at, name.size());
      if (whole) text.replace(at, name.size(), kInstead);
      at = text.find(name, at + (whole ? kInstead.size() : name.size()));
    }
  }
  return text;
}

/// Files of words rather than numbers. In all others a host called "node0" or a user called "cpu"
/// would take away what the kernel calls so.
bool holds_words(const std::string& path) {
  return path.starts_with("/sys/class/dmi/") || path.ends_with("/product_name");
}

/// Uuids and serial numbers become counts behind the tag.
void hide_identities(DriverRecords& records, const std::set<std::string>& names,
                     const std::string& tag) {
  const std::string host = tag.empty() ? "" : tag + "-";
  for (DriverRecord& driver : records.drivers) {
    for (std::string& note : driver.notes) note = without(note, names);
    for (GpuRecord& gpu : driver.devices) {
      gpu.uuid = "GPU-" + host + std::to_string(gpu.index);
      for (std::size_t i = 0; i < gpu.slices.size(); ++i) {
        gpu.slices[i].uuid = "MIG-" + host + std::to_string(gpu.index) + "-" + std::to_string(i);
      }
    }
  }
}

/// What is kept of a file; empty: nothing.
std::optional<std::string> needed(const std::string& path, const std::string& content,
                                  GroupNames& groups) {
  if (path == "/etc/machine-id" || path == "/proc/self/stat" || path.ends_with("/unique_id")) {
    return std::nullopt;
  }
  if (path == "/proc/cpuinfo") {
    return keep_lines(content, ':',
                      {"processor", "vendor_id", "cpu family", "model", "model name", "physical id",
                       "core id", "siblings", "cpu cores", "flags", "Features", "bogomips",
                       "CPU implementer", "CPU architecture", "CPU variant", "CPU part"});
  }
  if (path == "/proc/meminfo") return keep_lines(content, ':', {"MemTotal", "MemAvailable"});
  if (path == "/proc/self/status") {
    return keep_lines(content, ':', {"Cpus_allowed_list", "Mems_allowed_list"});
  }
  if (path.ends_with("/uevent")) return keep_lines(content, '=', {"DRIVER", "PCI_SLOT_NAME"});
  if (path == "/proc/self/cgroup") return groups.hide_own_groups(content);
  if (path == "/proc/self/mountinfo") return groups.hide_mounts(content);
  return content;
}

void put(std::string& block, std::size_t at, std::string_view text) {
  std::ranges::copy(text, block.begin() + static_cast<std::ptrdiff_t>(at));
}

/// One header block. Long paths are cut at a slash into prefix and name.
std::string tar_header(const BundledFile& file) {
  constexpr std::size_t kBlock = 512, kName = 100, kPrefix = 155;
  std::string name = file.path;
  std::string prefix;
  if (name.size() > kName) {
    const std::size_t cut = name.find('/', name.size() - kName - 1);
    if (cut == std::string::npos || cut > kPrefix) {
      throw InputError(file.path, "is too long a path for a tar archive", "");
    }
    prefix = name.substr(0, cut);
    name = name.substr(cut + 1);
  }
  std::string block(kBlock, '\0');
  put(block, 0, name);
  put(block, 100, "0000644");
  put(block, 108, "0000000");
  put(block, 116, "0000000");
  put(block, 124, fmt::format("{:011o}", file.content.size()));
  put(block, 136, "00000000000");
  put(block, 148, "        ");
  put(block, 156, "0");
  put(block, 257,
      std::string_view("ustar\0"
                       "00",
                       8));
  put(block, 345, prefix);
  unsigned sum = 0;
  for (const char c : block) sum += static_cast<unsigned char>(c);
  put(block, 148, fmt::format("{:06o}", sum));
  block[154] = '\0';
  return block;
}

}  // namespace

std::vector<BundledFile> make_bundle(const FileSystem& files, const DiscoverOptions& options,
                                     const std::set<std::string>& names, const std::string& tag) {
  std::vector<std::string> notes;
  DriverRecords drivers = read_drivers(files, options, notes);
  hide_identities(drivers, names, tag);
  Recorder recorder(files);
  recorder.drivers = to_json(drivers);
  const Cluster cluster = discover(recorder);
  EnergyOptions quiet;
  quiet.nvml_library.clear();
  quiet.amd_libraries.clear();
  quiet.open_perf = [](const PerfEventSpec&) { return nullptr; };
  (void)make_energy_sources(recorder, cluster, quiet, notes);
  GroupNames groups;
  InterfaceNames interfaces;
  // The mounts first: paths below them are told apart by them.
  std::map<std::string, std::string> kept;
  for (const char* path : {"/proc/self/mountinfo", "/proc/self/cgroup"}) {
    const auto found = recorder.seen.find(path);
    if (found != recorder.seen.end()) kept[path] = needed(path, found->second, groups).value_or("");
  }
  for (const auto& [path, content] : recorder.seen) {
    if (kept.contains(path)) continue;
    const auto part = needed(path, content, groups);
    if (!part) continue;
    kept[interfaces.hide_path(groups.hide_path(path))] =
        holds_words(path) ? without(*part, names) : *part;
  }
  kept["/proc/sys/kernel/hostname"] = "host" + (tag.empty() ? "" : "-" + tag) + "\n";
  kept[kDriverRecordPath] = *recorder.drivers;
  std::vector<BundledFile> bundle;
  for (const auto& [path, content] : kept) bundle.push_back({path.substr(1), content});
  return bundle;
}

std::set<std::string> names_here(const FileSystem& files) {
  std::set<std::string> names;
  if (const passwd* user = ::getpwuid(::getuid()); user != nullptr && user->pw_name != nullptr) {
    if (std::string_view(user->pw_name) != "root") names.insert(user->pw_name);
  }
  // Who became root by sudo is still somebody.
  if (const char* behind = std::getenv("SUDO_USER"); behind != nullptr && *behind != 0) {
    names.insert(behind);
  }
  const std::string host(trim(files.read("/proc/sys/kernel/hostname").value_or("")));
  if (!host.empty() && host != "localhost") names.insert(host);
  if (const std::size_t dot = host.find('.'); dot != std::string::npos) {
    names.insert(host.substr(0, dot));
  }
  return names;
}

std::string to_tar(const std::vector<BundledFile>& files) {
  constexpr std::size_t kBlock = 512;
  std::string archive;
  for (const BundledFile& file : files) {
    archive += tar_header(file);
    archive += file.content;
    archive.append((kBlock - file.content.size() % kBlock) % kBlock, '\0');
  }
  return archive.append(2 * kBlock, '\0');
}

}  // namespace parallel_opt
