#pragma once

#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "parallel_opt/report/graph_view.h"

/// Pixels of a picture of a model. Not for others than graph_picture.cpp.
namespace parallel_opt::graph_boxes {

struct BoxPlace {
  double x = 0, y = 0, width = 0, height = 0;
  bool seen = false;
  bool open = false;  ///< what is inside is seen
};

/// Rows and columns of one open box.
class Tracks {
 public:
  /// Of the row, or of the next one below that has boxes. Pre: there is one.
  double top(int row) const { return rows_.lower_bound(row)->second.first; }
  /// Of the row, or of the next one above that has boxes. Pre: there is one.
  double bottom(int row) const { return std::prev(rows_.upper_bound(row))->second.second; }
  double center(int column) const { return columns_.at(column); }

 private:
  friend class Measure;
  std::map<int, std::pair<double, double>> rows_;  ///< top, bottom
  std::map<int, double> columns_;                  ///< centre
};

struct Geometry {
  std::vector<BoxPlace> places;  ///< by box; the model's is the whole picture
  std::vector<Tracks> grids;     ///< by box
};
Geometry measure(const GraphView& view);

/// "blocks.* x 12", cut to what a box may be wide.
std::string title_of(const GraphBox& box);
/// The line below: operator or shape, and the share.
std::string subtitle_of(const GraphBox& box, const std::string& share);

}  // namespace parallel_opt::graph_boxes
