"""finetune, zero-shot and in-context write texts; what they learnt is kept, saved, and taken up where it broke off."""

from dataclasses import replace

import numpy as np
import pytest

from promptlab.backbone.encode import Encoder
from promptlab.backbone.generate import Decoding, generate
from promptlab.backbone.pairs import sources
from promptlab.errors import BackboneError, DataError, SettingError
from promptlab.language.task import Task
from promptlab.methods.finetune import Finetune
from promptlab.methods.in_context import InContextLearning
from promptlab.methods.method import Job, restore
from promptlab.methods.writing import usual_steps
from promptlab.methods.zero_shot import ZeroShot
from promptlab.registry import METHODS
from promptlab.registry import TUNINGS as REGISTERED
from promptlab.training.curves import Kept, tracking
from promptlab.tuning.adamix import AdaMix, AdaMixLora
from promptlab.tuning.bitfit import BitFit
from promptlab.tuning.full import Full, Top
from promptlab.tuning.houlsby import Houlsby
from promptlab.tuning.ia3 import Ia3
from promptlab.tuning.lin import Lin
from promptlab.tuning.lora import Lora
from promptlab.tuning.mix import Mix
from promptlab.tuning.parallel import Parallel
from promptlab.tuning.pfeiffer import Pfeiffer
from promptlab.tuning.prefix import Prefix
from promptlab.tuning.prelayer import Prelayer
from promptlab.tuning.soft import Soft
from promptlab.tuning.unipelt import UniPelt

TUNINGS = [
    Full(lr=3e-3), Top(layers=1, lr=1e-2), Lin(r=4, lr=1e-2), Houlsby(r=4, lr=1e-2), Soft(n=3, lr=1e-1),
    Prefix(n=3, lr=1e-1), Prelayer(n=3, lr=1e-1), Lora(r=4, lr=2e-2), AdaMix(r=4, experts=2, lr=1e-2),
    AdaMixLora(r=4, experts=2, consistency=0.01, lr=1e-2), BitFit(lr=1e-2), Pfeiffer(r=4, lr=1e-2),
    Parallel(r=4, lr=5e-3), Ia3(lr=3e-2), Mix(n=3, r=4, lr=1e-1), UniPelt(adapter_r=4, n=3, mid=4, r=2, lr=1e-2),
]  # fmt: skip
REFUSED = [("bitfit", "t5"), ("unipelt", "t5"), ("unipelt", "bart")]  # no biases; two rows at a time
CASES = [(one, family) for one in TUNINGS for family in ("gpt2", "t5", "bart") if (one.name, family) not in REFUSED]
SHORT = {"steps": 6, "batch": 5, "max_tokens": 8}


def named(tuning):
    return tuning.name


@pytest.fixture
def job(notes_task, notes):
    return Job(notes_task, notes[:5], queries=[one.unlabelled() for one in notes[5:]])


def fitted(method, backbone, job, tuning=None):
    ((_, found),) = method.fit(backbone, tuning, [job])
    return found


def again(found, backbone):
    return restore(found.task, backbone, found.saved())


@pytest.mark.parametrize(("family", "lr"), [("gpt2", 3e-3), ("t5", 1e-2)])
def test_eight_pairs_are_learnt_by_heart_and_given_back(fresh, notes_task, notes, family, lr):
    backbone, job = fresh(family), Job(notes_task, [replace(one, answers=()) for one in notes])
    with tracking(Kept()) as kept:
        found = fitted(Finetune(steps=150, max_tokens=24), backbone, job, Full(lr=lr)).keep()
    losses = [value for _, values in kept.rows for name, value in values.items() if name.endswith("/loss")]
    assert losses[-1] < 0.1 < 1 < losses[0]
    assert found.texts(notes) == [one.label for one in notes]


def test_every_tuning_that_takes_steps_is_tried():
    assert {one.name for one in TUNINGS} == {entry.name for entry in REGISTERED} - {"words"}


