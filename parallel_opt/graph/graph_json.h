#pragma once

#include "parallel_opt/base/json.h"
#include "parallel_opt/graph/graph.h"
#include "parallel_opt/graph/operator_file.h"

namespace parallel_opt {

/// An attribute as JSON keeps its type: null, true, 3, "text", [1, 2], [true]; real numbers are
/// {"real": 0.5} and {"reals": [0.5]}, so that 1.0 does not come back as 1.
void write_json(JsonWriter& out, const Attribute& attribute);
void read_json(const JsonView& in, Attribute& attribute, std::vector<Fault>& faults);
template <>
void write_schema<Attribute>(JsonWriter& out, std::string_view description);

/// Reads a graph document, checks it, and throws one InputError with every fault.
Graph graph_from_json(std::string_view text, const std::string& name);

template <class Visitor, class T>
  requires SameAs<T, Dim>
void fields(Visitor& visit, T& dim) {
  visit("size", dim.size, "elements at the bound sizes");
  visit.optional("expression", dim.expression, "over symbols; empty: constant");
}

template <class Visitor, class T>
  requires SameAs<T, Tensor>
void fields(Visitor& visit, T& tensor) {
  visit("name", tensor.name, "unique in its graph");
  visit("role", tensor.role, "what the tensor is to a step");
  visit("dtype", tensor.dtype, "element type");
  visit("shape", tensor.shape, "dimensions, outermost first");
  visit.optional("strides", tensor.strides, "elements, as captured; empty: contiguous");
  visit.optional("fqn", tensor.fqn, "name of a parameter or buffer in its module");
  visit.optional("requires_grad", tensor.requires_grad, "a gradient is wanted");
  visit.optional("alias_of", tensor.alias_of, "tensor whose storage this one shares; -1: its own");
  visit.optional("tied_to", tensor.tied_to, "the same parameter under another name; -1: none");
}

template <class Visitor, class T>
  requires SameAs<T, Operand>
void fields(Visitor& visit, T& operand) {
  visit("argument", operand.argument, "schema argument that it fills");
  visit("tensor", operand.tensor, "index into tensors; -1: absent");
}

template <class Visitor, class T>
  requires SameAs<T, Op>
void fields(Visitor& visit, T& op) {
  visit("target", op.target, "aten.linear.default");
  visit("name", op.name, "unique in its graph");
  visit("inputs", op.inputs, "tensor arguments in order");
  visit("outputs", op.outputs, "indices into tensors; -1: not used");
  visit.optional("attributes", op.attributes, "constant arguments by name");
  visit.optional("module", op.module, "module that ran it");
  visit.optional("module_type", op.module_type, "its class");
  visit.optional("call", op.call, "the module's n-th call in one forward, from 0");
  visit.optional("phase", op.phase, "part of the step");
  visit.optional("region", op.region, "index into regions; -1: the main body");
}

template <class Visitor, class T>
  requires SameAs<T, Region>
void fields(Visitor& visit, T& region) {
  visit("name", region.name, "unique in its graph");
  visit("kind", region.kind, "an alternative of a branch, or the body of a loop");
  visit("group", region.group, "alternatives of one branch share it; a loop's own name");
  visit("runs", region.runs, "expected runs per run of the parent: frequency or trip count");
  visit.optional("expression", region.expression, "trip count over symbols; empty: fixed");
  visit.optional("observed", region.observed, "runs was seen or is fixed by the model");
  visit.optional("parent", region.parent, "enclosing region; -1: the main body");
  visit.optional("predicate", region.predicate, "tensor that decides; -1: not known, or a counter");
}

template <class Visitor, class T>
  requires SameAs<T, Symbol>
void fields(Visitor& visit, T& symbol) {
  visit("name", symbol.name, "as expressions spell it");
  visit.optional("min", symbol.min, "smallest value allowed");
  visit.optional("max", symbol.max, "largest value allowed");
  visit("hint", symbol.hint, "value at capture, or the one bound");
}

template <class Visitor, class T>
  requires SameAs<T, Graph>
void fields(Visitor& visit, T& graph) {
  visit.schema("parallel-opt/graph/1");
  visit("name", graph.name, "name of the model");
  visit("source", graph.source, "where the graph comes from");
  visit("tensors", graph.tensors, "inputs, parameters, buffers and results");
  visit("ops", graph.ops, "operators in execution order");
  visit("inputs", graph.inputs, "user inputs in call order");
  visit("outputs", graph.outputs, "user outputs in order");
  visit.optional("symbols", graph.symbols, "symbolic sizes");
  visit.optional("regions", graph.regions, "control flow, enclosing regions first");
  visit.optional("operators", graph.operators, "rows that the operator table lacks");
  visit.optional("notes", graph.notes, "what the importer could not express");
  visit.optional("observed_saved_bytes", graph.observed_saved_bytes,
                 "seen to be kept by a forward for its backward, at these sizes");
}

}  // namespace parallel_opt
