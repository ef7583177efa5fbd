#include <algorithm>
#include <charconv>
#include <ostream>

#include "parallel_opt/base/file_system.h"
#include "parallel_opt/base/output_file.h"
#include "parallel_opt/cli/commands.h"
#include "parallel_opt/cli/documents.h"
#include "parallel_opt/report/simulation_picture.h"
#include "parallel_opt/report/table.h"
#include "parallel_opt/simulate/step_work_fields.h"

namespace parallel_opt {
namespace {

constexpr std::size_t kMostTableRows = 32;

/// The schedule that the flags ask for, for work of this many stages.
Schedule stated_schedule(const Args& args, const StepWork& work) {
  if (const auto file = args.get("actions")) {
    for (const char* flag : {"schedule", "virtual-stages", "micro-batches"}) {
      if (args.has(flag)) {
        throw UsageError(std::string("--") + flag, "is in the table of --actions", "leave it out");
      }
    }
    return parse_actions(read_file(*file), *file);
  }
  const ScheduleKind kind =
      args.choice<ScheduleKind>("schedule").value_or(ScheduleKind::one_f_one_b);
  const auto stages = static_cast<std::int64_t>(work.stages.size());
  const std::int64_t virtual_stages =
      args.whole("virtual-stages", 1).value_or(default_virtual_stages(kind));
  // DualPipe's two stages per rank are two copies of one model.
  const std::int64_t per_rank = kind == ScheduleKind::dualpipe ? 1 : virtual_stages;
  if (stages % per_rank != 0) {
    throw UsageError(
        "--virtual-stages",
        std::to_string(stages) + " stages do not part into ranks of " + std::to_string(per_rank),
        "a divisor of the number of stages");
  }
  const std::int64_t micro_batches = args.whole("micro-batches", 1).value_or(2 * stages / per_rank);
  constexpr std::int64_t kMostPairs = 20'000'000;
  if (micro_batches > kMostPairs / std::max<std::int64_t>(1, stages)) {
    throw UsageError("--micro-batches", std::to_string(micro_batches) + " are too many",
                     "stages times micro-batches may be 20 million");
  }
  const auto ranks = static_cast<int>(stages / per_rank);
  if (std::vector<Fault> faults = check_schedule(kind, ranks, static_cast<int>(virtual_stages),
                                                 static_cast<int>(micro_batches));
      !faults.empty()) {
    throw UsageError(std::move(faults));
  }
  return make_schedule(kind, ranks, static_cast<int>(virtual_stages),
                       static_cast<int>(micro_batches));
}

/// "3=1.5,7=2": these ranks take so much longer.
void slow_down(const std::string& text, int ranks, StepWork& work) {
  if (work.rank_slowdown.empty()) work.rank_slowdown.assign(static_cast<std::size_t>(ranks), 1);
  for (const std::string& part : split(text, ',')) {
    const char* const end = part.data() + part.size();
    int rank = -1;
    double factor = 0;
    const auto first = std::from_chars(part.data(), end, rank);
    const bool named = first.ec == std::errc() && first.ptr < end && *first.ptr == '=';
    const bool read = named && std::from_chars(first.ptr + 1, end, factor).ptr == end;
    if (!read || !(factor > 0 && factor < 1e9)) {
      throw UsageError("--straggler", "\"" + part + "\" is not RANK=FACTOR",
                       "3=1.5: rank 3 takes 1.5 times as long");
    }
    if (rank < 0 || rank >= ranks) {
      throw UsageError("--straggler", "there is no rank " + std::to_string(rank),
                       "ranks count from 0 to " + std::to_string(ranks - 1));
    }
    work.rank_slowdown[static_cast<std::size_t>(rank)] *= factor;
  }
}

std::string summary_line(const SimulationDocument& d) {
  std::string text = show(Seconds(d.step_time_s)) + " per step, bubble " +
                     show(d.bubble_share * 100) + " %, peak " + show(Bytes(d.peak_memory_bytes));
  if (d.energy_j) text += ", " + show(*d.energy_j) + " J";
  return text;
}

void print_summary(const SimulationDocument& d, const Console& console) {
  console.out << d.schedule << ", " << d.ranks.size() << " ranks, " << d.micro_batches
              << " micro-batches\n"
              << summary_line(d) << "\n\n";
  Table table{{{"rank", Align::right},
               {"busy", Align::right},
               {"bubble", Align::right},
               {"idle", Align::right},
               {"collectives", Align::right},
               {"in flight", Align::right},
               {"peak memory", Align::right}},
              {}};
  for (std::size_t i = 0; i < std::min(d.ranks.size(), kMostTableRows); ++i) {
    const RankUse& use = d.ranks[i];
    table.rows.push_back({std::to_string(use.rank), show(Seconds(use.busy_s)),
                          show(Seconds(use.bubble_s)), show(Seconds(use.idle_s)),
                          show(Seconds(use.collective_s)), std::to_string(use.in_flight),
                          show(Bytes(use.peak_memory_bytes))});
  }
  console.out << to_text(table);
  if (d.ranks.size() > kMostTableRows) {
    console.out << "and " << d.ranks.size() - kMostTableRows << " more ranks (--json has all)\n";
  }
}

ExitCode run_simulate(const Args& args, const Console& console) {
  const std::string file = args.at("work");
  auto work = from_json<StepWork>(read_file(file), file);
  if (work.stages.empty()) throw InputError(file + ":stages", "is empty", "at least one stage");
  const Schedule schedule = stated_schedule(args, work);
  const int ranks = schedule.ranks() * std::max(1, work.replicas);
  throw_if_any(check(work, {schedule}, file));
  if (const auto straggler = args.get("straggler")) slow_down(*straggler, ranks, work);

  const bool drawn = args.has("trace") || args.has("svg") || args.has("html");
  const SimulationResult result =
      simulate(work, {schedule},
               {.timeline = drawn,
                .jitter = args.fraction("jitter").value_or(0),
                .seed = static_cast<std::uint64_t>(args.whole("seed", 0).value_or(0))});
  SimulationDocument document{
      .schedule = args.has("actions") ? args.at("actions") : args.get_or("schedule", "1f1b"),
      .micro_batches = schedule.micro_batches,
      .step_time_s = result.step_time_s,
      .pipeline_s = result.pipeline_s,
      .bubble_share = result.bubble_share,
      .events = result.events,
      .energy_j = result.energy_j,
      .ranks = result.ranks};
  for (const RankUse& use : result.ranks) {
    document.peak_memory_bytes = std::max(document.peak_memory_bytes, use.peak_memory_bytes);
  }
  if (drawn) {
    const StepPicture picture{document.schedule + ", " + std::to_string(ranks) + " ranks, " +
                                  std::to_string(document.micro_batches) + " micro-batches",
                              summary_line(document), result.timeline.value_or(Timeline{})};
    if (const auto path = args.get("trace")) write_output(*path, chrome_trace(picture.timeline));
    if (const auto path = args.get("svg")) write_output(*path, step_svg(picture));
    if (const auto path = args.get("html")) write_output(*path, step_page(picture));
  }
  if (console.json) {
    print_json(console, document);
  } else {
    print_summary(document, console);
  }
  return ExitCode::ok;
}

}  // namespace

/// parallel-opt simulate --work work.json --schedule zb_h1 --micro-batches 16
Command simulate_command() {
  return {
      .name = "simulate",
      .summary = "Run one training step event by event: who waits for whom, memory, power.",
      .description =
          "The work file says what each stage takes and sends (`parallel-opt schema step-work`); "
          "the\n"
          "schedule says in which order. docs/simulate.md tells what contends with what.",
      .flags =
          {{"work", "FILE", "seconds and bytes of every stage (JSON)"},
           {"schedule", "NAME",
            "gpipe, 1f1b (default), interleaved_1f1b, looped_bfs, zb_h1, zb_h2, zb_v, dualpipe, "
            "dualpipe_v"},
           {"virtual-stages", "N", "stages per rank (default: 2 where a schedule has several)"},
           {"micro-batches", "N", "per step and pipeline (default: twice the ranks)"},
           {"actions", "FILE", "an action table instead: a row per rank, 0F0,0F1,0B0,..."},
           {"jitter", "SHARE", "spread of each computation's time: 5%"},
           {"seed", "N", "of the jitter (default: 0)"},
           {"straggler", "RANK=FACTOR", "ranks that take longer: 3=1.5,7=2"},
           {"trace", "FILE", "write a Chrome trace; opens in Perfetto"},
           {"svg", "FILE", "write a picture: Gantt chart, memory and power over time"},
           {"html", "FILE", "write the same as an offline page"}},
      .required = {"work"},
      .examples = {"parallel-opt simulate --work work.json --schedule zb_h1 --micro-batches 16",
                   "parallel-opt simulate --work work.json --straggler 3=1.5 --trace step.json"},
      .run = run_simulate,
  };
}

}  // namespace parallel_opt
