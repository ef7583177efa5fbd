#include "parallel_opt/hardware/rate_curve.h"

#include <algorithm>
#include <cmath>

namespace parallel_opt {

double rate_at(const RateCurve& curve, double size) {
  PO_CHECK(!curve.points.empty(), "a rate curve has a point");
  const auto above = std::ranges::lower_bound(curve.points, size, {}, &RatePoint::size);
  if (above == curve.points.begin()) return curve.points.front().per_second;
  if (above == curve.points.end()) return curve.points.back().per_second;
  const RatePoint& low = *(above - 1);
  const double share = std::log(size / low.size) / std::log(above->size / low.size);
  return low.per_second * std::pow(above->per_second / low.per_second, share);
}

std::vector<Fault> check(const RateCurve& curve, const std::string& where) {
  std::vector<Fault> faults;
  const auto fault = [&](std::string place, std::string what, std::string hint = "") {
    faults.push_back({std::move(place), std::move(what), std::move(hint)});
  };
  if (curve.kernel.empty()) fault(where + ".kernel", "is empty");
  if (curve.threads < 0) fault(where + ".threads", "is negative", "0 means the whole device");
  if (curve.spread && !(*curve.spread >= 0)) fault(where + ".spread", "is negative");
  if (curve.points.empty()) fault(where + ".points", "is empty", "a curve has a point");
  for (std::size_t i = 0; i < curve.points.size(); ++i) {
    const std::string point = where + ".points[" + std::to_string(i) + "]";
    if (!(curve.points[i].size > 0)) fault(point + ".size", "is not positive");
    if (!(curve.points[i].per_second > 0)) fault(point + ".per_s", "is not positive");
    if (i > 0 && !(curve.points[i - 1].size < curve.points[i].size)) {
      fault(point + ".size", "does not rise", "sort the points by size");
    }
  }
  return faults;
}

}  // namespace parallel_opt
