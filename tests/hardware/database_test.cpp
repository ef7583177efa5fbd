#include "parallel_opt/hardware/database.h"

#include <gtest/gtest.h>

#include <set>

#include "parallel_opt/base/embedded.h"
#include "parallel_opt/base/file_system.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/hardware/efficiency.h"

namespace parallel_opt {
namespace {

const DeviceRecord& device(const std::string& name) {
  const DeviceRecord* found = find_device(load_database(), name);
  if (found == nullptr) throw std::runtime_error("no device " + name);
  return *found;
}

double peak(const DeviceRecord& record, const std::string& type) {
  const auto found = record.flops_per_s.find(type);
  return found == record.flops_per_s.end() ? 0 : found->second.value;
}

TEST(Database, HasAtLeastNinetyDevicesAndEveryNumberHasASource) {
  const DeviceDatabase& database = load_database();
  EXPECT_GE(database.devices.size(), 90u);
  for (const DeviceRecord& record : database.devices) {
    EXPECT_EQ(check(record, record.name), std::vector<Fault>{});
    EXPECT_GE(record.year, 2010) << record.name;
  }
}

/// Walks a record as it stands in its file: each number lies in an object that names how it was
/// obtained and a key of `sources`. The year of launch is a name, not a quantity.
void expect_sourced(const JsonView& view, const JsonView& sources, bool sourced,
                    std::string_view key) {
  using Kind = JsonView::Kind;
  if (view.kind() == Kind::object) {
    const auto quality = view.find("quality");
    const auto source = view.find("source");
    const bool named = source && sources.find(source->string());
    for (const auto& [name, member] : view.members()) {
      expect_sourced(member, sources, sourced || (quality && named), name);
    }
  } else if (view.kind() == Kind::array) {
    for (std::size_t i = 0; i < view.size(); ++i) {
      expect_sourced(view.at(i), sources, sourced, key);
    }
  } else if ((view.kind() == Kind::number || view.kind() == Kind::integer) && key != "year") {
    EXPECT_TRUE(sourced) << view.path() << " has no quality or no source";
  }
}

TEST(Database, EveryNumberOfEveryFileHasQualityAndSource) {
  int files = 0;
  for (const EmbeddedFile& file : embedded_files()) {
    if (!file.name.starts_with("data/devices/")) continue;
    ++files;
    const JsonDocument document(file.bytes, std::string(file.name));
    const auto sources = document.root().find("sources");
    ASSERT_TRUE(sources.has_value()) << file.name;
    expect_sourced(document.root(), *sources, false, "");
  }
  EXPECT_GE(files, 90);
}

TEST(Database, NamesAndAliasesAreUniqueAndResolve) {
  const DeviceDatabase& database = load_database();
  for (const DeviceRecord& record : database.devices) {
    EXPECT_EQ(find_device(database, record.name), &record) << "two answer to " << record.name;
    for (const std::string& alias : record.aliases) {
      EXPECT_EQ(find_device(database, alias), &record) << alias;
    }
    for (const std::string& name : record.driver_names) {
      EXPECT_EQ(find_gpu_by_driver_name(database, name), &record) << name;
    }
  }
}

TEST(Database, LinesOfProcessorsDoNotOverlap) {
  const DeviceDatabase& database = load_database();
  int lines = 0;
  for (const DeviceRecord& record : database.devices) {
    if (!record.cpu || record.cpu->vendor_id.empty()) continue;
    ++lines;
    const CpuFacts& cpu = *record.cpu;
    for (std::size_t i = 0; i + 1 < cpu.models.size(); i += 2) {
      EXPECT_LE(cpu.models[i], cpu.models[i + 1]) << record.name;
      for (int model = cpu.models[i]; model <= cpu.models[i + 1]; ++model) {
        EXPECT_EQ(find_cpu(database, cpu.vendor_id, cpu.family, model), &record)
            << record.name << " model " << model;
      }
    }
  }
  EXPECT_GE(lines, 16);
}

TEST(Database, RatesRiseAsElementTypesNarrow) {
  for (const DeviceRecord& record : load_database().devices) {
    // A type that a device computes in wider arithmetic is no slower than that arithmetic.
    const auto not_above = [&](const char* wide, const char* narrow) {
      const double a = peak(record, wide);
      const double b = peak(record, narrow);
      if (a == 0 || b == 0) return;
      EXPECT_LE(a, b * 1.001) << record.name << ": " << wide << " against " << narrow;
    };
    not_above("fp64", "fp32");
    not_above("fp32", "tf32");
    not_above("fp32", "fp16");
    not_above("tf32", "fp16");
    not_above("tf32", "bf16");
    not_above("fp16", "fp8");
    not_above("bf16", "fp8");
    not_above("fp8", "fp4");
  }
}

TEST(Database, PeaksAreDense) {
  // A sheet that prints sparse rates is off by two: known dense rates guard the column, and no
  // device has more than four times its fp16 rate in fp8, or five times that in fp4.
  EXPECT_EQ(peak(device("H100-SXM-80GB"), "bf16"), 989.4e12);
  EXPECT_EQ(peak(device("A100-SXM-80GB"), "bf16"), 312e12);
  EXPECT_EQ(peak(device("V100-SXM-16GB"), "fp16"), 125e12);
  EXPECT_EQ(peak(device("L4"), "fp16"), 121e12);
  EXPECT_EQ(peak(device("MI300X"), "bf16"), 1307.4e12);
  EXPECT_EQ(peak(device("TPU-v5e"), "bf16"), 197e12);
  for (const DeviceRecord& record : load_database().devices) {
    const double half = std::max(peak(record, "fp16"), peak(record, "bf16"));
    if (half == 0) continue;
    EXPECT_LE(peak(record, "fp8"), 4 * half) << record.name;
    EXPECT_LE(peak(record, "fp4"), 8.1 * half) << record.name;
  }
}

TEST(Database, TensorPeaksFollowFromUnitsAndClock) {
  // 4096, 2048, 1024 fp16 FLOP per cycle and multiprocessor of Hopper, Ampere's A100, Volta.
  const auto computed = [](const char* name, double flops_per_cycle) {
    const DeviceRecord& record = device(name);
    return record.units->value * record.clock_hz->value * flops_per_cycle / peak(record, "fp16");
  };
  EXPECT_NEAR(computed("H100-SXM-80GB", 4096), 1, 0.01);
  EXPECT_NEAR(computed("H100-PCIe-80GB", 4096), 1, 0.01);
  EXPECT_NEAR(computed("A100-SXM-80GB", 2048), 1, 0.01);
  EXPECT_NEAR(computed("V100-SXM-16GB", 1024), 1, 0.01);
  // Of GeForce boards, with fp32 accumulate.
  for (const char* name : {"RTX-4090", "RTX-5060-Ti-16GB", "RTX-2070-Super", "RTX-2080-Super"}) {
    EXPECT_NEAR(computed(name, 512), 1, 0.01) << name;
  }
  EXPECT_NEAR(computed("MI300X", 2048), 1, 0.01);
}

TEST(Database, NumbersLieWhereSuchDevicesLie) {
  for (const DeviceRecord& record : load_database().devices) {
    const double bandwidth = record.memory_bytes_per_s.value;
    EXPECT_GE(bandwidth, 40e9) << record.name;
    EXPECT_LE(bandwidth, 10e12) << record.name;
    if (record.max_w) {
      EXPECT_GE(record.max_w->value, 15) << record.name;
      EXPECT_LE(record.max_w->value, 1500) << record.name;
    }
    if (record.idle_w && record.max_w) {
      EXPECT_LT(record.idle_w->value, record.max_w->value) << record.name;
    }
    if (record.memory_bytes) {
      EXPECT_GE(record.memory_bytes->value, 4e9) << record.name;
      EXPECT_LE(record.memory_bytes->value, 350e9) << record.name;
    }
    for (const DeviceLink& link : record.links) {
      EXPECT_GE(link.bytes_per_s.value, 7e9) << record.name;
      EXPECT_LE(link.bytes_per_s.value, 1.3e12) << record.name;  // each direction
    }
    for (const auto& [type, fact] : record.flops_per_s) {
      EXPECT_GE(fact.value, 1e11) << record.name << " " << type;
      EXPECT_LE(fact.value, 2e16) << record.name << " " << type;
    }
    if (record.usd_per_hour) {
      EXPECT_LT(record.usd_per_hour->value, 30) << record.name;
    }
  }
}

/// A row of docs/hardware.md: of `asked`, who lacks it; where most do, who does not.
std::string absent_row(const std::string& number, bool (*asked)(const DeviceRecord&),
                       bool (*has)(const DeviceRecord&)) {
  std::vector<std::string> without, with;
  for (const DeviceRecord& record : load_database().devices) {
    if (asked(record)) (has(record) ? with : without).push_back(record.name);
  }
  const bool few = without.size() <= with.size();
  return "| " + number + " | " + (few ? "" : "all but ") + join(few ? without : with, ", ") +
         " |\n";
}

bool has_link(const DeviceRecord& record, LinkEnd to) {
  return std::ranges::any_of(record.links, [&](const DeviceLink& link) { return link.to == to; });
}

TEST(Database, TheDocsListWhatIsAbsent) {
  using Record = const DeviceRecord&;
  const auto all = [](Record) { return true; };
  const auto accelerator = [](Record r) { return !r.cpu; };
  const std::string table =
      absent_row("peak in 16 bits", accelerator,
                 [](Record r) { return peak(r, "bf16") + peak(r, "fp16") > 0; }) +
      absent_row("idle power", all, [](Record r) { return r.idle_w.has_value(); }) +
      absent_row("design power", all, [](Record r) { return r.max_w.has_value(); }) +
      absent_row(
          "links to others of its kind",
          [](Record r) {
            return r.kind == DeviceCategory::tpu || r.kind == DeviceCategory::asic ||
                   r.host.has_value();
          },
          [](Record r) { return has_link(r, LinkEnd::device); }) +
      absent_row("link to the host", accelerator,
                 [](Record r) { return has_link(r, LinkEnd::host); }) +
      absent_row("usual machine", accelerator, [](Record r) { return r.host.has_value(); }) +
      absent_row("list price", all, [](Record r) { return r.usd_per_hour.has_value(); });
  const std::string docs = read_file(std::string(PARALLEL_OPT_SOURCE) + "/docs/hardware.md");
  EXPECT_NE(docs.find(table), std::string::npos) << "docs/hardware.md should say:\n" << table;
}

TEST(Database, UnknownDevicesAreAbsent) {
  const DeviceDatabase& database = load_database();
  EXPECT_EQ(find_device(database, "H100-SXM"), nullptr);
  EXPECT_EQ(find_gpu_by_driver_name(database, "NVIDIA Z1"), nullptr);
  EXPECT_EQ(find_cpu(database, "GenuineIntel", 25, 17), nullptr);
  EXPECT_EQ(to_string(unknown_device(database, "x", "H100-SXM-80G")),
            "x: unknown device \"H100-SXM-80G\" (did you mean H100-SXM-80GB?)");
  // Part of a name, as people say it.
  EXPECT_EQ(unknown_device(database, "x", "m3").hint, "did you mean Apple-M3 or Apple-M3-Max?");
  EXPECT_EQ(unknown_device(database, "x", "H100 SXM").hint, "did you mean H100-SXM-80GB?");
  EXPECT_EQ(unknown_device(database, "x", "h100sxm").hint, "did you mean H100-SXM-80GB?");
  EXPECT_EQ(unknown_device(database, "x", "a100_80").hint,
            "did you mean A100-SXM-80GB or A100-PCIe-80GB?");
  EXPECT_EQ(unknown_device(database, "x", "apple").hint,
            "did you mean Apple-M1, Apple-M2, Apple-M3 or Apple-M4?");
}

TEST(Database, EveryDeviceMakesAUsableDevice) {
  for (const DeviceRecord& record : load_database().devices) {
    const Device made = device_of(record);
    EXPECT_NE(find_rate(made, "memory", std::nullopt, 0), nullptr) << record.name;
    EXPECT_EQ(made.kind == DeviceKind::cpu, record.cpu.has_value()) << record.name;
    if (peak(record, "fp32") > 0) {
      EXPECT_NE(find_rate(made, "matmul", DType::fp32, 0), nullptr) << record.name;
    }
  }
}

constexpr char kBroken[] = R"({"schema": "parallel-opt/device/1", "name": "", "kind": "cpu",
  "vendor": "V", "arch": "A", "year": 2020, "dies": {"value": 0, "quality": "reported", "source": "s"},
  "flops_per_s": {"fp23": {"value": 1, "quality": "reported", "source": "none"}},
  "memory_bytes_per_s": {"value": -1, "quality": "reported", "source": "s"},
  "cpu": {"cores": 0, "models": [1], "quality": "reported", "source": "none"}, "sources": {"s": "sheet"}})";

