import inspect

import pytest

from promptlab import errors
from promptlab.errors import Fault, PatternError, PromptlabError, did_you_mean


def test_every_error_has_the_one_root():
    raised = [thing for _, thing in inspect.getmembers(errors, inspect.isclass) if issubclass(thing, Exception)]
    assert len(raised) > 5
    assert all(issubclass(error, PromptlabError) for error in raised)


def test_the_tree_in_the_docstring_names_every_error():
    drawn = errors.__doc__ or ""
    named = [name for name, thing in inspect.getmembers(errors, inspect.isclass) if issubclass(thing, Exception)]
    assert [name for name in named if name not in drawn] == []


def test_a_fault_reads_as_file_and_line():
    assert str(Fault("a.yaml", 7, "no mask.")) == "a.yaml:7: no mask."


def test_a_fault_without_a_line_names_only_the_file():
    assert str(Fault("a.yaml", None, "is empty.")) == "a.yaml: is empty."


def test_a_pattern_error_holds_every_fault_and_shows_them_one_a_line():
    error = PatternError([Fault("a.yaml", 1, "first."), Fault("a.yaml", 9, "second.")])
    assert [fault.line for fault in error.faults] == [1, 9]
    assert str(error) == "a.yaml:1: first.\na.yaml:9: second."


def test_a_bare_text_is_one_fault_and_is_shown_as_it_is():
    error = PatternError("two masks.")
    assert str(error) == "two masks."
    assert [fault.text for fault in error.faults] == ["two masks."]


@pytest.mark.parametrize("word", ["tasks", "taks", "task"])
def test_a_near_word_is_suggested(word):
    assert did_you_mean(word, ["labels", "tasks"]) == " Did you mean 'tasks'?"


def test_a_far_word_gets_no_suggestion():
    assert did_you_mean("zebra", ["labels", "tasks"]) == ""
