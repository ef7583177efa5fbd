#pragma once

#include <iosfwd>

#include "parallel_opt/graph/analysis.h"
#include "parallel_opt/graph/summary.h"

namespace parallel_opt {

/// What `parallel-opt graph` prints without --json.
void print_summary(const GraphSummary& summary, std::ostream& out);
/// What --analysis prints: the rows that matter, with how many were left out.
void print_analysis(const GraphAnalysis& analysis, std::ostream& out);
/// What --per-operator prints: one row per operator; of a repeated block, its first occurrence.
void print_operators(const GraphAnalysis& analysis, std::ostream& out);

}  // namespace parallel_opt
