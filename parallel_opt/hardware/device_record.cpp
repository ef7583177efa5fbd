#include "parallel_opt/hardware/device_record.h"

#include <algorithm>
#include <array>
#include <utility>

#include "parallel_opt/base/text.h"

namespace parallel_opt {
namespace {

constexpr std::array<std::string_view, 8> kElementTypes = {"fp64", "fp32", "tf32", "fp16",
                                                           "bf16", "fp8",  "int8", "fp4"};

class RecordChecker {
 public:
  RecordChecker(const DeviceRecord& record, std::string where)
      : record_(record), where_(std::move(where)) {}

  std::vector<Fault> run() {
    if (record_.name.empty()) fault("name", "is empty");
    const std::vector<std::string> known(kElementTypes.begin(), kElementTypes.end());
    for (const auto& [name, fact] : record_.flops_per_s) {
      if (std::ranges::find(known, name) == known.end()) {
        fault("flops_per_s." + name, "is no element type", "known: " + join(known, ", "));
      }
      positive(fact, "flops_per_s." + name);
    }
    positive(record_.memory_bytes_per_s, "memory_bytes_per_s");
    optional(record_.memory_bytes, "memory_bytes");
    optional(record_.cache_bytes, "cache_bytes");
    optional(record_.units, "units");
    optional(record_.clock_hz, "clock_hz");
    optional(record_.max_w, "max_w");
    optional(record_.idle_w, "idle_w");
    optional(record_.usd_per_hour, "usd_per_hour");
    for (std::size_t i = 0; i < record_.links.size(); ++i) {
      links(record_.links[i], "links[" + std::to_string(i) + "].");
    }
    kinds();
    optional(record_.dies, "dies");
    if (record_.host) source(record_.host->source, "host");
    return std::move(faults_);
  }

 private:
  void fault(const std::string& path, std::string what, std::string hint = "") {
    faults_.push_back({where_ + ":" + path, std::move(what), std::move(hint)});
  }

  void source(const std::string& key, const std::string& path) {
    if (record_.sources.contains(key)) return;
    fault(path + ".source", "names no source: \"" + key + "\"", "add it to sources");
  }

  void positive(const Published& fact, const std::string& path) {
    if (!(fact.value > 0)) fault(path + ".value", "is not positive");
    source(fact.source, path);
  }

  void optional(const std::optional<Published>& fact, const std::string& path) {
    if (fact) positive(*fact, path);
  }

  void links(const DeviceLink& link, const std::string& path) {
    positive(link.bytes_per_s, path + "bytes_per_s");
    optional(link.pair_bytes_per_s, path + "pair_bytes_per_s");
    optional(link.reached, path + "reached");
    if (link.reached && link.reached->value > 1) fault(path + "reached.value", "is above 1");
    if ((link.shape != LinkShape::switched) != link.pair_bytes_per_s.has_value()) {
      fault(path + "pair_bytes_per_s", "belongs to links of shape mesh or torus, and to each");
    } else if (link.pair_bytes_per_s && link.pair_bytes_per_s->value > link.bytes_per_s.value) {
      fault(path + "pair_bytes_per_s", "is more than all links together");
    }
  }

  void kinds() {
    if ((record_.kind == DeviceCategory::cpu) != record_.cpu.has_value()) {
      fault("cpu", "belongs to records of kind cpu, and to each of them");
    }
    if (!record_.cpu) {
      if (!record_.memory_bytes) fault("memory_bytes", "is missing", "every accelerator has it");
      return;
    }
    source(record_.cpu->source, "cpu");
    if (record_.cpu->cores < 1) fault("cpu.cores", "is less than 1");
    if (record_.cpu->models.size() % 2 != 0) {
      fault("cpu.models", "is no list of ranges", "write first, last, first, last, ...");
    }
  }

  const DeviceRecord& record_;
  std::string where_;
  std::vector<Fault> faults_;
};

}  // namespace

int dies_of(const DeviceRecord& record) {
  return record.dies ? std::max(1, static_cast<int>(record.dies->value)) : 1;
}

std::string board_of(const std::string& name) {
  if (!name.ends_with("GB")) return name;
  const std::size_t dash = name.rfind('-');
  if (dash == std::string::npos || dash + 3 >= name.size()) return name;
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  const bool counts = std::all_of(name.begin() + std::ptrdiff_t(dash) + 1, name.end() - 2, digit);
  return counts ? name.substr(0, dash) : name;
}

std::vector<Fault> check(const DeviceRecord& record, const std::string& where) {
  return RecordChecker(record, where).run();
}

}  // namespace parallel_opt
