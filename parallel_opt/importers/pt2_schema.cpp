#include "parallel_opt/importers/pt2_schema.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <limits>
#include <unordered_map>
#include <vector>

#include "parallel_opt/base/embedded.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/graph/symbol.h"

namespace parallel_opt::pt2 {

using Node = JsonTree::Node;
using Kind = JsonTree::Kind;

Variant variant_of(Node node) {
  if (!node.is(Kind::object) || node.size() == 0) return {};
  // Some writers keep the other members as null.
  for (std::size_t i = 0; i < node.size(); ++i) {
    if (!node.at(i).none() || node.size() == 1) return {node.key(i), node.at(i)};
  }
  return {};
}

std::optional<DType> dtype_of(std::int64_t code) {
  switch (code) {
    case 1:
      return DType::u8;
    case 2:
      return DType::i8;
    case 3:
      return DType::i16;
    case 4:
      return DType::i32;
    case 5:
      return DType::i64;
    case 6:
      return DType::fp16;
    case 7:
      return DType::fp32;
    case 8:
      return DType::fp64;
    case 9:
      return DType::complex32;
    case 10:
      return DType::complex64;
    case 11:
      return DType::complex128;
    case 12:
      return DType::boolean;
    case 13:
      return DType::bf16;
    case 28:
      return DType::u16;
    case 29:
      return DType::fp8_e4m3fn;
    case 30:
      return DType::fp8_e5m2;
    case 31:
      return DType::fp8_e4m3fnuz;
    case 32:
      return DType::fp8_e5m2fnuz;
    case 33:
      return DType::fp8_e8m0fnu;
    case 34:
      return DType::u32;
    case 35:
      return DType::u64;
    default:
      return std::nullopt;
  }
}

std::string layout_name(std::int64_t code) {
  constexpr std::array<std::string_view, 8> kNames = {"unknown",    "sparse_coo", "sparse_csr",
                                                      "sparse_csc", "sparse_bsr", "sparse_bsc",
                                                      "mkldnn",     "strided"};
  if (code < 0 || code >= std::int64_t{kNames.size()}) return "layout " + std::to_string(code);
  return std::string(kNames[static_cast<std::size_t>(code)]);
}

std::string memory_format_name(std::int64_t code) {
  constexpr std::array<std::string_view, 5> kNames = {"unknown", "contiguous", "channels_last",
                                                      "channels_last_3d", "preserve"};
  if (code < 0 || code >= std::int64_t{kNames.size()}) {
    return "memory format " + std::to_string(code);
  }
  return std::string(kNames[static_cast<std::size_t>(code)]);
}

std::optional<double> number_of(Node node) {
  if (node.is(Kind::integer) || node.is(Kind::number)) return node.number();
  if (!node.is(Kind::string)) return std::nullopt;
  if (node.string() == "Infinity") return std::numeric_limits<double>::infinity();
  if (node.string() == "-Infinity") return -std::numeric_limits<double>::infinity();
  if (node.string() == "NaN") return std::numeric_limits<double>::quiet_NaN();
  return std::nullopt;
}

std::string device_name(Node device) {
  const Node type = device["type"];
  if (!type.is(Kind::string)) return device.is(Kind::string) ? std::string(device.string()) : "";
  const Node index = device["index"];
  std::string name(type.string());
  return index.is(Kind::integer) ? name + ":" + std::to_string(index.integer()) : name;
}

std::span<const std::string> required_tensors(std::string_view target) {
  using Table = std::unordered_map<std::string, std::vector<std::string>>;  // never iterated
  static const Table kTable = [] {
    const std::string name = "data/operators/required_tensors.json";
    const JsonTree tree(embedded_file(name).value_or("{}"), name);
    const Node root = tree.root();
    Table table;
    for (std::size_t i = 0; i < root.size(); ++i) {
      const std::vector<std::string> tensors = split(root.key(i), ' ');
      for (const std::string& op : split(root.at(i).string(), ' ')) table[op] = tensors;
    }
    return table;
  }();
  constexpr std::string_view kNamespace = "aten.";
  if (!target.starts_with(kNamespace)) return {};
  target.remove_prefix(kNamespace.size());
  const auto found = kTable.find(std::string(target.substr(0, target.find('.'))));
  return found == kTable.end() ? std::span<const std::string>() : found->second;
}

namespace {

bool is_symbol_name(std::string_view name) {
  return !name.empty() && !std::isdigit(static_cast<unsigned char>(name[0])) &&
         std::ranges::all_of(
             name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; });
}

/// Torch writes "no limit" as null, as 2^63 - 2 or as 2^63 - 1.
constexpr std::int64_t kNoLimit = INT64_MAX - 1;

}  // namespace

Symbols::Known& Symbols::known(const std::string& name) {
  const auto [it, fresh] = index_.try_emplace(name, symbols_.size());
  if (fresh) symbols_.push_back({Symbol{name, 0, INT64_MAX, 0}, false});
  return symbols_[it->second];
}

