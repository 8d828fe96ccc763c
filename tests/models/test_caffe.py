"""Published Caffe files: reading them, converting them and refusing what is no such file."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from napari_del.errors import OutputError, ReadError, WeightsError
from napari_del.models.caffe import convert_caffemodel, main, read_caffemodel
from napari_del.models.vgg16 import DelVgg16

Blobs = list[np.ndarray]

# A writer of protobuf's wire format that shares nothing with the reader. Field numbers are those
# of src/caffe/proto/caffe.proto.


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def integer(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def blob(
    array: np.ndarray, *, legacy: bool = False, packed: bool = True, double: bool = False
) -> bytes:
    if legacy:
        shape = (1,) * (4 - array.ndim) + array.shape
        out = b"".join(integer(number, size) for number, size in enumerate(shape, start=1))
    elif packed:
        out = field(7, field(1, b"".join(map(varint, array.shape))))
    else:
        out = field(7, b"".join(integer(1, size) for size in array.shape))
    number, code, wire = (8, "<f8", 1) if double else (5, "<f4", 5)
    values = array.astype(code).tobytes()
    if packed:
        # Caffe can store gradients too; they have to be skipped.
        return out + field(6, b"\x00" * 8) + field(number, values)
    size = struct.calcsize(code[1:].replace("f4", "f").replace("f8", "d"))
    tag = varint(number << 3 | wire)
    return out + b"".join(tag + values[at : at + size] for at in range(0, len(values), size))


def layer(name: str, blobs: Iterable[bytes], *, legacy: bool = False) -> bytes:
    if legacy:
        content = field(2, b"bottom") + field(4, name.encode()) + integer(5, 4)
        return field(2, content + b"".join(field(6, blob) for blob in blobs))
    content = field(1, name.encode()) + field(2, b"Convolution") + field(3, b"bottom")
    content += field(6, varint(3 << 3 | 5) + struct.pack("<f", 1.0))
    return field(100, content + b"".join(field(7, blob) for blob in blobs))


def bilinear(channels: int, factor: int) -> np.ndarray:
    ramp = [1 - abs(i - (factor - 0.5)) / factor for i in range(2 * factor)]
    kernel = np.zeros((channels, channels, 2 * factor, 2 * factor), np.float32)
    for channel in range(channels):
        kernel[channel, channel] = np.outer(ramp, ramp)
    return kernel


def model(layers: dict[str, Blobs], **options: bool) -> bytearray:
    """A whole file as Caffe writes it, with layers that have no weights between the others."""
    legacy = options.get("legacy", False)
    out = bytearray(field(1, b"ImageSegmentation") + layer("data", [], legacy=legacy))
    for name, blobs in layers.items():
        out += layer(name, [blob(b, **options) for b in blobs], legacy=legacy)
        out += layer(f"relu_{name}", [], legacy=legacy)
    return out


@pytest.fixture(scope="module")
def network() -> DelVgg16:
    network = DelVgg16(generator=torch.Generator().manual_seed(2)).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():  # biases and scales that are all different
        for name, parameter in network.named_parameters():
            if parameter.ndim == 1:
                noise = torch.rand(parameter.shape, generator=generator)
                parameter.copy_(noise + (20 if "norm" in name else 0))
    return network


@pytest.fixture(scope="module")
def weights(network: DelVgg16) -> dict[str, Blobs]:
    layers: dict[str, Blobs] = {}
    for name, value in network.state_dict().items():
        layers.setdefault(name.split(".")[0], []).append(value.numpy())
    return layers


@pytest.fixture(scope="module")
def source(weights: dict[str, Blobs], tmp_path_factory: pytest.TempPathFactory) -> Path:
    upsampling = {
        "upsample2_2": [bilinear(64, 2), np.zeros(64, np.float32)],
        "upsample3_3": [bilinear(64, 4), np.zeros(64, np.float32)],
    }
    path = tmp_path_factory.mktemp("caffe") / "image_segment_iter_10000.caffemodel"
    path.write_bytes(model(upsampling | weights))
    return path


@pytest.fixture(scope="module")
def converted(source: Path) -> Path:
    return convert_caffemodel(source, source.with_name("a.safetensors"), dtype="float32")


def small() -> dict[str, Blobs]:
    random = np.random.default_rng(0)
    return {
        "conv1_1": [random.normal(size=(2, 3, 3, 3)), random.normal(size=2)],
        "conv1_1_norm": [random.normal(size=40)],  # more than 127 bytes
    }


def read_or_refuse(path: Path) -> dict[str, Blobs] | str:
    """Read a file, or return the message of the one error that is allowed."""
    try:
        return read_caffemodel(path)
    except WeightsError as error:
        return str(error)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("double", [False, True])
def test_all_generations_of_the_format(
    tmp_path: Path, legacy: bool, packed: bool, double: bool
) -> None:
    path = tmp_path / "small.caffemodel"
    path.write_bytes(model(small(), legacy=legacy, packed=packed, double=double))
    found = read_caffemodel(path)
    assert list(found) == list(small())  # no layer without weights
    for name, blobs in small().items():
        for given_, got in zip(blobs, found[name], strict=True):
            shape = (1,) * (4 - given_.ndim) + given_.shape if legacy else given_.shape
            assert got.shape == shape
            assert got.dtype == np.float32
            assert got.flags.aligned
            assert got.flags.owndata or got.base.flags.owndata
            np.testing.assert_array_equal(got.reshape(given_.shape), given_.astype(np.float32))


def test_both_generations_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "mixed.caffemodel"
    values = np.arange(3.0)
    path.write_bytes(
        layer("old", [blob(values, legacy=True)], legacy=True) + layer("new", [blob(values)])
    )
    found = read_caffemodel(path)
    assert {name: blobs[0].shape for name, blobs in found.items()} == {
        "old": (1, 1, 1, 3),
        "new": (3,),
    }


def test_a_blob_in_several_parts_is_joined(tmp_path: Path) -> None:
    # Protobuf allows a packed field to come in parts.
    path = tmp_path / "parts.caffemodel"
    parts = [field(5, np.full(2, i, "<f4").tobytes()) for i in range(3)]
    path.write_bytes(layer("a", [field(7, field(1, varint(6))) + b"".join(parts)]))
    np.testing.assert_array_equal(read_caffemodel(path)["a"][0], [0, 0, 1, 1, 2, 2])


def test_round_trip_gives_the_same_network(
    network: DelVgg16, source: Path, converted: Path
) -> None:
    state = load_file(converted)
    other = DelVgg16(generator=torch.Generator().manual_seed(99)).eval()
    other.load_state_dict(state, strict=True)
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 255
    with torch.inference_mode():
        assert torch.equal(other(x)[0], network(x)[0])
    assert all(value.dtype == torch.float32 for value in state.values())
    with safe_open(converted, framework="pt") as file:
        metadata = file.metadata()
    assert metadata.pop("source_sha256") == hashlib.sha256(source.read_bytes()).hexdigest()
    assert json.loads(metadata.pop("default_thresholds")) == {
        "average": 0.5,
        "del": 0.4,
        "egb": 0.5,
    }
    assert metadata == {"architecture": "del-vgg16", "format_version": "1"}


def test_half_precision_by_default(network: DelVgg16, source: Path, tmp_path: Path) -> None:
    path = convert_caffemodel(source, tmp_path / "half.safetensors")
    state = load_file(path)
    assert all(value.dtype == torch.float16 for value in state.values())
    assert path.stat().st_size < 2 * 18_516_640 + 20_000
    other = DelVgg16().eval()
    other.load_state_dict(state)
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 255
    with torch.inference_mode():
        expected = network(x)[0]
        error = (other(x)[0] - expected).abs().mean() / expected.abs().mean()
    assert 0 < error < 0.01


def test_other_layouts_of_the_same_weights(
    weights: dict[str, Blobs], converted: Path, tmp_path: Path
) -> None:
    layers = dict(weights)
    layers["conv1_2_norm"] = [weights["conv1_2_norm"][0].reshape(1, 32, 1, 1)]
    layers["conv1_1"] = [weights["conv1_1"][0], weights["conv1_1"][1].reshape(1, 1, 1, 64)]
    layers["upsample5_3"] = [np.repeat(bilinear(1, 8), 128, axis=0)]  # a kernel for each channel
    source = tmp_path / "layouts.caffemodel"
    source.write_bytes(model(layers))
    path = convert_caffemodel(source, tmp_path / "out.safetensors", dtype="float32")
    expected = load_file(converted)
    assert all(torch.equal(value, expected[name]) for name, value in load_file(path).items())


def refused(source: Path, *, match: str) -> None:
    destination = source.with_suffix(".safetensors")
    with pytest.raises(WeightsError, match=match) as caught:
        convert_caffemodel(source, destination)
    assert "\n" not in str(caught.value)
    assert str(source) in str(caught.value) or "too large" in match
    assert sorted(source.parent.iterdir()) == [source]


def test_missing_layer(weights: dict[str, Blobs], tmp_path: Path) -> None:
    # Of the published files, the one from pretraining lacks the last layer and has another.
    layers = {name: blobs for name, blobs in weights.items() if name != "conv_dsp"}
    layers["class_score"] = [np.zeros((21, 256, 1, 1)), np.zeros(21)]
    path = tmp_path / "pretrained.caffemodel"
    path.write_bytes(model(layers))
    refused(path, match=r"no weights for the layer 'conv_dsp'.*class_score")


@pytest.mark.parametrize(
    ("shapes", "match"),
    [
        (
            [(64, 1, 3, 3), (64,)],
            r"weight of the layer 'conv1_1' has the shape \(64, 1, 3, 3\); expected "
            r"\(64, 3, 3, 3\)",
        ),
        ([(3, 64, 3, 3), (64,)], r"\(3, 64, 3, 3\); expected \(64, 3, 3, 3\)"),
        ([(64, 27), (64,)], r"\(64, 27\); expected \(64, 3, 3, 3\)"),
        ([(64, 3, 3, 3), (63,)], r"bias .*'conv1_1'.*\(63,\); expected \(64,\)"),
        ([(64, 3, 3, 3), (8, 8)], r"bias .*'conv1_1'.*\(8, 8\); expected \(64,\)"),
        ([(64, 3, 3, 3)], r"'conv1_1' has 1 blobs; expected 2 \(weight, bias\)"),
    ],
)
def test_layer_of_another_shape(tmp_path: Path, shapes: list[tuple[int, ...]], match: str) -> None:
    path = tmp_path / "a.caffemodel"
    path.write_bytes(model({"conv1_1": [np.ones(shape) for shape in shapes]}))
    refused(path, match=match)


def test_scale_shared_by_all_channels(weights: dict[str, Blobs], tmp_path: Path) -> None:
    path = tmp_path / "a.caffemodel"
    path.write_bytes(model(weights | {"conv1_2_norm": [np.full(1, 20.0)]}))
    refused(path, match=r"'conv1_2_norm' has the shape \(1,\); expected \(32,\)")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(tmp_path: Path, value: float) -> None:
    bias = np.zeros(64)
    bias[7] = value
    path = tmp_path / "a.caffemodel"
    path.write_bytes(model({"conv1_1": [np.ones((64, 3, 3, 3)), bias]}))
    refused(path, match="bias of the layer 'conv1_1' holds NaN or infinite")


def test_value_too_large_for_half_precision(weights: dict[str, Blobs], tmp_path: Path) -> None:
    path = tmp_path / "a.caffemodel"
    path.write_bytes(model(weights | {"conv1_2_norm": [np.full(32, 1e5)]}))
    refused(path, match=r"conv1_2_norm.weight holds 1e\+05, which is too large for float16")


@pytest.mark.parametrize(
    ("blobs", "match"),
    [
        ([bilinear(4, 2) * 0.9], "differs from bilinear upsampling by 0.0563"),
        ([bilinear(4, 2), np.full((1, 1, 1, 4), 0.5)], "bilinear upsampling by 0.5"),
        ([bilinear(4, 4)], r"'upsample2_2' has the shape \(4, 4, 8, 8\)"),
        ([np.ones(64)], r"'upsample2_2' has the shape \(64,\)"),
    ],
)
def test_upsampling_that_the_network_does_not_do(tmp_path: Path, blobs: Blobs, match: str) -> None:
    path = tmp_path / "a.caffemodel"
    path.write_bytes(model({"upsample2_2": blobs}))
    refused(path, match=match)


def test_small_file_cut_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "cut.caffemodel"
    whole = model(small())
    path.write_bytes(whole)
    complete = read_caffemodel(path)
    refusals = 0
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        found = read_or_refuse(path)
        if isinstance(found, str):
            refusals += 1
            assert str(path) in found
            assert "\n" not in found
        else:  # cut between two layers: what is there is whole
            for name, blobs in found.items():
                for given_, got in zip(complete[name], blobs, strict=True):
                    np.testing.assert_array_equal(given_, got)
    # A cut is seen unless it falls between two layers behind the first one with weights.
    assert refusals >= len(whole) - 4


def test_large_file_cut_at_many_places(source: Path, tmp_path: Path) -> None:
    whole = source.read_bytes()
    path = tmp_path / "cut.caffemodel"
    places = np.random.default_rng(0).integers(0, len(whole) - 20, 6)
    path.write_bytes(whole)
    for length in sorted(map(int, places), reverse=True):
        with path.open("r+b") as file:
            file.truncate(length)
        refused(path, match="truncated|no weights for the layer")


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_bytes_never_raise_anything_else(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = model(small(), packed=data.draw(st.booleans()), legacy=data.draw(st.booleans()))
    for _ in range(data.draw(st.integers(1, 4))):
        # The first bytes of each message are where its structure is.
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.caffemodel"
    path.write_bytes(whole)
    found = read_or_refuse(path)
    assert found  # a message, or at least one layer
    if isinstance(found, dict):
        assert all(b.dtype == np.float32 and b.size for blobs in found.values() for b in blobs)


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=64))
def test_other_bytes_never_raise_anything_else(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.caffemodel"
    path.write_bytes(content)
    assert read_or_refuse(path)  # a message, or at least one layer


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "not a binary .caffemodel"),
        (b'name: "ImageSegmentation"\nlayer { name: "data" }', "not a binary .caffemodel"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "not a binary .caffemodel"),
        (b"PK\x03\x04" + bytes(30), "not a binary .caffemodel"),
        (field(1, b"a net") + layer("data", []), "no layer with weights"),
        (layer("a", [blob(np.ones(3))]) * 2, "'a' twice"),
        (layer("a", [field(7, field(1, varint(4))) + field(5, bytes(12))]), r"\(4,\) but 3 values"),
        (layer("a", [field(7, field(1, varint(0))) + field(5, b"")]), "no values"),
        (layer("a", [field(7, field(1, varint(2**64 - 1))) + field(5, bytes(4))]), "but 1 values"),
        (layer("a", [field(7, field(1, b"\x01" * 40)) + field(5, bytes(4))]), "but 1 values"),
        (layer("a", [field(5, bytes(7))]), "not whole 4-byte numbers"),
        (layer("a", [integer(5, 7)]), "number where the values"),
        (b"\xff" * 11, "more than 64 bits"),
        (field(100, field(1, b"\xff\xfe") + field(7, blob(np.ones(1)))), "not text"),
    ],
)
def test_files_that_are_no_caffe_model(tmp_path: Path, content: bytes, match: str) -> None:
    path = tmp_path / "a.caffemodel"
    path.write_bytes(content)
    refused(path, match=match)


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"cannot read .*none\.caffemodel"):
        read_caffemodel(tmp_path / "none.caffemodel")
    with pytest.raises(ReadError, match="cannot read"):
        read_caffemodel(tmp_path)


def test_output_that_exists(converted: Path, source: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_text("mine")
    with pytest.raises(OutputError, match=r"a\.safetensors exists already"):
        convert_caffemodel(source, path)
    assert path.read_text() == "mine"
    convert_caffemodel(source, path, dtype="float32", overwrite=True)
    expected = load_file(converted)
    assert all(torch.equal(value, expected[name]) for name, value in load_file(path).items())


def test_output_that_cannot_be_written(source: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"suffix is '\.pt'; expected '\.safetensors'"):
        convert_caffemodel(source, tmp_path / "a.pt")
    with pytest.raises(OutputError, match="cannot write"):
        convert_caffemodel(source, tmp_path / "none" / "a.safetensors")
    folder = tmp_path / "folder.safetensors"
    folder.mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        convert_caffemodel(source, folder, overwrite=True)
    assert list(tmp_path.iterdir()) == [folder]


def test_command(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.safetensors"
    assert main([str(source), str(path), "--dtype", "float32"]) == 0
    assert capsys.readouterr().out == f"wrote {path} (74.1 MB)\n"
    assert main([str(source), str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1


def test_command_in_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a.caffemodel"
    path.write_bytes(b"no model")
    command = [
        sys.executable,
        "-m",
        "napari_del.models.caffe",
        str(path),
        str(tmp_path / "b.safetensors"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {path} is not a binary .caffemodel file")
    assert done.stderr.count("\n") == 1
