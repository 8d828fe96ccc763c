"""The command ``napari-del``: images in, regions out.

Modules that take long to import are imported by the command that needs them, so that help
and version come at once.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn, TextIO

from napari_del import (
    __version__,
    _cli_demo,
    _cli_evaluate,
    _cli_models,
    _cli_segment,
    _cli_store,
    _cli_train,
)
from napari_del.errors import NapariDelError, NonFiniteWarning

__all__ = ["main"]

OK, FAILED, INTERRUPTED = 0, 2, 130

EPILOG = """\
examples:
  napari-del demo
  napari-del models
  napari-del segment cells.tif labels.tif --regions 200 --overlay overlay.png
  napari-del segment slide.svs labels.tif --store slide.del.zarr
  napari-del relabel slide.del.zarr coarse.tif --regions 500
  napari-del evaluate --data bsds500/val
  napari-del train mine.toml
  napari-del segment --help

exit codes: 0 success, 1 a damaged store, 2 an error told in one line, 130 interrupted by Ctrl+C
"""


class Parser(argparse.ArgumentParser):
    """A parser that tells an error in one line, as everything else does here."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit."""
        _tell("error", f"{message} (see {self.prog} --help)")
        raise SystemExit(FAILED)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process by default.

    Returns
    -------
    int
        Exit code: 0 on success, 1 if a store that was verified is damaged, 2 after an error
        that was told in one line on standard error, 130 after Ctrl+C.
    """
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as stop:  # argparse exits by itself after --help and errors
        return stop.code if isinstance(stop.code, int) else FAILED
    try:
        with _one_line_warnings():
            code: int | None = arguments.run(arguments)
            sys.stdout.flush()
    except NapariDelError as error:
        _tell("error", str(error))
        return FAILED
    except MemoryError:
        _tell("error", "out of memory; try a smaller image, a larger --step or fewer --channels")
        return FAILED
    except KeyboardInterrupt:
        _tell("error", "interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # as by `napari-del models | head -1`
        # Python flushes standard output once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return OK if code is None else code


def _parser() -> Parser:
    parser = Parser(
        prog="napari-del",
        description="Segment images into regions by deep embedding learning (DEL).",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"napari-del {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (_cli_segment, _cli_store, _cli_models, _cli_evaluate, _cli_train, _cli_demo):
        module.add_parser(commands)
    return parser


def _tell(kind: str, message: str) -> None:
    print(f"napari-del: {kind}: {' '.join(message.split())}", file=sys.stderr, flush=True)


@contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Show warnings as errors are shown, and keep the log of tifffile to ourselves."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        _tell("warning", str(message))

    log = logging.getLogger("tifffile")
    level = log.level
    log.setLevel(logging.CRITICAL)  # what matters of a damaged file is in our own error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", NonFiniteWarning)
            warnings.showwarning = show
            yield
    finally:
        log.setLevel(level)


if __name__ == "__main__":
    sys.exit(main())
