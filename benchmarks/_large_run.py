"""One run of `segment_large`, or of the network alone, in a process of its own.

Prints what it took as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from benchmarks._large_image import large_image
from napari_del import segment_large
from napari_del._threads import n_threads, torch_threads_restored, use_one_torch_thread
from napari_del.models import MEAN_COLOR, find_model, load_network, resolve_device
from napari_del.models.device import turn_on
from napari_del.tiles.memory import predict_run
from napari_del.tiles.plan import Plan
from napari_del.tiles.store import TileStore

# Runs before the one that is timed, and megapixels of the largest image of theirs.
WARM_UPS, WARM_UP = 2, 25
# Runs of less than a second or two are repeated, and the median is taken.
SECONDS, RUNS = 2, 7


class Stages:
    """Seconds and peak resident memory between calls of a progress function."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, float]] = {}
        self._begin("start", 0)

    def _begin(self, name: str, tasks: int) -> None:
        self._name, self._tasks = name, tasks
        self._since = time.perf_counter()
        _forget_peak()

    def end(self) -> None:
        seconds = time.perf_counter() - self._since
        self.rows[self._name] = {"seconds": seconds, "gigabytes": _peak(), "tasks": self._tasks}

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self._name:
            self.end()
            self._begin(stage, total)


def _forget_peak() -> None:
    """Let the kernel count the peak from here on, where it can (Linux)."""
    file = Path("/proc/self/clear_refs")
    if file.exists():
        file.write_text("5")


def _peak() -> float:
    """Most resident memory, in GB, since it was forgotten; not a number on Windows."""
    try:
        import resource
    except ImportError:
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def bytes_by_part(store: Path) -> dict[str, dict[str, int]]:
    """Bytes and files of each part of a store: its pixels, each column of each stage, the rest."""
    parts: dict[str, dict[str, int]] = {}
    for folder, _, names in os.walk(store):
        place = Path(folder).relative_to(store).parts
        if place[:1] == ("tables",) and len(place) >= 4:
            part = f"{place[1]} {place[3]}"
        else:
            part = place[0] if place and place[0] != "tables" else "other"
        row = parts.setdefault(part, {"bytes": 0, "files": 0})
        row["files"] += len(names)
        row["bytes"] += sum((Path(folder) / name).stat().st_size for name in names)
    return dict(sorted(parts.items()))


