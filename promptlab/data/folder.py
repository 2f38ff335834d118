"""The files of a task in a folder: DIR/<task>/, or the folders that the task's file names beside it.

    ours        {train,dev,test,unlabeled}.{jsonl,csv,tsv,parquet,json,xml}, each also with .gz
    published   trainset.csv, devset.csv, testset_w_refs.csv                    E2E
                dart-*-train.json, ...                                          DART
                train/**/*.xml, dev/**/*.xml, test/testdata_with_lex.xml        WebNLG 2017
                en/train/**/*.xml, ..., en/test/rdf-...-with-refs-en.xml        WebNLG 2020

Published names are looked for only where a split has no file of ours; test files without references are left aside.
"""

from pathlib import Path

from promptlab.data.files import KINDS
from promptlab.errors import DataError, did_you_mean
from promptlab.language.task import Task

SPLITS = ("train", "test", "unlabeled", "dev")
_WITH_REFS = ("testdata_with_lex.xml", "rdf-to-text-generation-test-data-with-refs-en.xml")
_PUBLISHED = {
    "train": ("trainset.csv", "dart-*-train.json", "train/**/*.xml", "en/train/**/*.xml", "*train*.xml"),
    "dev": ("devset.csv", "dart-*-dev.json", "dev/**/*.xml", "en/dev/**/*.xml", "*dev*.xml"),
    "test": (
        "testset_w_refs.csv",
        "dart-*-test.json",
        *(f"{inside}{name}" for inside in ("test/", "en/test/", "") for name in _WITH_REFS),
    ),
}

Files = Path | tuple[Path, ...]


def splits_in(folder: Path, task: Task) -> dict[str, Files]:
    """The file of each split that the folder holds, or the files that are one split together.

    Raises:
        DataError: no folder of the task, neither train nor test rows in it, or two files of one split.
    """
    home = _home(folder, task)
    found = {split: _files(home, split) for split in SPLITS}
    if not (found["train"] or found["test"]):
        raise DataError(
            f"{home} holds neither train nor test rows. Write {home / 'train.jsonl'} (or csv, tsv, parquet)."
        )
    return {split: files for split, files in found.items() if files is not None}


def _home(folder: Path, task: Task) -> Path:
    named = (task.dataset or {}).get("folders")
    homes = [folder / name for name in (task.name, *(named if isinstance(named, list) else ()))]
    there = next((home for home in homes if home.is_dir()), None)
    if there is not None:
        return there
    others = sorted(other.name for other in folder.iterdir() if other.is_dir()) if folder.is_dir() else []
    listed = f"{did_you_mean(task.name, others)} Found: {', '.join(others) or 'no folder'}."
    write = f"Write --data DIR where DIR/{task.name}/ holds train.jsonl, test.jsonl (or csv, tsv, parquet)."
    raise DataError(f"no folder {homes[0]}.{listed} {write}")


def _files(home: Path, split: str) -> Files | None:
    names = [f"{split}{kind}{gz}" for kind in KINDS for gz in ("", ".gz")]
    found = [home / name for name in names if (home / name).is_file()]
    for shape in _PUBLISHED.get(split, ()):
        found = found or sorted(path for path in home.glob(shape) if path.is_file())
    if len(found) > 1 and any(path.suffix != ".xml" for path in found):
        raise DataError(f"{home} holds {' and '.join(path.name for path in found)}. Leave one of them.")
    return (found[0] if len(found) == 1 else tuple(found)) if found else None
