// clang-format off
// REJECTED add_bytes_and_seconds: no match for 'operator\+'|invalid operands to binary
// REJECTED compare_bytes_and_seconds: no match for 'operator<'|invalid operands to binary
// REJECTED multiply_watts_and_bytes: no match for 'operator\*'|invalid operands to binary
// REJECTED number_as_seconds: conversion from 'double' to non-scalar|no viable conversion from 'double'
// REJECTED seconds_as_number: cannot convert 'const .*Seconds'|no viable conversion from 'const
// clang-format on
#include "parallel_opt/base/units.h"

namespace parallel_opt {

constexpr Bytes kBytes(1);
constexpr Seconds kSeconds(1.0);
constexpr Watts kWatts(1.0);

constexpr Bytes kSum = kBytes + kBytes;
constexpr bool kLess = kSeconds < kSeconds;
constexpr Joules kProduct = kWatts * kSeconds;

#ifdef add_bytes_and_seconds
constexpr auto kWrong = kBytes + kSeconds;
#endif
#ifdef compare_bytes_and_seconds
constexpr auto kWrong = kBytes < kSeconds;
#endif
#ifdef multiply_watts_and_bytes
constexpr auto kWrong = kWatts * kBytes;
#endif
#ifdef number_as_seconds
constexpr Seconds kWrong = 1.0;
#endif
#ifdef seconds_as_number
constexpr double kWrong = kSeconds;
#endif

}  // namespace parallel_opt
