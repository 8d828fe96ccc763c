"""Several processes that learn for one network: the same weights, and clear ends."""

from __future__ import annotations

import errno
import os
import signal
import sys
from contextlib import closing

import pytest
import torch

from napari_del._threads import limit_torch, thread_budget
from napari_del.errors import NapariDelError, OutputError, ParameterError
from napari_del.training import TrainingSettings, train
from napari_del.training.mixture import Mixture, TrainingSet
from napari_del.training.parallel import Team
from napari_del.training.trainer import Trainer
from tests.training.painted import content, disc, new_network

SETTINGS = TrainingSettings(steps=4, batch=3, checkpoint_every=2)


def silent(line):
    pass


@pytest.fixture(scope="module")
def mixture():
    return Mixture(
        [TrainingSet("discs", [disc(seed) for seed in range(3)])], size=(64, 64), synthetic=0.3
    )


@pytest.fixture(scope="module")
def alone(mixture, tmp_path_factory):
    """The file of a run of one process with one thread."""
    path = tmp_path_factory.mktemp("alone") / "lite.safetensors"
    with thread_budget(1):
        train(mixture, new_network(), path, settings=SETTINGS, log=silent)
    return path


class Lacking:
    """Images of which one cannot be read."""

    def __init__(self, mixture, position):
        self.mixture = mixture
        self.position = position

    def draw(self, position):
        if position == self.position:
            raise ValueError("no such image")
        return self.mixture.draw(position)


@pytest.mark.parametrize("processes", [2, 5])
def test_the_weights_do_not_depend_on_the_number_of_processes(mixture, alone, tmp_path, processes):
    path = tmp_path / "lite.safetensors"
    with thread_budget(1):
        train(mixture, new_network(), path, settings=SETTINGS, processes=processes, log=silent)
    assert content(path) == content(alone)


def test_processes_that_prepare_images_alone_change_nothing(mixture):
    found = []
    for team in (False, True):
        network = new_network()
        with thread_budget(1), limit_torch():
            trainer = Trainer(network, mixture, SETTINGS, processes=2)
            learner = trainer._learner
            if team:  # as on a GPU
                trainer._team = Team(learner, 4, 0, prepare_only=True)
            with closing(trainer):
                terms = [trainer.advance() for _ in range(SETTINGS.steps)]
        found.append((terms, [p.detach().numpy().tobytes() for p in network.parameters()]))
    assert found[0] == found[1]


def test_a_run_goes_on_from_a_checkpoint_with_another_number(mixture, alone, tmp_path):
    path, said = tmp_path / "lite.safetensors", []
    with thread_budget(1):
        with pytest.raises(NapariDelError, match="ValueError: no such image"):
            train(
                Lacking(mixture, 8),
                new_network(),
                path,
                settings=SETTINGS,
                processes=2,
                log=said.append,
            )
        assert not path.exists()
        train(mixture, new_network(), path, settings=SETTINGS, processes=3, log=said.append)
    assert said == ["resumed at step 2"]
    assert content(path) == content(alone)


def test_a_process_that_is_killed_ends_the_run(mixture):
    trainer = Trainer(new_network(), mixture, SETTINGS, processes=2)
    with closing(trainer):
        trainer.advance()
        process = trainer._team._workers[0]._process
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(NapariDelError, match=r"ended with exit code -9.*fewer processes"):
            trainer.advance()


def test_a_loss_that_is_no_number_says_where(mixture):
    network = new_network()
    with torch.no_grad():
        network.head.bias.fill_(float("nan"))
    with (
        closing(Trainer(network, mixture, SETTINGS, processes=2)) as trainer,
        pytest.raises(NapariDelError, match="the loss is nan at step 0, image "),
    ):
        trainer.advance()


def test_no_process_and_no_file_is_left(mixture, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    trainer = Trainer(new_network(), mixture, SETTINGS, processes=2)
    trainer.advance()
    if sys.platform != "win32":
        assert not list(tmp_path.iterdir())  # not even while it runs
    processes = [worker._process for worker in trainer._team._workers]
    assert all(process.is_alive() for process in processes)
    trainer.close()
    assert not any(process.is_alive() for process in processes)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_says_how_much_is_needed(mixture, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("napari_del.training.parallel.pickle.dump", full)
    with (
        closing(Trainer(new_network(), mixture, SETTINGS, processes=2)) as trainer,
        pytest.raises(OutputError, match=r"No space left on device; expected room .* MB: set TM"),
    ):
        trainer.advance()


@pytest.mark.parametrize("processes", [0, -1, 1.5, True])
def test_the_number_is_checked(mixture, tmp_path, processes):
    with pytest.raises(ParameterError, match=r"processes is .*; expected a whole number"):
        train(mixture, new_network(), tmp_path / "a.safetensors", processes=processes)
