#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <map>
#include <regex>
#include <tuple>
#include <utility>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/device_text.h"
#include "parallel_opt/cost/measured_rows_impl.h"
#include "parallel_opt/cost/row_figures.h"
#include "parallel_opt/cost/row_notes.h"
#include "parallel_opt/cost/row_patches.h"
#include "parallel_opt/cost/row_sharding.h"
#include "parallel_opt/cost/row_words.h"

namespace parallel_opt {
namespace {

constexpr double kGibibyte = 1024.0 * 1024 * 1024;
/// All recipes of torchtitan for Llama 3 (train_configs/llama3_{8b,70b,405b}.toml).
constexpr double kTorchtitanLlama3Sequence = 8192;
/// No row that ran measured less than 0.89 of its `least_memory_bytes` (docs/accuracy.md).
constexpr double kClearly = 1.15;

constexpr std::size_t kLongest = 4096;  // letters: searches go as deep as a text is long

/// What was filled in of a row, in words.
using Fillings = std::vector<std::string>;

/// The number behind a word of the notes: 8192 of "recipe llama3_8b default 8192".
std::optional<double> number_after(const std::string& notes, std::string_view word) {
  const std::size_t at = notes.find(word);
  if (at == std::string::npos) return std::nullopt;
  double value = 0;
  const char* const begin = notes.data() + at + word.size();
  const auto [end, error] = std::from_chars(begin, notes.data() + notes.size(), value);
  if (error != std::errc() || !(value >= 1)) return std::nullopt;
  return value;
}

/// The name of a source: the id up to the first dash, for failures that of the runs beside them.
std::string source_of(const RawRow& raw) {
  std::string prefix = raw.row.id.substr(0, raw.row.id.find('-'));
  if (raw.kind != TableKind::failures || !prefix.ends_with("fail")) return prefix;
  prefix.resize(prefix.size() - 4);
  if (prefix != "bs") return prefix;
  return raw.provenance.find("tr3m") != std::string::npos ? "tr3m" : "bsv100";
}

/// Tables of failures and of peak memories name no framework: it is that of the source.
std::string framework_of(const TrainingRow& row) {
  const std::size_t section = row.notes.find("section \"");
  if (row.source == "bsv100" && section != std::string::npos) {
    const std::size_t begin = section + 9;
    return row.notes.substr(begin, row.notes.find('"', begin) - begin);
  }
  constexpr auto kFrameworks = std::to_array<std::pair<std::string_view, std::string_view>>(
      {{"nano", "nanotron v0.5"}, {"tr3m", "Megatron-DeepSpeed"}, {"titan", "torchtitan"}});
  for (const auto& [source, framework] : kFrameworks) {
    if (row.source == source) return std::string(framework);
  }
  return "";
}

double product(const TrainingRow& row) {
  return row.tp.value_or(1) * row.pp.value_or(1) * row.cp.value_or(1);
}

/// Of "dp=4, fsdp=8" on 32 devices dp counts copies of the model, each of which fsdp ranks share.
void count_sharers(TrainingRow& row, Fillings& filled) {
  if (!row.dp || !row.gpus || *row.dp * product(row) == *row.gpus) return;
  const auto sharding = sharding_in_words(row.fsdp_zero);
  const auto stated = sharding ? sharding->degree : std::nullopt;
  const auto ways = stated ? stated : shards_in_notes(row.notes);
  if (!ways || *row.dp * product(row) * *ways != *row.gpus) return;
  row.dp = *row.dp * *ways;
  filled.emplace_back("dp = dp x fsdp, as their product takes all devices");
}

/// "TPU v3-512" has 512 devices, "TPU v4-512" 256: who repeats the number there counts cores.
void count_slice(TrainingRow& row, Fillings& filled) {
  const auto slice = devices_of_slice(row.gpu);
  if (!slice) return;
  if (!row.gpus) {
    filled.emplace_back("gpus from the name of the slice");
  } else if (*row.gpus == slice->devices) {
    return;
  } else if (*row.gpus == slice->named && product(row) * row.dp.value_or(1) < slice->named) {
    filled.emplace_back("gpus = chips of the slice, whose name counts cores");
  } else {
    filled.emplace_back("gpus is not what the name of the slice counts; gpus counts");
    return;
  }
  row.gpus = slice->devices;
}

/// Of chips with two cores each core is a device.
void count_chips(RawRow& raw, Fillings& filled) {
  if (raw.of_chips.empty() || raw.row.gpu.size() > kLongest) return;
  const auto record = device_by_text(raw.row.gpu, raw.row.gpu_family);
  if (!record) return;
  const int cores = dies_of(*record);
  if (cores < 2) return;
  const auto counts = [&](const char* column) {
    return std::ranges::count(raw.of_chips, column) > 0;
  };
  if (counts("gpus") && raw.row.gpus) *raw.row.gpus *= cores;
  if (counts("metric_tokens_per_s_per_gpu") && raw.tokens_per_s_per_gpu) {
    *raw.tokens_per_s_per_gpu /= cores;
  }
  if (counts("metric_tflops_per_gpu") && raw.tflops_per_gpu) *raw.tflops_per_gpu /= cores;
  if (counts("metric_samples_per_s") && raw.samples_per_s) *raw.samples_per_s /= cores;
  filled.push_back(std::to_string(cores) + " devices of each chip of " + record->name);
}

/// Samples of one device's second; of how many devices is stated elsewhere or nowhere.
void count_samples(RawRow& raw, Fillings& filled) {
  if (!raw.samples_of_device || !raw.samples_per_s || !raw.row.gpus) return;
  *raw.samples_per_s *= *raw.row.gpus;
  filled.emplace_back("metric_samples_per_s is of one device, and counts times gpus");
}

/// Of notes and columns that contradict each other the columns count.
void drop_wrong_replicas(TrainingRow& row, Fillings& filled) {
  if (!row.dp || !row.gpus || !row.tp || !row.pp) return;
  const double others = product(row);
  if (*row.dp * others == *row.gpus || std::fmod(*row.gpus, others) != 0) return;
  row.dp.reset();
  filled.emplace_back("dp of the notes is not gpus / (tp x pp x cp), which counts");
}

/// Where all degrees are stated, or the name of the device counts it ("8x H100").
void count_devices(TrainingRow& row, Fillings& filled) {
  if (row.gpus) return;
  if (row.tp && row.pp && row.dp) {
    row.gpus = product(row) * *row.dp;
    filled.emplace_back("gpus = tp x pp x cp x dp");
  } else if (const auto counted = devices_counted(row.gpu)) {
    row.gpus = counted;
    filled.emplace_back("gpus from gpu");
  }
}

/// What devices, stages and batches leave for tensor ranks.
void fill_tensor(TrainingRow& row, Fillings& filled) {
  if (row.tp || row.dp || !row.pp || !row.gpus) return;
  const double batch = row.micro_batch.value_or(0) * row.grad_accum.value_or(0);
  const double replicas = batch > 0 ? row.global_batch.value_or(0) / batch : 0;
  const double tensor = replicas >= 1 ? *row.gpus / (product(row) * replicas) : 0;
  if (tensor < 1 || tensor != std::floor(tensor) || replicas != std::floor(replicas)) return;
  row.tp = tensor;
  row.dp = replicas;
  filled.emplace_back("tp and dp from gpus, pp and the batch");
}

void fill_degrees(TrainingRow& row, Fillings& filled) {
  count_devices(row, filled);
  fill_tensor(row, filled);
  if (!row.dp && row.gpus && row.tp && row.pp && std::fmod(*row.gpus, product(row)) == 0) {
    row.dp = *row.gpus / product(row);
    filled.emplace_back("dp = gpus / (tp x pp x cp)");
  }
  if (row.dp && row.gpus && row.tp && row.pp && *row.dp * product(row) != *row.gpus) {
    filled.emplace_back("tp x pp x cp x dp is not gpus; the degrees count");
  }
}

/// Of blank degrees the layout says more; those that turn out otherwise skip the row.
double replicas_of(const TrainingRow& row) {
  return row.dp.value_or(row.gpus.value_or(1) / product(row));
}

/// Of tokens that are stated; notes count where nothing else makes the batch.
void fill_token_batch(const RawRow& raw, TrainingRow& row, Fillings& filled) {
  const bool made = raw.batch_noted && row.micro_batch && row.grad_accum;
  if (!raw.token_batch || row.global_batch || !row.seq_len || *row.seq_len < 1 || made) return;
  const double replicas = replicas_of(row);
  const double parts = replicas == std::floor(replicas) ? std::max(1.0, replicas) : 1;
  const double at_once = parts * std::max(1.0, row.micro_batch.value_or(1));
  row.global_batch = sequences_of(*raw.token_batch, *row.seq_len, at_once);
  filled.push_back("global_batch = " + std::to_string(std::int64_t(*row.global_batch)) +
                   " sequences, from " + raw.token_batch->words +
                   (raw.batch_noted ? " of the notes" : ""));
}

void fill_batch(TrainingRow& row, Fillings& filled) {
  if (!(row.dp || row.gpus)) return;
  const double replicas = replicas_of(row);
  if (replicas < 1) return;
  const auto local = local_batch_in_notes(row.notes);
  // Beside steps that accumulate, what a device takes is taken in each of them.
  const double steps = row.global_batch ? *row.global_batch / (local.value_or(1) * replicas) : 1;
  if (local && !row.micro_batch && steps == std::floor(steps) && (row.grad_accum || steps > 1)) {
    row.micro_batch = local;
    filled.emplace_back("micro_batch = local batch size of the notes");
  }
  if (row.global_batch) return;
  if (row.micro_batch && row.grad_accum) {
    row.global_batch = *row.micro_batch * *row.grad_accum * replicas;
    filled.emplace_back("global_batch = micro_batch x grad_accum x dp");
  } else if (local) {
    row.global_batch = *local * replicas;
    filled.emplace_back("global_batch = local batch size of the notes x dp");
  } else if (row.micro_batch && row.pp.value_or(1) == 1) {
    row.global_batch = *row.micro_batch * replicas;
    filled.emplace_back("global_batch = micro_batch x dp, where no accumulation is stated");
  }
}

void fill_sequence(TrainingRow& row, Fillings& filled) {
  if (row.seq_len) return;
  const std::size_t about = row.notes.find("sequence length");
  if (about != std::string::npos && number_after(row.notes.substr(about), "default ")) {
    row.seq_len = number_after(row.notes.substr(about), "default ");
    filled.emplace_back("seq_len from the notes");
  } else if (row.framework == "torchtitan" && row.model_name.starts_with("Llama3")) {
    row.seq_len = kTorchtitanLlama3Sequence;
    filled.emplace_back("seq_len = 8192, torchtitan's own for Llama 3");
  } else if (const auto patches = patch_model(row); patches && patches->tokens) {
    row.seq_len = patches->tokens;
    filled.push_back("seq_len = " + std::to_string(std::int64_t(*row.seq_len)) + ", of " +
                     patches->how);
  }
}

/// Shares of the peak are printed as per cent, by some as fractions: none is below 1 per cent.
double share_of_peak(double printed, const char* column, Fillings& filled) {
  if (printed > 1) return printed / 100;
  filled.push_back(std::string(column) + " is read as a fraction");
  return printed;
}

/// Which of the columns that make a step's tokens are blank: "seq_len and gpus".
std::string blank_of_tokens(const TrainingRow& row) {
  std::vector<std::string> blank;
  if (!row.global_batch) blank.emplace_back("global_batch");
  if (!row.seq_len) blank.emplace_back("seq_len");
  if (!row.gpus) blank.emplace_back("gpus");
  std::string names;
  for (std::size_t i = 0; i < blank.size(); ++i) {
    names += (i == 0 ? "" : i + 1 < blank.size() ? ", " : " and ") + blank[i];
  }
  return names;
}

/// "model", "MFU": words that leave out what is computed again.
bool says_model_flops(const std::string& kind) {
  return mentions(kind, "model") || mentions(kind, "mfu");
}

void set_iteration(const RawRow& raw, MeasuredRow& measured, Fillings& filled) {
  TrainingRow& row = measured.row;
  const double stated = raw.iteration_s.value_or(0);
  const double tokens_per_s = raw.tokens_per_s_per_gpu.value_or(0) * row.gpus.value_or(0);
  const double samples_per_s = raw.samples_per_s.value_or(0);
  const double samples = row.global_batch.value_or(0);
  const double tokens = samples * row.seq_len.value_or(0);
  const double tflops = raw.tflops_per_gpu.value_or(0);
  const double model_pct = raw.mfu_pct.value_or(0), hardware_pct = raw.hfu_pct.value_or(0);
  if (stated > 0) {
    row.iteration_s = stated;
    constexpr double kSame = 1.1;
    const double other = tokens_per_s > 0    ? tokens / tokens_per_s
                         : samples_per_s > 0 ? samples / samples_per_s
                                             : 0;
    if (other > 0 && (other > kSame * stated || stated > kSame * other)) {
      filled.emplace_back("time and rate differ by more than 10 %; metric_iter_time_s counts");
    }
  } else if (tokens > 0 && tokens_per_s > 0) {
    row.iteration_s = tokens / tokens_per_s;
  } else if (samples > 0 && samples_per_s > 0 && (row.gpus || !raw.samples_of_device)) {
    row.iteration_s = samples / samples_per_s;
  } else if (tflops > 0) {
    row.flops_per_s = 1e12 * tflops;
    const bool said = !raw.tflops_kind.empty();
    row.counts_recompute =
        said ? counts_recompute_in_words(raw.tflops_kind) : counts_recompute_in_notes(row.notes);
    if (!row.counts_recompute && !says_model_flops(raw.tflops_kind)) {
      filled.emplace_back("TFLOP/s count as the model's, nothing that is computed again, as " +
                          (said ? "tflops_kind '" + raw.tflops_kind + "' does not say otherwise"
                                : std::string("tflops_kind is blank")));
    } else if (row.counts_recompute && !said) {
      filled.emplace_back("TFLOP/s count what is computed again, as the notes say");
    }
  } else if (model_pct > 0) {
    row.peak_share = share_of_peak(model_pct, "metric_mfu_pct", filled);
  } else if (hardware_pct > 0) {
    row.peak_share = share_of_peak(hardware_pct, "metric_hfu_pct", filled);
    row.counts_recompute = true;
  } else if (raw.tokens_per_s_per_gpu.value_or(0) > 0) {
    measured.untimed = "tokens/s/GPU is stated, but not " + blank_of_tokens(row);
  } else if (samples_per_s > 0) {
    measured.untimed = raw.samples_of_device && !row.gpus
                           ? "samples/s/GPU is stated, but not gpus"
                           : "samples/s is stated, but not global_batch";
  }
}

/// Bytes of a printed unit; empty: it is no unit of memory, as a percentage. nanotron divides by
/// 1024^3 and prints "GB" (its trainer's log of torch.cuda.max_memory_allocated).
std::optional<double> memory_unit_bytes(const RawRow& raw) {
  constexpr double kKibi = 1024;
  constexpr auto kUnits =
      std::to_array<std::pair<std::string_view, double>>({{"b", 1},
                                                          {"byte", 1},
                                                          {"bytes", 1},
                                                          {"kb", 1e3},
                                                          {"kib", kKibi},
                                                          {"mb", 1e6},
                                                          {"mib", kKibi * kKibi},
                                                          {"gib", kGibibyte},
                                                          {"tb", 1e12},
                                                          {"tib", kKibi * kGibibyte}});
  std::string unit = lower_case(raw.memory_unit);
  unit.resize(std::min(unit.size(), unit.find_first_of(" (,;")));  // "GB as printed"
  for (const auto& [name, bytes] : kUnits) {
    if (unit == name) return bytes;
  }
  if (!unit.empty() && unit != "gb" && unit != "gbyte" && unit != "gigabytes") return std::nullopt;
  const bool binary =
      raw.row.framework.starts_with("nanotron") ||
      (raw.memory_unit.empty() && (raw.row.framework == "torchtitan" ||
                                   raw.row.notes.find("memory in GiB") != std::string::npos));
  return binary ? kGibibyte : 1e9;
}

void set_peak(const RawRow& raw, TrainingRow& row, Fillings& filled) {
  const double printed = raw.peak_memory_gb.value_or(0);
  if (printed <= 0) return;
  const std::optional<double> unit = memory_unit_bytes(raw);
  if (unit) {
    row.peak_memory_bytes = printed * *unit;
  } else {
    filled.emplace_back("peak_memory_gb is not read, as memory_unit '" + raw.memory_unit +
                        "' is not known");
  }
}

std::string unusable_reason(const RawRow& raw) {
  const TrainingRow& row = raw.row;
  constexpr double kMost = 1e9;
  if (raw.token_batch && !raw.batch_noted && !row.seq_len) {
    return "global_batch is \"" + raw.token_batch->words + "\", and seq_len is blank";
  }
  if (row.gpu.empty() && row.gpu_family.empty()) return "gpu is not stated";
  const auto too_long = [&](std::string_view name) {
    return std::string(name) + " is longer than " + std::to_string(kLongest) + " letters";
  };
  if (row.notes.size() > kLongest) return too_long("notes");
  for (const RowColumn& column : row_columns()) {
    if (column.text != nullptr && (row.*column.text).size() > kLongest) {
      return too_long(column.name);
    }
    if (column.number == nullptr || column.number == &TrainingRow::params_b) continue;
    const std::optional<double>& number = row.*column.number;
    const bool may_be_zero = column.name == "experts" || column.name == "topk";
    if (number && (*number != std::floor(*number) || (*number < 1 && !may_be_zero))) {
      return std::string(column.name) + " is " + cell_text(row, column);
    }
    if (number && *number > kMost) {
      return std::string(column.name) + " is " + cell_text(row, column) + ", more than can be";
    }
  }
  if (product(row) * row.dp.value_or(1) > kMost) return "tp x pp x cp x dp is more than can be";
  return "";
}

}  // namespace

namespace {

/// In small letters, without "no OOM", "ran out of memory: no".
std::string without_denied_memory(const std::string& status) {
  static const std::regex denied(
      R"(\b(?:(?:did|does|do|was|is) )?(?:no|not|never|without|w/o|[a-z]{2,5}n't)(?: [a-z]{1,5}){0,2} (?:ooms?|oom'?ed|out[ -]of[ -]memory)(?: errors?)?\b)"
      R"(|\bnon-oom\b|\b(?:ooms?|out[ -]of[ -]memory) ?[=:(]? ?(?:no|false|none|0)\b)");
  constexpr std::size_t kRead = 256;  // letters: more than states how a run ended
  return std::regex_replace(lower_case(status.substr(0, kRead)), denied, " ");
}

}  // namespace

bool ran(const std::string& status) {
  static const std::regex well(
      R"([\s.,;:!()-]*((ok(ay)?|ran|runs?|works?|worked|working|trains?|trainable|pass(ed|es)?|success(ful|fully)?|succeed(ed|s)|done|completed?|finished|trained|fits?|well|fine|good|(in|the|to) (memory|end)|n/?a)(?![a-z0-9])[\s.,;:!()-]*)*)");
  return std::regex_match(without_denied_memory(status), well) ||
         switch_in_words(status).value_or(false);
}

namespace {

/// A failure is hard truth when the source calls it out of memory, or when it could not fit.
void judge_failure(const RawRow& raw, MeasuredRow& measured) {
  static const std::regex memory(
      R"(^(.*[^a-z])?(oom|out[ -]of[ -]memory|(does|do|did|would|could|can)( ?not|n't) fit|can't fit)([^a-z].*)?$)");
  measured.truth = RowTruth::out_of_memory;
  static const std::regex other(R"(crash|not distinguished|unknown|unclear|\?)");
  const std::string status = without_denied_memory(raw.status);
  if (std::regex_match(status, memory) && !std::regex_search(status, other)) return;
  measured.truth = RowTruth::unclear;
  const std::string& notes = raw.row.notes;
  const auto says = [&](std::string_view text) { return notes.find(text) != std::string::npos; };
  const std::optional<double> least = least_memory_bytes(raw.row);
  const std::optional<double> nominal = nominal_memory_bytes(raw.row.gpu);
  if (!raw.status.starts_with("failed") || !lower_case(raw.status).starts_with(status)) {
    measured.doubt = "its status is \"" + raw.status + "\"";
  } else if (says("although throughput")) {
    measured.doubt = "failed, yet with a throughput";
  } else if (says("also appears as successful")) {
    measured.doubt = "failed once, ran once";
  } else if (says("grad_accum < pp-1")) {
    measured.doubt = "failed, with too few micro-batches for its pipeline";
  } else if (!least || !nominal || *least < kClearly * *nominal) {
    measured.doubt = "failed, out of memory or for another reason";
  } else {
    measured.truth = RowTruth::out_of_memory;
    measured.source_says_so = false;
  }
}

/// Failures are listed with fewer columns than runs: what all runs of the same model on the same
/// device agree about holds for them too.
void fill_from_runs(std::vector<RawRow>& rows) {
  constexpr std::array<std::string TrainingRow::*, 5> kTexts = {
      &TrainingRow::gpu_family, &TrainingRow::interconnect, &TrainingRow::workload,
      &TrainingRow::dtype, &TrainingRow::framework};
  constexpr std::array<std::optional<double> TrainingRow::*, 11> kNumbers = {
      &TrainingRow::params_b, &TrainingRow::layers,       &TrainingRow::hidden,
      &TrainingRow::heads,    &TrainingRow::kv_heads,     &TrainingRow::ffn_hidden,
      &TrainingRow::vocab,    &TrainingRow::seq_len,      &TrainingRow::experts,
      &TrainingRow::topk,     &TrainingRow::gpus_per_node};
  std::map<std::pair<std::string, std::string>, std::vector<const TrainingRow*>> runs;
  for (const RawRow& raw : rows) {
    if (raw.kind == TableKind::training) {
      runs[{raw.row.model_name, raw.row.gpu}].push_back(&raw.row);
    }
  }
  for (RawRow& raw : rows) {
    const auto found = runs.find({raw.row.model_name, raw.row.gpu});
    if (raw.kind == TableKind::training || found == runs.end()) continue;
    const std::vector<const TrainingRow*>& same = found->second;
    const auto agreed = [&](auto member) {
      return std::ranges::all_of(
          same, [&](const TrainingRow* row) { return row->*member == same.front()->*member; });
    };
    for (const auto member : kTexts) {
      if ((raw.row.*member).empty() && agreed(member)) raw.row.*member = same.front()->*member;
    }
    for (const auto member : kNumbers) {
      if (!(raw.row.*member) && agreed(member)) raw.row.*member = same.front()->*member;
    }
    raw.filled.emplace_back("the model as in the runs of the same name");
  }
}

int bits_of(const std::string& dtype) {
  if (dtype.empty()) return 0;
  const bool four = dtype.find("FP4") != std::string::npos;
  return four ? 4 : dtype.find('8') != std::string::npos ? 8 : 16;
}

/// A release that does not print its element type is taken to use that of the others for the same
/// layout: the widest, where all of them are narrow.
void fill_dtype(std::vector<RawRow>& rows) {
  const auto key = [](const RawRow& raw) {
    const TrainingRow& r = raw.row;
    return std::tuple(source_of(raw), r.model_name, r.gpu, r.gpus, r.tp.value_or(1),
                      r.pp.value_or(1), r.vp.value_or(1));
  };
  std::map<decltype(key(rows.front())), const std::string*> widest;
  // Of software that names its release: other tables compare types.
  const auto released = [](const RawRow& raw) { return raw.row.notes.starts_with("container "); };
  for (const RawRow& raw : rows) {
    if (raw.row.dtype.empty() || raw.kind != TableKind::training || !released(raw)) continue;
    const std::string*& known = widest[key(raw)];
    if (known == nullptr || bits_of(raw.row.dtype) > bits_of(*known)) known = &raw.row.dtype;
  }
  for (RawRow& raw : rows) {
    if (!raw.row.dtype.empty() || raw.kind != TableKind::training || !released(raw)) continue;
    const auto found = widest.find(key(raw));
    if (found == widest.end() || bits_of(*found->second) > 8) continue;
    raw.row.dtype = *found->second;
    raw.filled.emplace_back("dtype as of the same layout in other releases");
  }
}

}  // namespace

std::optional<double> nominal_memory_bytes(std::string_view gpu) {
  for (std::size_t at = gpu.find("GB"); at != std::string_view::npos; at = gpu.find("GB", at + 2)) {
    std::size_t begin = at;
    while (begin > 0 && gpu[begin - 1] >= '0' && gpu[begin - 1] <= '9') --begin;
    double size = 0;
    std::from_chars(gpu.data() + begin, gpu.data() + at, size);
    if (size > 0) return size * kGibibyte;
  }
  return std::nullopt;
}

std::optional<double> least_memory_bytes(const TrainingRow& row) {
  if (!row.layers || !row.hidden || !row.vocab || !row.seq_len || !row.micro_batch ||
      !row.global_batch || !row.dp) {
    return std::nullopt;
  }
  const double tp = row.tp.value_or(1), pp = row.pp.value_or(1);
  const double h = *row.hidden;
  // Without ffn_hidden: 4 h, two matrices; with it three, as in all models with gated layers.
  const double ffn = row.ffn_hidden.value_or(8.0 / 3 * h);
  const double kv = row.kv_heads && row.heads ? *row.kv_heads / *row.heads : 1;
  const double parameters = *row.layers * ((2 + 2 * kv) * h * h + 3 * h * ffn) + *row.vocab * h;
  const bool whole = row.fsdp_zero.starts_with("zero0");
  const bool states_only = row.fsdp_zero.starts_with("zero1");
  const double sharded = whole ? 0 : states_only ? 12 : 18;  // of 18 bytes per parameter, 2+4+12
  const double states =
      parameters / (tp * pp) * (18 - sharded + sharded / (*row.dp * row.cp.value_or(1)));
  const double tokens = *row.micro_batch * *row.seq_len / row.cp.value_or(1);
  const double micro_batches = std::max(1.0, *row.global_batch / (*row.micro_batch * *row.dp));
  // nanotron keeps everything unless told otherwise; of others that say nothing the least counts.
  const bool keeps =
      row.recompute == "none" || (row.recompute.empty() && row.framework.starts_with("nanotron"));
  const double per_token = 2 * (keeps ? 6 * h + 3 * ffn : h) / tp;
  const double stage = tokens * per_token * *row.layers / pp;
  const double logits = 6 * tokens * *row.vocab / tp;  // in 2 bytes, and 4 for the loss
  return states + std::max(stage * std::min(pp, micro_batches), stage + logits);
}

void complete_rows(std::vector<RawRow>& rows, MeasuredRows& result) {
  for (RawRow& raw : rows) {
    if (raw.row.notes.size() > kLongest) continue;
    const NotesFilled said = fill_from_notes(raw.row);
    for (const std::string& cell : said.columns) raw.filled.push_back(cell + " from the notes");
    raw.replicas_noted = std::ranges::count(said.columns, "dp") > 0;
    if (raw.unreadable.empty()) raw.unreadable = said.unclear;
    if (said.batch && !raw.token_batch) {
      raw.token_batch = said.batch;
      raw.batch_noted = true;
    }
  }
  fill_from_runs(rows);
  if (!rows.empty()) fill_dtype(rows);
  std::map<std::string, std::size_t> often;
  for (RawRow& raw : rows) {
    TrainingRow& row = raw.row;
    Fillings& filled = raw.filled;
    row.source = source_of(raw);
    if (row.framework.empty()) row.framework = framework_of(row);
    // BigScience's trials on Jean Zay, dated May to July 2021.
    if (row.source == "bsv100" && row.framework == "Megatron") row.framework = "Megatron (2021)";
    count_chips(raw, filled);
    count_slice(row, filled);
    count_sharers(row, filled);
    if (raw.replicas_noted) drop_wrong_replicas(row, filled);
    fill_degrees(row, filled);
    fill_sequence(row, filled);
    fill_token_batch(raw, row, filled);
    fill_batch(row, filled);
    count_samples(raw, filled);
    MeasuredRow& measured = result.rows.emplace_back();
    set_peak(raw, row, filled);
    measured.row = row;
    if (row.notes.starts_with("container ")) {
      measured.release = row.notes.substr(0, row.notes.find(';'));
    }
    measured.says_it_ran = raw.says_it_ran;
    measured.unusable = raw.unreadable.empty() ? unusable_reason(raw) : raw.unreadable;
    set_iteration(raw, measured, filled);
    constexpr double kLeastStep = 1e-6;  // less than one kernel takes
    if (measured.unusable.empty() && measured.row.iteration_s.value_or(1) < kLeastStep) {
      measured.unusable = "no step takes less than a microsecond";
    }
    if (raw.kind == TableKind::failures) {
      judge_failure(raw, measured);
      measured.row.failed = true;
      if (measured.row.iteration_s) filled.emplace_back("a failed run has no time");
      measured.row.iteration_s.reset();
      measured.row.peak_memory_bytes.reset();
    }
    for (const std::string& what : filled) ++often[what];
    measured.filled = std::move(filled);
  }
  for (const auto& [what, count] : often) {
    result.notes.push_back(std::to_string(count) + (count == 1 ? " row: " : " rows: ") + what);
  }
}

}  // namespace parallel_opt
