import json

import numpy as np
import pytest

from promptlab.errors import DataError, SettingError
from promptlab.language.example import Example
from promptlab.language.library import read_task
from promptlab.language.task import Task
from promptlab.methods.chosen import choose
from promptlab.methods.method import Job, probabilities
from promptlab.methods.shown import show, show_untrained

GOOD, BAD = Example({"text": "a good film"}), Example({"text": "a bad film"})


@pytest.fixture
def fitted(reviews_task, reviews):
    def fit(backbone, method, tuning=None, unlabelled=(), task=reviews_task):
        chosen = choose(method, tuning)
        [predictor] = [
            one.keep() for _, one in chosen.method.fit(backbone, chosen.tuning, [Job(task, reviews[:8], unlabelled)])
        ]
        return predictor

    return fit


def test_a_pattern_is_shown_filled_in_with_guesses_labels_and_mass(tiny_bert, fitted):
    (row,) = show(fitted(tiny_bert, "zero-shot"), [GOOD])
    assert (row["pattern"], row["text"]) == ("p1", "a good film It was ▁▁▁.")
    assert len(row["guesses"]) == 5
    assert sum(row["probabilities"].values()) == pytest.approx(1)
    assert 0 < row["mass"] < 1
    assert row["cut"] is False


def test_the_answer_shown_is_the_predictors(tiny_bert, fitted):
    predictor = fitted(tiny_bert, "prompt:patterns=all,steps=2", "lora:lr=0.1")
    shown = show(predictor, [GOOD, BAD]).to_dict()["texts"]
    shares = probabilities(predictor.scores([GOOD, BAD]))
    for text, p in zip(shown, shares, strict=True):
        assert list(text["probabilities"].values()) == pytest.approx(p.tolist())
        assert text["label"] == ("negative", "positive")[p.argmax()]


def test_what_a_pattern_says_is_said_by_its_own_trained_model(tiny_bert, fitted):
    predictor = fitted(tiny_bert, "prompt:patterns=all,steps=3", "lora:lr=0.1")
    rows = list(show(predictor, [GOOD]))
    for row, member in zip(rows, predictor.members, strict=True):
        assert list(row["probabilities"].values()) == pytest.approx(probabilities(member.scores([GOOD]))[0].tolist())
    plain = list(show(fitted(tiny_bert, "zero-shot:patterns=all"), [GOOD]))
    assert [p for row in rows for _, p in row["guesses"]] != [p for row in plain for _, p in row["guesses"]]


def test_guesses_agree_with_the_label_words(tiny_bert, fitted):
    (row,) = show(fitted(tiny_bert, "zero-shot"), [GOOD], count=tiny_bert.vocab)
    words = dict(row["guesses"])
    assert words["terrible"] + words["great"] == pytest.approx(row["mass"], abs=1e-6)
    share = words["great"] / (words["terrible"] + words["great"])
    assert row["probabilities"]["positive"] == pytest.approx(share, abs=1e-5)


def test_labels_are_shown_calibrated_where_the_answers_are(tiny_bert, fitted):
    predictor = fitted(tiny_bert, "zero-shot:calibration=contextual")
    (row,) = show(predictor, [GOOD])
    assert list(row["probabilities"].values()) == pytest.approx(probabilities(predictor.scores([GOOD]))[0].tolist())


def test_members_that_ask_the_same_are_numbered(tiny_bert, fitted):
    predictor = fitted(tiny_bert, "pet:repetitions=2,steps=1,patterns=p1+p2", "lora")
    shown = show(predictor, [GOOD])
    assert [(row["pattern"], row["member"]) for row in shown] == [("p1", 1), ("p1", 2), ("p2", 1), ("p2", 2)]
    assert "p1 #2  a good film It was ▁▁▁." in str(shown)


@pytest.mark.parametrize("method", ["majority", "tfidf", "probe", "finetune:steps=1"])
def test_what_asks_no_pattern_shows_its_labels_alone(tiny_bert, fitted, method):
    (row,) = show(fitted(tiny_bert, method), [GOOD])
    assert (row["pattern"], row["text"]) == ("bare text", "a good film")
    assert row.keys() - {"cut"} == {"pattern", "text", "probabilities"}


def test_a_students_teachers_are_not_shown(tiny_bert, fitted, reviews):
    pool = [example.unlabelled() for example in reviews[:4]]
    predictor = fitted(tiny_bert, "pet:repetitions=1,steps=1,student_steps=1", "lora", pool)
    assert [row["pattern"] for row in show(predictor, [GOOD])] == ["bare text"]


def test_a_plain_backbone_shows_every_pattern_and_no_answer(tiny_bert, reviews_task):
    shown = show_untrained(reviews_task, tiny_bert, [GOOD])
    assert [row["pattern"] for row in shown] == ["p1", "p2", "p3"]
    (text,) = shown.to_dict()["texts"]
    assert (text["label"], text["probabilities"]) == (None, None)


