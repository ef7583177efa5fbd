#pragma once

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

/// Whether the name is that of a known model, size and all: "Falcon3-1B", which has 1.67 billion.
bool is_known_by_its_size(const TrainingRow& row);

/// The name of a known model that was most likely meant; empty when none is close.
std::string nearest_known_model(const std::string& name);

/// A key of "transformer:layers=32,hidden=4096"; 0: it is not there, or no number.
double number_of(const std::string& spec, const std::string& key);

}  // namespace parallel_opt
