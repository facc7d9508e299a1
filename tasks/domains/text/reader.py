"""Texts as the rest of the code reads them, in training and in service."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tasks.config.params import Params
from tasks.config.sections.kind import KindParams
from tasks.domains.characters import Decoded, canonical, decode
from tasks.domains.contract import (
    BeyondLimits,
    Facets,
    InputSpec,
    Limits,
    Measure,
    Measured,
    Measures,
    StillOpen,
    UnreadableExample,
    Views,
)
from tasks.domains.description import spread, tally
from tasks.domains.folder import FoundFile, list_files, read_refusals
from tasks.domains.opened import opened
from tasks.domains.rows import SUFFIXES, has_rows, read_row, read_rows, row_in, row_path
from tasks.domains.shown import Shown, shortened
from tasks.domains.text.measures import measure_text
from tasks.domains.text.published import longest_for, vocabulary_for
from tasks.domains.text.spec import columns_in, text_spec, vocabulary_in
from tasks.domains.text.views import VIEWS
from tasks.domains.text.vocabulary import Vocabulary
from tasks.errors import BadInput

MEASURES: Mapping[str, type] = {
    "characters": int,
    "words": int,
    "script": str,
    "encoding": str,
    "links": int,
    "tags": int,
    "shingles": str,
    "opening": str,
    "ending": str,
}
"""The measures of a text in the manifest: its length in characters and words, the script of most letters as Unicode names it,
the encoding of its file, links and HTML tags in it, 64 bits of the simhash of its shingles in hexadecimal, and its first and its
last words."""

NO_TEXT = frozenset({
    ".pdf", ".doc", ".docx", ".odt", ".rtf", ".xls", ".xlsx", ".ods", ".ppt", ".pptx", ".zip", ".gz", ".tar", ".7z", ".msg",
    ".png", ".jpg", ".jpeg", ".gif", ".wav", ".mp3", ".mp4", ".npy", ".db", ".sqlite", ".pkl", ".bin",
})  # fmt: skip
"""Endings of files that programs write and nobody reads as they are."""

PAGE_CHARACTERS = 20_000
"""A page shows a text up to here; a person who needs more opens the file."""

MOST_TOKENS = 256
"""More than this are read of a text only where params.yaml says so: an answer takes too long."""

LEAST_TOKENS = 64
"""So many cost little, and a target's texts may be longer than the source's."""

PERCENTILE = 90
"""The percentile of the tokens in the source's texts that becomes ``texts.tokens`` where it is left open."""

MAX_SOURCE_TEXTS = 500
"""So many tell it closely enough."""

BYTES_PER_BYTE = 64
BYTES_BESIDES = 2**30
"""Memory while a text is read: its characters, the pieces it is parted into, and the vocabulary."""


