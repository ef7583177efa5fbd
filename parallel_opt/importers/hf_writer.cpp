#include "parallel_opt/importers/hf_writer.h"

#include <algorithm>
#include <charconv>

#include "parallel_opt/base/json_traits.h"
#include "parallel_opt/graph/alias.h"
#include "parallel_opt/graph/symbol.h"

namespace parallel_opt::hf {
namespace {

/// "aten.scaled_dot_product_attention.default" and 12 -> "scaled_dot_prod_12"; short, so that no
/// name needs memory of its own.
std::string numbered(std::string_view target, std::size_t number) {
  const std::size_t start = target.find('.') + 1;
  const std::string_view stem = target.substr(start, target.find('.', start) - start);
  char text[16];
  const std::size_t letters = std::min<std::size_t>(stem.size(), 8);
  std::copy_n(stem.begin(), letters, text);
  text[letters] = '_';
  const auto end = std::to_chars(text + letters + 1, text + sizeof text, number);
  return {text, static_cast<std::size_t>(end.ptr - text)};
}

}  // namespace

Dim times(const Dim& a, const Dim& b) {
  const std::int64_t size = a.size * b.size;
  if (!a.symbolic() && !b.symbolic()) return {size, ""};
  const auto text = [](const Dim& d) {
    return d.symbolic() ? "(" + d.expression + ")" : std::to_string(d.size);
  };
  return {size, to_string(parse_expression(text(a) + "*" + text(b), "size"))};
}

Dim plus(const Dim& a, std::int64_t more) {
  if (!a.symbolic() || more == 0) return {a.size + more, a.expression};
  return {a.size + more,
          to_string(parse_expression(a.expression + " + " + std::to_string(more), "size"))};
}

Dim divided_up(const Dim& a, std::int64_t size) {
  const std::int64_t count = (a.size + size - 1) / size;
  if (!a.symbolic()) return {count, ""};
  return {count, "FloorDiv(" + a.expression + " + " + std::to_string(size - 1) + ", " +
                     std::to_string(size) + ")"};
}

GraphWriter::GraphWriter(std::string name, std::string source, DType dtype) : dtype_(dtype) {
  graph_.name = std::move(name);
  graph_.source = std::move(source);
}

GraphWriter::Scope::Scope(GraphWriter& writer, std::string_view name)
    : writer_(writer), length_(writer.path_.size()) {
  if (name.empty()) return;
  if (!writer.path_.empty()) writer.path_ += '.';
  writer.path_ += name;
}

std::string GraphWriter::joined(std::string_view name) const {
  std::string text;
  text.reserve(path_.size() + 1 + name.size());
  text += path_;
  if (!path_.empty() && !name.empty()) text += '.';
  text += name;
  return text;
}

Dim GraphWriter::symbol(const std::string& name, std::int64_t hint, std::int64_t max) {
  const std::int64_t limit = max > 0 ? max : INT64_MAX;
  graph_.symbols.push_back({name, 1, limit, std::min(hint, limit)});
  return {std::min(hint, limit), name};
}

TensorId GraphWriter::add_tensor(Tensor tensor) {
  graph_.tensors.push_back(std::move(tensor));
  return TensorId(graph_.tensors.size() - 1);
}

TensorId GraphWriter::input(const std::string& name, DType dtype, Shape shape) {
  Tensor tensor;
  tensor.name = name;
  tensor.role = TensorRole::input;
  tensor.dtype = dtype;
  tensor.shape = std::move(shape);
  graph_.inputs.push_back(add_tensor(std::move(tensor)));
  return graph_.inputs.back();
}

void GraphWriter::rerun(int call) {
  if (call > 0 && call_ == 0) {
    for (std::size_t i = 0; i < graph_.tensors.size(); ++i) {
      if (!graph_.tensors[i].fqn.empty()) shared_.emplace(graph_.tensors[i].fqn, TensorId(i));
    }
  }
  call_ = call;
}

TensorId GraphWriter::parameter(std::string_view name, Shape shape) {
  Tensor tensor;
  tensor.fqn = joined(name);
  if (call_ > 0) {
    const auto known = shared_.find(tensor.fqn);
    if (known != shared_.end()) return known->second;
  }
  tensor.name = tensor.fqn;
  tensor.role = TensorRole::parameter;
  tensor.dtype = dtype_;
  tensor.requires_grad = true;
  tensor.shape = std::move(shape);
  return add_tensor(std::move(tensor));
}

TensorId GraphWriter::parameter(std::string_view name, std::initializer_list<std::int64_t> sizes) {
  Shape shape;
  shape.reserve(sizes.size());
  for (const std::int64_t size : sizes) shape.push_back(fixed(size));
  return parameter(name, std::move(shape));
}

TensorId GraphWriter::parameter_of(DType dtype, std::string_view name,
                                   std::initializer_list<std::int64_t> sizes, bool trains) {
  const TensorId id = parameter(name, sizes);
  graph_.tensors.back().dtype = dtype;
  graph_.tensors.back().requires_grad = trains;
  return id;
}

TensorId GraphWriter::buffer(std::string_view name, DType dtype,
                             std::initializer_list<std::int64_t> sizes) {
  const TensorId id = parameter(name, sizes);
  Tensor& tensor = graph_.tensors.back();
  tensor.role = TensorRole::buffer;
  tensor.dtype = dtype;
  tensor.requires_grad = false;
  return id;
}

void GraphWriter::tie(std::string_view name, TensorId first) {
  Shape shape = tensor(first).shape;
  parameter(name, std::move(shape));
  graph_.tensors.back().tied_to = first;
}

TensorId GraphWriter::result(DType dtype, Shape shape) {
  Tensor& tensor = graph_.tensors.emplace_back();
  tensor.name = numbered("t.t.", graph_.tensors.size());
  tensor.dtype = dtype;
  tensor.shape = std::move(shape);
  return TensorId(graph_.tensors.size() - 1);
}

TensorId GraphWriter::op(const char* target, DType dtype, std::initializer_list<Argument> inputs,
                         Shape shape, std::initializer_list<Constant> constants) {
  Op& op = graph_.ops.emplace_back();
  op.target = target;
  op.name = numbered(op.target, graph_.ops.size() - 1);
  op.inputs.reserve(inputs.size());
  for (const Argument& input : inputs) op.inputs.push_back({input.name, input.tensor});
  for (const Constant& constant : constants) op.attributes.emplace(constant.first, constant.second);
  op.module = path_;
  op.call = call_;
  op.outputs.push_back(result(dtype, std::move(shape)));
  return op.outputs.front();
}

TensorId GraphWriter::op(const char* target, std::initializer_list<Argument> inputs, Shape shape,
                         std::initializer_list<Constant> constants) {
  DType dtype = dtype_;
  for (const Argument& input : inputs) {
    if (!input.tensor.valid()) continue;
    dtype = tensor(input.tensor).dtype;
    break;
  }
  return op(target, dtype, inputs, std::move(shape), constants);
}

TensorId GraphWriter::also(DType dtype, Shape shape) {
  const TensorId id = result(dtype, std::move(shape));
  graph_.ops.back().outputs.push_back(id);
  return id;
}

TensorId GraphWriter::view_op(const char* target, TensorId x, Shape shape,
                              std::initializer_list<Constant> constants) {
  const TensorId id = op(target, {{"self", x}}, std::move(shape), constants);
  graph_.tensors[id.index()].alias_of = x;
  return id;
}

TensorId GraphWriter::view(TensorId x, Shape shape) {
  return view_op("aten.view.default", x, std::move(shape));
}

TensorId GraphWriter::transpose(TensorId x, std::size_t a, std::size_t b) {
  Shape shape = tensor(x).shape;
  std::swap(shape[a], shape[b]);
  const TensorId id =
      view_op("aten.transpose.int", x, std::move(shape),
              {{"dim0", static_cast<std::int64_t>(a)}, {"dim1", static_cast<std::int64_t>(b)}});
  Tensor& result = graph_.tensors[id.index()];
  result.strides = strides_of(tensor(x));
  std::swap(result.strides[a], result.strides[b]);
  return id;
}

TensorId GraphWriter::slice(TensorId x, std::size_t axis, std::int64_t start, const Dim& size) {
  Shape shape = tensor(x).shape;
  shape[axis] = size;
  std::vector<std::int64_t> strides = strides_of(tensor(x));
  const TensorId id = view_op(
      "aten.slice.Tensor", x, std::move(shape),
      {{"dim", static_cast<std::int64_t>(axis)}, {"start", start}, {"end", start + size.size}});
  graph_.tensors[id.index()].strides = std::move(strides);
  return id;
}

TensorId GraphWriter::unsqueeze(TensorId x, std::size_t axis) {
  Shape shape = tensor(x).shape;
  shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(axis), fixed(1));
  return view_op("aten.unsqueeze.default", x, std::move(shape),
                 {{"dim", static_cast<std::int64_t>(axis)}});
}

