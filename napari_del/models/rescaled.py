"""A network that looks at the image enlarged or reduced.

What a network makes of an object depends on how many pixels it has: it was trained on objects
of certain sizes. So small objects are found better in an enlarged image, and large ones in a
reduced image. Here only what the network sees is resampled, window by window; superpixels,
borders and labels stay those of the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from napari_del.models.info import Network

__all__ = ["RescaledNetwork"]


class RescaledNetwork(nn.Module):
    """A network, and the scale at which it sees images.

    Its windows are those of the network in the network's own pixels, so that they take as much
    memory at each scale.

    Parameters
    ----------
    network : Network
        The network.
    scale : float
        Pixels that the network sees for one of the image in each direction, one of
        `napari_del.models.SCALES`. Above 1 they are interpolated linearly, below 1 they are
        means.
    """

    def __init__(self, network: Network, scale: float) -> None:
        super().__init__()
        self._network = network
        self._enlarge = max(round(scale), 1)
        self._reduce = max(round(1 / scale), 1)
        self.architecture = network.architecture
        self.embedding_dim = network.embedding_dim
        self.has_boundary = network.has_boundary
        self.stride = network.stride * self._reduce // self._enlarge
        self.core = network.core * self._reduce // self._enlarge
        self.margin = network.margin * self._reduce // self._enlarge
        # Outputs finer than a pixel of the image are reduced to one for each.
        self._finer = max(self._enlarge // network.output_stride, 1)
        self.output_stride = network.output_stride * self._reduce * self._finer // self._enlarge

    def forward(
        self, x: Tensor, core: tuple[slice, slice] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Embed an image, see the network's own ``forward``.

        Parameters
        ----------
        x : Tensor of float, shape (B, 3, H, W)
            Red, green and blue from 0 to 255; H and W are multiples of `stride`.
        core : tuple of slice, optional
            Rows and columns of the output that are wanted, by default all.

        Returns
        -------
        embedding : Tensor of float, shape (B, D, H / output_stride, W / output_stride)
        boundary : Tensor of float, shape (B, 1, H / output_stride, W / output_stride), or None
            Both of the core alone, if there is one.
        """
        if self._enlarge > 1:
            x = F.interpolate(
                x, scale_factor=float(self._enlarge), mode="bilinear", align_corners=False
            )
        if self._reduce > 1:
            x = F.avg_pool2d(x, self._reduce)
        if core is not None:
            rows, columns = (slice(c.start * self._finer, c.stop * self._finer) for c in core)
            core = rows, columns
        embedding, boundary = self._network(x.contiguous(memory_format=torch.channels_last), core)
        if self._finer > 1:
            embedding = F.avg_pool2d(embedding, self._finer)
            boundary = None if boundary is None else F.avg_pool2d(boundary, self._finer)
        return embedding, boundary
