"""Choices of the training recipe: what is trained on, what is scored, what has no part."""

from __future__ import annotations

import json
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from benchmarks import recipe_choices
from benchmarks.recipe_choices import VARIANTS, split
from napari_del.evaluation.datasets import FOLDS, AnnotatedImage, held_out, set_names
from napari_del.training.config import DataConfig, ValidationConfig, load_config
from napari_del.training.start import load_images

RECIPE = Path(__file__).resolve().parents[2] / "examples/training/del-lite.toml"


def test_no_source_of_tiles_is_on_both_sides() -> None:
    nothing = np.zeros((8, 8, 3), np.uint8)
    images = [
        AnnotatedImage(f"{turn}_{source}", nothing, np.zeros((1, 8, 8), np.int32))
        for turn in "abc"
        for source in range(1, 11)
    ]
    trained, scored = (
        {image.name.split("_")[1] for image in part} for part in split(images, "rs_gsi_road")
    )
    assert scored == {"5", "10"} and trained == {str(n) for n in range(1, 11)} - scored


def test_each_variant_is_another_recipe_with_the_same_number_of_steps() -> None:
    config = load_config(RECIPE)
    changed = {name: change(config) for name, change in VARIANTS.items()}
    described = [(each.recipe(), each.training) for each in changed.values()]
    assert all(described.count(one) == 1 for one in described)
    assert {each.training.steps for each in changed.values()} == {config.training.steps}
    weights = {item.weight for item in changed["equal shares"].data}
    assert len(weights) == 1
    general = load_config(RECIPE.with_name("general.toml"))
    shares = [(item.name, item.weight) for item in changed["shares of general.toml"].data]
    assert shares == [(item.name, item.weight) for item in general.data]


def test_held_out_images_have_no_part(two_sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def measured(name: str) -> dict[str, object]:
        figures = two_sets / f"{name}.json"
        arguments = [str(two_sets / "both.toml"), "--initial", "del-lite", "--steps", "1"]
        arguments += ["--variants", "as it ships", "--work", str(two_sets / name)]
        arguments += ["--device", "cpu", "--json", str(figures)]
        recipe_choices.main(arguments)
        rows = json.loads(figures.read_text())["recipes"]
        assert rows["as it ships"]["images"] == {"dsb2018": 1, "wbc": 1}
        return {key: row["sets"] for key, row in rows.items()}

    before = measured("before")
    assert list(before) == [
        "as it ships",
        "as it ships, 0.25 of natural.toml",
        "as it ships, 0.5 of natural.toml",
    ]
    assert "as it ships" in capsys.readouterr().out
    for name in ("dsb2018", "wbc"):
        names = set_names(two_sets / name)
        for image, out in zip(names, held_out(names, name), strict=True):
            if out:
                iio.imwrite(two_sets / name / f"images/{image}.png", np.zeros((64, 80), np.uint8))
    assert measured("after") == before


def test_training_and_validation_share_out_the_images_of_each_fold(two_sets: Path) -> None:
    for fold in range(FOLDS):
        folder = two_sets / "wbc"
        trained = load_images(DataConfig(folder, "wbc", hold_out=True, fold=fold))
        looked_at = load_images(ValidationConfig(folder, "wbc", hold_out=True, fold=fold))
        assert [image.name for image in looked_at] == [str(fold), str(fold + FOLDS)]
        assert {image.name for image in trained}.isdisjoint(image.name for image in looked_at)
        assert len(trained) + len(looked_at) == 10
