"""How far a purchase is: a product that fits was listed, opened, fitted with its options, and bought."""

from functools import lru_cache

from envs.webshop.expert import fitting_options
from envs.webshop.reward import judge
from envs.webshop.session import Page, Session
from envs.webshop.shop import Shop

LISTED, OPENED, CHOSEN, BOUGHT = 1, 2, 3, 4


def milestone(shop: Shop, session: Session) -> int:
    """The phase of the open page, 0 for none: a product fits if some choice of its options scores 1.

    A product without options to choose is CHOSEN as soon as it is open.
    """
    match session.page:
        case Page.RESULTS:
            return LISTED if any(_fits(shop, session.goal, product) for product in session.shown) else 0
        case Page.ITEM if _fits(shop, session.goal, session.product):
            return CHOSEN if _score(shop, session) == 1.0 else OPENED
        case Page.DONE:
            return BOUGHT if _score(shop, session) == 1.0 else 0
        case _:
            return 0


def _score(shop: Shop, session: Session) -> float:
    bought, price = shop.product(session.product), shop.price(session.product)
    return judge(shop.goal(session.goal), bought, price, session.options).score


@lru_cache(maxsize=2**16)
def _fits(shop: Shop, goal_index: int, number: int) -> bool:
    goal, price = shop.goal(goal_index), shop.price(number)
    if price > goal.cap:
        return False
    product = shop.product(number)
    return judge(goal, product, price, fitting_options(goal, product)).score == 1.0
