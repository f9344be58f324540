"""Rules of the shop, travel, notes, devices, library and bank kits, with states and values worked out by hand."""

import pytest

from tltrain.envs.sandbox.bank import Bank
from tltrain.envs.sandbox.devices import Devices
from tltrain.envs.sandbox.environment import Sandbox
from tltrain.envs.sandbox.library import Library
from tltrain.envs.sandbox.notes import Notes
from tltrain.envs.sandbox.shop import Shop
from tltrain.envs.sandbox.travel import Travel
from tltrain.envs.toolkit import ToolFault
from tltrain.taxonomy import FeedbackKind
from tltrain.types import ToolCall

KITS = (Shop, Travel, Notes, Devices, Library, Bank)
REFUSED, VALUE = FeedbackKind.REFUSED, FeedbackKind.TYPE_OR_VALUE


def shop() -> Shop:
    kit = Shop(0)
    kit.products = {
        "P1": {"title": "Steel Kettle", "category": "kitchen", "price": 12.5, "stock": 3},
        "P2": {"title": "Soup Bowl", "category": "kitchen", "price": 4.0, "stock": 0},
        "P3": {"title": "Desk Lamp", "category": "office", "price": 9.5, "stock": 5},
    }
    kit.cart = {"P3": 2}
    kit.vouchers = {"SAVE10": 10}
    return kit


def travel() -> Travel:
    kit = Travel(0)
    route = {"origin": "Paris", "destination": "Milan", "day": "2025-06-11"}
    kit.trips = {
        "FL1": {"mode": "flight", **route, "departs": "09:00", "price": 80, "free_seats": ["3C", "12A"]},
        "FL2": {"mode": "flight", **route, "departs": "15:20", "price": 60, "free_seats": []},
        "TR3": {"mode": "train", **route, "departs": "07:45", "price": 45, "free_seats": ["1A"]},
    }
    kit.bookings = {
        "BK200": {"trip_id": "FL1", "passenger": "Ana Ruiz", "seat": "7B", "fare": "flexible"},
        "BK120": {"trip_id": "FL1", "passenger": "Ben Cole", "seat": "8B", "fare": "saver"},
    }
    return kit


def notes() -> Notes:
    kit = Notes(0)
    kit.notes = {
        "12": {"title": "Bike", "text": "New tube needed.", "tags": ["home"], "pinned": False},
        "30": {"title": "Car", "text": "Oil and a TUBE.", "tags": ["home", "work", "urgent"], "pinned": True},
    }
    return kit


def devices() -> Devices:
    kit = Devices(0)
    kit.devices = {
        "d1": {"kind": "light", "room": "hall", "on": True, "percent": 80},
        "d2": {"kind": "light", "room": "office", "on": False, "percent": 80},
        "d3": {"kind": "heater", "room": "office", "on": True, "celsius": 18},
        "d4": {"kind": "door", "room": "hall", "open": False, "locked": False},
        "d5": {"kind": "door", "room": "garage", "open": True, "locked": False},
        "d6": {"kind": "door", "room": "kitchen", "open": False, "locked": True},
    }
    return kit


def library() -> Library:
    kit = Library(0)
    kit.books = {
        "101": {"title": "Emma", "author": "Jane Austen", "copies": 1, "queue": []},
        "102": {"title": "Persuasion", "author": "Jane Austen", "copies": 0, "queue": ["M3"]},
        "103": {"title": "Romola", "author": "George Eliot", "copies": 2, "queue": []},
        "104": {"title": "Middlemarch", "author": "George Eliot", "copies": 1, "queue": []},
    }
    kit.members = {
        "M1": {"loans": {}, "fine": 0},
        "M2": {"loans": {}, "fine": 2.5},
        "M3": {"loans": {"101": 21, "103": 21, "104": 14}, "fine": 0},
        "M4": {"loans": {"102": 21}, "fine": 0},
    }
    return kit


