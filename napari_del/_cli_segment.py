"""``napari-del segment``: an image file in, a labels file out."""

from __future__ import annotations

import argparse

from napari_del._cli_progress import Reporter
from napari_del._cli_run import Outputs, compute, describe, load_program
from napari_del._cli_tiled import add_tiled_options, compute_tiled, why_tiled

__all__ = [
    "add_cut_options",
    "add_linkage_option",
    "add_model_options",
    "add_parser",
    "add_plane_options",
    "add_precision_option",
    "add_size_options",
]

LINKAGES = ("learned", "average", "contrast", "del", "egb")

EPILOG = """\
examples:
  napari-del segment cells.tif labels.tif
  napari-del segment scene.tif labels.tif --regions 500 --channels 3,0,1 --nodata 0
  napari-del segment nuclei.tif labels.tif --diameter 20
  napari-del segment stack.tif labels.tif --select Z=4,T=0 --min-size 50
  napari-del segment slide.svs labels.tif --threshold 0.3 --overlay overlay.png
  napari-del segment mosaic.tif labels.tif --store mosaic.del.zarr --memory-limit 8GB
  napari-del segment slide.ome.zarr labels.tif --scheduler tcp://10.0.0.1:8786

Images are read from TIFF (ImageJ, OME, GeoTIFF, .svs), PNG, JPEG and .npy files and from
zarr and OME-Zarr folders. Labels are written as compressed TIFF with the pixel size and the
map coordinates of the image: regions are numbered from 1, and 0 marks pixels that the mask
or nodata excludes.

Images of any size are segmented block by block into a store, from which a run that was cut
off goes on and napari-del relabel writes other labels. This is so if one of --store,
--block, --scheduler, --workers and --memory-limit is given, or if all at once would take more
than half of the machine's memory. Regions are the same either way.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "segment",
        help="segment an image file and write a labels file",
        description="Segment an image into regions and write them as a label image.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "image", metavar="IMAGE", help="TIFF, PNG, JPEG or .npy file, zarr folder or its URL"
    )
    parser.add_argument("labels", metavar="LABELS", help="TIFF file or .ome.zarr folder to write")
    add_cut_options(parser)
    add_model_options(parser)
    source = parser.add_argument_group("reading the image")
    source.add_argument(
        "--channels",
        type=_channels,
        metavar="C,C,...",
        help="channels to use, counted from 0, such as 0,1,2 (default: all)",
    )
    source.add_argument(
        "--mask", metavar="FILE", help="image file that is 0 where nothing is to be segmented"
    )
    source.add_argument(
        "--nodata",
        type=float,
        metavar="V",
        help="leave out pixels of this value in all channels (default: what the file declares)",
    )
    add_plane_options(source)
    add_tiled_options(parser)
    output = parser.add_argument_group("output")
    output.add_argument(
        "--overlay", metavar="PNG", help="also draw the borders over the image, to this file"
    )
    output.add_argument(
        "--save-segmentation",
        metavar="ZARR",
        help="also save all that is needed to choose another threshold later, to this folder",
    )
    output.add_argument("--overwrite", action="store_true", help="replace files that exist")
    output.add_argument("-q", "--quiet", action="store_true", help="print errors and warnings only")
    parser.set_defaults(run=run)


def add_cut_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how far regions are merged."""
    coarseness = parser.add_mutually_exclusive_group()
    coarseness.add_argument(
        "--threshold",
        type=float,
        metavar="T",
        help="merge up to this dissimilarity, 0 (finest) to 1 (coarsest); default: the model's",
    )
    coarseness.add_argument(
        "--regions", type=int, metavar="N", help="merge down to about this number of regions"
    )
    add_linkage_option(parser)
    parser.add_argument(
        "--min-size",
        type=int,
        default=0,
        metavar="P",
        help="join regions of fewer pixels to their most similar neighbour (default: 0)",
    )


