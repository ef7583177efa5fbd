#pragma once

/// The few physical parameters of the cost model that no probe measures yet. Each says what it is,
/// where it comes from, and what it is worth. None belongs to a model or to one device.
namespace parallel_opt::cost_parameter {

// --- eager PyTorch -------------------------------------------------------------------------------
/// A view launches no kernel, but Python, the dispatcher and autograd still see it: this share of
/// the overhead of an operator. Assumed; views show 1-2 us beside 4-6 us in torch's profiler.
inline constexpr double kViewLaunchShare = 0.3;
/// A call of an optimizer's loop over its parameters, in eager operators: Python prepares scalars
/// and looks states up. On a CPU an operator's overhead is that of code which kernels have pushed
/// out of the caches, and a loop runs warm: 3.5 to 4.8 us a call for SGD, Adam and AdamW beside 12.
inline constexpr double kOptimizerLaunches = 2;
inline constexpr double kOptimizerLaunchesCpu = 0.4;
/// The first parameter of a step finds that code cold: hooks, scalars, the loop itself. Measured
/// 0.3 to 0.5 ms on the same machine for SGD of 8 tensors, whose loop takes 0.04 ms when it is
/// repeated.
inline constexpr double kOptimizerStepLaunches = 25;
/// Overhead of one eager operator where the cluster does not state it. Assumed.
inline constexpr double kAssumedLaunchS = 6e-6;

// --- torch.compile -------------------------------------------------------------------------------
/// Overhead of one kernel in compiled code, as a share of an eager operator's: no dispatcher and no
/// autograd node, but still a call from generated Python. Assumed.
inline constexpr double kCompiledLaunchShare = 0.5;
/// Compile time of a training step: a fixed part (tracing, AOTAutograd, scheduling) and one per
/// distinct generated kernel (C++ or Triton compiler). Assumed; the first trial replaces it.
inline constexpr double kCompileFixedS = 6.0;
inline constexpr double kCompilePerKernelS = 0.9;

// --- precision -----------------------------------------------------------------------------------
/// Low precision is a candidate only where the device was found this much faster at large matrix
/// products: below it, casts and noise eat the gain.
inline constexpr double kWorthwhileSpeedup = 1.15;

// --- data parallel -------------------------------------------------------------------------------
/// Gradient bucket of DDP (its default): on GPUs the all-reduce of all buckets but the last may run
/// beside the backward. On CPUs nothing overlaps: gloo's threads need the cores that compute.
inline constexpr double kBucketBytes = 25.0 * 1024 * 1024;
inline constexpr double kFirstBucketBytes = 1024.0 * 1024;  // DDP's default, too
/// What gloo adds to a bare link, per step of a ring: threads that wake each other on cores that
/// compute, ranks that wait for the later one, and each byte staged and summed. Two ranks of a
/// 2-core Zen 4, torch 2.13, inside training steps: all-gathers (one step of the ring) 0.57 to
/// 1.04 ms, all-reduces (two) 1.6 to 1.8 ms, and 1.2 GB/s, over a loopback of 19 us and 6.4 GB/s;
/// a loop of nothing else takes 0.24 ms a step.
inline constexpr double kGlooLatencyS = 800e-6;
inline constexpr double kGlooBytesPerS = 1.5e9;
/// A batch norm over ranks (engine/batch_norm.py) is operators of its own in place of one kernel:
/// how often they pass over the values beyond what that kernel does, forward and backward, and
/// their launches, which run warm one after the other.
inline constexpr double kRankNormPassesForward = 12, kRankNormPassesBackward = 15;
inline constexpr double kRankNormLaunches = 60 * kOptimizerLaunchesCpu;
/// A link between ranks of one machine where the cluster states none: gloo over loopback. Assumed.
inline constexpr double kAssumedLatencyS = 60e-6;
inline constexpr double kAssumedLinkBytesPerS = 1.5e9;

// --- rates of a device without a probe -----------------------------------------------------------
/// One AVX2 core at 2.5 GHz with two FMA units peaks at 80 GFLOP/s; half of it is usual. Assumed.
inline constexpr double kAssumedCpuFlopsPerCore = 4e10;
inline constexpr double kAssumedCpuBytesPerS = 1e10;
inline constexpr double kAssumedGpuFlops = 1e13;
inline constexpr double kAssumedGpuBytesPerS = 5e11;

// --- loss in the user's loop ---------------------------------------------------------------------
/// Passes over the outputs by a loss that is not in the graph: cross-entropy reads them and writes
/// log-probabilities; backward it clears the gradient of those, reads both and writes its own; its
/// reductions are free beside these. Mean squares read two, and read two and write one.
inline constexpr double kLossPasses = 6.0;
/// Kernels of it, forward and backward.
inline constexpr double kLossLaunches = 6;

// --- power ---------------------------------------------------------------------------------------
/// Share of the dynamic power range that a core draws while it computes, waits for memory, runs
/// the interpreter, or communicates. Assumed, in the order that RAPL studies agree on.
inline constexpr double kPowerCompute = 1.0;
inline constexpr double kPowerMemory = 0.75;
inline constexpr double kPowerHost = 0.6;
inline constexpr double kPowerCommunicate = 0.5;

// --- half widths of 80 % intervals, relative, by where the rates came from -----------------------
inline constexpr double kWidthMeasured = 0.20;
inline constexpr double kWidthCalibrated = 0.25;
inline constexpr double kWidthDatabase = 0.40;
inline constexpr double kWidthAssumed = 0.60;
/// Memory is counted from shapes: only what the engine keeps beside them is uncertain.
inline constexpr double kWidthMemory = 0.10;

}  // namespace parallel_opt::cost_parameter
