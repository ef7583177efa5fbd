#include "parallel_opt/cost/cloud_machine.h"

#include <array>
#include <regex>
#include <vector>

namespace parallel_opt {
namespace {

struct Known {
  const char* pattern;
  const char* device;
  const char* adapters;
};

/// The clouds' own pages: AWS, Amazon EC2 instance types; Google, GPU machine types and network
/// bandwidth; Azure, NC and ND series; Oracle, BM.GPU4.8.
constexpr auto kMachines =
    std::to_array<Known>({{"p4d(\\.24xlarge)?", "A100-SXM-40GB", "4x100 Gb/s"},
                          {"p4de(\\.24xlarge)?", "A100-SXM-80GB", "4x100 Gb/s"},
                          {"p3dn(\\.24xlarge)?", "V100-SXM-32GB", "1x100 Gb/s"},
                          {"p3\\.16xlarge", "V100-SXM-16GB", "25 Gb/s per node"},
                          {"p3\\.(2|8)xlarge|(aws|ec2) p3", "V100-SXM-16GB", ""},
                          {"p5\\.48xlarge", "H100-SXM-80GB", "8x400 Gb/s"},
                          {"p5en?\\.48xlarge", "H200-SXM-141GB", "8x400 Gb/s"},
                          {"p5", "H100-SXM-80GB", ""},
                          {"p5en?", "H200-SXM-141GB", ""},
                          {"g5\\.48xlarge", "A10G", "100 Gb/s per node"},
                          {"a2-?(high|mega)gpu(-[0-9]+g)?", "A100-SXM-40GB", "100 Gb/s per node"},
                          {"a2-?ultragpu(-[0-9]+g)?", "A100-SXM-80GB", "100 Gb/s per node"},
                          {"a3-?highgpu(-[0-9]+g)?", "H100-SXM-80GB", "4x200 Gb/s"},
                          {"a3-?megagpu(-[0-9]+g)?", "H100-SXM-80GB", "8x200 Gb/s"},
                          {"a3-?ultragpu(-[0-9]+g)?", "H200-SXM-141GB", ""},
                          {"bm\\.gpu4\\.8", "A100-SXM-40GB", "8x200 Gb/s"},
                          {"nd96asr(_a100)?_v4|nd ?a100[ _]v4", "A100-SXM-40GB", "8x200 Gb/s"},
                          {"nd96amsr(_a100)?_v4|ndm ?a100[ _]v4", "A100-SXM-80GB", "8x200 Gb/s"},
                          {"nc(24|48|96)ads_a100_v4", "A100-PCIe-80GB", ""},
                          {"nd96isr(_h100)?_v5", "H100-SXM-80GB", "8x400 Gb/s"},
                          {"nd96isr_h200_v5", "H200-SXM-141GB", "8x400 Gb/s"},
                          {"nd40rs_v2", "V100-SXM-32GB", ""}});

}  // namespace

std::optional<CloudMachine> cloud_machine_in(const std::string& text) {
  static const std::vector<std::regex> patterns = [] {
    std::vector<std::regex> made;
    for (const Known& one : kMachines) {
      made.emplace_back(std::string("(?:^|[^a-z0-9])(") + one.pattern + ")(?![a-z0-9])",
                        std::regex::icase);
    }
    return made;
  }();
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    std::smatch match;
    if (!std::regex_search(text, match, patterns[i])) continue;
    return CloudMachine{match.str(1), kMachines.at(i).device, kMachines.at(i).adapters};
  }
  return std::nullopt;
}

std::string without_machine(const std::string& text) {
  const auto found = cloud_machine_in(text);
  if (!found) return text;
  std::string rest = text;
  return rest.erase(rest.find(found->name), found->name.size());
}

}  // namespace parallel_opt
