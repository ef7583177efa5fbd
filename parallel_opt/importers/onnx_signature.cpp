#include <iterator>
#include <string>
#include <unordered_map>
#include <utility>

#include "parallel_opt/base/text.h"
#include "parallel_opt/importers/onnx_import.h"

/// What ONNX's own operators take: operands and attributes, of all operator sets since 13. Source:
/// onnx/defs (tests/python/importers/test_onnx_signature.py compares).
namespace parallel_opt::onnx {
namespace {

/// Operators by what they take: r required, o optional, * any number of the one before.
constexpr std::pair<std::string_view, std::string_view> kTakes[] = {
    {"", "Constant RandomNormal RandomUniform SequenceEmpty"},
    {"o", "Optional OptionalHasElement"},
    {"oo*", "Loop"},
    {"r",
     "Abs Acos Acosh ArgMax ArgMin Asin Asinh Atan Atanh AveragePool Bernoulli BitCast BitwiseNot "
     "BlackmanWindow Cast Ceil Celu ConcatFromSequence ConstantOfShape Cos Cosh DepthToSpace Det "
     "DynamicQuantizeLinear Elu Erf Exp EyeLike Flatten Floor Gelu GlobalAveragePool GlobalLpPool "
     "GlobalMaxPool HammingWindow HannWindow HardSigmoid HardSwish Hardmax Identity If "
     "ImageDecoder IsInf IsNaN LRN LeakyRelu Log LogSoftmax LpNormalization LpPool MaxPool "
     "MeanVarianceNormalization Mish Multinomial Neg NonZero Not OptionalGetElement "
     "RandomNormalLike RandomUniformLike Reciprocal RegexFullMatch Relu Round Selu "
     "SequenceLength Shape Shrink Sigmoid Sign Sin Sinh Size Softmax Softplus Softsign "
     "SpaceToDepth Sqrt StringNormalizer StringSplit Swish Tan Tanh TfIdfVectorizer "
     "ThresholdedRelu Transpose Unique"},
    {"r*", "Concat Einsum Max Mean Min Scan SequenceConstruct SequenceMap Sum"},
    {"ro",
     "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
     "ReduceSum ReduceSumSquare SequenceErase Split SplitToSequence Squeeze Trilu"},
    {"roo", "Clip DFT Dropout"},
    {"rooo", "Resize"},
    {"rr",
     "Add AffineGrid And BitShift BitwiseAnd BitwiseOr BitwiseXor CastLike CenterCropPad Compress "
     "CumProd CumSum Div Equal Expand Gather GatherElements GatherND Greater GreaterOrEqual "
     "GridSample Less LessOrEqual MatMul MaxRoiPool Mod Mul Or PRelu Pow RMSNormalization Reshape "
     "ReverseSequence SequenceAt StringConcat Sub SwiGLU Tile TopK Unsqueeze Upsample Xor"},
    {"rro",
     "Conv ConvTranspose DequantizeLinear Gemm LayerNormalization MaxUnpool "
     "NegativeLogLikelihoodLoss QuantizeLinear SequenceInsert SoftmaxCrossEntropyLoss "
     "TensorScatter"},
    {"rroo", "CausalConvWithState ConvInteger MatMulInteger Pad STFT"},
    {"rrooo", "NonMaxSuppression"},
    {"rrr",
     "Col2Im GroupNormalization InstanceNormalization OneHot Range RoiAlign Scatter "
     "ScatterElements ScatterND Where"},
    {"rrro", "RotaryEmbedding"},
    {"rrroo", "DeformConv Slice"},
    {"rrrooo", "GRU LinearAttention RNN"},
    {"rrroooo", "Attention"},
    {"rrrooooo", "LSTM"},
    {"rrrrr", "BatchNormalization MelWeightMatrix"},
    {"rrrrrrrr", "QLinearMatMul"},
    {"rrrrrrrro", "QLinearConv"},
};

/// Attributes that operators cannot do without; subgraphs have errors of their own.
constexpr std::pair<std::string_view, std::string_view> kNeeded[] = {
    {"axis", "Concat ConcatFromSequence"},
    {"blocksize", "DepthToSpace SpaceToDepth"},
    {"direction", "BitShift"},
    {"equation", "Einsum"},
    {"kernel_shape", "AveragePool LpPool MaxPool MaxUnpool"},
    {"num_groups", "GroupNormalization"},
    {"pooled_shape", "MaxRoiPool"},
    {"shape", "RandomNormal RandomUniform"},
    {"size", "LRN"},
    {"to", "BitCast Cast"},
};

/// Names of attributes by AttributeProto.AttributeType; a name means one type in all operators but
/// one.
constexpr std::int64_t kAnyType = 0;
constexpr std::pair<std::int64_t, std::string_view> kAttributes[] = {
    {kAnyType, "seed"},  // whole for Dropout, else real
    {1,
     "alpha beta bias clip cubic_coeff_a epsilon extrapolation_value gamma high lambd low mean "
     "momentum ratio scale softcap spatial_scale value_float"},
    {2,
     "align_corners allowzero antialias axis batch_axis batch_dims block_size blocksize ceil_mode "
     "center_point_box chunk_size count_include_pad detect_negative detect_positive dtype end "
     "exclude_outside exclusive fmod group hidden_size ignore_index input_forget interleaved "
     "inverse is_case_sensitive is_causal k keepdims kv_num_heads largest layout "
     "left_window_size linear_before_reset max_gram_length max_skip_count maxsplit "
     "min_gram_length new_axis noop_with_empty_axes num_groups num_heads num_outputs "
     "num_scan_inputs offset_group onesided output_datatype output_dtype output_height "
     "output_width p periodic precision q_num_heads qk_matmul_output_mode reverse "
     "right_window_size rotary_embedding_dim sample_size sampling_ratio saturate "
     "select_last_index size softmax_precision sorted start stash_type storage_order time_axis "
     "to training_mode transA transB upper value_int"},
    {3,
     "activation approximate auto_pad case_change_action coordinate_transformation_mode delimiter "
     "direction equation keep_aspect_ratio_policy locale mode nearest_mode padding_mode pattern "
     "pixel_format reduction round_mode update_rule value_string"},
    {4, "value"},
    {5, "body else_branch then_branch"},
    {6, "activation_alpha activation_beta value_floats weights"},
    {7,
     "axes dilations kernel_shape ngram_counts ngram_indexes output_padding output_shape pads "
     "perm pool_int64s pooled_shape scan_input_axes scan_input_directions scan_output_axes "
     "scan_output_directions shape strides value_ints"},
    {8, "activations pool_strings stopwords value_strings"},
    {11, "sparse_value"},
    {13, "type"},
};

template <class Value, class Rows>
std::unordered_map<std::string, Value> by_name(const Rows& rows) {
  std::unordered_map<std::string, Value> index;
  for (const auto& [value, names] : rows) {
    for (std::string& name : split(names, ' ')) index.emplace(std::move(name), value);
  }
  return index;
}

std::string_view type_name(std::int64_t type) {
  constexpr std::string_view kNames[] = {
      "nothing", "a number",     "a whole number",      "a text",          "a tensor",
      "a graph", "numbers",      "whole numbers",       "texts",           "tensors",
      "graphs",  "a sparse one", "several sparse ones", "a tensor's type", "types"};
  const bool known = type >= 0 && type < static_cast<std::int64_t>(std::size(kNames));
  return known ? kNames[type] : "of a type that ONNX has not";
}

std::string count_of(std::size_t n) {
  return std::to_string(n) + (n == 1 ? " operand" : " operands");
}

bool check_operands(const Call& call, std::string_view takes) {
  const bool any = takes.ends_with('*');
  const std::size_t named = takes.size() - (any ? 1 : 0), given = call.in.size();
  const std::size_t least = takes.find_last_of('r') + 1;  // npos + 1 is 0
  if (given < least || (!any && given > named)) {
    std::string wanted = std::to_string(least);
    if (any) wanted += " or more";
    if (!any && least < named) wanted += " to " + std::to_string(named);
    call.fault("has " + count_of(given) + ", takes " + wanted);
    return false;
  }
  for (std::size_t i = 0; i < least; ++i) {
    if (!call.node.inputs[i].empty()) continue;
    call.fault("operand " + std::to_string(i) + " is left out");
    return false;
  }
  return true;
}

bool check_attribute(const Call& call, std::string_view name) {
  static const auto kTypes = by_name<std::int64_t>(kAttributes);
  const auto known = kTypes.find(std::string(name));
  if (known == kTypes.end()) {
    call.importer.findings().note("the attribute " + in_quotes(printable(name)) + " of " +
                                  std::string(call.node.type) + " is not one of ONNX: left out");
    return true;
  }
  const ProtoAttribute* given = call.attribute(name);
  const std::int64_t wanted = known->second;
  if (given == nullptr || given->type == 0 || wanted == kAnyType || given->type == wanted) {
    return true;
  }
  call.fault("the attribute " + in_quotes(name) + " is " + std::string(type_name(given->type)) +
             ", not " + std::string(type_name(wanted)));
  return false;
}

}  // namespace

bool check_signature(Call& call) {
  static const auto kOperands = by_name<std::string_view>(kTakes);
  static const auto kRequired = by_name<std::string_view>(kNeeded);
  constexpr std::int64_t kFirst = 13;
  const auto known = kOperands.find(std::string(call.node.type));
  if (!is_main_domain(call.node.domain) || call.opset < kFirst || known == kOperands.end()) {
    return true;
  }
  bool good = check_operands(call, known->second);
  for (const ProtoAttribute& attribute : call.node.attributes) {
    good = check_attribute(call, attribute.name) && good;
  }
  const auto required = kRequired.find(known->first);
  if (required != kRequired.end() && call.attribute(required->second) == nullptr) {
    call.fault("has no attribute " + in_quotes(required->second));
    good = false;
  }
  return good;
}

}  // namespace parallel_opt::onnx
