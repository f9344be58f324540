"""What people ask of a travel desk."""

import random

from tltrain.envs.sandbox.travel import Travel, Trip
from tltrain.generate.templates import Plan, invoke, say, template


@template(Travel)
def flights_on_day(kit: Travel, rng: random.Random) -> Plan:
    route = _route(_some_trip(kit, rng, "flight"))
    yield say(
        rng,
        "Which flights go from {origin} to {destination} on {day}?",
        "Flights {origin} to {destination}, {day}.",
        "I want to fly from {origin} to {destination} on {day}. What are my options?",
        "Show me the flights on {day} from {origin} to {destination}, please.",
        **route,
    )
    found = yield invoke("find_flights", **route)
    return _list_departures(found)


@template(Travel)
def trains_on_day(kit: Travel, rng: random.Random) -> Plan:
    route = _route(_some_trip(kit, rng, "train"))
    yield say(
        rng,
        "Which trains run from {origin} to {destination} on {day}?",
        "Trains {origin} to {destination}, {day}.",
        "I am going by train from {origin} to {destination} on {day}. When can I leave?",
        "Please list the trains on {day} from {origin} to {destination}.",
        **route,
    )
    found = yield invoke("find_trains", **route)
    return _list_departures(found)


@template(Travel)
def look_up_booking(kit: Travel, rng: random.Random) -> Plan:
    code = rng.choice(list(kit.bookings))
    yield say(
        rng,
        "Show me booking {code}.",
        "Who travels on booking {code}, and in which seat?",
        "Details of {code}?",
        "Could you look up the booking with code {code}?",
        code=code,
    )
    booking = yield invoke("get_booking", code=code)
    return f"{booking['passenger']}, trip {booking['trip_id']} on {booking['day']}, seat {booking['seat']}."


@template(Travel)
def trips_of_passenger(kit: Travel, rng: random.Random) -> Plan:
    passenger = rng.choice([booking["passenger"] for booking in kit.bookings.values()])
    yield say(
        rng,
        "What has {passenger} booked?",
        "List all bookings of {passenger}.",
        "Which booking codes belong to {passenger}?",
        "I need every booking made for {passenger}, please.",
        passenger=passenger,
    )
    found = yield invoke("get_bookings_by_passenger", passenger=passenger)
    return ", ".join(f"{booking['code']} on {booking['trip_id']}" for booking in found) + "."


@template(Travel)
def reserve_trip(kit: Travel, rng: random.Random) -> Plan:
    trip_id = rng.choice([key for key, trip in kit.trips.items() if trip["free_seats"]])
    passenger = rng.choice(["Gina Rossi", "Ivo Stan", "Kim Park"])
    fare = rng.choice(["saver", "flexible"])
    if kit.trips[trip_id]["mode"] == "train" and rng.random() < 0.5:
        yield say(
            rng,
            "Book {trip_id} for {passenger} with a bike, {fare} fare.",
            "{passenger} wants to go on {trip_id} and take a bike along. Fare: {fare}.",
            "Reserve train {trip_id}, {fare} fare, for {passenger}, who brings a bike.",
            trip_id=trip_id,
            passenger=passenger,
            fare=fare,
        )
        booking = yield invoke("book_trip", trip_id=trip_id, passenger=passenger, fare=fare, with_bike=True)
    else:
        yield say(
            rng,
            "Book {trip_id} for {passenger}, {fare} fare.",
            "Please reserve a {fare} seat on {trip_id} for {passenger}.",
            "{passenger} would like to travel on {trip_id} at the {fare} fare.",
            "Can you get {passenger} a {fare} ticket for {trip_id}?",
            trip_id=trip_id,
            passenger=passenger,
            fare=fare,
        )
        booking = yield invoke("book_trip", trip_id=trip_id, passenger=passenger, fare=fare)
    return f"Booked as {booking['code']}: seat {booking['seat']}, {booking['price']} euros."


@template(Travel)
def new_seat(kit: Travel, rng: random.Random) -> Plan:
    code = rng.choice(list(kit.bookings))
    seat = rng.choice(kit.trips[kit.bookings[code]["trip_id"]]["free_seats"])
    yield say(
        rng,
        "Move booking {code} to seat {seat}.",
        "Can I have seat {seat} instead? My code is {code}.",
        "Seat {seat} for {code}, please.",
        "I would rather sit in {seat}; the booking is {code}.",
        code=code,
        seat=seat,
    )
    changed = yield invoke("change_seat", code=code, seat=seat)
    return f"{code} now has seat {changed['seat']}."


