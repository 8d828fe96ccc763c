"""Where a store lives: folders and fsspec URLs as zarr sees them, and words for what fails."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from zarr.abc.store import Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import FsspecStore, LocalStore, WrapperStore

from napari_del._threads import parallel_for
from napari_del.errors import StoreError

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

__all__ = [
    "DamagedError",
    "connect",
    "first_line",
    "get_each",
    "get_many",
    "local_folder",
    "names_below",
    "new_place",
    "put_many",
    "remove_file",
    "remove_folder",
    "remove_place",
    "resolve",
    "writing",
]

T = TypeVar("T")

# Files that are asked for at a time, and those that one thread writes to disk after another.
_REQUESTS, _FILES = 64, 4


class DamagedError(StoreError):
    """Part of a store is missing or is not what was written; the message says no more."""


class _WholeStore(WrapperStore[Store]):
    """A store whose arrays have all their chunks; zarr would take a missing one for zeros."""

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        found = await super().get(key, prototype, byte_range)
        if found is None and "/c/" in key:
            raise DamagedError(f"chunk {key[key.rindex('/c/') + 1 :]} is missing")
        return found


def resolve(url: str | os.PathLike[str]) -> str:
    """The same place by a name that holds in every working directory.

    Parameters
    ----------
    url : str or path
        Folder or fsspec URL.

    Returns
    -------
    str
        The absolute path of a folder, whether given as a path or as ``file://`` URL; any other
        URL as it is.
    """
    text = os.fspath(url)
    if text.startswith(("file://", "local://")):
        from fsspec.core import url_to_fs

        return str(url_to_fs(text)[1])
    return text.rstrip("/") if "://" in text else str(Path(text).absolute())


def local_folder(url: str) -> Path | None:
    """The folder of a resolved URL, or None if it is on another file system."""
    return None if "://" in url else Path(url)


def connect(url: str, *, writable: bool) -> Store:
    """The zarr store at a resolved URL, without looking whether anything is there.

    zarr's `LocalStore` writes every file under another name first and renames it, and an object
    store puts an object whole or not at all, so a run that is killed leaves no half-written
    chunk on either. But neither waits for the disk, and other file systems of fsspec may write
    in place: there, or after a loss of power, a chunk can be cut short. So what counts is the
    marker, which is written after all that it stands for and has the SHA-256 of everything.

    Raises
    ------
    StoreError
        If fsspec does not know the protocol or lacks a package for it.
    """
    folder = local_folder(url)
    if folder is not None:
        return _WholeStore(LocalStore(folder, read_only=not writable))
    try:
        return _WholeStore(FsspecStore.from_url(url, read_only=not writable))
    except (ValueError, ImportError, OSError) as error:
        raise StoreError(f"{url} cannot be reached: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """What went wrong, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def writing(url: str) -> Iterator[None]:
    """Turn what a file system raises into an error that names the store."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:  # file systems of fsspec have errors of their own
        raise StoreError(f"{url} cannot be written: {first_line(error)}") from error


def _without_loop(store: Store, name: str) -> Any:
    """A method of a store that does without zarr's event loop; None where it has none.

    That of files is several times as quick for small ones. Other places answer many requests at a
    time.
    """
    inner = store._store if isinstance(store, WrapperStore) else store
    return getattr(inner, name, None)  # zarr has those of files since 3.1.6


def get_each(store: Store, keys: Sequence[str]) -> list[bytes | Exception | None]:
    """The bytes of some keys: None where there is none, or what reading them raised."""
    get = _without_loop(store, "get_sync")
    if get is None:

        async def ask(key: str) -> bytes | None:
            value = await store.get(key, default_buffer_prototype())
            return None if value is None else value.to_bytes()

        return _at_once([partial(ask, key) for key in keys])
    found: list[bytes | Exception | None] = []
    for key in keys:
        try:
            value = get(key)
        except OSError as error:
            found.append(error)
        else:
            found.append(None if value is None else value.to_bytes())
    return found


def get_many(store: Store, keys: Sequence[str]) -> list[bytes | None]:
    """The bytes of some keys, None where there is none."""
    return _checked(get_each(store, keys))


def put_many(store: Store, files: Mapping[str, bytes]) -> None:
    """Set the bytes of some keys."""
    buffers = {
        key: default_buffer_prototype().buffer.from_bytes(value) for key, value in files.items()
    }
    put = _without_loop(store, "set_sync")
    if put is None:
        _checked(_at_once([partial(store.set, key, value) for key, value in buffers.items()]))
        return
    items = list(buffers.items())

    def some(start: int, stop: int) -> None:
        for key, value in items[start:stop]:
            put(key, value)

    parallel_for(some, len(items), grain=_FILES)


def _at_once(calls: Iterable[Callable[[], Coroutine[Any, Any, T]]]) -> list[T | Exception]:
    """What some calls give, or raise, once all have ended: none goes on after the others failed."""

    async def gather() -> list[T | BaseException]:
        slots = asyncio.Semaphore(_REQUESTS)

        async def one(call: Callable[[], Coroutine[Any, Any, T]]) -> T:
            async with slots:
                return await call()

        return await asyncio.gather(*map(one, calls), return_exceptions=True)

    results: list[T | Exception] = []
    for result in sync(gather()):
        if isinstance(result, BaseException) and not isinstance(result, Exception):
            raise result
        results.append(result)
    return results


def _checked(results: Iterable[T | Exception]) -> list[T]:
    """The results, or the first error among them, raised."""
    found: list[T] = []
    for result in results:
        if isinstance(result, Exception):
            raise result
        found.append(result)
    return found


def names_below(store: Store, prefix: str) -> list[str]:
    """Names of files and folders in a folder, sorted; none if it is not there."""
    inner = store._store if isinstance(store, WrapperStore) else store
    if isinstance(inner, FsspecStore):
        # File systems of fsspec remember listings, but other processes write as well. One
        # without asynchronous calls is wrapped into one that has them.
        inner.fs.invalidate_cache()
        getattr(inner.fs, "sync_fs", inner.fs).invalidate_cache()

    async def names(found: AsyncIterator[str]) -> list[str]:
        return sorted([name async for name in found if name])

    return sync(names(store.list_dir(prefix)))


def remove_file(store: Store, key: str) -> None:
    """Remove a file, which need not be there."""
    remove = _without_loop(store, "delete_sync")
    if remove is None:
        sync(store.delete(key))
    else:
        remove(key)


def remove_folder(store: Store, prefix: str) -> None:
    """Remove a folder with all that is in it; it need not be there."""
    sync(store.delete_dir(prefix))


def is_free(url: str) -> bool:
    """Whether a store can be made at a resolved URL: nothing or an empty folder is there."""
    folder = local_folder(url)
    if folder is None:
        return not names_below(connect(url, writable=False), "")
    return not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir()))


@contextmanager
def new_place(url: str) -> Iterator[str]:
    """Name a place to begin a store at, which is at `url` when the context closes.

    A folder is made under another name and renamed, so that there is all of it or nothing.

    Raises
    ------
    StoreError
        If something is there already.
    """
    if not is_free(url):
        raise StoreError(_EXISTS.format(url))
    folder = local_folder(url)
    if folder is None:
        yield url
        return
    temporary = Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
    try:
        yield str(temporary / "new")
        if folder.is_dir():
            folder.rmdir()
        os.rename(temporary / "new", folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


_EXISTS = "{} exists already; resume its run, choose another name or say that it may be replaced"


def remove_place(url: str) -> None:
    """Remove a store with all that is in it."""
    folder = local_folder(url)
    if folder is None:
        store = connect(url, writable=True)
        for name in names_below(store, ""):
            if name != "zarr.json":
                remove_folder(store, name)
        # Until all else is gone it can be seen to be a store.
        remove_file(store, "zarr.json")
    else:
        doomed = Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
        os.rename(folder, doomed / "old")
        shutil.rmtree(doomed)
