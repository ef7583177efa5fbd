#include "parallel_opt/cost/row_model.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <regex>
#include <set>
#include <sstream>

#include "parallel_opt/base/embedded.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/accelerator.h"
#include "parallel_opt/cost/kept_products.h"
#include "parallel_opt/cost/row_checks.h"
#include "parallel_opt/cost/row_degrees.h"
#include "parallel_opt/cost/row_device.h"
#include "parallel_opt/cost/row_offload.h"
#include "parallel_opt/cost/row_recompute.h"
#include "parallel_opt/cost/row_words.h"
#include "parallel_opt/cost/stated_number.h"
#include "parallel_opt/importers/model.h"

namespace parallel_opt {
namespace {

/// What the driver shows beside the allocator: CUDA's context, NCCL's buffers (Jean Zay's runs of
/// Megatron-DeepSpeed, data/stacks/megatron-deepspeed.json).
constexpr double kDriverBytes = 2.2e9;

/// Shapes of models that tables name without printing their dimensions.
struct KnownModel {
  std::string word;  ///< of the model's name, lower case
  std::string spec;  ///< "layers=32,hidden=4096,..."
  std::optional<double> seq;
  std::optional<double> params_b;  ///< where the word says no size and others of its name have one
  std::string source;
};

template <class Visitor, class T>
  requires SameAs<T, KnownModel>
void fields(Visitor& visit, T& model) {
  visit("word", model.word, "part of the name, lower case");
  visit("spec", model.spec, "keys of an inline spec");
  visit("seq", model.seq, "usual sequence length");
  visit("params_b", model.params_b, "parameters in 1e9, of a name that others share");
  visit("source", model.source, "where its shape is stated");
}

struct KnownModels {
  std::vector<KnownModel> models;
};

template <class Visitor, class T>
  requires SameAs<T, KnownModels>
void fields(Visitor& visit, T& table) {
  visit.schema("parallel-opt/known-models/1");
  visit("models", table.models, "longest word first");
}

/// Lower case without what separates the parts of a name; `edges` are the places between parts.
std::string joined(const std::string& name, std::set<std::size_t>& edges) {
  std::string text;
  for (const char c : lower_case(name)) {
    if (c == ' ' || c == '-' || c == '_') {
      edges.insert(text.size());
    } else {
      text += c;
    }
  }
  edges.insert({0, text.size()});
  return text;
}

/// "deepseek v3" is in "DeepSeek-V3 (fp8)", "gpt2" in "GPT2-24B" and not in "GPT-20B".
bool names_model(const std::string& name, const std::string& word) {
  std::set<std::size_t> edges, ignored;
  const std::string text = joined(name, edges);
  const std::string part = joined(word, ignored);
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    if (edges.contains(at + part.size())) return true;
  }
  return false;
}

/// 340 of "Nemotron-4-340B"; neither the 7 of "8x7B" nor the 22 of "235B-A22B".
std::optional<double> size_in_name(const std::string& name) {
  static const std::regex size(R"((^|[^0-9a-z.])([0-9]+(\.[0-9]+)?)\s?b($|[^0-9a-z]))");
  std::smatch match;
  const std::string low = lower_case(name);
  if (!std::regex_search(low, match, size)) return std::nullopt;
  return stated_number(match[2]);
}

/// By parameters or, where nobody says them, by width.
bool is_of_size(const KnownModel& model, const std::optional<double>& size,
                const std::optional<double>& hidden) {
  constexpr double kOfItsSize = 0.1;
  if (!model.params_b) return true;
  if (size) return std::abs(*size / *model.params_b - 1) < kOfItsSize;
  const auto width = "hidden=" + std::to_string(std::int64_t(hidden.value_or(0))) + ',';
  return !hidden || (model.spec + ',').find(width) != std::string::npos;
}

/// By its name, and its size where that has a column of its own: "LLaMA", 7.
const KnownModel* known_model(const TrainingRow& row) {
  static const KnownModels table =
      from_json<KnownModels>(embedded_file("data/models.json").value(), "data/models.json");
  std::string name = row.model_name;
  if (!size_in_name(name) && row.params_b) {
    std::ostringstream text;
    text << name << ' ' << *row.params_b << 'B';
    name = text.str();
  }
  const std::optional<double> size = size_in_name(name);
  const KnownModel* best = nullptr;
  for (const KnownModel& model : table.models) {
    const bool longer = best == nullptr || model.word.size() > best->word.size();
    if (longer && is_of_size(model, size, row.hidden) && names_model(name, model.word))
      best = &model;
  }
  return best;
}

/// LLaMA and its descendants: gated MLP, RMS norm, rotary positions, untied head.
bool is_llama_like(const TrainingRow& row) {
  for (const char* word : {"llama", "qwen", "mistral", "mixtral", "gemma", "internlm", "deepseek",
                           "kimi", "gpt oss", "gpt-oss", "nemotron", "yi-", "phi"}) {
    if (mentions(row.model_name, word)) return true;
  }
  return false;
}

/// What the parameters as printed speak for; absent: they fit more than one shape, or none.
struct ShapeBySize {
  std::optional<bool> gated;  ///< three matrices in the feed-forward part, or two
  std::optional<bool> tied;   ///< the head is the embedding
};

ShapeBySize shape_by_size(const TrainingRow& row) {
  ShapeBySize shape;
  const std::optional<double> params_b = row.params_b ? row.params_b : size_in_name(row.model_name);
  if (!params_b || !row.layers || !row.hidden || !row.heads || !row.ffn_hidden || !row.vocab ||
      row.experts.value_or(1) > 1) {
    return shape;
  }
  const double h = *row.hidden;
  const double attention = (2 + 2 * row.kv_heads.value_or(*row.heads) / *row.heads) * h * h;
  const auto error = [&](int matrices, int tables) {
    const double layer = attention + matrices * h * *row.ffn_hidden;
    const double parameters = *row.layers * layer + tables * *row.vocab * h;
    return std::abs(parameters / (1e9 * *params_b) - 1);
  };
  const auto clearly = [](double one, double other, double same) -> std::optional<bool> {
    if (std::min(one, other) > same || std::max(one, other) < 2 * same) return std::nullopt;
    return one < other;
  };
  constexpr double kSame = 0.08;       // sizes in names are rounded,
  constexpr double kSameTable = 0.02;  // but not by a table where that one is large
  shape.gated =
      clearly(std::min(error(3, 1), error(3, 2)), std::min(error(2, 1), error(2, 2)), kSame);
  // Two matrices with a head may weigh what three without one do.
  const std::optional<bool> gated =
      shape.gated || !is_llama_like(row) ? shape.gated : std::optional(true);
  const auto tables_error = [&](int tables) {
    return gated ? error(*gated ? 3 : 2, tables) : std::min(error(2, tables), error(3, tables));
  };
  shape.tied = clearly(tables_error(1), tables_error(2), kSameTable);
  return shape;
}

void put(std::map<std::string, std::string>& keys, const std::string& key,
         const std::optional<double>& value) {
  if (value) keys[key] = std::to_string(std::int64_t(std::llround(*value)));
}

/// The inline spec of the row's model; empty when its shape is not known.
std::string model_spec(const TrainingRow& row, const KnownModel* known,
                       std::vector<std::string>& notes) {
  std::map<std::string, std::string> keys;
  if (is_llama_like(row)) {
    keys = {{"gated", "true"},
            {"norm", "rms"},
            {"positions", "rope"},
            {"tied", "false"},
            {"bias", "false"}};
  }
  const ShapeBySize shape = shape_by_size(row);
  if (shape.gated) keys["gated"] = *shape.gated ? "true" : "false";
  if (shape.tied) keys["tied"] = *shape.tied ? "true" : "false";
  if (known != nullptr) {
    for (std::size_t begin = 0; begin < known->spec.size();) {
      std::size_t end = std::min(known->spec.find(',', begin), known->spec.size());
      const std::string pair = known->spec.substr(begin, end - begin);
      keys[pair.substr(0, pair.find('='))] = pair.substr(pair.find('=') + 1);
      begin = end + 1;
    }
  }
  put(keys, "layers", row.layers);
  put(keys, "hidden", row.hidden);
  put(keys, "heads", row.heads);
  put(keys, "kv_heads", row.kv_heads);
  const bool experts = row.experts && *row.experts > 1;
  put(keys, experts && !keys.contains("expert_ffn") ? "expert_ffn" : "ffn", row.ffn_hidden);
  put(keys, "vocab", row.vocab);
  if (experts) put(keys, "experts", row.experts);
  if (row.topk && *row.topk > 0) put(keys, "top_k", row.topk);
  static const std::regex beside(R"(\b([0-9]{1,3}|an?|one|two)\s+shared\s+experts?)",
                                 std::regex::icase);
  std::smatch said;
  if (experts && std::regex_search(row.notes, said, beside)) {
    const std::string count = lower_case(said[1].str());
    const bool one = count == "a" || count == "an" || count == "one";
    keys["shared_experts"] = one ? "1" : count == "two" ? "2" : count;
  }
  if (!keys.contains("layers") || !keys.contains("hidden")) return "";
  const std::int64_t hidden = std::stoll(keys["hidden"]);
  if (!keys.contains("heads")) {
    const std::int64_t heads = std::max<std::int64_t>(1, hidden / 128);
    if (hidden % heads == 0) {
      keys["heads"] = std::to_string(heads);
      notes.emplace_back("heads = hidden / 128, as none are stated");
    }
  } else if (hidden % std::stoll(keys["heads"]) != 0 && !keys.contains("head_dim")) {
    keys["head_dim"] =
        std::to_string(std::max<std::int64_t>(1, hidden / std::stoll(keys["heads"])));
  }
  if (!keys.contains("vocab")) keys["vocab"] = "50257";
  std::string spec;
  for (const auto& [key, value] : keys)
    spec += (spec.empty() ? "transformer:" : ",") + key + "=" + value;
  return spec;
}

std::shared_ptr<const TransformerFacts> facts_of(const std::string& spec, std::int64_t seq) {
  static std::mutex mutex;
  static std::map<std::pair<std::string, std::int64_t>, std::shared_ptr<const TransformerFacts>>
      known;
  const std::lock_guard lock(mutex);
  auto& entry = known[{spec, seq}];
  if (!entry) {
    const std::string whole = spec + ",dtype=bf16,seq=" + std::to_string(seq);
    const Graph graph = bind(load_model(whole), {{"batch", 1}, {"sequence", seq}});
    entry = std::make_shared<TransformerFacts>(transformer_facts(graph));
  }
  return entry;
}

/// Whether kernels are compiled, where the row says so and its stack is PyTorch's own.
void read_compilation(const TrainingRow& row, SoftwareStack& stack) {
  if (stack.name != "pytorch" && stack.name != "torchtitan") return;
  static const std::regex not_compiled(
      R"(uncompiled|(no|not|without) (torch\.)?compil|compil\w{0,8}[ =:]{1,3}(off|false|no\b))",
      std::regex::icase);
  const bool denies = std::regex_search(row.notes, not_compiled);
  const bool says_compile =
      !denies && (mentions(row.notes, "compile") || mentions(row.framework, "compile"));
  const auto parts = split(row.notes, ';');
  const bool lists_fsdp = std::ranges::any_of(
      parts, [](const auto& part) { return lower_case(std::string(trim(part))) == "fsdp"; });
  const bool lists_no_compile = mentions(row.framework, "torchtitan") && lists_fsdp;
  if (says_compile || denies || lists_no_compile || mentions(row.notes, "eager")) {
    stack.fused_operators = says_compile;
    stack.eager_host = !says_compile;
  }
}

/// What the notes say that departs from a stack's way.
void read_notes(const TrainingRow& row, bool says_fused, SoftwareStack& stack) {
  const auto says = [&](std::string_view words) { return mentions(row.notes, words); };
  if (says_fused && stack.attention == AttentionFamily::unfused) {
    stack.attention = AttentionFamily::flash;
  }
  if (says("unfused attention")) stack.attention = AttentionFamily::unfused;
  if (says("fused layernorm") || says("fused norm")) stack.fused_operators = true;
  if (says("gradients reduced in bf16")) stack.reduced_bytes = stack.gradient_bytes = 2;
  if (says("async tp") || says("asynctp")) stack.overlaps_tensor = true;
  if (says("no_sync") || says("whole until the last micro-batch")) stack.reduces_once = true;
  if (says("logits whole")) stack.whole_logits = true;
  // Values, their logarithms and both gradients.
  if (says("loss in 16 bits")) stack.logits_bytes = 8;
  if (says("memory of the first rank")) stack.prints_first_stage = true;
  if (says("max_memory_allocated")) stack.prints_reserved = false;
  if (says("max_memory_reserved")) stack.prints_reserved = true;
  if (says("expandable segments") || says("expandable_segments")) stack.expands_segments = true;
  if (says("deepep")) stack.dispatches_once_per_node = true;
  if (says("all-to-all dispatcher")) stack.dispatches_once_per_node = false;
  if (says("nvidia-smi")) {
    stack.prints_reserved = true;
    stack.printed_beyond_bytes = std::max(stack.printed_beyond_bytes, kDriverBytes);
  }
}

/// Megatron is that of 2020 where the notes name a paper of before 2022.
const SoftwareStack* stack_named(const TrainingRow& row) {
  const SoftwareStack* named = stack_of_framework(row.framework);
  static const std::regex early(R"(arxiv[:. /]{0,2}(19|20|21)[0-9]{2}\.[0-9]{5}|\bSC ?'?(20)?21\b)",
                                std::regex::icase);
  const bool old = named != nullptr && named->name == "megatron";
  return old && std::regex_search(row.notes, early) ? find_stack("megatron-2020") : named;
}

/// The stack that the framework's name means, with the switches that the row states.
SoftwareStack stack_of(const TrainingRow& row, const std::string& arch,
                       std::vector<std::string>& notes) {
  const SoftwareStack* named = stack_named(row);
  // Who splits operators or layers and names no software does what Megatron made usual; PyTorch's
  // own way of splitting them is torchtitan's.
  const bool splits = row.tp.value_or(1) > 1 || row.pp.value_or(1) > 1;
  if (named != nullptr && named->name == "pytorch" && splits) {
    named = find_stack("torchtitan");
    notes.emplace_back("stack torchtitan, whose way PyTorch splits operators or layers");
  }
  // Forks of both run on Intel's accelerators through its compiler.
  const bool forks = named != nullptr && (named->name == "megatron-deepspeed" ||
                                          named->name == "megatron" || named->name == "deepspeed");
  if (forks && arch.starts_with("Gaudi")) named = find_stack("habana");
  SoftwareStack stack = named != nullptr ? *named : *find_stack(splits ? "megatron" : "pytorch");
  if (named == nullptr) {
    notes.push_back("stack " + stack.name +
                    (row.framework.empty()
                         ? ", as no framework is stated"
                         : ", as framework '" + row.framework + "' is not known"));
  }
  read_compilation(row, stack);
  // Fused attention and products that overlap their collectives came to Megatron with Hopper;
  // models of the time after that were trained on older devices too.
  const bool says_fused =
      (mentions(row.notes, "flash") || mentions(row.notes, "fused attention")) &&
      !mentions(row.notes, "unfused attention");
  const bool newer = is_llama_like(row) || row.kv_heads.value_or(1e9) < row.heads.value_or(0) ||
                     says_fused || mentions(row.framework, "flash") ||
                     mentions(row.framework, "xformers");
  const bool before = arch == "Volta" || (arch == "Ampere" && !newer);
  if (stack.name == "megatron" && before && !says_fused) {
    stack.attention = AttentionFamily::unfused;
    stack.overlaps_tensor = false;
  }
  // FlashAttention runs on Turing (1) and Ampere (2) at the least; what others have for
  // Volta a row says.
  if (arch == "Volta" && !says_fused) stack.attention = AttentionFamily::unfused;
  // On Ascend MC2's kernels alone run products beside their collectives; MindSpeed has them off.
  if (arch == "Da Vinci" && !mentions(row.notes, "mc2")) stack.overlaps_tensor = false;
  if (element_type_in_words(row.dtype) == "fp4") stack.gathers_narrow = false;
  read_notes(row, says_fused, stack);
  return stack;
}

/// Schedules that say themselves how many stages a rank has, where `vp` says something else.
void drop_contrary_stages(const TrainingRow& row, RowCase& out) {
  ParallelLayout& l = out.layout;
  const bool takes_several = l.schedule == ScheduleKind::one_f_one_b ||
                             l.schedule == ScheduleKind::interleaved_1f1b ||
                             l.schedule == ScheduleKind::looped_bfs;
  const int own = is_folded(l.schedule) ? 2 : 1;
  const int stated = l.virtual_stages;
  l.virtual_stages = takes_several ? stated : own;
  // Some count the two copies of a rank under DualPipe.
  const bool agrees =
      stated <= 1 || stated == own || (l.schedule == ScheduleKind::dualpipe && stated == 2);
  if (takes_several || agrees || l.pipeline == 1) return;
  out.notes.push_back("vp = " + std::to_string(stated) + " counts for nothing, as a rank of " +
                      std::string(name_of(l.schedule)) + " has " +
                      (own == 1 ? "one stage" : "two stages"));
}

/// Of the column, else of the notes or the framework's name; or what is wrong with it.
std::string fill_schedule(const TrainingRow& row, RowCase& out) {
  ParallelLayout& l = out.layout;
  if (!row.schedule.empty()) {
    const auto named = schedule_by_name(row.schedule);
    if (!named) return "schedule '" + row.schedule + "' has no closed form";
    l.schedule = *named;
  } else if (const auto noted = schedule_mentioned(row.notes)) {
    l.schedule = *noted;
  } else if (const auto implied = schedule_mentioned(row.framework)) {
    l.schedule = *implied;
  }
  const bool interleaved =
      l.schedule == ScheduleKind::interleaved_1f1b || mentions(row.notes, "interleaved");
  if (!row.vp && l.pipeline > 1 && interleaved) {
    l.virtual_stages = 2;
    out.notes.emplace_back("vp = 2, as the schedule is interleaved and vp is blank");
  }
  drop_contrary_stages(row, out);
  return "";
}

std::string not_understood(const char* column, const std::string& text) {
  return std::string(column) + " '" + text + "' is not understood";
}

/// What cells say in words of their sources; or which of them says nothing known.
std::string fill_words(const TrainingRow& row, RowCase& out) {
  ParallelLayout& l = out.layout;
  const std::string type = element_type_in_words(row.dtype).value_or("");
  if (type == "fp32" || type == "tf32") l.element_bytes = 4;
  l.pure_half = mentions(row.dtype, "pure");
  l.shard = out.stack.shard;
  const std::string shares = row.fsdp_zero.empty() ? sharding_named(row.framework) : row.fsdp_zero;
  if (!shares.empty()) {
    const auto sharding = sharding_in_words(shares);
    if (!sharding) return not_understood("fsdp_zero", row.fsdp_zero);
    l.shard = sharding->stage;
    const double in_a_node = std::max(1.0, std::floor(out.device.per_node / l.tensor));
    l.shard_degree =
        sharding->degree.value_or(sharding->in_a_node && in_a_node < l.data ? int(in_a_node) : 0);
    out.least_stage = sharding->least;
  }
  const RowOffload host = offload_of(row);
  if (!host.wrong.empty()) return host.wrong;
  l.offload = host.offload;
  if (l.offload.parameters) {
    if (l.pipeline > 1) return "weights on the host are modelled without pipelines only";
    l.shard = 3;  // those of ZeRO-3 and FSDP alone go there
  }
  l.recompute = out.stack.recompute;
  if (!row.recompute.empty()) {
    out.recompute = recompute_in_words(row.recompute);
    if (!out.recompute) return not_understood("recompute", row.recompute);
    l.recompute = out.recompute->rule;
  }
  l.sequence_parallel = out.stack.sequence_parallel && l.tensor > 1;
  if (!row.sequence_parallel.empty()) {
    const auto split = switch_in_words(row.sequence_parallel);
    if (!split) return not_understood("sequence_parallel", row.sequence_parallel);
    l.sequence_parallel = *split;
  }
  return "";
}

/// Degrees and micro-batches, or what is missing.
std::string fill_layout(const TrainingRow& row, RowCase& out) {
  ParallelLayout& l = out.layout;
  if (!row.gpus || *row.gpus < 1) return "the number of devices is blank";
  if (std::string missing = fill_degrees(row, out); !missing.empty()) return missing;
  l.virtual_stages = degree(row.vp);
  if (std::string wrong = fill_schedule(row, out); !wrong.empty()) return wrong;
  std::optional<double> micro = row.micro_batch;
  if (!micro && row.global_batch && l.pipeline == 1) {
    micro = *row.global_batch / l.data / std::max(1.0, row.grad_accum.value_or(1));
  }
  if (!micro && row.global_batch) {
    const double local = *row.global_batch / l.data;
    micro = out.stack.cuts_batch_by_stages ? std::max(1.0, local / l.pipeline) : 1;
  }
  if (!micro || *micro <= 0) return "micro-batch and global batch are blank";
  l.micro_batch = *micro;
  const double batch = row.global_batch.value_or(*micro * l.data * row.grad_accum.value_or(1));
  l.micro_batches = std::max(1.0, std::round(batch / (*micro * l.data)));
  return fill_words(row, out);
}

bool fits(const RowCase& row) {
  const LayoutCost cost =
      layout_cost(*row.facts, row.device, row.stack, row.layout, layout_parameters());
  return cost.memory_bytes() <= row.device.memory_bytes * kUsableMemory &&
         host_holds(cost, row.device, row.layout);
}

/// What a row says in a word, and its model and device complete.
void settle(const TrainingRow& row, RowCase& out) {
  ParallelLayout& l = out.layout;
  static const std::regex capacity(R"(capacity[ _]factor[ =:]{0,3}([0-9]{1,4}(\.[0-9]{1,6})?))",
                                   std::regex::icase);
  std::smatch match;
  if (std::regex_search(row.notes, match, capacity)) l.expert_capacity = std::stod(match[1]);
  out.may_recompute = row.recompute.empty() && out.stack.recomputes_unsaid;
  if (const auto kept = kept_in_words(row.recompute)) {
    const double on_host = keep_products(*kept, *out.facts, out.stack);
    if (row.offload.empty()) l.offload.activations = std::max(l.offload.activations, on_host);
  }
  recompute_some_layers(out);
  while (out.least_stage && l.shard < 3 && !fits(out)) ++l.shard;
  // A dispatcher of tokens is named, and no degree: every replica has its share of the experts.
  double experts = 0;
  for (const BlockFacts& block : out.facts->blocks) {
    for (const Product& one : block.products) experts = std::max(experts, one.experts);
  }
  if (!row.ep && experts > 1 && mentions(row.framework, "deepep")) {
    l.expert = int(std::min<double>(experts, l.data));
  }
}

}  // namespace

