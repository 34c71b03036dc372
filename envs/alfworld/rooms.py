"""The kinds of receptacles and objects in generated rooms, and which go together. Names are ALFWorld's."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

ABLE = {"c": "cleanable", "h": "heatable", "k": "coolable", "s": "sliceable", "v": "isReceptacleObject"}
OPENABLE = frozenset({"Cabinet", "Drawer", "Fridge", "Microwave", "Safe"})
LAMP = "DeskLamp"
LAMP_PLACES = frozenset({"Desk", "SideTable", "Dresser", "Shelf"})
SEEN_SCENES, UNSEEN_SCENES = range(1, 21), range(21, 31)  # scene numbers of each room, as in the official splits
_NEIGHBOURS = 0.2  # probability that a receptacle shares the spot of the previous one


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Kinds of objects that may lie in the same receptacles."""

    places: frozenset[str]
    """The kinds of receptacles."""

    things: Mapping[str, str]
    """Kind of object -> the letters of ABLE that apply to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """One kind of room."""

    base: int
    """Added to a scene number of the room."""

    core: tuple[str, ...]
    """The receptacles that it always has."""

    once: tuple[str, ...]
    """Receptacles that it may have, one of each at most."""

    many: tuple[str, ...]
    """Receptacles that it may have, any number of each; a repeated entry is more frequent."""

    things: tuple[str, ...]
    """The kinds of objects in it."""

    lamp: bool
    """Whether it may have a desk lamp."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A receptacle of a scene."""

    kind: str
    """Its kind, such as "Cabinet"."""

    position: tuple[float, float, float]
    """x, y, z in metres."""

    location: int
    """The number of the location from which the agent reaches it."""


def _family(places: str, **things: str) -> Family:
    return Family(places=frozenset(places.split()), things=things)


def _room(*, base: int, core: str, once: str, many: str, things: str, lamp: bool = False) -> Room:
    return Room(
        base=base,
        core=tuple(core.split()),
        once=tuple(once.split()),
        many=tuple(many.split()),
        things=tuple(things.split()),
        lamp=lamp,
    )


