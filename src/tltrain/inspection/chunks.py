"""JSON values as compressed script elements of a page, written to disk as they come."""

import base64
import hashlib
import json
import zlib
from typing import BinaryIO

from tltrain.types import Json

CHUNK_CHARS = 500_000
"""JSON text that one chunk holds before the next is begun: some milliseconds to inflate and decode."""


def script_element(name: str, json_text: str) -> bytes:
    """JSON as a script element that no browser runs: raw deflate, then base64.

    Nothing of the text can end the element, since base64 has no angle bracket.
    """
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(json_text.encode()) + packer.flush()
    return b'<script type="text/plain" id="%s">%s</script>\n' % (name.encode(), base64.b64encode(packed))


def read_script_element(content: str) -> Json:
    """What stands in an element of `script_element`."""
    value: Json = json.loads(zlib.decompress(base64.b64decode(content), -zlib.MAX_WBITS))
    return value


def encode_json(value: Json) -> str:
    """Compact JSON.

    Raises:
        ValueError: NaN or an infinity.
    """
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


class ChunkWriter:
    """Writes values in order, several to an element `NAME-0`, `NAME-1`, ...; only the chunk that fills is in memory.

    Args:
        name: what the elements are called.
        file: where they go.
        chunk_chars: JSON text of one chunk, at most one value more.
    """

    def __init__(self, name: str, file: BinaryIO, *, chunk_chars: int = CHUNK_CHARS):
        self.starts: list[int] = []
        """Number of the first value of each chunk."""
        self._name = name
        self._file = file
        self._limit = chunk_chars
        self._texts: list[str] = []
        self._num_chars = 0
        self._num_written = 0

    def add(self, value: Json) -> None:
        """Add the next value."""
        text = encode_json(value)
        self._texts.append(text)
        self._num_chars += len(text)
        if self._num_chars >= self._limit:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if not self._texts:
            return
        self._file.write(script_element(f"{self._name}-{len(self.starts)}", f"[{','.join(self._texts)}]"))
        self.starts.append(self._num_written)
        self._num_written += len(self._texts)
        self._texts.clear()
        self._num_chars = 0


class SharedValues:
    """Values that many rows have in common, such as tools and system prompts; each is written once.

    Only a digest of each is kept in memory.
    """

    def __init__(self, chunks: ChunkWriter):
        self._chunks = chunks
        self._numbers: dict[bytes, int] = {}

    def add(self, value: Json) -> int:
        """The number of the value; it is written when it is new."""
        key = hashlib.blake2b(encode_json(value).encode(), digest_size=16).digest()
        if key not in self._numbers:
            self._numbers[key] = len(self._numbers)
            self._chunks.add(value)
        return self._numbers[key]
