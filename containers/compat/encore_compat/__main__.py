"""Print what is changed for the forks, why, and where they need it: `python -m encore_compat`."""

from encore_compat.entries import ENTRIES

for entry in ENTRIES:
    print(f"{entry.name}\n  why:   {entry.why}\n  where: {'; '.join(entry.where)}")
