// clang-format off
// REJECTED compare_operator_and_tensor: no match for 'operator=='|invalid operands to binary
// REJECTED operator_as_tensor: conversion from .* to non-scalar type|no viable conversion from
// REJECTED number_as_operator: conversion from 'int' to non-scalar type|no viable conversion from 'int'
// clang-format on
#include "parallel_opt/base/ids.h"

namespace parallel_opt {

constexpr OpId kOp(1);
constexpr TensorId kTensor(1);
constexpr bool kEqual = kOp == OpId(1) && kTensor == TensorId(1);

#ifdef compare_operator_and_tensor
constexpr bool kWrong = kOp == kTensor;
#endif
#ifdef operator_as_tensor
constexpr TensorId kWrong = kOp;
#endif
#ifdef number_as_operator
constexpr OpId kWrong = 1;
#endif

}  // namespace parallel_opt
