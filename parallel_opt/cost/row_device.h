#pragma once

#include "parallel_opt/cost/row_model.h"
#include "parallel_opt/cost/training_row.h"
#include "parallel_opt/hardware/database.h"

namespace parallel_opt {

/// Device and network of a row, in the machine that it states or that is usual for the device.
/// False when the record has no peak rate.
bool fill_device(const TrainingRow& row, const DeviceRecord& record, RowCase& out);

}  // namespace parallel_opt
