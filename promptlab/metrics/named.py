"""The metrics of texts by name; nothing heavy is imported to list them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TextMetric:
    """A metric of texts: one line that says what it is, its paper, the packages it needs, whether small is good."""

    about: str
    paper: str
    needs: tuple[str, ...]
    java: bool = False
    falls: bool = False


_SACRE, _COCO = ("sacrebleu",), ("pycocoevalcap",)
TEXT_METRICS: dict[str, TextMetric] = {
    "bleu": TextMetric("BLEU of E2E's script: 13a tokens, any case, no smoothing", "Papineni et al. 2002", _SACRE),
    "nist": TextMetric("NIST of E2E's script: 5-grams by their information", "Doddington 2002", _SACRE),
    "meteor": TextMetric("METEOR 1.5 over Treebank words", "Denkowski & Lavie 2014", _COCO, java=True),
    "rouge_l": TextMetric("ROUGE-L of the caption challenge, beta 1.2", "arXiv:1504.00325", _COCO),
    "cider": TextMetric("CIDEr-D, idf of the test references", "arXiv:1411.5726", _COCO),
    "webnlg_bleu": TextMetric("BLEU of WebNLG's script: 13a tokens, case counts", "Papineni et al. 2002", _SACRE),
    "webnlg_meteor": TextMetric(
        "METEOR 1.5 over NLTK's words, as WebNLG's script", "Denkowski & Lavie 2014", (*_COCO, "nltk"), java=True
    ),
    "ter": TextMetric(
        "translation edit rate by sacrebleu; smaller is better", "Snover et al. 2006", _SACRE, falls=True
    ),
    "chrf": TextMetric("chrF++ by sacrebleu", "Popovic 2017", _SACRE),
    "rouge1": TextMetric("ROUGE-1 F1, stemmed, mean over rows", "Lin 2004", ("rouge_score",)),
    "rouge2": TextMetric("ROUGE-2 F1, stemmed, mean over rows", "Lin 2004", ("rouge_score",)),
    "rougeL": TextMetric("ROUGE-L F1, stemmed, mean over rows", "Lin 2004", ("rouge_score",)),
}
"""Every metric of texts by name."""