def bank() -> Bank:
    kit = Bank(0)
    kit.accounts = {
        "A1": {"owner": "Ana Ruiz", "kind": "current", "cents": 10_050},
        "A2": {"owner": "Ana Ruiz", "kind": "savings", "cents": 500_000},
        "A3": {"owner": "Ben Cole", "kind": "current", "cents": 0},
    }
    kit.cards = {
        "C1": {"account": "A1", "status": "active"},
        "C2": {"account": "A1", "status": "stolen"},
        "C3": {"account": "A3", "status": "lost"},
    }
    kit.transactions = [
        {"source": "A1", "target": "A3", "cents": 1250, "reference": ""},
        {"source": "A2", "target": "A1", "cents": 300, "reference": ""},
    ]
    return kit


REFUSALS = [
    (shop, "get_product", {"product_id": "P9"}, REFUSED, "no product with id 'P9'"),
    (shop, "add_to_cart", {"product_id": "P9", "quantity": 1}, REFUSED, "no product"),
    (shop, "add_to_cart", {"product_id": "P1", "quantity": 0}, VALUE, "at least 1"),
    (shop, "add_to_cart", {"product_id": "P1", "quantity": 4}, REFUSED, "3 left, 4 wanted"),
    (shop, "add_to_cart", {"product_id": "P3", "quantity": 4}, REFUSED, "5 left, 6 wanted"),
    (shop, "add_to_cart", {"product_id": "P1", "quantity": 1.5}, VALUE, "quantity"),
    (shop, "list_products_by_category", {"category": "toys"}, VALUE, "category"),
    (shop, "remove_from_cart", {"product_id": "P1"}, REFUSED, "not in the cart"),
    (shop, "checkout", {"delivery": "home"}, REFUSED, "at least 20 euros, the cart has 19"),
    (shop, "checkout", {"delivery": "pickup", "voucher": "SAVE99"}, REFUSED, "voucher 'SAVE99'"),
    (travel, "find_trains", {"origin": "Paris", "destination": "Milan", "day": "11 June"}, VALUE, "YYYY-MM-DD"),
    (travel, "get_booking", {"code": "BK1"}, REFUSED, "no booking with code 'BK1'"),
    (travel, "book_trip", {"trip_id": "FL9", "passenger": "Kim", "fare": "saver"}, REFUSED, "no trip"),
    (travel, "book_trip", {"trip_id": "FL1", "passenger": "Kim", "fare": "first"}, VALUE, "fare"),
    (travel, "book_trip", {"trip_id": "FL2", "passenger": "Kim", "fare": "saver"}, REFUSED, "sold out"),
    (travel, "book_trip", {"trip_id": "FL1", "passenger": "Ana Ruiz", "fare": "saver"}, REFUSED, "already booked"),
    (
        travel,
        "book_trip",
        {"trip_id": "FL1", "passenger": "Kim", "fare": "saver", "with_bike": True},
        REFUSED,
        "no bikes on flights",
    ),
    (travel, "change_seat", {"code": "BK200", "seat": "12"}, VALUE, "such as 12A"),
    (travel, "change_seat", {"code": "BK200", "seat": "8B"}, REFUSED, "not free on FL1"),
    (travel, "change_seat", {"code": "BK1", "seat": "12A"}, REFUSED, "no booking"),
    (travel, "cancel_booking", {"code": "BK120"}, REFUSED, "not refundable"),
    (travel, "cancel_booking", {"code": "BK1"}, REFUSED, "no booking"),
    (notes, "create_note", {"title": "bike", "text": "x"}, REFUSED, "title 'bike' exists"),
    (notes, "create_note", {"title": "New", "text": "x" * 121}, VALUE, "120 characters, got 121"),
    (notes, "create_note", {"title": "New", "text": "x", "tags": ["a", "b", "c", "d"]}, REFUSED, "at most 3 tags"),
    (notes, "create_note", {"title": "New", "text": "x", "tags": ["a b"]}, VALUE, "one lower-case word"),
    (notes, "create_note", {"title": "New", "text": "x", "tags": "a"}, VALUE, "tags"),
    (notes, "get_note", {"note_id": 99}, REFUSED, "no note with id 99"),
    (notes, "get_note", {"note_id": "12"}, VALUE, "note_id"),
    (notes, "add_tag", {"note_id": 12, "tag": "home"}, REFUSED, "already"),
    (notes, "add_tag", {"note_id": 30, "tag": "ideas"}, REFUSED, "3 tags"),
    (notes, "add_tag", {"note_id": 12, "tag": "Big"}, VALUE, "one lower-case word"),
    (notes, "pin_note", {"note_id": 99, "pinned": True}, REFUSED, "no note"),
    (notes, "pin_note", {"note_id": 12, "pinned": 1}, VALUE, "pinned"),
    (notes, "delete_note", {"note_id": 30}, REFUSED, "note 30 is pinned"),
    (notes, "delete_note", {"note_id": 99}, REFUSED, "no note"),
    (devices, "list_devices", {"room": "attic"}, REFUSED, "no room called 'attic'"),
    (devices, "list_devices", {"room": "hall", "kind": "lamp"}, VALUE, "kind"),
    (devices, "get_room_climate", {"room": "attic"}, REFUSED, "no room"),
    (devices, "get_device_status", {"device_id": "d9"}, REFUSED, "no device with id 'd9'"),
    (devices, "set_power", {"device_id": "d4", "on": True}, REFUSED, "is a door"),
    (devices, "set_power", {"device_id": "d1", "on": "on"}, VALUE, "on"),
    (devices, "set_brightness", {"device_id": "d3", "percent": 50}, REFUSED, "is a heater, not a light"),
    (devices, "set_brightness", {"device_id": "d2", "percent": 50}, REFUSED, "d2 is off"),
    (devices, "set_brightness", {"device_id": "d1", "percent": 101}, VALUE, "between 1 and 100, got 101"),
    (devices, "set_brightness", {"device_id": "d1", "percent": 50, "fade_s": 61}, VALUE, "between 1 and 60, got 61"),
    (devices, "set_temperature", {"device_id": "d1", "celsius": 20}, REFUSED, "is a light, not a heater"),
    (devices, "set_temperature", {"device_id": "d3", "celsius": 28.5}, VALUE, "between 5 and 28, got 28.5"),
    (devices, "set_temperature", {"device_id": "d3", "celsius": float("nan")}, VALUE, "between 5 and 28"),
    (devices, "lock_door", {"device_id": "d1"}, REFUSED, "is a light, not a door"),
    (devices, "lock_door", {"device_id": "d5"}, REFUSED, "is open"),
    (devices, "lock_door", {"device_id": "d6"}, REFUSED, "locked already"),
    (library, "get_book", {"book_id": 999}, REFUSED, "no book with id 999"),
    (library, "get_loans", {"member": "M9"}, REFUSED, "no member 'M9'"),
    (library, "borrow_book", {"book_id": 101, "member": "M9"}, REFUSED, "no member"),
    (library, "borrow_book", {"book_id": 101, "member": "M1", "days": 29}, VALUE, "between 7 and 28, got 29"),
    (library, "borrow_book", {"book_id": 101, "member": "M1", "days": 0}, VALUE, "between 7 and 28, got 0"),
    (library, "borrow_book", {"book_id": 101, "member": "M2"}, REFUSED, "owes a fine of 2.5"),
    (library, "borrow_book", {"book_id": 102, "member": "M1"}, REFUSED, "no copy of book 102"),
    (library, "borrow_book", {"book_id": 102, "member": "M3"}, REFUSED, "3 loans, the limit"),
    (library, "borrow_book", {"book_id": 102, "member": "M4"}, REFUSED, "has book 102 already"),
    (library, "return_book", {"book_id": 101, "member": "M1"}, REFUSED, "does not have book 101"),
    (library, "reserve_book", {"book_id": 101, "member": "M1"}, REFUSED, "can be borrowed"),
    (library, "reserve_book", {"book_id": 102, "member": "M3"}, REFUSED, "waits for book 102 already"),
    (library, "reserve_book", {"book_id": 102, "member": "M4"}, REFUSED, "has book 102 already"),
    (bank, "get_balance", {"account": "A9"}, REFUSED, "no account 'A9'"),
    (bank, "list_cards", {"account": "A9"}, REFUSED, "no account"),
    (bank, "list_transactions", {"account": "A1", "count": 0}, VALUE, "between 1 and 10, got 0"),
    (bank, "transfer_money", {"from_account": "A1", "to_account": "A9", "amount": 1}, REFUSED, "no account 'A9'"),
    (bank, "transfer_money", {"from_account": "A1", "to_account": "A3", "amount": 100.51}, REFUSED, "has 100.5 euros"),
    (bank, "transfer_money", {"from_account": "A2", "to_account": "A1", "amount": 1000.01}, REFUSED, "over the limit"),
    (bank, "transfer_money", {"from_account": "A2", "to_account": "A3", "amount": 5}, REFUSED, "pays only to accounts"),
    (bank, "transfer_money", {"from_account": "A1", "to_account": "A1", "amount": 5}, REFUSED, "are the same"),
    (bank, "freeze_card", {"card": "C2", "reason": "lost"}, REFUSED, "frozen already (stolen)"),
    (bank, "freeze_card", {"card": "C1", "reason": "bored"}, VALUE, "reason"),
    (bank, "freeze_card", {"card": "C9", "reason": "lost"}, REFUSED, "no card 'C9'"),
    (bank, "unfreeze_card", {"card": "C1"}, REFUSED, "is not frozen"),
    (bank, "unfreeze_card", {"card": "C2"}, REFUSED, "stays frozen"),
    *(
        (
            bank,
            "transfer_money",
            {"from_account": "A1", "to_account": "A3", "amount": amount},
            VALUE,
            "at most 2 decimals",
        )
        for amount in (0, -5, 0.001, 1e-9, 9.999, 1e308, float("inf"), float("nan"))
    ),
]


