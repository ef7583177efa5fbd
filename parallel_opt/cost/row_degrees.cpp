#include "parallel_opt/cost/row_degrees.h"

#include <algorithm>
#include <cmath>
#include <regex>

#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/row_sharding.h"
#include "parallel_opt/cost/row_words.h"

namespace parallel_opt {
namespace {

/// Megatron's rule: tensor parallelism inside a node, pipelines between.
void split_as_megatron(int both, RowCase& out) {
  out.layout.tensor = std::min<int>(both, int(out.device.per_node));
  out.layout.pipeline = std::max(1, both / out.layout.tensor);
}

/// Whether a row's software spreads data, or shards of the model, over all devices unless it says
/// otherwise.
bool spreads_data(const TrainingRow& row, const RowCase& out) {
  static const std::regex none(R"(^(|0|no|none|false|off|n/?a|-|zero-?0)$)");
  return out.stack.spreads_unsaid || !sharding_named(row.framework).empty() ||
         !std::regex_match(lower_case(row.fsdp_zero), none);
}

/// One or both of tensor and pipeline degrees are blank: what the stated ones leave of the devices.
std::string fill_blanks(const TrainingRow& row, RowCase& out) {
  ParallelLayout& l = out.layout;
  const bool one = row.tp.has_value() != row.pp.has_value();
  const char* blank = !one ? "tp and pp" : row.tp ? "pp" : "tp";
  l.tensor = degree(row.tp);
  l.pipeline = degree(row.pp);
  const double stated = double(l.tensor) * l.pipeline * l.context * degree(row.dp);
  const double left = row.gpus.value_or(1) / stated;
  if (!row.dp) {
    if (left != 1 && !one && !spreads_data(row, out)) return "tensor or pipeline degree is blank";
    if (row.gpus.value_or(1) > 1)
      out.notes.push_back(std::string(blank) + " = 1, as none is stated");
    return "";
  }
  if (left < 1 || left != std::floor(left)) {
    return "tensor or pipeline degree is blank, and the others do not part the devices";
  }
  if (left == 1) {
    out.notes.push_back(std::string(blank) + " = 1: the other degrees take all devices");
  } else if (one) {
    (row.tp ? l.pipeline : l.tensor) = int(left);
    out.notes.push_back(std::string(blank) + " = what the other degrees leave of the devices");
  } else {
    split_as_megatron(int(left), out);
    out.notes.emplace_back("tp and pp = what dp leaves of the devices, tp inside a node");
  }
  return "";
}

}  // namespace

int degree(const std::optional<double>& value) {
  return value && *value >= 1 ? int(std::lround(*value)) : 1;
}

std::string fill_degrees(const TrainingRow& row, RowCase& out) {
  ParallelLayout& l = out.layout;
  l.context = degree(row.cp);
  static const std::regex product(R"(tp\*pp=([1-9][0-9]{0,5})\b)");
  std::smatch match;
  if (row.tp && row.pp) {
    l.tensor = degree(row.tp);
    l.pipeline = degree(row.pp);
  } else if (std::regex_search(row.notes, match, product)) {
    split_as_megatron(std::stoi(match[1]), out);
  } else if (std::string missing = fill_blanks(row, out); !missing.empty()) {
    return missing;
  }
  l.expert = degree(row.ep);
  l.expert_tensor = std::min(degree(row.etp), l.tensor);
  const double model = double(l.tensor) * l.pipeline * l.context;
  const double gpus = row.gpus.value_or(1);
  l.data = row.dp ? degree(row.dp) : int(std::max(1.0, gpus / model));
  if (!row.dp && gpus > model && std::fmod(gpus, model) != 0) {
    out.notes.push_back("tp x pp x cp = " + std::to_string(std::int64_t(model)) +
                        " does not divide gpus: " + std::to_string(std::int64_t(l.data * model)) +
                        " of them count");
  }
  return "";
}

}  // namespace parallel_opt
