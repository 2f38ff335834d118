import pytest

from promptlab.data.linearise import linearised
from promptlab.data.sources import read_examples
from promptlab.data.steps import STEPS, read_value
from promptlab.errors import DataError
from promptlab.language.task import Task


def task(**more):
    made = Task.from_parts(["{source} {target}"])
    return Task(name="t", inputs={"source": "mr"}, labels=(), pvps=made.pvps, prepare="linearise", **more)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("name[The Mill], eatType[pub]", "name : The Mill | eatType : pub"),
        ("name[A, B], customer rating[5 out of 5]", "name : A, B | customer rating : 5 out of 5"),
        ("name[The Mill],near[Café Sol]", "name : The Mill | near : Café Sol"),
        ("food[£20-25]", "food : £20-25"),
        ("Oslo | country | Norway", "| Oslo : country : Norway"),
        ("A_B | leaderName | C._D. && A_B | area_(km) | 2.5", "| A B : leaderName : C. D. | A B : area (km) : 2.5"),
        ('A | motto | "To be"', "| A : motto : To be"),
        ('A | motto | "To be"@en && A | born | "1999-01-01"^^xsd:date', "| A : motto : To be | A : born : 1999-01-01"),
        ([["A", "NUMBER_OF_ROOMS", "3"], ["A", "IN", "B, C"]], "| A : NUMBER OF ROOMS : 3 | A : IN : B, C"),
        (["A | in | B", "B | in | C"], "| A : in : B | B : in : C"),
        ([("[TITLE]", "COACH", "A")], "| [TITLE] : COACH : A"),
    ],
)
def test_a_table_becomes_one_line(value, line):
    assert linearised(value) == line


@pytest.mark.parametrize("line", ["name : The Mill | food : fish | area : north", "| A : in : B | B : in : C", "a : b"])
def test_what_is_in_a_line_already_stays_so(line):
    assert linearised(line) == line


def test_a_line_read_again_is_the_same_line():
    for value in ("name[The Mill], eatType[pub]", "A_B | leader | C._D. && E | in | F"):
        assert linearised(linearised(value)) == linearised(value)


def test_a_value_with_a_colon_is_part_of_its_triple():
    assert linearised("Dune | title | Dune : Part Two") == "| Dune : title : Dune : Part Two"


@pytest.mark.parametrize(
    "value",
    [
        "a pub by the river",
        "",
        "A | in",
        "A | in | B | C",
        "name[The Mill, eatType[pub]",
        [["A", "in"]],
        [],
        [1],
        [["A", "", "B"]],
    ],
)
def test_anything_else_is_refused_with_what_to_write(value):
    with pytest.raises(DataError, match=r"Write name\[value\], name\[value\], or subject \| property \| object"):
        linearised(value)


def test_the_step_reads_inputs_wherever_they_come_from():
    asked = task()
    (named,) = read_examples([{"mr": "name[The Mill]"}], asked)
    (other,) = read_examples([{"x": "name[The Mill]"}], asked, columns={"source": "x"})
    (bare,) = read_examples(["name[The Mill]"], asked)
    assert named == other == bare
    assert named.fields == {"source": "name : The Mill"}


def test_a_row_that_cannot_be_put_in_a_line_is_named():
    with pytest.raises(DataError, match=r"^list\[1\]: 'mr': 'free text' is neither a meaning representation nor"):
        read_examples([{"mr": "name[The Mill]"}, {"mr": "free text"}], task())


def test_a_missing_input_is_told_as_elsewhere():
    with pytest.raises(DataError, match=r"list\[0\]: no value for 'mr'"):
        read_examples([{"mr": None}], task())


def test_a_value_passes_where_no_step_reads_it():
    assert read_value(None, "name[The Mill]") == read_value("record", "name[The Mill]") == "name[The Mill]"
    assert "linearise" in STEPS
    with pytest.raises(DataError, match="no step 'lineraise'. Did you mean 'linearise'"):
        read_value("lineraise", "x")
