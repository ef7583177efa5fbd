#include "parallel_opt/importers/hf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "parallel_opt/graph/blocks.h"
#include "parallel_opt/graph/summary.h"
#include "parallel_opt/graph/work.h"
#include "tests/importers/archive.h"

namespace parallel_opt {
namespace {

using testing::error_of;

Graph read(const std::string& json) { return read_hf_config(json, "config.json"); }
std::string error(const std::string& json) {
  return error_of([&] { read(json); });
}

TEST(HfConfig, LlamaByItsDefaults) {
  // 2 tables of 32000 x 4096, 32 layers of 4 h^2 + 3 h f + 2 h, one norm
  const std::int64_t h = 4096, f = 11008;
  const Graph graph = read(R"({"model_type": "llama"})");
  EXPECT_EQ(count_parameters(graph).parameters,
            2 * 32000 * h + 32 * (4 * h * h + 3 * h * f + 2 * h) + h);
  EXPECT_TRUE(check(graph).empty());
  EXPECT_EQ(graph.symbols.size(), 2u);
  EXPECT_EQ(graph.symbols[1].name, "sequence");
}

TEST(HfConfig, FlopsInClosedForm) {
  const Graph graph =
      bind(read(R"({"model_type": "llama", "hidden_size": 64, "intermediate_size": 96,
               "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
               "vocab_size": 100})"),
           {{"batch", 2}, {"sequence", 8}});
  const double tokens = 2 * 8;
  const double projections = 2 * 64 * 64 + 2 * 64 * 32;  // q and o; k and v of two heads
  const double layer = 2 * tokens * (projections + 3 * 64 * 96) + 2 * 2 * tokens * 8 * 64;
  EXPECT_EQ(summarize(graph).flops.forward.value, 3 * layer + 2 * tokens * 64 * 100);
}

TEST(HfConfig, ExpertsWorkOnTopKRows) {
  const Graph graph =
      bind(read(R"({"model_type": "mixtral", "hidden_size": 64, "intermediate_size": 96,
               "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 4,
               "num_local_experts": 8, "num_experts_per_tok": 2, "vocab_size": 100})"),
           {{"batch", 2}, {"sequence", 8}});
  const double tokens = 2 * 8;
  const double experts = 2 * (tokens * 2) * (3 * 64 * 96);  // gate, up, down of two experts
  const double rest = 2 * tokens * (4 * 64 * 64 + 64 * 8 + 64 * 100) + 2 * 2 * tokens * 8 * 64;
  EXPECT_EQ(summarize(graph).flops.forward.value, experts + rest);
}

TEST(HfConfig, EveryFamilyIsWellFormedByItsDefaults) {
  for (const std::string& type : hf_families()) {
    std::string json = R"({"model_type": ")" + type + "\"";
    if (type == "deepseek_v2") json += R"(, "num_experts_per_tok": 6)";
    if (type == "gemma3") json += R"(, "vision_config": {"image_size": 896, "patch_size": 14})";
    if (type == "esm") json += R"(, "vocab_size": 33)";
    if (type == "mamba2") json += R"(, "expand": 2)";
    if (type == "llama4") {
      json += R"(, "vision_config": {"hidden_size": 1408, "vision_output_dim": 4096})";
    }
    if (type == "paligemma") {
      json += R"(, "vision_config": {}, "text_config": {"hidden_size": 2048,
                   "num_attention_heads": 8, "num_key_value_heads": 1})";
    }
    if (type == "lfm2_moe") {
      json += R"(, "num_hidden_layers": 2, "layer_types": ["conv", "full_attention"])";
    }
    if (type == "glm4_moe" || type == "glm4v_moe_text") json += R"(, "head_dim": 128)";
    if (type == "glm4v_moe") json += R"(, "text_config": {"head_dim": 128})";
    if (type == "idefics3" || type == "smolvlm")
      json += R"(, "vision_config": {"image_size": 256})";
    if (type == "llava_onevision") json += R"(, "vision_config": {})";
    if (type == "mistral3") json += R"(, "vision_config": {}, "text_config": {})";
    if (type == "dots1") {
      json += R"(, "n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2)";
    }
    const bool sees = type.find("_vl") != type.npos || type.starts_with("qwen3_5");
    if (type.starts_with("qwen") && sees && !type.ends_with("_text")) {
      json += R"(, "text_config": {"hidden_size": 3584, "num_attention_heads": 28,
                                   "num_key_value_heads": 4})";
    }
    const Graph graph = read(json + "}");
    EXPECT_TRUE(check(graph).empty()) << type;
    EXPECT_TRUE(summarize(graph).opaque.empty()) << type;
    const Graph bound = bind(graph, {{"batch", 3}});
    EXPECT_TRUE(check(bound).empty()) << type;
  }
}