def run(image: Path, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """What a whole run takes in a process that has segmented the image before, or 25 megapixels.

    Only then are kernels loaded, and is memory of blocks on each thread held for the next. Stores
    are made in a folder and stay there: where files were deleted in the last minutes, Linux' ext4
    without a journal takes up to 20 times as long to make new ones.
    """
    firsts = []
    source = zarr.open_array(image, mode="r")
    if source.shape[0] * source.shape[1] > WARM_UP * 1.01e6:
        source = zarr.open_array(large_image(image.parent, WARM_UP), mode="r")
    for k in range(WARM_UPS):
        start = time.perf_counter()
        segment_large(
            source, folder / f"before-{k}", model=args.model, block=args.block,
            device=args.device, workers=args.workers, scheduler=args.scheduler,
            precision=args.precision,
        )  # fmt: skip
        firsts.append(time.perf_counter() - start)
    source = zarr.open_array(image, mode="r")
    runs: list[tuple[float, Stages]] = []
    while not runs or (sum(taken for taken, _ in runs) < SECONDS and len(runs) < RUNS):
        store = folder / str(len(runs))
        os.sync()  # the disk has nothing left to do for runs before
        stages = Stages()
        start = time.perf_counter()
        segmentation = segment_large(
            source, store, model=args.model, block=args.block, device=args.device,
            workers=args.workers, scheduler=args.scheduler, precision=args.precision,
            progress=stages,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        stages.end()
        runs.append((seconds, stages))
    gigabytes = max(row["gigabytes"] for _, of in runs for row in of.rows.values())
    runs.sort(key=lambda run: run[0])
    seconds, stages = runs[len(runs) // 2]
    workers = args.workers or n_threads()
    info = find_model(args.model)
    plan = _plan(source, args)
    need = predict_run(
        plan, source.shape[2], source.dtype, info, workers,
        on_gpu=args.device != "cpu",
    )  # fmt: skip
    return {
        "shape": list(source.shape),
        "device": device_name(args.device),
        "block": args.block,
        "scheduler": args.scheduler,
        "workers": workers,
        "threads": n_threads(),
        "seconds": seconds,
        "runs": len(runs),
        "first_seconds": firsts[0],
        "stages": stages.rows,
        "gigabytes": gigabytes,
        "predicted": {**need._asdict(), "peak": need.peak},
        "superpixels": segmentation.n_superpixels,
        "edges": sum(TileStore.open(store).row_counts("edges", "edges", plan.band_keys)),
        "store": bytes_by_part(store),
    }


def device_name(device: str) -> str:
    """What the GPU calls itself, or "cpu"."""
    if device == "cpu":
        return device
    import torch

    return torch.cuda.get_device_name(resolve_device(device))


def _plan(source: zarr.Array[Any], args: argparse.Namespace) -> Plan:
    info = find_model(args.model)
    shape = source.shape[0], source.shape[1]
    if info.name == MEAN_COLOR:
        return Plan(shape, 8, args.block)
    network = load_network(info, resolve_device(args.device))
    return Plan(
        shape, 8, args.block, core=network.core, margin=network.margin, stride=network.stride,
        output_stride=network.output_stride,
    )  # fmt: skip


def forward(image: Path, args: argparse.Namespace) -> dict[str, Any]:
    """What the network alone takes for the same windows, whose pixels lie ready in memory.

    As many windows at a time as there are workers, each with one thread of PyTorch, or one at a
    time on a GPU: as a run does it. With `args.layers` each layer as a whole, as PyTorch computes a
    network by itself.
    """
    import torch

    source = zarr.open_array(image, mode="r")
    plan = _plan(source, args)
    device = resolve_device(args.device)
    network = load_network(find_model(args.model), device, precision=args.precision)
    inputs = []
    for key in plan.window_keys:
        extent = plan.window_of(key).extent
        pixels = np.asarray(source[extent], np.float32)
        lack = [(0, e.stop - e.start - n) for e, n in zip(extent, pixels.shape, strict=False)]
        pixels = np.pad(pixels, [*lack, (0, 0)], mode="reflect")
        inputs.append(torch.from_numpy(pixels).permute(2, 0, 1)[None])

    def compute(x: torch.Tensor) -> None:
        use_one_torch_thread()
        # The network takes whole layers where gradients might be asked for. No weight here has one.
        with torch.enable_grad() if args.layers else torch.inference_mode(), turn_on(device):
            network(x.to(device))
            if device.type != "cpu":
                torch.cuda.synchronize(device)

    workers = args.workers or n_threads()
    with torch_threads_restored(), ThreadPoolExecutor(workers) as executor:
        list(executor.map(compute, inputs[: max(4, workers)]))
        start = time.perf_counter()
        list(executor.map(compute, inputs))
        seconds = time.perf_counter() - start
    return {
        "windows": len(inputs),
        "device": device_name(args.device),
        "workers": workers,
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks._large_run")
    parser.add_argument("image", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--forward", action="store_true", help="the network alone")
    parser.add_argument("--layers", action="store_true", help="and that layer by layer")
    parser.add_argument("--stores", type=Path, help="an empty folder for those of runs")
    parser.add_argument("--block", type=int, default=2048)
    parser.add_argument("--scheduler", default="threads")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    taken = forward(args.image, args) if args.forward else run(args.image, args.stores, args)
    print(json.dumps(taken))


if __name__ == "__main__":
    main()
