import numpy as np
import pytest

from promptlab.errors import DataError, MissingExtra, SettingError
from promptlab.metrics import jars, mteval, ptb, texts
from promptlab.metrics.named import TEXT_METRICS
from promptlab.metrics.texts import measure, missing, score_texts

ROWS = [
    (
        "The Copper Kettle isn't family-friendly; it's near Mill Lane, with meals under £12.",
        [
            "The Copper Kettle is not family-friendly. It is near Mill Lane and costs under £12.",
            "Near Mill Lane, the Copper Kettle isn't for families, with prices below £12.",
        ],
    ),
    (
        "Old Harbour is a cheap pub by the river river.",
        [
            "Old Harbour is a cheap pub by the river.",
            "A cheap pub, Old Harbour, stands by the river.",
            "By the river you'll find Old Harbour: a cheap pub.",
        ],
    ),
    (
        'Bistro 31 serves "fusion" food (5 out of 5) for €20-€25 in the U.S.',
        [
            "Rated 5 out of 5, Bistro 31 serves fusion food for €20-€25 in the U.S.",
            "Bistro 31 (rated 5 out of 5) has fusion dishes at €20-€25.",
        ],
    ),
    (
        "The pond",
        ["The Pond is a café in Serie Street."],
    ),
    (
        "Dr. Wren's grill cannot seat children, and 3,500 guests rate it 4.5/5 on www.example.com",
        [
            "Dr. Wren's Grill can't seat children; 3,500 guests rate it 4.5/5 on www.example.com.",
            "Children can not eat at Dr. Wren's Grill.",
        ],
    ),
]
SAID, RIGHT = [said for said, _ in ROWS], [right for _, right in ROWS]

# what tuetschek/e2e-metrics (measure_scores.py -p, commit 1b9c4d8) prints for these rows, and for two short ones
OFFICIAL = {
    "bleu": 0.6124310521701549,
    "nist": 6.089020975031975,
    "meteor": 0.4674996530683687,
    "rouge_l": 0.727023783190673,
    "cider": 4.079074223363717,
}
SHORT = (["The pond", "Old"], [["The Pond is a café."], ["Old Harbour is a cheap pub.", "Old pub by the river."]])
SHORT_OFFICIAL = {
    "bleu": 4.978706836786396e-05,
    "nist": 0.0008545440462762298,
    "rouge_l": 0.4139978791092259,
    "cider": 1.8879697358169374,
}

java = pytest.mark.skipif(bool(jars.missing()), reason=f"METEOR and Stanford's tokenizer: {jars.missing()}")


@pytest.mark.parametrize("name", ["bleu", "nist", "rouge_l", "cider"])
def test_the_metrics_of_e2e_are_those_of_its_script_without_java(name):
    assert measure(SAID, RIGHT, [name], words="own")[name].value == pytest.approx(OFFICIAL[name], abs=1e-9)


@pytest.mark.parametrize("name", SHORT_OFFICIAL)
def test_so_they_are_of_texts_that_are_shorter_than_four_words(name):
    assert measure(*SHORT, [name], words="own")[name].value == pytest.approx(SHORT_OFFICIAL[name], abs=1e-9)


@java
def test_with_java_all_five_are_those_of_the_script_and_intervals_hold_them():
    found = measure(SAID, RIGHT, list(OFFICIAL), draws=50)
    for name, right in OFFICIAL.items():
        assert found[name].value == pytest.approx(right, abs=1e-9)
        assert found[name].low <= right <= found[name].high
    assert found["meteor"].note == "words: Stanford's PTBTokenizer 3.4.1"


@java
def test_summed_counts_score_as_meteor_scores_a_whole_test_set():
    with jars.Meteor() as meteor:
        rows = meteor.counts(["the blue house", "a red door"], [["the blue house"], ["a door", "red is the door"]])
        summed = meteor.scores(jars.summable(rows).sum(axis=0, keepdims=True))
        assert summed == pytest.approx([meteor.whole(rows)], abs=1e-9)
        assert meteor.scores(rows.sum(axis=0, keepdims=True)) != pytest.approx([meteor.whole(rows)], abs=1e-4)


@java
def test_stanfords_words_are_ours():
    every = [*SAID, *(one for some in RIGHT for one in some)]
    assert jars.words(every) == ptb.lines(every)


