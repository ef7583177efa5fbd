#include "parallel_opt/cost/device_text.h"

#include <gtest/gtest.h>

namespace parallel_opt {
namespace {

TEST(DeviceByText, FindsWhatTablesPrint) {
  const auto name = [](const char* text, const char* family = "") {
    const auto record = device_by_text(text, family);
    return record ? record->name : std::string("none");
  };
  EXPECT_EQ(name("H100-80GB", "H100"), "H100-SXM-80GB");
  EXPECT_EQ(name("A100 (DGX-A100)", "A100").substr(0, 8), "A100-SXM");
  EXPECT_EQ(name("V100-32GB (DGX-2)", "V100"), "V100-SXM-32GB");
  EXPECT_EQ(name("V100-16GB"), "V100-SXM-16GB");
  EXPECT_EQ(name("H200-SXM-141GB"), "H200-SXM-141GB");
  EXPECT_EQ(name("GB200-NVL72"), "GB200");
  EXPECT_EQ(name("B300-SXM"), "B300-SXM-288GB");
  EXPECT_EQ(name("RTX-4090"), "RTX-4090");
  EXPECT_EQ(name("A100 SXM 80G"), "A100-SXM-80GB");
  EXPECT_EQ(name("A100 80 GiB"), "A100-SXM-80GB");
  EXPECT_EQ(name("AWS Trainium (trn1.32xlarge)"), "Trainium1");
  EXPECT_EQ(name("AWS Trainium 2"), "Trainium2");
  EXPECT_EQ(name("Abacus 9"), "none");
  for (const char* text : {"A100-80", "A100 (80GB)", "A100 (80 G)", "A100 80 GB", "8x A100-80"}) {
    EXPECT_EQ(name(text), "A100-SXM-80GB") << text;
  }
  EXPECT_EQ(name("A100 (40G)"), "A100-SXM-40GB");
  for (const char* text : {"4090", "8x 4090", "RTX4090 24G", "GeForce RTX4090"}) {
    EXPECT_EQ(name(text), "RTX-4090") << text;
  }
  for (const char* text : {"RTX 5060 Ti 16GB", "NVIDIA GeForce RTX 5060 Ti", "RTX 5060 Ti"}) {
    EXPECT_EQ(name(text), "RTX-5060-Ti-16GB") << text;
  }
  EXPECT_EQ(name("GeForce RTX 2070 SUPER"), "RTX-2070-Super");
  // A laptop's chip is another than the desktop's of that name.
  EXPECT_EQ(name("NVIDIA GeForce RTX 4090 Laptop GPU"), "RTX-4090-Laptop");
  EXPECT_EQ(name("RTX 3050 Ti Laptop (4 GB)"), "RTX-3050-Ti-Laptop");
  EXPECT_EQ(name("RTX 4070 Mobile"), "RTX-4070-Laptop");
  EXPECT_EQ(name("RTX 3060 12GB"), "RTX-3060");
  EXPECT_EQ(name("GTX 1660 Ti"), "GTX-1660-Ti");
  EXPECT_EQ(name("T4G"), "T4");
  EXPECT_EQ(name("910B"), "Ascend-910B2");
  EXPECT_EQ(name("910C"), "none");
  EXPECT_EQ(name("DGX-1"), "V100-SXM-16GB");
  EXPECT_EQ(name("DGX-1 32GB"), "V100-SXM-32GB");
  EXPECT_EQ(name("NVIDIA DGX-2"), "V100-SXM-32GB");
  EXPECT_EQ(name("TPU7x"), name("TPU v7"));
  EXPECT_EQ(device_by_text("MI250X (64 GB per GCD)", "")->memory_bytes->value,
            device_by_text("MI250X", "")->memory_bytes->value);
}

TEST(DeviceByText, TakesNoDeviceThatTheTextDoesNotName) {
  const auto name = [](const char* text) {
    const auto record = device_by_text(text, "");
    return record ? record->name : std::string("none");
  };
  EXPECT_EQ(name("NVIDIA A2"), "A2");
  EXPECT_EQ(name("Atlas 900 A2"), "Ascend-910B2");
  EXPECT_EQ(name("Atlas 800T A2"), "Ascend-910B2");
  for (const char* text : {"Ascend 910B", "Ascend910B", "Ascend 910B2"}) {
    EXPECT_EQ(name(text), "Ascend-910B2") << text;
  }
  EXPECT_EQ(name("Ascend 910"), "Ascend-910A");
  for (const char* text : {"TPU v5 lite", "TPU v5litepod", "v5litepod-256", "v5e", "TPU v5e"}) {
    EXPECT_EQ(name(text), "TPU-v5e") << text;
  }
  EXPECT_EQ(name("TPU v4 pod"), "TPU-v4");
  EXPECT_EQ(name("Grace Hopper"), "GH200-96GB");
  EXPECT_EQ(name("p4d.24xlarge"), "A100-SXM-40GB");
  EXPECT_EQ(name("p4de.24xlarge"), "A100-SXM-80GB");
  for (const char* text : {"A100 80GB (PCIe)", "A100 80GB (PCIe 4.0)", "A100 80GB PCI-E",
                           "A100 80GB (PCI Express)", "A100-80GB (300W PCIe)"}) {
    EXPECT_EQ(name(text), "A100-PCIe-80GB") << text;
  }
  EXPECT_EQ(name("H100 (NVL)"), "H100-NVL-94GB");
  EXPECT_EQ(name("H100 (SXM)"), "H100-SXM-80GB");
  EXPECT_EQ(name("RTX 4080 Super"), "RTX-4080-Super");
  EXPECT_EQ(name("RTX 4090 Mobile"), "RTX-4090-Laptop");
  EXPECT_EQ(name("GH200 Grace Hopper Superchip"), "GH200-96GB");
  for (const char* text :
       {"Atlas 300", "Atlas 900 A3", "Atlas 300I A2", "Ascend 910C", "Ascend 910D", "Ascend 910B1",
        "Ascend910B3", "TPU v9", "TPU", "RTX", "4090D", "RTX 4090 D", "RTX 5090 Laptop",
        "RTX 3070 Ti", "RTX 4070 Super", "RTX 4070 Ti Super", "RTX 3080 Max-Q",
        "RTX 5070 Mobile"}) {
    EXPECT_EQ(name(text), "none") << text;
  }
}

TEST(DeviceByText, AppliesTheLimitsInBrackets) {
  const auto record = device_by_text("H100-96GB-HBM2e (2.4TB/s, 500W limit)", "H100");
  ASSERT_TRUE(record);
  EXPECT_EQ(record->memory_bytes_per_s.value, 2.4e12);
  EXPECT_EQ(record->max_w->value, 500);
  EXPECT_EQ(device_by_text("A100-80GB @ 250W", "")->max_w->value, 250);
  EXPECT_EQ(device_by_text("H100 (power capped 350 W)", "")->max_w->value, 350);
  EXPECT_EQ(record->flops_per_s.at("bf16").value, 989.4e12);  // the cost model knows what it takes
}

}  // namespace
}  // namespace parallel_opt
