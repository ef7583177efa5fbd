#pragma once

#include "parallel_opt/simulate/step_work.h"

namespace parallel_opt {

template <class Visitor, class T>
  requires SameAs<T, LayerGroup>
void fields(Visitor& visit, T& group) {
  visit.optional("share", group.share, "of the stage's compute");
  visit.optional("gather_s", group.gather_s, "all-gather of its parameters");
  visit.optional("reduce_s", group.reduce_s, "reduction of its gradients");
  visit.optional("gathered_bytes", group.gathered_bytes, "whole parameters, from gather to use");
}

template <class Visitor, class T>
  requires SameAs<T, StageWork>
void fields(Visitor& visit, T& stage) {
  visit("forward_s", stage.forward_s, "compute per micro-batch");
  visit("backward_input_s", stage.backward_input_s, "compute per micro-batch");
  visit("backward_weight_s", stage.backward_weight_s, "compute per micro-batch");
  visit.optional("recompute_s", stage.recompute_s, "forward work done again before the backward");
  visit.optional("forward_exposed_s", stage.forward_exposed_s,
                 "collectives that compute waits for");
  visit.optional("backward_exposed_s", stage.backward_exposed_s, "the same in the backward");
  visit.optional("forward_moves", stage.forward_moves,
                 "what these are by kind; seconds beyond them are in forward_s");
  visit.optional("backward_moves", stage.backward_moves,
                 "the same in the backward; seconds beyond are in its other parts");
  visit.optional("forward_beside_s", stage.forward_beside_s, "collectives beside compute");
  visit.optional("backward_beside_s", stage.backward_beside_s, "the same in the backward");
  visit.optional("forward_beside", stage.forward_beside, "what these are by kind");
  visit.optional("backward_beside", stage.backward_beside, "the same in the backward");
  visit.optional("kept_bytes", stage.kept_bytes, "per micro-batch, from forward to backward");
  visit.optional("kept_for_weights_bytes", stage.kept_for_weights_bytes,
                 "of these, what I leaves to W");
  visit.optional("offloaded_bytes", stage.offloaded_bytes, "of these, what goes to the host");
  visit.optional("working_bytes", stage.working_bytes, "while an action runs");
  visit.optional("static_bytes", stage.static_bytes, "parameters, gradients, optimizer states");
  visit.optional("output_bytes", stage.output_bytes, "boundary tensor to the next stage");
  visit.optional("groups", stage.groups, "units of sharding or buckets, in forward order");
  visit.optional("reductions", stage.reductions,
                 "what reduce_s of groups is, in proportion; empty: scattered where anything is "
                 "gathered, else summed");
  visit.optional("optimizer_s", stage.optimizer_s, "optimizer step");
  visit.optional("fetched_bytes", stage.fetched_bytes, "weights from the host before each pass");
  visit.optional("drained_bytes", stage.drained_bytes, "gradients to the host");
  visit.optional("states_bytes", stage.states_bytes, "in for the step, and out again");
  visit.optional("updated_bytes", stage.updated_bytes, "weights of the host's step, to the device");
  visit.optional("returned_bytes", stage.returned_bytes, "weights of the device's, to the host");
  visit.optional("host_step_s", stage.host_step_s, "optimizer on the host's cores");
  visit.optional("update_gather_s", stage.update_gather_s, "all-gather of updated parameters");
  visit.optional("late_gather_s", stage.late_gather_s,
                 "the rest of it, beside the next step's first passes");
}

template <class Visitor, class T>
  requires SameAs<T, LinkWork>
void fields(Visitor& visit, T& link) {
  visit("name", link.name, "for people");
  visit.optional("latency_s", link.latency_s, "per message");
  visit("bytes_per_s", link.bytes_per_s, "each direction");
  visit.optional("shared", link.shared, "one for all that is routed over it, shared fairly");
}

template <class Visitor, class T>
  requires SameAs<T, RouteWork>
void fields(Visitor& visit, T& route) {
  visit("from", route.from, "rank");
  visit("to", route.to, "rank");
  visit("link", route.link, "index into links");
}

template <class Visitor, class T>
  requires SameAs<T, DevicePower>
void fields(Visitor& visit, T& power) {
  visit("idle_w", power.idle_w, "doing nothing");
  visit("busy_w", power.busy_w, "while it computes");
  visit.optional("communication_w", power.communication_w, "added while collectives run");
}

template <class Visitor, class T>
  requires SameAs<T, StepWork>
void fields(Visitor& visit, T& work) {
  visit.schema("parallel-opt/step-work/1");
  visit("stages", work.stages, "of one copy of the model, in order");
  visit.optional("replicas", work.replicas, "data-parallel copies of the pipeline");
  visit.optional("links", work.links, "ways from rank to rank; none: no time passes");
  visit.optional("routes", work.routes, "which link a pair of ranks uses; else link 0");
  visit.optional("gather", work.gather,
                 "of sharded parameters: never, once a step, each_pass or each_forward");
  visit.optional("reduce", work.reduce, "of gradients: never, after the last micro-batch, each");
  visit.optional("drain", work.drain, "of gradients to the host: never, last or each");
  visit.optional("prefetch", work.prefetch, "groups gathered ahead");
  visit("collective_link", work.collective_link, "shared link that gathers and reductions occupy");
  visit.optional("gather_hides", work.gather_hides, "share of a gather that hides behind compute");
  visit.optional("reduce_hides", work.reduce_hides, "the same of a reduction");
  visit.optional("slowdown", work.slowdown, "of compute and collectives while both run");
  visit.optional("blocking_sends", work.blocking_sends, "compute waits until a tensor is sent");
  visit.optional("optimizer_together", work.optimizer_together, "all ranks meet before it");
  visit.optional("together_s", work.together_s, "what that meeting takes");
  visit.optional("host_s", work.host_s, "launching one action");
  visit.optional("load_s", work.load_s, "input data of one micro-batch");
  visit.optional("loaded_ahead", work.loaded_ahead, "micro-batches loaded before the step");
  visit.optional("copy_bytes_per_s", work.copy_bytes_per_s, "to the host and back, each way");
  visit.optional("element", work.element,
                 "that passes exchange, as NCCL names it: bf16, f16, f32; empty: not known");
  visit.optional("gradient", work.gradient, "that gradients are reduced in, likewise");
  visit.optional("rank_slowdown", work.rank_slowdown, "one factor per rank; empty: 1");
  visit.optional("power", work.power, "none, one for all ranks, or one per rank");
}

}  // namespace parallel_opt
