#pragma once

#include <string>
#include <utility>
#include <vector>

#include "parallel_opt/graph/alias.h"
#include "parallel_opt/graph/graph.h"
#include "parallel_opt/hardware/cluster.h"

/// Small graphs and machines, built by hand, for tests and benchmarks.
namespace parallel_opt::testing {

class GraphBuilder {
 public:
  Graph graph;

  TensorId tensor(TensorRole role, const std::vector<std::int64_t>& sizes,
                  DType dtype = DType::fp32) {
    Tensor t;
    t.name = "t" + std::to_string(graph.tensors.size());
    t.role = role;
    t.dtype = dtype;
    for (const std::int64_t size : sizes) t.shape.push_back({size, ""});
    t.requires_grad = role == TensorRole::parameter;
    if (role == TensorRole::parameter) t.fqn = t.name;
    graph.tensors.push_back(std::move(t));
    return TensorId(graph.tensors.size() - 1);
  }
  TensorId input(const std::vector<std::int64_t>& sizes, DType dtype = DType::fp32) {
    const TensorId id = tensor(TensorRole::input, sizes, dtype);
    graph.inputs.push_back(id);
    return id;
  }
  TensorId parameter(const std::vector<std::int64_t>& sizes) {
    return tensor(TensorRole::parameter, sizes);
  }
  TensorId op(const std::string& target,
              const std::vector<std::pair<std::string, TensorId>>& inputs,
              const std::vector<std::int64_t>& result, const std::string& module = "",
              std::map<std::string, Attribute> attributes = {}) {
    Op o;
    o.target = target;
    o.name = "op" + std::to_string(graph.ops.size());
    o.module = module;
    for (const auto& [name, id] : inputs) o.inputs.push_back({name, id});
    o.attributes = std::move(attributes);
    const TensorId id = tensor(TensorRole::activation, result);
    o.outputs = {id};
    graph.ops.push_back(std::move(o));
    return id;
  }
  TensorId linear(TensorId x, std::vector<std::int64_t> lead, std::int64_t in, std::int64_t out,
                  const std::string& module) {
    const TensorId weight = parameter({out, in}), bias = parameter({out});
    lead.push_back(out);
    return op("aten.linear.default", {{"input", x}, {"weight", weight}, {"bias", bias}}, lead,
              module);
  }
  Graph done(TensorId output, std::string name) {
    graph.outputs = {output};
    graph.name = std::move(name);
    graph.source = "test";
    fill_aliases(graph);
    return std::move(graph);
  }
};

/// x [batch, width] -> `layers` of linear + relu -> [batch, width].
inline Graph mlp(std::int64_t batch = 8, std::int64_t width = 16, int layers = 2) {
  GraphBuilder b;
  TensorId x = b.input({batch, width});
  for (int i = 0; i < layers; ++i) {
    const std::string block = "layers." + std::to_string(i);
    x = b.linear(x, {batch}, width, width, block + ".fc");
    x = b.op("aten.relu.default", {{"self", x}}, {batch, width}, block + ".act");
    x = b.op("aten.mul.Tensor", {{"self", x}, {"other", x}}, {batch, width}, block);
  }
  return b.done(x, "mlp");
}

/// Pre-norm transformer: attention on [batch, heads, tokens, width / heads], MLP of 4 x width.
inline Graph gpt(int layers = 4, std::int64_t batch = 8, std::int64_t tokens = 128,
                 std::int64_t width = 256, std::int64_t heads = 4, std::int64_t words = 256) {
  GraphBuilder b;
  const TensorId ids = b.input({batch, tokens}, DType::i64);
  const TensorId table = b.parameter({words, width});
  TensorId x = b.op("aten.embedding.default", {{"weight", table}, {"indices", ids}},
                    {batch, tokens, width}, "embed");
  const auto norm = [&](TensorId t, const std::string& module) {
    return b.op("aten.layer_norm.default",
                {{"input", t}, {"weight", b.parameter({width})}, {"bias", b.parameter({width})}},
                {batch, tokens, width}, module,
                {{"normalized_shape", std::vector<std::int64_t>{width}}});
  };
  const auto split = [&](TensorId t, const std::string& module) {
    const TensorId v =
        b.op("aten.view.default", {{"self", t}}, {batch, tokens, heads, width / heads}, module,
             {{"size", std::vector<std::int64_t>{batch, tokens, heads, width / heads}}});
    return b.op("aten.transpose.int", {{"self", v}}, {batch, heads, tokens, width / heads}, module,
                {{"dim0", std::int64_t{1}}, {"dim1", std::int64_t{2}}});
  };
  for (int i = 0; i < layers; ++i) {
    const std::string block = "blocks." + std::to_string(i);
    const TensorId n = norm(x, block + ".ln1");
    const TensorId q = split(b.linear(n, {batch, tokens}, width, width, block + ".q"), block);
    const TensorId k = split(b.linear(n, {batch, tokens}, width, width, block + ".k"), block);
    const TensorId v = split(b.linear(n, {batch, tokens}, width, width, block + ".v"), block);
    TensorId a =
        b.op("aten.scaled_dot_product_attention.default", {{"query", q}, {"key", k}, {"value", v}},
             {batch, heads, tokens, width / heads}, block, {{"is_causal", true}});
    a = b.op("aten.transpose.int", {{"self", a}}, {batch, tokens, heads, width / heads}, block,
             {{"dim0", std::int64_t{1}}, {"dim1", std::int64_t{2}}});
    a = b.op("aten.reshape.default", {{"self", a}}, {batch, tokens, width}, block,
             {{"shape", std::vector<std::int64_t>{batch, tokens, width}}});
    a = b.linear(a, {batch, tokens}, width, width, block + ".out");
    x = b.op("aten.add.Tensor", {{"self", x}, {"other", a}}, {batch, tokens, width}, block);
    TensorId m =
        b.linear(norm(x, block + ".ln2"), {batch, tokens}, width, 4 * width, block + ".up");
    m = b.op("aten.gelu.default", {{"self", m}}, {batch, tokens, 4 * width}, block + ".act");
    m = b.linear(m, {batch, tokens}, 4 * width, width, block + ".down");
    x = b.op("aten.add.Tensor", {{"self", x}, {"other", m}}, {batch, tokens, width}, block);
  }
  x = b.linear(norm(x, "ln"), {batch, tokens}, width, words, "head");
  return b.done(x, "gpt");
}

/// Convolutions 3x3 with batch normalisation and relu on [batch, channels, side, side].
inline Graph cnn(std::int64_t batch = 64, std::int64_t channels = 64, int layers = 4,
                 std::int64_t side = 8, bool normalise = true) {
  GraphBuilder b;
  TensorId x = b.input({batch, channels, side, side});
  const std::vector<std::int64_t> image{batch, channels, side, side};
  const std::vector<std::int64_t> one{1, 1};
  for (int i = 0; i < layers; ++i) {
    const std::string block = "body." + std::to_string(i);
    x = b.op("aten.conv2d.default",
             {{"input", x}, {"weight", b.parameter({channels, channels, 3, 3})}}, image,
             block + ".conv",
             {{"stride", one}, {"padding", one}, {"dilation", one}, {"groups", std::int64_t{1}}});
    if (normalise) {
      const TensorId mean = b.tensor(TensorRole::buffer, {channels});
      const TensorId variance = b.tensor(TensorRole::buffer, {channels});
      x = b.op("aten.batch_norm.default",
               {{"input", x},
                {"weight", b.parameter({channels})},
                {"bias", b.parameter({channels})},
                {"running_mean", mean},
                {"running_var", variance}},
               image, block + ".norm", {{"training", true}});
    }
    x = b.op("aten.relu.default", {{"self", x}}, image, block + ".act");
  }
  x = b.op("aten.mean.dim", {{"self", x}}, {batch, channels}, "pool",
           {{"dim", std::vector<std::int64_t>{2, 3}}});
  return b.done(b.linear(x, {batch}, channels, 10, "head"), "cnn");
}

inline RateCurve flat(std::string kernel, std::optional<DType> dtype, int threads, double rate) {
  RateCurve curve;
  curve.kernel = std::move(kernel);
  curve.dtype = dtype;
  curve.threads = threads;
  curve.points = {{1, rate}};
  curve.quality = Quality::measured;
  curve.source = "test";
  return curve;
}

/// A CPU with flat curves: matmul 100 GFLOP/s per core in fp32 and `bf16_speedup` times that in
/// bf16, 10 GB/s per core, 5 us per operator, 10 W idle and 30 W full.
inline Device cpu(int cores = 2, double bf16_speedup = 2) {
  Device device;
  device.name = "test CPU";
  device.kind = DeviceKind::cpu;
  for (int i = 0; i < cores; ++i) device.cores.push_back(i);
  device.memory_bytes = exact(8e9);
  for (const int threads : {1, cores}) {
    device.rates.push_back(flat("matmul", DType::fp32, threads, 1e11 * threads));
    device.rates.push_back(flat("matmul", DType::bf16, threads, 1e11 * bf16_speedup * threads));
    for (const char* kernel : {"memory", "elementwise", "reduce"}) {
      device.rates.push_back(flat(kernel, std::nullopt, threads, 1e10 * threads));
    }
  }
  device.launch_s = exact(5e-6);
  device.power = Power{exact(10), exact(30)};
  return device;
}

inline Cluster machine(std::vector<Device> devices = {cpu()}) {
  Cluster cluster;
  Node node;
  node.name = "host";
  node.cores = node.threads = 0;
  for (Device& device : devices) {  // each device has cores of its own
    for (int& core : device.cores) core = node.threads++;
  }
  node.cores = node.threads;
  node.memory_bytes = exact(16e9);
  cluster.nodes = {node};
  cluster.devices = std::move(devices);
  return cluster;
}

}  // namespace parallel_opt::testing
