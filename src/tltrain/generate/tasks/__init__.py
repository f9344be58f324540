"""Importing this package registers every template."""

from tltrain.generate.tasks import (
    bank,
    calendar,
    contacts,
    database,
    devices,
    files,
    library,
    notes,
    numbers,
    shop,
    travel,
    units,
)

__all__ = [
    "bank",
    "calendar",
    "contacts",
    "database",
    "devices",
    "files",
    "library",
    "notes",
    "numbers",
    "shop",
    "travel",
    "units",
]
