"""The network of the DEL paper: VGG16 with five normalised side outputs.

The layer names, sizes and border rules are those of the network definition that the authors
published with their weights, so that a converted file gives the embedding that their program
computes. See `napari_del.models.caffe` for the conversion.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["HEADS", "MEAN_BGR", "TRUNK", "DelVgg16", "Head", "Normalize", "Trunk"]

MEAN_BGR = (104.00698793, 116.66876762, 122.67891434)
"""Mean of the ImageNet training images in the channel order that VGG16 expects."""


class Trunk(NamedTuple):
    """A 3 x 3 convolution of VGG16, followed by a ReLU."""

    name: str
    inputs: int
    outputs: int
    dilation: int = 1


class Head(NamedTuple):
    """A side output: 3 x 3 convolution, ReLU, 1 x 1 convolution, normalisation, upsampling."""

    source: str
    inputs: int
    down: int
    refeat: int
    factor: int


TRUNK = (
    Trunk("conv1_1", 3, 64),
    Trunk("conv1_2", 64, 64),
    Trunk("conv2_1", 64, 128),
    Trunk("conv2_2", 128, 128),
    Trunk("conv3_1", 128, 256),
    Trunk("conv3_2", 256, 256),
    Trunk("conv3_3", 256, 256),
    Trunk("conv4_1", 256, 512),
    Trunk("conv4_2", 512, 512),
    Trunk("conv4_3", 512, 512),
    Trunk("conv5_1", 512, 512, dilation=2),
    Trunk("conv5_2", 512, 512, dilation=2),
    Trunk("conv5_3", 512, 512, dilation=2),
)
"""The thirteen convolutions of VGG16 in order."""

HEADS = (
    Head("conv1_2", 64, 32, 32, factor=1),
    Head("conv2_2", 128, 64, 64, factor=2),
    Head("conv3_3", 256, 128, 64, factor=4),
    Head("conv4_3", 512, 256, 128, factor=8),
    Head("conv5_3", 512, 256, 128, factor=8),
)
"""The side outputs in the order of their concatenation."""


class Normalize(nn.Module):
    """Divide each pixel by its L2 norm over channels, then multiply each channel by a scale.

    Parameters
    ----------
    channels : int
        Number of channels.
    scale : float
        Initial scale of all channels.

    Notes
    -----
    The sum of squares starts at 1e-10, as in Caffe's ``Normalize`` layer, so a pixel whose
    channels are all 0 stays 0.
    """

    def __init__(self, channels: int, scale: float = 20.0) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x` of shape (B, C, H, W)."""
        # In float32: the squares of half-precision features overflow.
        norm = x.float().square().sum(dim=1, keepdim=True).add_(1e-10).sqrt_()
        return x * (self.weight.view(1, -1, 1, 1) / norm).to(x.dtype)


def _upsample(x: Tensor, factor: int, shape: tuple[int, int]) -> Tensor:
    """Enlarge `x` bilinearly by a whole factor and cut it to `shape`.

    The published network does this with a transposed convolution by a bilinear kernel, which
    takes what lies outside as 0 and so fades at the border. A rim of zeros before the
    interpolation gives the same values at a fraction of the work.
    """
    if factor > 1:
        x = functional.pad(x, (1, 1, 1, 1))
        x = functional.interpolate(
            x, scale_factor=float(factor), mode="bilinear", align_corners=False
        )
        x = x[..., factor : factor + shape[0], factor : factor + shape[1]]
    return x