@pytest.mark.parametrize(("tuning", "family"), CASES, ids=lambda one: getattr(one, "name", one))
def test_every_tuning_learns_and_writes_the_same_when_it_is_kept_and_restored(tiny, job, tuning, family):
    backbone = tiny(family)
    with tracking(Kept()) as kept:
        found = fitted(Finetune(**SHORT), backbone, job, tuning)
        live = found.texts(job.queries)
        found = found.keep()
    losses = [value for _, values in kept.rows for name, value in values.items() if name.endswith("/loss")]
    assert losses[-1] < losses[0]
    assert found.texts(job.queries) == live == again(found, backbone).texts(job.queries)
    assert any(live)
    assert found.facts["stored_parameters"] > 0 == found.facts["head_parameters"]
    assert found.facts["texts"] == 5


@pytest.mark.parametrize("tuning", [Prefix(n=3, lr=1e-1), Lora(r=4, lr=2e-2), Soft(n=3), Prelayer(n=3)], ids=named)
@pytest.mark.parametrize("family", ["gpt2", "llama", "t5"])
@pytest.mark.parametrize("beams", [1, 3])
def test_kept_keys_and_values_write_what_reading_all_again_does(float64, job, tuning, family, beams):
    backbone = float64(family)
    found = fitted(Finetune(**SHORT), backbone, job, tuning)
    with found.applied():
        encoded = sources(found.encoder, found.asks.pattern, job.queries, found.how.max_tokens)
        how = replace(found.how, beams=beams)
        assert generate(backbone, encoded, how) == generate(backbone, encoded, how, cached=False)


def test_members_of_a_stack_write_in_turn_what_each_writes_alone(float64, job):
    backbone, jobs = float64("gpt2"), [replace(job, seed=seed) for seed in range(3)]
    method, tuning = Finetune(**SHORT, budget=10**6), Lora(r=4, lr=3e-2)
    found = [(one.seed, author.texts(one.queries), author.facts["stack"]) for one, author in
             method.fit(backbone, tuning, jobs)]  # fmt: skip
    alone = [fitted(method, backbone, one, tuning).texts(one.queries) for one in jobs]
    assert [texts for _, texts, _ in found] == alone
    assert all(len(stack) == 3 for _, _, stack in found)
    assert len({tuple(texts) for texts in alone}) > 1


def test_each_right_text_is_a_row_and_steps_follow_from_the_labelled_rows(tiny_gpt2, notes_task, notes):
    found = fitted(Finetune(**SHORT), tiny_gpt2, Job(notes_task, notes[4:]), Lora(r=2))
    assert found.facts["texts"] == 6  # two of the four have two
    assert [usual_steps(rows) for rows in (1, 50, 100, 200, 500, 40_000)] == [100, 100, 200, 400, 1000, 1000]


@pytest.mark.parametrize("sample", [False, True])
def test_what_was_told_is_not_written_again(tiny_gpt2, job, monkeypatch, sample):
    found = fitted(ZeroShot(max_tokens=8, sample=sample), tiny_gpt2, replace(job, seed=3))
    queries = [*job.queries, job.queries[0]]  # a row that reads as another draws its own numbers
    told = {}
    whole = found.texts(queries, told=lambda rows, texts: told.update(zip(rows, texts, strict=True)))
    assert [told[row] for row in range(len(queries))] == whole
    asked, later = [], {}
    from promptlab.methods import writer

    def counted(backbone, encoded, how, told):
        asked.append(len(encoded))
        return generate(backbone, encoded, how, told)

    monkeypatch.setattr(writer, "generate", counted)
    done = {0: whole[0], 2: whole[2]}
    resumed = again(found, tiny_gpt2)
    assert resumed.texts(queries, lambda rows, texts: later.update(zip(rows, texts, strict=True)), done) == whole
    assert sorted(later) == [1, 3]
    assert asked == [3 if sample else 2]


def test_rows_asked_about_a_second_time_are_not_written_again_and_are_told(tiny_gpt2, job, monkeypatch):
    found = fitted(ZeroShot(max_tokens=4), tiny_gpt2, job)
    first, told = found.texts(job.queries), {}
    monkeypatch.setattr("promptlab.methods.writer.generate", None)
    assert (
        found.texts(job.queries, lambda rows, texts: told.update(zip(rows, texts, strict=True)), {1: first[1]}) == first
    )
    assert told == {0: first[0], 2: first[2]}


def test_zero_shot_asks_every_seed_at_once_unless_it_draws(tiny_gpt2, job):
    jobs = [replace(job, seed=seed) for seed in range(3)]
    for sample, count in ((False, 1), (True, 3)):
        method = ZeroShot(max_tokens=8, sample=sample)
        found = {id(author): author for _, author in list(method.fit(tiny_gpt2, None, jobs))}
        assert len(found) == count
        assert len({tuple(author.texts(job.queries)) for author in found.values()}) == count


