#include "parallel_opt/hardware/probe_cache.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <ctime>

#include "parallel_opt/base/error.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/hardware/cgroup.h"

namespace parallel_opt {
namespace {

/// Days since 1970-01-01; empty when the text is no date.
std::optional<int> day_number(const std::string& date) {
  if (date.size() != 10 || date[4] != '-' || date[7] != '-') return std::nullopt;
  const auto year = leading_integer(date.substr(0, 4));
  const auto month = leading_integer(date.substr(5, 2));
  const auto day = leading_integer(date.substr(8, 2));
  if (!year || !month || !day || *month < 1 || *day < 1) return std::nullopt;
  const std::chrono::year_month_day ymd{std::chrono::year(static_cast<int>(*year)),
                                        std::chrono::month(static_cast<unsigned>(*month)),
                                        std::chrono::day(static_cast<unsigned>(*day))};
  if (!ymd.ok()) return std::nullopt;
  return static_cast<int>(std::chrono::sys_days(ymd).time_since_epoch().count());
}

/// Letters, digits, dots and signs that any file system takes.
std::string slug(const std::string& text) {
  std::string name;
  for (const char c : text) {
    name += std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '+' ? c : '-';
  }
  return name.empty() ? "host" : name;
}

std::string file_prefix(const std::string& uuid) { return slug(uuid) + "--"; }

/// Why an entry may not be used; empty when it may.
std::string refusal(const ProbeSet& set, const Device& device, const std::string& now) {
  if (set.uuid != device.uuid || set.device != device.name) {
    return "is of another device (" + set.device + ")";
  }
  const std::optional<int> taken = day_number(set.date);
  const std::optional<int> current = day_number(now);
  if (!taken || !current) return "has no date";
  if (*current - *taken > kProbeDays) {
    return "is of " + set.date + ", more than " + std::to_string(kProbeDays) + " days ago";
  }
  // A cluster with this device must be well formed, whoever wrote the entry.
  Cluster cluster;
  cluster.nodes.resize(1);
  cluster.nodes[0].memory_bytes = exact(1);
  cluster.devices = {device};
  if (merge_probes(cluster, set) != 1) return "does not fit the device";
  cluster.devices[0].node = 0;
  const std::vector<Fault> faults = check(cluster, "probes");
  return faults.empty() ? "" : "is damaged: " + to_string(faults.front());
}

void replace_curves(Device& device, const ProbeSet& set) {
  // All thread counts go: a measured and an assumed curve side by side would not compare.
  std::erase_if(device.rates.edit(), [&](const RateCurve& old) {
    return std::ranges::any_of(set.rates, [&](const RateCurve& curve) {
      return curve.kernel == old.kernel && curve.dtype == old.dtype;
    });
  });
  std::ranges::copy(set.rates, std::back_inserter(device.rates.edit()));
}

}  // namespace

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[16];
  std::strftime(text, sizeof text, "%Y-%m-%d", &utc);
  return text;
}

std::string probe_directory() { return cache_directory() + "/probes"; }

CachedProbes cached_probes(const FileSystem& files, const std::string& directory,
                           const Device& device, const std::string& software,
                           const std::string& now) {
  CachedProbes found;
  for (const std::string& name : files.list(directory)) {
    if (!name.starts_with(file_prefix(device.uuid)) || !name.ends_with(".json")) continue;
    const std::string path = join({directory, name}, "/");
    ProbeSet set;
    try {
      set = from_json<ProbeSet>(files.read(path).value_or(""), path);
    } catch (const InputError& error) {
      found.notes.push_back("probe cache: " + to_string(error.faults().front()) + ": not used");
      continue;
    }
    if (!software.empty() && set.software != software) continue;
    if (const std::string why = refusal(set, device, now); !why.empty()) {
      found.notes.push_back(join({"probe cache:", path, why + ": not used"}, " "));
      continue;
    }
    if (!found.probes || set.date >= found.probes->date) found.probes = std::move(set);
  }
  return found;
}

std::string store_probes(const std::string& directory, const ProbeSet& set) {
  const std::string path = directory + "/" + file_prefix(set.uuid) + slug(set.software) + ".json";
  write_file(path, to_json(set));
  return path;
}

int merge_probes(Cluster& cluster, const ProbeSet& set) {
  int node = -1;
  for (const Device& device : cluster.devices) {
    if (device.uuid == set.uuid) node = device.node;
  }
  if (node < 0) return 0;
  int merged = 0;
  for (std::size_t i = 0; i < cluster.devices.size(); ++i) {
    Device& device = cluster.devices[i];
    if (device.uuid != set.uuid && (device.name != set.device || device.node != node)) continue;
    ++merged;
    replace_curves(device, set);
    if (set.launch_autograd_s) {
      device.launch_s = *set.launch_autograd_s * 0.5;
    } else if (set.launch_s) {
      device.launch_s = set.launch_s;
    }
    for (const Link& link : set.links) {
      Link own = link;
      own.a = own.b = DeviceId(i);
      std::erase_if(cluster.links, [&](const Link& old) {
        return old.a == own.a && old.b == own.b && old.type == own.type;
      });
      cluster.links.push_back(std::move(own));
    }
  }
  return merged;
}

}  // namespace parallel_opt