TEST(Database, ProductsOfAMeasuredDeviceFollowItsFittedCurve) {
  const DeviceRecord& record = device("H100-SXM-80GB");
  const Device h100 = device_of(record);
  const RateCurve* curve = find_rate(h100, "matmul", DType::bf16, 0);
  ASSERT_NE(curve, nullptr);
  EXPECT_EQ(curve->quality, Quality::calibrated);
  const auto fitted = matmul_curve(record, "matmul", "bf16");
  ASSERT_TRUE(fitted.has_value());
  const double flops = 2 * 8192.0 * 8192 * 8192;
  const double seconds = gemm_time(*fitted, 1, 8192, 8192, 8192).value;
  EXPECT_NEAR(rate_at(*curve, flops), flops / seconds, 1e-6 * flops / seconds);
  // Nobody measured products of an MI325X: the usual share of its data sheet's peak.
  const Device other = device_of(device("MI325X"));
  EXPECT_EQ(find_rate(other, "matmul", DType::bf16, 0)->quality, Quality::database);
  // Of an H200 we did ourselves: 790 TFLOP/s at 8192, and the curve of all sizes comes near.
  const Device h200 = device_of(device("H200-SXM-141GB"));
  const RateCurve* own = find_rate(h200, "matmul", DType::bf16, 0);
  EXPECT_EQ(own->quality, Quality::calibrated);
  EXPECT_NEAR(rate_at(*own, flops) / 790e12, 1, 0.12);
}

