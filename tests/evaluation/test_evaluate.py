"""Scoring a model on a folder, from Python and on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from skimage import data

from napari_del import segment
from napari_del.cli import main
from napari_del.errors import ParameterError, ReadError
from napari_del.evaluation import (
    AnnotatedImage,
    ImageTruth,
    evaluate,
    evaluate_model,
    load_set,
    summarise,
    thresholds_for,
)

MODEL = "mean-color"
BLOCKS = np.kron(np.arange(6).reshape(2, 3), np.ones((48, 48), int))


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """Two small photographs; the annotators' regions are blocks."""
    folder = tmp_path / "split"
    folder.mkdir()
    for name, image in (("1", data.coffee()), ("2", data.chelsea())):
        iio.imwrite(folder / f"{name}.jpg", image[100:196, 100:244])
        np.savez(folder / f"{name}.npz", seg=np.stack([BLOCKS, BLOCKS // 3]).astype(np.int16))
    return folder


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """Six images of bright blocks on dark ground, labelled as objects; one without labels."""
    folder = tmp_path / "cells"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(6):
        labels = np.zeros((64, 80), np.uint16)
        if number:
            labels[8:32, 8:32], labels[40:56, 24 + number : 64] = 1, 2
        image = np.where(labels > 0, 200, 40) + rng.integers(0, 9, labels.shape)
        iio.imwrite(folder / "images" / f"{number}.png", image.astype(np.uint8))
        iio.imwrite(folder / "labels" / f"{number}.png", labels)
    return folder


@pytest.fixture
def fail(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that has to fail with one line; return the line."""

    def fail(*arguments: str) -> str:
        assert main(["evaluate", "--quiet", "--model", MODEL, *arguments]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1
        return err

    return fail


def test_a_model_is_scored_as_its_label_images_are(split: Path) -> None:
    results = evaluate_model(split, model=MODEL, linkages=["average", "egb"], thresholds=4)
    assert list(results) == ["average", "egb"]
    for linkage, result in results.items():
        images = []
        for image in load_set(split):
            segmentation = segment(image.image, model=MODEL)
            labels = [segmentation.labels(t, linkage) for t in result.thresholds.tolist()]
            images.append(ImageTruth(image.segmentations).score_labels(labels))
        expected = summarise(images, result.thresholds)
        # Sums over other pieces differ in the last bits.
        for name, figure in expected.figures.items():
            np.testing.assert_allclose(result.figures[name].values, figure.values, rtol=1e-9)
            assert result.figures[name].ois == pytest.approx(figure.ois, rel=1e-9)
        assert result.n_images == 2 and result.boundary.ods > 0.1


def test_thresholds_go_from_fine_to_coarse(split: Path) -> None:
    segmentations = [segment(image.image, model=MODEL) for image in load_set(split)]
    steps = thresholds_for(segmentations, "average", 6)
    counts = [np.mean([s.n_regions(t) for s in segmentations]) for t in steps.tolist()]
    assert counts[0] == pytest.approx(segmentations[0].n_superpixels / 2, rel=0.05)
    assert counts[-1] == 2 and np.all(np.diff(steps) > 0)
    np.testing.assert_allclose(thresholds_for([], "egb", 4), [0.25, 0.5, 0.75, 1])
    with pytest.raises(ParameterError, match="thresholds is 0"):
        thresholds_for(segmentations, n=0)
    with pytest.raises(ParameterError, match="0 segmentations"):
        thresholds_for([])


def test_thresholds_may_be_given(split: Path) -> None:
    told: list[tuple[str, int, int]] = []
    results = evaluate_model(
        split, model=MODEL, thresholds=[0.2, 0.6], progress=lambda *state: told.append(state)
    )
    np.testing.assert_array_equal(results["average"].thresholds, [0.2, 0.6])
    assert told == [("evaluate", done, 2) for done in range(3)]


def test_objects_are_found_and_images_without_labels_passed_over(cells: Path) -> None:
    result = evaluate_model(cells, model=MODEL, thresholds=6)["average"]
    assert (result.n_images, result.n_objects) == (5, 10)
    assert result.object_best_iou is not None and result.object_best_iou.ods > 0.9
    assert result.adapted_rand_error is not None and result.adapted_rand_error.ods < 0.1


def test_some_of_the_images(cells: Path) -> None:
    few = {"model": MODEL, "thresholds": [0.5]}
    assert evaluate_model(cells, limit=3, **few)["average"].n_images == 2
    assert evaluate_model(cells, held_out_fold=4, **few)["average"].n_images == 1
    assert evaluate_model(cells, held_out_fold=0, **few)["average"].n_images == 1
    with pytest.raises(ParameterError, match="fold is -1; expected a whole number from 0 to 4"):
        evaluate_model(cells, held_out_fold=-1, **few)


def test_a_masked_pixel_is_a_region_of_its_own() -> None:
    def segmenter(image: AnnotatedImage):
        return segment(image.image, model=MODEL, mask=image.segmentations[0] != 5)

    image = AnnotatedImage(
        "1", data.coffee()[100:196, 100:244], BLOCKS[np.newaxis].astype(np.int32)
    )
    result = evaluate([image], segmenter, {"average": [1.0]})["average"]
    assert result.n_regions == [2]
    # The first five blocks are one region, the masked one fits.
    assert result.covering.ods == pytest.approx((1 + 5 * 0.2) / 6)


def test_command_prints_a_table_and_writes_json(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "figures.json"
    arguments = ["evaluate", "--data", str(cells), "--model", MODEL, "--thresholds", "5"]
    assert main([*arguments, "--linkage", "average", "del", "--json", str(path)]) == 0
    out = capsys.readouterr().out
    assert f"{cells}: 5 images, 10 objects; model {MODEL}, linkage del, step 8" in out
    content = json.loads(path.read_text())
    assert content["model"] == MODEL and list(content["linkages"]) == ["average", "del"]
    covering = content["linkages"]["average"]["figures"]["covering"]
    assert f"{covering['ods']:.4f}" in out and covering["ods"] == max(covering["values"])

    for given, fold in (((), 4), (("1",), 1)):
        mine = tmp_path / f"{fold}.json"
        assert main([*arguments, "--held-out", *given, "--json", str(mine)]) == 0
        assert f"{cells}: 1 images, 2 objects" in capsys.readouterr().out
        assert json.loads(mine.read_text())["fold"] == fold

    before = path.read_bytes()
    assert main([*arguments, "--json", str(path)]) == 2
    assert "exists already" in capsys.readouterr().err and path.read_bytes() == before
    assert main([*arguments, "--json", str(path), "--overwrite", "--quiet"]) == 0
    assert list(json.loads(path.read_text())["linkages"]) == ["average"]
    assert capsys.readouterr().out.startswith(f"\n{cells}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--thresholds", "0"], "thresholds is 0"),
        (["--limit", "0"], "limit is 0"),
        (["--held-out", "5"], "fold is 5"),
        (["--step", "2"], "step is 2"),
        (["--tolerance", "0"], "tolerance is 0"),
        (["--model", "del-light"], "del-light"),
        (["--json", "figures.txt"], "expected .json"),
    ],
)
def test_options_out_of_range_are_named(
    fail, cells: Path, options: list[str], message: str
) -> None:
    assert message in fail("--data", str(cells), *options)


def test_folders_that_do_not_fit_are_named(fail, cells: Path, tmp_path: Path) -> None:
    assert "nowhere is not a folder" in fail("--data", "nowhere")
    assert "holds no pictures" in fail("--data", str(tmp_path))
    (tmp_path / "four" / "images").mkdir(parents=True)
    with pytest.raises(ReadError, match="no pictures"):
        evaluate_model(tmp_path / "four", model=MODEL)

    labels = cells / "labels" / "3.png"
    iio.imwrite(labels, np.zeros((64, 81), np.uint8))
    assert "(64, 81)" in fail("--data", str(cells))
    iio.imwrite(labels.with_suffix(".tif"), np.full((64, 80), 0.5, np.float32))
    labels.unlink()
    assert "float32" in fail("--data", str(cells))
    labels.with_suffix(".tif").unlink()
    assert "3.png has no labels" in fail("--data", str(cells))


def test_a_set_without_labels_is_named(fail, cells: Path) -> None:
    for path in (cells / "labels").iterdir():
        iio.imwrite(path, np.zeros((64, 80), np.uint8))
    assert "no image has labels" in fail("--data", str(cells))
