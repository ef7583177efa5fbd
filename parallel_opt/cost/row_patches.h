#pragma once

#include <optional>
#include <string>

#include "parallel_opt/cost/training_row.h"
#include "parallel_opt/cost/transformer_facts.h"

namespace parallel_opt {

/// A model whose tokens are patches of images, by the row's name of it: ViT and DeiT are encoders
/// with a token for the class, DiT those of a latent picture whose blocks are modulated.
struct PatchModel {
  std::string word;              ///< of data/models.json, "vit-b-16"; empty: its name has no size
  std::string spec;              ///< of what those do not have: "layers=28,..."
  std::optional<double> tokens;  ///< of a sample; absent: its patches are not stated
  std::string how;               ///< "224 x 224 in patches of 16"
  bool modulated = false;        ///< adaptive norms [peebles2023]
};

/// "LLaVA", "Qwen2-VL", "own VLM": a language model that is shown pictures.
bool is_shown_pictures(const std::string& name);

/// Empty for other models, those that are shown pictures among them. Image and patches are those of
/// the name ("ViT-L/14@336", "224/14") or of the notes, else the usual ones.
std::optional<PatchModel> patch_model(const TrainingRow& row);

/// Adds what makes scales, shifts and gates of a block from a sample's time and class: one product
/// of width x 6 width, per sample and not per token.
void add_modulation(TransformerFacts& facts, double width);

}  // namespace parallel_opt