@pytest.mark.parametrize(("build", "name", "arguments", "kind", "message"), REFUSALS)
def test_refusal_leaves_the_state_as_it_was(build, name, arguments, kind, message):
    kit = build()
    before = kit.snapshot()
    feedback = Sandbox([kit]).execute(ToolCall(name=name, arguments=arguments))
    assert feedback.error is kind
    assert message in feedback.text
    assert kit.snapshot() == before


def test_shop_empty_cart_cannot_be_ordered():
    kit = shop()
    kit.cart = {}
    with pytest.raises(ToolFault, match="the cart is empty"):
        kit.call("checkout", {"delivery": "pickup"})


def test_shop_order_takes_stock_and_uses_the_voucher_up():
    # Cart 2 x 9.5 + 1 x 12.5 = 31.5; ten percent off leaves 28.35. Stock: lamp 5 - 2, kettle 3 - 1.
    kit = shop()
    assert kit.call("add_to_cart", {"product_id": "P1", "quantity": 1}) == {"product_id": "P1", "in_cart": 1}
    assert kit.call("get_cart", {}) == {"items": {"P3": 2, "P1": 1}, "total": 31.5}
    assert kit.call("checkout", {"delivery": "home", "voucher": "SAVE10"}) == {"order": 1, "total": 28.35}
    assert (kit.cart, kit.vouchers) == ({}, {})
    assert [product["stock"] for product in kit.products.values()] == [2, 0, 3]
    assert kit.orders == [{"items": {"P3": 2, "P1": 1}, "delivery": "home", "total": 28.35}]


