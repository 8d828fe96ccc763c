"""``napari-del evaluate``: a data set with people's labels in, figures out."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from napari_del._cli_progress import Reporter
from napari_del._cli_run import settle_size
from napari_del._cli_segment import LINKAGES, add_precision_option, add_size_options
from napari_del.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_del.evaluation import Evaluation

__all__ = ["add_parser"]

EPILOG = """\
examples:
  napari-del evaluate --data bsds500/val
  napari-del evaluate --data dsb2018 --model mine.safetensors --held-out --json nuclei.json
  napari-del evaluate --data cells --linkage average del egb --limit 20

DIR holds the folders images/ and labels/ with files of the same names. Labels are whole
numbers, a number for each region and 0 where nothing is labelled. Data sets that are known
by the name of their folder, and splits of BSDS500, are read as they are published.
What the figures mean is in docs/evaluation.md.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "evaluate",
        help="measure a model on images that people have labelled",
        description="Segment labelled images and measure how well regions fit the labels.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", required=True, metavar="DIR", help="folder of the data set")
    parser.add_argument(
        "--model",
        default="del-lite",
        metavar="M",
        help="name (see napari-del models) or .safetensors file (default: del-lite)",
    )
    parser.add_argument(
        "--linkage",
        nargs="+",
        choices=LINKAGES,
        help="rules by which regions merge, each measured (default: that of the model)",
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
        "--thresholds",
        type=int,
        default=30,
        metavar="N",
        help="number of thresholds, chosen from fine to coarse (default: 30)",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.0075,
        metavar="D",
        help="greatest distance of matched boundaries, as a share of the image's diagonal "
        "(default: 0.0075)",
    )
    parser.add_argument(
        "--held-out",
        type=int,
        nargs="?",
        const=4,
        metavar="FOLD",
        help="measure only the images that training leaves out: every fifth by name, the last of "
        "five, or that of the training's fold (0 to 4)",
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="measure N images at most, evenly spaced"
    )
    parser.add_argument(
        "--device", default="auto", metavar="D", help="auto (default), cpu, cuda or cuda:0"
    )
    parser.add_argument("--json", metavar="FILE", help="also write all figures to this file")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    parser.add_argument("-q", "--quiet", action="store_true", help="print the tables only")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Measure a model and print the tables."""
    from napari_del.evaluation.evaluate import evaluate_model
    from napari_del.io import check_output

    if arguments.json is not None:
        check_output(arguments.json, (".json",), overwrite=arguments.overwrite)
    if not arguments.tolerance > 0:
        raise ParameterError(f"tolerance is {arguments.tolerance}; expected a number above 0")
    settle_size(arguments)
    reporter = Reporter(quiet=arguments.quiet)
    try:
        evaluations = evaluate_model(
            arguments.data,
            model=arguments.model,
            linkages=arguments.linkage,
            thresholds=arguments.thresholds,
            step=arguments.step,
            scale=arguments.scale,
            compactness=arguments.compactness,
            device=arguments.device,
            precision=arguments.precision,
            held_out_fold=arguments.held_out,
            limit=arguments.limit,
            tolerance=arguments.tolerance,
            progress=reporter,
        )
    finally:
        reporter.clear()
    for linkage, evaluation in evaluations.items():
        heading = f"{arguments.data}: {evaluation.n_images} images"
        if evaluation.n_objects:
            heading += f", {evaluation.n_objects} objects"
        heading += f"; model {arguments.model}, linkage {linkage}, step {arguments.step}"
        heading += f", scale {arguments.scale:g}" if arguments.scale != 1 else ""
        heading += f", {arguments.precision}" if arguments.precision != "float32" else ""
        sys.stdout.write(f"\n{heading}\n{_table(evaluation.rows())}")
    if arguments.json is not None:
        _write(arguments, evaluations)
        reporter.line(f"\n{arguments.json}: written")


def _table(rows: Sequence[dict[str, str]]) -> str:
    """A table; the first column to the left, numbers to the right."""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ""
    for first, *rest in lines:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        text += "  ".join([first.ljust(widths[0]), *cells]).rstrip() + "\n"
    return text


def _write(arguments: argparse.Namespace, evaluations: dict[str, Evaluation]) -> None:
    from napari_del import __version__
    from napari_del.io.outputs import replacing

    content = {
        "napari_del": __version__,
        "data": arguments.data,
        "model": arguments.model,
        "step": arguments.step,
        "scale": arguments.scale,
        "compactness": arguments.compactness,
        "precision": arguments.precision,
        "held_out": arguments.held_out is not None,
        "fold": arguments.held_out,
        "tolerance": arguments.tolerance,
        "linkages": {linkage: value.to_json() for linkage, value in evaluations.items()},
    }
    with replacing(arguments.json, overwrite=arguments.overwrite) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
