"""All figures against those that the benchmarks themselves give for ten hierarchies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage as ndi
from scipy.io import loadmat

from napari_del.evaluation import Evaluation, ImageTruth, load_bsds, summarise

THRESHOLDS = 0.05 * np.arange(1, 20)

# Two images at two thresholds, of this implementation when it agreed with the benchmarks.
RECALL = [0.2332, 0.0611]
PRECISION = [0.821, 0.746]
OBJECT_PART = [0.0986, 0.0543]
COVERING = [0.3258, 0.3249]
INFORMATION = [2.4199, 2.5284]


def evaluation(folder: Path, names: Sequence[str], thresholds: Sequence[float]) -> Evaluation:
    images = []
    for image in load_bsds(folder / "bsds500" / "val"):
        if image.name in names:
            path = folder / "bsds500_reference" / "ucm2" / f"{image.name}.mat"
            contours = loadmat(path)["ucm2"]
            labels = [ndi.label(contours <= t, np.ones((3, 3)))[0][1::2, 1::2] for t in thresholds]
            images.append(ImageTruth(image.segmentations).score_labels(labels))
    assert len(images) == len(names)
    return summarise(images, thresholds)


@pytest.mark.slow
def test_all_figures_agree_with_the_benchmarks(shared_data: Path) -> None:
    folder = shared_data / "bsds500_reference"
    expected = json.loads((folder / "expected.json").read_text())
    result = evaluation(shared_data, (folder / "ids.txt").read_text().split(), THRESHOLDS)
    curves = {
        "boundary_recall": result.boundary.recall,
        "boundary_precision": result.boundary.precision,
        "object_part_recall": result.object_part.recall,
        "object_part_precision": result.object_part.precision,
        "covering": result.covering.values,
        "rand_index": result.rand_index.values,
        "variation_of_information_bits": result.variation_of_information.values,
    }
    assert curves.keys() == expected["per_threshold"].keys()
    for name, values in curves.items():
        np.testing.assert_allclose(values, expected["per_threshold"][name], atol=0.003)
    figures = {
        "Fb": result.boundary,
        "Fop": result.object_part,
        "covering": result.covering,
        "PRI": result.rand_index,
        "VI": result.variation_of_information,
    }
    assert figures.keys() == expected["summary"].keys()
    for name, figure in figures.items():
        for key, value in expected["summary"][name].items():
            assert getattr(figure, key.lower()) == pytest.approx(value, abs=0.003), (name, key)


def test_two_images_at_two_thresholds_are_as_they_were(shared_data: Path) -> None:
    result = evaluation(shared_data, ["170057", "76053"], [0.3, 0.6])
    np.testing.assert_allclose(result.boundary.recall, RECALL, atol=1e-4)
    np.testing.assert_allclose(result.boundary.precision, PRECISION, atol=1e-4)
    np.testing.assert_allclose(result.object_part.values, OBJECT_PART, atol=1e-4)
    np.testing.assert_allclose(result.covering.values, COVERING, atol=1e-4)
    np.testing.assert_allclose(result.variation_of_information.values, INFORMATION, atol=1e-4)