def test_shop_home_delivery_starts_at_exactly_twenty_euros():
    # 2 x 10 = 20
    kit = shop()
    kit.products["P3"]["price"] = 10.0
    assert kit.call("checkout", {"delivery": "home"}) == {"order": 1, "total": 20.0}


def test_shop_search_ignores_case_and_category_respects_the_limit():
    kit = shop()
    assert kit.call("search_products", {"text": "KETTLE"}) == [
        {"product_id": "P1", "title": "Steel Kettle", "price": 12.5}
    ]
    cheap = kit.call("list_products_by_category", {"category": "kitchen", "max_price": 4})
    assert [product["product_id"] for product in cheap] == ["P2"]
    everything = kit.call("list_products_by_category", {"category": "kitchen"})
    assert [product["product_id"] for product in everything] == ["P1", "P2"]


def test_travel_booking_takes_the_first_free_seat_and_the_next_code():
    # Flexible costs 20 more than the printed 80; 201 follows the highest code, 200.
    kit = travel()
    booked = kit.call("book_trip", {"trip_id": "FL1", "passenger": "Kim", "fare": "flexible"})
    assert booked == {"code": "BK201", "seat": "3C", "price": 100}
    assert kit.trips["FL1"]["free_seats"] == ["12A"]
    train = kit.call("book_trip", {"trip_id": "TR3", "passenger": "Kim", "fare": "saver", "with_bike": True})
    assert train == {"code": "BK202", "seat": "1A", "price": 45}
    with pytest.raises(ToolFault, match="sold out"):
        kit.call("book_trip", {"trip_id": "TR3", "passenger": "Lee", "fare": "saver"})


