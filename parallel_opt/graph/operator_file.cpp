#include "parallel_opt/graph/operator_file.h"

#include <algorithm>
#include <map>
#include <set>

#include "parallel_opt/base/text.h"
#include "parallel_opt/graph/space_impl.h"
#include "parallel_opt/graph/symbol.h"

namespace parallel_opt {
namespace {

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> list = split(text, ' ');
  std::erase_if(list, [](const std::string& word) { return word.empty(); });
  return list;
}

/// Checks one row; `add` prefixes the place.
class RowChecker {
 public:
  RowChecker(const CustomOperator& custom, std::string where)
      : custom_(custom), where_(std::move(where)) {}

  std::vector<Fault> run() {
    check_target();
    if (custom_.op_class == OpClass::opaque) {
      add("class", "opaque is what an operator without a row is", "name the family it belongs to");
    }
    check_space();
    check_names("mixed", custom_.mixed);
    check_names("selected", custom_.selected);
    check_saves();
    check_formula("flops", custom_.flops);
    check_formula("other_flops", custom_.other_flops);
    check_formula("backward_flops", custom_.backward_flops);
    if (!(custom_.cost >= 0)) add("cost", "is negative", "0 or more");
    if (custom_.kernels < 0) add("kernels", "is negative", "0 or more");
    return std::move(faults_);
  }

 private:
  void add(const char* field, std::string what, std::string hint) {
    faults_.push_back({where_ + "." + field, std::move(what), std::move(hint)});
  }

  void check_target() {
    const std::string& t = custom_.target;
    const std::size_t dots = static_cast<std::size_t>(std::count(t.begin(), t.end(), '.'));
    if (t.find("::") != std::string::npos || dots != 1 || t.front() == '.' || t.back() == '.') {
      add("target", "'" + t + "' is no namespace and name", "write mylib.my_op");
    }
  }

  void check_space() {
    named_ = custom_.space.find("->") != std::string::npos;
    if (!named_) {
      if (!space_detail::is_rule(custom_.space)) {
        add("space", "'" + custom_.space + "' names no dimensions and no rule",
            "write x=b* k, w=n k -> b* n");
      }
      return;
    }
    const space_detail::SpacePattern pattern = space_detail::parse_pattern(custom_.space);
    for (const space_detail::OperandPattern& operand : pattern.operands) {
      if (!operand.argument.empty()) arguments_.insert(operand.argument);
    }
    results_ = pattern.results.size();
    for (const auto* side : {&pattern.operands, &pattern.results}) {
      for (const space_detail::OperandPattern& operand : *side) {
        if (std::ranges::count_if(operand.axes, [](const auto& a) { return a.star; }) > 1) {
          add("space", "two stars in one tensor of '" + custom_.space + "'",
              "a star stands for any number of dimensions: one is enough");
        }
        for (const space_detail::AxisName& axis : operand.axes) names_.insert(axis.name);
      }
    }
  }

  void check_names(const char* field, const std::string& text) {
    for (const std::string& name : words(text)) {
      if (named_ && !names_.contains(name)) unknown(field, name);
    }
  }

  void unknown(const char* field, const std::string& name) {
    const std::vector<std::string> known(names_.begin(), names_.end());
    const std::string nearest = nearest_match(name, known);
    add(field, "'" + name + "' is no dimension of the space",
        nearest.empty() ? "there are: " + join(known, " ") : "did you mean '" + nearest + "'?");
  }

  void check_saves() {
    for (const std::string& word : words(custom_.saves)) {
      if (word.starts_with('+')) {
        add("saves", "'" + word + "' is a rule of the table's own rows",
            "name arguments, out, out1, or a<b");
        continue;
      }
      const std::size_t bound = word.find('<');
      check_saved(word.substr(0, bound));
      if (bound != std::string::npos) check_saved(word.substr(bound + 1));
    }
  }

  /// An argument of the space, or a result: out, out1, ...
  void check_saved(const std::string& name) {
    if (!named_ || arguments_.contains(name) || (name == "out" && results_ > 0)) return;
    for (std::size_t i = 0; i < results_; ++i) {
      if (name == "out" + std::to_string(i)) return;
    }
    std::vector<std::string> known(arguments_.begin(), arguments_.end());
    known.emplace_back("out");
    add("saves", "'" + name + "' is no argument of the space and no result",
        "there are: " + join(known, " "));
  }

  void check_formula(const char* field, const std::string& text) {
    if (text.empty()) return;
    if (!named_) {
      add(field, "a formula needs a space that names its dimensions", "write x=b* k -> b*");
      return;
    }
    try {
      const Expression expression = parse_expression(text, where_ + "." + field);
      std::map<std::string, double> small, large;
      for (const std::string& name : symbols_of(expression)) {
        if (!names_.contains(name)) unknown(field, name);
        small[name] = 1;
        large[name] = 4096;
      }
      for (const auto* sizes : {&small, &large}) {
        const double count = evaluate_real(expression, *sizes);
        if (count >= 0 && count < 1e40) continue;
        add(field,
            "'" + text + "' is no count when every size is " + (sizes == &small ? "1" : "4096"),
            "operations are 0 or more, and finite");
        break;
      }
    } catch (const InputError& error) {
      faults_.insert(faults_.end(), error.faults().begin(), error.faults().end());
    }
  }

  const CustomOperator& custom_;
  std::string where_;
  bool named_ = false;
  std::set<std::string> names_, arguments_;
  std::size_t results_ = 0;
  std::vector<Fault> faults_;
};

}  // namespace

std::vector<Fault> check(const CustomOperator& custom, const std::string& where) {
  return RowChecker(custom, where).run();
}

OperatorFile operators_from_json(std::string_view text, const std::string& name) {
  OperatorFile file = from_json<OperatorFile>(text, name);
  std::vector<Fault> faults;
  std::set<std::string> targets;
  for (std::size_t i = 0; i < file.operators.size(); ++i) {
    const std::string where = name + ":operators[" + std::to_string(i) + "]";
    std::vector<Fault> found = check(file.operators[i], where);
    faults.insert(faults.end(), found.begin(), found.end());
    if (!targets.insert(file.operators[i].target).second) {
      faults.push_back({where + ".target", "a second row for '" + file.operators[i].target + "'",
                        "one row per operator"});
    }
  }
  throw_if_any(std::move(faults));
  return file;
}

Graph with_operators(Graph graph, const std::vector<CustomOperator>& operators) {
  for (const CustomOperator& custom : operators) {
    const auto same = std::ranges::find(graph.operators, custom.target, &CustomOperator::target);
    if (same == graph.operators.end()) {
      graph.operators.push_back(custom);
    } else {
      *same = custom;
    }
  }
  throw_if_any(check_custom_spaces(graph));
  return graph;
}

}  // namespace parallel_opt