class DelVgg16(nn.Module):
    """Pixel embedding of the DEL paper, layer by layer.

    VGG16 without its classifier, ``pool4`` with stride 1 and ``conv5`` dilated by 2, so that
    its deepest features have a stride of 8. Five side outputs are normalised, brought to the
    size of the image and joined (416 channels); two convolutions make 64 channels of them.

    Parameters
    ----------
    generator : torch.Generator, optional
        Source of the initial weights (see `reset_parameters`); by default PyTorch's own.

    Notes
    -----
    Pooling is that of the published definition. ``pool1`` to ``pool3`` take 2 x 2 pixels with
    stride 2 and round sizes up, as Caffe always does; ``pool4`` takes 3 x 3 pixels with stride 1
    and a border of 1, which keeps the size (2 x 2 pixels would shift it by half a pixel). Any
    size of image is therefore valid, and the output has its size.

    Convolutions take what lies outside the image as 0 after subtraction of the mean, and so
    does the upsampling.

    References
    ----------
    .. [1] Y. Liu, P.-T. Jiang, V. Petrosyan, S.-J. Li, J. Bian, L. Zhang, M.-M. Cheng, "DEL:
           Deep Embedding Learning for Efficient Image Segmentation", IJCAI 2018.
    .. [2] K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
           Recognition", ICLR 2015.
    .. [3] W. Liu, A. Rabinovich, A. C. Berg, "ParseNet: Looking Wider to See Better", 2015
           (the normalisation).

    Examples
    --------
    >>> import torch
    >>> from napari_del.models.vgg16 import DelVgg16
    >>> network = DelVgg16(generator=torch.Generator().manual_seed(0)).eval()
    >>> with torch.inference_mode():
    ...     embedding, boundary = network(torch.full((1, 3, 32, 64), 127.0))
    >>> embedding.shape, boundary
    (torch.Size([1, 64, 32, 64]), None)
    """

    architecture: ClassVar[str] = "del-vgg16"
    stride: ClassVar[int] = 32
    """Origins of windows are multiples of this (8 would do; 32 is one grid for all networks)."""
    output_stride: ClassVar[int] = 1
    embedding_dim: ClassVar[int] = 64
    has_boundary: ClassVar[bool] = False
    core: ClassVar[int] = 256
    margin: ClassVar[int] = 96

    mean: Tensor

    def __init__(self, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        # Not persistent: a weights file holds what was learned, nothing else.
        self.register_buffer("mean", torch.tensor(MEAN_BGR).view(1, 3, 1, 1), persistent=False)
        for layer in TRUNK:
            self._add(layer.name, layer.inputs, layer.outputs, 3, layer.dilation)
        for head in HEADS:
            self._add(f"{head.source}_down", head.inputs, head.down, 3)
            self._add(f"{head.source}_refeat", head.down, head.refeat, 1)
            self.add_module(f"{head.source}_norm", Normalize(head.refeat))
        self._add("conv_dim", sum(head.refeat for head in HEADS), 256, 3)
        self._add("conv_dsp", 256, self.embedding_dim, 1)
        self.reset_parameters(generator)

    def _add(self, name: str, inputs: int, outputs: int, kernel: int, dilation: int = 1) -> None:
        # Left uninitialised here, since drawing 17 million values twice takes time.
        convolution = nn.utils.skip_init(
            nn.Conv2d,
            inputs,
            outputs,
            kernel,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            device=torch.get_default_device(),
        )
        self.add_module(name, convolution)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew.

        Convolutions get normal values whose variance keeps the size of activations through
        ReLUs (He et al., 2015) and biases of 0; normalisations get their initial scale.

        Parameters
        ----------
        generator : torch.Generator, optional
            Source of the values; the same state gives the same weights.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, Normalize):
                nn.init.constant_(module.weight, module.scale)

    def _apply_layer(self, name: str, x: Tensor) -> Tensor:
        result: Tensor = self.get_submodule(name)(x)
        return result

    def features(self, x: Tensor) -> Tensor:
        """Concatenated side outputs.

        Parameters
        ----------
        x : torch.Tensor, shape (B, 3, H, W)
            RGB images with values 0 to 255.

        Returns
        -------
        torch.Tensor, shape (B, 416, H, W)
        """
        batch, _, height, width = x.shape
        # Filled part by part: joining finished parts would hold all of them twice. Channels last,
        # because the next convolution would otherwise copy the 416 channels into that order.
        joined = torch.empty(
            (batch, sum(head.refeat for head in HEADS), height, width),
            dtype=x.dtype,
            device=x.device,
            memory_format=torch.channels_last,
        )
        heads = {head.source: head for head in HEADS}
        start = 0
        x = x.flip(1) - self.mean  # RGB to BGR
        for layer in TRUNK:
            x = functional.relu_(self._apply_layer(layer.name, x))
            head = heads.get(layer.name)
            if head is None:
                continue
            part = functional.relu_(self._apply_layer(f"{head.source}_down", x))
            part = self._apply_layer(f"{head.source}_refeat", part)
            part = self._apply_layer(f"{head.source}_norm", part)
            joined[:, start : start + head.refeat] = _upsample(part, head.factor, (height, width))
            start += head.refeat
            if layer.name == "conv4_3":
                x = functional.max_pool2d(x, 3, stride=1, padding=1)
            elif layer.name != "conv5_3":
                x = functional.max_pool2d(x, 2, stride=2, ceil_mode=True)
        return joined

    @classmethod
    def for_tensors(cls, tensors: Mapping[str, Tensor]) -> DelVgg16:
        """A network for a state dict, which is not loaded; there is one kind."""
        return cls()

    def forward(self, x: Tensor, core: tuple[slice, slice] | None = None) -> tuple[Tensor, None]:
        """Embed every pixel.

        Parameters
        ----------
        x : torch.Tensor, shape (B, 3, H, W)
            RGB images with values 0 to 255, in the dtype of the weights. The mean is subtracted
            here.
        core : tuple of slice, optional
            Rows and columns that are wanted, by default all.

        Returns
        -------
        embedding : torch.Tensor, shape (B, 64, H, W), or of the core
        boundary : None
            This network has no boundary channel.
        """
        rows, columns = core or (slice(None), slice(None))
        # In one expression, so that the 416 channels are let go before the last layer runs.
        x = functional.relu_(self._apply_layer("conv_dim", self.features(x)))[:, :, rows, columns]
        return self._apply_layer("conv_dsp", x), None
