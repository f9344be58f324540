"""What people ask of a calendar."""

import random

from tltrain.envs.sandbox.calendar import Calendar
from tltrain.generate.templates import Plan, invoke, say, template


@template(Calendar)
def look_up_id(kit: Calendar, rng: random.Random) -> Plan:
    event_id = rng.choice(list(kit.events))
    yield say(rng, "What is event {key}?", "Show me the details of {key}.", "Tell me about event {key}.", key=event_id)
    event = yield invoke("get_event", event_id=event_id)
    return f"{event['title']} on {event['day']} at {event['start']}."


@template(Calendar)
def list_day(kit: Calendar, rng: random.Random) -> Plan:
    day = rng.choice([event["day"] for event in kit.events.values()])
    yield say(
        rng,
        "What do I have on {day}?",
        "Which appointments are planned for {day}?",
        "List everything on my calendar for {day}.",
        day=day,
    )
    events = yield invoke("get_events_by_day", day=day)
    return ", ".join(f"{event['title']} at {event['start']}" for event in events) + "."


@template(Calendar)
def add_event(_kit: Calendar, rng: random.Random) -> Plan:
    title = rng.choice(["Haircut", "Call with Ana", "Gym", "Rent payment", "Visit to the bank"])
    day, start = f"2025-03-{rng.randint(17, 28)}", f"{rng.randint(8, 18):02d}:30"
    yield say(
        rng,
        "Put {title} on {day} at {start}.",
        "Please schedule {title} for {start} on {day}.",
        "I need a new calendar entry: {title}, {day}, {start}.",
        title=title,
        day=day,
        start=start,
    )
    event = yield invoke("create_event", title=title, day=day, start=start)
    return f"{event['title']} is planned for {event['day']} at {event['start']}."


@template(Calendar)
def move_by_title(kit: Calendar, rng: random.Random) -> Plan:
    title = rng.choice([event["title"] for event in kit.events.values()])
    day, start = f"2025-03-{rng.randint(17, 28)}", f"{rng.randint(8, 18):02d}:00"
    yield say(
        rng,
        "Move my {title} to {day}, {start}.",
        "Can you reschedule {title} to {start} on {day}?",
        "{title} has to be on {day} at {start} instead.",
        title=title,
        day=day,
        start=start,
    )
    found = yield invoke("get_events_by_title", title=title)
    moved = yield invoke("move_event", event_id=found[0]["event_id"], day=day, start=start)
    return f"{moved['title']} is now on {moved['day']} at {moved['start']}."


@template(Calendar)
def clear_day(kit: Calendar, rng: random.Random) -> Plan:
    days = [event["day"] for event in kit.events.values()]
    day = rng.choice([day for day in days if days.count(day) <= 2] or days)
    yield say(rng, "Cancel everything on {day}.", "Clear my calendar for {day}.", "Delete all of {day}.", day=day)
    events = yield invoke("get_events_by_day", day=day)
    for event in events[:3]:
        yield invoke("delete_event", event_id=event["event_id"])
    return f"Done, {day} is clear."
