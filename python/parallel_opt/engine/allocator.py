"""Keeps the memory of one step for the next.

torch's CPU allocator is malloc. Every step frees its activations, glibc hands large ones back to
the kernel, and the next step takes a page fault for every 4 KiB of them: measured 4,700 faults and
18 % of the time of a step of a small convolutional network. Kept memory has none, and results are
the same to the bit. The price: memory that a step has used stays with the process.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # <malloc.h>
_MIB = 1 << 20

KEPT = {_MMAP_THRESHOLD: 1 << 30, _TRIM_THRESHOLD: (1 << 31) - 1, _TOP_PAD: 64 * _MIB}
"""Blocks up to 1 GiB come from the heap, and its free top is not given back."""
SMALLEST, LARGEST = 128 << 10, 32 * _MIB
"""Bounds of glibc's own threshold, which grows to the largest block that was freed: mallopt(3)."""

_holders = 0
_largest_block = 0


def default_thresholds(largest_block: int) -> dict[int, int]:
    """Where glibc would be by itself after freeing a block of so many bytes; 0 means unknown.

    Setting a threshold stops its growth, so giving the memory back means setting where it would be.
    """
    block = -(-largest_block // 4096) * 4096 + 4096 if largest_block else LARGEST
    threshold = min(max(block, SMALLEST), LARGEST)
    return {_MMAP_THRESHOLD: threshold, _TRIM_THRESHOLD: 2 * threshold, _TOP_PAD: 128 << 10}


def expect_blocks(largest: int) -> None:
    """Tells the largest block, in bytes, that the process frees in plain running."""
    global _largest_block
    _largest_block = max(_largest_block, largest)


def _libc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018  (musl has mallopt's name only)
        libc.mallopt.argtypes = [ctypes.c_int, ctypes.c_int]
    except (OSError, AttributeError):
        return None
    return libc


def keep_memory() -> str | None:
    """Keeps freed memory from now on. Returns why it cannot, or None. Pairs with ``release``."""
    global _holders
    libc = _libc()
    if libc is None:
        return "the C library is not glibc"
    if _holders == 0 and not _set(libc, KEPT):
        _set(libc, default_thresholds(_largest_block))
        return "glibc refused the thresholds"
    _holders += 1
    return None


def release() -> None:
    """Undoes one ``keep_memory``; the last one gives what is free back to the kernel."""
    global _holders
    if _holders == 0:
        return
    _holders -= 1
    libc = _libc()
    if _holders == 0 and libc is not None:
        _set(libc, default_thresholds(_largest_block))
        libc.malloc_trim(0)


def is_kept() -> bool:
    """Whether freed memory is kept now."""
    return _holders > 0


def _set(libc: ctypes.CDLL, values: dict[int, int]) -> bool:
    return all([libc.mallopt(name, value) == 1 for name, value in values.items()])
