#pragma once

#include <set>
#include <string>
#include <vector>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/hardware/discover.h"

namespace parallel_opt {

struct BundledFile {
  std::string path;  ///< below the root: "proc/cpuinfo"
  std::string content;
  bool operator==(const BundledFile&) const = default;
};

/// What `hardware --root` needs of a host, for someone else to look at: the files that discovery
/// and the energy meter read here, and what the drivers said. Taken out: host name, machine id,
/// names of users and of control groups, serial numbers and uuids; of files that hold more than is
/// needed, all lines that are not needed. `names` are further words to take out (the user's name).
/// Discovery from the bundle finds the same cluster but for names and uuids. `tag`, drawn at
/// random, stands for the identity: bundles of several hosts can be told apart, and merged.
std::vector<BundledFile> make_bundle(const FileSystem& files, const DiscoverOptions& options,
                                     const std::set<std::string>& names,
                                     const std::string& tag = "");

/// The user's and host's names here, as make_bundle() wants them.
std::set<std::string> names_here(const FileSystem& files);

/// The files as a tar archive (POSIX ustar). Owner, group and times are zero.
std::string to_tar(const std::vector<BundledFile>& files);

}  // namespace parallel_opt