TensorId GraphWriter::expand(TensorId x, Shape shape) {
  std::vector<std::int64_t> strides = strides_of(tensor(x));
  strides.insert(strides.begin(), shape.size() - strides.size(), 0);
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const std::size_t skipped = shape.size() - tensor(x).shape.size();
    if (i < skipped || tensor(x).shape[i - skipped] != shape[i]) strides[i] = 0;
  }
  const TensorId id = view_op("aten.expand.default", x, std::move(shape));
  graph_.tensors[id.index()].strides = std::move(strides);
  return id;
}

TensorId GraphWriter::select(TensorId x, std::size_t axis, std::int64_t index) {
  Shape shape = tensor(x).shape;
  std::vector<std::int64_t> strides = strides_of(tensor(x));
  shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
  strides.erase(strides.begin() + static_cast<std::ptrdiff_t>(axis));
  const TensorId id = view_op("aten.select.int", x, std::move(shape),
                              {{"dim", static_cast<std::int64_t>(axis)}, {"index", index}});
  graph_.tensors[id.index()].strides = std::move(strides);
  return id;
}

namespace {

/// The larger of two sizes that broadcast, aligned from the right.
Shape broadcast(const Shape& a, const Shape& b) {
  Shape shape = a.size() >= b.size() ? a : b;
  const Shape& other = a.size() >= b.size() ? b : a;
  const std::size_t skipped = shape.size() - other.size();
  for (std::size_t i = 0; i < other.size(); ++i) {
    const bool one = shape[skipped + i].size == 1 && !shape[skipped + i].symbolic();
    if (one) shape[skipped + i] = other[i];
  }
  return shape;
}

}  // namespace

