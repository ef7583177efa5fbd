#include "parallel_opt/hardware/database.h"

#include <algorithm>
#include <cmath>

#include "parallel_opt/base/embedded.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/hardware/efficiency.h"

namespace parallel_opt {
namespace {

/// How a kernel family falls short of a peak: `share` of it for large calls, and `fill_s` seconds
/// of that speed until half of it is reached (launch, tiling, ramp-up).
struct Efficiency {
  std::string_view kernel;
  double share;
  double fill_s;
  bool arithmetic;  ///< scales with FLOP/s; else with memory bytes/s
};

// Named guesses, replaced by a probe as soon as there is one. Large matrix multiplies reach
// 0.6-0.87 of the dense peak on published GPUs (A100 SXM 271 of 312 TFLOP/s is the best shape, not
// a usual one); convolution reaches less, attention two thirds forward and half backward (an H200
// was probed at 67 and 54 %); streaming reaches most of the memory's peak.
constexpr Efficiency kGpuEfficiency[] = {
    {"matmul", 0.7, 10e-6, true},      {"convolution", 0.5, 15e-6, true},
    {"attention", 0.6, 15e-6, true},   {"memory", 0.85, 4e-6, false},
    {"elementwise", 0.8, 4e-6, false}, {"reduce", 0.75, 5e-6, false}};
constexpr Efficiency kCpuEfficiency[] = {
    {"matmul", 0.7, 5e-6, true},       {"convolution", 0.45, 20e-6, true},
    {"attention", 0.35, 10e-6, true},  {"memory", 0.75, 1e-6, false},
    {"elementwise", 0.6, 3e-6, false}, {"reduce", 0.6, 3e-6, false}};

/// Of a kernel that moves memory: until half of its rate is reached, as in the tables above.
constexpr double kFillSeconds = 4e-6;
/// One operator in eager PyTorch with nothing to compute, order of magnitude.
constexpr double kLaunchSeconds = 4e-6;
/// No vendor publishes idle power. Servers idle at a quarter to a third of their design power; an
/// H200 of 700 W was measured at 77 W without and 117 W with a program on it.
constexpr double kCpuIdleShare = 0.3, kGpuIdleShare = 0.15;
constexpr double kAssumedSpread = 0.5;
/// Design power of a core of a processor that is not known: the median of those that are, which
/// have 2 to 16 W. Hypervisors hide what a processor is called.
constexpr double kCoreWatts = 6.25, kCoreWattsSpread = 0.6;
constexpr double kDatabaseSpread = 0.3;
/// List prices differ among regions and terms.
constexpr double kPriceSpread = 0.4;
/// Hosts are bought with 4 to 16 GB for each core.
constexpr double kHostBytesPerCore = 8e9;
/// A core cannot fill the memory bus alone.
constexpr double kMostBytesPerSecondOfOneCore = 15e9;

struct Peaks {
  std::map<std::string, double> flops_per_s;
  double bytes_per_s = 0;
};

/// The element type whose tensors are computed at that peak. tf32 is a way to compute fp32, which a
/// program must ask for, and fp4 has no tensor of its own in PyTorch: neither gives a curve.
std::optional<DType> storage_of(std::string_view name) {
  if (name == "fp8") return DType::fp8_e4m3fn;
  if (name == "int8") return DType::i8;
  return enum_from<DType>(name);
}

Peaks peaks_of(const DeviceRecord& record) {
  Peaks peaks;
  for (const auto& [name, fact] : record.flops_per_s) peaks.flops_per_s[name] = fact.value;
  peaks.bytes_per_s = record.memory_bytes_per_s.value;
  return peaks;
}

std::vector<RateCurve> curves(const Peaks& peaks, std::span<const Efficiency> table, int threads,
                              Quality quality, const std::string& source) {
  std::vector<RateCurve> rates;
  const auto add = [&](const Efficiency& e, std::optional<DType> dtype, double peak) {
    RateCurve curve{std::string(e.kernel), dtype, threads, {}, quality, source};
    const double half = e.share * peak * e.fill_s;
    for (const double step : {0.1, 1.0, 10.0, 100.0, 1000.0}) {
      const double size = half * step;
      curve.points.push_back({size, e.share * peak * size / (size + half)});
    }
    rates.push_back(std::move(curve));
  };
  for (const Efficiency& e : table) {
    if (!e.arithmetic) {
      add(e, std::nullopt, peaks.bytes_per_s);
      continue;
    }
    for (const auto& [name, peak] : peaks.flops_per_s) {
      if (const auto dtype = storage_of(name)) add(e, dtype, peak);
    }
  }
  return rates;
}

/// Products of a device that was measured: its fitted curve at square sizes, in place of the usual
/// share of its peak.
void use_fitted_products(const DeviceRecord& record, std::vector<RateCurve>& rates) {
  for (RateCurve& curve : rates) {
    if (curve.kernel != "matmul" || !curve.dtype) continue;
    const auto fitted = matmul_curve(record, "matmul", name_of(*curve.dtype));
    if (!fitted || fitted->rows == 0) continue;
    curve.points.clear();
    for (const double n : {256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0}) {
      const double flops = 2 * n * n * n;
      curve.points.push_back({flops, flops / gemm_time(*fitted, 1, n, n, n).value});
    }
    curve.quality = Quality::calibrated;
    curve.source = "fitted: data/efficiency/matmul.json";
  }
}

/// Batch x heads, sequence, width of a head: what a probe times.
struct AttentionSize {
  double batch_heads, sequence, width;
};
constexpr AttentionSize kAttentionSizes[] = {
    {32, 256, 64}, {128, 1024, 64}, {128, 2048, 128}, {256, 4096, 128}};

/// Fused attention: the fitted curve of the device, or that of the one that was measured with the
/// asking device's peak, which came within 8 % of the sister of that one. Forward and backward are
/// curves of their own.
void use_fitted_attention(const DeviceRecord& record, std::vector<RateCurve>& rates) {
  std::vector<RateCurve> backward;
  for (RateCurve& curve : rates) {
    if (curve.kernel != "attention" || !curve.dtype) continue;
    const std::string_view dtype = name_of(*curve.dtype);
    for (const Direction direction : {Direction::forward, Direction::backward}) {
      const auto fitted = matmul_curve(record, "attention", dtype, direction);
      if (!fitted) continue;
      const bool forward = direction == Direction::forward;
      RateCurve found = curve;
      found.points.clear();
      const double products = forward ? 2 : 5;
      for (const auto& [batch_heads, sequence, width] : kAttentionSizes) {
        const double flops = 2 * products * batch_heads * sequence * sequence * width;
        const double seconds =
            attention_time(*fitted, products, batch_heads, sequence, sequence, width).value;
        found.points.push_back({flops, flops / seconds});
      }
      found.quality = fitted->rows > 0 ? Quality::calibrated : Quality::database;
      found.source = (fitted->rows > 0 ? "fitted: " : "another device's: ") +
                     std::string("data/efficiency/matmul.json");
      if (forward) {
        curve = std::move(found);
      } else {
        found.kernel = "attention_backward";
        backward.push_back(std::move(found));
      }
    }
  }
  std::ranges::move(backward, std::back_inserter(rates));
}

/// A kernel family that moves memory: the class of the profiles that stands for it, and how often
/// the cost model counts the operand's bytes where the fitted curve counts passes over it.
struct FittedOperator {
  std::string_view kernel;
  std::string_view profiled;
  Direction direction;
  double counted;
};

constexpr FittedOperator kFittedOperators[] = {
    {"elementwise", "elementwise", Direction::forward, 2},
    {"reduce", "norm", Direction::forward, 2},
    {"activation", "elementwise", Direction::forward, 2},
    {"activation_backward", "elementwise", Direction::backward, 3},
    {"optimizer", "optimizer", Direction::forward, 20},  // AdamW: passes as the cost model counts
    {"optimizer_fused", "optimizer_fused", Direction::forward, 7}};

/// Norms, elementwise operators and optimizer steps: the fitted curve of the device, or the median
/// one with its bandwidth, which is within 6 % on devices that the fit did not see. Launches are
/// told apart.
void use_fitted_operators(const DeviceRecord& record, std::vector<RateCurve>& rates) {
  for (const FittedOperator& family : kFittedOperators) {
    auto fitted = operator_curve(record, family.profiled, "fp16", family.direction);
    if (!fitted) fitted = operator_curve(record, family.profiled, "fp32", family.direction);
    if (!fitted || !(fitted->passes > 0)) continue;
    const auto guessed = std::ranges::find(rates, family.kernel, &RateCurve::kernel);
    const auto model = std::ranges::find(rates, "elementwise", &RateCurve::kernel);
    if (model == rates.end()) continue;
    RateCurve curve = guessed == rates.end() ? *model : *guessed;
    curve.kernel = family.kernel;
    const double reached = family.counted / fitted->passes * fitted->bytes_per_s;
    for (RatePoint& point : curve.points) {
      point.per_second = reached * point.size / (point.size + reached * kFillSeconds);
    }
    const bool own = fitted->quality == Quality::calibrated;
    curve.quality = own ? Quality::calibrated : Quality::database;
    curve.source = own ? "fitted: data/efficiency/operator.json"
                       : "of measured devices: data/efficiency/operator.json";
    if (guessed == rates.end()) {
      rates.push_back(std::move(curve));
    } else {
      *guessed = std::move(curve);
    }
  }
}

/// "RTX 4090", "rtx_4090" and "RTX-4090" are one name.
std::string folded(const std::string& name) {
  std::string letters = lower_case(name);
  std::erase_if(letters, [](char c) { return c == '-' || c == '_' || c == ' '; });
  return letters;
}

bool has(const std::vector<std::string>& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

/// FLOPs of one core per cycle from instruction sets alone: two vector units, fused multiply-add.
double fp32_per_cycle(const std::vector<std::string>& sets) {
  if (has(sets, "avx512f")) return 32;  // half of what the widest cores do
  if (has(sets, "avx2") && has(sets, "fma")) return 32;
  if (has(sets, "avx")) return 16;
  if (has(sets, "asimd")) return 16;
  return 8;
}

double bf16_per_cycle(const std::vector<std::string>& sets, double fp32) {
  if (has(sets, "amx_bf16")) return 1024;
  if (has(sets, "avx512_bf16") || has(sets, "bf16")) return 2 * fp32;
  return fp32 / 4;  // converted to fp32 and back
}

}  // namespace

DeviceRecord read_device(std::string_view text, const std::string& name) {
  DeviceRecord record = from_json<DeviceRecord>(text, name);
  throw_if_any(check(record, name));
  return record;
}

const DeviceDatabase& load_database() {
  static const DeviceDatabase database = [] {
    DeviceDatabase all;
    for (const EmbeddedFile& file : embedded_files()) {
      if (!file.name.starts_with("data/devices/")) continue;
      all.devices.push_back(from_json<DeviceRecord>(file.bytes, std::string(file.name)));
    }
    return all;
  }();
  return database;
}

const DeviceRecord* find_device(const DeviceDatabase& database, const std::string& name) {
  const std::string wanted = folded(name);
  if (wanted.empty()) return nullptr;
  const auto answers = [&](const DeviceRecord& record) {
    return folded(record.name) == wanted ||
           std::ranges::any_of(record.aliases,
                               [&](const std::string& alias) { return folded(alias) == wanted; });
  };
  const auto found = std::ranges::find_if(database.devices, answers);
  return found == database.devices.end() ? nullptr : &*found;
}

const DeviceRecord* find_gpu_by_driver_name(const DeviceDatabase& database,
                                            const std::string& name) {
  const auto found = std::ranges::find_if(
      database.devices, [&](const DeviceRecord& record) { return has(record.driver_names, name); });
  return found == database.devices.end() ? nullptr : &*found;
}

const DeviceRecord* find_cpu(const DeviceDatabase& database, const std::string& vendor, int family,
                             int model) {
  for (const DeviceRecord& record : database.devices) {
    if (!record.cpu || record.cpu->vendor_id != vendor || record.cpu->family != family) continue;
    const std::vector<int>& models = record.cpu->models;
    for (std::size_t i = 0; i + 1 < models.size(); i += 2) {
      if (models[i] <= model && model <= models[i + 1]) return &record;
    }
  }
  return nullptr;
}

/// "Apple-M3 or Apple-M3-Max" for "m3": names with such words, the shortest ones.
std::string whose_name_holds(const DeviceDatabase& database, const std::string& name) {
  constexpr std::size_t kMost = 4;
  const std::string wanted = folded(name);
  if (wanted.size() < 2) return "";
  std::string spaced = lower_case(name);
  std::ranges::replace_if(spaced, [](char c) { return c == '_' || c == ' '; }, '-');
  const std::vector<std::string> words = split(spaced, '-');
  const auto holds = [&](const std::string& known) {
    // "a100-80": each word begins one of the name's, in order.
    const std::vector<std::string> parts = split(lower_case(known), '-');
    std::size_t met = 0;
    for (const std::string& part : parts) {
      if (met < words.size() && part.starts_with(words[met])) ++met;
    }
    if (met == words.size()) return true;
    // "h100sxm": what was left out between words.
    for (std::size_t i = 0; i < known.size(); ++i) {
      const bool begins = i == 0 || known[i - 1] == '-';  // a word of it
      if (begins && folded(known.substr(i)).starts_with(wanted)) return true;
    }
    return false;
  };
  std::vector<std::string> found;
  for (const DeviceRecord& record : database.devices) {
    if (holds(record.name)) found.push_back(record.name);
  }
  std::ranges::stable_sort(found, {}, &std::string::size);
  if (found.size() > kMost) found.resize(kMost);
  if (found.empty()) return "";
  const std::string last = found.back();
  found.pop_back();
  return found.empty() ? last : join(found, ", ") + " or " + last;
}

Fault unknown_device(const DeviceDatabase& database, const std::string& where,
                     const std::string& name) {
  std::vector<std::string> known;
  for (const DeviceRecord& record : database.devices) {
    known.push_back(record.name);
    known.insert(known.end(), record.aliases.begin(), record.aliases.end());
  }
  const std::string whole = whose_name_holds(database, name);
  const std::string nearest = whole.empty() ? nearest_match(name, known) : whole;
  return {where, "unknown device \"" + name + "\"",
          nearest.empty()
              ? "name one such as A100-SXM-80GB, H100-SXM-80GB, MI300X or T4, or give the "
                "file of a cluster"
              : "did you mean " + nearest + "?"};
}

const DeviceLink* neighbour_link(const DeviceRecord& record, double count) {
  const DeviceLink* host = nullptr;
  for (const DeviceLink& link : record.links) {
    const bool joins = count <= 2 || !link.type.ends_with("-bridge");
    if (link.to == LinkEnd::device && joins) return &link;
    if (link.to == LinkEnd::device) continue;
    if (host == nullptr || link.bytes_per_s.value > host->bytes_per_s.value) host = &link;
  }
  return host;
}

Device device_of(const DeviceRecord& record) {
  Device device;
  device.name = record.name;
  device.kind = record.kind == DeviceCategory::cpu ? DeviceKind::cpu : DeviceKind::gpu;
  if (record.cpu) {
    device.physical_cores = record.cpu->cores;
    for (int core = 0; core < record.cpu->cores; ++core) device.cores.push_back(core);
    device.memory_bytes =
        within(kHostBytesPerCore * record.cpu->cores, kAssumedSpread, Quality::assumed);
  }
  if (record.memory_bytes) {
    // The driver keeps some of it; which part depends on driver and settings.
    const double bytes = record.memory_bytes->value;
    device.memory_bytes = {bytes, bytes * 0.95, bytes, Quality::database};
  }
  // The record has the source of each number; ten thousand devices need not repeat it.
  device.rates = curves(peaks_of(record), record.cpu ? kCpuEfficiency : kGpuEfficiency, 0,
                        Quality::database, "data sheet");
  use_fitted_products(record, device.rates.edit());
  if (!record.cpu) {
    use_fitted_attention(record, device.rates.edit());
    use_fitted_operators(record, device.rates.edit());
  }
  device.launch_s = within(kLaunchSeconds, kAssumedSpread, Quality::assumed);
  if (record.max_w) {
    const double max_w = record.max_w->value;
    device.power = {record.idle_w
                        ? exact(record.idle_w->value, Quality::database)
                        : assumed_idle(record.cpu ? DeviceKind::cpu : DeviceKind::gpu, max_w),
                    exact(max_w, Quality::database)};
  }
  if (record.usd_per_hour) {
    device.usd_per_hour = within(record.usd_per_hour->value, kPriceSpread, Quality::database);
  }
  return device;
}

void fill_cpu_rates(Device& device, const CpuGuess& guess) {
  const double share =
      guess.quota ? std::min(1.0, *guess.quota / double(std::max(1, guess.cores))) : 1.0;
  const double cores = double(std::max(1, guess.cores)) * share;
  const DeviceRecord* record = guess.record;
  const CpuFacts* cpu = record != nullptr && record->cpu ? &*record->cpu : nullptr;
  const double fp32 = cpu != nullptr && cpu->fp32_flops_per_cycle > 0
                          ? cpu->fp32_flops_per_cycle
                          : fp32_per_cycle(guess.instruction_sets);
  const double bf16 = cpu != nullptr && cpu->bf16_flops_per_cycle
                          ? *cpu->bf16_flops_per_cycle
                          : bf16_per_cycle(guess.instruction_sets, fp32);
  const double socket =
      guess.socket_share * (record != nullptr ? record->memory_bytes_per_s.value : 40e9);
  const Quality quality = record != nullptr ? Quality::database : Quality::assumed;
  const std::string source =
      record != nullptr ? record->arch + " data sheet" : "instruction sets and clock";
  const auto peaks = [&](double n) {
    const double clock = guess.hz * n;
    return Peaks{{{"fp32", fp32 * clock}, {"bf16", bf16 * clock}, {"fp64", fp32 * clock / 2}},
                 std::min(socket, kMostBytesPerSecondOfOneCore * n)};
  };
  device.rates = curves(peaks(cores), kCpuEfficiency, 0, quality, source);
  if (guess.cores > 1) {
    std::vector<RateCurve> one =
        curves(peaks(std::min(1.0, cores)), kCpuEfficiency, 1, quality, source);
    std::ranges::move(one, std::back_inserter(device.rates.edit()));
  }
  device.launch_s = within(kLaunchSeconds, kAssumedSpread, Quality::assumed);
  const bool told = cpu != nullptr && record->max_w;
  const double core_w = told ? record->max_w->value / cpu->cores : kCoreWatts;
  const double max_w = core_w * double(std::max(1, guess.cores));
  device.power = {assumed_idle(DeviceKind::cpu, max_w),
                  told ? within(max_w, kDatabaseSpread, Quality::database)
                       : within(max_w, kCoreWattsSpread, Quality::assumed)};
}

Uncertain assumed_idle(DeviceKind kind, double max_w) {
  const double share = kind == DeviceKind::cpu ? kCpuIdleShare : kGpuIdleShare;
  return within(max_w * share, kAssumedSpread, Quality::assumed);
}

void fill_unknown_gpu_rates(Device& device) {
  // GPUs of the last ten years: 1 GiB of memory goes with about 0.5 TFLOP/s and 25 GB/s.
  const double gib = device.memory_bytes.value / (1024.0 * 1024 * 1024);
  const double fp32 = std::max(1e12, 0.5e12 * gib);
  device.rates =
      curves({{{"fp32", fp32}, {"bf16", fp32}, {"fp16", fp32}}, std::max(50e9, 25e9 * gib)},
             kGpuEfficiency, 0, Quality::assumed, "memory size only");
  device.launch_s = within(kLaunchSeconds, kAssumedSpread, Quality::assumed);
}

}  // namespace parallel_opt
