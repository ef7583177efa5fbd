#include "parallel_opt/cost/measured_rows.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <map>
#include <regex>
#include <utility>

#include "parallel_opt/base/error.h"
#include "parallel_opt/base/text.h"
#include "parallel_opt/cost/measured_rows_impl.h"
#include "parallel_opt/cost/row_figures.h"

namespace parallel_opt {
namespace {

using Row = TrainingRow;

constexpr auto kColumns = std::to_array<RowColumn>({
    {"source", &Row::source},
    {"gpu", &Row::gpu},
    {"gpu_family", &Row::gpu_family},
    {"interconnect", &Row::interconnect},
    {"framework", &Row::framework},
    {"workload", &Row::workload},
    {"model_name", &Row::model_name},
    {"dtype", &Row::dtype},
    {"fsdp_zero", &Row::fsdp_zero},
    {"sequence_parallel", &Row::sequence_parallel},
    {"recompute", &Row::recompute},
    {"offload", &Row::offload},
    {"schedule", &Row::schedule},
    {"gpus", nullptr, &Row::gpus},
    {"gpus_per_node", nullptr, &Row::gpus_per_node},
    {"params_b", nullptr, &Row::params_b},
    {"layers", nullptr, &Row::layers},
    {"hidden", nullptr, &Row::hidden},
    {"heads", nullptr, &Row::heads},
    {"kv_heads", nullptr, &Row::kv_heads},
    {"ffn_hidden", nullptr, &Row::ffn_hidden},
    {"vocab", nullptr, &Row::vocab},
    {"seq_len", nullptr, &Row::seq_len},
    {"experts", nullptr, &Row::experts},
    {"topk", nullptr, &Row::topk},
    {"tp", nullptr, &Row::tp},
    {"pp", nullptr, &Row::pp},
    {"vp", nullptr, &Row::vp},
    {"cp", nullptr, &Row::cp},
    {"ep", nullptr, &Row::ep},
    {"etp", nullptr, &Row::etp},
    {"dp", nullptr, &Row::dp},
    {"micro_batch", nullptr, &Row::micro_batch},
    {"grad_accum", nullptr, &Row::grad_accum},
    {"global_batch", nullptr, &Row::global_batch},
});

/// Columns that are read for what they say of a measurement, or known to say nothing of it.
constexpr auto kOtherColumns = std::to_array<std::string_view>(
    {"id", "training_id", "notes", "status", "memory_unit", "peak_memory_gb", "metric_iter_time_s",
     "metric_tokens_per_s_per_gpu", "metric_samples_per_s", "metric_tflops_per_gpu", "tflops_kind",
     "metric_mfu_pct", "metric_hfu_pct", "source_repo_or_paper", "source_path_or_table",
     "source_path", "source_commit", "derived"});

constexpr auto kMeasuredColumns = std::to_array<std::string_view>(
    {"metric_iter_time_s", "metric_tokens_per_s_per_gpu", "metric_samples_per_s",
     "metric_tflops_per_gpu", "metric_mfu_pct", "metric_hfu_pct", "peak_memory_gb"});

/// Whether a cell says that nothing is known: a dash, or what tables of Python and R print. "None"
/// is an answer in columns that may be off.
bool is_blank(const std::string& cell, std::string_view column) {
  static constexpr auto kBlanks = std::to_array<std::string_view>(
      {"nan", "n/a", "na", "n.a.", "<na>", "-", "--", "null", "none", "?"});
  static constexpr auto kMayBeOff =
      std::to_array<std::string_view>({"fsdp_zero", "sequence_parallel", "recompute", "offload"});
  const std::string word = lower_case(cell);
  if (std::ranges::find(kBlanks, std::string_view(word)) == kBlanks.end()) return false;
  return word != "none" || std::ranges::find(kMayBeOff, column) == kMayBeOff.end();
}

bool says_out_of_memory(const std::string& cell) {
  static const std::regex words(R"(\boom\b|out[ -_]of[ -_]memory)", std::regex::icase);
  return std::regex_search(cell, words);
}

/// "GiB" and "GiB as printed".
bool same_unit(const std::string& one, const std::string& other) {
  const std::string low = lower_case(other);
  return lower_case(one) == low.substr(0, low.find_first_of(" (,;"));
}

const RowColumn* column_named(std::string_view name) {
  const auto* const found = std::ranges::find(kColumns, name, &RowColumn::name);
  return found == kColumns.end() ? nullptr : found;
}

bool is_read(const std::string& column) {
  return column_named(column) != nullptr || std::ranges::count(kOtherColumns, column) > 0;
}

/// One table while it is read.
class TableReader {
 public:
  TableReader(const CsvTable& table, std::vector<Fault>& faults) : table_(table), faults_(faults) {
    for (const std::string& column : table.columns) {
      columns_.push_back(lower_case(std::string(trim(column))));
    }
  }

