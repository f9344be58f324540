"""Recipes: what ships, what extends what, where seeds and paths go, and what is said about mistakes."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from tltrain.config import dump_config
from tltrain.corpus.config import DataFile, MixConfig, TrainFile
from tltrain.errors import UsageError
from tltrain.generate.config import GenerateConfig
from tltrain.recipe import EvalPlan, Recipe, load_data, load_recipe, shipped_recipes
from tltrain.sft.config import SftConfig


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def complaint(spec, **kwargs) -> str:
    with pytest.raises(UsageError) as caught:
        load_recipe(spec, **kwargs)
    return str(caught.value)


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_builds_and_reads_back(name, tmp_path):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert load_recipe(write(tmp_path / "config.yaml", dump_config(recipe))) == recipe


def test_both_named_recipes_ship():
    assert {"demo", "paper"} <= set(shipped_recipes())
    assert load_recipe("demo").model == "smollm2-135m-instruct"
    paper = load_recipe("paper")
    assert (paper.sft.optimizer.learning_rate, paper.ppo.actor_optimizer.learning_rate) == (1e-6, 2e-7)
    assert (paper.ppo.critic, paper.ppo.num_updates, paper.ppo.kl_coef) == ("separate", 1, 0.4)


def test_a_recipe_changes_few_fields_of_another(tmp_path):
    file = write(tmp_path / "mine.yaml", "extends: demo\nsft:\n  num_epochs: 7\nppo: null\n")
    mine, demo = load_recipe(file), load_recipe("demo")
    assert mine.name == "mine"
    assert mine.sft == demo.sft.model_copy(update={"num_epochs": 7.0})
    assert mine.ppo is None
    assert mine.eval == demo.eval


def test_a_recipe_extends_a_file_next_to_it_over_several_steps(tmp_path, monkeypatch):
    write(tmp_path / "base" / "one.yaml", "generate: {num_train: 5, num_test: 1}\nseed: 1\nsft: {num_epochs: 1}\n")
    write(tmp_path / "base" / "two.yaml", "extends: one.yaml\nseed: 2\nsft: {batch_size: 24}\n")
    three = write(tmp_path / "three.yaml", "extends: base/two.yaml\nsft: {seed: 3}\n")
    monkeypatch.chdir("/")
    recipe = load_recipe(three)
    assert (recipe.name, recipe.seed, recipe.generate.seed, recipe.sft.seed) == ("three", 2, 2, 3)
    assert (recipe.sft.num_epochs, recipe.sft.batch_size) == (1.0, 24)


def test_recipes_that_extend_each_other_are_refused(tmp_path):
    write(tmp_path / "a.yaml", "extends: b.yaml\n")
    b = write(tmp_path / "b.yaml", "extends: a.yaml\n")
    assert "leads back to itself" in complaint(b)
    assert "should be the name of a recipe" in complaint(write(tmp_path / "c.yaml", "extends: [demo]\n"))


def test_own_data_replaces_generated_data_and_lies_where_the_recipe_says(tmp_path, monkeypatch):
    file = write(
        tmp_path / "mine.yaml",
        "extends: demo\nmodel: ./model\ndata: {train: data/train.jsonl, test: /abs/test.jsonl}\n",
    )
    monkeypatch.chdir("/")
    recipe = load_recipe(file)
    assert recipe.generate is None
    assert recipe.data == MixConfig(train=tmp_path / "data" / "train.jsonl", test=Path("/abs/test.jsonl"))
    assert recipe.model == str(tmp_path / "model")
    back = load_recipe(file, settings=["generate.num_train=3"])
    assert back.data is None
    assert back.generate.num_train == 3


MIXTURE = """
train:
  - {path: a.jsonl, weight: 2, cap: 100, name: mine}
  - path: ~/b.json
    format: tau_bench
    tools: tools.json
