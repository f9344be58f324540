"""The formats of research data sets and test sets, the special ones first."""

from tltrain.formats.base import Format
from tltrain.formats.bfcl import BFCL
from tltrain.formats.glaive import GLAIVE
from tltrain.formats.react import REACT
from tltrain.formats.seal_tools import SEAL_TOOLS
from tltrain.formats.tau_bench import TAU_BENCH
from tltrain.formats.tl_training import TL_TRAINING
from tltrain.formats.toolalpaca import TOOLALPACA
from tltrain.formats.toolbench import TOOLBENCH
from tltrain.formats.toolrl import TOOLRL
from tltrain.formats.xlam import XLAM

RESEARCH_FORMATS: tuple[Format, ...] = (
    TOOLBENCH,
    TOOLALPACA,
    TAU_BENCH,
    BFCL,
    SEAL_TOOLS,
    TOOLRL,
    TL_TRAINING,
    REACT,
    GLAIVE,
    XLAM,
)
"""None of them takes the rows of another: each refuses what lacks its own fields and marks."""
