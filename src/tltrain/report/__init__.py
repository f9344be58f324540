"""Pages for people: what is in the data and what is trained, curves, scores, error mixes, examples."""

from tltrain.report.page import report
from tltrain.report.picture import summary_picture

__all__ = ["report", "summary_picture"]
