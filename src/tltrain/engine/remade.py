"""What the backward pass makes again instead of keeping it: outputs of norms and of the gates of feed-forward layers,
or whole transformer blocks.

The former cost next to nothing beside the matrix products around them, and are more than half of what a block keeps: a
norm's inner state and its output, the activation of the gate and its product with the other half. Here the inputs alone
are kept, and the linear layers that read the outputs get them made again (saved-tensor hooks). The gradient is that of
the model's own modules, which are run again; no formula stands in for them.
"""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn import Module
from torch.utils.checkpoint import checkpoint

from tltrain.engine.compiled import find_compiled
from tltrain.engine.heap import HeapTrimmer
from tltrain.engine.in_place import can_embed, embed

_BLOCKS_MADE_AGAIN: "weakref.WeakSet[Module]" = weakref.WeakSet()


def make_blocks_again(blocks: Iterable[Module]) -> None:
    """From now on, keep the inputs of these blocks alone where `remaking` runs them with gradient (checkpointing)."""
    _BLOCKS_MADE_AGAIN.update(blocks)


@contextmanager
def remaking(model: Any) -> Iterator[None]:
    """Context for a forward pass of a model of transformers; its backward pass may come later, and comes once.

    Where whole blocks are made again or compiled, nothing else is; where weights are sharded, whole blocks alone.
    Without effect where no gradient is wanted.
    """
    if not torch.is_grad_enabled():
        yield
        return
    replaced = find_compiled(model.modules())
    for block in model.modules():
        if block in _BLOCKS_MADE_AGAIN:
            replaced[block] = partial(checkpoint, replaced.get(block, block.forward), use_reentrant=False)
    if replaced:
        with _forwards(replaced):
            yield
        return
    # of a sharded model, embeddings and head are whole here
    is_sharded = any(isinstance(parameter, DTensor) for parameter in model.parameters())
    if is_sharded or _checkpoints_itself(model) or not (found := _find(model)):
        yield
        return
    outputs = _Outputs(HeapTrimmer(next(model.parameters()).device))
    with (
        _forwards({module: make_forward(outputs) for module, make_forward in found.items()}),
        torch.autograd.graph.saved_tensors_hooks(outputs.pack, _unpack),
    ):
        yield


@contextmanager
def _forwards(replaced: Mapping[Module, Callable[..., Any]]) -> Iterator[None]:
    """Context in which modules run something else in place of their `forward`."""
    for module, forward in replaced.items():
        module.__dict__["forward"] = forward
    try:
        yield
    finally:
        for module in replaced:
            del module.__dict__["forward"]


class _Recipe:
    """How an output is made from what is kept."""

    def __init__(
        self,
        make: Callable[..., Tensor],
        inputs: Sequence[Tensor],
        parameters: Sequence[Tensor],
        trimmer: HeapTrimmer,
    ):
        self._make, self._inputs, self._parameters = make, inputs, parameters
        self._trimmer = trimmer
        device = inputs[0].device.type
        self._autocast = (device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device))
        self._remade: tuple[Tensor, list[Tensor]] | None = None

    def run(self) -> Tensor:
        """The output."""
        output = self._make(*self._inputs)
        self._trimmer.count(output.nbytes)
        return output

    def remake(self) -> tuple[Tensor, list[Tensor]]:
        """The output with its graph, and the leaves of that; made once for all who ask."""
        if self._remade is None:
            device, dtype, enabled = self._autocast
            leaves = [tensor.detach().requires_grad_(tensor.requires_grad) for tensor in self._inputs]
            with torch.enable_grad(), torch.autocast(device, dtype=dtype, enabled=enabled):
                self._remade = self._make(*leaves), [*leaves, *self._parameters]
        return self._remade

    def free(self) -> None:
        """Let go of everything: the backward pass is past it."""
        size = self._remade[0].nbytes if self._remade else 0
        self._make, self._inputs, self._remade = _made_already, (), None
        self._trimmer.count(size)


def _made_already(*_: Tensor) -> Tensor:
    raise RuntimeError("a graph whose outputs are made again runs backward once; run the forward pass again")


