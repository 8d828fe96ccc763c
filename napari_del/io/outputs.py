"""Write files whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from napari_del.errors import OutputError

__all__ = ["check_output", "replacing", "replacing_folder"]

EXISTS = "{path} exists already; choose another name or say that it may be replaced (--overwrite)"


def check_output(
    path: str | os.PathLike[str], suffixes: Sequence[str], *, overwrite: bool = False
) -> Path:
    """Check that a file can be written, before the work whose result it shall hold.

    Parameters
    ----------
    path : path-like
        File to be written.
    suffixes : sequence of str
        Suffixes that are allowed, in lower case, such as ``(".tif", ".tiff")``.
    overwrite : bool
        Whether the file may exist already.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    OutputError
        If the suffix is unknown, the file exists and `overwrite` is not set, or its
        directory is missing or not writable.

    Examples
    --------
    >>> check_output("labels.jpg", (".tif", ".tiff"))
    Traceback (most recent call last):
    napari_del.errors.OutputError: labels.jpg has suffix '.jpg'; expected .tif or .tiff
    """
    path = Path(path)
    name = path.name.lower()
    if not any(name.endswith(suffix) and name != suffix for suffix in suffixes):
        raise OutputError(f"{path} has suffix {path.suffix!r}; expected {' or '.join(suffixes)}")
    if os.path.lexists(path):
        if path.is_dir() and not path.is_symlink() and path.suffix.lower() != ".zarr":
            raise OutputError(f"{path} is a directory; expected the name of a file")
        if not overwrite:
            raise OutputError(EXISTS.format(path=path))
    folder = path.parent
    if not folder.is_dir():
        raise OutputError(f"{path} cannot be written: {folder} is not a directory")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{path} cannot be written: no permission to write in {folder}")
    return path


@contextmanager
def replacing(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Name a temporary file beside `path` that takes its place once it is complete.

    Parameters
    ----------
    path : path-like
        File to be written.
    overwrite : bool
        Whether a file that exists is replaced.

    Yields
    ------
    Path
        Temporary file to write to, with the suffixes of `path`. It is removed if the block
        raises, KeyboardInterrupt included.

    Raises
    ------
    OutputError
        In place of any OSError, such as that of a full disk.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield temporary
        if not overwrite and os.path.lexists(path):
            raise OutputError(EXISTS.format(path=path))
        temporary.replace(path)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Name a temporary folder beside `path` that takes its place once it is complete.

    Parameters
    ----------
    path : path-like
        Folder to be written.
    overwrite : bool
        Whether what exists there, a folder or a file, is replaced.

    Yields
    ------
    Path
        Folder that does not exist yet. It is removed if the block raises, KeyboardInterrupt
        included, and what was at `path` stays.

    Raises
    ------
    OutputError
        In place of any OSError, such as that of a full disk.
    """
    path = Path(path)
    temporary = None
    try:
        temporary = Path(tempfile.mkdtemp(prefix=path.name + ".", dir=path.parent))
        new, old = temporary / "new", temporary / "old"
        yield new
        if os.path.lexists(path):
            if not overwrite:
                raise OutputError(EXISTS.format(path=path))
            os.rename(path, old)
        try:
            os.rename(new, path)
        except OSError:
            if os.path.lexists(old):
                os.rename(old, path)
            raise
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
