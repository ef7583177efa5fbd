#include "parallel_opt/cli/job_flags.h"

#include "parallel_opt/plan/capabilities.h"

namespace parallel_opt {
namespace {

template <class E>
std::string choices() {
  std::vector<std::string> names;
  for (const std::string_view name : enum_names(E{})) names.emplace_back(name);
  return join(names, "|");
}

/// Flags of layouts that this version cannot run, with the one value that asks for nothing.
struct Unavailable {
  const char* flag;
  const char* neutral;
  const char* what;
};
constexpr Unavailable kUnavailable[] = {
    {"virtual-stages", "1", "interleaving of pipeline stages"},
    {"shard", "0", "sharding of optimizer states, gradients or parameters"},
    {"shard-degree", "1", "sharding of optimizer states, gradients or parameters"},
    {"schedule", "none", "a pipeline schedule"},
    {"sequence-parallel", nullptr, "sequence parallelism"},
    {"offload", "none", "offloading to the host"},
    {"stack", nullptr, "calibration for another software stack"},
};

void refuse_unavailable(const Args& args) {
  std::vector<Fault> faults;
  for (const auto& [flag, neutral, what] : kUnavailable) {
    const std::optional<std::string> value = args.get(flag);
    if (!value || (neutral != nullptr && *value == neutral)) continue;
    faults.push_back({std::string("--") + flag, std::string(what) + " is not available yet",
                      neutral == nullptr
                          ? "leave it out"
                          : "leave it out, or --" + std::string(flag) + " " + neutral});
  }
  for (const char* flag : {"tensor", "pipeline", "context", "expert"}) {
    const std::optional<std::int64_t> degree = args.whole(flag, 1);
    if (!degree || *degree == 1) continue;
    faults.push_back({std::string("--") + flag,
                      std::string(flag) + " parallelism is not available yet",
                      "leave it out, or --" + std::string(flag) + " 1"});
  }
  if (!faults.empty()) throw UsageError(std::move(faults));
}

std::optional<int> small(const Args& args, const std::string& name, std::int64_t least = 1) {
  const std::optional<std::int64_t> number = args.whole(name, least);
  if (!number) return std::nullopt;
  if (*number > 1'000'000) {
    throw UsageError("--" + name, args.values.at(name) + " is out of range", "at most 1000000");
  }
  return static_cast<int>(*number);
}

std::optional<DataLoading> loading_from(const Args& args) {
  const auto workers = small(args, "loader-workers", 0);
  const auto sample_s = args.positive("sample-time");
  if (sample_s) return DataLoading{*sample_s, workers.value_or(0)};
  if (!workers) return std::nullopt;
  throw UsageError("--loader-workers", "says nothing without what a sample takes",
                   "add --sample-time SECONDS, or leave it out");
}

}  // namespace

std::vector<Flag> job_flags() {
  return {
      {"global-batch", "N", "samples per optimizer step (default: the batch of the model)"},
      {"micro-batch", "N", "samples per micro-batch and rank"},
      {"seq", "S", "sequence length, where the model's is symbolic"},
      {"precision", choices<Precision>(), "arithmetic (default: auto)"},
      {"optimizer", choices<Optimizer>(), "decides state bytes and step cost (default: adamw)"},
      {"objective", choices<Objective>(), "what is minimised (default: time)"},
      {"max-slowdown", "SHARE", "allowed loss of time for other objectives: 5% or 0.05"},
      {"memory-limit", "SIZE", "per device: 38GiB"},
      {"steps", "N", "expected steps of the run: what compilation is spread over"},
      {"target", "ENGINE", "engine that will run the plan (default: pytorch)"},
      {"sample-time", "SECONDS", "what a worker takes to load one sample (default: no time)"},
      {"loader-workers", "N", "that load samples, per data-parallel rank (default: 0, the loop)"},
      {"inference", "", "forward only"},
  };
}

std::vector<Flag> layout_flags() {
  return {
      {"data", "N", "data-parallel ranks"},
      {"threads", "N", "CPU threads per rank"},
      {"compile", "on|off", "torch.compile"},
      {"memory-format", choices<MemoryFormat>(), "layout of image tensors"},
      {"attention", choices<AttentionKernel>(), "how attention runs on a CPU"},
      {"fused-optimizer", "on|off", "one kernel per optimizer step"},
      {"recompute", "none|full|selective|FILE", "activations that are computed again"},
      {"offload", "PARTS", "on the host: optimizer or states, parameters, activations=0.5"},
      {"tensor", "N", "ways that operators are split"},
      {"pipeline", "N", "pipeline stages"},
      {"virtual-stages", "N", "stages per rank"},
      {"context", "N", "ways that the sequence is split"},
      {"expert", "N", "ways that experts are spread"},
      {"shard", "0|1|2|3", "what is sharded: optimizer states, gradients, parameters"},
      {"shard-degree", "N", "ways that they are sharded"},
      {"sequence-parallel", "", "split activations between tensor-parallel operators"},
      {"schedule", "NAME", "pipeline schedule"},
      {"stack", "NAME", "software stack whose calibration is used"},
  };
}

Job job_from(const Args& args, Layouts layouts) {
  if (layouts == Layouts::runnable) refuse_unavailable(args);
  Job job;
  job.global_batch = args.whole("global-batch", 1).value_or(0);
  job.precision = args.choice<Precision>("precision").value_or(job.precision);
  job.optimizer = args.choice<Optimizer>("optimizer").value_or(job.optimizer);
  job.objective = args.choice<Objective>("objective").value_or(job.objective);
  job.max_slowdown = args.fraction("max-slowdown");
  job.memory_limit_bytes = args.bytes("memory-limit");
  job.steps = args.whole("steps", 1);
  if (args.has("target")) args.require_known("target", known_targets());
  job.target = args.get_or("target", job.target);
  job.loading = loading_from(args);
  job.training = !args.has("inference");
  // What an engine chooses is read for any layout: a value that does not exist is refused even
  // where the flag says nothing.
  job.pins.threads = small(args, "threads");
  job.pins.compile = args.on_off("compile");
  job.pins.memory_format = args.choice<MemoryFormat>("memory-format");
  job.pins.attention = args.choice<AttentionKernel>("attention");
  job.pins.fused_optimizer = args.on_off("fused-optimizer");
  if (layouts == Layouts::all) return job;
  job.pins.data = small(args, "data");
  job.pins.micro_batch = args.whole("micro-batch", 1);
  if (const auto recompute = args.get("recompute")) {
    if (*recompute != "none" && *recompute != "full") {
      throw UsageError("--recompute", "\"" + *recompute + "\" is not available yet",
                       "none or full");
    }
    job.pins.recompute = *recompute;
  }
  for (const auto& [axis, pin] :
       {std::pair("tensor", &job.pins.tensor), std::pair("pipeline", &job.pins.pipeline),
        std::pair("context", &job.pins.context), std::pair("expert", &job.pins.expert)}) {
    if (args.has(axis)) *pin = 1;  // anything else was refused above
  }
  std::vector<Fault> faults = check(job, "");
  for (Fault& fault : faults) {  // ".objective" -> "--objective"
    const std::size_t dot = fault.where.rfind('.');
    if (dot != std::string::npos) fault.where = "--" + fault.where.substr(dot + 1);
  }
  if (!faults.empty()) throw UsageError(std::move(faults));
  return job;
}

}  // namespace parallel_opt