def test_travel_seat_change_swaps_and_cancelling_frees_in_row_order():
    kit = travel()
    kit.call("change_seat", {"code": "BK200", "seat": "3C"})
    assert kit.trips["FL1"]["free_seats"] == ["7B", "12A"]
    kit.call("cancel_booking", {"code": "BK200"})
    assert kit.trips["FL1"]["free_seats"] == ["3C", "7B", "12A"]
    assert list(kit.bookings) == ["BK120"]


def test_travel_flights_and_trains_are_kept_apart():
    kit = travel()
    route = {"origin": "paris", "destination": "Milan", "day": "2025-06-11"}
    assert [trip["trip_id"] for trip in kit.call("find_flights", route)] == ["FL1", "FL2"]
    assert kit.call("find_trains", route) == [{"trip_id": "TR3", "departs": "07:45", "price": 45, "seats_left": 1}]
    assert kit.call("find_trains", route | {"day": "2025-06-12"}) == []


def test_notes_search_by_text_and_by_tag():
    kit = notes()
    assert [note["note_id"] for note in kit.call("search_notes_by_text", {"text": "tube"})] == [12, 30]
    assert [note["note_id"] for note in kit.call("search_notes_by_tag", {"tag": "work"})] == [30]
    assert kit.call("search_notes_by_tag", {"tag": "tube"}) == []


def test_notes_create_then_delete_restores_the_state():
    kit = notes()
    before = kit.snapshot()
    created = kit.call("create_note", {"title": "New", "text": "x" * 120, "tags": ["a", "b", "a"]})
    assert created == {"note_id": 31, "title": "New"}
    assert kit.notes["31"]["tags"] == ["a", "b"]
    kit.call("delete_note", {"note_id": 31})
    assert kit.snapshot() == before


def test_notes_unpinned_note_can_be_deleted():
    kit = notes()
    kit.call("pin_note", {"note_id": 30, "pinned": False})
    assert kit.call("delete_note", {"note_id": 30}) == "deleted"
    assert list(kit.notes) == ["12"]


def test_devices_off_light_is_dimmed_after_it_is_turned_on():
    kit = devices()
    kit.call("set_power", {"device_id": "d2", "on": True})
    assert kit.call("set_brightness", {"device_id": "d2", "percent": 1, "fade_s": 60}) == {
        "device_id": "d2",
        "percent": 1,
    }
    assert kit.devices["d2"] == {"kind": "light", "room": "office", "on": True, "percent": 1}


def test_devices_limits_are_inclusive():
    kit = devices()
    for celsius in (5, 28, 20.5):
        kit.call("set_temperature", {"device_id": "d3", "celsius": celsius})
        assert kit.devices["d3"]["celsius"] == celsius


def test_devices_closed_door_locks_once():
    kit = devices()
    kit.call("lock_door", {"device_id": "d4"})
    assert kit.call("get_device_status", {"device_id": "d4"})["locked"] is True
    with pytest.raises(ToolFault, match="locked already"):
        kit.call("lock_door", {"device_id": "d4"})


def test_devices_room_list_can_be_narrowed_to_a_kind():
    kit = devices()
    assert [device["device_id"] for device in kit.call("list_devices", {"room": "hall"})] == ["d1", "d4"]
    assert kit.call("list_devices", {"room": "hall", "kind": "door"}) == [{"device_id": "d4", "kind": "door"}]


def test_library_loan_and_return_move_the_copy():
    kit = library()
    before = kit.snapshot()
    assert kit.call("borrow_book", {"book_id": 101, "member": "M1"}) == {"book_id": 101, "days": 21}
    assert kit.books["101"]["copies"] == 0
    assert kit.call("get_loans", {"member": "M1"}) == {"book_ids": [101], "fine": 0}
    assert kit.call("return_book", {"book_id": 101, "member": "M1"}) == "returned"
    assert kit.snapshot() == before


