"""Time to import the package, in fresh interpreters."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator

from benchmarks._measure import Comparison, Options, interleave

LIMIT = 0.3


def _python(statement: str) -> None:
    # Isolated from the working folder's other modules, with the same path as this process.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", statement], check=True, env=environment)


def rows(options: Options) -> Iterator[Comparison]:
    statements = ("import napari_del", "import numpy", "pass")
    ours, numpy, empty = interleave(
        [lambda statement=statement: _python(statement) for statement in statements],
        rounds=3 if options.quick else 9,
    )
    start = statistics.median(empty)
    added = statistics.median(ours) - start
    for name, seconds in (("import numpy", numpy), ("pass", empty)):
        yield Comparison(
            "import",
            'python -c "import napari_del"',
            f'python -c "{name}"',
            tuple(ours),
            tuple(seconds),
            required=f"A - pass < {1000 * LIMIT:g} ms" if name == "pass" else "",
            holds=added < LIMIT if name == "pass" else None,
            note=f"import alone {1000 * added:.3g} ms" if name == "pass" else "",
        )
