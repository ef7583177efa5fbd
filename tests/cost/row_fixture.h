#pragma once

#include <gtest/gtest.h>

#include <algorithm>
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

/// 24 blocks of 2048, 1.3e9 parameters: two micro-batches of four sequences on each device.
inline TrainingRow usual_row(const std::string& framework = "llm-foundry") {
  TrainingRow row = blocks_of(framework, 24, 2048);
  row.model_name = "own";
  row.micro_batch = 4;
  row.global_batch = 64;
  return row;
}

/// The same, no dimension blank.
inline TrainingRow whole_row(const std::string& framework = "llm-foundry") {
  TrainingRow row = usual_row(framework);
  row.ffn_hidden = 8192;
  row.vocab = 50257;
  return row;
}

/// Of a model that its name says all about.
inline TrainingRow llama_row(const std::string& framework) {
  TrainingRow row = replicas_of(framework);
  row.model_name = "Llama-2-7B";
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

inline RowPrediction prediction_of(const TrainingRow& row) {
  return predict(case_of(row), layout_parameters());
}

inline double seconds_of(const TrainingRow& row) { return prediction_of(row).step_time_s.value; }

/// How often a row's notes say exactly that.
inline int told(const TrainingRow& row, const std::string& note) {
  return int(std::ranges::count(case_of(row).notes, note));
}

/// The first of a row's notes that has these words; empty: none has.
inline std::string note_with(const TrainingRow& row, const std::string& words) {
  for (const std::string& note : case_of(row).notes) {
    if (note.find(words) != std::string::npos) return note;
  }
  return "";
}

}  // namespace parallel_opt::testing