def test_library_returned_copy_goes_to_who_waits_first():
    # M3 waits for 102, M1 queues behind; M4 brings the only copy back: M1 is refused, M3 may take it (one loan less).
    kit = library()
    assert kit.call("reserve_book", {"book_id": 102, "member": "M1"}) == {"book_id": 102, "place": 2}
    kit.call("return_book", {"book_id": 102, "member": "M4"})
    with pytest.raises(ToolFault, match="reserved"):
        kit.call("borrow_book", {"book_id": 102, "member": "M1"})
    kit.call("return_book", {"book_id": 101, "member": "M3"})
    kit.call("borrow_book", {"book_id": 102, "member": "M3", "days": 7})
    assert kit.books["102"] == {"title": "Persuasion", "author": "Jane Austen", "copies": 0, "queue": ["M1"]}
    assert kit.members["M3"]["loans"]["102"] == 7


def test_library_available_only_leaves_out_lent_books():
    kit = library()
    assert [book["book_id"] for book in kit.call("find_books_by_author", {"author": "Austen"})] == [101, 102]
    available = kit.call("find_books_by_author", {"author": "Austen", "available_only": True})
    assert [book["book_id"] for book in available] == [101]


def test_bank_transfer_moves_exact_cents():
    # 100.50 - 33.35 = 67.15; all that is left can be sent too.
    kit = bank()
    sent = kit.call("transfer_money", {"from_account": "A1", "to_account": "A3", "amount": 33.35, "reference": "rent"})
    assert sent == {"sent": 33.35, "balance": 67.15}
    assert kit.transactions[-1] == {"source": "A1", "target": "A3", "cents": 3335, "reference": "rent"}
    kit.call("transfer_money", {"from_account": "A1", "to_account": "A3", "amount": 67.15})
    assert kit.call("get_balance", {"account": "A1"}) == {"account": "A1", "balance": 0.0}
    assert kit.call("get_balance", {"account": "A3"}) == {"account": "A3", "balance": 100.5}


def test_bank_limit_is_inclusive_and_savings_pay_their_owner():
    kit = bank()
    sent = kit.call("transfer_money", {"from_account": "A2", "to_account": "A1", "amount": 1000})
    assert sent == {"sent": 1000, "balance": 4000.0}


def test_bank_latest_transaction_comes_first():
    kit = bank()
    assert kit.call("list_transactions", {"account": "A1"}) == [
        {"from": "A2", "to": "A1", "amount": 3.0},
        {"from": "A1", "to": "A3", "amount": 12.5},
    ]
    assert len(kit.call("list_transactions", {"account": "A1", "count": 1})) == 1
    assert kit.call("list_transactions", {"account": "A3"}) == [{"from": "A1", "to": "A3", "amount": 12.5}]


def test_bank_lost_card_can_be_freed_and_frozen_again():
    kit = bank()
    kit.call("unfreeze_card", {"card": "C3"})
    assert kit.call("freeze_card", {"card": "C3", "reason": "stolen"}) == {"card": "C3", "status": "stolen"}
    with pytest.raises(ToolFault, match="stays frozen"):
        kit.call("unfreeze_card", {"card": "C3"})


@pytest.mark.parametrize("kit", KITS, ids=lambda kit: kit.name)
def test_state_follows_from_the_seed_alone(kit):
    assert kit(3).snapshot() == kit(3).snapshot()
    assert len({repr(kit(seed).snapshot()) for seed in range(10)}) == 10


@pytest.mark.parametrize("kit", KITS, ids=lambda kit: kit.name)
def test_documents_are_short(kit):
    tools = kit.tools()
    assert 5 <= len(tools) <= 7
    for tool in tools:
        assert 0 < len(tool.description.split()) <= 10, tool.name
        assert len(tool.properties) <= 4


def test_tool_names_are_unique():
    names = [tool.name for kit in KITS for tool in kit.tools()]
    assert len(names) == len(set(names))
