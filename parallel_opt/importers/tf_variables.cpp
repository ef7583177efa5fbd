#include "parallel_opt/importers/tf_variables.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "parallel_opt/base/error.h"

namespace parallel_opt::tf {
namespace {

constexpr std::size_t kFooter = 48, kTrailer = 5, kMagicBytes = 8;
constexpr std::uint64_t kMagic = 0xdb4775248b80fb57ULL;

std::uint64_t little_endian(std::string_view bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) {
    value = value << 8 | static_cast<unsigned char>(bytes[i]);
  }
  return value;
}

/// Reads a table's numbers; every read is checked against the end.
class Cursor {
 public:
  Cursor(std::string_view bytes, const std::string& where) : bytes_(bytes), where_(where) {}
  bool done() const { return at_ == bytes_.size(); }
  std::uint64_t number() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw InputError(where_, "a number has more than 64 bits", "is the file damaged?");
  }
  std::string_view take(std::uint64_t count) {
    if (count > bytes_.size() - at_) {
      throw InputError(where_, "ends in the middle of an entry", "is the download complete?");
    }
    const std::string_view part = bytes_.substr(at_, count);
    at_ += count;
    return part;
  }

 private:
  std::string_view bytes_;
  const std::string& where_;
  std::size_t at_ = 0;
};

/// The entries of a block without its table of restarts.
std::string_view block_at(std::string_view file, std::uint64_t offset, std::uint64_t size,
                          const std::string& where) {
  if (offset > file.size() || size > file.size() - offset ||
      file.size() - offset - size < kTrailer) {
    throw InputError(where, "a block lies outside of the file", "is the download complete?");
  }
  if (file[offset + size] != 0) {
    throw InputError(where, "a block is compressed",
                     "TensorFlow writes such tables uncompressed: save the model again");
  }
  const std::string_view block = file.substr(offset, size);
  constexpr std::size_t kWord = 4;
  if (block.size() < kWord) throw InputError(where, "a block is too short", "");
  const std::uint64_t restarts = little_endian(block.substr(block.size() - kWord));
  if (restarts > block.size() / kWord - 1) {
    throw InputError(where, "a block has more restarts than bytes", "is the file damaged?");
  }
  return block.substr(0, block.size() - kWord * (restarts + 1));
}

template <class Visit>
void each_entry(std::string_view block, const std::string& where, Visit visit) {
  Cursor cursor(block, where);
  std::string key;
  while (!cursor.done()) {
    const std::uint64_t shared = cursor.number();
    const std::uint64_t fresh = cursor.number();
    const std::uint64_t length = cursor.number();
    if (shared > key.size()) {
      throw InputError(where, "a key shares more than the one before it has",
                       "is the file damaged?");
    }
    constexpr std::uint64_t kLongestKey = 4096;
    if (fresh > kLongestKey || shared + fresh > kLongestKey) {
      throw InputError(where, "a key is longer than 4096 bytes", "is the file damaged?");
    }
    key.resize(shared);
    key += cursor.take(fresh);
    visit(key, cursor.take(length));
  }
}

bool unknown(const ShapeProto& shape) {
  return !shape.ranked || std::find(shape.dims.begin(), shape.dims.end(), -1) != shape.dims.end();
}

/// "all_variables/0/.ATTRIBUTES/VARIABLE_VALUE" per object: the shortest way from the root.
std::vector<std::string> checkpoint_keys(const MetaGraph& meta) {
  std::vector<std::string> paths(meta.objects.size());
  std::vector<bool> seen(meta.objects.size());
  std::vector<std::size_t> queue;
  constexpr std::size_t kLongestPath = 1024;
  if (!meta.objects.empty()) {
    queue.push_back(0);
    seen[0] = true;
  }
  for (std::size_t i = 0; i < queue.size(); ++i) {
    const std::size_t from = queue[i];
    for (const SavedObject::Child& child : meta.objects[from].children) {
      const auto to = static_cast<std::size_t>(child.node);
      if (child.node < 0 || to >= seen.size() || seen[to]) continue;
      if (paths[from].size() + child.name.size() > kLongestPath) continue;
      seen[to] = true;
      paths[to] = paths[from] + std::string(child.name) + "/";
      queue.push_back(to);
    }
  }
  for (std::string& path : paths) path += ".ATTRIBUTES/VARIABLE_VALUE";
  return paths;
}

}  // namespace

