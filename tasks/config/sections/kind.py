"""The keys that say what an example is and how it is read: the kind, and a section for each kind."""

from typing import Annotated

from pydantic import Field

from tasks.config.sections.columns import TablesParams
from tasks.config.sections.data import ImagesParams, SoundsParams, TextsParams
from tasks.config.sections.section import Section


class KindParams(Section):
    """The keys of params.yaml that describe the examples of a workspace."""

    kind: Annotated[str, Field(min_length=1)]
    """The form of an example: ``image``, ``text``, ``sound`` or ``table``. The section of that kind says how examples are read."""
    images: ImagesParams
    texts: TextsParams
    sounds: SoundsParams
    tables: TablesParams
