#include <gtest/gtest.h>

#include <string>

#include "parallel_opt/importers/pt2.h"
#include "tests/importers/archive.h"
#include "tests/importers/graph_views.h"

namespace parallel_opt {
namespace {

using namespace testing;

std::string error_of_archive(const std::string& archive) {
  return error_of([&] { read_pt2(archive, "model.pt2"); });
}

TEST(Pt2Archive, RootFolderStoredOrDeflatedMakesNoDifference) {
  const std::string json = linear_model().json();
  const Graph graph = read_pt2(make_pt2(json), "model.pt2");
  EXPECT_EQ(read_pt2(make_pt2(json, {}, true), "model.pt2"), graph);
  EXPECT_EQ(read_pt2(make_zip({{"models/model.json", json}}), "model.pt2"), graph);
  EXPECT_EQ(read_pt2(make_zip({{"models/models/model.json", json}, {"models/version", "3"}}),
                     "model.pt2"),
            graph);
  EXPECT_EQ(graph.name, "model");
  EXPECT_EQ(graph.source, "model.pt2");
  EXPECT_EQ(read_pt2(make_pt2(json), "Net").source, "torch.export");
}

TEST(Pt2Archive, TheOneModelMayHaveAnyName) {
  const std::string json = linear_model().json();
  EXPECT_EQ(read_pt2(make_zip({{"r/models/encoder.json", json}, {"r/x", ""}}), "m").ops.size(), 1u);
  EXPECT_EQ(
      read_pt2(make_zip({{"r/models/a.json", "{"}, {"r/models/model.json", json}}), "m").ops.size(),
      1u);
}

TEST(Pt2Archive, ZipOfPyTorch24To27IsRead) {
  Model model = linear_model();
  model.version = R"({"major": 7, "minor": 3})";
  const Graph graph = read_pt2(make_zip({{"version", "7.3"},
                                         {"serialized_exported_program.json", model.json()},
                                         {"serialized_state_dict.pt", "not read"}}),
                               "old.pt2");
  EXPECT_EQ(graph.ops.size(), 1u);
  EXPECT_TRUE(graph.notes.empty());
}

TEST(Pt2Archive, SeveralModelsAreAmbiguous) {
  EXPECT_EQ(error_of_archive(make_zip({{"r/models/a.json", "{}"}, {"r/models/b.json", "{}"}})),
            "model.pt2: holds 2 models: models/a.json, models/b.json "
            "(save one model per file, or name one of them \"model\")");
}

TEST(Pt2Archive, MissingModelSaysWhatTheFileIs) {
  EXPECT_EQ(error_of_archive(make_zip({{"r/archive_format", "pt2"}, {"r/archive_version", "0"}})),
            "model.pt2: no models/model.json in the archive "
            "(a .pt2 file is written by torch.export.save(program, file))");
  EXPECT_EQ(error_of_archive(make_zip({{"r/data.pkl", ""}, {"r/data/0", ""}})),
            "model.pt2: no models/model.json in the archive: this is a torch.save checkpoint, "
            "weights without a graph (export the model: "
            "torch.export.save(torch.export.export(model, args), \"model.pt2\"))");
  EXPECT_EQ(error_of_archive(make_zip({{"r/data.pkl", ""}, {"r/constants.pkl", ""}})),
            "model.pt2: no models/model.json in the archive: this is a TorchScript file "
            "(export the model with torch.export instead)");
  EXPECT_EQ(
      error_of_archive(make_zip({{"r/data/aotinductor/model/x.so", ""}, {"r/version", ""}})),
      "model.pt2: no models/model.json in the archive: this is a compiled AOTInductor "
      "package, without a graph (a .pt2 file is written by torch.export.save(program, file))");
}

TEST(Pt2Archive, TruncatedFileSaysSo) {
  const std::string bytes = make_pt2(linear_model().json());
  EXPECT_EQ(error_of_archive(bytes.substr(0, bytes.size() - 100)),
            "model.pt2: truncated or damaged zip archive: Not a zip archive "
            "(is the download complete?)");
}

TEST(Pt2Archive, CorruptJsonNamesLineAndColumn) {
  EXPECT_EQ(error_of_archive(make_pt2("{\"graph_module\":\n oops}")),
            "model.pt2:models/model.json:2:2: not valid JSON "
            "(the first character that does not fit stands there)");
}

TEST(Pt2Archive, OtherSchemasAreRefusedByName) {
  Model model = linear_model();
  model.version = R"({"major": 9, "minor": 0})";
  EXPECT_EQ(error_of_archive(make_pt2(model.json())),
            "model.pt2:schema_version.major: schema 9 is not supported, only 5 to 8 "
            "(update parallel_opt)");
  model.version = R"({"major": 4, "minor": 0})";
  EXPECT_EQ(error_of_archive(make_pt2(model.json())),
            "model.pt2:schema_version.major: schema 4 is not supported, only 5 to 8 "
            "(export the model again with PyTorch 2.4 or later)");
  EXPECT_EQ(error_of_archive(make_pt2("{}")),
            "model.pt2:schema_version: is missing (is the file written by torch.export.save?)");
}

TEST(Pt2Archive, NewerMinorIsReadWithANote) {
  Model model = linear_model();
  model.version = R"({"major": 8, "minor": 21})";
  EXPECT_EQ(read_pt2(make_pt2(model.json()), "model.pt2").notes,
            (std::vector<std::string>{
                "schema 8.21 is newer than the known 8.20: what is new in it was left out"}));
}

TEST(Pt2Archive, MissingPartsAreNamedAllAtOnce) {
  EXPECT_EQ(error_of_archive(make_pt2(R"({"schema_version": {"major": 8, "minor": 20}})")),
            "model.pt2:graph.tensor_values: is missing or no object "
            "(is the file written by torch.export.save?)\n"
            "model.pt2:signature.input_specs: is missing or no list "
            "(is the file written by torch.export.save?)\n"
            "model.pt2:graph.nodes: is missing or no list "
            "(is the file written by torch.export.save?)\n"
            "model.pt2:signature.output_specs: is missing or no list "
            "(is the file written by torch.export.save?)");
}

/// embed(x) @ head: two names of one 5 x 3 parameter. As torch writes it, only the last is used.
Model tied_model() {
  Model model;
  model.parameter("p_embed_weight", "embed.weight", {"5", "3"});
  model.parameter("p_head_weight", "head.weight", {"5", "3"});
  model.input("x", meta({"2"}, 5));
  model.value("embedding", meta({"2", "3"}));
  model.value("linear", meta({"2", "5"}));
  model.node("torch.ops.aten.embedding.default",
             {tensor("weight", "p_head_weight"), tensor("indices", "x")}, "embedding");
  model.node("torch.ops.aten.linear.default",
             {tensor("input", "embedding"), tensor("weight", "p_head_weight")}, "linear");
  model.output("linear");
  return model;
}

std::string payload(const std::string& fqn, const std::string& path, int offset) {
  return "\"" + fqn + R"(": {"path_name": ")" + path +
         R"(", "is_param": true, "use_pickle": false, "tensor_meta": {"sizes": [{"as_int": 5},)"
         R"( {"as_int": 3}], "strides": [{"as_int": 3}, {"as_int": 1}], "storage_offset": )"
         R"({"as_int": )" +
         std::to_string(offset) + "}}}";
}

Members weights(int offset_of_head, const std::string& bytes, const std::string& config) {
  return {
      {"data/weights/weight_0", bytes},
      {"data/weights/" + config, "{\"config\": {" + payload("embed.weight", "weight_0", 0) + ", " +
                                     payload("head.weight", "weight_0", offset_of_head) + "}}"}};
}

TEST(Pt2Ties, EqualPayloadAndViewAreOneParameter) {
  for (const char* config : {"model_weights_config.json", "model_model_param_config.json"}) {
    const Graph graph =
        read_pt2(make_pt2(tied_model().json(), weights(0, std::string(60, 'w'), config)), "m.pt2");
    EXPECT_EQ(named(graph, "p_head_weight").tied_to, TensorId(0));
    EXPECT_FALSE(named(graph, "p_embed_weight").tied_to.valid());
    // Every use is of the first name now.
    EXPECT_EQ(graph.ops[0].inputs[0].tensor, TensorId(0));
    EXPECT_EQ(graph.ops[1].inputs[1].tensor, TensorId(0));
    EXPECT_EQ(count_parameters(graph).parameters, 15);  // 5 * 3, once
    EXPECT_TRUE(graph.notes.empty());
  }
}

TEST(Pt2Ties, ViewsOfOneStorageAreTwoParameters) {
  const Graph graph = read_pt2(make_pt2(tied_model().json(), weights(15, std::string(120, 'w'),
                                                                     "model_weights_config.json")),
                               "m.pt2");
  EXPECT_FALSE(named(graph, "p_head_weight").tied_to.valid());
  EXPECT_EQ(count_parameters(graph).parameters, 30);
}

TEST(Pt2Archive, StoredWeightsHoldTheirTensors) {
  const auto fault = [](int offset, std::size_t bytes) {
    return error_of_archive(make_pt2(tied_model().json(), weights(offset, std::string(bytes, 'w'),
                                                                  "model_weights_config.json")));
  };
  EXPECT_EQ(fault(0, 60), "no error");  // 5 x 3 of 4 bytes
  EXPECT_EQ(fault(0, 59),
            "model.pt2:config.embed.weight: holds 59 bytes, its tensor needs 60 (is the download "
            "complete?)\n"
            "model.pt2:config.head.weight: holds 59 bytes, its tensor needs 60 (is the download "
            "complete?)");
  EXPECT_EQ(fault(15, 60),  // the second begins where the storage ends
            "model.pt2:config.head.weight: holds 60 bytes, its tensor needs 120 (is the download "
            "complete?)");
  Model other = tied_model();
  other.values[1] = "\"p_head_weight\": " + meta({"7", "3"}, 7, {}, true);
  EXPECT_EQ(error_of_archive(make_pt2(
                other.json(), weights(0, std::string(60, 'w'), "model_weights_config.json"))),
            "model.pt2:config.head.weight.tensor_meta: its sizes are not those of the graph's "
            "tensor \"head.weight\"");
}

TEST(Pt2Ties, WithoutWeightsTheFileCannotTell) {
  const Graph graph =
      read_pt2(make_pt2(tied_model().json(), weights(0, "", "model_weights_config.json")), "m.pt2");
  EXPECT_EQ(count_parameters(graph).parameters, 30);
  EXPECT_EQ(graph.notes,
            (std::vector<std::string>{
                "parameter \"embed.weight\" is used by no operator: is it tied to "
                "\"head.weight\"? The file holds no weights to tell; it is counted on its own"}));
}

TEST(Pt2Ties, PathsOutOfTheArchiveAreRefused) {
  for (const char* path : {"../../etc/passwd", "/etc/passwd", "a/../../b"}) {
    const std::string config = "{\"config\": {" + payload("head.weight", path, 0) + "}}";
    EXPECT_EQ(error_of_archive(make_pt2(tied_model().json(),
                                        {{"data/weights/model_weights_config.json", config}})),
              std::string("model.pt2:config.head.weight.path_name: \"") + path +
                  "\" leads out of the archive (do not trust this file)");
  }
}

TEST(Pt2Archive, ManyNotesAreCountedAndManyEqualNamesCostNothing) {
  // 20,000 parameters that nobody uses, and as many nodes of one name.
  Model model = linear_model();
  for (int i = 0; i < 20'000; ++i) {
    const std::string n = std::to_string(i);
    model.parameter("p_" + n, "unused." + n, {"4", "3"});
    model.value("y" + n, meta({"2", "3"}));
    model.nodes.push_back(R"({"target": "torch.ops.aten.neg.default", "inputs": [)" +
                          tensor("self", "x") + R"(], "outputs": [{"as_tensor": {"name": "y)" + n +
                          R"("}}], "metadata": {}, "name": "n"})");
  }
  const Graph graph = read_pt2(make_pt2(model.json()), "m.pt2");
  EXPECT_EQ(graph.ops.size(), 20'001u);
  EXPECT_EQ(graph.ops.back().name, "n_19999");
  ASSERT_EQ(graph.notes.size(), 101u);
  EXPECT_EQ(graph.notes.back(), "and 19900 more notes");
}

