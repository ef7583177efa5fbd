"""How much of a flex_attention its block mask leaves to be computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from parallel_opt import compat_capture as private

DENSITY = "block_density"
"""Attribute of a flex_attention: the share of score blocks that are computed, 0 to 1."""

FLEX = ("flex_attention", "flex_attention_backward")

_SHORTEST_MASK = 8  # a tuple of arguments as long as that is the mask
_MOST_SCORES = 1 << 30
_SCORES_AT_ONCE = 1 << 24


def block_density(
    block_mask: Sequence[Any], mask_mod: Callable[..., Any] | None = None
) -> float | None:
    """Blocks of scores that are computed over all blocks; a block counts in whole, as kernels
    compute it. None where nobody can know: the mask is read from tensors without data.

    Args:
        block_mask: As ``BlockMask.as_tuple()`` gives it.
        mask_mod: Stands for the mask's own function, which a traced graph holds as a graph.
    """
    q_length, kv_length, partial, _, full = block_mask[:5]
    q_block, kv_block, own_mod = block_mask[-3:]
    rows, columns = -(-q_length // q_block), -(-kv_length // kv_block)
    if rows * columns == 1:  # the mask that stands for none, or one block
        return 1.0
    if not isinstance(partial, torch.Tensor):
        return None
    samples, heads = int(partial.shape[0]), int(partial.shape[1])
    computed = _sum(partial)
    more = 0 if full is None else _sum(full)
    try:
        if computed is None or more is None:
            shape = (samples, heads, q_length, kv_length)
            computed, more = _counted(mask_mod or own_mod, shape, (q_block, kv_block)), 0
    except Exception:  # of the user's function: it needs data that is not there
        return None
    if computed is None:
        return None
    return float(min((computed + more) / (samples * heads * rows * columns), 1.0))


def _sum(blocks: Any) -> int | None:
    known = isinstance(blocks, torch.Tensor) and not private.is_fake(blocks)
    if not known or blocks.device.type == "meta":
        return None
    with private.modes_off():
        return int(blocks.sum())


def _counted(
    mask_mod: Callable[..., Any], shape: tuple[int, int, int, int], block: tuple[int, int]
) -> int | None:
    """The mask made anew, some rows of blocks at a time: the same for any number of them."""
    from torch.nn.attention.flex_attention import create_block_mask

    samples, heads, q_length, kv_length = shape
    per_row = samples * heads * block[0] * kv_length
    if samples * heads * q_length * kv_length > _MOST_SCORES:
        return None
    step = max(_SCORES_AT_ONCE // per_row, 1) * block[0]
    total = 0
    with private.modes_off():
        for start in range(0, q_length, step):

            def shifted(b: Any, h: Any, q: Any, kv: Any, start: int = start) -> Any:
                return mask_mod(b, h, q + start, kv)

            length = min(step, q_length - start)
            made = create_block_mask(shifted, samples, heads, length, kv_length, "cpu", block)
            if private.is_fake(made.kv_num_blocks):
                return None
            full = made.full_kv_num_blocks
            total += int(made.kv_num_blocks.sum()) + (0 if full is None else int(full.sum()))
    return total


def flex_operands(
    args: Sequence[Any], mask_mod: Callable[..., Any] | None = None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of the operator that a graph holds, and its attributes: functions are left out."""
    at = next(i for i, a in enumerate(args) if isinstance(a, tuple) and len(a) > _SHORTEST_MASK)
    attributes: dict[str, Any] = {}
    density = block_density(args[at], mask_mod)
    if density is not None:
        attributes[DENSITY] = density
    operands = [None if callable(a) or isinstance(a, dict) else a for a in args]
    operands[at] = tuple(value for value in args[at] if isinstance(value, torch.Tensor))
    return tuple(operands), attributes


def unknown_masks(ops: Sequence[Any]) -> list[str]:
    """A note on those flex_attentions that are counted in full for want of their mask."""
    modules = [
        op.module
        for op in ops
        if op.target == "higher_order.flex_attention"
        and not any(key.rpartition(".")[2] == DENSITY for key in op.attributes)
    ]
    if not modules:
        return []
    place = modules[0] or "the model"
    where = place if len(modules) == 1 else f"{place} and {len(modules) - 1} more"
    return [
        f"flex_attention in {where}: the block mask depends on data that is not there: "
        "counted in full"
    ]
