#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "parallel_opt/base/random.h"
#include "parallel_opt/plan/plan.h"

namespace parallel_opt {
namespace {

/// Plans and jobs with every field set to something else than its default, now and then.
class RandomDocuments {
 public:
  explicit RandomDocuments(std::uint64_t seed) : random_(seed) {}

  Job job() {
    Job job;
    job.global_batch = number();
    job.precision = any<Precision>();
    job.optimizer = any<Optimizer>();
    job.objective = any<Objective>();
    maybe(job.max_slowdown, [&] { return random_.uniform(); });
    maybe(job.memory_limit_bytes, [&] { return Bytes(std::int64_t(random_.next() >> 2)); });
    maybe(job.steps, [&] { return std::int64_t(number()); });
    job.target = word();
    maybe(job.loading, [&] { return DataLoading{random_.uniform(), number()}; });
    job.training = coin();
    Pins& pins = job.pins;
    for (auto* pin :
         {&pins.data, &pins.tensor, &pins.pipeline, &pins.context, &pins.expert, &pins.threads}) {
      maybe(*pin, [&] { return number(); });
    }
    maybe(pins.device, [&] { return any<DeviceKind>(); });
    maybe(pins.micro_batch, [&] { return std::int64_t(number()); });
    maybe(pins.compile, [&] { return coin(); });
    maybe(pins.memory_format, [&] { return any<MemoryFormat>(); });
    maybe(pins.attention, [&] { return any<AttentionKernel>(); });
    maybe(pins.fused_optimizer, [&] { return coin(); });
    maybe(pins.recompute, [&] { return word(); });
    return job;
  }

  Plan plan() {
    Plan plan;
    plan.model = word();
    plan.mesh = {number(), number(), number(), number(), number(), number()};
    plan.devices_used = number();
    fill(plan.placements, [&] {
      Placement place{number(), {}, number()};
      fill(place.cores, [&] { return number(); });
      return place;
    });
    plan.global_batch = number();
    plan.micro_batch = number();
    plan.micro_batches = number();
    fill(plan.shares, [&] { return std::int64_t(number()); });
    fill(plan.stages, [&] {
      Stage stage;
      fill(stage.blocks, [&] { return word(); });
      fill(stage.ranks, [&] { return number(); });
      return stage;
    });
    plan.schedule = word();
    plan.precision = any<Precision>();
    fill(plan.recompute, [&] {
      Recompute entry{word(), {}};
      fill(entry.parts, [&] { return word(); });
      return entry;
    });
    plan.execution = {coin(), any<MemoryFormat>(), any<AttentionKernel>(), coin(), coin()};
    plan.estimate = estimate();
    maybe(plan.certificate, [&] {
      Certificate certificate{word(), random_.uniform(), random_.uniform(), word(), {}};
      fill(certificate.pinned, [&] { return word(); });
      return certificate;
    });
    Provenance& from = plan.provenance;
    from.version = word();
    from.model_hash = word();
    from.cluster_hash = word();
    fill(from.measured, [&] { return word(); });
    maybe(from.model_source, [&] { return word(); });
    maybe(from.cluster_source, [&] { return word(); });
    maybe(from.seq, [&] { return std::int64_t(number()); });
    maybe(from.job, [&] { return job(); });
    return plan;
  }

