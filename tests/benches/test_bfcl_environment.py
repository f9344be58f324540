import os
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import pytest

from tltrain.benches.bfcl_environment import (
    VARIABLE,
    BfclEnvironment,
    EnvironmentLostError,
    Session,
    resolve_bfcl_python,
)
from tltrain.errors import UsageError

FAKE = Path(__file__).with_name("bfcl_fake_worker.py")
ENTRY = {"id": "multi_turn_base_0", "initial_config": {"MathAPI": {"start": 0}}, "involved_classes": ["MathAPI"]}


@pytest.fixture
def environment():
    with closing(BfclEnvironment(Path(sys.executable), worker=FAKE, timeout_s=20)) as made:
        yield made


def worker(tmp_path, source):
    path = tmp_path / "worker.py"
    path.write_text(textwrap.dedent(source))
    return BfclEnvironment(Path(sys.executable), worker=path, timeout_s=20)


def add(by):
    return [{"add": f'{{"by": {by}}}'}]


def test_sessions_keep_their_state_apart(environment):
    first, second = Session(environment, "1", ENTRY), Session(environment, "2", ENTRY)
    assert first.execute(add(2)) == ["2"]
    assert second.execute(add(5)) == ["5"]
    assert first.execute([*add(1), *add(1)]) == ["3", "4"]
    assert first.execute("no call") is None
    first.close()
    assert environment.ask("sums") == {"2": 5}


def test_a_session_outlives_the_process(environment):
    first, second = Session(environment, "1", ENTRY), Session(environment, "2", ENTRY)
    first.execute(add(2))
    first.execute(add(3))
    with pytest.raises(EnvironmentLostError, match="the process ended at execute: exit code 3; out of cheese"):
        second.execute([{"die": "{}"}])
    assert first.execute(add(1)) == ["6"]
    assert environment.num_starts == 2


def test_a_session_that_is_gone_with_its_process_starts_none(environment):
    session = Session(environment, "1", ENTRY)
    session.execute(add(2))
    environment.close()
    session.close()
    assert environment.num_starts == 1


def test_a_process_that_hangs_is_ended():
    with closing(BfclEnvironment(Path(sys.executable), worker=FAKE, timeout_s=1.5)) as environment:
        session, begin = Session(environment, "1", ENTRY), time.monotonic()
        with pytest.raises(EnvironmentLostError, match=r"no answer to execute in 1.5 seconds"):
            session.execute([{"hang": "{}"}])
        assert time.monotonic() - begin < 20
        # the late answer of the process that was ended is not taken for that of the new one
        assert Session(environment, "2", ENTRY).execute(add(1)) == ["1"]


def test_noise_between_the_answers_is_no_answer(environment):
    with pytest.raises(EnvironmentLostError, match="the answer to execute is none: 'what a package prints"):
        Session(environment, "1", ENTRY).execute([{"noise": '{"by": 1}'}])
    assert Session(environment, "2", ENTRY).execute(add(1)) == ["1"]


@pytest.mark.parametrize("line", ["3", "[]", '{"yes": 1}'])
def test_json_that_is_no_answer(tmp_path, line):
    with (
        closing(worker(tmp_path, f"input()\nprint({line!r}, flush=True)\ninput()")) as environment,
        pytest.raises(EnvironmentLostError, match="the answer to hello is none"),
    ):
        environment.ask("hello")


def test_an_error_that_is_told_leaves_the_process(environment):
    session = Session(environment, "1", ENTRY)
    session.execute(add(1))
    with pytest.raises(EnvironmentLostError, match="AssertionError: instances do not match"):
        session.judge([[]], [["no_verdict"]])
    assert session.execute(add(1)) == ["2"]
    assert environment.num_starts == 1


def test_the_process_gets_few_variables_and_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("API_TOKEN", "secret")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    source = """
        import json, os
        input()
        print(json.dumps({"ok": [dict(os.environ), os.listdir()]}), flush=True)
        input()
    """
    with closing(worker(tmp_path, source)) as environment:
        variables, files = environment.ask("hello")
    assert not variables.keys() & {"API_TOKEN", "PYTHONPATH"}
    assert variables["PYTHONHASHSEED"] == "0"
    assert files == ["worker.py"]
    assert not Path(variables["BFCL_PROJECT_ROOT"]).exists()


def test_a_python_without_the_package_is_named():
    with (
        closing(BfclEnvironment(Path(sys.executable), timeout_s=20)) as environment,
        pytest.raises(UsageError, match=r"No module named 'bfcl_eval'; name the python .*pip install --no-deps bfcl"),
    ):
        environment.describe()


def test_what_is_no_python_is_named(tmp_path):
    file = tmp_path / "python"
    file.write_text("no program")
    with pytest.raises(UsageError, match=r"cannot be started: .*Permission denied"):
        BfclEnvironment(file).describe()


def test_which_python(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert resolve_bfcl_python(None) is None
    monkeypatch.setenv(VARIABLE, sys.executable)
    assert resolve_bfcl_python(None) == Path(sys.executable)
    other = tmp_path / "python"
    with pytest.raises(UsageError, match=f"--bfcl-python={other} is no file"):
        resolve_bfcl_python(other)
    other.write_text("")
    assert resolve_bfcl_python(other) == other
    monkeypatch.setenv(VARIABLE, os.devnull)
    with pytest.raises(UsageError, match=f"{VARIABLE}=/dev/null is no file"):
        resolve_bfcl_python(None)
