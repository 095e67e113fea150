"""Zarr stores behind URLs: patient, and strict about what is missing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from copy import copy
from typing import Any, Self, TypeVar, final

from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import FsspecStore, WrapperStore

from dask_em.remote.files import ask_once, configured, opening
from dask_em.remote.patience import patiently_awaited
from dask_em.remote.secrets import without_secrets
from dask_em.remote.trouble import is_absent, is_lacking_home

__all__ = ["PatientStore", "open_store", "patient"]

T = TypeVar("T")


def open_store(
    url: str, storage_options: Mapping[str, Any] | None = None, *, read_only: bool = False
) -> Store:
    """The Zarr store at a URL; raises as `open_filesystem`, and reaches for nothing."""
    options = dict(storage_options or {})
    with opening(url):
        # what is missing is decided here: there, a bucket that vanished would be all fill values
        inner = FsspecStore.from_url(
            url, configured(url, options), read_only=read_only, allowed_exceptions=()
        )
    ask_once(inner.fs)
    return PatientStore(inner, url, options)


def patient(store: FsspecStore) -> Store:
    """A store that somebody else opened, as patient and strict as that of `open_store`.

    It keeps the file system that it has, with its own tries of each request.
    """
    inner = copy(store)
    inner.allowed_exceptions = ()
    return PatientStore(inner, str(store.fs.unstrip_protocol(store.path)), None)


@final
class PatientStore(WrapperStore[FsspecStore]):
    """A store whose requests are made again where that may help.

    It pickles as its URL and options, or, where these are not known, with its file system.

    Only an object that the store says it does not have is missing, and read as fill values; one
    that is denied or not answered is an error.
    """

    def __init__(self, store: FsspecStore, url: str, options: Mapping[str, Any] | None) -> None:
        super().__init__(store)
        self._url, self._options = url.rstrip("/"), options

    def __str__(self) -> str:
        return without_secrets(self._url)

    def __repr__(self) -> str:
        return f"PatientStore({self})"

    def __reduce__(self) -> Any:
        if self._options is None:
            return type(self), (self._store, self._url, None)
        return _reopened, (self._url, self._options, self.read_only)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PatientStore) and self._store == other._store

    __hash__ = None  # type: ignore[assignment]

    def _with_store(self, store: FsspecStore) -> Self:
        return type(self)(store, self._url, self._options)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        return await self._absent_is_none(lambda: self._store.get(key, prototype, byte_range), key)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return await asyncio.gather(*(self.get(key, prototype, part) for key, part in key_ranges))

    async def _get_many(
        self, requests: Iterable[tuple[str, BufferPrototype, ByteRequest | None]]
    ) -> AsyncGenerator[tuple[str, Buffer | None], None]:
        for key, prototype, part in requests:
            yield key, await self.get(key, prototype, part)

    async def exists(self, key: str) -> bool:
        return await self._patiently(lambda: self._store.exists(key), key)

    async def getsize(self, key: str) -> int:
        return await self._patiently(lambda: self._store.getsize(key), key)

    async def set(self, key: str, value: Buffer) -> None:
        await self._patiently(lambda: self._store.set(key, value), key)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        if not await self.exists(key):
            await self.set(key, value)

    async def _set_many(self, values: Iterable[tuple[str, Buffer]]) -> None:
        await asyncio.gather(*(self.set(key, value) for key, value in values))

    async def delete(self, key: str) -> None:
        await self._absent_is_none(lambda: self._store.delete(key), key)

    async def delete_dir(self, prefix: str) -> None:
        await self._absent_is_none(lambda: self._store.delete_dir(prefix), prefix)

    async def is_empty(self, prefix: str) -> bool:
        async for _ in self.list_dir(prefix):
            return False
        return True

    async def list(self) -> AsyncIterator[str]:
        for key in await self._listed(self._store.list, ""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for key in await self._listed(lambda: self._store.list_prefix(prefix), prefix):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        for key in await self._listed(lambda: self._store.list_dir(prefix), prefix):
            yield key

    async def _listed(self, names: Callable[[], AsyncIterator[str]], prefix: str) -> Iterable[str]:
        async def every() -> Iterable[str]:
            self._store.fs.invalidate_cache()  # others write as well
            return [name async for name in names()]

        return await self._absent_is_none(every, prefix) or []

    async def _absent_is_none(self, call: Callable[[], Awaitable[T]], key: str) -> T | None:
        with suppress(_AbsentError):
            return await self._patiently(call, key)
        return None

    async def _patiently(self, call: Callable[[], Awaitable[T]], key: str) -> T:
        async def tried() -> T:
            try:
                return await call()
            except Exception as error:
                if is_absent(error) and not is_lacking_home(error):
                    raise _AbsentError from error
                raise

        return await patiently_awaited(tried, f"{self._url}/{key}".rstrip("/"))


class _AbsentError(FileNotFoundError):
    """An object that the store says it does not have."""


def _reopened(url: str, options: Mapping[str, Any], read_only: bool) -> Store:
    return open_store(url, options, read_only=read_only)
