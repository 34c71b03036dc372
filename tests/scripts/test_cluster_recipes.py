"""The recipes for several nodes and the images: valid for what is installed, and all of them start the README's run."""

import os
import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from packaging.requirements import Requirement
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.symmetric_run import curate_and_validate_ray_start_args

ROOT = Path(__file__).parents[2]
SLURM, RAY_UP, KUBERAY = (
    ROOT / "scripts" / name for name in ("slurm/train.sbatch", "cluster/ray-up.yaml", "cluster/kuberay.yaml")
)
RAY = Path(sys.executable).with_name("ray")
DOCKERFILE = ROOT / "docker" / "Dockerfile"
COMMAND = next(
    line
    for line in (ROOT / "README.md").read_text().replace("\\\n  ", "").splitlines()
    if line.startswith("stepcredit train") and "cluster.address" in line
)
GPUS = int(re.findall(r"cluster\.gpus=(\d+)", COMMAND)[0])
LOGGED = """#!/bin/sh
echo "$RAY_AUTH_MODE: $(basename "$0") $*" >>calls
"""
SRUN = """#!/bin/sh
while [ "${1#--}" != "$1" ]; do echo "srun $1" >>calls; shift; done
"$@"
"""


@pytest.mark.parametrize("recipe", [SLURM, RAY_UP, KUBERAY], ids=lambda recipe: recipe.name)
def test_a_recipe_starts_the_run_of_the_readme(recipe: Path) -> None:
    assert COMMAND in recipe.read_text()


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def submit(folder: Path, *words: str) -> list[str]:
    """What the SLURM script calls on a first node n1 whose address is 10.0.0.7."""
    bin_folder = folder / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "activate").write_text(f'PATH="{bin_folder}:$PATH"\n')
    program(bin_folder, "scontrol", "#!/bin/sh\nprintf 'n1\\nn2\\n'\n")
    program(bin_folder, "hostname", "#!/bin/sh\necho '10.0.0.7 192.168.1.1'\n")
    program(bin_folder, "srun", SRUN)
    program(bin_folder, "ray", LOGGED)
    env = {**os.environ, "SLURM_SUBMIT_DIR": str(folder), "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_NUM_NODES": "2"}
    env |= {"SLURM_CPUS_PER_TASK": "32", "HOME": str(folder)}
    subprocess.run(["bash", str(SLURM), *words], env=env, check=True)
    return (folder / "calls").read_text().splitlines()


def test_slurm_starts_ray_on_all_nodes_at_the_first_ones_address_and_then_the_command(tmp_path: Path) -> None:
    calls = submit(tmp_path)
    assert calls[-1] == f"token: ray symmetric-run --address 10.0.0.7:6379 --min-nodes 2 -- {COMMAND}"
    assert calls[:3] == ["srun --nodes=1", "srun --ntasks=1", "srun --nodelist=n1"]
    assert calls[3].endswith(": ray get-auth-token --generate")  # before Ray starts
    assert calls[4:8] == ["srun --nodes=2", "srun --ntasks=2", "srun --cpus-per-task=32", "srun --kill-on-bad-exit"]
    words = shlex.split(calls[-1])[3:]
    assert curate_and_validate_ray_start_args(words[: words.index("--")]) == []  # nothing that Ray does not know


def test_the_locked_packages_of_gpus_hold_what_rays_dashboard_and_agents_import() -> None:
    locked = set(re.findall(r"^([\w-]+)==", (ROOT / "lock-gpu.txt").read_text(), re.MULTILINE))
    wanted = [Requirement(line) for line in metadata.requires("ray") or []]
    names = {
        one.name.lower().replace("_", "-") for one in wanted if one.marker and one.marker.evaluate({"extra": "default"})
    }
    assert len(names) > 5
    assert names <= locked


def test_slurm_starts_another_command_where_one_is_given(tmp_path: Path) -> None:
    assert submit(tmp_path, "stepcredit", "warmstart")[-1].endswith("-- stepcredit warmstart")


def test_slurm_asks_for_as_many_gpus_as_the_run() -> None:
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", SLURM.read_text(), re.MULTILINE))
    assert int(asked["nodes"]) * int(asked["gpus-per-node"]) == GPUS
    assert asked["ntasks-per-node"] == "1"


def test_ray_up_takes_its_file() -> None:
    config = prepare_config(yaml.safe_load(RAY_UP.read_text()))
    validate_config(config)
    commands = " ".join([*config["head_start_ray_commands"], *config["worker_start_ray_commands"]])
    known = subprocess.run([RAY, "start", "--help"], capture_output=True, text=True, check=True).stdout
    assert {f"--{option}" for option in re.findall(r" --([\w-]+)", commands)} <= set(re.findall(r"--[\w-]+", known))


def pods(manifest: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """Each kind of pod and how many there are."""
    cluster = manifest["spec"]["rayClusterSpec"]
    groups = [(1, cluster["headGroupSpec"]), *((group["replicas"], group) for group in cluster["workerGroupSpecs"])]
    return [(count, group["template"]["spec"]) for count, group in groups]


def test_kuberay_runs_the_locked_ray_in_our_image_with_the_gpus_of_the_run_and_room_in_shared_memory() -> None:
    manifest = yaml.safe_load(KUBERAY.read_text())
    assert (manifest["apiVersion"], manifest["kind"], manifest["spec"]["entrypoint"]) == (
        "ray.io/v1",
        "RayJob",
        COMMAND,
    )
    assert manifest["spec"]["rayClusterSpec"]["rayVersion"] == ray.__version__
    gpus = 0
    for count, pod in pods(manifest):
        (container,) = pod["containers"]
        assert f"-t {container['image']} " in DOCKERFILE.read_text()
        gpus += count * int(container["resources"]["limits"].get("nvidia.com/gpu", 0))
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert mounts.keys() == volumes.keys()
        assert volumes["shm"]["emptyDir"]["medium"] == "Memory"
        assert COMMAND.partition("output=")[2].startswith(mounts["shared"])
    assert gpus == GPUS


def instructions(kind: str) -> list[str]:
    """The lines of the Dockerfile of one kind, without the word."""
    return [line.partition(" ")[2] for line in DOCKERFILE.read_text().splitlines() if line.startswith(f"{kind} ")]


def test_an_image_is_built_by_the_install_command_alone_and_runs_as_no_root() -> None:
    install, apt, user = instructions("RUN")
    assert install == "STEPCREDIT_LOCK=$LOCK scripts/install"
    assert apt.startswith("apt-get update && apt-get install -y --no-install-recommends ")
    assert user == "useradd --create-home --uid 1000 stepcredit"
    assert instructions("USER") == ["1000"]


def test_an_image_has_all_that_the_installation_reads() -> None:
    copied = {word for line in instructions("COPY") if not line.startswith("--") for word in line.split()[:-1]}
    pyproject = (ROOT / "pyproject.toml").read_text()
    (packages,) = re.findall(r"\[tool.setuptools.packages.find\]\ninclude = \[(.*?)\]", pyproject, re.DOTALL)
    assert {name for name in re.findall(r'"(\w+)"', packages)} | {"scripts", "README.md", "pyproject.toml"} <= copied
    assert {"lock-cpu.txt", "lock-gpu.txt"} <= copied
    assert all((ROOT / name).exists() for name in copied)
