"""What was shown, on a screen."""

from promptlab.methods.screen import called, plain, rows_lines, short

ROW = {
    "pattern": "it",
    "text": "A film. It was ▁▁▁.",
    "context": ["Is it good?", "A bore. It was bad."],
    "guesses": [("great", 0.21), ("fine", 0.1)],
    "words": [
        {"label": "negative", "word": "bad", "pieces": ["bad"], "score": -3.21},
        {"label": "positive", "word": "gorgeous", "pieces": ["gorg", "##eous"], "score": -9.87},
    ],
    "uncalibrated": {"negative": 0.9, "positive": 0.1},
    "probabilities": {"negative": 0.04, "positive": 0.96},
    "mass": 0.22,
    "cut": True,
    "cuts": [{"field": "text", "read": 96, "of": 412, "until": "the very end"}],
}


def test_a_row_is_told_from_what_was_read_to_what_was_left_out():
    assert plain(rows_lines([ROW])).splitlines() == [
        "  it  A film. It was ▁▁▁.",
        "      context  Is it good? / A bore. It was bad.",
        "      guesses  great .21  fine .10",
        "      tokens   negative=bad -3.2  positive=gorg+##eous -9.9",
        "      before   negative .90  positive .10    without calibration",
        "      labels   positive .96  negative .04    mass on label words .22",
        "      cut      longer than the model reads: 96 of 412 tokens of text, up to 'the very end'",
    ]


def test_a_row_that_was_skipped_says_why():
    rows = [{"pattern": "it", "text": "...", "skipped": "a field after the mask"}, {"pattern": "longer", "text": "x"}]
    assert plain(rows_lines(rows)).splitlines() == [
        "  it      ...",
        "          skipped  a field after the mask",
        "  longer  x",
    ]


def test_the_gap_and_the_answer_stand_out():
    styles = {text: style for line in rows_lines([ROW]) for text, style in line}
    assert styles["▁▁▁"] == "bold yellow"
    assert styles["positive .96"] == "bold green"


def test_members_that_ask_the_same_are_numbered():
    assert called({"pattern": "it", "member": 2}) == "it #2"


def test_a_long_text_loses_its_middle_unless_it_is_wanted_whole():
    text = "slow " * 100 + "end"
    assert " ... " in short(text)
    assert plain(rows_lines([{"pattern": "it", "text": text}], whole=True)) == f"  it  {text}"
