"""A part of the tasks is held out: all rows of one task stand on the same side."""

from collections import Counter
from collections.abc import Sequence

from tltrain.corpus.queries import Key
from tltrain.corpus.sampling import hash_order
from tltrain.errors import DataError


def choose_validation(groups: Sequence[Key], *, share: float, seed: int) -> set[Key]:
    """Choose the tasks to hold out.

    Tasks are taken in an order that only seed and task decide, each as long as it brings the number of rows nearer to
    the share; so a task mostly stays on its side when data is added. Both sides get at least one task.

    Args:
        groups: the task of each row.
        share: of the rows, in (0, 1).
        seed: of the order.

    Raises:
        DataError: there are fewer than two tasks.
    """
    sizes = Counter(groups)
    if len(sizes) < 2:
        raise DataError(
            f"validation: all {len(groups)} rows are of one task, so none can be held out; name fields that tell the "
            "tasks apart in validation.by, or leave validation out"
        )
    wanted = share * len(groups)
    chosen: set[Key] = set()
    num_rows = 0
    for group in sorted(sizes, key=lambda group: hash_order(seed, "validation", group)):
        if len(chosen) < len(sizes) - 1 and 2 * (wanted - num_rows) > sizes[group]:
            chosen.add(group)
            num_rows += sizes[group]
    return chosen or {min(sizes, key=lambda group: (sizes[group], hash_order(seed, "validation", group)))}
