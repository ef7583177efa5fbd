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
};

/// Of its columns, and of a name that is known where these are blank. Notes what is assumed.
RowShape shape_of(const TrainingRow& row, std::vector<std::string>& notes);

/// A key of "transformer:layers=32,hidden=4096"; 0: it is not there, or no number.
double number_of(const std::string& spec, const std::string& key);

}  // namespace parallel_opt
