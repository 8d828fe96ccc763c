"""Several processes that work on the images of a step at the same time.

A step's gradient is the sum of the gradients of its images. On a CPU each process computes those
of some images with weights that all of them share, and writes each to a place of its own. On a GPU
the processes prepare images, and the one that began them learns: kernels of several processes take
turns on a GPU, and so small ones lose most of its time. Either way gradients are added in the order
of the images, so that the sum does not depend on the number of processes, nor on which of them is
quicker.
"""

from __future__ import annotations

import mmap
import pickle
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing
from torch import Tensor, nn

from napari_del._processes import begin_worker
from napari_del._threads import n_threads, thread_budget
from napari_del.errors import NapariDelError, OutputError
from napari_del.models.lite import DelLite
from napari_del.training.gradients import Learner

__all__ = ["Team"]

_PATIENCE = 5.0  # seconds for a process to end by itself


class Team:
    """Processes that help to train one network.

    Close it when the training is over.

    Parameters
    ----------
    learner : Learner
        The network, whose weights are shared with the processes, and its images, which have to
        be of classes that can be pickled.
    processes : int
        Number of processes; each prepares an image ahead, and has as many threads as the budget of
        the calling thread says.
    first : int
        Step to begin with.
    prepare_only : bool
        Whether this process learns, and the others prepare images for it.
    """

    def __init__(
        self, learner: Learner, processes: int, first: int, *, prepare_only: bool = False
    ) -> None:
        settings = learner.settings
        self._learner = learner
        self._batch = settings.batch
        self._next, self._end = first * self._batch, settings.steps * self._batch
        self._parameters = learner.parameters()
        # Gradients of the images of a step, one after the other.
        self._slots: Tensor | None = None
        network = None
        if not prepare_only:
            network = learner.network.share_memory()
            count = sum(p.numel() for p in self._parameters)
            self._slots = torch.zeros((self._batch, count)).share_memory_()
        self._folder = tempfile.TemporaryDirectory(prefix="napari-del-", ignore_cleanup_errors=True)
        self._workers: list[_Worker] = []
        try:
            images = Path(self._folder.name) / "images"
            _write(images, replace(learner, network=None))  # type: ignore[arg-type]
            context = torch.multiprocessing.get_context("spawn")
            for _ in range(processes):
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=_work,
                    args=(theirs, images, network, self._slots, n_threads()),
                    daemon=True,
                )
                process.start()
                theirs.close()
                self._workers.append(_Worker(process, ours))
            for worker in self._workers:
                worker.receive()
            # Where a file that is open can be removed, nothing is left of it after a kill.
            self._folder.cleanup()
        except BaseException:
            self.close()
            raise

    def learn(self, step: int, scale: float) -> list[dict[str, float]]:
        """Set the gradient of the network to that of a step.

        Parameters
        ----------
        step : int
            The step after the one before.
        scale : float
            Factor of the gradient.

        Returns
        -------
        list of dict
            Terms of the loss, for each image.

        Raises
        ------
        NapariDelError
            If the loss of an image is not a number, an image cannot be had, or a process ended.
        """
        first, stop = step * self._batch, (step + 1) * self._batch
        for worker in self._workers:
            if worker.position is None:
                self._assign(worker, stop, scale)
            elif worker.position < stop:
                worker.send(scale)
        came: dict[int, Any] = {}
        found: list[dict[str, float]] = []
        while len(found) < self._batch:
            for worker in self._that_say_something():
                assert worker.position is not None
                came[worker.position] = worker.receive()
                self._assign(worker, stop, scale)
            while (position := first + len(found)) in came:
                if self._slots is None:
                    name, sample = came[position]
                    came[position] = self._learner.learn(position, name, sample, scale)
                found.append(came[position])
        if self._slots is not None:
            total = self._slots[0].clone()
            for gradient in self._slots[1:]:
                total += gradient
            parts = _parts(total, self._parameters)
            for parameter, part in zip(self._parameters, parts, strict=True):
                parameter.grad = part
        return found

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.end()
        self._workers.clear()
        self._folder.cleanup()

    def _assign(self, worker: _Worker, stop: int, scale: float) -> None:
        """Have a process prepare the next image, and go on with it if it is of this step."""
        worker.position = self._next if self._next < self._end else None
        if worker.position is None:
            return
        self._next += 1
        worker.send(worker.position)
        if worker.position < stop:
            worker.send(scale)

    def _that_say_something(self) -> list[_Worker]:
        ready = wait([worker.pipe for worker in self._workers])
        return [worker for worker in self._workers if worker.pipe in ready]


