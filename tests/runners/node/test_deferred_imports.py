"""Light modules cost nothing to import and become the real ones when used."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]

PREAMBLE = """
import sys
from runners.node import deferred_imports
deferred_imports.install()
from tfx.orchestration.portable import launcher
"""


def _run(code: str) -> str:
    """Run ``code`` with deferred imports in a separate process; return its last line of output."""
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(code)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_importing_the_launcher_imports_no_heavy_package() -> None:
    heavy = "('apache_beam', 'keras', 'tensorflow_model_analysis', 'tensorflow.python')"
    assert _run(f"print([name for name in {heavy} if name in sys.modules])") == "[]"


@pytest.mark.slow
def test_display_packages_are_not_imported() -> None:
    printed = _run("""
        import apache_beam, keras_tuner, tensorflow_data_validation
        import tensorflow_model_analysis as tfma
        # TFMA catches an ImportError of its own and then lacks its last names.
        print(
            [name for name in ("IPython", "ipywidgets") if name in sys.modules],
            tfma.ExtractEvaluateAndWriteResults.__name__,
            tfma.VERSION_STRING == tfma.version.VERSION,
            tfma.EvalConfig.__name__,
        )
    """)
    assert printed == "[] ExtractEvaluateAndWriteResults True EvalConfig"


@pytest.mark.slow
def test_light_modules_become_real_when_used() -> None:
    printed = _run("""
        import tensorflow.compat.v1 as tf1
        import tensorflow as tf
        from tfx.components import Trainer
        from tfx.orchestration.portable import beam_executor_operator
        import tfx.v1 as tfx
        from tfx.dsl.io import filesystem_registry
        registry = filesystem_registry.DEFAULT_FILESYSTEM_REGISTRY
        local = registry.get_filesystem_for_path("/tmp").__name__
        print(
            local,
            tf.constant(2).numpy() + 1,
            tf1.Session.__name__,
            tfx.components.Trainer is Trainer,
            deferred_imports._import_real(
                "tfx.orchestration.portable.beam_executor_operator"
            ).BeamExecutorOperator.__name__,
            registry.get_filesystem_for_path("gs://bucket/x").__name__,
        )
    """)
    assert printed == "LocalFilesystem 3 Session True BeamExecutorOperator TensorflowFilesystem"


def test_light_doc_controls_has_every_name_of_the_real_module() -> None:
    import ast
    import importlib.util

    spec = importlib.util.find_spec("tfx.utils")
    assert spec
    assert spec.submodule_search_locations
    source = Path(spec.submodule_search_locations[0]) / "doc_controls.py"
    tree = ast.parse(source.read_text())
    real = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert "documented" in real
    missing = _run(
        "import tfx.utils.doc_controls as light\n"
        f"print(sorted(n for n in {sorted(real)!r} if not hasattr(light, n)))"
    )
    assert missing == "[]"
