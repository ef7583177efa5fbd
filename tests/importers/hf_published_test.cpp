#include <gtest/gtest.h>

#include <string>

#include "parallel_opt/graph/graph.h"
#include "parallel_opt/importers/hf_config.h"

namespace parallel_opt {
namespace {

/// What a config.json holds, in short, and the number of parameters that its model is known to have
/// (model cards, papers, `model.num_parameters()` of the published checkpoint).
struct Published {
  const char* name;
  const char* fields;
  std::int64_t parameters;
};

void expect_totals(std::initializer_list<Published> models) {
  for (const Published& model : models) {
    const Graph graph =
        read_hf_config("{" + std::string(model.fields) + "}", std::string(model.name) + ".json");
    EXPECT_EQ(count_parameters(graph).parameters, model.parameters) << model.name;
  }
}

TEST(HfPublished, Encoders) {
  expect_totals({
      {"bert-base-uncased", R"("model_type": "bert", "architectures": ["BertModel"])", 109'482'240},
      {"bert-base-uncased", R"("model_type": "bert", "architectures": ["BertForMaskedLM"])",
       109'514'298},
      {"bert-base-cased", R"("model_type": "bert", "architectures": ["BertModel"],
                             "vocab_size": 28996)",
       108'310'272},
      {"bert-large-uncased", R"("model_type": "bert", "architectures": ["BertModel"],
                                "hidden_size": 1024, "intermediate_size": 4096,
                                "num_hidden_layers": 24, "num_attention_heads": 16)",
       335'141'888},
      {"distilbert-base-uncased", R"("model_type": "distilbert",
                                     "architectures": ["DistilBertModel"])",
       66'362'880},
      {"roberta-base", R"("model_type": "roberta", "architectures": ["RobertaModel"],
                          "max_position_embeddings": 514, "type_vocab_size": 1)",
       124'645'632},
      {"roberta-large", R"("model_type": "roberta", "architectures": ["RobertaModel"],
                           "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
                           "num_attention_heads": 16, "max_position_embeddings": 514,
                           "type_vocab_size": 1)",
       355'359'744},
      {"xlm-roberta-base", R"("model_type": "xlm-roberta", "architectures": ["XLMRobertaModel"],
                              "vocab_size": 250002, "max_position_embeddings": 514,
                              "type_vocab_size": 1)",
       278'043'648},
      {"albert-base-v2", R"("model_type": "albert", "architectures": ["AlbertModel"],
                            "hidden_size": 768, "intermediate_size": 3072,
                            "num_attention_heads": 12)",
       11'683'584},
      {"electra-small-discriminator", R"("model_type": "electra",
                                         "architectures": ["ElectraModel"])",
       13'483'008},
  });
}

