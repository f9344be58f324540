"""What people ask of a smart home."""

import random

from tltrain.envs.sandbox.devices import Devices
from tltrain.generate.templates import Plan, invoke, say, template


@template(Devices)
def list_room(kit: Devices, rng: random.Random) -> Plan:
    room = rng.choice(list(kit.climate))
    yield say(
        rng,
        "Which devices are in the {room}?",
        "List everything you can control in the {room}.",
        "What smart devices do I have in the {room}?",
        "Devices of the {room}, please.",
        room=room,
    )
    found = yield invoke("list_devices", room=room)
    return f"In the {room}: {', '.join(_show(device) for device in found)}."


@template(Devices)
def device_state(kit: Devices, rng: random.Random) -> Plan:
    device_id = rng.choice(list(kit.devices))
    yield say(
        rng,
        "What is the state of {key}?",
        "Status of device {key}?",
        "Check {key} for me, please.",
        "What is {key} doing right now?",
        key=device_id,
    )
    device = yield invoke("get_device_status", device_id=device_id)
    if device["kind"] == "door":
        state = "open" if device["open"] else "closed and locked" if device["locked"] else "closed, not locked"
    else:
        state = "on" if device["on"] else "off"
    return f"The {device['room']} {device['kind']} {device_id} is {state}."


@template(Devices)
def room_climate(kit: Devices, rng: random.Random) -> Plan:
    room = rng.choice(list(kit.climate))
    yield say(
        rng,
        "How warm is it in the {room}?",
        "Temperature and humidity in the {room}?",
        "Is the air in the {room} dry?",
        "Tell me what it is like in the {room}: degrees and humidity.",
        room=room,
    )
    climate = yield invoke("get_room_climate", room=room)
    return f"{climate['celsius']} degrees and {climate['humidity']} percent humidity in the {room}."


@template(Devices)
def switch(kit: Devices, rng: random.Random) -> Plan:
    device_id = rng.choice([key for key, device in kit.devices.items() if "on" in device])
    turn_on = not kit.devices[device_id]["on"]
    yield say(
        rng,
        "Turn {state} {key}.",
        "Switch {key} {state}, please.",
        "Can you turn device {key} {state}?",
        "{key} {state}.",
        "I would like {key} to be {state}.",
        state="on" if turn_on else "off",
        key=device_id,
    )
    yield invoke("set_power", device_id=device_id, on=turn_on)
    return f"{device_id} is {'on' if turn_on else 'off'}."


@template(Devices)
def dim(kit: Devices, rng: random.Random) -> Plan:
    device_id = rng.choice(_keys(kit, "light", on=True))
    percent = 5 * rng.randint(2, 15)
    if rng.random() < 0.5:
        yield say(
            rng,
            "Dim light {key} to {percent} percent.",
            "{key} to {percent} percent brightness, please.",
            "The light {key} is too bright; {percent} percent is enough.",
            "Could you set the brightness of {key} to {percent}?",
            key=device_id,
            percent=percent,
        )
        light = yield invoke("set_brightness", device_id=device_id, percent=percent)
    else:
        seconds = rng.choice([5, 10, 20, 30])
        yield say(
            rng,
            "Fade light {key} to {percent} percent over {seconds} seconds.",
            "{key} to {percent} percent brightness, with a fade of {seconds} seconds.",
            "Take {seconds} seconds to dim {key} to {percent} percent.",
            key=device_id,
            percent=percent,
            seconds=seconds,
        )
        light = yield invoke("set_brightness", device_id=device_id, percent=percent, fade_s=seconds)
    return f"Light {device_id} is at {light['percent']} percent."


@template(Devices)
def warm(kit: Devices, rng: random.Random) -> Plan:
    device_id, celsius = rng.choice(_keys(kit, "heater", on=True)), rng.choice([20, 20.5, 21, 21.5, 22, 23])
    yield say(
        rng,
        "Set heater {key} to {celsius} degrees.",
        "Heater {key}: {celsius} degrees, please.",
        "I am cold. Put {key} at {celsius} degrees.",
        "Can heater {key} go up to {celsius}?",
        key=device_id,
        celsius=celsius,
    )
    heater = yield invoke("set_temperature", device_id=device_id, celsius=celsius)
    return f"Heater {device_id} is set to {heater['celsius']} degrees."


@template(Devices)
def lock(kit: Devices, rng: random.Random) -> Plan:
    device_id = rng.choice(_lockable_doors(kit))
    yield say(
        rng,
        "Lock {key}.",
        "Please lock the door {key}.",
        "I am leaving: lock door {key}.",
        "Can you make sure that door {key} gets locked now?",
        key=device_id,
    )
    yield invoke("lock_door", device_id=device_id)
    return f"Door {device_id} is locked."


@template(Devices)
def switch_in_room(kit: Devices, rng: random.Random) -> Plan:
    device = rng.choice([device for device in kit.devices.values() if "on" in device])
    state = "off" if device["on"] else "on"
    yield say(
        rng,
        "Turn {state} the {kind} in the {room}.",
        "Switch the {kind} in the {room} {state}, please.",
        "{room} {kind} {state}.",
        "Could you turn the {room} {kind} {state}?",
        state=state,
        kind=device["kind"],
        room=device["room"],
    )
    found = yield invoke("list_devices", room=device["room"], kind=device["kind"])
    yield invoke("set_power", device_id=found[0]["device_id"], on=state == "on")
    return f"The {device['room']} {device['kind']} is {state}."


