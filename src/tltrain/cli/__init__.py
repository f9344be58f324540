"""The command line: one verb for each stage, in pipeline order, and entry points for plain files.

Modules here import nothing heavy: `tltrain --help` answers before pydantic could be loaded.
"""

from tltrain.cli.app import main

__all__ = ["main"]
