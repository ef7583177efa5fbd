#include "parallel_opt/hardware/yaml.h"

#include "parallel_opt/base/error.h"

#ifdef PARALLEL_OPT_YAML
#include <yaml-cpp/yaml.h>

#include <charconv>

#include "parallel_opt/base/json.h"
#endif

namespace parallel_opt {

#ifdef PARALLEL_OPT_YAML
namespace {

/// Aliases let a short text stand for a huge one: a cluster file needs far less.
constexpr int kMostNodes = 1'000'000;
constexpr int kDeepest = 64;

class Converter {
 public:
  explicit Converter(const std::string& name) : name_(name) {}

  void write(const YAML::Node& node, int depth) {
    if (++nodes_ > kMostNodes || depth > kDeepest) {
      throw InputError(at(node.Mark()), "is too deep or too large", "are its aliases circular?");
    }
    switch (node.Type()) {
      case YAML::NodeType::Map:
        map(node, depth);
        break;
      case YAML::NodeType::Sequence:
        out_.begin_array();
        for (const YAML::Node& element : node) write(element, depth + 1);
        out_.end_array();
        break;
      case YAML::NodeType::Scalar:
        scalar(node);
        break;
      default:
        out_.null();
    }
  }

  const std::string& text() const { return out_.text(); }

  std::string at(const YAML::Mark& mark) const {
    if (mark.is_null()) return name_;
    return name_ + ":" + std::to_string(mark.line + 1) + ":" + std::to_string(mark.column + 1);
  }

 private:
  void map(const YAML::Node& node, int depth) {
    out_.begin_object();
    for (const auto& member : node) {
      if (!member.first.IsScalar()) {
        throw InputError(at(member.first.Mark()), "names a field by a list or a map", "");
      }
      out_.key(member.first.Scalar());
      write(member.second, depth + 1);
    }
    out_.end_object();
  }

  void scalar(const YAML::Node& node) {
    const std::string& text = node.Scalar();
    if (node.Tag() == "!") {  // it stands in quotes
      out_.value(text);
    } else if (text == "true" || text == "false") {
      out_.value(text == "true");
    } else if (text == "null" || text == "~" || text.empty()) {
      out_.null();
    } else if (text.find_first_of("0123456789") <= 2) {  // "-.5"; not "inf", which JSON has not
      number_or_text(text);
    } else {
      out_.value(text);
    }
  }

  void number_or_text(const std::string& text) {
    const char* const begin = text.data() + (text.starts_with('+') ? 1 : 0);
    const char* const end = text.data() + text.size();
    std::int64_t whole = 0;
    double number = 0;
    if (const auto [rest, error] = std::from_chars(begin, end, whole);
        error == std::errc() && rest == end) {
      out_.value(whole);
    } else if (const auto [behind, fault] = std::from_chars(begin, end, number);
               fault == std::errc() && behind == end) {
      out_.value(number);
    } else {
      out_.value(text);
    }
  }

  const std::string& name_;
  JsonWriter out_{0};
  int nodes_ = 0;
};

}  // namespace

std::string yaml_to_json(const std::string& text, const std::string& name) {
  Converter converter(name);
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(text);
    if (documents.size() > 1) {
      throw InputError(converter.at(documents[1].Mark()), "begins a second document",
                       "keep one, without ---");
    }
    converter.write(documents.empty() ? YAML::Node() : documents[0], 0);
  } catch (const YAML::Exception& error) {
    throw InputError(converter.at(error.mark), error.msg, "is it YAML?");
  }
  return converter.text();
}

#else

std::string yaml_to_json(const std::string&, const std::string& name) {
  throw MissingPart(name, "is YAML, and this program was built without yaml-cpp",
                    "write it as JSON, or install libyaml-cpp-dev and build again");
}

#endif

}  // namespace parallel_opt
