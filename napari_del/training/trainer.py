"""One network in training: its optimiser, its schedule, and a step at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from napari_del.models.lite import DelLite
from napari_del.training.gradients import Learner, Source, check_number
from napari_del.training.losses import DEFAULT_SHARES, ClassShares
from napari_del.training.parallel import Team
from napari_del.training.settings import TrainingSettings

__all__ = ["Trainer"]

_LARGEST_GRADIENT = 5.0


class Trainer:
    """A network with what it takes to train it.

    Steps depend on the settings, the source and the weights alone, so that a state that was
    written after any of them goes on to the same weights.

    Parameters
    ----------
    network : DelLite
        Network with the weights to begin with; it is trained in place.
    source : Source
        Training images.
    settings : TrainingSettings
        How to train.
    device : torch.device, optional
        Where to compute. On a GPU convolutions are computed in 16 bits.
    shares : ClassShares
        Shares of the classes over all training images.
    extra : callable, optional
        Another loss, of the network and the number of steps taken, see `Replay`.
    processes : int
        Processes that work on the images of a step at the same time, see `Team`; with 1 it is
        this one alone. The weights do not depend on it as long as each has one thread. Close the
        trainer when there are more.

    Attributes
    ----------
    step : int
        Number of steps taken.
    """

    def __init__(
        self,
        network: DelLite,
        source: Source,
        settings: TrainingSettings,
        *,
        device: torch.device | None = None,
        shares: ClassShares = DEFAULT_SHARES,
        extra: Callable[[DelLite, int], Tensor] | None = None,
        processes: int = 1,
    ) -> None:
        self.network = network
        self.settings = settings
        self.device = device or torch.device("cpu")
        self.step = 0
        self._extra = extra
        self._processes = processes
        self._team: Team | None = None
        network.to(self.device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.precision: torch.dtype | None = None
        if self.device.type == "cuda":
            bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
            self.precision = torch.bfloat16 if bf16 else torch.float16
        # float16 has too few exponents for small gradients; they are scaled up meanwhile.
        self._scaler = torch.amp.GradScaler(
            self.device.type, enabled=self.precision is torch.float16
        )
        groups = _parameter_groups(network, settings)
        self._parameters = [p for group in groups for p in group["params"]]
        self._optimiser = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
        # The scheduler divides by the steps of the rise less one, which must not be 0.
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser,
            max_lr=[group["lr"] for group in groups],
            total_steps=max(settings.steps, 2),
            pct_start=0.1 if settings.steps >= 20 else 0.34,
        )
        self._learner = Learner(network, source, settings, shares, self.precision)

    def advance(self) -> list[dict[str, float]]:
        """Take one step.

        Returns
        -------
        list of dict
            Terms of the loss, for each image.

        Raises
        ------
        NapariDelError
            If the loss or its gradient is not a number. The weights are those before the step.
        """
        self._optimiser.zero_grad(set_to_none=True)
        scale = self._scaler.scale(torch.ones((), device=self.device)).item()
        first, batch = self.step * self.settings.batch, self.settings.batch
        found = []
        if self._processes > 1:
            if self._team is None:
                # On a GPU this process learns, and has the others beside it.
                self._team = Team(
                    self._learner,
                    self._processes,
                    self.step,
                    prepare_only=self.device.type != "cpu",
                )
            found = self._team.learn(self.step, scale)
        else:
            for position in range(first, first + batch):
                name, sample = self._learner.prepare(position)
                found.append(self._learner.learn(position, name, sample, scale))
        if self._extra is not None:
            loss = self._extra(self.network, self.step)
            check_number(loss, "replay loss", self.step)
            (loss * scale).backward()
        self._scaler.unscale_(self._optimiser)
        norm = nn.utils.clip_grad_norm_(self._parameters, _LARGEST_GRADIENT)
        if not self._scaler.is_enabled():  # which skips such steps, as it looks for a scale
            check_number(norm, "gradient", self.step)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._schedule.step()
        self.step += 1
        return found

    def close(self) -> None:
        """End the processes, if there are any."""
        if self._team is not None:
            self._team.close()
            self._team = None

    def state(self) -> dict[str, Any]:
        """All that is needed to go on from here, as plain values and tensors."""
        return {
            "architecture": self.network.architecture,
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
            "step": self.step,
            "settings": asdict(self.settings),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same network and settings."""
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self._scaler.load_state_dict(state["scaler"])
        self.step = int(state["step"])


def _parameter_groups(network: DelLite, settings: TrainingSettings) -> list[dict[str, Any]]:
    """What is trained, and how fast; the first stages of the encoder are not."""
    encoder = [network.stem, *network.stages]
    for part in encoder[: 1 + settings.frozen_stages]:
        part.requires_grad_(False)
    for part in encoder[1 + settings.frozen_stages :]:
        part.requires_grad_(True)
    slow = [p for part in encoder for p in part.parameters() if p.requires_grad]
    known = {id(p) for part in encoder for p in part.parameters()}
    fast = [p.requires_grad_(True) for p in network.parameters() if id(p) not in known]
    rate = settings.learning_rate
    groups = [{"params": slow, "lr": rate * settings.encoder_rate}, {"params": fast, "lr": rate}]
    return [group for group in groups if group["params"]]
