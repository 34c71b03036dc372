"""The pages as HTML, for the observation mode "html": the markup that WebShop's server sends (MIT), in `markup/`.

What the public traces show is equal to the letter: search, first page of results, product, receipt. The frames of later
pages of results and of sub-pages are ours, around the same visible strings and buttons.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from urllib.parse import urlencode

from envs.webshop.goals import Goal
from envs.webshop.pages import script_json
from envs.webshop.products import Product
from envs.webshop.session import Page, Session
from envs.webshop.shop import Shop

_FOLDER = Path(__file__).parent / "markup"
_SLOT = re.compile(r"\{\{(\w+)\}\}")
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&#39;", '"': "&#34;"})
_SAFE = "!$'()*,/:;?@"  # what addresses leave as it is


class _Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def html(session: Session, goal: Goal, shop: Shop, score: float) -> str:
    """The whole page."""
    home = _link(session.goal)
    match session.page:
        case Page.SEARCH:
            return _filled("search", instruction=goal.text, home=home)
        case Page.RESULTS:
            return _results(session, shop, {"instruction": goal.text, "home": home})
        case Page.ITEM:
            return _item(session, shop.product(session.product), {"instruction": goal.text, "home": home})
        case Page.SUB:
            product = shop.product(session.product)
            back = _product_link(session, product, options=session.options)
            content = _content(session.sub, product)
            return _filled("sub_page", instruction=goal.text, home=home, item=back, content=content)
        case Page.DONE:
            asin = shop.product(session.product).asin
            return _filled("done", asin=asin, chosen=_Markup(script_json(session.options)), score=str(score))


def _results(session: Session, shop: Shop, frame: Mapping[str, str]) -> str:
    def page(number: int) -> str:
        return _link(session.goal, keywords=session.keywords.split(" "), page=number)

    if session.number == 1:
        paging = _filled("paging_first", next=page(2))
    else:
        paging = _filled("paging", previous=page(session.number - 1), next=page(session.number + 1))
    products = [_result(session, shop.product(number)) for number in session.shown]
    return _filled(
        "results",
        page=str(session.number),
        total=str(len(session.hits)),
        paging=paging,
        products=_Markup("".join(products)),
        **frame,
    )


def _result(session: Session, product: Product) -> str:
    return _filled(
        "result",
        link=_product_link(session, product, options={}),
        image=product.image,
        asin=product.asin,
        title=product.title,
        price=product.price_text,
        category=product.category,
        query=product.query,
        product_category=product.product_category,
    )


def _item(session: Session, product: Product, frame: Mapping[str, str]) -> str:
    groups = [_group(session, product, name, values) for name, values in product.options.items()]
    subs = {
        name: _product_link(session, product, sub_page=name.title(), options=session.options)
        for name in ("description", "features", "reviews")
    }
    return _filled(
        "item",
        results=_link(session.goal, keywords=session.keywords.split(" "), page=session.number),
        buy=_link(session.goal, asin=product.asin, options=str(session.options)),
        image=product.image,
        groups=_Markup("".join(groups)),
        title=product.title,
        price=product.price_text,
        chosen=_Markup(script_json(session.options)),
        images=_Markup(script_json(product.option_images)),
        **subs,
        **frame,
    )


def _group(session: Session, product: Product, name: str, values: Sequence[str]) -> str:
    options = [
        _filled(
            "option",
            name=name,
            place=str(place),
            value=value,
            link=_product_link(session, product, options={**session.options, name: value}),
        )
        for place, value in enumerate(values)
    ]
    return _filled("group", name=name, options=_Markup("".join(options)))


def _content(sub: str, product: Product) -> _Markup:
    strings = {"Description": (product.description,), "Features": [f" {bullet}" for bullet in product.bullets]}
    return _Markup("".join(f'<p class="product-info">{_escaped(text)}</p>\n' for text in strings.get(sub, ())))


def _product_link(session: Session, product: Product, *, options: Mapping[str, str], sub_page: str = "") -> str:
    words = session.keywords.split(" ")
    more = {"sub_page": sub_page} if sub_page else {}
    return _link(
        session.goal, asin=product.asin, keywords=words, page=session.number, **more, options=str(dict(options))
    )


def _link(goal: int, **query: str | int | Sequence[str]) -> str:
    return f"/?{urlencode({'session_id': goal, **query}, doseq=True, safe=_SAFE)}"


def _filled(piece: str, /, **values: str) -> _Markup:
    """A piece of markup with its slots filled; what is not markup itself is escaped."""
    texts = {slot: value if isinstance(value, _Markup) else _escaped(value) for slot, value in values.items()}
    return _Markup(_SLOT.sub(lambda slot: texts[slot[1]], _markup(piece)))


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)


@cache
def _markup(name: str) -> str:
    return (_FOLDER / f"{name}.html").read_text(encoding="utf-8")
