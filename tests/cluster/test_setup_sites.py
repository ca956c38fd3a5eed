"""setup_lumi.yml and setup_cuda.yml, applied by an ordinary user: the local Slurm, a folder and an
image stand in.
"""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
from encore import files
from encore.images import record as images
from encore.plan import run_paths, user_config
from encore.registry.images import load_images
from encore.registry.tokenizers import load_tokenizers
from helpers.local_machine import LocalSlurm, Play, options


@dataclasses.dataclass(frozen=True)
class Site:
    """A cluster's file systems below one folder, a fork's repository, and an image, all on this
    machine.
    """

    folder: Path
    image: Path
    digest: str
    commit: str
    slurm: LocalSlurm
    kit: Path

    def variables(self, **changes: Any) -> dict[str, Any]:
        """What stands in for the cluster: names and places, nothing else."""
        return {
            "site_cluster": self.slurm.cluster,
            "site_workspace": f"{self.folder}/scratch/encore",
            "site_folders": {
                "images": f"{self.folder}/projappl/images",
                "caches": f"{self.folder}/flash/caches",
            },
            "site_least_free_gib": 1,
            "kit_extras": ["hub"],
            "image_source": str(self.image),
            "image_digest": self.digest,
            "fork_trainer": "turkunlp",
            "fork_repository": f"{self.folder}/fork.git",
            "fork_commits": {"causal": self.commit},
            "tokenizer_sources": {"gpt2": f"file://{self.kit}/tests/data/gpt2"},
            "doctor_skip": ["data", "hub"],
            "doctor_run": "7m100m100m",
            "doctor_options": ["--set", "gpus_per_node=1"],
        } | changes

    def play(self, playbook: str, *arguments: str, slurm_conf: str = "", **changes: Any) -> Play:
        """Apply a playbook as the ordinary user; `slurm_conf` is another place of Slurm's
        configuration.
        """
        command = [self.kit / ".venv/bin/ansible-playbook", f"playbooks/{playbook}"]
        environment = {"XDG_CONFIG_HOME": str(self.folder)} | (
            {"SLURM_CONF": slurm_conf} if slurm_conf else {}
        )
        done = self.slurm.user.run(
            *command, *options(arguments, self.variables(**changes)), cwd=self.kit, **environment
        )
        return Play(done.returncode, done.stdout + done.stderr)


@pytest.fixture
def site(local_slurm: LocalSlurm, users_folder: Path, users_kit: Path) -> Site:
    """A site with nothing set up yet."""
    user = local_slurm.user
    image = users_folder / "given.sif"
    shutil.copy(local_slurm.base, image)
    user.own(users_folder)
    assert (
        user.run(
            "git", "clone", "--quiet", "--bare", users_kit, users_folder / "fork.git"
        ).returncode
        == 0
    )
    commit = user.run("git", "-C", users_folder / "fork.git", "rev-parse", "HEAD").stdout.strip()
    return Site(
        users_folder, image, f"sha256:{files.sha256(image)}", commit, local_slurm, users_kit
    )


def render_and_test(site: Site, name: str, *arguments: str) -> str:
    """What Slurm says to the script that the user renders with these options alone."""
    own = {"XDG_CONFIG_HOME": str(site.folder)}
    render = [site.kit / ".venv/bin/python", "tools/render_sbatch.py", name, *arguments]
    script = site.slurm.user.run(*render, cwd=site.kit, **own)
    assert script.returncode == 0, script.stderr
    done = site.slurm.user.run("sbatch", "--test-only", text=script.stdout, **own)
    assert done.returncode == 0, done.stderr
    return script.stdout


