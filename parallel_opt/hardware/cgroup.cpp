#include "parallel_opt/hardware/cgroup.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <sstream>

#include "parallel_opt/base/text.h"

namespace parallel_opt {
namespace {

/// Version 1 writes a number near 2^63, rounded to pages, where there is no limit.
constexpr std::int64_t kNoLimit = 1'152'921'504'606'846'976;  // 2^60

struct Mount {
  std::string root;   ///< the group that the mount shows at its top
  std::string point;  ///< where it is mounted
};

struct Mounts {
  std::optional<Mount> unified;              ///< version 2
  std::map<std::string, Mount> controllers;  ///< version 1, by controller
};

// "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory"
Mounts read_mounts(const FileSystem& files) {
  Mounts mounts;
  std::istringstream lines(files.read("/proc/self/mountinfo").value_or(""));
  for (std::string line; std::getline(lines, line);) {
    const std::size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    const std::vector<std::string> left = split(line.substr(0, dash), ' ');
    const std::vector<std::string> right = split(line.substr(dash + 3), ' ');
    if (left.size() < 5 || right.size() < 3) continue;
    const Mount mount{left[3], left[4]};
    if (right[0] == "cgroup2") mounts.unified = mount;
    if (right[0] != "cgroup") continue;
    for (const std::string& option : split(right[2], ',')) mounts.controllers[option] = mount;
  }
  return mounts;
}

std::string read_in(const FileSystem& files, const std::string& directory, const char* name) {
  return files.read(directory + "/" + name).value_or("");
}

/// Controller -> path of the own group; "" is version 2. "4:cpu,cpuacct:/user.slice"
std::map<std::string, std::string> read_own_groups(const FileSystem& files) {
  std::map<std::string, std::string> groups;
  std::istringstream lines(files.read("/proc/self/cgroup").value_or(""));
  for (std::string line; std::getline(lines, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string names = line.substr(first + 1, second - first - 1);
    for (const std::string& name : split(names, ',')) groups[name] = line.substr(second + 1);
  }
  return groups;
}

/// Directories from the own group up to the top of the mount. A group that lies outside of what the
/// mount shows (a container with its own mount) is seen at the top of the mount.
std::vector<std::string> directories(const Mount& mount, const std::string& group) {
  std::string below;
  if (mount.root == "/") {
    below = group;
  } else if (group == mount.root || group.starts_with(mount.root + "/")) {
    below = group.substr(mount.root.size());
  }
  if (below.find("..") != std::string::npos) below.clear();
  std::vector<std::string> found;
  while (!below.empty() && below != "/") {
    found.push_back(mount.point + below);
    below = below.substr(0, below.rfind('/'));
  }
  found.push_back(mount.point);
  return found;
}

template <class T>
void tighten(std::optional<T>& limit, T value) {
  limit = limit ? std::min(*limit, value) : value;
}

std::int64_t reclaimable(const FileSystem& files, const std::string& directory,
                         const std::string& key) {
  std::istringstream lines(read_in(files, directory, "memory.stat"));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(key + " ")) {
      return leading_integer(std::string_view(line).substr(key.size() + 1)).value_or(0);
    }
  }
  return 0;
}

struct MemoryFiles {
  std::vector<const char*> limits;
  const char* usage;
  const char* cache_key;
};

void read_memory(const FileSystem& files, const std::string& directory, const MemoryFiles& names,
                 CgroupLimits& limits) {
  for (const char* name : names.limits) {
    const auto limit = leading_integer(read_in(files, directory, name));
    if (!limit || *limit <= 0 || *limit >= kNoLimit) continue;
    if (limits.memory_bytes && *limits.memory_bytes <= *limit) continue;
    limits.memory_bytes = limit;
    limits.memory_in_use.reset();
    if (const auto used = leading_integer(read_in(files, directory, names.usage))) {
      limits.memory_in_use =
          std::max<std::int64_t>(0, *used - reclaimable(files, directory, names.cache_key));
    }
  }
}

void read_cpu_v1(const FileSystem& files, const std::string& directory, CgroupLimits& limits) {
  const auto quota = leading_integer(read_in(files, directory, "cpu.cfs_quota_us"));
  const auto period = leading_integer(read_in(files, directory, "cpu.cfs_period_us"));
  if (quota && period && *quota > 0 && *period > 0) {  // -1: no quota
    tighten(limits.cpu_quota, double(*quota) / double(*period));
  }
}

void read_cpu_v2(const FileSystem& files, const std::string& directory, CgroupLimits& limits) {
  const std::string text = read_in(files, directory, "cpu.max");  // "50000 100000"
  const std::size_t space = text.find(' ');
  if (space == std::string::npos) return;
  const auto quota = leading_integer(text);  // "max": none
  const auto period = leading_integer(std::string_view(text).substr(space + 1));
  if (quota && period && *quota > 0 && *period > 0) {
    tighten(limits.cpu_quota, double(*quota) / double(*period));
  }
}

void read_cpuset(const FileSystem& files, const std::vector<std::string>& own_and_parents,
                 const std::vector<const char*>& names, CgroupLimits& limits) {
  for (const std::string& directory : own_and_parents) {
    for (const char* name : names) {
      std::vector<int> cpus = parse_cpu_list(read_in(files, directory, name));
      if (cpus.empty()) continue;
      limits.cpus = std::move(cpus);  // the nearest group has the last word: it is a subset
      return;
    }
  }
}

}  // namespace

