"""``napari-del train``: a configuration in, weights out."""

from __future__ import annotations

import argparse
import sys

__all__ = ["add_parser"]

EPILOG = """\
examples:
  napari-del train examples/training/natural.toml
  napari-del train examples/training/natural.toml --processes 2
  napari-del train mine.toml --output mine.safetensors --device cuda --processes 16
  napari-del segment cells.tif labels.tif --model mine.safetensors

A checkpoint lies beside the weights. A training that was cut off goes on from it with the same
command, and ends with the same weights. What a configuration holds is in docs/training.md.
The environment variable NAPARI_DEL_NUM_THREADS limits the number of threads.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "train",
        help="train a network on labelled images",
        description="Train a network on labelled images, as a TOML file describes it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", metavar="CONFIG.toml", help="what to train, on what, and how")
    parser.add_argument(
        "--output", metavar="WEIGHTS", help=".safetensors file to write (default: the file's)"
    )
    parser.add_argument(
        "--steps", type=int, metavar="N", help="number of steps (default: the file's)"
    )
    parser.add_argument(
        "--device", default="auto", metavar="D", help="auto (default), cpu, cuda or cuda:0"
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="processes that work on the images of a step at the same time (default: 1)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace weights of another training"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Train."""
    from napari_del.training.config import load_config
    from napari_del.training.run import run_training

    def log(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    path = run_training(
        load_config(arguments.config),
        output=arguments.output,
        steps=arguments.steps,
        device=arguments.device,
        processes=arguments.processes,
        overwrite=arguments.overwrite,
        log=log,
    )
    log(f"{path}: written; use it with --model {path}, or in Python segment(image, model='{path}')")
