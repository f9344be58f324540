"""Finding the words of a verdict in the feedback as it was written."""

import json
import re

from tltrain.audit.finding import Finding

_LIMIT = 160
"""Characters of evidence that a verdict keeps."""
_FRAGMENT = 24
"""Characters of it that are looked for where the whole was written in a way that cannot be guessed."""


def locate(finding: Finding, feedback: str) -> tuple[int, int]:
    """Offsets of the finding's excerpt in the feedback as written; of its beginning if only that can be found."""
    excerpt = finding.excerpt[:_LIMIT].strip()
    if not excerpt:
        return 0, 0
    from_key = 0
    if finding.key:
        match = re.search(rf"[\\'\"]{{0,8}}{re.escape(finding.key)}[\\'\"]{{0,8}}\s{{0,8}}[:=]", feedback)
        from_key = match.start() if match else 0
    as_written = [excerpt, json.dumps(excerpt, ensure_ascii=False)[1:-1], json.dumps(excerpt)[1:-1]]
    for start_at in (from_key, 0):
        for words in (*as_written, *(text[:_FRAGMENT] for text in as_written)):
            start = feedback.find(words, start_at)
            if start >= 0:
                is_beside_key = finding.key is not None and from_key <= start <= from_key + _LIMIT
                return (from_key if is_beside_key else start), start + len(words)
    return from_key, min(len(feedback), from_key + _LIMIT)
