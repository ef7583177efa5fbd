#include "parallel_opt/importers/tf_variables.h"

#include <gtest/gtest.h>

#include "tests/importers/archive.h"
#include "tests/importers/tf_builder.h"

namespace parallel_opt::tf {
namespace {

namespace wire = parallel_opt::testing::tf;
using parallel_opt::testing::error_of;

std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}

std::string entry(std::size_t shared, const std::string& rest, const std::string& value) {
  return varint(shared) + varint(rest.size()) + varint(value.size()) + rest + value;
}

/// Entries, one restart at 0, the number of restarts, the kind of compression, four bytes of check
/// sum.
std::string block(const std::string& entries, char compression = 0) {
  const std::string word(4, '\0');
  return entries + word + std::string("\x01\0\0\0", 4) + compression + word;
}

std::string bundle(int dtype, const wire::Dims& dims, std::int64_t shard = 0) {
  std::string bytes;
  wire::pbf_writer writer(bytes);
  writer.add_enum(1, dtype);
  writer.add_message(2, wire::shape(dims));
  writer.add_int64(3, shard);
  return bytes;
}

std::string table(const std::string& entries, char compression = 0) {
  const std::string data = block(entries, compression);
  const std::size_t data_size = data.size() - 5;
  const std::string index = block(entry(0, "z", varint(0) + varint(data_size)));
  std::string footer = varint(0) + varint(0) + varint(data.size()) + varint(index.size() - 5);
  footer.resize(40, '\0');
  const std::string magic("\x57\xfb\x80\x8b\x24\x75\x47\xdb", 8);
  return data + index + footer + magic;
}

const std::string kHeader = entry(0, "", std::string("\x08\x01", 2));  // one shard

TEST(VariableIndex, KeysShareTheirBeginnings) {
  const std::string bytes = table(kHeader + entry(0, "dense/bias", bundle(1, {10})) +
                                  entry(6, "kernel", bundle(1, {64, 10})));
  const VariableTable read = read_variable_index(bytes, "variables.index");
  ASSERT_EQ(read.entries.size(), 2u);
  EXPECT_EQ(read.entries.at("dense/kernel").shape.dims, (std::vector<std::int64_t>{64, 10}));
  EXPECT_EQ(read.shards, 1);
}

std::string variables_fault(const std::string& bytes) {
  return error_of([&] { read_variable_index(bytes, "v.index"); });
}

TEST(VariableIndex, DamageIsNamed) {
  const std::string good = table(kHeader + entry(0, "a", bundle(1, {2})));
  EXPECT_EQ(variables_fault(""), "v.index: is no table of variables (is the download complete?)");
  EXPECT_EQ(variables_fault(good.substr(0, good.size() - 1)),
            "v.index: is no table of variables (is the download complete?)");
  EXPECT_EQ(variables_fault(good.substr(20)),
            "v.index: ends in the middle of an entry (is the download complete?)");
  EXPECT_EQ(variables_fault(table(kHeader, 1)),
            "v.index: a block is compressed (TensorFlow writes such tables uncompressed: save the "
            "model again)");
  EXPECT_EQ(variables_fault(table(entry(3, "a", ""))),
            "v.index: a key shares more than the one before it has (is the file damaged?)");
}

TEST(VariableIndex, ShardsOutsideOfTheModelAreRefused) {
  EXPECT_EQ(variables_fault(table(kHeader + entry(0, "a", bundle(1, {2}, 7)))),
            "v.index:a: lies in shard 7 of 1 (is the file damaged?)");
}

TEST(DescribeVariables, CapturedObjectsSayWhatTrains) {
  MetaGraph meta;
  Node call;
  call.name = "call";
  call.op = "StatefulPartitionedCall";
  call.inputs = {"x", "gamma", "moving_mean"};
  Attr f;
  f.kind = Attr::Kind::function;
  f.text = "serve";
  call.attributes["f"] = f;
  meta.graph.nodes.push_back(call);
  meta.captures["serve"] = {1, 2};
  SavedObject root;
  root.children = {{1, "gamma"}, {2, "mean"}};
  SavedObject gamma;
  gamma.variable = gamma.trainable = true;
  gamma.shape.dims = {4};
  SavedObject mean;
  mean.variable = true;
  mean.shape.ranked = false;
  meta.objects = {root, gamma, mean};
  VariableTable index;
  index.entries["mean/.ATTRIBUTES/VARIABLE_VALUE"].shape.dims = {4};
  const auto facts = describe_variables(meta, index, "m");
  EXPECT_TRUE(facts.at("gamma").trainable);
  EXPECT_FALSE(facts.at("moving_mean").trainable);
  EXPECT_EQ(facts.at("moving_mean").shape.dims, (std::vector<std::int64_t>{4})) << "from the table";
  meta.captures["serve"] = {1, 9};
  EXPECT_EQ(error_of([&] { describe_variables(meta, index, "m"); }),
            "m:object_graph_def: function 'serve' uses object 9 of 3 (is the file damaged?)");
}

}  // namespace
}  // namespace parallel_opt::tf
