#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "parallel_opt/importers/onnx_external.h"

/// Element types, shapes and elements of stored tensors.
namespace parallel_opt::onnx {
namespace {

/// In the order of TensorProto.DataType; 4-bit and smaller types have no DType of their own.
struct ElementType {
  DType dtype = DType::u8;
  int bits = 0;  ///< 0: no numbers
};
constexpr auto kElements = std::to_array<ElementType>({
    {},                        // UNDEFINED
    {DType::fp32, 32},         // FLOAT
    {DType::u8, 8},            // UINT8
    {DType::i8, 8},            // INT8
    {DType::u16, 16},          // UINT16
    {DType::i16, 16},          // INT16
    {DType::i32, 32},          // INT32
    {DType::i64, 64},          // INT64
    {},                        // STRING
    {DType::boolean, 8},       // BOOL
    {DType::fp16, 16},         // FLOAT16
    {DType::fp64, 64},         // DOUBLE
    {DType::u32, 32},          // UINT32
    {DType::u64, 64},          // UINT64
    {DType::complex64, 64},    // COMPLEX64
    {DType::complex128, 128},  // COMPLEX128
    {DType::bf16, 16},         // BFLOAT16
    {DType::fp8_e4m3fn, 8},    // FLOAT8E4M3FN
    {DType::fp8_e4m3fnuz, 8},  // FLOAT8E4M3FNUZ
    {DType::fp8_e5m2, 8},      // FLOAT8E5M2
    {DType::fp8_e5m2fnuz, 8},  // FLOAT8E5M2FNUZ
    {DType::u8, 4},            // UINT4
    {DType::i8, 4},            // INT4
    {DType::u8, 4},            // FLOAT4E2M1
    {DType::fp8_e8m0fnu, 8},   // FLOAT8E8M0
    {DType::u8, 2},            // UINT2
    {DType::i8, 2},            // INT2
    {DType::u8, 6},            // FLOAT6E2M3
    {DType::u8, 6},            // FLOAT6E3M2
});

ElementType element_type(std::int64_t element) {
  if (element < 0 || static_cast<std::size_t>(element) >= kElements.size()) return {};
  return kElements[static_cast<std::size_t>(element)];
}

/// Bytes of a whole tensor in `raw_data` or an external file; -1: it has none (strings).
std::int64_t payload_bytes(std::int64_t element, std::int64_t count) {
  const int bits = element_type(element).bits;
  if (bits == 0) return -1;
  if (bits >= 8) return count * (bits / 8);
  return (count * bits + 7) / 8;
}

double half(std::uint16_t bits) {
  const int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
  const double magnitude = exponent == 0    ? std::ldexp(mantissa, -24)
                           : exponent == 31 ? (mantissa == 0 ? INFINITY : NAN)
                                            : std::ldexp(1024 + mantissa, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

double brain(std::uint16_t bits) {
  const std::uint32_t wide = static_cast<std::uint32_t>(bits) << 16;
  float value = 0;
  std::memcpy(&value, &wide, sizeof value);
  return static_cast<double>(value);
}

template <class T>
T load(std::string_view bytes, std::size_t i) {
  T value;
  std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof value);
  return value;
}

/// Element `i` of little-endian bytes; empty: a type that nobody folds.
bool append_raw(Data& data, DType dtype, std::string_view bytes, std::size_t i) {
  const auto whole = [&](std::int64_t value) { data.whole.push_back(fixed(value)); };
  switch (dtype) {
    case DType::boolean:
      whole(bytes[i] != 0 ? 1 : 0);
      return true;
    case DType::u8:
      whole(load<std::uint8_t>(bytes, i));
      return true;
    case DType::i8:
      whole(load<std::int8_t>(bytes, i));
      return true;
    case DType::u16:
      whole(load<std::uint16_t>(bytes, i));
      return true;
    case DType::i16:
      whole(load<std::int16_t>(bytes, i));
      return true;
    case DType::u32:
      whole(load<std::uint32_t>(bytes, i));
      return true;
    case DType::i32:
      whole(load<std::int32_t>(bytes, i));
      return true;
    case DType::u64:
    case DType::i64:
      whole(load<std::int64_t>(bytes, i));
      return true;
    case DType::fp16:
      data.reals.push_back(half(load<std::uint16_t>(bytes, i)));
      return true;
    case DType::bf16:
      data.reals.push_back(brain(load<std::uint16_t>(bytes, i)));
      return true;
    case DType::fp32:
      data.reals.push_back(static_cast<double>(load<float>(bytes, i)));
      return true;
    case DType::fp64:
      data.reals.push_back(load<double>(bytes, i));
      return true;
    default:
      return false;
  }
}

std::optional<Data> decode_lists(const ProtoTensor& tensor, DType dtype, std::size_t count) {
  Data data;
  data.real = is_floating(dtype);
  if (dtype == DType::fp32) {
    data.reals = decode_floats(tensor.float_data, count);
  } else if (dtype == DType::fp64) {
    data.reals = decode_doubles(tensor.double_data, count);
  } else {
    const bool wide = dtype == DType::i64;
    const bool natural = dtype == DType::u64 || dtype == DType::u32;
    const Texts& pieces = wide      ? tensor.int64_data
                          : natural ? tensor.uint64_data
                                    : tensor.int32_data;
    for (const std::int64_t value : decode_varints(pieces, count)) {
      if (dtype == DType::fp16) {
        data.reals.push_back(half(static_cast<std::uint16_t>(value)));
      } else if (dtype == DType::bf16) {
        data.reals.push_back(brain(static_cast<std::uint16_t>(value)));
      } else if (data.real) {
        return std::nullopt;
      } else {
        data.whole.push_back(fixed(value));
      }
    }
  }
  if (data.size() != count) return std::nullopt;
  return data;
}

}  // namespace

std::optional<DType> dtype_of(std::int64_t element) {
  const ElementType type = element_type(element);
  if (type.bits == 0) return std::nullopt;
  return type.dtype;
}

bool is_element(std::int64_t element) {
  constexpr std::int64_t kText = 8;
  return element == kText || dtype_of(element).has_value();
}

bool is_float(std::int64_t element) {
  const auto dtype = dtype_of(element);
  return dtype && is_floating(*dtype);
}

std::optional<std::int64_t> element_count(const Shape& shape) {
  constexpr std::int64_t kMost = std::int64_t(1) << 58;
  std::int64_t count = 1;
  for (const Dim& dim : shape) {
    if (__builtin_mul_overflow(count, std::max<std::int64_t>(dim.size, 1), &count) ||
        count > kMost) {
      return std::nullopt;
    }
  }
  for (const Dim& dim : shape) count = dim.size <= 0 ? 0 : count;
  return count;
}

Shape ExternalFiles::shape_of(const ProtoTensor& tensor, const std::vector<std::int64_t>& dims,
                              bool dense, const Place& place, Findings& findings) {
  const Place dims_place{&place, "dims", SIZE_MAX};
  Shape shape;
  for (const std::int64_t dim : dims) {
    if (dim < 0) {
      findings.fault(dims_place, "the size " + std::to_string(dim) + " is negative");
      return {};
    }
    shape.push_back(fixed(dim));
  }
  const auto count = element_count(shape);
  if (!count || shape.size() > 64) {
    findings.fault(dims_place, count ? "the tensor has more than 64 axes"
                                     : "the tensor has more than 2^58 elements");
    return {};
  }
  if (tensor.data_type <= 0 || static_cast<std::size_t>(tensor.data_type) >= kElements.size()) {
    findings.fault({&place, "data_type", SIZE_MAX},
                   "unknown element type " + std::to_string(tensor.data_type),
                   "is the file newer than this program?");
    return shape;
  }
  const std::int64_t bytes = payload_bytes(tensor.data_type, *count);
  if (tensor.external) {
    check_external(tensor, dense ? bytes : -1, place, findings);
  } else if (dense && bytes >= 0 && !tensor.raw_data.empty() &&
             static_cast<std::int64_t>(tensor.raw_data.size()) != bytes) {
    findings.fault({&place, "raw_data", SIZE_MAX}, "has " + std::to_string(tensor.raw_data.size()) +
                                                       " bytes, its shape needs " +
                                                       std::to_string(bytes));
  }
  return shape;
}

std::optional<Data> ExternalFiles::read_data(const ProtoTensor& tensor, const Shape& shape,
                                             std::size_t most) {
  const auto dtype = dtype_of(tensor.data_type);
  const auto count = element_count(shape);
  if (!dtype || element_type(tensor.data_type).bits < 8 || !count ||
      *count > static_cast<std::int64_t>(most)) {
    return std::nullopt;
  }
  const std::size_t n = static_cast<std::size_t>(*count);
  std::string read;
  std::string_view bytes = tensor.raw_data;
  if (tensor.external) {
    read = read_external(tensor, n * static_cast<std::size_t>(size_of(*dtype)));
    bytes = read;
    if (bytes.empty() && n > 0) return std::nullopt;
  } else if (bytes.empty()) {
    return decode_lists(tensor, *dtype, n);
  }
  if (bytes.size() < n * static_cast<std::size_t>(size_of(*dtype))) return std::nullopt;
  Data data;
  data.real = is_floating(*dtype);
  for (std::size_t i = 0; i < n; ++i) {
    if (!append_raw(data, *dtype, bytes, i)) return std::nullopt;
  }
  return data;
}

}  // namespace parallel_opt::onnx
