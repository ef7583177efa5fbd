#pragma once

#include <optional>
#include <string>
#include <vector>

#include "parallel_opt/cost/row_model.h"
#include "parallel_opt/cost/training_row.h"
#include "parallel_opt/hardware/database.h"

namespace parallel_opt {

/// Why the text is of no one whole device: of several kinds, or of a part of one; empty: it is.
std::string no_whole_device(const std::string& gpu);

/// Whether it names more than one memory that the device may have: "A100 40GB/80GB".
bool states_memories(const std::string& gpu);

/// The record that the row's device is, with the board that its interconnect needs where the text
/// leaves that open, which is noted.
std::optional<DeviceRecord> device_of(const TrainingRow& row, std::vector<std::string>& notes);

/// The same chip and board with other memory, the least first, where the row does not say how much.
std::vector<DeviceRecord> variants_of(const TrainingRow& row, const DeviceRecord& record);

/// Whether its devices are taken as those of racks that NVLink joins, though the row does not say
/// so: a node of 4 is a tray.
bool stands_in_rack(const TrainingRow& row, const DeviceRecord& record);

/// Device and network of a row, in the machine that it states or that is usual for the device.
/// False when the record has no peak rate.
bool fill_device(const TrainingRow& row, const DeviceRecord& record, RowCase& out);

}  // namespace parallel_opt