void Symbols::read_ranges(Node constraints) {
  for (std::size_t i = 0; i < constraints.size() && constraints.is(Kind::object); ++i) {
    const std::string name(constraints.key(i));
    if (!is_symbol_name(name)) {
      findings_.note("the range of the expression " + name + " was left out");
      continue;
    }
    const auto renamed = renames_.find(name);
    Symbol& symbol = known(renamed == renames_.end() ? name : renamed->second).symbol;
    const Node low = constraints.at(i)["min_val"], high = constraints.at(i)["max_val"];
    if (low.is(Kind::integer)) symbol.min = std::max<std::int64_t>(low.integer(), 0);
    // torch treats sizes 0 and 1 apart while it traces: 2 is its own floor, not the model's.
    if (symbol.min == 2) symbol.min = 1;
    if (high.is(Kind::integer) && high.integer() < kNoLimit) symbol.max = high.integer();
    if (symbol.max < symbol.min) {
      const Place root{nullptr, "range_constraints", SIZE_MAX}, place{&root, name, SIZE_MAX};
      findings_.fault(place, "the largest size is below the smallest");
      symbol.max = symbol.min;
    }
  }
}

Dim Symbols::read(Node node, const Place& place) {
  const Variant size = variant_of(node);
  if (size.key == "as_int" && size.value.is(Kind::integer)) return {size.value.integer(), ""};
  if (size.key == "as_expr") return expression(size.value, place);
  if (node.is(Kind::integer)) return {node.integer(), ""};
  findings_.fault(place, "is no size", "expected {\"as_int\": ...} or {\"as_expr\": ...}");
  return {};
}

Dim Symbols::expression(Node expr, const Place& place) {
  const Node text = expr["expr_str"];
  if (!text.is(Kind::string)) {
    findings_.fault(place, "a symbolic size without \"expr_str\"");
    return {};
  }
  Node hint = expr["hint"];  // null when the size depends on data
  if (hint.is(Kind::object)) hint = variant_of(hint).value;
  const auto [it, fresh] = parsed_.try_emplace(std::string(text.string()));
  if (fresh) it->second = parse_size_expression(text.string(), renames_);
  const std::optional<SizeExpression>& parsed = it->second;
  const bool hinted = hint.is(Kind::integer);
  if (!parsed) {
    const std::string what = "the size " + std::string(text.string()) + " is not understood";
    if (!hinted) {
      findings_.fault(place, what, "export the model with a fixed size there");
      return {};
    }
    findings_.note(what + ": fixed at " + std::to_string(hint.integer()));
    return {hint.integer(), ""};
  }
  for (const std::string& name : parsed->symbols) known(name);
  if (hinted && parsed->affine) {
    Known& only = known(parsed->symbols.front());
    const auto [scale, offset] = *parsed->affine;
    std::int64_t rest = 0;
    if (!only.hinted && scale > 0 && !__builtin_sub_overflow(hint.integer(), offset, &rest) &&
        rest >= 0 && rest % scale == 0) {
      only.symbol.hint = rest / scale;
      only.hinted = true;
    }
  }
  return {hinted ? hint.integer() : without_hint(*parsed, place),
          parsed->symbols.empty() ? "" : parsed->text};
}

std::int64_t Symbols::without_hint(const SizeExpression& expression, const Place& place) {
  std::map<std::string, std::int64_t> values;
  for (const std::string& name : expression.symbols) {
    Known& one = known(name);
    if (!one.hinted) {
      const auto seen = seen_.find(name);
      const std::int64_t size = seen == seen_.end() ? 1 : seen->second;
      one.symbol.hint = std::clamp(size, one.symbol.min, one.symbol.max);
      one.hinted = true;
      findings_.note("the size " + name + " depends on data: " +
                     (seen == seen_.end() ? "taken as " : "in the batch that was captured it is ") +
                     std::to_string(one.symbol.hint) + "; bind it to count with another");
    }
    values[name] = one.symbol.hint;
  }
  try {
    return evaluate(parse_expression(expression.text, ""), values, "");
  } catch (const InputError& e) {
    findings_.fault(place, e.what());
    return 0;
  }
}

std::vector<Symbol> Symbols::all() const {
  std::vector<Symbol> result;
  for (const Known& one : symbols_) {
    Symbol symbol = one.symbol;
    if (!one.hinted) symbol.hint = std::clamp<std::int64_t>(1, symbol.min, symbol.max);
    // Ranges say what later runs may have; the value at capture is a fact.
    symbol.min = std::min(symbol.min, symbol.hint);
    symbol.max = std::max(symbol.max, symbol.hint);
    result.push_back(std::move(symbol));
  }
  return result;
}

}  // namespace parallel_opt::pt2