def read(found, backbone, queries):
    return [backbone.tokenizer.decode(ids) for ids in found.read(queries)[0].ids]


def test_the_row_stands_after_the_instruction_and_whole_demonstrations(tiny_gpt2, notes_task, notes, job):
    zero = fitted(ZeroShot(max_tokens=4, patterns="asked"), tiny_gpt2, job)
    assert read(zero, tiny_gpt2, job.queries[:1]) == ["Say it in words.\n\nending , bad in words :"]
    found = fitted(InContextLearning(demonstrations=2, max_tokens=4), tiny_gpt2, job)
    (text,) = read(found, tiny_gpt2, job.queries[:1])
    first, *shown, last = text.split("\n\n")
    assert (first, last) == ("Say it in words.", "ending , bad :")
    assert len(shown) == 2
    assert set(shown) <= {f"{one.text('source')} : {one.label}" for one in notes[:5]}
    found.texts(job.queries)
    assert found.facts["demonstrations"] == 2


def test_demonstrations_are_counted_in_all_and_another_seed_shows_others(tiny_gpt2, job):
    method = InContextLearning(demonstrations=3, instruction="none", max_tokens=4)
    pages = [read(fitted(method, tiny_gpt2, replace(job, seed=seed)), tiny_gpt2, job.queries)[0] for seed in range(4)]
    assert {page.count("\n\n") for page in pages} == {3}
    assert len(set(pages)) > 1
    similar = fitted(replace(method, demonstrations=1, order="similar"), tiny_gpt2, job)
    assert len({page.split("\n\n")[0] for page in read(similar, tiny_gpt2, job.labelled)}) > 1


def test_as_many_demonstrations_as_fit_are_shown_and_the_row_says_so(tiny_gpt2, notes_task, notes):
    job = Job(notes_task, [replace(one, label="good " * 30) for one in notes[:6]], queries=notes[6:])
    found = fitted(InContextLearning(demonstrations="all", max_tokens=8), tiny_gpt2, job)
    found.texts([one.unlabelled() for one in notes[6:]])
    assert 1 <= found.facts["demonstrations"] < 6
    assert "fewer than 6 demonstrations" in found.facts["notes"][0]
    assert max(found.read(notes[6:])[0].lengths) + 8 <= tiny_gpt2.max_length


def test_what_was_shown_is_restored(tiny_gpt2, job):
    found = fitted(InContextLearning(demonstrations=2, max_tokens=6, beams=2), tiny_gpt2, job)
    restored = again(found, tiny_gpt2)
    assert restored.how == found.how == Decoding(beams=2, max_tokens=6)
    assert read(restored, tiny_gpt2, job.queries) == read(found, tiny_gpt2, job.queries)
    assert restored.texts(job.queries) == found.texts(job.queries)


def test_text_after_the_target_is_shown_with_demonstrations_and_told_of(tiny_gpt2, notes):
    task = Task.from_parts(patterns={"ended": "{source} : {target} (true)"}, verbalizer=None, name="notes")
    found = fitted(InContextLearning(demonstrations=1, max_tokens=4), tiny_gpt2, Job(task, notes[:1]))
    (text,) = read(found, tiny_gpt2, notes[3:4])
    assert text.endswith("(true)\n\nscene , good :")
    assert found.facts["notes"] == ["pattern 'ended': a causal backbone does not read '(true)', after the text"]


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("name", ["prompt", "pet", "ipet", "majority", "tfidf", "probe"])
def test_methods_that_choose_among_labels_refuse_a_task_for_texts(tiny_gpt2, job, name):
    method = METHODS.build(name)
    with pytest.raises(SettingError, match="notes asks for a text .*Write finetune, zero-shot or in-context"):
        list(method.fit(tiny_gpt2, Lora(r=2), [job]))


@pytest.mark.parametrize("method", [Finetune(), ZeroShot(), InContextLearning()], ids=lambda one: type(one).__name__)
def test_a_masked_backbone_is_refused_with_what_to_write(tiny_bert, job, method):
    with pytest.raises(BackboneError, match="fills in masks and writes no text. Write --backbone smollm2, or another"):
        fitted(method, tiny_bert, job, Lora(r=2))


