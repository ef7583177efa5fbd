#pragma once

#include <string>

namespace parallel_opt {

/// YAML text as JSON text, so that YAML files are read by the same code with the same errors.
/// Throws InputError with line and column for text that is no YAML, and MissingPart when this
/// program was built without yaml-cpp. `name` starts every error: "cluster.yaml".
std::string yaml_to_json(const std::string& text, const std::string& name);

}  // namespace parallel_opt