class _Worker:
    """A process, seen from the one that started it."""

    def __init__(self, process: Any, pipe: Connection) -> None:
        self.pipe = pipe
        self.position: int | None = None
        self._process = process

    def send(self, what: float | None) -> None:
        try:
            self.pipe.send(what)
        except OSError as error:
            raise self._died() from error

    def receive(self) -> Any:
        try:
            # Said, as PyTorch warns of checks that nobody chose when a sparse tensor arrives.
            with torch.sparse.check_sparse_tensor_invariants(enable=False):
                reply = self.pipe.recv()
        except (EOFError, OSError) as error:
            raise self._died() from error
        if isinstance(reply, Exception):
            raise reply
        return reply

    def end(self) -> None:
        with suppress(OSError):  # it ended already
            self.pipe.send(None)
        self._process.join(_PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.pipe.close()

    def _died(self) -> NapariDelError:
        self._process.join(_PATIENCE)
        return NapariDelError(
            f"a process of the training ended with exit code {self._process.exitcode}; it may have "
            "run out of memory, or the script that began the training lacks "
            "'if __name__ == \"__main__\":'; expected fewer processes"
        )


def _work(
    pipe: Connection, images: Path, network: DelLite | None, slots: Tensor | None, threads: int
) -> None:
    """Prepare an image when its position comes; when a factor comes, learn from it or send it."""
    begin_worker()
    torch.set_num_threads(threads)
    with thread_budget(threads):
        try:
            learner: Learner = replace(_read(images), network=network)
            pipe.send(None)
            while (position := pipe.recv()) is not None:
                name, sample = learner.prepare(position)
                scale = pipe.recv()
                if scale is None:
                    break
                if slots is None:
                    pipe.send((name, sample))
                    continue
                parameters = learner.parameters()
                for parameter in parameters:
                    parameter.grad = None
                terms = learner.learn(position, name, sample, scale)
                own = _parts(slots[position % len(slots)], parameters)
                for parameter, part in zip(parameters, own, strict=True):
                    part.copy_(torch.zeros(()) if parameter.grad is None else parameter.grad)
                pipe.send(terms)
        except NapariDelError as error:
            pipe.send(error)
        except Exception as error:  # noqa: BLE001 - not all of them can be pickled
            pipe.send(NapariDelError(f"{type(error).__name__}: {error}"))


def _parts(flat: Tensor, parameters: Sequence[nn.Parameter]) -> Iterator[Tensor]:
    """The parts of a flat tensor, laid out in memory as the parameters are.

    So that sums over a gradient are computed in the order in which they always are.
    """
    at = flat.storage_offset()
    for parameter in parameters:
        yield torch.as_strided(flat, parameter.shape, parameter.stride(), at)
        at += parameter.numel()


def _write(path: Path, what: object) -> None:
    """Write an object and its arrays to a file that many processes read as one in memory."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(what, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    sizes = [view.nbytes for view in views]
    try:
        with path.open("wb") as file:
            pickle.dump((head, sizes), file)
            for view in views:
                file.write(view)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error}; expected room for the training images, "
            f"{sum(sizes) / 1e6:.0f} MB: set TMPDIR to another folder, or train with 1 process"
        ) from error


def _read(path: Path) -> Any:
    with path.open("rb") as file:
        head, sizes = pickle.load(file)
        at = file.tell()
        # Pages are shared until somebody writes to them, which nobody should.
        mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    buffers = []
    for size in sizes:
        buffers.append(mapped[at : at + size])
        at += size
    return pickle.loads(head, buffers=buffers)
