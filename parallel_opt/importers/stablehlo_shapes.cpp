#include <algorithm>
#include <array>

#include "parallel_opt/importers/stablehlo_import.h"

// Views, copies, gathers, sorting and new tensors.
namespace parallel_opt::stablehlo {
namespace {

using mlir::Op;

std::vector<std::int64_t> numbers_of(const Op& op, std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) {
    if (op.attributes.contains(name)) return mlir::integers(op.find(name));
  }
  return {};
}

Values reshape(Importer& m, const Op& op, const Values& in) {
  if (in.empty()) return m.opaque(op, in);
  const ResultType type = m.result(op, 0, {});
  const Dim before = sizes::product(m.shape(in[0]));
  const Dim after = sizes::product(type.shape);
  if (!before.symbolic() && !after.symbolic() && before.size != after.size) {
    m.out.fail("sizes " + sizes::text(m.shape(in[0])) + " cannot become " +
               sizes::text(type.shape));
  }
  const ValueId result = m.reshape(in[0], type.shape);
  if (result != in[0]) m.at(result).known = m.at(in[0]).known;
  return {result};
}

Values transpose(Importer& m, const Op& op, const Values& in) {
  const std::vector<std::int64_t> order = numbers_of(op, {"dims", "permutation"});
  if (in.size() != 1 || order.size() != m.shape(in[0]).size()) return m.opaque(op, in);
  std::vector<std::int64_t> sorted = order;
  std::ranges::sort(sorted);
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    if (sorted[i] != static_cast<std::int64_t>(i))
      m.out.fail("the permutation does not name every axis once");
  }
  return {m.permute(in[0], order)};
}

/// Axes of size one where the result has more, then an expanding view.
Values broadcast(Importer& m, const Op& op, const Values& in) {
  if (in.empty()) return m.opaque(op, in);
  const std::vector<std::int64_t> dims = numbers_of(op, {"dims", "broadcast_dimensions"});
  const ResultType type = m.result(op, 0, {});
  const Shape shape = m.shape(in[0]);
  if (dims.size() != shape.size())
    m.out.fail("the broadcast names other axes than the operand has");
  Shape wide(type.shape.size(), sizes::fixed(1));
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] < 0 || dims[i] >= static_cast<std::int64_t>(wide.size()))
      m.out.fail("the broadcast's axes are out of range");
    wide[static_cast<std::size_t>(dims[i])] = shape[i];
  }
  const ValueId aligned = m.reshape(in[0], wide);
  if (wide == type.shape) return {aligned};
  return {m.emit("aten.expand.default", {{"self", aligned}}, type)};
}

Values slice(Importer& m, const Op& op, const Values& in) {
  if (in.empty()) return m.opaque(op, in);
  const ResultType type = m.result(op, 0, {});
  if (type.shape == m.shape(in[0])) return {in[0]};
  return {m.emit("aten.slice.Tensor", {{"self", in[0]}}, type)};
}

/// A write at a place that is known at run time. It is made when something reads it: what a loop
/// writes run by run is never read inside.
Values update_slice(Importer& m, const Op& op, const Values& in) {
  if (in.size() < 2) return m.opaque(op, in);
  // A chain of writes is made from its first one on.
  if (m.at(in[0]).base != SIZE_MAX) m.tensor(in[0]);
  Value write;
  write.type = m.type(in[0]);
  write.base = in[0];
  write.update = in[1];
  write.region = m.out.region;
  return {m.add(std::move(write))};
}

Values concatenate(Importer& m, const Op& op, const Values& in) {
  if (in.empty()) return m.opaque(op, in);
  const std::vector<std::int64_t> axis =
      mlir::integers(op.find(op.attributes.contains("dim") ? "dim" : "dimension")
                         .substr(0, op.find("dimension").find(':')));
  Importer::Arguments operands;
  for (const ValueId id : in) operands.emplace_back("tensors", id);
  return {m.emit("aten.cat.default", operands, m.result(op, 0, {}),
                 {{"dim", axis.empty() ? std::int64_t{0} : axis[0]}})};
}

Values pad(Importer& m, const Op& op, const Values& in) {
  if (in.empty()) return m.opaque(op, in);
  return {m.emit("aten.pad.default", {{"self", in[0]}}, m.result(op, 0, in))};
}

Values made(Importer& m, const Op& op, const Values&) {
  return {m.emit("aten.arange.default", {}, m.result(op, 0, {}))};
}

Values random(Importer& m, const Op& op, const Values& in) {
  if (op.name.ends_with("rng_bit_generator")) {
    const ValueId bits = m.emit("aten.randint.default", {}, m.result(op, 1, {}));
    return {in.empty() ? bits : in[0], bits};
  }
  const bool normal = op.word("NORMAL") == "NORMAL" ||
                      op.find("rng_distribution").find("NORMAL") != std::string_view::npos;
  return {m.emit(normal ? "aten.randn.default" : "aten.rand.default", {}, m.result(op, 0, {}))};
}

Values reverse(Importer& m, const Op& op, const Values& in) {
  if (in.size() != 1) return m.opaque(op, in);
  return {m.emit("aten.flip.default", {{"self", in[0]}}, m.type(in[0]))};
}

