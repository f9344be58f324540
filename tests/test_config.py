"""Configs out of files, flags and settings: what wins, and what is said about mistakes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tltrain.config import dump_config, fill_sections, load_config, merge, parse_settings
from tltrain.errors import UsageError
from tltrain.generate.config import EndpointSettings, GenerateConfig, ScriptedSettings
from tltrain.rl.config import PpoConfig
from tltrain.sft.config import SftConfig
from tltrain.yaml_file import parse_yaml, read_yaml


def write(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text)
    return path


def complaint(kind, *settings: str, file: Path | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        load_config(kind, file=file, settings=settings)
    return str(caught.value)


def test_settings_win_over_flags_and_flags_over_the_file(tmp_path):
    file = write(tmp_path, "num_epochs: 1\nbatch_size: 24\nseed: 1\n")
    config = load_config(SftConfig, file=file, flags={"num_epochs": 2, "seed": 2, "block": None}, settings=["seed=3"])
    assert (config.batch_size, config.num_epochs, config.seed, config.block) == (24, 2, 3, "paper")


def test_a_section_given_in_part_keeps_its_other_defaults():
    config = load_config(SftConfig, settings=["optimizer.schedule=linear"])
    assert config.optimizer == SftConfig().optimizer.model_copy(update={"schedule": "linear"})


def test_a_section_of_another_kind_replaces_the_default_one():
    settings = ["teacher.kind=endpoint", "teacher.base_url=http://localhost:1", "teacher.model=m"]
    config = load_config(GenerateConfig, settings=settings)
    assert config.teacher == EndpointSettings(base_url="http://localhost:1", model="m")
    assert load_config(GenerateConfig, settings=["teacher.silent_share=0.3"]).teacher == ScriptedSettings(
        silent_share=0.3
    )


@pytest.mark.parametrize("config", [SftConfig(), PpoConfig(), GenerateConfig(), SftConfig(num_epochs=1e-7)])
def test_a_printed_config_reads_back_as_itself(config, tmp_path):
    assert load_config(type(config), file=write(tmp_path, dump_config(config))) == config


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("off", "off"),
        ("true", True),
        ("2024-05-01", "2024-05-01"),
        ("007", "007"),
        ("-3", -3),
        ("null", None),
        ("", None),
        ("[1, two]", [1, "two"]),
        ("1.", 1.0),
    ],
)
def test_plain_values_are_read_as_yaml_1_2(text, value):
    found = parse_settings([f"x={text}"])["x"]
    assert (found, type(found)) == (value, type(value))


def test_a_switch_called_off_is_a_text():
    assert load_config(SftConfig, settings=["weighting.variant=off"]).weighting.variant == "off"


def test_mistakes_are_named_by_line_field_value_and_remedy(tmp_path):
    file = write(tmp_path, "num_epochs: soon\noptimizer:\n  schedul: linear\nblock: papr\nlora: 3\n")
    lines = complaint(SftConfig, file=file).splitlines()
    assert lines == [
        f"{file}:3: optimizer.schedul is not known; did you mean schedule?",
        f'{file}:1: num_epochs="soon" should be a valid number, unable to parse string as a number; the default is 1.0',
        f"{file}:4: block=\"papr\" should be 'paper', 'strict', 'lenient' or 'none'; did you mean paper?",
        f"{file}:5: lora=3 should be a section of lines `name: value`",
    ]


@pytest.mark.parametrize(
    ("kind", "setting", "said"),
    [
        (SftConfig, "lerning_rate=1", "command line: lerning_rate is not known; did you mean optimizer.learning_rate?"),
        (SftConfig, "zzz=1", "zzz is not known; known are optimizer, num_epochs"),
        (SftConfig, "seed=true", "command line: seed=true should be a number"),
        (SftConfig, "batch_size=10", "group_size=4 does not divide batch_size=10; use a divisor"),
        (SftConfig, "optimizer.weight_decay=-1", "should be greater than or equal to 0; the default is 0.01"),
        (PpoConfig, "reward.formt=-1", "reward.formt is not known; did you mean format?"),
        (PpoConfig, "reward.format=2", "reward.format=2.0 is not below reward.right=1.0"),
        (GenerateConfig, "teacher.kind=endpoint", "command line: teacher.base_url is missing; give it a value"),
        (GenerateConfig, "teacher.silent_shar=1", "teacher.silent_shar is not known; did you mean silent_share?"),
        (GenerateConfig, "styles=[pythn]", "styles.0=\"pythn\" should be 'python', 'json' or 'http'; did you mean"),
        (SftConfig, "seed", "--set seed: is not of the form field=value"),
        (SftConfig, ".=3", "is not of the form field=value"),
        (SftConfig, "seed=[1", "--set seed=[1: '[1' is no YAML value"),
    ],
)
def test_wrong_settings_are_explained(kind, setting, said):
    assert said in complaint(kind, setting)


def test_many_mistakes_are_cut_short():
    lines = complaint(SftConfig, *(f"zz{number}=1" for number in range(20))).splitlines()
    assert len(lines) == 9
    assert lines[-1] == "... and 12 more"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 1\nseed: 2\n", ":2: no YAML (seed is given twice)"),
        ("sft:\n  - [\n", "no YAML"),
        ("- 1\n- 2\n", "should hold lines of `name: value`, and holds a list"),
        ("? [a]\n: 1\n", "no YAML (a key is no plain text)"),
        ("1: 2\n", "should hold lines of `name: value`"),
        ("x: !!python/object/apply:os.system [true]\n", "no YAML (could not determine a constructor"),
        ("a: \0\n", "no YAML"),
        ("a: &a [*a]\n", "nested too deeply"),
        ("[" * 1500, "nested too deeply"),
    ],
)
def test_text_that_is_no_settings_is_refused(text, said):
    with pytest.raises(UsageError) as caught:
        parse_yaml(text, source="s.yaml")
    assert said in str(caught.value)
    assert str(caught.value).startswith("s.yaml")


def test_an_empty_file_gives_nothing():
    assert parse_yaml("# only a remark\n", source="s").fields == {}


def test_a_missing_file_is_a_mistake_of_usage(tmp_path):
    write(tmp_path, "seed: 1\n")
    with pytest.raises(UsageError, match=r"setings\.yaml: no such YAML file; .* has settings\.yaml"):
        read_yaml(tmp_path / "setings.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(UsageError, match="byte 9 is not UTF-8"):
        read_yaml(tmp_path / "latin.yaml")


def test_lines_of_nested_keys_are_known():
    assert parse_yaml("a:\n  b: 1\n  c: [x, y]\n", source="s").lines == {
        (): "s",
        ("a",): "s:1",
        ("a", "b"): "s:2",
        ("a", "c"): "s:3",
        ("a", "c", 0): "s:3",
        ("a", "c", 1): "s:3",
    }


_TREES = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8
).filter(lambda tree: isinstance(tree, dict))


@given(_TREES, _TREES)
def test_merging_is_idempotent_and_keeps_what_is_over(base, over):
    merged = merge(base, over)
    assert merge(merged, over) == merged
    assert merge(base, {}) == base
    assert merge({}, over) == over
    assert merged.keys() == base.keys() | over.keys()


def test_sections_without_default_are_filled_inside():
    assert fill_sections(PpoConfig, {"lora": {"rank": 4}}) == {"lora": {"rank": 4}}
    filled = fill_sections(SftConfig, {"optimizer": {"schedule": "linear"}})
    assert filled["optimizer"]["learning_rate"] == 1e-4
