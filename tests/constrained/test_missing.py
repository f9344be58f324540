import sys

import pytest

from tiny_models import byte_tokenizer
from tltrain.constrained.masks import Constrainer
from tltrain.errors import UsageError
from tltrain.syntax import get_syntax


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    tokenizer = byte_tokenizer(["a b"], vocab_size=300)
    with pytest.raises(UsageError, match=r"constrain=auto needs .* 'tltrain\[constrained\]'"):
        Constrainer(tokenizer, get_syntax("python"), "auto", vocab_size=300, end_ids=[1])