@template(Travel)
def cancel_by_code(kit: Travel, rng: random.Random) -> Plan:
    code = rng.choice([code for code, booking in kit.bookings.items() if booking["fare"] == "flexible"])
    yield say(
        rng,
        "Cancel {code}.",
        "Please cancel booking {code}.",
        "We cannot travel after all. Drop booking {code}.",
        "Could you annul the booking with code {code}?",
        code=code,
    )
    yield invoke("cancel_booking", code=code)
    return f"Booking {code} is cancelled."


@template(Travel)
def cheapest_flight(kit: Travel, rng: random.Random) -> Plan:
    flights = [trip for trip in kit.trips.values() if trip["mode"] == "flight"]
    cheapest = [min(_same_route(flights, trip), key=lambda other: other["price"]) for trip in flights]
    route = _route(rng.choice([trip for trip in cheapest if trip["free_seats"]]))
    passenger, fare = rng.choice(["Gina Rossi", "Ivo Stan", "Kim Park"]), rng.choice(["saver", "flexible"])
    yield say(
        rng,
        "Book {passenger} on the cheapest flight from {origin} to {destination} on {day}, {fare} fare.",
        "{passenger} flies from {origin} to {destination} on {day}: take the cheapest one, {fare} fare.",
        "Find the cheapest flight {origin} to {destination} on {day} and book it for {passenger} ({fare} fare).",
        "Could you get {passenger} a {fare} ticket on the cheapest {origin} to {destination} flight of {day}?",
        passenger=passenger,
        fare=fare,
        **route,
    )
    found = yield invoke("find_flights", **route)
    best = min(found, key=lambda departure: departure["price"])
    booking = yield invoke("book_trip", trip_id=best["trip_id"], passenger=passenger, fare=fare)
    return f"{passenger} is on {best['trip_id']}, code {booking['code']}, {booking['price']} euros."


@template(Travel)
def cancel_by_passenger(kit: Travel, rng: random.Random) -> Plan:
    passenger = rng.choice(list(_single_bookings(kit, "flexible")))
    yield say(
        rng,
        "Cancel the booking of {passenger}.",
        "{passenger} is ill; please cancel that booking.",
        "Find the booking for {passenger} and cancel it.",
        "{passenger} does not travel any more. Can you cancel the trip?",
        passenger=passenger,
    )
    found = yield invoke("get_bookings_by_passenger", passenger=passenger)
    yield invoke("cancel_booking", code=found[0]["code"])
    return f"Booking {found[0]['code']} of {passenger} is cancelled."


@template(Travel)
def travel_along(kit: Travel, rng: random.Random) -> Plan:
    code = rng.choice(list(kit.bookings))
    passenger, fare = rng.choice(["Gina Rossi", "Ivo Stan", "Kim Park"]), rng.choice(["saver", "flexible"])
    yield say(
        rng,
        "Book {passenger} on the same trip as booking {code}, {fare} fare.",
        "{passenger} wants to come along on the trip of {code}. Take the {fare} fare.",
        "Look up {code} and get {passenger} a {fare} seat on that trip.",
        "Could {passenger} join the trip of booking {code} at the {fare} fare? Please book.",
        passenger=passenger,
        code=code,
        fare=fare,
    )
    booking = yield invoke("get_booking", code=code)
    booked = yield invoke("book_trip", trip_id=booking["trip_id"], passenger=passenger, fare=fare)
    return f"{passenger} is on {booking['trip_id']}, seat {booked['seat']}, code {booked['code']}."


@template(Travel)
def seat_by_passenger(kit: Travel, rng: random.Random) -> Plan:
    passenger, trip_id = rng.choice(list(_single_bookings(kit, "flexible", "saver").items()))
    seat = rng.choice(kit.trips[trip_id]["free_seats"])
    yield say(
        rng,
        "Put {passenger} in seat {seat}.",
        "{passenger} has one booking with us; change the seat to {seat}.",
        "Please move {passenger} to seat {seat}. I do not have the code.",
        "Can {passenger} get seat {seat} instead?",
        passenger=passenger,
        seat=seat,
    )
    found = yield invoke("get_bookings_by_passenger", passenger=passenger)
    changed = yield invoke("change_seat", code=found[0]["code"], seat=seat)
    return f"{passenger} now has seat {changed['seat']}."