TEST(Database, OperatorsThatMoveMemoryFollowFittedCurves) {
  const auto largest = [](const char* name, const char* kernel) {
    const DeviceRecord* record = find_device(load_database(), name);
    const Device device = device_of(*record);
    const RateCurve* curve = find_rate(device, kernel, std::nullopt, 0);
    return std::pair(curve->points.back().per_second / record->memory_bytes_per_s.value,
                     curve->quality);
  };
  // Rates of calls a thousand times larger than what fills the device: 1000 / 1001 of the end.
  // Fitted passes over the operand (fp16), where the cost model counts 2, backward 3.
  const auto near = [](std::pair<double, Quality> found, double share, Quality quality) {
    EXPECT_NEAR(found.first, share, 0.01);
    EXPECT_EQ(found.second, quality);
  };
  near(largest("A100-SXM-40GB", "elementwise"), 2 / 2.68856, Quality::calibrated);
  near(largest("A100-SXM-40GB", "reduce"), 2 / 3.22272, Quality::calibrated);
  near(largest("A100-SXM-40GB", "activation_backward"), 3 / 4.9619, Quality::calibrated);
  near(largest("H100-SXM-80GB", "elementwise"), 2 / 2.49015, Quality::database);  // the median
  near(largest("H100-SXM-80GB", "reduce"), 2 / 2.24797, Quality::database);
  // No table of a processor's operators: the usual share.
  near(largest("EPYC-7742", "reduce"), 0.6, Quality::database);
}