def add_plane_options(parser: argparse._ActionsContainer) -> None:
    """Add the options that choose one plane of an image file."""
    parser.add_argument(
        "--select",
        type=_positions,
        default={},
        metavar="AXIS=I,...",
        help="plane of a stack, such as Z=4,T=0, counted from 0",
    )
    parser.add_argument(
        "--series",
        type=int,
        default=0,
        metavar="I",
        help="image of a file that holds several (default: 0)",
    )


def add_linkage_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that says by which rule regions merge."""
    parser.add_argument(
        "--linkage",
        choices=LINKAGES,
        help="rule by which regions merge: learned, a trained function of both regions (the "
        "default of models that have one), average border (the default of others), contrast, the "
        "same with colours beside the network, for kinds of images that it never met, the paper's "
        "rule del, or egb, adaptive to the variation inside regions",
    )


def add_size_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that depend on how large objects are; `settle_size` gives them values."""
    parser.add_argument(
        "--diameter",
        type=float,
        metavar="PX",
        help="diameter of typical objects in pixels: chooses the step and the scale, unless they "
        "are given",
    )
    parser.add_argument(
        "--step",
        type=int,
        metavar="S",
        help="superpixel step in pixels, 4 to 256 (default: 8)",
    )
    parser.add_argument(
        "--scale",
        type=float,
        metavar="X",
        help="look at the image enlarged (2, for small objects) or reduced (0.5 or 0.25, for "
        "large ones); default: 1",
    )


def add_precision_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that says what the network computes in."""
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="what the network computes in: with bfloat16 it takes about half its time on "
        "processors that have it, and some regions differ (default: float32)",
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `segment` and `demo` have in common."""
    parser.add_argument(
        "--model",
        default="del-lite",
        metavar="M",
        help="name (see napari-del models) or .safetensors file (default: del-lite)",
    )
    add_size_options(parser)
    add_precision_option(parser)
    parser.add_argument(
        "--compactness",
        type=float,
        default=10.0,
        metavar="C",
        help="how compact superpixels are, against how well they follow colour (default: 10)",
    )
    parser.add_argument(
        "--device", default="auto", metavar="D", help="auto (default), cpu, cuda or cuda:0"
    )


def run(arguments: argparse.Namespace) -> None:
    """Segment a file."""
    from napari_del.io import open_image, open_mask
    from napari_del.io._nodata import combine
    from napari_del.io.lazy import check_input, reading
    from napari_del.normalise import check_mask

    inputs = [check_input(arguments.image)]
    if arguments.mask is not None:
        inputs.append(check_input(arguments.mask))
    outputs = Outputs.check(
        arguments.labels,
        arguments.overlay,
        arguments.save_segmentation,
        overwrite=arguments.overwrite,
        inputs=inputs,
    )
    reporter = Reporter(quiet=arguments.quiet)
    try:
        with reporter.stage("load"):
            load_program(arguments)
        with reporter.stage("read"):
            opened = open_image(
                inputs[0],
                series=arguments.series,
                select=arguments.select,
                nodata=arguments.nodata,
            )
            given = None if arguments.mask is None else open_mask(inputs[1])
            why = why_tiled(arguments, opened)
            if not why:
                with reading(inputs[0]):
                    image = opened.load()
                mask = image.mask
                if given is not None:
                    with reading(inputs[1]):
                        mask = combine(mask, check_mask(given, image.data.shape[:2]))
        chosen = ""
        if arguments.diameter is not None:
            chosen = f"; step {arguments.step}, scale {arguments.scale:g}"
        if why:
            reporter.line(f"{inputs[0]}: {describe(opened.data, None)}{chosen}, {why}")
            compute_tiled(arguments, opened, given, outputs, reporter)
        else:
            reporter.line(f"{inputs[0]}: {describe(image.data, mask)}{chosen}")
            compute(arguments, image.data, mask, image.metadata, outputs, reporter)
    finally:
        reporter.clear()


def _channels(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list of channels; expected numbers such as 0,1,2"
        ) from None


def _positions(text: str) -> dict[str, int]:
    try:
        pairs = [part.split("=") for part in text.split(",")]
        return {axis.strip(): int(position) for axis, position in pairs}
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} selects no plane; expected axes and positions such as Z=4,T=0"
        ) from None
