"""A disk that is full: what was there survives, and nothing half-written is left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.painted import content

ROOT = Path(__file__).parents[2]

# Files may grow to 4 MB from here on, as on a disk with so much room: a checkpoint needs more.
FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, 4_000_000))"

SCRIPT = """
import sys
from dataclasses import replace
from napari_del.errors import OutputError
from napari_del.training import TrainingSettings, train
from napari_del.training.mixture import Mixture, TrainingSet
from tests.training.painted import disc, new_network

mixture = Mixture([TrainingSet("discs", [disc(0)])], size=(64, 64))

class Interrupted:
    def draw(self, position):
        if position == 1:
            {at_second_step}
        return mixture.draw(position)

settings = TrainingSettings(steps=2, batch=1, checkpoint_every=1)
try:
    train(Interrupted(), new_network(), sys.argv[1], settings=settings, log=print)
except (OutputError, KeyboardInterrupt) as error:
    print("stopped:", type(error).__name__, error)
"""


def run(path, at_second_step):
    script = SCRIPT.format(at_second_step=at_second_step)
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
def test_the_old_checkpoint_survives_a_full_disk(tmp_path):
    path, checkpoint = tmp_path / "lite.safetensors", tmp_path / "lite.checkpoint"
    said = run(path, FULL)
    assert f"stopped: OutputError {checkpoint} cannot be written: File too large" in said
    assert [p.name for p in tmp_path.iterdir()] == ["lite.checkpoint"]
    assert torch.load(checkpoint, weights_only=True)["step"] == 1
    # With room again the training goes on, to the same weights as one that was not stopped.
    assert "resumed at step 1" in run(path, "pass")
    other = tmp_path / "other.safetensors"
    run(other, "pass")
    assert content(path) == content(other)
