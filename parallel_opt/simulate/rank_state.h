#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "parallel_opt/plan/schedule.h"

namespace parallel_opt {

/// Where the members of a group wait for each other; one join per collective, in their order.
struct Meeting {
  std::int32_t stream = -1;
  std::vector<std::int32_t> joins;
};

/// What is known of a rank while its actions are written down.
struct RankState {
  int position = 0;  ///< in the pipeline
  int rank = 0;      ///< over all replicas
  const Schedule* schedule = nullptr;
  std::vector<std::int32_t> needs = {};  ///< of the next compute task
  std::int32_t before = -1;              ///< last compute task: an action's or a slice's
  std::int32_t before_2 = -1;            ///< and of the one before that
  std::int32_t left = -1;                ///< last copy of a slice to the host
  std::int32_t left_2 = -1;              ///< and the one before that
  std::vector<std::int32_t> sent = {};   ///< sends that compute waits for
  std::int32_t last_reduce = -1;
  double stall_s = 0;    ///< that the next compute task waits for collectives beside it
  double reduces_s = 0;  ///< likewise for a stage's last, once its gradient has been handed on
  std::int32_t last_drain = -1;
  int loads = 0;
  std::size_t gathers_met = 0;
  std::vector<std::size_t> reduces_met = {};  ///< by meeting
  std::vector<int> last_gradient = {};        ///< by stage: entry of the last B or W
  std::vector<std::int32_t> gathered = {};    ///< by stage, once a step: the last gather; -1: none
};

}  // namespace parallel_opt
