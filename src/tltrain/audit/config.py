"""Settings of `audit`."""

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from tltrain.audit.aftermath import THEN_RULES
from tltrain.audit.call_check import CALL_RULES
from tltrain.audit.labels import LabelBook, read_labels
from tltrain.audit.layers import Auditor
from tltrain.audit.policy import Block
from tltrain.audit.rules import STRUCTURE_RULES, Rule, RuleBook, compile_rule, shipped_rules
from tltrain.config_mistakes import suggest
from tltrain.errors import UsageError
from tltrain.yaml_file import read_yaml


class AuditConfig(BaseModel):
    """Settings of `audit`.

    Raises (on construction):
        ValidationError: a rule that does not compile, a pack that cannot be read, or a name in `off` that no rule has.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: tuple[dict[str, Any], ...] = ()
    """Own text rules, asked before the shipped ones: rows as in `audit/rules.yaml`, such as
    {"name": "nack", "patterns": ["^NACK"], "kind": "refused"}. A rule of label ok silences a false alarm."""
    packs: tuple[Path, ...] = ()
    """YAML files with more such rows under `rules:`; asked after `rules` and before the shipped ones."""
    off: tuple[str, ...] = ()
    """Names of rules that are not asked, of any layer; `tltrain audit rules` lists them."""
    labels: Path | None = None
    """labels.jsonl: what people or a judge said of feedback that the rules cannot tell; see `audit label`."""
    format: str | None = None
    """Name of the data's format; None: found out from the file."""
    tools: Path | None = None
    """Tool documents for data that carries none, such as that of tau-bench."""
    answers: Path | None = None
    """Right calls for data that holds questions alone."""
    strict: bool = False
    """Stop at the first row that cannot be read, in place of setting it aside."""
    block: Block = "paper"
    """Choice whose masks the summary shows beside those of the shipped policies. Training makes its own."""

    @field_validator("rules")
    @classmethod
    def _check_rules(cls, rules: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        for row in rules:
            compile_rule(row)
        return rules

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        known = [*(rule.name for rule in self._all_rules()), *STRUCTURE_RULES, *CALL_RULES, *THEN_RULES]
        for name in self.off:
            if name not in known:
                raise ValueError(f"off: {name!r} is no rule; {_nearest(name, known)}")
        return self

    def book(self) -> RuleBook:
        """The shipped rules with the own ones before them, without those that are off."""
        own = self._own_rules()
        return shipped_rules().extended(own).without(self.off) if own or self.off else shipped_rules()

    def auditor(self) -> Auditor:
        """What judges under these settings.

        Raises:
            DataError: the labels cannot be read.
        """
        labels = read_labels(self.labels) if self.labels else LabelBook()
        return Auditor(book=self.book(), labels=labels, off=frozenset(self.off))

    def _own_rules(self) -> list[Rule]:
        own = [compile_rule(row) for row in self.rules]
        return own + [rule for path in self.packs for rule in read_pack(path)]

    def _all_rules(self) -> list[Rule]:
        return [*self._own_rules(), *shipped_rules().rules]


def _nearest(name: str, known: list[str]) -> str:
    near = suggest(name, known)
    return near if near.startswith("did you mean") else "`tltrain audit rules` lists the names"


def read_pack(path: Path) -> list[Rule]:
    """The rules of a YAML file that holds rows as in `audit/rules.yaml` under `rules:`.

    Raises:
        UsageError: the file cannot be read, holds other things, or a rule does not compile; names the file.
    """
    fields = read_yaml(path).fields
    rows = fields.get("rules")
    if set(fields) != {"rules"} or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UsageError(f"{path}: a pack holds one list of rules under `rules:`, as tltrain/audit/rules.yaml does")
    try:
        return [compile_rule(row) for row in rows]
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
