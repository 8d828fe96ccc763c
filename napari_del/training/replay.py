"""What a network knew of other images, kept while it learns new ones.

Trained on one kind of image alone, a network soon forgets the rest. So it is held to its own
former output on pictures of other kinds, which needs no labels for them [1]_.

References
----------
.. [1] Z. Li and D. Hoiem, "Learning without Forgetting", IEEE TPAMI 40(12), 2018,
   :DOI:`10.1109/TPAMI.2017.2773081`
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from skimage import data
from torch import Tensor
from torch.nn import functional as F

from napari_del.models.lite import DelLite
from napari_del.normalise import normalise
from napari_del.training.augment import crop, recolour, turn

__all__ = ["Replay", "replay_images"]

_SCALES = (0.4, 1.2)
_STRENGTH = 0.5


def replay_images() -> list[NDArray[np.uint8]]:
    """Pictures that come with scikit-image: photographs, textures, cells, a retina, the sky.

    Returns
    -------
    list of ndarray of uint8, shape (Y, X, 3)
    """
    # All of these are part of its installation; others would be downloaded.
    makers = (
        data.astronaut,
        data.camera,
        data.chelsea,
        data.coffee,
        data.coins,
        data.rocket,
        data.hubble_deep_field,
        data.immunohistochemistry,
        data.retina,
        data.brick,
        data.gravel,
    )
    return [normalise(maker()).display for maker in makers]


class Replay:
    """A loss that holds a network to what it gave before.

    Parameters
    ----------
    network : DelLite
        Network as it is now; a copy of it is kept.
    images : sequence of ndarray of uint8, shape (Y, X, 3)
        Pictures to look at, in windows drawn at random.
    size : int
        Height and width of the windows, a multiple of the network's stride.
    weight : float
        Weight of this loss.
    seed : int
        Seed of everything drawn by chance.
    """

    def __init__(
        self,
        network: DelLite,
        images: Sequence[NDArray[np.uint8]],
        *,
        size: int = 128,
        weight: float = 1.0,
        seed: int = 0,
    ) -> None:
        self._before = copy.deepcopy(network).eval().requires_grad_(False)
        self._images = images
        self._size = size
        self._weight = weight
        self._seed = seed

    def __call__(self, network: DelLite, step: int) -> Tensor:
        """Loss of a step: how far the output has moved.

        Parameters
        ----------
        network : DelLite
            Network in training.
        step : int
            From 0; each looks at another window.

        Returns
        -------
        Tensor
            Mean L1 distance of the embeddings, in which the similarity of superpixels is
            measured too, and cross-entropy of the boundaries beyond its least value.
        """
        rng = np.random.default_rng([self._seed, 4, step])
        image = self._images[int(rng.integers(len(self._images)))]
        scale = float(np.exp(rng.uniform(*np.log(_SCALES))))
        size = (self._size, self._size)
        nothing = np.zeros((1, *image.shape[:2]), np.int32)
        image, nothing = crop(image, nothing, size, scale, rng)
        image = recolour(turn(image, nothing, rng)[0], rng, strength=_STRENGTH)
        # A small picture fills a part of the window only; its mirror images fill the rest.
        lack = [(0, side - have) for side, have in zip(size, image.shape[:2], strict=True)]
        image = np.pad(image, [*lack, (0, 0)], mode="symmetric")
        x = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
        x = x.to(next(network.parameters()).device)
        with torch.no_grad():
            embedding_before, logits_before = self._before.to(x.device)(x)
        embedding, logits = network(x)
        assert logits is not None and logits_before is not None
        moved = (embedding - embedding_before).abs().sum(dim=1).mean()
        target = logits_before.sigmoid()
        least = F.binary_cross_entropy_with_logits(logits_before, target)
        boundary = F.binary_cross_entropy_with_logits(logits, target) - least
        loss: Tensor = self._weight * (moved + boundary)
        return loss
