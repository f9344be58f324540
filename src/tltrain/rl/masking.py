"""What every formula of this room does with a mask: check it, drop what it hides, average what it keeps.

Axes: B = sequence, T = completion token. `loss_mask_BT` is True on tokens the model wrote and is trained on; False on
prompt, tool replies and padding. Numbers under False are never read: they may be anything, NaN included.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def check_shapes(loss_mask_BT: Tensor, **tensors_BT: Tensor) -> None:
    """Refuse tensors that are not all (B, T) like the mask; keywords are the names that the message prints.

    Raises:
        ValueError: shapes differ, and broadcasting (B, 1) to (B, T) would pass unseen; the mask is not two-dimensional
            or not bool, and ~ of an integer mask would be wrong without a sound.
    """
    if loss_mask_BT.dtype is not torch.bool or loss_mask_BT.dim() != 2:
        raise ValueError(
            f"loss_mask_BT has dtype {loss_mask_BT.dtype} and shape {tuple(loss_mask_BT.shape)}; "
            "it must be bool and (B, T); compare it with 0 or 1 first"
        )
    for name, tensor in tensors_BT.items():
        if tensor.shape != loss_mask_BT.shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, loss_mask_BT has {tuple(loss_mask_BT.shape)}; "
                "both must be (B, T); expand or slice one of them"
            )


def keep_trained(x_BT: Tensor, loss_mask_BT: Tensor) -> Tensor:
    """`x_BT` in float32, exactly 0 where nothing is trained.

    Inputs are blanked before a formula, not its result after: 0 * NaN is NaN, forwards and backwards.
    """
    return x_BT.float().masked_fill(~loss_mask_BT, 0.0)


def masked_mean(x_BT: Tensor, loss_mask_BT: Tensor, *, denominator: float | Tensor | None = None) -> Tensor:
    """Mean over trained tokens; a scalar in float32.

    Args:
        x_BT: what is averaged.
        loss_mask_BT: bool; True = counted.
        denominator: what the sum is divided by; by default the number of trained tokens here. Give the number in the
            whole minibatch (over the number of processes, where gradients are averaged across them) and the results
            of its micro-batches add up to the mean of the minibatch. A tensor (B, 1) has one for each row.

    Raises:
        ValueError: shapes differ, the denominator is not positive, or there is nothing to average and no denominator.
    """
    check_shapes(loss_mask_BT, x_BT=x_BT)
    if denominator is None:
        denominator = int(loss_mask_BT.sum())
        if denominator == 0:
            raise ValueError("loss_mask_BT has no trained token; a mean over none is undefined; drop this batch")
    elif not (denominator > 0 if isinstance(denominator, float | int) else bool((denominator > 0).all())):
        raise ValueError(f"denominator={denominator} must be positive; give the trained tokens of the whole minibatch")
    return (keep_trained(x_BT, loss_mask_BT) / denominator).sum()


def mask_of_lengths(lengths: Sequence[int], device: torch.device | None = None) -> Tensor:
    """Mask of rows that start with so many trained tokens each; bool, (B, longest)."""
    positions_T = torch.arange(max(lengths), device=device)
    return positions_T < torch.tensor(lengths, device=device)[:, None]


def pad_rows(flat_N: Tensor, loss_mask_BT: Tensor) -> Tensor:
    """Numbers of all trained tokens, row after row, at their places; (B, T), 0 elsewhere, with gradient.

    Raises:
        ValueError: there are not as many numbers as trained tokens.
    """
    num_trained = int(loss_mask_BT.sum())
    if flat_N.shape != (num_trained,):
        raise ValueError(f"flat_N has shape {tuple(flat_N.shape)}; it must be ({num_trained},), one a trained token")
    return flat_N.new_zeros(loss_mask_BT.shape).masked_scatter(loss_mask_BT, flat_N)
