"""A network whose convolutions are computed in bfloat16.

A bfloat16 has the range of a 32-bit number and 8 bits of precision. Processors and GPUs with
instructions for it compute convolutions about twice as fast, from half the memory; others
imitate them, and are slower than in 32 bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from napari_del.models.info import Network

__all__ = ["Bfloat16Network"]


class Bfloat16Network(nn.Module):
    """A network, computed in bfloat16; its weights stay what they are.

    Parameters
    ----------
    network : Network
        The network.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._network = network
        self.architecture = network.architecture
        self.embedding_dim = network.embedding_dim
        self.has_boundary = network.has_boundary
        self.stride = network.stride
        self.core = network.core
        self.margin = network.margin
        self.output_stride = network.output_stride

    def forward(
        self, x: Tensor, core: tuple[slice, slice] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Embed an image, see the network's own ``forward``; the outputs are 32-bit."""
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            embedding, boundary = self._network(x, core)
        return embedding.float(), None if boundary is None else boundary.float()
