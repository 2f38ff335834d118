import json
import re
from xml.etree import ElementTree

import pytest

from promptlab.errors import OutputError, SettingError
from promptlab.lab.results import Results


@pytest.fixture
def results(make_plan):
    return make_plan("tfidf,careful+lora", seeds=3).run()


def test_markdown_is_a_table_of_systems_with_what_they_cost(results):
    caption, _, heads, rule, *rows = results.to_markdown().split("\n\nagainst")[0].splitlines()
    assert caption == "films · tiny · k=2 · accuracy in %, mean ± sd over 3 seeds · 40 test rows"
    assert [cell.strip() for cell in heads.split("|")[1:-1]] == [
        "system",
        "films",
        *"weights learnt|seconds|peak memory".split("|"),
    ]
    assert set(rule) <= set("|-:")
    assert [row.split("|")[1].strip() for row in rows] == ["tfidf", "careful+lora"]
    assert len({len(line) for line in (heads, rule, *rows)}) == 1


def test_a_cell_holds_mean_and_deviation_and_the_best_is_bold(results):
    careful = next(line for line in results.to_markdown().splitlines() if "careful+lora" in line)
    assert re.search(r"\*\*\d+\.\d ± \d+\.\d\*\*", careful)
    assert "| 100 " in re.sub(" +", " ", careful)


def test_differences_stand_below_the_scores(results):
    assert "against the best baseline" in results.to_markdown()
    assert re.search(r"careful\+lora \| tfidf +\| .*better by \d+\.\d \[", results.to_markdown())


def test_several_shots_stand_across(make_plan):
    table = make_plan("coin,careful+lora", shots=[0, 2, 4]).run().tables()[0]
    assert list(table.heads[:4]) == ["system", "k=0", "k=2", "k=4"]
    assert [row[1] == "" for row in table.rows] == [False, True]


def test_several_tasks_stand_across(make_plan, task, data):
    make_second(data)
    table = make_plan("coin", tasks=[task, second(task)]).run().tables()[0]
    assert list(table.heads[:3]) == ["system", "films", "books"]


def test_several_tasks_and_shots_make_a_table_a_task(make_plan, task, data):
    make_second(data)
    tables = make_plan("coin", tasks=[task, second(task)], shots=[2, 4]).run().tables()
    assert [table.caption.split(" · ")[0] for table in tables] == ["films", "books"]


def second(task):
    return type(task)(name="books", inputs=task.inputs, labels=task.labels, pvps=task.pvps)


def make_second(data):
    (data / "books").symlink_to(data / "films")


def test_results_are_read_from_their_folder(make_plan, tmp_path):
    results = make_plan("tfidf,careful+lora", seeds=2).run(tmp_path / "runs")
    read = Results.read(tmp_path / "runs")
    assert len(read) == 4
    assert sorted(row["run"] for row in read) == sorted(row["run"] for row in results)
    assert [str(one) for one in read.differences()] == [str(one) for one in results.differences()]


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(OutputError, match="holds no finished runs"):
        Results.read(tmp_path)


def test_json_lines_are_one_object_a_run(results):
    lines = results.to_json_lines().splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [0, 1, 2, 0, 1, 2]


def test_a_frame_has_a_row_a_run_and_a_column_a_setting(results):
    frame = results.to_pandas()
    assert len(frame) == 6
    assert {"system", "score", "metrics.accuracy", "settings.method.steps"} <= set(frame.columns)


def test_a_rival_that_did_not_run_is_refused(results):
    with pytest.raises(SettingError, match="no system 'tfid' here. Did you mean 'tfidf'"):
        results.differences("tfid")


def test_the_report_is_one_page_that_fetches_nothing(results, tmp_path):
    page = results.report(tmp_path / "deep" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert not re.search(r'(src|href)="|url\(|@import', page)


def test_the_report_is_well_formed_and_has_a_dot_a_run(results, tmp_path):
    page = results.report(tmp_path / "report.html").read_text(encoding="utf-8")
    body = page[page.index("<body>") : page.index("</body>") + len("</body>")]
    tree = ElementTree.fromstring(body)
    dots = tree.iter("{http://www.w3.org/2000/svg}circle")
    assert len(list(dots)) == 6
    assert len(tree.findall("table")) == 2


def test_the_report_names_what_could_not_be_done(make_plan, tmp_path):
    results = make_plan("careful:fails=yes+lora,tfidf").run()
    page = results.report(tmp_path / "report.html").read_text(encoding="utf-8")
    assert "every member became non-finite" in page


def test_the_report_escapes_what_stands_in_names(make_plan, tmp_path):
    results = make_plan("careful+lora", backbone="a<b>&c").run()
    page = results.report(tmp_path / "report.html").read_text(encoding="utf-8")
    assert "a&lt;b&gt;&amp;c" in page
    assert "<b>&c" not in page


def test_a_report_that_cannot_be_written_is_an_output_error(results, tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        results.report(tmp_path)
