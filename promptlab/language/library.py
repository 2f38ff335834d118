"""Pattern files by name or path, as tasks."""

from pathlib import Path

from promptlab.errors import PatternError, did_you_mean
from promptlab.language.document import Faults, read_nodes, read_text
from promptlab.language.reading import read_keys
from promptlab.language.task import Task


def load_task(name_or_path: str | Path) -> Task:
    """A shipped task by name, or any task by the path of its file.

    Raises:
        PatternError: no such task or file, or the file is faulty; holds every fault with its line.
    """
    path = Path(name_or_path)
    if isinstance(name_or_path, Path) or path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        return read_task(read_text(path), str(path))
    shipped = pattern_folder() / f"{name_or_path}.yaml"
    names = task_names()
    if name_or_path not in names:
        near = did_you_mean(name_or_path, names)
        known = f"Known: {', '.join(names)}; or write the path of a .yaml file."
        raise PatternError(f"no task '{name_or_path}'.{near} {known}")
    return read_task(read_text(shipped), str(shipped))


def read_task(text: str, file: str = "task.yaml") -> Task:
    """The task that a YAML text describes.

    Args:
        text: the text of a pattern file.
        file: its name, for faults.

    Raises:
        PatternError: holds every fault of the text with its line, what was expected and what to write.
    """
    faults = Faults(file)
    return read_keys(read_nodes(text, faults), faults)


def task_names() -> list[str]:
    """Names of the shipped tasks."""
    return sorted(path.stem for path in pattern_folder().glob("*.yaml"))


def pattern_folder() -> Path:
    """Where the shipped pattern files lie: in the package (a wheel), or beside it (a checkout)."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "patterns"
    return inside if inside.is_dir() else package.parent / "patterns"
