"""The search for words in a pattern's slots."""

import numpy as np
import pytest
import torch

from promptlab.backbone.backbone import load_backbone
from promptlab.backbone.device import generator
from promptlab.backbone.encode import Encoder
from promptlab.backbone.marks import embeddings, speaking
from promptlab.backbone.specials import special_ids
from promptlab.backbone.vocabulary import same_words, usable_tokens
from promptlab.errors import SettingError
from promptlab.language.example import Example
from promptlab.language.task import Task
from promptlab.training.judge import Judge
from promptlab.training.loop import step_losses, train
from promptlab.training.member import Member, Recipe
from promptlab.training.search import Search, gains, search
from promptlab.tuning.full import Full
from promptlab.tuning.words import Words

WORDS = {"negative": ["terrible", "bad"], "positive": "great"}


def member(reviews, source="{text} {soft:3} {mask}.", rows=16, key="m", **rates):
    task = Task.from_parts(patterns=[source], verbalizer=WORDS)
    targets = np.array([task.labels.index(one.label) for one in reviews[:rows]])
    return Member(key, reviews[:rows], targets, 2, ("text",), task.pvps[0], **rates)


def searcher(backbone, one, tuning=None, steps=6, kind=Search):
    tuning, encoder = tuning or Words(candidates=10), Encoder(backbone)
    return kind(backbone, tuning, one, Recipe(steps=steps, batch=4), encoder, usable_tokens(backbone, tuning.whole))


def found_by(backbone, one, tuning=None, steps=6):
    return next(
        search(backbone, tuning or Words(candidates=10), [one], Recipe(steps=steps, batch=4), Encoder(backbone))
    )


@pytest.fixture(scope="module")
def learned(folder_of, reviews):
    """A tiny bert that has learnt which words of a review make it a bad one."""
    backbone = load_backbone(str(folder_of("bert")), device="cpu")
    one = member(reviews, "{text} It was really {mask}.", rows=40)
    recipe = Recipe(steps=40, batch=16)
    done = next(train(backbone, Full(lr=3e-3), [one], recipe, Encoder(backbone)))
    with Full().applied(backbone, done.state):
        yield backbone


def neutral(key):
    """Rows that say nothing, all of one label: only words in the slots can bring it about."""
    texts = ("a film", "the plot", "actors , story", "an ending and a scene", "it has music", "the movie is text")
    return member([Example({"text": text}, "negative") for text in texts], "{text} {soft:3} was {mask}.", key=key)


# the gain


def test_the_gain_is_the_first_order_fall_of_the_loss_word_by_word():
    table, gradient = torch.randn(9, 5, generator=generator("t")), torch.randn(5, generator=generator("g"))
    slow = [sum(float(gradient[i]) * (float(table[4][i]) - float(row[i])) for i in range(5)) for row in table]
    torch.testing.assert_close(gains(table, gradient, 4), torch.tensor(slow))
    assert gains(table, gradient, 4)[4] == 0


@pytest.mark.parametrize("family", ["bert", "gpt2", "albert"])
def test_the_gain_is_the_losss_slope_towards_the_other_word(float64, reviews, family):
    backbone = float64(family)
    one = searcher(backbone, member(reviews))
    step, table = one.rows.next(), embeddings(backbone)
    gradient = one.gradient(step)
    for place in range(3):
        token, losses = int(one.best(place, gradient[place])[0]), []
        towards = torch.zeros_like(gradient)
        towards[place] = 1e-5 * (table[token] - table[one.words[place]])
        for way in (-towards, towards):
            with torch.no_grad(), speaking(backbone, one.words[None], way):
                losses.append(float(step_losses(backbone, [one.rows], [step], one.recipe, None)))
        slope = (losses[0] - losses[1]) / 2e-5
        assert slope == pytest.approx(float(gains(table, gradient[place], one.words[place])[token]), abs=1e-8)


def test_candidates_are_the_best_by_gain_and_never_special_a_label_word_or_the_word_itself(each, reviews):
    for whole in (True, False):
        one = searcher(each, member(reviews, "{text} {soft:2} {mask}"), Words(candidates=10**6, whole=whole))
        gradient = one.gradient(one.rows.next())[0]
        best = one.best(0, gradient).tolist()
        ranked = gains(embeddings(each), gradient, int(one.words[0]))[best]
        assert torch.equal(ranked, ranked.sort(descending=True).values)
        never = special_ids(each.tokenizer) | set(each.tokenizer.all_special_ids) | {each.tokenizer.unk_token_id}
        assert never.isdisjoint(best)
        assert set(same_words(each, ["terrible", "bad", "great"]).tolist()).isdisjoint(best)
        assert int(one.words[0]) not in best
        assert len(best) > 50


# the judges


def test_wordings_are_judged_as_each_would_be_alone(float64, reviews):
    backbone = float64("bert")
    one = searcher(backbone, member(reviews, rows=40), Words(judge=64))
    assert one.judge.rows == 40
    wordings = torch.stack([one.words, one.words.flip(0), one.words.roll(1)])
    alone = [float(one.judge(wording[None])[0]) for wording in wordings]  # all rows judge, so all calls agree
    assert one.judge(wordings).tolist() == pytest.approx(alone, abs=1e-10)


