"""A bank: accounts, transfers and cards."""

import math
from typing import Annotated, Literal, TypedDict

from tltrain.envs.sandbox.rounding import short_number
from tltrain.envs.toolkit import Toolkit, bad_value, refuse, tool
from tltrain.types import Json

_OWNERS = ("Ana Ruiz", "Ben Cole", "Chen Li", "Dora Novak", "Emil Berg", "Fay Adams")
_TRANSFER_LIMIT = 1000
_DEFAULT_COUNT = 3

Reason = Literal["lost", "stolen", "travel"]


class Account(TypedDict):
    """One account."""

    owner: str
    kind: Literal["current", "savings"]
    cents: int
    """Balance in hundredths of a euro."""


class Card(TypedDict):
    """One card of a current account."""

    account: str
    status: Literal["active", "lost", "stolen", "travel"]
    """Every status but active is frozen."""


class Transaction(TypedDict):
    """One booked transfer."""

    source: str
    target: str
    cents: int
    reference: str


class Bank(Toolkit):
    """Three owners, each with a current account (two cards) and a savings account; money is counted in cents."""

    name = "bank"

    def __init__(self, seed: int):
        super().__init__(seed)
        numbers = iter(self.rng.sample(range(100, 1000), 6))
        cards = iter(self.rng.sample(range(1000, 10000), 6))
        second_card: list[Literal["active", "lost", "stolen", "travel"]] = ["active", "travel", "stolen"]
        self.accounts: dict[str, Account] = {}
        self.cards: dict[str, Card] = {}
        for owner, status in zip(self.rng.sample(_OWNERS, 3), self.rng.sample(second_card, 3), strict=True):
            current = f"A{next(numbers)}"
            self.accounts[current] = {"owner": owner, "kind": "current", "cents": self.rng.randint(300, 1800) * 50}
            savings = f"A{next(numbers)}"
            self.accounts[savings] = {"owner": owner, "kind": "savings", "cents": self.rng.randint(10, 60) * 10_000}
            self.cards[f"C{next(cards)}"] = {"account": current, "status": "active"}
            self.cards[f"C{next(cards)}"] = {"account": current, "status": status}
        payers = [key for key, account in self.accounts.items() if account["kind"] == "current"]
        pairs = [(source, target) for source in payers for target in payers if source != target]
        self.transactions: list[Transaction] = [
            {"source": source, "target": target, "cents": self.rng.randint(10, 160) * 50, "reference": ""}
            for source, target in self.rng.sample(pairs, len(pairs))
        ]

    @tool
    def get_balance(self, account: str) -> dict[str, Json]:
        """Get the balance of an account in euros."""
        return {"account": account, "balance": _euros(self._account(account)["cents"])}

    @tool
    def find_accounts(self, owner: str) -> list[dict[str, Json]]:
        """Find the accounts of a person."""
        return [
            {"account": key, "kind": account["kind"]}
            for key, account in self.accounts.items()
            if account["owner"].lower() == owner.lower()
        ]

    @tool
    def list_transactions(
        self, account: str, count: Annotated[int | None, "1 to 10, default 3"] = None
    ) -> list[dict[str, Json]]:
        """List the latest transactions of an account."""
        self._account(account)
        if count is not None and not 1 <= count <= 10:
            raise bad_value(f"count must be between 1 and 10, got {count}")
        involved = [entry for entry in reversed(self.transactions) if account in (entry["source"], entry["target"])]
        return [
            {"from": entry["source"], "to": entry["target"], "amount": _euros(entry["cents"])}
            for entry in involved[: count or _DEFAULT_COUNT]
        ]

    @tool
    def list_cards(self, account: str) -> list[dict[str, Json]]:
        """List the cards of an account."""
        self._account(account)
        return [
            {"card": key, "status": card["status"]} for key, card in self.cards.items() if card["account"] == account
        ]

    @tool
    def transfer_money(
        self, from_account: str, to_account: str, amount: Annotated[float, "euros"], reference: str | None = None
    ) -> dict[str, Json]:
        """Transfer money, at most 1000 euros at once."""
        source, target = self._account(from_account), self._account(to_account)
        cents = _cents(amount)
        if from_account == to_account:
            raise refuse("both accounts are the same")
        if source["kind"] == "savings" and source["owner"] != target["owner"]:
            raise refuse(f"savings account {from_account} pays only to accounts of {source['owner']}")
        if cents > _TRANSFER_LIMIT * 100:
            raise refuse(f"amount {amount} is over the limit of {_TRANSFER_LIMIT} euros")
        if cents > source["cents"]:
            raise refuse(f"insufficient funds: {from_account} has {source['cents'] / 100} euros")
        source["cents"] -= cents
        target["cents"] += cents
        self.transactions.append(
            {"source": from_account, "target": to_account, "cents": cents, "reference": reference or ""}
        )
        return {"sent": amount, "balance": _euros(source["cents"])}

    @tool
    def freeze_card(self, card: str, reason: Reason) -> dict[str, Json]:
        """Block a card."""
        held = self._card(card)
        if held["status"] != "active":
            raise refuse(f"card {card} is frozen already ({held['status']})")
        held["status"] = reason
        return {"card": card, "status": reason}

    @tool
    def unfreeze_card(self, card: str) -> dict[str, Json]:
        """Make a frozen card work again; never a stolen one."""
        held = self._card(card)
        if held["status"] == "active":
            raise refuse(f"card {card} is not frozen")
        if held["status"] == "stolen":
            raise refuse(f"card {card} was stolen and stays frozen")
        held["status"] = "active"
        return {"card": card, "status": "active"}

    def _account(self, account: str) -> Account:
        if account not in self.accounts:
            raise refuse(f"no account {account!r}")
        return self.accounts[account]

    def _card(self, card: str) -> Card:
        if card not in self.cards:
            raise refuse(f"no card {card!r}")
        return self.cards[card]


def _euros(cents: int) -> float:
    return short_number(cents / 100, 2)


def _cents(amount: float) -> int:
    cents = round(amount * 100) if 0 < amount * 100 < math.inf else 0
    if cents < 1 or abs(amount * 100 - cents) > 1e-6:
        raise bad_value(f"amount must be positive with at most 2 decimals, got {amount}")
    return cents
