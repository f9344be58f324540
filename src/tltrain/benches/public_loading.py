"""Public test sets that a config names, read and cut to the cases that are wanted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tltrain.benches.balance import choose_balanced
from tltrain.benches.bench_case import Bench, BenchCase
from tltrain.benches.bfcl import Bfcl
from tltrain.benches.bfcl_cases import ALL_PARTS, MULTI_TURN, expand_parts
from tltrain.benches.bfcl_environment import NEEDED, BfclEnvironment
from tltrain.benches.bfcl_multi_turn import NAME, describe_multi_turn
from tltrain.benches.bfcl_multi_turn_cases import MultiTurnCase, load_multi_turn
from tltrain.benches.data_folder import DataFolder
from tltrain.benches.public_config import PublicEvalConfig, split_spec
from tltrain.benches.rotbench import LEVELS, RoTBench
from tltrain.benches.toolalpaca import ToolAlpaca
from tltrain.benches.tooleyes import Query, load_queries
from tltrain.errors import UsageError

TOOLEYES = "tooleyes"


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedSet:
    """A test set with what is chosen of it; conversations stand in place of a bench and cases."""

    name: str
    bench: Bench | None = None
    cases: Sequence[BenchCase] = ()
    queries: Sequence[Query] = ()
    """Of ToolEyes."""
    talks: Sequence[MultiTurnCase] = ()
    """Of BFCL."""
    max_steps: int = 0
    notes: Sequence[str] = ()
    """On talks."""


class Loading(NamedTuple):
    """All test sets, and what they were read from."""

    sets: list[LoadedSet]
    data: DataFolder
    left_out: dict[str, str]


def load_sets(
    config: PublicEvalConfig,
    data_dir: Path,
    *,
    allow_changed: bool,
    limit: int | None,
    environment: BfclEnvironment | None,
) -> Loading:
    """Read the test sets that a config names.

    Args:
        config: names them.
        data_dir: holds them, see `DataFolder`.
        allow_changed: take files that differ from the published ones.
        limit: most cases of each set; None takes all.
        environment: of BFCL's multi-turn categories, which are left out without one.

    Raises:
        DataError: a file of a test set is missing or changed.
        UsageError: nothing else is asked for, and there is no environment; or the environment does not work.
    """
    specs = [(name, *_separate(name, parts)) for name, parts in map(split_spec, config.benches)]
    wanted = any(categories for _, _, categories in specs)
    info = environment.describe() if wanted and environment else None
    data = DataFolder(data_dir, allow_changed=allow_changed, more={"bfcl": info.data} if info else None)
    sets: list[LoadedSet] = []
    left_out: dict[str, str] = {}
    for name, parts, categories in specs:
        if parts is not None:
            sets.append(_load_set(name, parts, config, data, limit))
        if categories and info is None:
            left_out[f"bfcl:{'+'.join(categories)}"] = NEEDED
        elif categories and info is not None:
            talks = [case for category in categories for case in load_multi_turn(data, category)]
            chosen = choose_balanced([(talk.category,) for talk in talks], limit, seed=config.seed)
            talks, notes = [talks[index] for index in chosen], describe_multi_turn(info)
            sets.append(LoadedSet(name=NAME, talks=talks, max_steps=info.max_steps, notes=notes))
    if not sets:
        raise UsageError(f"there is nothing to run: {NEEDED}")
    return Loading(sets, data, left_out)


def _separate(name: str, parts: Sequence[str]) -> tuple[Sequence[str] | None, tuple[str, ...]]:
    """Parts of single answers, None if none is wanted, and BFCL's categories of conversations."""
    if name != "bfcl":
        return parts, ()
    chosen = expand_parts(parts or ("exec",), ALL_PARTS)
    talks = tuple(category for category in chosen if category in MULTI_TURN)
    return tuple(category for category in chosen if category not in MULTI_TURN) or None, talks


def _load_set(
    name: str, parts: Sequence[str], config: PublicEvalConfig, data: DataFolder, limit: int | None
) -> LoadedSet:
    if name == TOOLEYES:
        queries = load_queries(data)
        chosen = choose_balanced([(query.scenario, query.path) for query in queries], limit, seed=config.seed)
        return LoadedSet(name=name, queries=[queries[index] for index in chosen])
    bench: Bench
    if name == "rotbench":
        bench = RoTBench(data, levels=parts or LEVELS, style=config.style)
    elif name == "bfcl":
        bench = Bfcl(data, parts=parts, first_call=config.first_call)
    else:
        bench = ToolAlpaca(data, openapi=config.openapi)
    cases = bench.load()
    chosen = choose_balanced([tuple(case.groups.values()) for case in cases], limit, seed=config.seed)
    return LoadedSet(name=name, bench=bench, cases=[cases[index] for index in chosen])
