#include "parallel_opt/report/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "parallel_opt/report/table.h"

namespace parallel_opt {
namespace {

/// Tenths of a pixel are enough, and keep the file small and the same everywhere.
std::string number(double value) {
  const double tenths = std::round(value * 10);
  const auto whole = static_cast<long long>(tenths);
  if (whole % 10 == 0) return std::to_string(whole / 10);
  return fmt::format("{:.1f}", tenths / 10);
}

/// Bytes of the letter that begins there; 0: none that XML allows. Names come from users' files: a
/// picture with broken UTF-8 or a control character in it would not open.
std::size_t letter_at(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) {
    return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0U;
  };
  const unsigned first = byte(0);
  if (first < 0x80) {
    return first >= 0x20 || first == '\t' || first == '\n' || first == '\r' ? 1 : 0;
  }
  const std::size_t length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (length == 0 || first > 0xf4) return 0;
  unsigned code = first & (0xffU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0U) != 0x80) return 0;
    code = code << 6 | (byte(i) & 0x3fU);
  }
  const bool overlong = code < (length == 3 ? 0x800U : length == 4 ? 0x10000U : 0x80U);
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  return overlong || surrogate || code == 0xfffe || code == 0xffff || code > 0x10ffff ? 0 : length;
}

std::string classes_of(std::string_view classes) {
  return classes.empty() ? "" : " class=\"" + std::string(classes) + "\"";
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string safe;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = letter_at(text, i);
    if (length != 1) {
      safe += length == 0 ? "\xef\xbf\xbd" : text.substr(i, length);
      i += std::max<std::size_t>(length, 1);
      continue;
    }
    const char c = text[i++];
    switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      default:
        safe += c;
    }
  }
  return safe;
}

Svg::Svg(double width, double height, std::string_view title)
    : text_(fmt::format("<svg viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" role=\"img\" "
                        "aria-label=\"{2}\">",
                        number(width), number(height), escape_html(title))) {}

void Svg::close(std::string_view element, std::string_view tooltip) {
  if (tooltip.empty()) {
    text_ += "/>";
  } else {
    text_ += fmt::format("><title>{}</title></{}>", escape_html(tooltip), element);
  }
}

void Svg::rect(double x, double y, double width, double height, std::string_view classes,
               std::string_view tooltip) {
  text_ += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"{}", number(x), number(y),
                       number(std::max(width, 0.5)), number(height), classes_of(classes));
  close("rect", tooltip);
}

void Svg::line(double x1, double y1, double x2, double y2, std::string_view classes) {
  text_ += fmt::format("<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"{}/>", number(x1), number(y1),
                       number(x2), number(y2), classes_of(classes));
}

void Svg::circle(double x, double y, double radius, std::string_view classes,
                 std::string_view tooltip) {
  text_ += fmt::format("<circle cx=\"{}\" cy=\"{}\" r=\"{}\"{}", number(x), number(y),
                       number(radius), classes_of(classes));
  close("circle", tooltip);
}

void Svg::polyline(const std::vector<std::vector<std::pair<double, double>>>& runs,
                   std::string_view classes, std::string_view tooltip) {
  std::string path;
  for (const auto& run : runs) {
    bool first = true;
    for (const auto& [x, y] : run) {
      path += (first ? "M" : "L") + number(x) + " " + number(y);
      first = false;
    }
    // A point on its own is a line of no length: round caps make it visible.
    if (run.size() == 1) path += "h0";
  }
  if (path.empty()) return;
  text_ += "<path d=\"" + path + "\"" + classes_of(classes);
  close("path", tooltip);
}

void Svg::text(double x, double y, std::string_view content, std::string_view classes,
               Anchor anchor) {
  constexpr std::string_view kAnchors[] = {"", " text-anchor=\"middle\"", " text-anchor=\"end\""};
  text_ +=
      fmt::format("<text x=\"{}\" y=\"{}\"{}{}>{}</text>", number(x), number(y),
                  kAnchors[static_cast<int>(anchor)], classes_of(classes), escape_html(content));
}

double text_width(std::string_view text) {
  return 7.2 * static_cast<double>(width_of(std::string(text)));
}

std::string fit_text(const std::string& text, double width) {
  if (text_width(text) <= width) return text;
  const std::size_t keep = width < 14.4 ? 0 : static_cast<std::size_t>(width / 7.2) - 1;
  std::string cut;
  std::size_t count = 0;
  for (const char c : text) {
    if (begins_code_point(c) && count++ == keep) break;
    cut += c;
  }
  return cut + "\xe2\x80\xa6";
}

std::vector<double> nice_ticks(double low, double high, int count) {
  if (!(high > low)) return {low};
  const double rough = (high - low) / std::max(count, 1);
  const double power = std::pow(10, std::floor(std::log10(rough)));
  const double fraction = rough / power;
  const double step = power * (fraction <= 1 ? 1 : fraction <= 2 ? 2 : fraction <= 5 ? 5 : 10);
  std::vector<double> ticks;
  // Multiples of the step, so that sums of rounding errors never show.
  for (auto i = static_cast<long long>(std::ceil(low / step - 1e-9));
       static_cast<double>(i) * step <= high + step * 1e-9; ++i) {
    ticks.push_back(static_cast<double>(i) * step);
  }
  return ticks;
}

std::vector<std::string> tick_labels(const std::vector<double>& ticks) {
  int decimals = 0;
  for (; decimals < 6; ++decimals) {
    const double scale = std::pow(10, decimals);
    const bool exact = std::ranges::all_of(ticks, [&](double tick) {
      return std::abs(tick * scale - std::round(tick * scale)) < 1e-6 * scale * 1e-3 + 1e-9;
    });
    if (exact) break;
  }
  std::vector<std::string> labels;
  labels.reserve(ticks.size());
  for (const double tick : ticks) {
    labels.push_back(fmt::format("{:.{}f}", tick == 0 ? 0.0 : tick, decimals));
  }
  return labels;
}

}  // namespace parallel_opt
