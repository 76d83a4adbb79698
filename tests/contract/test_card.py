"""Test which model cards are accepted, and the errors of the others."""

import json

import pytest

from cnnzoo.contract.card import ModelCard
from cnnzoo.contract.names import ContractError, check_name

GOOD = json.loads(ModelCard("m", 1, ("a", "b"), (3, 4, 5)).to_json())


def test_a_card_survives_the_way_through_json():
    card = ModelCard("m", 2, ("é", "b"), (1, 4, 5), "mnist", metrics={"accuracy": 0.5}, config={"x": [1]})
    assert ModelCard.from_json(card.to_json()) == card
    assert card.mode == "L"


@pytest.mark.parametrize("config", [{"model": "x"}, {"model": [1]}, {"model": {"init_args": [1]}}])
def test_a_recipe_of_another_form_is_refused(config: dict):
    card = ModelCard("m", 2, ("a", "b"), (1, 4, 5), config=config)
    with pytest.raises(ContractError, match="no readable model"):
        card.recipe("model")
    assert card.recipe("data") == ("", {})


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_a_number_that_json_does_not_have_is_refused(number: str):
    text = json.dumps({**GOOD, "config": {"x": 7}}).replace('{"x": 7}', f'{{"x": {number}}}')
    with pytest.raises(ContractError, match="its card is not JSON"):
        ModelCard.from_json(text)


def test_entries_of_a_later_minor_release_are_passed_over():
    assert ModelCard.from_json(json.dumps({**GOOD, "new": 1})).name == "m"


def test_schema_1_is_read_with_its_fields_renamed():
    """Files of release 0.1 have other names for license, limitations and precision."""
    old = {**GOOD, "schema": 1, "dataset": {"name": "x", "licence": "CC0"}}
    for name in ("license", "limitations", "precision"):
        del old[name]
    card = ModelCard.from_json(json.dumps(old | {"licence": "MIT", "limits": "Not for cats.", "weights": "int8"}))
    assert (card.license, card.limitations, card.precision) == ("MIT", "Not for cats.", "int8")
    assert card.dataset == {"name": "x", "license": "CC0"}
    assert json.loads(card.to_json())["schema"] == 2


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("schema", 3),
        ("schema", None),
        ("name", "../etc"),
        ("name", None),
        ("version", 0),
        ("version", "1"),
        ("version", True),
        ("classes", "ab"),
        ("classes", ["a"]),
        ("classes", ["a", 1]),
        ("input_shape", [3, 4]),
        ("input_shape", [2, 4, 4]),
        ("input_shape", [3, 0, 4]),
        ("prepare", "rm -rf"),
        ("metrics", []),
        ("classes", ["a", "a"]),
        ("temperature", 0.0),
        ("temperature", -1),
        ("metrics", {"accuracy_low": 10**400}),
        ("training", {"seconds": 10**400}),
        ("classes", ["a", "b\u200f"]),
    ],
)
def test_a_wrong_entry_is_named(entry: str, value: object):
    with pytest.raises(ContractError, match=entry):
        ModelCard.from_json(json.dumps({**GOOD, entry: value}))


@pytest.mark.parametrize(
    "changes",
    [{"metrics": {"accuracy": 1e308}}, {"robustness": {"images": 9, "accuracy": {"noise": [1, 1, 1, 1, 5e300]}}}],
)
def test_a_share_is_from_0_to_1(changes: dict):
    with pytest.raises(ContractError, match="accuracy"):
        ModelCard.from_json(json.dumps(GOOD | changes))


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 10_000])
def test_what_is_no_json_object_is_refused(text: str):
    with pytest.raises(ContractError):
        ModelCard.from_json(text)


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "A", "a" * 65, ".a", "a b", "a\n", "a.onnx"])
def test_names_that_cannot_be(name: str):
    with pytest.raises(ContractError, match="cannot be a model's name"):
        check_name(name)
