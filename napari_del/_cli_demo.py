"""``napari-del demo``: see it work on a picture that is there already."""

from __future__ import annotations

import argparse
from pathlib import Path

from napari_del._cli_progress import Reporter
from napari_del._cli_run import Outputs, compute, describe, load_program
from napari_del._cli_segment import add_linkage_option, add_model_options
from napari_del.errors import OutputError

__all__ = ["add_parser"]

# Functions of `napari_del.sample_data`, which takes longer to import than help should.
PICTURES = ("coffee", "rocket", "chelsea", "immunohistochemistry", "cell", "retina", "landsat")

EPILOG = """\
examples:
  napari-del demo
  napari-del demo --picture landsat --output landsat
  napari-del demo --model mean-color --overwrite
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "demo",
        help="segment a sample picture and show how long each stage takes",
        description="Segment a sample picture; write labels.tif and overlay.png, and tell how "
        "long each stage took.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--output",
        default="napari-del-demo",
        metavar="DIR",
        help="folder to write to, made if missing (default: napari-del-demo)",
    )
    parser.add_argument(
        "--picture",
        choices=PICTURES,
        default=PICTURES[0],
        help=f"sample picture (default: {PICTURES[0]})",
    )
    add_linkage_option(parser)
    add_model_options(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.set_defaults(
        run=run, threshold=None, regions=None, min_size=0, channels=None, quiet=False
    )


def run(arguments: argparse.Namespace) -> None:
    """Segment the picture."""
    reporter = Reporter()
    with reporter.stage("load"):
        load_program(arguments)
        from napari_del import sample_data
    folder = Path(arguments.output)
    made = _make(folder)
    try:
        outputs = Outputs.check(
            folder / "labels.tif", folder / "overlay.png", overwrite=arguments.overwrite
        )
        with reporter.stage("read"):
            image = getattr(sample_data, arguments.picture)()[0][0]
        reporter.line(
            f"sample picture {arguments.picture}: {describe(image, None)}; model {arguments.model}"
        )
        compute(arguments, image, None, None, outputs, reporter)
    except BaseException:
        if made and not any(folder.iterdir()):
            folder.rmdir()
        raise
    finally:
        reporter.clear()
    reporter.line(
        f"all stages: {sum(reporter.seconds.values()):.2f} s "
        "(the first run on a machine also compiles)"
    )
    reporter.line(
        f"""
Look at {outputs.overlay}. Then try
  napari-del demo --picture landsat --output landsat
  napari-del segment IMAGE.tif labels.tif --regions 200 --overlay overlay.png
  napari-del segment --help
or, in napari, the menu Layers > Segment and File > Open Sample."""
    )


def _make(folder: Path) -> bool:
    """Make the folder; tell whether it was missing."""
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise OutputError(f"{folder} is a file; expected a folder to write to") from None
        return False
    except OSError as error:
        raise OutputError(f"{folder} cannot be made: {error.strerror}") from error
    return True
