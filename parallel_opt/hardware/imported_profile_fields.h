#pragma once

#include "parallel_opt/hardware/imported_profile.h"

namespace parallel_opt {

template <class Visitor, class T>
  requires SameAs<T, LayerRange>
void fields(Visitor& visit, T& range) {
  visit("first", range.first, "index of a layer");
  visit("last", range.last, "index of a layer, included");
}

template <class Visitor, class T>
  requires SameAs<T, ProfileRow>
void fields(Visitor& visit, T& row) {
  visit("device", row.device, "name of the device");
  visit("level", row.level, "operator, block (layers as one) or layer");
  visit("name", row.name, "embedding, block, head, matmul, ...");
  visit("layers", row.layers, "layers of the model: each (layer) or all together (block)");
  visit("dtype", row.dtype, "element type of the arithmetic");
  visit.optional("tensor", row.tensor, "tensor-parallel degree");
  visit.optional("micro_batch", row.micro_batch, "samples");
  visit("sequence", row.sequence, "tokens of a sample");
  visit("clock_hz", row.clock_hz, "locked clock");
  visit("forward_s", row.forward_s, "one micro-batch, collectives of the group included");
  visit("backward_s", row.backward_s, "likewise");
  visit("optimizer_s", row.optimizer_s, "one optimizer step");
  visit("forward_j", row.forward_j, "joules of one device");
  visit("backward_j", row.backward_j, "joules of one device");
  visit("parameter_bytes", row.parameter_bytes, "of one device");
  visit("saved_bytes", row.saved_bytes, "of one device, kept for the backward");
  visit("recompute_bytes", row.recompute_bytes, "of one device, kept when all is recomputed");
  visit("output_bytes", row.output_bytes, "of the group, to the next layer");
}

template <class Visitor, class T>
  requires SameAs<T, MessageTime>
void fields(Visitor& visit, T& point) {
  visit("bytes", point.bytes, "the whole tensor");
  visit("seconds", point.seconds, "of the call");
}

template <class Visitor, class T>
  requires SameAs<T, ProfiledTransfer>
void fields(Visitor& visit, T& transfer) {
  visit("collective", transfer.collective,
        "p2p, all_reduce, all_gather, reduce_scatter or all_to_all");
  visit("device", transfer.device, "name of the device");
  visit("to", transfer.to, "p2p to another type of device");
  visit("to_ranks", transfer.to_ranks, "devices of the receiving node, where they differ");
  visit("zone", transfer.zone, "of the sender");
  visit("to_zone", transfer.to_zone, "of the receiver");
  visit("scope", transfer.scope, "within a node, or between nodes");
  visit("ranks", transfer.ranks, "devices that take part; between nodes: of each node");
  visit.optional("strided", transfer.strided, "the ranks are no neighbours");
  visit.optional("points", transfer.points, "time by size, rising");
  visit("bus_bytes_per_s", transfer.bus_bytes_per_s, "where no size was published");
}

template <class Visitor, class T>
  requires SameAs<T, ProfiledRate>
void fields(Visitor& visit, T& rate) {
  visit("device", rate.device, "name of the device");
  visit("curve", rate.curve, "how fast it runs a family of kernels");
}

template <class Visitor, class T>
  requires SameAs<T, ImportedProfile>
void fields(Visitor& visit, T& profile) {
  visit.schema("parallel-opt/profile/1");
  visit("name", profile.name, "unique in a cluster");
  visit("source", profile.source, "who measured it");
  visit("model", profile.model, "whose layers the rows are of");
  visit.optional("rows", profile.rows, "time, memory and energy of pieces of a model");
  visit.optional("transfers", profile.transfers, "collectives by size");
  visit.optional("rates", profile.rates, "families of kernels by size");
  visit("overlap_slowdown", profile.overlap_slowdown,
        "of compute and transfers that run beside each other");
  visit.optional("notes", profile.notes, "what was left out");
}

}  // namespace parallel_opt