class _Outputs:
    """Those of one forward pass that can be made again."""

    def __init__(self, trimmer: HeapTrimmer) -> None:
        self._trimmer = trimmer
        self._known: dict[int, tuple[weakref.ref[Tensor], int, _Recipe]] = {}

    def make(self, make: Callable[..., Tensor], inputs: Sequence[Tensor], parameters: Sequence[Tensor] = ()) -> Tensor:
        """An output, of which the inputs alone are kept.

        Args:
            make: gives it from the inputs, the same each time.
            inputs: at least one.
            parameters: which `make` reads beside them.
        """
        if not any(tensor.requires_grad for tensor in (*inputs, *parameters)):
            return make(*inputs)
        recipe = _Recipe(make, inputs, parameters, self._trimmer)
        output: Tensor = _Remade.apply(recipe, *inputs, *parameters)  # type: ignore[no-untyped-call]
        self._known[output.untyped_storage().data_ptr()] = (weakref.ref(output), output._version, recipe)
        return output

    def pack(self, tensor: Tensor) -> Any:
        """What is kept in place of a tensor: itself, if it is not the whole of a known output, unchanged."""
        known = self._known.get(tensor.untyped_storage().data_ptr())
        if known is None:
            return tensor
        reference, version, recipe = known
        output = reference()
        if (
            output is None  # gone, and its memory is another's
            or tensor._version != version
            or (tensor.numel(), tensor.dtype) != (output.numel(), output.dtype)
            or not (tensor.is_contiguous() and output.is_contiguous())
        ):
            return tensor
        return recipe, tensor.shape


def _unpack(packed: Any) -> Tensor:
    if isinstance(packed, Tensor):
        return packed
    recipe, shape = packed
    output: Tensor = recipe.remake()[0].detach().view(shape)
    return output


class _Remade(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, recipe: _Recipe, *_: Tensor) -> Tensor:
        ctx.recipe = recipe
        return recipe.run()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        output, leaves = ctx.recipe.remake()
        wanted = [leaf for leaf, needed in zip(leaves, ctx.needs_input_grad[1:], strict=True) if needed]
        found = iter(torch.autograd.grad(output, wanted, gradient))
        del output, leaves, wanted
        ctx.recipe.free()
        return None, *(next(found) if needed else None for needed in ctx.needs_input_grad[1:])


_MakeForward = Callable[[_Outputs], Callable[..., Any]]
_FOUND: WeakKeyDictionary[Any, dict[Module, _MakeForward]] = WeakKeyDictionary()


def _find(model: Any) -> dict[Module, _MakeForward]:
    """The modules of a model whose outputs are made again, and what runs in place of their `forward`."""
    if model not in _FOUND:
        _FOUND[model] = _search(model)
    return _FOUND[model]


def _search(model: Any) -> dict[Module, _MakeForward]:
    found: dict[Module, _MakeForward] = {}
    is_gated: dict[type, bool] = {}
    for module in model.modules():
        kind = type(module)
        if "forward" in module.__dict__:  # somebody else's
            continue
        if can_embed(module):
            found[module] = _embedding(module)
        elif kind.__name__.endswith(("RMSNorm", "LayerNorm")):
            found[module] = _norm(module)
        elif all(hasattr(module, name) for name in ("gate_proj", "up_proj", "down_proj", "act_fn")):
            if kind not in is_gated:
                is_gated[kind] = _is_gated(module)
            if is_gated[kind]:
                found[module] = _gated(module)
    return found


def _embedding(module: Any) -> _MakeForward:
    return lambda _: lambda ids: embed(ids, module)


def _norm(module: Module) -> _MakeForward:
    original, parameters = module.forward, tuple(module.parameters())

    def make_forward(outputs: _Outputs) -> Callable[..., Any]:
        def forward(*arguments: Any, **options: Any) -> Any:
            if options or len(arguments) != 1:
                return original(*arguments, **options)
            return outputs.make(original, arguments, parameters)

        return forward

    return make_forward


def _gated(module: Any) -> _MakeForward:
    def product(gate: Tensor, up: Tensor) -> Tensor:
        activated: Tensor = module.act_fn(gate) * up
        return activated

    def make_forward(outputs: _Outputs) -> Callable[..., Any]:
        return lambda hidden: module.down_proj(
            outputs.make(product, (module.gate_proj(hidden), module.up_proj(hidden)))
        )

    return make_forward


@torch.no_grad()
def _is_gated(module: Any) -> bool:
    """Whether the layer computes what its parts' names say; found out by trying."""
    weight = next(module.parameters())
    was_training = module.training
    module.eval()
    try:
        hidden = torch.linspace(-1, 1, 3 * module.gate_proj.in_features, device=weight.device, dtype=weight.dtype)
        hidden = hidden.view(1, 3, -1)
        same = torch.equal(module(hidden), _gated(module)(_Outputs(HeapTrimmer(weight.device)))(hidden))
    except (AttributeError, TypeError, RuntimeError, ValueError):
        return False  # whatever a layer of these names may want instead
    finally:
        module.train(was_training)
    return same


def _checkpoints_itself(model: Any) -> bool:
    """Whether transformers was told to make blocks again."""
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
