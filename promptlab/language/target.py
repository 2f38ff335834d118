"""Tasks that ask for a text (``{target}``) and not for a label: what can be said of one, and what compares its texts.

    bleu nist meteor rouge_l cider      as the E2E challenge scores them (Novikova et al. 2017, arXiv:1706.09254)
    ter chrf                            beside BLEU and METEOR those of WebNLG
    rouge1 rouge2 rougeL                as XSum's summaries are scored (Narayan et al. 2018, arXiv:1808.08745)

``metrics/texts.py`` says how each is computed; here stand their names alone, for pattern files are read without it.
"""

from promptlab.errors import did_you_mean

TEXT_METRICS = ("bleu", "nist", "meteor", "rouge_l", "cider", "ter", "chrf", "rouge1", "rouge2", "rougeL")
"""What can compare texts; the first is the default."""


def metric_fault(name: str, generates: bool) -> str:
    """What is wrong with a metric of a task, in words; empty where nothing is.

    Args:
        name: as written.
        generates: whether the task asks for a text.
    """
    if generates and name not in TEXT_METRICS:
        known = f"Known: {', '.join(TEXT_METRICS)}."
        return (
            f"metric '{name}' compares no texts, and the task asks for one.{did_you_mean(name, TEXT_METRICS)} {known}"
        )
    if not generates and name in TEXT_METRICS:
        return f"metric '{name}' compares texts, and the task has labels. Write a metric of labels, such as accuracy."
    return ""


def part_of(value: object, column: str) -> str | None:
    """The part of the rows that a value of the column ``parts:`` stands for.

    A truth value says whether a row is what the column is called: of ``seen``, ``true`` is the part ``seen`` and
    ``false`` the part ``unseen``. Any other value is a part of its own name.
    """
    text = "" if value is None else str(value).strip()
    if text.casefold() in ("true", "false"):
        return column if text.casefold() == "true" else f"un{column}"
    return text or None
