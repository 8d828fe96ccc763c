"""One table of what napari-del takes, each row beside what it is compared with.

    python -m benchmarks [--only NAME ...] [--quick] [--json FILE]

What each row means is in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path

from benchmarks._measure import Options
from benchmarks._output import machine, print_table, write_json

NAMES = ("slic", "merging", "large_merging", "segment", "slider", "imports", "threads")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME",
                        help=f"some of {', '.join(NAMES)}")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="small images and few rounds")
    parser.add_argument("--model", default="del-lite", help="of the rows segment and threads")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)

    options = Options(quick=args.quick, model=args.model)
    comparisons = []
    for name in args.only:
        for comparison in importlib.import_module(f"benchmarks.rows_{name}").rows(options):
            comparisons.append(comparison)
            # Figures as they come, for whoever waits; the table follows.
            print(f"{comparison.name}: {comparison.ratio:.3g}", flush=True)
    about = machine()
    print(f"\n{about['platform']}, {about['cores']} cores, Python {about['python']}")
    print_table([comparison.row() for comparison in comparisons])
    if args.json:
        write_json(args.json, {"rows": [comparison.as_json() for comparison in comparisons]})
    return 1 if any(comparison.holds is False for comparison in comparisons) else 0


if __name__ == "__main__":
    raise SystemExit(main())
