#include "parallel_opt/cli/schemas.h"

#include "parallel_opt/cli/documents.h"
#include "parallel_opt/hardware/cluster.h"
#include "parallel_opt/plan/plan.h"
#include "parallel_opt/simulate/timeline.h"

namespace parallel_opt {

const std::vector<DocumentSchema>& document_schemas() {
  static const std::vector<DocumentSchema> schemas = {
      {"cluster", "nodes, devices and links with their speeds",
       [] { return schema_of<Cluster>("What a job runs on."); }},
      {"doctor", "what `parallel-opt doctor --json` prints",
       [] { return schema_of<DoctorDocument>("What works here, and what does not."); }},
      {"error", "what any command prints with --json when it fails",
       [] { return schema_of<ErrorDocument>("Why a command failed."); }},
      {"job", "what is wanted", [] { return schema_of<Job>("What is wanted."); }},
      {"plan", "how to run a model", [] { return schema_of<Plan>("How to run a model."); }},
      {"timeline", "events over time, measured or simulated",
       [] { return schema_of<Timeline>("Events on devices and links over time."); }},
      {"version", "what `parallel-opt version --json` prints",
       [] { return schema_of<VersionDocument>("Which parallel-opt this is."); }},
  };
  return schemas;
}

}  // namespace parallel_opt
