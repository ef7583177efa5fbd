#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "parallel_opt/graph/graph.h"
#include "parallel_opt/plan/plan.h"

namespace parallel_opt {

/// The same in words, for hints.
inline constexpr std::string_view kRecomputeForm =
    R"(a plan, or a list such as ["model.layers.0", {"block": "model.layers.*", )"
    R"("parts": ["model.layers.*.mlp"]}])";

/// What `--recompute FILE` holds: a plan, whose `recompute` is meant, or such a list alone. In a
/// list a block's name stands for all of it. `*` in a name is any part between two dots:
/// "layers.*". Throws InputError naming the place in the file.
std::vector<Recompute> read_recompute(std::string_view text, const std::string& file);

/// Per operator of the graph, whether the backward runs it again. Operators are named by name or
/// target ("aten.linear.default"). Throws InputError for names that the graph's repeated blocks do
/// not have.
std::vector<bool> recomputed_operators(const Graph& graph, const std::vector<Recompute>& list,
                                       const std::string& file);

}  // namespace parallel_opt