TEST(Database, AttentionAndOptimizerStepsFollowFittedCurves) {
  const DeviceRecord& record = device("H200-SXM-141GB");
  const Device h200 = device_of(record);
  for (const auto& [kernel, direction, products] :
       {std::tuple("attention", Direction::forward, 2.0),
        std::tuple("attention_backward", Direction::backward, 5.0)}) {
    const RateCurve* curve = find_rate(h200, kernel, DType::bf16, 0);
    ASSERT_NE(curve, nullptr);
    EXPECT_EQ(curve->quality, Quality::calibrated);
    const auto fitted = matmul_curve(record, "attention", "bf16", direction);
    const double flops = 2 * products * 128 * 2048.0 * 2048 * 128;
    const double seconds = attention_time(*fitted, products, 128, 2048, 2048, 128).value;
    EXPECT_NEAR(rate_at(*curve, flops), flops / seconds, 1e-6 * flops / seconds);
    // A probe of an H100, whose chip it is and which the fit did not see, found 643 and 518
    // TFLOP/s.
    const Device h100 = device_of(device("H100-SXM-80GB"));
    const RateCurve* sister = find_rate(h100, kernel, DType::bf16, 0);
    EXPECT_EQ(sister->quality, Quality::database);
    EXPECT_NEAR(rate_at(*sister, flops) / (products == 2 ? 643e12 : 518e12), 1, 0.08) << kernel;
  }
  const auto step = [](const Device& made, const char* kernel) {
    return find_rate(made, kernel, std::nullopt, 0)->points.back().per_second;
  };
  // Fitted passes over the parameters, where 20 and 7 are counted; 1000 / 1001 of the end
  EXPECT_NEAR(step(h200, "optimizer") / 4.8e12, 20 / 28.5683, 0.001);
  EXPECT_NEAR(step(h200, "optimizer_fused") / 4.8e12, 7 / 9.69549, 0.001);
  EXPECT_NEAR(step(device_of(device("A40")), "optimizer") / 696e9, 20 / 28.5683, 0.001);
}

