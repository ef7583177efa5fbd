#include "parallel_opt/importers/srepr.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <map>
#include <set>
#include <utility>

namespace parallel_opt {
namespace {

using Monomial = std::vector<std::string>;  // sorted atoms: symbols and function calls
/// Lower degree last, so that the constant ends the text.
struct ByDegree {
  bool operator()(const Monomial& a, const Monomial& b) const {
    return a.size() != b.size() ? a.size() > b.size() : a < b;
  }
};
using Polynomial = std::map<Monomial, std::int64_t, ByDegree>;

constexpr std::size_t kMaxTerms = 64;
constexpr std::size_t kMaxDegree = 8;
constexpr int kMaxDepth = 64;

/// numerator / denominator, both polynomials.
struct Fraction {
  Polynomial numerator;
  Polynomial denominator;
};

struct Unsupported {};  // leaves the recursive parser; never leaves this file

Polynomial constant(std::int64_t n) { return n == 0 ? Polynomial{} : Polynomial{{Monomial{}, n}}; }

Fraction whole(Polynomial p) { return {std::move(p), constant(1)}; }

bool is_one(const Polynomial& p) { return p == constant(1); }

std::optional<std::int64_t> constant_value(const Polynomial& p) {
  if (p.empty()) return 0;
  if (p.size() == 1 && p.begin()->first.empty()) return p.begin()->second;
  return std::nullopt;
}

void add_term(Polynomial& p, const Monomial& monomial, std::int64_t factor) {
  std::int64_t& sum = p[monomial];
  if (__builtin_add_overflow(sum, factor, &sum)) throw Unsupported{};
  if (sum == 0) p.erase(monomial);
  if (p.size() > kMaxTerms) throw Unsupported{};
}

Polynomial add(Polynomial a, const Polynomial& b) {
  for (const auto& [monomial, factor] : b) add_term(a, monomial, factor);
  return a;
}

Polynomial multiply(const Polynomial& a, const Polynomial& b) {
  Polynomial product;
  for (const auto& [left, m] : a) {
    for (const auto& [right, n] : b) {
      std::int64_t factor = 0;
      if (__builtin_mul_overflow(m, n, &factor)) throw Unsupported{};
      if (left.size() + right.size() > kMaxDegree) throw Unsupported{};
      Monomial both;
      std::merge(left.begin(), left.end(), right.begin(), right.end(), std::back_inserter(both));
      add_term(product, both, factor);
    }
  }
  return product;
}

std::string print(const Polynomial& p) {
  std::string text;
  for (const auto& [monomial, factor] : p) {
    const bool negative = factor < 0;
    if (text.empty()) {
      if (negative) text = "-";
    } else {
      text += negative ? " - " : " + ";
    }
    // The magnitude of INT64_MIN is no int64.
    const std::uint64_t size =
        negative ? 0 - static_cast<std::uint64_t>(factor) : static_cast<std::uint64_t>(factor);
    std::string product = size == 1 && !monomial.empty() ? "" : std::to_string(size);
    for (const std::string& atom : monomial) product += (product.empty() ? "" : "*") + atom;
    text += product;
  }
  return text.empty() ? "0" : text;
}

Polynomial atom(std::string text) {
  if (text.size() > 4096) throw Unsupported{};
  return {{Monomial{std::move(text)}, 1}};
}

Polynomial call(std::string_view function, const std::vector<Polynomial>& arguments) {
  std::string text(function);
  text += '(';
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    text += (i == 0 ? "" : ", ") + print(arguments[i]);
  }
  return atom(text + ")");
}

/// Rounds down; exact constants are folded.
Polynomial floor_divide(const Polynomial& a, const Polynomial& b) {
  if (b.empty()) throw Unsupported{};
  if (is_one(b)) return a;
  const auto divisor = constant_value(b);
  const auto dividend = constant_value(a);
  if (divisor && dividend && *divisor > 0 && *dividend >= 0) return constant(*dividend / *divisor);
  if (divisor && *divisor > 1 &&
      std::ranges::all_of(a, [&](const auto& term) { return term.second % *divisor == 0; })) {
    Polynomial quotient;
    for (const auto& [monomial, factor] : a) quotient[monomial] = factor / *divisor;
    return quotient;
  }
  return call("FloorDiv", {a, b});
}

Polynomial ceil_divide(const Polynomial& a, const Polynomial& b) {
  return floor_divide(add(add(a, b), constant(-1)), b);
}

Polynomial modulo(const Polynomial& a, const Polynomial& b) {
  const auto divisor = constant_value(b), dividend = constant_value(a);
  if (divisor && *divisor <= 0) throw Unsupported{};
  if (divisor && dividend && *dividend >= 0) return constant(*dividend % *divisor);
  return call("Mod", {a, b});
}

/// The polynomial a fraction stands for when it is known to be whole.
Polynomial exact(const Fraction& f) { return floor_divide(f.numerator, f.denominator); }

Fraction power(const Fraction& base, const Fraction& exponent) {
  const auto n = constant_value(exact(exponent));
  if (n && *n >= -8 && *n <= 8) {
    Fraction result = whole(constant(1));
    for (int i = 0; i < std::abs(static_cast<int>(*n)); ++i) {
      result = {multiply(result.numerator, base.numerator),
                multiply(result.denominator, base.denominator)};
    }
    if (*n < 0) std::swap(result.numerator, result.denominator);
    if (result.denominator.empty()) throw Unsupported{};
    return result;
  }
  if (n && *n < 0) throw Unsupported{};
  return whole(call("Pow", {exact(base), exact(exponent)}));
}

Fraction sum(const Fraction& a, const Fraction& b) {
  if (a.denominator == b.denominator) return {add(a.numerator, b.numerator), a.denominator};
  return {add(multiply(a.numerator, b.denominator), multiply(b.numerator, a.denominator)),
          multiply(a.denominator, b.denominator)};
}

Fraction product(const Fraction& a, const Fraction& b) {
  return {multiply(a.numerator, b.numerator), multiply(a.denominator, b.denominator)};
}

Fraction quotient(const Fraction& a, const Fraction& b) {
  if (b.numerator.empty()) throw Unsupported{};
  return product(a, {b.denominator, b.numerator});
}

/// One grammar for both forms: srepr is calls over names, numbers and quoted names; the plain form
/// adds operators.
class Parser {
 public:
  Parser(std::string_view text, const std::map<std::string, std::string>& renames)
      : text_(text), renames_(renames) {}