/// Rows of a table by index are an embedding; the general form picks windows anywhere.
Values gather(Importer& m, const Op& op, const Values& in) {
  if (in.size() < 2) return m.opaque(op, in);
  const std::string_view numbers = op.find("dimension_numbers");
  const auto list = [&](std::string_view key) { return mlir::integers(mlir::entry(numbers, key)); };
  const std::vector<std::int64_t> window = numbers_of(op, {"slice_sizes"});
  const ResultType type = m.result(op, 0, {});
  const Shape& table = m.shape(in[0]);
  const std::vector<std::int64_t> zero = {0};
  const bool rows = table.size() == 2 && list("collapsed_slice_dims") == zero &&
                    list("start_index_map") == zero && window.size() == 2 && window[0] == 1 &&
                    window[1] == table[1].size && !type.shape.empty() &&
                    list("offset_dims") ==
                        std::vector<std::int64_t>{static_cast<std::int64_t>(type.shape.size()) - 1};
  if (rows) {
    const ValueId index = m.reshape(in[1], Shape(type.shape.begin(), type.shape.end() - 1));
    return {m.emit("aten.embedding.default", {{"weight", in[0]}, {"indices", index}}, type)};
  }
  return {m.emit("aten.take.default", {{"self", in[0]}, {"index", in[1]}}, type)};
}

Values scatter(Importer& m, const Op& op, const Values& in) {
  if (in.size() != 3) return m.opaque(op, in);
  const std::string_view how = m.reducer(op);
  const bool sum = how == "stablehlo.add";
  // A reducer that returns its second argument writes; others combine.
  const std::string target = sum           ? "aten.scatter_add.default"
                             : how.empty() ? "aten.scatter.src"
                                           : "aten.scatter_reduce.two";
  return {m.emit(target, {{"self", in[0]}, {"index", in[1]}, {"src", in[2]}}, m.type(in[0]))};
}

Values sort(Importer& m, const Op& op, const Values& in) {
  if (in.empty()) return m.opaque(op, in);
  const std::vector<std::int64_t> axis =
      mlir::integers(op.find("dimension").substr(0, op.find("dimension").find(':')));
  Values results;
  const std::int64_t dim = axis.empty() ? -1 : axis[0];
  // Keys are sorted; what is sorted along is gathered in their order.
  results.push_back(m.emit("aten.sort.default", {{"self", in[0]}}, m.type(in[0]), {{"dim", dim}}));
  for (std::size_t i = 1; i < in.size(); ++i) {
    results.push_back(m.emit("aten.gather.default", {{"self", in[i]}, {"index", results[0]}},
                             m.type(in[i]), {{"dim", dim}}));
  }
  return results;
}

Values top_k(Importer& m, const Op& op, const Values& in) {
  if (in.empty()) return m.opaque(op, in);
  return m.emit_all("aten.topk.default", {{"self", in[0]}},
                    {m.result(op, 0, {}), m.result(op, 1, {})}, {{"dim", std::int64_t{-1}}});
}

Values same(Importer&, const Op&, const Values& in) { return in; }

/// A size: known unless the text leaves it open.
Values dimension_size(Importer& m, const Op& op, const Values& in) {
  const std::vector<std::int64_t> axis =
      mlir::integers(op.find(op.attributes.contains("dim") ? "dim" : "dimension")
                         .substr(0, op.find("dimension").find(':')));
  if (in.size() != 1 || axis.empty() || axis[0] < 0 ||
      axis[0] >= static_cast<std::int64_t>(m.shape(in[0]).size())) {
    return m.opaque(op, in);
  }
  const Dim dim = m.shape(in[0])[static_cast<std::size_t>(axis[0])];
  Value value;
  value.type = m.result(op, 0, {});
  if (!dim.symbolic()) value.known = dim.size;
  return {m.add(std::move(value))};
}

constexpr auto kRows = std::to_array<HandlerRow>({{"reshape", reshape},
                                                  {"dynamic_reshape", reshape},
                                                  {"transpose", transpose},
                                                  {"broadcast_in_dim", broadcast},
                                                  {"dynamic_broadcast_in_dim", broadcast},
                                                  {"slice", slice},
                                                  {"real_dynamic_slice", slice},
                                                  {"dynamic_slice", slice},
                                                  {"dynamic_update_slice", update_slice},
                                                  {"concatenate", concatenate},
                                                  {"pad", pad},
                                                  {"dynamic_pad", pad},
                                                  {"iota", made},
                                                  {"dynamic_iota", made},
                                                  {"rng", random},
                                                  {"rng_bit_generator", random},
                                                  {"reverse", reverse},
                                                  {"gather", gather},
                                                  {"dynamic_gather", gather},
                                                  {"scatter", scatter},
                                                  {"sort", sort},
                                                  {"top_k", top_k},
                                                  {"optimization_barrier", same},
                                                  {"sharding_constraint", same},
                                                  {"get_dimension_size", dimension_size}});

}  // namespace

std::span<const HandlerRow> shape_handlers() { return kRows; }

}  // namespace parallel_opt::stablehlo
