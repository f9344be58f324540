"""The ids that were read so far, in little memory."""

from array import array

_FIRST_SIZE = 1 << 10


class NumberedIds:
    """Remembers for each id the number that came with it, in 16 bytes, by an 8-byte hash of the id.

    Two ids of one hash are taken for the same: at a million ids, once in 40 million files.
    """

    def __init__(self) -> None:
        self._count = 0
        self._hashes = array("q", bytes(8 * _FIRST_SIZE))
        self._numbers = array("q", bytes(8 * _FIRST_SIZE))
        """0 in a place that is free."""

    def add(self, identifier: str, number: int) -> int | None:
        """Remember an id; returns the number of an earlier one that is the same.

        Args:
            identifier: any text.
            number: at least 1.
        """
        if 3 * self._count >= 2 * len(self._hashes):
            self._grow()
        code = hash(identifier)
        place = self._place(code)
        if self._numbers[place]:
            return self._numbers[place]
        self._hashes[place], self._numbers[place] = code, number
        self._count += 1
        return None

    def _place(self, code: int) -> int:
        """Where the hash stands, or the free place for it."""
        mask = len(self._hashes) - 1
        place = code & mask
        while self._numbers[place] and self._hashes[place] != code:
            place = (place + 1) & mask
        return place

    def _grow(self) -> None:
        hashes, numbers = self._hashes, self._numbers
        self._hashes = array("q", bytes(16 * len(hashes)))
        self._numbers = array("q", bytes(16 * len(numbers)))
        for code, number in zip(hashes, numbers, strict=True):
            if number:
                place = self._place(code)
                self._hashes[place], self._numbers[place] = code, number
