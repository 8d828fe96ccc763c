"""Models beside gPb-OWT-UCM on the ten images whose hierarchies and figures come with the data.

    python -m benchmarks.reference [--model M ...] [--linkage L ...] [--json FILE]

What the figures mean is in docs/evaluation.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks._output import DEFAULT_DATA, print_table, write_json
from napari_del import Segmentation, merging, segment
from napari_del.evaluation import AnnotatedImage, load_bsds
from napari_del.evaluation.evaluate import evaluate, thresholds_for

THRESHOLDS = 30
ODS_OIS = ("ODS", "OIS")
# Names of the figures here and in the data's own file.
NAMES = {
    "boundary": "Fb",
    "object_part": "Fop",
    "covering": "covering",
    "rand_index": "PRI",
    "variation_of_information": "VI",
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reference")
    parser.add_argument("--model", nargs="+", default=["del-lite"])
    parser.add_argument("--linkage", nargs="+", choices=merging.LINKAGES)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)

    folder = args.data / "bsds500_reference"
    names = (folder / "ids.txt").read_text().split()
    images = list(load_bsds(args.data / "bsds500" / "val", names=names))
    expected = json.loads((folder / "expected.json").read_text())["summary"]
    rows = [
        {"method": "gPb-OWT-UCM"}
        | {f"{name} {kind}": expected[name][kind] for name in NAMES.values() for kind in ODS_OIS}
    ]
    for model in args.model:
        made = {image.name: segment(image.image, model=model) for image in images}

        def segmentation_of(image: AnnotatedImage, made=made) -> Segmentation:
            return made[image.name]

        linkages = args.linkage or [next(iter(made.values())).default_linkage]
        steps = {name: thresholds_for(made.values(), name, THRESHOLDS) for name in linkages}
        for linkage, found in evaluate(images, segmentation_of, steps).items():
            row = {"method": f"{Path(model).stem}, {linkage}"}
            for key, name in NAMES.items():
                figure = getattr(found, key)
                row |= {f"{name} ODS": round(figure.ods, 4), f"{name} OIS": round(figure.ois, 4)}
            rows.append(row)
    print(f"{len(images)} images of bsds500/val, step 8")
    print_table(rows)
    if args.json:
        write_json(args.json, {"images": names, "rows": rows})


if __name__ == "__main__":
    main()
