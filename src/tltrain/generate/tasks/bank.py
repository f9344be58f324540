"""What people ask of a bank."""

import random

from tltrain.envs.sandbox.bank import Bank
from tltrain.envs.sandbox.rounding import short_number
from tltrain.generate.templates import Plan, invoke, say, template

_AMOUNTS = (25, 40, 75, 110, 19.5, 62.75, 8.99)


@template(Bank)
def balance_of(kit: Bank, rng: random.Random) -> Plan:
    account = rng.choice(list(kit.accounts))
    yield say(
        rng,
        "How much money is on account {account}?",
        "Balance of {account}?",
        "Please tell me what {account} holds right now.",
        "What can I spend from account {account}?",
        account=account,
    )
    balance = yield invoke("get_balance", account=account)
    return f"Account {account} has {balance['balance']} euros."


@template(Bank)
def accounts_of(kit: Bank, rng: random.Random) -> Plan:
    owner = _owner(kit, rng)
    yield say(
        rng,
        "Which accounts does {owner} have?",
        "List the accounts of {owner}.",
        "I need the account numbers of {owner}.",
        "What is the number of the savings account of {owner}?",
        owner=owner,
    )
    found = yield invoke("find_accounts", owner=owner)
    return f"{owner}: " + ", ".join(f"{entry['kind']} {entry['account']}" for entry in found) + "."


@template(Bank)
def latest_transactions(kit: Bank, rng: random.Random) -> Plan:
    account = _current(kit, rng)
    if rng.random() < 0.5:
        yield say(
            rng,
            "What happened lately on account {account}?",
            "Show recent transactions of {account}.",
            "Any movements on {account}?",
            "I would like a statement of account {account}.",
            account=account,
        )
        entries = yield invoke("list_transactions", account=account)
    else:
        count = rng.randint(1, 2)
        yield say(
            rng,
            "Show the transactions of {account}, but only the latest {count}.",
            "Statement of {account}, {count} at most.",
            "Latest transactions of account {account}, limited to {count}, please.",
            account=account,
            count=count,
        )
        entries = yield invoke("list_transactions", account=account, count=count)
    return ", ".join(f"{entry['amount']} to {entry['to']}" for entry in entries) + "."


@template(Bank)
def cards_of(kit: Bank, rng: random.Random) -> Plan:
    account = _current(kit, rng)
    yield say(
        rng,
        "Which cards belong to account {account}?",
        "List the cards of {account}.",
        "Are the cards of {account} active?",
        "What cards do I have with account {account}?",
        account=account,
    )
    found = yield invoke("list_cards", account=account)
    return (
        ", ".join(f"{card['card']} is {'active' if card['status'] == 'active' else 'frozen'}" for card in found) + "."
    )


@template(Bank)
def pay(kit: Bank, rng: random.Random) -> Plan:
    source = _current(kit, rng)
    target = rng.choice([key for key in kit.accounts if key != source])
    amount = rng.choice(_AMOUNTS)
    if rng.random() < 0.6:
        yield say(
            rng,
            "Send {amount} euros from {source} to {target}.",
            "Transfer {amount} euros to {target}; take it from {source}.",
            "From {source} to {target}: {amount} euros, please.",
            "Could you move {amount} euros out of {source} into {target}?",
            amount=amount,
            source=source,
            target=target,
        )
        sent = yield invoke("transfer_money", from_account=source, to_account=target, amount=amount)
    else:
        reference = rng.choice(["rent", "concert", "birthday gift", "invoice 88", "lunch"])
        yield say(
            rng,
            'Send {amount} euros from {source} to {target} with reference "{reference}".',
            'From {source} to {target}: {amount} euros, reference "{reference}".',
            'Please pay {amount} euros to {target} out of {source} and write "{reference}" as the reference.',
            amount=amount,
            source=source,
            target=target,
            reference=reference,
        )
        sent = yield invoke(
            "transfer_money", from_account=source, to_account=target, amount=amount, reference=reference
        )
    return f"Sent {sent['sent']} euros; {source} has {sent['balance']} left."


