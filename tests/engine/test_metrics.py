import json
from pathlib import Path

from tltrain.engine.metrics import MetricsLog


def _steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_a_resume_drops_the_rows_that_will_be_written_again(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, resumed_step=0)
    for step in range(5):
        log.write({"step": step})
    log.close()
    log = MetricsLog(path, resumed_step=3)
    log.write({"step": 3})
    log.close()
    assert _steps(path) == [0, 1, 2, 3]


def test_a_line_cut_by_a_kill_is_dropped(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\n{"step": 1, "lo')
    MetricsLog(path, resumed_step=2).close()
    assert _steps(path) == [0]
