"""``{labels}``, the verbalizer ``letters`` and the patterns that every task has."""

import pytest

from promptlab.errors import DataError, PatternError
from promptlab.language.example import Example
from promptlab.language.grammar import Field, Labels, Mask, Text, Token
from promptlab.language.letters import GENERATED, Listed
from promptlab.language.library import load_task, read_task, task_names
from promptlab.language.pattern import Pattern
from promptlab.language.task import Task

FILM = Example({"text": "A good film."})
NEWS = """\
task: news
about: What is the text about?
inputs: [text]
labels: [world, sport, trade]
verbalizers:
  default: {world: World, sport: Sports, trade: [Business, Money]}
  other: {world: politics, sport: play, trade: money}
patterns:
  plain: "{mask}: {text}"
  listed: "{text} Options: {labels} Answer: {mask}"
  dashed: {pattern: "{text}\\n{labels:-}\\n{mask}.", verbalizer: [letters, other]}
"""
COPA = """\
task: copa
about: Which is the more likely?
inputs: [premise, choice1, choice2]
labels: ['0', '1']
verbalizers: {default: {'0': "{choice1|lower_first}", '1': "{choice2|lower_first}"}}
patterns: {because: "{premise} because {mask}"}
"""
OWN = """\
task: own
inputs: [text, choices]
candidates: choices
patterns:
  it: "{text} It is {mask}"
  listed: "{text}\\n{labels}\\n{mask}"
"""


def film_task(**more):
    return Task.from_parts(["{text} It was {mask}."], {"negative": "terrible", "positive": "great"}, **more)


def test_labels_are_listed_by_letter_with_the_words_of_the_default_verbalizer():
    assert read_task(NEWS).pvp("listed").pattern.fill(FILM) == (
        "A good film. Options: A: World\nB: Sports\nC: Business Answer: ▁▁▁"
    )


def test_a_dash_stands_before_each_label_where_it_is_asked_for():
    text = read_task(NEWS).pvp("dashed/other").pattern.fill(FILM)
    assert text == "A good film.\n- A: World\n- B: Sports\n- C: Business\n▁▁▁."


def test_a_listed_pattern_is_answered_by_letters_unless_it_names_other_words():
    task = read_task(NEWS)
    assert task.pvp("listed").verbalizer.words == {"world": ("A",), "sport": ("B",), "trade": ("C",)}
    assert task.pvp("dashed/letters").verbalizer.words["trade"] == ("C",)
    assert task.pvp("dashed/other").verbalizer.words["trade"] == ("money",)


def test_labels_are_listed_by_name_where_no_pattern_has_the_default_words():
    task = Task.from_parts(["{text}\n{labels}\n{mask}"], {"bad {film}": "terrible", "good": "great"})
    assert task.pvps[0].pattern.fill(FILM) == "A good film.\nA: bad {film}\nB: good\n▁▁▁"


def test_the_list_is_one_text_with_what_stands_around_it():
    kinds = [type(part) for part in read_task(NEWS).pvp("listed").pattern.parts]
    assert kinds == [Field, Text, Mask]


@pytest.mark.parametrize("text", [NEWS, COPA, OWN])
def test_a_task_that_lists_labels_survives_being_written_and_read(text):
    task = read_task(text)
    again = read_task(task.to_yaml())
    assert again == task
    assert again.digest == task.digest
    assert all(again.pvp(name) == task.pvp(name) for name in GENERATED)


def test_words_that_name_fields_are_listed_filled_in_and_never_cut():
    task = read_task(COPA)
    pattern = task.pvp("letters").pattern
    row = Example({"premise": "He slipped.", "choice1": "It rained.", "choice2": "He sang."})
    assert pattern.fill(row) == (
        "He slipped.\nQuestion: Which is the more likely?\nA: it rained.\nB: he sang.\nAnswer: ▁▁▁"
    )
    assert [part.keep for part in pattern.parts if isinstance(part, Field)] == [False, True, True]


def test_a_rows_own_answers_are_listed_and_answered_by_letter():
    task = read_task(OWN)
    row = Example({"text": "It barks.", "choices": ("a dog ", "a cat", "a cow")})
    for name in ("listed", "letters"):
        pvp = task.pvp(name)
        assert "\nA: a dog\nB: a cat\nC: a cow\n" in pvp.pattern.fill(row)
        assert pvp.verbalizer.spoken(row, task.choices(row)) == (("A",), ("B",), ("C",))
        assert pvp.pattern.mask_last
    assert task.pvp("it").verbalizer.spoken(row, task.choices(row))[1] == ("a cat",)


def test_a_list_of_a_rows_own_answers_after_the_mask_is_not_mask_last():
    task = read_task(OWN.replace("patterns:", 'patterns:\n  after: "{text} {mask} of {labels}"', 1))
    assert not task.pvp("after").pattern.mask_last


def test_a_row_with_more_answers_than_letters_or_with_none_is_an_error():
    pattern = read_task(OWN).pvp("letters").pattern
    with pytest.raises(DataError, match=r"'choices' has 27 items, and letters end at Z \(26\)"):
        pattern.fill(Example({"text": "", "choices": tuple(map(str, range(27)))}))
    with pytest.raises(DataError, match="'choices' is one text.*Write a list"):
        pattern.fill(Example({"text": "", "choices": "a dog"}))
    with pytest.raises(DataError, match="no field 'choices'"):
        pattern.fill(Example({"text": ""}))


