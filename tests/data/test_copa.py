"""COPA rows: linking words, mirrored shots, test rows as they are. And MultiRC rows: one for each answer."""

import pytest

from promptlab.data.fewshot import sample, sample_shots
from promptlab.data.sources import Splits, read_examples
from promptlab.data.steps import taught
from promptlab.errors import DataError
from promptlab.language.library import load_task

COPA, MULTIRC = load_task("copa"), load_task("multirc")


def copa(question="cause", label=0, premise="The lamp went out.", first="The fuse blew.", second="A guest sang."):
    return {"premise": premise, "question": question, "choice1": first, "choice2": second, "label": label}


def read(*rows, **settings):
    return read_examples(list(rows), COPA, **settings)


def passages(label=True):
    answers = [{"text": "Ann", "label": 1}, {"text": "Bo", "label": 0}] if label else [{"text": "Ann"}, {"text": "Bo"}]
    questions = [
        {"question": "Who?", "idx": 4, "answers": answers},
        {"question": "Whose?", "idx": 5, "answers": answers[:1]},
    ]
    return {"idx": 3, "passage": {"text": "Ann met Bo.", "questions": questions}}


@pytest.mark.parametrize(
    ("question", "said"), [("cause", "went out because the fuse blew."), ("Effect", "went out, so ")]
)
def test_the_question_decides_how_a_premise_leads_to_its_answer(question, said):
    (row,) = read(copa(question))
    assert said in COPA.pvps[0].pattern.fill(row, word="the fuse blew")


def test_a_choice_without_its_capital_and_full_stop_is_its_words():
    (row,) = read(copa())
    assert COPA.pvps[0].verbalizer.spoken(row, COPA.choices(row)) == (("the fuse blew",), ("a guest sang",))
    assert (COPA.gold(row), read(copa(label=1))[0].label) == (0, "choice2")


def test_a_shot_teaches_itself_and_its_mirror_image():
    first, second = taught(COPA, read(copa()))
    assert first == read(copa())[0]
    assert second == read(copa(label=1, first="A guest sang.", second="The fuse blew."))[0]


def test_shots_that_were_mirrored_are_not_mirrored_again():
    once = taught(COPA, read(copa(), copa("effect", 1)))
    assert len(once) == 4
    assert taught(COPA, once) == once


def test_test_rows_and_the_pool_are_never_mirrored():
    rows = read(copa(), copa("effect", 1), copa("effect", 0, "It froze."))
    drawn = sample(COPA, Splits(train=rows, test=rows), "total:1", seed=0)
    assert [len(part) for part in (drawn.train, drawn.unlabeled, drawn.test)] == [2, 2, 3]
    assert sorted(row.label for row in drawn.train) == ["choice1", "choice2"]


def test_rows_that_ask_for_neither_cause_nor_effect_are_refused():
    with pytest.raises(DataError, match=r"list\[0\]: 'question' is 'reason'\. Write cause or effect\."):
        read(copa("reason"))


def test_choices_that_no_score_can_part_are_refused_with_their_row():
    with pytest.raises(DataError, match=r"list\[1\]: 'choice1' and 'choice2' have the same words in this row"):
        read(copa(), copa(second="the fuse blew"))
    with pytest.raises(DataError, match=r"list\[0\]: the word for 'choice2' is empty in this row"):
        read(copa(second="..."))


# multirc


def test_each_answer_is_a_row_with_the_number_of_its_question():
    rows = read_examples([passages()], MULTIRC)
    assert [(row.text("answer"), row.label, row.group) for row in rows] == [
        ("Ann", "true", "3-4"),
        ("Bo", "false", "3-4"),
        ("Ann", "true", "3-5"),
    ]


def test_all_three_forms_of_an_answer_read_alike():
    flat = {"text_a": "Ann met Bo.", "text_b": "Who?", "answer": "Ann", "question_idx": "3-4", "label": "1"}
    number = {"paragraph": 3, "question": 4, "answer": 7}
    hub = {"paragraph": "Ann met Bo.", "question": "Who?", "answer": "Ann", "idx": number, "label": 1}
    expected = read_examples([passages()], MULTIRC)[:1]
    assert read_examples([flat], MULTIRC) == read_examples([hub], MULTIRC) == expected


def test_answers_without_labels_can_be_asked_but_not_learnt_from():
    assert [row.label for row in read_examples([passages(label=False)], MULTIRC)] == [None] * 3
    with pytest.raises(DataError, match="labels are needed here"):
        read_examples([passages(label=False)], MULTIRC, labelled=True)


def test_a_passage_without_its_questions_is_refused():
    with pytest.raises(DataError, match=r"list\[0\]: 'questions' is no list of objects"):
        read_examples([{"passage": {"text": "x"}}], MULTIRC)


def test_questions_are_drawn_with_all_their_answers(tmp_path):
    import json

    home = tmp_path / "multirc"
    home.mkdir()
    lines = [json.dumps(passages() | {"idx": number}) for number in range(5)]
    for split in ("train", "test"):
        (home / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    train, pool, test = sample_shots(MULTIRC, "total:3", seed=1, data=tmp_path, limit=4)
    assert len({row.group for row in train}) == 3
    assert not {row.group for row in train} & {row.group for row in pool}
    assert len(train) + len(pool) == 15
    assert all(sum(other.group == row.group for other in test) == (1 if row.group.endswith("5") else 2) for row in test)
    with pytest.raises(DataError, match="these rows are drawn in groups"):
        sample_shots(MULTIRC, 2, seed=1, data=tmp_path)
