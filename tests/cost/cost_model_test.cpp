#include "parallel_opt/cost/cost_model.h"

#include <gtest/gtest.h>

#include "parallel_opt/cost/estimate.h"
#include "tests/cost/models.h"

namespace parallel_opt {
namespace {

using testing::cnn;
using testing::cpu;
using testing::gpt;
using testing::machine;
using testing::mlp;

TEST(CostModel, HandBuiltGraphsAreWellFormed) {
  for (const Graph& graph : {mlp(), gpt(), cnn()}) {
    for (const Fault& fault : check(graph)) ADD_FAILURE() << graph.name << " " << to_string(fault);
  }
}

TEST(CostModel, FindsRepeatedBlocks) {
  const ModelFacts facts = model_facts(gpt(4), true);
  ASSERT_EQ(facts.classes.size(), 1u);
  EXPECT_EQ(facts.classes[0].blocks,
            (std::vector<std::string>{"blocks.0", "blocks.1", "blocks.2", "blocks.3"}));
}

}  // namespace
}  // namespace parallel_opt