@template(Bank)
def block_card(kit: Bank, rng: random.Random) -> Plan:
    card = rng.choice([key for key, card in kit.cards.items() if card["status"] == "active"])
    reason = rng.choice(["lost", "stolen", "travel"])
    wordings = {
        "lost": (
            "I lost my card {card}. Freeze it.",
            "Please block {card}, it is lost.",
            "Card {card} got lost; nobody should be able to use it.",
        ),
        "stolen": (
            "My card {card} was stolen! Block it.",
            "Freeze card {card}, it has been stolen.",
            "Someone took {card} from my bag, so it is stolen. Stop it, please.",
        ),
        "travel": (
            "I will travel without card {card}; freeze it because of travel.",
            "Block {card} with the reason travel.",
            "While I travel, card {card} should be frozen.",
        ),
    }
    yield say(rng, *wordings[reason], card=card)
    yield invoke("freeze_card", card=card, reason=reason)
    return f"Card {card} is frozen ({reason})."


@template(Bank)
def release_card(kit: Bank, rng: random.Random) -> Plan:
    card = rng.choice([key for key, card in kit.cards.items() if card["status"] == "travel"])
    yield say(
        rng,
        "I am back, my card {card} can work again.",
        "Unblock {card}, please.",
        "Make card {card} usable again.",
        "Could you lift the block on card {card}?",
        card=card,
    )
    yield invoke("unfreeze_card", card=card)
    return f"Card {card} works again."


@template(Bank)
def pay_person(kit: Bank, rng: random.Random) -> Plan:
    source = _current(kit, rng)
    owner = rng.choice([entry["owner"] for entry in kit.accounts.values() if entry["owner"] != _owner_of(kit, source)])
    amount, kind = rng.choice(_AMOUNTS), rng.choice(["current", "savings"])
    yield say(
        rng,
        "Send {amount} euros from {source} to the {kind} account of {owner}.",
        "Pay {owner} {amount} euros out of {source}; use the {kind} account.",
        "{owner} should get {amount} euros from {source} on the {kind} account.",
        "Please transfer {amount} euros, from {source}, to what {owner} has as {kind} account.",
        amount=amount,
        source=source,
        kind=kind,
        owner=owner,
    )
    found = yield invoke("find_accounts", owner=owner)
    target = next(entry["account"] for entry in found if entry["kind"] == kind)
    sent = yield invoke("transfer_money", from_account=source, to_account=target, amount=amount)
    return f"Sent {sent['sent']} euros to {owner}, account {target}."


@template(Bank)
def sweep(kit: Bank, rng: random.Random) -> Plan:
    source = _current(kit, rng)
    target = rng.choice([key for key in kit.accounts if key != source])
    yield say(
        rng,
        "Move everything on {source} to {target}.",
        "Empty account {source}: send the whole balance to {target}.",
        "Find out how much {source} has and transfer all of it to {target}.",
        "I want to close {source}. Can you send all its money to {target}?",
        source=source,
        target=target,
    )
    balance = yield invoke("get_balance", account=source)
    sent = yield invoke("transfer_money", from_account=source, to_account=target, amount=balance["balance"])
    return f"Moved {sent['sent']} euros to {target}; {source} is empty."


@template(Bank)
def pay_if_enough(kit: Bank, rng: random.Random) -> Plan:
    source = _current(kit, rng)
    target = rng.choice([key for key in kit.accounts if key != source])
    amount, limit = rng.choice(_AMOUNTS), rng.choice([200, 300, 400, 500])
    yield say(
        rng,
        "If {source} has at least {limit} euros, send {amount} euros from it to {target}.",
        "Check {source}: with {limit} euros or more on it, transfer {amount} euros to {target}.",
        "Transfer {amount} euros from {source} to {target}, but only if the balance is at least {limit} euros.",
        "Look at the balance of {source} first. Is it {limit} euros or more? Then pay {amount} euros to {target}.",
        source=source,
        limit=limit,
        amount=amount,
        target=target,
    )
    balance = yield invoke("get_balance", account=source)
    if balance["balance"] < limit:
        return f"{source} has only {balance['balance']} euros, so I sent nothing."
    sent = yield invoke("transfer_money", from_account=source, to_account=target, amount=amount)
    return f"Sent {sent['sent']} euros; {source} has {sent['balance']} left."


