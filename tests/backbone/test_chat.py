import pytest

from promptlab.backbone.chat import as_template, between
from promptlab.backbone.encode import Encoded
from promptlab.errors import BackboneError
from promptlab.language.grammar import Text, Token

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.fixture
def talking(fresh):
    """talking("llama", template): a backbone with that chat template."""

    def get(family="llama", template=TEMPLATE):
        backbone = fresh(family)
        backbone.tokenizer.chat_template = template
        return backbone

    return get


def test_one_question_stands_between_its_role_and_the_answers_place(talking):
    before, after = between(talking(), 0)
    assert before == (Token("<s>"), Text("[user] "))
    assert after == (Token("</s>"), Text("\n[assistant] "))


def test_answers_that_are_shown_stand_where_the_asked_one_will(talking):
    pieces = between(talking(), 2)
    assert len(pieces) == 6
    assert pieces[1] == pieces[3] == pieces[5]
    assert pieces[2] == pieces[4] == (Token("</s>"), Text("\n[user] "))


def test_a_row_begins_as_the_template_says_and_not_as_others_do(talking):
    encoded = Encoded([[1, 1, 5, 6], [1, 1, 7]], None, [[3], [2]], [False, True])
    assert as_template(talking(), encoded) == Encoded([[1, 5, 6], [1, 7]], None, [[2], [1]], [False, True])
    assert as_template(talking("gpt2"), encoded) == encoded


def test_a_system_message_of_the_template_stays(talking):
    before, _ = between(
        talking(template="Be brief.\n{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"), 0
    )
    assert before == (Text("Be brief.\nuser: "),)


def test_a_backbone_without_a_chat_template_is_refused(tiny):
    with pytest.raises(BackboneError, match="has no chat template. Leave chat out"):
        between(tiny("llama"), 0)


def test_a_template_that_refuses_a_conversation_says_why(talking):
    with pytest.raises(BackboneError, match=r"refuses a conversation of 4 messages \(only one turn\)"):
        between(talking(template="{{ raise_exception('only one turn') }}"), 1)


def test_a_template_that_changes_its_messages_is_refused(talking):
    with pytest.raises(BackboneError, match="changes its messages"):
        between(talking(template="{% for m in messages %}{{ m.content | upper }}{% endfor %}"), 0)