TEST(HfConfig, DtypeIsThatOfTheParameters) {
  const Graph graph =
      read(R"({"model_type": "llama", "torch_dtype": "bfloat16", "num_hidden_layers": 1})");
  for (const Tensor& t : graph.tensors) {
    if (t.role == TensorRole::parameter) {
      EXPECT_EQ(t.dtype, DType::bf16);
    }
  }
}

TEST(HfConfig, TiedWordsCountOnce) {
  const auto count = [](const char* tied) {
    return count_parameters(read(std::string(R"({"model_type": "llama", "num_hidden_layers": 1,
        "tie_word_embeddings": )") +
                                 tied + "}"))
        .parameters;
  };
  EXPECT_EQ(count("false") - count("true"), 32000 * 4096);
}

TEST(HfConfig, AClassOfAnotherNameIsNoBareModel) {
  for (const char* name : {"LlavaLlamaModel", "LlamaPreTrainedModel"}) {
    const std::string text = R"({"model_type": "llama", "architectures": [")";
    EXPECT_THAT(error(text + name + "\"]}"),
                ::testing::HasSubstr("the head of '" + std::string(name) + "' is not built"));
  }
  const Graph graph = read(
      R"({"model_type": "llama", "num_hidden_layers": 1, "architectures": ["YiForCausalLM"]})");
  EXPECT_THAT(graph.notes,
              ::testing::Contains("'YiForCausalLM' is read as the llama of transformers: parts of "
                                  "its own are missing"));
}

TEST(HfConfig, ArchitecturesChooseTheHead) {
  const auto names = [](const char* architecture) {
    const Graph graph =
        read(std::string(R"({"model_type": "bert", "architectures": [")") + architecture + "\"]}");
    return graph.tensors[1].fqn + " " + graph.name;
  };
  EXPECT_EQ(names("BertModel"), "embeddings.position_ids BertModel");
  EXPECT_EQ(names("BertForMaskedLM"), "bert.embeddings.position_ids BertForMaskedLM");
  EXPECT_EQ(error(R"({"model_type": "vit", "architectures": ["ViTForQuestionAnswering"]})"),
            "config.json:architectures[0]: the head of 'ViTForQuestionAnswering' is not built "
            "(known here: ...ForImageClassification, ...ForMaskedImageModeling, ...Model; or "
            "capture it: python -m parallel_opt.capture file.py:factory -o model.pt2)");
}

TEST(HfConfig, UnknownTypeNamesTheNearestAndTheWay) {
  EXPECT_EQ(error(R"({"model_type": "lama"})"),
            "config.json:model_type: unknown model type 'lama' (the nearest known one is 'llama'; "
            "capture it: python -m parallel_opt.capture file.py:factory -o model.pt2, or give "
            "file.py:factory as MODEL)");
}

TEST(HfConfig, RelativesAreNamedByWhatTheyShare) {
  const auto nearest = [](const std::string& type) {
    const std::string text = error(R"({"model_type": ")" + type + "\"}");
    const std::string begin = "the nearest known one is '";
    const std::size_t at = text.find(begin);
    if (at == text.npos) return std::string();
    return text.substr(at + begin.size(), text.find('\'', at + begin.size()) - at - begin.size());
  };
  EXPECT_EQ(nearest("gemma3_te"), "gemma3_text");
  EXPECT_EQ(nearest("clip_text"), "clip_text_model");
  EXPECT_EQ(nearest("qwen2_audio"), "qwen2");
  EXPECT_EQ(nearest("llama5_text"), "llama");
  EXPECT_EQ(nearest("xlm-roberta-xxl"), "xlm-roberta");
  EXPECT_EQ(nearest("visual_bert"), "bert");
  EXPECT_EQ(nearest("mobilebert"), "bert");
  EXPECT_EQ(nearest("longt5"), "t5");
  EXPECT_EQ(nearest("sam"), "");
}

