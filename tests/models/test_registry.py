"""The registry: which models there are, and files that are refused."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from napari_del import list_models, segment
from napari_del.errors import DeviceError, ModelError, WeightsError
from napari_del.models import find_model, load_network, registry, resolve_device
from napari_del.models.info import NETWORKS
from napari_del.models.lite import DelLite

CPU = torch.device("cpu")
HEADER = {"architecture": "del-lite"}


@pytest.fixture
def own(lite_weights, tmp_path):
    """A user's own file, which a test may damage."""
    path = tmp_path / "own.safetensors"
    path.write_bytes(lite_weights.read_bytes())
    return path


@pytest.fixture
def shipped(own, monkeypatch):
    """The same file in the place of the one that ships with the package."""
    monkeypatch.setattr(registry, "_WEIGHTS", own.parent)
    return own.rename(own.with_name("del-lite.safetensors"))


def refused(path):
    """The message of the error that a file brings, wherever it is noticed."""
    with pytest.raises(WeightsError) as caught:
        load_network(find_model(path), CPU)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    with pytest.raises(WeightsError):
        segment(np.zeros((9, 9), np.uint8), model=path)
    return message


def test_models_are_listed_with_what_they_need():
    listed = {info.name: info for info in list_models()}
    assert list(listed) == ["del-lite", "del-vgg16", "mean-color"]
    for info in listed.values():
        assert info.description and "\n" not in info.description
        assert info.licence
        assert set(info.default_thresholds) >= {"average", "del", "egb"}
        assert all(0 < t < 1 for t in info.default_thresholds.values())
        assert info.available or info.path is None
    assert listed["mean-color"].available and listed["mean-color"].path is None
    assert listed["del-lite"].has_boundary and listed["del-lite"].embedding_dim == 64
    assert not listed["del-vgg16"].has_boundary and listed["del-vgg16"].embedding_dim == 64


def test_what_the_registry_says_of_a_network_is_so():
    from napari_del.models.vgg16 import DelVgg16

    for info, network in zip(list_models(), (DelLite, DelVgg16), strict=False):
        assert network.architecture == info.architecture == info.name
        assert network.embedding_dim == info.embedding_dim
        assert network.has_boundary == info.has_boundary
        assert network.core % network.stride == network.margin % network.stride == 0
        assert network.core % network.output_stride == 0


def test_models_without_weights_are_not_available(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "_WEIGHTS", tmp_path)
    assert [info.available for info in list_models()] == [False, False, True]
    with pytest.raises(ModelError, match="'del-vgg16' has no weights on this machine.*caffe.md"):
        find_model("del-vgg16")


@pytest.mark.parametrize("name", ["sam", "", "DEL-LITE", "missing.safetensors", "."])
def test_unknown_models(name):
    with pytest.raises(ModelError, match="is not known; expected one of del-lite, .*mean-color"):
        find_model(name)


def test_weights_of_ones_own(own):
    for path in (own, str(own)):
        info = find_model(path)
        assert info.available and info.path == own and info.sha256 is None
        assert info.name == str(own) and info.architecture == "del-lite"
        network = load_network(info, CPU)
        assert isinstance(network, DelLite) and not network.training
        assert not any(p.requires_grad for p in network.parameters())
        assert {p.dtype for p in network.parameters()} == {torch.float32}
    stored = load_file(own)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, stored[name].float(), rtol=0, atol=0)
    out = segment(np.zeros((9, 9), np.uint8), model=own)
    assert out.model == str(own)


def test_a_file_is_read_again_only_after_it_has_changed(own):
    first = load_network(find_model(own), CPU)
    assert load_network(find_model(own), CPU) is first
    tensors = load_file(own)
    tensors["head.bias"] += 1
    save_file(tensors, own, HEADER)
    again = load_network(find_model(own), CPU)
    torch.testing.assert_close(again.head.bias, first.head.bias + 1)


def test_thresholds_come_from_the_file(own):
    tensors = load_file(own)
    save_file(tensors, own, {**HEADER, "default_thresholds": '{"average": 0.31, "del": 0.12}'})
    thresholds = find_model(own).default_thresholds
    assert (thresholds["average"], thresholds["del"], thresholds["egb"]) == (0.31, 0.12, 0.5)
    out = segment(np.zeros((9, 9), np.uint8), model=own)
    assert out.default_threshold() == 0.31 and out.default_threshold("del") == 0.12


@pytest.mark.parametrize(
    "stated", ["high", "[1]", '{"del": "x"}', '{"del": null}', '{"del": 1.5}', '{"del": NaN}']
)
def test_thresholds_that_are_none(own, stated):
    save_file(load_file(own), own, {**HEADER, "default_thresholds": stated})
    assert "expected a number from 0 to 1" in refused(own)


@pytest.mark.parametrize("length", [0, 1, 4, 7, 8, 9, 500, 20_000, 10**6, -1])
def test_truncated_files(own, length):
    data = own.read_bytes()
    own.write_bytes(data[:length])
    message = refused(own)
    assert "damaged or not in safetensors format" in message
    assert message.endswith("get it again")


def test_a_file_with_more_at_its_end(own):
    own.write_bytes(own.read_bytes() + b"\0" * 16)
    assert "damaged" in refused(own)


def test_files_that_are_no_weights_at_all(tmp_path):
    path = tmp_path / "a.safetensors"
    for data in (b"hello world, this is a text file\n" * 9, b"\0" * 64, b"\xff" * 64):
        path.write_bytes(data)
        assert "damaged or not in safetensors format" in refused(path)