@pytest.mark.parametrize("name", task_names())
@pytest.mark.parametrize("kind", GENERATED)
def test_every_shipped_task_has_the_patterns_by_letter(name, kind):
    task = load_task(name)
    if task.range or task.generates:
        pytest.skip("no labels")
    pvp = task.pvp(kind)
    assert pvp.name == kind
    assert pvp.pattern.mask_last
    answers = {field for pvp in task.pvps for field in pvp.verbalizer.fields} | {task.candidates}
    assert {*task.inputs} - answers <= {*pvp.pattern.fields}
    assert isinstance(pvp.pattern.parts[-1], Mask) and pvp.pattern.parts[-1].space
    assert not any(isinstance(part, Labels) for part in pvp.pattern.parts)


def test_patterns_by_letter_come_only_by_name():
    task = film_task(about="Is it good?")
    assert [pvp.name for pvp in task.select("all")] == ["p1"]
    assert [pvp.name for pvp in task.select("all+letters")] == ["p1", "letters"]
    assert [pvp.name for pvp in task.select("letters+p1")] == ["letters", "p1"]
    assert [pvp.name for pvp in task.select("first")] == ["p1"]


def test_letters_asks_the_tasks_question():
    text = film_task(about="Is {it} good?").pvp("letters").pattern.fill(FILM)
    assert text == "A good film.\nQuestion: Is {it} good?\nA: terrible\nB: great\nAnswer: ▁▁▁"


def test_a_task_without_a_question_asks_which_is_right():
    assert "\nQuestion: Which of these is right?\n" in film_task().pvp("letters").pattern.fill(FILM)


def test_several_inputs_are_named():
    text = load_task("mnli").pvp("letters").pattern.fill(Example({"premise": "It rains.", "hypothesis": "It is wet."}))
    assert text.startswith("Premise: It rains.\nHypothesis: It is wet.\nQuestion: ")


def test_modernberts_format_is_the_published_one():
    pattern = film_task(about="Is it good?").pvp("modernbert-letters").pattern
    assert pattern.fill(FILM, mask="[MASK]") == (
        "You will be given a question and options. Select the right answer.\n"
        "QUESTION: A good film.\nIs it good?\nCHOICES:\n- A: terrible\n- B: great\nANSWER: [unused0] [MASK]"
    )
    assert Token("[unused0]", space=True) in pattern.parts


def test_a_tasks_own_pattern_of_that_name_wins():
    task = read_task(NEWS.replace("  listed:", "  letters:"))
    assert task.pvp("letters").pattern.source.startswith("{text} Options:")
    assert [pvp.name for pvp in task.select("all")].count("letters") == 1


def test_more_labels_than_letters_are_one_clear_error(tmp_path):
    many = {f"l{i}": f"word{i}" for i in range(27)}
    task = Task.from_parts(["{text} {mask}"], many)
    with pytest.raises(PatternError, match=r"cannot list 27 labels: letters end at Z \(26\)\. Write"):
        task.pvp("letters")
    with pytest.raises(PatternError, match="cannot list 27 labels"):
        Task.from_parts(["{text} {labels} {mask}"], many)
    labels = ", ".join(many)
    text = f"task: t\ninputs: [text]\nlabels: [{labels}]\nverbalizers: {{default: {{"
    text += ", ".join(f"{label}: {word}" for label, word in many.items()) + "}}\n"
    with pytest.raises(PatternError) as error:
        read_task(text + 'patterns:\n  p: "{text} {labels} {mask}"\n', "t.yaml")
    said = str(error.value)
    assert said.startswith("t.yaml:6: pattern 'p' cannot list 27 labels: letters end at Z (26). Write a pattern")


def test_twenty_six_labels_still_have_letters():
    task = Task.from_parts(["{text} {mask}"], {f"l{i}": f"word{i}" for i in range(26)})
    assert task.pvp("letters").verbalizer.words["l25"] == ("Z",)


def test_labels_with_something_else_after_the_colon_are_refused():
    with pytest.raises(PatternError, match=r"\{labels:\*\} has '\*' after the colon. Write \{labels\}"):
        Pattern.parse("p", "{text} {labels:*} {mask}")


def test_a_task_that_generates_has_no_labels_to_list():
    text = 'task: t\ninputs: [text]\npatterns: {p: "{text} {labels} {target}"}\n'
    with pytest.raises(PatternError, match="lists labels"):
        read_task(text)
    with pytest.raises(PatternError, match="no pattern 'letters'"):
        read_task(text.replace("{labels} ", "")).pvp("letters")


def test_an_unknown_pattern_is_told_that_letters_are_there():
    with pytest.raises(PatternError, match=r"Did you mean 'letters'\? Known: p1, letters, modernbert-letters\."):
        film_task().pvp("leters")


def test_a_pattern_of_no_task_shows_the_slot_itself():
    assert Pattern.parse("p", "{text} {labels:-} {mask}").fill(FILM) == "A good film. {labels:-} ▁▁▁"


def test_a_list_keeps_its_filters():
    assert Listed("c", ("lower",)).read(Example({"c": ("Yes", "NO")})) == "A: yes\nB: no"
