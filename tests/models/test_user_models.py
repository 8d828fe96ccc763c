"""User models: installed whole or not at all, checked against what was installed, removed."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from platformdirs import user_data_path
from safetensors.torch import load_file, save_file

from napari_del import list_models, segment
from napari_del.errors import ModelError, OutputError, WeightsError
from napari_del.models import (
    check_model_name,
    find_model,
    install_model,
    load_network,
    models_folder,
    remove_model,
    user,
)

CPU = torch.device("cpu")
HEADER = {"architecture": "del-lite"}


@pytest.fixture
def source(lite_weights: Path, tmp_path: Path, user_models: Path) -> Path:
    """A weights file that a user has downloaded."""
    path = tmp_path / "nuclei.safetensors"
    path.write_bytes(lite_weights.read_bytes())
    return path


def user_rows() -> dict[str, bool]:
    return {info.name: info.available for info in list_models() if info.kind == "user"}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NAPARI_DEL_MODELS", str(tmp_path))
    assert models_folder() == tmp_path
    monkeypatch.setenv("NAPARI_DEL_MODELS", "~/models")
    assert models_folder() == Path.home() / "models"
    monkeypatch.setenv("NAPARI_DEL_MODELS", "")
    folder = models_folder()
    assert folder.name == "models"
    assert folder.parent == user_data_path("napari-del", appauthor=False)


def test_installed_models_are_found_by_their_name(source: Path, user_models: Path) -> None:
    info = install_model(source)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert (info.name, info.kind, info.available) == ("nuclei", "user", True)
    assert (info.architecture, info.base_model, info.sha256) == ("del-lite", "del-lite", digest)
    assert names(user_models) == {"nuclei.safetensors", "nuclei.sha256"}
    assert (user_models / "nuclei.safetensors").read_bytes() == source.read_bytes()
    # As sha256sum writes it, so that its --check reads it.
    assert (user_models / "nuclei.sha256").read_text() == f"{digest}  nuclei.safetensors\n"
    source.unlink()
    assert find_model("nuclei") == info == list_models()[-1]
    assert [i.name for i in list_models()] == ["del-lite", "del-vgg16", "mean-color", "nuclei"]
    out = segment(np.zeros((9, 9), np.uint8), model="nuclei")
    assert out.model == "nuclei"
    with pytest.raises(ModelError, match="'nucle' is not known; expected one of .*, nuclei, or"):
        find_model("nucle")


def test_models_are_listed_in_alphabetical_order(source: Path) -> None:
    for name in ("b", "C", "a"):
        install_model(source, name=name)
    assert list(user_rows()) == ["a", "b", "C"]


def test_what_the_file_says_of_itself(source: Path) -> None:
    about = {"base_model": "glands", "description": "two\nlines\x1b[31m", "licence": "CC0"}
    thresholds = {"default_thresholds": '{"average": 0.31}'}
    save_file(load_file(source), source, {**HEADER, **about, **thresholds})
    info = install_model(source)
    assert info.base_model == "glands" and info.licence == "CC0"
    assert info.description == "two lines [31m"  # nothing that a terminal obeys
    assert info.default_thresholds["average"] == 0.31
    save_file(load_file(source), source, {**HEADER, "description": "x" * 999})
    assert len(install_model(source, name="long").description) == 200


BAD_NAMES = [
    *("", ".", "..", "../up", "a/b", "a\\b", "C:a", ".hidden", "-rf"),
    *("a b", "a\n", "ü", "a.", "a.safetensors", "x" * 65),
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_of_bad_characters(source: Path, user_models: Path, name: str) -> None:
    with pytest.raises(ModelError, match="cannot be the name of a model; expected up to 64"):
        install_model(source, name=name)
    assert not user_models.exists()


@pytest.mark.parametrize("name", ["del-lite", "mean-color", "DEL-Lite", "del-vgg16"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_names_of_built_in_models(source: Path, name: str, overwrite: bool) -> None:
    with pytest.raises(ModelError, match=f"'{name}' is the name of a built-in model"):
        install_model(source, name=name, overwrite=overwrite)


def test_names_that_are_taken(source: Path, user_models: Path) -> None:
    first = install_model(source)
    tensors = load_file(source)
    tensors["head.bias"] += 1
    save_file(tensors, source, HEADER)
    for name in (None, "nuclei", "Nuclei"):
        with pytest.raises(ModelError, match="'nuclei' is installed already; .*--overwrite"):
            install_model(source, name=name)
    with pytest.raises(ModelError, match="'nuclei' is installed already"):
        install_model(source, name="Nuclei", overwrite=True)  # one file on some file systems
    assert find_model("nuclei") == first
    second = install_model(source, overwrite=True)
    assert second.sha256 != first.sha256
    torch.testing.assert_close(load_network(second, CPU).head.bias, tensors["head.bias"].float())
    assert names(user_models) == {"nuclei.safetensors", "nuclei.sha256"}


def test_check_model_name(source: Path) -> None:
    install_model(source)
    assert check_model_name("nuclei", overwrite=True) == "nuclei"
    with pytest.raises(ModelError, match="installed already"):
        check_model_name("nuclei")
    # Weights of the published network do not ship, so its name is free for them alone.
    assert check_model_name("del-vgg16", architecture="del-vgg16") == "del-vgg16"
    with pytest.raises(ModelError, match="built-in"):
        check_model_name("del-lite", architecture="del-lite")


def test_weights_of_the_published_network_take_their_place_in_the_list(
    tmp_path: Path, user_models: Path
) -> None:
    from napari_del.models.vgg16 import DelVgg16

    path = tmp_path / "del-vgg16.safetensors"
    state = {k: torch.zeros(v.shape, dtype=torch.half) for k, v in DelVgg16().state_dict().items()}
    save_file(state, path, {"architecture": "del-vgg16"})
    info = install_model(path)
    assert find_model("del-vgg16") == info == list_models()[1]
    assert len(list_models()) == 3
    remove_model("del-vgg16")
    assert not list_models()[1].available and list_models()[1].kind == "built-in"
    with pytest.raises(ModelError, match="has no weights on this machine"):
        find_model("del-vgg16")


def test_files_that_are_no_weights(source: Path, user_models: Path, tmp_path: Path) -> None:
    tensors = load_file(source)

    def refused() -> str:
        with pytest.raises(WeightsError) as caught:
            install_model(source)
        assert str(source) in str(caught.value) and "\n" not in str(caught.value)
        return str(caught.value)

    save_file({**tensors, "head.bias": torch.full((65,), torch.nan)}, source, HEADER)
    assert "NaN or infinite values in tensor head.bias" in refused()
    save_file({k: v for k, v in tensors.items() if k != "head.bias"}, source, HEADER)
    assert "tensor head.bias has shape missing" in refused()
    save_file(tensors, source, {"architecture": "sam"})
    assert "names the architecture 'sam'" in refused()
    torch.save(tensors, source)
    assert "is a PyTorch pickle" in refused()
    source.write_bytes(b"text")
    assert "damaged or not in safetensors format" in refused()
    source.unlink()
    assert "cannot be read: No such file" in refused()
    source.mkdir()
    assert "cannot be read" in refused()
    assert not user_models.exists() and user_rows() == {}


def test_damaged_files_are_listed_as_unavailable(source: Path, user_models: Path) -> None:
    good, bad = install_model(source), install_model(source, name="bad")
    cut = install_model(source, name="cut")
    data = bytearray(bad.path.read_bytes())
    data[-1] ^= 1  # one bit of a weight, which no other check would notice
    bad.path.write_bytes(data)
    cut.path.write_bytes(data[:5000])
    (user_models / "a b.safetensors").write_bytes(b"")
    (user_models / "copied.safetensors").write_bytes(source.read_bytes())
    (user_models / "folder.safetensors").mkdir()
    (user_models / "no-record.sha256").write_bytes(b"\xff")
    (user_models / "readme.txt").write_text("mine")
    rows = {"a b": False, "bad": False, "copied": False, "cut": False, "folder": False}
    assert user_rows() == {**rows, "nuclei": True}
    listed = {info.name: info for info in list_models()}
    assert f"expected {bad.sha256}, as it was installed" in listed["bad"].description
    assert "damaged or not in safetensors" in listed["cut"].description
    assert "no record of its SHA-256" in listed["copied"].description
    for name in rows:
        assert "\n" not in listed[name].description and listed[name].path is None
        with pytest.raises(WeightsError) as caught:
            find_model(name)
        assert str(caught.value) == listed[name].description
    assert find_model("nuclei") == good
    # The way out that the message names.
    install_model(user_models / "copied.safetensors", overwrite=True)
    assert find_model("copied").available


def test_a_file_that_changes_after_it_was_found(source: Path) -> None:
    info = install_model(source)
    tensors = load_file(source)
    tensors["head.bias"] += 1
    save_file(tensors, info.path, HEADER)
    with pytest.raises(WeightsError, match="install the model again"):
        load_network(info, CPU)
    info.path.unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        load_network(info, CPU)


def test_removing_is_explicit(source: Path, user_models: Path) -> None:
    install_model(source)
    kept = install_model(source, name="kept")
    assert remove_model("nuclei") == user_models / "nuclei.safetensors"
    assert names(user_models) == {"kept.safetensors", "kept.sha256"}
    with pytest.raises(ModelError, match="no user model is named 'kep'; did you mean 'kept'"):
        remove_model("kep")
    with pytest.raises(ModelError, match="'del-lite' is a built-in model"):
        remove_model("del-lite")
    kept.path.write_bytes(b"")  # damaged ones go as well
    remove_model("kept")
    assert names(user_models) == set()
    with pytest.raises(ModelError, match="installed: none"):
        remove_model("../nuclei")
    assert source.exists()


def test_a_full_disk_leaves_what_was_there(
    source: Path, user_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = install_model(source)
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.parent == user_models:
            write(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="nuclei.safetensors cannot be written: No space left"):
        install_model(source, overwrite=True)
    with pytest.raises(OutputError, match="No space left"):
        install_model(source, name="other")
    assert names(user_models) == {"nuclei.safetensors", "nuclei.sha256"}
    assert find_model("nuclei") == first


def test_a_folder_that_cannot_be_made(source: Path, user_models: Path) -> None:
    user_models.write_text("a file in its place")
    assert user_rows() == {}
    with pytest.raises(OutputError, match="cannot be made: .*NAPARI_DEL_MODELS"):
        install_model(source)


def test_listing_reads_each_file_once(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = install_model(source)
    reads = []
    real = user.read_bytes
    monkeypatch.setattr(user, "read_bytes", lambda path: reads.append(path) or real(path))
    list_models()
    assert reads == []
    os.utime(info.path, ns=(1, 1))
    list_models()
    list_models()
    assert reads == [info.path]