VariableTable read_variable_index(std::string_view bytes, const std::string& where) {
  if (bytes.size() < kFooter || little_endian(bytes.substr(bytes.size() - kMagicBytes)) != kMagic) {
    throw InputError(where, "is no table of variables", "is the download complete?");
  }
  Cursor footer(bytes.substr(bytes.size() - kFooter, kFooter - kMagicBytes), where);
  footer.number();  // the meta index, which is empty
  footer.number();
  const std::uint64_t offset = footer.number();
  const std::uint64_t size = footer.number();
  VariableTable table;
  std::uint64_t read = 0;
  each_entry(block_at(bytes, offset, size, where), where,
             [&](const std::string&, std::string_view handle) {
               Cursor cursor(handle, where);
               const std::uint64_t at = cursor.number();
               const std::uint64_t length = cursor.number();
               read += length;
               if (read > bytes.size()) {
                 throw InputError(where, "blocks overlap", "is the file damaged?");
               }
               each_entry(block_at(bytes, at, length, where), where,
                          [&](const std::string& key, std::string_view value) {
                            if (key.empty()) {
                              table.shards = read_bundle_header(value, where);
                            } else {
                              table.entries[key] = read_bundle_entry(value, where + ":" + key);
                            }
                          });
             });
  for (const auto& [key, entry] : table.entries) {
    if (entry.shard < 0 || entry.shard >= std::max<std::int64_t>(table.shards, 1)) {
      throw InputError(
          where + ":" + key,
          "lies in shard " + std::to_string(entry.shard) + " of " + std::to_string(table.shards),
          "is the file damaged?");
    }
  }
  return table;
}

std::map<std::string_view, VariableFacts> describe_variables(const MetaGraph& meta,
                                                             const VariableTable& table,
                                                             const std::string& where) {
  std::map<std::string_view, VariableFacts> facts;
  const std::vector<std::string> keys = checkpoint_keys(meta);
  for (const Node& node : meta.graph.nodes) {
    const auto captured = meta.captures.find(node.text("f"));
    if (captured == meta.captures.end()) continue;
    const std::vector<std::int64_t>& objects = captured->second;
    std::vector<std::string_view> inputs;
    for (const std::string_view input : node.inputs) {
      if (!input.starts_with('^')) inputs.push_back(input.substr(0, input.find(':')));
    }
    if (objects.size() > inputs.size()) continue;
    for (std::size_t i = 0; i < objects.size(); ++i) {
      const auto object = static_cast<std::size_t>(objects[i]);
      if (objects[i] < 0 || object >= meta.objects.size()) {
        throw InputError(where + ":object_graph_def",
                         "function '" + std::string(captured->first) + "' uses object " +
                             std::to_string(objects[i]) + " of " +
                             std::to_string(meta.objects.size()),
                         "is the file damaged?");
      }
      const SavedObject& saved = meta.objects[object];
      if (!saved.variable) continue;
      VariableFacts& fact = facts[inputs[inputs.size() - objects.size() + i]];
      fact = {saved.trainable, saved.name, saved.shape, saved.type, true};
      if (!unknown(fact.shape)) continue;
      if (const auto entry = table.entries.find(keys[object]); entry != table.entries.end()) {
        fact.shape = entry->second.shape;
      }
    }
  }
  for (const Node& node : meta.graph.nodes) {
    const bool makes = node.op == "VariableV2" || node.op == "Variable" || node.op == "VarHandleOp";
    if (!makes || facts.contains(node.name)) continue;
    VariableFacts fact;
    fact.shape.ranked = false;
    fact.trainable = meta.trainable.empty() ||
                     std::ranges::find(meta.trainable, node.name) != meta.trainable.end();
    const auto entry = table.entries.find(std::string(node.text("shared_name", node.name)));
    if (entry != table.entries.end()) {
      fact.shape = entry->second.shape;
      fact.type = entry->second.type;
    }
    facts[node.name] = fact;
  }
  return facts;
}

void check_assets(const MetaGraph& meta, const std::string& where) {
  for (const std::string_view name : meta.assets) {
    const bool leaves = name.starts_with('/') || name.find("..") != std::string_view::npos ||
                        name.find('\\') != std::string_view::npos;
    if (leaves) {
      throw InputError(where + ":asset_file_def",
                       "the asset '" + std::string(name) + "' leaves the model's directory",
                       "is the file from a source you trust?");
    }
  }
}

}  // namespace parallel_opt::tf
