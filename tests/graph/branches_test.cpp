#include "parallel_opt/graph/branches.h"

#include <gtest/gtest.h>

#include "parallel_opt/base/random.h"
#include "tests/graph/random_graph.h"

namespace parallel_opt {
namespace {

using testing::GraphBuilder;
using testing::random_graph;
using testing::waits_for;

IndependentBranches branches_of(const Graph& graph) {
  const std::vector<double> ones(graph.ops.size(), 1.0);
  return independent_branches(graph, Dependencies(graph), ones);
}

TEST(Branches, ProjectionsOfAttentionMayRunAtOnce) {
  GraphBuilder b;
  const TensorId x = b.input("x", {2, 8});
  const TensorId n = b.op("aten.neg.default", {{"self", x}}, {2, 8});   // 0
  const TensorId q = b.op("aten.exp.default", {{"self", n}}, {2, 8});   // 1
  const TensorId k = b.op("aten.sin.default", {{"self", n}}, {2, 8});   // 2
  const TensorId r = b.op("aten.cos.default", {{"self", k}}, {2, 8});   // 3
  const TensorId v = b.op("aten.relu.default", {{"self", n}}, {2, 8});  // 4
  const TensorId s = b.op("test.attention.default", {{"q", q}, {"k", r}, {"v", v}}, {2, 8});
  b.op("aten.add.Tensor", {{"self", s}, {"other", n}}, {2, 8});  // a skip is no branch
  const IndependentBranches found = branches_of(b.build());
  ASSERT_EQ(found.groups.size(), 1u);
  const BranchGroup& group = found.groups[0];
  EXPECT_EQ(group.fork, OpId(0));
  EXPECT_EQ(group.join, OpId(5));
  ASSERT_EQ(group.branches.size(), 3u);
  EXPECT_EQ(group.branches[0].ops, (std::vector<OpId>{OpId(1)}));
  EXPECT_EQ(group.branches[1].ops, (std::vector<OpId>{OpId(2), OpId(3)}));
  EXPECT_EQ(group.branches[2].ops, (std::vector<OpId>{OpId(4)}));
  EXPECT_EQ(group.gain, 2);  // four operators, the longest branch has two
  EXPECT_TRUE(found.complete);
}

TEST(Branches, TwoTowersStartAtTheInputs) {
  GraphBuilder b;
  TensorId text = b.input("text", {2, 4}), image = b.input("image", {2, 4});
  for (int i = 0; i < 3; ++i) text = b.op("aten.neg.default", {{"self", text}}, {2, 4});
  for (int i = 0; i < 5; ++i) image = b.op("aten.exp.default", {{"self", image}}, {2, 4});
  b.op("aten.mul.Tensor", {{"self", text}, {"other", image}}, {2, 4});
  const IndependentBranches found = branches_of(b.build());
  ASSERT_EQ(found.groups.size(), 1u);
  EXPECT_FALSE(found.groups[0].fork.valid());
  EXPECT_EQ(found.groups[0].join, OpId(8));
  EXPECT_EQ(found.groups[0].branches[0].ops.size(), 3u);
  EXPECT_EQ(found.groups[0].branches[1].ops.size(), 5u);
}

/// Operators that wait for exactly one start of the fork (or are it).
std::vector<std::vector<OpId>> branches_by_trying(const Graph& graph, OpId fork) {
  const auto waits = waits_for(graph);
  std::vector<OpId> starts;
  const Dependencies d(graph);
  if (fork.valid()) {
    starts.assign(d.after(fork).begin(), d.after(fork).end());
  } else {
    for (std::size_t i = 0; i < graph.ops.size(); ++i) {
      if (d.before(OpId(i)).empty()) starts.push_back(OpId(i));
    }
  }
  std::vector<std::vector<OpId>> branches(starts.size());
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    int owners = 0;
    std::size_t owner = 0;
    for (std::size_t s = 0; s < starts.size(); ++s) {
      if (starts[s] == OpId(i) || waits[i][starts[s].index()]) {
        ++owners;
        owner = s;
      }
    }
    if (owners == 1) branches[owner].push_back(OpId(i));
  }
  std::erase_if(branches, [](const auto& branch) { return branch.empty(); });
  std::ranges::sort(branches);
  return branches;
}

TEST(Branches, AreThoseFoundByTryingAllPairs) {
  Random rng(42);
  int groups = 0;
  for (int round = 0; round < 300; ++round) {
    const Graph graph = random_graph(rng, 2 + static_cast<int>(rng.next() % 14));
    const IndependentBranches found = branches_of(graph);
    ASSERT_TRUE(found.complete);
    std::size_t expected = 0;
    for (int fork = -1; fork < static_cast<int>(graph.ops.size()); ++fork) {
      const auto wanted = branches_by_trying(graph, OpId(fork));
      if (wanted.size() < 2) continue;
      ++expected;
      const auto at = std::ranges::find(found.groups, OpId(fork), &BranchGroup::fork);
      ASSERT_NE(at, found.groups.end()) << "round " << round << ", fork " << fork;
      std::vector<std::vector<OpId>> got;
      for (const Branch& branch : at->branches) got.push_back(branch.ops);
      std::ranges::sort(got);
      ASSERT_EQ(got, wanted) << "round " << round << ", fork " << fork;
    }
    ASSERT_EQ(found.groups.size(), expected);
    groups += static_cast<int>(expected);
  }
  EXPECT_GT(groups, 300);
}

TEST(Branches, AlternativesNeverRunBothAndAreNone) {
  GraphBuilder b;
  const TensorId x = b.input("x", {2});
  const TensorId a = b.op("aten.neg.default", {{"self", x}}, {2});  // 0
  const RegionId yes = b.add_region("cond.true", RegionKind::branch, "cond", 0.5);
  const RegionId no = b.add_region("cond.false", RegionKind::branch, "cond", 0.5);
  b.enter(yes);
  const TensorId p = b.op("aten.exp.default", {{"self", a}}, {2});  // 1
  b.enter(no);
  const TensorId q = b.op("aten.sin.default", {{"self", a}}, {2});  // 2
  b.enter(RegionId());
  const TensorId j = b.op(std::string(kJoin), {{"inputs", p}, {"inputs", q}}, {2});  // 3
  const TensorId r = b.op("aten.cos.default", {{"self", a}}, {2});                   // 4
  b.output(b.op("aten.add.Tensor", {{"self", j}, {"other", r}}, {2}));
  const Graph graph = b.build();
  const IndependentBranches found = branches_of(graph);
  // Either way beside the cosine, but not one way beside the other.
  ASSERT_EQ(found.groups.size(), 1u);
  ASSERT_EQ(found.groups[0].branches.size(), 2u);
  EXPECT_EQ(found.groups[0].branches[0].ops, (std::vector<OpId>{OpId(1), OpId(2), OpId(3)}));
  EXPECT_EQ(found.groups[0].branches[1].ops, (std::vector<OpId>{OpId(4)}));
}

TEST(Branches, VeryManyLongOnesAreGivenUpNotWaitedFor) {
  // Each operator feeds the next one and one that is read at the very end: no branch ever meets
  // another, and each spans the rest of the graph.
  GraphBuilder b;
  TensorId x = b.input("x", {2});
  for (int i = 0; i < 4000; ++i) {
    x = b.op("aten.neg.default", {{"self", x}}, {2});
    b.op("aten.exp.default", {{"self", x}}, {2});
  }
  EXPECT_FALSE(branches_of(b.build()).complete);
}

}  // namespace
}  // namespace parallel_opt
