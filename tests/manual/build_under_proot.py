"""Run a definition's %files, %post and %test under PRoot, as SingularityCE does for users of LUMI;
print PASS or FAIL.

    tests/manual/build_under_proot.py --base base.sif
    tests/manual/build_under_proot.py --base base.sif --image cpu \\
      --wheels ~/.cache/encore/wheels/python3.11-0123456789

--base is an image file as playbooks/setup_local.yml makes it. Where SingularityCE itself cannot be
had, this shows what its way of building asks of a definition: no root, no user namespace, system
calls rewritten by PRoot.

Exit code 0: PASS; 1: FAIL. Needs proot and unsquashfs; run it as an ordinary user.
source: SingularityCE 4.1 user guide, "Unprivileged PRoot builds"
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from encore.images.definition import load_definition  # noqa: E402

_BINDS = ("/dev", "/proc", "/sys", "/etc/resolv.conf", "/etc/hosts")


def unpack(base: Path, rootfs: Path) -> None:
    """The file system of an image file, which starts where squashfs's magic does."""
    content = base.read_bytes()
    offset = re.search(rb"hsqs", content)
    if offset is None:
        raise SystemExit(f"error: {base} holds no squashfs")
    subprocess.run(
        ["unsquashfs", "-q", "-n", "-o", str(offset.start()), "-d", rootfs, base], check=True
    )


def filled(text: str, arguments: dict[str, str]) -> str:
    """A section with its {{ arguments }}."""
    return re.sub(r"\{\{ *(\w+) *\}\}", lambda match: arguments[match[1]], text)


def copy_files(section: str, rootfs: Path) -> None:
    """What %files names, each with its place in the image."""
    for line in section.strip().splitlines():
        source, target = line.split()
        place = rootfs / target.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        origin = ROOT / source
        shutil.copytree(origin, place, dirs_exist_ok=True) if origin.is_dir() else shutil.copy(
            origin, place
        )


def run(rootfs: Path, script: str) -> int:
    """A section's shell under PRoot, with the ids of root."""
    binds = [word for path in _BINDS if Path(path).exists() for word in ("-b", path)]
    command = ["proot", "-0", "-r", str(rootfs), *binds, "-w", "/", "/bin/sh", "-ec", script]
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return subprocess.run(
        command, env={"PATH": path, "HOME": "/root", "LC_ALL": "C"}, check=False
    ).returncode


def main() -> int:
    """Build and test; 0 when both went well."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=Path, required=True, help="an image file to start from")
    parser.add_argument("--image", default="cpu", help="default: cpu")
    parser.add_argument(
        "--wheels", type=Path, help="wheels to install from, as tools/build_image.py fetches them"
    )
    args = parser.parse_args()
    definition = load_definition(args.image)
    arguments = definition.arguments | (
        {"wheels": str(args.wheels.expanduser())} if args.wheels else {}
    )
    sections = {name: filled(text, arguments) for name, text in definition.sections.items()}
    with tempfile.TemporaryDirectory(dir=args.base.parent, prefix=".proot-") as where:
        rootfs = Path(where) / "rootfs"
        unpack(args.base, rootfs)
        copy_files(sections["files"], rootfs)
        for name, script in (
            ("post", sections["post"]),
            ("test", sections["environment"] + sections["test"]),
        ):
            if code := run(rootfs, script):
                print(f"FAIL  {args.image}: %{name} ended with exit code {code} under PRoot")
                return 1
    print(f"PASS  {args.image}: %post and %test under PRoot")
    return 0


if __name__ == "__main__":
    sys.exit(main())
