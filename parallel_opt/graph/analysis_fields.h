#pragma once

#include "parallel_opt/graph/analysis.h"

namespace parallel_opt {

template <class Visitor, class T>
  requires SameAs<T, PathSummary>
void fields(Visitor& visit, T& p) {
  visit("total", p.total, "FLOPs, or bytes moved, of the chain");
  visit("share", p.share, "of all operators");
  visit("parallelism", p.parallelism, "all over chain: the most that any number of devices gains");
  visit("operators", p.operators, "in order; those without work are left out");
}

template <class Visitor, class T>
  requires SameAs<T, WidthLevel>
void fields(Visitor& visit, T& w) {
  visit("level", w.level, "operators that must run before, on the longest chain");
  visit("operators", w.operators, "that may run at once");
  visit("flops", w.flops, "of them");
  visit("bytes", w.bytes, "moved by them");
}

template <class Visitor, class T>
  requires SameAs<T, WidthSummary>
void fields(Visitor& visit, T& w) {
  visit("depth", w.depth, "operators on the longest chain");
  visit("most", w.most, "operators of the widest level");
  visit("average", w.average, "operators per level");
  visit("levels", w.levels, "one per level, views left out");
}

template <class Visitor, class T>
  requires SameAs<T, BranchSummary>
void fields(Visitor& visit, T& b) {
  visit("modules", b.modules, "what its operators have in common");
  visit("operators", b.operators, "with work, of one occurrence");
  visit("flops", b.flops, "of one occurrence");
  visit("bytes", b.bytes, "moved by one occurrence");
}

template <class Visitor, class T>
  requires SameAs<T, BranchesSummary>
void fields(Visitor& visit, T& b) {
  visit("after", b.after, "operator whose results they read; empty: inputs");
  visit("until", b.until, "operator that needs two of them; empty: they never meet");
  visit("repeats", b.repeats, "places that are alike");
  visit("share", b.share, "of all FLOPs, all repeats");
  visit("gain", b.gain, "share of all FLOPs that need not be waited for");
  visit("branches", b.branches, "in order of their first operators");
}

template <class Visitor, class T>
  requires SameAs<T, ClassSummary>
void fields(Visitor& visit, T& c) {
  visit("op_class", c.op_class, "family of operators");
  visit("operators", c.operators, "calls");
  visit("flops", c.flops, "all runs");
  visit("flops_share", c.flops_share, "of all FLOPs");
  visit("bytes", c.bytes, "read and written");
  visit("bytes_share", c.bytes_share, "of all bytes moved");
  visit("intensity", c.intensity, "FLOPs per byte");
}

template <class Visitor, class T>
  requires SameAs<T, BlockSummary>
void fields(Visitor& visit, T& b) {
  visit("name", b.name, "module pattern, or a range of operators");
  visit.optional("inside", b.inside, "name of the enclosing block");
  visit("repeats", b.repeats, "occurrences, inside one occurrence of the enclosing block");
  visit("operators", b.operators, "of one occurrence");
  visit("flops_share", b.flops_share, "of all FLOPs, all occurrences");
  visit.optional("varies", b.varies, "attributes in which occurrences differ");
}

template <class Visitor, class T>
  requires SameAs<T, CutSummary>
void fields(Visitor& visit, T& c) {
  visit("after", c.after, "last operator of the first part");
  visit.optional("module", c.module, "module that ran it");
  visit("share", c.share, "of the FLOPs that lie before the cut");
  visit("tensors", c.tensors, "that cross; inputs and parameters left out");
  visit("bytes_per_sample", c.bytes_per_sample, "activation_bytes and skip_bytes");
  visit("activation_bytes", c.activation_bytes, "per sample: the newest tensor");
  visit("skip_bytes", c.skip_bytes, "per sample: older tensors that are still needed");
  visit("fixed_bytes", c.fixed_bytes, "per micro-batch: masks, tables");
  visit("crossing", c.crossing, "names, oldest first; the newest 16");
}

template <class Visitor, class T>
  requires SameAs<T, GraphAnalysis>
void fields(Visitor& visit, T& a) {
  visit.schema("parallel-opt/graph-analysis/1");
  visit("name", a.name, "name of the model");
  visit("source", a.source, "where the graph comes from");
  visit("operators", a.operators, "operators in execution order, views included");
  visit("flops", a.flops, "of all operators as written, whole batch");
  visit("bytes", a.bytes, "read and written by all operators");
  visit("critical_flops", a.critical_flops, "the chain with most FLOPs");
  visit("critical_bytes", a.critical_bytes, "the chain that moves most bytes");
  visit("width", a.width, "operators that may run at once, by depth");
  visit("branches", a.branches, "independent branches, largest gain first");
  visit("classes", a.classes, "by family of operators, most FLOPs first");
  visit("blocks", a.blocks, "repeated parts, an outer one before its inner ones");
  visit("cuts", a.cuts, "places where few bytes cross, in execution order");
  visit.optional("operator_list", a.operator_list, "every operator, with --per-operator");
  visit.optional("notes", a.notes, "what could not be expressed or was left out");
}

}  // namespace parallel_opt