class Bomb:
    """Pickles to a call of `fail`, so that reading the pickle would be noticed."""

    def __reduce__(self):
        return fail, ()


def fail():
    raise AssertionError("the pickle was run")


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_pickles_are_never_run(tmp_path, protocol):
    path = tmp_path / "a.safetensors"
    path.write_bytes(pickle.dumps({"w": Bomb()}, protocol=protocol))
    assert "safetensors" in refused(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_pytorch_files_are_named_as_such(tmp_path, zipped):
    path = tmp_path / "a.safetensors"
    torch.save({"w": torch.zeros(3)}, path, _use_new_zipfile_serialization=zipped)
    message = refused(path)
    assert "is a PyTorch pickle; expected safetensors" in message and "save_file" in message


def test_a_zip(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "text")
    path = tmp_path / "a.safetensors"
    path.write_bytes(buffer.getvalue())
    assert "expected safetensors" in refused(path)


@pytest.mark.parametrize("metadata", [None, {}, {"architecture": "sam"}, {"format": "pt"}])
def test_a_file_that_names_no_architecture_known(own, metadata):
    save_file(load_file(own), own, metadata)
    architecture = (metadata or {}).get("architecture")
    assert f"names the architecture {architecture!r}; expected one of del-lite" in refused(own)


def test_tensors_of_another_network(tmp_path):
    path = tmp_path / "vgg.safetensors"
    save_file({"conv1_1.weight": torch.zeros(64, 3, 3, 3)}, path, HEADER)
    message = refused(path)
    assert "is not of del-lite: tensor context.bias has shape missing; expected (128,)" in message


def test_a_tensor_of_another_shape_or_missing(own):
    tensors = load_file(own)
    short = tensors.pop("head.bias")
    save_file(tensors, own, HEADER)
    assert "tensor head.bias has shape missing; expected (65,)" in refused(own)
    save_file({**tensors, "head.bias": short, "foot": torch.zeros(2)}, own, HEADER)
    assert "tensor foot has shape (2,); expected none of that name" in refused(own)
    save_file({**tensors, "head.bias": short[:64].clone()}, own, HEADER)
    assert "tensor head.bias has shape (64,); expected (65,)" in refused(own)


def test_lite_weights_under_the_name_of_vgg16(own):
    save_file(load_file(own), own, {"architecture": "del-vgg16"})
    assert "is not of del-vgg16" in refused(own)


def test_a_shipped_file_is_checked_against_its_sha256(shipped, monkeypatch):
    digest = hashlib.sha256(shipped.read_bytes()).hexdigest()
    good = replace(NETWORKS["del-lite"], sha256=digest)
    monkeypatch.setitem(NETWORKS, "del-lite", good)
    lite = find_model("del-lite")
    assert lite.available and lite.sha256 == digest
    load_network(lite, CPU)
    # One bit of a weight, which no other check would notice.
    data = bytearray(shipped.read_bytes())
    data[-1] ^= 1
    shipped.write_bytes(data)
    with pytest.raises(
        WeightsError, match=f"has SHA-256 .*; expected {digest}.*package again"
    ) as caught:
        load_network(find_model("del-lite"), CPU)
    assert "\n" not in str(caught.value)


def test_a_damaged_shipped_file_leaves_the_other_models(shipped):
    shipped.write_bytes(b"")
    with pytest.raises(WeightsError, match="del-lite.safetensors is damaged"):
        find_model("del-lite")
    out = segment(np.zeros((9, 9), np.uint8), model="mean-color")
    assert out.n_superpixels == 1


def test_what_ships_is_registered_with_its_sha256():
    for info in list_models():
        if info.path is not None:
            assert info.sha256 == hashlib.sha256(info.path.read_bytes()).hexdigest()
            assert info.path.stat().st_size < 15e6
            with safe_open(info.path, framework="numpy") as file:
                # The merge function is small, and kept in full.
                names = file.keys()
                kinds = {(n.startswith("merge."), file.get_slice(n).get_dtype()) for n in names}
                assert kinds <= {(False, "F16"), (True, "F32")}
                assert json.loads(file.metadata()["default_thresholds"])


def test_mean_color_has_no_network():
    with pytest.raises(ModelError, match="'mean-color' has no weights file"):
        load_network(find_model("mean-color"), CPU)


def test_devices():
    assert resolve_device("cpu") == CPU and resolve_device(CPU) == CPU
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("gpu", "mps", "cuda:-1", "", 1.5):
        with pytest.raises(DeviceError):
            resolve_device(name)


@pytest.mark.gpu
def test_devices_of_this_machine():
    n = torch.cuda.device_count()
    assert resolve_device("cuda") == torch.device("cuda")
    assert resolve_device(f"cuda:{n - 1}").index == n - 1
    with pytest.raises(DeviceError, match=f"'cuda:{n}' does not exist"):
        resolve_device(f"cuda:{n}")


def test_a_damaged_file_makes_its_model_unavailable_and_not_the_list(monkeypatch, tmp_path):
    (tmp_path / "del-lite.safetensors").write_bytes(b"damaged")
    monkeypatch.setattr(registry, "_WEIGHTS", tmp_path)
    lite, _, mean_color = list_models()
    assert not lite.available and "damaged" in lite.description
    assert mean_color.available