std::string text_in(const FileSystem& files, const std::string& path) {
  return std::string(trim(files.read(path).value_or("")));
}

std::optional<std::int64_t> leading_integer(std::string_view text) {
  text = trim(text);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return std::nullopt;
  return value;
}

std::vector<int> parse_cpu_list(std::string_view text) {
  constexpr std::int64_t kMostCpus = 1'000'000;  // a larger number is damage, not a machine
  text = trim(text);
  std::vector<int> cpus;
  if (text.empty()) return cpus;
  for (const std::string& part : split(text, ',')) {
    const std::size_t dash = part.find('-');
    const auto first = leading_integer(part.substr(0, dash));
    const auto last = dash == std::string::npos ? first : leading_integer(part.substr(dash + 1));
    if (!first || !last || *first < 0 || *last < *first || *last >= kMostCpus) return {};
    for (std::int64_t cpu = *first; cpu <= *last; ++cpu) cpus.push_back(static_cast<int>(cpu));
  }
  std::ranges::sort(cpus);
  cpus.erase(std::ranges::unique(cpus).begin(), cpus.end());
  return cpus;
}

CgroupLimits read_cgroup_limits(const FileSystem& files) {
  CgroupLimits limits;
  const Mounts mounts = read_mounts(files);
  const std::map<std::string, std::string> groups = read_own_groups(files);
  const auto own = [&](const std::string& controller) {
    const auto it = groups.find(controller);
    return it == groups.end() ? std::string("/") : it->second;
  };
  if (mounts.unified) {
    const std::vector<std::string> all = directories(*mounts.unified, own(""));
    for (const std::string& directory : all) {
      read_cpu_v2(files, directory, limits);
      read_memory(files, directory,
                  {{"memory.max", "memory.high"}, "memory.current", "inactive_file"}, limits);
    }
    read_cpuset(files, all, {"cpuset.cpus.effective"}, limits);
  }
  for (const auto& [controller, mount] : mounts.controllers) {
    const std::vector<std::string> all = directories(mount, own(controller));
    if (controller == "cpu") {
      for (const std::string& directory : all) read_cpu_v1(files, directory, limits);
    } else if (controller == "memory") {
      for (const std::string& directory : all) {
        read_memory(files, directory,
                    {{"memory.limit_in_bytes"}, "memory.usage_in_bytes", "total_inactive_file"},
                    limits);
      }
    } else if (controller == "cpuset") {
      read_cpuset(files, all, {"cpuset.effective_cpus", "cpuset.cpus"}, limits);
    }
  }
  return limits;
}

}  // namespace parallel_opt
