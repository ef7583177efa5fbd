#pragma once

#include <string>
#include <vector>

namespace parallel_opt {

/// A document that other programs read or write.
struct DocumentSchema {
  std::string noun;  ///< "plan", as in "parallel-opt/plan/1"
  std::string summary;
  std::string (*text)();  ///< JSON schema, draft 2020-12; equal to schema/<noun>.json
};

/// Every document, by name.
const std::vector<DocumentSchema>& document_schemas();

}  // namespace parallel_opt
