"""Other ways to segment an image tile by tile, beside napari-del: time, memory, and what changes
with the size of the tiles.

    python -m benchmarks.others [--megapixels N] [--share-megapixels N] [--json FILE]

What is measured, and how, is in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from benchmarks._kept import Kept, Row
from benchmarks._large_image import large_image
from benchmarks._output import print_table
from benchmarks._process import Taken, module, run_limited
from benchmarks._region_matching import share_that_changes
from benchmarks.large import folder_for

TILES = (1024, 1536)

Command = Callable[[Path, Path, int], list[str]]


def _module(route: str, *options: str) -> Command:
    def command(image: Path, labels: Path, tile: int) -> list[str]:
        return module("_other_route", route, image, labels, "--tile", tile, *options)

    return command


def _orfeo(image: Path, labels: Path, tile: int) -> list[str]:
    """With its defaults: radii of 5 pixels and 15 grey values, at least 50 pixels a region."""
    command = ["otbcli_LargeScaleMeanShift", "-in", str(_as_tiff(image))]
    command += ["-spatialr", "5", "-ranger", "15", "-minsize", "50"]
    command += ["-tilesizex", str(tile), "-tilesizey", str(tile)]
    return [*command, "-mode", "raster", "-mode.raster.out", str(labels), "uint32"]


def _as_tiff(image: Path) -> Path:
    """The same image as TIFF, in tiles, without compression; written once."""
    path = image.with_suffix(".tif")
    if not path.exists():
        pixels = zarr.open_array(image, mode="r")[...]
        unfinished = path.with_suffix(".unfinished")
        tifffile.imwrite(unfinished, pixels, tile=(256, 256), photometric="rgb", bigtiff=True)
        unfinished.rename(path)
    return path


ROUTES: dict[str, tuple[Command, str]] = {
    "napari-del": (_module("napari-del"), ".zarr"),
    "scikit-image": (_module("scikit-image"), ".zarr"),
    "scikit-image-touch": (_module("scikit-image", "--join", "touch"), ".zarr"),
    "orfeo": (_orfeo, ".tif"),
}


def measure(
    route: str, image: Path, tile: int, folder: Path, limit: float
) -> tuple[Taken, NDArray[np.integer[Any]] | None]:
    """What a route takes for an image, and its labels if it comes to its end."""
    command, suffix = ROUTES[route]
    labels = folder / f"labels-{tile}{suffix}"
    arguments = command(image.absolute(), labels.absolute(), tile)
    # There, because Orfeo ToolBox leaves files where it is ended.
    taken = run_limited(arguments, limit, log=folder / "log", folder=folder)
    if not taken.finished:
        return taken, None
    if suffix == ".tif":
        return taken, tifffile.imread(labels)
    return taken, np.asarray(zarr.open_array(labels, mode="r")[...])


def speed(route: str, image: Path, limit: float) -> Row:
    """Seconds and peak memory of one run, with the first of the tile sizes."""
    with tempfile.TemporaryDirectory(dir=image.parent) as folder:
        taken, labels = measure(route, image, TILES[0], Path(folder), limit)
    return {
        "tile": TILES[0],
        "finished": taken.finished,
        "seconds": taken.seconds,
        "gigabytes": taken.gigabytes,
        "regions": None if labels is None else int(np.unique(labels).size),
    }


def share(route: str, image: Path, limit: float) -> Row:
    """Share of pixels that are of another region when the tiles have another size."""
    found = []
    with tempfile.TemporaryDirectory(dir=image.parent) as folder:
        for tile in TILES:
            taken, labels = measure(route, image, tile, Path(folder), limit)
            if labels is None:
                return {"tiles": TILES, "finished": False, "seconds": taken.seconds}
            found.append(labels)
    return {
        "tiles": TILES,
        "finished": True,
        "share": share_that_changes(found[0], found[1]),
        "regions": [int(np.unique(labels).size) for labels in found],
        "largest": [float(np.unique(x, return_counts=True)[1].max() / x.size) for x in found],
    }


def row_of(name: str, row: Row, kind: str) -> dict[str, str]:
    """A line of the table."""
    if kind == "shares":
        return {
            "route": name,
            "tiles": " and ".join(map(str, row["tiles"])),
            "share that changes": f"{row['share']:.3%}" if row["finished"] else "not finished",
            "regions": " and ".join(map(str, row["regions"])) if row["finished"] else "-",
        }
    more = "" if row["finished"] else "more than "
    return {
        "route": name,
        "tile": str(row["tile"]),
        "seconds": f"{more}{row['seconds']:.3g}",
        "GB": f"{row['gigabytes']:.3g}" + (" so far" if more else ""),
        "regions": "-" if row["regions"] is None else str(row["regions"]),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.others")
    parser.add_argument("--routes", nargs="+", choices=ROUTES, default=list(ROUTES))
    parser.add_argument("--megapixels", type=float, default=100, help="for time and memory")
    parser.add_argument("--share-megapixels", type=float, default=16, help="for what changes")
    parser.add_argument(
        "--limit", type=float, default=1800, metavar="SECONDS", help="of each run (default: 1800)"
    )
    parser.add_argument("--folder", type=Path, help="for images, which are kept there, and labels")
    parser.add_argument("--quick", action="store_true", help="small images: to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="read and added to")
    parser.add_argument("--again", action="store_true", help="measure what FILE holds already")
    args = parser.parse_args(argv)
    if args.quick:
        args.megapixels, args.share_megapixels = 1, 3

    kept = Kept(args.json, again=args.again)
    with folder_for(args.folder) as folder:
        for route in args.routes:
            if route == "orfeo" and shutil.which("otbcli_LargeScaleMeanShift") is None:
                print("orfeo is left out: otbcli_LargeScaleMeanShift is not installed")
                continue
            for kind, size, function in (
                ("others", args.megapixels, speed),
                ("shares", args.share_megapixels, share),
            ):
                name = f"{route}, {size:g} MP"
                if kept.lacks(kind, name):
                    image = large_image(folder, size)
                    kept.add(kind, name, function(route, image, args.limit))
                    print(f"{kind}: {name} done", flush=True)
    for kind in ("others", "shares"):
        rows = kept.groups.get(kind, {})
        if rows:
            print_table([row_of(name, row, kind) for name, row in rows.items()])
            print()
    ours = [row for name, row in kept.groups.get("shares", {}).items() if "napari-del" in name]
    return 1 if any(row.get("share", 1) != 0 for row in ours) else 0


if __name__ == "__main__":
    raise SystemExit(main())
