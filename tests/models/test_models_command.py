"""``napari-del models``: the list fits a terminal; installing and removing say what they did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import napari_del
from napari_del.cli import main

Command = Callable[..., list[str]]


@pytest.fixture
def models(capsys: pytest.CaptureFixture[str], user_models: Path) -> Command:
    """Run `napari-del models` with these arguments; its lines, or the one of an error."""

    def run(*arguments: str, code: int = 0) -> list[str]:
        assert main(["models", *arguments]) == code
        out, err = capsys.readouterr()
        if code:
            assert out == "" and err.startswith("napari-del: error: ") and err.count("\n") == 1
            return [err]
        assert err == ""
        return out.splitlines()

    return run


def test_models_are_listed(
    models: Command, lite_weights: Path, user_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    models("install", str(lite_weights), "--name", "nuclei")
    (user_models / "broken.safetensors").write_bytes(b"text")
    lines = models()
    assert lines == models("list")
    assert max(map(len, lines)) < 80 + len(str(user_models))  # a path is never broken
    assert max(len(line) for line in lines if str(user_models) not in line) < 80
    assert lines[0].split() == ["name", "kind", "available", "embedding", "base"]
    rows = [line.split() for line in lines[1:] if line and line[0] != " " and ":" not in line]
    known = napari_del.list_models()
    assert [row[0] for row in rows] == [model.name for model in known]
    for row, model in zip(rows, known, strict=True):
        assert row[1:3] == [model.kind, "yes" if model.available else "no"]
    assert rows[-1] == ["nuclei", "user", "yes", "64", "del-lite"]
    text = " ".join(" ".join(lines).split())
    for model in known:
        assert model.description in text
        assert not model.available or model.sha256 is None or f"SHA-256: {model.sha256}" in text
    assert lines[-1] == f"folder of user models: {user_models}"


def test_install_and_remove(
    models: Command, lite_weights: Path, user_models: Path, two_tone: object
) -> None:
    lines = models("install", str(lite_weights))
    model = napari_del.list_models()[-1]
    assert lines[0] == f"installed lite ({user_models / 'lite.safetensors'})"
    assert lines[1] == f"SHA-256 {model.sha256}"
    assert lines[2].endswith("--model lite")
    assert "installed already" in models("install", str(lite_weights), code=2)[0]
    models("install", str(lite_weights), "--overwrite")
    assert napari_del.segment(two_tone, model="lite").n_superpixels > 1
    assert models("remove", "lite") == [f"removed lite ({user_models / 'lite.safetensors'})"]
    assert "no user model is named 'lite'" in models("remove", "lite", code=2)[0]


def test_errors_are_one_line(models: Command, tmp_path: Path) -> None:
    text = tmp_path / "text.safetensors"
    text.write_text("this is no weights file")
    assert str(text) in models("install", str(text), code=2)[0]
    assert "No such file" in models("install", str(tmp_path / "none"), code=2)[0]
    assert "FILE" in models("install", code=2)[0]
    assert "invalid choice" in models("rm", code=2)[0]
