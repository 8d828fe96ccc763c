"""Measurements of napari-del, each beside what it is compared with. See docs/benchmarks.md."""
