"""What an audit says about one call."""

from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct

from tltrain.taxonomy import FeedbackKind


class VerdictLabel(StrEnum):
    """How a call ended, as far as its feedback tells."""

    OK = "ok"
    ERROR = "error"
    AMBIGUOUS = "ambiguous"
    """The feedback can be read both ways; it is counted and shown, never guessed."""
    UNANSWERED = "unanswered"
    """No feedback at all."""


class Blame(StrEnum):
    """Who could have avoided an error."""

    MODEL = "model"
    """The call itself is wrong: tool, parameter names, types, values, format."""
    TOOL = "tool"
    """The service behind the tool broke down; the same call may work later."""
    WORLD = "world"
    """The call is well formed, but the state of things refuses it: not found, not allowed, not enough."""
    UNKNOWN = "unknown"
    NONE = "none"
    """Nothing went wrong."""


BLAME_OF_KIND = {
    FeedbackKind.TOOL_NOT_DEFINED: Blame.MODEL,
    FeedbackKind.MISSING_ARGUMENT: Blame.MODEL,
    FeedbackKind.UNEXPECTED_ARGUMENT: Blame.MODEL,
    FeedbackKind.TYPE_OR_VALUE: Blame.MODEL,
    FeedbackKind.REFUSED: Blame.WORLD,
    FeedbackKind.SERVICE_FAILURE: Blame.TOOL,
    FeedbackKind.AMBIGUOUS: Blame.UNKNOWN,
    FeedbackKind.UNANSWERED: Blame.UNKNOWN,
    FeedbackKind.UNCATEGORISED: Blame.UNKNOWN,
}


class Layer(StrEnum):
    """Where evidence comes from."""

    CALL = "call"
    """The call against the document of its tool."""
    FEEDBACK = "feedback"
    """The text that answers it."""
    THEN = "then"
    """What the assistant does next."""
    LABEL = "label"
    """What a person or a judge said of such feedback, see `labels`."""


class Witness(Struct, frozen=True, kw_only=True):
    """What one rule of one layer says about a call."""

    layer: Layer
    rule: str
    says: VerdictLabel
    """The label that it speaks for."""
    kind: FeedbackKind | None = None
    words: str = ""
    """What it found, in words; empty where the verdict's evidence shows it."""


class Verdict(Struct, frozen=True, kw_only=True):
    """A label with its reason."""

    label: VerdictLabel
    rule: str
    """Name of the rule that decided: of `rules.yaml`, or `call:...`, `then:...`, `label:...` of the other layers;
    `proof:kind` where one rule proves and another names."""
    kind: FeedbackKind | None = None
    """None where the call went well."""
    blame: Blame = Blame.NONE
    evidence: str = ""
    """Excerpt of the feedback: `feedback[start:end]`; empty where nothing in particular was matched."""
    start: int = 0
    """Character offset of the evidence in the feedback."""
    end: int = 0
    witnesses: tuple[Witness, ...] = ()
    """Everything that was found in any layer, the one that decided first."""


class CallVerdict(NamedTuple):
    """The verdict on one call of one trajectory."""

    trajectory: str
    """Id of the trajectory."""
    number: int
    """Of the call in its trajectory, as `types.CallStep` counts."""
    tool: str
    """Name of the called tool; empty if the call cannot be read that far."""
    source: str
    """Teacher and environment that the trajectory comes from."""
    verdict: Verdict
    feedback: str | None = None
    """Text that was judged; not kept in files, which refer to it by offsets."""
    truth: str | None = None
    """`right`, the kind of the error, or `silent:<CallError>`; None: not known."""
