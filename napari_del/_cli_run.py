"""What the commands that segment have in common: check, compute, write."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_del.errors import OutputError, ParameterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_del._cli_progress import Reporter
    from napari_del.io import ImageMetadata
    from napari_del.segmentation import Segmentation

__all__ = [
    "Outputs",
    "check_cut",
    "choose_threshold",
    "compute",
    "describe",
    "load_program",
    "settle_size",
    "write_regions",
]


@dataclass(frozen=True)
class Outputs:
    """Files to write."""

    labels: Path
    overlay: Path | None
    segmentation: Path | None
    overwrite: bool

    @classmethod
    def check(
        cls,
        labels: str | Path,
        overlay: str | Path | None = None,
        segmentation: str | Path | None = None,
        *,
        overwrite: bool,
        inputs: Sequence[Path | str] = (),
    ) -> Outputs:
        """Check that everything can be written, before anything is computed."""
        from napari_del.io import check_output
        from napari_del.io.labels import LABELS_SUFFIXES

        sources = {path.resolve() for path in inputs if isinstance(path, Path)}

        def check(path: str | Path, *suffixes: str) -> Path:
            checked = check_output(path, suffixes, overwrite=overwrite)
            if checked.resolve() in sources:
                raise OutputError(f"{path} is an input; choose another name for the output")
            return checked

        return cls(
            check(labels, *LABELS_SUFFIXES),
            None if overlay is None else check(overlay, ".png"),
            None if segmentation is None else check(segmentation, ".zarr"),
            overwrite,
        )


def load_program(arguments: argparse.Namespace) -> None:
    """Import what takes long to import, and check what can be checked without the image."""
    import napari_del.overlay
    import napari_del.pipeline  # noqa: F401
    from napari_del.models import check_precision, check_scale, find_model, resolve_device
    from napari_del.superpixels.grid import check_step

    settle_size(arguments)
    check_step(arguments.step)
    check_cut(arguments)
    if not 0 < arguments.compactness <= 1000:
        raise ParameterError(
            f"compactness is {arguments.compactness}; expected a number above 0, at most 1000"
        )
    info = find_model(arguments.model)
    check_scale(arguments.scale, info)
    check_precision(arguments.precision, info)
    if arguments.device not in ("auto", "cpu"):  # which are always there
        resolve_device(arguments.device)


def settle_size(arguments: argparse.Namespace) -> None:
    """Where `step` and `scale` are not given, choose what suits the diameter, or their defaults."""
    from napari_del.models import SizeSettings, settings_for

    suited: SizeSettings = {"scale": 1.0, "step": 8}
    if arguments.diameter is not None:
        suited = settings_for(arguments.diameter, arguments.model)
    if arguments.scale is None:
        arguments.scale = suited["scale"]
    if arguments.step is None:
        arguments.step = suited["step"]


def check_cut(arguments: argparse.Namespace) -> None:
    """Check the options that say how far regions are merged."""
    if arguments.threshold is not None and not 0 <= arguments.threshold <= 1:
        raise ParameterError(f"threshold is {arguments.threshold}; expected a number from 0 to 1")
    if arguments.regions is not None and arguments.regions < 1:
        raise ParameterError(f"regions is {arguments.regions}; expected at least 1")
    if arguments.regions is not None and arguments.linkage == "egb":
        raise ParameterError(
            "regions cannot be asked for with linkage egb, whose results are not nested; "
            "give a threshold or choose another linkage"
        )
    if arguments.min_size < 0:
        raise ParameterError(f"min-size is {arguments.min_size}; expected pixels from 0 on")


def compute(
    arguments: argparse.Namespace,
    image: NDArray[Any],
    mask: NDArray[np.bool_] | None,
    metadata: ImageMetadata | None,
    outputs: Outputs,
    reporter: Reporter,
) -> None:
    """Segment an image and write what was asked for."""
    from napari_del.io import write_labels
    from napari_del.pipeline import segment

    result = segment(
        image,
        model=arguments.model,
        step=arguments.step,
        scale=arguments.scale,
        compactness=arguments.compactness,
        channels=arguments.channels,
        mask=mask,
        device=arguments.device,
        precision=arguments.precision,
        progress=reporter,
    )
    with reporter.stage("merge"):
        threshold = choose_threshold(arguments, result)
        labels = result.labels(threshold, arguments.linkage, arguments.min_size)
    with reporter.stage("write"):
        write_labels(outputs.labels, labels, metadata, overwrite=outputs.overwrite)
        if outputs.overlay is not None:
            from napari_del.io import write_png
            from napari_del.overlay import overlay

            picture = overlay(image, labels, channels=arguments.channels, mask=mask)
            write_png(outputs.overlay, picture, overwrite=outputs.overwrite)
        if outputs.segmentation is not None:
            result.save(outputs.segmentation, overwrite=outputs.overwrite)
    _report(outputs.labels, arguments, result, int(labels.max()), threshold, reporter)
    for path in (outputs.overlay, outputs.segmentation):
        if path is not None:
            reporter.line(f"{path}: written")


def choose_threshold(arguments: argparse.Namespace, result: Segmentation) -> float:
    """The threshold that was given, or that gives the number of regions asked for."""
    if arguments.threshold is not None:
        return float(arguments.threshold)
    if arguments.regions is not None:
        return result.threshold_for(arguments.regions, arguments.linkage)
    return result.default_threshold(arguments.linkage)


def write_regions(
    arguments: argparse.Namespace,
    result: Segmentation,
    path: Path,
    metadata: ImageMetadata | None,
    reporter: Reporter,
) -> float:
    """Write the regions that were asked for, window by window; return the threshold."""
    from napari_del.io import write_labels

    with reporter.stage("regions"):
        threshold = choose_threshold(arguments, result)
        cut = (threshold, arguments.linkage, arguments.min_size)
        n_regions = result.n_regions(*cut)
        labels = result.labels(*cut)
    with reporter.stage("write"):
        write_labels(
            path,
            labels,
            metadata,
            highest=n_regions,
            overwrite=arguments.overwrite,
            progress=reporter.within("write"),
        )
    _report(path, arguments, result, n_regions, threshold, reporter)
    return threshold


def _report(
    path: Path,
    arguments: argparse.Namespace,
    result: Segmentation,
    n_regions: int,
    threshold: float,
    reporter: Reporter,
) -> None:
    reporter.line(
        f"{path}: {n_regions} regions of {result.n_superpixels} superpixels "
        f"(threshold {threshold:.4g}, linkage {arguments.linkage or result.default_linkage})"
    )


def describe(image: Any, mask: NDArray[np.bool_] | None) -> str:
    """Tell the size and type of an image in a few words."""
    channels = image.shape[2] if image.ndim == 3 else 1
    text = f"{image.shape[0]} x {image.shape[1]} pixels, {channels} channel"
    text += f"{'s' * (channels != 1)}, {image.dtype}"
    if mask is not None:
        text += f", {100 * (1 - mask.mean()):.1f} % left out by mask or nodata"
    return text
