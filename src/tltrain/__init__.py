"""tltrain trains a language model to call tools well.

    from tltrain import generate, mix, audit, sft, ppo, evaluate, compare, export, report, run

are the stages as functions. They are loaded when first used: `import tltrain` takes no time and no torch.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tltrain.benches.compare import compare
    from tltrain.benches.run import evaluate
    from tltrain.data_stages import audit, generate, mix
    from tltrain.export.run import export
    from tltrain.report.page import report
    from tltrain.rl.train import ppo
    from tltrain.run import run
    from tltrain.sft.train import sft

__all__ = ["audit", "compare", "evaluate", "export", "generate", "mix", "ppo", "report", "run", "sft"]

_HOMES = {
    "audit": "tltrain.data_stages",
    "compare": "tltrain.benches.compare",
    "evaluate": "tltrain.benches.run",
    "export": "tltrain.export.run",
    "generate": "tltrain.data_stages",
    "mix": "tltrain.data_stages",
    "ppo": "tltrain.rl.train",
    "report": "tltrain.report.page",
    "run": "tltrain.run",
    "sft": "tltrain.sft.train",
}
_MODULES = frozenset({"audit", "export", "generate", "report", "run", "sft"})
"""Those that are also the name of a module or subpackage."""


def _load(name: str) -> Any:
    return getattr(importlib.import_module(_HOMES[name]), name)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tltrain' has no attribute {name!r}")
    return importlib.import_module(f"tltrain.{name}") if name in _MODULES else _load(name)


class _CallableModule(ModuleType):
    """A module with the name of a stage, such as `tltrain.sft`: called, it is the stage function.

    Both are `tltrain.sft` to Python, and which of them an import would find hung on what was imported before.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _load(self.__name__.removeprefix("tltrain."))(*args, **kwargs)

    @property
    def __signature__(self) -> Any:
        import inspect

        return inspect.signature(_load(self.__name__.removeprefix("tltrain.")))


class _Package(ModuleType):
    """The package itself; the import system tells it of each module that it loads."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _MODULES and isinstance(value, ModuleType):
            value.__class__ = _CallableModule
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
