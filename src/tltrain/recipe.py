"""Recipes: a whole run as one YAML file, from the data to the report.

A recipe may say `extends: demo` (a recipe that ships, or a file next to it) and change few fields of that one.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tltrain.audit.run import AuditConfig
from tltrain.benches.config import EvalConfig
from tltrain.config import check_config, merge, override
from tltrain.corpus.config import MixConfig
from tltrain.engine.settings import TrackerName
from tltrain.errors import UsageError
from tltrain.generate.config import GenerateConfig
from tltrain.rl.config import PpoConfig
from tltrain.sft.config import SftConfig
from tltrain.yaml_file import YamlMapping, parse_yaml, read_yaml

ModelState = Literal["base", "sft", "ppo"]
"""A state of the model: as it came, after `sft`, after `ppo`."""


class EvalPlan(EvalConfig):
    """Settings of `eval`, and which states of the model are measured."""

    stages: tuple[ModelState, ...] = Field(default=("base", "sft", "ppo"), min_length=1)
    """States that the recipe does not make are passed over."""

    def config(self) -> EvalConfig:
        """The settings alone."""
        return EvalConfig.model_validate(self.model_dump(exclude={"stages"}))


class Recipe(BaseModel):
    """Everything that decides a run. A stage whose section is missing or null is left out; `audit` always runs.

    Raises (on construction):
        ValidationError: a field out of its range, no data or two kinds of it, or no test data where it is needed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    seed: int = 0
    """Goes to every stage that has a seed and is given none."""
    tracker: TrackerName | None = None
    """Where metrics of `sft` and `ppo` are shown while they run, besides metrics.jsonl; None: nowhere."""
    model: str = Field(default="smollm2-135m-instruct", min_length=1)
    """See `engine.model.load_model`; in a file, ./NAME is a folder next to the recipe."""
    generate: GenerateConfig | None = None
    data: MixConfig | None = None
    """Trajectories of one's own, instead of `generate`."""
    audit: AuditConfig = AuditConfig()
    sft: SftConfig | None = None
    ppo: PpoConfig | None = None
    eval: EvalPlan | None = None
    report: bool = True

    @model_validator(mode="before")
    @classmethod
    def _pass_seed(cls, given: Any) -> Any:
        seed = given.get("seed", 0) if isinstance(given, Mapping) else None
        if not isinstance(seed, int) or isinstance(seed, bool):
            return given
        return {**given, **{name: _seeded(given[name], seed) for name in _SEEDED if given.get(name) is not None}}

    @model_validator(mode="after")
    def _check_data(self) -> Self:
        if (self.generate is None) == (self.data is None):
            found = "neither" if self.data is None else "both"
            raise ValueError(f"generate and data: {found} is given; give one, where the trajectories come from")
        has_test = self.generate.num_test > 0 if self.generate else self.data is not None and self.data.test is not None
        if self.eval and not has_test:
            raise ValueError("eval: there is no test data; give data.test or generate.num_test, or set eval to null")
        return self


_SEEDED = ("generate", "data", "sft", "ppo", "eval")


def _seeded(section: Any, seed: int) -> Any:
    if isinstance(section, BaseModel):
        return section if "seed" in section.model_fields_set else section.model_copy(update={"seed": seed})
    return {"seed": seed, **section} if isinstance(section, Mapping) else section


