#include "parallel_opt/cost/transformer_facts.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <ranges>
#include <set>

#include "parallel_opt/graph/alias.h"
#include "parallel_opt/graph/batch_dim.h"
#include "parallel_opt/graph/blocks.h"
#include "parallel_opt/graph/work.h"
#include "parallel_opt/plan/batch.h"

namespace parallel_opt {
namespace {

constexpr double kHalf = 2;  // bytes of an element in 16-bit training

bool is_product(OpClass c) {
  return c == OpClass::contraction || c == OpClass::convolution || c == OpClass::recurrent;
}

/// Operators between two products run as one group: a kernel that reads what comes from outside
/// and writes what goes there. That is what fused stacks do.
class FactsReader {
 public:
  explicit FactsReader(const Graph& graph)
      : graph_(graph),
        owner_(storage_owners(graph)),
        needs_(needs_grad(graph)),
        group_(graph.ops.size(), -1) {
    samples_ = double(std::max<std::int64_t>(1, batch_of(graph)));
    int group = 0;
    for (std::size_t i = 0; i < graph.ops.size(); ++i) {
      const OpClass c = op_class(graph, graph.ops[i]);
      if (is_product(c) || c == OpClass::attention || c == OpClass::opaque) {
        ++group;
      } else {
        group_[i] = group;
      }
    }
  }

  BlockFacts read(const std::vector<OpId>& ops, double repeats) {
    mark_split(ops);
    return sum_of(ops, repeats);
  }
  /// `again`: those of the block, at their places in `ops`, that run again in the backward.
  /// `dropped`: by operator of the graph.
  BlockRecompute recompute(const std::vector<OpId>& ops, const std::vector<bool>& again,
                           const std::vector<bool>& dropped, const BlockFacts& whole);
  double per_sample(double total) const { return total / samples_; }
  TensorId owner(TensorId id) const { return owner_[id.index()]; }

 private:
  /// Of a block whose tensors are marked, or of a part of it.
  BlockFacts sum_of(const std::vector<OpId>& ops, double repeats);
  void mark_split(const std::vector<OpId>& ops);
  std::set<OpId> before_attention(const std::vector<OpId>& ops) const;
  std::optional<Product> product_of(const Op& op) const;
  void add_product(const Op& op, OpId id, const OpWork& work, BlockFacts& facts);
  void add_router(const std::vector<OpId>& ops, BlockFacts& facts) const;
  void add_attention(const Op& op, const OpWork& work, BlockFacts& facts) const;
  void add_moved(const std::vector<OpId>& ops, BlockFacts& facts) const;
  Saved saved_of_attention(const Op& op) const;
  void keep(TensorId source, std::set<TensorId>& seen, BlockFacts& facts) const;
  void add_saved(const Op& op, std::set<TensorId>& seen, BlockFacts& facts) const;
  void add_fused(const std::vector<OpId>& ops, const std::set<TensorId>& saved,
                 BlockFacts& facts) const;
  void add_parameters(const Op& op, std::set<TensorId>& seen, BlockFacts& facts) const;
  TensorId weight_of(const Op& op) const;
  /// Of the block's own width, and not what tensor parallelism splits.
  bool is_wide(TensorId id) const {
    const Tensor& tensor = graph_.tensor(id);
    return !tensor.shape.empty() && double(tensor.shape.back().size) == width_ &&
           !split_.contains(owner(id));
  }
  double half_bytes(const Tensor& tensor) const {
    const double size = is_floating(tensor.dtype) ? kHalf : double(size_of(tensor.dtype));
    return per_sample(double(elements(tensor)) * size);
  }
  void move(TensorId id, BlockFacts& facts) const {
    (is_wide(id) ? facts.wide_bytes : facts.inner_bytes) += half_bytes(graph_.tensor(id));
  }

