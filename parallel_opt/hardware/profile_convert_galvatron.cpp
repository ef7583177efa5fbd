#include <algorithm>
#include <map>

#include "parallel_opt/base/text.h"
#include "parallel_opt/hardware/profile_convert_parts.h"

/// PKU-DAIR/Hetu-Galvatron. Milliseconds; MB of 2^20 bytes; a bandwidth of 1 GB/s is one MB per
/// millisecond, as its cost formulae use it.
namespace parallel_opt::profile_convert {
namespace {

using Kind = JsonView::Kind;

constexpr double kMilli = 1e-3;
constexpr double kMegabyte = 1048576;

/// The number after `mark` in a key: ("layertype_0_bsz12_seq2048", "_bsz") -> 12.
std::optional<int> number_after(const std::string& key, const std::string& mark) {
  const std::size_t at = key.find(mark);
  if (at == std::string::npos) return std::nullopt;
  const std::size_t begin = at + mark.size();
  const std::size_t end = key.find_first_not_of("0123456789", begin);
  return whole_number(std::string_view(key).substr(begin, end - begin));
}

/// The type that a name of a file states: "computation_profiling_bf16_llama2-7b_all.json".
std::optional<DType> stated_type(const Source& source) {
  if (source.facts.dtype) return source.facts.dtype;
  for (const DType dtype : {DType::bf16, DType::fp16, DType::fp32}) {
    if (source.path.find("_" + std::string(name_of(dtype)) + "_") != std::string::npos) {
      return dtype;
    }
  }
  return std::nullopt;
}

std::string piece_name(const std::string& key) {
  if (key.starts_with("layertype_other")) return "embedding and head";
  const int type = number_after(key, "layertype_").value_or(0);
  return type == 0 ? "block" : "block of type " + std::to_string(type);
}

/// layertype_T_bszB_seqS: forward milliseconds of one sample. layernum[N]_...: of a whole model of
/// N layers and one micro-batch, from which the former were derived.
void add_times(const Source& source) {
  const std::string device = source.device();
  const std::vector<std::pair<std::string, JsonView>> members = source.members(source.root);
  const bool derived =
      std::ranges::any_of(members, [](const auto& m) { return m.first.starts_with("layertype_"); });
  int raw = 0;
  for (const auto& [key, value] : members) {
    const std::optional<int> samples = number_after(key, "_bsz");
    const std::optional<int> sequence = number_after(key, "_seq");
    if (!samples || *samples < 1 || !sequence) {
      source.fault(value.path(), "has no batch and sequence in its key",
                   "layertype_0_bsz1_seq2048");
      continue;
    }
    ProfileRow row;
    row.device = device;
    row.level = ProfileLevel::block;
    row.dtype = stated_type(source);
    row.micro_batch = *samples;
    row.sequence = *sequence;
    if (key.starts_with("layertype_")) {
      row.name = piece_name(key);
      row.forward_s = source.number(value, kMilli * *samples);
    } else if (derived) {
      ++raw;
      continue;
    } else {
      row.name = "model of " + std::to_string(number_after(key, "layernum[").value_or(0)) +
                 " layers, embedding and head";
      row.forward_s = source.number(value, kMilli);
    }
    source.profile.rows.push_back(std::move(row));
  }
  if (raw > 0) {
    source.profile.notes.push_back(source.path + ": " + std::to_string(raw) +
                                   " raw times of whole models left out: the layers' were derived "
                                   "from them");
  }
}

std::optional<double> member_number(const Source& source, const JsonView& object,
                                    const std::string& key, double factor) {
  if (const std::optional<JsonView> value = object.find(key)) {
    return source.number(*value, factor);
  }
  return std::nullopt;
}

ProfileRow memory_row(const Source& source, const std::string& device, const std::string& name,
                      int degree, int sequence) {
  ProfileRow row;
  row.device = device;
  row.level = ProfileLevel::block;
  row.name = name;
  row.dtype = stated_type(source);
  row.tensor = degree;
  row.sequence = sequence;
  return row;
}

/// parameter_size: fp32 weights of the whole layer. tp_activation_per_bsz_dict: per sample and
/// degree; "checkpoint": with full recompute, before it is divided by the degree.
void add_layer_memory(const Source& source, const JsonView& layer, const std::string& device,
                      const std::string& name, int sequence) {
  const std::optional<JsonView> saved = layer.find("tp_activation_per_bsz_dict");
  if (!saved) {
    source.fault(layer.path(), "lacks tp_activation_per_bsz_dict");
    return;
  }
  const auto recompute = saved->kind() == Kind::object
                             ? member_number(source, *saved, "checkpoint", kMegabyte)
                             : std::nullopt;
  const auto weights = member_number(source, layer, "parameter_size", kMegabyte);
  for (const auto& [key, value] : source.members(*saved)) {
    const std::optional<int> degree = whole_number(key);
    if (!degree || *degree < 1) continue;  // "checkpoint"
    ProfileRow row = memory_row(source, device, name, *degree, sequence);
    row.saved_bytes = source.number(value, kMegabyte);
    if (weights) row.parameter_bytes = *weights / *degree;
    if (recompute) row.recompute_bytes = *recompute / *degree;
    source.profile.rows.push_back(std::move(row));
  }
}

/// model_states: four times the fp32 weights. activation: per sample.
void add_other_memory(const Source& source, const JsonView& part, const std::string& device,
                      const std::string& name, int sequence) {
  constexpr double kStates = 4;
  std::map<int, ProfileRow> rows;
  const auto read = [&](const char* list, std::optional<double> ProfileRow::* field,
                        double factor) {
    const std::optional<JsonView> values = part.find(list);
    if (!values) {
      source.fault(part.path(), std::string("lacks ") + list);
      return;
    }
    for (const auto& [key, value] : source.members(*values)) {
      const std::optional<int> degree = whole_number(key);
      if (!degree || *degree < 1) continue;
      ProfileRow& row =
          rows.try_emplace(*degree, memory_row(source, device, name, *degree, sequence))
              .first->second;
      row.*field = source.number(value, factor);
    }
  };
  read("model_states", &ProfileRow::parameter_bytes, kMegabyte / kStates);
  read("activation", &ProfileRow::saved_bytes, kMegabyte);
  for (auto& [degree, row] : rows) source.profile.rows.push_back(std::move(row));
}

void add_stage_memory(const Source& source) {
  const std::string device = source.device();
  int raw = 0;
  for (const auto& [key, part] : source.members(source.root)) {
    const bool layer = key.starts_with("layertype_");
    if (!layer && !key.starts_with("other_memory_")) {
      ++raw;
      continue;
    }
    const std::string name = layer                                     ? piece_name(key)
                             : key.find("_first") != std::string::npos ? "embedding"
                             : key.find("_last") != std::string::npos  ? "head"
                                                                       : "embedding and head";
    for (const auto& [length, values] : source.members(part)) {
      const std::optional<int> sequence = whole_number(length);
      if (!sequence || values.kind() != Kind::object) {
        source.fault(values.path(), "is no object under a sequence length");
      } else if (layer) {
        add_layer_memory(source, values, device, name, *sequence);
      } else {
        add_other_memory(source, values, device, name, *sequence);
      }
    }
  }
  if (raw > 0) {
    source.profile.notes.push_back(source.path + ": " + std::to_string(raw) +
                                   " raw measurements left out: the layers' were derived from "
                                   "them");
  }
}

/// allreduce_size_N_consec_C, pp_size_N: a bandwidth without a size.
void add_bandwidths(const Source& source) {
  const std::string device = source.device();
  for (const auto& [key, value] : source.members(source.root)) {
    ProfiledTransfer transfer;
    transfer.device = device;
    transfer.collective = key.starts_with("pp_size_") ? "p2p" : "all_reduce";
    transfer.ranks = number_after(key, "size_").value_or(0);
    transfer.strided = key.ends_with("_consec_0");
    transfer.bus_bytes_per_s = source.number(value, kMegabyte / kMilli);
    source.profile.transfers.push_back(std::move(transfer));
  }
}

/// {allreduce|all2all}_size_N_MMB_time: milliseconds.
void add_collective_times(const Source& source) {
  const std::string device = source.device();
  std::map<std::pair<std::string, int>, std::map<int, double>> found;
  for (const auto& [key, value] : source.members(source.root)) {
    const std::optional<int> ranks = number_after(key, "size_");
    const std::optional<int> size =
        ranks ? number_after(key, "size_" + std::to_string(*ranks) + "_") : std::nullopt;
    if (!size || *size < 1) {
      source.fault(value.path(), "has no ranks and size in its key", "allreduce_size_8_64MB_time");
      continue;
    }
    const std::string collective = key.starts_with("all2all") ? "all_to_all" : "all_reduce";
    found[{collective, *ranks}][*size] = source.number(value, kMilli);
  }
  for (const auto& [kind, points] : found) {
    ProfiledTransfer transfer;
    transfer.device = device;
    transfer.collective = kind.first;
    transfer.ranks = kind.second;
    for (const auto& [size, seconds] : points) {
      transfer.points.push_back({size * kMegabyte, seconds});
    }
    source.profile.transfers.push_back(std::move(transfer));
  }
}

bool has_key(const JsonView& root, std::string_view start, std::string_view end = "") {
  return std::ranges::any_of(root.members(), [&](const auto& member) {
    return member.first.starts_with(start) && member.first.ends_with(end);
  });
}

}  // namespace

bool is_galvatron(const JsonView& root) {
  if (root.kind() != Kind::object) return false;
  for (const char* start : {"layertype_", "layernum[", "other_memory_", "allreduce_size_",
                            "all2all_size_", "pp_size_", "overlap_coe"}) {
    if (has_key(root, start)) return true;
  }
  // "1_2_4_sp": raw memory, which the layers' was derived from
  return std::ranges::any_of(root.members(), [](const auto& member) {
    return member.second.kind() == Kind::object && has_key(member.second, "layernum[");
  });
}

void convert_galvatron(const Source& source) {
  const JsonView& root = source.root;
  if (const std::optional<JsonView> slowdown = root.find("overlap_coe")) {
    source.profile.overlap_slowdown = source.number(*slowdown);
  } else if (has_key(root, "", "MB_time")) {
    add_collective_times(source);
  } else if (has_key(root, "allreduce_size_") || has_key(root, "pp_size_")) {
    add_bandwidths(source);
  } else if (has_key(root, "", "_sp") || has_key(root, "other_memory_")) {
    add_stage_memory(source);
  } else {
    add_times(source);
  }
}

}  // namespace parallel_opt::profile_convert