def test_a_pattern_that_cannot_be_asked_says_why(tiny_gpt2, reviews_task):
    _, middle, last = show_untrained(reviews_task, tiny_gpt2, [GOOD])
    assert middle["skipped"] == "a field after the mask, which a causal model cannot read"
    assert middle["text"] == "Just ▁▁▁! │ a good film"
    assert "guesses" in last


def test_words_are_shown_in_pieces_with_the_scores_that_their_labels_average(tiny_bert):
    words = {"negative": ["terrible", "gruesome"], "positive": "gorgeous"}
    task = Task.from_parts(["{text} {mask}"], words)
    (row,) = show_untrained(task, tiny_bert, [GOOD])
    assert [word["word"] for word in row["words"]] == ["terrible", "gruesome", "gorgeous"]
    assert [word["label"] for word in row["words"]] == ["negative", "negative", "positive"]
    assert [len(word["pieces"]) for word in row["words"]] == [1, 8, 8]
    terrible, gruesome, gorgeous = (word["score"] for word in row["words"])
    apart = np.exp([(terrible + gruesome) / 2, gorgeous])
    assert list(row["probabilities"].values()) == pytest.approx((apart / apart.sum()).tolist(), rel=1e-5)


def test_a_word_of_one_piece_scores_its_log_probability(tiny_bert, fitted):
    (row,) = show(fitted(tiny_bert, "zero-shot"), [GOOD], count=tiny_bert.vocab)
    words = dict(row["guesses"])
    for word in row["words"]:
        assert word["score"] == pytest.approx(np.log(words[word["word"]]), abs=1e-4)


def test_guesses_are_whole_words_where_label_words_are_longer(tiny_bert):
    task = Task.from_parts(["{text} {mask}"], {"negative": "terrible", "positive": "gorgeous"})
    short = Task.from_parts(["{text} {mask}"], {"negative": "terrible", "positive": "great"})
    (long,), (one,) = (show_untrained(each, tiny_bert, [GOOD]) for each in (task, short))
    assert long["guesses"] == one["guesses"]


def test_what_was_read_is_told_with_the_models_own_tokens(tiny_bert, fitted):
    (row,) = show(fitted(tiny_bert, "zero-shot"), [GOOD])
    assert row["read"] == "[CLS] a good film it was [MASK]. [SEP]"


@pytest.mark.parametrize("kind", ["contextual", "pmi", "batch"])
def test_labels_are_shown_before_and_after_calibration(tiny_bert, fitted, reviews_task, reviews, kind):
    pool = [example.unlabelled() for example in reviews[:6]]
    (row,) = show_untrained(reviews_task, tiny_bert, [GOOD], patterns="p1", calibration=kind, unlabelled=pool)
    (plain,) = show_untrained(reviews_task, tiny_bert, [GOOD], patterns="p1")
    assert row["uncalibrated"] == pytest.approx(plain["probabilities"])
    (same,) = show(fitted(tiny_bert, f"zero-shot:calibration={kind}", unlabelled=pool), [GOOD])
    assert row["probabilities"] == pytest.approx(same["probabilities"])
    assert row["probabilities"] != pytest.approx(row["uncalibrated"], abs=1e-4)
    assert "uncalibrated" not in plain
    shown = str(show_untrained(reviews_task, tiny_bert, [GOOD], patterns="p1", calibration=kind, unlabelled=pool))
    assert "      before   " in shown
    assert "without calibration" in shown


def test_calibration_that_cannot_be_is_an_error(tiny_bert, reviews_task):
    with pytest.raises(DataError, match="calibration=batch needs unlabelled rows"):
        show_untrained(reviews_task, tiny_bert, [GOOD], calibration="batch")
    with pytest.raises(SettingError, match="no such kind. Did you mean 'pmi'"):
        show_untrained(reviews_task, tiny_bert, [GOOD], calibration="pmii")


def test_a_rows_own_answers_are_shown_with_their_shares(tiny_bert):
    task = read_task('task: own\ninputs: [text, choices]\ncandidates: choices\npatterns: {it: "{text} it is {mask}"}\n')
    three, two = ("good", "bad film", "the plot"), ("no", "yes")
    rows = [Example({"text": "a", "choices": three}), Example({"text": "b", "choices": two})]
    first, second = show_untrained(task, tiny_bert, rows, patterns="it")
    assert tuple(first["probabilities"]) == three
    assert tuple(second["probabilities"]) == two
    assert sum(first["probabilities"].values()) == pytest.approx(1)
    assert sum(second["probabilities"].values()) == pytest.approx(1)
    assert [word["pieces"] for word in first["words"]] == [["good"], ["bad", "film"], ["the", "plot"]]
    assert [word["label"] for word in second["words"]] == ["no", "yes"]


