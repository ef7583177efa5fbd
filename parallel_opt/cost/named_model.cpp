#include "parallel_opt/cost/named_model.h"

#include <algorithm>
#include <memory>

#include "parallel_opt/cost/row_checks.h"
#include "parallel_opt/cost/row_shape.h"
#include "parallel_opt/cost/transformer_facts.h"
#include "parallel_opt/importers/model.h"

namespace parallel_opt {

NamedModel named_model(const std::string& name, std::optional<std::int64_t> seq) {
  TrainingRow row;
  row.model_name = name;
  row.dtype = "bf16";  // which no note has to say is usual
  row.micro_batch = 1;
  RowCase known;
  if (!other_work(row).empty()) return {};
  const RowShape shape = shape_of(row, known.notes);
  // What modulates blocks has no word in an inline spec.
  if (shape.spec.empty() || shape.modulated) return {};
  known.model = shape.spec;
  if (!unclear_model(row, known.model, known.notes).empty()) return {};
  const auto length = seq ? *seq : std::int64_t(shape.seq.value_or(0));
  if (length > 0) known.model += ",seq=" + std::to_string(length);
  const Graph graph = bind(load_model(known.model),
                           {{"batch", 1}, {"sequence", std::max<std::int64_t>(1, length)}});
  known.facts = std::make_shared<TransformerFacts>(transformer_facts(graph));
  if (!contradiction(row, known).empty()) return {};
  return {known.model, known.notes};
}

}  // namespace parallel_opt
