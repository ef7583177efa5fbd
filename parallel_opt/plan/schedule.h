#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "parallel_opt/base/error.h"
#include "parallel_opt/plan/schedule_kind.h"

namespace parallel_opt {

/// What one entry of a schedule computes for one micro-batch on one stage.
enum class ActionKind : std::uint8_t {
  forward,          ///< F
  backward,         ///< B: gradients of inputs and weights
  backward_input,   ///< I: gradients of inputs only
  backward_weight,  ///< W: gradients of weights, some time after I
};

struct Action {
  std::int32_t micro_batch = 0;
  std::int32_t stage = 0;
  ActionKind kind = ActionKind::forward;
  bool with_next = false;  ///< runs together with the entry after it, as one (DualPipe's F&B)
  bool operator==(const Action&) const = default;
};

/// Who computes what in which order: one list of actions per rank. Stages are numbered along the
/// model. With two lanes (DualPipe) the model is there twice: stages of the second half of the
/// numbers are the second copy, and the second half of the micro-batches runs through it.
struct Schedule {
  int stages = 1;         ///< over all ranks and lanes
  int micro_batches = 1;  ///< over all lanes
  int lanes = 1;
  std::vector<int> rank_of;                  ///< by stage
  std::vector<std::vector<Action>> actions;  ///< by rank

  int ranks() const { return static_cast<int>(actions.size()); }
  int stages_per_lane() const { return stages / lanes; }
  int lane_of_stage(int stage) const { return stage / stages_per_lane(); }
  int lane_of_micro_batch(int micro_batch) const {
    return static_cast<int>(static_cast<std::int64_t>(micro_batch) * lanes / micro_batches);
  }
  bool first_of_lane(int stage) const { return stage % stages_per_lane() == 0; }
  bool last_of_lane(int stage) const { return (stage + 1) % stages_per_lane() == 0; }
  bool operator==(const Schedule&) const = default;
};

/// What keeps a named schedule from being built for these numbers; empty: nothing.
/// `virtual_stages` is the number of stages per rank.
std::vector<Fault> check_schedule(ScheduleKind kind, int ranks, int virtual_stages,
                                  int micro_batches);

/// The number of stages per rank that a schedule has when nobody says otherwise: 2 for the V
/// shapes and for interleaved ones, else 1.
int default_virtual_stages(ScheduleKind kind);

/// Interleaved, micro-batches go round the stages of a rank in groups of this many.
int micro_batches_per_round(int ranks, int micro_batches);

/// The action table of a named schedule. Pre: `check_schedule` finds nothing.
Schedule make_schedule(ScheduleKind kind, int ranks, int virtual_stages, int micro_batches);

/// Every broken rule of a table: each micro-batch forward and backward (B, or I and W) once per
/// stage, on the stage's own rank, in an order in which every action's input can arrive.
std::vector<Fault> check(const Schedule& schedule, const std::string& where = "schedule");

/// Reads a table in the notation of torch.distributed.pipelining: one row per rank, one action per
/// cell ("0F0", "3I2", "3W2", "1B0", "(0F5;7B3)OVERLAP_F_B"), blank cells idle. Entries for
/// communication (SEND_F, RECV_B, UNSHARD, RESHARD, REDUCE_GRAD, ...) are passed over: the
/// simulator derives them. Throws InputError naming row and column, then what `check` finds.
Schedule parse_actions(std::string_view text, const std::string& name);

/// The table in that notation, without blank cells.
std::string action_table(const Schedule& schedule);
/// One action in that notation: "0F5".
std::string to_string(const Action& action);

}  // namespace parallel_opt
