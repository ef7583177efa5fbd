#pragma once

#include <string>
#include <vector>

#include "parallel_opt/cost/row_model.h"
#include "parallel_opt/hardware/database.h"

/// What no run can have been: rows whose cells contradict each other, or that are of something else
/// than training a transformer. Each function returns the reason, or nothing.
namespace parallel_opt {

/// Models that are no stack of decoder or encoder blocks, and work that is not training, or
/// not of all weights.
std::string other_work(const TrainingRow& row);

/// Names that leave open which model ran, or say that it is another than the known one, of which
/// `spec` is: two sizes, experts that nobody counts. Notes what of the model is left out.
std::string unclear_model(const TrainingRow& row, const std::string& spec,
                          std::vector<std::string>& notes);

/// Notes a word for work that is not known.
void note_workload(const std::string& workload, std::vector<std::string>& notes);

/// A narrow element type that the device's products do not take.
std::string type_without_rate(const TrainingRow& row, const DeviceRecord& record);

/// Degrees, batches and sizes that do not fit each other. Notes what was filled in and what is
/// slightly off.
std::string contradiction(const TrainingRow& row, RowCase& out);

/// Notes which of a chip's memory sizes, which network and which nodes were taken, where the layout
/// needs them and the row does not say.
void note_machine(const TrainingRow& row, const DeviceRecord& record, RowCase& out);

}  // namespace parallel_opt