@pytest.mark.parametrize(("most", "rows", "wanted"), [(32, 40, 32), (5, 40, 5), (50, 3, 3), (1, 9, 1)])
def test_as_many_rows_judge_as_was_asked_for(tiny_bert, reviews, most, rows, wanted):
    one = searcher(tiny_bert, member(reviews, rows=rows), Words(judge=most))
    assert isinstance(one.judge, Judge)
    assert one.judge.rows == wanted


# the search


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "llama"])
def test_the_loss_falls_with_every_swap_that_is_kept(tiny, reviews, family):
    swaps = found_by(tiny(family), member(reviews), steps=10).facts["swaps"]
    assert swaps
    assert all(swap["after"] < swap["before"] for swap in swaps)
    losses = [loss for swap in swaps for loss in (swap["before"], swap["after"])]
    assert losses == pytest.approx(sorted(losses, reverse=True), abs=1e-6)  # all sixteen rows judge


class Random(Search):
    """Scores as many swaps, drawn at random."""

    def best(self, place, gradient):
        usable = self.usable.nonzero().flatten()
        return usable[torch.randperm(len(usable), generator=self.random)[: self.tuning.candidates]]


def test_gradients_beat_the_best_of_as_many_random_swaps(learned):
    losses = {Search: [], Random: []}
    for kind, each in losses.items():
        for seed in range(4):
            one = searcher(learned, neutral(f"seed{seed}"), Words(candidates=4), 10, kind)
            start = float(one.judge(one.words[None])[0])
            each.append(one.run().facts["loss"])
    assert np.mean(losses[Search]) < min(losses[Random]), losses
    assert max(losses[Search]) < 0.2 * start


def test_what_is_found_means_what_the_backbone_has_learnt(learned):
    words = searcher(learned, neutral("m"), Words(candidates=4), 10).run().facts["words"].split()
    assert set(words) & set("awful bad boring dull poor slow weak worst".split())


def test_the_seed_alone_decides(tiny_bert, reviews):
    first, again, other = (found_by(tiny_bert, member(reviews, key=key)) for key in ("a", "a", "b"))
    assert first.facts["swaps"] == again.facts["swaps"]
    assert first.state["words.00"].equal(again.state["words.00"])
    assert first.facts["swaps"] != other.facts["swaps"]


def test_members_beside_it_change_nothing(tiny_bert, reviews):
    members = [member(reviews, key="a"), member(reviews, "{text} So {soft:It was} {mask}", key="b")]
    both = list(search(tiny_bert, Words(candidates=10), members, Recipe(steps=6, batch=4), Encoder(tiny_bert)))
    assert both[1].facts["swaps"] == found_by(tiny_bert, members[1]).facts["swaps"]


def test_a_search_that_finds_nothing_more_ends(tiny_bert, reviews):
    one = searcher(tiny_bert, member(reviews, "{text} {soft:1} {mask}"), Words(candidates=500), steps=200)
    steps = []
    found = one.run(steps.append)
    assert sum(steps) == 200
    assert found.facts["seen"] < 20 * (4 + 16)


def test_the_backbone_is_bit_for_bit_what_it_was(tiny_gpt2, reviews):
    before = {name: tensor.clone() for name, tensor in tiny_gpt2.model.state_dict().items()}
    found_by(tiny_gpt2, member(reviews))
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny_gpt2.model.state_dict().items())
    assert all(parameter.grad is None for parameter in tiny_gpt2.model.parameters())


# the start


def test_a_slot_starts_from_its_words_and_else_from_the_commonest_of_the_rows(tiny_bert, reviews):
    one = searcher(tiny_bert, member(reviews, "{text} {soft:it was} so {soft:2} {mask}", rows=40))
    words = tiny_bert.tokenizer.convert_ids_to_tokens(one.words.tolist())
    assert words[:2] == ["it", "was"]
    counts = {}
    for row in reviews:
        for word in row.text("text").replace(",", " ,").split():
            counts[word] = counts.get(word, 0) + 1
    assert sorted(counts[word] for word in words[2:]) == sorted(counts.values())[-2:]


# what cannot be


@pytest.mark.parametrize(
    ("rates", "recipe", "said"),
    [({"lr": 0.1}, {}, "lr and weight_decay have no place"), ({}, {"mlm": 0.1}, "mlm= has no place")],
)
def test_settings_of_learnt_weights_are_refused(tiny_bert, reviews, rates, recipe, said):
    members = [member(reviews, **rates)]
    with pytest.raises(SettingError, match=said):
        next(search(tiny_bert, Words(), members, Recipe(steps=1, batch=2, **recipe), Encoder(tiny_bert)))


@pytest.mark.parametrize("settings", [{"n": 0}, {"candidates": 0}, {"judge": -1}])
def test_a_number_that_cannot_be_says_what_to_write(settings):
    with pytest.raises(SettingError, match="Write a whole number from 1 on"):
        Words(**settings)