def test_setup_lumi_makes_a_site_ready_and_a_second_run_changes_nothing(site: Site) -> None:
    assert site.play("setup_lumi.yml", "--check").ok().changed > 0
    assert sorted(path.name for path in site.folder.iterdir()) == ["fork.git", "given.sif"]

    first = site.play("setup_lumi.yml").ok()
    assert first.changed > 0 and "✓  account" in first.output and "✗" not in first.output
    config = user_config.load(site.folder / "encore/config.yml")
    assert (config.cluster, config.account) == (site.slurm.cluster, site.slurm.account)
    assert config.workspace == f"{site.folder}/scratch/encore"
    for kind in run_paths.FOLDER_KINDS:
        assert Path(config.folders.get(kind, f"{config.workspace}/{kind}")).is_dir()
    image = site.folder / "projappl/images" / load_images()["cpu"].file
    assert f"sha256:{files.sha256(image)}" == site.digest
    fork = site.folder / "scratch/encore/trainers/turkunlp-causal"
    assert site.slurm.user.run("git", "-C", fork, "rev-parse", "HEAD").stdout.strip() == site.commit
    for name, digest in load_tokenizers()["gpt2"].files.items():
        assert files.sha256(site.folder / "scratch/encore/tokenizers/gpt2" / name) == digest
    assert str(image) in render_and_test(site, "7m100m100m", "--set", "gpus_per_node=1")

    assert site.play("setup_lumi.yml").ok().changed == 0
    assert site.play("setup_lumi.yml", "--check").ok().changed == 0


def test_setup_cuda_makes_a_site_ready_with_a_copy_of_the_kit(site: Site) -> None:
    there = {
        "site_cluster": "cuda",
        "fork_trainer": "bigscience",
        "kit_folder": f"{site.folder}/copy",
    }
    assert site.play("setup_cuda.yml", **there).ok().changed > 0
    assert (site.folder / "projappl/images" / load_images()["cuda"].file).is_file()
    assert (site.folder / "copy/tools/render_sbatch.py").is_file()
    (site.folder / "copy/tools/left_over.py").touch()
    assert site.play("setup_cuda.yml", **there).ok().changed == 0

    committed = [
        "git",
        "-c",
        "user.name=x",
        "-c",
        "user.email=x@localhost",
        "commit",
        "--quiet",
        "--allow-empty",
    ]
    assert site.slurm.user.run(*committed, "--message=Later", cwd=site.kit).returncode == 0
    assert site.play("setup_cuda.yml", **there).ok().changed > 0
    assert not (site.folder / "copy/tools/left_over.py").exists()


def test_setup_lumi_builds_the_image_with_a_copy_of_the_kit(site: Site) -> None:
    build = {
        "image_source": "build",
        "image_build_arguments": ["--build-arg", f"base={site.slurm.base}"],
    }
    there = {
        "kit_folder": f"{site.folder}/copy",
        "kit_extras": ["hub", "images"],
        "image_digest": "",
    }
    site.play("setup_lumi.yml", **build, **there).ok()
    record = images.read_record(site.folder / "projappl/images" / load_images()["cpu"].file)
    assert record is not None and record.base == str(site.slurm.base)
    assert site.play("setup_lumi.yml", **build, **there).ok().changed == 0


