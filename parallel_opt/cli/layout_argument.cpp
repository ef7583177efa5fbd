#include "parallel_opt/cli/layout_argument.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/hardware/database.h"
#include "parallel_opt/hardware/device_record.h"
#include "parallel_opt/plan/recompute_list.h"
#include "parallel_opt/plan/schedule.h"

namespace parallel_opt {
namespace {

int degree(const Args& args, const std::string& flag, std::int64_t fallback = 1) {
  const std::int64_t value = args.whole(flag, 1).value_or(fallback);
  if (value > 1'000'000) {
    throw UsageError("--" + flag, std::to_string(value) + " is out of range", "at most 1000000");
  }
  return int(value);
}

const SoftwareStack* stack_from(const Args& args) {
  const std::string name = args.get_or("stack", "pytorch");
  if (const SoftwareStack* stack = find_stack(name)) return stack;
  std::vector<std::string> known;
  for (const SoftwareStack& stack : software_stacks()) known.push_back(stack.name);
  const std::string nearest = nearest_match(name, known);
  throw UsageError(
      "--stack", "'" + name + "' is no known stack",
      nearest.empty() ? "one of " + join(known, ", ") : "did you mean '" + nearest + "'?");
}

/// Where a file says what is computed again, the facts have it by block.
RecomputeRule recompute_from(const Args& args, const SoftwareStack& stack) {
  const auto text = args.get("recompute");
  if (!text) return stack.recompute;
  return enum_from<RecomputeRule>(*text).value_or(RecomputeRule::none);
}

/// "0.25", "25%", in (0, 1].
double share_from(const std::string& part, const std::string& text) {
  const bool percent = text.ends_with('%');
  const char* const end = text.data() + text.size() - (percent ? 1 : 0);
  double share = 0;
  const auto read = std::from_chars(text.data(), end, share);
  if (percent) share /= 100;
  if (read.ec != std::errc() || read.ptr != end || !(share > 0 && share <= 1)) {
    throw UsageError("--offload", "'" + text + "' is no share of " + part,
                     "more than 0, at most 1: " + part + "=0.5");
  }
  return share;
}

/// "optimizer,activations=0.5".
Offload offload_from(const Args& args) {
  Offload off;
  const std::string text = args.get_or("offload", "none");
  if (text == "none") return off;
  for (const std::string& word : split(text, ',')) {
    const std::string part(trim(word.substr(0, word.find('='))));
    const bool some = word.find('=') != std::string::npos;
    const double share =
        some ? share_from(part, std::string(trim(word.substr(word.find('=') + 1)))) : 1;
    if ((part == "optimizer" || part == "states") && off.optimizer > 0) {
      throw UsageError("--offload", "the optimizer's states are named twice",
                       "optimizer: the host's cores make the step; states: the device does");
    }
    if (part == "optimizer" || part == "states") {
      off.optimizer = share;
      off.fetched = part == "states";
    } else if (part == "activations") {
      off.activations = share;
    } else if (part == "parameters" && share == 1) {
      off.parameters = true;
    } else if (part == "parameters") {
      throw UsageError("--offload", "parameters are the host's as a whole", "leave out the share");
    } else {
      throw UsageError("--offload", "'" + part + "' cannot be offloaded",
                       "optimizer or states, parameters, activations, or none");
    }
  }
  return off;
}

void check_offload(const ParallelLayout& l) {
  if (!l.offload.parameters) return;
  if (l.shard < 3) {
    throw UsageError("--offload", "parameters go to the host where they are sharded only",
                     "add --shard 3, or leave parameters out");
  }
  if (l.pipeline > 1) {
    throw UsageError("--offload", "stages of a pipeline keep their parameters",
                     "leave parameters or --pipeline out");
  }
}

/// Every named schedule has a closed form; tables of actions are simulated. Stages per rank are the
/// flag's, else the schedule's own (DualPipe's second is another copy of the model).
void read_schedule(const Args& args, ParallelLayout& layout) {
  const std::string name = args.get_or("schedule", "1f1b");
  layout.virtual_stages = degree(args, "virtual-stages");
  if (name == "none") return;
  const auto kind = schedule_by_name(name);
  if (!kind) {
    std::vector<std::string> known;
    for (const std::string_view one : enum_names(ScheduleKind{})) known.emplace_back(one);
    throw UsageError("--schedule", "'" + name + "' has no closed form",
                     join(known, ", ") + "; parallel-opt simulate runs tables of actions");
  }
  layout.schedule = *kind;
  const bool several = layout.virtual_stages > 1;
  if (several && !args.has("schedule")) layout.schedule = ScheduleKind::interleaved_1f1b;
  if (!args.has("virtual-stages") && *kind != ScheduleKind::dualpipe) {
    layout.virtual_stages = default_virtual_stages(*kind);
  }
  if (*kind == ScheduleKind::dualpipe && layout.virtual_stages > 1) {
    throw UsageError("--virtual-stages", "a rank of dualpipe has one stage of either copy",
                     "leave it out, or choose dualpipe_v");
  }
  if (layout.pipeline <= 1) {  // there is nothing to schedule
    layout.schedule = ScheduleKind::one_f_one_b;
    layout.virtual_stages = 1;
  }
}

/// Replicas and the ranks that shard them: --data counts replicas, --shard-degree the ranks of one,
/// where the devices suffice for both. Without --data they take the devices that are left.
void read_data(const Args& args, int devices, StatedLayout& out) {
  ParallelLayout& l = out.layout;
  const double model = double(l.tensor) * l.pipeline * l.context;
  const auto data = args.whole("data", 1), sharded = args.whole("shard-degree", 1);
  l.shard = int(
      args.whole("shard", 0)
          .value_or(sharded && *sharded > 1 ? std::max(out.stack->shard, 1) : out.stack->shard));
  if (l.shard > 3) throw UsageError("--shard", std::to_string(l.shard) + " is no stage", "0 to 3");
  l.data = data ? degree(args, "data") : int(std::max(1.0, std::floor(devices / model)));
  const int ways = degree(args, "shard-degree");
  if (!sharded || l.shard == 0) return;
  l.shard_degree = ways;
  if (data && double(*data) * double(*sharded) * model <= devices) l.data *= l.shard_degree;
  const int ranks = l.data * l.context;
  if (ranks % l.shard_degree != 0) {
    throw UsageError("--shard-degree",
                     std::to_string(l.shard_degree) + " does not divide the " +
                         std::to_string(ranks) + " ranks of one part of the model",
                     "choose a divisor, or say --data");
  }
}

void tell(const Args& args, const Console& console, const char* flag, const std::string& why) {
  if (args.has(flag)) console.log(std::string("note: --") + flag + " changes nothing: " + why);
}

void read_batch(const Args& args, const Job& job, std::int64_t batch, ParallelLayout& l) {
  const std::int64_t micro = args.whole("micro-batch", 1).value_or(0);
  std::int64_t global = job.global_batch > 0 ? job.global_batch : 0;
  if (global == 0) global = micro > 0 ? micro * l.data : std::max<std::int64_t>(batch, l.data);
  if (global % l.data != 0) {
    throw UsageError(
        "--global-batch",
        std::to_string(global) + " is no multiple of " + std::to_string(l.data) + " replicas",
        "choose a multiple, or other degrees");
  }
  const std::int64_t share = global / l.data;
  const std::int64_t piece = micro > 0 ? micro : l.pipeline > 1 ? 1 : share;
  if (share % piece != 0) {
    throw UsageError("--micro-batch",
                     std::to_string(piece) + " does not divide the " + std::to_string(share) +
                         " samples of a replica",
                     "choose a divisor");
  }
  l.micro_batch = double(piece);
  const std::int64_t pieces = share / piece;
  l.micro_batches = double(pieces);
}

double states_of(Optimizer optimizer) {
  switch (optimizer) {
    case Optimizer::none:
    case Optimizer::sgd:
    case Optimizer::adafactor:  // rows and columns only
      return 0;
    case Optimizer::momentum:
    case Optimizer::adagrad:
    case Optimizer::rmsprop:
    case Optimizer::lion:
      return 1;
    default:
      return 2;
  }
}

/// A package of several dies is one device of a preset; drivers, and so many tables, count its
/// dies.
std::string words_of_packages(const Cluster& cluster) {
  for (const Device& device : cluster.devices) {
    const DeviceRecord* record = find_device(load_database(), device.name);
    if (record == nullptr || dies_of(*record) < 2) continue;
    // A die that a driver shows has its share of the memory.
    const double whole = record->memory_bytes ? record->memory_bytes->value : 0;
    if (double(device.memory_bytes.value) < 0.9 * whole) continue;
    return "; one " + device.name + " counts as one device here, a package of " +
           std::to_string(dies_of(*record)) + " dies that drivers and `accuracy` count singly";
  }
  return "";
}

void check_degrees(const ParallelLayout& l, const TransformerFacts& facts, int devices,
                   const Cluster& cluster) {
  std::vector<Fault> faults;
  const double stages = double(l.pipeline) * l.virtual_stages;
  // The embedding and the head may be stages of their own: 94 blocks run in 96 stages.
  const double most = facts.layers() + 2;
  if (stages > 1 && most < stages) {
    faults.push_back({"--pipeline",
                      std::to_string(std::int64_t(stages)) + " stages of a model with " +
                          std::to_string(std::int64_t(facts.layers())) + " repeated blocks",
                      "at most " + std::to_string(std::int64_t(most)) +
                          ": a block each, the embedding and the head alone"});
  }
  double heads = 0;
  for (const BlockFacts& block : facts.blocks) heads = std::max(heads, block.heads);
  if (heads > 0 && std::fmod(heads, l.tensor) != 0) {
    faults.push_back({"--tensor",
                      std::to_string(std::int64_t(heads)) +
                          " heads of attention do not part into " + std::to_string(l.tensor),
                      "a divisor of the heads"});
  }
  if (facts.tokens > 0 && std::fmod(facts.tokens, l.context) != 0) {
    faults.push_back({"--context",
                      "a sequence of " + std::to_string(std::int64_t(facts.tokens)) +
                          " does not part into " + std::to_string(l.context),
                      "a divisor of the sequence"});
  }
  if (facts.blocks.empty() && (l.tensor > 1 || l.context > 1)) {
    faults.push_back({l.tensor > 1 ? "--tensor" : "--context",
                      "the model has no repeated blocks to split", "leave it out"});
  }
  const double experts = facts.experts();
  // Whole experts are spread over all ranks of a stage, those of a tensor group among them.
  const std::int64_t ranks = std::int64_t(l.tensor) * l.context * l.data;
  const bool divides = std::fmod(experts, l.expert) == 0 && ranks % l.expert == 0;
  if (l.expert > 1 && (experts == 0 || !divides)) {
    faults.push_back({"--expert",
                      experts == 0 ? "the model has no experts"
                                   : std::to_string(l.expert) + " ways for " +
                                         std::to_string(std::int64_t(experts)) + " experts on " +
                                         std::to_string(ranks) + " ranks of a stage",
                      experts == 0 ? "leave it out" : "a divisor of both"});
  }
  if (l.devices() > devices) {
    faults.push_back({"--cluster",
                      "the layout needs " + std::to_string(std::int64_t(l.devices())) +
                          " devices, there are " + std::to_string(devices),
                      "smaller degrees or a larger cluster" + words_of_packages(cluster)});
  }
  if (!faults.empty()) throw UsageError(std::move(faults));
}

}  // namespace

TransformerFacts stated_facts(const Args& args, const Graph& graph) {
  const auto text = args.get("recompute");
  if (!text || enum_from<RecomputeRule>(*text)) return transformer_facts(graph);
  if (!DiskFileSystem().exists(*text)) {
    throw UsageError("--recompute", "'" + *text + "' is no rule and no file",
                     "none, selective, full, or a file: " + std::string(kRecomputeForm));
  }
  const std::vector<Recompute> list = read_recompute(read_file(*text), *text);
  return transformer_facts(graph, recomputed_operators(graph, list, *text));
}

StatedLayout stated_layout(const Args& args, const Job& job, const TransformerFacts& facts,
                           const Cluster& cluster, std::int64_t batch) {
  if (!job.training) throw UsageError("--inference", "only training is estimated", "leave it out");
  const auto devices = int(std::ranges::count(cluster.devices, DeviceKind::gpu, &Device::kind));
  StatedLayout out;
  ParallelLayout& l = out.layout;
  out.stack = stack_from(args);
  l.tensor = degree(args, "tensor");
  l.pipeline = degree(args, "pipeline");
  l.context = degree(args, "context");
  l.expert = degree(args, "expert");
  read_data(args, devices, out);
  read_schedule(args, l);
  l.recompute = recompute_from(args, *out.stack);
  l.offload = offload_from(args);
  check_offload(l);
  l.sequence_parallel =
      args.has("sequence-parallel") || (out.stack->sequence_parallel && l.tensor > 1);
  l.element_bytes = job.precision == Precision::fp32 ? 4 : 2;
  l.pure_half = out.stack->pure_half && l.element_bytes < 4;
  l.optimizer_states = states_of(job.optimizer);
  if (job.loading) {
    l.sample_s = job.loading->sample_s;
    l.loader_workers = job.loading->workers;
  }
  check_degrees(l, facts, devices, cluster);
  read_batch(args, job, batch, l);
  if (args.has("actions")) return out;  // a table has an order of its own
  const int chunks = l.schedule == ScheduleKind::dualpipe ? 2 : l.virtual_stages;
  std::vector<Fault> faults = check_schedule(l.schedule, l.pipeline, chunks, int(l.micro_batches));
  if (!faults.empty()) throw UsageError(std::move(faults));
  return out;
}

void tell_nothing_is_chosen(const Args& args, const Console& console) {
  for (const char* flag : {"objective", "max-slowdown", "steps", "target"}) {
    tell(args, console, flag, "one layout is stated, none is chosen");
  }
}

void tell_what_says_nothing(const Args& args, const ParallelLayout& l, const Console& console) {
  for (const char* flag : {"threads", "compile", "memory-format", "attention", "fused-optimizer"}) {
    tell(args, console, flag, "layouts on accelerators go by --stack");
  }
  tell_nothing_is_chosen(args, console);
  if (l.pipeline <= 1) {
    tell(args, console, "schedule", "there is no pipeline");
    tell(args, console, "virtual-stages", "there is no pipeline");
  }
  if (l.tensor <= 1) {
    tell(args, console, "sequence-parallel", "there is no tensor parallelism");
  }
  if (l.shard == 0) {
    tell(args, console, "shard-degree", "nothing is sharded");
  } else if (l.data * l.context == 1 && !l.offload.parameters) {
    tell(args, console, "shard", "each part of the model has one rank");
  }
}

std::string ways_to_fit(const ParallelLayout& l) {
  std::vector<std::string> ways;
  if (l.micro_batch > 1) ways.emplace_back("a smaller --micro-batch");
  if (l.recompute != RecomputeRule::full) ways.emplace_back("--recompute full");
  if (l.shard < 3 && l.data * l.context > 1) ways.emplace_back("--shard 3");
  ways.emplace_back("a larger --tensor or --pipeline");
  std::string text;
  for (std::size_t i = 0; i < ways.size(); ++i) {
    text += (i == 0 ? "" : i + 1 == ways.size() ? " or " : ", ") + ways[i];
  }
  return text;
}

}  // namespace parallel_opt
