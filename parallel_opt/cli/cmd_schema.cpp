#include <algorithm>
#include <ostream>

#include "parallel_opt/cli/commands.h"
#include "parallel_opt/cli/documents.h"
#include "parallel_opt/cli/schemas.h"

namespace parallel_opt {
namespace {

ExitCode list_schemas(const Console& console) {
  if (console.json) {
    SchemasDocument document;
    for (const DocumentSchema& schema : document_schemas()) document.nouns.push_back(schema.noun);
    print_json(console, document);
    return ExitCode::ok;
  }
  for (const DocumentSchema& schema : document_schemas()) {
    console.out << schema.noun << std::string(16 - schema.noun.size(), ' ') << schema.summary
                << '\n';
  }
  return ExitCode::ok;
}

ExitCode run_schema(const Args& args, const Console& console) {
  if (!args.has("NOUN")) return list_schemas(console);
  const std::string noun = args.at("NOUN");
  const auto& schemas = document_schemas();
  const auto found = std::ranges::find(schemas, noun, &DocumentSchema::noun);
  if (found == schemas.end()) {
    std::vector<std::string> known;
    known.reserve(schemas.size());
    for (const DocumentSchema& schema : schemas) known.push_back(schema.noun);
    const std::string nearest = nearest_match(noun, known);
    throw UsageError(
        "parallel-opt schema", "unknown noun \"" + noun + "\"",
        nearest.empty() ? "known: " + join(known, ", ") : "did you mean \"" + nearest + "\"?");
  }
  if (!console.json) {
    console.out << found->text();
    return ExitCode::ok;
  }
  JsonWriter out;
  out.begin_object();
  out.key("schema");
  out.value("parallel-opt/schema/1");
  out.key("noun");
  out.value(found->noun);
  out.key("json_schema");
  out.raw(found->text());
  out.end_object();
  console.out << out.text() << '\n';
  return ExitCode::ok;
}

}  // namespace

/// parallel-opt schema plan
Command schema_command() {
  return {
      .name = "schema",
      .summary = "Print the JSON schema of a document, or the list of documents.",
      .description =
          "Without --json the JSON schema itself (draft 2020-12), as in schema/NOUN.json; with "
          "--json\n"
          "{\"schema\": \"parallel-opt/schema/1\", \"noun\": NOUN, \"json_schema\": {...}}.",
      .arguments = {{"NOUN", "the document: plan, cluster, job, timeline, ...", false}},
      .examples = {"parallel-opt schema plan"},
      .run = run_schema,
  };
}

}  // namespace parallel_opt
