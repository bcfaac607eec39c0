"""Beam arguments for the components' tests."""

BEAM_ARGUMENTS = (
    "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner",
    # Without an image, TFX packages itself for every step, which takes seconds.
    "--sdk_container_image=unused",
)
