"""The user's own configuration: where it is looked for, what it may hold, which cluster follows."""

from pathlib import Path

import pytest
from encore.errors import EncoreError, RegistryError, UnknownNameError, UsageError
from encore.plan import user_config


def write(folder: Path, text: str) -> Path:
    file = folder / "config.yml"
    file.write_text(text)
    return file


def test_no_file_is_an_empty_configuration(tmp_path: Path) -> None:
    assert user_config.load(tmp_path / "none.yml") == user_config.UserConfig()


def test_it_is_read_from_the_xdg_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "encore").mkdir()
    write(tmp_path / "encore", "cluster: lumi\naccount: project_465000000\n")
    assert user_config.load() == user_config.UserConfig("lumi", "project_465000000")


def test_an_unknown_key_names_the_file_and_the_valid_keys(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"config.yml:1: unknown key 'acount'") as raised:
        user_config.load(write(tmp_path, "acount: x\n"))
    assert "account" in raised.value.hint


def test_an_unknown_folder_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError):
        user_config.load(write(tmp_path, "folders: {datas: /a}\n"))


@pytest.mark.parametrize(
    "path",
    [
        *("/a b", "/a;ls", "/a'b", '/a"b', "/a\nb", "/a,b", "/a:b", "/$HOME", "/`id`", "/a\\b"),
        *("", "~nosuchuser/x", "/a\0b", "/" + "a" * 256, "/a" * 1500),
    ],
)
def test_a_path_that_could_break_out_of_a_script_is_refused(path: str) -> None:
    with pytest.raises(UsageError):
        user_config.safe_path(path, "workspace")


def test_a_configuration_that_is_no_file_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "folder.yml").mkdir()
    (tmp_path / "broken.yml").symlink_to(tmp_path / "nothing")
    for name in ("folder.yml", "broken.yml"):
        with pytest.raises(RegistryError, match="is not a file"):
            user_config.load(tmp_path / name)


def test_a_user_without_a_home_has_no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    # as for a user id without an entry in the password file
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert user_config.load() == user_config.UserConfig()


def test_a_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert user_config.safe_path("x/../y", "workspace") == str(tmp_path / "y")


@pytest.mark.parametrize("account", ["", "a b", "a;ls", "-x", "a\n#SBATCH --x", "$(id)", "a" * 65])
def test_an_account_that_could_break_out_of_a_directive_is_refused(account: str) -> None:
    with pytest.raises(EncoreError):
        user_config.safe_name(account, "Slurm account")


@pytest.mark.parametrize(
    ("configured", "slurm_name", "expected"),
    [
        ("cuda", "lumi", "cuda"),
        (None, "leonardo", "leonardo"),
        (None, None, "lumi"),
        (None, "elsewhere", "lumi"),
    ],
)
def test_the_default_cluster(
    configured: str | None,
    slurm_name: str | None,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SLURM_CLUSTER_NAME", raising=False)
    conf = tmp_path / "slurm.conf"
    conf.write_text(f"# Slurm\nClusterName={slurm_name}\n" if slurm_name else "SlurmUser=root\n")
    monkeypatch.setenv("SLURM_CONF", str(conf))
    assert user_config.default_cluster(user_config.UserConfig(configured)) == expected


def test_a_guessed_cluster_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("SLURM_CLUSTER_NAME", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "none.conf"))
    with caplog.at_level("INFO"):
        user_config.default_cluster(user_config.UserConfig("cuda"))
        assert caplog.messages == []
        user_config.default_cluster(user_config.UserConfig())
    assert caplog.messages == [
        "no cluster configured: planning for lumi; set one with --cluster or in"
        f" {tmp_path}/encore/config.yml"
    ]
