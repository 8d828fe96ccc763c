"""The device that a network runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_del.errors import DeviceError

if TYPE_CHECKING:
    import torch

__all__ = ["resolve_device"]


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
