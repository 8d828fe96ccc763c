"""Memory that was freed, given back to the system."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

__all__ = ["trim"]


@lru_cache(maxsize=1)
def _malloc_trim() -> Any:
    """The C library's function, or None where it has none (all but glibc)."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):
        return None


# Superpixels of images of about 33 megapixels at a step of 8.
_FEW = 2**19


def trim(superpixels: int) -> None:
    """Give freed memory back to the system, where the C library would keep it.

    glibc keeps what arrays of up to 32 MB leave behind, for each thread by itself, where no other
    thread can use it. What a stage of a run frees would so be missing in the next.

    Parameters
    ----------
    superpixels : int
        Of the image. What small ones leave is little, and to get it anew takes a while: nothing
        is done for them.
    """
    if superpixels < _FEW:
        return
    release = _malloc_trim()
    if release is not None:
        release(0)
