"""All rules under some settings, as a list to look at."""

from dataclasses import asdict, dataclass

from tltrain.audit.aftermath import THEN_RULES
from tltrain.audit.call_check import CALL_RULES
from tltrain.audit.config import AuditConfig
from tltrain.audit.rules import STRUCTURE_RULES, Rule
from tltrain.types import Json


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedRule:
    """One rule that is asked."""

    name: str
    """What `off` takes."""
    reach: str
    """Of a text rule, see `rules.Reach`; `field` for one over fields, `call` and `then` for those layers."""
    label: str | None
    """What it speaks for; None where that depends on the answer."""
    kind: str | None
    blame: str | None
    meaning: str = ""
    """What it says, where no pattern does."""
    examples: tuple[str, ...] = ()
    patterns: str = ""
    """Of a text rule, joined with `|`."""

    def to_json(self) -> dict[str, Json]:
        """Field names as here."""
        fields: dict[str, Json] = asdict(self)
        return fields


def list_rules(config: AuditConfig) -> list[ListedRule]:
    """The rules over fields, then those of text in the order in which they are asked, then the other layers."""
    book = config.book()
    named = [(STRUCTURE_RULES, "field"), (CALL_RULES, "call"), (THEN_RULES, "then")]
    fields, call, then = (
        [_named(name, meaning, reach) for name, meaning in rules.items() if name not in config.off]
        for rules, reach in named
    )
    return [*fields, *(_of_text(rule) for rule in book.rules), *call, *then]


def _named(name: str, meaning: str, reach: str) -> ListedRule:
    return ListedRule(name=name, reach=reach, label=None, kind=None, blame=None, meaning=meaning)


def _of_text(rule: Rule) -> ListedRule:
    return ListedRule(
        name=rule.name,
        reach=rule.reach.value,
        label=rule.label.value,
        kind=rule.kind.value if rule.kind else None,
        blame=rule.blame.value,
        examples=rule.examples or (rule.pattern.pattern,),
        patterns=rule.pattern.pattern,
    )
