#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

namespace parallel_opt {

/// An index into one kind of table. Ids of two kinds never mix: `Id<Op>` is no `Id<Tensor>`.
/// A default id is invalid.
template <class Tag>
struct Id {
  std::int32_t value = -1;

  constexpr Id() = default;
  constexpr explicit Id(std::int32_t v) : value(v) {}
  constexpr explicit Id(std::size_t v) : value(static_cast<std::int32_t>(v)) {}

  constexpr bool valid() const { return value >= 0; }
  constexpr std::size_t index() const { return static_cast<std::size_t>(value); }
  constexpr auto operator<=>(const Id&) const = default;
};

using OpId = Id<struct OpTag>;          ///< operator in a Graph
using TensorId = Id<struct TensorTag>;  ///< tensor in a Graph
using DeviceId = Id<struct DeviceTag>;  ///< device in a Cluster

}  // namespace parallel_opt
