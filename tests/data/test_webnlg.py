"""WebNLG's XML, in small files of the published form."""

import gzip

import pytest

from promptlab.data.files import table_in, tables_in
from promptlab.data.sources import read_examples
from promptlab.data.tables import rows_of
from promptlab.errors import DataError
from promptlab.language.library import load_task

ENTRY = """    <entry category="{category}" eid="Id{at}" size="{size}"{more}>
      <originaltripleset>
        <otriple>Old | property | Not_read</otriple>
      </originaltripleset>
      <modifiedtripleset>
{triples}
      </modifiedtripleset>
{texts}
    </entry>
"""


def entry(category="City", triples=("Oslo | country | Norway",), texts=("Oslo is in Norway.",), at=1, more=""):
    listed = "\n".join(f"        <mtriple>{triple}</mtriple>" for triple in triples)
    said = "\n".join(f'      <lex comment="good" lid="Id{i}">{text}</lex>' for i, text in enumerate(texts, 1))
    return ENTRY.format(category=category, at=at, size=len(triples), triples=listed, texts=said, more=more)


def xml(path, *entries):
    path.parent.mkdir(parents=True, exist_ok=True)
    body = "".join(entries)
    path.write_text(
        f"<?xml version='1.0' encoding='UTF-8'?>\n<benchmark>\n  <entries>\n{body}  </entries>\n</benchmark>\n",
        encoding="utf-8",
    )
    return path


def test_an_entry_is_a_row_with_all_its_texts(tmp_path):
    two = ("Oslo | country | Norway", 'Oslo | motto | "Unanimiter &amp; constanter"')
    path = xml(tmp_path / "a.xml", entry(triples=two, texts=("One.", "Caf\u00e9.")))
    assert rows_of(table_in(path)) == [
        {
            "source": 'Oslo | country | Norway && Oslo | motto | "Unanimiter & constanter"',
            "category": "City",
            "size": "2",
            "eid": "Id1",
            "seen": True,
            "targets": ["One.", "Caf\u00e9."],
        }
    ]


@pytest.mark.parametrize(
    ("category", "of_2017", "of_2020"),
    [("Airport", True, True), ("Artist", False, True), ("Company", False, True), ("Film", False, False)],
)
def test_a_category_is_seen_where_the_train_set_of_its_year_has_it(tmp_path, category, of_2017, of_2020):
    later = 'shape="(X (X))" shape_type="NA"'
    path = xml(tmp_path / "a.xml", entry(category), entry(category, more=" " + later))
    assert table_in(path).fetch("seen") == [of_2017, of_2020]


def test_texts_in_other_languages_are_left_out(tmp_path):
    both = entry().replace("</entry>", '  <lex lid="Id2" lang="ru">\u041e\u0441\u043b\u043e.</lex>\n</entry>')
    assert table_in(xml(tmp_path / "a.xml", both)).fetch("targets") == [["Oslo is in Norway."]]


def test_a_text_over_several_lines_is_one_line(tmp_path):
    path = xml(tmp_path / "a.xml", entry(texts=("\n  Oslo is\n   in Norway.\n",)))
    assert table_in(path).fetch("targets") == [["Oslo is in Norway."]]


def test_a_folder_of_files_is_one_table_in_the_order_of_their_names(tmp_path):
    xml(tmp_path / "2triples" / "b.xml", entry(texts=("Two.",)))
    xml(tmp_path / "1triples" / "a.xml", entry(texts=("One.",)), entry(texts=("Three.",)))
    table = table_in(tmp_path)
    assert table.fetch("targets") == [["One."], ["Three."], ["Two."]]
    assert [table.place(row) for row in range(3)] == [
        f"{tmp_path / '1triples' / 'a.xml'}:4",
        f"{tmp_path / '1triples' / 'a.xml'}:13",
        f"{tmp_path / '2triples' / 'b.xml'}:4",
    ]
    assert tables_in([tmp_path / "2triples" / "b.xml"]).fetch("targets") == [["Two."]]


def test_a_packed_file_is_read_too(tmp_path):
    path = xml(tmp_path / "a.xml", entry())
    packed = tmp_path / "b.xml.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert table_in(packed).fetch("source") == table_in(path).fetch("source")


def test_the_task_reads_entries_with_their_parts(tmp_path):
    path = xml(tmp_path / "a.xml", entry(texts=("One.", "Two.")), entry("Artist", ("A_B | genre | C",), ("Three.",)))
    first, second = read_examples(path, load_task("webnlg"), labelled=True)
    assert (first.fields, first.right, first.part) == (
        {"source": "| Oslo : country : Norway"},
        ("One.", "Two."),
        "seen",
    )
    assert (second.fields, second.part) == ({"source": "| A B : genre : C"}, "unseen")


# faults


def test_a_file_that_is_cut_off_is_named_with_its_line(tmp_path):
    path = xml(tmp_path / "a.xml", entry(), entry())
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole[: whole.rindex("<mtriple>") + 20], encoding="utf-8")
    with pytest.raises(DataError, match=rf"^{path}:18: XML that is cut off or broken \(.*\)\. Write the file whole"):
        table_in(path)


def test_a_tag_that_does_not_match_is_named_with_its_line(tmp_path):
    path = xml(tmp_path / "a.xml", entry().replace("</lex>", "</lox>"))
    with pytest.raises(DataError, match=rf"^{path}:11: XML that is cut off or broken \(mismatched tag\)"):
        table_in(path)


def test_an_entry_without_triples_is_named(tmp_path):
    path = xml(tmp_path / "a.xml", entry(), entry(triples=()))
    with pytest.raises(DataError, match=rf"^{path}:13: an entry without <mtriple>"):
        table_in(path)


def test_xml_of_another_form_is_refused(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text("<rows><row/></rows>", encoding="utf-8")
    with pytest.raises(DataError, match="XML without <entry>. Write WebNLG's form"):
        table_in(path)


def test_entities_of_a_files_own_are_refused(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text('<!DOCTYPE b [\n<!ENTITY much "lol">\n]>\n<b>&much;</b>', encoding="utf-8")
    with pytest.raises(DataError, match=rf"^{path}:2: XML that declares the entity 'much'"):
        table_in(path)


def test_an_empty_text_is_named_with_the_line_of_its_entry(tmp_path):
    path = xml(tmp_path / "a.xml", entry(), entry(texts=("One.", " ")))
    with pytest.raises(DataError, match=rf"^{path}:13: 'targets\[1\]' is an empty reference"):
        read_examples(path, load_task("webnlg"), labelled=True)


def test_a_file_of_inputs_alone_has_no_references(tmp_path):
    path = xml(tmp_path / "a.xml", entry(texts=()))
    assert "targets" not in table_in(path).columns
    with pytest.raises(DataError, match="has no column of references"):
        read_examples(path, load_task("webnlg"), labelled=True)
    assert read_examples(path, load_task("webnlg"))[0].right == ()