TEST(HfConfig, EveryFaultIsNamedAtOnce) {
  EXPECT_EQ(error(R"({"model_type": "llama", "hidden_size": "wide", "num_hidden_layers": -1,
                      "num_attention_heads": 5, "num_key_value_heads": 3, "hidden_act": "silo",
                      "intermediate_size": null, "tie_word_embeddings": 1, "rms_norm_eps": -1})"),
            "config.json:hidden_size: must be a whole number, is \"wide\"\n"
            "config.json:intermediate_size: must be a whole number, is null "
            "(leave it out for 11008)\n"
            "config.json:num_hidden_layers: must be 1 to 2048, is -1\n"
            "config.json:num_attention_heads: 5 does not divide hidden_size 4096\n"
            "config.json:num_key_value_heads: 3 does not divide num_attention_heads 5\n"
            "config.json:hidden_act: unknown 'silo' (did you mean 'silu'?)\n"
            "config.json:tie_word_embeddings: must be true or false, is 1\n"
            "config.json:rms_norm_eps: must be at least 0, is -1");
  EXPECT_EQ(error(R"({"model_type": "clip", "text_config": {"hidden_size": 0}})"),
            "config.json:text_config.hidden_size: must be 1 to 1048576, is 0");
}

TEST(HfConfig, WhatIsNoConfigurationIsSaid) {
  EXPECT_EQ(error("[]"), "config.json: must hold one object (is this a Hugging Face config.json?)");
  EXPECT_EQ(error("{}"),
            "config.json:model_type: is missing (is this a Hugging Face config.json?)");
  EXPECT_EQ(error(R"({"model_type": 3})"),
            "config.json:model_type: must be a string (is this a Hugging Face config.json?)");
}

TEST(HfConfig, UnknownKindsOfRotationAreNoted) {
  const auto noted = [](const std::string& rope) {
    const Graph graph =
        read(R"({"model_type": "llama", "num_hidden_layers": 1, "rope_scaling": )" + rope + "}");
    return std::ranges::count_if(graph.notes, [](const std::string& note) {
      return note.starts_with("rope_scaling: 'quantum' is no kind of rotation that is known here");
    });
  };
  EXPECT_EQ(noted(R"({"rope_type": "quantum", "factor": 2.0})"), 1);
  EXPECT_EQ(noted(R"({"rope_type": "llama3", "factor": 8.0})"), 0);
  EXPECT_EQ(noted(R"({"type": "linear", "factor": 2.0})"), 0);
}

TEST(HfConfig, StructureThatIsNotUnderstoodIsNoted) {
  const Graph graph = read(R"({"model_type": "llama", "num_hidden_layers": 1, "rope_scaling": null,
      "num_extra_heads": 3, "bos_token_id": 1, "transformers_version": "5.0"})");
  ASSERT_EQ(graph.notes.size(), 1u);
  EXPECT_EQ(graph.notes[0], "not understood and left out: num_extra_heads");
}

TEST(HfConfig, StructureThatIsNotBuiltIsAFault) {
  EXPECT_EQ(error(R"({"model_type": "bert", "add_cross_attention": true})"),
            "config.json:add_cross_attention: true is not built here (a decoder: capture it)");
}

TEST(HfConfig, AMemberThatIsGivenTwiceIsAFault) {
  EXPECT_EQ(error(R"({"model_type": "llama", "hidden_size": 64, "hidden_size": 128})"),
            "config.json:hidden_size: stands twice in one object (keep one)");
}

std::int64_t parameters_of(const std::string& fields) {
  return count_parameters(read("{" + fields + "}")).parameters;
}

const std::string kSmallBert =
    R"("model_type": "bert", "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64,
       "num_hidden_layers": 1, "vocab_size": 100)";

TEST(HfConfig, HeadsOfBertDifferByTheirOwnLayers) {
  const auto count = [](const std::string& name) {
    return parameters_of(kSmallBert + R"(, "architectures": ["Bert)" + name + "\"]");
  };
  const std::int64_t pooler = 32 * 32 + 32, bare = count("Model") - pooler;
  EXPECT_EQ(count("ForTokenClassification"), bare + 2 * 32 + 2);
  EXPECT_EQ(count("ForQuestionAnswering"), bare + 2 * 32 + 2);
  EXPECT_EQ(count("ForMultipleChoice"), bare + pooler + 32 + 1);
  EXPECT_EQ(count("ForNextSentencePrediction"), bare + pooler + 2 * 32 + 2);
  EXPECT_EQ(count("ForPreTraining"), count("ForMaskedLM") + pooler + 2 * 32 + 2);
  EXPECT_EQ(count("LMHeadModel"), count("ForMaskedLM"));
}

