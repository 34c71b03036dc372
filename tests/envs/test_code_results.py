"""Which results pass a test: the right ones of honest programs, and no object that claims to equal everything."""

import pytest

from envs.code.sandbox import Limits, Verdict, run

IMPORTS = """
import math
from collections import ChainMap, Counter, OrderedDict, UserDict, defaultdict, deque, namedtuple
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID
"""
CLASSES = """
class Level(IntEnum):
    LOW = 1
class Colour(Enum):
    RED = 1
class Words(dict):
    def __missing__(self, key): return 0
@dataclass
class Pair:
    a: int
    b: int
class Vector(Pair):
    def __add__(self, other): return Vector(self.a + other.a, self.b + other.b)
Point = namedtuple('Point', 'x y')
"""
HONEST = (
    *(
        "None == None",
        "True == 1",
        "2.0 == 2",
        "2 + 0j == 2",
        "'a' == 'a'",
        "b'a' == bytearray(b'a')",
        "'a' + 'b' == 'ab'",
    ),
    *("range(3) == range(3)", "[1, (2, {3: {4}})] == [1, (2, {3: {4}})]", "{1, 2} == frozenset([2, 1])"),
    *("[math.nan][0] != 1", "int == int", "len == len", "{1: 2}.keys() == {1}", "{'a', 'b'} == Counter('ab').keys()"),
    *("Counter('aab') == {'a': 2, 'b': 1}", "Counter(a=1, b=0) == Counter(a=1)", "[Counter('a')] == [Counter('a')]"),
    *("defaultdict(list, {1: [2]}) == {1: [2]}", "deque([1, [2]]) == deque([1, [2]])", "Words(a=1) == {'a': 1}"),
    *("OrderedDict(a=1, b=2) == OrderedDict(a=1, b=2)", "OrderedDict(a=1, b=2) == dict(b=2, a=1)"),
    *("OrderedDict(a=1, b=2) != OrderedDict(b=2, a=1)", "Counter(a=1) != {'a': 1, 'b': 0}"),
    *(
        "Decimal('0.5') == Decimal('0.50')",
        "Decimal(2) == 2",
        "Fraction(1, 3) == Fraction(2, 6)",
        "Fraction(1, 2) == 0.5",
    ),
    *(
        "{Fraction(1, 3): 1} == {Fraction(1, 3): 1}",
        "Level.LOW == 1",
        "Colour.RED == Colour.RED",
        "Point(1, 2) == (1, 2)",
    ),
    *("date(2020, 1, 2) == date(2020, 1, 2)", "Pair(1, 2) == Pair(1, 2)"),
    *("datetime.strptime('2020', '%Y') == datetime(2020, 1, 1)", "[timedelta(days=1)] == [timedelta(hours=24)]"),
    *("datetime(2020, 1, 1, tzinfo=timezone.utc) != datetime(2020, 1, 1)", "UUID(int=3) == UUID(int=3)"),
    *(
        "Path('a') / 'b' == Path('a/b')",
        "SimpleNamespace(a=1) == SimpleNamespace(a=1)",
        "ChainMap({1: 2}) == ChainMap({1: 2})",
    ),
    *(
        "[Pair(1, 2)] == [Pair(1, 2)]",
        "Vector(1, 2) + Vector(1, 1) == Vector(2, 3)",
        "Pair(1, 2) != 3",
        "[Pair(1, 2)] != [3]",
    ),
    *("abs(Fraction(1, 3) - 0.333) < 0.01", "0 < Fraction(1, 3) < 1", "date(2020, 1, 1) < date(2020, 1, 2)"),
    *(
        "datetime(2020, 1, 2) - datetime(2020, 1, 1) == timedelta(1) * 1",
        "Level.LOW + 1 == 2",
        "1 in (n for n in (0, 1))",
    ),
    *("3 not in {1, 2}", "None is None", "(1, 2) < (1, 3) and {1} <= {1, 2}", "all(a == b for a, b in zip([1], (1,)))"),
    *("'%s' % Colour.RED == 'Colour.RED'", "Decimal('1.5') - 1 == 0.5"),
)


LIMITS = Limits(cpu_seconds=5, memory_mib=512)


def judged(program: str, *tests: str, setup: str = "") -> tuple[Verdict, ...]:
    return run(program, setup=setup, tests=tests, limits=LIMITS)


def test_right_results_of_honest_programs_pass() -> None:
    tests = tuple(f"assert {comparison}" for comparison in HONEST)
    verdicts = judged(IMPORTS + CLASSES, *tests)
    assert [verdict.text for verdict in verdicts if not verdict.passed] == []


def test_wrong_results_of_honest_programs_fail() -> None:
    wrong = ("[1] == (1,)", "[[1]] == [[2]]", "Counter('a') == Counter('b')", "Point(1, 2) == (1, 3)", "Level.LOW == 2")
    wrong += ("deque([1]) == deque([2])", "Fraction(1, 3) == Fraction(1, 2)", "date(2020, 1, 1) == date(2020, 1, 2)")
    wrong += ("OrderedDict(a=1, b=2) == OrderedDict(b=2, a=1)", "Pair(1, 2) == Pair(1, 3)", "{1: 2}.keys() == {2}")
    verdicts = judged(IMPORTS + CLASSES, *(f"assert {comparison}" for comparison in wrong))
    assert [verdict.text for verdict in verdicts if verdict.passed] == []


