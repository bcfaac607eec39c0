"""The manager over servables that are no processes: it is told when each load ends, and how."""

import os
import shutil
import threading
import time
from concurrent.futures import Future

import pytest
from google.protobuf import text_format

from modules.contract.errors import UserError
from serving.protocol import protos
from serving.protocol.errors import Code, ServingError
from serving.protocol.servable import State
from serving.server.settings import ServerSettings
from serving.server.versions.manager import ModelManager

PATIENCE = 30  # seconds; nothing here takes any


class FakeServable:
    def __init__(self, name, version):
        self.name = name
        self.version = version
        self.healthy = True
        self.closed = threading.Event()

    def close(self):
        self.closed.set()


class Loads:
    """Stands for the loader. Versions load at once, unless held, or told to fail."""

    def __init__(self):
        self.held = {}
        self.failing = {}
        self.begun = []
        self.servables = {}

    def hold(self, version) -> Future:
        self.held[version] = Future()
        return self.held[version]

    def __call__(self, name, version, path):
        self.begun.append((name, version))
        if version in self.held:
            self.held[version].result(PATIENCE)
        if version in self.failing:
            raise self.failing[version]
        return self.servables.setdefault((name, version), FakeServable(name, version))


class Server:
    def __init__(self, tmp_path):
        self.base = tmp_path / "models"
        self.loads = Loads()
        self.manager: ModelManager

    def start(self, **settings) -> ModelManager:
        settings = {
            "model_name": "bert",
            "model_base_path": str(self.base),
            "file_system_poll_wait_seconds": 0.01,
            "load_retry_interval_micros": 0,
            "max_num_load_retries": 0,
            **settings,
        }
        self.manager = ModelManager(ServerSettings(**settings), load=self.loads)
        self.manager.start()
        return self.manager

    def push(self, *versions, model=None) -> None:
        for version in versions:
            folder = (self.base / model if model else self.base) / str(version)
            folder.mkdir(parents=True)

    def wait(self, condition) -> None:
        """Poll until the condition holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, self.describe()
            time.sleep(0.002)

    def wait_for(self, version, state, model="bert") -> None:
        self.wait(lambda: self.states(model).get(version) == state)

    def states(self, model="bert") -> dict[int, State]:
        try:
            statuses = self.manager.statuses(model)
        except ServingError as error:
            if error.code != Code.NOT_FOUND:
                raise
            return {}
        return {status.version: status.state for status in statuses}

    def describe(self) -> str:
        return f"{self.states()}; loads: {self.loads.begun}"

    def latest(self) -> int:
        with self.manager.acquire("bert") as servable:
            return servable.version

    def config(self, *models: str):
        text = "".join(
            f'config {{ model_platform: "tensorflow" {model} }}'.replace("BASE", str(self.base))
            for model in models
        )
        proto = protos.model_server_config_pb2.ModelServerConfig()
        return text_format.Parse(f"model_config_list {{ {text} }}", proto)


BERT = 'name: "bert" base_path: "BASE" '
ALL = "model_version_policy { all {} } "


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    for held in server.loads.held.values():
        if not held.done():
            held.set_result(None)
    if hasattr(server, "manager"):
        server.manager.stop()


def test_the_newest_version_is_served(server) -> None:
    server.push(1, 2, "00000003", "tmp-4")
    manager = server.start()
    assert manager.wait_until_ready(PATIENCE)
    assert server.latest() == 3
    assert [(s.version, s.state) for s in manager.statuses("bert")] == [(3, State.AVAILABLE)]


def test_a_new_version_takes_over_and_the_old_one_goes(server) -> None:
    server.push(1)
    server.start().wait_until_ready(PATIENCE)
    old = server.loads.servables["bert", 1]
    server.push(2)
    server.wait_for(1, State.END)
    assert server.latest() == 2
    assert old.closed.is_set()
    assert [(s.version, s.state) for s in server.manager.statuses("bert")] == [
        (2, State.AVAILABLE),
        (1, State.END),
    ]


def test_the_old_version_serves_until_the_new_one_is_loaded(server) -> None:
    server.push(1)
    server.start().wait_until_ready(PATIENCE)
    held = server.loads.hold(2)
    server.push(2)
    server.wait_for(2, State.LOADING)
    assert server.latest() == 1
    held.set_result(None)
    server.wait_for(1, State.END)
    assert server.latest() == 2


def test_a_pinned_version_is_not_unloaded(server) -> None:
    server.push(1)
    server.start().wait_until_ready(PATIENCE)
    handle = server.manager.acquire("bert")
    server.push(2)
    server.wait_for(1, State.UNLOADING)
    assert server.latest() == 2
    assert not handle.servable.closed.is_set()
    handle.release()
    handle.release()  # does nothing
    server.wait_for(1, State.END)
    assert handle.servable.closed.is_set()


def test_draining_does_not_wait_for_ever(server) -> None:
    server.push(1)
    server.start(drain_seconds=0.01).wait_until_ready(PATIENCE)
    handle = server.manager.acquire("bert")
    server.push(2)
    server.wait_for(1, State.END)
    assert handle.servable.closed.is_set()


def test_a_version_that_fails_never_takes_traffic(server) -> None:
    server.push(1)
    server.loads.failing[2] = ServingError(Code.INVALID_ARGUMENT, "no such op")
    server.start().wait_until_ready(PATIENCE)
    server.push(2)
    server.wait_for(2, State.END)
    assert server.latest() == 1
    status = server.manager.statuses("bert", 2)[0]
    assert (status.code, status.message) == (Code.INVALID_ARGUMENT, "no such op")
    assert server.states() == {1: State.AVAILABLE, 2: State.END}


def test_a_failed_version_is_tried_again_only_when_it_changed(server) -> None:
    server.push(1)
    server.loads.failing[1] = ServingError(Code.NOT_FOUND, "half of it")
    server.start()
    server.wait_for(1, State.END)
    server.push(2)
    server.wait_for(2, State.AVAILABLE)  # polled since
    assert server.loads.begun == [("bert", 1), ("bert", 2)]
    del server.loads.failing[1]
    shutil.rmtree(server.base / "2")
    (server.base / "1" / "saved_model.pb").write_bytes(b"whole")
    server.wait_for(1, State.AVAILABLE)


def test_a_load_is_retried(server) -> None:
    server.push(1)
    server.loads.failing[1] = ServingError(Code.UNAVAILABLE, "disk")
    server.start(max_num_load_retries=3)
    server.wait_for(1, State.END)
    assert server.loads.begun == [("bert", 1)] * 4


def test_what_no_servable_raises_is_reported(server) -> None:
    server.push(1)
    server.loads.failing[1] = RuntimeError("a bug")
    server.start()
    server.wait_for(1, State.END)
    status = server.manager.statuses("bert", 1)[0]
    assert (status.code, status.message) == (Code.INTERNAL, "RuntimeError: a bug")


def test_a_base_path_that_goes_unloads_nothing(server) -> None:
    server.push(1)
    server.start().wait_until_ready(PATIENCE)
    shutil.rmtree(server.base)
    server.manager.reload(server.config(BERT))  # polls before it returns
    assert server.latest() == 1
    server.push("not-a-version")
    server.manager.reload(server.config(BERT))
    assert server.latest() == 1


def test_a_base_path_that_comes_late_is_served(server) -> None:
    manager = server.start()
    assert not manager.ready()
    server.push(1)
    assert manager.wait_until_ready(PATIENCE)


def test_deleting_the_newest_version_goes_back_to_the_one_before(server) -> None:
    server.push(1, 2)
    server.start().wait_until_ready(PATIENCE)
    shutil.rmtree(server.base / "2")
    server.wait_for(2, State.END)
    assert server.latest() == 1


def test_polling_once(server) -> None:
    server.push(1)
    server.start(file_system_poll_wait_seconds=0).wait_until_ready(PATIENCE)
    assert server.latest() == 1


def test_polling_never(server) -> None:
    server.push(1)
    server.start(file_system_poll_wait_seconds=-1)
    with pytest.raises(ServingError):
        server.manager.statuses("bert")


def test_unknown_models_and_versions(server) -> None:
    server.push(1)
    manager = server.start()
    manager.wait_until_ready(PATIENCE)
    for ask, message in (
        (lambda: manager.acquire("foo"), "Servable not found for request: Latest(foo)"),
        (lambda: manager.acquire("foo", 7), "Servable not found for request: Specific(foo, 7)"),
        (lambda: manager.acquire("bert", 7), "Servable not found for request: Specific(bert, 7)"),
        (lambda: manager.statuses("foo"), "Could not find any versions of model foo"),
        (lambda: manager.statuses("bert", 7), "Could not find version 7 of model bert"),
    ):
        with pytest.raises(ServingError) as caught:
            ask()
        assert (caught.value.code, caught.value.message) == (Code.NOT_FOUND, message)


def test_ready_needs_a_loaded_version_and_its_worker(server) -> None:
    server.push(1)
    held = server.loads.hold(1)
    manager = server.start()
    assert not manager.ready()
    held.set_result(None)
    assert manager.wait_until_ready(PATIENCE)
    server.loads.servables["bert", 1].healthy = False
    assert not manager.ready()


def test_reload_adds_and_removes_models(server) -> None:
    server.push(1)
    server.push(5, model="other")
    manager = server.start()
    manager.wait_until_ready(PATIENCE)
    other = f'name: "other" base_path: "{server.base / "other"}"'
    manager.reload(server.config(BERT, other))
    with manager.acquire("other") as servable:
        assert servable.version == 5
    manager.reload(server.config(other))
    server.wait_for(1, State.END)
    with pytest.raises(ServingError, match="Latest"):
        manager.acquire("bert")
    assert manager.ready()


def test_reload_of_an_empty_config_does_nothing(server) -> None:
    server.push(1)
    manager = server.start()
    manager.wait_until_ready(PATIENCE)
    manager.reload(protos.model_server_config_pb2.ModelServerConfig())
    assert server.latest() == 1


def test_reload_changes_the_policy(server) -> None:
    server.push(1, 2, 3)
    manager = server.start()
    manager.wait_until_ready(PATIENCE)
    manager.reload(server.config(BERT + ALL))
    for version in (1, 2):
        server.wait_for(version, State.AVAILABLE)
    manager.reload(server.config(BERT + "model_version_policy { specific { versions: 2 } }"))
    for version in (1, 3):
        server.wait_for(version, State.END)
    assert server.latest() == 2


def test_reload_says_which_model_did_not_load(server) -> None:
    server.push(1)
    server.push(9, model="broken")
    server.loads.failing[9] = ServingError(Code.INVALID_ARGUMENT, "no such op")
    manager = server.start()
    manager.wait_until_ready(PATIENCE)
    broken = f'name: "broken" base_path: "{server.base / "broken"}"'
    with pytest.raises(ServingError) as caught:
        manager.reload(server.config(BERT, broken))
    assert caught.value.code == Code.UNKNOWN
    assert caught.value.message == (
        "1 model(s) did not become available: {{name: broken version: 9} due to error: no such op}"
    )
    assert server.latest() == 1


@pytest.mark.parametrize("path", ["PARENT", "PARENT/models2", "BASE/../models2", "BASE/link", "/"])
def test_reload_may_not_leave_the_configured_folders(server, path) -> None:
    server.push(1)
    (server.base.parent / "models2" / "1").mkdir(parents=True)
    (server.base / "link").symlink_to(server.base.parent / "models2")
    manager = server.start()
    manager.wait_until_ready(PATIENCE)
    path = path.replace("PARENT", str(server.base.parent))
    with pytest.raises(ServingError, match="base path of model other") as caught:
        manager.reload(server.config(BERT, f'name: "other" base_path: "{path}"'))
    assert caught.value.code == Code.PERMISSION_DENIED
    assert server.latest() == 1


def test_reload_may_leave_its_caller_at_the_deadline(server) -> None:
    server.push(1)
    server.push(5, model="other")
    server.push(6, model="more")
    held = server.loads.hold(5)
    manager = server.start(num_load_threads=2)
    manager.wait_until_ready(PATIENCE)
    other = f'name: "other" base_path: "{server.base / "other"}"'
    more = f'name: "more" base_path: "{server.base / "more"}"'
    with pytest.raises(ServingError, match="continue to load") as caught:
        manager.reload(server.config(BERT, other), time.monotonic() + 0.05)
    assert caught.value.code == Code.DEADLINE_EXCEEDED
    manager.reload(server.config(BERT, other, more))  # does not wait for the first
    held.set_result(None)
    server.wait_for(5, State.AVAILABLE, "other")


def test_a_refused_reload_changes_nothing(server) -> None:
    server.push(1)
    manager = server.start()
    manager.wait_until_ready(PATIENCE)
    with pytest.raises(ServingError, match="multiple times"):
        manager.reload(server.config(BERT, BERT))
    assert server.latest() == 1


def labelled(manager, label: str) -> int:
    """The version that answers a request for the label."""
    with manager.acquire("bert", label=label) as servable:
        return servable.version


def test_labels_lead_to_versions(server) -> None:
    server.push(1, 2)
    manager = server.start()
    manager.wait_until_ready(PATIENCE)
    manager.reload(server.config(BERT + ALL))
    server.wait_for(1, State.AVAILABLE)
    labels = 'version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 2 }'
    manager.reload(server.config(BERT + ALL + labels))
    assert (labelled(manager, "stable"), labelled(manager, "canary")) == (1, 2)
    with pytest.raises(ServingError, match="Unrecognized servable version label: nope"):
        manager.acquire("bert", label="nope")


def test_a_label_has_moved_when_reload_returns(server) -> None:
    server.push(1, 2)
    manager = server.start()
    label = 'version_labels { key: "stable" value: %d }'
    manager.reload(server.config(BERT + ALL))
    for version in (1, 2):
        server.wait_for(version, State.AVAILABLE)
    for version in (1, 2):
        manager.reload(server.config(BERT + ALL + label % version))
        assert labelled(manager, "stable") == version


def test_a_label_never_leads_to_a_version_that_goes(server, tmp_path) -> None:
    server.push(1)
    text = BERT + 'version_labels { key: "stable" value: %d }'
    file = config_file(server, tmp_path, text % 1)
    manager = server.start(model_config_file=file, model_config_file_poll_wait_seconds=0.01)
    manager.wait_until_ready(PATIENCE)
    server.push(2)
    config_file(server, tmp_path, text % 2)
    while 1 not in server.states() or server.states()[1] != State.END:
        with manager.acquire("bert", label="stable") as servable:
            assert servable.version in (1, 2)


def test_a_label_may_not_lead_to_a_version_that_is_not_served(server) -> None:
    server.push(1)
    manager = server.start()
    manager.wait_until_ready(PATIENCE)
    label = 'version_labels { key: "stable" value: 9 }'
    with pytest.raises(ServingError, match="not currently available") as caught:
        manager.reload(server.config(BERT + label))
    assert caught.value.code == Code.FAILED_PRECONDITION


def config_file(server, tmp_path, text):
    file = tmp_path / "models.config"
    part = tmp_path / "models.config.part"
    part.write_text(
        f'model_config_list {{ config {{ model_platform: "tensorflow" {text} }} }}'.replace(
            "BASE", str(server.base)
        )
    )
    os.replace(part, file)
    return str(file)


def test_labels_of_the_config_file_work_from_the_start(server, tmp_path) -> None:
    server.push(1, 2)
    label = 'version_labels { key: "stable" value: 1 }'
    manager = server.start(model_config_file=config_file(server, tmp_path, BERT + ALL + label))
    server.wait_for(1, State.AVAILABLE)
    with manager.acquire("bert", label="stable") as servable:
        assert servable.version == 1


def test_a_changed_config_file_is_followed(server, tmp_path) -> None:
    server.push(1)
    label = 'version_labels { key: "stable" value: %d }'
    file = config_file(server, tmp_path, BERT + ALL + label % 1)
    manager = server.start(model_config_file=file, model_config_file_poll_wait_seconds=0.01)
    manager.wait_until_ready(PATIENCE)
    held = server.loads.hold(2)
    server.push(2)
    config_file(server, tmp_path, BERT + ALL + label % 2)
    server.wait_for(2, State.LOADING)
    assert labelled(manager, "stable") == 1
    held.set_result(None)
    server.wait(lambda: labelled(manager, "stable") == 2)


def test_a_config_file_that_goes_wrong_is_left_aside(server, tmp_path, caplog) -> None:
    server.push(1)
    file = config_file(server, tmp_path, BERT)
    manager = server.start(model_config_file=file, model_config_file_poll_wait_seconds=0.01)
    manager.wait_until_ready(PATIENCE)
    config_file(server, tmp_path, "nonsense")
    server.wait(lambda: "left as it was" in caplog.text)
    assert server.latest() == 1


def test_a_wrong_config_file_stops_the_start(server, tmp_path) -> None:
    with pytest.raises(UserError, match="ModelServerConfig"):
        server.start(model_config_file=config_file(server, tmp_path, "nonsense"))


def refusal(manager) -> Code | None:
    """The code that a call is refused with; None when it is answered."""
    try:
        with manager.acquire("bert"):
            return None
    except ServingError as error:
        return error.code


def test_stop_drains_and_closes(server) -> None:
    server.push(1)
    manager = server.start()
    manager.wait_until_ready(PATIENCE)
    handle = manager.acquire("bert")
    stopper = threading.Thread(target=manager.stop, args=(PATIENCE,))
    stopper.start()
    server.wait(lambda: refusal(manager) is not None)
    assert refusal(manager) == Code.UNAVAILABLE
    assert not handle.servable.closed.is_set()
    handle.release()
    stopper.join(PATIENCE)
    assert handle.servable.closed.is_set()
    assert not manager.ready()


def test_only_one_version_loads_at_a_time(server, tmp_path) -> None:
    server.push(1, 2, 3)
    held = server.loads.hold(3)
    server.start(model_config_file=config_file(server, tmp_path, BERT + ALL))
    server.wait_for(3, State.LOADING)
    assert server.states() == {1: State.START, 2: State.START, 3: State.LOADING}
    held.set_result(None)
    server.wait_for(1, State.AVAILABLE)


def stable_config_file(tmp_path, server) -> str:
    """Three versions, of which a label says that the oldest is the stable one."""
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "bert" base_path: "{server.base}" '
        'model_platform: "tensorflow" model_version_policy { specific { versions: 1 versions: 2 '
        'versions: 3 } } version_labels { key: "stable" value: 1 } } }'
    )
    server.push(1, 2, 3)
    return str(config)


def test_the_stable_version_is_loaded_first(server, tmp_path) -> None:
    stable = server.loads.hold(1)
    server.start(model_config_file=stable_config_file(tmp_path, server))
    server.wait_for(1, State.LOADING)
    assert server.states() == {1: State.LOADING, 2: State.START, 3: State.START}
    stable.set_result(None)
    server.wait_for(3, State.AVAILABLE)
    assert server.loads.begun[0] == ("bert", 1)


def test_the_stable_version_is_awaited(server, tmp_path) -> None:
    stable, newest = server.loads.hold(1), server.loads.hold(3)
    file = stable_config_file(tmp_path, server)
    manager = server.start(model_config_file=file, num_load_threads=2)
    server.wait_for(1, State.LOADING)
    server.wait_for(3, State.LOADING)
    assert server.states()[2] == State.START
    newest.set_result(None)
    server.wait_for(3, State.AVAILABLE)
    assert not manager.ready()
    stable.set_result(None)
    assert manager.wait_until_ready(PATIENCE)


def test_a_stable_version_that_failed_does_not_hold_up_the_others(server, tmp_path) -> None:
    server.push(1, 2)
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "bert" base_path: "{server.base}" '
        'model_platform: "tensorflow" model_version_policy { all {} } '
        'version_labels { key: "stable" value: 1 } } }'
    )
    server.loads.failing[1] = ServingError(Code.INTERNAL, "broken")
    assert server.start(model_config_file=str(config)).wait_until_ready(PATIENCE)


def test_retry_of_a_version_that_is_no_longer_wanted_is_dropped(server) -> None:
    server.push(1)
    server.loads.failing[1] = ServingError(Code.UNAVAILABLE, "disk")
    manager = server.start(max_num_load_retries=3, load_retry_interval_micros=3_600_000_000)
    server.wait(lambda: server.loads.begun == [("bert", 1)])
    server.push(2)
    assert manager.wait_until_ready(PATIENCE)
    server.wait_for(1, State.END)
    assert server.loads.begun == [("bert", 1), ("bert", 2)]


def test_version_that_leaves_the_policy_in_the_queue_is_not_loaded(server, tmp_path) -> None:
    server.push(1, 2, 3)
    held = server.loads.hold(3)
    manager = server.start(model_config_file=config_file(server, tmp_path, BERT + ALL))
    server.wait_for(3, State.LOADING)
    manager.reload(server.config(BERT))
    held.set_result(None)
    for version in (1, 2):
        server.wait_for(version, State.END)
    assert server.loads.begun == [("bert", 3)]


def test_config_file_that_goes_changes_nothing(server, tmp_path) -> None:
    server.push(1)
    file = config_file(server, tmp_path, BERT)
    manager = server.start(model_config_file=file, model_config_file_poll_wait_seconds=0.01)
    manager.wait_until_ready(PATIENCE)
    os.unlink(file)
    server.push(2)  # polled meanwhile
    server.wait_for(1, State.END)
    assert server.latest() == 2
