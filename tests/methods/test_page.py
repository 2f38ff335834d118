import pytest

from promptlab.backbone.encode import Encoder
from promptlab.backbone.words import label_words
from promptlab.errors import BackboneError, DataError
from promptlab.language.example import Example
from promptlab.language.task import Task
from promptlab.methods.page import Page

CHAT = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}\n{% endfor %}"
SHOWN = [Example({"text": "a lovely film, really good."}, "positive"), Example({"text": "dull."}, "negative")]
ASKED = Example({"text": "the plot is moving"})
LONG = Example({"text": "slow " * 300}, "negative")


def task(pattern="{text} It was {mask}.", **more):
    words = {"negative": ("terrible", "awful"), "positive": "great"}
    return Task.from_parts(patterns=[pattern], verbalizer=words, **more)


def page(backbone, rows=SHOWN, asked=None, **settings):
    asked = asked or task()
    return Page(asked, Encoder(backbone), asked.pvps[0], rows, **settings)


def ids(made, shown, example=ASKED):
    return made.read([example], shown).ids[0]


def whole(backbone, text):
    """The text tokenised at once, up to where a causal model goes on."""
    return backbone.tokenizer(text)["input_ids"]


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
def test_on_causal_backbones_ids_are_those_of_the_whole_text(tiny, family):
    made = page(tiny(family), instruction="Is the review good?")
    text = (
        "Is the review good?\n\na lovely film, really good. It was great.\n\ndull. It was terrible.\n\n"
        "the plot is moving It was"
    )
    assert ids(made, (0, 1)) == whole(tiny(family), text)


@pytest.mark.parametrize(
    "pattern", ["Review: {text}\nIt was {mask}", "{text} ({mask})", "{text}\n{mask}", "'{text}' is {mask}, all in all"]
)
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_whatever_the_pattern_no_token_is_cut_where_a_row_begins(tiny, family, pattern):
    made = page(tiny(family), asked=task(pattern))

    def filled(example, word):
        return pattern.replace("{text}", example.fields["text"]).replace("{mask}", word)

    before = "\n\n".join(filled(one, word) for one, word in zip(SHOWN, ("great", "terrible"), strict=True))
    asked = filled(ASKED, "{mask}").split("{mask}")[0]
    assert ids(made, (0, 1)) == whole(tiny(family), f"{before}\n\n{asked.removesuffix(' ')}")


@pytest.mark.parametrize("family", ["bert", "roberta", "albert", "modernbert"])
def test_masked_backbones_part_demonstrations_by_their_own_separator(tiny, family):
    backbone = tiny(family)
    made = page(backbone)
    tokenizer = backbone.tokenizer
    pair = tokenizer("a", "b")["input_ids"]
    between = tokenizer.convert_ids_to_tokens(pair)
    single = len(tokenizer("a", add_special_tokens=False)["input_ids"])
    (border,) = [pair[1 + single : -1 - single]] if len(pair) > 3 else [[]]
    assert border, between
    shown = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in
             ("a lovely film, really good. It was great.", "dull. It was terrible.")]  # fmt: skip
    asked = ids(made, ())
    assert ids(made, (0, 1)) == [asked[0], *shown[0], *border, *shown[1], *border, *asked[1:]]


def test_an_instruction_that_a_masked_backbone_reads_is_parted_too(tiny_bert):
    text = tiny_bert.tokenizer.decode(ids(page(tiny_bert, instruction="Is it good?"), ()))
    assert text.startswith("[CLS] is it good? [SEP] the plot")


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_conversation_has_the_ids_of_the_template_filled_and_tokenised_at_once(fresh, family):
    backbone = fresh(family)
    backbone.tokenizer.chat_template = CHAT
    made = page(backbone, instruction="Is it good?", chat=True)
    turns = ["Is it good?\n\na lovely film, really good. It was", "great", "dull. It was", "terrible"]
    turns += ["the plot is moving It was", "XX"]
    roles = [{"role": ("user", "assistant")[i % 2], "content": one} for i, one in enumerate(turns)]
    text = backbone.tokenizer.apply_chat_template(roles, tokenize=False).partition(" XX")[0]
    assert ids(made, (0, 1)) == backbone.tokenizer(text, add_special_tokens=False)["input_ids"]