TEST(HfConfig, AnswersHaveTwoLabels) {
  EXPECT_EQ(error("{" + kSmallBert + R"(, "architectures": ["BertForQuestionAnswering"],
                   "num_labels": 3})"),
            "config.json:num_labels: is 3 where answers need 2 (a first and a last token; leave "
            "num_labels and id2label out)");
}

TEST(HfConfig, ChoicesAreAnAxisOfTheirOwn) {
  const Graph graph =
      bind(read("{" + kSmallBert + R"(, "architectures": ["BertForMultipleChoice"]})"),
           {{"batch", 2}, {"choices", 3}, {"sequence", 8}});
  const auto sizes = [&](TensorId id) {
    std::vector<std::int64_t> list;
    for (const Dim& dim : graph.tensor(id).shape) list.push_back(dim.size);
    return list;
  };
  EXPECT_EQ(sizes(graph.inputs[0]), (std::vector<std::int64_t>{2, 3, 8}));
  EXPECT_EQ(sizes(graph.outputs[0]), (std::vector<std::int64_t>{2, 3}));
}

TEST(HfConfig, ImagesAndPatchesMayBeRectangles) {
  const auto count = [](const std::string& image, const std::string& patch) {
    return parameters_of(R"("model_type": "vit", "num_hidden_layers": 1, "image_size": )" + image +
                         R"(, "patch_size": )" + patch);
  };
  // 4 x 8 patches instead of 14 x 14, of 3 * 8 * 4 numbers instead of 3 * 16 * 16
  EXPECT_EQ(count("224", "16") - count("[32, 32]", "[8, 4]"),
            768 * (14 * 14 - 4 * 8) + 768 * 3 * (16 * 16 - 8 * 4));
  const auto fault = [](const std::string& image, const std::string& patch) {
    return error(R"({"model_type": "vit", "image_size": )" + image + R"(, "patch_size": )" + patch +
                 "}");
  };
  EXPECT_EQ(fault("[224, 130]", "16"), "config.json:patch_size: 16 does not divide image_size 130");
  EXPECT_EQ(fault("[224]", "16"),
            "config.json:image_size: must be a number or two, height and width, of 1 to 16384");
  EXPECT_EQ(fault("[224, 0]", "16"),
            "config.json:image_size: must be a number or two, height and width, of 1 to 16384");
  EXPECT_EQ(fault("[224, \"w\"]", "16"),
            "config.json:image_size[1]: must be a whole number, is "
            "\"w\"");
}

TEST(HfConfig, MambasWidthIsTheOneThatIsStated) {
  const std::string mamba = R"("model_type": "mamba", "hidden_size": 32, "num_hidden_layers": 1)";
  // in, out, convolution, x and dt projections, A, D by their inner width; dt from rank 2
  const std::int64_t per_inner = 2 * 32 + 32 + (4 + 1) + (2 + 2 * 16) + (2 + 1) + 16 + 1;
  EXPECT_EQ(parameters_of(mamba + R"(, "intermediate_size": 100)") - parameters_of(mamba),
            (100 - 64) * per_inner);
  EXPECT_EQ(read(R"({"model_type": "mamba2", "hidden_size": 4096, "num_hidden_layers": 1,
                     "intermediate_size": 100})")
                .notes[0],
            "intermediate_size 100: mamba2 takes expand * hidden_size, 8192, as in transformers");
}

TEST(HfConfig, FalconWithSlopesHasNoRotaryTables) {
  const Graph graph = read(R"({"model_type": "falcon", "num_hidden_layers": 1, "alibi": true})");
  std::size_t masked = 0;
  for (const Op& op : graph.ops) {
    EXPECT_NE(op.target, "aten.cos.default");
    const bool mask = std::ranges::any_of(
        op.inputs, [](const Operand& operand) { return operand.argument == "attn_mask"; });
    masked += mask ? 1 : 0;
  }
  EXPECT_EQ(masked, 1u);
}

TEST(HfConfig, TooManyParametersAreRefused) {
  EXPECT_EQ(error(R"({"model_type": "mixtral", "num_local_experts": 16384, "hidden_size": 1048576,
                      "num_attention_heads": 16384, "num_key_value_heads": 1,
                      "intermediate_size": 16777216, "num_hidden_layers": 1})"),
            "config.json: describes 8.65e+17 parameters (at most 1e15)");
}

std::vector<std::string> notes(const std::string& fields) {
  return read("{\"num_hidden_layers\": 2, \"vocab_size\": 64, " + fields + "}").notes;
}
using Notes = std::vector<std::string>;