@dataclass(frozen=True)
class Texts:
    """The reader of texts; see `tasks.domains.contract.Reader`."""

    spec: InputSpec
    max_bytes: int

    kind: ClassVar[str] = "text"
    noun: ClassVar[str] = "text"
    plural: ClassVar[str] = "texts"
    pattern: ClassVar[str] = "*.txt"
    has_rows: ClassVar[bool] = True
    media_type: ClassVar[str] = "text/"
    measures: ClassVar[Mapping[str, type]] = MEASURES
    likeness: ClassVar[str | None] = "shingles"
    captured: ClassVar[str | None] = None
    views: ClassVar[Views] = VIEWS
    loads: ClassVar[tuple[str, ...]] = ("tasks.domains.text.measures",)

    @classmethod
    def of_params(cls, params: Params) -> "Texts":
        """Texts for the backbone that ``model`` names, of the length in section ``texts``.

        Raises:
            StillOpen: There is no length yet.
            BadInput: There is no such backbone, or what it needs is not there.
        """
        texts, vocabulary = params.texts, vocabulary_for(params.model)
        if texts.tokens is None:
            raise StillOpen(
                "params.yaml: texts.tokens is null. `acclimate run` takes it from the texts of the source, and writes it there."
            )
        return cls(text_spec(texts.tokens, vocabulary, (texts.column, texts.label)), texts.max_bytes)

    @classmethod
    def of_spec(cls, spec: InputSpec, limits: Limits) -> "Texts":
        """Texts as a model takes them.

        Raises:
            BadInput: The model expects them to be prepared in another way.
        """
        vocabulary_in(spec)
        columns_in(spec)
        return cls(spec, limits["max_bytes"])

    @classmethod
    def limits_in(cls, params: KindParams) -> Limits:
        """The bytes of the longest text that the section ``texts`` lets in."""
        return {"max_bytes": params.texts.max_bytes}

    @classmethod
    def settings_from(cls, params: Params, source: Path, measure: Measure) -> Mapping[str, Any]:
        """A length that holds nearly all texts of the source, where ``texts.tokens`` has none.

        Raises:
            BadInput: None of those that were looked at can be read.
        """
        if params.texts.tokens is not None:
            return {}
        most = min(MOST_TOKENS, longest_for(params.model))
        texts = params.texts.model_copy(update={"tokens": most})
        return {
            "texts": {
                "tokens": _usual_tokens(source, cls.of_params(params.model_copy(update={"texts": texts})))
            }
        }

    @classmethod
    def memory_within(cls, limits: Limits) -> int:
        """Enough for any text of ``max_bytes`` bytes."""
        return BYTES_PER_BYTE * limits["max_bytes"] + BYTES_BESIDES

    @property
    def limits(self) -> Limits:
        """Larger files and bodies are refused before they are decoded."""
        return {"max_bytes": self.max_bytes}

    @property
    def facets(self) -> Facets:
        """None."""
        return {}

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of the spec, proven once: its digest takes longer than a text does."""
        return vocabulary_in(self.spec)

    def find(self, folder: Path) -> list[FoundFile]:
        """The texts below ``folder``, one for each file or row, and what the importer could not copy into it."""
        found: list[FoundFile] = []
        for file in (*list_files(folder, examples=(".txt", *SUFFIXES)), *read_refusals(folder)):
            if file.reason is None and has_rows(file.path):
                found += self._rows(folder, file)
            else:
                found.append(file if file.reason else _checked(file))
        return sorted(found, key=lambda file: (file.path, file.reason or ""))

    def _rows(self, folder: Path, file: FoundFile) -> Iterable[FoundFile]:
        column, label = columns_in(self.spec)
        try:
            content = read_rows(folder / file.path)
        except UnreadableExample as error:
            return [FoundFile(file.path, error.reason)]
        if column not in content.columns:
            return [FoundFile(file.path, _no_column(column, content.columns))]
        note = "; ".join(content.notes) or None
        found = []
        for row in content.rows:
            reason = row.fault or (
                None if isinstance(row.cells.get(column), str) else _no_cell(row.cells, column)
            )
            given = row.cells.get(label)
            found.append(
                FoundFile(
                    row_path(file.path, row.line), reason, None if given is None else _name(given), note
                )
            )
        return found

    def load(self, path: Path) -> bytes:
        """The bytes of a file, or the text in a row of one in UTF-8.

        Raises:
            UnreadableExample: It is missing, no regular file, unreadable, or longer than any text may be.
        """
        place = row_in(path)
        if place is None:
            return self._file(path)
        column = columns_in(self.spec)[0]
        text = read_row(*place).cells.get(column)
        if not isinstance(text, str):
            raise UnreadableExample(_no_cell({}, column), path=path)
        return self._within(text.encode("utf-8", errors="replace"))

    def _file(self, path: Path) -> bytes:
        with opened(path) as (file, size):
            return self._within(file.read(self.max_bytes + 1), size=size)

    def _within(self, content: bytes, *, size: int | None = None) -> bytes:
        if len(content) > self.max_bytes:
            found = max(size or 0, len(content))
            raise BeyondLimits(
                f"{found:,} bytes, more than texts.max_bytes {self.max_bytes:,}", needed={"max_bytes": found}
            )
        return content

    def identity(self, content: bytes) -> bytes:
        """The characters in one form: encodings, line ends and ways to write an accent make no other text.

        Raises:
            UnreadableExample: With the reason.
        """
        return decode(content).text.encode()

    def read(self, path_or_bytes: Path | bytes) -> np.ndarray:
        """The first tokens of a text, int32 ``(T)``, padded.

        Raises:
            UnreadableExample: With the reason; the message also names the path if there is one.
        """
        return self.vocabulary.tokens(self._decoded(path_or_bytes).text, self.spec.shape[0])

    def warm_up(self) -> None:
        """The vocabulary, which takes a second or two."""
        self.vocabulary.tokens("", self.spec.shape[0])

    def of_json(self, value: object) -> bytes:
        """A text of JSON in UTF-8.

        Raises:
            UnreadableExample: It is no text.
        """
        if not isinstance(value, str):
            raise UnreadableExample(f"a text was expected, got {str(value)[:40]!r}")
        return value.encode("utf-8", errors="replace")

    def measure(self, content: bytes) -> Measured:
        """Length, script, encoding, links, tags, shingles, and the words at both ends.

        Raises:
            UnreadableExample: With the reason.
        """
        decoded = self._decoded(content)
        return Measured(measure_text(decoded.text, decoded.encoding), "; ".join(decoded.notes) or None)

    def _decoded(self, path_or_bytes: Path | bytes) -> Decoded:
        if isinstance(path_or_bytes, bytes):
            return decode(self._within(path_or_bytes))
        try:
            return decode(self.load(path_or_bytes))
        except UnreadableExample as error:
            raise UnreadableExample(error.reason, path=path_or_bytes) from error

    def checked(self, measures: Measures) -> Measures:
        """Words, how many of them are cut off at least, the script, the tags that say that it was a page, and the share of the words
        at both ends that the vocabulary does not know."""
        words = int(measures.get("words") or 0)
        ends = f"{measures.get('opening') or ''} {measures.get('ending') or ''}".split()
        return {
            "words": words,
            "words_cut": max(0, words - self.spec.shape[0]),
            "script": measures.get("script"),
            "tags": int(measures.get("tags") or 0),
            "unknown": round(self.vocabulary.num_unknown(ends) / len(ends), 3) if ends else None,
        }

    def excerpt(self, path: Path) -> str:
        """The beginning of the text, in one line.

        Raises:
            UnreadableExample: With the reason.
        """
        return shortened(self._decoded(path).text)

    def show(self, path: Path) -> Shown:
        """The text with its lines, up to `PAGE_CHARACTERS`, and its length.

        Raises:
            UnreadableExample: With the reason.
        """
        text = self._decoded(path).text
        rest = f"; the first {PAGE_CHARACTERS:,} are here, and the file has the rest"
        length = f"{len(text):,} characters" + (rest if len(text) > PAGE_CHARACTERS else "")
        return Shown(told=length, text=text[:PAGE_CHARACTERS])

    def describe(self, measured: Sequence[Measures]) -> list[tuple[str, str]]:
        """Lengths, scripts and encodings."""
        words = [int(number) for one in measured if (number := one.get("words")) is not None]
        return [
            ("Length in words", spread(words)),
            ("Script", tally(str(script).capitalize() for one in measured if (script := one.get("script")))),
            ("Encoding", tally(str(encoding) for one in measured if (encoding := one.get("encoding")))),
        ]


def _usual_tokens(source: Path, reader: Texts) -> int:
    """The tokens within which most texts of the source are, rounded up to a multiple of 32, and no more than ``reader`` reads."""
    paths = [source / file.path for file in reader.find(source) if file.reason is None]
    padding, most = reader.vocabulary.padding, reader.spec.shape[0]
    nums = []
    for path in paths[:: max(1, len(paths) // MAX_SOURCE_TEXTS)]:
        with suppress(UnreadableExample):
            nums.append(int((reader.read(path) != padding).sum()))
    if not nums:
        raise BadInput(
            f"{source} holds no text that can be read, from which texts.tokens could be taken. Put class folders with .txt files, or a"
            " file with a text in each row, there, or set texts.tokens in params.yaml."
        )
    usual = int(np.percentile(nums, PERCENTILE, method="inverted_cdf"))
    return min(most, max(LEAST_TOKENS, -(-usual // 32) * 32))


def _name(label: object) -> str:
    """The class that a cell names."""
    return canonical(str(label))[0]


def _checked(file: FoundFile) -> FoundFile:
    suffix = Path(file.path).suffix.lower()
    if suffix not in NO_TEXT:
        return file
    return FoundFile(file.path, f"{suffix} files are no text: save it as .txt, or in a column of a .csv")


def _no_column(column: str, columns: Sequence[str]) -> str:
    there = ", ".join(map(repr, columns[:8])) or "none"
    return f"no column {column!r}, its columns are {there}: name the one with the texts, texts.column in params.yaml"


def _no_cell(cells: Mapping[str, object], column: str) -> str:
    value = cells.get(column)
    return f"no text in column {column!r}" + ("" if value is None else f", got {str(value)[:40]!r}")