  TableKind kind() const {
    if (find("status")) return TableKind::failures;
    return find("training_id") ? TableKind::memory : TableKind::training;
  }

  /// False when a column is missing that the rows cannot do without.
  bool check_columns(std::vector<std::string>& notes) const {
    std::vector<std::string> ignored;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const std::string& stated = table_.columns[i];
      const auto first = std::size_t(std::ranges::find(columns_, columns_[i]) - columns_.begin());
      if (!is_read(columns_[i])) {
        ignored.push_back(columns_[i].empty() ? "(no name)" : stated);
      } else if (first < i) {
        faults_.push_back({table_.name + ":1",
                           "columns \"" + table_.columns[first] + "\" and \"" + stated +
                               "\" are both " + columns_[i],
                           "rename one"});
      }
    }
    if (!ignored.empty()) {
      notes.push_back(table_.name + ": columns passed over: " + join(ignored, ", "));
    }
    const bool measured =
        kind() == TableKind::failures ||
        std::ranges::any_of(kMeasuredColumns, [&](auto name) { return bool(find(name)); });
    if (!find("id")) {
      missing("id", "is it separated by commas, with a header line?");
    } else if (!measured) {
      missing("metric_iter_time_s",
              "or another measured figure: metric_tokens_per_s_per_gpu, "
              "metric_samples_per_s, peak_memory_gb, status");
    }
    return find("id") && measured;
  }

  RawRow row(const CsvRecord& record) const {
    RawRow raw;
    raw.kind = kind();
    raw.where = table_.where(record);
    for (const RowColumn& column : kColumns) {
      if (column.number != nullptr) {
        raw.row.*column.number = number(record, column.name, raw);
      } else if (column.name != "source") {
        raw.row.*column.text = text(record, column.name);
      }
    }
    raw.row.id = cell(record, "id");
    raw.row.notes = text(record, "notes");
    raw.provenance = text(record, "source");
    raw.training_id = text(record, "training_id");
    raw.status = text(record, "status");
    if (raw.kind == TableKind::failures && ran(raw.status)) {
      raw.kind = TableKind::training;
      raw.says_it_ran = !raw.status.empty();
    }
    raw.memory_unit = text(record, "memory_unit");
    raw.peak_memory_gb = measured(record, "peak_memory_gb", raw);
    raw.iteration_s = measured(record, "metric_iter_time_s", raw);
    raw.tokens_per_s_per_gpu = measured(record, "metric_tokens_per_s_per_gpu", raw);
    raw.samples_per_s = measured(record, "metric_samples_per_s", raw);
    raw.tflops_per_gpu = measured(record, "metric_tflops_per_gpu", raw);
    raw.mfu_pct = measured(record, "metric_mfu_pct", raw);
    raw.hfu_pct = measured(record, "metric_hfu_pct", raw);
    raw.tflops_kind = text(record, "tflops_kind");
    return raw;
  }

 private:
  /// By its name without regard to case and blanks around it.
  std::optional<std::size_t> find(std::string_view column) const {
    const auto found = std::ranges::find(columns_, column);
    if (found == columns_.end()) return std::nullopt;
    return static_cast<std::size_t>(found - columns_.begin());
  }

  void missing(std::string_view column, std::string hint) const {
    faults_.push_back(
        {table_.name, "column \"" + std::string(column) + "\" is missing", std::move(hint)});
  }

  std::string cell(const CsvRecord& record, std::string_view name) const {
    const std::optional<std::size_t> at = find(name);
    return at ? std::string(trim(record.cells[*at])) : "";
  }

  std::string text(const CsvRecord& record, std::string_view name) const {
    std::string found = cell(record, name);
    return is_blank(found, name) ? "" : found;
  }

  /// A figure, unless it says that there was no memory for the run: that is a failure.
  std::optional<double> measured(const CsvRecord& record, std::string_view name,
                                 RawRow& raw) const {
    if (raw.kind == TableKind::memory || !says_out_of_memory(cell(record, name))) {
      return number(record, name, raw);
    }
    raw.kind = TableKind::failures;
    raw.status = "OOM";
    return std::nullopt;
  }

