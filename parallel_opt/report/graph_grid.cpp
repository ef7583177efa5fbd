#include "parallel_opt/report/graph_grid.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <set>
#include <utility>

namespace parallel_opt {
namespace {

class Layout {
 public:
  explicit Layout(const GridInput& in)
      : in_(in),
        n_(static_cast<int>(in.weights.size())),
        before_(in.weights.size()),
        after_(in.weights.size()),
        placed_(in.weights.size(), false) {
    for (const GridInput::Line& line : in.lines) {
      after_[at(line.from)].push_back(line.to);
      before_[at(line.to)].push_back(line.from);
    }
    grid_.rows.assign(in.weights.size(), 0);
    grid_.columns.assign(in.weights.size(), 0);
    grid_.lanes.assign(in.lines.size(), 0);
  }

  Grid run() {
    find_rows();
    for (bool first = true;; first = false) {
      const std::vector<int> path = heaviest_path();
      if (path.empty()) break;
      place(path, first);
    }
    place_lanes();
    return std::move(grid_);
  }

 private:
  static std::size_t at(int i) { return static_cast<std::size_t>(i); }

  /// As early as possible; what waits for nothing stands just above who needs it.
  void find_rows() {
    for (int i = 0; i < n_; ++i) {
      for (const int b : before_[at(i)]) {
        grid_.rows[at(i)] = std::max(grid_.rows[at(i)], grid_.rows[at(b)] + 1);
      }
    }
    for (int i = n_ - 1; i >= 0; --i) {
      if (!before_[at(i)].empty() || after_[at(i)].empty()) continue;
      int least = grid_.rows[at(after_[at(i)].front())];
      for (const int a : after_[at(i)]) least = std::min(least, grid_.rows[at(a)]);
      grid_.rows[at(i)] = least - 1;
    }
  }

  /// Of boxes not placed yet; of equal ones the longest, then the earliest.
  std::vector<int> heaviest_path() const {
    std::vector<std::pair<double, int>> until(at(n_));  // weight, boxes
    std::vector<int> previous(at(n_), -1);
    int last = -1;
    for (int i = 0; i < n_; ++i) {
      if (placed_[at(i)]) continue;
      std::pair<double, int> best{0, 0};
      for (const int b : before_[at(i)]) {
        if (placed_[at(b)] || until[at(b)] <= best) continue;
        best = until[at(b)];
        previous[at(i)] = b;
      }
      until[at(i)] = {best.first + in_.weights[at(i)], best.second + 1};
      if (last < 0 || until[at(i)] > until[at(last)]) last = i;
    }
    std::vector<int> path;
    for (int i = last; i >= 0; i = previous[at(i)]) path.push_back(i);
    std::ranges::reverse(path);
    return path;
  }

  void place(const std::vector<int>& path, bool main_path) {
    // The lines to and from the path need its column too, up to where they leave and join.
    int low = grid_.rows[at(path.front())], high = grid_.rows[at(path.back())];
    int near = 0;
    if (!main_path) {
      for (const int b : before_[at(path.front())]) {
        low = std::min(low, std::max(grid_.rows[at(b)] + 1, low - kReach));
        near = grid_.columns[at(b)];
      }
      for (const int a : after_[at(path.back())]) {
        high = std::max(high, std::min(grid_.rows[at(a)] - 1, high + kReach));
      }
    }
    const int column = main_path ? 0 : free_column(near, low, high);
    for (const int i : path) {
      grid_.columns[at(i)] = column;
      placed_[at(i)] = true;
    }
    for (int row = low; row <= high; ++row) taken_.emplace(row, column);
  }

  /// The nearest column that nothing stands in between two rows; of equally near ones the side with
  /// less in it, then the right one.
  int free_column(int near, int low, int high) {
    for (int distance = 1;; ++distance) {
      const int right = near + distance, left = near - distance;
      const bool right_free = is_free(right, low, high), left_free = is_free(left, low, high);
      if (!right_free && !left_free) continue;
      const int column = right_free && (!left_free || balance_ <= 0) ? right : left;
      balance_ += column > 0 ? 1 : -1;
      return column;
    }
  }

  bool is_free(int column, int low, int high) const {
    for (int row = low; row <= high; ++row) {
      if (taken_.contains({row, column})) return false;
    }
    return true;
  }

  /// Lines that pass rows: one lane for all lines of a box, short ones nearest.
  void place_lanes() {
    std::vector<int> reach(at(n_), -1);
    for (const GridInput::Line& line : in_.lines) {
      reach[at(line.from)] = std::max(reach[at(line.from)], grid_.rows[at(line.to)]);
    }
    std::vector<int> order(at(n_));
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, {}, [&](int i) { return reach[at(i)] - grid_.rows[at(i)]; });
    std::vector<int> lane(at(n_), 0);
    for (const int i : order) {
      const int low = grid_.rows[at(i)] + 1;
      int farthest = -1;  // of targets that its own column does not lead to
      for (const int a : after_[at(i)]) {
        if (!straight(i, a)) farthest = std::max(farthest, grid_.rows[at(a)]);
      }
      if (farthest <= low) continue;
      lane[at(i)] = free_column(grid_.columns[at(i)], low, farthest - 1);
      for (int row = low; row < farthest; ++row) taken_.emplace(row, lane[at(i)]);
    }
    for (std::size_t k = 0; k < in_.lines.size(); ++k) {
      const auto& [from, to] = in_.lines[k];
      if (straight(from, to)) {
        grid_.lanes[k] = grid_.columns[at(to)] == grid_.columns[at(from)] ? grid_.columns[at(from)]
                                                                          : own_lane(from, to);
      } else {
        grid_.lanes[k] = lane[at(from)];
      }
    }
  }

  /// The column of one of both ends, where nothing but their own path stands in between.
  int own_lane(int from, int to) const {
    const int low = grid_.rows[at(from)] + 1, high = grid_.rows[at(to)] - 1;
    return empty(grid_.columns[at(to)], low, high) ? grid_.columns[at(to)]
                                                   : grid_.columns[at(from)];
  }

  /// Can the line run in a column of its ends, through cells without boxes?
  bool straight(int from, int to) const {
    const int low = grid_.rows[at(from)] + 1, high = grid_.rows[at(to)] - 1;
    return low > high || empty(grid_.columns[at(from)], low, high) ||
           empty(grid_.columns[at(to)], low, high);
  }

  bool empty(int column, int low, int high) const {
    for (int i = 0; i < n_; ++i) {
      const int row = grid_.rows[at(i)];
      if (grid_.columns[at(i)] == column && row >= low && row <= high) return false;
    }
    return true;
  }

  static constexpr int kReach = 64;  ///< rows that a path keeps free for its lines, at most
  const GridInput& in_;
  int n_;
  std::vector<std::vector<int>> before_, after_;
  std::vector<bool> placed_;
  std::set<std::pair<int, int>> taken_;
  int balance_ = 0;  ///< boxes and lanes right of the middle, less those left of it
  Grid grid_;
};

}  // namespace

Grid lay_out(const GridInput& input) { return Layout(input).run(); }

}  // namespace parallel_opt
