#include <algorithm>
#include <array>

#include "parallel_opt/hardware/profile_convert_parts.h"

/// calculon-ai/calculon, systems/*.json: peak rates with a table of efficiencies by size, and tiers
/// of networks with an alpha-beta time for each collective.
namespace parallel_opt::profile_convert {
namespace {

using Kind = JsonView::Kind;

/// Just below a threshold of a table: the curve drops there as the table does.
constexpr double kJustBelow = 1 - 1e-9;

std::optional<DType> type_of(const std::string& name) {
  constexpr std::array<std::pair<std::string_view, DType>, 5> kTypes = {
      {{"float32", DType::fp32},
       {"float16", DType::fp16},
       {"bfloat16", DType::bf16},
       {"float8", DType::fp8_e4m3fn},
       {"float64", DType::fp64}}};
  for (const auto& [text, dtype] : kTypes) {
    if (text == name) return dtype;
  }
  return std::nullopt;
}

double field(const Source& source, const JsonView& object, const char* name, double factor) {
  const std::optional<JsonView> value =
      object.kind() == Kind::object ? object.find(name) : std::nullopt;
  if (value) return source.number(*value, factor);
  source.fault(object.path(), std::string("lacks ") + name);
  return 0;
}

/// [[size, efficiency], ...] by falling size; the first row whose size is reached counts.
std::vector<RatePoint> steps(const Source& source, const JsonView& object, const char* table,
                             double size_unit, double peak) {
  std::vector<std::pair<double, double>> rows;
  const std::optional<JsonView> list =
      object.kind() == Kind::object ? object.find(table) : std::nullopt;
  if (!list || list->kind() != Kind::array) {
    source.fault(object.path(), std::string("lacks the list ") + table);
    return {};
  }
  for (std::size_t i = 0; i < list->size(); ++i) {
    const JsonView row = list->at(i);
    if (row.kind() != Kind::array || row.size() != 2) {
      source.fault(row.path(), "is no pair of size and efficiency");
      continue;
    }
    rows.emplace_back(source.number(row.at(0), size_unit), source.number(row.at(1)));
  }
  std::ranges::sort(rows);
  std::vector<RatePoint> points;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const double rate = rows[i].second * peak;
    if (rows[i].first > 0) points.push_back({rows[i].first, rate});
    if (i + 1 < rows.size()) points.push_back({rows[i + 1].first * kJustBelow, rate});
  }
  if (points.empty() && !rows.empty()) points.push_back({1, rows[0].second * peak});
  return points;
}

void add_rate(const Source& source, const std::string& device, const char* kernel,
              std::optional<DType> dtype, std::vector<RatePoint> points) {
  source.profile.rates.push_back(
      {device, {kernel, dtype, 0, std::move(points), Quality::reported, "Calculon system"}});
}

void add_arithmetic(const Source& source, const std::string& device, const char* part,
                    const char* kernel) {
  const std::optional<JsonView> units = source.root.find(part);
  if (!units) return;
  for (const auto& [name, unit] : source.members(*units)) {
    const std::optional<DType> dtype = type_of(name);
    if (!dtype) {
      source.fault(unit.path(), "is of an unknown type: \"" + name + "\"");
      continue;
    }
    const double peak = field(source, unit, "tflops", 1e12);
    add_rate(source, device, kernel, dtype, steps(source, unit, "gflops_efficiency", 1e9, peak));
  }
}

void add_memory(const Source& source, const std::string& device, const char* part,
                const char* kernel) {
  const std::optional<JsonView> memory = source.root.find(part);
  if (!memory || memory->kind() != Kind::object) return;
  const std::optional<JsonView> size = memory->find("GiB");
  if (size && source.number(*size) == 0) return;  // no such memory
  const double peak = field(source, *memory, "GBps", 1e9);
  add_rate(source, device, kernel, std::nullopt,
           steps(source, *memory, "MB_efficiency", 1e6, peak));
}

/// time = latency + bytes * scalar * (1 + offset / n) / (bandwidth * efficiency)
void add_tier(const Source& source, const std::string& device, const JsonView& tier,
              std::size_t index) {
  const double rate = field(source, tier, "bandwidth", 1e9) * field(source, tier, "efficiency", 1);
  const double latency = field(source, tier, "latency", 1);
  const double size = std::clamp(field(source, tier, "size", 1), 0.0, 1e9);
  const std::optional<JsonView> ops = tier.kind() == Kind::object ? tier.find("ops") : std::nullopt;
  if (!ops || !(rate > 0)) {
    source.fault(tier.path(), ops ? "has no rate" : "lacks ops");
    return;
  }
  for (const auto& [name, terms] : source.members(*ops)) {
    if (terms.kind() != Kind::array || terms.size() != 2) {
      source.fault(terms.path(), "is no pair of scalar and offset");
      continue;
    }
    const double scalar = source.number(terms.at(0));
    const double offset = terms.at(1).kind() == Kind::null ? 0 : source.number(terms.at(1));
    ProfiledTransfer transfer;
    transfer.device = device;
    transfer.collective = name;
    transfer.scope = index == 0 ? TransferScope::node : TransferScope::cluster;
    const double ranks = name == "p2p" ? 2 : size;
    transfer.ranks = index == 0 ? static_cast<int>(ranks) : 1;
    for (const double bytes : {1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9}) {
      transfer.points.push_back({bytes, latency + bytes * scalar * (1 + offset / ranks) / rate});
    }
    source.profile.transfers.push_back(std::move(transfer));
  }
}

}  // namespace

bool is_calculon(const JsonView& root) {
  return root.kind() == Kind::object && root.find("matrix") && root.find("vector") &&
         root.find("mem1");
}

void convert_calculon(const Source& source) {
  const std::string device = source.device();
  add_arithmetic(source, device, "matrix", "matmul");
  add_arithmetic(source, device, "vector", "vector");
  add_memory(source, device, "mem1", "memory");
  add_memory(source, device, "mem2", "offload");
  const std::optional<JsonView> tiers = source.root.find("networks");
  if (!tiers || tiers->kind() != Kind::array) return;
  for (std::size_t i = 0; i < tiers->size(); ++i) add_tier(source, device, tiers->at(i), i);
}

}  // namespace parallel_opt::profile_convert
