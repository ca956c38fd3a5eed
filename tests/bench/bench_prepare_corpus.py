"""Rate of `prepare_corpus.py tokenize` against bare gigatoken and a loop like Megatron's own tool.

Aims: at least 0.6 of bare gigatoken, and 40 times preprocess_data_many_cores.py. That tool is
represented by a loop over `tokenizers`: processes that each take a line, encode it, and turn the
list of ids into an array and bytes (source: TurkuNLP 6732bc9; with --workers N it has one process
that reads and N - 1 that encode). Rates are MB of jsonl per second of a whole process, with its
imports and its loading of GPT-2's tokenizer; bare gigatoken's is also given for its encode_files()
alone, with nothing checked, hashed or written around it. All are timed in every round, and medians
of rates and of ratios are printed, since a busy machine slows the parts of a round alike.

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
    """Windows of 1 to 5 kB of the standard library's prose and code.

    One word in fifty gets a random end: no tokenizer can have met it before.
    """
    rng = random.Random(0)
    texts = list(topics.values())
    for source in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        if "site-packages" not in source.parts:
            texts.append(source.read_text(encoding="utf-8", errors="ignore"))
    texts = [text for text in texts if text.strip()]
    remaining = size_mb * 1e6
    with open(path, "w", encoding="utf-8") as out:
        while remaining > 0:
            text = rng.choice(texts)
            start = rng.randrange(len(text))
            words = text[start : start + rng.randint(1000, 5000)].split(" ")
            for _ in range(len(words) // 50):
                words[rng.randrange(len(words))] += f"{rng.getrandbits(24):x}"
            record = {"text": " ".join(words) or "-", "url": f"https://example.org/{remaining}"}
            remaining -= out.write(json.dumps(record) + "\n")


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
    """MB/s of each, and peak memory of prepare_corpus.py in MB."""
    corpus = folder / "corpus.jsonl"
    part = folder / "part.jsonl"
    tokenizer = str(folder / "gpt2.json")
    size_mb = corpus.stat().st_size / 1e6
    part_mb = part.stat().st_size / 1e6
    seconds, memory_mb, _ = measured(
        [
            *(sys.executable, str(_ROOT / "tools" / "prepare_corpus.py"), "tokenize", str(corpus)),
            *("--tokenizer", str(_GPT2), "--append-eod", "--output-prefix", str(folder / "out")),
        ]
    )
    bare_seconds, _, call_seconds = measured([sys.executable, "-c", _BARE, str(corpus), tokenizer])
    result = {
        "ours": size_mb / seconds,
        "bare": size_mb / bare_seconds,
        "bare call": size_mb / float(call_seconds),
        "memory": memory_mb,
    }
    for processes in (1, 2):
        loop = [sys.executable, "-c", _LOOP, str(part), tokenizer, str(processes)]
        loop_seconds, _, _ = measured(loop)
        result[f"loop {processes}"] = part_mb / loop_seconds
    return result


def main() -> None:
    """Run the rounds, print the medians and the ratios."""
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

    def median(key: str) -> float:
        return statistics.median(results[key] for results in rounds)

    def line(title: str, key: str) -> str:
        ratio = statistics.median(results["ours"] / results[key] for results in rounds)
        return f"{title:32} {median(key):7.1f} MB/s, ours is {ratio:.2f} times that"

    memory_mb = max(results["memory"] for results in rounds)
    print(
        f"{'prepare_corpus.py tokenize':32} {median('ours'):7.1f} MB/s,"
        f" at most {memory_mb:.0f} MB of memory"
    )
    print(line("gigatoken, whole process", "bare"))
    print(line("gigatoken, encode_files() alone", "bare call"))
    print(line("tokenizers, 1 process encoding", "loop 1"))
    print(line("tokenizers, 2 processes encoding", "loop 2"))


if __name__ == "__main__":
    main()
