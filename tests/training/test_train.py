"""Training: it learns, it is deterministic, and a run that was killed goes on as if it was not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from napari_del import segment
from napari_del.errors import NapariDelError, OutputError, ParameterError, ReadError
from napari_del.training import TrainingSettings, train
from napari_del.training.losses import pair_loss
from napari_del.training.mixture import Mixture, TrainingSet
from napari_del.training.samples import make_sample
from napari_del.training.trainer import Trainer
from tests.training.painted import content, disc, new_network

SETTINGS = TrainingSettings(steps=3, batch=2, checkpoint_every=1)


def silent(line):
    pass


@pytest.fixture(scope="module")
def mixture():
    return Mixture([TrainingSet("discs", [disc(seed) for seed in range(3)])], size=(64, 64))


@pytest.fixture(scope="module")
def reference(mixture, tmp_path_factory):
    """The file of a run that nothing disturbed."""
    path = tmp_path_factory.mktemp("reference") / "lite.safetensors"
    train(mixture, new_network(), path, settings=SETTINGS, log=silent)
    return path


class Interrupted:
    """Images of which one cannot be had: the process was killed."""

    def __init__(self, mixture, at):
        self.mixture = mixture
        self.left = at

    def draw(self, position):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self.mixture.draw(position)


def test_the_file_holds_the_network_in_half_precision(reference):
    with safe_open(reference, framework="numpy") as file:
        metadata = file.metadata()
    assert metadata["architecture"] == "del-lite" and metadata["format_version"] == "1"
    assert '"steps": 3' in metadata["training"]
    assert {t.dtype for t in load_file(reference).values()} == {torch.float16}
    assert reference.stat().st_size < 15e6
    out = segment(disc(9).image, model=reference, device="cpu")
    assert np.isfinite(out.embeddings).all()


def test_two_runs_give_the_same_weights(mixture, reference, tmp_path):
    torch.manual_seed(12345)  # what is drawn elsewhere does not matter
    before = torch.get_num_threads()
    train(mixture, new_network(), tmp_path / "lite.safetensors", settings=SETTINGS, log=silent)
    assert content(tmp_path / "lite.safetensors") == content(reference)
    assert torch.get_num_threads() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lite.checkpoint", "lite.safetensors"]


@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_run_that_was_killed_goes_on_to_the_same_weights(mixture, reference, tmp_path, at):
    path, said = tmp_path / "lite.safetensors", []
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(mixture, at), new_network(), path, settings=SETTINGS, log=silent)
    assert not path.exists()
    # The weights to begin with do not matter any more.
    train(mixture, new_network(7 if at > 1 else 0), path, settings=SETTINGS, log=said.append)
    done = at // SETTINGS.batch
    assert said == ([f"resumed at step {done}"] if done else [])
    assert content(path) == content(reference)


def test_another_seed_gives_another_network(mixture, reference, tmp_path):
    path = tmp_path / "lite.safetensors"
    train(mixture, new_network(), path, settings=replace(SETTINGS, seed=1), log=silent)
    assert content(path)[1] != content(reference)[1]


@pytest.mark.parametrize("frozen", [2, 7])
def test_only_the_stages_that_are_not_frozen_change(mixture, tmp_path, frozen):
    settings = replace(SETTINGS, steps=1, frozen_stages=frozen)
    network = train(
        mixture, new_network(), tmp_path / "a.safetensors", settings=settings, log=silent
    )
    after = network.state_dict()
    kept = ("stem.", *(f"stages.{k}." for k in range(frozen)))
    for name, tensor in new_network().state_dict().items():
        assert torch.equal(tensor, after[name]) == name.startswith(kept), name


def test_gradients_that_are_scaled_train_alike(mixture):
    found = []
    for scaled in (False, True):
        trainer = Trainer(new_network(), mixture, SETTINGS)
        # As on a GPU without bfloat16; a power of two changes no digit of a number of 32 bits.
        trainer._scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=scaled)
        found.append([trainer.advance() for _ in range(SETTINGS.steps)])
    assert found[0] == found[1]


def test_a_few_steps_lower_the_loss(tmp_path):
    item = disc(4)
    sample = make_sample(item.image, item.segmentations, stride=32, output_stride=2)

    def loss(network):
        with torch.no_grad():
            embedding = network.eval()(sample.image)[0][0].flatten(1).T.contiguous()
            means = torch.sparse.mm(sample.pooling, embedding)
            return pair_loss(means, sample.adjacent.nodes, sample.adjacent.apart).item()

    class Same:
        def draw(self, position):
            return item.name, item.image, item.segmentations

    said = []
    settings = TrainingSettings(steps=24, batch=1, learning_rate=4e-3)
    network = train(
        Same(), new_network(), tmp_path / "a.safetensors", settings=settings, log=said.append
    )
    assert loss(network) < 0.8 * loss(new_network())
    assert [line.split()[1] for line in said] == ["20/24"]
    assert all(f"  {term} " in said[0] for term in ("pairs", "boundary", "distant", "regions"))


class TestWhatGoesWrong:
    def begin(self, mixture, path, settings=SETTINGS, recipe=None):
        """A run that is killed in its second step."""
        with pytest.raises(KeyboardInterrupt):
            train(
                Interrupted(mixture, 2),
                new_network(),
                path,
                settings=settings,
                recipe=recipe,
                log=silent,
            )

    def test_a_checkpoint_of_other_settings_names_them(self, mixture, tmp_path):
        path = tmp_path / "lite.safetensors"
        self.begin(mixture, path, recipe={"size": [64, 64], "data": {"discs": {"weight": 1.0}}})
        with pytest.raises(ParameterError) as error:
            train(
                mixture,
                new_network(),
                path,
                settings=replace(SETTINGS, learning_rate=1e-4),
                recipe={"size": [64, 64], "data": {"discs": {"weight": 2.0}}},
                log=silent,
            )
        text = str(error.value)
        assert "learning_rate was 0.001, is 0.0001" in text
        assert "data.discs.weight was 1.0, is 2.0" in text
        assert "size" not in text and "\n" not in text
        assert not path.exists()

    def test_a_checkpoint_of_another_network_is_refused(self, mixture, tmp_path):
        path = tmp_path / "lite.safetensors"
        self.begin(mixture, path)
        checkpoint = tmp_path / "lite.checkpoint"
        state = torch.load(checkpoint, weights_only=True)
        torch.save({**state, "architecture": "del-huge"}, checkpoint)
        with pytest.raises(ParameterError, match="is of the network 'del-huge'; expected 'del-l"):
            train(mixture, new_network(), path, settings=SETTINGS, log=silent)
        state["network"]["head.weight"] = torch.zeros(3, 3)
        torch.save(state, checkpoint)
        with pytest.raises(ParameterError, match="another network: tensor head.weight has shape"):
            train(mixture, new_network(), path, settings=SETTINGS, log=silent)

    @pytest.mark.parametrize("damage", ["truncated", "text", "pickle", "empty"])
    def test_a_damaged_checkpoint_is_named(self, mixture, tmp_path, damage):
        path, checkpoint = tmp_path / "lite.safetensors", tmp_path / "lite.checkpoint"
        if damage == "truncated":
            self.begin(mixture, path)
            checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
        elif damage == "text":
            checkpoint.write_text("no checkpoint")
        elif damage == "pickle":
            torch.save({"network": {}}, checkpoint)
        else:
            checkpoint.touch()
        with pytest.raises(ReadError, match=r"lite\.checkpoint is damaged .* remove it") as error:
            train(mixture, new_network(), path, settings=SETTINGS, log=silent)
        assert "\n" not in str(error.value)

    def test_a_loss_that_is_no_number_stops_the_run(self, mixture, tmp_path):
        network = new_network()
        with torch.no_grad():
            network.stem.conv.bias.fill_(torch.nan)
        with pytest.raises(NapariDelError, match=r"^the loss is nan at step 0, image discs .*yet$"):
            train(mixture, network, tmp_path / "a.safetensors", settings=SETTINGS, log=silent)
        assert not list(tmp_path.iterdir())

    def test_the_last_good_weights_stay_when_the_loss_diverges(self, mixture, tmp_path):
        path, checkpoint = tmp_path / "lite.safetensors", tmp_path / "lite.checkpoint"
        settings = replace(SETTINGS, steps=30, batch=1, learning_rate=1e30)
        with pytest.raises(
            NapariDelError,
            match=r"is (nan|inf|-inf) at step \d+, image discs \d"
            r".*lower learning_rate; the last good weights are in",
        ) as error:
            train(mixture, new_network(), path, settings=settings, log=silent)
        assert str(checkpoint) in str(error.value) and not path.exists()
        state = torch.load(checkpoint, weights_only=True)
        assert all(torch.isfinite(t).all() for t in state["network"].values())

    def test_where_the_weights_go_is_checked_first(self, mixture, tmp_path):
        with pytest.raises(OutputError, match="expected .safetensors"):
            train(mixture, new_network(), tmp_path / "weights.pt", settings=SETTINGS, log=silent)
        with pytest.raises(OutputError, match="is not a directory"):
            train(mixture, new_network(), tmp_path / "no/a.safetensors", log=silent)
