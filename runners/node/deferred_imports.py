"""Lazy loading of packages that TFX imports eagerly and a cached run never uses.

TFX's launcher does not need TensorFlow, Beam or TFMA, but importing it imports all three and every
component's executor: about 20 s of CPU before the first cache look-up. ``install`` replaces them:

- ``tensorflow`` and ``tfx.components`` become packages whose ``__init__`` runs when one of its
  names is first read. The module object stays the same, so ``import tensorflow as tf`` at the top
  of a module costs nothing until ``tf.something`` is read. Submodules that are known to be light
  (TensorFlow's protos, TFX's components) are imported without it.
- ``tfx.utils.doc_controls`` imports decorators from TensorFlow that mark objects for TFX's website;
  the replacements return their argument.
- ``tfx.dsl.io.plugins.tensorflow_gfile`` registers TensorFlow's file systems. Local paths do not
  need them; the first remote path loads the real plugin. (TFX reads ``length`` and ``mtime_nsec``
  of a file's status, which its local plugin does not have; ours does.)
- ``tfx.orchestration.portable.beam_executor_operator`` imports Beam; it is loaded when a node runs.
- IPython and its widgets, which BigQuery's client and TFDV import if they are installed, are
  hidden, and TFMA's plotting module is a stub, because a worker has no display.

Only processes that run a node install this; nothing else in the project depends on it.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import threading
import types
from typing import Any

from modules.contract.errors import ModelError

_DOC_DECORATORS = ("do_not_doc_in_subclasses", "do_not_doc_inheritable", "do_not_generate_docs")
_GFILE_PLUGIN = "tfx.dsl.io.plugins.tensorflow_gfile"
_BEAM_OPERATOR = "tfx.orchestration.portable.beam_executor_operator"
#: Optional for all packages except TFMA's plotting module, which a worker never calls.
_FOR_A_SCREEN = ("IPython", "ipywidgets", "tqdm.notebook")
_DRAWING = "tensorflow_model_analysis.notebook.visualization"


def install() -> None:
    """Install the light modules. Do nothing if TFX or TensorFlow is already imported."""
    if "tfx.types" in sys.modules or "tensorflow" in sys.modules:
        return
    defer_package("tensorflow", light_submodules="tensorflow.core")
    defer_package("tfx.components", light_submodules="tfx.components")
    sys.meta_path.insert(0, _NoScreen())
    decorators = dict.fromkeys(_DOC_DECORATORS, lambda decorated: decorated)
    doc_controls = {"documented": lambda obj, doc: obj, "EXTRA_DOCS": {}, **decorators}
    _install_stub("tfx.utils.doc_controls", doc_controls)
    _install_gfile_plugin()
    _install_stub(_BEAM_OPERATOR, {"BeamExecutorOperator": object})


class _DeferredPackage(types.ModuleType):
    """A package that executes its ``__init__`` when a missing attribute is read."""

    def __getattr__(self, name: str) -> Any:
        # Dunder probes (inspect, copy, the import system) must not cost 10 s.
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        execute_deferred(self)
        try:
            return self.__dict__[name]
        except KeyError:
            # The class has changed, unless __init__ is still running further up this stack.
            if isinstance(self, _DeferredPackage):
                raise AttributeError(f"module {self.__name__!r} has no {name!r} yet") from None
            return getattr(self, name)


_executing = threading.RLock()
_started: set[str] = set()


def execute_deferred(package: types.ModuleType) -> None:
    """Run the package's ``__init__`` now. Do nothing if it has run.

    Other threads that need the package wait until it is complete.
    """
    spec = package.__spec__
    with _executing:
        if spec is None or spec.loader is None or spec.name in _started:
            return
        _started.add(spec.name)
        spec.loader.exec_module(package)
        package.__class__ = types.ModuleType


class _SubmoduleFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finder that runs a package's ``__init__`` before a heavy submodule is imported."""

    def __init__(self, package: types.ModuleType, light_submodules: str) -> None:
        self._package = package
        self._light = light_submodules

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        is_light = f"{fullname}.".startswith(f"{self._light}.")
        if is_light or not fullname.startswith(f"{self._package.__name__}."):
            return None
        if self._package.__name__ in _started:
            return None
        execute_deferred(self._package)
        if fullname in sys.modules:
            return importlib.machinery.ModuleSpec(fullname, self)
        # ``path`` was read before __init__, and TensorFlow's __init__ extends __path__.
        parent = sys.modules[fullname.rpartition(".")[0]]
        return importlib.machinery.PathFinder.find_spec(fullname, parent.__path__)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return sys.modules[spec.name]

    def exec_module(self, module: types.ModuleType) -> None:
        """Do nothing: the package's ``__init__`` has already executed the module."""


