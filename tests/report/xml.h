#pragma once

#include <array>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

/// A strict reader of the XML that pictures are written in, for tests: refuses what a browser that
/// opens an .svg file refuses.
namespace parallel_opt::testing {

struct Element {
  std::string name;
  std::map<std::string, std::string> attributes;
  std::string text;  ///< of its own, entities replaced
  std::vector<Element> children;

  double number(const std::string& attribute) const { return std::stod(attributes.at(attribute)); }
  bool has_class(const std::string& wanted) const {
    const auto at = attributes.find("class");
    return at != attributes.end() &&
           (" " + at->second + " ").find(" " + wanted + " ") != std::string::npos;
  }
  /// The <title> inside, which is what the mouse shows.
  std::string tooltip() const {
    for (const Element& child : children) {
      if (child.name == "title") return child.text;
    }
    return "";
  }
};

/// All elements of a name below one, in order.
inline void collect(const Element& element, const std::string& name,
                    std::vector<const Element*>& found) {
  for (const Element& child : element.children) {
    if (child.name == name) found.push_back(&child);
    collect(child, name, found);
  }
}
inline std::vector<const Element*> all(const Element& element, const std::string& name) {
  std::vector<const Element*> found;
  collect(element, name, found);
  return found;
}

class XmlReader {
 public:
  /// With `html`, elements that never end (meta, link, input) may stay open, and the text of
  /// <script> and <style> is no markup.
  explicit XmlReader(std::string_view text, bool html = false) : text_(text), html_(html) {}

  /// The one root. Throws std::runtime_error with the place.
  Element read() {
    check_characters();
    if (html_ && (skip("<!doctype html>") || skip("<!DOCTYPE html>"))) blanks();
    Element root = element();
    blanks();
    if (at_ != text_.size()) fail("text behind the root");
    return root;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    const std::size_t from = at_ < 40 ? 0 : at_ - 40;
    throw std::runtime_error(what + " at byte " + std::to_string(at_) +
                             ", near: " + std::string(text_.substr(from, 80)));
  }

  /// XML allows no control characters but white space, and UTF-8 alone.
  void check_characters() {
    for (at_ = 0; at_ < text_.size();) {
      const auto byte = static_cast<unsigned char>(text_[at_]);
      const int more = byte < 0x80 ? 0 : byte < 0xc2 ? -1 : byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
      if (more < 0 || byte > 0xf4) fail("no UTF-8");
      if (byte < 0x20 && byte != '\n' && byte != '\t' && byte != '\r') fail("a control character");
      unsigned code = more == 0 ? byte : byte & (0x3fU >> more);
      for (int i = 1; i <= more; ++i) {
        const std::size_t next = at_ + static_cast<std::size_t>(i);
        const unsigned tail = next < text_.size() ? static_cast<unsigned char>(text_[next]) : 0U;
        if ((tail & 0xc0U) != 0x80) fail("no UTF-8");
        code = code << 6 | (tail & 0x3fU);
      }
      const unsigned least[] = {0, 0x80, 0x800, 0x10000};
      if (code < least[more] || (code >= 0xd800 && code < 0xe000) || code > 0x10ffff) {
        fail("no UTF-8");
      }
      if (!html_ && (code == 0xfffe || code == 0xffff)) fail("no character");
      at_ += static_cast<std::size_t>(more) + 1;
    }
    at_ = 0;
  }

  bool skip(std::string_view wanted) {
    if (!text_.substr(at_).starts_with(wanted)) return false;
    at_ += wanted.size();
    return true;
  }
  void want(std::string_view wanted) {
    if (!skip(wanted)) fail("no " + std::string(wanted));
  }
  bool blank() const {
    return at_ < text_.size() &&
           std::string_view(" \n\t\r").find(text_[at_]) != std::string_view::npos;
  }
  void blanks() {
    while (blank()) ++at_;
  }

  std::string name() {
    const std::size_t begin = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) != 0 ||
                                  text_[at_] == '-' || text_[at_] == ':')) {
      ++at_;
    }
    if (at_ == begin) fail("no name");
    return std::string(text_.substr(begin, at_ - begin));
  }

  char entity() {
    constexpr std::array<std::pair<std::string_view, char>, 5> kKnown = {
        {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}}};
    for (const auto& [entity, character] : kKnown) {
      if (skip(entity)) return character;
    }
    fail("an unknown entity");
  }

  std::string value() {
    want("\"");
    std::string value;
    while (at_ < text_.size() && text_[at_] != '"') {
      if (text_[at_] == '<') fail("< inside an attribute");
      if (text_[at_] == '&') {
        value += entity();
      } else {
        value += text_[at_++];
      }
    }
    want("\"");
    return value;
  }

  Element element() {
    want("<");
    Element element{.name = name(), .attributes = {}, .text = {}, .children = {}};
    for (;;) {
      const bool apart = blank();
      blanks();
      if (skip("/>")) return element;
      if (skip(">")) break;
      if (!apart) fail("attributes stand together");
      const std::string attribute = name();
      const bool bare = html_ && !text_.substr(at_).starts_with('=');
      if (!bare) want("=");
      if (!element.attributes.emplace(attribute, bare ? "" : value()).second) {
        fail("attribute " + attribute + " stands twice");
      }
    }
    static const std::set<std::string> kVoid = {"meta", "link", "input", "br", "hr", "img"};
    if (html_ && kVoid.contains(element.name)) return element;
    content(element);
    return element;
  }

  void content(Element& element) {
    const std::string end = "</" + element.name + ">";
    if (html_ && (element.name == "script" || element.name == "style")) {
      const std::size_t close = text_.find(end, at_);
      if (close == std::string_view::npos) fail("no " + end);
      element.text = text_.substr(at_, close - at_);
      at_ = close;
    }
    while (!skip(end)) {
      if (at_ >= text_.size()) fail("no " + end);
      if (text_[at_] == '<') {
        element.children.push_back(this->element());
      } else if (text_[at_] == '&') {
        element.text += entity();
      } else {
        element.text += text_[at_++];
      }
    }
  }

  std::string_view text_;
  bool html_ = false;
  std::size_t at_ = 0;
};

inline Element read_svg(std::string_view text) { return XmlReader(text).read(); }
inline Element read_html(std::string_view text) { return XmlReader(text, true).read(); }

/// Text that every picture must survive.
inline const std::vector<std::string>& hostile_texts() {
  static const std::vector<std::string> texts = {
      "plain",
      "",
      "</text><script>alert(1)</script>",
      "\"quoted\" & 'more' <b>",
      "a\x01\x1f\x7f control",
      "half a letter \xc3",
      "\xff\xfe",
      "\xed\xa0\x80 surrogate",
      "\xe0\x80\xaf overlong \xef\xbf\xbf none \xf4\x90\x80\x80 beyond",
      "&amp; &#0; &nbsp;",
      "]]>",
      "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x9a\x80",
      std::string(400, 'w'),
      "line\nbreak\ttab",
  };
  return texts;
}

}  // namespace parallel_opt::testing