FAMILIES = (
    _family(
        "CounterTop DiningTable SideTable Fridge Microwave SinkBasin GarbageCan",
        Apple="chks", Bread="hks", Egg="chk", Potato="chks", Tomato="chks",
    ),
    _family("CounterTop DiningTable SideTable Fridge SinkBasin GarbageCan", Lettuce="cks"),
    _family(
        "CounterTop DiningTable SideTable Cabinet Shelf Fridge Microwave SinkBasin",
        Bowl="ckv", Cup="chkv", Plate="chkv",
    ),
    _family(
        "CounterTop DiningTable SideTable Cabinet Shelf Fridge Microwave SinkBasin CoffeeMachine Desk Dresser",
        Mug="chkv",
    ),
    _family("CounterTop DiningTable StoveBurner Cabinet Fridge SinkBasin", Pan="ckv", Pot="ckv"),
    _family("CounterTop DiningTable StoveBurner Cabinet Shelf SinkBasin", Kettle="c"),
    _family("CounterTop DiningTable Cabinet Fridge Shelf GarbageCan", WineBottle="k"),
    _family(
        "CounterTop DiningTable SideTable Drawer SinkBasin",
        ButterKnife="c", Fork="c", Knife="c", Ladle="c", Spatula="c", Spoon="c",
    ),
    _family("CounterTop DiningTable SideTable Cabinet Drawer Shelf", PepperShaker="", SaltShaker=""),
    _family("CounterTop Cabinet Drawer SinkBasin BathtubBasin Toilet Shelf GarbageCan Cart", Cloth="c", SoapBar="c"),
    _family("CounterTop Cabinet Drawer SinkBasin Shelf GarbageCan Cart", DishSponge="c"),
    _family("CounterTop Cabinet Drawer Toilet Shelf GarbageCan Cart", SoapBottle="", SprayBottle="", TissueBox=""),
    _family("CounterTop Cabinet Drawer Toilet Shelf GarbageCan Cart ToiletPaperHanger", ToiletPaper=""),
    _family("CounterTop Cabinet Drawer Shelf HandTowelHolder SinkBasin Cart", HandTowel=""),
    _family("CounterTop Cabinet Drawer Toilet Shelf SideTable Dresser CoffeeTable Cart", Candle=""),
    _family("Desk Dresser SideTable CoffeeTable DiningTable Drawer Shelf GarbageCan", Pen="", Pencil=""),
    _family("Desk Dresser SideTable CoffeeTable DiningTable Drawer Shelf Bed Sofa ArmChair Cabinet", Book=""),
    _family("Dresser SideTable CoffeeTable DiningTable Drawer Shelf Sofa ArmChair GarbageCan Cabinet", Newspaper=""),
    _family("Desk Dresser SideTable CoffeeTable DiningTable Bed Sofa ArmChair", Laptop=""),
    _family("Desk Dresser SideTable CoffeeTable DiningTable Shelf Sofa ArmChair Cabinet", Box="v"),
    _family(
        "Desk Dresser SideTable CoffeeTable DiningTable Drawer Shelf Sofa ArmChair Safe",
        CellPhone="", CreditCard="", KeyChain="", Watch="",
    ),
    _family("Desk Dresser SideTable CoffeeTable DiningTable Drawer Shelf Sofa ArmChair", RemoteControl=""),
    _family("Desk Dresser SideTable Drawer Shelf Safe GarbageCan", CD=""),
    _family("Desk Dresser SideTable Shelf", AlarmClock=""),
    _family("Desk Dresser SideTable CoffeeTable DiningTable Shelf Safe CounterTop Cabinet", Statue="", Vase=""),
    _family("Bed Sofa ArmChair", Pillow=""),
    _family("Bed Desk Dresser SideTable DiningTable", BasketBall="", TennisRacket=""),
)  # fmt: skip
ROOMS = {
    "kitchen": _room(
        base=0,
        core="CounterTop SinkBasin Fridge Microwave",
        once="CoffeeMachine DiningTable GarbageCan SideTable",
        many="Cabinet Cabinet Drawer Drawer StoveBurner CounterTop Shelf",
        things="Apple Bread Egg Potato Tomato Lettuce Bowl Cup Plate Mug Pan Pot Kettle WineBottle ButterKnife Fork "
        "Knife Ladle Spatula Spoon PepperShaker SaltShaker DishSponge SoapBottle Statue Vase",
    ),
    "living room": _room(
        base=200,
        core="Sofa CoffeeTable SideTable",
        once="DiningTable Dresser GarbageCan Safe Desk",
        many="Drawer Drawer Shelf Cabinet ArmChair SideTable",
        things="Book Newspaper Laptop Box CellPhone CreditCard KeyChain Watch RemoteControl Pen Pencil Statue Vase "
        "Pillow Candle",
        lamp=True,
    ),
    "bedroom": _room(
        base=300,
        core="Bed Desk SideTable",
        once="Dresser GarbageCan Safe ArmChair",
        many="Drawer Drawer Shelf Cabinet SideTable",
        things="Book Laptop CellPhone CreditCard KeyChain Watch Pen Pencil CD AlarmClock Mug Pillow BasketBall "
        "TennisRacket Statue",
        lamp=True,
    ),
    "bathroom": _room(
        base=400,
        core="CounterTop SinkBasin Toilet",
        once="BathtubBasin GarbageCan Cart ToiletPaperHanger",
        many="Cabinet Cabinet Drawer Shelf HandTowelHolder",
        things="Cloth SoapBar SoapBottle SprayBottle TissueBox ToiletPaper HandTowel Candle DishSponge",
    ),
}
PLACES: Mapping[str, frozenset[str]] = {name: family.places for family in FAMILIES for name in family.things} | {
    LAMP: LAMP_PLACES
}
ABILITIES: Mapping[str, str] = {name: able for family in FAMILIES for name, able in family.things.items()}


@lru_cache(maxsize=1024)
def layout(room: str, scene: int, receptacles: int, seed: int) -> tuple[Spot, ...]:
    """The receptacles of a scene, the same in every game there. A larger `receptacles` only adds some."""
    rng = random.Random(f"alfworld scene {seed} {room} {scene}")
    once = list(ROOMS[room].once)
    kinds = list(ROOMS[room].core)
    while len(kinds) < receptacles:
        kind = rng.choice((*ROOMS[room].many, *once))
        kinds.append(kind)
        if kind in once:
            once.remove(kind)
    spots: list[Spot] = []
    rng = random.Random(f"alfworld places {seed} {room} {scene}")
    for number, kind in enumerate(kinds):
        neighbour = rng.random() < _NEIGHBOURS and number > 0
        height = rng.choice((0.40, 0.75, 0.95))
        position = (round(rng.uniform(-3, 3), 2), height, round(-3 + 0.07 * number + rng.uniform(0, 0.06), 2))
        spots.append(Spot(kind=kind, position=position, location=spots[-1].location if neighbour else number))
    return tuple(spots)
