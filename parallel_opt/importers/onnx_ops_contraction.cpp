#include <algorithm>
#include <array>
#include <map>

#include "parallel_opt/importers/onnx_ops.h"

/// Matrix products, einsum and convolutions.
namespace parallel_opt::onnx {

std::optional<Shape> matmul_of(Call& call, const Shape& a, const Shape& b) {
  if (a.empty() || b.empty()) {
    call.fault("a matrix product of " + show(a) + " and " + show(b));
    return std::nullopt;
  }
  const Dim& left = a.back();
  const Dim& right = b.size() == 1 ? b[0] : b[b.size() - 2];
  if (is_fixed(left) && is_fixed(right) && left.size != right.size) {
    call.fault("a matrix product of " + show(a) + " and " + show(b));
    return std::nullopt;
  }
  const auto outer = [](const Shape& shape) {
    return Shape(shape.begin(),
                 shape.end() - static_cast<std::ptrdiff_t>(std::min<std::size_t>(shape.size(), 2)));
  };
  auto result = broadcast(outer(a), outer(b));
  if (!result) {
    call.fault("a matrix product of " + show(a) + " and " + show(b));
    return std::nullopt;
  }
  if (a.size() > 1) result->push_back(a[a.size() - 2]);
  if (b.size() > 1) result->push_back(b.back());
  return result;
}

namespace {

void matmul_shape(Call& call) {
  if (!call.has(0) || !call.has(1)) return call.fault("takes two inputs");
  std::optional<Shape> shape;
  if (call.shape(0) != nullptr && call.shape(1) != nullptr) {
    shape = matmul_of(call, *call.shape(0), *call.shape(1));
  }
  call.set(0, call.element(0), std::move(shape));
}

void gemm_shape(Call& call) {
  const Shape *a = call.shape(0), *b = call.shape(1);
  if (a == nullptr || b == nullptr) return call.set(0, call.element(0), std::nullopt);
  if (a->size() != 2 || b->size() != 2) {
    return call.fault("takes matrices, not " + show(*a) + " and " + show(*b));
  }
  const bool left = call.whole("transA", 0) != 0, right = call.whole("transB", 0) != 0;
  const Dim &k = (*a)[left ? 0 : 1], &other = (*b)[right ? 1 : 0];
  if (is_fixed(k) && is_fixed(other) && k.size != other.size) {
    return call.fault("a matrix product of " + show(*a) + " and " + show(*b) +
                      (left || right ? ", transposed" : ""));
  }
  Shape result{(*a)[left ? 1 : 0], (*b)[right ? 0 : 1]};
  if (const Shape* bias = call.shape(2); bias != nullptr) {
    const auto both = broadcast(*bias, result);
    if (!both || both->size() != 2) {
      return call.fault("a bias of " + show(*bias) + " for a result of " + show(result));
    }
  }
  call.set(0, call.element(0), std::move(result));
}

TensorId transposed(Call& call, std::size_t i, bool wanted) {
  if (!wanted || call.shape(i) == nullptr) return call.tensor(i);
  return permuted(call, call.tensor(i), {1, 0}, call.element(i));
}

void gemm(Call& call) {
  const bool left = call.whole("transA", 0) != 0, right = call.whole("transB", 0) != 0;
  const bool plain = call.real("alpha", 1) == 1 && call.real("beta", 1) == 1;
  const Shape* bias = call.shape(2);
  if (!left && right && plain && (!call.has(2) || (bias != nullptr && bias->size() == 1))) {
    return call.emit("aten.linear.default", call.operands("input weight bias"));
  }
  const TensorId a = transposed(call, 0, left), b = transposed(call, 1, right);
  if (!call.has(2)) return call.emit("aten.mm.default", {{"self", a}, {"mat2", b}});
  call.emit("aten.addmm.default", {{"self", call.tensor(2)}, {"mat1", a}, {"mat2", b}},
            {{"alpha", call.real("alpha", 1)}, {"beta", call.real("beta", 1)}});
}

/// Sizes of the letters of an equation, and of the axes that its dots stand for.
struct EinsumAxes {
  std::map<char, Dim> letters;
  Shape dots;
};

/// Takes in one operand; false: a fault.
bool add_term(Call& call, std::string_view term, const Shape& shape, EinsumAxes& axes) {
  const std::size_t dot = term.find("...");
  const std::size_t named = dot == std::string_view::npos ? term.size() : term.size() - 3;
  if (named > shape.size() || (dot == std::string_view::npos && named != shape.size())) {
    call.fault("the term \"" + std::string(term) + "\" does not fit " + show(shape));
    return false;
  }
  std::size_t at = 0;
  Shape these;
  for (std::size_t k = 0; k < term.size(); ++k) {
    if (term[k] == '.') {
      for (std::size_t d = 0; d < shape.size() - named; ++d) these.push_back(shape[at++]);
      k += 2;
      continue;
    }
    const Dim& size = shape[at++];
    const auto [known, fresh] = axes.letters.try_emplace(term[k], size);
    const auto both = broadcast(known->second, size);
    if (!both) {
      call.fault(std::string("the letter '") + term[k] + "' is " + show(Shape{known->second}) +
                 " and " + show(Shape{size}));
      return false;
    }
    known->second = *both;
  }
  const auto both = broadcast(axes.dots, these);
  if (!both) {
    call.fault("the axes of the dots are " + show(axes.dots) + " and " + show(these));
    return false;
  }
  axes.dots = *both;
  return true;
}

/// "bij,bjk->bik": the sizes of letters; the dots stand for any number of axes.
std::optional<Shape> einsum_of(Call& call, const std::string& equation) {
  const std::size_t arrow = equation.find("->");
  EinsumAxes axes;
  auto& [letters, dots] = axes;
  std::string_view terms = std::string_view(equation).substr(0, arrow);
  for (std::size_t i = 0; i < call.in.size(); ++i) {
    const std::size_t end = std::min(terms.find(','), terms.size());
    const std::string_view term = terms.substr(0, end);
    terms.remove_prefix(std::min(end + 1, terms.size()));
    const Shape* shape = call.shape(i);
    if (shape == nullptr || !add_term(call, term, *shape, axes)) return std::nullopt;
  }
  std::string out = arrow == std::string::npos ? "" : equation.substr(arrow + 2);
  if (arrow == std::string::npos) {  // letters that occur once, sorted
    if (equation.find('.') != std::string::npos) out = "...";
    for (const auto& [letter, unused] : letters) {
      if (std::count(equation.begin(), equation.end(), letter) == 1) out += letter;
    }
  }
  Shape result;
  for (std::size_t k = 0; k < out.size(); ++k) {
    if (out[k] == '.') {
      result.insert(result.end(), dots.begin(), dots.end());
      k += 2;
    } else if (const auto known = letters.find(out[k]); known != letters.end()) {
      result.push_back(known->second);
    } else {
      call.fault("the result has an axis '" + std::string(1, out[k]) + "' that no operand has");
      return std::nullopt;
    }
  }
  return result;
}

std::string equation_of(Call& call) {
  std::string equation;
  for (const char c : call.text("equation")) {
    if (c > ' ' && c < 0x7f) equation += c;
  }
  return equation;
}

void einsum_shape(Call& call) { call.set(0, call.element(0), einsum_of(call, equation_of(call))); }

void einsum(Call& call) {
  call.emit("aten.einsum.default", call.operands("operands*"), {{"equation", equation_of(call)}});
}

void det_shape(Call& call) {
  const Shape* shape = call.shape(0);
  if (shape == nullptr || shape->size() < 2) return call.set(0, call.element(0), std::nullopt);
  call.set(0, call.element(0), Shape(shape->begin(), shape->end() - 2));
}

constexpr auto kContractionRules = std::to_array<OpRule>({
    {"MatMul", matmul_shape, "aten.matmul.default", "self other"},
    {"Gemm", gemm_shape, {}, {}, gemm},
    {"Einsum", einsum_shape, {}, {}, einsum},
    {"Det", det_shape, "aten.det.default", "self"},
});

}  // namespace

std::span<const OpRule> contraction_rules() { return kContractionRules; }

}  // namespace parallel_opt::onnx
