"""The command line: what it writes, what it says, and that it leaves nothing half-done."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

import napari_del
from napari_del import _cli_demo, _cli_progress, _cli_segment, merging, sample_data
from napari_del.cli import main
from napari_del.io import read_image

FAST = ("--model", "mean-color")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_tone: np.ndarray) -> Path:
    """A working directory that holds an image and a file that is none."""
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("image.tif", two_tone, photometric="rgb")
    Path("text.tif").write_text("this is no TIFF")
    return tmp_path


def assert_match(pattern: str, line: str) -> None:
    assert re.search(pattern, line), line


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that has to succeed without a word on standard error; return its output."""

    def run(*arguments: str) -> str:
        code = main(arguments)
        out, err = capsys.readouterr()
        assert (code, err) == (0, "")
        return out

    return run


@pytest.fixture
def fail(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that has to fail with one line and leave no file; return the line."""

    def fail(*arguments: str) -> str:
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        code = main(arguments)
        assert code == 2
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("napari-del: error: ")
        return lines[0]

    return fail


# ---------------------------------------------------------------------- what it does


def test_segment_writes_what_the_library_computes(run, two_tone: np.ndarray) -> None:
    out = run("segment", "image.tif", "labels.tif", "--threshold", "0.3", *FAST)
    expected = napari_del.segment(two_tone, model="mean-color").labels(0.3)
    np.testing.assert_array_equal(tifffile.imread("labels.tif"), expected)
    lines = out.splitlines()
    stages = ["load", "read", "normalise", "superpixels", "embedding", "graph", "merge", "write"]
    assert [line.split()[0] for line in lines if line.endswith(" s")] == stages
    assert f"{expected.max()} regions" in lines[-1]


def test_default_threshold_is_the_models(run, two_tone: np.ndarray) -> None:
    run("segment", "image.tif", "labels.tif", "--linkage", "del", *FAST)
    result = napari_del.segment(two_tone, model="mean-color")
    np.testing.assert_array_equal(tifffile.imread("labels.tif"), result.labels(linkage="del"))


def test_number_of_regions(run) -> None:
    run("segment", "image.tif", "labels.tif", "--regions", "2", "--step", "6", *FAST)
    assert tifffile.imread("labels.tif").max() == 2


def test_min_size_and_options_reach_the_library(run, two_tone: np.ndarray) -> None:
    options = ("--step", "5", "--compactness", "3", "--channels", "2,0", "--min-size", "60")
    run(
        "segment",
        "image.tif",
        "labels.tif",
        "--threshold",
        "0.05",
        "--device",
        "cpu",
        *options,
        *FAST,
    )
    result = napari_del.segment(
        two_tone, model="mean-color", step=5, compactness=3.0, channels=[2, 0]
    )
    labels = tifffile.imread("labels.tif")
    np.testing.assert_array_equal(labels, result.labels(0.05, min_size=60))
    assert np.bincount(labels.ravel())[1:].min() >= 60


def test_scale_reaches_the_network(run, two_tone: np.ndarray) -> None:
    run("segment", "image.tif", "labels.tif", "--scale", "2", "--step", "5", "--device", "cpu")
    result = napari_del.segment(two_tone, scale=2.0, step=5, device="cpu")
    np.testing.assert_array_equal(tifffile.imread("labels.tif"), result.labels())
    assert result.parameters["scale"] == 2.0


def test_diameter_chooses_step_and_scale(run, two_tone: np.ndarray) -> None:
    options = ("--diameter", "17", "--device", "cpu")
    told = run("segment", "image.tif", "labels.tif", *options)
    suited = napari_del.settings_for(17)
    result = napari_del.segment(two_tone, **suited, device="cpu")
    np.testing.assert_array_equal(tifffile.imread("labels.tif"), result.labels())
    assert f"step {suited['step']}, scale {suited['scale']:g}" in told
    # What is given counts.
    given = ("--step", "9", "--scale", "1", "--overwrite")
    run("segment", "image.tif", "labels.tif", *options, *given)
    result = napari_del.segment(two_tone, step=9, device="cpu")
    np.testing.assert_array_equal(tifffile.imread("labels.tif"), result.labels())
    # Without a network nobody looks at an enlarged image.
    run("segment", "image.tif", "labels.tif", "--diameter", "17", "--overwrite", *FAST)
    result = napari_del.segment(two_tone, step=suited["step"], model="mean-color")
    np.testing.assert_array_equal(tifffile.imread("labels.tif"), result.labels())


def test_precision_reaches_the_network(run, two_tone: np.ndarray) -> None:
    options = ("--precision", "bfloat16", "--device", "cpu", "--save-segmentation", "result.zarr")
    run("segment", "image.tif", "labels.tif", *options)
    result = napari_del.segment(two_tone, precision="bfloat16", device="cpu")
    np.testing.assert_array_equal(napari_del.load("result.zarr").boundary, result.boundary)


def test_overlay_and_saved_segmentation(run, two_tone: np.ndarray) -> None:
    run(
        *("segment", "image.tif", "labels.tif", "--threshold", "0.2", "--overlay", "overlay.png"),
        *("--save-segmentation", "result.zarr", *FAST),
    )
    assert np.asarray(Image.open("overlay.png")).shape == two_tone.shape
    loaded = napari_del.load("result.zarr")
    np.testing.assert_array_equal(loaded.labels(0.2), tifffile.imread("labels.tif"))


def test_mask_alpha_and_nodata_are_left_out(run, two_tone: np.ndarray) -> None:
    inside = np.ones((48, 64), bool)
    inside[:, :10] = False
    alpha = np.dstack([two_tone, np.where(np.arange(64) < 50, 255, 0) + 0 * inside]).astype(
        np.uint8
    )
    alpha[40:, :, :3] = 0
    tifffile.imwrite("alpha.tif", alpha, photometric="rgb", extrasamples=["unassalpha"])
    Image.fromarray(inside).save("mask.png")
    out = run("segment", "alpha.tif", "labels.tif", "--mask", "mask.png", "--nodata", "0", *FAST)
    inside[:, 50:] = False
    inside[40:] = False
    np.testing.assert_array_equal(tifffile.imread("labels.tif") > 0, inside)
    assert f"{100 * (1 - inside.mean()):.1f} % left out" in out


def test_geography_is_kept(run, two_tone: np.ndarray) -> None:
    tags = [
        (33550, 12, 3, (2.0, 2.0, 0.0), True),
        (33922, 12, 6, (0.0, 0.0, 0.0, 5e5, 4e6, 0.0), True),
    ]
    tifffile.imwrite("map.tif", two_tone, photometric="rgb", metadata=None, extratags=tags)
    run("segment", "map.tif", "labels.tif", *FAST)
    assert read_image("labels.tif").metadata == read_image("map.tif").metadata


def test_plane_of_a_stack(run, two_tone: np.ndarray) -> None:
    stack = np.stack([np.zeros_like(two_tone[..., 0]), two_tone[..., 0]])
    tifffile.imwrite("stack.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    run("segment", "stack.tif", "labels.tif", "--select", "Z=1", *FAST)
    expected = napari_del.segment(two_tone[..., 0], model="mean-color").labels()
    np.testing.assert_array_equal(tifffile.imread("labels.tif"), expected)


@pytest.mark.parametrize("shape", [(1, 1), (7, 500), (3, 1, 3)])
def test_tiny_images(run, shape: tuple[int, ...]) -> None:
    Image.fromarray(np.full(shape, 9, np.uint8)).save("tiny.png")
    run("segment", "tiny.png", "labels.tif", "--overlay", "overlay.png", *FAST)
    np.testing.assert_array_equal(tifffile.imread("labels.tif"), np.ones(shape[:2]))


def test_overwrite(run, folder: Path) -> None:
    outputs = ("labels.tif", "--overlay", "overlay.png", "--save-segmentation", "result.zarr")
    run("segment", "image.tif", *outputs, "--threshold", "0", *FAST)
    first, found = tifffile.imread("labels.tif"), names(folder)
    run("segment", "image.tif", *outputs, "--threshold", "1", "--overwrite", *FAST)
    assert tifffile.imread("labels.tif").max() < first.max()
    assert names(folder) == found


def test_quiet(run) -> None:
    assert run("segment", "image.tif", "labels.tif", "--quiet", *FAST) == ""


def test_missing_values_are_told_in_one_line(folder: Path, capsys) -> None:
    data = np.linspace(0, 1, 2400, dtype=np.float32).reshape(40, 60)
    data[:8] = np.nan
    data[0, 0] = np.inf
    tifffile.imwrite("nan.tif", data)
    code = main(["segment", "nan.tif", "labels.tif", "--overlay", "overlay.png", *FAST])
    lines = capsys.readouterr().err.splitlines()
    assert code == 0
    assert len(lines) == 1
    assert lines[0].startswith("napari-del: warning: 480 of 2400 pixels are NaN or infinite")
    np.testing.assert_array_equal(tifffile.imread("labels.tif") == 0, ~np.isfinite(data))


def test_demo(run, folder: Path) -> None:
    out = run("demo", *FAST)
    assert names(folder / "napari-del-demo") == {"labels.tif", "overlay.png"}
    labels = tifffile.imread("napari-del-demo/labels.tif")
    assert labels.shape == (400, 600)
    assert labels.min() == 1
    for word in ("coffee", "mean-color", "superpixels", "all stages", "napari-del segment"):
        assert word in out


def test_names_that_are_spelt_out_for_quick_help() -> None:
    assert _cli_segment.LINKAGES == merging.LINKAGES
    for picture in _cli_demo.PICTURES:
        assert callable(getattr(sample_data, picture))


# ---------------------------------------------------------------------- bad input

SEGMENT = ("segment", "image.tif", "labels.tif", *FAST)


# The image is no image here, so an error about anything else came before it was read.
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("labels.jpg",), "labels.jpg has suffix '.jpg'; expected .tif or .tiff"),
        (("missing/labels.tif",), "missing is not a directory"),
        (("image.tif",), "image.tif exists already.*--overwrite"),
        (("text.tif", "--overwrite"), "text.tif is an input"),
        (("labels.tif", "--overlay", "o.jpg"), "o.jpg has suffix '.jpg'; expected .png"),
        (("labels.tif", "--save-segmentation", "s.npz"), "s.npz has suffix"),
        (("labels.tif", "--threshold", "1.5"), r"threshold is 1.5; expected .* 0 to 1"),
        (("labels.tif", "--threshold", "nan"), r"threshold is nan"),
        (("labels.tif", "--threshold", "-0.1"), r"threshold is -0.1"),
        (("labels.tif", "--regions", "0"), "regions is 0"),
        (("labels.tif", "--regions", "5", "--linkage", "egb"), "linkage egb"),
        (("labels.tif", "--regions", "5", "--threshold", "0.5"), "not allowed with"),
        (("labels.tif", "--step", "3"), "step is 3; expected .* 4 to 256"),
        (("labels.tif", "--step", "257"), "step is 257"),
        (("labels.tif", "--diameter", "0"), "diameter is 0.0; expected .* in pixels, above 0"),
        (("labels.tif", "--diameter", "nan"), "diameter is nan"),
        (("labels.tif", "--scale", "3"), "scale is 3.0; expected 1, because mean-color has no"),
        (("labels.tif", "--step", "x"), "--step: invalid int value: 'x'"),
        (("labels.tif", "--compactness", "0"), "compactness is 0"),
        (("labels.tif", "--min-size", "-1"), "min-size is -1"),
        (("labels.tif", "--linkage", "ward"), "--linkage: invalid choice: 'ward'"),
        (("labels.tif", "--channels", "0,x"), "'0,x' is no list of channels"),
        (("labels.tif", "--select", "Z"), "'Z' selects no plane"),
        (("labels.tif", "--mask", "none.png"), "none.png does not exist"),
        (("labels.tif", "--model", "sam"), "sam.*del-lite"),
        (("labels.tif", "--model", "none.safetensors"), "none.safetensors"),
        (("labels.tif",), "text.tif cannot be read: not a TIFF"),
    ],
)
def test_errors_before_anything_is_read(fail, arguments: tuple[str, ...], message: str) -> None:
    if "--model" not in arguments:
        arguments = (*arguments, *FAST)
    assert_match(message, fail("segment", "text.tif", *arguments))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--channels", "0,3"), "channel 3"),
        (("--channels", "-1"), "expected one argument|channel -1"),
        (("--mask", "small.png"), r"mask has shape \(4, 5\)"),
        (("--series", "1"), "no series 1"),
        (("--select", "Z=0"), "axis Z"),
        (("--device", "abacus"), "abacus"),
    ],
)
def test_errors_of_the_image(fail, options: tuple[str, ...], message: str) -> None:
    Image.fromarray(np.zeros((4, 5), np.uint8)).save("small.png")
    assert_match(message, fail(*SEGMENT, *options))


def test_no_cuda(fail) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    assert_match("cuda", fail(*SEGMENT, "--device", "cuda"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.full((20, 30), np.nan, np.float32), "finite"),
        (np.zeros((20, 30), np.complex64), "complex64"),
        (np.zeros((4, 20, 30, 3), np.uint8), "is a stack with axes"),
    ],
)
def test_images_that_cannot_be_segmented(fail, data: np.ndarray, message: str) -> None:
    tifffile.imwrite("bad.tif", data)
    assert_match(message, fail("segment", "bad.tif", "labels.tif", *FAST))


@pytest.mark.parametrize("part", [0.02, 0.5, 0.95])
def test_truncated_image(fail, folder: Path, part: float) -> None:
    tifffile.imwrite("cut.tif", np.arange(60000, dtype=np.uint16).reshape(200, 300))
    content = Path("cut.tif").read_bytes()
    Path("cut.tif").write_bytes(content[: int(len(content) * part)])
    assert_match("cut.tif", fail("segment", "cut.tif", "labels.tif", *FAST))


@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95 a pickle", b"\x08" + bytes(500)])
def test_weights_that_are_none(fail, content: bytes) -> None:
    Path("weights.safetensors").write_bytes(content)
    line = fail("segment", "image.tif", "labels.tif", "--model", "weights.safetensors")
    assert "weights.safetensors" in line


def test_demo_does_not_replace_files_or_leave_an_empty_folder(fail, run, folder: Path) -> None:
    assert_match("sam", fail("demo", "--output", "demo", "--model", "sam"))
    assert_match("step is 3", fail("demo", "--output", "demo", "--step", "3"))
    assert_match("is a file", fail("demo", "--output", "image.tif", *FAST))
    assert_match("missing/demo cannot be made", fail("demo", "--output", "missing/demo", *FAST))
    run("demo", "--output", "demo", "--picture", "chelsea", *FAST)
    assert_match("exists already.*--overwrite", fail("demo", "--output", "demo", *FAST))


def test_no_command(fail) -> None:
    assert_match("COMMAND", fail())


@pytest.mark.parametrize("done", [0, 1])
@pytest.mark.parametrize(
    "stage", ["load", "read", "normalise", "superpixels", "embedding", "graph", "merge", "write"]
)
def test_ctrl_c_in_every_stage(
    folder: Path, capsys, monkeypatch: pytest.MonkeyPatch, stage: str, done: int
) -> None:
    class Impatient(_cli_progress.Reporter):
        def __call__(self, name: str, count: int, total: int) -> None:
            if name == stage and count >= done and not (name == "write" and count):
                raise KeyboardInterrupt
            super().__call__(name, count, total)

    monkeypatch.setattr(_cli_segment, "Reporter", Impatient)
    before = names(folder)
    code = main([*SEGMENT, "--overlay", "overlay.png"])
    if stage == "write" and done:
        assert code == 0  # too late: all is written
        return
    assert code == 130
    assert capsys.readouterr().err == "napari-del: error: interrupted\n"
    assert names(folder) == before


# ---------------------------------------------------------------------- as a process


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "napari_del.cli", *arguments]


def environment() -> dict[str, str]:
    root = str(Path(napari_del.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": root, "COLUMNS": "100"}


def test_help_is_quick_to_import() -> None:
    code = (
        "import sys; from napari_del.cli import main\n"
        "for words in (['--version'], ['--help'], ['segment', '--help'], ['demo', '--help']):\n"
        "    assert main(words) == 0\n"
        "slow = {'torch', 'numba', 'napari', 'qtpy', 'skimage', 'scipy', 'numpy'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment()
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"napari-del {napari_del.__version__}\n")
    assert "examples:" in done.stdout


def test_process(folder: Path) -> None:
    done = subprocess.run(
        command("segment", "image.tif", "labels.tif", "--regions", "2", *FAST),
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 regions" in done.stdout
    assert tifffile.imread("labels.tif").max() == 2
    done = subprocess.run(
        command("segment", "image.tif", "labels.tif", *FAST),
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert_match("^napari-del: error: labels.tif exists already.*\n$", done.stderr)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_of_a_process(folder: Path) -> None:
    # So large that it is not done before the signal comes, on a busy machine too.
    rng = np.random.default_rng(0)
    tifffile.imwrite("large.tif", rng.integers(0, 255, (4000, 4000, 3), np.uint8))
    before = names(folder)
    # Where the tests run in the background they ignore the signal, and so would the process.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            command("segment", "large.tif", "labels.tif", *FAST),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
    finally:
        signal.signal(signal.SIGINT, handler)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("load")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (130, "napari-del: error: interrupted\n")
    assert names(folder) == before


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_bar_on_a_terminal(folder: Path) -> None:
    import pty

    terminal, end = pty.openpty()
    process = subprocess.Popen(
        command("segment", "image.tif", "labels.tif", *FAST),
        stdout=subprocess.PIPE,
        stderr=end,
        text=True,
        env=environment(),
    )
    out, _ = process.communicate(timeout=120)
    os.close(end)
    shown = b""
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(terminal)
    assert process.returncode == 0
    assert b"embedding    [...." in shown
    assert shown.endswith(b"\r\x1b[K")
    assert "embedding" in out
    assert "\x1b" not in out


@pytest.mark.slow
def test_mosaic(shared_data: Path, run) -> None:
    path = shared_data / "large" / "landsat8_mosaic_rgb_uint16.tif"
    run("segment", str(path), "labels.tif", "--nodata", "0", "--regions", "2000", *FAST)
    image = read_image(path, nodata=0)
    np.testing.assert_array_equal(tifffile.imread("labels.tif") > 0, image.mask)
    assert read_image("labels.tif").metadata == image.metadata