std::variant<RowCase, std::string> row_case(const TrainingRow& row) {
  if (std::string other = other_work(row); !other.empty()) return other;
  if (mentions(row.workload, "lora")) return "workload 'lora': frozen weights have no gradients";
  if (mentions(row.workload, "sft")) {
    return "workload 'sft': how full the packed sequences are is not stated";
  }
  if (!row.dtype.empty() && !element_type_in_words(row.dtype)) {
    return not_understood("dtype", row.dtype);
  }
  RowCase out;
  const std::optional<DeviceRecord> record = device_by_text(row.gpu, row.gpu_family);
  if (!record) return "device '" + row.gpu + "' is not in the database";
  if (!fill_device(row, *record, out))
    return "device '" + row.gpu + "' has no peak rate in the database";
  if (std::string wrong = type_without_rate(row, *record); !wrong.empty()) return wrong;
  out.stack = stack_of(row, out.device.arch, out.notes);
  const KnownModel* known = known_model(row);
  out.model = model_spec(row, known, out.notes);
  if (out.model.empty()) return "the shape of model '" + row.model_name + "' is blank";
  std::optional<double> seq = row.seq_len;
  if (!seq && known != nullptr) seq = known->seq;
  if (!seq || *seq < 1) return "the sequence length is blank";
  if (std::string missing = fill_layout(row, out); !missing.empty()) return missing;
  note_machine(row, *record, out);
  try {
    out.facts = facts_of(out.model, std::int64_t(*seq));
  } catch (const InputError& error) {
    return std::string("no model can have this shape: ") + error.what();
  }
  settle(row, out);
  if (std::string wrong = contradiction(row, out); !wrong.empty()) return wrong;
  return out;
}

