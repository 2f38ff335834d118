import pytest

from promptlab.errors import PatternError
from promptlab.language.grammar import (
    FILTERS,
    RESERVED,
    Field,
    Mask,
    Sep,
    Soft,
    Target,
    Text,
    Token,
    apply,
    is_field_name,
    parse,
    scan,
    scan_word,
)


def faults(source):
    return scan(source)[1]


# what can be written


def test_a_plain_pattern_is_fields_text_and_a_mask():
    assert parse("{text} It was {mask}.") == (Field("text"), Text(" It was"), Mask(space=True), Text("."))


def test_a_space_directly_before_a_slot_belongs_to_the_slot():
    spaced, tight = parse("was {mask} {text}"), parse("({mask}) {text}")
    assert spaced[1] == Mask(space=True)
    assert tight[1] == Mask(space=False)


def test_a_space_at_the_very_beginning_belongs_to_the_slot_too():
    assert parse(" {mask}: {text}") == (Mask(space=True), Text(":"), Field("text", space=True))


def test_only_one_of_two_spaces_goes_to_the_slot():
    assert parse("{text}  {mask}") == (Field("text"), Text(" "), Mask(space=True))


def test_a_line_break_before_a_slot_stays_text():
    assert parse("{text}\n{mask}") == (Field("text"), Text("\n"), Mask(space=False))


def test_every_kind_of_slot_takes_the_space_before_it():
    parts = parse("{a} {b} {soft:2} {soft:It was} {token:[x]} {mask}")
    assert [part.space for part in parts] == [False, True, True, True, True, True]
    assert parse("{a} {target}")[1] == Target(space=True)


def test_white_space_beside_a_segment_border_is_dropped():
    assert parse("{a}?  {sep} {mask}, {b}") == (
        Field("a"),
        Text("?"),
        Sep(),
        Mask(space=False),
        Text(","),
        Field("b", space=True),
    )


def test_text_on_both_sides_of_a_border_loses_its_white_space_there_only():
    assert parse("{a} one \n{sep} \n two {mask}")[1:4] == (Text(" one"), Sep(), Text("two"))


def test_doubled_braces_are_literal_ones_and_join_the_text_around_them():
    assert parse("a {{b}} c{mask} {x}") == (Text("a {b} c"), Mask(), Field("x", space=True))


def test_a_field_may_carry_filters_in_order_and_be_kept_whole():
    assert parse("{text|strip_punct|lower_first:keep} {mask}")[0] == Field("text", ("strip_punct", "lower_first"), True)


def test_white_space_inside_a_slot_does_not_matter():
    assert parse("{ text | lower : keep } { mask }") == parse("{text|lower:keep} {mask}")


def test_soft_slots_are_a_number_or_words():
    assert parse("{soft:5}{text}{mask}")[0] == Soft(5)
    assert parse("{soft:It was}{text}{mask}")[0] == Soft(0, words="It was")


def test_words_of_a_soft_slot_may_hold_a_colon_and_signs():
    assert parse("{soft:Answer: yes!}{text}{mask}")[0] == Soft(0, words="Answer: yes!")


def test_a_special_token_is_named_as_the_backbone_names_it():
    assert parse("{token:[unused0]}{text}{mask}")[0] == Token("[unused0]")


def test_a_pattern_may_generate_instead_of_asking_for_a_word():
    assert parse("{source} {sep} {target}") == (Field("source"), Sep(), Target())


def test_parts_can_be_compared_and_hashed():
    assert len({parse("{a} {mask}"), parse("{a} {mask}"), parse("{a}{mask}")}) == 2


# filters


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("lower", "A Fine Film", "a fine film"),
        ("lower_first", "A Fine Film", "a Fine Film"),
        ("lower_first", "", ""),
        ("upper_first", "éa Film", "Éa Film"),
        ("strip_punct", "He left.", "He left"),
        ("strip_punct", "a film . . .", "a film"),
        ("strip_punct", "Really?! ", "Really"),
        ("strip_punct", "wait…", "wait"),
        ("strip_punct", "Mr. Smith", "Mr. Smith"),
        ("strip_punct", "...", ""),
    ],
)
def test_filters_do_what_they_are_called(name, before, after):
    assert FILTERS[name](before) == after


def test_filters_are_applied_from_left_to_right():
    assert apply(("strip_punct", "lower_first"), "The END.") == "the END"
    assert apply((), "The END.") == "The END."


