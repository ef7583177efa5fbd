"""Automatic parallelism for deep learning: the Python face of the C++ core."""

from parallel_opt._core import version as __version__

__all__ = ["__version__"]