@template(Travel)
def earliest_train_with_seat(kit: Travel, rng: random.Random) -> Plan:
    trains = [trip for trip in kit.trips.values() if trip["mode"] == "train"]
    earliest = [min(_same_route(trains, trip), key=lambda other: other["departs"]) for trip in trains]
    chosen = rng.choice([trip for trip in earliest if trip["free_seats"]])
    passenger, fare = rng.choice(["Gina Rossi", "Ivo Stan", "Kim Park"]), rng.choice(["saver", "flexible"])
    seat = rng.choice(chosen["free_seats"][1:])
    route = _route(chosen)
    yield say(
        rng,
        "Book {passenger} on the earliest train from {origin} to {destination} on {day}, {fare} fare, "
        "then change the seat to {seat}.",
        "Earliest train {origin} to {destination} on {day} for {passenger}, {fare} fare; "
        "move to seat {seat} after booking.",
        "{passenger} takes the earliest {origin} to {destination} train on {day}. Book the {fare} fare, "
        "then switch to seat {seat}.",
        passenger=passenger,
        fare=fare,
        seat=seat,
        **route,
    )
    found = yield invoke("find_trains", **route)
    best = min(found, key=lambda departure: departure["departs"])
    booking = yield invoke("book_trip", trip_id=best["trip_id"], passenger=passenger, fare=fare)
    changed = yield invoke("change_seat", code=booking["code"], seat=seat)
    return f"{passenger} is on {best['trip_id']} at {best['departs']}, seat {changed['seat']}."


@template(Travel)
def rebook_on_train(kit: Travel, rng: random.Random) -> Plan:
    trains = [trip for trip in kit.trips.values() if trip["mode"] == "train"]
    cheapest = [min(_same_route(trains, trip), key=lambda other: other["price"]) for trip in trains]
    passenger, chosen = rng.choice(
        [
            (passenger, trip)
            for passenger, held in _single_bookings(kit, "flexible").items()
            for trip in cheapest
            if trip["free_seats"] and trip is not kit.trips[held]
        ]
    )
    route = _route(chosen)
    yield say(
        rng,
        "Cancel the booking of {passenger}, then book the cheapest train from {origin} to {destination} on {day} "
        "instead, saver fare.",
        "{passenger} changed plans: cancel the booking first, then take the cheapest {origin} to {destination} train "
        "of {day}, saver fare.",
        "First cancel what {passenger} has booked. Then find the trains {origin} to {destination} on {day} and book "
        "the cheapest at the saver fare.",
        passenger=passenger,
        **route,
    )
    bookings = yield invoke("get_bookings_by_passenger", passenger=passenger)
    yield invoke("cancel_booking", code=bookings[0]["code"])
    found = yield invoke("find_trains", **route)
    best = min(found, key=lambda departure: departure["price"])
    booking = yield invoke("book_trip", trip_id=best["trip_id"], passenger=passenger, fare="saver")
    return f"Cancelled; {passenger} is now on {best['trip_id']}, code {booking['code']}."


def _some_trip(kit: Travel, rng: random.Random, mode: str) -> Trip:
    return rng.choice([trip for trip in kit.trips.values() if trip["mode"] == mode])


def _route(trip: Trip) -> dict[str, str]:
    return {"origin": trip["origin"], "destination": trip["destination"], "day": trip["day"]}


def _same_route(trips: list[Trip], trip: Trip) -> list[Trip]:
    return [other for other in trips if _route(other) == _route(trip)]


def _single_bookings(kit: Travel, *fares: str) -> dict[str, str]:
    """Passengers with one booking only, of one of these fares -> its trip."""
    passengers = [booking["passenger"] for booking in kit.bookings.values()]
    return {
        booking["passenger"]: booking["trip_id"]
        for booking in kit.bookings.values()
        if passengers.count(booking["passenger"]) == 1 and booking["fare"] in fares
    }


def _list_departures(found: list[dict[str, object]]) -> str:
    return ", ".join(f"{trip['trip_id']} at {trip['departs']} for {trip['price']} euros" for trip in found) + "."
