#pragma once

#include <cstdint>
#include <vector>

#include "parallel_opt/graph/graph.h"
#include "parallel_opt/plan/job.h"

namespace parallel_opt {

/// Samples that the graph was captured with: the first size of its first input that has one. 1 for
/// a graph without inputs.
std::int64_t batch_of(const Graph& graph);

/// Samples per optimizer step that the job asks for: its own, or the batch of the graph.
std::int64_t global_batch_of(const Graph& graph, const Job& job);

/// Per tensor: does it depend on a user input, so that its size grows with the batch? Parameters,
/// buffers, and masks or positions made of constants do not.
std::vector<bool> grows_with_batch(const Graph& graph);

/// Name of the first operator whose result for one sample depends on the other samples of the
/// batch (batch normalisation that uses batch statistics); empty when there is none. Such a model
/// gives other numbers when its batch is cut into micro-batches.
std::string batch_mixing_op(const Graph& graph, bool training);

}  // namespace parallel_opt
