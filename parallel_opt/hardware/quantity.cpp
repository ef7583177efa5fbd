#include "parallel_opt/hardware/quantity.h"

#include <array>
#include <charconv>
#include <cmath>
#include <span>
#include <string>

#include "parallel_opt/base/text.h"

namespace parallel_opt {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

constexpr double kBit = 1.0 / 8;
constexpr double kMost = 1e18;  // in bytes, bytes per second or seconds: beyond, counts overflow
constexpr std::array<Unit, 23> kBandwidths = {{{"kbps", 1e3 * kBit},
                                               {"mbps", 1e6 * kBit},
                                               {"gbps", 1e9 * kBit},
                                               {"tbps", 1e12 * kBit},
                                               {"MBps", 1e6},
                                               {"GBps", 1e9},
                                               {"TBps", 1e12},
                                               {"Mbps", 1e6 * kBit},
                                               {"Gbps", 1e9 * kBit},
                                               {"Tbps", 1e12 * kBit},
                                               {"kbit/s", 1e3 * kBit},
                                               {"Mbit/s", 1e6 * kBit},
                                               {"Gbit/s", 1e9 * kBit},
                                               {"Tbit/s", 1e12 * kBit},
                                               {"Gb/s", 1e9 * kBit},
                                               {"B/s", 1},
                                               {"kB/s", 1e3},
                                               {"MB/s", 1e6},
                                               {"GB/s", 1e9},
                                               {"TB/s", 1e12},
                                               {"MiB/s", 1048576.0},
                                               {"GiB/s", 1073741824.0},
                                               {"TiB/s", 1099511627776.0}}};
constexpr std::array<Unit, 4> kDurations = {{{"s", 1}, {"ms", 1e-3}, {"us", 1e-6}, {"ns", 1e-9}}};
constexpr std::array<Unit, 9> kCapacities = {{{"B", 1},
                                              {"kB", 1e3},
                                              {"MB", 1e6},
                                              {"GB", 1e9},
                                              {"TB", 1e12},
                                              {"KiB", 1024.0},
                                              {"MiB", 1048576.0},
                                              {"GiB", 1073741824.0},
                                              {"TiB", 1099511627776.0}}};

std::optional<double> parse(std::string_view text, std::span<const Unit> units) {
  text = trim(text);
  double number = 0;
  const char* const begin = text.begin();
  const char* const end = text.end();
  const auto [rest, error] = std::from_chars(begin, end, number);
  if (error != std::errc() || !std::isfinite(number)) return std::nullopt;
  const std::string_view name = trim(std::string_view(rest, std::size_t(end - rest)));
  for (const Unit& unit : units) {
    if (unit.name == name) return number * unit.factor;
  }
  return std::nullopt;
}

template <class T>
void read(const JsonView& in, std::optional<T> (*parse_text)(std::string_view), double T::* member,
          const char* example, T& value, std::vector<Fault>& faults) {
  using Kind = JsonView::Kind;
  if (in.kind() == Kind::integer || in.kind() == Kind::number) {
    faults.push_back({in.path(), "has no unit: " + in.dump(), std::string("write ") + example});
    return;
  }
  if (in.kind() != Kind::string) {
    json_detail::wrong_kind(in, std::string("a number with its unit, as ") + example, faults);
    return;
  }
  const std::optional<T> found = parse_text(in.string());
  if (!found) {
    faults.push_back({in.path(), "is no number with a unit that fits: " + in.dump(),
                      std::string("write ") + example});
  } else if ((*found).*member < 0) {
    faults.push_back({in.path(), "is negative: " + in.dump(), ""});
  } else if ((*found).*member > kMost) {
    faults.push_back({in.path(), "is more than any machine has: " + in.dump(), ""});
  } else {
    value = *found;
  }
}

}  // namespace

std::optional<Bandwidth> parse_bandwidth(std::string_view text) {
  const std::optional<double> found = parse(text, kBandwidths);
  return found ? std::optional(Bandwidth{*found}) : std::nullopt;
}

std::optional<Duration> parse_duration(std::string_view text) {
  const std::optional<double> found = parse(text, kDurations);
  return found ? std::optional(Duration{*found}) : std::nullopt;
}

std::optional<Capacity> parse_capacity(std::string_view text) {
  const std::optional<double> found = parse(text, kCapacities);
  return found ? std::optional(Capacity{*found}) : std::nullopt;
}

void read_json(const JsonView& in, Bandwidth& value, std::vector<Fault>& faults) {
  read(in, parse_bandwidth, &Bandwidth::bytes_per_s, "400 Gbps or 50 GB/s", value, faults);
}

void read_json(const JsonView& in, Duration& value, std::vector<Fault>& faults) {
  read(in, parse_duration, &Duration::seconds, "5 us", value, faults);
}

void read_json(const JsonView& in, Capacity& value, std::vector<Fault>& faults) {
  read(in, parse_capacity, &Capacity::bytes, "80 GiB", value, faults);
}

}  // namespace parallel_opt
