import pytest

from promptlab.data.nouns import bare, noun_phrases, words_of


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The baker sold the old oven because it was slow.", ["The baker", "the old oven"]),
        ("Mr. Holt and Anna Reed met near Oslo.", ["Mr. Holt", "Anna Reed", "Oslo"]),
        ("A very tall man saw his two sisters.", ["A very tall man", "his two sisters"]),
        ("The crew repaired a bridge of stone.", ["The crew", "a bridge", "stone"]),
        ("Ruth's uncle wrote the letter that she read.", ["Ruth", "the letter"]),
        ("All the singers, and no dancers, came.", ["All the singers", "no dancers"]),
        ("They saw it, and he told her about them.", []),
        ("", []),
    ],
)
def test_names_and_what_follows_a_determiner_or_a_preposition_are_noun_phrases(text, found):
    assert noun_phrases(text) == found


def test_a_phrase_said_twice_is_found_once_whatever_its_case_and_determiner():
    assert noun_phrases("The cat met a cat, and the dog saw THE CAT.") == ["The cat", "the dog"]


def test_pronouns_and_verbs_are_none():
    assert not {"it", "They", "refused"} & set(noun_phrases("They refused the offer since it annoyed the mayor."))


def test_phrases_are_compared_without_case_marks_possessives_and_determiners():
    assert bare("The Old Oven's") == bare("an old oven,") == "old oven"
    assert bare("the") == "the"


def test_words_stand_without_their_marks():
    assert words_of("Well-known, isn't it?") == ["Well-known", "isn't", "it"]
