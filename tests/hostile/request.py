"""Bad inputs of the options that every command has which plans a run."""

from pathlib import Path

from encore.plan import settings
from helpers.bad_inputs import CHOICE, ESCAPE, NAME, Kind, Row, row, spoiled

_AMOUNT = NAME.also(2, "-1", "nan", "many", ESCAPE)
_FOLDER = NAME.also(2, "~nosuchuser/x", "/a b", "/a:b", "/a,b", "/$(id)", "/a\nb", ESCAPE, "/ä")

KINDS = {
    "run": NAME.also(
        2, "x", "146m", "146m400m14b", "1b1", "0m0b0m", ESCAPE, "../x", "a\nb",
        "9" * 400 + "m14b400m", "146m14b400m-", "146m14b400mseed", "146m14b400mseedx",
        "١46m14b400m",
    ),
    "--cluster": CHOICE.also(2, "../lumi", "LUMI"),
    "--nodes": Kind({}),
    "--time": NAME.also(
        2, "0", "-1", "abc", "1:2:3:4", "00:00:00", "nan",
        "1e3", "00:00:01\n#SBATCH --wrap=id", ESCAPE, "9" * 400, "٣0:00:00",
    ),
    "--account": NAME.also(2, "a b", "-x", "$(id)", "a\nb", "é", "٣", "a" * 300, ESCAPE),
    "--objective": CHOICE,
    "--trainer": CHOICE.also(2, "a\nb"),
    "--workspace": _FOLDER,
    "--params": _AMOUNT,
    "--tokens": _AMOUNT,
    "--unique": _AMOUNT,
    "--set": Kind({}),
}  # fmt: skip


def setting_rows(line: str) -> tuple[Row, ...]:
    """Each key of --set with values that it must refuse, after a good line."""
    rows = [
        row(f"{line} --set lr", 2, "lr"),
        row(f"{line} --set", 2, "--set"),
        row(f"{line} --set =1", 2, "=1", "''"),
        row(f"{line} --set no_such=1", 2, "no_such"),
        row(f"{line} --set lr=1.0e-4 lr=2.0e-4", 2, "lr"),
        row(f"{line} --set lr=1.0e-4 --set lr=2.0e-4", 2, "lr"),
    ]
    for key in settings.KEYS.values():
        values = ["nan", "inf", "-1", "1e999", "9" * 400, "many", "٣", "1\n2"]
        if key.kind is str or key.kind is bool:
            values = ["a\nb", "$(id)", "a b", ESCAPE, "ä"]
        for value in ["", *values]:
            words = (*line.split(), "--set", f"{key.name}={value}")
            rows.append(Row(words, 2, (key.name,)))
    return tuple(rows)


def config_rows(line: str) -> tuple[Row, ...]:
    """Configurations of the user that cannot be used."""
    return (
        row(line, 1, "config.yml", XDG_CONFIG_HOME="config-folder"),
        row(line, 1, "config.yml", XDG_CONFIG_HOME="config-dangling"),
        row(line, 1, "config.yml", XDG_CONFIG_HOME="config-fifo"),
        row(line, 1, "config.yml", XDG_CONFIG_HOME="config-noise"),
        row(line, 1, "config.yml", XDG_CONFIG_HOME="config-deep"),
        row(line, 1, "config.yml", XDG_CONFIG_HOME="config-list"),
        row(line, 1, "config.yml:1", XDG_CONFIG_HOME="config-tag"),
        row(line, 1, "config.yml:1", XDG_CONFIG_HOME="config-unknown"),
        row(line, 1, "config.yml:2", XDG_CONFIG_HOME="config-twice"),
        row(line, 1, "config.yml:1", XDG_CONFIG_HOME="config-number"),
        row(line, 2, "folders", XDG_CONFIG_HOME="config-folders"),
        row(line, 2, "/a b", XDG_CONFIG_HOME="config-place"),
        row(line, 2, "nowhere", XDG_CONFIG_HOME="config-cluster"),
    )


def prepare(folder: Path) -> None:
    """The configurations of `config_rows`."""
    texts = {
        "noise": spoiled(b"")["noise"],
        "deep": b"[" * 5000,
        "list": b"- lumi\n",
        "tag": b"cluster: !!python/object/apply:os.system [id]\n",
        "unknown": b"clutser: lumi\n",
        "twice": b"cluster: lumi\ncluster: cuda\n",
        "number": b"cluster: 1\n",
        "folders": b"folders:\n  no-such: /x\n",
        "place": b"folders:\n  images: /a b\n",
        "cluster": b"cluster: nowhere\n",
    }
    for name, text in texts.items():
        home = folder / f"config-{name}" / "encore"
        home.mkdir(parents=True)
        (home / "config.yml").write_bytes(text)
    for name in ("folder", "dangling", "fifo"):
        (folder / f"config-{name}" / "encore").mkdir(parents=True)
    (folder / "config-folder" / "encore" / "config.yml").mkdir()
    (folder / "config-dangling" / "encore" / "config.yml").symlink_to("nowhere")
    (folder / "fifo").rename(folder / "config-fifo" / "encore" / "config.yml")