namespace {

/// FLOPs of one step as tables count them: products and attention, all positions with all others,
/// once forward and twice backward.
void count_flops(const RowCase& row, RowPrediction& answer) {
  const auto of = [](const BlockFacts& block) {
    double flops = block.attention_flops;
    for (const Product& one : block.products) flops += one.flops();
    return flops * block.repeats;
  };
  const ParallelLayout& l = row.layout;
  double blocks = 0, again = 0;
  for (const BlockFacts& block : row.facts->blocks) {
    const double flops = of(block);
    const RecomputeRule rule = block.recompute ? block.recompute->rule : l.recompute;
    blocks += flops;
    if (rule == RecomputeRule::full) again += flops;
  }
  const double samples = l.data * l.micro_batch * l.micro_batches / l.devices();
  answer.flops = samples * 3 * (blocks + of(row.facts->outside));
  answer.flops_again = answer.flops + samples * again;
  answer.peak_flops_per_s = row.device.flops_per_s;
}

}  // namespace

double printed_bytes(const RowCase& row, const LayoutCost& cost) {
  const bool first = row.stack.prints_first_stage;
  const double held = first ? cost.first_stage_bytes : cost.memory_bytes();
  const double unused = first ? cost.first_stage_unused : cost.unused_bytes;
  return held - (row.stack.prints_reserved ? 0 : unused) + row.stack.printed_beyond_bytes;
}

