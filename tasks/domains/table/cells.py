"""Cells of a table, however programs write them: each says a number, a category, or nothing."""

import math
import re
import unicodedata

MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", "--", "?", "."})
"""Where a number belongs, these say that there is none; in lower case."""

LARGEST = 3.4e38
"""The largest number of float32, nearly."""

_PLAIN = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_GROUPS = "[+-]?[0-9]{1,3}(%s[0-9]{3})+"
_POINT_GROUPS, _COMMA_GROUPS = (re.compile(_GROUPS % separator) for separator in (r"\.", ","))
_COMMA_DECIMAL = re.compile(r"[+-]?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+),[0-9]*([eE][+-]?[0-9]+)?")
_POINT_DECIMAL = re.compile(r"[+-]?[0-9]{1,3}(,[0-9]{3})+\.[0-9]*")
_NUMBERS_OF_TOO_MANY_DIGITS = 400


class NoNumberError(ValueError):
    """A cell that holds something else than a number; the message says what."""


def number_in(cell: object, *, decimal_comma: bool | None = None) -> float | None:
    """The number in ``cell``; None where it says that there is none.

    Args:
        cell: As a file or a request gives it.
        decimal_comma: Whether a comma stands before the decimals (``3,5``) and points between thousands, where the file tells;
            None where nothing tells.

    Raises:
        NoNumberError: It holds something else, or what can be read in two ways.
    """
    if cell is None or isinstance(cell, bool):
        return None if cell is None else float(cell)
    if isinstance(cell, float):
        return _finite(cell, cell)
    if isinstance(cell, int):
        return _finite(float(cell) if abs(cell) < LARGEST else math.inf, cell)
    if not isinstance(cell, str):
        raise NoNumberError(f"{shown(cell)} is no number")
    text = unicodedata.normalize("NFKC", cell).strip().replace("\u2212", "-").replace(" ", "")
    if text.lower() in MISSING:
        return None
    if len(text) > _NUMBERS_OF_TOO_MANY_DIGITS:
        raise NoNumberError(f"{shown(cell)} is no number")
    return _finite(_value(text, cell, decimal_comma), cell)


def _value(text: str, cell: str, decimal_comma: bool | None) -> float:
    if decimal_comma and _POINT_GROUPS.fullmatch(text):
        return float(text.replace(".", ""))
    if _PLAIN.fullmatch(text):
        return float(text)
    if _COMMA_GROUPS.fullmatch(text) and decimal_comma is None and text.count(",") == 1:
        raise NoNumberError(
            f"{shown(cell)} is {float(text.replace(',', '')):g} to some and {float(text.replace(',', '.')):g} to others:"
            " write it with a decimal point, and nothing between thousands"
        )
    if _COMMA_GROUPS.fullmatch(text) and not decimal_comma:
        return float(text.replace(",", ""))
    if _COMMA_DECIMAL.fullmatch(text):
        return float(text.replace(".", "").replace(",", "."))
    if _POINT_DECIMAL.fullmatch(text):
        return float(text.replace(",", ""))
    if text.lower().lstrip("+-") in ("inf", "infinity"):
        return math.inf
    raise NoNumberError(f"{shown(cell)} is no number")


def _finite(value: float, cell: object) -> float | None:
    if math.isnan(value):
        return None
    if abs(value) > LARGEST:
        raise NoNumberError(f"{shown(cell)} is no finite number, or too large for one of 32 bits")
    return value


def has_decimal_comma(cell: object) -> bool:
    """Whether ``cell`` is a number only if a comma stands before its decimals."""
    if not isinstance(cell, str):
        return False
    text = cell.strip()
    return _COMMA_DECIMAL.fullmatch(text) is not None and not _COMMA_GROUPS.fullmatch(text)


def category_in(cell: object) -> str | None:
    """The category in ``cell``; None where it says that there is none.

    True and false are the same however they are written, and so are whole numbers with and without a point.
    """
    match cell:
        case None:
            return None
        case bool():
            return str(cell).lower()
        case float() if math.isnan(cell):
            return None
        case float() if math.isfinite(cell) and cell == int(cell):
            return str(int(cell))
        case str():
            text = unicodedata.normalize("NFC", " ".join(cell.split()))
            return (text.lower() if text.lower() in ("true", "false") else text) or None
        case _:
            return str(cell)


def shown(cell: object) -> str:
    """The beginning of ``cell``, for a message."""
    text = repr(cell)
    return text if len(text) <= 60 else f"{text[:60]} ..."
