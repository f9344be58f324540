"""Whether the assistant's own tokens, and no others, are trained under each shape of chat template.

    python bench/templates.py                      # 250 random trajectories a template and tokenizer
    python bench/templates.py --samples 20 --only qwen3 gpt_oss

Templates, tokenizers and the check, which does not use the renderer, are those of tests/render. The second tokenizer is
trained on the spot. Prints a row a template and tokenizer, and the first things that are wrong.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from render.template_checks import Counts, check_sample
from render.template_shapes import SHAPES, Shape, with_shape, word_start_tokenizer
from tltrain.engine.embedded import NAME
from tltrain.engine.model import load_tokenizer
from tltrain.render.template import ensure_tool_template

_COLUMNS = ("template", "tokenizer", "samples", "sequences", "refused", "trained", "wrong", "K", "wrong K", "seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=250, help="trajectories a template and tokenizer")
    parser.add_argument("--only", nargs="*", default=list(SHAPES), help="templates")
    options = parser.parse_args()
    tokenizers = {"byte-level": load_tokenizer(NAME), "word-start": word_start_tokenizer()}
    print("| " + " | ".join(_COLUMNS) + " |\n|" + "---|" * len(_COLUMNS), flush=True)
    for name in options.only:
        for kind, tokenizer in tokenizers.items():
            started = time.monotonic()
            counts = check(SHAPES[name], tokenizer, options.samples)
            cells = (
                *(name, kind, counts.samples, counts.sequences, counts.refused, counts.tokens, counts.wrong_tokens),
                *(counts.calls, counts.wrong_calls, round(time.monotonic() - started)),
            )
            print(
                "| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else cell for cell in cells) + " |", flush=True
            )
            for problem in counts.problems[:3]:
                print(f"  {problem}", flush=True)


def check(shape: Shape, tokenizer: Any, num_samples: int) -> Counts:
    shaped = with_shape(tokenizer, shape)
    syntax = ensure_tool_template(shaped)
    counts = Counts()
    if syntax != shape.syntax:
        counts.wrong(f"the syntax is found to be {syntax}, not {shape.syntax}")
    for seed in range(1000, 1000 + num_samples):
        check_sample(shape, shaped, seed, counts)
    return counts


if __name__ == "__main__":
    main()
