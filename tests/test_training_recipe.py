"""Recipes: what a run does is written down, and a typo is not silently something else."""

import math
import tomllib

import pytest

import unblur.methods
from trainables import recipe
from unblur.training.recipe import Recipe, parse_recipe, read_recipe
from unblur.training.run import check_recipe
from unblur.types import UnblurError

TEXT = """
[small]
batch = 4
[[small.stages]]
name = "only"
steps = 10
[small.stages.optimizers.all]
trains = ["net"]
rate = 1e-3
"""

TRAINED = [name for name in unblur.methods.names() if unblur.methods.get(name).trainable is not None]


def test_a_recipe_is_read_and_the_rest_is_by_default():
    read = parse_recipe(TEXT, "small", "recipe.toml")
    assert (read.batch, read.steps, read.seed) == (4, 10, 0)
    assert read.stages[0].optimizers["all"].trains == ("net",)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("batch = 4", "bach = 4", "no key 'bach'.*'batch'"),
        ("steps = 10", "step = 10", "'stages.0.step'.*'steps'"),
        ("rate = 1e-3", "rte = 1e-3", "'stages.0.optimizers.all.rte'.*'rate'"),
        ("rate = 1e-3", "rate = -1", "'stages.0.optimizers.all.rate'.*greater than 0.*-1"),
        ("batch = 4", "", "'batch' is missing"),
        ("small", "smll", "no preset 'small'.*'smll'"),
        ("batch = 4", "batch = ", "not TOML"),
    ],
)
def test_what_is_wrong_is_said_with_the_nearest_right_thing(before, after, said):
    with pytest.raises(UnblurError, match=f"recipe.toml.*{said}"):
        parse_recipe(TEXT.replace(before, after), "small", "recipe.toml")


def test_the_rate_rises_to_its_highest_and_falls_along_half_a_cosine():
    stage = stage_with({"kind": "cosine", "last": 0.1})
    rates = [stage.rate_at("all", step) / 0.01 for step in range(13)]
    assert rates[:3] == pytest.approx([0.5, 1, 1])
    assert rates[7] == pytest.approx(0.55), "half way down after the warm-up"
    assert rates[12] == pytest.approx(0.1)
    assert rates[4] == pytest.approx(0.1 + 0.9 * (1 + math.cos(0.2 * math.pi)) / 2)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"kind": "constant"}, [1, 1, 1]),
        ({"kind": "steps", "at": [0.5, 0.9], "factor": 0.1}, [1, 0.1, 0.01]),
        ({"kind": "power"}, [1, 0.5, 0]),
        ({"kind": "power", "exponent": 2.0, "last": 0.2}, [1, 0.2 + 0.8 * 0.25, 0.2]),
    ],
)
def test_each_schedule_falls_as_it_says(schedule, expected):
    stage = stage_with(schedule)
    assert [stage.rate_at("all", step) / 0.01 for step in (2, 7, 12)] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ('{ kind = "cosnie" }', "schedule.*'cosine'"),
        ('{ kind = "power", expnent = 2 }', "'expnent'|expnent'.*'exponent'"),
        ('{ kind = "steps", at = [0.9, 0.5] }', "do not rise"),
    ],
)
def test_a_schedule_that_will_not_do_is_refused(schedule, said):
    with pytest.raises(UnblurError, match=f"recipe.toml.*{said}"):
        parse_recipe(TEXT + f"schedule = {schedule}\n", "small", "recipe.toml")


def stage_with(schedule):
    """Twelve steps, two of them of warm-up."""
    optimizers = {"all": {"trains": ["denoiser"], "rate": 0.01, "schedule": schedule}}
    (stage,) = recipe(stages=[{"name": "only", "steps": 12, "warmup": 2, "optimizers": optimizers}]).stages
    return stage


def test_other_steps_are_shared_out_to_the_stages_in_proportion():
    optimizers = {"all": {"trains": ["net"], "rate": 1e-3}}
    stages = [{"name": str(steps), "steps": steps, "warmup": 4, "optimizers": optimizers} for steps in (100, 300)]
    planned = Recipe(batch=1, stages=stages)
    shorter, longer = planned.with_steps(40), planned.with_steps(800)
    assert [(stage.steps, stage.warmup) for stage in shorter.stages] == [(10, 0), (30, 0)]
    assert [(stage.steps, stage.warmup) for stage in longer.stages] == [(200, 4), (600, 4)]


@pytest.mark.parametrize("name", TRAINED)
def test_every_trained_method_has_a_recipe_for_what_ships_and_all_its_recipes_build(name):
    method = unblur.methods.get(name)
    presets = tomllib.loads((method.trained.folder / "recipe.toml").read_text())
    assert method.trained.preset in presets
    for preset in presets:
        read = read_recipe(name, preset)
        check_recipe(read, method.trainable(read.network, read.observations))


def test_a_method_without_a_network_says_which_have_one():
    with pytest.raises(UnblurError, match=r"'wiener' has no network.*wiener_stack"):
        read_recipe("wiener", "compact")