def test_an_encoder_decoder_is_asked_for_texts_by_finetune_alone(tiny_t5, job):
    for method in (ZeroShot(), InContextLearning()):
        with pytest.raises(BackboneError, match="Write --backbone smollm2, or another causal one"):
            fitted(method, tiny_t5, job)


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (Finetune(head_lr=1e-3), "finetune: head_lr=0.001 is read on tasks with labels alone, and 'notes' asks for"),
        (Finetune(pool="mean"), "finetune: pool=mean"),
        (Finetune(patterns="all"), "patterns=all is 2 patterns, and texts cannot be averaged. Write one"),
        (ZeroShot(calibration="contextual"), "zero-shot: calibration=contextual"),
        (InContextLearning(orders=2), "in-context: orders=2"),
        (InContextLearning(decoding="parallel"), "in-context: decoding=parallel"),
    ],
    ids=str,
)
def test_settings_that_a_task_for_texts_does_not_read_are_refused(tiny_gpt2, job, method, said):
    with pytest.raises(SettingError, match=said):
        fitted(method, tiny_gpt2, job, Lora(r=2))


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (
            Finetune(beams=5),
            "finetune: beams=5 is read on tasks with a text to write alone, and 'custom'",
        ),
        (Finetune(smoothing=0.1), "finetune: smoothing=0.1"),
        (Finetune(patterns="all"), "finetune reads the bare text, so it asks no pattern of 'custom'. Write prompt"),
        (ZeroShot(max_tokens=9), "zero-shot: max_tokens=9"),
        (InContextLearning(stop="line"), "in-context: stop=line"),
    ],
    ids=str,
)
def test_settings_of_writing_are_refused_where_there_are_labels(tiny_gpt2, reviews_task, reviews, method, said):
    with pytest.raises(SettingError, match=said):
        fitted(method, tiny_gpt2, Job(reviews_task, reviews[:4]), Lora(r=2))


@pytest.mark.parametrize("name", ["finetune", "zero-shot", "in-context"])
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"beams": "0"}, "beams=0 cannot be"),
        ({"min_tokens": "9", "max_tokens": "3"}, "min_tokens=9"),
        ({"top_k": "5"}, "Write sample=true"),
        ({"sample": "true", "beams": "2"}, "Write beams=1"),
        ({"stop": "lines"}, "stop=lines cannot be. Did you mean 'line'"),
    ],
    ids=str,
)
def test_a_way_of_writing_that_cannot_be_is_refused_when_the_method_is_made(name, settings, said):
    with pytest.raises(SettingError, match=f"{name}: .*{said}|{said}"):
        METHODS.build(name, settings)


def test_smoothing_is_a_share():
    with pytest.raises(SettingError, match="finetune: smoothing=1.5 cannot be. Write a number from 0 to 1"):
        Finetune(smoothing=1.5)


def test_rows_without_a_text_and_no_rows_are_refused_before_training(tiny_gpt2, notes_task, notes):
    with pytest.raises(DataError, match="Give -k 1 or more"):
        fitted(Finetune(), tiny_gpt2, Job(notes_task, []), Lora(r=2))
    for row, said in ((notes[1].unlabelled(), "no text"), (replace(notes[1], label=" ", answers=()), "an empty text")):
        for method in (Finetune(), InContextLearning()):
            with pytest.raises(DataError, match=f"labelled row 2: {said} to write"):
                fitted(method, tiny_gpt2, Job(notes_task, [notes[0], row]), Lora(r=2))


def test_a_row_that_does_not_fit_is_an_error_that_names_it(tiny_gpt2, notes_task, notes):
    found = fitted(ZeroShot(max_tokens=200), tiny_gpt2, Job(notes_task, []))
    with pytest.raises(DataError, match="row 1"):
        found.texts(notes[:1])


def test_a_writer_has_no_scores_and_lays_rows_out_by_its_tuning(tiny_gpt2, job):
    found = fitted(Finetune(**SHORT), tiny_gpt2, job, Soft(n=3))
    assert not hasattr(found, "scores")
    assert np.array(found.read(job.queries)[0].ids[0]).min() == -3
    assert isinstance(found.encoder, Encoder)
