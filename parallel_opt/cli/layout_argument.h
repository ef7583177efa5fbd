#pragma once

#include <string>

#include "parallel_opt/cli/command.h"
#include "parallel_opt/cost/layout_cost.h"
#include "parallel_opt/plan/job.h"

namespace parallel_opt {

/// One layout as the flags of `layout_flags` state it, the whole answer: what is not named is 1,
/// off or the stack's own choice.
struct StatedLayout {
  ParallelLayout layout;
  const SoftwareStack* stack = nullptr;  ///< never null
};

/// Of the model, with what a file of `--recompute` names; InputError where that names what the
/// model does not have.
TransformerFacts stated_facts(const Args& args, const Graph& graph);

/// Throws UsageError for degrees that the model or the devices cannot have, and for a batch that
/// they do not divide. `batch`: of the model, where no flag says.
StatedLayout stated_layout(const Args& args, const Job& job, const TransformerFacts& facts,
                           const Cluster& cluster, std::int64_t batch);

/// What was asked for and changes nothing of one layout is said on standard error, not passed over.
void tell_what_says_nothing(const Args& args, const ParallelLayout& layout, const Console& console);
/// The part of it that holds on any device: flags of a search, where the answer is stated.
void tell_nothing_is_chosen(const Args& args, const Console& console);

/// What would need less memory than this layout, as flags that it leaves open: "a smaller
/// --micro-batch, --recompute full or a larger --tensor or --pipeline".
std::string ways_to_fit(const ParallelLayout& layout);

}  // namespace parallel_opt
