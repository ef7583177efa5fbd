#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "parallel_opt/importers/tf_proto.h"

namespace parallel_opt::tf {

/// What variables.index says: one entry per saved tensor. Their data is never read.
struct VariableTable {
  std::int64_t shards = 1;
  std::map<std::string, BundleEntry> entries;
};

/// Reads a LevelDB table (magic 0xdb4775248b80fb57): blocks of keys that share prefixes, one index
/// block, a footer. Throws InputError for anything else, also for compressed blocks, which
/// TensorFlow does not write.
VariableTable read_variable_index(std::string_view bytes, const std::string& where);

/// A variable as the object graph knows it, beside the operator that makes its handle.
struct VariableFacts {
  bool trainable = true;
  std::string_view name;  ///< in Python; empty: unknown
  ShapeProto shape;
  int type = 0;
  bool known = false;
};

/// Handle node -> what is known. From the captured objects of the functions that the graph calls
/// (TensorFlow 2), the collection of trainable variables (TensorFlow 1), and `table` for shapes.
/// Throws InputError for an entry of the table in a shard that does not exist.
std::map<std::string_view, VariableFacts> describe_variables(const MetaGraph& meta,
                                                             const VariableTable& table,
                                                             const std::string& where);

/// Throws InputError for an asset's file name that leaves its directory.
void check_assets(const MetaGraph& meta, const std::string& where);

}  // namespace parallel_opt::tf
