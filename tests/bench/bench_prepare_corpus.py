"""Rate of `prepare_corpus.py tokenize` against bare gigatoken and a loop like Megatron's own tool, in one run.

Aims: at least 0.6 of bare gigatoken, and 40 times preprocess_data_many_cores.py. For that tool stands a loop over
`tokenizers`: processes that each take a line, encode it, and turn the list of ids into an array and bytes (source:
TurkuNLP 6732bc9; with --workers N it has one process that reads and N - 1 that encode). Rates are MB of jsonl per
second of a whole process, with its imports and its loading of GPT-2's tokenizer; bare gigatoken's is also given for its
encode_files() alone, with nothing checked, hashed or written around it. Each is the median of the rounds, and so is
each ratio, since a busy machine slows the parts of a round alike.

    python tests/bench/bench_prepare_corpus.py                400 MB, three rounds
    python tests/bench/bench_prepare_corpus.py --mb 2000      to see that memory stays the same
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from pydoc_data.topics import topics

_ROOT = Path(__file__).resolve().parents[2]
_GPT2 = _ROOT / "tests" / "data" / "gpt2"
_LOOP_MB = 6

_BARE = """
import sys, time, gigatoken
tokenizer = gigatoken.Tokenizer(sys.argv[2])
start = time.perf_counter()
tokenizer.encode_files(gigatoken.JsonlFileSource([sys.argv[1]]))
print(time.perf_counter() - start)
"""

_LOOP = """
import json, multiprocessing, os, sys
os.environ["TOKENIZERS_PARALLELISM"] = "false"
import numpy as np, tokenizers
def work(share):
    tokenizer = tokenizers.Tokenizer.from_file(sys.argv[2])
    with open(sys.argv[1], encoding="utf-8") as lines, open(os.devnull, "wb") as out:
        for number, line in enumerate(lines):
            if number % int(sys.argv[3]) == share:
                ids = tokenizer.encode(json.loads(line)["text"]).ids
                ids.append(50256)
                out.write(np.array(ids, dtype=np.int32).astype(np.uint16).tobytes())
if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(int(sys.argv[3])) as pool:
        pool.map(work, range(int(sys.argv[3])))
"""


def write_corpus(path: Path, size_mb: float) -> None:
    """Prose and code of the standard library in windows of 1 to 5 kB, one word in fifty made new."""
    rng = random.Random(0)
    library = Path(sysconfig.get_paths()["stdlib"])
    sources = [path for path in sorted(library.rglob("*.py")) if "site-packages" not in path.parts]
    texts = [
        *topics.values(),
        *(path.read_text(encoding="utf-8", errors="ignore") for path in sources),
    ]
    texts = [text for text in texts if text.strip()]
    left = size_mb * 1e6
    with open(path, "w", encoding="utf-8") as out:
        while left > 0:
            text = rng.choice(texts)
            start = rng.randrange(len(text))
            words = text[start : start + rng.randint(1000, 5000)].split(" ")
            for _ in range(len(words) // 50):
                words[rng.randrange(len(words))] += f"{rng.getrandbits(24):x}"
            left -= out.write(
                json.dumps({"text": " ".join(words) or "-", "url": f"https://example.org/{left}"})
                + "\n"
            )


def measured(command: list[str]) -> tuple[float, float, str]:
    """Seconds, peak memory in MB and output of a command."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command} failed")
    return time.perf_counter() - start, usage.ru_maxrss / 1024, output


def one_round(folder: Path) -> dict[str, float]:
    """MB/s of each, and peak memory of ours."""
    corpus, part, tokenizer = (
        folder / "corpus.jsonl",
        folder / "part.jsonl",
        str(folder / "gpt2.json"),
    )
    size, part_size = corpus.stat().st_size / 1e6, part.stat().st_size / 1e6
    ours = [
        "tokenize",
        str(corpus),
        "--tokenizer",
        str(_GPT2),
        "--append-eod",
        "--output-prefix",
        str(folder / "out"),
    ]
    seconds, memory, _ = measured(
        [sys.executable, str(_ROOT / "tools" / "prepare_corpus.py"), *ours]
    )
    bare_seconds, _, encoding = measured([sys.executable, "-c", _BARE, str(corpus), tokenizer])
    result = {
        "ours": size / seconds,
        "bare": size / bare_seconds,
        "bare call": size / float(encoding),
    }
    for processes in (1, 2):
        loop = [sys.executable, "-c", _LOOP, str(part), tokenizer, str(processes)]
        result[f"loop {processes}"] = part_size / measured(loop)[0]
    return result | {"memory": memory}


def main() -> None:
    """Interleave all, print the medians and the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mb", type=float, default=400, help="size of the corpus")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    sys.path.insert(0, str(_ROOT / "tools"))
    from encore.tokens.tokenizer import load

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_corpus(folder / "corpus.jsonl", args.mb)
        write_corpus(folder / "part.jsonl", _LOOP_MB)
        load(str(_GPT2)).backend.save(str(folder / "gpt2.json"))
        rounds = [one_round(folder) for _ in range(args.rounds)]

    def rate(key: str) -> str:
        ratio = statistics.median(each["ours"] / each[key] for each in rounds)
        return f"{statistics.median(each[key] for each in rounds):7.1f} MB/s, ours is {ratio:.2f} times that"

    memory = max(each["memory"] for each in rounds)
    print(
        f"prepare_corpus.py tokenize       {statistics.median(each['ours'] for each in rounds):7.1f} MB/s",
        end="",
    )
    print(f", at most {memory:.0f} MB of memory")
    print(f"gigatoken, whole process         {rate('bare')}")
    print(f"gigatoken, encode_files() alone  {rate('bare call')}")
    print(f"tokenizers, 1 process encoding   {rate('loop 1')}")
    print(f"tokenizers, 2 processes encoding {rate('loop 2')}")


if __name__ == "__main__":
    main()
