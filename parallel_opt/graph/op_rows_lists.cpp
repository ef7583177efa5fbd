#include <algorithm>
#include <array>
#include <deque>
#include <string>
#include <vector>

#include "parallel_opt/base/error.h"
#include "parallel_opt/graph/op_rows.h"

// Operators over lists of tensors, as optimizers and gradient clipping run them: aten._foreach_X
// does to each tensor of its lists what aten.X does to one; a fused optimizer is one kernel.
namespace parallel_opt::op_rows_detail {
namespace {

using enum OpClass;

constexpr auto kForeach = std::to_array<std::string_view>(
    {"abs",       "acos",      "add",   "addcdiv",    "addcmul", "asin",    "atan",    "ceil",
     "clamp_max", "clamp_min", "clone", "copy",       "cos",     "cosh",    "div",     "erf",
     "erfc",      "exp",       "expm1", "floor",      "frac",    "lerp",    "lgamma",  "log",
     "log10",     "log1p",     "log2",  "max",        "maximum", "minimum", "mm",      "mul",
     "neg",       "norm",      "pow",   "reciprocal", "round",   "rsqrt",   "sigmoid", "sign",
     "sin",       "sinh",      "sqrt",  "sub",        "tan",     "tanh",    "trunc",   "zero"});

// Operations per parameter: two moments (3 and 4), a root (4), a quotient and the step (4), decay
// and bias corrections (3).
constexpr double kAdam = 18;
constexpr double kMomentum = 6;
constexpr double kAdagrad = 12;

constexpr OpRow kFused[] = {
    {"aten._fused_adam", elementwise, "@list", "", "", "", "", kAdam},
    {"aten._fused_adamw", elementwise, "@list", "", "", "", "", kAdam},
    {"aten._fused_sgd", elementwise, "@list", "", "", "", "", kMomentum},
    {"aten._fused_adagrad", elementwise, "@list", "", "", "", "", kAdagrad},
    {"aten._foreach_powsum", reduction, "@list", "", "", "self", "", 2},
    {"aten._amp_foreach_non_finite_check_and_unscale", elementwise, "@list", "", "", "", "", 2},
};

}  // namespace

std::vector<OpRow> list_rows(std::span<const OpRow> rows) {
  static std::deque<std::string> names;
  std::vector<OpRow> lists(std::begin(kFused), std::end(kFused));
  for (const std::string_view name : kForeach) {
    const std::string single = "aten." + std::string(name);
    const auto row = std::ranges::find(rows, single, &OpRow::target);
    PO_CHECK(row != rows.end(), "a list operator of an operator without a row");
    OpRow list = *row;
    list.target = names.emplace_back("aten._foreach_" + std::string(name));
    list.space = "@list";
    list.mixed = list.selected = {};
    if (list.saves.find('+') != list.saves.npos) list.saves = "self";
    lists.push_back(list);
  }
  return lists;
}

}  // namespace parallel_opt::op_rows_detail
