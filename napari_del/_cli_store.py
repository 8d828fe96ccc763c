"""``napari-del relabel``, ``info`` and ``verify``: what is in a store of a tiled run."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from napari_del._cli_progress import Reporter
from napari_del._cli_run import check_cut, write_regions
from napari_del._cli_segment import add_cut_options, add_plane_options
from napari_del.errors import StoreError

if TYPE_CHECKING:
    from napari_del.tiles.store import TileStore

__all__ = ["add_parser"]

OK, DAMAGED = 0, 1

EPILOG = """\
examples:
  napari-del relabel mosaic.del.zarr coarse.tif --regions 500 --image mosaic.tif
  napari-del relabel mosaic.del.zarr fine.ome.zarr --threshold 0.2 --table fine.parquet
  napari-del info mosaic.del.zarr
  napari-del verify mosaic.del.zarr --repair
"""

GUARANTEES = """\
guarantees
  tile-exact       superpixels, graph and merging have the same bytes as without tiles, for every
                   block size
  schedule-exact   all that is computed, the network's embeddings included, has the same bytes for
                   every block size, scheduler and number of workers, on one type of machine"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to the parser."""
    parser = _parser(commands, "relabel", "write other regions of a segmentation that is stored")
    parser.add_argument(
        "store",
        metavar="STORE",
        help="folder or URL of a tiled run, or folder that --save-segmentation wrote",
    )
    parser.add_argument("labels", metavar="LABELS", help="TIFF file or .ome.zarr folder to write")
    add_cut_options(parser)
    parser.add_argument(
        "--table",
        metavar="PARQUET",
        help="also write area, bounding box, centroid and embedding of each region, to this file",
    )
    parser.add_argument(
        "--image",
        metavar="IMAGE",
        help="image that was segmented: labels get its pixel size and map coordinates, and the "
        "table the means of its channels",
    )
    add_plane_options(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")
    parser.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    parser.set_defaults(run=run_relabel)

    parser = _parser(commands, "info", "show what a store holds and how far its run is")
    parser.add_argument("store", metavar="STORE", help="folder or URL of a tiled run")
    parser.set_defaults(run=run_info)

    parser = _parser(commands, "verify", "read all of a store and compare checksums")
    parser.add_argument("store", metavar="STORE", help="folder or URL of a tiled run")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="forget what is damaged: the command that made the store computes it again",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print what is damaged only")
    parser.set_defaults(run=run_verify)


def _parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run_relabel(arguments: argparse.Namespace) -> None:
    """Write the regions at another threshold."""
    from napari_del.io import check_output, open_image
    from napari_del.io.labels import LABELS_SUFFIXES
    from napari_del.io.region_table import write_region_table
    from napari_del.segmentation import load

    check_cut(arguments)
    overwrite = arguments.overwrite
    labels = check_output(arguments.labels, LABELS_SUFFIXES, overwrite=overwrite)
    table = None
    if arguments.table is not None:
        table = check_output(arguments.table, (".parquet",), overwrite=overwrite)
    reporter = Reporter(quiet=arguments.quiet)
    try:
        with reporter.stage("read"):
            image = None
            if arguments.image is not None:
                image = open_image(
                    arguments.image, series=arguments.series, select=arguments.select
                )
            result = load(arguments.store)
            if image is not None and tuple(image.data.shape[:2]) != result.shape:
                raise StoreError(
                    f"{arguments.image} has {image.data.shape[0]} x {image.data.shape[1]} pixels; "
                    f"expected {result.shape[0]} x {result.shape[1]}, those of {arguments.store}"
                )
        metadata = None if image is None else image.metadata
        threshold = write_regions(arguments, result, labels, metadata, reporter)
        if table is not None:
            with reporter.stage("table"):
                write_region_table(
                    table,
                    result,
                    threshold,
                    arguments.linkage,
                    arguments.min_size,
                    image=None if image is None else image.data,
                    overwrite=overwrite,
                    progress=reporter.within("table"),
                )
            reporter.line(f"{table}: written")
    finally:
        reporter.clear()


def run_info(arguments: argparse.Namespace) -> None:
    """Show what a store holds."""
    from napari_del.tiles.manifest import read_attributes
    from napari_del.tiles.plan import Plan
    from napari_del.tiles.run import stages
    from napari_del.tiles.store import TileStore

    store = TileStore.open(arguments.store)
    manifest = store.manifest
    source, parameters = manifest["source"], manifest["parameters"]
    step, iterations = parameters["step"], manifest["iterations"]
    plan = Plan(store.shape, step, store.block, iterations, **manifest["windows"])
    y, x = store.shape
    n_channels = source["shape"][2] if len(source["shape"]) == 3 else 1
    version = read_attributes(store.url)["napari_del_version"]
    print(f"{store.url}: written by napari-del {version}")
    rows = {
        "image": f"{y} x {x} pixels, {n_channels} channel{'s' * (n_channels != 1)}, "
        f"{source['dtype']}",
        **{name: value for name, value in parameters.items() if value is not None},
        "nodata": manifest["nodata"],
        "weights": manifest["weights"] and f"SHA-256 {manifest['weights']}",
        "device": manifest["device"],
        "block": f"{store.block} pixels",
    }
    _print({name: value for name, value in rows.items() if value is not None})
    print("progress")
    named = stages(plan, stretched=manifest["stretched"])
    left = {}
    for stage, keys in named.items():
        left[stage] = len(set(keys) - store.done(stage))
        share = f"{len(keys) - left[stage]} of {len(keys)}"
        print(f"  {stage:<15}  {share}")
    trees = sorted(store.done("hierarchy"))
    print(f"  {'hierarchies':<15}  {', '.join(trees) or 'none'}")
    if any(left.values()):
        print("not complete: the command that made it goes on from there")
        return
    bands = plan.band_keys
    print("contents")
    _print(
        {
            "superpixels": sum(store.row_counts("nodes", "ids", bands)),
            "edges": sum(store.row_counts("edges", "edges", bands)),
        }
    )
    print("SHA-256 of the checksums that were taken when the parts were written, in their order")
    blocks = [("superpixels", key) for key in named["superpixels"]]
    graph = [(stage, key) for stage in ("nodes", "edges") for key in bands]
    _print({f"superpixels of blocks of {store.block}": _digest(store, blocks)})
    _print({"graph": _digest(store, graph)})
    _print({f"hierarchy {tree}": _digest(store, [("hierarchy", tree)]) for tree in trees})
    print(GUARANTEES)


def _print(rows: dict[str, Any]) -> None:
    for name, value in rows.items():
        print(f"  {name:<15}  {value}")


def _digest(store: TileStore, tables: Iterable[tuple[str, str]]) -> str:
    """One SHA-256 for the SHA-256 of the pixels, if it has any, or of the arrays of each table."""
    digest = hashlib.sha256()
    for stage, key in tables:
        marker = store.marker(stage, key)
        if marker.pixels is not None:
            digest.update(bytes.fromhex(marker.pixels[1]))
            continue
        for name in sorted(marker.arrays):
            digest.update(name.encode() + bytes.fromhex(marker.arrays[name].sha256))
    return digest.hexdigest()


def run_verify(arguments: argparse.Namespace) -> int:
    """Compare all that a store holds with its checksums."""
    from napari_del.tiles.store import TileStore

    store = TileStore.open(arguments.store, writable=arguments.repair)
    reporter = Reporter(quiet=arguments.quiet)
    try:
        reporter("verify", 0, 1)
        damaged = store.verify(progress=reporter.within("verify"))
        reporter("verify", 1, 1)
    finally:
        reporter.clear()
    if not damaged:
        reporter.line(f"{store.url}: all that is done is as it was written")
        return OK
    for stage, key, reason in damaged:
        print(f"{stage} {key}: {reason}")
    tables = {(stage, key) for stage, key, _ in damaged}
    if arguments.repair:
        for stage, key in sorted(tables):
            store.forget(stage, key)
    repaired = ", forgotten: the command that made the store computes it again"
    print(f"{store.url}: {len(tables)} damaged{repaired * arguments.repair}")
    return DAMAGED