def load_recipe(spec: str | Path, *, flags: Mapping[str, object] = {}, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        spec: name of a recipe that ships, or a YAML file.
        flags: dotted field name -> value that replaces the recipe's; None means: not given.
        settings: texts `field.sub=value`, which win over all else.

    Raises:
        UsageError: there is no such recipe, it cannot be read, or a field is not known or breaks a rule.
    """
    document = _read(str(spec), folder=Path(), below=())
    given = override(YamlMapping(fields={}, lines={}), flags=flags, settings=settings)
    recipe = _overlay(document, YamlMapping(fields=_anchor(given.fields, Path()), lines=given.lines))
    return check_config(Recipe, recipe.fields, lines=recipe.lines)


def load_data(spec: str | Path, *, flags: Mapping[str, object] = {}, settings: Sequence[str] = ()) -> MixConfig:
    """Read the `data` of a recipe, or a YAML file that holds what stands there.

    Args:
        spec: name of a recipe, a recipe's file, or a file with `train` at its top.
        flags: as `load_recipe`, of the fields of `data`.
        settings: the same.

    Raises:
        UsageError: as `load_recipe`, or the recipe has no `data`.
    """
    path = Path(spec).expanduser()
    document = read_yaml(path) if path.is_file() else None
    given = override(YamlMapping(fields={}, lines={}), flags=flags, settings=settings)
    own = anchor_data(given.fields, Path())
    if document is not None and "train" in document.fields:
        fields = merge(anchor_data(document.fields, path.parent), own)
        return check_config(MixConfig, fields, lines={**document.lines, **given.lines})
    data = load_recipe(spec).data
    if data is None:
        raise UsageError(f"recipe={spec}: has no section data; give one that has, or a file with `train: FILE`")
    fields = merge(data.model_dump(mode="json"), own)
    return check_config(MixConfig, fields, lines=given.lines)


def shipped_recipes() -> list[str]:
    """Names of the recipes that ship."""
    files = resources.files("tltrain").joinpath("recipes").iterdir()
    return sorted(Path(file.name).stem for file in files if file.name.endswith(".yaml"))


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a recipe is written."""

    name: str
    text: YamlMapping
    folder: Path
    """What its relative paths refer to."""


def _read(spec: str, *, folder: Path, below: tuple[str, ...]) -> YamlMapping:
    """The fields of a recipe, on top of those that it extends."""
    source = _find(spec, folder)
    if source.name in below:
        raise UsageError(f"{below[-1]}: extends={spec} leads back to itself; extend another recipe")
    fields = _anchor({"name": Path(source.name).stem, **source.text.fields}, source.folder)
    base = fields.pop("extends", None)
    if base is None:
        return YamlMapping(fields=fields, lines=source.text.lines)
    if not isinstance(base, str):
        raise UsageError(f"{source.name}: extends={base!r} should be the name of a recipe, or a file")
    parent = _read(base, folder=source.folder, below=(*below, source.name))
    return _overlay(parent, YamlMapping(fields=fields, lines=source.text.lines))


def _find(spec: str, folder: Path) -> _Source:
    path = folder / Path(spec).expanduser()
    if path.is_file() or path.suffix in (".yaml", ".yml") or "/" in spec:
        return _Source(str(path), read_yaml(path), path.parent)
    names = shipped_recipes()
    if spec not in names:
        near = difflib.get_close_matches(spec, names, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise UsageError(f"recipe={spec}: neither a file nor a recipe that ships; {meant}there are {', '.join(names)}")
    text = resources.files("tltrain").joinpath("recipes", f"{spec}.yaml").read_text(encoding="utf-8")
    return _Source(spec, parse_yaml(text, source=f"{spec}.yaml"), folder)


def _anchor(fields: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The fields with paths that mean the same wherever the run is started."""
    anchored = dict(fields)
    files, model = fields.get("data"), fields.get("model")
    if files is not None:
        anchored["data"] = anchor_data(files, folder)
    if isinstance(model, str) and model.startswith(("./", "../", "~")):
        anchored["model"] = str(folder.absolute() / Path(model).expanduser())
    return anchored


def anchor_data(fields: Any, folder: Path) -> Any:
    """A `data` section with its paths below a folder; fields that are not as they should be stay as they are."""
    if not isinstance(fields, Mapping):
        return fields
    anchored = dict(fields)
    for name in ("train", "test"):
        if name in fields:
            anchored[name] = _anchor_files(fields[name], folder)
    against = fields.get("decontaminate")
    if isinstance(against, Mapping) and "against" in against:
        anchored["decontaminate"] = {**against, "against": _anchor_files(against["against"], folder)}
    return anchored


def _anchor_files(given: Any, folder: Path) -> Any:
    """A file, as a path or as its settings, or a list of them."""
    match given:
        case str():
            return str(folder.absolute() / Path(given).expanduser())
        case list():
            return [_anchor_files(item, folder) for item in given]
        case Mapping():
            return {
                name: _anchor_files(value, folder) if name in ("path", "tools", "answers") else value
                for name, value in given.items()
            }
    return given


def _overlay(base: YamlMapping, over: YamlMapping) -> YamlMapping:
    """Both in one; `over` wins, and data of one kind replaces data of the other."""
    fields = merge(base.fields, over.fields)
    for kind, other in (("data", "generate"), ("generate", "data")):
        if over.fields.get(kind) is not None and other not in over.fields:
            fields[other] = None
    return YamlMapping(fields=fields, lines={**base.lines, **over.lines})
