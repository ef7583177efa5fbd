#pragma once

#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/hardware/probe.h"

namespace parallel_opt {

/// Kernels, drivers and neighbours change: after this many days a probe is not used any more.
inline constexpr int kProbeDays = 90;

/// What the cache knows about one device.
struct CachedProbes {
  std::optional<ProbeSet> probes;
  std::vector<std::string> notes;  ///< why an entry was not used
};

/// The day in UTC, "2026-11-21".
std::string today();

/// `<cache directory>/probes`, where entries are kept as <uuid>--<software>.json.
std::string probe_directory();

/// The newest usable entry of `directory` for a device. `software` empty: of any framework version,
/// else of exactly this one. Entries that are unreadable, of another device or older than
/// kProbeDays on the day `now` are passed over with a note.
CachedProbes cached_probes(const FileSystem& files, const std::string& directory,
                           const Device& device, const std::string& software,
                           const std::string& now);

/// Writes an entry; returns its path. Throws SystemError when the directory may not be written.
std::string store_probes(const std::string& directory, const ProbeSet& set);

/// Puts measured curves, launch overhead and links into every device of that uuid, and of that name
/// on the same node (equal core groups). A measured curve replaces those of its kernel and dtype.
/// Returns the number of devices that changed.
int merge_probes(Cluster& cluster, const ProbeSet& set);

}  // namespace parallel_opt
