"""Any order of votes, reviews, exports and crashes loses nothing and duplicates nothing."""

import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import select

from modules.contract.text_identity import text_identity
from serving.feedback import export as export_module
from serving.feedback import span_files
from serving.feedback.export import ExportSettings, export_span
from serving.feedback.reviews import add_review
from serving.feedback.store import FeedbackStore
from serving.records.database import Database
from serving.records.tables import FeedbackRow

LABELS = ("neg", "pos")
TEXTS = [f"Text {number}" for number in range(12)]
HELD_OUT = frozenset(text_identity(text).hex() for text in TEXTS[:3])
KEYS = ("k", "l", "m")


class CrashError(Exception):
    """Stands in for ``kill -9``: only the database cleans up the transaction."""


class LoopOfVotes(RuleBasedStateMachine):
    """The model: the last vote of each voter, and the content of each span when it was written."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="bert-votes-"))
        self.database = Database(f"sqlite:///{self.folder}/service.sqlite")
        self.store = FeedbackStore(self.database)
        self.spans = self.folder / "spans"
        self.votes: dict[tuple[str, str], str] = {}
        self.reviews: dict[str, str | None] = {}
        self.written: dict[int, bytes] = {}
        self.settings = ExportSettings()

    @initialize(share=st.sampled_from([0.34, 0.5, 1.0]), votes=st.sampled_from([1, 2]))
    def configure(self, share: float, votes: int) -> None:
        self.settings = ExportSettings(votes, share, max_examples=5)

    @rule(
        key=st.sampled_from(KEYS),
        text=st.sampled_from(TEXTS),
        label=st.sampled_from([*LABELS, "odd"]),
        upper=st.booleans(),
    )
    def vote(self, key: str, text: str, label: str, upper: bool) -> None:
        spelled = text.upper() if upper else text
        vote = self.store.add_vote(key_id=key, label=label, labels=LABELS, text=spelled)
        identity = text_identity(text).hex()
        assert vote.created is ((key, identity) not in self.votes)
        self.votes[key, identity] = label

    @rule(text=st.sampled_from(TEXTS), label=st.sampled_from([*LABELS, None]))
    def review(self, text: str, label: str | None) -> None:
        identity = text_identity(text).hex()
        if any(voted == identity for _, voted in self.votes):
            add_review(self.database, identity, label, reviewer="me", labels=LABELS)
            self.reviews[identity] = label

    @rule()
    def export(self) -> None:
        report = self._export()
        unrecorded = span_files.span_folders(self.spans).keys() - self.written.keys()
        assert set(report.healed) == unrecorded - {report.number}
        self._remember()
        if report.number is not None:
            self._check_share(report.number)
        again = self._export()
        left = report.counts["over_share"] + report.counts["over_max_examples"]
        assert again.number is None or left, "an export leaves nothing that it could have taken"
        self._remember()

    @rule()
    def crash_before_the_record(self) -> None:
        def die(*_: object) -> None:
            raise CrashError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(export_module, "_record", die)
            try:
                self._export()
            except CrashError:
                unfinished = self.spans / ".unfinished-span-x"
                unfinished.mkdir(parents=True, exist_ok=True)
                (unfinished / "feedback.csv").write_text("text,la")

    def _export(self) -> export_module.SpanReport:
        return export_span(self.database, self.spans, HELD_OUT, LABELS, self.settings)

    def _remember(self) -> None:
        for number, folder in span_files.span_folders(self.spans).items():
            content = (folder / span_files.DATA_FILE).read_bytes()
            assert self.written.setdefault(number, content) == content, "spans never change"
            for text, label in span_files.read_rows(folder):
                del text
                assert label in LABELS

    def _check_share(self, number: int) -> None:
        """Check the span that was just written, before further votes."""
        rows = span_files.read_rows(self.spans / f"span-{number}")
        sources: Counter[str] = Counter()
        for text, label in rows:
            identity = text_identity(text).hex()
            voted = {key: said for (key, each), said in self.votes.items() if each == identity}
            if identity in self.reviews:
                assert label == self.reviews[identity]
                continue
            assert set(voted.values()) == {label}
            assert len(voted) >= self.settings.min_votes
            if len(voted) == 1:
                sources.update(voted.keys())
        if len({key for key, _ in self.votes}) > 1:
            for count in sources.values():
                assert count <= self.settings.max_share_per_key * len(rows)
        assert len(rows) <= self.settings.max_examples

    @invariant()
    def every_vote_is_kept_once(self) -> None:
        with self.database.read() as session:
            kept = [
                ((vote.key_id, vote.text_identity), vote.label)
                for vote in session.scalars(select(FeedbackRow))
            ]
        assert len(kept) == len(self.votes)
        assert dict(kept) == self.votes

    @invariant()
    def no_text_is_exported_twice_or_held_out(self) -> None:
        texts = [
            text_identity(text).hex()
            for folder in span_files.span_folders(self.spans).values()
            for text, _ in span_files.read_rows(folder)
        ]
        assert len(texts) == len(set(texts))
        assert not HELD_OUT & set(texts)

    def teardown(self) -> None:
        self.database.close()
        shutil.rmtree(self.folder)


LoopOfVotes.TestCase.settings = settings(
    max_examples=30,
    stateful_step_count=25,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],  # each step waits for the disk: no shrinking
    suppress_health_check=[HealthCheck.too_slow],
)
TestLoopOfVotes = pytest.mark.slow(LoopOfVotes.TestCase)
