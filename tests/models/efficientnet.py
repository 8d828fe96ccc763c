"""EfficientNet-Lite as published, with weights drawn by chance."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

# Kernel, stride and expansion of each stage, and its channels and repeats in each encoder, from the
# published configurations.
KINDS = [(3, 1, 1), (3, 2, 6), (5, 2, 6), (3, 2, 6), (5, 1, 6), (5, 2, 6), (3, 1, 6)]
STAGES = {
    "lite0": [(16, 1), (24, 2), (40, 2), (80, 3), (112, 3), (192, 4), (320, 1)],
    "lite1": [(16, 1), (24, 3), (40, 3), (80, 4), (112, 4), (192, 5), (320, 1)],
    "lite2": [(16, 1), (24, 3), (48, 3), (88, 4), (120, 4), (208, 5), (352, 1)],
}


def blocks_of(encoder):
    """Kernel, stride, expansion, input and output channels of each block."""
    found, inputs = [], 32
    for (kernel, stride, expand), (outputs, repeats) in zip(KINDS, STAGES[encoder], strict=True):
        found += [(kernel, stride, expand, inputs, outputs)]
        found += [(kernel, 1, expand, outputs, outputs)] * (repeats - 1)
        inputs = outputs
    return found


def same(x, kernel, stride):
    """Padding of TensorFlow's "SAME" for sides that the stride divides."""
    lack = kernel - stride
    return functional.pad(x, (lack // 2, lack - lack // 2) * 2)


class Unfolded(nn.Module):
    """The encoder as published, with batch normalisation, under the names of its PyTorch ports."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.blocks = encoder, blocks_of(encoder)
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)
        self._blocks = nn.ModuleList()
        for kernel, stride, expand, inputs, outputs in self.blocks:
            width, block = inputs * expand, nn.Module()
            if expand > 1:
                block._expand_conv = nn.Conv2d(inputs, width, 1, bias=False)
                block._bn0 = nn.BatchNorm2d(width, eps=1e-3)
            block._depthwise_conv = nn.Conv2d(
                width, width, kernel, stride, groups=width, bias=False
            )
            block._bn1 = nn.BatchNorm2d(width, eps=1e-3)
            block._project_conv = nn.Conv2d(width, outputs, 1, bias=False)
            block._bn2 = nn.BatchNorm2d(outputs, eps=1e-3)
            self._blocks.append(block)

    def forward(self, x):
        """Outputs of all blocks."""
        out = []
        x = functional.relu6(self._bn0(self._conv_stem(same(x, 3, 2))))
        for (kernel, stride, expand, inputs, outputs), block in zip(
            self.blocks, self._blocks, strict=True
        ):
            y = x
            if expand > 1:
                y = functional.relu6(block._bn0(block._expand_conv(y)))
            y = functional.relu6(block._bn1(block._depthwise_conv(same(y, kernel, stride))))
            y = block._bn2(block._project_conv(y))
            x = x + y if stride == 1 and inputs == outputs else y
            out.append(x)
        return out


def unfolded(encoder):
    """An encoder with the statistics of batch normalisation as training may leave them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Unfolded(encoder).eval()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.3)
                nn.init.normal_(module.running_mean, 0, 0.3)
                nn.init.uniform_(module.running_var, 0.3, 2.0)
    return model
