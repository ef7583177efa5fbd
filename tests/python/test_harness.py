"""The pool of ranks tells once that it does not start, and does not wait for it again."""

from __future__ import annotations

import re

import pytest

import harness


def test_a_pool_that_does_not_start_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "TIMEOUT_S", 1.0)
    pool = harness.RankPool()
    pool._folder.cleanup()  # where its ranks would meet
    text = "the pool of ranks does not start:\nranks [0, 1, 2, 3] did not answer in 1 s"
    for _ in range(2):
        with pytest.raises(harness.RankError, match=f"^{re.escape(text)}$"):
            pool.run(print, 2)
    assert pool._starts == 1