def test_setup_cuda_with_pyxis_takes_a_squashfs_image(site: Site) -> None:
    given = site.folder / "given.sqsh"
    assert site.slurm.user.run("mksquashfs", site.kit / "registry", given, "-quiet").returncode == 0
    pyxis = {
        "site_cluster": "cuda-pyxis",
        "fork_trainer": "deepspeedai",
        "image_source": str(given),
    }
    pyxis |= {"image_digest": f"sha256:{files.sha256(given)}"}
    # this Slurm has no pyxis, which the doctor would say
    site.play("setup_cuda.yml", **pyxis, doctor_skip=["data", "hub", "runtime"]).ok()
    placed = site.folder / "projappl/images" / str(load_images()["cuda"].squashfs)
    assert placed.read_bytes() == given.read_bytes()
    assert "--container-image" in render_and_test(site, "7m100m100m", "--set", "gpus_per_node=1")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            {"site_cluster": "lumo"},
            'unknown cluster profile "lumo"; set site_cluster to one of cuda, cuda-pyxis',
        ),
        ({"site_cluster": "local"}, "the profile local has no Slurm or no containers"),
        ({"site_cluster": "lumi"}, "this Slurm is lumi-local, but the profile lumi is for lumi"),
        (
            {"site_account": "project_400000000"},
            '"project_400000000" is not one of your accounts; set site_account to one',
        ),
        ({"site_account": "x; ls"}, "is not one of your accounts"),
        ({"site_folders": {"pictures": "/tmp"}}, "for the kinds data, tokenizers, images"),
        ({"site_folders": "/tmp"}, "must map kinds of files to folders"),
        ({"site_workspace": "/not-mounted/encore"}, "cannot be created or written"),
        ({"site_workspace": "/tmp/a folder"}, "cannot be used in a job script"),
        ({"site_least_free_gib": 10**9}, "1000000000 GiB and 10000 files are needed"),
        ({"site_least_free_gib": "50"}, "-e name=value passes text"),
        ({"kit_python": "/bin/true-not"}, "/bin/true-not is not a Python from 3.10 to 3.13"),
        ({"kit_extras": "hub"}, "kit_extras a list of extras"),
        ({"image_name": "gpu"}, "unknown image gpu; set image_name to one of rocm, cuda, cpu"),
        ({"image_source": "given.sif"}, "must be an absolute path, a URL or build"),
        ({"image_digest": "sha256:12"}, "64 hexadecimal digits"),
        (
            {"fork_trainer": "turku"},
            "unknown trainer turku; set fork_trainer to one of turkunlp",
        ),
        ({"fork_objectives": ["t5"]}, "it must be a list of turkunlp's objectives"),
        ({"fork_commits": {"causal": "main"}}, "give all 40 digits"),
        ({"tokenizer_names": ["gpt3"]}, "tokenizer gpt3 has no hashes"),
        ({"tokenizer_sources": {"gpt2": "/tmp"}}, "or no URL in tokenizer_sources"),
        ({"hub_login_required": "yes"}, "hub_login_required is yes, not true or false"),
        ({"user_config_file": "config.yml"}, "set it to an absolute path that ends in .yml"),
        ({"doctor_skip": "hub"}, "doctor_skip and doctor_options must be lists"),
    ],
)
def test_a_wrong_variable_of_a_site_is_a_clear_line(
    site: Site, variables: dict[str, Any], said: str
) -> None:
    refusal = site.play("setup_lumi.yml", **variables).refusal()
    assert said in refusal
    assert sorted(path.name for path in site.folder.iterdir()) == ["fork.git", "given.sif"]


def test_a_slurm_that_is_down_is_a_clear_line(site: Site) -> None:
    down = site.play("setup_lumi.yml", slurm_conf=f"{site.folder}/slurm.conf")
    assert "Slurm does not answer on localhost" in down.refusal()


def test_an_image_of_another_digest_is_not_put_in_place(site: Site) -> None:
    wrong = site.play("setup_lumi.yml", image_digest=f"sha256:{'0' * 64}")
    assert wrong.returncode != 0 and f"is {site.digest}, not sha256:0000" in wrong.words
    assert list((site.folder / "projappl/images").iterdir()) == []


def test_an_image_that_is_nowhere_is_a_clear_line(site: Site) -> None:
    missing = site.play("setup_lumi.yml", image_source="")
    assert (
        missing.returncode != 0
        and "set image_source to a file, to a URL to pull from, or to build"
        in " ".join(missing.output.split())
    )


def test_tokenizer_files_of_other_content_are_refused(site: Site) -> None:
    other = site.slurm.user.own(site.folder / "other")
    for name in ("vocab.json", "merges.txt"):
        (other / name).write_text("{}", encoding="utf-8")
    refused = site.play("setup_lumi.yml", tokenizer_sources={"gpt2": f"file://{other}"})
    assert refused.returncode != 0 and "checksum" in refused.output
    assert list((site.folder / "scratch/encore/tokenizers/gpt2").iterdir()) == []
