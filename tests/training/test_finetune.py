"""Fine-tuning on painted regions."""

from __future__ import annotations

import json
import tempfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from skimage import data

from napari_del import segment
from napari_del.errors import Cancelled, ImageError, ModelError, OutputError, ParameterError
from napari_del.evaluation import segmentation_covering
from napari_del.evaluation.datasets import UNLABELLED
from napari_del.models import find_model, load_merge_function
from napari_del.training import fine_tune
from napari_del.training.finetune import _PaintedWindows, _prepare
from napari_del.training.merge_adaptation import replay_pictures
from napari_del.training.weights import export_weights
from tests.training.painted import content, new_network


def checks(seed, side=112):
    """Large checks beside broad stripes: to people two textures, to a network many squares."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    labels = 1 + (x > rng.integers(side * 3 // 8, side * 5 // 8)).astype(np.int32)
    squares = np.where((y // 20 + x // 20) % 2, 60, 140)
    stripes = np.where((y // 20) % 2, 110, 200)
    image = np.where(labels == 1, squares, stripes) + rng.normal(0, 6, (side, side))
    return image.clip(0, 255).astype(np.uint8), labels


def covering(model, image, labels):
    return segmentation_covering(segment(image, model=model, device="cpu").labels(), labels)


@pytest.fixture(scope="module")
def painted():
    image, labels = checks(0)
    labels[:, ::40] = 0  # not all of it was painted
    return image, labels


@pytest.fixture(scope="module")
def tuned(painted, tmp_path_factory):
    path = tmp_path_factory.mktemp("tuned") / "checks.safetensors"
    told = []
    found = fine_tune(
        [painted[0]],
        [painted[1]],
        output=path,
        steps=30,
        device="cpu",
        progress=lambda *now: told.append(now),
    )
    assert found == path
    return path, told


def test_another_image_of_the_kind_is_segmented_better(tuned):
    image, labels = checks(1)
    before, after = (covering(model, image, labels) for model in ("del-lite", tuned[0]))
    assert after > before + 0.1


def test_other_images_are_segmented_as_before(tuned, two_tone):
    one, other = (segment(two_tone, model=m, device="cpu") for m in ("del-lite", tuned[0]))
    assert one.default_linkage == other.default_linkage == "learned"
    # At the default threshold, by the merge function and by what the network says alone.
    for linkage in ("learned", "average"):
        before, after = (s.labels(linkage=linkage) for s in (one, other))
        assert np.unique(before).size > 1
        assert segmentation_covering(after, before) > 0.9


def test_photographs_have_about_as_many_regions_as_before(tuned):
    counts = []
    for photograph in (data.astronaut(), data.coffee(), data.rocket()):
        found = (segment(photograph, model=m, device="cpu") for m in ("del-lite", tuned[0]))
        counts.append([s.n_regions() for s in found])
    before, after = np.sum(counts, axis=0)
    assert after == pytest.approx(before, rel=0.25)


def test_the_file_says_what_it_is_made_of(tuned):
    path, _ = tuned
    metadata, _ = content(path)
    base = find_model("del-lite")
    assert metadata["architecture"] == "del-lite" and metadata["base_model"] == "del-lite"
    assert json.loads(metadata["default_thresholds"]) == base.default_thresholds
    assert find_model(path).default_thresholds == base.default_thresholds
    before, after = load_file(base.path), load_file(path)
    changed = {name.split(".")[0] for name in after if not torch.equal(before[name], after[name])}
    assert "head" in changed and not changed & {"stem", "stages"}


def test_progress_counts_images_and_steps(tuned):
    told = tuned[1]
    images = 1 + len(replay_pictures())
    assert told[: images + 32] == [
        *(("samples", image, images) for image in range(images + 1)),
        *(("training", step, 30) for step in range(31)),
    ]
    stages, done, totals = zip(*told[images + 32 :], strict=True)
    assert set(stages) == {"merging"} and len(set(totals)) == 1
    assert done[0] == 0 and done[-1] == totals[0] and list(done) == sorted(done)


def test_a_model_without_a_merge_function_gets_none(painted, tmp_path):
    base, path = tmp_path / "base.safetensors", tmp_path / "a.safetensors"
    export_weights(new_network(), base, {})
    told = []
    image, labels = (array[:64, 24:88] for array in painted)
    fine_tune(
        [image],
        [labels],
        model=base,
        output=path,
        steps=1,
        device="cpu",
        progress=lambda *now: told.append(now),
    )
    assert load_merge_function(find_model(path)) is None
    assert told == [("samples", 0, 1), ("samples", 1, 1), ("training", 0, 1), ("training", 1, 1)]


def test_the_same_seed_gives_the_same_weights(painted, tmp_path, quick_adaptation):
    def tune(name, **options):
        path = tmp_path / f"{name}.safetensors"
        image, labels = (array[:64, 24:88] for array in painted)
        fine_tune([image], [labels], output=path, steps=2, device="cpu", **options)
        return content(path)[1]

    one = tune("one")
    assert tune("two") == one != tune("three", seed=1)


def test_what_else_the_base_holds_is_taken_over(painted, tmp_path, quick_adaptation):
    # The file that it began with is replaced by the result.
    path = tmp_path / "base.safetensors"
    shipped = find_model("del-lite").path
    # A merge function does not know this one, which goes along as it is.
    numbers = torch.arange(6.0)
    save_file({**load_file(shipped), "merge.it": numbers}, path, content(shipped)[0])
    image, labels = (array[:64, 24:88] for array in painted)
    fine_tune([image], [labels], model=path, output=path, steps=1, device="cpu")
    before, after = load_file(shipped), load_file(path)
    assert torch.equal(after.pop("merge.it"), numbers)
    assert before.keys() == after.keys()
    assert not torch.equal(before["merge.0.weight"], after["merge.0.weight"])
    assert torch.equal(before["merge.mean"], after["merge.mean"])


def test_a_failure_in_the_end_leaves_the_file_that_was_there(painted, tmp_path, quick_adaptation):
    def cancel(stage, done, total):
        if stage == "merging" and done == total:
            raise Cancelled("stopped")

    path = tmp_path / "a.safetensors"
    path.write_bytes(b"mine")
    image, labels = (array[:64, 24:88] for array in painted)
    with pytest.raises(Cancelled):
        fine_tune([image], [labels], output=path, steps=1, device="cpu", progress=cancel)
    assert path.read_bytes() == b"mine" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("at", [("samples", 0), ("training", 0), ("training", 1), ("merging", 1)])
def test_a_run_that_is_cancelled_leaves_nothing_behind(
    painted, tmp_path, monkeypatch, quick_adaptation, at
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def cancel(stage, done, total):
        if stage == at[0] and done >= at[1]:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        fine_tune(
            [painted[0][:64]],
            [painted[1][:64]],
            output=tmp_path / "a.safetensors",
            steps=3,
            device="cpu",
            progress=cancel,
        )
    assert not list(tmp_path.iterdir())


class TestWindows:
    def test_only_painted_pixels_have_labels(self):
        labels = np.zeros((40, 50), np.uint16)
        labels[5:9, 5:9], labels[20:30, 7:19] = 7, 300
        item = _prepare("a", np.zeros((40, 50)), labels, 0)
        np.testing.assert_array_equal(item.segmentations[0] == UNLABELLED, labels == 0)
        assert np.unique(item.segmentations).size == 3
        assert {len(anchors) for anchors in item.anchors} == {16, 120}

    def test_windows_lie_where_something_is_painted(self):
        # Two regions that touch, in a corner of a large image.
        labels = np.zeros((1500, 1500), np.int32)
        labels[1200:1230, 1300:1320], labels[1200:1230, 1320:1340] = 4, 9
        source = _PaintedWindows([_prepare("a", np.zeros((1500, 1500)), labels, 0)], 0)
        for position in range(10):
            _, image, found = source.draw(position)
            assert image.shape[:2] == found.shape[1:] and max(image.shape[:2]) <= 256
            assert np.unique(found[found >= 0]).size == 2
            np.testing.assert_array_equal(source.draw(position)[1], image)


class TestWhatIsWrong:
    image = np.zeros((40, 50, 3), np.uint8)
    labels = np.repeat([[1, 2]], 25, axis=1).repeat(40, axis=0)

    def tune(self, tmp_path, images=None, labels=None, output="a.safetensors", **options):
        fine_tune(
            [self.image] if images is None else images,
            [self.labels] if labels is None else labels,
            output=tmp_path / output,
            device="cpu",
            **options,
        )

    @pytest.mark.parametrize(
        ("images", "labels", "error", "expected"),
        [
            ([], [], ParameterError, "there are 0 images and 0 labels; expected at least one"),
            ([image], [labels, labels], ParameterError, "there are 1 images and 2 labels"),
            ([image], [labels * 0], ParameterError, "labels have 0 painted regions"),
            ([image], [labels * 0 + 5], ParameterError, "labels have 1 painted regions"),
            ([image] * 2, [labels * 0 + 5] * 2, ParameterError, "at least 2 in one of them"),
            ([image], [labels * 1.0], ImageError, "labels 0 have dtype float64; expected integ"),
            ([image], [labels > 1], ImageError, "labels 0 have dtype bool; expected integers"),
            ([image] * 2, [labels, labels[:30]], ImageError, r"labels 1 have shape \(30, 50\)"),
            ([image], [labels[None]], ImageError, r"labels 0 have shape \(1, 40, 50\)"),
        ],
    )
    def test_images_and_labels(self, tmp_path, images, labels, error, expected):
        with pytest.raises(error, match=expected) as raised:
            self.tune(tmp_path, images, labels)
        assert "\n" not in str(raised.value) and not list(tmp_path.iterdir())

    def test_models(self, tmp_path):
        with pytest.raises(ModelError, match="model 'mean-color' cannot be trained; expected 'del"):
            self.tune(tmp_path, model="mean-color")
        with pytest.raises(ModelError, match="'none' is not known"):
            self.tune(tmp_path, model="none")

    def test_outputs_and_steps(self, tmp_path):
        with pytest.raises(OutputError, match="expected .safetensors"):
            self.tune(tmp_path, output="a.pt")
        with pytest.raises(OutputError, match="is not a directory"):
            self.tune(tmp_path, output="none/a.safetensors")
        with pytest.raises(ParameterError, match="steps is 0; expected a whole number"):
            self.tune(tmp_path, steps=0)
