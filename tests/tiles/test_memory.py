"""Runs take no more memory than was predicted, and not so much less that a limit is of no use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_del.models import find_model, load_network
from napari_del.models.vgg16 import DelVgg16
from napari_del.tiles.memory import predict_run
from napari_del.tiles.plan import Plan

# The run of two workers, and its peak as the kernel counts it from the call of segment_large on.
RUN = """
import json, re, sys
import numpy as np
from napari_del import segment_large
from napari_del.models import find_model, load_network, resolve_device
from napari_del.tiles.memory import predict_run
from napari_del.tiles.plan import Plan

model, scale, height, width, store = json.loads(sys.argv[1])
image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
info = find_model(model)
network = load_network(info, resolve_device("cpu"), scale)
names = "core", "margin", "stride", "output_stride"
geometry = {name: getattr(network, name) for name in names}
plan = Plan((height, width), 8, 512, scale=scale, **geometry)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
segment_large(image, store, model=model, scale=scale, block=512, workers=2, device="cpu")
# Not that of getrusage, which begins with the memory of the process that this one was started by.
peak = 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
print(json.dumps([peak, predict_run(plan, 3, image.dtype, info, 2).peak, len(plan.window_keys)]))
"""


def weights_of(model: str, folder: Path) -> str:
    if model == "del-lite":
        return model
    network = DelVgg16(generator=torch.Generator().manual_seed(0))
    path = folder / "drawn.safetensors"
    save_file(network.state_dict(), path, {"architecture": model})
    return str(path)


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the kernel counts no peak of its own"
)
@pytest.mark.parametrize(
    ("model", "scale", "height", "width"),
    [("del-lite", 1, 5000, 5000), ("del-lite", 2, 2600, 2600), ("del-vgg16", 1, 640, 300)],
)
def test_a_run_takes_at_most_what_was_predicted(model, scale, height, width, tmp_path):
    weights = weights_of(model, tmp_path)
    peaks = []
    # Two windows need not be at their peaks at the same time: a few runs say what they can take.
    for run in range(3):
        asked = json.dumps([weights, scale, height, width, str(tmp_path / f"{run}.zarr")])
        found = subprocess.run(
            [sys.executable, "-c", RUN, asked], capture_output=True, text=True, check=True
        )
        peak, predicted, windows = json.loads(found.stdout)
        assert windows >= 4  # so that two are computed at a time
        assert peak <= predicted
        peaks.append(peak)
    assert max(peaks) > 0.6 * predicted


def test_a_gpu_has_the_memory_of_windows_for_itself():
    info = find_model("del-lite")
    network = load_network(info, torch.device("cpu"))
    names = "core", "margin", "stride", "output_stride"
    plan = Plan((8000, 8000), 8, 512, **{name: getattr(network, name) for name in names})
    cpu, gpu = (predict_run(plan, 3, np.uint8, info, 4, on_gpu=on) for on in (False, True))
    assert gpu.base > cpu.base + 10**9  # the libraries of CUDA
    assert gpu.task < cpu.task / 2
    assert gpu.merge == cpu.merge