@pytest.mark.parametrize("name", ["text", "text_a", "_x", "choice1"])
def test_plain_names_can_be_fields(name):
    assert is_field_name(name)


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a.b", "a b", "é", *RESERVED])
def test_reserved_and_odd_names_cannot_be_fields(name):
    assert not is_field_name(name)


# what cannot be written, and what is said then


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("Just {text}!", "has no {mask}; a pattern has exactly one. Write {mask} where the label word stands."),
        ("{mask} {text} {mask}", "has 2 {mask} slots; a pattern has exactly one."),
        ("{target} {text} {target}", "has 2 {target} slots"),
        ("{mask} {text} {target}", "has both {mask} and {target}. Keep {mask} to classify"),
        ("{a} {sep} {b} {sep} {mask}", "has 2 {sep} borders"),
        ("{sep} {a} {mask}", "{sep} stands at the edge"),
        ("{a} {mask} {sep} ", "{sep} stands at the edge"),
        ("{text|lwer} {mask}", "no filter 'lwer'. Did you mean 'lower'? Known: lower, lower_first"),
        ("{text:kep} {mask}", "{text:kep} has 'kep' after the colon. Write {text:keep} or {text}."),
        ("{mask:2} {text}", "{mask:2} has something after the colon. It grows to the longest label word by itself."),
        ("{a}{sep:x}{mask}", "{sep:x} has something after the colon. Write {sep}."),
        ("{mask|lower} {text}", "{mask|lower} has a filter; only fields have. Write {mask}."),
        ("{soft} {text} {mask}", "{soft} needs a number above 0"),
        ("{soft:0} {text} {mask}", "{soft} needs a number above 0"),
        ("{token} {text} {mask}", "{token} names no token. Write its name, such as {token:[unused0]}."),
        ("{labels:x} {text} {mask}", "{labels:x} has 'x' after the colon. Write {labels}, or {labels:-} for dashes."),
        ("{text!r} {mask}", "{text!r} has a conversion, which patterns do not know. Write {text}."),
        ("{soft:a {b}} {text} {mask}", "{soft:a {b}} has braces inside braces"),
        ("{} {mask}", "{} is not a field"),
        ("{0} {mask}", "{0} is not a field"),
    ],
)
def test_each_fault_says_what_was_found_and_what_to_write(source, said):
    assert any(fault.startswith(said) for fault in faults(source)), faults(source)


@pytest.mark.parametrize("source", ["{x.__class__} {mask}", "{x[0]} {mask}", "{x.a.b|lower} {mask}"])
def test_attributes_and_items_are_refused_and_the_plain_name_is_offered(source):
    (fault,) = faults(source)
    assert "is not a field: a field is a plain name without dots, brackets or signs. Write {x}." in fault


@pytest.mark.parametrize(
    "source", ["{text It was {mask}.", "{text} } {mask}", "{text} {mask", "{", "}", "{text} {a{b}}"]
)
def test_braces_that_do_not_match_are_refused(source):
    assert "braces do not match" in faults(source)[-1]


def test_an_open_brace_does_not_also_count_as_a_missing_mask():
    assert len(faults("{text} {mask")) == 1


def test_a_faulty_mask_does_not_also_count_as_a_missing_one():
    assert len(faults("{text} {mask:3}")) == 1


def test_all_faults_of_a_pattern_are_raised_at_once():
    with pytest.raises(PatternError) as raised:
        parse("{x.y} {text|lwer} {soft:0} {sep} {sep}")
    assert len(raised.value.faults) == 6
    assert all("{x.y} {text|lwer} {soft:0} {sep} {sep}" in fault.text for fault in raised.value.faults)


def test_nothing_in_a_pattern_is_ever_evaluated():
    class Trap(str):
        def __format__(self, spec):
            raise AssertionError("formatted")

    assert parse(Trap("{text} {mask}")) == (Field("text"), Mask(space=True))


# label words


def test_a_label_word_may_be_text_or_name_fields():
    assert scan_word("great") == ((Text("great"),), [])
    assert scan_word("the {choice1|lower_first}") == ((Text("the"), Field("choice1", ("lower_first",), space=True)), [])


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("{mask}", "holds text and fields only"),
        ("a {sep} b", "holds text and fields only"),
        ("{{great}}", "a brace in a label word must name a field"),
        ("{choice1", "braces do not match"),
        ("{choice1|lwer}", "no filter 'lwer'"),
    ],
)
def test_a_label_word_holds_nothing_else(word, said):
    (fault,) = scan_word(word)[1]
    assert said in fault
