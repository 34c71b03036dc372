"""The files of a shop: which are used, how often they are built, and which are refused."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from envs import EnvError, make
from envs.webshop import WebShop, generate
from envs.webshop.files import built_once, content_key, find_files
from envs.webshop.generate import generated_files, write_folder, write_shop
from envs.webshop.nouns import with_nouns
from envs.webshop.products import read_products


@pytest.fixture
def written(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    write_shop(folder, size=40, seed=1)
    return folder


def test_a_seed_is_a_shop_and_another_seed_another(tmp_path: Path, written: Path) -> None:
    for name, seed in (("again", 1), ("other", 2)):
        (tmp_path / name).mkdir()
        write_shop(tmp_path / name, size=40, seed=seed)
    files = sorted(path.name for path in written.iterdir())
    assert files == ["items_human_ins.json", "items_ins_v2.json", "items_shuffle.json", "title_nouns.json"]
    for name in files:
        assert (tmp_path / "again" / name).read_bytes() == (written / name).read_bytes()
        assert (tmp_path / "other" / name).read_bytes() != (written / name).read_bytes()


def test_a_shop_is_written_whole_or_not_at_all(tmp_path: Path, written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(generate, "_human_instruction", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            write_folder(tmp_path / "new" / "shop", size=40, seed=1)
    assert list((tmp_path / "new").iterdir()) == []
    write_folder(tmp_path / "new" / "shop", size=40, seed=1)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["shop"]
    for path in written.iterdir():
        assert (tmp_path / "new" / "shop" / path.name).read_bytes() == path.read_bytes()
    with pytest.raises(EnvError, match="is not empty"):
        write_folder(tmp_path / "new" / "shop", size=40, seed=2)


def test_a_shop_that_another_process_wrote_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(folder: Path, *, size: int, seed: int) -> None:
        write_shop(folder, size=size, seed=seed)
        (tmp_path / "shop").mkdir()
        (tmp_path / "shop" / "theirs").touch()

    monkeypatch.setattr(generate, "write_shop", overtaken)
    with pytest.raises(EnvError, match="is not empty"):
        write_folder(tmp_path / "shop", size=40, seed=1)
    assert [path.name for path in (tmp_path / "shop").iterdir()] == ["theirs"]


@pytest.mark.parametrize("size", [19, 100_001])
def test_a_shop_of_a_size_that_cannot_be_is_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(EnvError, match=f"shop of {size} products; give 20 to 100000"):
        write_folder(tmp_path / "shop", size=size, seed=0)
    with pytest.raises(EnvError, match=f"shop of {size} products; give 20 to 100000"):
        make("webshop", shop_size=size)


def test_a_generated_shop_is_read_from_its_folder_like_the_official_files(written: Path) -> None:
    env = WebShop(data=written)
    assert [env.goal(task).text for task in env.tasks("validation")] == [
        WebShop(shop_size=40, shop_seed=1).goal(task).text for task in env.tasks("validation")
    ]


def test_what_is_built_is_named_by_its_contents_and_built_once(written: Path, tmp_path: Path) -> None:
    cache = tmp_path / "kept"
    cache.mkdir()
    files = find_files(data=written, products=None, attributes=None, human=None, nouns=None)
    assert files is not None
    before = content_key(files.paths, cache, "1")
    copy = shutil.copytree(written, tmp_path / "copy")
    moved = find_files(data=copy, products=None, attributes=None, human=None, nouns=None)
    assert moved is not None
    assert content_key(moved.paths, cache, "1") == before
    assert content_key(files.paths, cache, "2") != before
    items = json.loads(files.products.read_text())
    items[0]["name"] += " x"
    files.products.write_text(json.dumps(items))
    assert content_key(files.paths, cache, "1") != before


def test_a_build_that_fails_leaves_nothing_and_one_that_is_there_is_kept(tmp_path: Path) -> None:
    target = tmp_path / "thing"

    def fail(fresh: Path) -> None:
        (fresh / "half").touch()
        raise EnvError("broken")

    with pytest.raises(EnvError, match="broken"):
        built_once(target, fail)
    assert [path.name for path in tmp_path.iterdir()] == ["thing.lock"]
    built_once(target, lambda fresh: (fresh / "whole").touch())
    assert built_once(target, fail) == target
    assert [path.name for path in target.iterdir()] == ["whole"]


SOLVE = """
import json, sys
from envs.webshop import WebShop
env = WebShop(shop_size=60, cache=sys.argv[1])
env.reset("goal-0")
print(json.dumps([env.step(action).observation for action in env.expert()]))
"""


def test_processes_that_open_a_new_shop_at_once_share_one(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SOLVE, str(tmp_path)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    episodes = [json.loads(worker.communicate(timeout=120)[0]) for worker in workers]
    assert episodes[0]
    assert episodes[0] == episodes[1]
    built = [path for path in (tmp_path / "webshop").iterdir() if (path / "products.bin").is_file()]
    assert len(built) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("items_shuffle.json", "{}", "not a JSON array of products"),
        ("items_shuffle.json", "[{", "not a whole JSON array"),
        ("items_shuffle.json", "[]", "holds no product"),
        ("items_shuffle.json", '[{"asin": "B1"}]', "product 0, name is missing, not a text"),
        ("items_shuffle.json", "[{}]", "product 0, asin is missing, not a text"),
        ("items_shuffle.json", "[3]", "product 0 is 3, not an object"),
        ("items_shuffle.json", b'[{"asin": "\xff"}]', "not UTF-8 text"),
        ("items_ins_v2.json", "{", "not a JSON file"),
        ("items_ins_v2.json", "[]", r"the whole is \[\], not an object"),
        ("items_ins_v2.json", "{}", "no product has a synthetic instruction"),
        ("items_human_ins.json", "[]", r"the whole is \[\], not an object"),
        ("title_nouns.json", "{", "not a JSON file"),
        ("title_nouns.json", b"\xff", "not a JSON file"),
        ("title_nouns.json", '["coat"]', r"the whole is \[\"coat\"\], not an object"),
    ],
)
def test_a_broken_file_is_refused_in_one_line_with_its_path(
    written: Path, name: str, content: str | bytes, message: str
) -> None:
    (written / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(EnvError, match=message) as refusal:
        WebShop(data=written)
    assert str(refusal.value).startswith(str(written))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "place", "value", "wanted"),
    [
        ("items_shuffle.json", (3, "name"), None, "a text"),
        ("items_shuffle.json", (3, "full_description"), None, "a text"),
        ("items_shuffle.json", (3, "category"), None, "a text"),
        ("items_shuffle.json", (3, "small_description"), None, "a list"),
        ("items_shuffle.json", (3, "small_description", 0), None, "a text"),
        ("items_shuffle.json", (3, "pricing"), "$1.2.3", "a price like"),
        ("items_shuffle.json", (3, "pricing"), "12", "a price like"),
        ("items_shuffle.json", (3, "customization_options"), ["red"], "an object"),
        ("items_ins_v2.json", ("ASIN",), None, "an object"),
        ("items_ins_v2.json", ("ASIN", "attributes"), "long lasting", "a list"),
        ("items_ins_v2.json", ("ASIN", "attributes"), None, "a list"),
        ("items_ins_v2.json", ("ASIN", "instruction_attributes"), "long lasting", "a list"),
        ("items_ins_v2.json", ("ASIN", "instruction_attributes"), [], "the one text or more"),
        ("items_ins_v2.json", ("ASIN", "instruction"), 5, "a text"),
        ("items_human_ins.json", ("ASIN",), None, "a list"),
        ("items_human_ins.json", ("ASIN", 0, "instruction_options"), "red", "a list"),
        ("title_nouns.json", ("ASIN",), None, "a list"),
        ("title_nouns.json", ("ASIN",), "coat", "a list"),
        ("title_nouns.json", ("ASIN", 0), None, "a text"),
    ],
)
def test_a_wrong_value_is_refused_with_file_place_value_and_remedy(
    written: Path, name: str, place: tuple[str | int, ...], value: object, wanted: str
) -> None:
    whole = json.loads((written / name).read_text())
    place = tuple(next(iter(whole)) if step == "ASIN" else step for step in place)
    inner = whole
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    (written / name).write_text(json.dumps(whole))
    told = ("product " if name == "items_shuffle.json" else "") + ", ".join(map(str, place))
    with pytest.raises(EnvError) as refusal:
        WebShop(data=written)
    assert str(refusal.value).startswith(f"{written / name}: {told} is {json.dumps(value)}, not {wanted}")
    assert re.search("; give [^;]+$", str(refusal.value))


def test_null_in_the_official_files_means_no_instruction_or_no_price(written: Path) -> None:
    items, described = (
        json.loads((written / name).read_text()) for name in ("items_shuffle.json", "items_ins_v2.json")
    )
    items[0] |= {"pricing": None, "customization_options": {"size": None}}
    items[1] |= {"pricing": "", "customization_options": None, "small_description": "one"}
    described[items[0]["asin"]] |= {"instruction": None, "instruction_attributes": None}
    del described[items[1]["asin"]]
    items.append({"asin": float("nan")})
    (written / "items_shuffle.json").write_text(json.dumps(items))
    (written / "items_ins_v2.json").write_text(json.dumps(described))
    read = list(read_products(written / "items_shuffle.json", written / "items_ins_v2.json", None))
    assert len(read) == 40
    first, second = read[:2]
    assert (first.prices, first.options, first.synthetic) == ((100.0,), {}, None)
    assert (second.prices, second.options, second.bullets) == ((100.0,), {}, ("one",))
    assert (second.attributes, second.synthetic) == (("DUMMY_ATTR",), None)


def test_missing_files_are_refused_with_what_to_give(tmp_path: Path, written: Path) -> None:
    with pytest.raises(EnvError, match="holds no items_shuffle"):
        make("webshop", data=tmp_path)
    with pytest.raises(EnvError, match="was given products but no attributes; give attributes=FILE"):
        make("webshop", products=written / "items_shuffle.json")
    with pytest.raises(EnvError, match="there is no such file; give webshop human=FILE"):
        make("webshop", data=written, human=written / "nothing.json")


def test_titles_that_no_file_knows_need_spacy(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    products = read_products(written / "items_shuffle.json", written / "items_ins_v2.json", None)
    with pytest.raises(EnvError, match=r"cannot tell the nouns of titles: .*install spacy"):
        list(with_nouns(products, None))


def test_spacy_finds_the_nouns_that_the_file_lacks(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Word:
        def __init__(self, text: str) -> None:
            self.text, self.pos_ = text, "NOUN" if text[0].isupper() else "VERB"

    class Tagger:
        def pipe(self, titles: list[str]) -> list[list[Word]]:
            return [[Word(word) for word in title.split()] for title in titles]

    monkeypatch.setattr("envs.webshop.nouns._load_tagger", lambda title, file: Tagger())
    nouns = json.loads((written / "title_nouns.json").read_text())
    (lacking, *_) = nouns
    del nouns[lacking]
    (written / "title_nouns.json").write_text(json.dumps(nouns))
    products = read_products(written / "items_shuffle.json", written / "items_ins_v2.json", None)
    found = {product.asin: product for product in with_nouns(products, written / "title_nouns.json")}
    assert found[lacking].nouns == (found[lacking].title.split()[0].lower(),)
    assert all(list(found[asin].nouns) == nouns[asin] for asin in nouns)


def test_a_large_array_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = generated_files(tmp_path, 40, 3)
    expected = list(read_products(whole.products, whole.attributes, whole.human))
    monkeypatch.setattr("envs.webshop.products._CHUNK", 700)
    assert list(read_products(whole.products, whole.attributes, whole.human)) == expected
