import pytest
from pydantic import TypeAdapter

from tltrain.audit.policy import Block, BlockPolicy, BlockRule, block_rules, blocked_calls, is_blocked
from tltrain.audit.verdict import BLAME_OF_KIND, Blame, CallVerdict, Verdict, VerdictLabel
from tltrain.config import load_config
from tltrain.errors import UsageError
from tltrain.rl.config import PpoConfig
from tltrain.sft.config import SftConfig
from tltrain.taxonomy import FeedbackKind


def verdict(kind=None, label="error", blame=None):
    kind = None if kind is None else FeedbackKind(kind)
    found = Blame.NONE if kind is None else BLAME_OF_KIND[kind]
    return Verdict(label=VerdictLabel(label), rule="r", kind=kind, blame=found if blame is None else Blame(blame))


WRONG, BUSY, LOST = verdict("type_or_value"), verdict("service_failure"), verdict("refused")
OPEN, FINE = verdict("ambiguous", "ambiguous"), verdict(label="ok")


@pytest.mark.parametrize(
    ("policy", "blocked"),
    [
        ("paper", [WRONG, BUSY, LOST]),
        ("strict", [WRONG, BUSY, LOST, OPEN]),
        ("lenient", [WRONG]),
        ("none", []),
        (BlockRule(), [WRONG, BUSY, LOST]),
        (BlockRule(blames=("model", "world")), [WRONG, LOST]),
        (BlockRule(kinds=("refused",)), [LOST]),
        (BlockRule(kinds=("refused",), blames=("model",)), []),
        (BlockRule(labels=("ambiguous",)), [OPEN]),
        ((BlockRule(blames=("model",)), BlockRule(labels=("ambiguous",))), [WRONG, OPEN]),
        ((), []),
    ],
)
def test_what_is_blocked(policy, blocked):
    every = [WRONG, BUSY, LOST, OPEN, FINE]
    assert [one for one in every if is_blocked(one, block_rules(policy))] == blocked
    rows = [CallVerdict(trajectory="t", number=n, tool="x", source="s", verdict=one) for n, one in enumerate(every)]
    numbers = frozenset(every.index(one) for one in blocked)
    assert blocked_calls(rows, policy) == ({"t": numbers} if numbers else {})


def test_an_unknown_word_is_refused():
    with pytest.raises(ValueError, match="severe"):
        block_rules("severe")


@pytest.mark.parametrize("kind", [SftConfig, PpoConfig])
def test_trainers_take_words_and_rules(kind):
    assert load_config(kind, settings=["block=lenient"]).block == "lenient"
    assert load_config(kind, settings=["block={blames: [model]}"]).block == BlockRule(blames=("model",))
    assert load_config(kind, settings=["block=[{kinds: [refused]}]"]).block == (BlockRule(kinds=("refused",)),)
    for wrong in ("block=severe", "block={blame: [model]}", "block={blames: [nobody]}"):
        with pytest.raises(UsageError, match="block"):
            load_config(kind, settings=[wrong])


def test_every_word_is_a_choice_of_a_config():
    assert [TypeAdapter(Block).validate_python(policy.value) for policy in BlockPolicy] == list(BlockPolicy)
