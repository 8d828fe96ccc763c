"""The device that a network runs on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari_del.errors import DeviceError

if TYPE_CHECKING:
    import torch

__all__ = ["resolve_device", "turn_on"]

_gpu = threading.Lock()


def resolve_device(device: str | torch.device) -> torch.device:
    """The device to compute on.

    Parameters
    ----------
    device : str or torch.device
        "auto" for the GPU if there is one, else the CPU; or a device by name.

    Returns
    -------
    torch.device
        A device that this machine has.

    Raises
    ------
    DeviceError
        If it is not a device of this machine.
    """
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise DeviceError(
            f"device {device!r} is not known; expected 'auto', 'cpu', 'cuda' or 'cuda:N'"
        ) from error
    if found.type not in ("cpu", "cuda"):
        raise DeviceError(f"device {device!r} is not supported; expected 'auto', 'cpu' or 'cuda'")
    if found.type == "cuda":
        n = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if n == 0:
            raise DeviceError(
                f"device {device!r} needs CUDA, which PyTorch does not find here: use 'cpu' or "
                "'auto', or install a PyTorch build with CUDA and the driver"
            )
        if (found.index or 0) >= n:
            raise DeviceError(f"device {device!r} does not exist; there are {n}, from cuda:0 on")
    return found


@contextmanager
def turn_on(device: torch.device) -> Iterator[None]:
    """Wait for a GPU, and compute on it alone and exactly while the context is open.

    Threads of a process take turns, so that together they need no more of its memory than one does.
    Convolutions are PyTorch's own: cuDNN prepares each of them anew in every thread and for every
    size of window, which takes a network seconds, and then is no faster. Numbers of 32 bits are
    multiplied as such, whatever the calling program has set for products of matrices.

    Parameters
    ----------
    device : torch.device
        Nothing is waited for, and nothing set, if it is the CPU.
    """
    if device.type == "cpu":
        yield
        return
    import torch

    with _gpu, torch.backends.cudnn.flags(enabled=False), _exact_products():
        yield


@contextmanager
def _exact_products() -> Iterator[None]:
    """Have matrices of 32-bit numbers multiplied as such, not in TensorFloat-32."""
    import torch

    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # the program has used the newer interface, which must be stayed with
        matmul: Any = torch.backends.cuda.matmul
        newer = matmul.fp32_precision
        matmul.fp32_precision = "ieee"
        try:
            yield
        finally:
            matmul.fp32_precision = newer
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
