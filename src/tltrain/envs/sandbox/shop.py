"""A shop: products in stock, one cart, orders."""

from typing import Annotated, Literal, TypedDict

from tltrain.envs.sandbox.rounding import short_number
from tltrain.envs.toolkit import Toolkit, bad_value, refuse, tool
from tltrain.types import Json

_TITLES = {
    "kitchen": ("Steel Kettle", "Bread Knife", "Soup Bowl", "Salad Spoon"),
    "office": ("Desk Lamp", "Paper Tray", "Wall Clock", "Ink Pen"),
    "garden": ("Flower Pot", "Garden Hose", "Rain Barrel", "Pruning Saw"),
    "sport": ("Yoga Mat", "Jump Rope", "Tennis Racket", "Water Bottle"),
}
_STOCKS = (0, 1, 3, 4, 5, 7, 9, 12)
_DELIVERY_MINIMUM = 20

Category = Literal["kitchen", "office", "garden", "sport"]
Delivery = Literal["home", "pickup"]


class Product(TypedDict):
    """One product; prices are multiples of half a euro, so that sums are exact."""

    title: str
    category: str
    price: float
    stock: int


class Shop(Toolkit):
    """Eight products, two of a category; a cart never holds more than the stock, a voucher works once."""

    name = "shop"

    def __init__(self, seed: int):
        super().__init__(seed)
        numbers = self.rng.sample(range(10, 100), len(_STOCKS))
        half_euros = self.rng.sample(range(6, 80), len(_STOCKS))
        stocks = self.rng.sample(_STOCKS, len(_STOCKS))
        titles = [(category, title) for category in _TITLES for title in self.rng.sample(_TITLES[category], 2)]
        self.products: dict[str, Product] = {
            f"P{number}": {"title": title, "category": category, "price": short_number(price / 2), "stock": stock}
            for number, (category, title), price, stock in zip(numbers, titles, half_euros, stocks, strict=True)
        }
        well_stocked = [key for key, product in self.products.items() if product["stock"] >= 3]
        self.cart: dict[str, int] = {key: self.rng.randint(1, 2) for key in self.rng.sample(well_stocked, 2)}
        percent = self.rng.choice((10, 20, 25))
        self.vouchers: dict[str, int] = {f"{self.rng.choice(('SAVE', 'SPRING', 'THANKS'))}{percent}": percent}
        self.orders: list[dict[str, Json]] = []

    @tool
    def search_products(self, text: str) -> list[dict[str, Json]]:
        """Find products whose title contains a text."""
        return [self._brief(key) for key, product in self.products.items() if text.lower() in product["title"].lower()]

    @tool
    def list_products_by_category(self, category: Category, max_price: float | None = None) -> list[dict[str, Json]]:
        """List the products of a category."""
        return [
            self._brief(key)
            for key, product in self.products.items()
            if product["category"] == category and (max_price is None or product["price"] <= max_price)
        ]

    @tool
    def get_product(self, product_id: str) -> dict[str, Json]:
        """Get price and stock of one product by its id."""
        product = self._product(product_id)
        return self._brief(product_id) | {"stock": product["stock"]}

    @tool
    def add_to_cart(self, product_id: str, quantity: int) -> dict[str, Json]:
        """Put pieces of a product into the cart."""
        stock = self._product(product_id)["stock"]
        if quantity < 1:
            raise bad_value(f"quantity must be at least 1, got {quantity}")
        wanted = self.cart.get(product_id, 0) + quantity
        if wanted > stock:
            raise refuse(f"not enough stock of {product_id}: {stock} left, {wanted} wanted")
        self.cart[product_id] = wanted
        return {"product_id": product_id, "in_cart": wanted}

    @tool
    def remove_from_cart(self, product_id: str) -> dict[str, Json]:
        """Take a product out of the cart."""
        if product_id not in self.cart:
            raise refuse(f"{product_id!r} is not in the cart")
        return {"product_id": product_id, "removed": self.cart.pop(product_id)}

    @tool
    def get_cart(self) -> dict[str, Json]:
        """Show the cart and its total."""
        return {"items": dict(self.cart), "total": self._total()}

    @tool
    def checkout(
        self, delivery: Annotated[Delivery, "home: from 20 euros"], voucher: str | None = None
    ) -> dict[str, Json]:
        """Order what is in the cart."""
        total = self._total()
        if not self.cart:
            raise refuse("the cart is empty")
        if delivery == "home" and total < _DELIVERY_MINIMUM:
            raise refuse(f"home delivery needs at least {_DELIVERY_MINIMUM} euros, the cart has {total}")
        if voucher is not None and voucher not in self.vouchers:
            raise refuse(f"voucher {voucher!r} is not valid")
        percent_off = 0 if voucher is None else self.vouchers.pop(voucher)
        for product_id, quantity in self.cart.items():
            self.products[product_id]["stock"] -= quantity
        price = short_number(total * (100 - percent_off) / 100, 2)
        self.orders.append({"items": dict(self.cart), "delivery": delivery, "total": price})
        self.cart = {}
        return {"order": len(self.orders), "total": price}

    def _product(self, product_id: str) -> Product:
        if product_id not in self.products:
            raise refuse(f"no product with id {product_id!r}")
        return self.products[product_id]

    def _brief(self, product_id: str) -> dict[str, Json]:
        product = self.products[product_id]
        return {"product_id": product_id, "title": product["title"], "price": product["price"]}

    def _total(self) -> float:
        return short_number(sum(self.products[key]["price"] * quantity for key, quantity in self.cart.items()))
