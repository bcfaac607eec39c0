"""The texts read from the traffic, on SQLite and PostgreSQL."""

from modules.contract.text_identity import text_identity
from serving.monitoring.window import count_texts, read_texts
from serving.records.database import Database
from tests.serving.records.rows import prediction


def fill(database: Database, count: int) -> None:
    with database.begin() as session:
        session.add_all(prediction(f"r{n}", f"text {n}", created=100.0 + n) for n in range(count))


def test_repeated_text_counts_once(database: Database) -> None:
    fill(database, 3)
    with database.begin() as session:
        session.add_all(prediction(f"again{n}", "Text  1", created=101.0) for n in range(50))
    assert sorted(text.casefold().split()[1] for text in read_texts(database, 0, 999, 10)) == list(
        "012"
    )
    assert count_texts(database, 0, 999) == (3, 3)


def test_window_excludes_its_end_and_failed_requests(database: Database) -> None:
    fill(database, 5)
    with database.begin() as session:
        session.add(prediction("failed", "no answer", created=102.0, status="UNAVAILABLE"))
    assert sorted(read_texts(database, 101.0, 104.0, 10)) == ["text 1", "text 2", "text 3"]


def test_texts_that_were_not_stored_are_counted_but_not_read(database: Database) -> None:
    fill(database, 2)
    with database.begin() as session:
        hidden = prediction("hidden", "secret", created=100.0)
        hidden.text = None
        session.add(hidden)
    assert count_texts(database, 0, 999) == (3, 2)
    assert sorted(read_texts(database, 0, 999, 10)) == ["text 0", "text 1"]


def test_sample_is_uniform_over_time_and_stable(database: Database) -> None:
    fill(database, 1200)
    drawn = read_texts(database, 0, 9999, 600)
    assert len(set(drawn)) == 600
    identities = [text_identity(text) for text in drawn]
    assert identities == sorted(identities)
    early = sum(int(text.split()[1]) < 600 for text in drawn)
    assert 240 < early < 360
    later = read_texts(database, 200.0, 9999, 600)
    assert len(set(drawn) & set(later)) > 500
