#include "parallel_opt/cost/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

#include "parallel_opt/base/error.h"

namespace parallel_opt {

double percentile(std::vector<double> values, double share) {
  PO_CHECK(!values.empty(), "a percentile of nothing");
  std::ranges::sort(values);
  const double at = share * static_cast<double>(values.size() - 1);
  const auto low = static_cast<std::size_t>(at);
  const std::size_t high = std::min(low + 1, values.size() - 1);
  return std::lerp(values[low], values[high], at - static_cast<double>(low));
}

double median(std::vector<double> values) { return percentile(std::move(values), 0.5); }

double mean(const std::vector<double>& values) {
  PO_CHECK(!values.empty(), "a mean of nothing");
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

std::vector<double> rank_values(const std::vector<double>& values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t i) { return values[i]; });
  std::vector<double> result(values.size());
  for (std::size_t begin = 0; begin < order.size();) {
    std::size_t end = begin + 1;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    // Ranks begin+1 .. end, whose mean is half the sum of the first and the last.
    for (std::size_t i = begin; i < end; ++i) {
      result[order[i]] = static_cast<double>(begin + 1 + end) / 2;
    }
    begin = end;
  }
  return result;
}

double spearman(const std::vector<double>& a, const std::vector<double>& b) {
  PO_CHECK(a.size() == b.size() && a.size() >= 2, "a correlation needs two pairs");
  const std::vector<double> rank_a = rank_values(a), rank_b = rank_values(b);
  const double middle = static_cast<double>(a.size() + 1) / 2;
  double product = 0, square_a = 0, square_b = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    product += (rank_a[i] - middle) * (rank_b[i] - middle);
    square_a += (rank_a[i] - middle) * (rank_a[i] - middle);
    square_b += (rank_b[i] - middle) * (rank_b[i] - middle);
  }
  return square_a == 0 || square_b == 0 ? 0 : product / std::sqrt(square_a * square_b);
}

}  // namespace parallel_opt
