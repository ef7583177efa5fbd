#pragma once

#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/base/dtype.h"
#include "parallel_opt/base/json.h"
#include "parallel_opt/base/uncertain.h"

namespace parallel_opt {

/// One point of a rate curve: the rate reached by one call of that size.
struct RatePoint {
  double size = 0;        ///< FLOPs of the call (compute) or bytes moved (memory, links)
  double per_second = 0;  ///< FLOP/s or bytes/s
  bool operator==(const RatePoint&) const = default;
};

/// How fast a device runs one family of kernels: a curve over size, log-interpolated, flat outside.
struct RateCurve {
  std::string kernel;  ///< "matmul", "convolution", "attention", "elementwise", "memory", ...
  std::optional<DType> dtype;     ///< absent where it does not matter
  int threads = 0;                ///< CPU threads used; 0: the whole device
  std::vector<RatePoint> points;  ///< by rising size, at least one
  Quality quality = Quality::assumed;
  std::string source;  ///< "probe 2026-11-21", "data sheet"
  std::optional<double> spread =
      std::nullopt;  ///< between repeats of a probe: interquartile range over median
  bool operator==(const RateCurve&) const = default;
};

/// Curves of a device, shared by its copies until one of them is edited: ten thousand equal devices
/// hold one list. Behaves as a value; threads may read copies of it as they may read vectors.
class RateCurves {
 public:
  RateCurves() = default;
  RateCurves(std::vector<RateCurve> curves)
      : curves_(std::make_shared<std::vector<RateCurve>>(std::move(curves))) {}
  RateCurves(std::initializer_list<RateCurve> curves)
      : RateCurves(std::vector<RateCurve>(curves)) {}
  const std::vector<RateCurve>& list() const {
    static const std::vector<RateCurve> kNone;
    return curves_ ? *curves_ : kNone;
  }
  auto begin() const { return list().begin(); }
  auto end() const { return list().end(); }
  bool empty() const { return list().empty(); }
  std::size_t size() const { return list().size(); }
  const RateCurve& operator[](std::size_t i) const { return list()[i]; }
  /// The list, this value's own from now on.
  std::vector<RateCurve>& edit() {
    if (!curves_ || curves_.use_count() > 1) {
      curves_ = std::make_shared<std::vector<RateCurve>>(list());
    }
    return *curves_;
  }
  void push_back(RateCurve curve) { edit().push_back(std::move(curve)); }
  void clear() { curves_.reset(); }
  bool operator==(const RateCurves& other) const {
    return curves_ == other.curves_ || list() == other.list();
  }

 private:
  std::shared_ptr<std::vector<RateCurve>> curves_;  // null: none
};

/// Log-interpolated rate at `size`. Pre: the curve has a point.
double rate_at(const RateCurve& curve, double size);

/// Every broken rule of a curve; empty: well formed.
std::vector<Fault> check(const RateCurve& curve, const std::string& where);

template <class Visitor, class T>
  requires SameAs<T, RatePoint>
void fields(Visitor& visit, T& point) {
  visit("size", point.size, "FLOPs of one call (compute), bytes moved (memory, links)");
  visit("per_s", point.per_second, "FLOP/s or bytes/s reached");
}

template <class Visitor, class T>
  requires SameAs<T, RateCurve>
void fields(Visitor& visit, T& curve) {
  visit("kernel", curve.kernel, "family of kernels: matmul, convolution, attention, memory, ...");
  visit("dtype", curve.dtype, "element type, where it matters");
  visit.optional("threads", curve.threads, "CPU threads used; 0: the whole device");
  visit("points", curve.points, "rate by size, rising");
  visit("quality", curve.quality, "how the curve was obtained");
  visit.optional("source", curve.source, "where it comes from, with its date");
  visit("spread", curve.spread, "between repeats of a probe: interquartile range over median");
}

// In JSON the curves are a plain list.
template <>
inline void write_json(JsonWriter& out, const RateCurves& curves) {
  write_json(out, curves.list());
}
template <>
inline void read_json(const JsonView& in, RateCurves& curves, std::vector<Fault>& faults) {
  read_json(in, curves.edit(), faults);
}
template <>
inline void write_schema<RateCurves>(JsonWriter& out, std::string_view description) {
  write_schema<std::vector<RateCurve>>(out, description);
}

}  // namespace parallel_opt