RowPrediction predict(const RowCase& row, const LayoutParameters& parameters) {
  const LayoutCost cost = layout_cost(*row.facts, row.device, row.stack, row.layout, parameters);
  const Estimate estimate = layout_estimate(cost, *row.facts, row.device, row.layout, parameters);
  RowPrediction answer;
  answer.notes = row.notes;
  answer.step_time_s = estimate.step_time_s;
  answer.peak_memory_bytes =
      estimate.peak_memory_bytes * (printed_bytes(row, cost) / cost.memory_bytes());
  count_flops(row, answer);
  answer.capacity_bytes = row.device.memory_bytes * kUsableMemory;
  LayoutCost least = cost;
  if (row.may_recompute && cost.memory_bytes() > answer.capacity_bytes) {
    ParallelLayout again = row.layout;
    again.recompute = RecomputeRule::full;
    least = layout_cost(*row.facts, row.device, row.stack, again, parameters);
  }
  answer.needed_bytes = least.memory_bytes();
  answer.fits =
      answer.needed_bytes <= answer.capacity_bytes && host_holds(least, row.device, row.layout);
  if (answer.fits && cost.memory_bytes() > answer.capacity_bytes) {
    answer.notes.emplace_back("fits when blocks are computed again, as recompute is blank");
  }
  return answer;
}

RowAnswer predict(const TrainingRow& row) {
  const auto found = row_case(row);
  if (const auto* why = std::get_if<std::string>(&found)) return *why;
  return predict(std::get<RowCase>(found), layout_parameters());
}

}  // namespace parallel_opt
