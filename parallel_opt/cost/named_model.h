#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace parallel_opt {

/// What a name alone says of a model: what a row is read as that states nothing else of it.
struct NamedModel {
  std::string spec;  ///< inline, "transformer:layers=32,...,seq=4096"; empty: none is known by it
  std::vector<std::string> notes;  ///< what of it was taken or left out
};

/// Of `seq` tokens, or as many as such models usually have.
NamedModel named_model(const std::string& name, std::optional<std::int64_t> seq);

}  // namespace parallel_opt
