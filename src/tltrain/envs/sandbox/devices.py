"""A smart home: lights, heaters, fans and doors in rooms."""

from typing import Literal, TypeAlias, TypedDict

from tltrain.envs.sandbox.rounding import short_number
from tltrain.envs.toolkit import Toolkit, bad_value, refuse, tool
from tltrain.types import Json

Kind = Literal["light", "heater", "fan", "door"]

_ROOMS: dict[str, tuple[Kind, ...]] = {
    "kitchen": ("light", "fan", "door"),
    "bedroom": ("light", "heater"),
    "office": ("light", "heater"),
    "bathroom": ("heater", "fan"),
    "hall": ("light", "door"),
    "garage": ("light", "door"),
}

Device: TypeAlias = dict[str, bool | int | float | str]
"""`kind` and `room`; lights `on`, `percent`; heaters `on`, `celsius` (target); fans `on`; doors `open`, `locked`."""


class Climate(TypedDict):
    """What a room's sensor reads."""

    celsius: float
    humidity: int


class Devices(Toolkit):
    """Thirteen devices in six rooms; lights, heaters and fans are partly on, and one of the three doors is open."""

    name = "devices"

    def __init__(self, seed: int):
        super().__init__(seed)
        powers = {
            "light": self.rng.sample((True, True, True, False, False), 5),
            "heater": self.rng.sample((True, True, False), 3),
            "fan": self.rng.sample((True, False), 2),
        }
        doors = self.rng.sample(((False, False), (False, True), (True, False)), 3)
        numbers = iter(self.rng.sample(range(10, 100), sum(map(len, _ROOMS.values()))))
        self.devices: dict[str, Device] = {}
        for room, kinds in _ROOMS.items():
            for kind in kinds:
                device: Device = {"kind": kind, "room": room}
                if kind == "door":
                    device["open"], device["locked"] = doors.pop()
                else:
                    device["on"] = powers[kind].pop()
                if kind == "light":
                    device["percent"] = self.rng.choice((80, 90, 100))
                elif kind == "heater":
                    device["celsius"] = self.rng.choice((17, 18, 19))
                self.devices[f"d{next(numbers)}"] = device
        self.climate: dict[str, Climate] = {
            room: {"celsius": short_number(self.rng.randint(32, 46) / 2), "humidity": self.rng.randint(35, 65)}
            for room in _ROOMS
        }

    @tool
    def list_devices(self, room: str, kind: Kind | None = None) -> list[dict[str, Json]]:
        """List the devices of a room, maybe of one kind."""
        self._check_room(room)
        return [
            {"device_id": key, "kind": device["kind"]}
            for key, device in self.devices.items()
            if device["room"] == room and kind in (None, device["kind"])
        ]

    @tool
    def get_device_status(self, device_id: str) -> dict[str, Json]:
        """Get the state of one device."""
        return {"device_id": device_id, **self._device(device_id)}

    @tool
    def get_room_climate(self, room: str) -> dict[str, Json]:
        """Get temperature and humidity of a room."""
        self._check_room(room)
        climate = self.climate[room]
        return {"room": room, "celsius": climate["celsius"], "humidity": climate["humidity"]}

    @tool
    def set_power(self, device_id: str, on: bool) -> dict[str, Json]:
        """Turn a light, heater or fan on or off."""
        device = self._device(device_id)
        if device["kind"] == "door":
            raise refuse(f"{device_id} is a door and has no power switch")
        device["on"] = on
        return {"device_id": device_id, "on": on}

    @tool
    def set_temperature(self, device_id: str, celsius: float) -> dict[str, Json]:
        """Set a heater that is on, 5 to 28 degrees."""
        device = self._running(device_id, "heater")
        if not 5 <= celsius <= 28:
            raise bad_value(f"celsius must be between 5 and 28, got {celsius}")
        device["celsius"] = celsius
        return {"device_id": device_id, "celsius": celsius}

    @tool
    def set_brightness(self, device_id: str, percent: int, fade_s: int | None = None) -> dict[str, Json]:
        """Dim a light that is on, 1 to 100 percent."""
        device = self._running(device_id, "light")
        if not 1 <= percent <= 100:
            raise bad_value(f"percent must be between 1 and 100, got {percent}")
        if fade_s is not None and not 1 <= fade_s <= 60:
            raise bad_value(f"fade_s must be between 1 and 60, got {fade_s}")
        device["percent"] = percent
        return {"device_id": device_id, "percent": percent}

    @tool
    def lock_door(self, device_id: str) -> dict[str, Json]:
        """Lock a closed door."""
        device = self._device(device_id)
        if device["kind"] != "door":
            raise refuse(f"{device_id} is a {device['kind']}, not a door")
        if device["open"]:
            raise refuse(f"door {device_id} is open; close it first")
        if device["locked"]:
            raise refuse(f"door {device_id} is locked already")
        device["locked"] = True
        return {"device_id": device_id, "locked": True}

    def _device(self, device_id: str) -> Device:
        if device_id not in self.devices:
            raise refuse(f"no device with id {device_id!r}")
        return self.devices[device_id]

    def _running(self, device_id: str, kind: Kind) -> Device:
        device = self._device(device_id)
        if device["kind"] != kind:
            raise refuse(f"{device_id} is a {device['kind']}, not a {kind}")
        if not device["on"]:
            raise refuse(f"{device_id} is off; turn it on first")
        return device

    def _check_room(self, room: str) -> None:
        if room not in self.climate:
            raise refuse(f"no room called {room!r}")
