"""Words as the Penn Treebank cuts them, lower-cased and without punctuation: what ROUGE-L and CIDEr of E2E compare.

    read     addresses, numbers, abbreviations, words with hyphens: one token each
    part     can't -> ca n't; Alice's -> alice 's; cannot -> can not
    write    brackets as -lrb- and -rrb-, a pound sign as #, a euro sign as $
    drop     the marks of the caption challenge's list (Chen et al. 2015, arXiv:1504.00325, section 3)

Without Java. Written from what Stanford's PTBTokenizer 3.4.1, which the official scripts run, does with 40,000 texts:
the two agree on 99 in 100 of them, and on all of E2E. That tokenizer itself is in ``jars.py``.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

_ABBREVIATIONS = """
Adm Adv Al Ala Alex Apr Ariz Ark Assn Asst Atty Attys Aug Ave Bhd Bldg Blvd Brig Bros Calif Capt Cf Cie Cmdr Co Col Colo
Conn Corp Cos Cpl Ct Dak Dec Del Dept Det Dr Drs Elec Esq Est Etc Feb Fla Fri Ft Ga Gen Gov Govs Hon Ill Inc Ind Insp
Intl Invt Jan Jos Jr Jul Jun Kan Ky La Lieut Lt Ltd Maj Mar Mass Md Messrs Mfg Mich Minn Miss Mlle Mme Mo Mon Mont Mr
Mrs Ms Msgr Mt Natl Neb Nev Nov Oct Okla Ore Pa Penn Pfc Ph Plc Pres Prof Profs Pte Pty Pvt Rd Rep Reps Rev Rt Sen Sens
Sep Sept Seq Sgt Spc Sq Sr St Ste Supt Tel Tenn Tex Thu Thurs Tue Tues Univ Va Vs Vt Wash Wed Wis Wm Wyo
"""
_SMALL = "al bldg cf co colo est etc ft gov jr mo mr ms plc pte pty rd seq sq st vs"  # those that are small as well
_NUMBERED = r"(?i:art|ca|figs?|nos?|op|pp)"
_OPENERS = """
A AS About According Additionally After An As At But He Her Here However IT If In It Last Many More Now Once One Other
Our She Since So Some Such THE That The Their Then There These They This We What When While Yet You
"""
_OPENS = rf"(?:{'|'.join(_OPENERS.split())})\b"  # what begins a sentence, so that the full stop before it ends one
_ABBREVIATED = rf"(?:(?=[A-Z])(?i:{'|'.join(_ABBREVIATIONS.split())})|{'|'.join(_SMALL.split())})\."
_LETTER = r"[^\W\d_]"
_APOS = r"['\u2019\u0092]"
_WORD = rf"(?:{_LETTER}(?:{_LETTER}|\d|[_\u0300-\u036f\xad])*)"
_CLITIC = rf"{_APOS}(?i:s|m|d|re|ve|ll)(?![A-Za-z])"
_NOT = rf"(?i:n(?:{_APOS}|`)t)(?![A-Za-z])"
_LAST = rf"(?<![\w.]){_LETTER}\.\s*$"
_JOINED = re.compile(rf"\b(?:{_LETTER}|{_NUMBERED})\.\s")
_PIECE = re.compile(rf"(?:\S*\b{_LETTER}\.\s+|{_NUMBERED}\.\s+(?=\d))+\S+\s?|\S+\s?")
_TOKEN = re.compile(
    rf"""
      </?[A-Za-z][A-Za-z0-9:._-]*/?> | &(?:amp|lt|gt|quot|nbsp);
    | https?://[^\s<>"|]*[^\s<>"|.!?,;:)(\]] | [\w.+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{{2,}}
    | (?:[A-Za-z0-9-]+\.)+(?:com|net|org|edu)(?![A-Za-z])(?:/[^\s<>"|]*[^\s<>"|.!?,;:)(])?
    | (?i:can(?=not\b)|gon(?=na\b)|got(?=ta\b)|wan(?=na\b)|lem(?=me\b)|gim(?=me\b))
    | {_CLITIC} | {_NOT} | {_APOS}[nN]{_APOS}
    | {_APOS}(?i:n|em|tis|twas|cause)\b | {_APOS}\d\ds?(?=\s|$) | (?i:o{_APOS}clock|ma{_APOS}am)\b
    | \d{{1,2}}/\d{{1,2}}/\d{{2,4}}(?!\d) | \d{{1,4}}/\d{{1,4}}(?![\d/])
    | (?:[A-Za-z]\.)+[A-Za-z]\.(?:-\w+|(?!\w)) | {_ABBREVIATED}(?!\w) | {_NUMBERED}\.(?=\s\s*\d)
    | (?<!\d){_LETTER}\.(?=\s*$|\s(?!\s*{_OPENS})) | {_LETTER}+\.(?=[,;:])
    | [^\W_](?:[^\W_]|[.,](?=[A-Za-z0-9-]))*(?:-[^\W_]+)+(?!\w)
    | \d+(?:[.:,]\d+)+ | (?<![\w\u2013-])[-+]\d+(?:[.:,]\d+)* | [.:,]\d+(?:[.:,]\d+)*
    | [dDoOlL]{_APOS}{_LETTER}+ | {_LETTER}*[aeiouy]{_APOS}[aeiouy]{_LETTER}*
    | [A-Z]+(?:&[A-Z]+)+ | [A-Za-z0-9]+(?:/[A-Za-z0-9]+){{1,2}} | (?:US|A|C|HK|NZ|S|R)\$ | [Cc]\+\+ | [Cc]\#
    | {_LETTER}+?(?={_NOT})
    | [#@]{_WORD} | {_WORD}(?:[.!?]{_WORD})*
    | \d+(?:{_LETTER}|[\d_])* | [!?]{{2,}} | \*+ | \S
    """,
    re.VERBOSE,
)
_PARTED = frozenset("cannot gonna gotta wanna lemme gimme".split())
_FROM = "£ € ¢ ¤ ( ) [ ] { } ½ ¼ ¾ &amp; &lt; &gt;".split()
_WRITTEN = dict(zip(_FROM, "# $ cents $ -lrb- -rrb- -lsb- -rsb- -lcb- -rcb- 1/2 1/4 3/4 & < >".split(), strict=True))
_DROPPED = frozenset("\" ' ` . ? ! , : - ; … – — ― “ ” ‘ ’ „ ‚ « » ‹ › &quot; \x85 \x91 \x92 \x93 \x94 \x96 \x97".split(" "))


def lines(texts: Sequence[str]) -> list[list[str]]:
    """The words of texts that follow each other, one a line: whether ``Serie B.`` ends a sentence shows in the next."""
    after = [*(text.split(maxsplit=1)[:1] for text in texts[1:]), []]
    return [words(text, *begin) for text, begin in zip(texts, after, strict=True)]


def words(text: str, after: str = "") -> list[str]:
    """The tokens of a text, lower-cased, punctuation dropped.

    Args:
        text: as it was written.
        after: the word that follows it, on the next line.
    """
    if after and re.match(_OPENS, after) and re.search(_LAST, text):
        text = text.rstrip().removesuffix(".") + " ."
    pieces = _PIECE.findall(text) if _JOINED.search(text) else text.split()
    return [token for piece in pieces for token in _cut(piece)]


@lru_cache(maxsize=1 << 16)
def _cut(piece: str) -> tuple[str, ...]:
    """The tokens of what stands between two blanks; the same pieces come again and again."""
    bare = piece.rstrip().lower()
    if bare.isalpha() and bare not in _PARTED:
        return (bare,)
    return tuple(_written(token) for token in _TOKEN.findall(piece) if token not in _DROPPED)


def _written(token: str) -> str:
    return _WRITTEN.get(token, token.lower().replace("\u2019", "'").replace("\x92", "'"))