  std::optional<double> number(const CsvRecord& record, std::string_view name, RawRow& raw) const {
    std::string found = text(record, name);
    if (found.empty()) return std::nullopt;
    if (name == "global_batch") {
      found = without_tokens(found);
      raw.token_batch = tokens_of_batch(found);
      if (raw.token_batch) return std::nullopt;
    }
    const std::optional<Figure> figure = figure_in(found, name);
    static const std::regex chips(R"(\bchips?\s*$)", std::regex::icase);
    if (figure && std::regex_search(found, chips)) raw.of_chips.emplace_back(name);
    if (figure && name == "metric_samples_per_s") raw.samples_of_device = figure->of_device;
    std::string wrong = std::string(name) + " \"" + found + "\" is no number of at least 0";
    if (figure) {
      if (raw.memory_unit.empty()) raw.memory_unit = figure->unit;
      if (figure->unit.empty() || same_unit(figure->unit, raw.memory_unit)) return figure->value;
      wrong = std::string(name) + " is in " + figure->unit + ", and memory_unit is \"" +
              raw.memory_unit + "\"";
    }
    if (raw.unreadable.empty()) raw.unreadable = wrong;
    return std::nullopt;
  }

  const CsvTable& table_;
  std::vector<std::string> columns_;  // lower case, trimmed
  std::vector<Fault>& faults_;
};

/// "tables/mine.csv:12" -> "mine-12".
std::string id_of_place(const std::string& where) {
  const std::size_t colon = where.rfind(':');
  return std::filesystem::path(where.substr(0, colon)).stem().string() + '-' +
         where.substr(colon + 1);
}

/// The rows that stand for themselves, each by a name of its own.
class RowsById {
 public:
  RawRow* find(const std::string& id) {
    const auto place = places_.find(id);
    return place == places_.end() ? nullptr : &rows[place->second];
  }

  /// Blank ids become the row's place, and of equal ones all but the first are numbered.
  void add(RawRow raw) {
    std::string& id = raw.row.id;
    if (id.empty()) {
      id = id_of_place(raw.where);
      ++unnamed_;
    }
    const std::string stated = id;
    bool fresh = places_.emplace(id, rows.size()).second;
    if (!fresh) note_repeat(raw);
    while (!fresh) {
      id =
          stated + " (" + std::to_string(++last_number_.try_emplace(stated, 1).first->second) + ")";
      fresh = places_.emplace(id, rows.size()).second;
    }
    rows.push_back(std::move(raw));
  }

  void tell(std::vector<std::string>& notes) const {
    const auto told = [&](std::size_t count, const std::string& what) {
      if (count > 0)
        notes.push_back(std::to_string(count) + (count == 1 ? " row" : " rows") + what);
    };
    told(unnamed_, ": named after file and line, as id is blank");
    told(repeated_, ": the id is another row's too, so a number is added to it: " + examples_);
  }

  std::vector<RawRow> rows;

 private:
  static constexpr std::size_t kExamples = 3;

  void note_repeat(const RawRow& raw) {
    ++repeated_;
    if (repeated_ <= kExamples) {
      examples_ += (repeated_ > 1 ? ", \"" : "\"") + raw.row.id + "\" of " + raw.where;
    } else if (repeated_ == kExamples + 1) {
      examples_ += ", ...";
    }
  }

  std::map<std::string, std::size_t> places_, last_number_;
  std::size_t unnamed_ = 0, repeated_ = 0;
  std::string examples_;
};

/// Peak memories go to the rows that they are of; the others stand for themselves, by the name of
/// what they are of.
void join_memory(std::vector<RawRow> memory, RowsById& rows) {
  for (RawRow& raw : memory) {
    if (!raw.training_id.empty()) raw.row.id = raw.training_id;
    RawRow* const timed = rows.find(raw.row.id);
    if (timed == nullptr) {
      rows.add(std::move(raw));
    } else if (!raw.unreadable.empty()) {
      timed->unreadable = raw.unreadable;
    } else if (raw.peak_memory_gb) {
      timed->peak_memory_gb = raw.peak_memory_gb;
      timed->memory_unit = raw.memory_unit;
    }
  }
}

}  // namespace

std::span<const RowColumn> row_columns() { return kColumns; }

std::string cell_text(const TrainingRow& row, const RowColumn& column) {
  if (column.text != nullptr) return row.*column.text;
  const std::optional<double>& number = row.*column.number;
  if (!number) return "";
  std::array<char, 32> buffer;
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), *number);
  return {buffer.data(), end};
}

MeasuredRows read_measured_rows(const std::vector<CsvTable>& tables) {
  std::vector<Fault> faults;
  MeasuredRows result;
  std::vector<RawRow> memory;
  RowsById rows;
  for (const CsvTable& table : tables) {
    const TableReader reader(table, faults);
    if (!reader.check_columns(result.notes)) continue;
    for (const CsvRecord& record : table.records) {
      RawRow raw = reader.row(record);
      if (raw.kind == TableKind::memory) {
        memory.push_back(std::move(raw));
      } else {
        rows.add(std::move(raw));
      }
    }
  }
  throw_if_any(std::move(faults));
  join_memory(std::move(memory), rows);
  rows.tell(result.notes);
  complete_rows(rows.rows, result);
  return result;
}

}  // namespace parallel_opt