TEST(DeviceRecord, EveryFaultIsNamed) {
  try {
    read_device(kBroken, "d.json");
    FAIL() << "accepted";
  } catch (const InputError& error) {
    std::vector<std::string> lines;
    for (const Fault& fault : error.faults()) lines.push_back(to_string(fault));
    EXPECT_EQ(lines, (std::vector<std::string>{
                         "d.json:name: is empty",
                         ("d.json:flops_per_s.fp23: is no element type (known: fp64, fp32, tf32, "
                          "fp16, bf16, fp8, int8, fp4)"),
                         ("d.json:flops_per_s.fp23.source: names no source: \"none\" (add it to "
                          "sources)"),
                         "d.json:memory_bytes_per_s.value: is not positive",
                         "d.json:cpu.source: names no source: \"none\" (add it to sources)",
                         "d.json:cpu.cores: is less than 1",
                         ("d.json:cpu.models: is no list of ranges (write first, last, first, "
                          "last, ...)"),
                         "d.json:dies.value: is not positive"}));
  }
}

TEST(DeviceRecord, WritesWhatItReads) {
  for (const char* name : {"H100-SXM-80GB", "Core-i9-13900K", "TPU-v4"}) {
    const DeviceRecord& record = device(name);
    EXPECT_EQ(read_device(to_json(record), "again"), record);
  }
}

}  // namespace
}  // namespace parallel_opt