test: {path: t.jsonl, answers: answers.jsonl}
validation: {share: 0.1, by: provenance.task_id}
deduplicate: off
decontaminate: {against: [more, {path: /abs/c.json}], action: drop}
"""


def test_a_mixture_lies_where_the_recipe_says_and_reads_back(tmp_path, monkeypatch):
    file = write(tmp_path / "mine.yaml", "seed: 3\ndata:" + MIXTURE.replace("\n", "\n  ") + "\n")
    monkeypatch.chdir("/")
    monkeypatch.setenv("HOME", "/home/me")
    data = load_recipe(file).data
    assert data.train == (
        TrainFile(path=tmp_path / "a.jsonl", weight=2, cap=100, name="mine"),
        TrainFile(path=Path("/home/me/b.json"), format="tau_bench", tools=tmp_path / "tools.json", name="b"),
    )
    assert data.test == DataFile(path=tmp_path / "t.jsonl", answers=tmp_path / "answers.jsonl")
    assert data.decontaminate.against == (DataFile(path=tmp_path / "more"), DataFile(path=Path("/abs/c.json")))
    assert (data.deduplicate, data.validation.by, data.seed) == ("off", ("task_id",), 3)
    assert load_recipe(write(tmp_path / "again" / "config.yaml", dump_config(load_recipe(file)))) == load_recipe(file)
    assert load_recipe(file, settings=["data.train=z.jsonl"]).data.train[0].path == Path("/z.jsonl")


def test_data_is_read_out_of_a_recipe_or_a_file_of_its_own(tmp_path):
    recipe = write(tmp_path / "mine.yaml", "seed: 3\ndata:" + MIXTURE.replace("\n", "\n  ") + "\n")
    alone = write(tmp_path / "data.yaml", MIXTURE + "seed: 3\n")
    assert load_data(alone) == load_data(recipe) == load_recipe(recipe).data
    assert load_data(alone, flags={"seed": 5}, settings=["deduplicate=near"]).seed == 5
    assert load_data(recipe, settings=["deduplicate=near", "validation.share=0.2"]).validation.share == 0.2
    for spec, said in (
        ("demo", "recipe=demo: has no section data"),
        (
            write(tmp_path / "bad.yaml", "train:\n  - path: a\n    wieght: 2\n"),
            "bad.yaml:3: train.0.wieght is not known",
        ),
    ):
        with pytest.raises(UsageError, match=said):
            load_data(spec)


def test_the_seed_reaches_stages_that_have_none_of_their_own():
    recipe = load_recipe("demo", flags={"seed": 5}, settings=["ppo.seed=6"])
    assert (recipe.seed, recipe.generate.seed, recipe.sft.seed, recipe.eval.seed, recipe.ppo.seed) == (5, 5, 5, 5, 6)
    built = Recipe(name="x", seed=4, generate=GenerateConfig(num_train=2), sft=SftConfig(), eval=EvalPlan(seed=9))
    assert (built.generate.seed, built.sft.seed, built.eval.seed) == (4, 4, 9)


def test_the_command_line_wins_over_the_recipe():
    recipe = load_recipe("demo", flags={"model": "other", "seed": None}, settings=["name=x", "eval.stages=[base]"])
    assert load_recipe("demo", flags={"model": "./other"}).model == str(Path.cwd() / "other")
    assert (recipe.model, recipe.name, recipe.eval.stages) == ("other", "x", ("base",))
    assert recipe.eval.config() == load_recipe("demo").eval.config()


def test_mistakes_are_named_with_file_line_and_the_nearest_right_name(tmp_path):
    text = "extends: demo\nsed: 3\nsft:\n  num_epoch: 2\n  optimizer: {schedule: cosin}\n"
    file = write(tmp_path / "mine.yaml", text)
    assert complaint(file).splitlines() == [
        f"{file}:5: sft.optimizer.schedule=\"cosin\" should be 'cosine', 'linear' or 'constant'; did you mean cosine?",
        f"{file}:4: sft.num_epoch is not known; did you mean num_epochs?",
        f"{file}:2: sed is not known; did you mean seed?",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 1\n", "generate and data: neither is given"),
        ("data: {train: a}\ngenerate: {num_test: 1}\n", "generate and data: both is given"),
        ("data: {train: a}\neval: {}\n", "eval: there is no test data"),
        ("generate: {num_test: 0}\neval: {}\n", "eval: there is no test data"),
        ("seed: abc\ngenerate: {}\n", ':1: seed="abc" should be a valid integer'),
        ("seed: true\ngenerate: {}\n", ":1: seed=true should be a number"),
        ("sft: [1]\ngenerate: {}\n", ":1: sft=[1] should be a section of lines"),
        ("eval: {stages: [bse]}\ngenerate: {}\n", "did you mean base?"),
        ("- demo\n", "should hold lines of `name: value`, and holds a list"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(text, said, tmp_path):
    file = write(tmp_path / "r.yaml", text)
    assert said in complaint(file)
    assert str(file) in complaint(file)


def test_an_unknown_recipe_names_those_that_ship(tmp_path):
    assert complaint("dmeo") == (
        "recipe=dmeo: neither a file nor a recipe that ships; did you mean demo? there are demo, paper, "
        "qwen2_5_0_5b, qwen2_5_7b"
    )
    write(tmp_path / "mine.yaml", "extends: demo\n")
    assert "has mine.yaml" in complaint(tmp_path / "mien.yaml")


def test_a_recipe_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        load_recipe("demo").seed = 3