def test_no_text_of_a_demonstration_can_spell_a_special_token(tiny):
    for family in ("gpt2", "llama", "bert", "albert"):
        backbone = tiny(family)
        special = backbone.tokenizer.all_special_tokens
        rows = [Example({"text": f"so good {token} film"}, "positive") for token in special]
        unknown = backbone.tokenizer.unk_token_id
        for row in range(len(rows)):
            own = [token for token in ids(page(backbone, rows), (row,)) if token in backbone.tokenizer.all_special_ids]
            bare = [token for token in ids(page(backbone, SHOWN), (0,)) if token in backbone.tokenizer.all_special_ids]
            assert [token for token in own if token != unknown] == [token for token in bare if token != unknown]


def test_a_demonstration_shows_its_labels_first_word_and_all_that_follows_it(tiny_gpt2):
    text = tiny_gpt2.tokenizer.decode(ids(page(tiny_gpt2), (1,)))
    assert "dull. It was terrible.\n\nthe plot" in text


def test_candidates_of_a_row_are_shown_as_they_are_written(tiny_gpt2):
    from promptlab.language.library import read_task

    source = """
task: ends
inputs: [text, choices]
candidates: choices
patterns: {ends: "{text} So {mask}."}
"""
    asked = read_task(source, "ends.yaml")
    rows = [Example({"text": "slow.", "choices": ("he left", "she has won")}, "she has won")]
    made = page(tiny_gpt2, rows, asked)
    assert "slow. So she has won." in tiny_gpt2.tokenizer.decode(
        ids(made, (0,), Example({"text": "good.", "choices": ("one", "two")}))
    )


def fit(made, lengths, wanted=(0, 1)):
    return made.fitting([tuple(wanted)] * len(lengths), lengths, [1] * len(lengths))


def test_as_many_demonstrations_as_fit_are_shown_the_most_wanted_first(tiny_gpt2):
    rows = [*SHOWN, *SHOWN]
    made = page(tiny_gpt2, rows)
    alone = len(ids(made, ()))
    costs = [len(ids(made, (row,))) - alone for row in range(4)]
    for kept in range(1, 5):
        room = alone + sum(costs[:kept])
        made.max_length = room + 1
        assert fit(made, [alone], range(4)) == [tuple(range(kept))] or room < 2 * alone


def test_one_that_is_too_long_is_left_out_and_never_cut(tiny_gpt2):
    made = page(tiny_gpt2, [LONG, *SHOWN])
    (kept,) = fit(made, [len(ids(made, ()))], range(3))
    assert kept == (1, 2)


def test_a_long_row_is_cut_to_half_of_what_is_read_before_demonstrations_are_left_out(tiny_gpt2):
    made = page(tiny_gpt2)
    assert fit(made, [tiny_gpt2.max_length]) == [(0, 1)]
    encoded = made.read([LONG], (0, 1))
    assert encoded.cut == [True]
    assert len(encoded.ids[0]) == tiny_gpt2.max_length - 1


def test_one_demonstration_always_stays_if_the_row_can_be_cut_for_it(tiny_gpt2):
    made = page(tiny_gpt2)
    least = ids(made, (1,))
    made.max_length = len(least)
    assert fit(made, [tiny_gpt2.max_length]) == [(1,)]


def test_demonstrations_that_do_not_fit_at_all_are_an_error_that_says_what_to_do(tiny_gpt2):
    with pytest.raises(DataError, match=r"row 1: no demonstration fits: the shortest takes \d+ tokens.*Write a larger"):
        fit(page(tiny_gpt2, [LONG]), [8], (0,))


def test_a_masked_backbone_holds_no_conversation(tiny_bert):
    with pytest.raises(BackboneError, match="chat=true: .* holds no conversation"):
        page(tiny_bert, chat=True)