  Fraction parse() {
    Fraction value = expression();
    skip();
    if (at_ != text_.size()) throw Unsupported{};
    return value;
  }
  const std::set<std::string>& symbols() const { return symbols_; }

 private:
  void skip() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  bool accept(std::string_view token) {
    skip();
    if (!text_.substr(at_).starts_with(token)) return false;
    at_ += token.size();
    return true;
  }
  void expect(std::string_view token) {
    if (!accept(token)) throw Unsupported{};
  }

  Fraction expression() {
    if (++depth_ > kMaxDepth) throw Unsupported{};
    Fraction value = term();
    while (true) {
      if (accept("+")) {
        value = sum(value, term());
      } else if (accept("-")) {
        value = sum(value, product(whole(constant(-1)), term()));
      } else {
        --depth_;
        return value;
      }
    }
  }

  Fraction term() {
    Fraction value = factor();
    while (true) {
      if (accept("//")) {
        const Fraction divisor = factor();
        value = whole(floor_divide(exact(value), exact(divisor)));
      } else if (accept("*")) {
        value = product(value, factor());
      } else if (accept("/")) {
        value = quotient(value, factor());
      } else if (accept("%")) {
        const Fraction divisor = factor();
        value = whole(modulo(exact(value), exact(divisor)));
      } else {
        return value;
      }
    }
  }

  Fraction factor() {
    if (++depth_ > kMaxDepth) throw Unsupported{};
    Fraction value;
    if (accept("-")) {
      value = product(whole(constant(-1)), factor());
    } else {
      value = primary();
      if (accept("**")) value = power(value, factor());
    }
    --depth_;
    return value;
  }

