"""The files that a shop is built from, and the folder that stores what is built."""

import fcntl
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from envs.base import EnvError
from envs.cache import cache_folder


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopFiles:
    """The official files of a catalogue."""

    products: Path
    """items_shuffle*.json."""

    attributes: Path
    """items_ins_v2*.json."""

    human: Path | None = None
    """items_human_ins.json: the instructions that people wrote."""

    nouns: Path | None = None
    """A precomputed file of asin -> nouns of the title; None if there is none."""

    @property
    def paths(self) -> tuple[Path | None, ...]:
        """All four, in a fixed order."""
        return self.products, self.attributes, self.human, self.nouns


def find_files(
    *,
    data: str | Path | None,
    products: str | Path | None,
    attributes: str | Path | None,
    human: str | Path | None,
    nouns: str | Path | None,
) -> ShopFiles | None:
    """The named files; files without a name come from the folder `data`. None if nothing is named.

    In a folder, products and attributes must have the same suffix (`items_shuffle_1000`, `items_ins_v2_1000`); the
    shortest name wins. Without `nouns`, a title_nouns*.json beside the products is used.
    Raises EnvError for a missing file.
    """
    files = {"products": products, "attributes": attributes, "human": human, "nouns": nouns}
    paths = {name: Path(path).resolve() for name, path in files.items() if path is not None}
    if data is not None:
        paths = _in_folder(Path(data).resolve()) | paths
    if not paths:
        return None
    for name in ("products", "attributes"):
        if name not in paths:
            raise EnvError(f"webshop was given {', '.join(paths)} but no {name}; give {name}=FILE or data=FOLDER")
    beside = sorted(paths["products"].parent.glob("title_nouns*.json"))
    if "nouns" not in paths and beside:
        paths["nouns"] = beside[0]
    for name, path in paths.items():
        if not path.is_file():
            raise EnvError(f"{path}: there is no such file; give webshop {name}=FILE, one of WebShop's official files")
    return ShopFiles(**paths)


def _in_folder(folder: Path) -> dict[str, Path]:
    pairs = [
        (products, attributes)
        for products in sorted(folder.glob("items_shuffle*.json"), key=lambda path: (len(path.name), path.name))
        if (attributes := folder / products.name.replace("items_shuffle", "items_ins_v2")).is_file()
    ]
    if not pairs:
        raise EnvError(
            f"{folder}: holds no items_shuffle*.json with its items_ins_v2*.json; give webshop data=FOLDER with "
            "WebShop's official files, or no data for a generated shop"
        )
    human = folder / "items_human_ins.json"
    files = {"products": pairs[0][0], "attributes": pairs[0][1]}
    return files | ({"human": human} if human.is_file() else {})


def shops_folder(cache: str | Path | None) -> Path:
    """The folder for built shops, see `envs.cache`. Raises EnvError if it cannot be created."""
    folder = cache_folder("webshop", cache)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvError(
            f"{folder} cannot be made ({error.strerror}): set STEPCREDIT_CACHE to a folder that can be written"
        ) from error
    return folder


def content_key(paths: tuple[Path | None, ...], cache: Path, version: str) -> str:
    """The name of what is built from files with these contents.

    A file with the path, size and time of change of an earlier call is not read again.
    """
    parts = [version, *("" if path is None else _digest(path, cache) for path in paths)]
    return hashlib.blake2b(" ".join(parts).encode(), digest_size=16).hexdigest()


def _digest(path: Path, cache: Path) -> str:
    state = path.stat()
    version = f"{path} {state.st_size} {state.st_mtime_ns}"
    note = cache / "digests" / hashlib.blake2b(version.encode(), digest_size=16).hexdigest()
    if note.is_file():
        return note.read_text()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "blake2b").hexdigest()
    note.parent.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=note.parent, delete=False) as fresh:
        fresh.write(digest)
    Path(fresh.name).chmod(0o644)  # others may share the cache
    Path(fresh.name).rename(note)
    return digest


def built_once(folder: Path, build: Callable[[Path], None]) -> Path:
    """`folder`, built if it does not exist: under a temporary name, and renamed when complete.

    If several processes call this at once, one builds and the others wait.
    """
    if not folder.is_dir():
        with _locked(folder.with_name(f"{folder.name}.lock")):
            if not folder.is_dir():
                for left in folder.parent.glob(f"{folder.name}.*/"):  # by a build that was killed
                    shutil.rmtree(left)
                with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.") as fresh:
                    whole = Path(fresh) / "whole"
                    whole.mkdir()
                    build(whole)
                    whole.rename(folder)
    return folder


@contextmanager
def _locked(path: Path) -> Generator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