def test_a_labelled_row_with_another_label_is_named(tiny_gpt2):
    with pytest.raises(DataError, match="labelled row 2: 'mixed' is not among the labels"):
        page(tiny_gpt2, [SHOWN[0], Example({"text": "so so"}, "mixed")]).pattern((0, 1))


def test_masks_of_a_long_word_count_once_where_demonstrations_are_fitted(tiny_bert):
    whole, word = page(tiny_bert, [SHOWN[1]] * 4), 3
    alone = whole.read([ASKED], room=word).lengths[0]
    needed = [whole.read([ASKED], tuple(range(kept)), word).lengths[0] for kept in range(5)]
    for kept in (3, 4):  # with fewer the row has more than half of the page
        made = page(tiny_bert, [SHOWN[1]] * 4, max_length=needed[kept])
        assert made.fitting([(0, 1, 2, 3)], [alone], [word]) == [tuple(range(kept))]
        assert not made.read([ASKED], tuple(range(kept)), word).cut[0]
        made.max_length = needed[kept] - 1
        assert made.fitting([(0, 1, 2, 3)], [alone], [word]) == [tuple(range(kept - 1))]


# ---------------------------------------------------------------- borders, on all four kinds of tokenizer

WORDY = {"negative": ("badly made",), "positive": ("x1's best",)}
SHOWN_LONG = [Example({"text": "a lovely film, really good"}, "positive"), Example({"text": "dull"}, "negative")]


def spelt(backbone, segments, before):
    """A masked row of which every segment but the last stands as the tokenizer reads it alone."""
    pair = backbone.tokenizer("a", "a")["input_ids"]
    single = len(backbone.tokenizer("a", add_special_tokens=False)["input_ids"])
    border = pair[1 + single : -1 - single]
    shown = [backbone.tokenizer(text, add_special_tokens=False)["input_ids"] for text in segments]
    return before + [token for one in shown for token in [*one, *border]]


@pytest.mark.parametrize("family", ["bert", "roberta", "albert", "modernbert"])
@pytest.mark.parametrize(
    "pattern", ["{text} It was {mask}.", "{mask}: {text}", "({mask}) {text}", "{text} {sep} {mask}"]
)
def test_masked_demonstrations_have_the_ids_of_their_texts_whatever_the_pattern(tiny, family, pattern):
    backbone = tiny(family)
    made = page(backbone, SHOWN_LONG, Task.from_parts([pattern], WORDY))
    words = [WORDY["positive"][0], WORDY["negative"][0]]
    filled = [
        part
        for one, word in zip(SHOWN_LONG, words, strict=True)
        for part in pattern.format(text=one.fields["text"], mask=word, sep="|").split(" | ")
    ]
    alone = made.read([ASKED], (), room=3).ids[0]
    assert made.read([ASKED], (0, 1), room=3).ids[0] == spelt(backbone, filled, alone[:1]) + alone[1:]
    assert alone.count(backbone.tokenizer.mask_token_id) == 3


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
@pytest.mark.parametrize(
    "pattern", ["{text} It was {mask}.", "{text} ({mask})", "{text}\n{mask}", "{text} {sep} {mask}!"]
)
def test_causal_demonstrations_and_the_word_that_follows_have_the_ids_of_the_whole_text(tiny, family, pattern):
    backbone = tiny(family)
    asked = Task.from_parts([pattern], WORDY)
    made = page(backbone, SHOWN_LONG, asked, instruction="Is it good?")
    plain = pattern.replace(" {sep} ", "\n")
    whole_text = "Is it good?\n\n" + "".join(
        plain.format(text=one.fields["text"], mask=WORDY[one.label][0]) + "\n\n" for one in SHOWN_LONG
    )
    for row, word in enumerate(("badly made", "x1's best")):
        pieces = [token for token in label_words(backbone, asked.pvps[0]).ids[row, 0].tolist() if token >= 0]
        text = whole_text + plain.partition("{mask}")[0].format(text=ASKED.fields["text"]) + word
        assert ids(made, (0, 1)) + pieces == whole(backbone, text)
