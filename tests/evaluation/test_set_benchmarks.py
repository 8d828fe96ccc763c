"""The comparison with classical segmenters scores what it says, and keeps what it has."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage import data, graph, segmentation

from benchmarks import sets
from benchmarks._set_scores import Counts, SetScores, best_unions, majorities, overlaps_of
from benchmarks.classics import CLASSICS, slic_cut
from napari_del.evaluation import mean_best_iou, segmentation_covering
from napari_del.evaluation.contingency import SuperpixelContingency
from napari_del.evaluation.datasets import OTHER, UNLABELLED, AnnotatedImage
from napari_del.evaluation.regions import best_overlaps


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten small grey images of discs, named as the set of nuclei; two of them are held out."""
    root = tmp_path_factory.mktemp("sets")
    for part in ("images", "labels"):
        (root / "dsb2018" / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :96]
    for number in range(10):
        labels = np.zeros((64, 96), np.uint16)
        for label, row in enumerate(rng.integers(14, 50, 3).tolist(), start=1):
            labels[(y - row) ** 2 + (x - 32 * label + 16) ** 2 < 144] = label
        image = np.where(labels > 0, 90, 30) + rng.integers(0, 8, labels.shape)
        iio.imwrite(root / "dsb2018/images" / f"{number}.png", image.astype(np.uint8))
        iio.imwrite(root / "dsb2018/labels" / f"{number}.png", labels)
    return root


def run(folder: Path, path: Path, *arguments: str) -> dict[str, dict[str, list]]:
    common = ["--data", str(folder), "--sets", "dsb2018", "--json", str(path)]
    sets.main([*common, *arguments])
    return json.loads(path.read_text())["sets"]["dsb2018"]["methods"]


