"""How the components' Beam steps run in tests."""

BEAM_ARGUMENTS = (
    "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner",
    # Without a place where workers find TFX, each step packs it again, which takes seconds.
    "--sdk_container_image=unused",
)
