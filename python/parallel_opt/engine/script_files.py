"""Files of a script that several ranks run: each of them writes the same checkpoint to one path."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import tempfile
from typing import Any

import torch


def save_whole() -> None:
    """From now on ``torch.save`` to a path replaces the file at once when it is complete.

    A rank that loads a checkpoint which another one is just writing again gets a whole one. The
    ranks are never more than a step apart, so it is that of this step.
    """
    original = torch.save
    if hasattr(original, "__wrapped__"):
        return

    @functools.wraps(original)
    def save(obj: object, f: Any, *args: Any, **kwargs: Any) -> None:
        target = os.path.realpath(f) if isinstance(f, (str, os.PathLike)) else ""
        if not target or (os.path.exists(target) and not os.path.isfile(target)):
            original(obj, f, *args, **kwargs)
            return
        try:
            folder = tempfile.mkdtemp(prefix=".saving-", dir=os.path.dirname(target))
        except OSError:  # torch says what is wrong with the path
            original(obj, f, *args, **kwargs)
            return
        try:
            own = os.path.join(folder, os.path.basename(target))  # the archive bears this name
            original(obj, own, *args, **kwargs)
            with contextlib.suppress(OSError):
                shutil.copymode(target, own)
            os.replace(own, target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    torch.save = save
    torch.serialization.save = save
