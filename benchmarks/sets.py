"""napari-del beside classical segmenters on every data set, each at its best setting per set.

    python -m benchmarks.sets [--methods NAME ...] [--sets NAME ...] [--part held-out|training]
                              [--fold N] [--model M ...] [--linkage L ...] [--scale X ...]
                              [--step S] [--by-diameter] [--limit N] [--again] --json FILE

What the figures mean is in docs/figures/README.md. Figures are kept in FILE: what it holds already
is not computed again, so classical methods run once and later runs add models.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._output import DEFAULT_DATA, print_table, write_json
from benchmarks._set_scores import (
    MEASURES,
    Counts,
    SetScores,
    best_unions,
    majorities,
    overlaps_of,
)
from benchmarks.classics import CLASSICS, Setting
from napari_del import merging, segment, settings_for
from napari_del.evaluation.datasets import (
    FOLDS,
    SETS,
    AnnotatedImage,
    held_out,
    load_set,
    set_names,
)
from napari_del.evaluation.evaluate import thresholds_for
from napari_del.models import find_model
from napari_del.normalise import normalise
from napari_del.segmentation import Segmentation

METHODS = (*CLASSICS, "napari-del")
ORACLES = {
    "oracle, most pixels": majorities,
    "oracle, best union": best_unions,
}
ALL_SETS = ("bsds500", *SETS)
# As many as a measure's best value needs not to hang on how they are spaced, even in a set that is
# one image; of those that are best for no measure, every fourth is kept.
THRESHOLDS, KEPT = 240, 4
# Images of a set where all of them would take the classical methods long.
LIMITS = {"bsds500": 50}
Figures = dict[str, Any]


def read_part(
    data: Path, name: str, part: str, limit: int | None, fold: int = FOLDS - 1
) -> list[AnnotatedImage]:
    """Images of one part of a set; those of BSDS500 come with the parts they have."""
    limit = LIMITS.get(name) if limit is None else limit
    if name == "bsds500":
        folder = data / name / ("val" if part == "held-out" else "train")
        return list(load_set(folder, limit=limit))
    names = set_names(data / name)
    inside = held_out(names, name, fold) == (part == "held-out")
    names = [image for image, keep in zip(names, inside.tolist(), strict=True) if keep]
    return list(load_set(data / name, names=names, limit=limit))


def object_diameters(image: AnnotatedImage) -> NDArray[np.float64]:
    """Diameters of discs as large as each labelled object, in pixels."""
    if image.objects is None:
        return np.zeros(0)
    sizes = np.bincount(image.objects.ravel())[1:]
    diameters: NDArray[np.float64] = 2 * np.sqrt(sizes[sizes > 0] / np.pi)
    return diameters


def progress(images: Sequence[AnnotatedImage], title: str) -> Iterator[AnnotatedImage]:
    for done, image in enumerate(images, start=1):
        yield image
        print(f"\r{title}: {done} of {len(images)} images", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def run_classic(
    name: str, images: Sequence[AnnotatedImage], title: str, known: Figures | None, every: int = 1
) -> Figures:
    """Figures at every so many settings; those that `known` holds are taken from there."""
    method = CLASSICS[name]
    earlier: list[Setting] = known["settings"] if known else []
    missing = [setting for setting in method.settings[::every] if setting not in earlier]
    figures = {key: list(value) for key, value in known.items()} if known else {}
    if not missing:
        return figures
    scores = SetScores(len(missing))
    for image in progress(images, title):
        # As a network sees it: grey images stretched by the same rule.
        rgb = normalise(image.image).display
        counts = (Counts(labels, image) for labels in method.segment(rgb, missing))
        scores.add((*overlaps_of(count.tables()), count.n) for count in counts)
    added: dict[str, list[Any]] = {"settings": missing, **scores.to_json()}
    return {key: [*figures.get(key, []), *values] for key, values in added.items()}


def run_napari_del(
    images: Sequence[AnnotatedImage],
    title: str,
    model: str,
    linkages: Sequence[str],
    step: int,
    scale: float,
    device: str,
    oracle: bool,
    n_thresholds: int = THRESHOLDS,
) -> dict[str, Figures]:
    """Figures at all thresholds, for each linkage, and what any merging is bound by."""
    segmentations, counted = [], []
    bounds = {name: SetScores(1) for name in ORACLES if oracle}
    for image in progress(images, title):
        segmentations.append(
            segment(image.image, model=model, step=step, scale=scale, device=device)
        )
        counted.append(Counts(segmentations[-1].superpixels, image))
        for name, scores in bounds.items():
            scores.add([(*_oracle(counted[-1], ORACLES[name]), counted[-1].n)])
    result = {name: {"settings": [{}], **scores.to_json()} for name, scores in bounds.items()}
    for linkage in linkages:
        result[linkage] = thinned(scores_of(segmentations, counted, linkage, n_thresholds))
    return result


def scores_of(
    segmentations: Sequence[Segmentation],
    counted: Sequence[Counts],
    linkage: str,
    n_thresholds: int = THRESHOLDS,
) -> Figures:
    """Figures of segmentations at all thresholds."""
    thresholds = thresholds_for(segmentations, linkage, n_thresholds).tolist()
    scores = SetScores(len(thresholds))
    for segmentation, count in zip(segmentations, counted, strict=True):
        merged = [segmentation.regions(t, linkage) for t in thresholds]
        scores.add((*overlaps_of(count.tables(rows)), np.unique(rows).size) for rows in merged)
    return {"settings": [{"threshold": round(t, 5)} for t in thresholds], **scores.to_json()}


def thinned(figures: Figures) -> Figures:
    """Figures at every fourth setting, and at the one that is best for each measure."""
    count = len(figures["settings"])
    kept = set(range(0, count, KEPT))
    kept |= {int(np.argmax(figures[measure])) for measure in MEASURES if measure in figures}
    return {key: [values[index] for index in sorted(kept)] for key, values in figures.items()}


def _oracle(counts: Counts, bound: Callable[..., Any]) -> tuple[Any, Any]:
    pairs = [None if t is None else (bound(t), t.truth_sizes) for t in counts.tables()]
    return pairs[0], pairs[1]


def column(model: str, linkage: str, scale: float = 1, step: int = 8) -> str:
    title = f"{Path(model).stem}, {linkage}"
    return title if (scale, step) == (1, 8) else f"{title}, scale {scale:g}, step {step}"


def best(figures: Figures, measure: str) -> tuple[float, str]:
    """The best value of a measure, and the setting it has it at."""
    index = int(np.argmax(figures[measure]))
    setting: Setting = figures["settings"][index]
    return figures[measure][index], " ".join(f"{key} {value:g}" for key, value in setting.items())


def rows_of(results: Mapping[str, Figures], measures: Sequence[str]) -> list[dict[str, str]]:
    """One row for each set and measure, one column for each method; * marks the best."""
    present = dict.fromkeys(name for of_set in results.values() for name in of_set["methods"])
    first = [name for name in (*CLASSICS, *ORACLES) if name in present]
    columns = [*first, *(name for name in present if name not in first)]
    rows = []
    for name, of_set in results.items():
        for measure in measures:
            found = {
                column: best(figures, measure)
                for column, figures in of_set["methods"].items()
                if measure in figures
            }
            if not found:
                continue
            rivals = [value for column, (value, _) in found.items() if column not in ORACLES]
            top = max(rivals, default=2.0)
            row = {"set": name, "images": str(of_set["images"]), "measure": measure}
            for title in columns:
                value, setting = found.get(title, (-1.0, ""))
                mark = "*" if value == top and title not in ORACLES else " "
                row[title] = f"{value:.3f}{mark} {setting}".rstrip() if title in found else "-"
            rows.append(row)
    return rows


class Kept:
    """Figures in a JSON file, written whenever some are added."""

    def __init__(self, path: Path | None, part: str) -> None:
        self._path = path
        self._part = part
        self.sets = self._read()

    def _read(self) -> dict[str, Figures]:
        if self._path is None or not self._path.exists():
            return {}
        content = json.loads(self._path.read_text())
        if content["part"] != self._part:
            raise SystemExit(
                f"{self._path} holds figures of part {content['part']!r}, not {self._part!r}"
            )
        sets: dict[str, Figures] = content["sets"]
        return sets

    def open_set(self, name: str, images: Sequence[AnnotatedImage]) -> dict[str, Figures]:
        """Figures of the methods on a set."""
        names = "\n".join(image.name for image in images)
        about = {
            "images": len(images),
            "objects": sum(int(i.objects.max()) for i in images if i.objects is not None),
            "names_sha256": hashlib.sha256(names.encode()).hexdigest(),
        }
        of_set = self.sets.setdefault(name, {**about, "methods": {}})
        if any(of_set[key] != value for key, value in about.items()):
            raise SystemExit(
                f"{self._path} holds figures of {of_set['images']} images of {name}, which are not "
                f"these {len(images)}; expected another --json FILE or the same --limit"
            )
        methods: dict[str, Figures] = of_set["methods"]
        return methods

    def add(self, name: str, figures: Mapping[str, Figures]) -> None:
        """Add methods to a set that was opened, and to what the file holds by now."""
        self.sets[name]["methods"].update(figures)
        if self._path is not None:
            # Another run may have added other methods since: a slow one of the classics, say.
            sets = self._read()
            of_set = sets.setdefault(name, {**self.sets[name], "methods": {}})
            of_set["methods"].update(figures)
            write_json(self._path, {"part": self._part, "sets": sets})


def lacking_of(
    model: str,
    name: str,
    images: Sequence[AnnotatedImage],
    known: Mapping[str, Figures],
    scale: float,
    step: int,
    args: argparse.Namespace,
) -> dict[str, Figures]:
    """Figures of a model and of the bounds, apart from those that are known."""
    of_step = {"step": step}
    of_model = {**of_step, "scale": scale, "weights_sha256": find_model(model).sha256}

    def lacks(title: str, about: Mapping[str, Any]) -> bool:
        figures = known.get(title)
        return figures is None or any(figures.get(key) != about[key] for key in about)

    titles = {linkage: column(model, linkage, scale, step) for linkage in args.linkage}
    wanted = [linkage for linkage, title in titles.items() if lacks(title, of_model)]
    oracle = args.oracle and any(lacks(title, of_step) for title in ORACLES)
    if not wanted and not oracle:
        return {}
    title = f"{name}, {Path(model).stem}"
    found = run_napari_del(images, title, model, wanted, step, scale, args.device, oracle)
    return {
        titles.get(key, key): {
            **(of_step if key in ORACLES else of_model),
            **figures,
        }
        for key, figures in found.items()
    }


def _look(diameter: float) -> tuple[float, int]:
    """Scale and step that suit a diameter."""
    suited = settings_for(diameter)
    return suited["scale"], suited["step"]


def diameter_rows(
    results: Mapping[str, Figures],
    diameters: Mapping[str, float],
    measures: Sequence[str],
    args: argparse.Namespace,
) -> list[dict[str, str]]:
    """One row for each set and measure: del-lite at what suits the diameter, and the best rival."""
    rows = []
    for name, measure in product(diameters, measures):
        methods = results[name]["methods"]
        scale, step = _look(diameters[name])
        row = {"set": name, "diameter": f"{diameters[name]:.1f}"}
        row |= {"scale": f"{scale:g}", "step": str(step), "measure": measure}
        for model, linkage in product(args.model, args.linkage):
            found = methods[column(model, linkage, scale, step)]
            row[f"{Path(model).stem}, {linkage}"] = f"{best(found, measure)[0]:.3f}"
        rivals = {key: best(methods[key], measure)[0] for key in CLASSICS if key in methods}
        if rivals:
            first = max(rivals, key=lambda key: rivals[key])
            row["best classical"] = f"{rivals[first]:.3f} {first}"
        rows.append(row)
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sets")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--sets", nargs="+", choices=ALL_SETS, default=ALL_SETS)
    parser.add_argument("--part", choices=("held-out", "training"), default="held-out")
    parser.add_argument(
        "--fold",
        type=int,
        choices=range(FOLDS),
        default=FOLDS - 1,
        help="which of every five images of a set is held out, for a model of that training",
    )
    parser.add_argument("--model", nargs="+", default=["del-lite"], help="names or weights files")
    parser.add_argument("--linkage", nargs="+", choices=merging.LINKAGES, default=["average"])
    parser.add_argument("--oracle", action="store_true", help="bounds of merging the superpixels")
    parser.add_argument("--scale", type=float, nargs="+", default=[1.0])
    parser.add_argument("--step", type=int, default=8)
    parser.add_argument(
        "--by-diameter",
        action="store_true",
        help="scale and step that suit the median diameter of the objects in the training images",
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--limit", type=int, help="images of each set, evenly spaced (default: all, of bsds500 50)"
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="each Nth setting: a coarse sweep"
    )
    parser.add_argument("--by-image", action="store_true", help="also means over images")
    parser.add_argument("--again", action="store_true", help="compute what FILE holds already")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE", help="read and added to")
    args = parser.parse_args(argv)

    kept = Kept(args.json, args.part)
    diameters: dict[str, float] = {}
    for name in args.sets:
        looks = [(scale, args.step) for scale in args.scale]
        if args.by_diameter:
            training = read_part(args.data, name, "training", None, args.fold)
            found = np.concatenate([object_diameters(image) for image in training])
            if not found.size:  # natural images have regions, and no objects
                raise SystemExit(f"{name} has no labelled objects; expected sets that have, --sets")
            diameters[name] = float(np.median(found))
            looks = [_look(diameters[name])]
        images = read_part(args.data, name, args.part, args.limit, args.fold)
        methods = kept.open_set(name, images)
        for method in args.methods:
            if method in CLASSICS:
                known = None if args.again else methods.get(method)
                title = f"{name}, {method}"
                kept.add(name, {method: run_classic(method, images, title, known, args.every)})
                continue
            known_models = {} if args.again else methods
            for model, (scale, step) in product(args.model, looks):
                kept.add(name, lacking_of(model, name, images, known_models, scale, step, args))
    measures = [m for m in MEASURES if args.by_image or not m.endswith("by_image")]
    rows = rows_of({name: kept.sets[name] for name in args.sets}, measures)
    if args.by_diameter:
        rows = diameter_rows(kept.sets, diameters, measures, args)
    if rows:
        print_table(rows)
    for name in args.sets:
        for method, figures in kept.sets[name]["methods"].items():
            n = len(CLASSICS[method].settings) if method in CLASSICS else 0
            if len(figures["settings"]) < n:
                print(f"{name}, {method}: only {len(figures['settings'])} of {n} settings so far")


if __name__ == "__main__":
    main()