  Fraction primary() {
    if (accept("(")) {
      Fraction value = expression();
      expect(")");
      return value;
    }
    skip();
    if (at_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at_]))) {
      return whole(constant(number()));
    }
    const std::string word = name();
    if (word.empty()) throw Unsupported{};
    if (!accept("(")) return symbol(word);
    if (word == "Symbol") return quoted_symbol();
    return function(word, arguments());
  }

  std::int64_t number() {
    std::int64_t value = 0;
    const char* begin = text_.data() + at_;
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
    if (error != std::errc{}) throw Unsupported{};
    at_ += static_cast<std::size_t>(end - begin);
    return value;
  }

  std::string name() {
    skip();
    const std::size_t begin = at_;
    while (at_ < text_.size() &&
           (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '_')) {
      ++at_;
    }
    return std::string(text_.substr(begin, at_ - begin));
  }

  Fraction symbol(const std::string& word) {
    const auto renamed = renames_.find(word);
    const std::string& name_of_it = renamed == renames_.end() ? word : renamed->second;
    symbols_.insert(name_of_it);
    return whole(atom(name_of_it));
  }

  /// The rest of Symbol('s77', positive=True, integer=True): what it is assumed to be is in the
  /// ranges anyway.
  Fraction quoted_symbol() {
    expect("'");
    const std::string word = name();
    expect("'");
    if (word.empty() || std::isdigit(static_cast<unsigned char>(word[0]))) throw Unsupported{};
    while (accept(",")) {
      if (name().empty()) throw Unsupported{};
      expect("=");
      if (name().empty()) throw Unsupported{};
    }
    expect(")");
    return symbol(word);
  }

  std::vector<Fraction> arguments() {
    std::vector<Fraction> values;
    if (accept(")")) return values;
    do {
      // sympy marks unevaluated calls: evaluate=False
      const std::size_t back = at_;
      if (accept("evaluate") && accept("=")) {
        name();
        continue;
      }
      at_ = back;
      values.push_back(expression());
    } while (accept(","));
    expect(")");
    return values;
  }

  Fraction function(std::string_view word, const std::vector<Fraction>& a) {
    if (word == "Add" || word == "Mul") {
      Fraction value = whole(constant(word == "Mul" ? 1 : 0));
      for (const Fraction& f : a) value = word == "Mul" ? product(value, f) : sum(value, f);
      return value;
    }
    if (word == "Max" || word == "Min") {
      std::vector<Polynomial> exacts;
      for (const Fraction& f : a) exacts.push_back(exact(f));
      if (exacts.empty()) throw Unsupported{};
      std::ranges::sort(exacts, {}, print);
      return exacts.size() == 1 ? whole(exacts.front()) : whole(call(word, exacts));
    }
    if (a.size() == 1) return unary(word, a[0]);
    if (a.size() == 2) return binary(word, a[0], a[1]);
    if (word == "ModularIndexing" && a.size() == 3) {
      return whole(modulo(floor_divide(exact(a[0]), exact(a[1])), exact(a[2])));
    }
    throw Unsupported{};
  }

  static Fraction unary(std::string_view word, const Fraction& a) {
    if (word == "Integer" || word == "Identity" || word == "ToFloat" || word == "TruncToFloat") {
      return a;
    }
    if (word == "ceiling" || word == "CeilToInt") {
      return whole(ceil_divide(a.numerator, a.denominator));
    }
    // Sizes are never negative: cutting off is rounding down.
    if (word == "floor" || word == "FloorToInt" || word == "TruncToInt") return whole(exact(a));
    throw Unsupported{};
  }

  static Fraction binary(std::string_view word, const Fraction& a, const Fraction& b) {
    if (word == "Pow" || word == "PowByNatural") return power(a, b);
    if (word == "Rational" || word == "IntTrueDiv" || word == "FloatTrueDiv") return quotient(a, b);
    if (word == "FloorDiv" || word == "CleanDiv") {
      // a/b is kept when it is a fraction already: floor((x/2)/3) = floor(x/6)
      const Fraction ratio = quotient(a, b);
      return whole(exact(ratio));
    }
    if (word == "CeilDiv") return whole(ceil_divide(exact(a), exact(b)));
    if (word == "Mod" || word == "PythonMod") return whole(modulo(exact(a), exact(b)));
    if (word == "LShift") return product(a, power(whole(constant(2)), b));
    if (word == "RShift") {
      return whole(floor_divide(exact(a), exact(power(whole(constant(2)), b))));
    }
    throw Unsupported{};
  }

  std::string_view text_;
  const std::map<std::string, std::string>& renames_;
  std::size_t at_ = 0;
  int depth_ = 0;
  std::set<std::string> symbols_;
};

}  // namespace

std::optional<SizeExpression> parse_size_expression(
    std::string_view text, const std::map<std::string, std::string>& renames) {
  if (text.size() > 1 << 16) return std::nullopt;
  try {
    Parser parser(text, renames);
    const Polynomial value = exact(parser.parse());
    SizeExpression result;
    result.text = print(value);
    result.symbols.assign(parser.symbols().begin(), parser.symbols().end());
    std::int64_t offset = 0;
    Polynomial rest = value;
    if (const auto it = rest.find(Monomial{}); it != rest.end()) {
      offset = it->second;
      rest.erase(it);
    }
    if (result.symbols.size() == 1 && rest.size() == 1 &&
        rest.begin()->first == Monomial{result.symbols.front()}) {
      result.affine = SizeExpression::Affine{rest.begin()->second, offset};
    }
    return result;
  } catch (const Unsupported&) {
    return std::nullopt;
  }
}

}  // namespace parallel_opt
