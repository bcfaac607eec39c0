import csv
from pathlib import Path

import pytest

from cli.config_init import propose, write_config
from modules.contract.errors import UserError
from pipeline.config import load


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "My Reviews.2024.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "body of review", "stars", "shop"])
        for number in range(120):
            stars = "5" if number % 10 else "1"
            text = f"a review of thing {number} that goes on for a while, naïve or not"
            writer.writerow([number, text, stars, ("east", "west")[number % 2]])
    return path


def test_columns_are_detected_and_the_config_loads(reviews: Path, tmp_path: Path) -> None:
    proposal = propose(str(reviews))
    write_config(proposal, tmp_path / "reviews.toml")
    config = load(tmp_path / "reviews.toml", environ={})
    assert config.data.path == str(reviews)
    assert (config.data.text_column, config.data.label_column) == ("body of review", "stars")
    assert config.data.slice_columns == ("shop",)
    assert config.pipeline.name == "my_reviews"
    assert config.pipeline.root == "pipeline_root/my_reviews"
    assert config.pusher.base_directory == "serving_models/my_reviews"


def test_rare_class_gets_balanced_weights_and_macro_f1(reviews: Path, tmp_path: Path) -> None:
    write_config(propose(str(reviews)), tmp_path / "reviews.toml")
    config = load(tmp_path / "reviews.toml", environ={})
    assert config.trainer.class_weights == "balanced"
    assert config.evaluator.metric == "macro_f1"
    assert config.evaluator.floors == ()
    assert "Few examples: 1 12." in (tmp_path / "reviews.toml").read_text("utf-8")


def test_max_length_fits_most_texts(reviews: Path) -> None:
    assert propose(str(reviews)).max_length == 32


def test_named_column_overrides_the_detected_one(reviews: Path) -> None:
    proposal = propose(str(reviews), label_column="shop")
    assert proposal.label_column == "shop"
    assert proposal.labels == {"east": 60, "west": 60}
    assert "shop" not in proposal.slice_columns


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"label_column": "star"}, "has no column 'star'; columns are id, body of review, stars"),
        ({"label_column": "body of review"}, "cannot be the label"),
        ({"text_column": "txt"}, "--text-column NAME"),
    ],
)
def test_unsuitable_column_is_rejected(reviews: Path, options: dict, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        propose(str(reviews), **options)


def test_existing_file_is_kept_unless_forced(reviews: Path, tmp_path: Path) -> None:
    path = tmp_path / "reviews.toml"
    path.write_text("mine")
    proposal = propose(str(reviews))
    with pytest.raises(UserError, match="already exists; choose another file"):
        write_config(proposal, path)
    assert path.read_text() == "mine"
    write_config(proposal, path, force=True)
    assert load(path, environ={}).pipeline.name == "my_reviews"


def test_labels_with_special_characters_give_valid_toml(tmp_path: Path) -> None:
    path = tmp_path / "9 lives.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for number in range(40):
            label = ('say "no"\n[data]', "back\\slash")[number % 2]
            writer.writerow([f"some words in a row, {number}", label])
    write_config(propose(str(path)), tmp_path / "out.toml")
    assert load(tmp_path / "out.toml", environ={}).pipeline.name == "data_9_lives"


def test_columns_of_the_bundled_sample_are_detected(tmp_path: Path) -> None:
    sample = Path(__file__).parents[2] / "data" / "sample" / "reviews.csv"
    proposal = propose(str(sample))
    assert (proposal.text_column, proposal.label_column) == ("text", "label")
    assert proposal.slice_columns == ("domain",)
    assert proposal.balanced