TEST(HfConfig, QuantisedWeightsAreToldAndCountedAsTheyWere) {
  EXPECT_EQ(notes(R"("model_type": "llama", "dtype": "bfloat16",
                     "quantization_config": {"quant_method": "gptq", "bits": 4})"),
            Notes{"quantization_config (gptq, 4 bits): weights are counted in bf16; quantised ones "
                  "would take 4 of 16 bits"});
  EXPECT_EQ(notes(R"("model_type": "llama",
                     "quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": true})"),
            Notes{"quantization_config (bitsandbytes, 8 bits): weights are counted in fp32; "
                  "quantised ones would take 8 of 32 bits"});
  EXPECT_EQ(notes(R"("model_type": "llama",
                     "quantization_config": {"quant_method": "compressed-tensors"})"),
            Notes{"quantization_config (compressed-tensors): weights are counted in fp32"});
}

TEST(HfConfig, WindowsAreToldWhereTheyAreOn) {
  EXPECT_EQ(notes(R"("model_type": "mistral", "sliding_window": 4096)"),
            Notes{"attention in a window of 4096 positions is counted in full, as PyTorch computes "
                  "it under a mask, which only longer sequences have"});
  EXPECT_EQ(notes(R"("model_type": "mistral", "sliding_window": null)"), Notes{});
  EXPECT_EQ(notes(R"("model_type": "qwen2", "sliding_window": 4096)"), Notes{});  // off by default
  EXPECT_EQ(
      notes(R"("model_type": "qwen3", "sliding_window": 8, "use_sliding_window": true,
                     "layer_types": ["full_attention", "sliding_attention"])"),
      Notes{"attention in a window of 8 positions in 1 of 2 layers is counted in full, as PyTorch "
            "computes it under a mask"});
}

/// For each layer, whether its attention has a mask.
std::vector<bool> masked_layers(const std::string& members) {
  std::vector<bool> masked;
  const Graph graph = read_hf_config("{" + members + R"(, "num_hidden_layers": 4})", "config.json");
  for (const Op& op : graph.ops) {
    if (!op.target.starts_with("aten.scaled_dot_product_attention")) continue;
    masked.push_back(operand(op, "attn_mask").valid());
  }
  return masked;
}

TEST(HfConfig, LayersWithinAWindowHaveAMaskThatTheOthersLack) {
  using Layers = std::vector<bool>;
  // Sequences are 2048 long until they are bound: a wider window hides nothing.
  EXPECT_EQ(masked_layers(R"("model_type": "mistral", "sliding_window": 8)"), Layers(4, true));
  EXPECT_EQ(masked_layers(R"("model_type": "mistral", "sliding_window": 2048)"), Layers(4, true));
  EXPECT_EQ(masked_layers(R"("model_type": "mistral", "sliding_window": 2049)"), Layers(4, false));
  const std::string on = R"(, "use_sliding_window": true, "sliding_window": 8)";
  // The first layers see all; of qwen2_moe's first ones every second does.
  EXPECT_EQ(masked_layers(R"("model_type": "qwen2", "max_window_layers": 1)" + on),
            (Layers{false, true, true, true}));
  EXPECT_EQ(masked_layers(R"("model_type": "qwen2_moe", "max_window_layers": 2)" + on),
            (Layers{true, false, false, false}));
  EXPECT_EQ(masked_layers(R"("model_type": "qwen3_moe")" + on), Layers(4, true));
  // Layers without rotary positions slide.
  EXPECT_EQ(masked_layers(R"("model_type": "smollm3", "no_rope_layers": [1, 0, 1, 0])" + on),
            (Layers{false, true, false, true}));
  EXPECT_EQ(masked_layers(R"("model_type": "cohere2", "sliding_window": 8)"),
            (Layers{true, true, true, false}));
  EXPECT_EQ(masked_layers(R"("model_type": "gemma3_text", "sliding_window": 8,
                             "sliding_window_pattern": 2)"),
            (Layers{true, false, true, false}));
}

