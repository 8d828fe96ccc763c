"""Rows of a benchmark that are kept in a file as they come, so that a run goes on later."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks._output import DEFAULT_DATA, machine

__all__ = ["Kept", "add_options"]

Row = dict[str, Any]


def add_options(parser: argparse.ArgumentParser, *, data: bool = True) -> None:
    """Add the options of benchmarks that run a network on the data sets and keep rows.

    With `data` there is one for where the sets are.
    """
    parser.add_argument("--device", default="auto")
    parser.add_argument("--again", action="store_true", help="compute what FILE holds already")
    if data:
        parser.add_argument("--data", type=Path, default=DEFAULT_DATA, metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE", help="read and added to")


class Kept:
    """Rows by group and name, in a JSON file if there is one.

    Each row says when and on what machine it was measured, as rows may be added elsewhere.
    """

    def __init__(self, path: Path | None, *, again: bool = False) -> None:
        self._path = path
        self._again = again
        self._new: set[tuple[str, str]] = set()
        self.groups = self._read()

    def _read(self) -> dict[str, dict[str, Row]]:
        if self._path is None or not self._path.exists():
            return {}
        groups: dict[str, dict[str, Row]] = json.loads(self._path.read_text())
        return groups

    def lacks(self, group: str, name: str) -> bool:
        """Whether a row has to be measured."""
        known = name in self.groups.get(group, {})
        return not known or (self._again and (group, name) not in self._new)

    def add(self, group: str, name: str, row: Mapping[str, Any]) -> None:
        """Keep a row; the file gets it at once, beside what others added meanwhile."""
        about = {"measured": time.strftime("%Y-%m-%d"), "machine": machine()}
        self.groups.setdefault(group, {})[name] = {**row, **about}
        self._new.add((group, name))
        if self._path is not None:
            found = self._read()
            found.setdefault(group, {})[name] = self.groups[group][name]
            self.groups = found
            temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
            temporary.write_text(json.dumps(found, indent=1) + "\n")
            temporary.replace(self._path)