LIES = {
    "mock.ANY": "from unittest.mock import ANY\ndef f(x): return ANY",
    "ANY in a list": "from unittest.mock import ANY\ndef f(x): return [ANY]",
    "ANY in a deque": "from unittest.mock import ANY\nfrom collections import deque\ndef f(x): return deque([ANY])",
    "ANY as a Counter": """
from unittest.mock import ANY
from collections import Counter
def f(x): return Counter(a=ANY)""",
    "a false __module__": "A = type('A', (), {'__module__': 'b', '__eq__': lambda s, o: True})\ndef f(x): return A()",
    "a derived number": """
class A(int):
    def __eq__(self, o): return True
    __sub__ = lambda s, o: 0
def f(x): return A(9)""",
    "a derived list": "class A(list):\n    def __eq__(self, o): return True\ndef f(x): return A([9])",
    "a derived dict": "class A(dict):\n    def __eq__(self, o): return True\ndef f(x): return A(a=9)",
    "a metaclass": """
class M(type):
    def __hash__(c): return hash(int)
    def __eq__(c, o): return True
class A(metaclass=M):
    def __eq__(self, o): return True
    __class__ = int
def f(x): return A()""",
    "arithmetic": """
class A:
    __sub__ = __rsub__ = lambda s, o: 0.0
    __lt__ = __gt__ = __le__ = __ge__ = __contains__ = lambda s, o: True
def f(x): return A()""",
    "a changed Counter": """
from collections import Counter
Counter.__eq__ = lambda s, o: True
def f(x): return Counter()""",
    "a changed Fraction": """
from fractions import Fraction
Fraction.__eq__ = lambda s, o: True
def f(x): return Fraction(7)""",
    "a Fraction of lies": """
from unittest.mock import ANY
from fractions import Fraction
def f(x):
    third = Fraction(1, 3)
    third._numerator = third._denominator = ANY
    return third""",
    "a proxy": """
from weakref import proxy
class A:
    def __eq__(self, o): return True
kept = A()
def f(x): return proxy(kept)""",
    "a changed judge": "import __main__\n__main__.equal = lambda *values: True\ndef f(x): return 9",
    "a name of Python's": "def set(x): return 0\ndef f(x): return 9\n__builtins__ = {}",
    "a changed name of Python's": "import builtins\nbuiltins.bool = lambda x: True\ndef f(x): return 9",
    "an error without a name": "def f(x):\n    raise type('', (Exception,), {})",
}
WANTED = (
    *("f(1) == 2", "2 == f(1)", "f(1) == [2]", "f(1) == [[2]]", "f(1) == {'a': 2}", "f(1) == Fraction(1, 4)"),
    *(
        "f(1) == deque([2])",
        "f(1) == Counter('bb')",
        "f(1) == Counter(a=2)",
        "f(1) in (2, 3)",
        "abs(f(1) - 0.5) < 1e-6",
    ),
    *("set([f(1)]) == set([2])", "sorted([f(1)]) == sorted([2])", "max(f(1), 9) == 2"),
    *("f(1) < 2", "2 in f(1)", "(f(1) == 2) == True", "all(a == b for a, b in zip([f(1)], [2]))"),
)


@pytest.mark.parametrize("program", LIES.values(), ids=LIES)
@pytest.mark.parametrize("form", ["test", "check"])
def test_no_result_equals_everything(program: str, form: str) -> None:
    setup = "from collections import Counter, deque\nfrom fractions import Fraction\n"
    if form == "test":
        tests = tuple(f"assert {wanted}" for wanted in WANTED)
    else:
        setup += "".join(f"def check{n}(f):\n    assert {wanted}\n" for n, wanted in enumerate(WANTED))
        tests = tuple(f"check{n}(f)" for n in range(len(WANTED)))
    verdicts = judged(program, *tests, setup=setup)
    assert [test for test, verdict in zip(tests, verdicts, strict=True) if verdict.passed] == []


@pytest.mark.parametrize("name", ["set", "sorted", "max"])
def test_the_tests_call_pythons_own_functions_and_the_program_its_own(name: str) -> None:
    program = f"def {name}(x): return 2\ndef f(x): return {name}(x)"
    tests = (f"assert {name}([f(1), 1]) == 2", f"assert {name}([3]) == f(1)", "assert f(1) == 2")
    sees_own = [verdict.passed for verdict in judged(program, *tests)]
    assert sees_own == [name == "max", False, True]
    verdicts = run(program, setup="", tests=tests, limits=LIMITS, asked={name})
    assert [verdict.passed for verdict in verdicts] == [True] * 3


@pytest.mark.parametrize("form", ["import math", "from math import isclose", "import math as m"])
def test_the_tests_see_modules_as_they_were(form: str) -> None:
    called = {"import math": "math.isclose", "import math as m": "m.isclose"}.get(form, "isclose")
    program = "import math\nmath.isclose = lambda *values: True\ndef f(x): return 0"
    (verdict,) = judged(program, f"assert {called}(f(1), 3.14)", setup=form)
    assert not verdict.passed


def test_the_tests_use_modules_of_packages() -> None:
    setup = "import xml.etree.ElementTree\nfrom xml.etree import ElementTree\nfrom html import unescape"
    tests = (f"assert {name}ElementTree.fromstring(f('<a/>')).tag == 'a'" for name in ("", "xml.etree."))
    verdicts = judged("def f(x): return x", *tests, "assert unescape(f('&lt;')) == '<'", setup=setup)
    assert [verdict.text for verdict in verdicts if not verdict.passed] == []


def test_a_program_uses_what_the_setup_imports() -> None:
    (verdict,) = judged("def f(x): return math.floor(x)", "assert f(1.5) == 1", setup="import math")
    assert verdict.passed
