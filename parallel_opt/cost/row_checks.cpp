#include "parallel_opt/cost/row_checks.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <regex>
#include <set>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/accelerator.h"
#include "parallel_opt/cost/row_claims.h"
#include "parallel_opt/cost/row_device.h"
#include "parallel_opt/cost/row_patches.h"
#include "parallel_opt/cost/row_shape.h"
#include "parallel_opt/cost/row_size.h"
#include "parallel_opt/cost/row_words.h"
#include "parallel_opt/hardware/preset.h"

namespace parallel_opt {
namespace {

/// Sizes in names and tables are rounded, and count embeddings or not: beyond 10 % that is told,
/// beyond 25 % one of the figures is wrong.
constexpr double kRounded = 0.10, kContradicts = 0.25;

bool divides(double part, double whole) { return part > 0 && std::fmod(whole, part) == 0; }

/// 8, or 0.0625.
std::string plain(double number) {
  const bool whole = number == std::floor(number) && std::abs(number) < 1e15;
  return whole ? std::to_string(std::int64_t(number)) : show(number);
}

std::string does_not_divide(const std::string& part, double of, const std::string& whole,
                            double total) {
  return part + " " + plain(of) + " does not divide " + whole + " " + plain(total);
}

std::string wrong_shape(const TrainingRow& row, const RowCase& out) {
  const ParallelLayout& l = out.layout;
  const double heads = number_of(out.model, "heads");
  const double hidden = number_of(out.model, "hidden");
  const double width = number_of(out.model, "head_dim");
  const double layers = out.facts->layers();
  const double stages = double(l.pipeline) * l.virtual_stages;
  // What surrounds the layers may be stages of its own: nanotron cuts between embedding, layers,
  // last norm, head, its cast and the loss.
  constexpr double kAround = 5;
  if (stages > layers + kAround) {
    return "pp x vp makes " + plain(stages) + " stages of " + plain(layers) + " layers";
  }
  const bool width_is_stated = width > 0 && width != std::floor(hidden / heads);
  if (row.heads && heads > 0 && !divides(heads, hidden) && !width_is_stated) {
    return does_not_divide("heads", heads, "hidden", hidden);
  }
  if (heads > 0 && !divides(l.tensor, heads)) {
    return does_not_divide("tp", l.tensor, "heads", heads);
  }
  const double sequence = row.seq_len.value_or(out.facts->tokens);
  if (sequence > 0 && !divides(l.context, sequence)) {
    return does_not_divide("cp", l.context, "the sequence of", sequence);
  }
  const double replicas = double(l.data) * l.context;
  if (l.shard_degree > 0 && l.shard_degree < replicas && !divides(l.shard_degree, replicas)) {
    return does_not_divide("a shard degree of", l.shard_degree, "dp x cp", replicas);
  }
  const double experts = number_of(out.model, "experts");
  if (experts > 1 && !divides(l.expert, experts)) {
    return does_not_divide("ep", l.expert, "experts", experts);
  }
  return "";
}

double active_parameters(const RowCase& row) {
  const double chosen = number_of(row.model, "top_k"), experts = number_of(row.model, "experts");
  double idle = 0;
  for (const BlockFacts& block : row.facts->blocks) {
    if (experts > 1 && block.experts() > 0) {
      idle += block.repeats * block.expert_parameters *
              std::max(0.0, 1 - std::max(1.0, chosen) / experts);
    }
  }
  return row.facts->parameters - idle;
}

/// Names are of a series, a checkpoint or a wish: stated dimensions count. Where the name alone
/// says them, its size must be that of the model which is known by it.
std::string wrong_name(const TrainingRow& row, double made, double active,
                       std::vector<std::string>& notes) {
  const std::optional<double> named = any_size_in_name(row.model_name);
  if (!named || layers_in_name(row.model_name) || row.experts.value_or(1) > 1) return "";
  const double off =
      std::min(std::abs(std::log(*named / made)), std::abs(std::log(*named / active)));
  constexpr double kAnother = 1.6;  // names round, and count embeddings or not
  if (!row.layers && !row.hidden) {
    if (off <= std::log(kAnother) || is_known_by_its_size(row)) return "";
    return "model '" + row.model_name + "' is " + plain(*named) +
           " billion by its name, and the one known by it " + show(made);
  }
  if (row.layers && row.hidden && off > std::log(1 + kContradicts)) {
    notes.emplace_back("the size in model_name is not what the dimensions, which count, make");
  }
  return "";
}

std::string wrong_size(const TrainingRow& row, RowCase& out) {
  const double made = out.facts->parameters / 1e9, active = active_parameters(out) / 1e9;
  if (!row.params_b) return wrong_name(row, made, active, out.notes);
  const double ratio = *row.params_b / made, off = std::abs(ratio - 1);
  // A feed-forward part that is not stated may be half as wide as is usual, or gated, where the
  // name does not say all of it.
  const bool by_name = !row.layers && !row.hidden;
  const bool knows_width = by_name || row.ffn_hidden || number_of(out.model, "expert_ffn") > 0;
  const double slack = knows_width ? kContradicts : 1;
  // Mixtures are also printed with the parameters that a token meets.
  if (ratio < 1 / (1 + slack) && active < 0.8 * made &&
      std::abs(std::log(*row.params_b / active)) < std::log(1 + slack)) {
    out.notes.emplace_back("params_b is what a token meets");
    return "";
  }
  if (ratio > 1 + slack || ratio < 1 / (1 + slack)) {
    return "params_b is " + plain(*row.params_b) + ", and the model's dimensions make " +
           show(made);
  }
  if (off > kContradicts) {
    out.notes.emplace_back("params_b is far from what the dimensions make, with ffn_hidden blank");
  } else if (off > kRounded) {
    out.notes.emplace_back("params_b is 10 to 25 % from what the model's dimensions make");
  }
  return "";
}

/// Of one device and step at the least: three passes of all products, and of attention what no mask
/// hides.
double least_flops(const RowCase& row) {
  double flops = 0;
  const auto add = [&](const BlockFacts& block) {
    double once = block.attention_flops / 2;
    for (const Product& one : block.products) once += one.flops();
    flops += once * block.repeats;
  };
  for (const BlockFacts& block : row.facts->blocks) add(block);
  add(row.facts->outside);
  const ParallelLayout& l = row.layout;
  return 3 * flops * l.data * l.micro_batch * l.micro_batches / l.devices();
}

/// Figures beyond what the device can do, and degrees of what the model does not have.
void note_impossible(const TrainingRow& row, RowCase& out) {
  const double peak = out.device.flops_per_s;
  if (row.peak_share.value_or(0) > 1) {
    out.notes.emplace_back("measured: more than the whole peak");
  }
  const bool too_fast = row.iteration_s && least_flops(out) > peak * *row.iteration_s;
  if (too_fast || row.flops_per_s.value_or(0) > peak) {
    out.notes.push_back("measured: more than the " + show(peak / 1e12) + " TFLOP/s of the device");
  }
  if (row.peak_memory_bytes.value_or(0) > 1.02 * out.device.memory_bytes) {
    out.notes.emplace_back("measured: more memory than the device has");
  }
  const bool dense = number_of(out.model, "experts") <= 1;
  if (dense && (row.ep.value_or(1) > 1 || row.etp.value_or(1) > 1)) {
    out.notes.emplace_back("ep and etp count for nothing, as the model has no experts");
  }
  if (!dense && !row.ep && out.layout.devices() > 1) {
    out.notes.emplace_back("ep = 1, as none is stated");
  }
}

std::string wrong_batch(const TrainingRow& row, RowCase& out) {
  if (!row.global_batch) return "";
  if (!row.micro_batch && !divides(out.layout.data, *row.global_batch)) {
    return does_not_divide("dp", out.layout.data, "global_batch", *row.global_batch);
  }
  if (!row.micro_batch) return "";
  const double at_once = *row.micro_batch * out.layout.data;
  if (row.grad_accum && *row.grad_accum * at_once != *row.global_batch) {
    out.notes.emplace_back(
        "grad_accum is not global_batch / (micro_batch x dp); global_batch counts");
  }
  if (!divides(at_once, *row.global_batch)) {
    return does_not_divide("micro_batch x dp", at_once, "global_batch", *row.global_batch);
  }
  return "";
}

bool names_training(const std::string& workload) {
  static const std::regex training(R"(train|tun|\bsft\b|cpt\b|benchmark|perf|throughput)",
                                   std::regex::icase);
  return std::regex_search(workload, training);
}

/// Names of ways to train a few weights beside the model's own.
constexpr const char* kFewWeights =
    R"((^|[^a-z0-9])((q|qa|rs|vb)?lora|q?dora|\(?ia\)?3|bitfit|peft|(prefix|prompt|p)[ -]tuning)";

/// Whether notes say that all sequences have their whole length: packed or padded to it, or made
/// so. "Padded to 51200" is of a vocabulary.
bool fills_sequences(const TrainingRow& row, const Claims& notes) {
  static const std::regex share(R"(([0-9]{1,3}(\.[0-9]{1,4})?) ?(%|per ?cent) )"
                                R"((efficient|full|filled|packed))",
                                std::regex::icase);
  static const std::regex counted(
      R"(\b(?:pack|padd?)(?:s|ed|ing)? (?:up )?(?:in)?to (?:a length of |sequences of )?)"
      R"(([1-9][0-9]{0,2}(?:,[0-9]{3}){1,3}|[1-9][0-9]{0,8})(?: ?(k))?\b)",
      std::regex::icase);
  static const std::regex said(
      R"(\bpacking\b|\bpacked\b(?![ -](q?kv|attention|activations|weights|[0-9]))|)"
      R"(\bpad(ded|ding)?[ _-]to[ _-](the )?(max(imum)?(?![a-z])(?! (length )?(of|in) (a|the|each))|full|seq)|)"
      R"(\b(fixed|constant|equal|full)[ -]length\b|)"
      // Hugging Face's and TRL's ways to cut one stream of tokens into sequences.
      R"(\brun_clm\b|\bgroup_texts\b|\bConstantLengthDataset\b|)"
      R"(\bconcatenat(ed|ion|ing)( and (split|cut|chunked))? (in)?to (\w+ )?(blocks|chunks)\b|)"
      R"(\bchunk(ed|ing) (in)?to (the )?((full|max(imum)?|context|sequence|block)[ -])+(length|size)\b)",
      std::regex::icase);
  std::smatch match;
  if (std::regex_search(row.notes, match, share)) return std::stod(match[1]) >= 90;
  if (std::regex_search(notes.kept(), match, counted)) {
    std::string digits = match[1];
    std::erase(digits, ',');
    return std::stod(digits) * (match[2].matched ? 1024 : 1) == row.seq_len.value_or(0);
  }
  return notes.has(said);
}

/// Why sequences of supervised tuning, which are as long as a conversation, are of unknown length.
std::string unfilled(const TrainingRow& row, const Claims& notes) {
  // What did not fit is one sequence of the length that is asked for.
  if (row.failed || !Claims(row.workload).has("sft") || fills_sequences(row, notes)) return "";
  return "workload 'sft': " +
         std::string(notes.says("packing") == false || notes.says("packed") == false
                         ? "sequences are not packed, and how long they are is not stated"
                         : "how full the packed sequences are is not stated");
}

/// Work whose weights do not all move, or whose sequences are packed.
std::string frozen_or_packed(const TrainingRow& row) {
  const std::string few(kFewWeights);
  static const std::regex in_work(few + "|adapters?|frozen)(?![a-z])", std::regex::icase);
  static const std::regex in_names(few + "|adapters?)(?![a-z])", std::regex::icase);
  // Adapters of notes are also those of networks.
  static const std::regex in_notes(few + "|adapter[ -]tuning)(?![a-z])", std::regex::icase);
  const auto says = [](const std::string& text, const std::regex& words) {
    return Claims(text).has(words);
  };
  constexpr const char* kWhy = ": frozen weights have no gradients";
  if (says(row.workload, in_work)) return "workload '" + row.workload + "'" + kWhy;
  if (says(row.model_name, in_names)) return "model '" + row.model_name + "'" + kWhy;
  if (says(row.framework, in_names)) return "framework '" + row.framework + "'" + kWhy;
  const Claims notes(row.notes);
  std::smatch match;
  if (std::regex_search(notes.kept(), match, in_notes)) {
    return "'" + match.str(2) + "' in the notes" + kWhy;
  }
  static const std::regex few_layers(
      R"(\b[0-9]+ of [0-9]+ (layers|blocks) (are )?(trained|trainable|unfrozen)\b)"
      R"(|\bonly (the )?(last|first|top) ([0-9]+ )?(layers?|blocks?)\b[^;,]*train)"
      R"(|\bonly (the )?[a-z ]{0,20}(head|embeddings?|norms?) (is|are) train)",
      std::regex::icase);
  if (std::regex_search(notes.kept(), match, few_layers)) {
    return "'" + match.str(0) + "' in the notes" + kWhy;
  }
  return unfilled(row, notes);
}

/// Models that no one stack of equal blocks with one sequence is.
std::string other_model(const std::string& name) {
  struct Others {
    const char* names;
    const char* why;
  };
  static constexpr auto kOthers = std::to_array<Others>(
      {{"[a-z]*mamba|jamba|zamba|samba|hymba|nemotron[ _-]?h|falcon[ _-]?h|griffin|recurrent[ "
        "_-]?gemma|"
        "xlstm|rwkv|hyena|retnet|minimax[ _-]?(?:m1|text[ _-]?01)|qwen3[ _-]?next|swin|unet|resnet|"
        "dlrm|stable.?diffusion|sdxl",
        "is no stack of equal attention blocks"},
       {"whisper|m?bart|nllb|m2m|pegasus|marian(?:mt)?|(?:flan-?|u?m|by|long|code)?t5|ul2|"
        "switch[_-](?:base|large|xxl|c)",
        "has an encoder and a decoder that attends to it, and a row has one stack and sequence"},
       {"clip|siglip", "has an encoder of pictures and one of texts, and a row has one stack"},
       {"mae", "encodes some of the patches alone"},
       {"dino(?:v[0-9])?", "runs a second copy as its teacher"}});
  for (const Others& one : kOthers) {
    const std::regex words("(?:^|[^a-z0-9])(" + std::string(one.names) + ")(?:[^a-z]|$)",
                           std::regex::icase);
    std::smatch match;
    // "LLaVA (CLIP, Vicuna-7B)" is predicted as its language model.
    const bool seen = std::string_view(one.names).starts_with("clip") && is_shown_pictures(name);
    if (!seen && std::regex_search(name, match, words)) {
      return "model '" + name + "' " + one.why + " (" + match.str(1) + ")";
    }
  }
  return "";
}

/// "From Llama 3 70B to 8B": of two sizes nothing says which is the model's; "pruned from Llama 3
/// 70B" has another one.
std::string made_of_another(const std::string& name) {
  static const std::regex size(R"((?:^|[^0-9a-z.])([0-9]{1,4}(?:\.[0-9]{1,3})?)\s?b(?![0-9a-z]))",
                               std::regex::icase);
  static const std::regex between(R"(\b(from|to|into)\b|->|\xe2\x86\x92)", std::regex::icase);
  static const std::regex source(
      R"(\b(distilled|pruned|shrunk|upcycled|reduced|scaled|derived)( (up|down|out))? (from|of)\b)",
      std::regex::icase);
  std::set<std::string> sizes;
  for (std::sregex_iterator it(name.begin(), name.end(), size), end; it != end; ++it) {
    sizes.insert((*it)[1]);
  }
  if (sizes.size() > 1 && std::regex_search(name, between)) {
    return "model '" + name + "' names two models, and its dimensions are blank";
  }
  if (sizes.size() == 1 && std::regex_search(name, source)) {
    return "model '" + name + "' names what it was made from, and its dimensions are blank";
  }
  return "";
}

}  // namespace

std::string unclear_model(const TrainingRow& row, const std::string& spec,
                          std::vector<std::string>& notes) {
  const std::string& name = row.model_name;
  if (!row.layers || !row.hidden) {
    if (std::string other = made_of_another(name); !other.empty()) return other;
  }
  static const std::regex experts(
      R"((^|[^a-z])(moe|mixture[ -]of[ -]experts|(sparse[ly]*[ -])?upcycl\w*))", std::regex::icase);
  if (number_of(spec, "experts") <= 1 && Claims(name).has(experts)) {
    return "model '" + name + "' has experts, and how many is blank";
  }
  if (is_shown_pictures(name)) {
    notes.emplace_back("only the language model is predicted, as model_name has pictures too");
  }
  return "";
}

std::string other_work(const TrainingRow& row) {
  static const std::regex never(
      R"(distill|reinforcement|embedding extraction|\b(rl|rlhf|rlvr|grpo|ppo|dpo)\b)",
      std::regex::icase);
  static const std::regex forward(
      R"(inference|serving|generation|\bdecod(e|ing)\b|prefill|\beval(uation)?\b|forward[ -]only)",
      std::regex::icase);
  // Who trains may evaluate in between.
  const Claims work(row.workload);
  if ((work.has(forward) && !names_training(work.kept())) || work.has(never)) {
    return "workload '" + row.workload + "' is not the training that is modelled";
  }
  static const std::regex servers(
      R"(^\W*(vllm|sglang|tensorrt-?llm|trt-?llm|lmdeploy|text[- ]generation[- ]inference|tgi|llama\.cpp|ollama|exllama\w*)\b)",
      std::regex::icase);
  if (std::regex_search(row.framework, servers)) {
    return "framework '" + row.framework +
           "' serves models, which is not the training that is modelled";
  }
  static const std::regex in_notes(R"(\b(inference|forward|evaluation)([ -]pass(es)?)?[ -]only\b)",
                                   std::regex::icase);
  if (Claims(row.notes).has(in_notes)) {
    return "the notes name work that is not the training that is modelled";
  }
  if (std::string other = frozen_or_packed(row); !other.empty()) return other;
  return other_model(row.model_name);
}

void note_workload(const std::string& workload, std::vector<std::string>& notes) {
  if (Claims(workload).has("sft")) {
    notes.emplace_back("sequences count as full, and as one document each where they are packed");
  }
  if (workload.empty() || names_training(workload)) return;
  notes.push_back("workload '" + workload + "' counts as training");
}

std::string type_without_rate(const TrainingRow& row, const DeviceRecord& record) {
  const std::string type = element_type_in_words(row.dtype).value_or("");
  if (type != "fp4" && type != "fp8" && type != "int8") return "";
  const bool wider = type == "int8" && record.flops_per_s.contains("fp8");
  if (wider || record.flops_per_s.contains(type)) return "";
  return "device '" + record.name + "' has no products of dtype '" + row.dtype + "'";
}

std::string contradiction(const TrainingRow& row, RowCase& out) {
  if (std::string wrong = wrong_shape(row, out); !wrong.empty()) return wrong;
  if (std::string wrong = wrong_batch(row, out); !wrong.empty()) return wrong;
  if (std::string wrong = wrong_size(row, out); !wrong.empty()) return wrong;
  note_impossible(row, out);
  if (row.dtype.empty() || Claims(row.dtype).none())
    out.notes.emplace_back("dtype = 16 bits, as none is stated");
  if (!row.micro_batch) out.notes.emplace_back("micro_batch from global_batch and the layout");
  return "";
}

namespace {

/// One of several memory sizes of a chip was taken.
void note_memory(const TrainingRow& row, const DeviceRecord& record, RowCase& out) {
  if (variants_of(row, record).empty()) return;
  out.notes.push_back("gpu '" + row.gpu + "' is taken as " + record.name + ", as its memory is " +
                      (states_memories(row.gpu) ? "one of several" : "not stated"));
}

/// A 16-bit type that the row names and the device lacks.
void note_half(const TrainingRow& row, const DeviceRecord& record, RowCase& out) {
  static const std::regex brain(R"(bf(loat)?16)", std::regex::icase);
  static const std::regex half(R"((^|[^b])(fp?16|float16|half)|\bo[12]\b)", std::regex::icase);
  const Claims type(row.dtype);
  if (out.element_type != "bf16" || type.has(brain) == type.has(half)) return;
  const std::string named = type.has(brain) ? "bf16" : "fp16";
  const std::string other = type.has(brain) ? "fp16" : "bf16";
  if (record.flops_per_s.contains(named)) return;
  const bool has_other = record.flops_per_s.contains(other);
  out.notes.push_back(named + " as fast as " + (has_other ? other : "fp32") + ", as " +
                      record.name + " has no products of " + (has_other ? named : "16 bits"));
}

}  // namespace

void note_machine(const TrainingRow& row, const DeviceRecord& record, RowCase& out) {
  note_memory(row, record, out);
  note_half(row, record, out);
  const double per_node = out.device.per_node;
  const std::string type = element_type_in_words(row.dtype).value_or("");
  const double met = out.layout.devices() > 1 ? per_node : 1;
  for (std::string& note : stand_ins(record, type, met)) out.notes.push_back(std::move(note));
  if (stands_in_rack(row, record) && out.layout.devices() > 4) {
    out.notes.push_back("NVLink joins a rack of 72 " + record.name +
                        ", as neither NVL4 nor another number is named");
  }
  if (out.layout.devices() <= per_node) return;
  if (out.network) {
    if (!out.network->taken.empty()) {
      out.notes.push_back("a network of " + out.network->taken + ", as no rate is stated");
    } else if (out.network->each_is_assumed) {
      out.notes.emplace_back(
          "interconnect's rate is one of each device, as it is not said to be a node's");
    }
    return;
  }
  const std::string rate =
      show(BytesPerSecond(out.device.network_bytes_per_s)) + " per " + record.name + " is assumed";
  std::string usual =
      " (" + std::string(kAssumedAdapter) + "), as neither it nor its usual machine is known";
  if (record.host && record.host->adapter_bytes_per_s > 0) {
    const auto source = record.sources.find(record.host->source);
    const std::string text = source != record.sources.end() ? source->second : "its usual machine";
    usual = " (" + text.substr(0, text.find(':')) + "), as " +
            (row.interconnect.empty() ? "no interconnect is stated" : "interconnect says no rate");
  }
  out.notes.push_back("a network of " + rate + usual);
}

}  // namespace parallel_opt
