#pragma once

#include <map>
#include <string>
#include <vector>

#include "parallel_opt/base/json_traits.h"

namespace parallel_opt {

/// Half widths of the 80 % intervals of an estimate's items, as natural logarithms: what the rows
/// of a source leave unexplained where it had no part in the fit, told apart by what their time and
/// memory are made of. Items err apart from each other, so a total's width is the root of their
/// squares (docs/cost-model.md#intervals).
struct ItemWidths {
  double compute = 0.2;  ///< what the device's units do
  double host = 0.4;     ///< waiting for Python, for samples, once per step
  double bubble = 0.3;
  double links = 0.6;        ///< transfers that nothing hides
  double experts = 0.6;      ///< tokens sent to experts and back
  double states = 0.2;       ///< bytes of weights, gradients and optimizer states
  double activations = 0.2;  ///< and logits
  double buffers = 0.6;      ///< gathered weights, workspaces, the allocator's rounding
  double unseen = 0.3;       ///< besides, of `compute` on devices that no row was measured on
  bool operator==(const ItemWidths&) const = default;
};

/// Physical parameters, fitted by validation/fit_layout_cost.py to published measurements; kept in
/// data/cost/layout.json. docs/cost-model.md has the formulas.
struct LayoutParameters {
  std::map<std::string, double> matmul_efficiency;  ///< by architecture; "other" for the rest
  double power_exponent = 0.7;     ///< of the watts per peak FLOP beside those of the reference
  double narrow_efficiency = 0.8;  ///< of 8- and 4-bit products beside 16-bit ones
  double inner_half = 1;           ///< inner size, in units of the ridge, that costs as much again
  double wave = 0.4;               ///< waves of tiles lost at the end of a product
  double kernel_s = 1e-5;          ///< start and end of one product
  double pass = 1;                 ///< over the bytes of fused operators
  double score_pass = 2.5;         ///< over attention matrices that are written out
  double early_efficiency = 0.4;   ///< of the peak in 16 bits at wide heads: FlashAttention 1
  double flash_efficiency = 0.5;   ///< likewise FlashAttention 2
  double flash_hopper = 0.5;  ///< of that on devices of more than kFastFlops, where it lags behind
  double vendor_efficiency = 0.4;  ///< of the peak in 16 bits
  double host_s = 1e-3;            ///< of one block, forward and backward, from Python
  double host_fused_s = 3e-4;      ///< likewise compiled or in few kernels
  double link_efficiency = 0.8;
  double network_efficiency = 0.7;
  double hop_s = 1e-5;         ///< of a ring that gathers or scatters, per node
  double tensor_hop_s = 4e-5;  ///< per rank of a tensor group that spans nodes
  double link_latency_s = 2e-5;
  double network_latency_s = 1e-4;
  double overlap = 0.8;         ///< share of a gradient reduction that a backward may hide
  double tensor_overlap = 0.4;  ///< likewise of tensor collectives beside products
  double gather_overlap = 0.7;  ///< likewise of gathered weights
  double optimizer_bytes = 30;  ///< moved per parameter and step
  double step_s = 5e-3;         ///< host work once per step
  double straggle = 0.02;       ///< more of a step per doubling of machines
  double send = 1.5;            ///< stage boundaries: times the bare transfer
  double saved = 1;             ///< on the bytes kept for the backward
  double logits = 1;            ///< on the stack's bytes per logit
  double reserve_bytes = 1e9;   ///< buffers of communication, workspaces
  double fragmentation = 1.03;  ///< allocator
  ItemWidths widths;
  std::vector<std::string> boards;  ///< of the devices that rows were measured on
  bool operator==(const LayoutParameters&) const = default;
};

/// The fitted parameters.
const LayoutParameters& layout_parameters();

template <class Visitor, class T>
  requires SameAs<T, ItemWidths>
void fields(Visitor& visit, T& w) {
  visit("compute", w.compute, "what the device's units do");
  visit("host", w.host, "waiting for Python, for samples, once per step");
  visit("bubble", w.bubble, "of a pipeline");
  visit("links", w.links, "transfers that nothing hides");
  visit("experts", w.experts, "tokens sent to experts and back");
  visit("states", w.states, "weights, gradients, optimizer states");
  visit("activations", w.activations, "and logits");
  visit("buffers", w.buffers, "gathered weights, workspaces, rounding");
  visit("unseen", w.unseen, "besides, of compute where no row was measured");
}

template <class Visitor, class T>
  requires SameAs<T, LayoutParameters>
void fields(Visitor& visit, T& p) {
  visit.schema("parallel-opt/layout-parameters/1");
  visit("matmul_efficiency", p.matmul_efficiency, "share of the peak, by architecture");
  visit("power_exponent", p.power_exponent, "of the watts per peak FLOP");
  visit("narrow_efficiency", p.narrow_efficiency, "of 8- and 4-bit products");
  visit("inner_half", p.inner_half, "inner size in units of the ridge");
  visit("wave", p.wave, "waves of tiles lost per product");
  visit("kernel_s", p.kernel_s, "start and end of one product");
  visit("pass", p.pass, "over the bytes of fused operators");
  visit("score_pass", p.score_pass, "over attention matrices in memory");
  visit("early_efficiency", p.early_efficiency, "of the 16-bit peak");
  visit("flash_efficiency", p.flash_efficiency, "of the 16-bit peak");
  visit("flash_hopper", p.flash_hopper, "of that on the fastest devices");
  visit("vendor_efficiency", p.vendor_efficiency, "of the 16-bit peak");
  visit("host_s", p.host_s, "per block, forward and backward");
  visit("host_fused_s", p.host_fused_s, "likewise in few kernels");
  visit("link_efficiency", p.link_efficiency, "of links in a node");
  visit("network_efficiency", p.network_efficiency, "of adapters");
  visit("hop_s", p.hop_s, "per node of a ring that gathers or scatters");
  visit("tensor_hop_s", p.tensor_hop_s, "per rank of a tensor group that spans nodes");
  visit("link_latency_s", p.link_latency_s, "per hop in a node");
  visit("network_latency_s", p.network_latency_s, "per hop between nodes");
  visit("overlap", p.overlap, "share of a gradient reduction that may hide");
  visit("tensor_overlap", p.tensor_overlap, "share of tensor collectives that may hide");
  visit("gather_overlap", p.gather_overlap, "share of gathered weights that may hide");
  visit("optimizer_bytes", p.optimizer_bytes, "moved per parameter and step");
  visit("step_s", p.step_s, "once per step");
  visit("straggle", p.straggle, "per doubling of machines");
  visit("send", p.send, "times the bare transfer between stages");
  visit("saved", p.saved, "on the bytes kept for the backward");
  visit("logits", p.logits, "on bytes per logit");
  visit("reserve_bytes", p.reserve_bytes, "buffers and workspaces");
  visit("fragmentation", p.fragmentation, "of the allocator");
  visit("widths", p.widths, "of the items of an estimate");
  visit("boards", p.boards, "that rows were measured on");
}

}  // namespace parallel_opt
