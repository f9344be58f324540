"""What people ask of a shop."""

import random

from tltrain.envs.sandbox.shop import Shop
from tltrain.generate.templates import Plan, invoke, say, template


@template(Shop)
def look_up_product(kit: Shop, rng: random.Random) -> Plan:
    product_id = rng.choice(list(kit.products))
    yield say(
        rng,
        "What is product {key} and what does it cost?",
        "Details of {key}, please.",
        "Tell me about item {key}: title, price and stock.",
        "Is {key} in stock?",
        key=product_id,
    )
    product = yield invoke("get_product", product_id=product_id)
    return f"{product['title']}: {product['price']} euros, {product['stock']} in stock."


@template(Shop)
def price_by_title(kit: Shop, rng: random.Random) -> Plan:
    title = _title(kit, rng.choice(list(kit.products)))
    yield say(
        rng,
        "What does the {title} cost?",
        "Price of the {title}?",
        "I am interested in your {title}. How much is it?",
        "Could you look up the price of the {title} for me?",
        title=title,
    )
    found = yield invoke("search_products", text=title)
    return f"The {title} costs {found[0]['price']} euros."


@template(Shop)
def browse_category(kit: Shop, rng: random.Random) -> Plan:
    category = rng.choice([product["category"] for product in kit.products.values()])
    limit = int(rng.choice([entry["price"] for entry in kit.products.values() if entry["category"] == category])) + 1
    if rng.random() < 0.5:
        yield say(
            rng,
            "What {category} products do you have?",
            "List everything in the {category} category.",
            "Show me all your {category} things, please.",
            "I am looking for something from {category}. What is there?",
            category=category,
        )
        found = yield invoke("list_products_by_category", category=category)
    else:
        yield say(
            rng,
            "Which {category} products cost at most {limit} euros?",
            "Show me {category} things up to {limit} euros.",
            "My budget is {limit} euros. What do you have in {category}?",
            "{category} category, max {limit} euros, please.",
            category=category,
            limit=limit,
        )
        found = yield invoke("list_products_by_category", category=category, max_price=limit)
    return ", ".join(f"{product['title']} ({product['price']})" for product in found) + "."


@template(Shop)
def put_in_cart(kit: Shop, rng: random.Random) -> Plan:
    product_id = rng.choice([key for key in kit.products if _still_free(kit, key) >= 1])
    quantity = rng.randint(1, min(4, _still_free(kit, product_id)))
    yield say(
        rng,
        "Put {quantity} x {key} in my cart.",
        "I would like {quantity} of {key}; please add to the cart.",
        "Cart: plus {quantity} of product {key}.",
        "Could you add {key} to my basket, quantity {quantity}?",
        quantity=quantity,
        key=product_id,
    )
    line = yield invoke("add_to_cart", product_id=product_id, quantity=quantity)
    return f"Your cart now has {line['in_cart']} of {product_id}."


@template(Shop)
def cart_total(_kit: Shop, rng: random.Random) -> Plan:
    yield say(
        rng,
        "How much is my cart in total?",
        "What is in my cart?",
        "Show me my basket.",
        "What would I pay for my cart right now?",
    )
    cart = yield invoke("get_cart")
    items = ", ".join(f"{quantity} x {key}" for key, quantity in cart["items"].items())
    return f"{items}: {cart['total']} euros in total."


@template(Shop)
def order_cart(kit: Shop, rng: random.Random) -> Plan:
    total = sum(kit.products[key]["price"] * quantity for key, quantity in kit.cart.items())
    delivery = rng.choice(["home", "pickup"]) if total >= 20 else "pickup"
    wish = "home delivery" if delivery == "home" else "pickup"
    if rng.random() < 0.5:
        yield say(
            rng,
            "Order what is in my cart with {wish}.",
            "Check out my basket, {wish} please.",
            "I am ready to buy my cart. I choose {wish}.",
            "Can you place the order for my cart? {wish}.",
            wish=wish,
        )
        order = yield invoke("checkout", delivery=delivery)
    else:
        voucher = rng.choice(list(kit.vouchers))
        yield say(
            rng,
            "Order my cart with {wish} and voucher {voucher}.",
            "Place the order, {wish}, code {voucher}.",
            "I have voucher {voucher}. Please buy what is in my cart with {wish}.",
            "Can you check out my basket using {voucher}? I want {wish}.",
            wish=wish,
            voucher=voucher,
        )
        order = yield invoke("checkout", delivery=delivery, voucher=voucher)
    return f"Order {order['order']} is placed: {order['total']} euros."


