"""iPET from the command line."""

import json


def test_ipet_runs_from_no_labelled_rows_and_its_row_tells_the_generations(
    say, task_file, data, tiny_bert_folder, tmp_path
):
    system = "ipet:repetitions=1,steps=2,student_steps=2,generations=1+lora:r=2"
    words = ("compare", task_file, "--data", data, "-b", tiny_bert_folder, "-k", "0,2", "--seeds", 2, "-m", system)
    said = say(*words, "-o", "out", "--json")
    assert said.code == 0, said.err
    rows = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("*/row.json")]
    assert sorted(row["shots"] for row in rows) == [0, 2, 2]  # with no labelled rows nothing is drawn by seed
    for row in rows:
        facts = row["facts"]
        assert facts["generations"] == len(facts["drawn"]) == 1
        assert len(facts["scored"]) == 2 and facts["pool"] == facts["scored"][-1]
        assert row["settings"]["method"]["generations"] == 1
