"""``napari-del models``: the models there are, and models of one's own."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_del.models import ModelInfo

__all__ = ["add_parser"]

EPILOG = """\
examples:
  napari-del models
  napari-del models install nuclei.safetensors
  napari-del models install weights.safetensors --name nuclei --overwrite
  napari-del models remove nuclei

A model is chosen by its name with --model, or by the path of a .safetensors file.
User models lie in one folder, which the environment variable NAPARI_DEL_MODELS changes.
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "models",
        help="list the models, install and remove your own",
        description="List the models (also without COMMAND), install a weights file as a user\n"
        "model, or remove one.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run_list)
    actions = parser.add_subparsers(title="commands", metavar="COMMAND")
    listing = actions.add_parser(
        "list",
        help="show all models",
        description="Show all models: built in or the user's own, whether they can be used, the "
        "length of their embeddings (any: as many as the image has channels), what they were "
        "fine-tuned from, the SHA-256 of their weights file and its licence.",
    )
    listing.set_defaults(run=run_list)
    install = actions.add_parser(
        "install",
        help="install a weights file under a name",
        description="Check a weights file and copy it to the folder of user models.",
    )
    install.add_argument("file", metavar="FILE", type=Path, help=".safetensors file")
    install.add_argument("--name", metavar="N", help="name of the model (default: that of FILE)")
    install.add_argument(
        "--overwrite", action="store_true", help="replace a user model of that name"
    )
    install.set_defaults(run=run_install)
    remove = actions.add_parser(
        "remove",
        help="remove a user model",
        description="Remove a user model. Built-in models cannot be removed.",
    )
    remove.add_argument("name", metavar="NAME", help="name of the model")
    remove.set_defaults(run=run_remove)


def run_list(arguments: argparse.Namespace) -> None:
    """Print a line for each model, and below it what is long."""
    from napari_del.models import list_models, models_folder

    models = list_models()
    rows = [("name", "kind", "available", "embedding", "base")]
    rows += [
        (
            model.name,
            model.kind,
            "yes" if model.available else "no",
            # Of a file that cannot be read nothing is known.
            str(model.embedding_dim or ("any" if model.available else "-")),
            model.base_model or "-",
        )
        for model in models
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    columns = max(shutil.get_terminal_size().columns - 1, 40)
    for row, model in zip(rows, (None, *models), strict=True):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
        for text in () if model is None else _details(model):
            # Paths are not broken at their hyphens, so that they can be copied.
            print(
                textwrap.fill(
                    text,
                    columns,
                    initial_indent="    ",
                    subsequent_indent="    ",
                    break_long_words=False,
                    break_on_hyphens=False,
                )
            )
    print(f"\nfolder of user models: {models_folder()}")


def _details(model: ModelInfo) -> list[str]:
    lines = [model.description]
    if model.available or model.kind == "built-in":
        lines.append(f"licence: {model.licence}")
    if model.available and model.sha256 is not None:
        lines.append(f"SHA-256: {model.sha256}")
    return lines


def run_install(arguments: argparse.Namespace) -> None:
    """Install a weights file."""
    from napari_del.models import install_model

    model = install_model(arguments.file, name=arguments.name, overwrite=arguments.overwrite)
    print(f"installed {model.name} ({model.path})")
    print(f"SHA-256 {model.sha256}")
    print(f"use it with: napari-del segment IMAGE LABELS --model {model.name}")


def run_remove(arguments: argparse.Namespace) -> None:
    """Remove a user model."""
    from napari_del.models import remove_model

    print(f"removed {arguments.name} ({remove_model(arguments.name)})")
