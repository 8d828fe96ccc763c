"""Hierarchies of graphs that are loaded part by part: seconds and memory of a fresh process."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np

from benchmarks._large_graph import LargeGraph
from benchmarks._measure import Comparison, Options
from napari_del import merging
from napari_del.merging.parts import average_in_parts, spanning_forest_in_parts

SECONDS, GIGABYTES = 60, 3
IN_PARTS = {"average": average_in_parts, "del": spanning_forest_in_parts}


def measure(linkage: str, graph: LargeGraph) -> dict[str, float]:
    """Seconds and peak resident gigabytes, kernels compiled and the interpreter included."""
    merge = IN_PARTS[linkage]
    small = LargeGraph(30, 40)
    merge(small.load, small.starts(), small.n)
    start, cpu = time.perf_counter(), time.process_time()
    merge(graph.load, graph.starts(), graph.n)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "gigabytes": _peak_memory()}


def _peak_memory() -> float:
    """Most memory that this process has had in use, in GB; not a number on Windows."""
    try:
        import resource
    except ImportError:
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def same_as_whole(linkage: str, graph: LargeGraph) -> bool:
    """Whether the parts give the hierarchy that the whole graph gives."""
    starts = graph.starts()
    parts = [graph.load(k) for k in range(len(starts) - 1)]
    edges, weights, lengths = (np.concatenate(column) for column in zip(*parts, strict=True))
    if linkage == "average":
        whole = merging.average(edges, weights, lengths, graph.n)
    else:
        whole = merging.spanning_forest(edges, weights, graph.n)
    # Parts of a tenth of the graph, so that there is something to put together.
    thin = graph._replace(rows_per_part=graph.n // 10)
    tree = IN_PARTS[linkage](thin.load, thin.starts(), graph.n)
    return np.array_equal(tree.parent, whole.parent) and np.array_equal(tree.height, whole.height)


def rows(options: Options) -> Iterator[Comparison]:
    # An image of 25,600 x 25,000 pixels in superpixels of step 8, or a small one.
    graph = LargeGraph(320, 400) if options.quick else LargeGraph(3125, 3200)
    for linkage in IN_PARTS:
        note = "" if same_as_whole(linkage, LargeGraph(300, 700)) else "DIFFERS from the whole"
        command = [sys.executable, "-m", "benchmarks.rows_large_merging", linkage]
        command += [str(graph.rows), str(graph.columns)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        run = subprocess.run(
            command, check=True, env=environment, stdout=subprocess.PIPE, text=True
        )
        taken = json.loads(run.stdout)
        name = f"{linkage} in parts, {graph.n:,} superpixels"
        merge = f"napari_del.merging.{IN_PARTS[linkage].__name__}"
        for quantity, limit, unit in (("seconds", SECONDS, "s"), ("gigabytes", GIGABYTES, "GB")):
            yield Comparison(
                f"{name}, {quantity}",
                merge,
                f"{limit} {unit}",
                (taken[quantity],),
                (float(limit),),
                required="A / B <= 1",
                holds=bool(taken[quantity] <= limit) and not note,
                note=note or f"{taken['cpu']:.3g} s of all threads",
                unit=1.0,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rows_large_merging",
        description="Merge one graph and print what it takes.",
    )
    parser.add_argument("linkage", choices=IN_PARTS)
    parser.add_argument("rows", type=int)
    parser.add_argument("columns", type=int)
    args = parser.parse_args()
    print(json.dumps(measure(args.linkage, LargeGraph(args.rows, args.columns))))


if __name__ == "__main__":
    main()
