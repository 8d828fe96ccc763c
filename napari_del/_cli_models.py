"""``napari-del models``: the models there are."""

from __future__ import annotations

import argparse
import sys

__all__ = ["add_parser"]

EPILOG = """\
A model is chosen by its name with --model, or by the path of a .safetensors file.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "models",
        help="list the models and whether their weights are installed",
        description="List the models: whether their weights are installed, the length of their "
        "embeddings (any: as many as the image has channels), their licence and what they are for.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the table."""
    from napari_del.models import list_models

    rows = [("name", "available", "dims", "licence", "description")]
    rows += [
        (
            model.name,
            "yes" if model.available else "no",
            str(model.embedding_dim or "any"),
            model.licence,
            model.description,
        )
        for model in list_models()
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        sys.stdout.write("  ".join([*cells, row[-1]]) + "\n")
