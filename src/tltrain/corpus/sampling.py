"""How many rows of each file, and which: by seed and row alone, so that equal seeds choose equal rows."""

import hashlib
from collections.abc import Sequence

from tltrain.corpus.queries import Key


def hash_order(seed: int, purpose: str, key: Key) -> bytes:
    """A place in an order that looks random and depends on nothing but the arguments."""
    return hashlib.blake2b(f"{seed}:{purpose}:".encode() + key, digest_size=12).digest()


def choose_rows(keys: Sequence[Key], num_rows: int, *, seed: int) -> list[int]:
    """Places of `num_rows` of the keys, ascending; a larger choice holds every smaller one of the same seed."""
    order = sorted(range(len(keys)), key=lambda place: (hash_order(seed, "rows", keys[place]), place))
    return sorted(order[:num_rows])


def count_copies(keys: Sequence[Key], weight: float, *, seed: int) -> list[int]:
    """How often each row is taken: as its file's weight says, and together weight * rows, rounded half up."""
    num_rows = int(weight * len(keys) + 0.5)
    each, rest = divmod(num_rows, len(keys)) if keys else (0, 0)
    copies = [each] * len(keys)
    for place in choose_rows(keys, rest, seed=seed):
        copies[place] += 1
    return copies
