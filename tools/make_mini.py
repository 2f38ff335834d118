"""Makes the embedded backbone again: promptlab/assets/mini, a difference over all-MiniLM-L6-v2.

    python tools/make_mini.py CORPUS [--minutes 120 | --tokens 8M] [--work runs/mini] [--from mini]

CORPUS is a folder of openly licensed text, a paragraph a line: enwiki_part.txt.gz, gutenberg_modern.txt.gz,
masc.txt.gz, us_presidents.txt.gz. A killed run goes on when started again; ``--from mini`` trains the mini that is
there further.
"""

import argparse
import json
import shutil
from pathlib import Path

from promptlab.backbone.catalog import ASSETS, MINI
from promptlab.backbone.difference import ABOUT
from promptlab.training.adapt import Settings, adapt

BASE = "sentence-transformers/all-MiniLM-L6-v2"
TEXTS = {
    "enwiki_part.txt.gz": "English Wikipedia, a part of it (CC BY-SA 4.0)",
    "gutenberg_modern.txt.gz": "modern books of Project Gutenberg (public domain in the USA)",
    "masc.txt.gz": "Manually Annotated Sub-Corpus of the Open American National Corpus (freely usable)",
    "us_presidents.txt.gz": "speeches of presidents of the USA (public domain)",
}
LIMIT = 24_000_000  # bytes of the whole folder


def main() -> None:
    """Trains, and puts the result into the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--tokens")
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--tuning", default="full:lr=5e-4")
    parser.add_argument("--mask-rate", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/mini"))
    parser.add_argument("--from", dest="start", default=BASE)
    parser.add_argument("--keep-out", action="store_true", help="leave promptlab/assets/mini as it is")
    asked = parser.parse_args()
    minutes = 120.0 if asked.minutes is None and asked.tokens is None else asked.minutes
    how = Settings(asked.tuning, asked.tokens, minutes, batch=asked.batch, mask_rate=asked.mask_rate, seed=asked.seed)
    before = json.loads((ASSETS / MINI / ABOUT).read_text(encoding="utf-8")) if asked.start == MINI else None
    texts = [asked.corpus / name for name in TEXTS]
    about = adapt(texts, asked.start, asked.work, how, difference=True, new_head=True, report=say)
    size = sum(file.stat().st_size for file in asked.work.iterdir())
    if size > LIMIT:
        raise SystemExit(f"{asked.work} has {size:,} bytes, more than {LIMIT:,}")
    print(json.dumps({"bytes": size, "tokens": about["tokens"], "stored": about["stored"]}))
    if not asked.keep_out:
        shutil.rmtree(ASSETS / MINI, ignore_errors=True)
        shutil.copytree(asked.work, ASSETS / MINI)
        write_card(ASSETS / MINI, about, size, before)


def say(point: dict[str, float]) -> None:
    """A line of JSON for the log."""
    print(json.dumps(point), flush=True)


def write_card(folder: Path, about: dict, size: int, before: dict | None = None) -> None:
    """The model card: text, licences, steps, masked accuracy; ``before`` is what the training went on from."""
    first, last = about["curve"][0], about["curve"][-1]
    earlier = f", after {before['tokens']:,} tokens in {before['steps']:,} steps" if before else ""
    lines = [
        "---",
        "license: apache-2.0",
        f"base_model: {BASE}",
        "pipeline_tag: fill-mask",
        "language: en",
        "tags: [promptlab]",
        "---",
        "",
        "# mini",
        "",
        f"The embedded masked language model of promptlab: BERT, 6 layers, 384 wide, uncased. Its body is {BASE}",
        "(Apache-2.0), which is not in this folder; here is the difference of every weight, word embeddings too, in",
        f"int8 with a scale a row, and a masked-LM head that the base lacks: {size / 1e6:.1f} MB.",
        "",
        "## Training",
        "",
        f"`tools/make_mini.py`: {about['tokens']:,} tokens in {about['steps']:,} steps{earlier}, "
        f"{about['seconds'] / 60:.0f} minutes on two cores;",
        f"`{about['settings']['tuning']}`, rows of at most {about['settings']['length']} tokens, "
        f"{100 * about['settings']['mask_rate']:.0f} % masked by whole words. Text, drawn at random from:",
        "",
        *(f"- {text}" for text in TEXTS.values()),
        "",
        "## On text held out",
        "",
        "15 % of the words masked, whole words:",
        "",
        "| | loss (nats) | accuracy |",
        "|---|--:|--:|",
        f"| before | {first['loss']:.3f} | {first['accuracy']:.3f} |",
        f"| after | {last['loss']:.3f} | {last['accuracy']:.3f} |",
        f"| as stored here | {about['stored']['loss']:.3f} | {about['stored']['accuracy']:.3f} |",
        "",
        "It is a small model of short training: good for comparing methods on a laptop, not for its knowledge. It has",
        "the biases of its text and of its base.",
        "",
    ]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
