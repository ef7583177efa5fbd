#include "parallel_opt/cli/schemas.h"

#include "parallel_opt/cli/documents.h"
#include "parallel_opt/cost/accuracy.h"
#include "parallel_opt/graph/analysis_fields.h"
#include "parallel_opt/graph/operator_file.h"
#include "parallel_opt/graph/summary.h"
#include "parallel_opt/hardware/cluster.h"
#include "parallel_opt/hardware/driver_record.h"
#include "parallel_opt/hardware/energy.h"
#include "parallel_opt/hardware/probe.h"
#include "parallel_opt/plan/plan.h"
#include "parallel_opt/report/report_data.h"
#include "parallel_opt/simulate/step_work_fields.h"
#include "parallel_opt/simulate/timeline.h"

namespace parallel_opt {

const std::vector<DocumentSchema>& document_schemas() {
  static const std::vector<DocumentSchema> kSchemas = {
      {"accuracy", "what `parallel-opt accuracy --json` prints",
       [] { return schema_of<Accuracy>("How well predictions meet published measurements."); }},
      {"bundle", "what `parallel-opt doctor --bundle --json` prints",
       [] { return schema_of<BundleDocument>("What was copied of a machine."); }},
      {"cluster", "nodes, devices and links with their speeds",
       [] { return schema_of<ClusterDocument>("What a job runs on."); }},
      {"demo", "what `parallel-opt demo --json` prints",
       [] { return schema_of<DemoDocument>("Two models, trained three ways each."); }},
      {"doctor", "what `parallel-opt doctor --json` prints",
       [] { return schema_of<DoctorDocument>("What works here, and what does not."); }},
      {"drivers", "what drivers say of accelerators: kept by `doctor --bundle`",
       [] { return schema_of<DriverRecords>("What drivers say of a host's accelerators."); }},
      {"energy", "what `parallel-opt energy --json` prints",
       [] { return schema_of<EnergyReading>("Joules of the machine over a window."); }},
      {"error", "what any command prints with --json when it fails",
       [] { return schema_of<ErrorDocument>("Why a command failed."); }},
      {"estimate", "what `parallel-opt estimate --json` prints",
       [] { return schema_of<EstimateDocument>("What one layout costs."); }},
      {"explain", "what `parallel-opt explain --json` prints",
       [] { return schema_of<ExplainDocument>("Why a plan is as it is."); }},
      {"graph-analysis", "what `parallel-opt graph --analysis --json` prints",
       [] {
         return schema_of<GraphAnalysis>("How much of a model may run at once, and where to cut.");
       }},
      {"graph-summary", "what `parallel-opt graph --json` prints",
       [] { return schema_of<GraphSummary>("One look at a model."); }},
      {"job", "what is wanted", [] { return schema_of<Job>("What is wanted."); }},
      {"operators", "what `parallel-opt graph --operators` reads",
       [] { return schema_of<OperatorFile>("Rows that the operator table lacks."); }},
      {"plan", "how to run a model", [] { return schema_of<Plan>("How to run a model."); }},
      {"plan-result", "what `parallel-opt plan --json` prints",
       [] { return schema_of<PlanResult>("A plan and how it was found."); }},
      {"probe", "what `parallel-opt probe --json` prints",
       [] { return schema_of<ProbeReport>("What was measured on this machine."); }},
      {"profile", "what `parallel-opt probe --import` prints and clusters name",
       [] { return schema_of<ImportedProfile>("Measurements made elsewhere."); }},
      {"report", "everything an HTML report shows",
       [] { return schema_of<ReportData>("Everything a report shows."); }},
      {"report-file", "what `parallel-opt report --json` prints",
       [] { return schema_of<ReportDocument>("Where a report was written."); }},
      {"run", "what `parallel-opt run --report DIR` leaves in DIR/run.json",
       [] { return schema_of<RunRecord>("A training run."); }},
      {"schemas", "what `parallel-opt schema --json` prints",
       [] { return schema_of<SchemasDocument>("Documents that have a schema."); }},
      {"simulation", "what `parallel-opt simulate --json` prints",
       [] { return schema_of<SimulationDocument>("One simulated training step."); }},
      {"step-work", "what `parallel-opt simulate --work` reads",
       [] { return schema_of<StepWork>("What every stage of a training step takes."); }},
      {"timeline", "events over time, measured or simulated",
       [] { return schema_of<Timeline>("Events on devices and links over time."); }},
      {"version", "what `parallel-opt version --json` prints",
       [] { return schema_of<VersionDocument>("Which parallel-opt this is."); }},
  };
  return kSchemas;
}

}  // namespace parallel_opt
