#include "parallel_opt/cost/cost_model.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "parallel_opt/cost/call_time.h"
#include "parallel_opt/cost/optimizer.h"
#include "parallel_opt/cost/parameters.h"
#include "parallel_opt/cost/profiled.h"
#include "parallel_opt/hardware/efficiency.h"
#include "parallel_opt/plan/batch.h"
#include "parallel_opt/plan/capabilities.h"

namespace parallel_opt {
namespace param = cost_parameter;

namespace {

std::size_t profile_index(const Policy& policy) {
  const bool low = policy.precision == Precision::bf16 || policy.precision == Precision::fp16;
  return (low ? 1u : 0u) + (policy.compile ? 2u : 0u) +
         (policy.attention == AttentionKernel::unfused ? 4u : 0u);
}

}  // namespace

double Bill::time_s() const {
  return forward_s + backward_s + second_forward_s + recompute_s + loss_s + gather_s +
         statistics_s + all_reduce_s + optimizer_s + loading_s;
}

double Bill::memory_bytes() const {
  return parameters_bytes + optimizer_bytes + gradients_bytes + saved_bytes + working_bytes +
         outputs_bytes + copies_bytes;
}

CostModel::CostModel(const Graph& graph, const Cluster& cluster, const Job& job)
    : graph_(graph),
      cluster_(cluster),
      job_(job),
      facts_(model_facts(graph, job.training)),
      space_(local_space(graph, cluster, job, facts_)) {
  for (const bool compile : {false, true}) {
    for (const Precision precision : {Precision::fp32, Precision::bf16}) {
      for (const AttentionKernel attention : space_.attention) {
        const Policy policy{precision, compile, attention};
        profiles_[profile_index(policy)] = make_profile(graph, facts_, policy, job.training);
      }
    }
  }
  const std::int64_t batch = global_batch_of(graph, job_);
  for (const TensorId id : graph.inputs) {
    const double bytes_in_graph = double(bytes(graph.tensor(id)).value);
    input_bytes_ += bytes_in_graph * double(batch) / double(facts_.batch);
  }
  for (const auto& [size, count] : facts_.trainable) {
    largest_parameter_ = std::max(largest_parameter_, size);
  }
  for (std::size_t l = 0; l < space_.layouts.size(); ++l) {
    const Layout& layout = space_.layouts[l];
    offset_.push_back(points_.size());
    points_.resize(points_.size() + space_.micro_batches[l].size() * space_.precisions.size() * 8);
    Setting setting;
    setting.device = space_.pools[std::size_t(layout.pool)].devices.front();
    setting.devices = layout.devices;
    setting.ranks_per_device = layout.ranks_per_device;
    setting.threads = layout.threads;
    setting.share = (batch + layout.ranks() - 1) / layout.ranks();
    LocalChoice choice;
    choice.layout = int(l);
    for (std::size_t p = 0; p < space_.precisions.size(); ++p) {
      choice.precision = int(p);
      setting.policy.precision = space_.precisions[p];
      const RankRates rates =
          rank_rates(cluster_.devices[std::size_t(setting.device)], setting.threads,
                     setting.ranks_per_device, dtype_of(setting.policy.precision));
      for (std::size_t m = 0; m < space_.micro_batches[l].size(); ++m) {
        choice.micro = int(m);
        setting.micro_batch = space_.micro_batches[l][m];
        for (const bool compile : space_.compile) {
          for (const MemoryFormat format : space_.memory_formats) {
            for (const AttentionKernel attention : space_.attention) {
              choice.compile = setting.policy.compile = compile;
              choice.memory_format = setting.memory_format = format;
              choice.attention = setting.policy.attention = attention;
              points_[point_index(choice)] = prepare(setting, rates);
            }
          }
        }
      }
    }
  }
}

std::size_t CostModel::point_index(const LocalChoice& choice) const noexcept {
  const std::size_t at =
      std::size_t(choice.micro) * space_.precisions.size() + std::size_t(choice.precision);
  return offset_[std::size_t(choice.layout)] + at * 8 + (choice.compile ? 4 : 0) +
         (choice.attention == AttentionKernel::unfused ? 2 : 0) +
         (choice.memory_format == MemoryFormat::channels_last ? 1 : 0);
}

const Profile& CostModel::profile(const Policy& policy) const {
  return profiles_[profile_index(policy)];
}

CostModel::Point CostModel::prepare(const Setting& setting, const RankRates& rates) const {
  Point point;
  point.setting = setting;
  point.quality = rates.quality;
  SettingCost& cost = point.cost;
  // Pieces of one step may differ by a sample: all are counted at their mean.
  const double samples = double(setting.share) / setting.pieces();
  // Compiled code turns convolutions channels-last by itself.
  const bool channels_last =
      setting.memory_format == MemoryFormat::channels_last || setting.policy.compile;
  std::array<double, kMaxBlockClasses> class_forward{};
  for (const Work& work : profile(setting.policy).work) {
    if (work.layout && (channels_last || rates.layouts_measured[work.low ? 1 : 0])) continue;
    if (work.spread && rates.overlaps_launch) continue;  // a GPU's product adds it on its way out
    const CallTime once = call_time(work, rates, samples, channels_last);
    const double total = work.calls * once.total();
    (work.backward ? cost.backward_s : cost.forward_s) += total;
    auto& by_class = work.backward ? cost.backward_by_class_s : cost.forward_by_class_s;
    if (work.cast) {
      cost.cast_s += total;
    } else if (work.layout) {
      cost.layout_s += total;
    } else {
      by_class[std::size_t(work.op_class)] += total;
    }
    if (!work.backward && work.block_class >= 0)
      class_forward[std::size_t(work.block_class)] += total;
    (once.arithmetic_bound ? cost.compute_s : cost.memory_s) += work.calls * once.kernel_s;
    cost.host_s += work.calls * once.host_s;
  }
  for (std::size_t c = 0; c < facts_.classes.size(); ++c) {
    cost.block_forward_s[c] = class_forward[c] / double(facts_.classes[c].blocks.size());
  }
  point.optimizer_s = {optimizer_time(rates, setting, false), optimizer_time(rates, setting, true)};
  // The loss reads whole outputs, on every rank: the loop is not cut.
  const double batch_share = double(setting.share) * setting.ranks();
  const double outputs = profile(setting.policy).outputs.at(batch_share) * param::kLossPasses;
  use_profiles(point, samples);
  if (setting.ranks() > 1 && facts_.batch_norms > 0) {
    const double each = facts_.batch_norm_bytes * samples / facts_.batch_norms;
    const double pass = facts_.batch_norms * each / rates.elementwise.at(3 * each);
    const double launches = facts_.batch_norms * param::kRankNormLaunches * rates.launch_s / 2;
    point.rank_norms_s = {param::kRankNormPassesForward * pass + launches,
                          param::kRankNormPassesBackward * pass + launches};
  }
  point.link = link_of(setting);
  point.loader = loader_of(setting);
  point.all_reduce = fitted(setting, "all_reduce");
  point.all_gather = fitted(setting, "all_gather");
  point.warm_up_s = warm_up(setting.policy);
  if (job_.training && outputs > 0) {  // two large kernels
    const double seconds = outputs / rates.reduce.at(outputs / 2);
    const double launches = param::kLossLaunches * rates.launch_s;
    point.loss_s = rates.overlaps_launch ? std::max(seconds, launches) : seconds + launches;
  }
  return point;
}

/// Measurements of this model made elsewhere replace the sum over operators; its lines keep their
/// proportions. Only for what such profiles were taken of: eager, fused attention.
void CostModel::use_profiles(Point& point, double samples) const {
  const Setting& setting = point.setting;
  if (cluster_.profiles.empty() || setting.policy.compile ||
      setting.policy.attention == AttentionKernel::unfused) {
    return;
  }
  ProfiledQuestion asked;
  asked.device = &cluster_.devices[std::size_t(setting.device)];
  asked.dtype = dtype_of(setting.policy.precision);
  asked.micro_batch = samples;
  for (const BlockClass& blocks : facts_.classes) {
    asked.blocks = std::max(asked.blocks, int(blocks.blocks.size()));
  }
  asked.sequence = facts_.tokens_per_sample;
  const std::optional<ProfiledTimes> found = profiled_times(cluster_, asked);
  SettingCost& cost = point.cost;
  if (!found || !(cost.forward_s > 0)) return;
  const double before = cost.forward_s + cost.backward_s;
  const double forward = found->forward_s / cost.forward_s;
  const double backward = found->backward_s && cost.backward_s > 0
                              ? *found->backward_s / cost.backward_s
                              : forward;  // untold: as far off as the forward
  cost.forward_s *= forward;
  cost.backward_s *= backward;
  for (double& seconds : cost.forward_by_class_s) seconds *= forward;
  for (double& seconds : cost.backward_by_class_s) seconds *= backward;
  for (double& seconds : cost.block_forward_s) seconds *= forward;
  const double both = (cost.forward_s + cost.backward_s) / before;
  for (double* part :
       {&cost.cast_s, &cost.layout_s, &cost.compute_s, &cost.memory_s, &cost.host_s}) {
    *part *= both;
  }
  point.quality = Quality::reported;
}

/// Passes over memory plus one launch per kernel. GPUs run the single-tensor form over lists of
/// tensors (foreach): launches then do not grow with their number.
double CostModel::optimizer_time(const RankRates& rates, const Setting&, bool fused) const {
  if (!job_.training) return 0;
  const OptimizerCost cost = optimizer_cost(job_.optimizer);
  double seconds = 0, tensors = 0;
  for (const auto& [size, count] : facts_.trainable) {
    const double moved = size * (fused ? cost.fused_passes : cost.passes);
    // A list of tensors is one call to a GPU.
    const double calls = fused ? 1 : cost.kernels / (rates.overlaps_launch ? count : 1);
    seconds += count * moved / rates.optimizer[fused ? 1 : 0].at(moved / calls);
    tensors += count;
  }
  const double calls = rates.overlaps_launch ? 1 : tensors;
  const bool cpu = !rates.overlaps_launch;
  const double each = cpu ? param::kOptimizerLaunchesCpu : param::kOptimizerLaunches;
  const double kernels = rates.optimizer_loops[fused ? 1 : 0] ? 0
                         : fused                              ? calls * (cpu ? each : 1)
                                                              : cost.kernels * calls * each;
  const double launches = kernels + (cpu ? param::kOptimizerStepLaunches : 0);
  return seconds + (tensors > 0 ? launches * rates.launch_s : 0);
}

LinkModel CostModel::link_of(const Setting& setting) const {
  const Device& mine = cluster_.devices[std::size_t(setting.device)];
  LinkModel worst{Seconds(param::kAssumedLatencyS), BytesPerSecond(param::kAssumedLinkBytesPerS)};
  if (setting.devices > 1) {
    if (const auto reach = node_reach(cluster_, setting.device)) {
      worst = {Seconds(reach->latency_s), BytesPerSecond(reach->links.among(setting.devices)),
               reach->links.reduces};
    }
  } else {
    bool found = false;
    for (const Link& link : cluster_.links) {
      const Device& a = cluster_.devices[link.a.index()];
      if (link.a != link.b || a.node != mine.node || a.kind != mine.kind) continue;
      if (found && link.bytes_per_s.value >= worst.bandwidth.value) continue;
      worst = {Seconds(link.latency_s.value), BytesPerSecond(link.bytes_per_s.value)};
      found = true;
    }
  }
  if (mine.kind == DeviceKind::cpu) {
    const double per_byte = 1 / worst.bandwidth.value + 1 / param::kGlooBytesPerS;
    worst = {worst.latency + Seconds(param::kGlooLatencyS), BytesPerSecond(1 / per_byte)};
  }
  return worst;
}

/// Curves of NCCL on this device, fitted to published measurements, for as many ranks. None where
/// the links of the node were measured: what is here counts.
const CollectiveCurve* CostModel::fitted(const Setting& setting, const char* collective) const {
  const Device& mine = cluster_.devices[std::size_t(setting.device)];
  if (mine.kind != DeviceKind::gpu || setting.devices < 2 || setting.ranks_per_device > 1) {
    return nullptr;
  }
  const auto known_here = [](Quality quality) {
    return quality == Quality::measured || quality == Quality::calibrated;
  };
  for (const Link& link : cluster_.links) {
    const Device& a = cluster_.devices[link.a.index()];
    if (a.node == mine.node && a.kind == mine.kind && known_here(link.bytes_per_s.quality)) {
      return nullptr;
    }
  }
  for (const Network& network : cluster_.networks) {
    const bool joins = network.scope == NetworkScope::node && covers(network, mine.node);
    if (joins && network.bytes_per_s.quality != Quality::database &&
        network.bytes_per_s.quality != Quality::assumed) {
      return nullptr;
    }
  }
  return collective_curve(mine.name, collective, setting.ranks());
}

Bill CostModel::bill(const Point& point, const Switches& switches) const noexcept {
  Bill bill;
  const Setting& setting = point.setting;
  const double pieces = setting.pieces();
  bill.forward_s = pieces * point.cost.forward_s;
  bill.backward_s = pieces * point.cost.backward_s;
  // The loop's loss wants the outputs of the whole batch before any backward can run.
  if (job_.training && pieces > 1) bill.second_forward_s = bill.forward_s;
  for (std::size_t c = 0; c < facts_.classes.size(); ++c) {
    bill.recompute_s += pieces * switches.recompute[c] * point.cost.block_forward_s[c];
  }
  bill.loss_s = point.loss_s;
  bill.optimizer_s = point.optimizer_s[switches.fused_optimizer ? 1 : 0];
  const double again = bill.forward_s > 0 ? (bill.second_forward_s + bill.recompute_s) /
                                                (bill.forward_s + bill.backward_s)
                                          : 0;
  bill.busy_compute_s = pieces * point.cost.compute_s * (1 + again);
  bill.busy_memory_s = pieces * point.cost.memory_s * (1 + again) + bill.loss_s + bill.optimizer_s;
  bill.busy_host_s = pieces * point.cost.host_s * (1 + again);
  const int ranks = setting.ranks();
  if (ranks > 1) {
    const LinkModel& link = point.link;
    if (job_.training) {
      const double whole =
          (point.all_reduce != nullptr ? collective_time(*point.all_reduce, facts_.trainable_bytes)
                                       : all_reduce_time(facts_.trainable_bytes, ranks, link))
              .value;
      const double buckets = std::ceil(facts_.trainable_bytes / param::kBucketBytes);
      const bool hides = cluster_.devices[std::size_t(setting.device)].kind == DeviceKind::gpu;
      // Every batch norm gathers its statistics, and sums two in the backward.
      const double runs = pieces + (pieces > 1 ? pieces : 0);
      bill.statistics_s = facts_.batch_norms * (runs * ring_all_gather_time(0, ranks, link).value +
                                                pieces * all_reduce_time(0, ranks, link).value) +
                          runs * point.rank_norms_s[0] + pieces * point.rank_norms_s[1];
      // On CPUs each bucket is waited for, the first of them small, and so is the number of samples
      // on all ranks, by which an output's gradients are weighted.
      const double first = std::min(facts_.trainable_bytes, param::kFirstBucketBytes);
      const double more = std::ceil((facts_.trainable_bytes - first) / param::kBucketBytes);
      const double small = all_reduce_time(0, ranks, link).value;
      bill.all_reduce_s = hides ? std::max(whole / std::max(1.0, buckets), whole - bill.backward_s)
                                : whole + (more + 1) * small;
    }
    const double outputs = profile(setting.policy).outputs.at(double(setting.share) * ranks);
    bill.gather_s = (point.all_gather != nullptr ? collective_time(*point.all_gather, outputs)
                                                 : ring_all_gather_time(outputs, ranks, link))
                        .value;
  }
  bill.loading_s = waits_for_samples(point.loader, double(setting.share), bill.time_s());
  fill_memory(point, switches, bill);
  return bill;
}

/// Of one rank. On CPUs workers have the cores that no rank computes on, and share all of them when
/// that is not enough.
Loader CostModel::loader_of(const Setting& setting) const {
  const Device& device = cluster_.devices[std::size_t(setting.device)];
  const Node& node = cluster_.nodes[std::size_t(device.node)];
  const double in_node = double(std::ranges::count_if(cluster_.devices, [&](const Device& one) {
    return one.node == device.node && one.kind == device.kind;
  }));
  const double cores =
      node.cpu_quota.value_or(node.cores) / std::max(1.0, in_node * setting.ranks_per_device);
  const bool cpu = device.kind == DeviceKind::cpu;
  const double spare = cpu ? std::clamp(cores - setting.threads, 0.0, cores) : cores;
  const DataLoading loading = job_.loading.value_or(DataLoading{});
  return {loading.sample_s, double(loading.workers), cores, spare};
}

/// Live bytes at the few moments where a step can be fullest: the loss, each run of blocks in the
/// backward at its first and last block (live bytes are linear between), and the optimizer step.
void CostModel::fill_memory(const Point& point, const Switches& switches,
                            Bill& bill) const noexcept {
  const Setting& setting = point.setting;
  const Profile& prof = profile(setting.policy);
  const double m = double(setting.micro_batch);
  const OptimizerCost opt = optimizer_cost(job_.optimizer);
  const double outputs = prof.outputs.at(double(setting.share) * setting.ranks());
  bill.parameters_bytes = facts_.parameter_bytes + facts_.buffer_bytes;
  bill.outputs_bytes = outputs + input_bytes_;
  const auto recomputed = [&](const Run& run) {
    if (run.block_class < 0) return 0;
    return std::clamp(switches.recompute[std::size_t(run.block_class)] - run.before, 0, run.count);
  };
  double most = -1;
  const auto moment = [&](double saved, double gradients, double working) {
    if (saved + gradients + working <= most) return;
    most = saved + gradients + working;
    bill.saved_bytes = saved;
    bill.gradients_bytes = gradients;
    bill.working_bytes = working;
  };
  double saved = 0;
  for (const Run& run : prof.runs) {
    const int again = recomputed(run);
    saved += (run.count - again) * run.saved.at(m) + again * run.input.at(m);
    moment(saved, 0, run.forward.at(m));
  }
  if (!job_.training) return;
  bill.optimizer_bytes = opt.state_tensors * facts_.trainable_bytes;
  bill.copies_bytes = prof.weight_copies_bytes + (setting.ranks() > 1 ? facts_.trainable_bytes : 0);
  // Cross-entropy: log-probabilities, their gradient, and that of the outputs.
  moment(saved, 0, 3 * outputs);
  double gradients = 0;
  for (auto it = prof.runs.rbegin(); it != prof.runs.rend(); ++it) {
    const Run& run = *it;
    const double again = recomputed(run), plain = run.count - again;
    const double own = run.saved.at(m), input = run.input.at(m), work = run.backward.at(m);
    if (plain > 0) {
      moment(saved, gradients + run.gradients, work);
      gradients += plain * run.gradients;
      saved -= plain * own;
      moment(saved + own, gradients, work);
    }
    if (again > 0) {
      moment(saved + own, gradients + run.gradients, work);
      gradients += again * run.gradients;
      saved -= again * input;
      moment(saved + input + own, gradients, work);
    }
  }
  const bool lists = cluster_.devices[std::size_t(setting.device)].kind == DeviceKind::gpu;
  const double temporary = lists ? facts_.trainable_bytes : largest_parameter_;
  moment(0, facts_.trainable_bytes,
         switches.fused_optimizer ? 0 : opt.temporary_tensors * temporary);
}

double CostModel::energy(const Point& point, const Bill& bill) const noexcept {
  const Setting& setting = point.setting;
  const Device& device = cluster_.devices[std::size_t(setting.device)];
  if (!device.power) return 0;
  const double idle = device.power->idle_w.value;
  const double range = std::max(0.0, device.power->max_w.value - idle);
  const bool cpu = device.kind == DeviceKind::cpu;
  const double cores = cpu ? std::max<double>(1, double(device.cores.size())) : 1;
  const auto busy_share = [&](double threads) { return std::min(1.0, threads / cores); };
  const double working = cpu ? busy_share(setting.threads * setting.ranks_per_device) : 1;
  const double calling = cpu ? busy_share(setting.ranks_per_device) : 0;  // a GPU idles meanwhile
  const double busy =
      working *
          (param::kPowerCompute * bill.busy_compute_s + param::kPowerMemory * bill.busy_memory_s) +
      calling * param::kPowerHost * (bill.busy_host_s + bill.loading_s) +
      (cpu ? calling : 1.0) * param::kPowerCommunicate * (bill.gather_s + bill.all_reduce_s);
  return setting.devices * (idle * bill.time_s() + range * busy);
}

double CostModel::warm_up(const Policy& policy) const noexcept {
  if (!policy.compile) return 0;
  return param::kCompileFixedS + param::kCompilePerKernelS * profile(policy).distinct_kernels;
}

Cost CostModel::total(const Point& point, const Bill& bill) const noexcept {
  return {bill.time_s(), point.setting.ranks_per_device * bill.memory_bytes(), energy(point, bill),
          point.warm_up_s};
}

Bill CostModel::bill(const LocalChoice& choice) const noexcept {
  return bill(points_[point_index(choice)], {choice.fused_optimizer, choice.recompute});
}

Cost CostModel::evaluate(const LocalChoice& choice) const noexcept {
  const Point& point = points_[point_index(choice)];
  return total(point, bill(point, {choice.fused_optimizer, choice.recompute}));
}

LocalChoice CostModel::plain() const {
  PO_CHECK(!space_.layouts.empty(), "the space is not empty");
  LocalChoice choice;
  choice.compile = space_.compile.front();
  choice.memory_format = space_.memory_formats.front();
  choice.attention = space_.attention.front();
  choice.fused_optimizer = space_.fused_optimizer.front();
  choice.recompute = space_.least_recompute;
  const auto worse = [&](const Layout& a, const Layout& b) {
    const auto key = [&](const Layout& l) {
      const Device& device =
          cluster_.devices[std::size_t(space_.pools[std::size_t(l.pool)].devices.front())];
      return std::tuple(device.kind == DeviceKind::gpu ? 0 : 1, l.ranks(), -l.threads);
    };
    return key(a) < key(b);
  };
  choice.layout = int(std::ranges::min_element(space_.layouts, worse) - space_.layouts.begin());
  return choice;
}

Plan CostModel::plan(const LocalChoice& choice) const {
  const Layout& layout = space_.layouts[std::size_t(choice.layout)];
  const Pool& pool = space_.pools[std::size_t(layout.pool)];
  Plan plan;
  plan.model = graph_.name;
  plan.mesh.data = layout.ranks();
  plan.devices_used = layout.devices;
  for (int d = 0; d < layout.devices; ++d) {
    const int index = pool.devices[std::size_t(d)];
    const Device& device = cluster_.devices[std::size_t(index)];
    const std::size_t part = device.cores.size() / std::size_t(layout.ranks_per_device);
    for (int r = 0; r < layout.ranks_per_device; ++r) {
      Placement place{index, {}, layout.threads};
      if (device.kind == DeviceKind::cpu && part == 0) {  // more ranks than cores: by turns
        place.cores = {device.cores[std::size_t(r) % device.cores.size()]};
      } else if (device.kind == DeviceKind::cpu) {
        const auto first = device.cores.begin() + std::ptrdiff_t(part) * r;
        place.cores.assign(first, first + layout.threads);
      }
      plan.placements.push_back(std::move(place));
    }
  }
  plan.global_batch = global_batch_of(graph_, job_);
  plan.shares = even_shares(plan.global_batch, layout.ranks());
  plan.micro_batch = space_.micro_batches[std::size_t(choice.layout)][std::size_t(choice.micro)];
  plan.micro_batches = (plan.shares.front() + plan.micro_batch - 1) / plan.micro_batch;
  Stage stage;
  for (int rank = 0; rank < layout.ranks(); ++rank) stage.ranks.push_back(rank);
  plan.stages = {std::move(stage)};
  plan.precision = space_.precisions[std::size_t(choice.precision)];
  for (std::size_t c = 0; c < facts_.classes.size(); ++c) {
    for (int b = 0; b < choice.recompute[c]; ++b) {
      const std::string& block = facts_.classes[c].blocks[std::size_t(b)];
      plan.recompute.push_back({block, {block}});
    }
  }
  plan.execution = {choice.compile, choice.memory_format, choice.attention, choice.fused_optimizer,
                    false};
  const bool cpu = !plan.placements.front().cores.empty();
  plan.execution.keep_memory = cpu && keeps_memory(plan.execution, plan.precision, job_);
  return plan;
}

}  // namespace parallel_opt
