#include <array>

#include "parallel_opt/importers/onnx_ops.h"

/// Operators that work element by element, and those that make tensors of their own.
namespace parallel_opt::onnx {
namespace {

void to_bool(Call& call) {
  same_shape(call);
  if (call.wants(0)) call.result().element = kBool;
}

void where_shape(Call& call) { call.set(0, call.element(1), broadcast_of(call, 0, 3)); }

void cast_shape(Call& call) {
  same_shape(call);
  if (!call.wants(0)) return;
  const bool like = call.node.type == "CastLike";
  const std::int64_t element = like ? call.element(1) : call.whole("to", 0);
  if (!like && !is_element(element)) {
    return call.fault("casts to element type " + std::to_string(element) + ", which ONNX has not");
  }
  call.result().element = element;
}

void cast(Call& call) {
  const bool same = call.element(0) == call.result().element;
  call.emit(same ? "aten.to.dtype" : "aten._to_copy.default", {{"self", call.tensor(0)}},
            {{"dtype", std::string(dtype_name(call.result().element))}});
}

/// One element that is known and is no weight: PyTorch has it as a number, not as a tensor.
std::optional<Attribute> scalar(Call& call, std::size_t i) {
  const Value* operand = call.input(i);
  if (operand == nullptr || operand->weight || !operand->shape) return std::nullopt;
  const Shape* other = call.shape(1 - i);
  if (other == nullptr || operand->shape->size() > other->size()) return std::nullopt;
  const Data* data = call.data(i);
  if (data == nullptr || data->size() != 1) return std::nullopt;
  if (data->real) return Attribute(data->reals[0]);
  if (!is_fixed(data->whole[0])) return std::nullopt;
  return Attribute(data->whole[0].size);
}

void binary(Call& call, const char* target, bool commutes) {
  if (const auto other = scalar(call, 1)) {
    return call.emit(target, {{"self", call.tensor(0)}}, {{"other", *other}});
  }
  if (commutes) {
    if (const auto other = scalar(call, 0)) {
      return call.emit(target, {{"self", call.tensor(1)}}, {{"other", *other}});
    }
  }
  call.emit(target, call.operands("self other"));
}

/// Sum, Max, Min and Mean take any number of operands: one after the other.
void variadic(Call& call, const char* target) {
  if (call.in.size() == 1) return call.emit("aten.clone.default", call.operands("self"));
  TensorId total = call.tensor(0);
  for (std::size_t i = 1; i < call.in.size(); ++i) {
    const Operands operands{{"self", total}, {"other", call.tensor(i)}};
    if (i + 1 == call.in.size()) return call.emit(target, operands);
    total = call.step(target, operands, {}, call.result().element, call.shape_out());
  }
}

void mean(Call& call) {
  const std::int64_t count = static_cast<std::int64_t>(call.in.size());
  TensorId total = call.tensor(0);
  for (std::size_t i = 1; i < call.in.size(); ++i) {
    total = call.step("aten.add.Tensor", {{"self", total}, {"other", call.tensor(i)}}, {},
                      call.result().element, call.shape_out());
  }
  call.emit("aten.div.Tensor", {{"self", total}}, {{"other", count}});
}

void dropout_shape(Call& call) {
  same_shape(call);
  if (call.has(0)) call.set(1, kBool, call.input(0)->shape);
}

void dropout(Call& call) {
  const bool train = call.has(2) && call.number(2) != std::int64_t(0);
  const Data* ratio = call.data(1);
  const double p = ratio != nullptr && ratio->real && ratio->size() == 1 ? ratio->reals[0] : 0.5;
  if (call.wants(1)) {
    return call.emit("aten.native_dropout.default", {{"input", call.tensor(0)}},
                     {{"p", p}, {"train", train}});
  }
  call.emit("aten.dropout.default", {{"input", call.tensor(0)}}, {{"p", p}, {"train", train}});
}

void constant(Call& call) {
  if (!call.wants(0)) return;
  Value& result = call.result();
  const auto known = [&](std::int64_t element, bool real, bool list) -> Data& {
    result.element = element;
    result.data = Data{.real = real, .whole = {}, .reals = {}};
    result.shape = list ? Shape{fixed(0)} : Shape();
    return *result.data;
  };
  if (const ProtoAttribute* value = call.attribute("value");
      value != nullptr && !value->tensors.empty()) {
    const ProtoTensor& tensor = value->tensors.front();
    call.importer.stored_constant(result, tensor, call.place);
  } else if (const ProtoAttribute* sparse = call.attribute("sparse_value");
             sparse != nullptr && !sparse->sparse.empty()) {
    Shape shape;
    for (const std::int64_t dim : sparse->sparse.front().dims) shape.push_back(fixed(dim));
    result.weight = true;
    call.set(0, sparse->sparse.front().values.data_type, std::move(shape));
  } else if (call.attribute("value_int") != nullptr) {
    known(kInt64, false, false).whole.push_back(fixed(call.whole("value_int", 0)));
  } else if (call.attribute("value_float") != nullptr) {
    known(kFloat, true, false).reals.push_back(call.real("value_float", 0));
  } else if (const ProtoAttribute* ints = call.attribute("value_ints"); ints != nullptr) {
    Data& data = known(kInt64, false, true);
    for (const std::int64_t i : ints->ints) data.whole.push_back(fixed(i));
    result.shape = Shape{fixed(static_cast<std::int64_t>(data.size()))};
  } else if (const ProtoAttribute* floats = call.attribute("value_floats"); floats != nullptr) {
    Data& data = known(kFloat, true, true);
    data.reals.assign(floats->floats.begin(), floats->floats.end());
    result.shape = Shape{fixed(static_cast<std::int64_t>(data.size()))};
  } else {
    const ProtoAttribute* strings = call.attribute("value_strings");
    call.set(0, kString,
             strings == nullptr ? Shape()
                                : Shape{fixed(static_cast<std::int64_t>(strings->strings.size()))});
  }
}

void identity(Call& call) {
  if (call.has(0) && call.wants(0)) call.out[0] = call.in[0];
}

void random_shape(Call& call) {
  Shape shape;
  for (const std::int64_t dim : call.wholes("shape"))
    shape.push_back(fixed(std::max<std::int64_t>(dim, 0)));
  call.set(0, call.whole("dtype", kFloat), std::move(shape));
}

void like_shape(Call& call) {
  same_shape(call);
  if (call.wants(0)) call.result().element = call.whole("dtype", call.element(0));
}

constexpr auto kPointwiseRules = std::to_array<OpRule>({
    {"Abs", same_shape, "aten.abs.default", "self"},
    {"Acos", same_shape, "aten.acos.default", "self"},
    {"Acosh", same_shape, "aten.acosh.default", "self"},
    {"Asin", same_shape, "aten.asin.default", "self"},
    {"Asinh", same_shape, "aten.asinh.default", "self"},
    {"Atan", same_shape, "aten.atan.default", "self"},
    {"Atanh", same_shape, "aten.atanh.default", "self"},
    {"BitwiseNot", same_shape, "aten.bitwise_not.default", "self"},
    {"Ceil", same_shape, "aten.ceil.default", "self"},
    {"Celu", same_shape, "aten.celu.default", "self"},
    {"Cos", same_shape, "aten.cos.default", "self"},
    {"Cosh", same_shape, "aten.cosh.default", "self"},
    {"Elu", same_shape, "aten.elu.default", "self"},
    {"Erf", same_shape, "aten.erf.default", "self"},
    {"Exp", same_shape, "aten.exp.default", "self"},
    {"Floor", same_shape, "aten.floor.default", "self"},
    {"Gelu", same_shape, "aten.gelu.default", "self"},
    {"HardSigmoid", same_shape, "aten.hardsigmoid.default", "self"},
    {"HardSwish", same_shape, "aten.hardswish.default", "self"},
    {"LeakyRelu", same_shape, "aten.leaky_relu.default", "self"},
    {"Log", same_shape, "aten.log.default", "self"},
    {"Mish", same_shape, "aten.mish.default", "self"},
    {"Neg", same_shape, "aten.neg.default", "self"},
    {"Not", to_bool, "aten.logical_not.default", "self"},
    {"Reciprocal", same_shape, "aten.reciprocal.default", "self"},
    {"Relu", same_shape, "aten.relu.default", "self"},
    {"Round", same_shape, "aten.round.default", "self"},
    {"Selu", same_shape, "aten.selu.default", "self"},
    {"Shrink", same_shape, "aten.hardshrink.default", "self"},
    {"Sigmoid", same_shape, "aten.sigmoid.default", "self"},
    {"Sign", same_shape, "aten.sign.default", "self"},
    {"Sin", same_shape, "aten.sin.default", "self"},
    {"Sinh", same_shape, "aten.sinh.default", "self"},
    {"Softplus", same_shape, "aten.softplus.default", "self"},
    {"Softsign", same_shape, "aten.softsign.default", "self"},
    {"Sqrt", same_shape, "aten.sqrt.default", "self"},
    {"Swish", same_shape, "aten.silu.default", "self"},
    {"Tan", same_shape, "aten.tan.default", "self"},
    {"Tanh", same_shape, "aten.tanh.default", "self"},
    {"ThresholdedRelu", same_shape, "aten.threshold.default", "self"},
    {"IsNaN", to_bool, "aten.isnan.default", "self"},
    {"IsInf", to_bool, "aten.isinf.default", "self"},
    {"Trilu",
     same_shape,
     {},
     {},
     [](Call& c) {
       const bool upper = c.whole("upper", 1) != 0;
       c.emit(upper ? "aten.triu.default" : "aten.tril.default", {{"self", c.tensor(0)}},
              {{"diagonal", c.number(1).value_or(0)}});
     }},
    {"Add", broadcast_shape, {}, {}, [](Call& c) { binary(c, "aten.add.Tensor", true); }},
    {"Sub", broadcast_shape, {}, {}, [](Call& c) { binary(c, "aten.sub.Tensor", false); }},
    {"Mul", broadcast_shape, {}, {}, [](Call& c) { binary(c, "aten.mul.Tensor", true); }},
    {"Div", broadcast_shape, {}, {}, [](Call& c) { binary(c, "aten.div.Tensor", false); }},
    {"Mod", broadcast_shape, {}, {}, [](Call& c) { binary(c, "aten.remainder.Tensor", false); }},
    {"Pow",
     broadcast_shape,
     {},
     {},
     [](Call& c) {
       if (const auto exponent = scalar(c, 1)) {
         return c.emit("aten.pow.Tensor_Scalar", {{"self", c.tensor(0)}},
                       {{"exponent", *exponent}});
       }
       c.emit("aten.pow.Tensor_Tensor", c.operands("self exponent"));
     }},
    {"Max", broadcast_shape, {}, {}, [](Call& c) { variadic(c, "aten.maximum.default"); }},
    {"Min", broadcast_shape, {}, {}, [](Call& c) { variadic(c, "aten.minimum.default"); }},
    {"Sum", broadcast_shape, {}, {}, [](Call& c) { variadic(c, "aten.add.Tensor"); }},
    {"Mean", broadcast_shape, {}, {}, mean},
    {"PRelu", same_shape, "aten.prelu.default", "self weight"},
    {"SwiGLU",
     same_shape,
     {},
     {},
     [](Call& c) {
       const TensorId gate =
           c.step("aten.silu.default", {{"self", c.tensor(0)}}, {}, c.element(0), c.shape_out());
       c.emit("aten.mul.Tensor", {{"self", gate}, {"other", c.tensor(1)}});
     }},
    {"And", broadcast_to_bool, "aten.logical_and.default", "self other"},
    {"Or", broadcast_to_bool, "aten.logical_or.default", "self other"},
    {"Xor", broadcast_to_bool, "aten.logical_xor.default", "self other"},
    {"BitwiseAnd", broadcast_shape, "aten.bitwise_and.Tensor", "self other"},
    {"BitwiseOr", broadcast_shape, "aten.bitwise_or.Tensor", "self other"},
    {"BitwiseXor", broadcast_shape, "aten.bitwise_xor.Tensor", "self other"},
    {"BitShift", broadcast_shape, "aten.bitwise_left_shift.Tensor", "self other"},
    {"Equal", broadcast_to_bool, {}, {}, [](Call& c) { binary(c, "aten.eq.Tensor", true); }},
    {"Less", broadcast_to_bool, {}, {}, [](Call& c) { binary(c, "aten.lt.Tensor", false); }},
    {"LessOrEqual", broadcast_to_bool, {}, {}, [](Call& c) { binary(c, "aten.le.Tensor", false); }},
    {"Greater", broadcast_to_bool, {}, {}, [](Call& c) { binary(c, "aten.gt.Tensor", false); }},
    {"GreaterOrEqual",
     broadcast_to_bool,
     {},
     {},
     [](Call& c) { binary(c, "aten.ge.Tensor", false); }},
    {"Where", where_shape, "aten.where.self", "condition self other"},
    {"Clip", same_shape, "aten.clamp.default", "self min max"},
    {"Cast", cast_shape, {}, {}, cast},
    {"CastLike", cast_shape, {}, {}, cast},
    {"BitCast", cast_shape, "aten.view.dtype", "self"},
    {"Dropout", dropout_shape, {}, {}, dropout},
    {"Constant", constant},
    {"Identity", identity},
    {"RandomNormal", random_shape, "aten.randn.default", ""},
    {"RandomUniform", random_shape, "aten.rand.default", ""},
    {"RandomNormalLike", like_shape, "aten.randn_like.default", "self"},
    {"RandomUniformLike", like_shape, "aten.rand_like.default", "self"},
    {"Bernoulli", like_shape, "aten.bernoulli.default", "self"},
});

}  // namespace

std::span<const OpRule> pointwise_rules() { return kPointwiseRules; }

}  // namespace parallel_opt::onnx
