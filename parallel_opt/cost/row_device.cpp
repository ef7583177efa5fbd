#include "parallel_opt/cost/row_device.h"

#include <optional>
#include <string>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/accelerator.h"
#include "parallel_opt/cost/network_text.h"
#include "parallel_opt/cost/row_words.h"

namespace parallel_opt {
namespace {

/// In a node of `per_node` devices, as the usual machine has them for its own.
UsualNetwork usual_network(const DeviceRecord& record, double per_node) {
  UsualNetwork usual;
  if (!record.host || record.host->adapter_bytes_per_s <= 0) return usual;
  usual.adapters = per_node * record.host->adapters / (record.host->devices * dies_of(record));
  const auto source = record.sources.find(record.host->source);
  if (source != record.sources.end() && mentions(source->second, "slingshot")) {
    usual.fabric = "slingshot";
  }
  return usual;
}

}  // namespace

// Tables count the devices that frameworks see: of a package, each die with its memory.
bool fill_device(const TrainingRow& row, const DeviceRecord& record, RowCase& out) {
  Surroundings around;
  around.per_node = row.gpus_per_node;
  if (!around.per_node && mentions(row.gpu, "nvl72")) around.per_node = 72;
  if (!around.per_node && mentions(row.gpu, "dgx-2")) around.per_node = 16;
  const int dies = dies_of(record);
  if (!around.per_node && dies > 1 && record.host) around.per_node = dies * record.host->devices;
  const double per_node = around.per_node.value_or(record.host ? record.host->devices : 8);
  out.network = network_by_text(row.interconnect, per_node, usual_network(record, per_node));
  if (out.network) {
    around.network_bytes_per_s = out.network->bytes_per_s;
    around.adapters = out.network->adapters;
  }
  const std::string type = element_type_in_words(row.dtype).value_or("");
  const auto device =
      accelerator_of(record, type + (mentions(row.dtype, "rowwise") ? " rowwise" : ""), around);
  if (!device) return false;
  out.device = *device;
  if (dies < 2) return true;
  keep_one_die(dies, out.device);
  for (double* part : {&out.device.memory_bytes, &out.device.links.all_bytes_per_s,
                       &out.device.links.pair_bytes_per_s, &out.device.idle_w, &out.device.max_w}) {
    *part /= dies;
  }
  if (!out.network) out.device.network_bytes_per_s /= dies;
  return true;
}

}  // namespace parallel_opt