def test_without_java_meteor_is_missing_and_nothing_stands_in_for_it(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda program: None)
    assert score_texts(SAID, RIGHT, ["meteor", "webnlg_meteor"]) == {"meteor": None, "webnlg_meteor": None}
    assert "no Java" in missing("meteor")
    assert missing("cider") == ""
    assert measure(SAID, RIGHT, ["cider"])["cider"].note == "words: promptlab's Treebank words"
    with pytest.raises(MissingExtra, match="no Java. Install a Java runtime"):
        measure(SAID, RIGHT, ["cider"], words="java")


def test_a_package_that_is_not_there_makes_its_metrics_missing(monkeypatch):
    monkeypatch.setattr(texts, "find_spec", lambda package: None)
    assert score_texts(SAID, RIGHT, ["bleu", "rouge1"]) == {"bleu": None, "rouge1": None}
    assert missing("bleu") == "the package sacrebleu is not installed. Write pip install 'promptlab[text]'"


def test_webnlgs_bleu_counts_case_and_its_padding_changes_the_brevity():
    plain, legacy = (measure(SAID, RIGHT, ["webnlg_bleu"], webnlg_legacy=old)["webnlg_bleu"] for old in (False, True))
    assert legacy.value == pytest.approx(0.6104, abs=5e-5)  # multi-bleu-detok.perl prints 61.04
    assert (plain.note, legacy.note) == ("missing references do not count", "missing references count as empty")
    assert plain.value < legacy.value


def test_webnlgs_bleu_is_sacrebleus_without_smoothing():
    from sacrebleu.metrics.bleu import BLEU

    columns = [[some[at] if at < len(some) else None for some in RIGHT] for at in range(3)]
    right = BLEU(smooth_method="none").corpus_score(SAID, columns).score / 100
    assert score_texts(SAID, RIGHT, ["webnlg_bleu"])["webnlg_bleu"] == pytest.approx(right, abs=1e-12)
    assert score_texts(*SHORT, ["webnlg_bleu"]) == {"webnlg_bleu": 0.0}


def test_texts_that_are_right_get_full_marks():
    right = [some[:1] for some in RIGHT]
    found = score_texts([some[0] for some in right], right, ["bleu", "rouge_l", "ter", "chrf", "rouge1", "rougeL"])
    assert found == pytest.approx({"bleu": 1, "rouge_l": 1, "ter": 0, "chrf": 1, "rouge1": 1, "rougeL": 1}, abs=1e-9)


def test_rouge_takes_the_best_reference_and_the_plain_mean():
    right = [["a cat sat", "dogs ran"], ["no word"]]
    assert score_texts(["the dog ran", "x y"], right, ["rouge1"])["rouge1"] == pytest.approx(0.8 / 2)


def test_information_falls_with_frequency():
    counts = mteval.count(["rare", "often"], [["rare often often"], ["often often often"]])
    assert counts[0, mteval.WORTH][0] == pytest.approx(np.log2(6 / 1))
    assert counts[1, mteval.WORTH][0] == pytest.approx(np.log2(6 / 5))


def test_intervals_are_seeded_and_what_has_none_says_so():
    again = [measure(SAID, RIGHT, ["bleu", "ter"], draws=40, seed=seed) for seed in (1, 1, 2)]
    assert again[0] == again[1]
    assert again[0]["bleu"].low != again[2]["bleu"].low
    assert (again[0]["ter"].low, again[0]["ter"].note) == (None, "no interval")


def test_an_empty_text_counts_as_nothing_right():
    found = score_texts(["", *SAID[1:]], RIGHT, ["bleu", "rouge_l", "rouge1", "ter"])
    full = score_texts(SAID, RIGHT, ["bleu", "rouge_l", "rouge1", "ter"])
    assert all(found[name] < full[name] for name in ("bleu", "rouge_l", "rouge1"))


def test_counts_that_differ_are_refused_with_both():
    with pytest.raises(DataError, match="2 hypotheses, but references for 5 inputs"):
        score_texts(SAID[:2], RIGHT, ["bleu"])
    with pytest.raises(DataError, match="input 2 has no reference"):
        score_texts(SAID[:2], [["x"], [" "]], ["bleu"])


def test_an_unknown_metric_is_refused_with_the_nearest():
    with pytest.raises(SettingError, match="no metric of texts 'rouge_1'. Did you mean 'rouge1'"):
        score_texts(SAID, RIGHT, ["rouge_1"])
    with pytest.raises(SettingError, match="words=perl: no such words. Write java or own"):
        measure(SAID, RIGHT, ["cider"], words="perl")


def test_every_metric_says_what_it_is_and_whose():
    assert all(metric.about and metric.paper and metric.needs for metric in TEXT_METRICS.values())