TensorId GraphWriter::add(TensorId a, TensorId b) {
  return op("aten.add.Tensor", {{"self", a}, {"other", b}},
            broadcast(tensor(a).shape, tensor(b).shape));
}

TensorId GraphWriter::mul(TensorId a, TensorId b) {
  return op("aten.mul.Tensor", {{"self", a}, {"other", b}},
            broadcast(tensor(a).shape, tensor(b).shape));
}

TensorId GraphWriter::add(TensorId a, double number) {
  return op("aten.add.Tensor", {{"self", a}}, tensor(a).shape, {{"other", number}});
}

TensorId GraphWriter::mul(TensorId a, double number) {
  return op("aten.mul.Tensor", {{"self", a}}, tensor(a).shape, {{"other", number}});
}

TensorId GraphWriter::div(TensorId a, double number) {
  return op("aten.div.Tensor", {{"self", a}}, tensor(a).shape, {{"other", number}});
}

TensorId GraphWriter::unary(const char* target, TensorId x) {
  return op(target, {{"self", x}}, tensor(x).shape);
}

TensorId GraphWriter::power(TensorId x, double exponent) {
  return op("aten.pow.Tensor_Scalar", {{"self", x}}, tensor(x).shape, {{"exponent", exponent}});
}

TensorId GraphWriter::mean_last(TensorId x) {
  return op("aten.mean.dim", {{"self", x}}, with_last(x, fixed(1)),
            {{"dim", std::vector<std::int64_t>{-1}}, {"keepdim", true}});
}

TensorId GraphWriter::cat(const std::vector<TensorId>& parts, std::size_t axis) {
  Shape shape = tensor(parts.front()).shape;
  shape[axis] = fixed(0);
  for (const TensorId part : parts) {
    const Dim& more = dim(part, axis);
    shape[axis] = more.symbolic() ? plus(more, shape[axis].size) : plus(shape[axis], more.size);
  }
  const TensorId id = op("aten.cat.default", {{"tensors", parts.front()}}, std::move(shape),
                         {{"dim", static_cast<std::int64_t>(axis)}});
  for (std::size_t i = 1; i < parts.size(); ++i) {
    graph_.ops.back().inputs.push_back({"tensors", parts[i]});
  }
  return id;
}

TensorId GraphWriter::softmax(TensorId x) {
  return op("aten.softmax.int", {{"self", x}}, tensor(x).shape, {{"dim", std::int64_t{-1}}});
}

TensorId GraphWriter::to(TensorId x, DType dtype) {
  if (tensor(x).dtype == dtype) return x;
  return op("aten.to.dtype", dtype, {{"self", x}}, tensor(x).shape,
            {{"dtype", std::string(name_of(dtype))}});
}

TensorId GraphWriter::dropout(TensorId x, double rate) {
  if (rate == 0) return x;
  return op("aten.dropout.default", {{"input", x}}, tensor(x).shape,
            {{"p", rate}, {"train", true}});
}

Shape GraphWriter::with_last(TensorId id, const Dim& size) const {
  Shape shape = tensor(id).shape;
  shape.back() = size;
  return shape;
}

