"""An unfinished training on disk: its text as ids, and its last checkpoint, replaced whole or not at all."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from promptlab.backbone.backbone import Backbone
from promptlab.backbone.difference import ABOUT
from promptlab.backbone.passages import Passages, load_passages
from promptlab.errors import OutputError
from promptlab.folders import replacing

WORK = "training"


@dataclass
class Tally:
    """How far a training is.

    Args:
        steps: done.
        tokens: of text read.
        seconds: of training.
        passed: whole passes over the text.
        at: rows dealt of the running pass.
        curve: what was held out, judged now and then: tokens, seconds, loss, accuracy.
    """

    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    passed: int = 0
    at: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Sitting:
    """The folder of an unfinished training.

    Args:
        place: where the model will stand; the training lies in it, in a folder of its own, until then.
    """

    place: Path

    @property
    def work(self) -> Path:
        """The training's own folder."""
        return self.place / WORK

    @property
    def checkpoint(self) -> Path:
        """The last checkpoint."""
        return self.work / "checkpoint.safetensors"

    def begin(self, note: Mapping[str, Any]) -> None:
        """Makes the folder, new as a whole, and says in it what it is.

        Raises:
            OutputError: the system refuses.
        """
        about = {"files": [ABOUT, WORK], "finished": False, **note}
        with self.writing(), replacing(self.place) as half:
            (half / WORK).mkdir()
            (half / ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")

    def passages(self, backbone: Backbone, make: Callable[[], Passages]) -> Passages:
        """The text as rows of ids: as saved before, or made and saved."""
        text = self.work / "text"
        if not text.is_dir():
            half = self.work / "text-half"
            with self.writing():
                shutil.rmtree(half, ignore_errors=True)
                half.mkdir()
                make().save(half)
                half.rename(text)
        return load_passages(text, backbone)

    def save(self, tensors: Mapping[str, Tensor], tally: Tally) -> None:
        """Replaces the checkpoint.

        Raises:
            OutputError: no room, or the system refuses; the checkpoint before it stands untouched.
        """
        whole = {name: one.detach().contiguous() for name, one in tensors.items()}
        with self.writing():
            _replace(self.checkpoint, lambda half: save_file(whole, half, {"tally": json.dumps(asdict(tally))}))

    def load(self) -> tuple[dict[str, Tensor], Tally] | None:
        """The last checkpoint; None where there is none yet."""
        if not self.checkpoint.is_file():
            return None
        with safe_open(self.checkpoint, framework="pt") as file:
            tally = Tally(**json.loads(file.metadata()["tally"]))
            return {key: file.get_tensor(key) for key in file.keys()}, tally  # noqa: SIM118 (it cannot be walked)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turns the system's refusals into an error that says where training stands.

        Raises:
            OutputError: with what to do.
        """
        try:
            yield
        except Exception as error:
            cause = error.__cause__ if isinstance(error, OutputError) else error
            if not isinstance(cause, OSError) and "SafetensorError" not in type(cause).__name__:
                raise
            reason = getattr(cause, "strerror", None) or str(cause)
            last = f" The last checkpoint is whole ({self.checkpoint})." if self.checkpoint.is_file() else ""
            raise OutputError(
                f"{self.place} cannot be written: {reason}.{last} Make room or name another --out; the same command "
                "goes on from there."
            ) from error


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    half = path.with_name(f".{path.name}.half")
    try:
        write(half)
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
