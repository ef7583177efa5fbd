#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "parallel_opt/cost/accuracy.h"
#include "parallel_opt/cost/network_text.h"
#include "parallel_opt/cost/row_model.h"
#include "parallel_opt/cost/stated_number.h"
#include "tests/cost/row_fixture.h"

/// Tables hold what people type: no cell may end the program.
namespace parallel_opt {
namespace {

using Cells = std::map<std::string, std::string>;

const Cells kGood = {{"id", "a-1"},
                     {"gpu", "A100-SXM4-80GB"},
                     {"gpus", "16"},
                     {"gpus_per_node", "8"},
                     {"interconnect", "InfiniBand"},
                     {"framework", "Megatron-LM"},
                     {"workload", "pretrain"},
                     {"model_name", "GPT"},
                     {"layers", "2"},
                     {"hidden", "256"},
                     {"heads", "4"},
                     {"seq_len", "256"},
                     {"dtype", "bf16"},
                     {"tp", "1"},
                     {"pp", "1"},
                     {"dp", "16"},
                     {"micro_batch", "1"},
                     {"global_batch", "16"},
                     {"metric_iter_time_s", "1.0"},
                     {"recompute", ""},
                     {"fsdp_zero", ""},
                     {"notes", ""}};

Accuracy scored(const Cells& cells) {
  std::string names, values;
  for (const auto& [name, value] : cells) {
    names += (names.empty() ? "" : ",") + name;
    std::string quoted;
    for (const char c : value) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
    values += (values.empty() ? "\"" : ",\"") + quoted + "\"";
  }
  const MeasuredRows rows = read_measured_rows({read_csv(names + "\n" + values + "\n", "t.csv")});
  return score_rows(rows, [](const TrainingRow& row) -> RowAnswer {
    const auto found = row_case(row);
    if (const auto* why = std::get_if<std::string>(&found)) return *why;
    return predict(std::get<RowCase>(found), layout_parameters());
  });
}

Cells with(const std::string& column, const std::string& value) {
  Cells cells = kGood;
  cells[column] = value;
  return cells;
}

std::string repeated(const std::string& text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}

TEST(HostileRows, TheGoodOneIsUsed) {
  const Accuracy accuracy = scored(kGood);
  EXPECT_EQ(accuracy.used, 1) << accuracy.skipped.at(0).reason;
}

TEST(HostileRows, EveryColumnSurvivesEveryText) {
  const std::string texts[] = {repeated("1", 20'000),
                               repeated("1.", 2'000),
                               repeated("400 Gb/s ", 3'000),
                               repeated("9", 400) + " Gb/s InfiniBand",
                               repeated("9", 400) + "x HDR",
                               "0Gb/s",
                               "shard " + repeated("9", 400),
                               repeated("9", 400) + "b",
                               "tp*pp=" + repeated("9", 400),
                               repeated("9", 400) + " TB/s",
                               "... TB/s",
                               "0 GB",
                               "offload " + repeated("9", 400) + " GB",
                               "\xff\xfe",
                               "\"quoted\"\nsecond line"};
  for (const auto& [column, value] : kGood) {
    for (const std::string& text : texts) {
      try {
        const Accuracy accuracy = scored(with(column, text));
        EXPECT_EQ(accuracy.used + std::int64_t(accuracy.skipped.size()), accuracy.rows);
      } catch (const InputError& error) {  // refused, with the place
        EXPECT_TRUE(error.faults().front().where.starts_with("t.csv")) << error.what();
      }
    }
  }
}

TEST(HostileRows, TextsBeyondAllMeasureAreSkippedWithTheirName) {
  for (const char* column : {"gpu", "interconnect", "model_name", "notes"}) {
    const Accuracy accuracy = scored(with(column, repeated("1", 200'000)));
    ASSERT_EQ(accuracy.skipped.size(), 1u) << column;
    EXPECT_EQ(accuracy.skipped[0].reason, std::string(column) + " is longer than 4096 letters");
  }
}

TEST(HostileRows, ADegreeOfNothingIsNone) {
  for (const char* notes : {"tp*pp=0", "tp*pp=99999999999999999999"}) {
    Cells cells = with("notes", notes);
    cells["tp"] = cells["pp"] = cells["dp"] = "";
    const Accuracy accuracy = scored(cells);
    ASSERT_EQ(accuracy.skipped.size(), 1u);
    EXPECT_EQ(accuracy.skipped[0].reason, "tensor or pipeline degree is blank") << notes;
  }
}

TEST(HostileRows, ANetworkWithoutARateIsNotStated) {
  EXPECT_EQ(network_by_text("8x ConnectX-7 IB NDR 0Gb/s", 8).value().bytes_per_s, 50e9);
  EXPECT_FALSE(network_by_text("0 Gb/s InfiniBand", 8));
  EXPECT_FALSE(network_by_text(repeated("9", 400) + " Gb/s InfiniBand", 8));
  EXPECT_FALSE(network_by_text("0x HDR", 8));
  EXPECT_EQ(scored(with("interconnect", "0Gb/s InfiniBand")).used, 1);
}

TEST(StatedNumber, IsAnAmountOrNothing) {
  EXPECT_EQ(stated_number("400"), 400);
  EXPECT_EQ(stated_number("1.5"), 1.5);
  for (const char* none : {"", "0", "0.0", "1.2.3", ".", "12345678901234567890", "-1", "4x"}) {
    EXPECT_EQ(stated_number(none), std::nullopt) << none;
  }
}

}  // namespace
}  // namespace parallel_opt
