"""What a forward pass keeps for the backward pass."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from tltrain.engine import remade


@contextmanager
def watching() -> Iterator[list[torch.Tensor]]:
    """A list that fills with the tensors that are kept, those included from which others are made again."""
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    class Watched(remade._Outputs):
        def make(self, make, inputs, parameters=()):
            output = super().make(make, inputs, parameters)
            if output.requires_grad:
                kept.extend(inputs)
            return output

        def pack(self, tensor):
            packed = super().pack(tensor)
            return keep(packed) if isinstance(packed, torch.Tensor) else packed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remade, "_Outputs", Watched)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            yield kept


def num_bytes(kept: list[torch.Tensor], model: torch.nn.Module) -> int:
    """Of the memory that is kept; that of the weights is not counted."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept}
    return sum(size for address, size in storages.items() if address not in weights)