def test_colour_cut_is_that_of_scikit_image() -> None:
    rgb = data.coffee()[100:196, 100:244]
    superpixels = segmentation.slic(rgb, n_segments=rgb[..., 0].size // 64, start_label=0)
    for threshold in (3, 10, 30, 60):
        (ours,) = slic_cut(rgb, [{"threshold": threshold}])
        theirs = graph.cut_threshold(superpixels, graph.rag_mean_color(rgb, superpixels), threshold)
        assert np.unique(theirs).size == np.unique(ours).size
        assert np.unique(np.stack([ours, theirs]).reshape(2, -1), axis=1).shape[1] == ours.max() + 1


@pytest.mark.parametrize("name", CLASSICS)
def test_classics_find_a_disc(name: str, two_tone: np.ndarray) -> None:
    if name == "hfs":
        pytest.importorskip("cv2", reason="needs benchmarks/requirements.txt")
    y, x = np.mgrid[:48, :64]
    disc = ((y - 24) ** 2 + (x - 28) ** 2 < 14**2).astype(np.int32)
    method = CLASSICS[name]
    found = list(method.segment(two_tone, method.settings))
    assert len(found) == len(method.settings)
    assert all(labels.shape == disc.shape for labels in found)
    assert max(mean_best_iou(labels, disc) for labels in found) > 0.85
    assert len({np.unique(labels).size for labels in found}) > 1


def test_scores_pool_over_objects_and_over_images() -> None:
    rng = np.random.default_rng(1)
    images, results = [], []
    for height in (20, 40):
        objects = np.kron(np.arange(4).reshape(1, 4), np.ones((height, 5), int)).astype(np.int32)
        objects[:, 15:] = 2 if height == 20 else 3
        images.append(AnnotatedImage("x", objects, objects[np.newaxis], objects))
        results.append([rng.integers(0, 6, objects.shape) for _ in range(3)])
    scores = SetScores(3)
    for image, labels in zip(images, results, strict=True):
        counts = [Counts(result, image) for result in labels]
        scores.add((*overlaps_of(count.tables()), count.n) for count in counts)
    figures = scores.to_json()
    for index in range(3):
        iou = [mean_best_iou(r[index], i.objects) for i, r in zip(images, results, strict=True)]
        cover = [
            segmentation_covering(r[index], i.segmentations[0])
            for i, r in zip(images, results, strict=True)
        ]
        assert figures["best_iou"][index] == pytest.approx((2 * iou[0] + 3 * iou[1]) / 5, abs=1e-5)
        assert figures["best_iou_by_image"][index] == pytest.approx(np.mean(iou), abs=1e-5)
        covering = (cover[0] + 2 * cover[1]) / 3
        assert figures["covering"][index] == pytest.approx(covering, abs=1e-5)
        assert figures["covering_by_image"][index] == pytest.approx(np.mean(cover), abs=1e-5)
        assert figures["regions"][index] == 6


def test_background_that_is_left_open_is_not_covered_but_counts_against_regions() -> None:
    objects = np.array([[1, 1, 0, 0, 0, 0]], np.int32)
    regions = np.where(objects > 0, 0, OTHER).astype(np.int32)[np.newaxis]
    regions[0, 0, 5] = UNLABELLED
    scores = SetScores(1)
    counts = Counts(np.array([[7, 7, 7, 7, 7, 7]]), AnnotatedImage("x", objects, regions, objects))
    scores.add([(*overlaps_of(counts.tables()), counts.n)])
    assert scores.to_json()["covering"] == [0.4] == scores.to_json()["best_iou"]


@given(
    hnp.arrays(np.int64, (6, 6), elements=st.integers(0, 5)),
    hnp.arrays(np.int64, (6, 6), elements=st.integers(-2, 2)),
)
def test_best_union_is_the_best_of_all_unions(superpixels: np.ndarray, truth: np.ndarray) -> None:
    truth[0, 0] = 1
    table = SuperpixelContingency(superpixels, [truth]).table(
        np.arange(np.unique(superpixels).size)
    )
    bound = best_unions(table)
    known = truth != UNLABELLED
    ids = np.unique(superpixels)
    unions = [c for n in range(1, ids.size + 1) for c in combinations(ids.tolist(), n)]
    for index, label in enumerate(np.unique(truth[truth >= 0])):
        target = truth == label
        inside = [np.isin(superpixels, union) & known for union in unions]
        best = max((target & union).sum() / (target | union).sum() for union in inside)
        assert bound[index] == pytest.approx(best)
    assert np.all(majorities(table) <= bound + 1e-12)
    assert np.all(best_overlaps(table) <= bound + 1e-12)


def test_majorities_give_each_superpixel_to_one_region() -> None:
    superpixels = np.array([[1, 1, 1, 2, 2, 2, 3, 3, 3]])
    truth = np.array([[0, 0, 1, 1, 1, OTHER, 1, OTHER, OTHER]])
    table = SuperpixelContingency(superpixels, [truth]).table(np.arange(3))
    # Region 0 gets superpixel 1, region 1 superpixel 2; most of superpixel 3 is in neither.
    np.testing.assert_allclose(majorities(table), [2 / 3, 2 / 5])


def test_parts_hold_all_images_once(folder: Path) -> None:
    held, rest = (
        [i.name for i in sets.read_part(folder, "dsb2018", part, None)]
        for part in ("held-out", "training")
    )
    assert held == ["4", "9"]
    assert sorted(held + rest) == [str(number) for number in range(10)]
    assert [i.name for i in sets.read_part(folder, "dsb2018", "training", 2)] == ["0", "5"]


def test_methods_stand_side_by_side(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sets.json"
    methods = run(
        folder, path, "--methods", "slic-cut", "napari-del", "--model", "mean-color", "--oracle"
    )
    assert list(methods) == ["slic-cut", *sets.ORACLES, "mean-color, average"]
    top = {name: max(figures["best_iou"]) for name, figures in methods.items()}
    assert 0.6 < top["slic-cut"] <= 1
    assert 0.6 < top["mean-color, average"] <= top["oracle, best union"] + 1e-4
    table = capsys.readouterr().out
    for line in table.splitlines()[2:]:
        assert line.count("*") >= 1
    (line,) = [line for line in table.splitlines() if " best_iou " in line]
    assert f"{top['mean-color, average']:.3f}" in line and f"{top['slic-cut']:.3f}" in line


def test_the_best_of_each_measure_is_kept() -> None:
    rng = np.random.default_rng(0)
    figures = {name: rng.random(30).tolist() for name in ("settings", "regions", *sets.MEASURES)}
    kept = sets.thinned(figures)
    for measure in sets.MEASURES:
        assert max(kept[measure]) == max(figures[measure])
        index = int(np.argmax(kept[measure]))
        assert kept["settings"][index] == figures["settings"][int(np.argmax(figures[measure]))]
    assert set(figures["settings"][:: sets.KEPT]) <= set(kept["settings"])
    assert len(kept["settings"]) <= 8 + len(sets.MEASURES)


def test_what_is_there_is_not_computed_again(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "sets.json"
    cut = ("--methods", "slic-cut", "napari-del", "--model", "mean-color")
    before = run(folder, path, *cut)

    content = json.loads(path.read_text())
    methods = content["sets"]["dsb2018"]["methods"]
    methods["mean-color, average"]["best_iou"][0] = 0.5
    for values in methods["slic-cut"].values():
        values.append(values.pop(2))  # any order will do
        values.pop()
    methods["slic-cut"]["best_iou"][3] = 0.25
    path.write_text(json.dumps(content))
    after = run(folder, path, *cut)
    assert after["mean-color, average"]["best_iou"][0] == 0.5
    assert after["slic-cut"]["best_iou"][3] == 0.25
    lacking = before["slic-cut"]["settings"][2]
    assert after["slic-cut"]["settings"][-1] == lacking
    assert after["slic-cut"]["best_iou"][-1] == before["slic-cut"]["best_iou"][2]

    assert run(folder, path, *cut, "--again") == before


def test_a_coarse_sweep_is_made_complete(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sets.json"
    cut = ("--methods", "slic-cut")
    coarse = run(folder, path, *cut, "--every", "4")["slic-cut"]
    assert coarse["settings"] == list(CLASSICS["slic-cut"].settings[::4])
    assert "slic-cut: only 15 of 58 settings" in capsys.readouterr().out
    fine = run(folder, path, *cut)["slic-cut"]
    assert "only" not in capsys.readouterr().out
    whole = run(folder, tmp_path / "whole.json", *cut)["slic-cut"]
    order = [fine["settings"].index(setting) for setting in whole["settings"]]
    assert {key: [values[i] for i in order] for key, values in fine.items()} == whole


def test_weights_that_changed_are_scored_anew(
    folder: Path, tmp_path: Path, lite_weights: Path
) -> None:
    path = tmp_path / "sets.json"
    arguments = ("--methods", "napari-del", "--model", str(lite_weights))
    before = run(folder, path, *arguments)
    content = json.loads(path.read_text())
    (figures,) = content["sets"]["dsb2018"]["methods"].values()
    figures["best_iou"][0] = 2.0
    figures["weights_sha256"] = "0" * 64
    path.write_text(json.dumps(content))
    assert run(folder, path, *arguments) == before


def test_figures_of_other_images_are_not_mixed(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "sets.json"
    run(folder, path, "--methods", "slic-cut")
    with pytest.raises(SystemExit, match="figures of 2 images of dsb2018"):
        run(folder, path, "--methods", "slic-cut", "--limit", "1")
    with pytest.raises(SystemExit, match="part 'held-out'"):
        run(folder, path, "--methods", "slic-cut", "--part", "training")