TEST(HfPublished, EarlyDecoders) {
  expect_totals({
      {"gpt2", R"("model_type": "gpt2")", 124'439'808},
      {"gpt2-medium", R"("model_type": "gpt2", "n_embd": 1024, "n_layer": 24, "n_head": 16)",
       354'823'168},
      {"gpt2-large", R"("model_type": "gpt2", "n_embd": 1280, "n_layer": 36, "n_head": 20)",
       774'030'080},
      {"distilgpt2", R"("model_type": "gpt2", "n_layer": 6)", 81'912'576},
      {"gpt-j-6b", R"("model_type": "gptj", "tie_word_embeddings": false)", 6'050'882'784},
      {"opt-125m", R"("model_type": "opt")", 125'239'296},
      {"opt-1.3b", R"("model_type": "opt", "hidden_size": 2048, "ffn_dim": 8192,
                      "num_hidden_layers": 24, "num_attention_heads": 32,
                      "word_embed_proj_dim": 2048)",
       1'315'758'080},
      {"bloom-560m", R"("model_type": "bloom", "hidden_size": 1024, "n_layer": 24, "n_head": 16)",
       559'214'592},
      {"falcon-7b", R"("model_type": "falcon")", 6'921'720'704},
      {"pythia-70m", R"("model_type": "gpt_neox", "vocab_size": 50304, "hidden_size": 512,
                        "intermediate_size": 2048, "num_hidden_layers": 6,
                        "num_attention_heads": 8)",
       70'426'624},
  });
}

TEST(HfPublished, Decoders) {
  const char* const llama2 = R"("model_type": "llama", "architectures": ["LlamaForCausalLM"])";
  expect_totals({
      {"llama-2-7b", llama2, 6'738'415'616},
      {"llama-2-13b", R"("model_type": "llama", "hidden_size": 5120, "intermediate_size": 13824,
                         "num_hidden_layers": 40, "num_attention_heads": 40)",
       13'015'864'320},
      {"llama-3.2-1b", R"("model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192,
                          "num_hidden_layers": 16, "num_attention_heads": 32, "head_dim": 64,
                          "num_key_value_heads": 8, "vocab_size": 128256,
                          "tie_word_embeddings": true)",
       1'235'814'400},
      {"tinyllama-1.1b", R"("model_type": "llama", "hidden_size": 2048, "intermediate_size": 5632,
                            "num_hidden_layers": 22, "num_attention_heads": 32,
                            "num_key_value_heads": 4)",
       1'100'048'384},
      {"qwen2.5-0.5b", R"("model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864,
                          "num_hidden_layers": 24, "num_attention_heads": 14,
                          "num_key_value_heads": 2, "tie_word_embeddings": true)",
       494'032'768},
      {"qwen2.5-7b", R"("model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944,
                        "num_hidden_layers": 28, "num_attention_heads": 28,
                        "num_key_value_heads": 4, "vocab_size": 152064)",
       7'615'616'512},
      {"qwen3-0.6b", R"("model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072,
                        "num_hidden_layers": 28, "num_attention_heads": 16,
                        "num_key_value_heads": 8, "tie_word_embeddings": true)",
       596'049'920},
      {"gemma-2b", R"("model_type": "gemma", "hidden_size": 2048, "intermediate_size": 16384,
                      "num_hidden_layers": 18, "num_attention_heads": 8,
                      "num_key_value_heads": 1)",
       2'506'172'416},
      {"gemma-2-2b", R"("model_type": "gemma2")", 2'614'341'888},
      {"gemma-3-1b", R"("model_type": "gemma3_text", "vocab_size": 262144, "hidden_size": 1152,
                        "intermediate_size": 6912, "num_attention_heads": 4,
                        "num_key_value_heads": 1)",
       999'885'952},
      {"phi-2", R"("model_type": "phi", "hidden_size": 2560, "intermediate_size": 10240,
                   "num_hidden_layers": 32)",
       2'779'683'840},
      {"phi-3-mini", R"("model_type": "phi3")", 3'821'079'552},
      {"smollm3-3b", R"("model_type": "smollm3")", 3'075'098'624},
      {"olmoe-1b-7b", R"("model_type": "olmoe", "intermediate_size": 1024)", 6'919'161'856},
      {"mixtral-8x7b", R"("model_type": "mixtral")", 46'702'792'704},
  });
}

TEST(HfPublished, OtherModels) {
  expect_totals({
      {"t5-small", R"("model_type": "t5")", 60'506'624},
      {"t5-base", R"("model_type": "t5", "d_model": 768, "d_ff": 3072, "num_layers": 12,
                     "num_heads": 12)",
       222'903'552},
      {"bart-large", R"("model_type": "bart")", 406'291'456},
      {"mbart-large-50", R"("model_type": "mbart", "vocab_size": 250054)", 610'879'488},
      {"whisper-tiny", R"("model_type": "whisper")", 37'760'640},
      {"vit-base-patch16-224", R"("model_type": "vit", "num_labels": 1000)", 86'567'656},
      {"clip-vit-base-patch32", R"("model_type": "clip")", 151'277'313},
      {"mamba-130m", R"("model_type": "mamba", "num_hidden_layers": 24)", 129'135'360},
  });
}

}  // namespace
}  // namespace parallel_opt
