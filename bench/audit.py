"""Throughput and memory of reading and auditing, beside json.loads on the same file in the same run.

    python bench/audit.py                       # 2,000 generated trajectories, 3 passes
    python bench/audit.py --data FILE.jsonl     # a file of one's own
    python bench/audit.py --rows 1000000        # as many rows, made from generated ones with other ids and values

Rows per second are over CPU time of this one process. Resident memory is read as the rows go through.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from tltrain.audit.config import AuditConfig
from tltrain.audit.feedback import forget_verdicts
from tltrain.audit.run import audit
from tltrain.audit.summary import Tally
from tltrain.files import atomic_file, encode_line
from tltrain.formats.openai_chat import row_from_trajectory
from tltrain.formats.read import iterate_trajectories
from tltrain.generate.config import GenerateConfig
from tltrain.generate.run import perform, plan_jobs
from tltrain.generate.scripted import ScriptedTeacher
from tltrain.types import Trajectory

_PAGE = resource.getpagesize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="JSON Lines of trajectories; generated if not given")
    parser.add_argument("--rows", type=int, default=2000, help="rows to generate")
    parser.add_argument("--passes", type=int, default=3, help="times to measure; the best counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or make_rows(Path(folder) / "data.jsonl", options.rows)
        compare(data, Path(folder), options.passes)


def make_rows(path: Path, num_rows: int) -> Path:
    """Generated trajectories, repeated with other ids and other digits in their feedback until there are enough."""
    jobs, _ = plan_jobs(GenerateConfig(num_train=min(num_rows, 500), num_test=0, seed=1))
    teacher = ScriptedTeacher(mistake_rate=0.17, silent_share=0.1, seed=1)
    texts = [json.dumps(row_from_trajectory(perform(job, teacher)), ensure_ascii=False) for job in jobs]
    with atomic_file(path) as file:
        for number in range(num_rows):
            row = json.loads(texts[number % len(texts)])
            row["id"] = f"row-{number}"
            for message in row["messages"]:
                if message["role"] == "tool":
                    message["content"] = message["content"].replace("1", str(number))
            file.write(encode_line(row).encode())
    return path


def compare(data: Path, folder: Path, passes: int) -> None:
    num_rows = sum(1 for _ in data.open("rb"))
    size = data.stat().st_size
    print(f"{num_rows:,} rows, {size / 2**20:,.1f} MiB; resident before: {resident_mib():,.0f} MiB")
    plain = measure(lambda: load_all(data), passes)
    read = measure(lambda: read_all(data), passes)
    judged = measure(lambda: judge_all(data), passes)
    whole = measure(lambda: audit_all(data, folder / "out"), passes)
    for name, seconds in (
        ("json.loads", plain),
        ("read", read),
        ("read + audit", judged),
        ("read + audit + write", whole),
    ):
        print(f"{name:<22} {num_rows / seconds:>10,.0f} rows/s  {plain / seconds:6.2f} of json.loads")
    print(f"resident after: {resident_mib():,.0f} MiB; at most {peak_mib():,.0f} MiB")


def measure(work: Callable[[], object], passes: int) -> float:
    """The shortest CPU time, in seconds."""
    times = []
    for _ in range(passes):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def load_all(data: Path) -> None:
    with data.open("rb") as file:
        for line in file:
            json.loads(line)


def read_all(data: Path) -> None:
    for item in watched(iterate_trajectories(data)):
        assert isinstance(item, Trajectory), item


def judge_all(data: Path) -> None:
    forget_verdicts()
    config = AuditConfig()
    auditor, tally = config.auditor(), Tally(config.block)
    rows = iterate_trajectories(data)
    while group := [row for row in islice(rows, 16) if isinstance(row, Trajectory)]:
        for trajectory, verdicts in zip(group, [auditor.judge(row) for row in group], strict=True):
            tally.add(trajectory, verdicts)


def audit_all(data: Path, out: Path) -> None:
    forget_verdicts()
    audit(AuditConfig(), data, out)


def watched(items: Iterator[object]) -> Iterator[object]:
    """The items, with resident memory printed at each tenth of a million."""
    for number, item in enumerate(items, start=1):
        if number % 100_000 == 0:
            print(f"  {number:,} rows read: {resident_mib():,.0f} MiB")
        yield item


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE / 2**20


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


if __name__ == "__main__":
    main()
