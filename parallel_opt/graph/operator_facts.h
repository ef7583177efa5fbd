#pragma once

#include <string>
#include <vector>

#include "parallel_opt/base/json.h"
#include "parallel_opt/graph/work.h"

namespace parallel_opt {

/// One operator as a machine sees it. Sums over its expected runs, whole batch.
struct OperatorFacts {
  std::string name;
  std::string target;
  OpClass op_class = OpClass::opaque;
  std::string module;
  Phase phase = Phase::forward;
  std::string block;  ///< innermost repeated block, "" outside of all
  double runs = 1;    ///< expected runs per run of the model: 1 but in control flow
  Flops flops;        ///< of the operator as written
  Flops backward_flops;
  double bytes = 0;        ///< read and written by it
  double saved_bytes = 0;  ///< first kept by it for the backward
  double intensity = 0;    ///< FLOPs per byte moved; 0: it moves nothing
  std::int32_t level = 0;  ///< operators that launch something on the longest chain before it
  bool operator==(const OperatorFacts&) const = default;
};

/// All but `block` and `level`, for every operator. Linear.
std::vector<OperatorFacts> operator_facts(const Graph& graph);

template <class Visitor, class T>
  requires SameAs<T, OperatorFacts>
void fields(Visitor& visit, T& o) {
  visit("name", o.name, "unique in its graph");
  visit("target", o.target, "aten.linear.default");
  visit("op_class", o.op_class, "family of operators that a device runs at like efficiency");
  visit.optional("module", o.module, "module that ran it");
  visit("phase", o.phase, "part of the step");
  visit.optional("block", o.block, "innermost repeated block");
  visit("runs", o.runs, "expected runs per run of the model");
  visit("flops", o.flops, "of the operator as written, all runs");
  visit("backward_flops", o.backward_flops, "of its gradients, derived");
  visit("bytes", o.bytes, "read and written by it, all runs");
  visit("saved_bytes", o.saved_bytes, "first kept by it for the backward");
  visit("intensity", o.intensity, "FLOPs per byte moved; 0: it moves nothing");
  visit("level", o.level, "operators on the longest chain before it");
}

}  // namespace parallel_opt
