"""Configurations: what is read from them, and how what is wrong in them is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_del.errors import ParameterError, ReadError
from napari_del.training import TrainingSettings
from napari_del.training.config import load_config

EXAMPLES = Path(__file__).parents[2] / "examples/training"


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "mine.toml"
        path.write_text(text)
        return path

    return write


def test_what_is_not_given_keeps_its_default(config, tmp_path):
    found = load_config(config('[[data]]\npath = "cells"\n'))
    (data,) = found.data
    assert data.path == tmp_path / "cells" and data.name == "cells"
    assert (data.weight, data.scales, data.strength) == (1.0, (0.7, 1.5), 1.0)
    assert data.hold_out is False and data.fold == 4 and data.limit is None
    assert found.training == TrainingSettings()
    assert (found.network.model, found.network.initial) == ("del-lite", "imagenet")
    assert found.validation is None and found.output is None
    assert found.synthetic == 0 and found.size == (320, 320)
    assert found.composites == "mixed"


def test_all_that_can_be_given(config, tmp_path):
    found = load_config(
        config("""
output = "out/mine.safetensors"
size = [128, 96]
synthetic = 0.2
composites = "textures"
[training]
steps = 10
learning_rate = 1
[network]
initial = "../base.safetensors"
[[data]]
path = "/data/cells"
name = "nuclei"
weight = 2
scales = [0.5, 2]
strength = 0
crowding = 0.5
pasting = 0.6
merge_weight = 3
hold_out = true
fold = 1
limit = 7
[[data]]
path = "aerial"
[validation]
path = "aerial"
name = "from above"
every = 5
images = 2
hold_out = true
limit = 3
""")
    )
    nuclei, aerial = found.data
    assert nuclei.path == Path("/data/cells") and nuclei.name == "nuclei"
    assert (nuclei.weight, nuclei.scales, nuclei.strength) == (2.0, (0.5, 2.0), 0.0)
    assert (nuclei.crowding, aerial.crowding) == (0.5, 0.0)
    assert (nuclei.pasting, aerial.pasting) == (0.6, 0.0)
    assert (nuclei.merge_weight, aerial.merge_weight) == (3.0, None)
    assert nuclei.hold_out and nuclei.fold == 1 and nuclei.limit == 7 and aerial.name == "aerial"
    assert found.training == TrainingSettings(steps=10, learning_rate=1)
    assert Path(found.network.initial) == tmp_path / "../base.safetensors"
    assert found.output == tmp_path / "out/mine.safetensors"
    assert found.size == (128, 96) and found.synthetic == 0.2
    assert found.composites == "textures" and found.recipe()["composites"] == "textures"
    assert found.validation.path == tmp_path / "aerial" and found.validation.every == 5


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_recipes_in_the_examples_can_be_read(path, shared_data):
    found = load_config(path)
    for item in [*found.data, *filter(None, [found.validation])]:
        assert item.path.resolve().is_relative_to(shared_data) and item.path.is_dir()


DATA = '[[data]]\npath = "cells"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[trainig]\n" + DATA, r"key 'trainig' is not known, did you mean 'training'\?"),
        ("[training]\nstep = 5\n" + DATA, r"\[training\]: key 'step' is not known.*'steps'"),
        (DATA + "wieght = 1\n", r"\[\[data\]\] 1: key 'wieght'.*did you mean 'weight'"),
        (DATA + DATA + 'name = "b"\nscale = [1, 2]', r"\[\[data\]\] 2: key 'scale'.*'scales'"),
        ("[network]\nintial = ''\n" + DATA, r"\[network\]: key 'intial'.*'initial'"),
        (DATA + "[validation]\npath='v'\nevry = 3", r"\[validation\]: key 'evry'.*'every'"),
        ("", r"data is \[\]; expected one or more tables \[\[data\]\]"),
        ("data = 3", r"data is 3; expected one or more"),
        ("data = [3]", r"\[\[data\]\] 1 is 3; expected a table"),
        ("training = 3\n" + DATA, r"\[training\] is 3; expected a table"),
        ("[[data]]\nweight = 1", r"\[\[data\]\] 1: path is missing"),
        (DATA + DATA, r"name 'cells' is given twice"),
        (DATA + "weight = -1", r"weight is -1; expected a number of at least 0"),
        (DATA + "weight = true", r"weight is True; expected a number"),
        (DATA + "weight = nan", r"weight is nan; expected a number"),
        (DATA + 'weight = "much"', r"weight is 'much'; expected a number"),
        (DATA + "scales = [2, 1]", r"scales is \[2, 1\]; expected two numbers, the smaller"),
        (DATA + "scales = 1", r"scales is 1; expected two numbers"),
        (DATA + "pasting = 2", r"pasting is 2; expected a number from 0 to 1"),
        (DATA + "crowding = -1", r"crowding is -1; expected a number from 0 to 1"),
        (DATA + "merge_weight = -1", r"merge_weight is -1; expected a number of at least 0"),
        (DATA + "strength = 1.5", r"strength is 1.5; expected a number from 0 to 1"),
        (DATA + 'hold_out = "yes"', r"hold_out is 'yes'; expected true or false"),
        (DATA + "hold_out = true\nfold = 5", r"fold is 5; expected a whole number from 0 to 4"),
        (DATA + "limit = 0", r"limit is 0; expected a whole number of at least 1"),
        ("size = 320\n" + DATA, r"size is 320; expected height and width"),
        ("size = [8, 320]\n" + DATA, r"size is \[8, 320\]; expected .* at least 32"),
        ('output = "a.pt"\n' + DATA, r"output is 'a.pt'; expected the path of a .safetensors"),
        ('[network]\nencoder = "lite3"\n' + DATA, r"encoder is 'lite3'; expected .* lite1, lite2"),
        ("synthetic = -0.1\n" + DATA, r"synthetic is -0.1; expected a number of at least 0"),
        ('composites = "texture"\n' + DATA, r"composites is 'texture'; expected .* textures"),
        ("[training]\nsteps = 0\n" + DATA, r"\[training\]: steps is 0; expected a whole number"),
        ("[training]\nsteps = 2.5\n" + DATA, r"steps is 2.5; expected a whole number"),
        ("[training]\nlearning_rate = 0\n" + DATA, r"learning_rate is 0; expected a number above"),
        ("[training]\nfrozen_stages = 8\n" + DATA, r"frozen_stages is 8; .* from 0 to 7"),
    ],
)
def test_what_is_wrong_is_named(config, text, expected):
    with pytest.raises(ParameterError, match=expected) as error:
        load_config(config(text))
    assert "mine.toml" in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_no_configuration(config, tmp_path):
    with pytest.raises(ReadError, match=r"none\.toml cannot be read: No such file"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ReadError, match=r"mine\.toml cannot be read: .*line 2"):
        load_config(config("size = [320, 320]\n[training\n"))


def test_where_the_data_lie_is_no_part_of_the_recipe(config):
    one, two, three = (
        load_config(
            config(f'[[data]]\npath = "{path}"\nname = "cells"\nweight = {weight}')
        ).recipe()
        for path, weight in (("a", 1), ("b", 1), ("a", 2))
    )
    assert one == two != three
