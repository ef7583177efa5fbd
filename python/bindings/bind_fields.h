#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

#include <memory>
#include <string>

#include "parallel_opt/base/json.h"

/// Binds a struct from its one list of fields: read-only properties with their doc lines and types,
/// `to_json`, `from_json`, `==` and `repr`. Python holds no second data model.
namespace parallel_opt::bindings {

namespace nb = nanobind;

template <class M>
nb::object to_python(const M& value) {
  if constexpr (json_detail::IsOptional<M>::value) {
    return value ? to_python(*value) : nb::none();
  } else if constexpr (json_detail::IsVector<M>::value) {
    nb::list list;
    for (const auto& element : value) list.append(to_python(element));
    return list;
  } else if constexpr (json_detail::IsMap<M>::value) {
    nb::dict dict;
    for (const auto& [key, element] : value) dict[key.c_str()] = to_python(element);
    return dict;
  } else if constexpr (json_detail::IsQuantity<M>::value || json_detail::IsId<M>::value) {
    return nb::cast(value.value);
  } else if constexpr (std::is_enum_v<M>) {
    return nb::cast(name_of(value));
  } else {
    return nb::cast(value);
  }
}

/// The Python type of a field, for the stub.
template <class M>
std::string python_type() {
  if constexpr (json_detail::IsOptional<M>::value) {
    return python_type<typename M::value_type>() + " | None";
  } else if constexpr (json_detail::IsVector<M>::value) {
    return "list[" + python_type<typename M::value_type>() + "]";
  } else if constexpr (json_detail::IsMap<M>::value) {
    return "dict[str, " + python_type<typename M::mapped_type>() + "]";
  } else if constexpr (json_detail::IsQuantity<M>::value) {
    return std::is_integral_v<typename M::rep> ? "int" : "float";
  } else if constexpr (json_detail::IsId<M>::value) {
    return "int";
  } else if constexpr (std::is_enum_v<M> || std::is_same_v<M, std::string>) {
    return "str";
  } else if constexpr (std::is_same_v<M, bool>) {
    return "bool";
  } else if constexpr (std::is_integral_v<M>) {
    return "int";
  } else if constexpr (std::is_floating_point_v<M>) {
    return "float";
  } else {
    const nb::handle type = nb::type<M>();
    if (!type.is_valid()) throw nb::import_error("a field's struct is bound after its owner's");
    return nb::cast<std::string>(type.attr("__name__"));
  }
}

template <class T>
class PropertyBinder {
 public:
  PropertyBinder(nb::class_<T>& cls, T& probe) : cls_(cls), probe_(probe) {}
  void schema(std::string_view id) { cls_.attr("SCHEMA") = nb::cast(id); }
  template <class M>
  void operator()(std::string_view name, M& member, std::string_view doc) {
    const auto offset =
        reinterpret_cast<const char*>(&member) - reinterpret_cast<const char*>(&probe_);
    const std::string signature = "def " + std::string(name) + "(self) -> " + python_type<M>();
    const std::string text(doc);
    cls_.def_prop_ro(
        std::string(name).c_str(),
        [offset](const T& self) {
          return to_python(
              *reinterpret_cast<const M*>(reinterpret_cast<const char*>(&self) + offset));
        },
        nb::for_getter(nb::sig(signature.c_str())), text.c_str());
  }
  template <class M>
  void optional(std::string_view name, M& member, std::string_view doc) {
    (*this)(name, member, doc);
  }

 private:
  nb::class_<T>& cls_;
  T& probe_;
};

/// Nested structs must be bound before the structs that hold them.
template <class T>
nb::class_<T> bind_struct(nb::module_& m, const char* name, const char* doc) {
  nb::class_<T> cls(m, name, doc);
  auto probe = std::make_unique<T>();
  PropertyBinder<T> binder(cls, *probe);
  fields(binder, *probe);
  cls.def("to_json", [](const T& self) { return to_json(self); }, "The value as JSON text.");
  cls.def_static(
      "from_json",
      [](std::string_view text, const std::string& where) { return from_json<T>(text, where); },
      nb::arg("text"), nb::arg("where") = std::string(name),
      "Read JSON text. Raises InputError naming every wrong field; `where` starts each path.");
  cls.def(
      "__eq__", [](const T& self, const T& other) { return self == other; }, nb::is_operator(),
      nb::sig("def __eq__(self, arg: object, /) -> bool"));
  cls.def("__repr__", [name = std::string(name)](const T& self) {
    JsonWriter out(0);
    write_json(out, self);
    return name + "(" + out.text() + ")";
  });
  return cls;
}

}  // namespace parallel_opt::bindings
