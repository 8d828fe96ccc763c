"""Training: it learns, it is deterministic, and a run that was killed goes on as if it was not."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from napari_del import segment
from napari_del.errors import NapariDelError, ParameterError
from napari_del.evaluation.datasets import BSDSImage
from napari_del.models import find_model
from napari_del.models.lite import DelLite
from napari_del.training import TrainingSettings, train
from napari_del.training.losses import pair_loss
from napari_del.training.samples import make_sample
from napari_del.training.thresholds import set_default_thresholds
from tests.models.efficientnet import unfolded

SETTINGS = TrainingSettings(steps=3, batch=2, checkpoint_every=1)


def silent(line):
    pass


def annotated(seed, side=64):
    """A textured disc on a textured ground, as two people would outline it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    distance = np.hypot(y - rng.integers(25, 40), x - rng.integers(25, 40))
    labels = np.stack([distance < 18, distance < 19]).astype(np.int16)
    colours = rng.integers(30, 226, (2, 3))
    image = colours[labels[0]] + rng.integers(-30, 31, (side, side, 3))
    return BSDSImage(str(seed), image.clip(0, 255).astype(np.uint8), labels)


@pytest.fixture(scope="module")
def images():
    return [annotated(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def encoder():
    return unfolded().state_dict()


@pytest.fixture(scope="module")
def reference(images, encoder, tmp_path_factory):
    """The file of a run that nothing disturbed."""
    path = tmp_path_factory.mktemp("reference") / "lite.safetensors"
    train(images, encoder, path, settings=SETTINGS, log=silent)
    return path


def content(path):
    """Metadata and tensors; the order of the metadata in the file is chance."""
    with safe_open(path, framework="numpy") as file:
        return file.metadata(), {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118


class Interrupted(list):
    """Images of which one cannot be had: the process was killed."""

    def __init__(self, images, at):
        super().__init__(images)
        self.left = at

    def __getitem__(self, index):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().__getitem__(index)


def test_the_file_holds_the_network_in_half_precision(reference):
    with safe_open(reference, framework="numpy") as file:
        metadata = file.metadata()
    assert metadata["architecture"] == "del-lite" and metadata["format_version"] == "1"
    assert '"steps": 3' in metadata["training"]
    assert {t.dtype for t in load_file(reference).values()} == {torch.float16}
    assert reference.stat().st_size < 15e6
    out = segment(annotated(9).image, model=reference, device="cpu")
    assert np.isfinite(out.embeddings).all()


def test_two_runs_give_the_same_weights(images, encoder, reference, tmp_path):
    torch.manual_seed(12345)  # what is drawn elsewhere does not matter
    before = torch.get_num_threads()
    train(images, encoder, tmp_path / "lite.safetensors", settings=SETTINGS, log=silent)
    assert content(tmp_path / "lite.safetensors") == content(reference)
    assert torch.get_num_threads() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lite.checkpoint", "lite.safetensors"]


@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_run_that_was_killed_goes_on_to_the_same_weights(
    images, encoder, reference, tmp_path, at
):
    path, said = tmp_path / "lite.safetensors", []
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(images, at), encoder, path, settings=SETTINGS, log=silent)
    assert not path.exists()
    train(images, encoder, path, settings=SETTINGS, log=said.append)
    done = at // SETTINGS.batch
    assert said == ([f"resumed at step {done}"] if done else [])
    assert content(path) == content(reference)


def test_another_seed_gives_another_network(images, encoder, reference, tmp_path):
    path = tmp_path / "lite.safetensors"
    train(images, encoder, path, settings=replace(SETTINGS, seed=1), log=silent)
    assert content(path)[1] != content(reference)[1]


def test_only_the_stages_that_are_not_frozen_change(images, encoder, tmp_path):
    start = DelLite()
    start.load_imagenet(encoder)
    start.initialise(torch.Generator().manual_seed(SETTINGS.seed))
    settings = replace(SETTINGS, steps=2, frozen_stages=2)
    network = train(images, encoder, tmp_path / "a.safetensors", settings=settings, log=silent)
    after = network.state_dict()
    for name, tensor in start.state_dict().items():
        frozen = name.startswith(("stem.", "stages.0.", "stages.1."))
        assert torch.equal(tensor, after[name]) == frozen, name


def test_a_checkpoint_of_other_settings_is_not_gone_on_from(images, encoder, tmp_path):
    path = tmp_path / "lite.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(images, 2), encoder, path, settings=SETTINGS, log=silent)
    with pytest.raises(NapariDelError, match="run with other settings.*remove it to start again"):
        train(images, encoder, path, settings=replace(SETTINGS, learning_rate=1e-4), log=silent)
    assert not path.exists()


def test_a_loss_that_is_no_number_stops_the_run(images, encoder, tmp_path):
    broken = {
        k: torch.full_like(v, torch.nan) if k == "_bn0.bias" else v for k, v in encoder.items()
    }
    with pytest.raises(NapariDelError, match="^the loss is nan at step 0, image"):
        train(images, broken, tmp_path / "a.safetensors", settings=SETTINGS, log=silent)
    assert not list(tmp_path.iterdir())


def test_a_few_steps_lower_the_loss(encoder, tmp_path):
    item = annotated(4)
    sample = make_sample(item.image, item.segmentations, stride=32, output_stride=2)

    def loss(network):
        with torch.no_grad():
            embedding = network.eval()(sample.image)[0][0].flatten(1).T.contiguous()
            means = torch.sparse.mm(sample.pooling, embedding)
            return pair_loss(means, sample.edges, sample.apart).item()

    start = DelLite()
    start.load_imagenet(encoder)
    start.initialise(torch.Generator().manual_seed(0))
    said = []
    settings = TrainingSettings(steps=40, batch=1, learning_rate=2e-3)
    network = train([item], encoder, tmp_path / "a.safetensors", settings=settings, log=said.append)
    assert loss(network) < 0.8 * loss(start)
    assert [line.split()[1] for line in said] == ["20/40", "40/40"]


def test_default_thresholds_are_written_into_the_file(reference, tmp_path):
    path = tmp_path / "lite.safetensors"
    path.write_bytes(reference.read_bytes())
    before = load_file(path)
    digest = set_default_thresholds(path, {"average": 0.31, "del": 0.2})
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert find_model(path).default_thresholds["average"] == 0.31
    for name, tensor in load_file(path).items():
        assert torch.equal(tensor, before[name])
    with safe_open(path, framework="numpy") as file:
        assert "training" in file.metadata()
    for bad in ({"ward": 0.5}, {"del": 1.5}):
        with pytest.raises(ParameterError):
            set_default_thresholds(path, bad)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
