#pragma once

#include <gtest/gtest.h>

#include <string>

#include "parallel_opt/cost/row_model.h"

namespace parallel_opt::testing {

/// A row of eight A100 that hold a copy of the model each, one micro-batch of one sequence: shape
/// and sizes are the test's.
inline TrainingRow replicas_of(const std::string& framework) {
  TrainingRow row;
  row.id = "x-1";
  row.gpu = "A100-SXM4-80GB";
  row.framework = framework;
  row.dtype = "bf16";
  row.gpus = row.dp = row.global_batch = 8;
  row.tp = row.pp = row.micro_batch = 1;
  row.seq_len = 2048;
  return row;
}

/// Of so many blocks with heads of 128.
inline TrainingRow blocks_of(const std::string& framework, double layers, double hidden) {
  TrainingRow row = replicas_of(framework);
  row.layers = layers;
  row.hidden = hidden;
  row.heads = hidden / 128;
  return row;
}

inline RowCase case_of(const TrainingRow& row) {
  auto found = row_case(row);
  if (const auto* why = std::get_if<std::string>(&found)) {
    ADD_FAILURE() << *why;
    return {};
  }
  return std::get<RowCase>(found);
}

/// Why a row is skipped; empty: it is not.
inline std::string skipped(const TrainingRow& row) {
  const auto found = row_case(row);
  const auto* why = std::get_if<std::string>(&found);
  return why != nullptr ? *why : "";
}

}  // namespace parallel_opt::testing
