"""Training on a GPU: convolutions in 16 bits, and weights that a CPU reads."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from napari_del.training import TrainingSettings, fine_tune, train
from napari_del.training.mixture import Mixture, TrainingSet
from napari_del.training.trainer import Trainer
from tests.training.painted import disc, new_network

pytestmark = pytest.mark.gpu

SETTINGS = TrainingSettings(steps=4, batch=1, checkpoint_every=2)


@pytest.fixture(scope="module")
def mixture():
    return Mixture([TrainingSet("discs", [disc(seed) for seed in range(3)])], size=(64, 64))


def test_the_losses_are_those_of_the_cpu_to_the_precision(mixture):
    found = []
    for device in ("cpu", "cuda"):
        trainer = Trainer(new_network(), mixture, SETTINGS, device=torch.device(device))
        (terms,) = trainer.advance()
        found.append(terms)
    assert found[0].keys() == found[1].keys()
    for name in ("pairs", "boundary", "distant"):
        assert found[1][name] == pytest.approx(found[0][name], rel=0.05)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_either_precision_trains(mixture, monkeypatch, precision):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: precision is torch.bfloat16)
    trainer = Trainer(new_network(), mixture, SETTINGS, device=torch.device("cuda"))
    assert trainer.precision is precision
    for _ in range(SETTINGS.steps):
        trainer.advance()
    assert all(torch.isfinite(t).all() for t in trainer.network.state_dict().values())
    assert {t.dtype for t in trainer.network.state_dict().values()} == {torch.float32}


def test_a_run_goes_on_from_its_checkpoint(mixture, tmp_path):
    path, said = tmp_path / "a.safetensors", []

    class Interrupted:
        def draw(self, position):
            if position == 3:
                raise KeyboardInterrupt
            return mixture.draw(position)

    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(), new_network(), path, settings=SETTINGS, device="cuda", log=said.append)
    train(mixture, new_network(), path, settings=SETTINGS, device="cuda", log=said.append)
    assert said == ["resumed at step 2"]
    assert {t.dtype for t in load_file(path).values()} == {torch.float16}


def test_processes_share_one_gpu(mixture):
    settings = TrainingSettings(steps=3, batch=2)
    found = []
    for processes in (1, 3):
        device = torch.device("cuda")
        trainer = Trainer(new_network(), mixture, settings, device=device, processes=processes)
        with closing(trainer):
            found.append([terms for _ in range(settings.steps) for terms in trainer.advance()])
    for one, several in zip(*found, strict=True):
        # Sums of a GPU are of no fixed order, and merged regions follow them.
        for name in ("pairs", "boundary", "distant"):
            assert several[name] == pytest.approx(one[name], rel=0.02)


def test_fine_tuning(tmp_path):
    image, labels = disc(0).image, disc(0).segmentations[0].astype(np.int32) + 1
    path = fine_tune([image], [labels], output=tmp_path / "a.safetensors", steps=2, device="cuda")
    assert all(torch.isfinite(t).all() for t in load_file(path).values())