@template(Shop)
def stock_by_title(kit: Shop, rng: random.Random) -> Plan:
    title = _title(kit, rng.choice(list(kit.products)))
    yield say(
        rng,
        "How many pieces of the {title} are in stock?",
        "Is the {title} still in stock?",
        "Stock of the {title}, please.",
        "I want to know how many of the {title} you have left.",
        title=title,
    )
    found = yield invoke("search_products", text=title)
    product = yield invoke("get_product", product_id=found[0]["product_id"])
    return f"{product['stock']} of the {title} in stock."


@template(Shop)
def drop_by_title(kit: Shop, rng: random.Random) -> Plan:
    title = _title(kit, rng.choice(list(kit.cart)))
    yield say(
        rng,
        "Take the {title} out of my cart.",
        "I do not want the {title} any more; remove it from the cart.",
        "Please drop the {title} from my basket.",
        "Can you delete the {title} from my cart?",
        title=title,
    )
    found = yield invoke("search_products", text=title)
    yield invoke("remove_from_cart", product_id=found[0]["product_id"])
    return f"The {title} is no longer in your cart."


@template(Shop)
def exchange_in_cart(kit: Shop, rng: random.Random) -> Plan:
    old = rng.choice(list(kit.cart))
    new = rng.choice([key for key in kit.products if key not in kit.cart and _still_free(kit, key) >= 1])
    quantity = rng.randint(1, min(3, _still_free(kit, new)))
    yield say(
        rng,
        "Take {old} out of my cart, then add {quantity} of {new}.",
        "First remove {old} from the cart, then put in {quantity} x {new}.",
        "Drop {old} from my basket. After that add {new}, quantity {quantity}.",
        "Could you remove {old} from my cart and then add {quantity} of {new} instead?",
        old=old,
        new=new,
        quantity=quantity,
    )
    yield invoke("remove_from_cart", product_id=old)
    line = yield invoke("add_to_cart", product_id=new, quantity=quantity)
    return f"{old} is out, {line['in_cart']} of {new} are in your cart."


@template(Shop)
def empty_cart(_kit: Shop, rng: random.Random) -> Plan:
    yield say(
        rng,
        "Empty my cart.",
        "Please remove everything from my cart.",
        "I want an empty basket: take everything out.",
        "Can you look into my cart and take all of it out?",
    )
    cart = yield invoke("get_cart")
    for product_id in cart["items"]:
        yield invoke("remove_from_cart", product_id=product_id)
    return f"Your cart is empty; {' and '.join(cart['items'])} are out."


@template(Shop)
def buy_cheapest(kit: Shop, rng: random.Random) -> Plan:
    cheapest: dict[str, str] = {}
    for key, product in sorted(kit.products.items(), key=lambda item: item[1]["price"]):
        cheapest.setdefault(product["category"], key)
    category = rng.choice([category for category, key in cheapest.items() if _still_free(kit, key) >= 1])
    yield say(
        rng,
        "Add 1 of the cheapest {category} product to my cart and order it all for pickup.",
        "Find the cheapest thing in {category}, put 1 in my cart, then check out with pickup.",
        "I need 1 piece of your cheapest {category} item. Add it and place my order, pickup.",
        "Could you put the cheapest {category} product, quantity 1, in my basket and then order with pickup?",
        category=category,
    )
    found = yield invoke("list_products_by_category", category=category)
    best = min(found, key=lambda product: product["price"])
    yield invoke("add_to_cart", product_id=best["product_id"], quantity=1)
    order = yield invoke("checkout", delivery="pickup")
    return f"Ordered with 1 {best['title']}; {order['total']} euros in total."


def _title(kit: Shop, product_id: str) -> str:
    return kit.products[product_id]["title"]


def _still_free(kit: Shop, product_id: str) -> int:
    """Pieces that can still be added to the cart."""
    return kit.products[product_id]["stock"] - kit.cart.get(product_id, 0)
