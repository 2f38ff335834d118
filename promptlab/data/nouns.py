"""Noun phrases of an English text, by rule: no model, no list of nouns.

    1. a text is cut into words and marks; a mark ends a phrase
    2. capitalised words in a row are a name (titles with their full stop: "Mr. Moncrieff"), unless closed-class
    3. a determiner opens a phrase: the words after it up to a closed-class word, a mark, or a word that looks like a
       verb ("refused", "walked"), four at most
    4. a preposition opens one too ("a bit of food"), up to the same ends
    5. what is left: words with a noun's ending ("-tion", "-ness", "-ers"), by themselves

Ours. It finds too much rather than too little: a phrase that is none costs a candidate, a missed one an answer.
"""

import re

_WORD = re.compile(r"[A-Za-z]+(?:[-'’][A-Za-z]+)*")
_POSSESSIVE = re.compile(r"['’]s$")
_TITLES = ("Mr", "Mrs", "Ms", "Dr", "St", "Prof")
_LONGEST = 4

_OPENING = """
a an the this that these those my your his her its our their some any every each no all both another several many few
two three four five six seven eight nine ten
"""
_FUNCTION = """
i you he she it we they me him us them mine yours hers ours theirs myself yourself himself herself itself ourselves
themselves who whom whose which what where when why how there here and or but nor so yet for because although though
while if unless until since as than whether after before once of in on at by with from to into onto upon beside over
under about against between among through during without within along across behind beyond near off out up down away
around toward towards like is are was were be been being am do does did done have has had having will would shall
should can could may might must not n't very too also just only even still again then now never always often soon
later ago more most much less least such own same other others one ones yes please let lets well it's he's she's i'm
don't didn't couldn't wouldn't isn't wasn't can't won't that's there's
"""
_COMMON_VERBS = """
went came got made said told gave took knew thought saw found left kept put let began felt brought held wrote stood
heard ran sat met paid led lost spoke won fell sent built understood bought caught ate drank rose threw hit cut read
grew beat flew drove rode shook wore tore swam sang hid dug shot sold taught fought sought tried asked looks go goes
get gets make makes say says tell tells give gives take takes know knows think thinks see sees find finds want wants
need needs try tries ask asks seem seems help helps become became come comes keep keeps
"""
_DETERMINERS = set(_OPENING.split())
_CLOSED = _DETERMINERS | set(_FUNCTION.split())
_VERBS = set(_COMMON_VERBS.split())
_PREPOSITIONS = {"of", "in", "with", "for", "on", "at", "from", "into", "about", "like"}
_WITHIN = {"very", "most", "more", "less", "too", "own", "same", "other"}
_ENDINGS = ("tion", "sion", "ment", "ness", "ity", "ship", "ance", "ence", "ers", "ors", "ies", "ists", "ans")


def noun_phrases(text: str) -> list[str]:
    """The noun phrases of a text, in its order, each once (whatever its case and determiner)."""
    words = [(match.group(), match.start(), match.end()) for match in _WORD.finditer(text)]
    found: list[tuple[int, int]] = []
    at = 0
    while at < len(words):
        end = _name(text, words, at) or _bare(words, at)
        start = at if end else at + 1
        if not end and (word := words[at][0].lower()) in _DETERMINERS | _PREPOSITIONS:
            start = at if word in _DETERMINERS else at + 1
            end = _opened(text, words, at, at + 1 + _LONGEST)
        if end:
            found.append((words[start][1], words[end - 1][2]))
        at = end or at + 1
    first: dict[str, str] = {}
    for start, stop in found:
        phrase = _POSSESSIVE.sub("", text[start:stop])
        first.setdefault(bare(phrase), phrase)
    return list(first.values())


def words_of(text: str) -> list[str]:
    """The words of a text, without its marks."""
    return _WORD.findall(text)


def bare(phrase: str) -> str:
    """A phrase without case, marks, possessive and leading determiners, so that two mentions can be compared."""
    words = [_POSSESSIVE.sub("", word.lower()) for word in _WORD.findall(phrase)]
    while len(words) > 1 and words[0] in _DETERMINERS:
        words.pop(0)
    return " ".join(words)


def _joined(text: str, words: list[tuple[str, int, int]], at: int) -> bool:
    """Whether nothing but space (or the full stop of a title) stands between a word and the next."""
    between = text[words[at][2] : words[at + 1][1]]
    return not between.strip() or (between.strip() == "." and words[at][0] in _TITLES)


def _name(text: str, words: list[tuple[str, int, int]], at: int) -> int:
    end = at
    while end < len(words) and words[end][0][0].isupper() and words[end][0].lower() not in _CLOSED:
        end += 1
        if end < len(words) and not _joined(text, words, end - 1):
            break
    return end if end > at else 0


def _opened(text: str, words: list[tuple[str, int, int]], at: int, most: int) -> int:
    """Where the phrase ends that the word at ``at`` opens; 0 where no noun follows."""
    end = at + 1
    while end < min(most, len(words)) and _joined(text, words, end - 1):
        word, first = words[end][0].lower(), end == at + 1
        stops = word in _CLOSED - _WITHIN and not (first and word in _DETERMINERS)
        if stops or word in _VERBS or (not first and _is_verb(word)):
            break
        end += 1
    while end > at + 1 and words[end - 1][0].lower() in _CLOSED:
        end -= 1
    return end if end > at + 1 else 0


def _bare(words: list[tuple[str, int, int]], at: int) -> int:
    word = words[at][0]
    noun = word.islower() and word not in _CLOSED and word not in _VERBS and word.endswith(_ENDINGS)
    return at + 1 if noun else 0


def _is_verb(word: str) -> bool:
    return word in _VERBS or (len(word) > 4 and word.endswith(("ed", "ing", "n't")))
