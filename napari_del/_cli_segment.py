"""``napari-del segment``: an image file in, a labels file out."""

from __future__ import annotations

import argparse

from napari_del._cli_progress import Reporter
from napari_del._cli_run import Outputs, compute, describe, load_program

__all__ = ["add_model_options", "add_parser"]

LINKAGES = ("learned", "average", "del", "egb")

EPILOG = """\
examples:
  napari-del segment cells.tif labels.tif
  napari-del segment scene.tif labels.tif --regions 500 --channels 3,0,1 --nodata 0
  napari-del segment stack.tif labels.tif --select Z=4,T=0 --min-size 50
  napari-del segment slide.svs labels.tif --threshold 0.3 --overlay overlay.png

Images are read from TIFF (ImageJ, OME, GeoTIFF, .svs), PNG and JPEG files. Labels are
written as compressed TIFF with the pixel size and the map coordinates of the image:
regions are numbered from 1, and 0 marks pixels that the mask or nodata excludes.
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
    parser.add_argument("image", metavar="IMAGE", help="TIFF, PNG or JPEG file")
    parser.add_argument("labels", metavar="LABELS", help="TIFF file to write")
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
    add_model_options(parser)
    parser.add_argument(
        "--min-size",
        type=int,
        default=0,
        metavar="P",
        help="join regions of fewer pixels to their most similar neighbour (default: 0)",
    )
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
    source.add_argument(
        "--select",
        type=_positions,
        default={},
        metavar="AXIS=I,...",
        help="plane of a TIFF stack, such as Z=4,T=0, counted from 0",
    )
    source.add_argument(
        "--series", type=int, default=0, metavar="I", help="image of a TIFF file (default: 0)"
    )
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


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `segment` and `demo` have in common."""
    parser.add_argument(
        "--model",
        default="del-lite",
        metavar="M",
        help="name (see napari-del models) or .safetensors file (default: del-lite)",
    )
    parser.add_argument(
        "--step",
        type=int,
        default=8,
        metavar="S",
        help="superpixel step in pixels, 4 to 256 (default: 8)",
    )
    parser.add_argument(
        "--compactness",
        type=float,
        default=10.0,
        metavar="C",
        help="how compact superpixels are, against how well they follow colour (default: 10)",
    )
    parser.add_argument(
        "--linkage",
        choices=LINKAGES,
        help="rule by which regions merge: learned, a trained function of both regions (the "
        "default of models that have one), average border (the default of others), the paper's "
        "rule del, or egb, adaptive to the variation inside regions",
    )
    parser.add_argument(
        "--device", default="auto", metavar="D", help="auto (default), cpu, cuda or cuda:0"
    )


def run(arguments: argparse.Namespace) -> None:
    """Segment a file."""
    from napari_del.io import read_image, read_mask
    from napari_del.io._nodata import combine
    from napari_del.io.images import check_input
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
            image = read_image(
                inputs[0],
                series=arguments.series,
                select=arguments.select,
                nodata=arguments.nodata,
            )
            mask = image.mask
            if arguments.mask is not None:
                given = check_mask(read_mask(inputs[1]), image.data.shape[:2])
                mask = combine(mask, given)
        reporter.line(f"{inputs[0]}: {describe(image.data, mask)}")
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
