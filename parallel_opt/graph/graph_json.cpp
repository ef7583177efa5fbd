#include "parallel_opt/graph/graph_json.h"

namespace parallel_opt {
namespace {

using Kind = JsonView::Kind;

bool all_of_kind(const JsonView& list, Kind kind) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (list.at(i).kind() != kind) return false;
  }
  return true;
}

}  // namespace

void write_json(JsonWriter& out, const Attribute& attribute) {
  const auto tagged = [&](std::string_view tag, const auto& value) {
    out.begin_object();
    out.key(tag);
    write_json(out, value);
    out.end_object();
  };
  if (std::holds_alternative<std::monostate>(attribute)) {
    out.null();
  } else if (const auto* flag = std::get_if<bool>(&attribute)) {
    out.value(*flag);
  } else if (const auto* number = std::get_if<std::int64_t>(&attribute)) {
    out.value(*number);
  } else if (const auto* real = std::get_if<double>(&attribute)) {
    tagged("real", *real);
  } else if (const auto* text = std::get_if<std::string>(&attribute)) {
    out.value(std::string_view(*text));
  } else if (const auto* numbers = std::get_if<std::vector<std::int64_t>>(&attribute)) {
    write_json(out, *numbers);
  } else if (const auto* reals = std::get_if<std::vector<double>>(&attribute)) {
    tagged("reals", *reals);
  } else if (const auto* flags = std::get_if<std::vector<bool>>(&attribute)) {
    out.begin_array();
    for (const bool element : *flags) out.value(element);
    out.end_array();
  }
}

void read_json(const JsonView& in, Attribute& attribute, std::vector<Fault>& faults) {
  switch (in.kind()) {
    case Kind::null:
      attribute = std::monostate();
      return;
    case Kind::boolean:
      attribute = in.boolean();
      return;
    case Kind::integer:
      attribute = in.integer();
      return;
    case Kind::string:
      attribute = in.string();
      return;
    case Kind::array:
      if (in.size() > 0 && all_of_kind(in, Kind::boolean)) {
        std::vector<bool> flags;
        flags.reserve(in.size());
        for (std::size_t i = 0; i < in.size(); ++i) flags.push_back(in.at(i).boolean());
        attribute = std::move(flags);
        return;
      }
      if (all_of_kind(in, Kind::integer)) {
        std::vector<std::int64_t> numbers;
        read_json(in, numbers, faults);
        attribute = std::move(numbers);
        return;
      }
      break;
    case Kind::object:
      // A number that JSON cannot hold (an infinity) was written as null: it comes back as such.
      if (const auto real = in.find("real"); real && in.size() == 1) {
        double value = 0;
        if (real->kind() == Kind::null) {
          attribute = std::monostate();
        } else {
          read_json(*real, value, faults);
          attribute = value;
        }
        return;
      }
      if (const auto reals = in.find("reals"); reals && in.size() == 1) {
        std::vector<double> values;
        read_json(*reals, values, faults);
        attribute = std::move(values);
        return;
      }
      break;
    case Kind::number:
      break;
  }
  json_detail::wrong_kind(in, "an attribute", faults);
}

template <>
void write_schema<Attribute>(JsonWriter& out, std::string_view description) {
  out.begin_object();
  if (!description.empty()) {
    out.key("description");
    out.value(description);
  }
  out.key("type");
  out.begin_array();
  for (const std::string_view type : {"null", "boolean", "integer", "string", "array", "object"}) {
    out.value(type);
  }
  out.end_array();
  out.end_object();
}

Graph graph_from_json(std::string_view text, const std::string& name) {
  Graph graph = from_json<Graph>(text, name);
  std::vector<Fault> faults = check(graph);
  for (Fault& fault : faults) fault.where = name + ": " + fault.where;
  throw_if_any(std::move(faults));
  return graph;
}

}  // namespace parallel_opt