@template(Bank)
def release_card_of_account(kit: Bank, rng: random.Random) -> Plan:
    account = rng.choice([card["account"] for card in kit.cards.values() if card["status"] == "travel"])
    yield say(
        rng,
        "One card of {account} is frozen for travel. Unblock it.",
        "Find the frozen card of account {account} and make it work again.",
        "Back from my trip: please unblock the travel card of {account}.",
        "Which card of {account} is blocked? Lift that block, please.",
        account=account,
    )
    found = yield invoke("list_cards", account=account)
    card = next(card["card"] for card in found if card["status"] == "travel")
    yield invoke("unfreeze_card", card=card)
    return f"Card {card} works again."


@template(Bank)
def block_all_cards(kit: Bank, rng: random.Random) -> Plan:
    active = [card["account"] for card in kit.cards.values() if card["status"] == "active"]
    account, reason = rng.choice([key for key in active if active.count(key) == 2]), rng.choice(["lost", "stolen"])
    yield say(
        rng,
        "My wallet is gone. Block all cards of {account} as {reason}.",
        "Freeze every card of account {account}, reason: {reason}.",
        "All the cards of {account} were {reason}; please block each.",
        "Can you find the cards of {account} and freeze them as {reason}?",
        account=account,
        reason=reason,
    )
    found = yield invoke("list_cards", account=account)
    for card in found:
        yield invoke("freeze_card", card=card["card"], reason=reason)
    return f"{' and '.join(card['card'] for card in found)} are frozen ({reason})."


@template(Bank)
def wealth_of(kit: Bank, rng: random.Random) -> Plan:
    owner = _owner(kit, rng)
    yield say(
        rng,
        "How much money does {owner} have on each account?",
        "Balances of all the accounts of {owner}, please.",
        "What is the sum of all accounts of {owner}?",
        "Find the accounts of {owner} and tell me what is on them.",
        owner=owner,
    )
    found = yield invoke("find_accounts", owner=owner)
    balances = []
    for entry in found:
        balance = yield invoke("get_balance", account=entry["account"])
        balances.append(balance["balance"])
    parts = " and ".join(str(balance) for balance in balances)
    return f"{owner} has {parts} euros, {short_number(sum(balances), 2)} together."


@template(Bank)
def block_card_of_person(kit: Bank, rng: random.Random) -> Plan:
    active = [card["account"] for card in kit.cards.values() if card["status"] == "active"]
    account = rng.choice([key for key in active if active.count(key) == 1])
    reason = rng.choice(["lost", "stolen"])
    yield say(
        rng,
        "{owner} calls: the active card of the current account was {reason}. Freeze it.",
        "Block the one active card of the current account of {owner}; it was {reason}.",
        "Find the current account of {owner} and freeze its active card, reason {reason}.",
        owner=_owner_of(kit, account),
        reason=reason,
    )
    accounts = yield invoke("find_accounts", owner=_owner_of(kit, account))
    cards = yield invoke("list_cards", account=next(e["account"] for e in accounts if e["kind"] == "current"))
    card = next(card["card"] for card in cards if card["status"] == "active")
    yield invoke("freeze_card", card=card, reason=reason)
    return f"Card {card} is frozen ({reason})."


def _owner(kit: Bank, rng: random.Random) -> str:
    return rng.choice([account["owner"] for account in kit.accounts.values()])


def _owner_of(kit: Bank, account: str) -> str:
    return kit.accounts[account]["owner"]


def _current(kit: Bank, rng: random.Random) -> str:
    return rng.choice([key for key, account in kit.accounts.items() if account["kind"] == "current"])
