#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace parallel_opt {

/// Element types of tensors and of arithmetic. In base/ because both graphs and devices speak of
/// them.
enum class DType {
  boolean,
  u8,
  u16,
  u32,
  u64,
  i8,
  i16,
  i32,
  i64,
  fp8_e4m3fn,
  fp8_e4m3fnuz,
  fp8_e5m2,
  fp8_e5m2fnuz,
  fp8_e8m0fnu,
  fp16,
  bf16,
  fp32,
  fp64,
  complex32,
  complex64,
  complex128,
};

constexpr auto enum_names(DType) {
  return std::to_array<std::string_view>(
      {"bool", "u8",   "u16",        "u32",          "u64",       "i8",           "i16",
       "i32",  "i64",  "fp8_e4m3fn", "fp8_e4m3fnuz", "fp8_e5m2",  "fp8_e5m2fnuz", "fp8_e8m0fnu",
       "fp16", "bf16", "fp32",       "fp64",         "complex32", "complex64",    "complex128"});
}

/// Bytes of one element.
constexpr std::int64_t size_of(DType dtype) {
  constexpr std::array<std::int64_t, 21> kSizes = {1, 1, 2, 4, 8, 1, 2, 4, 8, 1, 1,
                                                   1, 1, 1, 2, 2, 4, 8, 4, 8, 16};
  return kSizes[static_cast<std::size_t>(dtype)];
}

constexpr bool is_floating(DType dtype) { return dtype >= DType::fp8_e4m3fn; }

}  // namespace parallel_opt
