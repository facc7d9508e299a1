"""A model in a folder as Hugging Face lays it out: which files it has, and what its configuration says. No torch."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import BadInput, reason_of
from tasks.files import parse_json, sha256_of_file

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
PREPROCESSOR = "preprocessor_config.json"
READ = (CONFIG, WEIGHTS, TOKENIZER, TOKENIZER_CONFIG, PREPROCESSOR)
"""Every file of a folder that decides what a model answers; no other is opened."""

_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
_WITH_A_DECODER = ("ForConditionalGeneration", "Seq2SeqLM", "EncoderDecoderModel")
_DECODERS = ("ForCausalLM", "LMHeadModel")
"""How the names of architectures end that write instead of read."""


@dataclass(frozen=True)
class HfFolder:
    """A folder with a configuration and weights that no code has to be run for."""

    path: Path
    config: Mapping[str, object]

    @property
    def name(self) -> str:
        """As params.yaml has it, for messages."""
        return f"hf/{self.path}"

    @property
    def model_type(self) -> str:
        """The family of the network, as the library ``transformers`` names it."""
        return str(self.config.get("model_type"))

    def check_type(self, expected: Collection[str]) -> None:
        """Refuse a network of another family.

        Raises:
            BadInput: With the reason, and the families that can be used.
        """
        if reason := self._unfit(expected):
            raise BadInput(
                f"params.yaml: model.backbone {self.name} is {reason}; expected one of the types {', '.join(expected)}"
            )

    def _unfit(self, expected: Collection[str]) -> str | None:
        architectures = self.config.get("architectures")
        names = tuple(map(str, architectures)) if isinstance(architectures, list) else ()
        if self.model_type in expected and not self.config.get("is_decoder"):
            return None
        if self.config.get("is_encoder_decoder") or any(name.endswith(_WITH_A_DECODER) for name in names):
            return f"a {self.model_type}, an encoder with a decoder, made to write instead of to tell what is there"
        if self.config.get("is_decoder") or any(name.endswith(_DECODERS) for name in names):
            return f"a {self.model_type}, a decoder, whose tokens see only what stands before them"
        return f"of the type {self.model_type!r}, whose layers acclimate does not know how to call"

    def json(self, file: str) -> Mapping[str, object]:
        """The content of a file of JSON; empty where there is none.

        Raises:
            BadInput: It is damaged.
        """
        return _json(self.path, file) if (self.path / file).is_file() else {}

    def bytes(self, file: str, *, advice: str) -> bytes:
        """The content of ``file``; ``advice`` says how to make it.

        Raises:
            BadInput: There is none.
        """
        try:
            return (self.path / file).read_bytes()
        except OSError as error:
            raise BadInput(
                f"params.yaml: model.backbone {self.name}: {file} cannot be read ({reason_of(error)}). {advice}"
            ) from error


def open_hf_folder(path: Path) -> HfFolder:
    """The folder at ``path``, as ``save_pretrained`` writes it.

    Raises:
        BadInput: It is none, or its weights are not in ``model.safetensors``; the message says what to do.
    """
    place = f"params.yaml: model.backbone hf/{path}"
    if not path.is_dir():
        raise BadInput(
            f"{place}: {path} is not a folder; expected one with {CONFIG} and {WEIGHTS}, as save_pretrained writes it."
            " Nothing is downloaded: fetch it with `hf download NAME --local-dir FOLDER`"
        )
    if not (path / CONFIG).is_file():
        raise BadInput(
            f"{place} holds no {CONFIG}; expected a folder as model.save_pretrained(folder) writes it"
        )
    if not (path / WEIGHTS).is_file():
        pickled = [name for name in _PICKLED if (path / name).exists()]
        raise BadInput(f"{place} holds no {WEIGHTS}{_instead(path, pickled)}")
    return HfFolder(path, _json(path, CONFIG))


def _instead(path: Path, pickled: list[str]) -> str:
    if not pickled:
        return ", alone and not in parts: load the model and write it with model.save_pretrained(folder, max_shard_size='10GB')"
    return (
        f", and {pickled[0]} could run anything when it is read. Convert it where you trust it: python -c"
        f" \"from transformers import AutoModel; AutoModel.from_pretrained('{path}').save_pretrained('{path}')\""
    )


def _json(folder: Path, file: str) -> Mapping[str, object]:
    place = f"params.yaml: model.backbone hf/{folder}: {file}"
    try:
        content = parse_json((folder / file).read_bytes())
    except OSError as error:
        raise BadInput(f"{place} cannot be read ({reason_of(error)})") from error
    except ValueError as error:
        raise BadInput(f"{place} is not JSON ({error}). Fetch it again.") from error
    if not isinstance(content, dict):
        raise BadInput(
            f"{place} must hold an object of JSON, got a {type(content).__name__}. Fetch it again."
        )
    return content


def digests_of(path: Path) -> dict[str, str]:
    """SHA-256 of each file of the folder that is read, by name."""
    return {name: sha256_of_file(path / name) for name in READ if (path / name).is_file()}
