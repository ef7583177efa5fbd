#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "parallel_opt/graph/alias.h"
#include "parallel_opt/graph/graph_json.h"
#include "parallel_opt/graph/summary.h"
#include "parallel_opt/graph/work.h"
#include "tests/graph/random_model.h"

// What must not depend on how a graph is written down, and what must, on random models.
namespace parallel_opt {
namespace {

using testing::Ints;
using testing::pick;
using testing::random_model;
using testing::within;

constexpr int kRounds = 60;

std::vector<std::size_t> shuffled(Random& rng, std::size_t count) {
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (std::size_t i = count; i > 1; --i) std::swap(order[i - 1], order[rng.below(i)]);
  return order;
}

/// The same graph with its tensors in another order, and all but the inputs named anew.
Graph renumbered(const Graph& graph, const std::vector<std::size_t>& place) {
  const auto moved = [&](TensorId id) { return id.valid() ? TensorId(place[id.index()]) : id; };
  Graph g = graph;
  for (std::size_t i = 0; i < place.size(); ++i) {
    Tensor t = graph.tensors[i];
    if (t.role != TensorRole::input) t.name = "renamed " + t.name;
    t.alias_of = moved(t.alias_of);
    t.tied_to = moved(t.tied_to);
    g.tensors[place[i]] = std::move(t);
  }
  for (Op& op : g.ops) {
    op.name = "call of " + op.name;
    for (Operand& input : op.inputs) input.tensor = moved(input.tensor);
    for (TensorId& id : op.outputs) id = moved(id);
  }
  for (TensorId& id : g.inputs) id = moved(id);
  for (TensorId& id : g.outputs) id = moved(id);
  return g;
}

/// The same operators in another order in which every one still comes after what it reads.
Graph reordered(const Graph& graph, Random& rng) {
  std::vector<bool> ready(graph.tensors.size());
  for (std::size_t i = 0; i < graph.tensors.size(); ++i) {
    ready[i] = graph.tensors[i].role != TensorRole::activation;
  }
  std::vector<Op> left = graph.ops;
  Graph g = graph;
  g.ops.clear();
  while (!left.empty()) {
    std::vector<std::size_t> may;
    for (std::size_t i = 0; i < left.size(); ++i) {
      const bool all = std::ranges::all_of(left[i].inputs, [&](const Operand& input) {
        return !input.tensor.valid() || ready[input.tensor.index()];
      });
      if (all) may.push_back(i);
    }
    const auto at = left.begin() + static_cast<std::ptrdiff_t>(pick(rng, may));
    for (const TensorId id : at->outputs) ready[id.index()] = true;
    g.ops.push_back(*at);
    left.erase(at);
  }
  return g;
}

/// Both graphs side by side, as one.
Graph joined(const Graph& a, const Graph& b) {
  Graph g = a;
  const std::size_t tensors = a.tensors.size();
  const auto moved = [&](TensorId id) { return id.valid() ? TensorId(id.index() + tensors) : id; };
  for (Tensor t : b.tensors) {
    t.name = "b." + t.name;
    if (!t.fqn.empty()) t.fqn = "b." + t.fqn;
    t.alias_of = moved(t.alias_of);
    t.tied_to = moved(t.tied_to);
    g.tensors.push_back(std::move(t));
  }
  for (Op op : b.ops) {
    op.name = "b." + op.name;
    for (Operand& input : op.inputs) input.tensor = moved(input.tensor);
    for (TensorId& id : op.outputs) id = moved(id);
    g.ops.push_back(std::move(op));
  }
  for (const TensorId id : b.inputs) g.inputs.push_back(moved(id));
  for (const TensorId id : b.outputs) g.outputs.push_back(moved(id));
  return g;
}

TEST(GraphProperty, NumbersAndNamesOfTensorsChangeNothing) {
  Random rng(1);
  for (int round = 0; round < kRounds; ++round) {
    const Graph g = random_model(rng, 20);
    const Graph other = renumbered(g, shuffled(rng, g.tensors.size()));
    ASSERT_TRUE(check(other).empty());
    EXPECT_EQ(to_json(summarize(other)), to_json(summarize(g))) << round;
    std::vector<std::size_t> same(g.tensors.size());
    std::iota(same.begin(), same.end(), std::size_t{0});
    EXPECT_EQ(graph_hash(renumbered(g, same)), graph_hash(g)) << round;
  }
}

TEST(GraphProperty, TheHashTellsEveryChangeOfTheComputation) {
  Random rng(2);
  for (int round = 0; round < kRounds; ++round) {
    const Graph g = random_model(rng, 12);
    Graph other = g;
    Op& op = other.ops[rng.below(other.ops.size())];
    switch (rng.below(4)) {
      case 0:
        op.target = "aten.sin.default";
        break;
      case 1:
        op.attributes["alpha"] = within(rng, 2, 9);
        break;
      case 2:
        other.tensors[op.outputs.front().index()].dtype = DType::bf16;
        break;
      default:
        other.tensors[op.outputs.front().index()].shape.push_back({1, ""});
    }
    EXPECT_NE(graph_hash(other), graph_hash(g));
  }
}

TEST(GraphProperty, TotalsDoNotDependOnTheOrderOfIndependentOperators) {
  Random rng(3);
  for (int round = 0; round < kRounds; ++round) {
    const Graph g = random_model(rng, 24, {.in_place = false});
    const GraphSummary a = summarize(g), b = summarize(reordered(g, rng));
    EXPECT_EQ(a.flops, b.flops);
    EXPECT_EQ(a.flops_all, b.flops_all);
    EXPECT_EQ(a.saved_bytes, b.saved_bytes) << round;
    EXPECT_EQ(a.critical_path_flops, b.critical_path_flops) << round;
  }
}

TEST(GraphProperty, TotalsAreSumsOverOperatorsAndOverParts) {
  Random rng(4);
  for (int round = 0; round < kRounds; ++round) {
    const Graph a = random_model(rng, 15), b = random_model(rng, 9);
    const GraphSummary one = summarize(a), two = summarize(b), both = summarize(joined(a, b));
    EXPECT_EQ(both.flops.forward, one.flops.forward + two.flops.forward);
    EXPECT_EQ(both.flops_all.backward, one.flops_all.backward + two.flops_all.backward);
    EXPECT_EQ(both.saved_bytes, one.saved_bytes + two.saved_bytes);
    EXPECT_EQ(both.parameters, one.parameters + two.parameters);
    EXPECT_EQ(both.critical_path_flops, std::max(one.critical_path_flops, two.critical_path_flops));
    OpWork forward, backward;
    for (const Op& op : a.ops) {
      forward += forward_work(a, op);
      backward += backward_work(a, op, needs_grad(a));
    }
    EXPECT_EQ(forward.contraction, one.flops.forward);
    EXPECT_EQ(forward.contraction + forward.other, one.flops_all.forward);
    EXPECT_EQ(backward.contraction, one.flops.backward);
  }
}

/// Can one be reached from the other along operators?
std::vector<bool> reached(const Graph& graph, std::vector<bool> from, bool forwards) {
  for (std::size_t again = 0; again < graph.ops.size(); ++again) {
    for (const Op& op : graph.ops) {
      bool in = false, out = false;
      for (const Operand& input : op.inputs) in = in || from[input.tensor.index()];
      for (const TensorId id : op.outputs) out = out || from[id.index()];
      if (forwards && in) {
        for (const TensorId id : op.outputs) from[id.index()] = true;
      } else if (!forwards && out) {
        for (const Operand& input : op.inputs) from[input.tensor.index()] = true;
      }
    }
  }
  return from;
}

TEST(GraphProperty, GradientsFlowWhereAParameterIsBehindAndAnOutputAhead) {
  Random rng(5);
  for (int round = 0; round < kRounds; ++round) {
    const Graph g = random_model(rng, 20, {.in_place = false});
    std::vector<bool> trained(g.tensors.size()), wanted(g.tensors.size());
    for (std::size_t i = 0; i < trained.size(); ++i) trained[i] = g.tensors[i].requires_grad;
    for (const TensorId id : g.outputs) wanted[id.index()] = true;
    const std::vector<bool> behind = reached(g, trained, true), ahead = reached(g, wanted, false);
    const std::vector<bool> needs = needs_grad(g), requires_it = requires_grad(g);
    for (std::size_t i = 0; i < needs.size(); ++i) {
      EXPECT_EQ(needs[i], behind[i] && ahead[i]) << g.tensors[i].name << " of " << round;
      EXPECT_EQ(requires_it[i], behind[i]) << g.tensors[i].name;
    }
  }
}

Attribute random_attribute(Random& rng) {
  switch (rng.below(8)) {
    case 0:
      return std::monostate();
    case 1:
      return rng.below(2) == 0;
    case 2:
      return static_cast<std::int64_t>(rng.next());
    case 3:
      return (rng.uniform() - 0.5) * std::pow(10.0, static_cast<double>(within(rng, -30, 30)));
    case 4: {
      std::string text;
      for (std::int64_t i = within(rng, 0, 9); i > 0; --i) {
        text += static_cast<char>(within(rng, 1, 126));
      }
      return text;
    }
    case 5:
      return Ints(rng.below(4), within(rng, -5, 5));
    case 6:
      return std::vector<double>(1 + rng.below(4), rng.uniform());  // an empty list is of integers
    default:
      return std::vector<bool>(1 + rng.below(4), rng.below(2) == 0);
  }
}

TEST(GraphProperty, JsonReadsBackEqual) {
  Random rng(6);
  for (int round = 0; round < kRounds; ++round) {
    Graph g = random_model(rng, 12);
    for (Op& op : g.ops) {
      for (std::int64_t i = within(rng, 0, 3); i > 0; --i) {
        op.attributes["a" + std::to_string(i)] = random_attribute(rng);
      }
      op.call = static_cast<int>(rng.below(3));
      op.module_type = rng.below(2) == 0 ? "" : "torch.nn.Linear \"quoted\" \\ \n";
    }
    g.symbols = {{"s0", 1, within(rng, 8, 1 << 30), 5}, {"s1", 2, INT64_MAX, 3}};
    g.tensors[0].shape[0] = {10, "2*s0"};
    g.regions = {{"loop", RegionKind::loop, "loop", 0.5 + rng.uniform(), "s1", true, {}, {}}};
    g.notes = {"a note", ""};
    if (rng.below(2) == 0) g.observed_saved_bytes = Bytes(within(rng, 0, 1 << 20));
    const std::string text = to_json(g);
    const Graph back = graph_from_json(text, "g.json");
    EXPECT_TRUE(back == g) << text;
    EXPECT_EQ(to_json(back), text);
    EXPECT_EQ(graph_hash(back), graph_hash(g));
  }
}

/// A size over s0 and s1, with what it is at given values.
struct Size {
  std::string text;
  std::int64_t (*at)(std::int64_t s0, std::int64_t s1);
};

const std::vector<Size>& sizes() {
  static const std::vector<Size> list = {
      {"s0", [](std::int64_t a, std::int64_t) { return a; }},
      {"s1", [](std::int64_t, std::int64_t b) { return b; }},
      {"2*s0 + 3", [](std::int64_t a, std::int64_t) { return 2 * a + 3; }},
      {"s0*s1", [](std::int64_t a, std::int64_t b) { return a * b; }},
      {"FloorDiv(s0 + 2, 3)", [](std::int64_t a, std::int64_t) { return (a + 2) / 3; }},
      {"Max(s0, 7)", [](std::int64_t a, std::int64_t) { return std::max<std::int64_t>(a, 7); }},
      {"Mod(s1, 4) + 1", [](std::int64_t, std::int64_t b) { return b % 4 + 1; }},
      {"s0**2 - s0", [](std::int64_t a, std::int64_t) { return a * a - a; }},
  };
  return list;
}

TEST(GraphProperty, BindingIsBuildingAtThoseSizes) {
  Random rng(7);
  const auto chain = [](const std::vector<const Size*>& rows, std::int64_t a, std::int64_t b,
                        bool open) {
    testing::GraphBuilder builder;
    const auto shaped = [&](TensorId id, const Size& size) {
      if (open) builder.raw().tensors[id.index()].shape[0].expression = size.text;
      return id;
    };
    TensorId x = shaped(builder.input("x", {rows[0]->at(a, b), 4}), *rows[0]);
    for (std::size_t i = 1; i < rows.size(); ++i) {
      const std::int64_t count = rows[i]->at(a, b);
      const TensorId w = builder.parameter("w" + std::to_string(i), {4, 4});
      x = shaped(builder.op("test.resize.default", {{"self", x}}, {count, 4}), *rows[i]);
      x = shaped(builder.op("aten.linear.default", {{"input", x}, {"weight", w}}, {count, 4}),
                 *rows[i]);
    }
    builder.output(x);
    if (open) builder.raw().symbols = {{"s0", 1, 99, a}, {"s1", 1, 99, b}};
    return builder.build();
  };
  const auto value = [&] { return within(rng, 2, 40); };
  for (int round = 0; round < kRounds; ++round) {
    std::vector<const Size*> rows;
    for (int i = 0; i < 6; ++i) rows.push_back(&pick(rng, sizes()));
    const std::int64_t a = value(), b = value(), c = value(), d = value();
    const Graph captured = chain(rows, a, b, true);
    const Graph bound = bind(captured, {{"s0", c}, {"s1", d}});
    EXPECT_TRUE(bound == chain(rows, c, d, true)) << round;
    EXPECT_EQ(summarize(bound).flops, summarize(chain(rows, c, d, false)).flops);
    // One after the other, or by a third place: the same.
    EXPECT_TRUE(bind(bind(captured, {{"s0", c}}), {{"s1", d}}) == bound) << round;
    const Graph third = bind(captured, {{"s0", 3}, {"s1", 50}});
    EXPECT_TRUE(bind(third, {{"s0", c}, {"s1", d}}) == bound) << round;
    EXPECT_TRUE(bind(bound, {{"s0", a}, {"s1", b}}) == captured) << round;
  }
}

}  // namespace
}  // namespace parallel_opt
