#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "parallel_opt/importers/tf_body.h"
#include "parallel_opt/importers/tf_context.h"

/// Runs a body's nodes in order: functions are inlined, control flow becomes regions, everything
/// else is left to its handler. Private to the importer.
namespace parallel_opt::tf {

/// How often a loop runs; `exact` when nothing else may end it sooner.
struct Trips {
  Dim count;
  bool exact = true;
};

class Importer {
 public:
  /// `budget`: nodes that may be visited, functions counted anew at each call.
  Importer(Context& context, std::string where, std::size_t budget)
      : c_(context), where_(std::move(where)), budget_(budget) {}

  void define(const std::vector<Function>& functions);
  /// Handles of variables by node name, as the object graph and the table of variables know them.
  std::map<std::string_view, VariableFacts> facts;
  /// Values of the main graph's inputs, by node name.
  std::map<std::string_view, ValueId> inputs;

  /// Runs `body` and gives the values of `results`.
  Values run(const Body& body, const std::vector<Source>& results, const Values& arguments,
             const std::string& scope);

 private:
  /// One run of one body.
  struct Run {
    const Body& body;
    const Values& arguments;
    std::string scope;                ///< "model/dense/": before the names of nodes
    RegionId base;                    ///< the region that the whole body stands in
    std::vector<Values> outputs;      ///< per node
    std::vector<RegionId> regions;    ///< per node
    std::vector<RegionId> frames;     ///< per frame of the body
    std::map<int, TensorId> carried;  ///< NextIteration -> what the Merge made
  };

  void visit(Run& run, int index);
  bool set_place(Run& run, int index, const Values& in);
  Values dispatch(Run& run, int index, const Values& in);
  Values simple(const Node& node, const Values& in, bool& done);
  ValueId value(const Run& run, const Source& source) const;

  Values constant(const Node& node);
  Values placeholder(const Node& node);
  Values handle(const Node& node);
  Values identity(const Node& node, const Values& in);

  const Body& function(std::string_view name);
  Values call(std::string_view name, const Values& arguments, const std::string& scope);

  // tf_control.cpp
  Values branch(const Node& node, const Values& in, const std::string& scope);
  Values loop(const Node& node, const Values& in, const std::string& scope);
  Values join_alternatives(const std::vector<Values>& results,
                           const std::vector<RegionId>& regions);
  ValueId joined(const Values& alternatives, const std::vector<RegionId>& regions);
  std::optional<Trips> trips(const Body& condition, const Body& body, const Values& in) const;
  std::optional<Values> control(Run& run, int index, const Values& in);
  Values enter(Run& run, int index, const Values& in);
  Values merge(Run& run, int index, const Values& in);
  Values exit(Run& run, int index, const Values& in);
  Values switch_on(Run& run, int index, const Values& in);
  void count_frame(Run& run, int index);
  std::optional<Trips> frame_trips(const Run& run, Source condition, int depth) const;
  void set_trips(RegionId region, const std::optional<Trips>& trips);

  Context& c_;
  std::string where_;
  std::size_t budget_;
  std::map<std::string_view, const Function*> functions_;
  std::map<std::string_view, std::unique_ptr<Body>> bodies_;
  std::vector<std::string_view> calls_;
  /// Condition, alternative and enclosing region -> region.
  std::map<std::tuple<ValueId, int, std::int32_t>, RegionId> alternatives_;
};

}  // namespace parallel_opt::tf
