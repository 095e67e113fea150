"""Packed values by the CF conventions: numbers that mean "missing", a scale and an offset."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_em.core.records import Array
from dask_em.errors import SchemaError
from dask_em.sources.rows import row_dtype

__all__ = ["Packing"]


@dataclass(frozen=True)
class Packing:
    """How stored numbers stand for values (CF conventions 1.11, sections 2.5.1 and 8.1).

    Parameters
    ----------
    missing : tuple of float
        Stored numbers that mean "no value"; NaN, which needs no translation, is not among them.
    scale, offset : float or None
        ``value = stored * scale + offset``.
    """

    missing: tuple[float, ...] = ()
    scale: float | None = None
    offset: float | None = None

    @classmethod
    def of(cls, attributes: Mapping[str, Any], name: str) -> Packing:
        """Read the attributes ``_FillValue``, ``missing_value``, ``scale_factor``, ``add_offset``.

        Raises
        ------
        SchemaError
            If one of them is not a number; `name` names the array.
        """
        missing: list[float] = []
        for key in ("_FillValue", "missing_value"):
            stored = attributes.get(key)
            marks = stored if isinstance(stored, list | tuple) else [stored]
            missing += [_number(value, key, name) for value in marks if value is not None]
        scale, offset = (
            None if attributes.get(key) is None else float(_number(attributes[key], key, name))
            for key in ("scale_factor", "add_offset")
        )
        wanted = dict.fromkeys(value for value in missing if value == value)
        return cls(tuple(wanted), scale, offset)

    @property
    def scaled(self) -> bool:
        return self.scale is not None or self.offset is not None

    def dtype(self, stored: np.dtype[Any], what: str) -> np.dtype[Any]:
        """The dtype of the values."""
        plain = row_dtype(stored, what)
        return np.dtype(np.float64) if self.scaled else plain

    def unpack(self, part: Array, dtype: np.dtype[Any]) -> Array:
        """Values of dtype `dtype` for stored numbers; `part` may be overwritten."""
        gone = self._missing(part)
        part = part.astype(dtype, copy=False)
        if self.scale is not None:
            part *= self.scale
        if self.offset is not None:
            part += self.offset
        if gone is not None:
            part[gone] = np.nan
        return part

    def _missing(self, part: Array) -> Array | None:
        found: Array | None = None
        for value in self.missing:
            # attributes hold doubles: 1e20 must meet the float32 that was stored for it
            equal = part == (part.dtype.type(value) if part.dtype.kind == "f" else value)
            found = equal if found is None else found | equal
        return found


def _number(value: Any, key: str, name: str) -> float:
    if isinstance(value, bool | int | float | np.number):
        return value  # type: ignore[return-value]  # integers stay exact
    try:
        return _decoded(str(value))
    except (ValueError, binascii.Error, struct.error):
        raise SchemaError(
            f"attribute {key} of array {name} is {value!r}, which is not a number; correct the "
            "attribute, or remove it if no value is missing"
        ) from None


def _decoded(text: str) -> float:
    # xarray writes a float's _FillValue into Zarr 3 attributes as eight base64 coded bytes
    try:
        return float(text)
    except ValueError:
        return float(struct.unpack("<d", base64.b64decode(text, validate=True))[0])