@template(Devices)
def lock_in_room(kit: Devices, rng: random.Random) -> Plan:
    room = kit.devices[rng.choice(_lockable_doors(kit))]["room"]
    yield say(
        rng,
        "Lock the {room} door.",
        "Please lock the door in the {room}.",
        "Nobody has locked the {room} door yet. Please do it.",
        "I want the door of the {room} locked.",
        room=room,
    )
    found = yield invoke("list_devices", room=room, kind="door")
    yield invoke("lock_door", device_id=found[0]["device_id"])
    return f"The {room} door is locked."


@template(Devices)
def warm_if_cold(kit: Devices, rng: random.Random) -> Plan:
    device_id = rng.choice(_keys(kit, "heater", on=True))
    room, celsius, limit = kit.devices[device_id]["room"], rng.choice([21, 22, 23]), rng.choice([19, 20, 21])
    yield say(
        rng,
        "If it is below {limit} degrees in the {room}, set heater {key} to {celsius} degrees.",
        "Check the {room}: when it has less than {limit} degrees, put {key} at {celsius}.",
        "Set {key} to {celsius} degrees, but only if the {room} is colder than {limit} degrees.",
        "Please look how warm the {room} is. Below {limit} degrees, heater {key} should go to {celsius}.",
        limit=limit,
        room=room,
        key=device_id,
        celsius=celsius,
    )
    climate = yield invoke("get_room_climate", room=room)
    if climate["celsius"] >= limit:
        return f"The {room} has {climate['celsius']} degrees, so I changed nothing."
    yield invoke("set_temperature", device_id=device_id, celsius=celsius)
    return f"The {room} has {climate['celsius']} degrees; heater {device_id} is set to {celsius}."


@template(Devices)
def lock_if_unlocked(kit: Devices, rng: random.Random) -> Plan:
    device_id = rng.choice([key for key, device in kit.devices.items() if device.get("open") is False])
    yield say(
        rng,
        "Check whether door {key} is locked, and lock it if it is not.",
        "Is {key} locked? If not, lock it.",
        "Look at the state of door {key}; lock it only if it is unlocked.",
        "Could you check door {key} and lock it in case I forgot?",
        key=device_id,
    )
    door = yield invoke("get_device_status", device_id=device_id)
    if door["locked"]:
        return f"Door {device_id} was locked already."
    yield invoke("lock_door", device_id=device_id)
    return f"Door {device_id} was not locked; now it is."


@template(Devices)
def light_up(kit: Devices, rng: random.Random) -> Plan:
    room, percent = kit.devices[rng.choice(_keys(kit, "light", on=False))]["room"], 5 * rng.randint(4, 15)
    yield say(
        rng,
        "Turn on the light in the {room}, then dim it to {percent} percent.",
        "{room} light on, then {percent} percent brightness.",
        "The light in the {room} is off. Switch it on and then set it to {percent} percent.",
        "Could you turn the {room} light on and after that dim it to {percent} percent?",
        room=room,
        percent=percent,
    )
    found = yield invoke("list_devices", room=room, kind="light")
    device_id = found[0]["device_id"]
    yield invoke("set_power", device_id=device_id, on=True)
    yield invoke("set_brightness", device_id=device_id, percent=percent)
    return f"The {room} light is on at {percent} percent."


@template(Devices)
def everything_off(kit: Devices, rng: random.Random) -> Plan:
    rooms_with_doors = {device["room"] for device in kit.devices.values() if device["kind"] == "door"}
    busy = {device["room"] for device in kit.devices.values() if device.get("on")}
    room = rng.choice([room for room in kit.climate if room in busy - rooms_with_doors])
    yield say(
        rng,
        "Turn off everything in the {room}.",
        "Nobody is in the {room}; switch all devices there off.",
        "{room}: all off.",
        "Please see what there is in the {room} and turn every device off.",
        room=room,
    )
    found = yield invoke("list_devices", room=room)
    for device in found:
        yield invoke("set_power", device_id=device["device_id"], on=False)
    return f"Off in the {room}: {' and '.join(_show(device) for device in found)}."


@template(Devices)
def start_heating(kit: Devices, rng: random.Random) -> Plan:
    room, celsius = kit.devices[rng.choice(_keys(kit, "heater", on=False))]["room"], rng.choice([20, 21, 22, 23])
    yield say(
        rng,
        "Turn on the heater in the {room}, then set it to {celsius} degrees.",
        "The {room} heater is off. Switch it on and then put it at {celsius} degrees.",
        "{room} heater on, then {celsius} degrees.",
        "Please start the heater in the {room} and then set {celsius} degrees.",
        room=room,
        celsius=celsius,
    )
    found = yield invoke("list_devices", room=room, kind="heater")
    device_id = found[0]["device_id"]
    yield invoke("set_power", device_id=device_id, on=True)
    yield invoke("set_temperature", device_id=device_id, celsius=celsius)
    return f"The {room} heater is on and set to {celsius} degrees."


def _keys(kit: Devices, kind: str, *, on: bool) -> list[str]:
    return [key for key, device in kit.devices.items() if device["kind"] == kind and device["on"] is on]


def _lockable_doors(kit: Devices) -> list[str]:
    return [key for key, device in kit.devices.items() if device.get("open") is False and not device["locked"]]


def _show(device: dict[str, object]) -> str:
    return f"{device['kind']} {device['device_id']}"
