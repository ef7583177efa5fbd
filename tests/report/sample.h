#pragma once

#include "parallel_opt/report/demo_document.h"

namespace parallel_opt {

inline DemoWay demo_way(double step_s, double peak_bytes) {
  DemoWay way;
  way.step_s = {step_s, step_s * 0.9, step_s * 1.2};
  way.samples_per_s = 16 / step_s;
  way.peak_bytes = peak_bytes;
  way.cpu_share = 0.9;
  way.losses = {2.0, 1.5, std::nullopt};
  way.held_out_loss = 1.6;
  way.plan = "1 rank x 2 threads";
  return way;
}

/// Plain 100 ms, fp32 90 ms, auto 50 ms; auto is predicted 6 % too fast.
inline DemoDocument demo_sample() {
  DemoDocument demo;
  demo.machine = {"2026-11-21", "CPU <1>", 2, 24e9, {"CPU"}, "3.11", "2.13.0", 2};
  DemoModel& model = demo.models.emplace_back();
  model.name = "gpt";
  model.title = "a language model";
  model.plain = demo_way(0.1, 4e8);
  model.fp32 = demo_way(0.09, 3.5e8);
  model.automatic = demo_way(0.05, 3e8);
  model.automatic.predicted = DemoPrediction{0.047, 3e8};
  model.automatic.reasons = {"bf16 is faster here"};
  model.automatic.notes = {"a fallback"};
  model.automatic.candidates = {
      {"bf16", true, within(0.047, 0.1, Quality::calibrated), exact(0.05), 3e8, "fastest"},
      {"fp32", false, exact(0.09), std::nullopt, std::nullopt, "slower"}};
  model.ratio = {{1.11, 1.05, 1.15}, {2.0, 1.9, 2.1}};
  model.agreement = DemoAgreements{{1e-6, 2e-6, 1e-4, true}, {0.5, std::nullopt, 1e-2, false}};
  return demo;
}

}  // namespace parallel_opt
