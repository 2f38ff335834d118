"""``prompt+words``: learnt, shown, saved, merged, and only with prompt."""

import pytest

from promptlab import PromptClassifier
from promptlab.errors import SettingError
from promptlab.language.task import Task
from promptlab.methods.method import Job
from promptlab.methods.pet import Pet
from promptlab.methods.prompt import Prompt
from promptlab.methods.zero_shot import ZeroShot
from promptlab.tuning.words import Words

WORDS = {"negative": "terrible", "positive": "great"}
FAMILIES = ["bert", "roberta", "albert", "gpt2", "llama"]
SOURCES = ["{text} It was {mask}.", "{text} {soft:It was} so {soft:2} {mask}."]


def job(reviews, *sources):
    return Job(Task.from_parts(patterns=list(sources), verbalizer=WORDS), reviews[:8])


def learnt(backbone, job, **settings):
    """Predictor of a short search."""
    return next(Prompt(steps=4, batch=4, **settings).fit(backbone, Words(candidates=8), [job]))[1]


def classifier(backbone, source, **settings):
    return PromptClassifier(
        patterns=[source], verbalizer=WORDS, method="prompt:steps=4,batch=4", tuning="words:candidates=8",
        backbone=backbone, random_state=0, **settings,
    )  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_found_pattern_written_as_text_answers_the_same(tiny, reviews, family, source):
    backbone = tiny(family)
    found = learnt(backbone, job(reviews, source))
    (written,) = found.facts["words"]
    assert found.facts["notes"][-1] == f"words found, as a pattern: {written}"
    assert "{soft" not in written
    plain = next(ZeroShot().fit(backbone, None, [job(reviews, written)]))[1]
    assert found.scores(reviews) == pytest.approx(plain.scores(reviews), abs=1e-5)


def test_the_row_tells_the_words_and_every_swap(tiny_bert, reviews):
    found = learnt(tiny_bert, job(reviews, SOURCES[1]))
    assert found.facts["stored_parameters"] == 4  # two of "It was", and two
    (swaps,) = found.facts["swaps"]
    assert set(swaps[0]) == {"step", "place", "from", "to", "before", "after"}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_search_answers_as_before(tiny, reviews, tmp_path, family):
    fitted = classifier(tiny(family), SOURCES[1]).fit(reviews[:8])
    fitted.save_pretrained(tmp_path / "model")
    again = PromptClassifier.from_pretrained(tmp_path / "model", backbone=tiny(family))
    assert (again.predict_proba(reviews) == fitted.predict_proba(reviews)).all()
    assert str(again.show(reviews[0])) == str(fitted.show(reviews[0]))
    again.save_pretrained(tmp_path / "model")
    third = PromptClassifier.from_pretrained(tmp_path / "model", backbone=tiny(family))
    assert (third.predict_proba(reviews) == fitted.predict_proba(reviews)).all()


def test_show_has_the_words_in_place_and_the_card_the_pattern(tiny_bert, reviews, tmp_path):
    fitted = classifier(tiny_bert, SOURCES[0]).fit(reviews[:8])
    (written,) = fitted.predictor_.facts["words"]
    shown = next(iter(fitted.show("a dull film")))["text"]
    assert shown.startswith(written.partition(" {text}")[0])
    card = (fitted.save_pretrained(tmp_path / "model") / "README.md").read_text()
    assert written in card


def test_merged_it_is_the_backbone_as_it_was(tiny_bert, reviews, tmp_path):
    from promptlab.backbone.backbone import load_backbone

    fitted = classifier(tiny_bert, SOURCES[0]).fit(reviews[:8])
    (written,) = fitted.predictor_.facts["words"]
    merged = load_backbone(str(fitted.save_pretrained(tmp_path / "plain", merge=True)), device="cpu")
    plain = next(ZeroShot().fit(merged, None, [job(reviews, written)]))[1]
    assert fitted.predictor_.scores(reviews) == pytest.approx(plain.scores(reviews), abs=1e-5)


def test_patterns_each_get_words_of_their_own(tiny_bert, reviews):
    found = learnt(tiny_bert, job(reviews, *SOURCES), patterns="all")
    assert len(found.facts["words"]) == len(found.members) == 2
    assert found.facts["words"][0].endswith("{text} It was {mask}.")


def test_seeds_find_words_of_their_own(tiny_bert, reviews):
    jobs = [Job(Task.from_parts(patterns=[SOURCES[0]], verbalizer=WORDS), reviews[:8], seed=seed) for seed in (0, 1)]
    found = {one.seed: done.keep() for one, done in Prompt(steps=4, batch=4).fit(tiny_bert, Words(), jobs)}
    alone = {one.seed: done for one, done in Prompt(steps=4, batch=4).fit(tiny_bert, Words(), jobs[1:])}
    assert found[0].facts["swaps"] != found[1].facts["swaps"]
    assert alone[1].facts["swaps"] == found[1].facts["swaps"]


def test_words_of_other_slots_are_refused(tiny_bert, reviews):
    (model,) = learnt(tiny_bert, job(reviews, SOURCES[1])).members
    with pytest.raises(SettingError, match="has 1 slots, but words were found for 2"):
        model.tuning.spoken(tiny_bert, job(reviews, SOURCES[0]).task.pvps[0], model.state)


def test_words_without_prompt_are_refused(tiny_bert, reviews):
    with pytest.raises(SettingError, match="words goes with prompt only"):
        PromptClassifier(method="finetune", tuning="words", patterns=[SOURCES[0]], verbalizer=WORDS,
                         backbone=tiny_bert).fit(reviews[:8])  # fmt: skip
    with pytest.raises(SettingError, match="words goes with prompt only"):
        next(Pet(steps=1).fit(tiny_bert, Words(), [job(reviews, SOURCES[0])]))


def test_a_learning_rate_is_no_setting_of_words():
    from promptlab.registry import TUNINGS

    with pytest.raises(SettingError, match="words has no setting 'lr'"):
        TUNINGS.build("words", {"lr": "0.1"})