TEST(HfConfig, LayerTypesNameEveryLayerOnce) {
  const auto fault = [](const std::string& types) {
    return error(R"({"model_type": "llama", "num_hidden_layers": 2, "layer_types": )" + types +
                 "}");
  };
  EXPECT_EQ(
      fault(R"(["full_attention", "chunked_attention"])"),
      "config.json:layer_types[1]: 'chunked_attention' is not built here (capture the model)");
  EXPECT_EQ(fault(R"(["full_attention", "sliding"])"),
            "config.json:layer_types[1]: unknown 'sliding' (known here: full_attention, "
            "sliding_attention)");
  EXPECT_EQ(fault(R"(["full_attention"])"), "config.json:layer_types: names 1 layers of 2");
  EXPECT_EQ(fault(R"(["attention", "full_attention", 3])"),
            "config.json:layer_types[2]: must be a string, is 3");
  EXPECT_EQ(fault(R"(["attention", "full_attention"])"), "no error");  // as older files say it
}

TEST(HfConfig, WhatChangesAStepButNotTheModelIsTold) {
  EXPECT_EQ(notes(R"("model_type": "whisper", "encoder_layers": 2, "decoder_layers": 1,
                     "encoder_layerdrop": 0.1, "decoder_layerdrop": 0.0,
                     "gradient_checkpointing": true)"),
            (Notes{"encoder_layerdrop 0.1: counted as if no layer was dropped",
                   "gradient_checkpointing true: what is recomputed is the plan's choice"}));
  EXPECT_EQ(
      notes(R"("model_type": "deepseek_v3", "num_nextn_predict_layers": 1,
                     "moe_layer_freq": 2)"),
      (Notes{"num_nextn_predict_layers 1: layers that predict further tokens are left out, as "
             "by transformers",
             "moe_layer_freq: every layer after the dense ones has experts, as in "
             "transformers"}));
  EXPECT_EQ(error(R"({"model_type": "bert", "pruned_heads": {"0": [1]}})"),
            "config.json:pruned_heads: an object is not built here (capture the model)");
}

TEST(HfConfig, KeysThatAreOffAreNotWorthANote) {
  EXPECT_EQ(notes(R"("model_type": "llama", "num_extra_heads": 0, "use_extra_bias": false,
                     "extra_layers": null, "extra_blocks": [])"),
            Notes{});
  EXPECT_EQ(read(R"({"model_type": "clip", "vision_config": {"num_registers": 4}})").notes,
            Notes{"not understood and left out of vision_config: num_registers"});
}

TEST(HfConfig, NumbersThatOnlyPythonWritesAreRead) {
  EXPECT_EQ(notes(R"("model_type": "llama", "a": [0.0, Infinity], "b": -Infinity, "c": NaN)"),
            Notes{});
  EXPECT_EQ(error(R"({"model_type": "say \"Infinity", "a": Infinity})"),
            "config.json:model_type: unknown model type 'say \"Infinity' (capture it: python -m "
            "parallel_opt.capture file.py:factory -o model.pt2, or give file.py:factory as MODEL)");
}

TEST(HfConfig, TheEncoderOfT5Alone) {
  const Graph graph = read(R"({"model_type": "t5", "architectures": ["T5EncoderModel"],
      "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 100})");
  // words, position biases, and per layer four products of 32 x 32, two of 32 x 64, two norms
  EXPECT_EQ(count_parameters(graph).parameters,
            100 * 32 + 32 * 4 + 2 * (4 * 32 * 32 + 2 * 32 * 64 + 2 * 32) + 32);
  EXPECT_EQ(graph.inputs.size(), 1u);
}

TEST(HfConfig, AModelWithTwoHeadsIsNotTheBareModel) {
  EXPECT_EQ(error(R"({"model_type": "gpt2", "architectures": ["GPT2DoubleHeadsModel"]})"),
            "config.json:architectures[0]: the head of 'GPT2DoubleHeadsModel' is not built (known "
            "here: ...ForCausalLM, ...LMHeadModel, ...ForSequenceClassification, "
            "...ForTokenClassification, ...ForQuestionAnswering, ...Model; or capture it: python "
            "-m parallel_opt.capture file.py:factory -o model.pt2)");
}

TEST(HfConfig, AnUntiedHeadHasABiasOfItsOwn) {
  const auto parameters = [](const char* tied) {
    return count_parameters(read(std::string(R"({"model_type": "bert", "hidden_size": 32,
        "num_attention_heads": 4, "intermediate_size": 64, "num_hidden_layers": 1,
        "vocab_size": 100, "architectures": ["BertForMaskedLM"], "tie_word_embeddings": )") +
                                 tied + "}"))
        .parameters;
  };
  EXPECT_EQ(parameters("false") - parameters("true"), 100 * 32 + 100);
}

}  // namespace
}  // namespace parallel_opt
