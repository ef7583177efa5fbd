#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <ostream>
#include <set>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/base/output_file.h"
#include "parallel_opt/cli/commands.h"
#include "parallel_opt/cli/documents.h"
#include "parallel_opt/cli/job_flags.h"
#include "parallel_opt/cli/layout_argument.h"
#include "parallel_opt/cli/model_argument.h"
#include "parallel_opt/cli/placement.h"
#include "parallel_opt/cost/mixed_layout.h"
#include "parallel_opt/hardware/load.h"
#include "parallel_opt/importers/model.h"
#include "parallel_opt/plan/batch.h"
#include "parallel_opt/report/simulation_picture.h"
#include "parallel_opt/report/table.h"
#include "parallel_opt/simulate/layout_work.h"
#include "parallel_opt/simulate/step_work_fields.h"

namespace parallel_opt {
namespace {

constexpr std::size_t kMostTableRows = 32;

/// A step and its order, and what they are called.
struct AskedStep {
  StepWork work;
  std::vector<Schedule> schedules = std::vector<Schedule>(1);  ///< one for all replicas
  std::string name;                                            ///< of the schedule
  std::string where;                                           ///< of the work
  double devices_per_rank = 1;
  std::vector<DeviceMemory> memories;       ///< of the kinds that differ
  std::vector<double> usable_bytes;         ///< by rank: what training may use of it
  std::vector<std::string> placement = {};  ///< who runs on which devices, where they differ
  std::string way_out = {};                 ///< what would need less memory
  Schedule& schedule() { return schedules.front(); }
};

/// "1f1b, 4 ranks, 8 micro-batches": without a pipeline there is no order to name.
std::string title_of(const std::string& schedule, int ranks, bool pipeline, int micro_batches) {
  return (pipeline ? schedule + ", " : "") + std::to_string(ranks) +
         (ranks == 1 ? " rank, " : " ranks, ") + std::to_string(micro_batches) +
         (micro_batches == 1 ? " micro-batch" : " micro-batches");
}

void refuse_together(const Args& args, const std::string& reason,
                     const std::vector<std::string>& flags) {
  std::vector<Fault> faults;
  for (const std::string& flag : flags) {
    if (args.has(flag)) faults.push_back({"--" + flag, reason, "leave it out"});
  }
  if (!faults.empty()) throw UsageError(std::move(faults));
}

/// `several`: the layout has several stages per rank.
ScheduleKind kind_of(const Args& args, bool several) {
  const std::string text = args.get_or("schedule", several ? "interleaved" : "1f1b");
  if (const auto named = schedule_by_name(text)) return *named;
  return args.choice<ScheduleKind>("schedule").value_or(ScheduleKind::one_f_one_b);
}

Schedule named_schedule(ScheduleKind kind, std::int64_t ranks, std::int64_t virtual_stages,
                        std::int64_t micro_batches) {
  constexpr std::int64_t kMostPairs = 20'000'000;
  if (micro_batches > kMostPairs / std::max<std::int64_t>(1, ranks * virtual_stages)) {
    throw UsageError("--micro-batches", std::to_string(micro_batches) + " are too many",
                     "stages times micro-batches may be 20 million");
  }
  const auto r = static_cast<int>(ranks), v = static_cast<int>(virtual_stages),
             m = static_cast<int>(micro_batches);
  if (std::vector<Fault> faults = check_schedule(kind, r, v, m); !faults.empty()) {
    throw UsageError(std::move(faults));
  }
  return make_schedule(kind, r, v, m);
}

AskedStep step_of_file(const Args& args) {
  std::vector<std::string> others = {"model", "cluster"};
  for (const auto& flags : {job_flags(), layout_flags()}) {
    for (const Flag& flag : flags) {
      if (flag.name != "schedule" && flag.name != "virtual-stages") others.push_back(flag.name);
    }
  }
  refuse_together(args, "says nothing beside --work", others);
  AskedStep asked;
  asked.where = args.at("work");
  asked.work = from_json<StepWork>(read_file(asked.where), asked.where);
  const auto stages = static_cast<std::int64_t>(asked.work.stages.size());
  if (stages == 0) throw InputError(asked.where + ":stages", "is empty", "at least one stage");
  if (const auto file = args.get("actions")) {
    refuse_together(args, "is in the table of --actions",
                    {"schedule", "virtual-stages", "micro-batches"});
    asked.schedule() = parse_actions(read_file(*file), *file);
    asked.name = *file;
    return asked;
  }
  const std::int64_t given = args.whole("virtual-stages", 1).value_or(0);
  const ScheduleKind kind = kind_of(args, given > 1);
  const std::int64_t virtual_stages = given > 0 ? given : default_virtual_stages(kind);
  // DualPipe's two stages per rank are two copies of one model.
  const std::int64_t per_rank = kind == ScheduleKind::dualpipe ? 1 : virtual_stages;
  if (stages % per_rank != 0) {
    throw UsageError(
        "--virtual-stages",
        std::to_string(stages) + " stages do not part into ranks of " + std::to_string(per_rank),
        "a divisor of the number of stages");
  }
  const std::int64_t ranks = stages / per_rank;
  if (ranks == 1 && stages > 1 && given == 0) {
    throw UsageError("--schedule",
                     std::string(name_of(kind)) + " puts all " + std::to_string(stages) +
                         " stages of " + asked.where + " on one rank",
                     "at least " + std::to_string(2 * per_rank) +
                         " stages make a pipeline; --schedule 1f1b has one on each rank");
  }
  asked.schedule() = named_schedule(kind, ranks, virtual_stages,
                                    args.whole("micro-batches", 1).value_or(2 * ranks));
  asked.name = name_of(kind);
  return asked;
}

/// What training may use of a device's memory: what `fits` compares with, and the picture draws.
double usable_of(double memory_bytes) { return std::floor(memory_bytes * kUsableMemory); }

/// What kinds of devices offer, where they differ; kinds that have as much are named together.
std::vector<DeviceMemory> memories_of(const PlacedLayout& placed) {
  std::map<double, std::set<std::string>> kinds;
  for (std::size_t r = 0; r < placed.devices.size(); ++r) {
    kinds[placed.devices[r].memory_bytes].insert(placed.smallest[r]);
  }
  kinds.erase(0);  // not known
  std::vector<DeviceMemory> memories;
  for (const auto& [bytes, names] : kinds) {
    const std::vector<std::string> list(names.begin(), names.end());
    memories.push_back({kinds.size() > 1 ? join(list, " and ") : "a device", usable_of(bytes)});
  }
  return memories;
}

/// A layout's step by the cost model, as `estimate` judges it in closed form.
AskedStep step_of_model(const Args& args, const Console& console) {
  refuse_together(args, "follows from the batch of a model", {"micro-batches"});
  const Cluster cluster = load_cluster(args.get_or("cluster", "local"));
  if (std::ranges::count(cluster.devices, DeviceKind::gpu, &Device::kind) == 0) {
    throw UsageError("--cluster", "a layout is simulated for accelerators only",
                     "name a preset such as 8xH100-SXM-80GB, or give --work");
  }
  const std::string model = args.has("MODEL") ? args.at("MODEL") : args.at("model");
  const std::optional<std::int64_t> seq = args.whole("seq", 1);
  const Graph graph = bind_sizes(load_model_argument(model, console, seq), std::nullopt, seq);
  const Job job = job_from(args, Layouts::all);
  const TransformerFacts facts = stated_facts(args, graph);
  const StatedLayout stated = stated_layout(args, job, facts, cluster, batch_of(graph));
  const ParallelLayout& l = stated.layout;
  const ScheduleKind kind = l.schedule;
  tell_what_says_nothing(args, l, console);
  const PlacedLayout placed = place(cluster, job, l);
  for (const std::string& note : placed.notes) console.log("note: " + note);
  const std::vector<Accelerator>& ranks = placed.devices;
  AskedStep asked;
  asked.where = model;
  asked.devices_per_rank = l.devices() / l.pipeline;
  asked.placement = placed.words;
  asked.way_out = ways_to_fit(l);
  for (const Accelerator& one : ranks) asked.usable_bytes.push_back(usable_of(one.memory_bytes));
  asked.memories = memories_of(placed);
  const LayoutParameters& p = layout_parameters();
  asked.work = layout_work(ranks_differ(facts, ranks, l)
                               ? mixed_stages(facts, ranks, *stated.stack, l, p)
                               : layout_stages(facts, ranks.front(), *stated.stack, l, p),
                           l, ranks);
  const auto micro_batches = static_cast<std::int64_t>(l.micro_batches);
  if (const auto file = args.get("actions")) {
    refuse_together(args, "is in the table of --actions", {"schedule"});
    asked.schedule() = parse_actions(read_file(*file), *file);
    asked.name = *file;
    if (asked.schedule().micro_batches != micro_batches) {
      throw UsageError("--actions",
                       "the table has " + std::to_string(asked.schedule().micro_batches) +
                           " micro-batches, the layout " + std::to_string(micro_batches),
                       "change --global-batch or --micro-batch");
    }
    return asked;
  }
  const bool two_copies = kind == ScheduleKind::dualpipe;
  asked.schedule() =
      named_schedule(kind, l.pipeline, two_copies ? 2 : l.virtual_stages, micro_batches);
  asked.name = name_of(kind);
  return asked;
}

/// "3=1.5,7=2": these ranks take so much longer.
void slow_down(const std::string& text, int ranks, StepWork& work) {
  if (work.rank_slowdown.empty()) work.rank_slowdown.assign(static_cast<std::size_t>(ranks), 1);
  std::set<int> named;
  for (const std::string& part : split(text, ',')) {
    const char* const end = part.data() + part.size();
    int rank = -1;
    double factor = 0;
    const auto first = std::from_chars(part.data(), end, rank);
    const bool has_rank = first.ec == std::errc() && first.ptr < end && *first.ptr == '=';
    const bool read = has_rank && std::from_chars(first.ptr + 1, end, factor).ptr == end;
    if (!read || !(factor > 0 && factor < 1e9)) {
      throw UsageError("--straggler", "\"" + part + "\" is not RANK=FACTOR",
                       "3=1.5: rank 3 takes 1.5 times as long");
    }
    if (rank < 0 || rank >= ranks) {
      throw UsageError("--straggler", "there is no rank " + std::to_string(rank),
                       "ranks count from 0 to " + std::to_string(ranks - 1));
    }
    if (!named.insert(rank).second) {
      throw UsageError("--straggler", "rank " + std::to_string(rank) + " is named twice",
                       "one factor for each");
    }
    work.rank_slowdown[static_cast<std::size_t>(rank)] *= factor;
  }
}

/// What a rank's device lets it use; 1 where that is not known, so that bytes compare.
double usable_by(const AskedStep& asked, const RankUse& use) {
  const std::vector<double>& all = asked.usable_bytes;
  return all.empty() ? 1 : std::max(1.0, all[std::size_t(use.rank) % all.size()]);
}

/// How full a rank's own device is, as `estimate` has it; of devices that are not known, bytes.
double fullness_of(const AskedStep& asked, const RankUse& use) {
  return double(use.peak_memory_bytes) / usable_by(asked, use);
}

/// The rank that is fullest of what its own device has; of all equal ones the first.
const RankUse& fullest_of(const AskedStep& asked, const std::vector<RankUse>& ranks) {
  return *std::ranges::max_element(ranks, {},
                                   [&](const RankUse& use) { return fullness_of(asked, use); });
}

/// And whether it holds that.
void judge_memory(const AskedStep& asked, SimulationDocument& document) {
  const RankUse& fullest = fullest_of(asked, document.ranks);
  const double usable = usable_by(asked, fullest);
  document.peak_memory_bytes = fullest.peak_memory_bytes;
  document.fullest_rank = fullest.rank;
  if (asked.usable_bytes.empty()) return;
  document.fits = double(fullest.peak_memory_bytes) <= usable;
  if (*document.fits) return;
  document.too_full = "rank " + std::to_string(fullest.rank) + " holds " +
                      show(Bytes(fullest.peak_memory_bytes)) + " of " +
                      show(Bytes(std::int64_t(usable)));
}

/// Ranks that take longer (or less long) than their work says, the slowest first.
std::vector<std::pair<double, int>> slowed_ranks(const StepWork& work) {
  std::vector<std::pair<double, int>> slowed;
  for (std::size_t r = 0; r < work.rank_slowdown.size(); ++r) {
    if (work.rank_slowdown[r] != 1) slowed.emplace_back(work.rank_slowdown[r], int(r));
  }
  std::ranges::stable_sort(slowed, std::ranges::greater(), &std::pair<double, int>::first);
  return slowed;
}

std::string times_as_long(double factor) { return fmt::format("{:.4g} times as long", factor); }

/// Whom one looks for in a picture or a table: the fullest, the busiest, all that are slowed down.
std::vector<NotedRank> noted_ranks(const AskedStep& asked, const std::vector<RankUse>& ranks) {
  std::vector<NotedRank> noted;
  const auto note = [&](int rank, const std::string& why) {
    const auto old = std::ranges::find(noted, rank, &NotedRank::rank);
    if (old == noted.end()) {
      noted.push_back({rank, why});
    } else {
      old->why += ", " + why;
    }
  };
  const RankUse& fullest = fullest_of(asked, ranks);
  const bool differ = std::ranges::any_of(ranks, [&](const RankUse& use) {
    return fullness_of(asked, use) < fullness_of(asked, fullest);
  });
  if (differ) note(fullest.rank, "fullest");
  const auto [least, most] = std::ranges::minmax(ranks, {}, &RankUse::busy_s);
  if (most.busy_s > least.busy_s * 1.001) note(most.rank, "busiest");
  for (const auto& [factor, rank] : slowed_ranks(asked.work)) {
    note(rank, "takes " + times_as_long(factor));
  }
  return noted;
}

/// ", rank 61 takes 1.8 times as long, jitter 5 % (seed 7)".
std::string disturbances(const StepWork& work, double jitter, std::int64_t seed) {
  const std::vector<std::pair<double, int>> slowed = slowed_ranks(work);
  constexpr std::size_t kNamed = 3;
  std::string text;
  for (std::size_t i = 0; slowed.size() <= kNamed && i < slowed.size(); ++i) {
    text +=
        ", rank " + std::to_string(slowed[i].second) + " takes " + times_as_long(slowed[i].first);
  }
  if (slowed.size() > kNamed) {
    const double low = slowed.back().first, high = slowed.front().first;
    text += ", " + std::to_string(slowed.size()) + " ranks take " +
            (low < high ? fmt::format("{:.4g} to ", low) : "") + times_as_long(high);
  }
  if (jitter > 0) {
    text += fmt::format(", jitter {:.4g} % (seed {})", jitter * 100, seed);
  }
  return text;
}

/// Who holds most, and who is fullest where devices differ.
std::string memory_words(const AskedStep& asked, const SimulationDocument& d) {
  const RankUse& fullest = d.ranks[std::size_t(d.fullest_rank)];
  const RankUse& most = *std::ranges::max_element(d.ranks, {}, &RankUse::peak_memory_bytes);
  const bool same = most.peak_memory_bytes == fullest.peak_memory_bytes;
  std::string text = "peak " + show(Bytes(most.peak_memory_bytes));
  if (d.ranks.size() > 1) text += " on rank " + std::to_string((same ? fullest : most).rank);
  if (same) return text;
  return text + ", fullest rank " + std::to_string(fullest.rank) + " with " +
         show(Bytes(fullest.peak_memory_bytes)) + " of " +
         show(Bytes(std::int64_t(usable_by(asked, fullest))));
}

std::string summary_line(const AskedStep& asked, const SimulationDocument& d) {
  std::string text = show(Seconds(d.step_time_s)) + " per step, bubble " +
                     show(d.bubble_share * 100) + " %, " + memory_words(asked, d);
  if (d.energy_j) text += ", " + show(Joules(*d.energy_j));
  return text;
}

/// A row per rank, of many those that the picture would draw too.
Table table_of(const SimulationDocument& d, const std::vector<NotedRank>& noted) {
  Table table{{{"rank", Align::right},
               {"busy", Align::right},
               {"waits", Align::right},
               {"bubble", Align::right},
               {"fill, drain", Align::right},
               {"idle", Align::right},
               {"collectives", Align::right},
               {"in flight", Align::right},
               {"peak memory", Align::right},
               {"note"}},
              {}};
  for (const int rank : drawn_ranks(int(d.ranks.size()), noted, kMostTableRows)) {
    const RankUse& use = d.ranks[std::size_t(rank)];
    const auto note = std::ranges::find(noted, rank, &NotedRank::rank);
    table.rows.push_back(
        {std::to_string(use.rank), show(Seconds(use.busy_s)), show(Seconds(use.exposed_s)),
         show(Seconds(use.bubble_s)), show(Seconds(use.fill_drain_s)), show(Seconds(use.idle_s)),
         show(Seconds(use.collective_s)), std::to_string(use.in_flight),
         show(Bytes(use.peak_memory_bytes)), note == noted.end() ? "" : note->why});
  }
  return table;
}

void print_summary(const AskedStep& asked, const SimulationDocument& d, const std::string& title,
                   const std::vector<NotedRank>& noted, const Console& console) {
  console.out << title << '\n' << summary_line(asked, d) << '\n';
  for (const std::string& line : d.placement.value_or(std::vector<std::string>{})) {
    console.out << line << '\n';
  }
  if (d.too_full) {
    console.out << "does not fit in memory: " << *d.too_full << "\nless is needed by "
                << asked.way_out << "\n";
  }
  const Table table = table_of(d, noted);
  console.out << '\n' << to_text(table);
  if (d.ranks.size() > table.rows.size()) {
    console.out << "and " << d.ranks.size() - table.rows.size() << " more ranks (--json has all)\n";
  }
}

/// What takes long and fills a disk is said before.
void tell_large_trace(const Timeline& timeline, const Console& console) {
  constexpr double kLarge = 200e6;
  const double bytes = chrome_trace_bytes(timeline);
  if (bytes < kLarge) return;
  console.log("note: the trace has " +
              std::to_string(timeline.spans.size() + timeline.counters.size()) + " events, about " +
              show(Bytes(std::llround(bytes))));
}

void write_pictures(const Args& args, const Console& console, const StepPicture& picture) {
  if (args.has("trace")) tell_large_trace(picture.timeline, console);
  if (const auto path = args.get("trace")) write_output(*path, chrome_trace(picture.timeline));
  if (const auto path = args.get("svg")) write_output(*path, step_svg(picture));
  if (const auto path = args.get("html")) write_output(*path, step_page(picture));
}

ExitCode run_simulate(const Args& args, const Console& console) {
  if (int(args.has("MODEL")) + int(args.has("model")) + int(args.has("work")) != 1) {
    throw UsageError("parallel-opt simulate", "one model or one --work is needed", "name it once");
  }
  AskedStep asked = args.has("work") ? step_of_file(args) : step_of_model(args, console);
  StepWork& work = asked.work;
  const Schedule& schedule = asked.schedule();
  const int ranks = schedule.ranks() * std::max(1, work.replicas);
  throw_if_any(check(work, asked.schedules, asked.where));
  if (const auto straggler = args.get("straggler")) slow_down(*straggler, ranks, work);

  const double jitter = args.fraction("jitter").value_or(0);
  const std::int64_t seed = args.whole("seed", 0).value_or(0);
  if (args.has("seed") && jitter == 0) {
    console.log("note: --seed changes nothing: there is no --jitter");
  }
  const bool drawn = args.has("trace") || args.has("svg") || args.has("html");
  SimulationOptions options{
      .timeline = drawn, .jitter = jitter, .seed = static_cast<std::uint64_t>(seed)};
  if (!args.has("trace")) {  // which holds all ranks, a picture those that it draws
    options.choose_ranks = [&](const std::vector<RankUse>& uses) {
      return drawn_ranks(ranks, noted_ranks(asked, uses));
    };
  }
  SimulationResult result = simulate(work, asked.schedules, options);
  SimulationDocument document{.schedule = asked.name,
                              .micro_batches = schedule.micro_batches,
                              .step_time_s = result.step_time_s,
                              .pipeline_s = result.pipeline_s,
                              .bubble_share = result.bubble_share,
                              .events = result.events,
                              .energy_j = result.energy_j,
                              .ranks = result.ranks};
  if (!asked.placement.empty()) document.placement = asked.placement;
  if (document.energy_j) *document.energy_j *= asked.devices_per_rank;
  judge_memory(asked, document);
  const std::vector<NotedRank> noted = noted_ranks(asked, document.ranks);
  const std::string title =
      title_of(document.schedule, ranks, schedule.stages > 1, document.micro_batches) +
      disturbances(work, jitter, seed);
  if (drawn) {
    if (result.power) {
      for (double& watts : result.power->total_w) watts *= asked.devices_per_rank;
    }
    write_pictures(args, console,
                   {.title = title,
                    .subtitle = summary_line(asked, document) +
                                (document.too_full ? ", does not fit in memory" : ""),
                    .timeline = std::move(result.timeline).value_or(Timeline{}),
                    .ranks = ranks,
                    .power = std::move(result.power),
                    .memories = asked.memories,
                    .noted = noted});
  }
  if (console.json) {
    print_json(console, document);
  } else {
    print_summary(asked, document, title, noted, console);
  }
  return ExitCode::ok;
}

}  // namespace

/// parallel-opt simulate MODEL --cluster 2n8xH100-SXM-80GB --pipeline 4 --schedule zb_h1
Command simulate_command() {
  std::vector<Flag> flags = {
      {"model", "MODEL", kModelFormats},
      {"cluster", "NAME", "a preset or a file"},
      {"work", "FILE", "instead of a model: seconds and bytes of every stage (JSON)"},
      {"micro-batches", "N", "with --work: per step (default: twice the ranks)"},
      {"actions", "FILE", "instead of --schedule: a row per rank, 0F0,0F1,0B0,..."},
      {"jitter", "SHARE", "spread of each computation's time: 5%"},
      {"seed", "N", "of the jitter (default: 0)"},
      {"straggler", "RANK=FACTOR", "ranks of the pipeline that take longer: 3=1.5,7=2"},
      {"trace", "FILE", "write a Chrome trace; opens in Perfetto"},
      {"svg", "FILE", "write a picture: Gantt chart, memory and power over time"},
      {"html", "FILE", "write the same as an offline page"}};
  for (Flag& flag : job_flags()) flags.push_back(std::move(flag));
  for (Flag& flag : layout_flags()) flags.push_back(std::move(flag));
  return {
      .name = "simulate",
      .summary = "Run one training step event by event: who waits for whom, memory, power.",
      .description =
          "The layout flags are the whole answer, as for `estimate`. Schedules: gpipe, 1f1b,\n"
          "interleaved, looped_bfs, zb_h1, zb_h2, zb_v, dualpipe, dualpipe_v. A rank of the\n"
          "pipeline stands for all tensor and data ranks beside it.",
      .arguments = {{"MODEL", kModelFormats, false}},
      .flags = std::move(flags),
      .examples = {"parallel-opt simulate config.json --cluster 8xH100-SXM-80GB --pipeline 4 "
                   "--schedule zb_h1",
                   "parallel-opt simulate --work work.json --straggler 3=1.5 --trace step.json"},
      .run = run_simulate,
  };
}

}  // namespace parallel_opt
