#include "parallel_opt/graph/graph_json.h"

#include <gtest/gtest.h>

#include "tests/graph/builder.h"

namespace parallel_opt {
namespace {

using testing::GraphBuilder;
using testing::Ints;

Graph every_attribute() {
  GraphBuilder b;
  const TensorId x = b.input("x", {2, 3});
  b.module("layer");
  b.output(b.op("aten.view.default", {{"self", x}, {"mask", TensorId()}}, {6},
                {{"none", std::monostate()},
                 {"flag", true},
                 {"number", std::int64_t{-3}},
                 {"real", 1.0},  // must not come back as the whole number 1
                 {"text", std::string("ab,bc->ac")},
                 {"numbers", Ints{1, 2}},
                 {"empty", Ints{}},
                 {"reals", std::vector<double>{0.5, 2.0}},
                 {"flags", std::vector<bool>{true, false}}}));
  b.raw().symbols = {{"s0", 1, 8, 2}};
  b.raw().tensors[0].shape[0].expression = "s0";
  b.raw().notes = {"a note"};
  b.raw().observed_saved_bytes = Bytes(77);
  return b.build();
}

TEST(GraphJson, EveryFieldAndAttributeTypeReadsBackEqual) {
  const Graph g = every_attribute();
  EXPECT_EQ(graph_from_json(to_json(g), "graph.json"), g);
  EXPECT_EQ(to_json(graph_from_json(to_json(g), "graph.json")), to_json(g));
}

TEST(GraphJson, FaultsNameThePath) {
  std::string text = to_json(every_attribute());
  const std::size_t at = text.find("\"flag\": true");
  ASSERT_NE(at, std::string::npos);
  text.replace(at, 12, "\"flag\": 1.5");
  try {
    graph_from_json(text, "graph.json");
    FAIL() << "accepted";
  } catch (const InputError& e) {
    EXPECT_EQ(e.faults().size(), 1u);
    EXPECT_EQ(e.faults()[0].where, "graph.json:ops[0].attributes.flag");
  }
}

TEST(GraphJson, ADocumentThatBreaksARuleOfGraphsIsRefused) {
  Graph g = every_attribute();
  g.ops[0].inputs[0].tensor = TensorId(9);
  try {
    graph_from_json(to_json(g), "graph.json");
    FAIL() << "accepted";
  } catch (const InputError& e) {
    EXPECT_STREQ(e.what(), "graph.json: test:ops[0]: an operand names tensor 9 of 2");
  }
}

}  // namespace
}  // namespace parallel_opt
