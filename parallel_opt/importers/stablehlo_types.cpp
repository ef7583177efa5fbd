#include <algorithm>
#include <array>

#include "parallel_opt/base/json_traits.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/importers/stablehlo_import.h"

// Do the types that the text states follow from each other? Sizes that are open agree with any.
namespace parallel_opt::stablehlo {
namespace {

using mlir::Op;

bool same_size(const Dim& a, const Dim& b) {
  return a.symbolic() || b.symbolic() || a.size == b.size;
}

bool same_shape(const Shape& a, const Shape& b) { return std::ranges::equal(a, b, same_size); }

std::string text_of(const ResultType& type) {
  return std::string(name_of(type.dtype)) + " " + sizes::text(type.shape);
}

enum class Rule {
  none,
  same,        ///< operands and result have one type
  shape,       ///< one shape
  comparison,  ///< one type, and a result of that shape that is true or false
};

constexpr auto kSame = std::to_array<std::string_view>({"acos",      "asin",
                                                        "atan",      "cbrt",
                                                        "ceil",      "cosh",
                                                        "cosine",    "digamma",
                                                        "erf",       "erf_inv",
                                                        "erfc",      "exponential",
                                                        "floor",     "exponential_minus_one",
                                                        "lgamma",    "log",
                                                        "logistic",  "log_plus_one",
                                                        "negate",    "round_nearest_afz",
                                                        "rsqrt",     "round_nearest_even",
                                                        "sign",      "sine",
                                                        "sinh",      "sqrt",
                                                        "square",    "tan",
                                                        "tanh",      "add",
                                                        "atan2",     "divide",
                                                        "maximum",   "minimum",
                                                        "multiply",  "power",
                                                        "remainder", "shift_left",
                                                        "subtract",  "shift_right_arithmetic",
                                                        "not",       "shift_right_logical",
                                                        "and",       "or",
                                                        "xor",       "reverse",
                                                        "popcnt",    "count_leading_zeros",
                                                        "conj",      "reduce_precision"});
constexpr auto kShape = std::to_array<std::string_view>(
    {"abs", "complex", "convert", "imag", "is_finite", "is_inf", "real"});

Rule rule_of(std::string_view name) {
  const std::size_t dot = name.find('.');
  const std::string_view dialect = name.substr(0, dot), op = name.substr(dot + 1);
  if (dialect != "stablehlo" && dialect != "mhlo" && dialect != "chlo") return Rule::none;
  if (std::ranges::find(kSame, op) != kSame.end()) return Rule::same;
  if (std::ranges::find(kShape, op) != kShape.end()) return Rule::shape;
  return op == "compare" ? Rule::comparison : Rule::none;
}

/// "dense<[[1, 2], [3, 4]]>": how many numbers are listed; nothing for one that fills the tensor,
/// for bytes and for complex numbers.
std::optional<std::int64_t> listed(std::string_view text) {
  const std::size_t open = text.find("dense<");
  if (open == std::string_view::npos) return std::nullopt;
  std::string_view inside = text.substr(open + 6);
  if (!inside.starts_with('[') || inside.find('(') != std::string_view::npos) return std::nullopt;
  inside = inside.substr(0, inside.rfind('>'));
  const bool empty = inside.find_first_not_of("[], ") == std::string_view::npos;
  return empty ? 0 : 1 + std::ranges::count(inside, ',');
}

struct SlicedAxis {
  std::int64_t start = 0, limit = 0, stride = 1;
};

/// Of a slice in either form; empty for one that is dynamic.
std::vector<SlicedAxis> sliced_axes(const Op& op) {
  std::vector<SlicedAxis> axes;
  const auto list = [&](std::string_view key) {
    const std::string_view text = op.find(key);
    return mlir::integers(text.substr(0, text.find("> :")));  // its type has numbers too
  };
  if (op.name.ends_with("dynamic_slice")) {
    const std::vector<std::int64_t> sizes = list("sizes");
    for (const std::int64_t size : sizes.empty() ? list("slice_sizes") : sizes) {
      axes.push_back({0, size, 1});
    }
    return axes;
  }
  if (const std::string_view text = op.word("["); !text.empty()) {
    for (const std::string& part : split(text.substr(1, text.size() - 2), ',')) {
      const std::vector<std::int64_t> numbers = mlir::integers(part);
      if (numbers.size() < 2) return {};
      axes.push_back({numbers[0], numbers[1], numbers.size() > 2 ? numbers[2] : 1});
    }
    return axes;
  }
  const std::vector<std::int64_t> starts = list("start_indices"), limits = list("limit_indices"),
                                  strides = list("strides");
  const auto at = [](const std::vector<std::int64_t>& numbers, std::size_t i, std::int64_t usual) {
    return numbers.empty() ? usual : numbers[std::min(i, numbers.size() - 1)];  // one may fill all
  };
  const std::size_t count = std::max({starts.size(), limits.size(), strides.size()});
  for (std::size_t i = 0; i < count && !limits.empty(); ++i) {
    axes.push_back({at(starts, i, 0), at(limits, i, 0), at(strides, i, 1)});
  }
  return axes;
}

}  // namespace

bool agree(const ResultType& a, const ResultType& b) {
  return a.dtype == b.dtype && same_shape(a.shape, b.shape);
}

void Importer::differ(const Op& op, const std::string& what, const ResultType& a,
                      const ResultType& b) {
  out.fail("operator '" + std::string(op.name) + "': " + what + " " + text_of(a) + " and " +
           text_of(b));
}

void Importer::check_operands(const Op& op, const Values& in) {
  const std::vector<mlir::Type>& stated = op.operand_types;
  const auto check = [&](const mlir::Type& type, ValueId id) {
    if (!type.tensor || !at(id).tensor_type) return;
    const ResultType wanted = convert(type);
    if (agree(wanted, at(id).type)) return;
    differ(op, "an operand is stated as and is", wanted, at(id).type);
  };
  if (!op.apart && stated.size() == 1) {
    if (rule_of(op.name) != Rule::same && op.name != "return") return;
    for (const ValueId id : in) check(stated[0], id);
  } else if (!op.apart && stated.size() == 2 && in.size() == 3 && op.name == "stablehlo.select") {
    check(stated[0], in[0]);
    check(stated[1], in[1]);
    check(stated[1], in[2]);
  } else if (stated.size() == in.size()) {
    // The pretty form of several reductions names operands in pairs and types in two rows.
    if (op.name.ends_with(".reduce") && in.size() > 2) return;
    for (std::size_t i = 0; i < in.size(); ++i) check(stated[i], in[i]);
  } else if (op.apart) {
    out.fail("operator '" + std::string(op.name) + "' states " + std::to_string(stated.size()) +
             " types for " + std::to_string(in.size()) + " operands");
  }
}

void Importer::check_results(const Op& op, const Values& in, const Values& results) {
  const bool more = op.result_types.size() > op.result_count();
  if (op.result_types.size() < op.result_count()) out.fail("the result's type is missing");
  for (std::size_t i = 0; i < op.result_count(); ++i) {
    const mlir::Type& type = more ? op.result_types.back() : op.result_types[i];
    if (!type.tensor || !at(results[i]).tensor_type) continue;
    const ResultType wanted = convert(type);
    if (agree(wanted, at(results[i]).type)) continue;
    differ(op, "the result is stated as and is", wanted, at(results[i]).type);
  }
  if (results.size() != 1) return;
  const ResultType made = type(results[0]);
  const Rule rule = rule_of(op.name);
  for (std::size_t i = 0; i < in.size() && rule != Rule::none; ++i) {
    const ResultType& given = type(in[i]);
    const bool fits = rule == Rule::same ? agree(given, made) : same_shape(given.shape, made.shape);
    if (!fits) differ(op, "operand and result differ,", given, made);
    if (rule == Rule::comparison && !agree(given, type(in[0]))) {
      differ(op, "the operands differ,", type(in[0]), given);
    }
  }
  if (rule == Rule::comparison && made.dtype != DType::boolean) {
    out.fail("operator '" + std::string(op.name) + "': its result is " + text_of(made) +
             ", not true or false");
  }
  check_parts(op, in, made);
}

/// What has rules of its own.
void Importer::check_parts(const Op& op, const Values& in, const ResultType& made) {
  const std::string_view name = op.name.substr(op.name.find('.') + 1);
  const auto keeps_dtype = {"reshape",         "broadcast_in_dim", "slice", "transpose",
                            "concatenate",     "dynamic_slice",    "pad",   "gather",
                            "dynamic_reshape", "reduce_window"};
  if (in.empty()) return;
  const ResultType given = type(in[0]);
  if (std::ranges::find(keeps_dtype, name) != keeps_dtype.end() && given.dtype != made.dtype) {
    differ(op, "operand and result differ,", given, made);
  }
  if (name == "select" && in.size() == 3) {
    const bool one = given.shape.empty();
    if (given.dtype != DType::boolean || !(one || same_shape(given.shape, made.shape))) {
      differ(op, "the condition does not fit,", given, made);
    }
    if (!agree(type(in[1]), type(in[2])))
      differ(op, "the choices differ,", type(in[1]), type(in[2]));
  }
  if (name == "broadcast_in_dim") check_broadcast(op, in, made);
  if (name == "concatenate") check_concatenation(op, in, made);
  if (name == "pad") check_padding(op, in, made);
  if (name == "slice" || name == "dynamic_slice") check_slice(op, in, made);
  if (name == "reduce" && in.size() == 2) {
    const std::vector<std::int64_t> axes = mlir::integers(op.find("dimensions"));
    Shape kept;
    for (std::size_t i = 0; i < given.shape.size(); ++i) {
      const bool gone = std::ranges::find(axes, static_cast<std::int64_t>(i)) != axes.end();
      if (!gone) kept.push_back(given.shape[i]);
    }
    if (!agree({given.dtype, kept}, made)) {
      differ(op, "what follows and what is stated differ,", {given.dtype, kept}, made);
    }
  }
}

void Importer::check_broadcast(const Op& op, const Values& in, const ResultType& made) {
  const std::string_view key = op.attributes.contains("dims") ? "dims" : "broadcast_dimensions";
  const std::vector<std::int64_t> dims = mlir::integers(op.find(key));
  const Shape& given = shape(in[0]);
  for (std::size_t i = 0; i < std::min(dims.size(), given.size()); ++i) {
    const Dim& wide = made.shape[static_cast<std::size_t>(dims[i])];
    const bool one = !given[i].symbolic() && given[i].size == 1;
    if (!one && !same_size(given[i], wide)) {
      differ(op, "a size is neither 1 nor the result's,", type(in[0]), made);
    }
  }
}

/// Sizes of a slice's result: "[0:4:2, 1:3]", or lists of starts, limits and strides; those of a
/// dynamic one are stated.
void Importer::check_slice(const Op& op, const Values& in, const ResultType& made) {
  const ResultType& given = type(in[0]);
  const std::size_t rank = given.shape.size();
  const auto larger = [](const Dim& a, const Dim& b) {
    return !a.symbolic() && !b.symbolic() && a.size > b.size;
  };
  bool fits = made.shape.size() == rank;
  for (std::size_t i = 0; fits && i < rank; ++i) fits = !larger(made.shape[i], given.shape[i]);
  if (!fits) differ(op, "the part is no part of the whole,", given, made);
  const std::vector<SlicedAxis> axes = sliced_axes(op);
  if (axes.empty()) return;
  if (axes.size() != rank) {
    out.fail("operator '" + std::string(op.name) + "' slices " + std::to_string(axes.size()) +
             " axes of " + std::to_string(rank));
  }
  for (std::size_t i = 0; i < rank; ++i) {
    const SlicedAxis& a = axes[i];
    const bool open = given.shape[i].symbolic() || made.shape[i].symbolic();
    const bool inside = a.start >= 0 && a.limit >= a.start && a.stride >= 1 &&
                        (open || a.limit <= given.shape[i].size);
    if (!inside) {
      out.fail("operator '" + std::string(op.name) + "': " + std::to_string(a.start) + " to " +
               std::to_string(a.limit) + " by " + std::to_string(a.stride) +
               " is no part of axis " + std::to_string(i) + ", which has " +
               std::to_string(given.shape[i].size));
    }
    const std::int64_t left = (a.limit - a.start) / a.stride + ((a.limit - a.start) % a.stride > 0);
    if (!open && left != made.shape[i].size) {
      out.fail("operator '" + std::string(op.name) + "' leaves " + std::to_string(left) +
               " of axis " + std::to_string(i) + ", its result has " +
               std::to_string(made.shape[i].size));
    }
  }
}

/// Of each axis: what is put in front, behind, and between its elements.
void Importer::check_padding(const Op& op, const Values& in, const ResultType& made) {
  const Shape& given = shape(in[0]);
  const auto numbers = [&](std::string_view pretty, std::string_view generic) {
    const std::string_view text = op.find(op.attributes.contains(pretty) ? pretty : generic);
    std::vector<std::int64_t> list = mlir::integers(text.substr(0, text.find("> :")));
    if (text.empty()) list = {0};
    if (list.size() == 1) list.resize(given.size(), list[0]);  // dense<1> fills all
    return list;
  };
  const std::vector<std::int64_t> low = numbers("low", "edge_padding_low"),
                                  high = numbers("high", "edge_padding_high"),
                                  between = numbers("interior", "interior_padding");
  for (const auto* list : {&low, &high, &between}) {
    if (list->size() != given.size() || made.shape.size() != given.size()) {
      differ(op, "its padding does not fit,", type(in[0]), made);
    }
  }
  for (std::size_t i = 0; i < given.size(); ++i) {
    if (given[i].symbolic() || made.shape[i].symbolic()) continue;
    const std::int64_t gaps = std::max<std::int64_t>(given[i].size - 1, 0);
    const std::int64_t left = given[i].size + low[i] + high[i] + gaps * between[i];
    if (left == made.shape[i].size) continue;
    out.fail("operator '" + std::string(op.name) + "' leaves " + std::to_string(left) +
             " of axis " + std::to_string(i) + ", its result has " +
             std::to_string(made.shape[i].size));
  }
}

void Importer::check_concatenation(const Op& op, const Values& in, const ResultType& made) {
  const std::string_view key = op.attributes.contains("dim") ? "dim" : "dimension";
  const std::vector<std::int64_t> numbers = mlir::integers(op.find(key));
  if (numbers.empty()) return;
  if (numbers[0] < 0 || numbers[0] >= static_cast<std::int64_t>(made.shape.size())) {
    out.fail("joins along axis " + std::to_string(numbers[0]) + " of " +
             std::to_string(made.shape.size()));
  }
  const auto axis = static_cast<std::size_t>(numbers[0]);
  Dim total = sizes::fixed(0);
  bool open = made.shape[axis].symbolic();
  for (const ValueId id : in) {
    Shape other = shape(id);
    if (other.size() != made.shape.size()) differ(op, "a part has other axes,", type(id), made);
    open = open || other[axis].symbolic();
    total.size += other[axis].size;
    other[axis] = made.shape[axis];
    if (!agree({type(id).dtype, other}, made)) differ(op, "a part does not fit,", type(id), made);
  }
  if (!open && total.size != made.shape[axis].size) {
    out.fail("operator '" + std::string(op.name) + "': the parts are " +
             std::to_string(total.size) + " long, the result " +
             std::to_string(made.shape[axis].size));
  }
}

void Importer::check_constant(const Op& op, const ResultType& made) {
  const std::optional<std::int64_t> count = listed(constant_text(op));
  const Dim wanted = sizes::product(made.shape);
  if (!count || made.dtype == DType::complex64 || made.dtype == DType::complex128 ||
      wanted.symbolic() || *count == wanted.size)
    return;
  out.fail("a constant lists " + std::to_string(*count) + " numbers for " + text_of(made));
}

}  // namespace parallel_opt::stablehlo
