#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/cost/training_row.h"

namespace parallel_opt {

/// The model of a row.
struct RowShape {
  std::string spec;           ///< inline, "transformer:layers=32,..."; empty: it is not known
  std::optional<double> seq;  ///< that such models usually have
  std::string patches;        ///< what that is made of where tokens are patches of a picture
  bool modulated = false;     ///< its blocks, once per sample (row_patches.h)
};

/// Of its columns, and of a name that is known where these are blank. Notes what is assumed.
RowShape shape_of(const TrainingRow& row, std::vector<std::string>& notes);

/// The inline spec of a model that is known by this name, all of it ("Llama-2-7B", not "my Llama 2
/// 7B"), with its usual sequence length unless `seq` says another; empty: none is.
std::string known_model_spec(const std::string& name, std::optional<std::int64_t> seq);

/// The name of a known model that was most likely meant; empty when none is close.
std::string nearest_known_model(const std::string& name);

/// A key of "transformer:layers=32,hidden=4096"; 0: it is not there, or no number.
double number_of(const std::string& spec, const std::string& key);

}  // namespace parallel_opt
