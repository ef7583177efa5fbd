#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace parallel_opt {

/// Text as HTML and SVG content or attribute value. Bytes that neither may hold become U+FFFD.
std::string escape_html(std::string_view text);

enum class Anchor { start, middle, end };

/// Writes one SVG picture. Colours and fonts are classes of the page's style sheet, so that light,
/// dark and print share one picture. Lengths are pixels at a text size of 12.
class Svg {
 public:
  /// `title` is what a screen reader says.
  Svg(double width, double height, std::string_view title);
  /// `tooltip` shows when the mouse rests on the shape.
  void rect(double x, double y, double width, double height, std::string_view classes,
            std::string_view tooltip = {});
  void line(double x1, double y1, double x2, double y2, std::string_view classes);
  void circle(double x, double y, double radius, std::string_view classes,
              std::string_view tooltip = {});
  /// A line through points; a gap where `points` has an empty run between two runs.
  void polyline(const std::vector<std::vector<std::pair<double, double>>>& runs,
                std::string_view classes, std::string_view tooltip = {});
  void text(double x, double y, std::string_view content, std::string_view classes = {},
            Anchor anchor = Anchor::start);
  std::string str() const { return text_ + "</svg>"; }

 private:
  void close(std::string_view element, std::string_view tooltip);
  std::string text_;
};

/// Estimated width of text of size 12, generous for wide fonts.
double text_width(std::string_view text);
/// `text` cut to a width, with an ellipsis where it was cut.
std::string fit_text(const std::string& text, double width);

/// Round numbers from `low` to `high`, about `count` of them, both ends inside.
std::vector<double> nice_ticks(double low, double high, int count);
/// Ticks as text, all with the same number of decimals.
std::vector<std::string> tick_labels(const std::vector<double>& ticks);

}  // namespace parallel_opt