 private:
  bool coin() { return random_.below(2) == 0; }
  int number() { return int(random_.below(1U << 31)); }
  Uncertain uncertain() {
    return {random_.uniform() * 1e-7, random_.uniform(), random_.uniform() * 1e30, any<Quality>()};
  }
  std::string word() {
    static const char* const words[] = {
        "",       "gpt",        "a \"b\"", "back\\slash", "new\nline", "\xc3\xa9\xe2\x82\xac",
        "\t\x01", "layers.0.fc"};
    return words[random_.below(std::size(words))];
  }
  template <class E>
  E any() {
    return E(random_.below(enum_names(E{}).size()));
  }
  template <class T, class Make>
  void maybe(std::optional<T>& value, const Make& make) {
    if (coin()) value = make();
  }
  template <class T, class Make>
  void fill(std::vector<T>& list, const Make& make) {
    for (std::uint64_t n = random_.below(3); n > 0; --n) list.push_back(make());
  }
  Estimate estimate() {
    Estimate e;
    e.step_time_s = uncertain();
    e.samples_per_s = uncertain();
    e.peak_memory_bytes = uncertain();
    for (auto* part : {&e.tokens_per_s, &e.energy_j, &e.money_usd, &e.warm_up_s}) {
      maybe(*part, [&] { return uncertain(); });
    }
    fill(e.items, [&] {
      EstimateItem item{word(), {}, {}, {}};
      for (auto* part : {&item.seconds, &item.bytes, &item.joules}) {
        maybe(*part, [&] { return random_.uniform(); });
      }
      return item;
    });
    return e;
  }
  Random random_;
};

TEST(PlanJson, RandomPlansReadBackEqual) {
  RandomDocuments documents(20261127);
  for (int i = 0; i < 300; ++i) {
    const Plan plan = documents.plan();
    const std::string text = to_json(plan);
    ASSERT_EQ(from_json<Plan>(text, "plan.json"), plan) << text;
    ASSERT_EQ(from_json<Plan>(to_json(plan, 0), "plan.json"), plan);
    ASSERT_EQ(to_json(from_json<Plan>(text, "plan.json")), text);  // same bytes
  }
}

TEST(JobJson, RandomJobsReadBackEqual) {
  RandomDocuments documents(7);
  for (int i = 0; i < 300; ++i) {
    const Job job = documents.job();
    ASSERT_EQ(from_json<Job>(to_json(job), "job.json"), job) << to_json(job);
  }
}

std::string refusal(const nlohmann::json& json) {
  try {
    from_json<Plan>(json.dump(), "plan.json");
  } catch (const InputError& error) {
    return error.what();
  }
  return "accepted";
}

nlohmann::json plain_plan() {
  Plan plan;
  plan.model = "gpt";
  plan.placements = {{0, {0, 1}, 2}};
  plan.shares = {8};
  plan.stages = {{{}, {0}}};
  return nlohmann::json::parse(to_json(plan));
}

TEST(PlanJson, EveryRequiredFieldIsMissedByName) {
  ASSERT_EQ(refusal(plain_plan()), "accepted");
  const std::set<std::string> optional = {"schedule"};
  int missed = 0;
  const nlohmann::json whole = plain_plan();
  for (const auto& [key, value] : whole.items()) {
    if (key == "schema") continue;
    nlohmann::json json = plain_plan();
    json.erase(key);
    if (optional.contains(key)) {
      EXPECT_EQ(refusal(json), "accepted") << key;
      continue;
    }
    EXPECT_EQ(refusal(json), "plan.json: field \"" + key + "\" is missing");
    json[key] = nullptr;
    EXPECT_EQ(refusal(json), "plan.json: field \"" + key + "\" is missing");
    ++missed;
  }
  EXPECT_EQ(missed, 14);
}

TEST(PlanJson, EveryFieldOfAnotherKindIsRefusedWhereItStands) {
  const nlohmann::json whole = plain_plan();
  for (const auto& [key, value] : whole.items()) {
    nlohmann::json json = whole;
    json[key] = true;  // no field of a plan itself is a switch
    const std::string text = refusal(json);
    const std::string wanted = key == "schema"     ? "plan.json: field \"schema\" is missing"
                               : value.is_object() ? ": expected an object, found true or false"
                               : value.is_array()  ? ": expected a list, found true or false"
                               : value.is_string() ? ": expected a string, found true or false"
                               : value.is_number()
                                   ? ": expected a whole number, found true or false"
                                   : "?";
    EXPECT_TRUE(text.starts_with(key == "schema" ? wanted : "plan.json:" + key + wanted)) << text;
  }
}

TEST(PlanJson, FaultsDeepInsideAreAllNamed) {
  nlohmann::json json = plain_plan();
  json["mesh"]["tensor"] = 1.5;
  json["mesh"]["rows"] = 2;
  json["placements"][0]["cores"][1] = "two";
  json["placements"][0]["device"] = 3'000'000'000;
  json["shares"][0] = nullptr;
  json["precision"] = "fp31";
  json["execution"].erase("compile");
  json["estimate"]["step_time_s"]["quality"] = "guessed";
  EXPECT_EQ(
      refusal(json),
      "plan.json:mesh.tensor: expected a whole number, found a number\n"
      "plan.json:mesh: unknown field \"rows\" (known: pipeline, data, shard, context, expert, "
      "tensor)\n"
      "plan.json:placements[0].device: 3000000000 is out of range (from -2147483648 to "
      "2147483647)\n"
      "plan.json:placements[0].cores[1]: expected a whole number, found a string\n"
      "plan.json:shares[0]: expected a whole number, found null\n"
      "plan.json:precision: unknown value \"fp31\" (known: auto, fp32, bf16, fp16, fp8)\n"
      "plan.json:execution: field \"compile\" is missing\n"
      "plan.json:estimate.step_time_s.quality: unknown value \"guessed\" (known: counter, "
      "measured, integrated_power, calibrated, reported, database, modelled, assumed, "
      "unavailable)");
}

TEST(PlanJson, AnotherDocumentIsNoPlan) {
  nlohmann::json json = plain_plan();
  json["schema"] = "parallel-opt/graph/1";
  EXPECT_EQ(refusal(json),
            "plan.json:schema: is \"parallel-opt/graph/1\", expected \"parallel-opt/plan/1\" (is "
            "this the right file?)");
  json["schema"] = "parallel-opt/plan/2";
  EXPECT_TRUE(refusal(json).starts_with("plan.json:schema: ")) << refusal(json);
  EXPECT_EQ(refusal(nlohmann::json::array()), "plan.json: expected an object, found a list");
}

TEST(PlanJson, EveryTruncationIsAnError) {
  const std::string whole = plain_plan().dump();
  for (std::size_t length = 0; length < whole.size(); length += 3) {
    EXPECT_THROW(from_json<Plan>(whole.substr(0, length), "plan.json"), InputError) << length;
  }
}

}  // namespace
}  // namespace parallel_opt
