"""``python -m napari_del.training.thresholds WEIGHTS average=0.7 ...``: set default thresholds."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from pathlib import Path

from safetensors import safe_open
from safetensors.numpy import save_file

from napari_del import merging
from napari_del.errors import ParameterError
from napari_del.merging import threshold_to_fixed

__all__ = ["set_default_thresholds"]


def set_default_thresholds(path: str | os.PathLike[str], thresholds: dict[str, float]) -> str:
    """Write the thresholds that suit a model into the metadata of its weights file.

    Parameters
    ----------
    path : path
        Safetensors file; it is replaced.
    thresholds : dict of float
        Threshold from 0 to 1 for each linkage.

    Returns
    -------
    str
        SHA-256 of the new file, in hexadecimal digits.

    Raises
    ------
    ParameterError
        If a linkage is not known or a threshold is not from 0 to 1.
    """
    for linkage, threshold in thresholds.items():
        if linkage not in merging.LINKAGES:
            raise ParameterError(
                f"linkage {linkage!r} is not known; expected one of {', '.join(merging.LINKAGES)}"
            )
        threshold_to_fixed(threshold)
    target = Path(path)
    with safe_open(target, framework="numpy") as file:
        metadata = {**(file.metadata() or {}), "default_thresholds": json.dumps(thresholds)}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    temporary = target.with_name(target.name + ".part")
    save_file(tensors, temporary, metadata)
    os.replace(temporary, target)
    return hashlib.sha256(target.read_bytes()).hexdigest()


def main() -> None:
    """Set thresholds and print the SHA-256 of the file."""
    parser = argparse.ArgumentParser(
        prog="python -m napari_del.training.thresholds", description=main.__doc__
    )
    parser.add_argument("weights")
    parser.add_argument("thresholds", nargs="+", metavar="LINKAGE=THRESHOLD")
    arguments = parser.parse_args()
    pairs = (text.partition("=") for text in arguments.thresholds)
    print(set_default_thresholds(arguments.weights, {k: float(v) for k, _, v in pairs}))


if __name__ == "__main__":
    main()
