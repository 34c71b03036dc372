"""Downloads the official release and checks it; without network access, says how to get it by hand."""

import hashlib
import shutil
import urllib.request
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from envs.alfworld.index import GAME_FILE, RELEASE, SPLITS, TASK_TYPES, holds_games, open_index, release_folder
from envs.base import EnvError

# The part that `alfworld-download` 0.4.2 fetches: the trajectories with their task types, and the games.
ARCHIVES = (
    "https://github.com/alfworld/alfworld/releases/download/0.2.2/json_2.1.1_json.zip",
    "https://github.com/alfworld/alfworld/releases/download/0.4.0/json_2.1.2_tw-pddl.zip",
)
_WANTED = {GAME_FILE, "traj_data.json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A split of the official release."""

    games: tuple[int, ...]
    """The number of games of each type, in the order of TASK_TYPES."""

    digest: str
    """The checksum of its game files, see `digest`."""


OFFICIAL = {
    "train": Expected(
        games=(790, 308, 650, 459, 533, 813),
        digest="f266271c7af84e9fd59e6ac5ac207715c91750a51b54aaff9c0b77f099013a0f",
    ),
    "valid_seen": Expected(
        games=(35, 13, 27, 16, 25, 24),
        digest="ffd7d02f64eee249a99509b297cd3b248ebb017109169b8449f520c30b1fa458",
    ),
    "valid_unseen": Expected(
        games=(24, 18, 31, 23, 21, 17),
        digest="0bdb0dc931092551605821e4e76ed5e50b2c2fdea6742d71960fde1d7f72e98e",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A split on disk, compared with the release."""

    split: str
    """The split's name."""

    games: tuple[int, ...]
    """The number of games of each type, in the order of TASK_TYPES."""

    exact: bool
    """Whether every game file equals the release's, byte for byte."""

    @property
    def complete(self) -> bool:
        """Whether it has the release's number of games of each type."""
        return self.games == OFFICIAL[self.split].games


def fetch(data: Path, *, archives: tuple[str, ...] = ARCHIVES) -> tuple[Verdict, ...]:
    """Download what is missing into `data`/json_2.1.1 and verify all of it.

    Raises EnvError if the download fails, with what to do instead, and where `verify` does.
    """
    if not holds_games(data / RELEASE) and not holds_games(data):
        if (data / RELEASE).exists():
            raise EnvError(f"{data / RELEASE} holds no games; remove it and run `stepcredit data alfworld` again")
        data.mkdir(parents=True, exist_ok=True)
        _unpack([_download(address, data, archives) for address in archives], data)
    return verify(data)


def verify(data: Path) -> tuple[Verdict, ...]:
    """Compare the three splits with the release. Raises EnvError for a split with missing or additional games.

    Files that differ are no error, because an older release words some answers otherwise: `exact` is False then.
    """
    folder = release_folder(data)
    index = open_index(folder)
    verdicts: list[Verdict] = []
    for split in SPLITS:
        tasks = index.split(split)
        by_type = Counter(index.entries[task_id].task_type for task_id in tasks)
        games = tuple(by_type[task_type] for task_type in TASK_TYPES)
        exact = digest(folder, split) == OFFICIAL[split].digest
        verdicts.append(Verdict(split=split, games=games, exact=exact))
    for verdict in verdicts:
        if not verdict.complete:
            counts = ", ".join(
                f"{task_type} {have} of {want}"
                for task_type, have, want in zip(TASK_TYPES, verdict.games, OFFICIAL[verdict.split].games, strict=True)
                if have != want
            )
            raise EnvError(
                f"{folder / verdict.split} is not the official split: {counts} (games left out, by reason: "
                f"{dict(index.skipped)}); remove {folder} and run `stepcredit data alfworld` again"
            )
    return tuple(verdicts)


def digest(folder: Path, split: str) -> str:
    """The checksum of a split: SHA-256 over "task folder/trial folder" and the SHA-256 of each game file, sorted."""
    total = hashlib.sha256()
    games = {
        path.parent.relative_to(folder / split).as_posix(): path for path in (folder / split).glob(f"*/*/{GAME_FILE}")
    }
    for name in sorted(games):
        total.update(f"{name}\n".encode() + hashlib.sha256(games[name].read_bytes()).digest())
    return total.hexdigest()


def instructions(data: Path, archives: tuple[str, ...] = ARCHIVES) -> str:
    """How to get the release by hand."""
    addresses = "\n".join(f"  {address}" for address in archives)
    return (
        f"download these files on a machine that can reach them:\n{addresses}\n"
        f"unpack both into {data}, so that {data / RELEASE / 'train'} exists, and run `stepcredit data alfworld` again "
        "to check them.\nGenerated households need no download: leave data=null, or write some to a folder with "
        "`stepcredit data alfworld-generate`"
    )


def _download(address: str, data: Path, archives: tuple[str, ...]) -> Path:
    """Download one archive, renamed into place when complete. Raises EnvError with instructions if that fails."""
    target = data / PurePosixPath(address).name
    partial = target.with_suffix(".partial")
    if target.exists():
        return target
    try:
        with urllib.request.urlopen(address, timeout=60) as answer, partial.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise EnvError(f"{address} cannot be fetched ({error}); {instructions(data, archives)}") from error
    partial.rename(target)
    return target


def _unpack(archives: Sequence[Path], data: Path) -> None:
    """Extract the games and their details only, rename them into place when complete, and remove the archives.

    Raises EnvError for a broken archive and removes it, so that the next run downloads it again.
    """
    partial = data / f"{RELEASE}.partial"
    shutil.rmtree(partial, ignore_errors=True)  # left by an interrupted run
    (partial / RELEASE).mkdir(parents=True)
    for archive in archives:
        try:
            with zipfile.ZipFile(archive) as content:
                content.extractall(partial, [name for name in content.namelist() if _is_wanted(PurePosixPath(name))])
        except zipfile.BadZipFile as error:
            archive.unlink()
            shutil.rmtree(partial, ignore_errors=True)
            raise EnvError(
                f"{archive} is broken ({error}) and was removed; run `stepcredit data alfworld` again"
            ) from error
    (partial / RELEASE).rename(data / RELEASE)
    partial.rmdir()
    for archive in archives:
        archive.unlink()


def _is_wanted(path: PurePosixPath) -> bool:
    """Whether this is json_2.1.1/SPLIT/task folder/trial folder/FILE with a split and a file that we need."""
    return len(path.parts) == 5 and path.parts[0] == RELEASE and path.parts[1] in SPLITS and path.name in _WANTED
