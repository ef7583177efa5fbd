#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "parallel_opt/base/ids.h"
#include "parallel_opt/base/units.h"

namespace parallel_opt {

/// T is U or const U: lets one `fields()` serve reader and writer.
template <class T, class U>
concept SameAs = std::is_same_v<std::remove_const_t<T>, U>;

/// The name of an enumerator, as in JSON, command line and Python.
template <class E>
  requires std::is_enum_v<E>
constexpr std::string_view name_of(E e) {
  return enum_names(E{})[static_cast<std::size_t>(e)];
}

/// The enumerator of that name; empty when there is none.
template <class E>
  requires std::is_enum_v<E>
constexpr std::optional<E> enum_from(std::string_view name) {
  constexpr auto names = enum_names(E{});
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == name) return static_cast<E>(i);
  }
  return std::nullopt;
}

namespace json_detail {

template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};
template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};
template <class T>
struct IsMap : std::false_type {};
template <class T>
struct IsMap<std::map<std::string, T>> : std::true_type {};
template <class T>
struct IsQuantity : std::false_type {};
template <class U, class R>
struct IsQuantity<Quantity<U, R>> : std::true_type {};
template <class T>
struct IsId : std::false_type {};
template <class T>
struct IsId<Id<T>> : std::true_type {};

}  // namespace json_detail
}  // namespace parallel_opt
