#pragma once

#include <gtest/gtest.h>

#include <string>

#include "parallel_opt/cost/accelerator.h"
#include "parallel_opt/cost/layout_cost.h"
#include "parallel_opt/importers/model.h"

namespace parallel_opt::testing {

/// A GPT of 32 blocks on A100s, and a mixture of 64 experts, 8 per token, on H100s, in Megatron.
class LayoutFixture : public ::testing::Test {
 protected:
  static TransformerFacts facts_of(const std::string& spec) {
    return transformer_facts(bind(load_model("transformer:" + spec), {{"batch", 1}}));
  }
  static Accelerator named(const std::string& name, const std::string& dtype = "bf16") {
    return *accelerator_of(*find_device(load_database(), name), dtype);
  }

  TransformerFacts dense = facts_of("layers=32,hidden=4096,heads=32,seq=2048,dtype=bf16");
  TransformerFacts mixture = facts_of(
      "layers=8,hidden=2048,heads=16,experts=64,top_k=8,expert_ffn=1024,seq=2048,dtype=bf16");
  Accelerator a100 = named("A100-SXM-80GB"), h100 = named("H100-SXM-80GB");
  SoftwareStack stack = *find_stack("megatron");
  LayoutParameters p = layout_parameters();

  LayoutCost cost(const ParallelLayout& l) const { return layout_cost(dense, a100, stack, l, p); }
};

}  // namespace parallel_opt::testing
