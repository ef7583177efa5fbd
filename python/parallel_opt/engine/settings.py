"""What the engines need to know of a plan, for one rank."""

from __future__ import annotations

from dataclasses import dataclass

from parallel_opt._core import Plan


@dataclass(frozen=True)
class Settings:
    """Switches of one rank's execution. The defaults are plain PyTorch's."""

    precision: str = "fp32"
    compile: bool = False
    memory_format: str = "contiguous"
    attention: str = "fused"
    fused_optimizer: bool = False
    threads: int = 0
    """CPU threads of this rank; 0 leaves the process's own number."""
    recompute: tuple[str, ...] = ()
    """FQNs of modules whose activations are computed again in the backward."""
    micro_batches: int = 1
    keep_memory: bool = False

    @classmethod
    def of(cls, plan: Plan, rank: int = 0) -> Settings:
        """The settings of ``plan`` for one rank."""
        placement = plan.placements[rank] if rank < len(plan.placements) else None
        return cls(
            precision=plan.precision,
            compile=plan.execution.compile,
            memory_format=plan.execution.memory_format,
            attention=plan.execution.attention,
            fused_optimizer=plan.execution.fused_optimizer,
            threads=placement.threads if placement is not None else 0,
            recompute=tuple(part for entry in plan.recompute for part in entry.parts),
            micro_batches=plan.micro_batches,
            keep_memory=plan.execution.keep_memory,
        )
