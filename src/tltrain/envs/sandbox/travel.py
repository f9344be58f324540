"""Travel: flights and trains with seats, and bookings."""

import re
from typing import Annotated, Literal, TypedDict

from tltrain.envs.toolkit import Toolkit, bad_value, refuse, tool
from tltrain.types import Json

_CITIES = ("Lisbon", "Madrid", "Paris", "Vienna", "Prague", "Milan", "Berlin", "Zurich")
_PASSENGERS = ("Ana Ruiz", "Ben Cole", "Chen Li", "Dora Novak", "Emil Berg", "Fay Adams", "Hugo Blanc")
_FREE_SEATS = (0, 0, 2, 2, 2, 3, 3, 4, 4, 5, 5, 6)
_FLEXIBLE_SURCHARGE = 20
_DAY = Annotated[str, "YYYY-MM-DD"]

Fare = Literal["saver", "flexible"]


class Trip(TypedDict):
    """One departure; a seat that is neither free nor in a booking here was sold elsewhere."""

    mode: Literal["flight", "train"]
    origin: str
    destination: str
    day: str
    departs: str
    price: int
    free_seats: list[str]


class Booking(TypedDict):
    """One seat for one passenger."""

    trip_id: str
    passenger: str
    seat: str
    fare: Fare


class Travel(Toolkit):
    """Three routes with two flights and two trains each; saver fares are not refundable, flights carry no bikes."""

    name = "travel"

    def __init__(self, seed: int):
        super().__init__(seed)
        cities = self.rng.sample(_CITIES, 6)
        days = [f"2025-06-{self.rng.randint(10, 28)}" for _ in range(3)]
        routes = list(zip(cities[:3], cities[3:], days, strict=True))
        modes: list[Literal["flight", "train"]] = ["flight", "flight", "train", "train"]
        plan = [(route, mode) for route in routes for mode in modes]
        prices = self.rng.sample(range(29, 200), len(plan))
        hours = [hour for _ in range(len(plan) // 2) for hour in self.rng.sample(range(6, 22), 2)]
        num_free = self.rng.sample(_FREE_SEATS, len(plan))
        seats = [f"{row}{letter}" for row in range(1, 21) for letter in "ABCD"]
        self.trips: dict[str, Trip] = {
            f"{'FL' if mode == 'flight' else 'TR'}{number}": {
                "mode": mode,
                "origin": origin,
                "destination": destination,
                "day": day,
                "departs": f"{hour:02d}:{self.rng.choice(('00', '20', '45'))}",
                "price": price,
                "free_seats": sorted(self.rng.sample(seats, free), key=_seat_order),
            }
            for number, ((origin, destination, day), mode), price, hour, free in zip(
                self.rng.sample(range(100, 1000), len(plan)), plan, prices, hours, num_free, strict=True
            )
        }
        first, *others = self.rng.sample(_PASSENGERS, 4)
        roomy = [key for key, trip in self.trips.items() if len(trip["free_seats"]) >= 2]
        fares: list[Fare] = ["flexible", "saver", "flexible", "saver", "flexible"]
        self.bookings: dict[str, Booking] = {}
        for number, trip_id, passenger, fare in zip(
            self.rng.sample(range(100, 900), 5), self.rng.sample(roomy, 5), (first, first, *others), fares, strict=True
        ):
            seat = self.rng.choice([seat for seat in seats if seat not in self.trips[trip_id]["free_seats"]])
            self.bookings[f"BK{number}"] = {"trip_id": trip_id, "passenger": passenger, "seat": seat, "fare": fare}

    @tool
    def find_flights(self, origin: str, destination: str, day: _DAY) -> list[dict[str, Json]]:
        """List the flights of a route on a day."""
        return self._departures("flight", origin, destination, day)

    @tool
    def find_trains(self, origin: str, destination: str, day: _DAY) -> list[dict[str, Json]]:
        """List the trains of a route on a day."""
        return self._departures("train", origin, destination, day)

    @tool
    def get_booking(self, code: str) -> dict[str, Json]:
        """Get one booking by its code."""
        booking = self._booking(code)
        return {
            "code": code,
            "passenger": booking["passenger"],
            "trip_id": booking["trip_id"],
            "day": self.trips[booking["trip_id"]]["day"],
            "seat": booking["seat"],
        }

    @tool
    def get_bookings_by_passenger(self, passenger: str) -> list[dict[str, Json]]:
        """List the bookings of a passenger."""
        return [
            {"code": code, "trip_id": booking["trip_id"], "fare": booking["fare"]}
            for code, booking in self.bookings.items()
            if booking["passenger"].lower() == passenger.lower()
        ]

    @tool
    def book_trip(self, trip_id: str, passenger: str, fare: Fare, with_bike: bool = False) -> dict[str, Json]:
        """Book a seat on a flight or train."""
        if trip_id not in self.trips:
            raise refuse(f"no trip with id {trip_id!r}")
        trip = self.trips[trip_id]
        if with_bike and trip["mode"] == "flight":
            raise refuse(f"no bikes on flights, {trip_id} is one")
        if any((held["trip_id"], held["passenger"]) == (trip_id, passenger) for held in self.bookings.values()):
            raise refuse(f"{passenger} is already booked on {trip_id}")
        if not trip["free_seats"]:
            raise refuse(f"{trip_id} is sold out")
        code = f"BK{max((int(key[2:]) for key in self.bookings), default=100) + 1}"
        seat = trip["free_seats"].pop(0)
        self.bookings[code] = {"trip_id": trip_id, "passenger": passenger, "seat": seat, "fare": fare}
        return {"code": code, "seat": seat, "price": trip["price"] + _FLEXIBLE_SURCHARGE * (fare == "flexible")}

    @tool
    def change_seat(self, code: str, seat: Annotated[str, "e.g. 12A"]) -> dict[str, Json]:
        """Move a booking to another seat."""
        if not re.fullmatch(r"[1-9]\d?[A-D]", seat):
            raise bad_value(f"seat must be a row and a letter A to D such as 12A, got {seat!r}")
        booking = self._booking(code)
        free_seats = self.trips[booking["trip_id"]]["free_seats"]
        if seat not in free_seats:
            raise refuse(f"seat {seat} is not free on {booking['trip_id']}")
        free_seats[:] = sorted([booking["seat"], *(free for free in free_seats if free != seat)], key=_seat_order)
        booking["seat"] = seat
        return {"code": code, "seat": seat}

    @tool
    def cancel_booking(self, code: str) -> str:
        """Cancel a booking; saver fares cannot be cancelled."""
        booking = self._booking(code)
        if booking["fare"] == "saver":
            raise refuse(f"booking {code} has a saver fare and is not refundable")
        free_seats = self.trips[booking["trip_id"]]["free_seats"]
        free_seats[:] = sorted([*free_seats, booking["seat"]], key=_seat_order)
        del self.bookings[code]
        return "cancelled"

    def _booking(self, code: str) -> Booking:
        if code not in self.bookings:
            raise refuse(f"no booking with code {code!r}")
        return self.bookings[code]

    def _departures(self, mode: str, origin: str, destination: str, day: str) -> list[dict[str, Json]]:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", day):
            raise bad_value(f"day must be YYYY-MM-DD, got {day!r}")
        wanted = (mode, origin.lower(), destination.lower(), day)
        return [
            {
                "trip_id": key,
                "departs": trip["departs"],
                "price": trip["price"],
                "seats_left": len(trip["free_seats"]),
            }
            for key, trip in self.trips.items()
            if (trip["mode"], trip["origin"].lower(), trip["destination"].lower(), trip["day"]) == wanted
        ]


def _seat_order(seat: str) -> tuple[int, str]:
    return int(seat[:-1]), seat[-1]