def test_patterns_by_letter_are_shown_where_they_are_asked_for(tiny_bert, tiny_gpt2, reviews_task):
    for backbone in (tiny_bert, tiny_gpt2):
        (row,) = show_untrained(reviews_task, backbone, [GOOD], patterns="letters")
        assert [word["word"] for word in row["words"]] == ["A", "B"]
    (refused,) = show_untrained(reviews_task, tiny_gpt2, [GOOD], patterns="modernbert-letters")
    assert "has no token '[unused0]'" in refused["skipped"]


def test_a_text_that_was_cut_says_where(tiny_bert, fitted):
    long = Example({"text": "slow " * 190 + "end"})
    shown = show(fitted(tiny_bert, "zero-shot"), [GOOD, long])
    assert [row["cut"] for row in shown] == [False, True]
    [cut] = list(shown)[1]["cuts"]
    kept = list(shown)[1]["read"].split().count("slow")
    assert cut == {"field": "text", "read": kept, "of": 193, "until": "slow slow slow slow slow slow"}
    assert f"longer than the model reads: {kept} of 193 tokens of text, up to 'slow slow" in str(shown)
    (row,) = show(fitted(tiny_bert, "finetune:steps=1", "lora"), [long])
    assert row["cut"] is True


def test_of_two_fields_only_the_one_that_was_cut_is_named(tiny_bert):
    task = Task.from_parts(["{first} {mask} {second}"], {"negative": "no", "positive": "yes"})
    (row,) = show_untrained(task, tiny_bert, [Example({"first": "a good film", "second": "bad " * 300})])
    assert [cut["field"] for cut in row["cuts"]] == ["second"]


def test_a_screen_reads_from_the_text_to_the_labels(tiny_bert, reviews_task):
    predictor_rows = show_untrained(reviews_task, tiny_bert, [GOOD])
    lines = str(predictor_rows).splitlines()
    assert lines[0] == "a good film"
    assert lines[1] == "  p1  a good film It was ▁▁▁."
    assert lines[2].startswith("      guesses  ")
    assert lines[3].startswith("      tokens   negative=terrible -")
    assert lines[4].startswith("      labels   ")
    assert "    mass on label words ." in lines[4]


def test_a_screen_puts_the_likeliest_label_first(tiny_bert, fitted):
    shown = show(fitted(tiny_bert, "majority"), [GOOD])
    shown.texts[0]["probabilities"].update(negative=0.125, positive=0.875)
    assert str(shown).splitlines()[1] == "  positive .88  negative .12"


def test_a_long_text_is_shortened_in_the_middle_on_the_screen_only(tiny_bert, fitted):
    long = Example({"text": "slow " * 100 + "end"})
    shown = show(fitted(tiny_bert, "zero-shot"), [long])
    line = str(shown).splitlines()[2]
    assert " ... " in line
    assert line.endswith("end It was ▁▁▁.")
    assert len(next(iter(shown))["text"]) > 500


def test_a_shown_thing_prints_itself_where_it_stands_alone(tiny_bert, fitted):
    shown = show(fitted(tiny_bert, "majority"), [GOOD, BAD])
    assert repr(shown) == str(shown)
    assert str(shown).split("\n\n")[1].startswith("a bad film")


def test_everything_shown_can_be_json(tiny_bert, fitted):
    shown = show(fitted(tiny_bert, "zero-shot:patterns=all"), [GOOD, BAD])
    again = json.loads(json.dumps(shown.to_dict()))
    assert again["texts"][1]["fields"] == {"text": "a bad film"}
    assert len(again["texts"][1]["patterns"]) == 3
    assert len(shown) == 6


def test_no_texts_show_nothing(tiny_bert, fitted, reviews_task):
    for shown in (show(fitted(tiny_bert, "zero-shot"), []), show_untrained(reviews_task, tiny_bert, [])):
        assert (len(shown), str(shown), list(shown)) == (0, "", [])


def test_looking_changes_no_answer(tiny_bert, fitted):
    predictor = fitted(tiny_bert, "prompt:steps=2", "full:lr=0.01")
    before = predictor.scores([GOOD, BAD])
    show(predictor, [GOOD])
    assert np.array_equal(predictor.scores([GOOD, BAD]), before)


def test_two_inputs_are_shown_side_by_side(tiny_bert, fitted):
    task = Task.from_parts(["{first} {mask} {second}"], {"negative": "no", "positive": "yes"})
    pairs = [Example({"first": "a", "second": "b"}, "negative"), Example({"first": "the", "second": "in"}, "positive")]
    chosen = choose("tfidf")
    [(_, predictor)] = chosen.method.fit(None, None, [Job(task, pairs)])
    assert str(show(predictor, pairs[:1])).splitlines()[0] == "a │ b"