TensorId GraphWriter::linear_with(TensorId x, std::string_view name, TensorId weight,
                                  TensorId bias) {
  const Scope scope(*this, name);
  Shape shape = with_last(x, dim(weight, 0));
  if (!bias.valid()) {
    return op("aten.linear.default", {{"input", x}, {"weight", weight}}, std::move(shape));
  }
  return op("aten.linear.default", {{"input", x}, {"weight", weight}, {"bias", bias}},
            std::move(shape));
}

TensorId GraphWriter::linear(TensorId x, std::string_view name, std::int64_t out, bool bias) {
  TensorId weight, addend;
  {
    const Scope scope(*this, name);
    weight = parameter("weight", {out, last(x).size});
    if (bias) addend = parameter("bias", {out});
  }
  return linear_with(x, name, weight, addend);
}

TensorId GraphWriter::embedding(TensorId indices, TensorId weight, std::string_view name) {
  const Scope scope(*this, name);
  Shape shape = tensor(indices).shape;
  shape.push_back(dim(weight, 1));
  return op("aten.embedding.default", tensor(weight).dtype,
            {{"weight", weight}, {"indices", indices}}, std::move(shape));
}

TensorId GraphWriter::layer_norm(TensorId x, std::string_view name, double eps, bool bias) {
  const Scope scope(*this, name);
  const std::int64_t width = last(x).size;
  const TensorId weight = parameter("weight", {width});
  const TensorId addend = bias ? parameter("bias", {width}) : TensorId();
  const std::vector<std::int64_t> normalized{width};
  if (!bias) {
    return op("aten.layer_norm.default", {{"input", x}, {"weight", weight}}, tensor(x).shape,
              {{"normalized_shape", normalized}, {"eps", eps}});
  }
  return op("aten.layer_norm.default", {{"input", x}, {"weight", weight}, {"bias", addend}},
            tensor(x).shape, {{"normalized_shape", normalized}, {"eps", eps}});
}

TensorId GraphWriter::matmul(TensorId a, TensorId b, Shape shape) {
  return op("aten.matmul.default", {{"self", a}, {"other", b}}, std::move(shape));
}

TensorId GraphWriter::causal_mask(const Dim& length) {
  for (const auto& [known, mask] : masks_) {
    if (known == length) return mask;
  }
  const std::string inside = std::exchange(path_, "");
  const TensorId full = op("aten.full.default", {}, {fixed(1), fixed(1), length, length});
  const TensorId mask = op("aten.triu.default", {{"self", full}}, tensor(full).shape,
                           {{"diagonal", std::int64_t{1}}});
  path_ = inside;
  masks_.emplace_back(length, mask);
  return mask;
}

TensorId GraphWriter::window_mask(const Dim& length, std::int64_t window, bool causal) {
  const std::string inside = std::exchange(path_, "");
  const Shape shape{fixed(1), fixed(1), length, length};
  const TensorId all = op("aten.ones.default", DType::boolean, {}, shape);
  const TensorId near =
      op("aten.triu.default", DType::boolean, {{"self", all}}, shape, {{"diagonal", 1 - window}});
  const TensorId mask = op("aten.tril.default", DType::boolean, {{"self", near}}, shape,
                           {{"diagonal", causal ? std::int64_t{0} : window - 1}});
  path_ = inside;
  return mask;
}

Dim GraphWriter::tokens(TensorId x) {
  const Shape& shape = tensor(x).shape;
  const auto leading = shape.end() - 1;
  for (const auto& [known, product] : products_) {
    if (std::equal(known.begin(), known.end(), shape.begin(), leading)) return product;
  }
  Dim product = fixed(1);
  for (auto size = shape.begin(); size != leading; ++size) product = times(product, *size);
  products_.emplace_back(Shape(shape.begin(), leading), product);
  return product;
}

void GraphWriter::reserve_repeats(const Mark& begin, std::int64_t repeats) {
  const auto times = static_cast<std::size_t>(std::max<std::int64_t>(repeats, 0));
  constexpr std::size_t kTail = 64;  // what follows the layers
  graph_.ops.reserve(graph_.ops.size() + times * (graph_.ops.size() - begin.ops) + kTail);
  graph_.tensors.reserve(graph_.tensors.size() + times * (graph_.tensors.size() - begin.tensors) +
                         kTail);
}

Graph GraphWriter::finish(std::initializer_list<TensorId> outputs) {
  graph_.outputs.assign(outputs);
  return std::move(graph_);
}

}  // namespace parallel_opt::hf