  const Graph& graph_;
  std::vector<TensorId> owner_;
  std::vector<bool> needs_;
  std::vector<int> group_;
  double samples_ = 1;
  double width_ = 0;          ///< of the block at hand
  std::set<TensorId> split_;  ///< results of products that split columns, and what follows of them
  std::set<OpId> inner_;      ///< products that put those together
  std::set<TensorId> expert_weights_;
};

TensorId FactsReader::weight_of(const Op& op) const {
  TensorId found;
  for (const Operand& operand : op.inputs) {
    if (!operand.tensor.valid()) continue;
    const TensorId id = owner(operand.tensor);
    const Tensor& tensor = graph_.tensor(id);
    const bool weight = tensor.role == TensorRole::parameter || tensor.role == TensorRole::buffer;
    if (!weight || tensor.shape.size() < 2) continue;
    if (!found.valid() || elements(tensor) > elements(graph_.tensor(found))) found = id;
  }
  return found;
}

/// Of one with a weight.
std::optional<Product> FactsReader::product_of(const Op& op) const {
  const TensorId weight = weight_of(op);
  if (!weight.valid()) return std::nullopt;
  const Tensor& w = graph_.tensor(weight);
  const bool contracts = op_class(graph_, op) == OpClass::contraction;
  Product product;
  product.experts = w.shape.size() == 3 && contracts ? double(w.shape.front().size) : 0;
  const double size = double(elements(w)) / std::max(1.0, product.experts);
  product.n = double(contracts ? graph_.tensor(op.outputs.front()).shape.back().size
                               : w.shape.front().size);
  product.n = std::clamp(product.n, 1.0, size);
  product.k = size / product.n;
  return product;
}

/// Products whose results attention reads, through operators that are none.
std::set<OpId> FactsReader::before_attention(const std::vector<OpId>& ops) const {
  std::set<OpId> found;
  std::set<TensorId> wanted;
  for (const OpId id : ops | std::views::reverse) {
    const Op& op = graph_.op(id);
    if (op.phase != Phase::forward) continue;
    const OpClass c = op_class(graph_, op);
    const bool attends =
        c == OpClass::attention || (is_product(c) && !op.outputs.empty() && !weight_of(op).valid());
    const bool read = std::ranges::any_of(
        op.outputs, [&](TensorId out) { return out.valid() && wanted.contains(owner(out)); });
    if (read && is_product(c) && !attends) found.insert(id);
    if (!attends && (!read || is_product(c))) continue;
    for (const Operand& operand : op.inputs) {
      if (operand.tensor.valid()) wanted.insert(owner(operand.tensor));
    }
  }
  return found;
}

/// Where a square weight stands in a block only what it reads tells: columns of another product, or
/// the block's own width. What has been put together is whole, whatever it meets.
void FactsReader::mark_split(const std::vector<OpId>& ops) {
  split_.clear();
  inner_.clear();
  const std::set<OpId> before = before_attention(ops);
  std::set<TensorId> whole;
  double width = 0;
  for (const OpId id : ops) {
    const Op& op = graph_.op(id);
    if (op.phase != Phase::forward || op.outputs.empty() || !op.outputs.front().valid()) continue;
    const auto reads = [&](const std::set<TensorId>& some) {
      return std::ranges::any_of(op.inputs, [&](const Operand& operand) {
        return operand.tensor.valid() && some.contains(owner(operand.tensor));
      });
    };
    const auto product =
        is_product(op_class(graph_, op)) ? product_of(op) : std::optional<Product>();
    bool splits = !reads(whole) && reads(split_);
    bool completes = reads(whole);
    if (product) {
      if (width == 0) width = product->k;
      completes = product->n == width && (product->k != width || splits) && !before.contains(id);
      splits = !completes;
      if (completes) inner_.insert(id);
    }
    for (const TensorId out : op.outputs) {
      if (!out.valid() || !is_floating(graph_.tensor(out).dtype)) continue;
      if (completes) whole.insert(owner(out));
      if (splits) split_.insert(owner(out));
    }
  }
}

void FactsReader::add_product(const Op& op, OpId id, const OpWork& work, BlockFacts& facts) {
  const double flops = per_sample(work.contraction.value);
  std::optional<Product> product = product_of(op);
  if (!product) {  // both sides are activations: attention written out
    facts.attention_flops += flops;
    double largest = 0;
    for (const Operand& operand : op.inputs) {
      if (operand.tensor.valid()) {
        largest = std::max(largest, double(elements(graph_.tensor(operand.tensor))));
      }
    }
    const auto count = double(elements(graph_.tensor(op.outputs.front())));
    if (count >= largest) facts.score_elements += per_sample(count);
    return;
  }
  product->rows = flops / (2 * product->n * product->k);
  if (product->experts > 0) expert_weights_.insert(weight_of(op));
  if (width_ == 0) width_ = product->k;
  product->side = inner_.contains(id) ? ShardedSide::inner : ShardedSide::columns;
  if (product->experts > 0 && product->k == width_) {
    facts.dispatched_elements = std::max(facts.dispatched_elements, product->rows * product->k);
  }
  facts.products.push_back(*product);
}

/// Routers that pick groups of experts first take the best k of a row of groups' scores, then of a
/// row of experts' scores [deepseek2024].
void FactsReader::add_router(const std::vector<OpId>& ops, BlockFacts& facts) const {
  const double experts = facts.experts();
  if (experts <= 0) return;
  for (const OpId id : ops) {
    const Op& op = graph_.op(id);
    const TensorId scores = operand(op, "self");
    if (op.target != "aten.topk.default" || !scores.valid()) continue;
    const auto& shape = graph_.tensor(scores).shape;
    const double row = shape.size() == 2 ? double(shape.back().size) : 0;
    const auto best = double(attribute(op, "k", 0));
    if (row <= best || best <= 0 || row >= experts || std::fmod(experts, row) != 0) continue;
    facts.expert_groups = row;
    facts.chosen_groups = best;
  }
}

void FactsReader::add_attention(const Op& op, const OpWork& work, BlockFacts& facts) const {
  const double flops = per_sample(work.contraction.value);
  const TensorId query = operand(op, "query");
  const double head = query.valid() && !graph_.tensor(query).shape.empty()
                          ? double(graph_.tensor(query).shape.back().size)
                          : 64;
  const double before = facts.attention_flops * facts.causal_share;
  const bool causal = attribute(op, "is_causal", 0) != 0;
  facts.attention_flops += flops;
  facts.causal_share = (before + flops * (causal ? 0.5 : 1)) / std::max(1.0, facts.attention_flops);
  facts.head_width = head;
  if (query.valid() && graph_.tensor(query).shape.size() == 4) {
    facts.heads = double(graph_.tensor(query).shape[1].size);
  }
  for (const char* name : {"key", "value"}) {
    const TensorId id = operand(op, name);
    if (id.valid()) facts.kept_elements += per_sample(double(elements(graph_.tensor(id))));
  }
  facts.score_elements += flops / (4 * head);
}

void FactsReader::add_moved(const std::vector<OpId>& ops, BlockFacts& facts) const {
  // Readers of every storage, so that results which stay inside a group cost nothing.
  std::vector<std::pair<TensorId, int>> reads;
  for (const OpId id : ops) {
    for (const Operand& operand : graph_.op(id).inputs) {
      if (operand.tensor.valid()) reads.emplace_back(owner(operand.tensor), group_[id.index()]);
    }
  }
  std::ranges::sort(reads);
  std::set<std::pair<int, TensorId>> touched, made;
  double eager = 0;
  for (const OpId id : ops) {
    const int group = group_[id.index()];
    const Op& op = graph_.op(id);
    if (group < 0 || op_class(graph_, op) == OpClass::view) continue;
    const OpWork work = forward_work(graph_, op);
    if (work.kernels == 0) continue;
    double element = kHalf;
    for (const TensorId out : op.outputs) {
      if (out.valid() && is_floating(graph_.tensor(out).dtype)) {
        element = double(size_of(graph_.tensor(out).dtype));
        break;
      }
    }
    eager += per_sample(double(work.read.value + work.written.value)) * kHalf / element;
    for (const Operand& operand : op.inputs) {
      if (!operand.tensor.valid()) continue;
      const TensorId source = owner(operand.tensor);
      const Tensor& tensor = graph_.tensor(source);
      const bool activation =
          tensor.role == TensorRole::activation || tensor.role == TensorRole::input;
      if (activation && !made.contains({group, source}) && touched.emplace(group, source).second) {
        move(source, facts);
      }
    }
    for (const TensorId out : op.outputs) {
      if (!out.valid()) continue;
      const TensorId source = owner(out);
      made.emplace(group, source);
      const auto [first, last] = std::ranges::equal_range(
          reads, source, {}, [](const std::pair<TensorId, int>& read) { return read.first; });
      const bool leaves = first == last || std::any_of(first, last, [&](const auto& read) {
                            return read.second != group;
                          });
      if (leaves && touched.emplace(group, source).second) move(source, facts);
    }
  }
  const double fused = facts.wide_bytes + facts.inner_bytes;
  facts.eager_factor = fused > 0 ? std::max(1.0, eager / fused) : 1;
}

/// What accelerators' fused kernels keep, whatever the widths of its heads, its mask and its
/// dropout: no scores. A stack without such kernels adds those (LayoutModel::kept_of_blocks).
Saved FactsReader::saved_of_attention(const Op& op) const {
  Saved saved;
  for (const char* name : {"query", "key", "value"}) {
    if (const TensorId id = operand(op, name); id.valid()) saved.tensors.push_back(id);
  }
  const TensorId result = op.outputs.front();
  saved.tensors.push_back(result);
  const Tensor& out = graph_.tensor(result);
  const double width =
      out.shape.empty() ? 1 : double(std::max<std::int64_t>(1, out.shape.back().size));
  saved.extra = Bytes(std::llround(4 * double(elements(out)) / width));  // logarithms of the sums
  return saved;
}

void FactsReader::keep(TensorId source, std::set<TensorId>& seen, BlockFacts& facts) const {
  const Tensor& tensor = graph_.tensor(source);
  if (tensor.role != TensorRole::activation || !seen.insert(source).second) return;
  (is_wide(source) ? facts.saved_wide_bytes : facts.saved_inner_bytes) += half_bytes(tensor);
}

void FactsReader::add_saved(const Op& op, std::set<TensorId>& seen, BlockFacts& facts) const {
  const bool attention = operand(op, "query").valid() && op_class(graph_, op) == OpClass::attention;
  const Saved saved = attention ? saved_of_attention(op) : saved_for_backward(graph_, op, needs_);
  for (const TensorId id : saved.tensors) keep(owner(id), seen, facts);
  facts.saved_inner_bytes += per_sample(double(saved.extra.value));
}

/// Of what autograd keeps, what a stack of fused kernels does: operands and results of products and
/// attention. What lies between is computed again from those inside the kernel that needs it.
void FactsReader::add_fused(const std::vector<OpId>& ops, const std::set<TensorId>& saved,
                            BlockFacts& facts) const {
  std::map<TensorId, OpId> makers;  // of what operators between products make
  std::set<TensorId> held;          // products and attention read it
  std::set<TensorId> attended;      // attention reads or makes it
  for (const OpId id : ops) {
    const Op& op = graph_.op(id);
    if (group_[id.index()] < 0) {
      const bool attention = op_class(graph_, op) == OpClass::attention;
      for (const Operand& operand : op.inputs) {
        if (!operand.tensor.valid()) continue;
        held.insert(owner(operand.tensor));
        if (attention) attended.insert(owner(operand.tensor));
      }
      for (const TensorId out : op.outputs) {
        if (attention && out.valid()) attended.insert(owner(out));
      }
      continue;
    }
    for (const TensorId out : op.outputs) {
      if (out.valid()) makers.emplace(owner(out), id);
    }
  }
  std::set<TensorId> kept;
  std::vector<TensorId> wanted(saved.begin(), saved.end());
  while (!wanted.empty()) {
    const TensorId source = wanted.back();
    wanted.pop_back();
    if (graph_.tensor(source).role != TensorRole::activation || kept.contains(source)) continue;
    kept.insert(source);
    const auto maker = makers.find(source);
    if (maker == makers.end() || held.contains(source)) {
      const Tensor& tensor = graph_.tensor(source);
      (is_wide(source) ? facts.fused_wide_bytes : facts.fused_inner_bytes) += half_bytes(tensor);
      // Read by products and made between them: kept as the products read it.
      if (maker != makers.end() && !attended.contains(source)) {
        (is_wide(source) ? facts.cast_wide_bytes : facts.cast_inner_bytes) += half_bytes(tensor);
      }
      continue;
    }
    for (const Operand& operand : graph_.op(maker->second).inputs) {
      if (operand.tensor.valid()) wanted.push_back(owner(operand.tensor));
    }
  }
  const double eager = facts.saved_wide_bytes + facts.saved_inner_bytes;
  if (facts.fused_wide_bytes + facts.fused_inner_bytes > eager) {
    facts.fused_wide_bytes = facts.saved_wide_bytes;
    facts.fused_inner_bytes = facts.saved_inner_bytes;
    facts.cast_wide_bytes = facts.cast_inner_bytes = 0;  // which of those is not known
  }
}

void FactsReader::add_parameters(const Op& op, std::set<TensorId>& seen, BlockFacts& facts) const {
  for (const Operand& operand : op.inputs) {
    if (!operand.tensor.valid()) continue;
    TensorId id = owner(operand.tensor);
    if (graph_.tensor(id).tied_to.valid()) id = graph_.tensor(id).tied_to;
    const Tensor& tensor = graph_.tensor(id);
    if (tensor.role != TensorRole::parameter || !seen.insert(id).second) continue;
    (expert_weights_.contains(id) ? facts.expert_parameters : facts.dense_parameters) +=
        double(elements(tensor));
  }
}

BlockRecompute FactsReader::recompute(const std::vector<OpId>& ops, const std::vector<bool>& again,
                                      const std::vector<bool>& dropped, const BlockFacts& whole) {
  std::vector<OpId> part;
  std::set<TensorId> made, gone;
  for (std::size_t i = 0; i < ops.size(); ++i) {
    if (!again[i]) continue;
    part.push_back(ops[i]);
    for (const TensorId out : graph_.op(ops[i]).outputs) {
      if (!out.valid()) continue;
      made.insert(owner(out));
      if (!dropped.empty() && dropped[ops[i].index()]) gone.insert(owner(out));
    }
  }
  const auto counts = [&](OpId id) { return graph_.op(id).phase == Phase::forward; };
  if (part.empty()) return {};
  if (std::ranges::count_if(part, counts) == std::ranges::count_if(ops, counts)) {
    return {.rule = RecomputeRule::full};
  }
  mark_split(ops);
  const BlockFacts run = sum_of(part, 1);
  const auto flops = [](const BlockFacts& block) {
    double sum = 0;
    for (const Product& one : block.products) sum += one.flops();
    return sum;
  };
  const auto share = [](double some, double all) {
    return all > 0 ? std::min(1.0, some / all) : 0;
  };
  BlockRecompute out{.rule = RecomputeRule::selective};
  out.products = share(flops(run), flops(whole));
  out.attention = share(run.attention_flops, whole.attention_flops);
  out.operators = share(run.wide_bytes + run.inner_bytes, whole.wide_bytes + whole.inner_bytes);
  // What others keep stays, and what the part reads of theirs.
  width_ = 0;
  BlockFacts stays;
  std::set<TensorId> saved = gone;  // as if kept already
  for (std::size_t i = 0; i < ops.size(); ++i) {
    const Op& op = graph_.op(ops[i]);
    if (is_product(op_class(graph_, op))) width_ = whole.products.front().k;  // as read() does
    if (!again[i]) {
      if (counts(ops[i])) add_saved(op, saved, stays);
      continue;
    }
    for (const Operand& operand : op.inputs) {
      if (operand.tensor.valid() && !made.contains(owner(operand.tensor))) {
        keep(owner(operand.tensor), saved, stays);
      }
    }
  }
  for (const TensorId id : gone) saved.erase(id);
  add_fused(ops, saved, stays);
  out.saved_wide_bytes = stays.saved_wide_bytes;
  out.saved_inner_bytes = stays.saved_inner_bytes;
  out.fused_wide_bytes = stays.fused_wide_bytes;
  out.fused_inner_bytes = stays.fused_inner_bytes;
  return out;
}

BlockFacts FactsReader::sum_of(const std::vector<OpId>& ops, double repeats) {
  BlockFacts facts;
  facts.repeats = repeats;
  width_ = 0;
  std::set<TensorId> saved, parameters;
  for (const OpId id : ops) {
    const Op& op = graph_.op(id);
    if (op.phase != Phase::forward) continue;
    const OpClass c = op_class(graph_, op);
    const OpWork work = forward_work(graph_, op);
    facts.operators += work.kernels;
    if (is_product(c) && !op.outputs.empty() && op.outputs.front().valid()) {
      add_product(op, id, work, facts);
    } else if (c == OpClass::attention) {
      add_attention(op, work, facts);
    }
    add_saved(op, saved, facts);
  }
  add_fused(ops, saved, facts);
  // Views of a weight stand before the products that say what it is.
  for (const OpId id : ops) add_parameters(graph_.op(id), parameters, facts);
  add_moved(ops, facts);
  add_router(ops, facts);
  if (!facts.products.empty()) {
    facts.boundary_elements = facts.products.front().rows * facts.products.front().k;
  }
  return facts;
}

}  // namespace

double BlockFacts::experts() const noexcept {
  double most = 0;
  for (const Product& one : products) most = std::max(most, one.experts);
  return most;
}

double TransformerFacts::experts() const noexcept {
  double most = 0;
  for (const BlockFacts& block : blocks) most = std::max(most, block.experts());
  return most;
}

bool TransformerFacts::is_of_measured_kind() const {
  double attending = 0;
  for (const BlockFacts& block : blocks) attending += block.score_elements > 0 ? block.repeats : 0;
  return tokens > 0 && 2 * attending > layers();
}

double TransformerFacts::layers() const {
  double count = 0;
  for (const BlockFacts& block : blocks) count += block.repeats;
  return count;
}

namespace {

/// Blocks of one class of which the same parts run again.
struct LikeBlocks {
  std::vector<bool> again;          ///< by operator of the block
  std::vector<std::size_t> places;  ///< of their first operators
  const BlockInstance* first = nullptr;
};

std::vector<LikeBlocks> alike(const Block& block, const std::vector<bool>& again) {
  std::vector<LikeBlocks> groups;
  for (const BlockInstance& instance : block.instances) {
    std::vector<bool> own;
    for (const OpId id : instance.ops) own.push_back(!again.empty() && again[id.index()]);
    auto group = std::ranges::find(groups, own, &LikeBlocks::again);
    if (group == groups.end()) group = groups.insert(group, {std::move(own), {}, &instance});
    group->places.push_back(instance.ops.front().index());
  }
  return groups;
}

}  // namespace

TransformerFacts transformer_facts(const Graph& graph, const std::vector<bool>& again,
                                   const std::vector<bool>& dropped) {
  TransformerFacts facts;
  FactsReader reader(graph);
  const std::vector<Block> blocks = find_layers(graph);
  std::vector<bool> inside(graph.ops.size(), false);
  std::vector<std::pair<std::vector<std::size_t>, BlockFacts>> found;  // by places of blocks
  for (const Block& block : blocks) {
    const BlockFacts one = reader.read(block.instances.front().ops, double(block.repeats));
    if (one.products.empty()) continue;
    for (const BlockInstance& instance : block.instances) {
      for (const OpId id : instance.ops) inside[id.index()] = true;
    }
    for (const LikeBlocks& group : alike(block, again)) {
      BlockFacts& own = found.emplace_back(group.places, one).second;
      own.repeats = double(group.places.size());
      if (again.empty()) continue;
      own.recompute = reader.recompute(group.first->ops, group.again, dropped, one);
    }
  }
  std::ranges::sort(found, {}, [](const auto& entry) { return entry.first; });
  std::vector<std::pair<std::size_t, int>> placed;
  for (auto& [places, block] : found) {
    for (const std::size_t place : places) placed.emplace_back(place, int(facts.blocks.size()));
    facts.blocks.push_back(std::move(block));
  }
  std::ranges::sort(placed);
  for (const auto& [place, of_class] : placed) {
    if (!again.empty()) facts.order.push_back(of_class);
  }
  std::vector<OpId> rest;
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    if (!inside[i]) rest.emplace_back(i);
  }
  facts.outside = reader.read(rest, 1);
  std::set<TensorId> embeddings;
  for (const OpId id : rest) {
    const Op& op = graph.op(id);
    if (op_class(graph, op) != OpClass::embedding) continue;
    for (const Operand& operand : op.inputs) {
      if (!operand.tensor.valid()) continue;
      TensorId owner = reader.owner(operand.tensor);
      if (graph.tensor(owner).tied_to.valid()) owner = graph.tensor(owner).tied_to;
      if (graph.tensor(owner).role == TensorRole::parameter && embeddings.insert(owner).second) {
        facts.embedding_parameters += double(elements(graph.tensor(owner)));
      }
    }
  }
  facts.outside.dense_parameters -= facts.embedding_parameters;
  for (const Product& product : facts.outside.products) {
    facts.logits_elements = std::max(facts.logits_elements, product.rows * product.n);
  }
  for (const TensorId id : graph.inputs) {
    const Tensor& tensor = graph.tensor(id);
    if (!is_floating(tensor.dtype) && tensor.shape.size() == 2) {
      facts.tokens = double(tensor.shape[1].size);
      break;
    }
  }
  facts.parameters = double(count_parameters(graph).parameters);
  return facts;
}

}  // namespace parallel_opt
