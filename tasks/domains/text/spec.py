"""The input of a model of texts: a row of tokens, and the rule by which a text becomes one."""

from collections.abc import Sequence

from tasks.domains.contract import InputSpec, differing_rules
from tasks.domains.text.vocabulary import Vocabulary
from tasks.errors import BadInput

KIND = "text"
NAME = "tokens"
PART = "vocabulary"
COLUMNS = "columns"

RULE = {"unicode": "NFC", "white_space": "one space", "cut": "at the end"}
"""How tasks/domains/text/ prepares every text; the spec adds what depends on the backbone."""


def text_spec(num_tokens: int, vocabulary: Vocabulary, columns: Sequence[str]) -> InputSpec:
    """The spec of texts of up to ``num_tokens`` tokens; of rows, ``columns`` hold the text and its class."""
    own = {
        "prefix": vocabulary.prefix, "padding": vocabulary.padding, PART: vocabulary.sha256,
        COLUMNS: list(columns),
    }  # fmt: skip
    return InputSpec(KIND, NAME, "int32", (num_tokens,), RULE | own, {PART: vocabulary.content})


def columns_in(spec: InputSpec) -> tuple[str, str]:
    """The columns of a file of rows that hold the text and its class.

    Raises:
        BadInput: ``spec`` names none.
    """
    match spec.rule.get(COLUMNS):
        case [str() as text, str() as label]:
            return text, label
        case other:
            raise BadInput(f"the model names {other!r} as the columns of text and class: export it again.")


def vocabulary_in(spec: InputSpec) -> Vocabulary:
    """The vocabulary that ``spec`` brings.

    Raises:
        BadInput: It brings none, another one than its rule names, or texts would be prepared in another way than this version
            of acclimate does.
    """
    differing = differing_rules(spec, RULE)
    if spec.dtype != "int32" or len(spec.shape) != 1 or differing:
        raise BadInput(
            f"the model takes {spec}, prepared in another way than this acclimate prepares texts"
            f" ({differing or 'a row of int32 was expected'}): its answers would be wrong. Export it again with"
            " this version."
        )
    vocabulary = Vocabulary(
        spec.parts.get(PART, b""), str(spec.rule.get("prefix", "")), int(spec.rule.get("padding", -1))
    )
    if vocabulary.sha256 != spec.rule.get(PART):
        raise BadInput(
            f"the model brings a vocabulary with SHA-256 {vocabulary.sha256}, and its rule names {spec.rule.get(PART)}: the file"
            " is damaged. Fetch it again with `dvc pull`, or export it again."
        )
    return vocabulary
