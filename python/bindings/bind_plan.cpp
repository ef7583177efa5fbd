#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "parallel_opt/plan/plan.h"
#include "parallel_opt/simulate/timeline.h"
#include "python/bindings/bind_fields.h"

namespace parallel_opt::bindings {

void bind_plan(nb::module_& m) {
  bind_struct<EstimateItem>(m, "EstimateItem", "One line of the bill of a step.");
  bind_struct<Estimate>(m, "Estimate", "Predicted cost of one optimizer step of a plan.");
  bind_struct<DataLoading>(m, "DataLoading", "How the loop gets its samples.");
  bind_struct<Pins>(m, "Pins", "What the user fixed; None: the search chooses.");
  bind_struct<Job>(m, "Job",
                   "What is wanted: batch, optimizer, precision, objective, limits, pins.");
  bind_struct<Mesh>(m, "Mesh", "Degrees of the mesh axes.")
      .def_prop_ro("ranks", &Mesh::ranks, "Product of all degrees.");
  bind_struct<Stage>(m, "Stage", "A run of consecutive blocks on one set of ranks.");
  bind_struct<Placement>(m, "Placement", "What one rank runs on.");
  bind_struct<Recompute>(m, "Recompute", "Activations of a block that are computed again.");
  bind_struct<Execution>(m, "Execution", "Switches of the engine.");
  bind_struct<Certificate>(m, "Certificate", "How good the plan is proven to be.");
  bind_struct<Provenance>(m, "Provenance", "Where the plan came from.");
  bind_struct<Plan>(m, "Plan", "How to run a model: plain data, engine-neutral.");
  bind_struct<Span>(m, "Span", "Something that took time on one track.");
  bind_struct<CounterSample>(m, "CounterSample", "A value over time.");
  bind_struct<Timeline>(m, "Timeline", "Events on devices over time, simulated or measured.");
}

}  // namespace parallel_opt::bindings