class _NoScreen(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finder that hides display-only packages and stubs TFMA's plotting module."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname in _FOR_A_SCREEN:
            raise ModuleNotFoundError(f"{fullname} is hidden in a worker", name=fullname)
        return importlib.machinery.ModuleSpec(fullname, self) if fullname == _DRAWING else None

    def exec_module(self, module: types.ModuleType) -> None:
        """Provide names for the annotations of plotting functions."""
        module.__dict__["__getattr__"] = _any_class


def _any_class(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return object


def defer_package(name: str, *, light_submodules: str) -> None:
    """Register ``name`` as a package whose ``__init__`` runs on first use.

    Args:
        name: the dotted name of an installed package that is not yet imported.
        light_submodules: the dotted name below which submodules are imported without ``__init__``.

    Raises:
        ModelError: the package is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        raise ModelError(f"package {name!r} is not installed; create the environment: make env")
    module = _DeferredPackage(name)
    module.__spec__ = spec
    module.__loader__ = spec.loader
    module.__file__ = spec.origin
    module.__package__ = name
    module.__path__ = list(spec.submodule_search_locations)
    _register(module)
    sys.meta_path.insert(0, _SubmoduleFinder(module, light_submodules))


def _install_gfile_plugin() -> None:
    from tfx.dsl.io import filesystem_registry

    module = _install_stub(_GFILE_PLUGIN, {"TensorflowFilesystem": None})
    registry = filesystem_registry.DEFAULT_FILESYSTEM_REGISTRY
    registry.register(_local_filesystem(), priority=0)
    look_up = registry.get_filesystem_for_scheme

    def look_up_with_gfile(scheme: str | bytes) -> Any:
        text = scheme.decode() if isinstance(scheme, bytes) else scheme
        if text and sys.modules.get(_GFILE_PLUGIN) is module:
            _import_real(_GFILE_PLUGIN)  # registers TensorFlow's file systems
        return look_up(scheme)

    registry.get_filesystem_for_scheme = look_up_with_gfile


def _local_filesystem() -> Any:
    """Return TFX's local file system with the two fields of ``stat`` that only TensorFlow's has."""
    from tfx.dsl.io.plugins import local

    class LocalFilesystem(local.LocalFilesystem):
        @staticmethod
        def stat(path: Any) -> Any:
            found = local.LocalFilesystem.stat(path)
            return types.SimpleNamespace(length=found.st_size, mtime_nsec=found.st_mtime_ns)

    return LocalFilesystem


def _install_stub(name: str, attributes: dict[str, Any]) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(attributes)
    _register(module)
    return module


def _register(module: types.ModuleType) -> None:
    sys.modules[module.__name__] = module
    parent, _, name = module.__name__.rpartition(".")
    if parent:
        setattr(importlib.import_module(parent), name, module)


def _import_real(name: str) -> types.ModuleType:
    """Replace a light module by the real one and return it."""
    if not hasattr(sys.modules.get(name), "__file__"):
        sys.modules.pop(name, None)
    return importlib.import_module(name)


def deferred_executor_operators() -> dict[Any, Any]:
    """Return operators that import an executor's class when it runs, not when it is looked up.

    Returns:
        The argument ``custom_executor_operators`` of
        ``tfx.orchestration.portable.launcher.Launcher``.
    """
    from tfx.orchestration.portable import base_executor_operator
    from tfx.proto.orchestration import executable_spec_pb2

    class DeferredOperator(base_executor_operator.BaseExecutorOperator):
        """An operator that creates one of TFX's operators when ``run_executor`` is called."""

        SUPPORTED_EXECUTOR_SPEC_TYPE = [
            executable_spec_pb2.PythonClassExecutableSpec,
            executable_spec_pb2.BeamExecutableSpec,
        ]
        SUPPORTED_PLATFORM_CONFIG_TYPE: list[Any] = []

        def run_executor(self, execution_info: Any) -> Any:
            operator = _operator_class(self._executor_spec)(self._executor_spec)
            operator.with_execution_watcher(self._execution_watcher_address)
            return operator.run_executor(execution_info)

    return dict.fromkeys(DeferredOperator.SUPPORTED_EXECUTOR_SPEC_TYPE, DeferredOperator)


def _operator_class(executor_spec: Any) -> Any:
    from tfx.proto.orchestration import executable_spec_pb2

    if isinstance(executor_spec, executable_spec_pb2.BeamExecutableSpec):
        return _import_real(_BEAM_OPERATOR).BeamExecutorOperator
    from tfx.orchestration.portable import python_executor_operator

    return python_executor_operator.PythonExecutorOperator