TEST(Pt2Ties, TieMapComesFromTheCallerOrFromTheArchive) {
  const std::string json = tied_model().json();
  const Graph given = read_pt2(make_pt2(json), "m.pt2", {{"head.weight", "embed.weight"}});
  EXPECT_EQ(count_parameters(given).parameters, 15);
  EXPECT_TRUE(given.notes.empty());
  const Graph recorded =
      read_pt2(make_pt2(json, {{"extra/parallel_opt.json",
                                R"({"name": "GPT", "ties": {"head.weight": "embed.weight"},
                           "notes": ["a note"]})"}}),
               "m.pt2");
  EXPECT_EQ(recorded.name, "GPT");
  EXPECT_EQ(recorded.tensors, given.tensors);
  EXPECT_EQ(recorded.notes, (std::vector<std::string>{"a note"}));
}

TEST(Pt2Ties, ChainsAndCirclesAreFaults) {
  const std::string bytes = make_pt2(tied_model().json());
  EXPECT_EQ(error_of([&] {
              read_pt2(bytes, "m.pt2",
                       {{"embed.weight", "head.weight"}, {"head.weight", "embed.weight"}});
            }),
            "m.pt2: \"embed.weight\" is tied itself, to tie \"head.weight\" to it "
            "(tie every name to the first one)");
}

}  // namespace
}  // namespace parallel_opt
