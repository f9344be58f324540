"""Toolkits that ship with tltrain: stateful, deterministic, offline."""

from tltrain.envs.sandbox.bank import Bank
from tltrain.envs.sandbox.calendar import Calendar
from tltrain.envs.sandbox.contacts import Contacts
from tltrain.envs.sandbox.database import Database
from tltrain.envs.sandbox.devices import Devices
from tltrain.envs.sandbox.files import Files
from tltrain.envs.sandbox.library import Library
from tltrain.envs.sandbox.notes import Notes
from tltrain.envs.sandbox.numbers import Numbers
from tltrain.envs.sandbox.shop import Shop
from tltrain.envs.sandbox.travel import Travel
from tltrain.envs.sandbox.units import Units
from tltrain.envs.toolkit import Toolkit

_CLASSES: tuple[type[Toolkit], ...] = (
    Bank,
    Calendar,
    Contacts,
    Database,
    Devices,
    Files,
    Library,
    Notes,
    Numbers,
    Shop,
    Travel,
    Units,
)

KITS: dict[str, type[Toolkit]] = {kit.name: kit for kit in _CLASSES}
"""Every kit by its name. No two of their tools have the same name, so any may be offered together."""
